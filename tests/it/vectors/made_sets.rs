//! Key sets that are made here, as rows of the form of `jwks_cases.jsonl`: whether the text is one, and how many keys of
//! it are for signatures.

use harness::idp::{Alg, Key, b64, jwks};
use serde_json::{Value, json};

use crate::vectors::world::with;

/// What a row says: that it is a set, with so many keys that are used; or that it is none.
type Said = Result<usize, ()>;

fn row(id: &str, said: Said, text: impl Into<String>) -> Value {
    json!({ "id": format!("made/{id}"), "text": text.into(), "accept": said.is_ok(), "usable": said.unwrap_or(0) })
}

fn good() -> Key {
    Key::cached(Alg::ES256, "good")
}

/// Every row.
pub(super) fn rows() -> Vec<Value> {
    [sets(), keys(), other_texts()].concat()
}

/// Sets as they are published.
fn sets() -> Vec<Value> {
    let public: Vec<Key> = Alg::ALL
        .into_iter()
        .filter(|alg| !alg.is_symmetric())
        .map(|alg| Key::cached(alg, alg.name()))
        .collect();
    let mut rows: Vec<Value> = Alg::ALL
        .into_iter()
        .map(|alg| row(&format!("J6.{alg}"), Ok(1), jwks([&Key::cached(alg, alg.name())]).to_string()))
        .collect();
    let set = jwks(&public);
    let own = good().public_jwk();
    let pretty = serde_json::to_string_pretty(&set).expect("JSON");
    let padded = with(own.clone(), json!({ "x": format!("{}=", own["x"].as_str().expect("x")) }));
    let more = with(set.clone(), json!({ "issuer": "https://issuer.example", "cache": { "ttl": 300 } }));
    rows.extend([
        row("J6.every kind", Ok(public.len()), set.to_string()),
        row("J6.on many lines", Ok(public.len()), pretty.replace('\n', "\r\n")),
        row("J6.more beside the keys", Ok(public.len()), more.to_string()),
        row(
            "J6.one name for two",
            Ok(2),
            json!({ "keys": [own, Key::cached(Alg::EdDSA, "good").public_jwk()] }).to_string(),
        ),
        row("J6.behind a byte order mark", Ok(1), format!("\u{feff}{}", jwks([&good()]))),
        row("J16.PEM by name", Ok(1), json!({ "good": good().public_pem() }).to_string()),
        row("J6.padded", Ok(1), json!({ "keys": [padded] }).to_string()),
        row("J4.no keys", Ok(0), json!({ "keys": [] }).to_string()),
        row("J5.as many as are read", Ok(500), many(500)),
        row("J5.one more", Err(()), many(501)),
        row(
            "J5.more bytes than are read",
            Err(()),
            with(jwks([&good()]), json!({ "n": "n".repeat(1 << 18) })).to_string(),
        ),
    ]);
    rows
}

/// A set of so many keys.
fn many(count: usize) -> String {
    let jwk = good().public_jwk();
    let keys: Vec<Value> = (0..count).map(|at| with(jwk.clone(), json!({ "kid": at.to_string() }))).collect();
    json!({ "keys": keys }).to_string()
}

