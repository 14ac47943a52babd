//! Signed answers (RFC 9701): what holds, and what is never believed.

use harness::idp::flip_bit;
use harness::{Alg, Idp, Key};
use serde_json::{Value, json};

use super::replay::{Replay, config, introspection, json_answer, opaque};
use crate::common::{AUDIENCE, idp, local_provider, with};

const UNAVAILABLE: &str = "introspection_unavailable";

fn now() -> u64 {
    u64::try_from(harness::idp::now()).expect("a time after 1970")
}

fn setup(idp: &Idp) -> Value {
    let block = introspection(json!({ "accept": "jwt" }));
    config(&with(local_provider(idp), json!({ "introspection": block })), json!({ "introspect": true }))
}

fn members(idp: &Idp) -> Value {
    json!({ "active": true, "iss": idp.issuer(), "aud": AUDIENCE, "sub": "alice" })
}

/// An answer that holds, with these claims on top; `null` leaves one out.
fn claims(idp: &Idp, more: Value) -> Value {
    let mut claims =
        json!({ "iss": idp.issuer(), "aud": "gate", "iat": now(), "token_introspection": members(idp) });
    for (name, value) in more.as_object().expect("claims") {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn judged(idp: &Idp, answer: &str) -> String {
    let at = now();
    Replay::new(&setup(idp), at).bearer(&opaque(1), at, |_| json_answer(answer))
}

#[test]
fn issuer_audience_and_age_of_an_answer_are_held() {
    let (idp, at) = (idp(), now());
    for (more, expected) in [
        (json!({}), "allow"),
        (json!({ "aud": ["other", "gate"] }), "allow"),
        // Some servers name the audience of the token, and not of the answer.
        (json!({ "aud": AUDIENCE }), "allow"),
        (json!({ "aud": "another-gate" }), UNAVAILABLE),
        (json!({ "aud": null }), UNAVAILABLE),
        (json!({ "aud": [] }), UNAVAILABLE),
        (json!({ "iss": "https://evil.example/" }), UNAVAILABLE),
        (json!({ "iss": null }), UNAVAILABLE),
        (json!({ "iat": at - 3600 }), UNAVAILABLE),
        (json!({ "iat": at + 3600 }), UNAVAILABLE),
        (json!({ "iat": null }), UNAVAILABLE),
        (json!({ "iat": at - 30 }), "allow"),
        (json!({ "token_introspection": null }), UNAVAILABLE),
        (json!({ "token_introspection": null, "active": true }), UNAVAILABLE),
        (json!({ "token_introspection": {} }), UNAVAILABLE),
        (json!({ "token_introspection": { "active": "true" } }), UNAVAILABLE),
        (json!({ "token_introspection": [members(&idp)] }), UNAVAILABLE),
        (json!({ "token_introspection": members(&idp).to_string() }), UNAVAILABLE),
        (json!({ "token_introspection": { "active": false } }), "token_inactive"),
        (json!({ "token_introspection": { "active": true, "aud": "billing" } }), "audience_mismatch"),
    ] {
        let answer = idp.sign_introspection(&claims(&idp, more.clone()));
        assert_eq!(judged(&idp, &answer), expected, "{more}");
    }
}

#[test]
fn only_a_signed_answer_is_believed() {
    let idp = idp();
    let all = claims(&idp, json!({}));
    let key = idp.signing_key();
    let typed = |typ: Value| {
        let mut header = json!({ "alg": key.alg().name(), "kid": key.kid(), "typ": typ });
        if header["typ"].is_null() {
            header.as_object_mut().expect("a header").remove("typ");
        }
        key.sign_jws(&header, all.to_string().as_bytes())
    };
    let good = idp.sign_introspection(&all);
    assert_eq!(judged(&idp, &good), "allow");
    assert_eq!(judged(&idp, &typed(json!("TOKEN-INTROSPECTION+JWT"))), "allow", "media types have no case");
    assert_eq!(judged(&idp, &typed(json!("application/token-introspection+jwt"))), "allow");
    let foreign = Key::cached(Alg::RS256, "foreign").with_kid(key.kid());
    let header = json!({ "alg": "RS256", "kid": key.kid(), "typ": "token-introspection+jwt" });
    let unsigned = idp.mint().claims(all.clone()).header("typ", "token-introspection+jwt").unsigned();
    for (what, answer) in [
        ("a bit turned", flip_bit(&good)),
        ("another key", foreign.sign_jws(&header, all.to_string().as_bytes())),
        ("no signature", unsigned),
        ("no type", typed(Value::Null)),
        ("the type of an access token", typed(json!("at+jwt"))),
        ("the type of a JWT", typed(json!("JWT"))),
        ("the members as JSON", members(&idp).to_string()),
        ("the claims as JSON", all.to_string()),
        ("the answer in quotes", format!("\"{good}\"")),
        ("two answers", format!("{good}{good}")),
        ("nothing", String::new()),
        ("an access token", idp.token(json!({ "active": true, "token_introspection": members(&idp) }))),
    ] {
        assert_eq!(judged(&idp, &answer), UNAVAILABLE, "{what}");
    }
}

/// A server that does not sign is found out by whoever reads the log.
#[test]
fn json_in_place_of_a_signed_answer_is_in_the_log_as_that() {
    let (idp, at) = (idp(), now());
    let mut replay = Replay::new(&setup(&idp), at);
    assert_eq!(replay.bearer(&opaque(1), at, |_| json_answer(members(&idp))), UNAVAILABLE);
    let text = replay.log.concat();
    assert!(text.contains("sign"), "{text}");
}

/// An answer whose signature does not hold is about one token: all others are asked about as before.
#[test]
fn an_answer_that_does_not_hold_shuts_no_other_token_out() {
    let (idp, at) = (idp(), now());
    let mut replay = Replay::new(&setup(&idp), at);
    let good = idp.sign_introspection(&claims(&idp, json!({})));
    assert_eq!(replay.bearer(&opaque(1), at, |_| json_answer(flip_bit(&good))), UNAVAILABLE);
    assert_eq!(replay.bearer(&opaque(2), at, |_| json_answer(&good)), "allow");
    assert_eq!(replay.bearer(&opaque(1), at + 1, |_| json_answer(&good)), UNAVAILABLE);
    assert_eq!(replay.calls.len(), 2);
}

/// A fresh answer about one JWT does not pass for one about another.
#[test]
fn a_signed_answer_is_about_the_jwt_that_was_asked_about() {
    let (idp, at) = (idp(), now());
    let token = idp.token(json!({ "sub": "alice", "jti": "t-1" }));
    for (about, expected) in [
        (json!({ "sub": "alice", "jti": "t-1" }), "allow"),
        (json!({}), "allow"),
        (json!({ "sub": "bob" }), "claim_invalid"),
        (json!({ "sub": "alice", "jti": "t-2" }), "claim_invalid"),
    ] {
        let answer = with(json!({ "active": true, "aud": AUDIENCE }), about.clone());
        let answer = idp.sign_introspection(&claims(&idp, json!({ "token_introspection": answer })));
        let got = Replay::new(&setup(&idp), at).bearer(&token, at, |_| json_answer(&answer));
        assert_eq!(got, expected, "{about}");
    }
}
