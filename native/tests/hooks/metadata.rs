//! What other filters wrote, and what they are told.

use serde_json::json;

use crate::envoy::{Envoy, FAULTS, Request, Value};
use crate::identity::{Key, local_config, orders, token};

#[test]
fn other_filters_read_the_claims_and_why_a_token_is_refused() {
    let mut config = local_config();
    config["providers"]["corp"]["payload_in_metadata"] = json!("payload");
    config["providers"]["corp"]["failed_status_in_metadata"] = json!("failed");
    let envoy = Envoy::start(&config.to_string());
    let holds = |bytes: &[u8], word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    for (token, words) in
        [(token(), ["payload", "alice"]), (Key::foreign().sign(json!({})), ["failed", "signature"])]
    {
        let written = envoy.worker.send(orders(&token)).written();
        let (namespace, bytes) = written.last().expect("it is told");
        assert_eq!(namespace, "envoy.filters.http.jwt_authn");
        assert!(words.iter().all(|word| holds(bytes, word)), "{}", String::from_utf8_lossy(bytes));
    }
}

/// Metadata of every kind.
fn metadata() -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    let list = Value::List(vec![Value::Text("a"), Value::Number(1.5), Value::Flag(true)]);
    vec![
        ("", vec![]),
        ("empty", vec![("", Value::Text(""))]),
        (
            "a.filter",
            vec![
                ("kind", Value::Text("gold")),
                ("n", Value::Number(-0.0)),
                ("f", Value::Flag(false)),
                ("l", list),
            ],
        ),
    ]
}

/// A rule that asks what an earlier filter wrote.
fn asking() -> Envoy {
    let mut config = local_config();
    config["rules"] = json!([{
        "match": { "prefix": "/", "metadata": [{ "filter": "a.filter", "path": ["kind"], "value": { "string_match": { "exact": "gold" } } }] },
        "requires": { "provider_name": "corp" },
    }]);
    Envoy::start(&config.to_string())
}

#[test]
fn what_earlier_filters_wrote_is_read_and_what_cannot_be_read_is_not_overlooked() {
    let envoy = asking();
    let with = |dynamic| Request { dynamic, ..orders(&token()) };
    assert!(envoy.worker.send(with(metadata())).is_forwarded());
    let wrong = [
        vec![("a.filter", vec![("kind", Value::Text("silver"))])],
        vec![("a.filter", vec![("kind", Value::Text("gold")), ("other", Value::Other)])],
        vec![("a.filter", vec![("kind", Value::Text("gold")), ("other", Value::List(vec![Value::Other]))])],
        vec![("a.filter", vec![("kind", Value::List(vec![Value::List(vec![Value::Text("gold")])]))])],
    ];
    for dynamic in wrong {
        let stream = envoy.worker.send(with(dynamic.clone()));
        assert!(!stream.is_forwarded(), "{dynamic:?}");
    }
}

#[test]
fn metadata_that_cannot_be_had_lets_nobody_in() {
    let envoy = asking();
    let request = |token: &str| Request {
        dynamic: metadata(),
        of_route: vec![("portcullis", vec![("scopes", Value::List(vec![Value::Text("orders:write")]))])],
        ..orders(token)
    };
    envoy.take_counts();
    assert_eq!(envoy.worker.send(request(&token())).status(), 403);
    let counts = envoy.take_counts();
    for (callback, count) in counts.into_iter().filter(|(callback, _)| callback.contains("metadata")) {
        for (after, fault) in (0..count).flat_map(|after| FAULTS.map(|fault| (after, fault))) {
            envoy.fail(callback, fault, after, 1);
            let forged = envoy.worker.send(request(&Key::foreign().sign(json!({}))));
            assert!(!forged.is_forwarded(), "{callback} number {after} {fault:?}");
            envoy.heal();
        }
    }
}
