//! Introspection under rules of every kind: several providers, rules that only report, tokens that need not be there.

use harness::Idp;
use serde_json::{Value, json};

use super::replay::{Replay, WAITS, introspection, json_answer, opaque, status};
use crate::common::{AUDIENCE, idp, local_provider, with};

fn now() -> u64 {
    u64::try_from(harness::idp::now()).expect("a time after 1970")
}

/// `corp` signs JWTs and is asked where a rule says so; `opaque` reads its tokens from `x-token`.
fn setup(idp: &Idp, rules: Value) -> Value {
    let opaque = json!({
        "issuer": idp.issuer(),
        "audiences": [AUDIENCE],
        "from_headers": [{ "name": "x-token" }],
        "introspection": introspection(json!({})),
    });
    let corp = with(local_provider(idp), json!({ "introspection": introspection(json!({})) }));
    json!({ "providers": { "corp": corp, "opaque": opaque }, "rules": rules })
}

fn yes() -> Value {
    json!({ "active": true, "aud": AUDIENCE, "scope": "orders.read" })
}

#[test]
fn every_token_of_a_rule_that_asks_for_several_is_asked_about() {
    let (idp, at) = (idp(), now());
    let both = json!({ "requires_all": { "requirements": [{ "provider_name": "corp" }, { "provider_name": "opaque" }] } });
    let rules = json!([{ "match": { "prefix": "/" }, "requires": both, "introspect": true }]);
    let jwt = idp.token(json!({}));
    let bearer = format!("Bearer {jwt}");
    let own = opaque(1);
    let fields = [(":path", "/"), ("authorization", bearer.as_str()), ("x-token", own.as_str())];
    for (of_jwt, of_opaque, expected) in [
        (true, true, "allow"),
        (false, true, "token_inactive"),
        (true, false, "token_inactive"),
        (false, false, "token_inactive"),
    ] {
        let mut replay = Replay::new(&setup(&idp, rules.clone()), at);
        let got = replay.ask_with(&fields, at, |call| {
            let about_jwt = String::from_utf8_lossy(&call.body).contains(&jwt);
            let active = if about_jwt { of_jwt } else { of_opaque };
            json_answer(with(yes(), json!({ "active": active })))
        });
        assert_eq!(got, expected, "JWT {of_jwt}, opaque {of_opaque}");
        assert!(replay.calls.len() <= 2);
    }
    // One of them alone is not enough.
    let mut replay = Replay::new(&setup(&idp, rules), at);
    assert_ne!(replay.ask_with(&fields[..2], at, |_| json_answer(yes())), "allow");
}

#[test]
fn a_rule_that_only_reports_holds_nobody_up_and_tells_what_it_learned() {
    let (idp, at) = (idp(), now());
    let rules =
        json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "opaque" }, "mode": "report" }]);
    let token = opaque(1);
    let fields = [(":path", "/"), ("x-token", token.as_str())];
    for answer in [json_answer(yes()), json_answer(json!({ "active": false })), status(500, "")] {
        let mut replay = Replay::new(&setup(&idp, rules.clone()), at);
        for after in 0..3 {
            let got = replay.ask_with(&fields, at + after, |_| answer.clone());
            assert_eq!(got, "allow", "{answer:?}");
            for (lookup, _) in std::mem::take(&mut replay.in_flight) {
                replay.answered(lookup, answer.clone(), at + after);
            }
        }
    }
}

#[test]
fn a_token_that_need_not_be_there_must_be_good_where_it_is() {
    let (idp, at) = (idp(), now());
    let any = |other: &str| json!({ "requires_any": { "requirements": [{ "provider_name": "opaque" }, { other: {} }] } });
    let token = opaque(1);
    let with_token = [(":path", "/"), ("x-token", token.as_str())];
    for (other, answer, expected) in [
        ("allow_missing", json_answer(yes()), "allow"),
        ("allow_missing", json_answer(json!({ "active": false })), "token_inactive"),
        ("allow_missing", status(500, ""), "introspection_unavailable"),
        ("allow_missing_or_failed", json_answer(json!({ "active": false })), "allow"),
    ] {
        let rules = json!([{ "match": { "prefix": "/" }, "requires": any(other) }]);
        let mut replay = Replay::new(&setup(&idp, rules), at);
        assert_eq!(replay.ask_with(&with_token, at, |_| answer.clone()), expected, "{other} {answer:?}");
        assert_eq!(replay.ask_with(&with_token[..1], at, |_| answer.clone()), "allow", "{other}, none");
    }
}

/// A rule's own time to wait ends before the endpoint's.
#[test]
fn a_rule_waits_no_longer_than_it_says() {
    let (idp, at) = (idp(), now());
    let rules = json!([
        { "match": { "prefix": "/" }, "requires": { "provider_name": "opaque" }, "wait_timeout": "1s" },
    ]);
    let mut replay = Replay::new(&setup(&idp, rules), at);
    let token = opaque(1);
    let (stream, became) = replay.begin_with(&[(":path", "/"), ("x-token", token.as_str())], at);
    assert_eq!(became, WAITS);
    assert!(replay.tick(at).is_empty());
    let became: Vec<_> = (1..=3).flat_map(|after| replay.tick(at + after)).collect();
    assert_eq!(became, [(stream, "introspection_unavailable".to_owned())]);
}

/// What an answer says counts under each rule by itself, and is asked for once.
#[test]
fn one_answer_is_enough_for_all_rules() {
    let (idp, at) = (idp(), now());
    let rule = |path: &str, scope: &str| {
        json!({ "match": { "prefix": path }, "requires": { "provider_name": "opaque" },
                "authorize": { "scopes": { "all_of": [scope] } } })
    };
    let rules = json!([rule("/read", "orders.read"), rule("/write", "orders.write")]);
    let mut replay = Replay::new(&setup(&idp, rules), at);
    let token = opaque(1);
    for (path, expected) in [("/read", "allow"), ("/write", "scope_insufficient"), ("/read", "allow")] {
        let fields = [(":path", path), ("x-token", token.as_str())];
        assert_eq!(replay.ask_with(&fields, at, |_| json_answer(yes())), expected, "{path}");
    }
    assert_eq!(replay.calls.len(), 1);
}
