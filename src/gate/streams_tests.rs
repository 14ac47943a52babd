//! Streams that end with their tokens: which, when, and what it costs.

use std::time::{Duration, Instant};

use harness::{Alg, Key};
use serde_json::{Value, json};

use super::*;
use crate::fetch::{FetchError, HttpResponse};
use crate::token::ProviderId;

const NOW: u64 = 1_800_000_000;

const NONE: [u32; 0] = [];

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs(NOW).plus(Duration::from_secs_f64(seconds))
}

fn signer() -> Key {
    Key::cached(Alg::ES256, "issuer")
}

/// A gate with a clock skew of 5 s, and these fields of its providers, of its rule and of the whole.
fn gate(provider: Value, rule: Value, whole: Value) -> Gate {
    let keys = json!({ "inline": harness::idp::jwks([&signer()]) });
    let mut config = json!({
        "providers": {
            "corp": { "issuer": "i", "audiences": ["a"], "clock_skew_seconds": 5, "local_jwks": keys },
            "other": {
                "issuer": "o", "audiences": ["a"], "clock_skew_seconds": 5, "local_jwks": keys,
                "from_headers": [{ "name": "x-other" }],
            },
        },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "provider_name": "corp" },
            "streams": { "end_with_token": true, "grace": "10s" },
        }],
    });
    let mut put = |at: &str, more: Value| {
        let place = config.pointer_mut(at).unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value.is_null() {
                true => drop(place.as_object_mut().unwrap().remove(name)),
                false => place[name] = value.clone(),
            }
        }
    };
    put("/providers/corp", provider);
    put("/rules/0", rule);
    put("", whole);
    let config = Config::parse(config.to_string().as_bytes(), &|_| Some("s".repeat(32)));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Gate::new(config, Environment::alone(1), at(0.0))
}

fn usual() -> Gate {
    gate(json!({}), json!({}), json!({}))
}

fn token(more: Value) -> String {
    let mut claims = json!({ "iss": "i", "aud": "a", "sub": "alice", "exp": NOW + 100 });
    for (name, value) in more.as_object().unwrap() {
        match value.is_null() {
            true => drop(claims.as_object_mut().unwrap().remove(name)),
            false => claims[name] = value.clone(),
        }
    }
    signer().sign_jws(&json!({ "alg": "ES256", "kid": "issuer" }), claims.to_string().as_bytes())
}

