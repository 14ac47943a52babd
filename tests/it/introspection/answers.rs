//! What an answer says of a token, and what becomes of the request then.

use harness::idp::b64;
use serde_json::{Value, json};

use super::replay::{Replay, config, introspection, json_answer, opaque};
use crate::common::with;

const NOW: u64 = 1_800_000_000;

fn provider(more: Value) -> Value {
    let usual = json!({
        "issuer": "https://id.example/", "audiences": ["orders"], "introspection": introspection(json!({})),
    });
    with(usual, more)
}

/// An answer that passes, with these members on top; `null` leaves one out.
fn good(more: Value) -> Value {
    let mut answer = json!({
        "active": true, "iss": "https://id.example/", "aud": "orders", "sub": "alice", "client_id": "web",
        "scope": "orders.read", "token_type": "Bearer", "iat": NOW - 10, "exp": NOW + 300, "jti": "t-1",
    });
    for (name, value) in more.as_object().expect("members") {
        match value {
            Value::Null => drop(answer.as_object_mut().expect("an object").remove(name)),
            value => answer[name] = value.clone(),
        }
    }
    answer
}

/// What becomes of a request about whose token the endpoint says this.
fn judged(provider: &Value, rule: Value, answer: impl ToString) -> String {
    let answer = answer.to_string();
    Replay::new(&config(provider, rule), NOW).bearer(&opaque(1), NOW, |_| json_answer(&answer))
}

