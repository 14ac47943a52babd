//! Tokens that are made here, as rows of the form of `cases.jsonl`: for each row of the list of attacks what it tries, and
//! beside it what must pass. Each says the reason for which it is refused.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use harness::idp::{Alg, Key, b64, flip_bit, jwks};
use serde_json::{Value, json};

use crate::vectors::world::{AUDIENCE, ISSUER, NOW, claims, foreign, headed, key, raw, token, with};

/// The rows that were made so far.
#[derive(Default)]
struct Made(Vec<Value>);

impl Made {
    /// A token for the usual keys and rules, and the reason for which it is refused: `valid` where it is not, `keys`
    /// where the key set is.
    fn row(&mut self, id: &str, said: &str, token: impl Into<String>) {
        self.under(id, said, token, &usual_keys(), json!({}));
    }

    /// The same for other keys, or rules.
    fn under(&mut self, id: &str, said: &str, token: impl Into<String>, jwks: &Value, config: Value) {
        let config = with(json!({ "issuer": ISSUER, "audiences": [AUDIENCE] }), config);
        let expect = if said == "valid" { "valid" } else { "invalid" };
        self.0.push(json!({ "id": format!("made/{id}"), "layer": "jwt", "token": token.into(), "jwks": jwks,
            "now": NOW, "config": config, "expect": expect, "reason": id, "said": said }));
    }
}

/// A key of each kind, each under a name of its own.
fn usual_keys() -> Value {
    jwks([&key(), &rsa(), &edwards()])
}

fn rsa() -> Key {
    Key::cached(Alg::RS256, "rsa")
}

fn edwards() -> Key {
    Key::cached(Alg::EdDSA, "ed")
}

/// A key set of one key, of which this is replaced; `null` takes a member away.
fn set_of(key: &Key, more: Value) -> Value {
    let mut jwk = with(key.public_jwk(), more);
    jwk.as_object_mut().expect("a key").retain(|_, value| !value.is_null());
    json!({ "keys": [jwk] })
}

/// The three parts of a token.
fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().expect("three parts")
}

/// A token with these bytes in the place of its signature.
fn signed_as(token: &str, signature: &[u8]) -> String {
    let [header, payload, _] = parts(token);
    format!("{header}.{payload}.{}", b64(signature))
}

/// A token whose header is this text.
fn under_header(header: &str) -> String {
    key().sign_parts(header.as_bytes(), claims(json!({})).to_string().as_bytes())
}

/// Every row.
pub(super) fn rows() -> Vec<Value> {
    let mut made = Made::default();
    good(&mut made);
    algorithms(&mut made);
    confusions(&mut made);
    keys_of_the_token(&mut made);
    key_ids(&mut made);
    signatures_of_curves(&mut made);
    signatures_of_rsa(&mut made);
    key_material(&mut made);
    texts(&mut made);
    json_texts(&mut made);
    bytes_and_sizes(&mut made);
    extensions(&mut made);
    dates(&mut made);
    parties(&mut made);
    types(&mut made);
    made.0
}

/// Each algorithm as it should be, and with a bit turned.
fn good(made: &mut Made) {
    for alg in Alg::ALL {
        let own = Key::cached(alg, "own");
        let (token, keys) = (token(&own, json!({})), jwks([&own]));
        made.under(&format!("ok.{alg}"), "valid", &token, &keys, json!({}));
        made.under(
            &format!("ok.{alg}, a bit turned"),
            "signature_invalid",
            flip_bit(&token),
            &keys,
            json!({}),
        );
        let not_named = json!({ "algs": [if alg == Alg::ES256 { "ES384" } else { "ES256" }] });
        made.under(&format!("A18.{alg}, not named"), "algorithm_not_allowed", &token, &keys, not_named);
    }
    made.row("ok.no kid", "valid", headed(&key(), json!({ "kid": null }), json!({})));
    made.row("ok.more in the header", "valid", headed(&key(), json!({ "cty": "JWT", "x": [1] }), json!({})));
}