/// Asks with a token of `corp`, and one of `other` where there is one.
fn ask(gate: &mut Gate, stream: u32, corp: &str, other: &str, now: Timestamp) -> Outcome {
    let bearer = format!("Bearer {corp}");
    let fields = [(":method", "GET"), (":path", "/"), ("authorization", &*bearer), ("x-other", other)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let count = if other.is_empty() { 3 } else { 4 };
    gate.decide(StreamId(stream), &Request::new(&fields[..count]), now)
}

/// Whether its stream is one that ends with its token.
#[track_caller]
fn is_followed(outcome: Outcome) -> bool {
    let Outcome::Allow(allow) = outcome else { panic!("{outcome:?}") };
    allow.is_followed
}

/// The streams that a tick ends.
fn ended(gate: &mut Gate, now: Timestamp) -> Vec<u32> {
    gate.tick(now);
    let closed = |effect| match effect {
        Effect::Close(StreamId(stream)) => Some(stream),
        Effect::Fetch { .. } | Effect::Wake(..) | Effect::Log(..) => None,
    };
    std::iter::from_fn(|| gate.next_effect()).filter_map(closed).collect()
}

/// What was counted of streams, without what stands before.
fn counted(gate: &mut Gate) -> Vec<(String, u64)> {
    let samples = gate.metrics.take().into_iter();
    let own = samples.filter_map(|sample| {
        let name = sample.name.strip_prefix("portcullis.streams_")?.to_owned();
        Some((name, sample.value))
    });
    own.collect()
}

#[test]
fn a_stream_ends_with_exp_and_skew_and_grace_and_the_next_tick_is_asked_for_in_time() {
    let mut gate = usual();
    assert_eq!(gate.poll_timeout(at(0.0)), None);
    assert!(is_followed(ask(&mut gate, 1, &token(json!({})), "", at(0.0))));
    assert!(is_followed(ask(&mut gate, 2, &token(json!({ "exp": NOW + 50 })), "", at(0.0))));
    assert_eq!(ended(&mut gate, at(1.0)), NONE);
    assert_eq!(gate.poll_timeout(at(1.0)), Some(Duration::from_secs(64)));
    assert_eq!(ended(&mut gate, at(64.9)), NONE);
    assert_eq!(ended(&mut gate, at(65.0)), [2]);
    assert_eq!(gate.poll_timeout(at(65.0)), Some(Duration::from_secs(50)));
    assert_eq!(ended(&mut gate, at(200.0)), [1]);
    assert_eq!(gate.poll_timeout(at(200.0)), None);
    assert_eq!(counted(&mut gate), [("ended.provider.corp.reason.expired".to_owned(), 2)]);
}

#[test]
fn a_request_that_is_over_leaves_nothing_behind() {
    let mut gate = usual();
    for stream in 1..=100 {
        assert!(is_followed(ask(&mut gate, stream, &token(json!({})), "", at(0.0))));
        gate.forget(StreamId(stream));
    }
    // One that is decided twice is one.
    for exp in [60, 90] {
        ask(&mut gate, 7, &token(json!({ "exp": NOW + exp })), "", at(0.0));
    }
    assert_eq!(ended(&mut gate, at(76.0)), NONE);
    gate.forget(StreamId(7));
    assert_eq!(ended(&mut gate, at(1000.0)), NONE);
    assert_eq!(gate.poll_timeout(at(1000.0)), None);
    assert!(counted(&mut gate).is_empty());
}

#[test]
fn what_cannot_end_is_not_followed_and_no_other_rule_notices() {
    let off = json!({ "streams": { "end_with_token": false, "grace": "10s" } });
    let endless = json!({ "require_expiration": false });
    for (what, provider, rule, claims, expected) in [
        ("the rule ends them", json!({}), json!({}), json!({}), true),
        ("the rule says nothing", json!({}), json!({ "streams": null }), json!({}), false),
        ("it says that it does not", json!({}), off, json!({}), false),
        ("a token without exp", endless.clone(), json!({}), json!({ "exp": null }), false),
        ("one with exp, where that may be missing", endless, json!({}), json!({}), true),
    ] {
        let mut gate = gate(provider, rule, json!({}));
        assert_eq!(is_followed(ask(&mut gate, 1, &token(claims), "", at(0.0))), expected, "{what}");
        assert_eq!(ended(&mut gate, at(1000.0)).len(), usize::from(expected), "{what}");
    }
    let missing = json!({ "requires": { "allow_missing": {} } });
    let mut gate = gate(json!({}), missing, json!({}));
    let fields = [(&b":method"[..], &b"GET"[..]), (b":path", b"/")];
    assert!(!is_followed(gate.decide(StreamId(1), &Request::new(&fields), at(0.0))));
    assert!(is_followed(ask(&mut gate, 2, &token(json!({})), "", at(0.0))));
    assert_eq!(ended(&mut gate, at(1000.0)), [2]);
}

#[test]
fn the_first_of_several_tokens_to_end_counts() {
    let both = json!({ "requires": { "requires_all": { "requirements": [
        { "provider_name": "corp" }, { "provider_name": "other" },
    ] } } });
    let mut gate = gate(json!({}), both, json!({}));
    let (long, short) = (token(json!({})), token(json!({ "iss": "o", "exp": NOW + 20 })));
    assert!(is_followed(ask(&mut gate, 1, &long, &short, at(0.0))));
    assert_eq!(ended(&mut gate, at(34.9)), NONE);
    assert_eq!(ended(&mut gate, at(35.0)), [1]);
    assert_eq!(counted(&mut gate), [("ended.provider.other.reason.expired".to_owned(), 1)]);
}

#[test]
fn a_rule_that_only_reports_counts_each_stream_once_and_resets_none() {
    let lists = json!({ "revocation": { "inline": { "version": 1, "entries": [{ "issuer": "i", "jti": "gone", "until": NOW + 1000 }] } } });
    let mut gate = gate(json!({}), json!({ "mode": "report" }), lists);
    assert!(is_followed(ask(&mut gate, 1, &token(json!({})), "", at(0.0))));
    // What would have been refused has no token to end with.
    assert!(!is_followed(ask(&mut gate, 2, &token(json!({ "jti": "gone" })), "", at(0.0))));
    assert!(!is_followed(ask(&mut gate, 3, "x", "", at(0.0))));
    for _ in 0..3 {
        assert_eq!(ended(&mut gate, at(115.0)), NONE);
    }
    assert_eq!(counted(&mut gate), [("would_end.provider.corp.reason.expired".to_owned(), 1)]);
}

/// The body of an introspection answer for the one call under way, and the request woken by it.
fn answered(gate: &mut Gate, token: &str, body: &str) -> Outcome {
    assert!(matches!(ask(gate, 1, token, "", at(0.0)), Outcome::Wait));
    let Some(Effect::Fetch { lookup, .. }) = gate.next_effect() else { panic!("no call") };
    let body = body.as_bytes().to_vec();
    gate.fetched(lookup, Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }), at(0.0));
    let Some(Effect::Wake(stream, waited)) = gate.next_effect() else { panic!("not woken") };
    let bearer = format!("Bearer {token}");
    let fields = [(&b":method"[..], &b"GET"[..]), (b":path", b"/"), (b"authorization", bearer.as_bytes())];
    gate.resume(stream, waited, &Request::new(&fields), at(0.0))
}

