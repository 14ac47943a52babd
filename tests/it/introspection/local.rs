//! What the gate knows by itself it does not ask.

use harness::Idp;
use harness::idp::{b64, flip_bit};
use serde_json::{Value, json};

use super::replay::{Replay, config, introspection, json_answer, opaque};
use crate::common::{idp, local_provider, with};

fn now() -> u64 {
    u64::try_from(harness::idp::now()).expect("a time after 1970")
}

fn only_opaque(more: Value) -> Value {
    let provider = json!({ "issuer": "https://id.example/", "audiences": ["orders"] });
    config(&with(provider, json!({ "introspection": introspection(more) })), json!({}))
}

#[test]
fn what_has_not_the_form_of_a_token_is_refused_without_a_call() {
    let at = now();
    let yes = json!({ "active": true, "aud": "orders" });
    for token in [
        "a".repeat(15),
        "a".repeat(4097),
        "opaque token with blanks".to_owned(),
        "opaque\ttoken-0123456789".to_owned(),
        "opaque,token-0123456789".to_owned(),
        "opaque\"token-0123456789".to_owned(),
        "opaque=token=0123456789a".to_owned(),
        "================".to_owned(),
        "opaque%token-0123456789".to_owned(),
        "opaque&token=0123456789".to_owned(),
        "öpaque-token-0123456789".to_owned(),
        "opaque-token-0123456789\u{0}".to_owned(),
    ] {
        let mut replay = Replay::new(&only_opaque(json!({})), at);
        let got = replay.bearer(&token, at, |_| json_answer(&yes));
        assert_ne!(got, "allow", "{token:?}");
        assert!(
            ["token_malformed", "token_too_large", "token_missing", "token_multiple"].contains(&got.as_str()),
            "{token:?}: {got}"
        );
        assert!(replay.calls.is_empty(), "{token:?}: asked");
    }
    for token in ["a".repeat(16), "a".repeat(4096)] {
        let mut replay = Replay::new(&only_opaque(json!({})), at);
        assert_eq!(replay.bearer(&token, at, |_| json_answer(&yes)), "allow", "{} bytes", token.len());
    }
}

#[test]
fn a_prefix_saves_the_call_for_what_is_no_token_of_this_server() {
    let at = now();
    let mut replay = Replay::new(&only_opaque(json!({ "token_prefix": "ory_at_" })), at);
    let yes = json!({ "active": true, "aud": "orders" });
    for token in [
        opaque(1),
        "ORY_AT_0123456789abcdef".to_owned(),
        "ory_rt_0123456789abcdef".to_owned(),
        "xory_at_0123456789".to_owned(),
    ] {
        assert_eq!(replay.bearer(&token, at, |_| json_answer(&yes)), "token_malformed", "{token}");
    }
    assert!(replay.calls.is_empty());
    assert_eq!(replay.bearer("ory_at_0123456789abcdef", at, |_| json_answer(&yes)), "allow");
}

fn hybrid(idp: &Idp, more: Value, rule: Value) -> Value {
    config(&with(local_provider(idp), json!({ "introspection": introspection(more) })), rule)
}

#[test]
fn a_jwt_that_fails_by_itself_is_not_asked_about() {
    let (idp, at) = (idp(), now());
    let good = idp.token(json!({ "sub": "alice" }));
    let tokens = [
        ("a bit turned", flip_bit(&good), "signature_invalid"),
        ("no signature", idp.mint().unsigned(), "algorithm_not_allowed"),
        ("expired", idp.token(json!({ "exp": at - 3600 })), "expired"),
        ("not yet", idp.token(json!({ "nbf": at + 3600 })), "not_yet_valid"),
        ("another issuer", idp.token(json!({ "iss": "https://evil.example/" })), "issuer_unknown"),
        ("an unknown key", idp.mint().kid("nobody").sign(), "key_not_found"),
        ("garbage", "garbage-garbage-garbage".to_owned(), "token_malformed"),
        ("three parts of nothing", format!("{0}.{0}.{0}", b64("nothing")), "token_malformed"),
    ];
    let yes = json!({ "active": true, "aud": idp.audience() });
    for more in [json!({}), json!({ "claims": "answer" })] {
        let mut replay = Replay::new(&hybrid(&idp, more.clone(), json!({ "introspect": true })), at);
        for (what, token, expected) in &tokens {
            assert_eq!(replay.bearer(token, at, |_| json_answer(&yes)), *expected, "{what}, {more}");
        }
        assert!(replay.calls.is_empty(), "{more}: {} calls", replay.calls.len());
    }
    // Of an audience, too, where it is the token's own that counts.
    let foreign = idp.token(json!({ "aud": "billing" }));
    let mut replay = Replay::new(&hybrid(&idp, json!({}), json!({ "introspect": true })), at);
    assert_eq!(replay.bearer(&foreign, at, |_| json_answer(&yes)), "audience_mismatch");
    assert!(replay.calls.is_empty());
    assert_eq!(replay.bearer(&good, at, |_| json_answer(&yes)), "allow");
    assert_eq!(replay.calls.len(), 1);
}

#[test]
fn a_token_on_a_list_is_not_asked_about() {
    let (idp, at) = (idp(), now());
    let token = idp.token(json!({ "jti": "t-1" }));
    let mut config = hybrid(&idp, json!({}), json!({ "introspect": true }));
    let entry = json!({ "issuer": idp.issuer(), "jti": "t-1", "until": at + 3600 });
    config["revocation"] = json!({ "inline": { "version": 1, "entries": [entry] } });
    let mut replay = Replay::new(&config, at);
    let yes = json!({ "active": true });
    assert_eq!(replay.bearer(&token, at, |_| json_answer(&yes)), "revoked");
    assert!(replay.calls.is_empty());
    // An opaque token that the answer names is revoked by the same list.
    config["providers"]["p"].as_object_mut().expect("a provider").remove("local_jwks");
    config["rules"][0].as_object_mut().expect("a rule").remove("introspect");
    let mut replay = Replay::new(&config, at);
    let named = |jti: &str| json!({ "active": true, "iss": idp.issuer(), "aud": idp.audience(), "jti": jti });
    assert_eq!(replay.bearer(&opaque(1), at, |_| json_answer(named("t-1"))), "revoked");
    assert_eq!(replay.bearer(&opaque(2), at, |_| json_answer(named("t-2"))), "allow");
}