fn algorithms(made: &mut Made) {
    for name in ["none", "None", "NONE", "nOnE", "none ", "none\0", "n\u{43e}ne", "\u{200b}none", "null"] {
        let [_, payload, signature] = parts(&token(&key(), json!({}))).map(str::to_owned);
        let header = b64(json!({ "alg": name, "kid": "k-1" }).to_string());
        let row = if name == "none" { "A1" } else { "A2" };
        made.row(
            &format!("{row}.{name:?} unsigned"),
            "algorithm_not_allowed",
            format!("{header}.{payload}."),
        );
        made.row(
            &format!("{row}.{name:?}"),
            "algorithm_not_allowed",
            format!("{header}.{payload}.{signature}"),
        );
    }
    for alg in ["null", "256", "true", "[\"ES256\"]", "{\"alg\":\"ES256\"}"] {
        let token = under_header(&format!("{{\"alg\":{alg},\"kid\":\"k-1\"}}"));
        made.row(&format!("A3.{alg}"), "token_malformed", token);
    }
    made.row("A3.missing", "token_malformed", under_header("{\"kid\":\"k-1\"}"));
    for name in ["es256", "Es256", "ES256 ", "ES256\n", "ES-256", "SHA256withECDSA", ""] {
        let token = headed(&key(), json!({ "alg": name }), json!({}));
        made.row(&format!("A4.{name:?}"), "algorithm_not_allowed", token);
    }
    for name in
        ["ES256K", "RS1", "HS1", "RSA1_5", "A256KW", "dir", "PBES2-HS512+A256KW", "Ed448", "ML-DSA-44"]
    {
        made.row(
            &format!("A18.{name}"),
            "algorithm_not_allowed",
            headed(&key(), json!({ "alg": name }), json!({})),
        );
    }
}

/// One key, one algorithm; and public material as a secret.
fn confusions(made: &mut Made) {
    for own in [key(), rsa(), edwards()] {
        let (name, pem) = (own.alg(), own.public_pem());
        for (what, secret) in [
            ("PEM", pem.clone().into_bytes()),
            ("PEM without its last newline", pem.trim_end().as_bytes().to_vec()),
            ("PEM with CR LF", pem.replace('\n', "\r\n").into_bytes()),
            ("DER", own.public_der()),
            ("JWK", own.public_jwk().to_string().into_bytes()),
            ("key set", jwks([&own]).to_string().into_bytes()),
            ("the key id", own.kid().as_bytes().to_vec()),
            ("nothing", Vec::new()),
        ] {
            let forged = token(&Key::hmac(Alg::HS256, own.kid(), &secret), json!({}));
            made.row(&format!("A5.{name}, {what}"), "key_not_found", forged);
        }
    }
    for alg in [Alg::RS384, Alg::RS512, Alg::PS256, Alg::PS384] {
        made.row(&format!("A6.{alg} for RS256"), "key_not_found", token(&rsa().with_alg(alg), json!({})));
    }
    let open = set_of(&key(), json!({ "alg": null }));
    let says = |alg: &str| headed(&key(), json!({ "alg": alg }), json!({}));
    made.under("A7.ES384 on P-256", "key_not_found", says("ES384"), &open, json!({}));
    made.under("A7.EdDSA on P-256", "key_not_found", says("EdDSA"), &open, json!({}));
    let open = set_of(&rsa(), json!({ "alg": null }));
    for (own, said) in [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512"), ("PS256", "PS384")] {
        let signer = rsa().with_alg(own.parse().expect("an algorithm"));
        let token = headed(&signer, json!({ "alg": said }), json!({}));
        made.under(&format!("A8.{own} that says {said}"), "signature_invalid", token, &open, json!({}));
        let honest = headed(&signer, json!({}), json!({}));
        made.under(&format!("A8.{own} that says so"), "valid", honest, &open, json!({}));
    }
    for (what, signer, kid) in [("RS256", rsa(), "k-1"), ("ES256", key(), "rsa"), ("EdDSA", edwards(), "rsa")]
    {
        let token = headed(&signer, json!({ "kid": kid }), json!({}));
        made.row(&format!("A10.{what} and the kid {kid}"), "key_not_found", token);
    }
}

