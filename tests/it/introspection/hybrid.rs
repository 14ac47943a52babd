//! JWTs that the provider is asked about where a rule asks for it.

use harness::Idp;
use serde_json::{Value, json};

use super::replay::{Replay, introspection, json_answer, opaque, status};
use crate::common::{AUDIENCE, idp, local_provider, with};

fn now() -> u64 {
    u64::try_from(harness::idp::now()).expect("a time after 1970")
}

/// `/pay` asks, `/read` does not.
fn setup(idp: &Idp, more: Value) -> Value {
    let provider = with(local_provider(idp), json!({ "introspection": introspection(more) }));
    let requires = json!({ "provider_name": "p" });
    json!({
        "providers": { "p": provider },
        "rules": [
            { "match": { "prefix": "/pay" }, "requires": requires, "introspect": true },
            { "match": { "prefix": "/" }, "requires": requires },
        ],
    })
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn only_rules_that_ask_for_it_make_a_call() {
    let (idp, at) = (idp(), now());
    let token = idp.token(json!({ "sub": "alice" }));
    let mut replay = Replay::new(&setup(&idp, json!({})), at);
    assert_eq!(replay.ask("/read", &bearer(&token), at, |_| status(500, "")), "allow");
    assert!(replay.calls.is_empty());
    // One word is enough: the token says the rest.
    assert_eq!(replay.ask("/pay", &bearer(&token), at, |_| json_answer(json!({ "active": true }))), "allow");
    assert_eq!(replay.calls.len(), 1);
    let other = idp.token(json!({ "sub": "bob" }));
    assert_eq!(
        replay.ask("/pay", &bearer(&other), at, |_| json_answer(json!({ "active": false }))),
        "token_inactive"
    );
    // What the rule without it lets pass is the token's own affair.
    assert_eq!(replay.ask("/read", &bearer(&other), at, |_| status(500, "")), "allow");
}

#[test]
fn rules_without_it_are_unharmed_while_the_endpoint_is_down() {
    let (idp, at) = (idp(), now());
    let mut replay = Replay::new(&setup(&idp, json!({})), at);
    for number in 0..50 {
        let token = bearer(&idp.token(json!({ "jti": number.to_string() })));
        assert_eq!(replay.ask("/pay", &token, at + number, |_| status(503, "")), "introspection_unavailable");
        assert_eq!(replay.ask("/read", &token, at + number, |_| status(503, "")), "allow");
    }
}

#[test]
fn an_answer_that_contradicts_the_token_is_not_about_it() {
    let (idp, at) = (idp(), now());
    let token = bearer(&idp.token(json!({ "sub": "alice", "jti": "t-1" })));
    for more in [json!({}), json!({ "claims": "answer" })] {
        let about = |members: Value| with(json!({ "active": true, "aud": AUDIENCE }), members);
        for (members, expected) in [
            (json!({ "sub": "alice", "jti": "t-1", "iss": idp.issuer() }), "allow"),
            (json!({ "sub": "bob" }), "claim_invalid"),
            (json!({ "jti": "t-2" }), "claim_invalid"),
            (json!({ "iss": "https://evil.example/" }), "claim_invalid"),
            // Another kind is no contradiction less.
            (json!({ "sub": 7 }), "claim_invalid"),
        ] {
            let mut replay = Replay::new(&setup(&idp, more.clone()), at);
            let got = replay.ask("/pay", &token, at, |_| json_answer(about(members.clone())));
            let rejected = ["claim_invalid", "issuer_unknown"].contains(&got.as_str());
            assert!(if expected == "allow" { got == "allow" } else { rejected }, "{members} {more}: {got}");
        }
    }
}

/// `claims: token`: the answer says whether, the token says what.
#[test]
fn an_answer_gives_a_jwt_nothing_that_it_has_not() {
    let (idp, at) = (idp(), now());
    let token = bearer(&idp.token(json!({ "scope": "orders.read" })));
    let mut config = setup(&idp, json!({}));
    config["rules"][0]["authorize"] = json!({ "scopes": { "all_of": ["orders.write"] } });
    let more = json!({ "active": true, "scope": "orders.write", "aud": AUDIENCE });
    let mut replay = Replay::new(&config, at);
    assert_eq!(replay.ask("/pay", &token, at, |_| json_answer(&more)), "scope_insufficient");
    // Under `claims: answer` it does, and every rule asks.
    config["providers"]["p"]["introspection"]["claims"] = json!("answer");
    let mut replay = Replay::new(&config, at);
    assert_eq!(replay.ask("/pay", &token, at, |_| json_answer(&more)), "allow");
    assert_eq!(replay.calls.len(), 1);
    let other = bearer(&idp.token(json!({ "scope": "orders.read", "jti": "other" })));
    assert_eq!(
        replay.ask("/read", &other, at, |_| json_answer(json!({ "active": false }))),
        "token_inactive"
    );
}

/// Audience and roles of a lightweight token are in the answer alone.
#[test]
fn what_a_light_token_leaves_out_comes_from_the_answer() {
    let (idp, at) = (idp(), now());
    let light = bearer(&idp.mint().without("aud").without("sub").sign());
    let mut config = setup(&idp, json!({ "claims": "answer" }));
    config["providers"]["p"]["role_claims"] = json!([["roles"]]);
    config["rules"][1]["authorize"] = json!({ "roles": { "any_of": ["clerk"] } });
    for (members, expected) in [
        (json!({ "aud": AUDIENCE, "roles": ["clerk"], "sub": "alice" }), "allow"),
        (json!({ "aud": AUDIENCE, "roles": ["guest"] }), "role_insufficient"),
        (json!({ "aud": "billing", "roles": ["clerk"] }), "audience_mismatch"),
        (json!({ "roles": ["clerk"] }), "audience_mismatch"),
        (json!({ "aud": AUDIENCE, "roles": ["clerk"], "token_type": "Refresh" }), "type_not_allowed"),
    ] {
        let mut replay = Replay::new(&config, at);
        let answer = with(json!({ "active": true }), members);
        assert_eq!(replay.ask("/read", &light, at, |_| json_answer(&answer)), expected, "{answer}");
    }
    // The same token where the claims are the token's.
    let mut replay = Replay::new(&setup(&idp, json!({})), at);
    let yes = json!({ "active": true, "aud": AUDIENCE });
    assert_eq!(replay.ask("/pay", &light, at, |_| json_answer(&yes)), "audience_mismatch");
    assert!(replay.calls.is_empty());
}

#[test]
fn an_opaque_token_is_none_of_a_provider_that_signs_unless_answers_are_signed() {
    let (idp, at) = (idp(), now());
    let mut replay = Replay::new(&setup(&idp, json!({})), at);
    let yes = json!({ "active": true, "aud": AUDIENCE });
    assert_eq!(replay.ask("/pay", &bearer(&opaque(1)), at, |_| json_answer(&yes)), "token_malformed");
    assert!(replay.calls.is_empty());
    let mut replay = Replay::new(&setup(&idp, json!({ "accept": "jwt" })), at);
    let signed = |active: bool| {
        let members = json!({ "active": active, "aud": AUDIENCE, "iss": idp.issuer() });
        let claims = json!({ "iss": idp.issuer(), "aud": "gate", "iat": at, "token_introspection": members });
        idp.sign_introspection(&claims)
    };
    assert_eq!(replay.ask("/read", &bearer(&opaque(1)), at, |_| json_answer(signed(true))), "allow");
    assert_eq!(
        replay.ask("/read", &bearer(&opaque(2)), at, |_| json_answer(signed(false))),
        "token_inactive"
    );
    let jwt = bearer(&idp.token(json!({})));
    assert_eq!(replay.ask("/read", &jwt, at, |_| status(500, "")), "allow", "a JWT is judged by itself");
    assert_eq!(replay.calls.len(), 2);
}
