//! The polled list.

use std::time::Duration;

use portcullis::FetchError;
use serde_json::{Value, json};

use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, polled, token};

fn nothing() -> Value {
    json!({ "version": 1, "entries": [] })
}

/// Every way to revoke a token: an entry or a cut-off, a token that it hits, tokens that it leaves alone.
fn ways() -> Vec<(&'static str, Value, Value, Vec<Value>)> {
    let entry = |more: Value| {
        let mut entry = json!({ "issuer": ISSUER, "until": START + 1000 });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "version": 1, "entries": [entry] })
    };
    let cutoff = |more: Value| {
        let mut cutoff = json!({ "issued_before": START - 5, "until": START + 1000 });
        cutoff.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "version": 1, "cutoffs": [cutoff] })
    };
    let later = json!({ "iat": START - 5, "jti": "a" });
    vec![
        (
            "jti",
            entry(json!({ "jti": "a" })),
            json!({ "jti": "a" }),
            vec![json!({ "jti": "b" }), json!({ "sid": "a" })],
        ),
        (
            "sid",
            entry(json!({ "sid": "a" })),
            json!({ "sid": "a" }),
            vec![json!({ "sid": "b" }), json!({ "jti": "a" })],
        ),
        (
            "sub",
            entry(json!({ "sub": "a" })),
            json!({ "sub": "a" }),
            vec![json!({ "sub": "A" }), json!({ "jti": "a" })],
        ),
        (
            "client_id",
            entry(json!({ "client_id": "a" })),
            json!({ "client_id": "a" }),
            vec![json!({ "client_id": "b" }), json!({ "sub": "a" })],
        ),
        ("azp", entry(json!({ "client_id": "a" })), json!({ "azp": "a" }), vec![json!({ "azp": "b" })]),
        (
            "a second client",
            entry(json!({ "client_id": "a" })),
            json!({ "client_id": "b", "azp": "a" }),
            vec![json!({ "client_id": "b", "azp": "c" })],
        ),
        (
            "the tokens of a subject",
            cutoff(json!({ "issuer": ISSUER, "sub": "a" })),
            json!({ "sub": "a" }),
            vec![json!({ "sub": "b" }), json!({ "sub": "a", "iat": START - 5 })],
        ),
        (
            "the tokens of a client",
            cutoff(json!({ "issuer": ISSUER, "client_id": "a" })),
            json!({ "azp": "a" }),
            vec![json!({ "azp": "b" }), json!({ "azp": "a", "iat": START - 5 })],
        ),
        ("the tokens of an issuer", cutoff(json!({ "issuer": ISSUER })), json!({}), vec![later.clone()]),
        ("all tokens", cutoff(json!({ "everyone": true })), json!({}), vec![later.clone()]),
        (
            "a token of no known time",
            cutoff(json!({ "everyone": true })),
            json!({ "iat": null }),
            vec![later],
        ),
        (
            "a fraction of a second before",
            cutoff(json!({ "everyone": true })),
            json!({ "iat": START as f64 - 5.5 }),
            vec![json!({ "iat": START as f64 - 4.5 })],
        ),
    ]
}

#[test]
fn each_entry_and_cut_off_revokes_its_tokens_everywhere_in_time_and_no_others_until_it_ends() {
    for (name, list, hit, spared) in ways() {
        let mut fleet = Fleet::start(3, &config(polled(json!({}))));
        fleet.list(&nothing());
        fleet.seconds(1);
        let hit = token(hit);
        let spared: Vec<String> = spared.into_iter().map(token).collect();
        assert_eq!(fleet.show(&hit), "allow", "{name}");
        spared.iter().for_each(|token| assert_eq!(fleet.show(token), "allow", "{name}"));
        fleet.list(&list);
        fleet.seconds(11);
        assert_eq!(fleet.show(&hit), "revoked", "{name}: {:?}", fleet.log);
        spared.iter().for_each(|token| assert_eq!(fleet.show(token), "allow", "{name}"));
        // Its end, and the clock skew for which a token outlives its own.
        fleet.now = portcullis::Timestamp::from_secs(START + 1059);
        fleet.turn();
        assert_eq!(fleet.show(&hit), "revoked", "{name}");
        fleet.seconds(1);
        assert_eq!(fleet.show(&hit), "allow", "{name}: its entry has ended");
    }
}