/// What a token says of its own key is not looked at.
fn keys_of_the_token(made: &mut Made) {
    let thief = foreign();
    for (row, name, value) in [
        ("A11", "jwk", thief.public_jwk()),
        ("A11", "jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("A12", "jku", json!("https://evil.example/keys")),
        ("A12", "jku", json!("https://issuer.example@evil.example/keys")),
        ("A12", "x5u", json!("file:///etc/ssl/key.pem")),
        ("A13", "x5c", json!([b64(thief.public_der())])),
        ("A13", "x5t#S256", json!("A".repeat(43))),
    ] {
        let forged = headed(&thief, json!({ name: value }), json!({}));
        made.row(&format!("{row}.{name} {value}"), "signature_invalid", forged);
        let honest = headed(&key(), json!({ name: value }), json!({}));
        made.row(&format!("{row}.{name} {value}, honest"), "valid", honest);
    }
    made.row("A11.a thief's token", "signature_invalid", token(&thief, json!({})));
    let both = jwks([&thief, &key()]);
    made.under("A17.two keys of one name", "valid", token(&key(), json!({})), &both, json!({}));
    let others = jwks([&rsa().with_kid("k-1"), &edwards().with_kid("k-1"), &key()]);
    made.under("A17.three kinds of one name", "valid", token(&key(), json!({})), &others, json!({}));
}

fn key_ids(made: &mut Made) {
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "k-1' OR '1'='1",
        "k-1;sleep 9",
        "$(id)",
        "k-1|id",
        "https://evil.example/k-1",
        "k-1\r\nx: y",
        "k-1\0",
        "__proto__",
        ".*",
        "k-?",
        "0",
        "%6b-1",
        "",
    ] {
        let token = headed(&key(), json!({ "kid": kid }), json!({}));
        made.row(&format!("A14.{kid:?}"), "key_not_found", token);
    }
    made.row("A14.long", "key_not_found", headed(&key(), json!({ "kid": "k".repeat(2000) }), json!({})));
    for kid in ["1", "null", "true", "[\"k-1\"]", "{\"kid\":\"k-1\"}"] {
        let token = under_header(&format!("{{\"alg\":\"ES256\",\"kid\":{kid}}}"));
        made.row(&format!("A15.{kid}"), "token_malformed", token);
    }
    for kid in ["K-1", "k-1 ", " k-1", "k\u{2010}1", "k-01", "k-", "k-11", "\u{feff}k-1"] {
        let token = headed(&key(), json!({ "kid": kid }), json!({}));
        made.row(&format!("A16.{kid:?}"), "key_not_found", token);
    }
}

/// Numbers that are no signature, and signatures in another form.
fn signatures_of_curves(made: &mut Made) {
    const ORDER: &str = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
    let order = BASE64_URL_SAFE_NO_PAD.decode(ORDER).expect("base64url");
    let own = token(&key(), json!({}));
    let signature = BASE64_URL_SAFE_NO_PAD.decode(parts(&own)[2]).expect("base64url");
    let (r, s) = signature.split_at(32);
    let one: Vec<u8> = (0..32).map(|at| u8::from(at == 31)).collect();
    for (id, other) in [
        ("S1.zero and zero", vec![0; 64]),
        ("S1.r and zero", [r, &[0; 32]].concat()),
        ("S1.zero and s", [&[0; 32], s].concat()),
        ("S1.one and one", [one.clone(), one].concat()),
        ("S1.the order twice", [order.clone(), order.clone()].concat()),
        ("S1.the order and s", [&order, s].concat()),
        ("S4.all ones", vec![0xff; 64]),
        ("S4.r and the order", [r, &order].concat()),
        ("S2.DER", der(r, s)),
        ("S2.DER of zero and zero", vec![0x30, 6, 2, 1, 0, 2, 1, 0]),
        ("S3.one byte less", signature[..63].to_vec()),
        ("S3.one byte more", [&signature[..], &[0]].concat()),
        ("S3.a zero before each", [&[0], r, &[0], s].concat()),
        ("S3.r alone", r.to_vec()),
        ("S3.the other way round", [s, r].concat()),
    ] {
        made.row(id, "signature_invalid", signed_as(&own, &other));
    }
    for (alg, size) in [(Alg::ES384, 96), (Alg::ES512, 132), (Alg::EdDSA, 64)] {
        let own = Key::cached(alg, "own");
        let token = token(&own, json!({}));
        for (what, bytes) in
            [("zeros", vec![0; size]), ("ones", vec![0xff; size]), ("short", vec![1; size - 1])]
        {
            made.under(
                &format!("S1.{alg}, {what}"),
                "signature_invalid",
                signed_as(&token, &bytes),
                &jwks([&own]),
                json!({}),
            );
        }
    }
    // The order of the group of Ed25519 on top of S: the same number, and another text.
    const GROUP: [u8; 16] =
        [0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14];
    let own = token(&edwards(), json!({}));
    let mut past = BASE64_URL_SAFE_NO_PAD.decode(parts(&own)[2]).expect("base64url");
    let order: Vec<u8> = GROUP.into_iter().chain([0; 15]).chain([0x10]).collect();
    let mut carry = 0;
    for (byte, more) in past[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(more);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    made.row("S14.S past the order", "signature_invalid", signed_as(&own, &past));
}

/// Two numbers of 32 bytes as DER.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = &number[zeros..];
        let sign: &[u8] = if digits.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
        let length = u8::try_from(digits.len() + sign.len()).expect("a short number");
        [&[2, length], sign, digits].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(body.len()).expect("a short body")], body].concat()
}

