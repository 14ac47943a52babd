//! `portcullis jwks`: whatever keys come in, as a key set that the filter takes.

mod common;

use common::{Folder, run, stdout};
use portcullis::{KeyFormat, KeySet, KeySetOptions};
use serde_json::{Value, json};

/// Ed25519 of RFC 8037 appendix A, and its thumbprint there.
const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
const ED25519_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const ED25519_KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// P-256 of RFC 7517 appendix A.1.
const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

fn jwks(bytes: impl AsRef<[u8]>, more: &[&str]) -> (Option<i32>, Option<Value>, String) {
    let folder = Folder::new(&format!("jwks-{:?}", std::thread::current().id()));
    let file = folder.write("keys", bytes);
    let mut arguments: Vec<std::ffi::OsString> = vec!["jwks".into(), file.into()];
    arguments.extend(more.iter().map(Into::into));
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_str(&stdout(&output)).ok(), said)
}

/// Whether the filter takes a set as it stands, and every key of it.
fn is_taken(set: &Value) -> bool {
    let options = KeySetOptions { format: KeyFormat::Auto, max_keys: 100, symmetric: false };
    KeySet::parse(set.to_string().as_bytes(), options).is_ok_and(|set| set.skipped().is_empty())
}

#[test]
fn pem_der_jwks_and_sets_become_a_set_that_the_filter_takes() {
    use base64::Engine as _;
    let spki = ED25519_PEM.lines().nth(1).expect("a line");
    let der = base64::prelude::BASE64_STANDARD.decode(spki).expect("base64");
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "use": "sig" });
    for (what, bytes, members) in [
        ("PEM", ED25519_PEM.as_bytes().to_vec(), 1),
        ("PEM, twice", [ED25519_PEM, ED25519_PEM].concat().into_bytes(), 2),
        ("DER", der, 1),
        ("a JWK", jwk.to_string().into_bytes(), 1),
        ("a list", json!([jwk]).to_string().into_bytes(), 1),
        ("a set", json!({ "keys": [jwk, jwk] }).to_string().into_bytes(), 2),
        ("a map of PEM", json!({ "a": ED25519_PEM }).to_string().into_bytes(), 1),
    ] {
        let (code, set, said) = jwks(&bytes, &[]);
        let set = set.unwrap_or_else(|| panic!("{what}: {said}"));
        assert_eq!((code, set["keys"].as_array().map(Vec::len)), (Some(0), Some(members)), "{what}: {said}");
        assert!(is_taken(&set), "{what}: {set}");
        assert!(said.contains("is used for "), "{what}: {said}");
    }
}

#[test]
fn a_key_without_an_id_gets_its_thumbprint_or_the_one_that_is_given() {
    let (_, set, _) = jwks(ED25519_PEM, &[]);
    assert_eq!(
        set,
        Some(json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": ED25519_X, "kid": ED25519_KID }] }))
    );
    let (_, set, said) = jwks(ED25519_PEM, &["--kid", "mine"]);
    assert_eq!(set.expect("a set")["keys"][0]["kid"], "mine");
    assert!(said.contains("\"mine\"") && said.contains("EdDSA"), "{said}");
}

#[test]
fn a_private_key_is_refused_and_nothing_of_it_printed() {
    const SECRET: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519_X, "d": SECRET });
    let pkcs8 = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{pkcs8}\n-----END {label}-----\n");
    use base64::Engine as _;
    let der = base64::prelude::BASE64_STANDARD.decode(pkcs8).expect("base64");
    for bytes in [
        private.to_string().into_bytes(),
        json!({ "keys": [{ "kty": "EC" }, private] }).to_string().into_bytes(),
        json!({ "kty": "oct", "k": SECRET }).to_string().into_bytes(),
        pem("PRIVATE KEY").into_bytes(),
        pem("EC PRIVATE KEY").into_bytes(),
        pem("ENCRYPTED PRIVATE KEY").into_bytes(),
        json!({ "a": pem("PRIVATE KEY") }).to_string().into_bytes(),
        [ED25519_PEM.to_owned(), pem("RSA PRIVATE KEY")].concat().into_bytes(),
        der,
    ] {
        let (code, set, said) = jwks(&bytes, &[]);
        assert_eq!((code, set), (Some(2), None), "{said}");
        assert!(
            said.contains("private key") && !said.contains(SECRET) && !said.contains(&pkcs8[30..]),
            "{said}"
        );
    }
}

#[test]
fn what_the_filter_does_not_use_is_left_out_and_said() {
    let good = json!({ "kty": "OKP", "crv": "Ed25519", "x": ED25519_X, "kid": "good" });
    let other = json!({ "kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "use": "enc", "kid": "enc" });
    let (code, set, said) = jwks(json!({ "keys": [other, good] }).to_string(), &[]);
    assert_eq!((code, set), (Some(0), Some(json!({ "keys": [good] }))), "{said}");
    assert!(said.contains("keys[0] \"enc\" is not used: not for verifying signatures"), "{said}");
    let (code, set, _) = jwks(json!({ "keys": [other] }).to_string(), &[]);
    assert_eq!((code, set), (Some(1), None));
    for (bytes, what) in [
        ("", "neither PEM nor DER"),
        ("hello", "neither PEM nor DER"),
        ("{", "not valid JSON"),
        (r#"{"jwks_uri":"https://a/"}"#, "metadata document"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
    ] {
        let (code, set, said) = jwks(bytes, &[]);
        assert!(code == Some(2) && set.is_none() && said.contains(what), "{bytes}: {code:?} {said}");
    }
}

#[test]
fn keys_are_fetched_over_https_alone() {
    let output = run(&["jwks", "--online", "http://127.0.0.1:1/jwks"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not https"));
    assert_eq!(run(&["jwks"]).status.code(), Some(2));
}