fn introspection(claims: &str) -> Value {
    json!({
        "http_uri": { "uri": "https://idp/i", "cluster": "c", "timeout": "5s" },
        "client_id": "gate", "client_secret": { "environment_variable": "S" }, "claims": claims,
    })
}

#[test]
fn an_opaque_token_ends_when_its_answer_says_and_not_when_that_is_asked_for_anew() {
    let provider =
        || json!({ "local_jwks": null, "audiences": null, "introspection": introspection("token") });
    for (answer, end) in [
        (json!({ "active": true, "iss": "i", "exp": NOW + 500 }), Some(515.0)),
        (json!({ "active": true, "iss": "i" }), None),
    ] {
        let mut gate = gate(provider(), json!({}), json!({}));
        let outcome = answered(&mut gate, "2YotnFZFEjr1zCsicMWpAA", &answer.to_string());
        assert_eq!(is_followed(outcome), end.is_some());
        let last = end.unwrap_or(10_000.0);
        assert_eq!(ended(&mut gate, at(last - 0.1)), NONE);
        assert_eq!(ended(&mut gate, at(last)).len(), usize::from(end.is_some()));
    }
}

#[test]
fn a_jwt_that_is_asked_about_ends_with_its_own_exp_and_with_that_of_the_answer() {
    for (own, answer, end) in [(100, 400, 115.0), (400, 100, 115.0)] {
        let provider = json!({ "introspection": introspection("answer") });
        let mut gate = gate(provider, json!({}), json!({}));
        let answer = json!({ "active": true, "iss": "i", "aud": "a", "exp": NOW + answer });
        let token = token(json!({ "exp": NOW + own }));
        assert!(is_followed(answered(&mut gate, &token, &answer.to_string())));
        assert_eq!(ended(&mut gate, at(end - 0.1)), NONE, "{own}");
        assert_eq!(ended(&mut gate, at(end)), [1], "{own}");
    }
}

fn keys_are(gate: &mut Gate, keys: &[&Key], now: Timestamp) -> bool {
    gate.tick(now);
    let fetch = std::iter::from_fn(|| gate.next_effect()).find_map(|effect| match effect {
        Effect::Fetch { lookup, .. } => Some(lookup),
        _ => None,
    });
    let Some(lookup) = fetch else { return false };
    let body = harness::idp::jwks(keys.iter().copied()).to_string().into_bytes();
    gate.fetched(lookup, Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }), now);
    true
}

