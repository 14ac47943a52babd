//! Introspection beside what else a configuration may ask for: audiences of rules and resources, and brakes.

use serde_json::{Value, json};

use super::replay::{Replay, introspection, json_answer, opaque, status};

const NOW: u64 = 1_800_000_000;

fn provider() -> Value {
    json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": introspection(json!({})) })
}

fn active(audience: &str) -> Value {
    json!({ "active": true, "aud": audience })
}

/// The audiences of a rule take the place of the provider's, for what was asked about under another rule, too.
#[test]
fn a_rules_own_audiences_count_for_answers() {
    let own = json!({ "provider_and_audiences": { "provider_name": "p", "audiences": ["billing"] } });
    let config = json!({
        "providers": { "p": provider() },
        "rules": [
            { "match": { "prefix": "/billing" }, "requires": own },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "p" } },
        ],
    });
    for (audience, at_billing, elsewhere) in
        [("billing", "allow", "audience_mismatch"), ("orders", "audience_mismatch", "allow")]
    {
        for order in [["/billing", "/"], ["/", "/billing"]] {
            let mut replay = Replay::new(&config, NOW);
            let bearer = format!("Bearer {}", opaque(1));
            for _ in 0..2 {
                for path in order {
                    let got = replay.ask(path, &bearer, NOW, |_| json_answer(active(audience)));
                    let expected = if path == "/" { elsewhere } else { at_billing };
                    assert_eq!(got, expected, "{audience} at {path}, {order:?}");
                }
            }
            assert_eq!(replay.calls.len(), 1, "{audience} {order:?}");
        }
    }
}

/// Under `audience: resource` the resource is the audience of its rules.
#[test]
fn the_audience_of_a_resource_counts_for_answers() {
    let config = json!({
        "providers": { "p": provider() },
        "protected_resources": [{
            "resource": "https://mcp.example.com/mcp",
            "match": { "path_separated_prefix": "/mcp", "hosts": ["mcp.example.com"] },
            "authorization_servers": ["https://id.example/"],
            "audience": "resource",
        }],
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
    });
    for (audience, at_resource, elsewhere) in [
        ("https://mcp.example.com/mcp", "allow", "audience_mismatch"),
        ("orders", "audience_mismatch", "allow"),
    ] {
        let mut replay = Replay::new(&config, NOW);
        let bearer = format!("Bearer {}", opaque(1));
        for (path, expected) in [("/mcp", at_resource), ("/orders", elsewhere), ("/mcp", at_resource)] {
            let fields =
                [(":path", path), (":authority", "mcp.example.com"), ("authorization", bearer.as_str())];
            let got = replay.ask_with(&fields, NOW, |_| json_answer(active(audience)));
            assert_eq!(got, expected, "{audience} at {path}");
        }
        assert_eq!(replay.calls.len(), 1);
    }
}

/// Whoever tries tokens is stopped, and whoever only meets an endpoint that fails is not.
#[test]
fn inactive_tokens_count_as_failures_of_a_client_and_answers_that_say_nothing_do_not() {
    let limits = json!({ "failures": { "per_client": 5, "window": "60s", "block": "60s" } });
    let config = json!({
        "providers": { "p": provider() },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        "limits": limits,
    });
    let tried = |answer: &dyn Fn() -> super::replay::Answer| {
        let mut replay = Replay::new(&config, NOW);
        (1..=20)
            .map(|number| {
                let fields = [(":path", "/"), ("authorization", &*format!("Bearer {}", opaque(number)))];
                replay.ask_as("192.0.2.7:4711", &fields, NOW, |_| answer())
            })
            .filter(|became| became == "too_many_failures")
            .count()
    };
    let inactive = tried(&|| json_answer(json!({ "active": false })));
    assert!((14..=15).contains(&inactive), "{inactive} of 20 are stopped");
    let unsupported = tried(&|| status(400, r#"{"error":"unsupported_token_type"}"#));
    assert!((14..=15).contains(&unsupported), "{unsupported} of 20 are stopped");
    assert_eq!(tried(&|| status(400, "")), 0);
    assert_eq!(tried(&|| json_answer("{}")), 0);
    assert_eq!(tried(&|| status(500, "")), 0);
    assert_eq!(tried(&|| json_answer(active("billing"))), 0, "a token for another service");
    assert_eq!(tried(&|| json_answer(active("orders"))), 0);
}

/// A client that is stopped goes on with the token that is known of it, and with no other, for which nobody is asked.
#[test]
fn a_stopped_client_goes_on_with_the_token_that_is_known() {
    let config = json!({
        "providers": { "p": provider() },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        "limits": { "failures": { "per_client": 3, "window": "60s", "block": "60s" } },
    });
    let mut replay = Replay::new(&config, NOW);
    let mut ask = |number: u64, answer: Value| {
        let bearer = format!("Bearer {}", opaque(number));
        let fields = [(":path", "/"), ("authorization", bearer.as_str())];
        let became = replay.ask_as("192.0.2.7:4711", &fields, NOW, |_| json_answer(&answer));
        (became, replay.calls.len())
    };
    let inactive = json!({ "active": false });
    assert_eq!(ask(1, active("orders")), ("allow".to_owned(), 1));
    for number in 2..=4 {
        assert_eq!(ask(number, inactive.clone()).0, "token_inactive");
    }
    assert_eq!(ask(5, active("orders")), ("too_many_failures".to_owned(), 4), "without a call");
    assert_eq!(ask(1, inactive), ("allow".to_owned(), 4));
}

/// How a person logged in is in the answer (RFC 9470 section 6.2).
#[test]
fn a_rule_that_asks_for_a_login_of_a_kind_looks_at_the_answer() {
    let rule = json!({
        "match": { "prefix": "/" },
        "requires": { "provider_name": "p" },
        "authorize": { "authentication": { "acr_values": ["gold"], "max_age": "300s" } },
    });
    let config = json!({ "providers": { "p": provider() }, "rules": [rule] });
    for (acr, auth_time, expected) in [
        (json!("gold"), json!(NOW - 10), "allow"),
        (json!("gold"), json!(NOW - 3600), "authentication_insufficient"),
        (json!("silver"), json!(NOW - 10), "authentication_insufficient"),
        (Value::Null, json!(NOW - 10), "authentication_insufficient"),
        (json!("gold"), Value::Null, "authentication_insufficient"),
    ] {
        let mut answer = active("orders");
        answer["acr"] = acr;
        answer["auth_time"] = auth_time;
        let got = Replay::new(&config, NOW).bearer(&opaque(1), NOW, |_| json_answer(&answer));
        assert_eq!(got, expected, "{answer}");
    }
}
