//! Keys sign what their public halves verify.

use harness::idp::{b64, flip_bit, jwks};
use harness::{Alg, Idp, Key};
use serde_json::{Value, json};

fn decode(part: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64url")
}

/// Takes a compact JWS apart: what was signed, and the signature.
fn split(token: &str) -> (&str, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').expect("dots");
    (signed, decode(signature))
}

#[test]
fn every_algorithm_signs_and_verifies() {
    for alg in Alg::ALL {
        let key = Key::cached(alg, "k");
        let token = key.sign_jws(&json!({ "alg": alg.name() }), b"{}");
        let (signed, signature) = split(&token);
        assert!(key.verify(signed.as_bytes(), &signature), "{alg}");

        let bent = flip_bit(&token);
        let (signed, signature) = split(&bent);
        assert!(!key.verify(signed.as_bytes(), &signature), "{alg} with a flipped bit");
        assert!(
            !Key::generate(alg, "other").verify(signed.as_bytes(), &split(&token).1),
            "{alg} with another key"
        );
    }
}

#[test]
fn ecdsa_signatures_are_r_and_s_side_by_side() {
    for (alg, length) in [(Alg::ES256, 64), (Alg::ES384, 96), (Alg::ES512, 132), (Alg::EdDSA, 64)] {
        assert_eq!(Key::cached(alg, "k").sign_raw(b"x").len(), length, "{alg}");
    }
}

#[test]
fn public_keys_have_their_members() {
    let lengths = |jwk: &Value, name: &str| decode(jwk[name].as_str().expect("a member")).len();
    let rsa = Key::cached(Alg::RS256, "r").public_jwk();
    assert_eq!(
        (rsa["kty"].as_str(), rsa["e"].as_str(), lengths(&rsa, "n")),
        (Some("RSA"), Some("AQAB"), 256)
    );
    let ec = Key::cached(Alg::ES512, "e").public_jwk();
    assert_eq!((ec["crv"].as_str(), lengths(&ec, "x"), lengths(&ec, "y")), (Some("P-521"), 66, 66));
    let okp = Key::cached(Alg::EdDSA, "o").public_jwk();
    assert_eq!((okp["kty"].as_str(), lengths(&okp, "x")), (Some("OKP"), 32));
    assert_eq!(jwks([&Key::cached(Alg::RS256, "r")])["keys"][0], rsa);
}

#[test]
fn a_public_key_as_pem_is_a_secret_for_confusion() {
    let rsa = Key::cached(Alg::RS256, "r");
    let pem = rsa.public_pem();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----\n"));
    let confused = Key::hmac(Alg::HS256, "r", pem.as_bytes());
    let token = confused.sign_jws(&json!({ "alg": "HS256", "kid": "r" }), b"{}");
    let (signed, signature) = split(&token);
    assert!(confused.verify(signed.as_bytes(), &signature));
}

#[test]
fn tokens_can_be_bent() {
    let idp = Idp::start();
    let parts = |token: &str| -> (Value, Value) {
        let mut parts = token.split('.').map(decode);
        let mut next = || serde_json::from_slice(&parts.next().expect("a part")).expect("JSON");
        (next(), next())
    };
    let (header, claims) = parts(&idp.token(json!({ "scope": "orders:read" })));
    assert_eq!(header["alg"], "RS256");
    assert_eq!(header["kid"], "rs256-1");
    assert_eq!(claims["iss"], idp.issuer());
    assert_eq!(claims["aud"], "orders");
    assert_eq!(claims["scope"], "orders:read");

    let (header, claims) =
        parts(&idp.mint().alg(Alg::ES256).kid("nobody").header("x", 1).without("exp").claim("sub", 7).sign());
    assert_eq!(
        (&header["alg"], &header["kid"], &header["x"]),
        (&json!("ES256"), &json!("nobody"), &json!(1))
    );
    assert_eq!((claims.get("exp"), &claims["sub"]), (None, &json!(7)));

    let unsigned = idp.mint().unsigned();
    assert!(unsigned.ends_with('.'));
    assert_eq!(parts(&unsigned).0["alg"], "none");
    assert_eq!(b64([0xff, 0xfe]), "__4");
}
