//! Signatures and key material: the rows S.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::idp::{Alg, Key, b64, flip_bit, jwks};
use harness::wait::processor_time;
use portcullis::{KeyError, RsaKey};
use serde_json::{Value, json};

use crate::vectors::judge;
use crate::vectors::world::{Gates, is_refused, key, token, trusting, usual, with};

#[test]
pub(crate) fn s3_s6_a_signature_has_one_length() {
    for own in [
        key(),
        Key::cached(Alg::ES384, "k-1"),
        Key::cached(Alg::ES512, "k-1"),
        Key::cached(Alg::RS256, "k-1"),
        Key::cached(Alg::PS256, "k-1"),
        Key::cached(Alg::EdDSA, "k-1"),
    ] {
        let mut gates = Gates::of(&with(trusting([&own]), json!({ "max_token_size": 1 << 20 })));
        let token = token(&own, json!({}));
        let (signed, signature) = token.rsplit_once('.').expect("a dot");
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        assert_eq!(gates.show(&token), "allow", "{own:?}");
        let half = signature.len() / 2;
        for (what, other) in [
            ("one byte less", signature[1..].to_vec()),
            ("one byte less at the end", signature[..signature.len() - 1].to_vec()),
            ("a zero before", [&[0], &signature[..]].concat()),
            ("a zero behind", [&signature[..], &[0]].concat()),
            ("a zero before each half", [&[0], &signature[..half], &[0], &signature[half..]].concat()),
            ("half of it", signature[..half].to_vec()),
            ("twice", [&signature[..], &signature[..]].concat()),
            ("one byte", vec![1]),
            ("all zeros", vec![0; signature.len()]),
            ("all ones", vec![0xff; signature.len()]),
            ("huge", vec![1; 100_000]),
        ] {
            assert_eq!(
                gates.show(&format!("{signed}.{}", b64(other))),
                "signature_invalid",
                "{own:?} {what}"
            );
        }
    }
}

/// a + b, or b - a, of big-endian numbers of one length; and whether it overflowed.
fn sum(a: &[u8], b: &[u8]) -> (Vec<u8>, bool) {
    let mut carry = 0u16;
    let mut digits: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(*b);
            let digit = carry.to_le_bytes()[0];
            carry >>= 8;
            digit
        })
        .collect();
    digits.reverse();
    (digits, carry != 0)
}

#[test]
pub(crate) fn s5_the_high_twin_of_a_signature_holds_and_is_a_token_of_its_own() {
    /// The order of P-256.
    const ORDER: &str = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
    let order = BASE64_URL_SAFE_NO_PAD.decode(ORDER).expect("base64url");
    let token = token(&key(), json!({}));
    let (signed, signature) = token.rsplit_once('.').expect("a dot");
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let (r, s) = signature.split_at(32);
    // n - s = n + (2^256 - s), and 2^256 - s is the complement of s, and one more.
    let complement: Vec<u8> = s.iter().map(|byte| !byte).collect();
    let one: Vec<u8> = (0..32).map(|at| u8::from(at == 31)).collect();
    let (twin, _) = sum(&order, &sum(&complement, &one).0);
    let twin = format!("{signed}.{}", b64([r, &twin].concat()));
    assert_ne!(twin, token);
    let mut gates = Gates::of(&usual(json!({})));
    // In either order, from the cache and without it: RFC 7518 section 3.4 knows no low S.
    for token in [&token, &twin, &twin, &token] {
        assert_eq!(gates.show(token), "allow");
    }
    assert_eq!(gates.show(&flip_bit(&twin)), "signature_invalid");
    // S past the order is no number of the field.
    let (past, overflow) = sum(s, &order);
    if !overflow {
        assert_eq!(gates.show(&format!("{signed}.{}", b64([r, &past].concat()))), "signature_invalid");
    }
}