fn signatures_of_rsa(made: &mut Made) {
    let modulus = rsa().public_jwk()["n"].as_str().map(|n| BASE64_URL_SAFE_NO_PAD.decode(n)).expect("n");
    let modulus = modulus.expect("base64url");
    for alg in [Alg::RS256, Alg::PS256] {
        let own = rsa().with_alg(alg);
        let (token, keys) = (token(&own, json!({})), jwks([&own]));
        let signature = BASE64_URL_SAFE_NO_PAD.decode(parts(&token)[2]).expect("base64url");
        let one: Vec<u8> = (0..256).map(|at| u8::from(at == 255)).collect();
        for (what, other) in [
            ("zero", vec![0; 256]),
            ("one", one),
            ("the modulus", modulus.clone()),
            ("all ones", vec![0xff; 256]),
            ("a zero before", [&[0], &signature[..]].concat()),
            ("one byte less", signature[1..].to_vec()),
            ("one byte less at the end", signature[..255].to_vec()),
            ("one byte", vec![1]),
            // The padded hash itself, as if it had been signed with e = 1.
            ("padding", [&[0, 1], &[0xff; 202][..], &[0], &[0x30; 51]].concat()),
        ] {
            made.under(
                &format!("S6.{alg}, {what}"),
                "signature_invalid",
                signed_as(&token, &other),
                &keys,
                json!({}),
            );
        }
    }
}

