//! What is remembered of a token: the rows J12, J14 and J15.

use harness::idp::{Alg, Key, b64, flip_bit, jwks};
use serde_json::json;

use crate::vectors::world::{Gates, NOW, claims, foreign, key, token, usual};

#[test]
pub(crate) fn j12_j15_a_verdict_ends_with_its_token_and_its_key() {
    let remote = json!({
        "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" }, "cache_duration": "1s"
    });
    let mut provider = usual(json!({ "clock_skew_seconds": 0, "remote_jwks": remote, "max_age": "200s" }));
    provider.as_object_mut().expect("fields").remove("local_jwks");
    let mut gates = Gates::of(&provider);
    gates.fetched(&jwks([&key()]), NOW);
    let own = token(&key(), json!({ "exp": NOW + 100 }));
    let old = token(&key(), json!({}));
    let soon = token(&key(), json!({ "nbf": NOW + 10 }));
    for (what, token, at, expected) in [
        ("first", &own, 0, "allow"),
        ("again", &own, 1, "allow"),
        ("J15: the last second", &own, 99, "allow"),
        ("J15: at its end", &own, 100, "expired"),
        ("J15: after it", &own, 101, "expired"),
        ("max_age", &old, 200, "allow"),
        ("past max_age", &old, 201, "too_old"),
        ("not yet", &soon, 9, "not_yet_valid"),
        ("now", &soon, 10, "allow"),
        ("the clock was set back", &soon, 9, "not_yet_valid"),
    ] {
        assert_eq!(gates.show_at("/", token, NOW + at), expected, "{what}");
    }
    // J12: the key is removed, and with it what it verified.
    let next = Key::cached(Alg::ES256, "next");
    gates.fetched(&jwks([&next]), NOW + 50);
    assert_ne!(gates.show_at("/", &own, NOW + 51), "allow", "J12");
    // Another key under the same kid is another key.
    gates.fetched(&jwks([&key()]), NOW + 52);
    assert_eq!(gates.show_at("/", &own, NOW + 53), "allow");
    gates.fetched(&jwks([&foreign()]), NOW + 54);
    assert_eq!(
        gates.show_at("/", &own, NOW + 55),
        "signature_invalid",
        "J12: the kid was given to another key"
    );
    // Keys that are too old to trust verify nothing, whatever is remembered.
    gates.fetched(&jwks([&key()]), NOW + 60);
    let long = token(&key(), json!({ "exp": NOW + 100_000, "iat": NOW + 60 }));
    assert_eq!(gates.show_at("/", &long, NOW + 61), "allow");
    assert_ne!(gates.show_at("/", &long, NOW + 60 + 600 + 3600), "allow");
}

#[test]
pub(crate) fn j14_no_token_takes_the_verdict_of_another() {
    let mut gates = Gates::of(&usual(json!({ "jwt_cache_config": { "jwt_cache_size": 4 } })));
    let good = token(&key(), json!({}));
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let other = b64(claims(json!({ "sub": "mallory" })).to_string());
    let bare = b64(r#"{"alg":"ES256"}"#);
    for _ in 0..3 {
        assert_eq!(gates.show(&good), "allow");
        for (what, forged) in [
            ("other claims, the same signature", format!("{header}.{other}.{signature}")),
            ("another header, the same signature", format!("{bare}.{payload}.{signature}")),
            ("a bit turned", flip_bit(&good)),
        ] {
            for _ in 0..2 {
                assert_eq!(gates.show(&forged), "signature_invalid", "{what}");
            }
        }
    }
    // More tokens than there is room for: each is judged right, whether it is remembered or not.
    let tokens: Vec<_> = (0..40).map(|n| token(&key(), json!({ "jti": n.to_string() }))).collect();
    for token in tokens.iter().chain(tokens.iter().rev()) {
        assert_eq!(gates.show(token), "allow");
        assert_eq!(gates.show(&flip_bit(token)), "signature_invalid");
    }
}
