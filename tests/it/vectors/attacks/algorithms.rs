//! Algorithms and keys: the rows A.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::idp::{Alg, Key, b64, jwks};
use serde_json::{Value, json};

use crate::vectors::judge;
use crate::vectors::world::{
    AUDIENCE, Gates, ISSUER, NOW, claims, foreign, headed, key, token, trusting, usual, with,
};

/// Shows each of these to a gate, and complains of every verdict that is not the expected one.
fn shown<T: AsRef<str>>(gates: &mut Gates, tokens: &[(&str, T, &str)]) {
    let complaints: Vec<_> = tokens
        .iter()
        .filter_map(|(what, token, expected)| {
            let got = gates.show(token.as_ref());
            (got != *expected).then(|| format!("{what}: expected {expected}, got {got}"))
        })
        .collect();
    judge::settle(&complaints);
}

#[test]
pub(crate) fn a1_to_a4_a18() {
    let mut gates = Gates::of(&usual(json!({})));
    let payload = claims(json!({})).to_string();
    for name in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "none\0",
        "non\u{435}",
        "",
        "es256",
        "ES256 ",
        "ES256\n",
        "ES256\0",
        "\u{fe0f}ES256",
        "ES256K",
        "ES521",
        "ESB256",
        "RS1",
        "HS1",
        "RSA1_5",
        "RSA-OAEP",
        "A128KW",
        "dir",
        "ECDH-ES",
        "PBES2-HS256+A128KW",
        "Ed448",
        "ed25519",
        "EDDSA",
        "ML-DSA-65",
    ] {
        let header = json!({ "alg": name, "kid": "k-1" });
        let signed = key().sign_jws(&header, payload.as_bytes());
        assert_eq!(gates.show(&signed), "algorithm_not_allowed", "{name:?}");
        let (unsigned, _) = signed.rsplit_once('.').expect("a dot");
        assert_eq!(gates.show(&format!("{unsigned}.")), "algorithm_not_allowed", "{name:?} unsigned");
    }
    for alg in ["null", "0", "true", r#"["ES256"]"#, r#"{"alg":"ES256"}"#] {
        let token =
            key().sign_parts(format!(r#"{{"alg":{alg},"kid":"k-1"}}"#).as_bytes(), payload.as_bytes());
        assert_eq!(gates.show(&token), "token_malformed", "{alg}");
    }
    let token = key().sign_parts(br#"{"kid":"k-1"}"#, payload.as_bytes());
    assert_eq!(gates.show(&token), "token_malformed", "no alg");
    assert_eq!(gates.show(&token_with_empty_signature()), "token_malformed", "an empty signature");
}

fn token_with_empty_signature() -> String {
    let token = token(&key(), json!({}));
    let (signed, _) = token.rsplit_once('.').expect("a dot");
    format!("{signed}.")
}

#[test]
pub(crate) fn a5_public_material_is_no_secret() {
    for own in [Key::cached(Alg::RS256, "k-1"), key(), Key::cached(Alg::EdDSA, "k-1")] {
        // Even where HS256 is allowed beside it: the key has no path into HMAC.
        let public = own.public_jwk();
        let local = json!({ "inline_string": jwks([&own]).to_string() });
        let both = json!([own.alg().name(), "HS256"]);
        let mut strict = Gates::of(&usual(json!({ "local_jwks": local })));
        let mut lenient = Gates::of(&usual(json!({ "local_jwks": local, "algorithms": both })));
        assert_eq!(lenient.show(&token(&own, json!({}))), "allow");
        let pem = own.public_pem();
        let member = |name: &str| public[name].as_str().unwrap_or_default().to_owned();
        let decoded = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(member(name)).unwrap_or_default();
        for secret in [
            pem.clone().into_bytes(),
            pem.trim_end().as_bytes().to_vec(),
            pem.replace('\n', "\r\n").into_bytes(),
            pem.replace('\n', "").into_bytes(),
            own.public_der(),
            public.to_string().into_bytes(),
            jwks([&own]).to_string().into_bytes(),
            member("n").into_bytes(),
            decoded("n"),
            member("x").into_bytes(),
            decoded("x"),
            [decoded("x"), decoded("y")].concat(),
            [vec![4], decoded("x"), decoded("y")].concat(),
            Vec::new(),
        ] {
            let forged = token(&Key::hmac(Alg::HS256, "k-1", &secret), json!({}));
            assert_eq!(strict.show(&forged), "algorithm_not_allowed", "{own:?}");
            assert_eq!(lenient.show(&forged), "key_not_found", "{own:?}");
        }
    }
}

#[test]
pub(crate) fn a6_a7_a8_a10_one_key_one_algorithm() {
    let rsa = Key::cached(Alg::RS256, "rsa");
    let mut gates = Gates::of(&with(trusting([&rsa, &key()]), json!({})));
    shown(
        &mut gates,
        &[
            ("its own", token(&rsa, json!({})), "allow"),
            ("A6: PS256 under a key for RS256", token(&rsa.with_alg(Alg::PS256), json!({})), "key_not_found"),
            ("A6: RS512 under a key for RS256", token(&rsa.with_alg(Alg::RS512), json!({})), "key_not_found"),
            (
                "A8: a PKCS #1 signature that says PS256",
                headed(&rsa, json!({ "alg": "PS256" }), json!({})),
                "key_not_found",
            ),
            ("A7: ES384 on P-256", headed(&key(), json!({ "alg": "ES384" }), json!({})), "key_not_found"),
            (
                "A10: RS256 and the kid of an EC key",
                headed(&rsa, json!({ "kid": "k-1" }), json!({})),
                "key_not_found",
            ),
            (
                "A10: ES256 and the kid of an RSA key",
                headed(&key(), json!({ "kid": "rsa" }), json!({})),
                "key_not_found",
            ),
        ],
    );
    // Without "alg" in the key, it serves each algorithm of its kind, and a signature of one is none of another.
    let mut open = rsa.public_jwk();
    open.as_object_mut().expect("a key").remove("alg");
    let mut gates = Gates::of(&usual(
        json!({ "local_jwks": { "inline_string": json!({ "keys": [open] }).to_string() } }),
    ));
    shown(
        &mut gates,
        &[
            ("RS256", token(&rsa, json!({})), "allow"),
            ("PS512", token(&rsa.with_alg(Alg::PS512), json!({})), "allow"),
            (
                "A8: RS256 that says PS256",
                headed(&rsa, json!({ "alg": "PS256" }), json!({})),
                "signature_invalid",
            ),
            (
                "A8: PS256 that says RS256",
                headed(&rsa.with_alg(Alg::PS256), json!({ "alg": "RS256" }), json!({})),
                "signature_invalid",
            ),
            (
                "RS256 that says RS384",
                headed(&rsa, json!({ "alg": "RS384" }), json!({})),
                "signature_invalid",
            ),
        ],
    );
}

#[test]
pub(crate) fn a11_a12_a13_a_token_does_not_choose_its_key() {
    let remote = json!({ "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } });
    let provider = json!({ "issuer": ISSUER, "audiences": [AUDIENCE], "remote_jwks": remote });
    let mut gates = Gates::of(&provider);
    assert_eq!(gates.effects(NOW).0, 1, "the first fetch");
    gates.fetched(&jwks([&key()]), NOW);
    let certificate = b64("not even a certificate");
    for (name, value) in [
        ("jwk", foreign().public_jwk()),
        ("jwk", json!("text")),
        ("jku", json!("https://evil.example/jwks.json")),
        ("jku", json!("https://idp.example@evil.example/jwks")),
        ("jku", json!("file:///etc/passwd")),
        ("jku", json!("http://169.254.169.254/latest")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!([certificate])),
        ("x5t", json!(certificate)),
        ("x5t#S256", json!(certificate)),
    ] {
        let forged = headed(&foreign(), json!({ name: value }), json!({}));
        assert_eq!(gates.show(&forged), "signature_invalid", "{name} {value}");
        let without_kid = headed(&foreign(), json!({ name: value, "kid": null }), json!({}));
        assert_eq!(gates.show(&without_kid), "signature_invalid", "{name} {value} without a kid");
        let honest = headed(&key(), json!({ name: value }), json!({}));
        assert_eq!(gates.show(&honest), "allow", "{name} {value} beside a good signature");
    }
    let (fetches, log) = gates.effects(NOW + 1);
    assert_eq!(fetches, 0, "a token causes no request");
    assert!(log.iter().all(|line| !line.contains("evil")), "{log:?}");
}

#[test]
pub(crate) fn a14_a_kid_is_compared_and_nothing_else() {
    let long = "k".repeat(2900);
    let hostile = [
        "",
        "../../../../../../dev/null",
        "/dev/null",
        "x' UNION SELECT '1';--",
        "|sleep 10",
        "$(id)",
        "https://evil.example/key",
        "k-1\r\nset-cookie: a=b",
        "k-1\0",
        "__proto__",
        "constructor",
        ".*",
        "*",
        "0",
        "keys",
        &long,
    ];
    let mut gates = Gates::of(&usual(json!({})));
    for kid in hostile {
        assert_eq!(gates.show(&token(&key().with_kid(kid), json!({}))), "key_not_found", "{kid:.20}");
        // In a set of keys such a kid is a name like any other.
        let named = key().with_kid(kid);
        let mut own =
            Gates::of(&usual(json!({ "local_jwks": { "inline_string": jwks([&named]).to_string() } })));
        assert_eq!(own.show(&token(&named, json!({}))), "allow", "{kid:.20}");
        // An empty one is none, and a key without is tried for every token.
        let expected = if kid.is_empty() { "allow" } else { "key_not_found" };
        assert_eq!(own.show(&token(&key(), json!({}))), expected, "{kid:.20}");
    }
    // Whatever is fetched for an unknown kid, the log never has its text in the raw.
    let remote = json!({ "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } });
    let mut gates = Gates::of(&json!({ "remote_jwks": remote }));
    gates.fetched(&jwks([&key()]), NOW);
    for kid in hostile {
        gates.show(&token(&key().with_kid(kid), json!({})));
        gates.fetched(&jwks([&key().with_kid(kid)]), NOW);
    }
    let (_, log) = gates.effects(NOW);
    assert!(log.iter().all(|line| !line.chars().any(char::is_control)), "{log:?}");
}

#[test]
pub(crate) fn a15_a_kid_of_another_type_is_malformed() {
    let mut gates = Gates::of(&usual(json!({})));
    for kid in ["null", "1", "true", r#"["k-1"]"#, r#"{"kid":"k-1"}"#] {
        let header = format!(r#"{{"alg":"ES256","kid":{kid}}}"#);
        let token = key().sign_parts(header.as_bytes(), claims(json!({})).to_string().as_bytes());
        assert_eq!(gates.show(&token), "token_malformed", "{kid}");
    }
}

#[test]
pub(crate) fn a16_a_kid_that_is_nearly_right_is_wrong() {
    let mut gates = Gates::of(&usual(json!({})));
    for kid in ["K-1", "k-1 ", " k-1", "k\u{2010}1", "k-\u{ff11}", "k-01", "k-", "k-11", "k-1\u{200b}"] {
        assert_eq!(gates.show(&token(&key().with_kid(kid), json!({}))), "key_not_found", "{kid}");
    }
    let escaped =
        key().sign_parts(br#"{"alg":"ES256","kid":"\u006b-1"}"#, claims(json!({})).to_string().as_bytes());
    assert_eq!(gates.show(&escaped), "allow", "an escape says the same");
}

#[test]
pub(crate) fn a17_every_key_of_a_kid_is_tried() {
    let rsa = Key::cached(Alg::RS256, "rsa").with_kid("k-1");
    let kidless = |key: &Key| {
        let mut jwk = key.public_jwk();
        jwk.as_object_mut().expect("a key").remove("kid");
        jwk
    };
    let nameless = Key::cached(Alg::ES256, "nameless");
    let stranger = Key::cached(Alg::ES256, "stranger");
    let set = |keys: Value| {
        Gates::of(&usual(json!({ "local_jwks": { "inline_string": json!({ "keys": keys }).to_string() } })))
    };
    let own = key().public_jwk();
    // The attacker's key first, last, or of another kind under the same kid: ours is found.
    for keys in [
        json!([foreign().public_jwk(), own]),
        json!([own, foreign().public_jwk()]),
        json!([rsa.public_jwk(), foreign().public_jwk(), own]),
        json!([{ "kty": "EC", "kid": "k-1" }, { "kty": "oct", "kid": "k-1", "k": "AA" }, own]),
    ] {
        let mut gates = set(keys.clone());
        assert_eq!(gates.show(&token(&key(), json!({}))), "allow", "{keys}");
        assert_eq!(gates.show(&headed(&key(), json!({ "kid": null }), json!({}))), "allow", "{keys}, no kid");
        let forged = token(&stranger.with_kid("k-1"), json!({}));
        assert_eq!(gates.show(&forged), "signature_invalid", "{keys}");
    }
    // A kid that no key has falls to the keys without one, and to none with another name.
    let mut gates = set(json!([own, kidless(&nameless)]));
    shown(
        &mut gates,
        &[
            ("a nameless key serves an unknown kid", token(&nameless, json!({})), "allow"),
            ("and a token without a kid", headed(&nameless, json!({ "kid": null }), json!({})), "allow"),
            ("but not the kid of another", token(&nameless.with_kid("k-1"), json!({})), "signature_invalid"),
            (
                "a named key does not serve an unknown kid",
                token(&key().with_kid("x"), json!({})),
                "signature_invalid",
            ),
            ("without a kid every key is tried", headed(&key(), json!({ "kid": null }), json!({})), "allow"),
        ],
    );
}