#[test]
fn a_key_that_is_no_longer_listed_takes_the_streams_of_its_tokens_along() {
    let remote = json!({
        "http_uri": { "uri": "https://idp/k", "cluster": "c", "timeout": "5s" }, "cache_duration": "10s",
    });
    let provider = json!({ "local_jwks": null, "remote_jwks": remote });
    let mut gate = gate(provider, json!({ "revocation": "ignore" }), json!({}));
    let (kept, new) = (signer(), Key::cached(Alg::ES256, "new"));
    assert!(keys_are(&mut gate, &[&kept], at(0.0)));
    assert!(is_followed(ask(&mut gate, 1, &token(json!({})), "", at(1.0))));
    let mut now = 1.0;
    let mut fetch_next = |gate: &mut Gate, keys: &[&Key]| {
        while !keys_are(gate, keys, at(now)) {
            now += 0.2;
            assert!(now < 90.0, "the keys are fetched again");
        }
        now
    };
    // One key more, and an endpoint that fails, end nothing.
    let then = fetch_next(&mut gate, &[&kept, &new]);
    assert_eq!(ended(&mut gate, at(then)), NONE);
    let lookup = gate.keys_lookup(ProviderId(0)).unwrap();
    gate.fetched(lookup, Err(FetchError::Status(500)), at(then));
    assert_eq!(ended(&mut gate, at(then)), NONE);
    let then = fetch_next(&mut gate, &[&new]);
    assert_eq!(gate.poll_timeout(at(then)), Some(Duration::ZERO));
    assert_eq!(ended(&mut gate, at(then)), [1]);
    assert_eq!(counted(&mut gate), [("ended.provider.corp.reason.revoked".to_owned(), 1)]);
}

#[test]
fn beyond_the_most_that_are_remembered_a_request_is_refused_and_uses_nothing_up() {
    let mut gate = gate(json!({}), json!({ "one_time": true }), json!({}));
    gate.streams.fill(MAX_STREAMS);
    let once = token(json!({ "jti": "once" }));
    let Outcome::Deny(refused) = ask(&mut gate, u32::MAX, &once, "", at(0.0)) else { panic!("it passed") };
    assert_eq!(refused.response.reason, Reason::Overloaded);
    gate.forget(StreamId(3));
    assert!(is_followed(ask(&mut gate, u32::MAX, &once, "", at(0.0))));
}

#[test]
fn many_that_end_at_once_are_ended_by_several_ticks_and_none_is_lost() {
    let mut gate = usual();
    gate.streams.fill(2_500);
    let mut all = Vec::new();
    for expected in [1_000, 1_000, 500, 0] {
        assert_eq!(gate.poll_timeout(at(0.0)).is_some(), expected > 0);
        let ended = ended(&mut gate, at(0.0));
        assert_eq!(ended.len(), expected);
        all.extend(ended);
    }
    all.sort_unstable();
    assert_eq!(all, (0..2_500).collect::<Vec<_>>());
}

#[test]
fn a_tick_with_ten_thousand_open_streams_costs_under_a_microsecond_for_each() {
    const STREAMS: u32 = 10_000;
    const TICKS: u32 = 20;
    let lists = json!({ "revocation": { "inline": { "version": 1, "entries": [{ "issuer": "i", "jti": "gone", "until": NOW + 1000 }] } } });
    let mut gate = gate(json!({}), json!({}), lists);
    let token = token(json!({ "jti": "kept", "sid": "s", "client_id": "c", "exp": NOW + 100_000 }));
    for stream in 0..STREAMS {
        assert!(is_followed(ask(&mut gate, stream, &token, "", at(0.0))));
    }
    for news in [false, true] {
        // The machine has other things to do: the best of some rounds counts.
        let rounds = (0..10).map(|_| {
            let begin = Instant::now();
            for _ in 0..TICKS {
                if news {
                    gate.revocations.changed();
                }
                assert_eq!(ended(&mut gate, at(1.0)), NONE);
            }
            begin.elapsed() / TICKS / STREAMS
        });
        let each = rounds.min().unwrap();
        println!("{STREAMS} open streams, news: {news}: {each:?} for each and tick");
        assert!(each < Duration::from_micros(1), "{each:?}, news: {news}");
    }
}