#[test]
fn only_the_boolean_true_is_active() {
    let cases: &[(&str, &str)] = &[
        (r#"{"active":false}"#, "token_inactive"),
        (r#"{"active":false,"exp":1900000000,"aud":"orders"}"#, "token_inactive"),
        // What has no boolean says nothing.
        ("{}", "introspection_unavailable"),
        (r#"{"active":"true"}"#, "introspection_unavailable"),
        (r#"{"active":1}"#, "introspection_unavailable"),
        (r#"{"active":null}"#, "introspection_unavailable"),
        (r#"{"active":[true]}"#, "introspection_unavailable"),
        (r#"{"Active":true}"#, "introspection_unavailable"),
        (r#"[{"active":true}]"#, "introspection_unavailable"),
        ("true", "introspection_unavailable"),
        ("", "introspection_unavailable"),
        ("active=true", "introspection_unavailable"),
        ("<html><p>\"active\": true</p></html>", "introspection_unavailable"),
        (r#"{"active":true"#, "introspection_unavailable"),
        (r#"{"active":true}{"active":true}"#, "introspection_unavailable"),
        // Which of two would count?
        (r#"{"active":false,"active":true,"aud":"orders"}"#, "introspection_unavailable"),
        (r#"{"active":true,"active":false,"aud":"orders"}"#, "introspection_unavailable"),
        (r#"{"active":true,"\u0061ctive":false,"aud":"orders"}"#, "introspection_unavailable"),
    ];
    for (answer, expected) in cases {
        assert_eq!(judged(&provider(json!({})), json!({}), answer), *expected, "{answer}");
    }
    // The endpoint sends a mark before its text, as some servers do, or it does not: never a wrong yes.
    let marked = judged(&provider(json!({})), json!({}), format!("\u{feff}{}", good(json!({}))));
    assert!(["allow", "introspection_unavailable"].contains(&marked.as_str()), "{marked}");
}

#[test]
fn an_answer_is_held_to_issuer_audience_time_and_kind() {
    let cases: &[(Value, &str)] = &[
        (json!({}), "allow"),
        (json!({ "iss": null }), "allow"),
        (json!({ "iss": "https://evil.example/" }), "issuer_unknown"),
        (json!({ "iss": "https://id.example" }), "issuer_unknown"),
        (json!({ "aud": null }), "audience_mismatch"),
        (json!({ "aud": [] }), "audience_mismatch"),
        (json!({ "aud": "billing" }), "audience_mismatch"),
        (json!({ "aud": ["billing", "orders"] }), "allow"),
        (json!({ "exp": NOW - 3600 }), "expired"),
        (json!({ "exp": NOW as f64 + 0.25 }), "allow"),
        (json!({ "exp": null }), "allow"),
        (json!({ "nbf": NOW + 3600 }), "not_yet_valid"),
        (
            json!({ "iat": null, "nbf": null, "jti": null, "sub": null, "scope": null, "client_id": null }),
            "allow",
        ),
        (json!({ "token_type": null }), "allow"),
        (json!({ "token_type": "bearer" }), "allow"),
        (json!({ "token_type": "BEARER" }), "allow"),
        (json!({ "token_type": "refresh_token" }), "type_not_allowed"),
        (json!({ "token_type": "Refresh" }), "type_not_allowed"),
        (json!({ "token_type": "ID" }), "type_not_allowed"),
        (json!({ "token_type": "mac" }), "type_not_allowed"),
        (json!({ "token_use": "access_token" }), "allow"),
        (json!({ "token_use": "refresh_token" }), "type_not_allowed"),
        (json!({ "token_use": "id_token" }), "type_not_allowed"),
        (
            json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
            "type_not_allowed",
        ),
        // Bound to a key that nobody names, and to one that is named.
        (json!({ "token_type": "DPoP" }), "token_bound"),
        (json!({ "token_type": "dpop" }), "token_bound"),
        (json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }), "token_bound"),
        (json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" } }), "token_bound"),
    ];
    for (more, expected) in cases {
        assert_eq!(judged(&provider(json!({})), json!({}), good(more.clone())), *expected, "{more}");
    }
    let strict = provider(json!({ "require_expiration": true }));
    assert_eq!(judged(&strict, json!({}), good(json!({}))), "allow");
    assert_ne!(judged(&strict, json!({}), good(json!({ "exp": null }))), "allow");
}

#[test]
fn the_members_are_the_claims_of_everything_that_comes_after() {
    let scopes = json!({ "authorize": { "scopes": { "all_of": ["orders.write"] } } });
    let roles = json!({ "authorize": { "roles": { "any_of": ["clerk"] } } });
    let tenant = json!({ "authorize": { "claims": [{ "claim": "tenant", "equals": "t1" }] } });
    let with_roles = json!({ "role_claims": [["ext", "roles"]] });
    let cases: &[(Value, &Value, Value, &str)] = &[
        (json!({}), &scopes, json!({}), "scope_insufficient"),
        (json!({}), &scopes, json!({ "scope": "orders.write orders.read" }), "allow"),
        (with_roles.clone(), &roles, json!({}), "role_insufficient"),
        (with_roles.clone(), &roles, json!({ "ext": { "roles": ["clerk"] } }), "allow"),
        (json!({}), &tenant, json!({}), "claim_mismatch"),
        (json!({}), &tenant, json!({ "tenant": "t1" }), "allow"),
        (json!({ "subjects": { "exact": "alice" } }), &json!({}), json!({}), "allow"),
        (json!({ "subjects": { "exact": "bob" } }), &json!({}), json!({}), "subject_mismatch"),
        (json!({ "required_claims": ["client_id"] }), &json!({}), json!({}), "allow"),
        (
            json!({ "required_claims": ["client_id"] }),
            &json!({}),
            json!({ "client_id": null }),
            "claim_missing",
        ),
        (
            json!({ "required_claims": [{ "claim": "client_id", "any_of": ["app"] }] }),
            &json!({}),
            json!({}),
            "claim_invalid",
        ),
    ];
    for (fields, rule, members, expected) in cases {
        let got = judged(&provider(fields.clone()), (*rule).clone(), good(members.clone()));
        assert_eq!(got, *expected, "{fields} {rule} {members}");
    }
}

/// An answer of another provider's that is believed would let its tokens in here.
#[test]
fn an_answer_is_bounded() {
    let padded = |bytes: usize| {
        let mut answer = good(json!({ "padding": "" }));
        let length = answer.to_string().len();
        answer["padding"] = json!("x".repeat(bytes - length));
        assert_eq!(answer.to_string().len(), bytes);
        answer
    };
    // What the host does not read any further is the host's own to test; the limit that it is given is here.
    let mut replay = Replay::new(&config(&provider(json!({})), json!({})), NOW);
    assert_eq!(replay.bearer(&opaque(1), NOW, |_| json_answer(padded(65_536))), "allow");
    assert_eq!(replay.calls[0].max_bytes, 65_536);
    let deep = format!(r#"{{"active":true,"aud":"orders","x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_ne!(judged(&provider(json!({})), json!({}), deep), "allow");
    let keys = (0..20_000).map(|number| format!(r#""{number}":0,"#)).collect::<String>();
    let wide = format!(r#"{{{keys}"active":true,"aud":"orders"}}"#);
    assert_ne!(judged(&provider(json!({})), json!({}), wide), "wait");
}

/// What a provider without keys is asked about may look like anything.
#[test]
fn nothing_is_judged_by_its_parts_at_a_provider_without_keys() {
    let jws = format!("{}.{}.{}", b64(r#"{"alg":"RS256"}"#), b64(r#"{"exp":1}"#), b64("signature"));
    let jwe =
        format!("{}.{}.{}.{}.{}", b64(r#"{"alg":"dir"}"#), b64("k"), b64("iv"), b64("text"), b64("tag"));
    for token in [opaque(1), "abcdefghijklmno.".repeat(5), "a-b._~+/0123456789==".to_owned(), jws, jwe] {
        let mut replay = Replay::new(&config(&provider(json!({})), json!({})), NOW);
        let got = replay.bearer(&token, NOW, |_| json_answer(good(json!({}))));
        assert_eq!(got, "allow", "{token}");
        assert_eq!(replay.calls.len(), 1, "{token}");
    }
}