/// Keys that a set may hold and nobody may use.
fn key_material(made: &mut Made) {
    let odd = |bits: usize| {
        let mut n = vec![0x5a; bits / 8];
        n[0] = 0xc1;
        n[bits / 8 - 1] = 0x35;
        b64(n)
    };
    let own = token(&rsa(), json!({}));
    for (id, more) in [
        ("S8.512 bits", json!({ "n": odd(512) })),
        ("S8.1024 bits", json!({ "n": odd(1024) })),
        ("S9.no exponent", json!({ "e": "" })),
        ("S9.e = 0", json!({ "e": "AA" })),
        ("S9.e = 1", json!({ "e": "AQ" })),
        ("S9.e = 2", json!({ "e": "Ag" })),
        ("S10.e of 41 bits", json!({ "e": b64([1, 0, 0, 0, 0, 1]) })),
        ("S10.16384 bits", json!({ "n": odd(16384) })),
        ("S18.a private key", json!({ "d": odd(2048) })),
        ("J7.for encryption", json!({ "use": "enc" })),
        ("J7.to sign with", json!({ "use": null, "key_ops": ["sign"] })),
        ("J7.for another algorithm", json!({ "alg": "RSA-OAEP" })),
        ("J6.of no kind", json!({ "kty": null })),
    ] {
        made.under(id, "keys", &own, &set_of(&rsa(), more), json!({}));
    }
    let own = token(&key(), json!({}));
    let coordinate = |name: &str| key().public_jwk()[name].clone();
    for (id, more) in [
        ("S12.zero", json!({ "x": b64([0; 32]), "y": b64([0; 32]) })),
        ("S12.x twice", json!({ "y": coordinate("x") })),
        ("S12.the other way round", json!({ "x": coordinate("y"), "y": coordinate("x") })),
        ("S12.no y", json!({ "y": null })),
        ("S12.another curve", json!({ "crv": "P-384" })),
        ("S12.no curve", json!({ "crv": null })),
        ("S12.x past the prime", json!({ "x": b64([0xff; 32]) })),
    ] {
        made.under(id, "keys", &own, &set_of(&key(), more), json!({}));
    }
    // Points of an order of 1, 2, 4 and 8: for them a signature of nothing holds for every text.
    let order_8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let points = ["01", "00", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", order_8];
    let nothing: Vec<u8> = (0..64).map(|at| u8::from(at == 0)).collect();
    for point in points {
        let mut bytes: Vec<u8> = (0..point.len() / 2)
            .map(|at| u8::from_str_radix(&point[2 * at..][..2], 16).expect("hex"))
            .collect();
        bytes.resize(32, 0);
        let set = set_of(&edwards(), json!({ "x": b64(bytes) }));
        made.under(
            &format!("S13.{point}"),
            "keys",
            signed_as(&token(&edwards(), json!({})), &nothing),
            &set,
            json!({}),
        );
    }
    for (alg, length) in [(Alg::HS256, 31), (Alg::HS256, 0), (Alg::HS384, 32), (Alg::HS512, 63)] {
        let short = Key::hmac(alg, "short", &vec![7; length]);
        made.under(
            &format!("S15.{alg}, {length} bytes"),
            "keys",
            token(&short, json!({})),
            &jwks([&short]),
            json!({}),
        );
    }
    let secret = Key::hmac(Alg::HS256, "secret", &[7; 32]);
    let fetched = json!({ "jwks_source": "remote" });
    made.under("S16.a fetched secret", "keys", token(&secret, json!({})), &jwks([&secret]), fetched);
    made.under("S16.a local secret", "valid", token(&secret, json!({})), &jwks([&secret]), json!({}));
}

/// One token has one text.
fn texts(made: &mut Made) {
    // A signature with both characters that the two alphabets write differently.
    let own = std::iter::repeat_with(|| token(&key(), json!({})))
        .find(|token| parts(token)[2].contains('-') && parts(token)[2].contains('_'))
        .expect("a token");
    let [header, payload, signature] = parts(&own);
    let last = signature.chars().last().and_then(|last| u8::try_from(last).ok()).expect("ASCII");
    let loose = format!("{header}.{payload}.{}{}", &signature[..85], char::from(last + 1));
    let standard =
        BASE64_STANDARD_NO_PAD.encode(BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url"));
    let flattened = json!({ "protected": header, "payload": payload, "signature": signature });
    let general =
        json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }] });
    made.row("ok.this text", "valid", &own);
    for (id, said, text) in [
        ("F1.nothing", "token_malformed", String::new()),
        ("F1.one part", "token_malformed", header.to_owned()),
        ("F1.two parts", "token_malformed", format!("{header}.{payload}")),
        ("F1.four parts", "token_malformed", format!("{own}.{signature}")),
        ("F1.dots alone", "token_malformed", "..".to_owned()),
        ("F1.a dot before", "token_malformed", format!(".{own}")),
        ("F1.no payload", "token_malformed", format!("{header}..{signature}")),
        ("F2.flattened", "token_malformed", flattened.to_string()),
        ("F2.general", "token_malformed", general.to_string()),
        ("F3.five parts", "token_encrypted", format!("{header}.{payload}.{signature}.{payload}.{signature}")),
        ("F3.enc in the header", "token_encrypted", headed(&key(), json!({ "enc": "A256GCM" }), json!({}))),
        ("F4.padded signature", "token_malformed", format!("{own}==")),
        ("F4.padded payload", "token_malformed", format!("{header}.{payload}=.{signature}")),
        ("F4.padded header", "token_malformed", format!("{header}=.{payload}.{signature}")),
        ("F5.the other alphabet", "token_malformed", format!("{header}.{payload}.{standard}")),
        ("F6.a blank", "token_malformed", format!("{header}.{payload}. {signature}")),
        ("F6.a tab", "token_malformed", format!("{header}\t.{payload}.{signature}")),
        ("F6.a newline", "token_malformed", format!("{own}\n")),
        ("F6.a NUL", "token_malformed", format!("{own}\0")),
        ("F6.a question mark", "token_malformed", format!("{header}.{payload}?.{signature}")),
        ("F7.unused bits", "token_malformed", loose),
        ("F8.percent", "token_malformed", own.replacen('.', "%2E", 1)),
        ("F8.another dot", "token_malformed", own.replacen('.', "\u{3002}", 1)),
        ("F8.quotes", "token_malformed", format!("\"{own}\"")),
        ("F9.text behind it", "token_malformed", format!("{own} and more")),
    ] {
        made.row(id, said, text);
    }
}