/// One key that is not for us, alone and beside one that is.
fn keys() -> Vec<Value> {
    let rsa = Key::cached(Alg::RS256, "other").public_jwk();
    let point = Key::cached(Alg::ES256, "other").public_jwk();
    let edwards = Key::cached(Alg::EdDSA, "other").public_jwk();
    let of = |jwk: &Value, more: Value| with(jwk.clone(), more);
    let odd = [&[0xc1][..], &[0x5a; 126], &[0x35]].concat();
    let others = [
        ("J6.an unknown type", json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA" })),
        ("J6.X25519", of(&edwards, json!({ "crv": "X25519" }))),
        ("J6.secp256k1", of(&point, json!({ "crv": "secp256k1" }))),
        ("J6.no type", of(&point, json!({ "kty": null }))),
        ("J6.a type in lower case", of(&rsa, json!({ "kty": "rsa" }))),
        ("J6.empty", json!({})),
        ("J6.a text", json!("good")),
        ("J6.nothing", json!(null)),
        ("J6.a list", json!([point.clone()])),
        ("J6.a coordinate of another length", of(&point, json!({ "x": "AAAA" }))),
        ("J6.no point", of(&point, json!({ "x": b64([1; 32]), "y": b64([1; 32]) }))),
        ("J6.a number for a modulus", of(&rsa, json!({ "n": 7 }))),
        ("J6.1024 bits", of(&rsa, json!({ "n": b64(odd) }))),
        ("J6.e = 1", of(&rsa, json!({ "e": "AQ" }))),
        (
            "J6.a point of order one",
            of(&edwards, json!({ "x": b64((0..32).map(|at| u8::from(at == 0)).collect::<Vec<_>>()) })),
        ),
        ("J6.a short secret", json!({ "kty": "oct", "k": b64([7; 31]) })),
        ("J7.for encryption", of(&rsa, json!({ "use": "enc" }))),
        ("J7.an unknown use", of(&rsa, json!({ "use": "SIG" }))),
        ("J7.to encrypt", of(&rsa, json!({ "key_ops": ["encrypt", "wrapKey"] }))),
        ("J7.for another algorithm", of(&rsa, json!({ "alg": "RSA-OAEP-256" }))),
        ("J7.of another curve's algorithm", of(&point, json!({ "alg": "ES512" }))),
        ("J9.private", of(&point, json!({ "d": b64([7; 32]) }))),
        ("J9.private, of RSA", of(&rsa, json!({ "d": b64([7; 256]), "p": b64([7; 128]) }))),
    ];
    let mut rows = Vec::new();
    for (id, other) in others {
        rows.push(row(id, Ok(0), json!({ "keys": [other] }).to_string()));
        let beside = json!({ "keys": [other, good().public_jwk()] });
        rows.push(row(&format!("{id}, beside a good one"), Ok(1), beside.to_string()));
    }
    rows
}

/// What an endpoint answers that has no keys for anybody.
fn other_texts() -> Vec<Value> {
    let jwk = good().public_jwk();
    let set = jwks([&good()]).to_string();
    let utf_16: String = set.chars().flat_map(|one| ['\0', one]).collect();
    [
        ("J4.nothing", String::new()),
        ("J4.a page", "<!DOCTYPE html>\n<html><title>Sign in</title></html>".to_owned()),
        (
            "J4.an error",
            json!({ "error": "temporarily_unavailable", "error_description": "later" }).to_string(),
        ),
        ("J4.a status", "503 Service Unavailable".to_owned()),
        ("J4.null", "null".to_owned()),
        ("J4.a number", "0".to_owned()),
        ("J4.a text", json!(set).to_string()),
        (
            "J4.metadata",
            json!({ "issuer": "https://issuer.example", "jwks_uri": "https://issuer.example/keys" })
                .to_string(),
        ),
        ("J4.a key alone", jwk.to_string()),
        ("J4.a list of keys", json!([jwk]).to_string()),
        ("J4.keys by name", json!({ "keys": { "good": jwk } }).to_string()),
        ("J4.a text for keys", json!({ "keys": jwk.to_string() }).to_string()),
        ("J4.null for keys", json!({ "keys": null }).to_string()),
        ("J4.keys in another case", json!({ "Keys": [jwk] }).to_string()),
        ("J4.cut short", set[..set.len() - 1].to_owned()),
        ("J4.two", format!("{set}{set}")),
        ("J4.JSONP", format!("keys({set});")),
        ("J4.a comma too many", set.replace("]}", ",]}")),
        ("J4.quotes of another kind", set.replace('"', "'")),
        ("J4.a PEM text", good().public_pem()),
        ("J4.UTF-16", utf_16),
        ("J4.a member twice", set.replacen('{', "{\"keys\":[],", 1)),
        ("J5.deeply nested", format!("{{\"keys\":{}{}}}", "[".repeat(5000), "]".repeat(5000))),
    ]
    .into_iter()
    .map(|(id, text)| row(id, Err(()), text))
    .collect()
}
