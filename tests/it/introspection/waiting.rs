//! Requests that wait for an answer: one call for each token, few at once, and none that waits for ever.

use serde_json::{Value, json};

use super::replay::{Answer, Replay, WAITS, config, introspection, json_answer, opaque, status};
use crate::common::with;

const NOW: u64 = 1_800_000_000;

fn setup(more: Value) -> Value {
    let provider = json!({ "issuer": "https://id.example/", "audiences": ["orders"] });
    config(&with(provider, json!({ "introspection": introspection(more) })), json!({}))
}

fn good() -> Answer {
    json_answer(json!({ "active": true, "aud": "orders" }))
}

fn bearer(number: u64) -> String {
    format!("Bearer {}", opaque(number))
}

#[test]
fn there_is_one_call_for_a_token_however_many_wait_for_it() {
    let mut replay = Replay::new(&setup(json!({})), NOW);
    for _ in 0..100 {
        assert_eq!(replay.begin("/", &bearer(1), NOW).1, WAITS);
    }
    assert_eq!(replay.calls.len(), 1);
    let (lookup, _) = replay.in_flight[0];
    let became = replay.answered(lookup, good(), NOW + 1);
    assert_eq!(became.len(), 100);
    assert!(became.iter().all(|(_, became)| became == "allow"), "{became:?}");
    assert_eq!(replay.begin("/", &bearer(1), NOW + 2).1, "allow");
    assert_eq!(replay.calls.len(), 1);
}

#[test]
fn no_more_calls_are_in_flight_than_are_allowed_and_what_waits_has_its_turn() {
    let mut replay = Replay::new(&setup(json!({ "max_in_flight": 2 })), NOW);
    let mut waiting = 0;
    let mut full = 0;
    for number in 1..=3000 {
        match replay.begin("/", &bearer(number), NOW).1.as_str() {
            WAITS => waiting += 1,
            "overloaded" => full += 1,
            other => panic!("{number}: {other}"),
        }
        assert!(replay.in_flight.len() <= 2);
    }
    assert_eq!(waiting + full, 3000);
    assert!(full > 0, "what waits is bounded");
    assert!(replay.retry_after.is_some_and(|seconds| (1..=300).contains(&seconds)));
    let mut passed = 0;
    while let Some((lookup, _)) = replay.in_flight.first() {
        let became = replay.answered(*lookup, good(), NOW);
        passed += became.iter().filter(|(_, became)| became == "allow").count();
        assert!(replay.in_flight.len() <= 2);
    }
    assert_eq!(passed, waiting, "each that waited was asked about");
    let calls = replay.calls.len();
    assert!((waiting..=waiting + 2).contains(&calls), "{calls} calls for {waiting} that waited");
}

#[test]
fn what_waits_for_its_turn_is_told_when_the_endpoint_fails() {
    let mut replay = Replay::new(&setup(json!({ "max_in_flight": 1 })), NOW);
    for number in 1..=50 {
        assert_eq!(replay.begin("/", &bearer(number), NOW).1, WAITS);
    }
    let (lookup, _) = replay.in_flight[0];
    let became = replay.answered(lookup, status(500, ""), NOW);
    assert_eq!(became.len(), 50);
    assert!(became.iter().all(|(_, became)| became == "introspection_unavailable"), "{became:?}");
    assert_eq!(replay.calls.len(), 1);
    assert!(replay.in_flight.is_empty());
}

#[test]
fn nobody_waits_longer_than_an_answer_may_take() {
    let mut replay = Replay::new(&setup(json!({ "max_in_flight": 1 })), NOW);
    for number in 1..=20 {
        assert_eq!(replay.begin("/", &bearer(number), NOW).1, WAITS);
    }
    // Neither the endpoint nor the host says a word.
    let mut became = Vec::new();
    for after in 1..=60 {
        became.extend(replay.tick(NOW + after));
    }
    became.retain(|(_, became)| became != WAITS);
    assert_eq!(became.len(), 20, "each is answered");
    assert!(became.iter().all(|(_, became)| became == "introspection_unavailable"), "{became:?}");
    // And it is well again by itself.
    assert_eq!(replay.ask("/", &bearer(1), NOW + 120, |_| good()), "allow");
}

/// A late answer, or a second one, to a call that was given up says nothing.
#[test]
fn an_answer_that_nobody_waits_for_does_no_harm() {
    let mut replay = Replay::new(&setup(json!({})), NOW);
    assert_eq!(replay.begin("/", &bearer(1), NOW).1, WAITS);
    let (lookup, _) = replay.in_flight[0];
    for after in 1..=30 {
        replay.tick(NOW + after);
    }
    assert!(replay.answered(lookup, good(), NOW + 31).is_empty());
    let got = replay.ask("/", &bearer(1), NOW + 60, |_| json_answer(json!({ "active": false })));
    assert_eq!(got, "token_inactive");
    assert!(replay.answered(lookup, good(), NOW + 61).is_empty());
    assert_eq!(replay.begin("/", &bearer(1), NOW + 61).1, "token_inactive");
}

/// What was asked before a token was revoked may be answered after that: its time counts from the question.
#[test]
fn an_answer_counts_from_the_moment_of_its_question() {
    let mut replay = Replay::new(&setup(json!({ "cache": { "active": "5s" } })), NOW);
    assert_eq!(replay.begin("/", &bearer(1), NOW).1, WAITS);
    let (lookup, _) = replay.in_flight[0];
    let became = replay.answered(lookup, good(), NOW + 4);
    assert_eq!(became[0].1, "allow");
    let got = replay.ask("/", &bearer(1), NOW + 6, |_| json_answer(json!({ "active": false })));
    assert_eq!(got, "token_inactive");
}

/// The clock of a machine is set back by an hour: nothing that was known counts for an hour more.
#[test]
fn a_clock_that_is_set_back_makes_no_answer_last() {
    let mut replay = Replay::new(&setup(json!({ "cache": { "active": "30s" } })), NOW);
    assert_eq!(replay.ask("/", &bearer(1), NOW, |_| good()), "allow");
    assert_eq!(replay.ask("/", &bearer(2), NOW, |_| status(500, "")), "introspection_unavailable");
    let back = NOW - 3600;
    let inactive = || json_answer(json!({ "active": false }));
    let _ = replay.ask("/", &bearer(1), back, |_| inactive());
    for after in 1..120 {
        replay.tick(back + after);
    }
    assert_eq!(replay.ask("/", &bearer(1), back + 120, |_| inactive()), "token_inactive");
    assert_eq!(replay.ask("/", &bearer(2), back + 120, |_| good()), "allow");
}