/// What is no JSON for the RFC, and is for some readers.
fn json_texts(made: &mut Made) {
    let payload = claims(json!({})).to_string();
    let more = |member: &str| raw(&key(), &payload.replacen('{', &format!("{{{member},"), 1));
    for member in [
        "\"n\":NaN",
        "\"n\":Infinity",
        "\"n\":-Infinity",
        "\"n\":0x10",
        "\"n\":007",
        "\"n\":+1",
        "\"n\":1.",
        "\"n\":.5",
        "\"n\":1e",
        "\"n\":1_000",
        "\"n\":'a'",
        "n:1",
        "'n':1",
        "\"n\":undefined",
        "\"n\":True",
        "\"n\":[1,]",
        "\"n\":{\"a\":1,}",
        "\"n\":[1 2]",
        "\"n\" 1",
        "\"n\":1,",
        "\"n\":\"\\x41\"",
        "\"n\":\"\\u12\"",
        "\"n\":\"a\nb\"",
        "\"n\":\"\\ud83d\"",
        "/* n */\"n\":1",
        "\"n\":1//\n",
        "\"n\":\"a\tb\"",
        "\"n\":nul",
        "\"n\":--1",
        "\"n\":1e400",
    ] {
        made.row(&format!("F12.{member:?}"), "token_malformed", more(member));
    }
    for member in
        ["\"n\":1E2", "\"n\":-0", "\"n\":1.50e-3", "\"n\":\"\\u0000\"", "\"n\":[[],{}]", "\"n\" : null "]
    {
        made.row(&format!("F12.{member:?} is JSON"), "valid", more(member));
    }
    for (what, text) in [
        ("no end", payload[..payload.len() - 1].to_owned()),
        ("two ends", format!("{payload}}}")),
        ("two texts", format!("{payload}{payload}")),
        ("a NUL behind", format!("{payload}\0")),
        ("a form feed before", format!("\u{c}{payload}")),
        ("a no-break space before", format!("\u{a0}{payload}")),
    ] {
        made.row(&format!("F12.{what}"), "token_malformed", raw(&key(), &text));
    }
    made.row("F12.blanks around", "valid", raw(&key(), &format!(" \r\n\t{payload}\n")));
    for member in ["\"sub\":\"root\"", "\"s\\u0075b\":\"root\"", "\"exp\":1", "\"n\":{\"a\":1,\"a\":1}"] {
        made.row(&format!("F11.{member}"), "token_malformed", more(member));
    }
    for header in [
        r#"{"alg":"none","alg":"ES256","kid":"k-1"}"#,
        r#"{"alg":"ES256","alg":"none","kid":"k-1"}"#,
        r#"{"alg":"ES256","\u0061lg":"ES256","kid":"k-1"}"#,
        r#"{"alg":"ES256","kid":"k-1","kid":"k-1"}"#,
    ] {
        made.row(&format!("F10.{header}"), "token_malformed", under_header(header));
    }
    for text in ["null", "true", "7", "\"iss\"", "[]", "[{}]", ""] {
        made.row(&format!("F16.claims {text:?}"), "token_malformed", raw(&key(), text));
        made.row(&format!("F16.header {text:?}"), "token_malformed", under_header(text));
    }
}

fn bytes_and_sizes(made: &mut Made) {
    let payload = claims(json!({ "n": "HERE" })).to_string();
    let (before, behind) = payload.split_once("HERE").expect("the place");
    let header = br#"{"alg":"ES256","kid":"k-1"}"#;
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    for (what, bytes) in [
        ("a lone byte", &b"\xfe"[..]),
        ("an overlong slash", b"\xe0\x80\xaf"),
        ("half of a pair", b"\xed\xbf\xbf"),
        ("past the last character", b"\xf4\x90\x80\x80"),
        ("cut short", b"\xe2\x82"),
    ] {
        let text = [before.as_bytes(), bytes, behind.as_bytes()].concat();
        made.row(&format!("F13.{what}"), "token_malformed", key().sign_parts(header, &text));
    }
    made.row("F13.UTF-16", "token_malformed", key().sign_parts(header, &utf_16(&payload)));
    let marked = [b"\xef\xbb\xbf", payload.as_bytes()].concat();
    made.row("F13.a byte order mark", "token_malformed", key().sign_parts(header, &marked));
    let text = [before.as_bytes(), "\u{20ac}\u{1f511}".as_bytes(), behind.as_bytes()].concat();
    made.row("F13.beyond ASCII", "valid", key().sign_parts(header, &text));
    for (open, close) in [("[", "]"), ("{\"n\":", "}")] {
        for (depth, said) in [(60, "valid"), (200, "token_malformed"), (5000, "token_malformed")] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let claims = payload.replacen('{', &format!("{{\"deep\":{deep},"), 1);
            made.row(&format!("F14.claims, {depth} of {open}"), said, raw(&key(), &claims));
            if depth < 1000 {
                let header = format!("{{\"alg\":\"ES256\",\"kid\":\"k-1\",\"deep\":{deep}}}");
                made.row(&format!("F14.header, {depth} of {open}"), said, under_header(&header));
            }
        }
    }
    let small = json!({ "max_token": 4096 });
    for (size, said) in [(2000, "valid"), (4000, "token_too_large"), (100_000, "token_too_large")] {
        let token = token(&key(), json!({ "n": "x".repeat(size) }));
        made.under(&format!("F15.{size} bytes more"), said, token, &usual_keys(), small.clone());
    }
}

