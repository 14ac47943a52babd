//! How long an answer counts, and what it costs to keep it.

use std::rc::Rc;

use serde_json::{Value, json};

use super::replay::{Answer, Replay, config, introspection, json_answer, opaque};
use crate::common::with;

const NOW: u64 = 1_800_000_000;

fn setup(cache: Value) -> Value {
    let block = introspection(json!({ "cache": cache }));
    config(
        &json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": block }),
        json!({}),
    )
}

fn usual() -> Value {
    setup(json!({ "active": "30s", "inactive": "10s", "size": 1000 }))
}

fn active(more: Value) -> Answer {
    json_answer(with(json!({ "active": true, "aud": "orders" }), more))
}

fn inactive() -> Answer {
    json_answer(json!({ "active": false }))
}

#[test]
fn an_active_token_is_asked_about_once_in_its_time() {
    let mut replay = Replay::new(&usual(), NOW);
    for after in 0..30 {
        for _ in 0..10 {
            assert_eq!(replay.bearer(&opaque(1), NOW + after, |_| active(json!({}))), "allow");
        }
    }
    assert_eq!(replay.calls.len(), 1, "in the first half minute");
    // Revoked meanwhile: what was said before counts no more.
    assert_eq!(replay.bearer(&opaque(1), NOW + 31, |_| inactive()), "token_inactive");
    assert_eq!(replay.calls.len(), 2);
}

#[test]
fn an_answer_counts_never_past_the_end_that_it_names() {
    let mut replay = Replay::new(&usual(), NOW);
    assert_eq!(replay.bearer(&opaque(1), NOW, |_| active(json!({ "exp": NOW + 5 }))), "allow");
    assert_eq!(replay.bearer(&opaque(1), NOW + 4, |_| inactive()), "allow");
    assert_eq!(replay.bearer(&opaque(1), NOW + 6, |_| inactive()), "token_inactive");
    assert_eq!(replay.calls.len(), 2);
    // With a fraction, as some servers write it.
    let end = NOW as f64 + 5.5;
    let mut replay = Replay::new(&usual(), NOW);
    assert_eq!(replay.bearer(&opaque(1), NOW, |_| active(json!({ "exp": end }))), "allow");
    assert_eq!(replay.bearer(&opaque(1), NOW + 6, |_| inactive()), "token_inactive");
}

#[test]
fn an_inactive_token_is_remembered_for_its_own_time() {
    let mut replay = Replay::new(&usual(), NOW);
    for after in 0..10 {
        assert_eq!(replay.bearer(&opaque(1), NOW + after, |_| inactive()), "token_inactive");
    }
    assert_eq!(replay.calls.len(), 1);
    // The server learns of a token a moment later than its bearer uses it.
    assert_eq!(replay.bearer(&opaque(1), NOW + 11, |_| active(json!({}))), "allow");
}

#[test]
fn the_cache_is_bounded_and_what_is_used_stays() {
    // What was made of answers is kept with the provider's verified tokens, and counts there.
    let mut small = setup(json!({ "active": "600s", "size": 100 }));
    small["providers"]["p"]["jwt_cache_config"] = json!({ "jwt_cache_size": 100 });
    let mut replay = Replay::new(&small, NOW);
    for _ in 0..2 {
        for number in 1..=1000 {
            assert_eq!(replay.bearer(&opaque(number), NOW, |_| active(json!({}))), "allow");
        }
    }
    assert!(replay.calls.len() >= 1800, "{} calls: more is kept than was said", replay.calls.len());
    let mut replay = Replay::new(&setup(json!({ "active": "600s", "inactive": "600s", "size": 100 })), NOW);
    for number in 1..=1000 {
        assert_eq!(replay.bearer(&opaque(0), NOW, |_| active(json!({}))), "allow");
        assert_eq!(replay.bearer(&opaque(number), NOW, |_| inactive()), "token_inactive");
    }
    assert_eq!(replay.calls.len(), 1001, "a token that is used all the time is asked about once");
}

/// What was believed under one configuration is not under another: the answer came from another endpoint, to another
/// client, or for other audiences.
#[test]
fn another_configuration_asks_anew() {
    let changes: [fn(&mut Value); 3] = [
        |provider| provider["introspection"]["client_id"] = json!("other"),
        |provider| provider["introspection"]["http_uri"]["uri"] = json!("https://id.example/other"),
        |provider| provider["audiences"] = json!(["billing", "orders"]),
    ];
    for change in changes {
        let store = Rc::default();
        let mut replay = Replay::sharing(&usual(), NOW, &store);
        assert_eq!(replay.bearer(&opaque(1), NOW, |_| active(json!({}))), "allow");
        drop(replay);
        let mut changed = usual();
        change(&mut changed["providers"]["p"]);
        let mut replay = Replay::sharing(&changed, NOW + 1, &store);
        assert_eq!(replay.bearer(&opaque(1), NOW + 1, |_| inactive()), "token_inactive", "{changed}");
    }
}

/// Two providers know nothing of each other's tokens.
#[test]
fn an_answer_is_for_the_provider_that_was_asked() {
    let provider = |uri: &str| {
        let http_uri = json!({ "uri": uri, "cluster": "id", "timeout": "5s" });
        json!({ "issuer": "https://id.example/", "audiences": ["orders"],
                "introspection": introspection(json!({ "http_uri": http_uri })) })
    };
    let rule = |prefix: &str, name: &str| json!({ "match": { "prefix": prefix }, "requires": { "provider_name": name } });
    let config = json!({
        "providers": { "a": provider("https://a.example/i"), "b": provider("https://b.example/i") },
        "rules": [rule("/a", "a"), rule("/b", "b")],
    });
    let mut replay = Replay::new(&config, NOW);
    let bearer = format!("Bearer {}", opaque(1));
    let by_endpoint = |call: &portcullis::HttpRequest| match call.endpoint.authority.as_str() {
        "a.example" => active(json!({})),
        _ => inactive(),
    };
    assert_eq!(replay.ask("/a", &bearer, NOW, by_endpoint), "allow");
    assert_eq!(replay.ask("/b", &bearer, NOW, by_endpoint), "token_inactive");
    assert_eq!(replay.ask("/a", &bearer, NOW + 1, by_endpoint), "allow");
    assert_eq!(replay.calls.len(), 2);
}