#[test]
pub(crate) fn s6_a_signature_past_the_modulus_is_refused() {
    let rsa = Key::cached(Alg::RS256, "k-1");
    let n = BASE64_URL_SAFE_NO_PAD.decode(rsa.public_jwk()["n"].as_str().expect("n")).expect("base64url");
    for alg in [Alg::RS256, Alg::PS256] {
        let own = rsa.with_alg(alg);
        let mut gates = Gates::of(&trusting([&own]));
        // Not every signature leaves room for the modulus.
        let unreduced = (0..400).find_map(|number| {
            let token = token(&own, json!({ "jti": number.to_string() }));
            let (signed, signature) = token.rsplit_once('.').expect("a dot");
            let (more, overflow) = sum(&BASE64_URL_SAFE_NO_PAD.decode(signature).expect("base64url"), &n);
            (!overflow).then(|| (token.clone(), format!("{signed}.{}", b64(more))))
        });
        let (token, unreduced) = unreduced.expect("a signature with room for the modulus");
        assert_eq!(gates.show(&token), "allow", "{alg}");
        assert_eq!(gates.show(&unreduced), "signature_invalid", "{alg}");
    }
}

#[test]
pub(crate) fn s8_s9_s10_a_key_is_bounded() {
    let odd = |bits: usize| {
        let mut n = vec![0x5a; bits / 8];
        n[0] = 0xc1;
        n[bits / 8 - 1] = 0x35;
        n
    };
    let even = |mut n: Vec<u8>| {
        *n.last_mut().expect("a byte") &= 0xfe;
        n
    };
    let f4: &[u8] = &[1, 0, 1];
    let huge = odd(2048);
    let cases = [
        ("S8: 512 bits", odd(512), f4, Some(KeyError::TooSmall)),
        ("S8: 1024 bits", odd(1024), f4, Some(KeyError::TooSmall)),
        ("S8: 2040 bits", odd(2040), f4, Some(KeyError::TooSmall)),
        ("S8: 2040 bits and a zero", [vec![0], odd(2040)].concat(), f4, Some(KeyError::TooSmall)),
        ("S8: nothing", Vec::new(), f4, Some(KeyError::TooSmall)),
        ("2048 bits", odd(2048), f4, None),
        ("8192 bits", odd(8192), f4, None),
        ("S9: even modulus", even(odd(2048)), f4, Some(KeyError::BadExponentOrModulus)),
        ("S9: e = 0", odd(2048), &[0][..], Some(KeyError::BadExponentOrModulus)),
        ("S9: no e", odd(2048), &[], Some(KeyError::BadExponentOrModulus)),
        ("S9: e = 1", odd(2048), &[1], Some(KeyError::BadExponentOrModulus)),
        ("S9: e = 1 and zeros", odd(2048), &[0, 0, 1], Some(KeyError::BadExponentOrModulus)),
        ("S9: e = 2", odd(2048), &[2], Some(KeyError::BadExponentOrModulus)),
        ("S9: e = 65536", odd(2048), &[1, 0, 0], Some(KeyError::BadExponentOrModulus)),
        ("e = 3", odd(2048), &[3], None),
        ("S10: e of 48 bits", odd(2048), &[1, 0, 0, 0, 0, 1], Some(KeyError::BadExponentOrModulus)),
        ("S10: e as long as n", odd(2048), &huge, Some(KeyError::BadExponentOrModulus)),
        ("S10: 8200 bits", odd(8200), f4, Some(KeyError::TooLarge)),
        ("S10: 16384 bits", odd(16384), f4, Some(KeyError::TooLarge)),
    ];
    for (what, n, e, expected) in cases {
        let (refused, took) = processor_time(|| RsaKey::new(&n, e).err());
        assert_eq!(refused, expected, "{what}");
        assert!(took < Duration::from_millis(500), "{what}: {took:?}");
    }
}