fn extensions(made: &mut Made) {
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!(["alg"]),
        json!(["n", "n"]),
        json!(["absent"]),
        json!([]),
        json!([7]),
        json!("n"),
        json!({}),
        json!(true),
    ] {
        let token = headed(&key(), json!({ "crit": crit, "n": 1, "exp": NOW }), json!({}));
        made.row(&format!("F17.{crit}"), "critical_header", token);
    }
    let null = under_header(r#"{"alg":"ES256","kid":"k-1","crit":null}"#);
    made.row("F17.null", "critical_header", null);
    for header in [json!({ "b64": false }), json!({ "b64": true }), json!({ "b64": false, "crit": ["b64"] })]
    {
        made.row(&format!("F18.{header}"), "critical_header", headed(&key(), header, json!({})));
    }
    for zip in [json!("DEF"), json!("GZIP"), json!(""), json!(1)] {
        made.row(&format!("F19.{zip}"), "token_malformed", headed(&key(), json!({ "zip": zip }), json!({})));
    }
}

fn dates(made: &mut Made) {
    for name in ["exp", "nbf", "iat"] {
        for value in [json!("1800000300"), json!(true), json!([NOW]), json!({}), json!(-1), json!(1u64 << 63)]
        {
            let id = format!("{}.{name} {value}", if value.is_number() { "C3" } else { "C1" });
            made.row(&id, "claim_invalid", token(&key(), json!({ name: value })));
        }
        let with_text = |text: &str| {
            let claims = claims(json!({ name: "HERE" })).to_string();
            raw(&key(), &claims.replacen("\"HERE\"", text, 1))
        };
        made.row(&format!("C1.{name} null"), "claim_invalid", with_text("null"));
        made.row(&format!("C3.{name} past 64 bits"), "claim_invalid", with_text("18446744073709551616"));
        made.row(&format!("C3.{name} past a double"), "token_malformed", with_text("1e999"));
    }
    let date = |claims: Value| token(&key(), claims);
    made.row("C2.exp with a fraction", "valid", date(json!({ "exp": 1_800_000_000.5 })));
    made.row("C2.exp with an exponent", "valid", date(json!({ "exp": 1.9e9 })));
    let leeway = || json!({ "leeway": 30 });
    for (id, said, claims, config) in [
        ("C4.the last second", "valid", json!({ "exp": NOW + 1 }), json!({})),
        ("C4.now", "expired", json!({ "exp": NOW }), json!({})),
        ("C4.yesterday", "expired", json!({ "exp": NOW - 86_400 }), json!({})),
        ("C4.at zero", "expired", json!({ "exp": 0 }), json!({})),
        ("C4.from now", "valid", json!({ "nbf": NOW }), json!({})),
        ("C4.from the next second", "not_yet_valid", json!({ "nbf": NOW + 1 }), json!({})),
        ("C5.inside the leeway", "valid", json!({ "exp": NOW - 29 }), leeway()),
        ("C5.at its end", "expired", json!({ "exp": NOW - 30 }), leeway()),
        ("C5.from inside the leeway", "valid", json!({ "nbf": NOW + 30 }), leeway()),
        ("C5.from beyond it", "not_yet_valid", json!({ "nbf": NOW + 31 }), leeway()),
        ("C5.issued beyond it", "issued_in_future", json!({ "iat": NOW + 31 }), leeway()),
        ("C6.no end", "expiration_missing", json!({ "exp": null }), json!({ "require_exp": true })),
        ("C6.no end, and none asked for", "valid", json!({ "exp": null }), json!({})),
        ("C7.a day", "lifetime_exceeded", json!({ "exp": NOW + 86_400 }), json!({ "max_lifetime": 3600 })),
        ("C7.an hour", "valid", json!({ "exp": NOW + 3600 }), json!({ "max_lifetime": 3600 })),
    ] {
        made.under(id, said, date(claims), &usual_keys(), config);
    }
}