#[test]
fn an_entry_that_is_taken_out_of_the_list_lets_its_token_pass_again() {
    let mut fleet = Fleet::start(2, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    let token = token(json!({ "jti": "a" }));
    assert_eq!(fleet.show(&token), "revoked");
    fleet.list(&nothing());
    fleet.seconds(11);
    assert_eq!(fleet.show(&token), "allow");
}

#[test]
fn an_entry_of_another_issuer_is_none_of_ours() {
    let mut fleet = Fleet::start(1, &config(polled(json!({}))));
    fleet.list(&json!({ "version": 1,
        "entries": [{ "issuer": "https://other.example", "jti": "a", "until": START + 1000 }],
        "cutoffs": [{ "issuer": "https://other.example", "issued_before": START + 1000 }] }));
    fleet.seconds(1);
    assert_eq!(fleet.show(&token(json!({ "jti": "a" }))), "allow");
}

#[test]
fn another_text_of_a_revoked_token_is_revoked_too() {
    let mut fleet = Fleet::start(1, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    let (one, other) = (token(json!({ "jti": "a" })), token(json!({ "jti": "a" })));
    assert_ne!(one, other, "an ECDSA signature is never the same twice");
    assert_eq!((fleet.show(&one), fleet.show(&other)), ("revoked", "revoked"));
}

#[test]
fn a_proxy_asks_once_in_an_interval_however_many_workers_it_has() {
    let mut fleet = Fleet::start(5, &config(polled(json!({}))));
    fleet.list(&nothing());
    fleet.seconds(101);
    assert!((10..=11).contains(&fleet.asked.len()), "{}", fleet.asked.len());
    let lists = fleet.gates.iter().map(|gate| gate.revocation_lists()[0].last_success()).collect::<Vec<_>>();
    assert!(lists.iter().all(|last| last.is_some() && *last == lists[0]), "{lists:?}");
}

#[test]
fn a_worker_that_comes_later_knows_the_list_at_once() {
    let mut fleet = Fleet::start(1, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    fleet.join();
    assert_eq!(fleet.show(&token(json!({ "jti": "a" }))), "revoked");
    assert_eq!(fleet.show(&token(json!({ "jti": "b" }))), "allow");
}

#[test]
fn the_first_request_waits_for_the_list_and_is_judged_by_it() {
    let mut fleet = Fleet::start(1, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    assert_eq!(fleet.on(0, "/", &token(json!({ "jti": "a" }))), "wait");
    assert_eq!(fleet.on(0, "/", &token(json!({ "jti": "b" }))), "wait");
    assert_eq!(fleet.on(0, "/", &token(json!({ "exp": START - 1000 }))), "expired", "no need to wait");
    fleet.turn();
    assert_eq!(fleet.woken, ["revoked", "allow"]);
}

/// Every way in which a source fails.
fn failures() -> Vec<(&'static str, Served)> {
    let plain = |text: &str| Served::Plain(text.as_bytes().to_vec());
    vec![
        ("an error", Served::Status(500)),
        ("nothing there", Served::Status(404)),
        ("not modified, unasked", Served::Status(304)),
        ("a redirect", Served::Status(302)),
        ("no answer", Served::Hang),
        ("a reset, or 100 MB", Served::Fails(FetchError::NoAnswer)),
        ("no such cluster", Served::Fails(FetchError::NotSent { cluster: "lists".to_owned() })),
        ("too large", Served::Fails(FetchError::TooLarge { size: 100, limit: 10 })),
        ("too large for us", Served::Plain(vec![b' '; (8 << 20) + 1])),
        ("empty", plain("")),
        ("a web page", plain("<!doctype html>")),
        ("another document", plain("{}")),
        ("an empty list without its list", plain(r#"{"version":1}"#)),
        ("another version", plain(r#"{"version":2,"entries":[]}"#)),
        ("half a document", plain(r#"{"version":1,"entries":["#)),
        (
            "one bad entry among good ones",
            plain(r#"{"version":1,"entries":[{"issuer":"i","jti":"a","until":1},{}]}"#),
        ),
    ]
}

#[test]
fn a_source_that_fails_from_the_start_lets_nobody_in_and_heals() {
    for (name, served) in failures() {
        let mut fleet = Fleet::start(2, &config(polled(json!({}))));
        fleet.serve("/r/list.json", served);
        let good = token(json!({}));
        assert_eq!(fleet.on(0, "/", &good), "wait", "{name}");
        fleet.seconds(4);
        assert_eq!(fleet.woken, ["revocation_unavailable"], "{name}");
        assert_eq!(fleet.on(0, "/glass", &good), "allow", "{name}: the rule does not ask");
        fleet.list(&nothing());
        // The pause between two tries is the interval at most, give or take a fifth.
        fleet.seconds(16);
        assert_eq!(fleet.show(&good), "allow", "{name}: {:?}", fleet.log);
    }
}

#[test]
fn while_a_source_is_known_to_fail_the_answer_comes_at_once_and_says_when_to_try_again() {
    let mut fleet = Fleet::start(1, &config(polled(json!({}))));
    fleet.serve("/r/list.json", Served::Status(500));
    fleet.seconds(30);
    let reply = fleet.refusal(0, &token(json!({})));
    assert_eq!((reply.status, reply.details.as_str()), (503, "portcullis_revocation_unavailable"));
    let retry: u64 =
        reply.headers.iter().find(|(name, _)| *name == "retry-after").unwrap().1.parse().unwrap();
    assert!((1..=12).contains(&retry), "{retry}");
    assert!(reply.body.contains("revocation_unavailable"), "{}", reply.body);
}

#[test]
fn the_last_good_list_serves_for_max_staleness_whatever_the_source_does() {
    // Whoever has a list and asks whether it changed may be told that it did not.
    for (name, served) in failures().into_iter().filter(|(name, _)| *name != "not modified, unasked") {
        let mut fleet = Fleet::start(2, &config(polled(json!({ "max_staleness": "60s" }))));
        fleet.list(
            &json!({ "version": 1, "entries": [{ "issuer": ISSUER, "jti": "a", "until": START + 1000 }] }),
        );
        fleet.seconds(1);
        let (good, bad) = (token(json!({ "jti": "b" })), token(json!({ "jti": "a" })));
        fleet.serve("/r/list.json", served);
        fleet.seconds(55);
        assert_eq!((fleet.show(&good), fleet.show(&bad)), ("allow", "revoked"), "{name}");
        fleet.seconds(10);
        // A fetch that hangs is waited for.
        let said = fleet.on(0, "/", &good);
        assert!(matches!(said, "revocation_unavailable" | "wait"), "{name}: {said}");
        assert_eq!(fleet.show(&bad), "revoked", "{name}: what is known to be revoked stays so");
        assert_eq!(fleet.on(1, "/open", &good), if said == "wait" { "wait" } else { "allow" }, "{name}");
        fleet.list(&nothing());
        fleet.seconds(16);
        assert_eq!((fleet.show(&good), fleet.show(&bad)), ("allow", "allow"), "{name}: healed");
        assert!(fleet.log.iter().any(|line| line.contains("too long to trust")), "{name}: {:?}", fleet.log);
    }
}

#[test]
fn on_unavailable_allow_lets_tokens_pass_and_counts_and_logs_each_time() {
    let mut fleet =
        Fleet::start(1, &config(polled(json!({ "on_unavailable": "allow", "max_staleness": "20s" }))));
    fleet
        .list(&json!({ "version": 1, "entries": [{ "issuer": ISSUER, "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    let (good, bad) = (token(json!({ "jti": "b" })), token(json!({ "jti": "a" })));
    assert_eq!((fleet.show(&good), fleet.gates[0].unchecked()), ("allow", 0));
    fleet.serve("/r/list.json", Served::Hang);
    fleet.seconds(30);
    for count in 1..=20 {
        assert_eq!((fleet.show(&good), fleet.gates[0].unchecked()), ("allow", count));
    }
    assert_eq!((fleet.show(&bad), fleet.gates[0].unchecked()), ("revoked", 20));
    let lines = fleet.log.iter().filter(|line| line.contains("passed unchecked")).count();
    assert_eq!(lines, 10, "no flood");
    fleet.list(&nothing());
    fleet.seconds(16);
    assert_eq!((fleet.show(&good), fleet.gates[0].unchecked()), ("allow", 20));
}

#[test]
fn on_unavailable_allow_waits_for_the_first_answer_alone() {
    let mut fleet = Fleet::start(1, &config(polled(json!({ "on_unavailable": "allow", "issuer": ISSUER }))));
    let bad = token(json!({ "jti": "a" }));
    fleet.serve("/r/list.json", Served::Hang);
    assert_eq!(fleet.on(0, "/", &bad), "wait");
    fleet.seconds(4);
    assert_eq!(fleet.woken, ["allow"]);
    assert_eq!(fleet.on(0, "/", &bad), "allow");
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(16);
    assert_eq!(fleet.show(&bad), "revoked");
}

#[test]
fn a_rule_may_ignore_revocations_and_one_that_forgives_bad_tokens_passes_none_on() {
    let mut config = config(polled(json!({ "issuer": ISSUER })));
    config["providers"]["p"]["forward"] = json!(true);
    let mut fleet = Fleet::start(1, &config);
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    let (good, bad) = (token(json!({ "jti": "b" })), token(json!({ "jti": "a" })));
    assert_eq!(fleet.on(0, "/", &bad), "revoked");
    assert_eq!(fleet.on(0, "/glass", &bad), "allow");
    for (path, token, passes) in [("/open", &bad, false), ("/open", &good, true), ("/glass", &bad, true)] {
        let allow = fleet.allowed(0, path, token);
        assert_eq!(allow.identity.len(), usize::from(passes), "{path}");
        assert_eq!(allow.remove.is_empty(), passes, "{path}: a token that failed is taken away");
    }
}

#[test]
fn an_inline_list_needs_no_source_and_stands_beside_one() {
    let inline =
        json!({ "version": 1, "entries": [{ "issuer": ISSUER, "sub": "mallory", "until": START + 60 }] });
    let mut fleet = Fleet::start(2, &config(json!({ "inline": inline })));
    let bad = token(json!({ "sub": "mallory" }));
    assert_eq!((fleet.show(&bad), fleet.show(&token(json!({})))), ("revoked", "allow"));
    fleet.seconds(119);
    assert_eq!(fleet.show(&bad), "revoked", "the clock skew for which its token outlives its end");
    fleet.seconds(1);
    assert_eq!(fleet.show(&bad), "allow");
    assert!(fleet.asked.is_empty());
}

#[test]
fn whoever_loses_its_turn_does_not_stop_the_others() {
    // A worker dies while it asks: its answer never comes.
    let mut fleet = Fleet::start(2, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&nothing());
    fleet.seconds(1);
    fleet.serve("/r/list.json", Served::Hang);
    fleet.pass(Duration::from_millis(9_500));
    fleet.gates.remove(0);
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(8);
    assert_eq!(fleet.show(&token(json!({ "jti": "a" }))), "revoked", "{:?}", fleet.log);
}

#[test]
fn shared_values_that_were_tampered_with_are_not_believed() {
    use portcullis::Store as _;
    let mut fleet = Fleet::start(1, &config(polled(json!({ "issuer": ISSUER }))));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(1);
    for key in fleet.store.names() {
        let (mut value, _) = fleet.store.get(&key).expect("a value");
        let last = value.len() - 1;
        value[last] ^= 1;
        fleet.store.put(&key, &value).expect("it is written");
    }
    fleet.join();
    assert_eq!(fleet.on(1, "/", &token(json!({ "jti": "b" }))), "wait", "it knows nothing yet");
    fleet.seconds(12);
    assert_eq!(fleet.show(&token(json!({ "jti": "a" }))), "revoked");
}

#[test]
fn a_clock_that_is_set_back_neither_stops_the_polling_nor_lengthens_the_life_of_a_list() {
    let mut fleet = Fleet::start(2, &config(polled(json!({ "issuer": ISSUER, "max_staleness": "60s" }))));
    fleet.list(&nothing());
    fleet.seconds(1);
    fleet.now = fleet.now.minus(Duration::from_secs(5000));
    fleet.list(&json!({ "version": 1, "entries": [{ "jti": "a", "until": START + 1000 }] }));
    fleet.seconds(12);
    let (good, bad) =
        (json!({ "jti": "b", "iat": START - 9000 }), json!({ "jti": "a", "iat": START - 9000 }));
    let (good, bad) = (token(good), token(bad));
    assert_eq!((fleet.show(&good), fleet.show(&bad)), ("allow", "revoked"));
    fleet.serve("/r/list.json", Served::Status(500));
    fleet.now = fleet.now.minus(Duration::from_secs(1000));
    fleet.seconds(61);
    assert_eq!(fleet.show(&good), "revocation_unavailable");
}