#[test]
pub(crate) fn s12_a_point_is_on_its_curve_and_of_full_length() {
    let set = |jwk: Value| judge::remote(&json!({ "keys": [jwk] }));
    let x_of = |jwk: &Value| BASE64_URL_SAFE_NO_PAD.decode(jwk["x"].as_str().expect("x")).expect("base64url");
    // Not one whose first byte is a zero, which may be left out.
    let good = std::iter::repeat_with(|| Key::generate(Alg::ES256, "k-1").public_jwk())
        .find(|jwk| x_of(jwk)[0] != 0)
        .expect("a key");
    assert!(set(good.clone()).is_ok());
    let x = x_of(&good);
    let prime =
        BASE64_URL_SAFE_NO_PAD.decode("_____wAAAAEAAAAAAAAAAAAAAAD_______________8").expect("base64url");
    for (what, member, value) in [
        ("x and y are zero", "both", vec![0; 32]),
        ("x is the prime", "x", prime),
        ("x is past the prime", "x", vec![0xff; 32]),
        ("x has 33 bytes, the first of which is no zero", "x", [&[1], &x[..]].concat()),
        ("x has 34 bytes", "x", [&[0, 0], &x[..]].concat()),
        ("x has 31 bytes", "x", x[1..].to_vec()),
        ("y is x", "y", x.clone()),
        ("x is empty", "x", Vec::new()),
        ("a point of P-256 that says P-384", "crv", Vec::new()),
    ] {
        let mut jwk = good.clone();
        match member {
            "both" => (jwk["x"], jwk["y"]) = (json!(b64(&value)), json!(b64(&value))),
            "crv" => jwk["crv"] = json!("P-384"),
            member => jwk[member] = json!(b64(&value)),
        }
        assert!(set(jwk).is_err(), "{what}");
    }
    for (member, value) in [
        ("crv", json!("p-256")),
        ("crv", json!("secp256k1")),
        ("crv", json!(1)),
        ("x", json!("=")),
        ("x", json!(1)),
    ] {
        let mut jwk = good.clone();
        jwk[member] = value.clone();
        assert!(set(jwk).is_err(), "{member} {value}");
    }
    // Ed25519: another length, or no point at all.
    let good = Key::cached(Alg::EdDSA, "k-1").public_jwk();
    for x in [vec![0; 31], vec![0; 33], vec![2; 32], Vec::new()] {
        let mut jwk = good.clone();
        jwk["x"] = json!(b64(&x));
        assert!(set(jwk).is_err(), "Ed25519 {x:?}");
    }
}

#[test]
pub(crate) fn s15_s16_a_secret_is_long_and_local() {
    let secret = |length: usize| Key::hmac(Alg::HS256, "k-1", &vec![7; length]);
    let local = |key: &Key| json!({ "local_jwks": { "inline_string": jwks([key]).to_string() }, "algorithms": ["HS256"] });
    for length in [0, 1, 16, 31] {
        assert!(is_refused(&local(&secret(length))), "{length} bytes");
    }
    let mut gates = Gates::of(&usual(local(&secret(32))));
    assert_eq!(gates.show(&token(&secret(32), json!({}))), "allow");
    assert_eq!(gates.show(&token(&secret(33), json!({}))), "signature_invalid");
    // The hash of HS512 is longer than this secret.
    let mut open = secret(32).public_jwk();
    open.as_object_mut().expect("a key").remove("alg");
    let both = json!({
        "local_jwks": { "inline_string": json!({ "keys": [open] }).to_string() },
        "algorithms": ["HS256", "HS512"],
    });
    let mut gates = Gates::of(&usual(both));
    assert_eq!(gates.show(&token(&secret(32), json!({}))), "allow");
    assert_eq!(gates.show(&token(&secret(32).with_alg(Alg::HS512), json!({}))), "key_not_found");
    // Not unless an algorithm is named, and never from a set that others can read.
    let mut unnamed = local(&secret(32));
    unnamed.as_object_mut().expect("fields").remove("algorithms");
    assert!(is_refused(&unnamed));
    let remote = json!({ "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } });
    assert!(is_refused(&json!({ "remote_jwks": remote, "algorithms": ["HS256"] })));
}