/// Whom a token is from, for, and about.
fn parties(made: &mut Made) {
    let own = |claims: Value| token(&key(), claims);
    for aud in [json!("api"), json!(["api"]), json!(["other", "api"])] {
        made.row(&format!("C8.{aud}"), "valid", own(json!({ "aud": aud })));
    }
    for aud in [json!(7), json!(true), json!({ "api": true }), json!(["api", 7]), json!([["api"]])] {
        made.row(&format!("C8.{aud}"), "claim_invalid", own(json!({ "aud": aud })));
    }
    for aud in [
        json!("API"),
        json!("api "),
        json!("apis"),
        json!("ap"),
        json!("api,other"),
        json!("api other"),
        json!("*"),
        json!(""),
        json!("api\0"),
        json!([]),
        json!(["other"]),
    ] {
        made.row(&format!("C9.{aud}"), "audience_mismatch", own(json!({ "aud": aud })));
    }
    made.row("C9.no audience", "audience_mismatch", own(json!({ "aud": null })));
    let url = || json!({ "audiences": ["https://api.example"] });
    for aud in [
        "https://api.example/",
        "http://api.example",
        "api.example",
        "https://API.example",
        "https://api.example:443",
    ] {
        let token = own(json!({ "aud": aud }));
        made.under(&format!("C10.{aud}"), "audience_mismatch", token, &usual_keys(), url());
    }
    for iss in [
        "https://issuer.example/",
        "https://Issuer.example",
        "http://issuer.example",
        "https://issuer.example.evil.example",
        "https://issuer.example@evil.example",
        "https://issuer.example:443",
        "issuer.example",
        "",
        "https://issuer.example\0",
        "https://issuer.exampl\u{435}",
    ] {
        made.row(&format!("C11.{iss:?}"), "issuer_unknown", own(json!({ "iss": iss })));
    }
    for iss in [json!([ISSUER]), json!(7), json!({ "iss": ISSUER })] {
        made.row(&format!("C11.{iss}"), "claim_invalid", own(json!({ "iss": iss })));
    }
    made.row("C11.no issuer", "issuer_unknown", own(json!({ "iss": null })));
    made.row("C12.another issuer's token", "issuer_unknown", own(json!({ "iss": "https://other.example" })));
    for name in ["sub", "jti"] {
        for value in [json!(7), json!(false), json!(["alice"]), json!({ "id": "alice" })] {
            made.row(&format!("C13.{name} {value}"), "claim_invalid", own(json!({ name: value })));
        }
    }
    let alice = || json!({ "subject": "alice" });
    made.under("C13.alice", "valid", own(json!({})), &usual_keys(), alice());
    made.under("C13.Alice", "subject_mismatch", own(json!({ "sub": "Alice" })), &usual_keys(), alice());
}

/// What kind of token it says it is.
fn types(made: &mut Made) {
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/JWT"] {
        made.row(&format!("C14.{typ}"), "valid", headed(&key(), json!({ "typ": typ }), json!({})));
    }
    made.row("C14.none", "valid", headed(&key(), json!({ "typ": null }), json!({})));
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "statuslist+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "JWE",
        "text/at+jwt",
        "at+jwt ",
        "at jwt",
        "",
    ] {
        let token = headed(&key(), json!({ "typ": typ }), json!({}));
        made.row(&format!("C15.{typ:?}"), "type_not_allowed", token);
    }
    let strict = || json!({ "typ": ["at+jwt"] });
    let id_token = headed(&key(), json!({}), json!({ "nonce": "n", "at_hash": "h" }));
    made.under(
        "C14.an ID token where access tokens say so",
        "type_not_allowed",
        id_token,
        &usual_keys(),
        strict(),
    );
    let access = headed(&key(), json!({ "typ": "at+jwt" }), json!({}));
    made.under("C14.an access token that says so", "valid", access, &usual_keys(), strict());
}
