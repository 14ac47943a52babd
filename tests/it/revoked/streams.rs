//! Open streams whose tokens are revoked: which of them end, how soon, on which workers.

use serde_json::{Value, json};

use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, polled, token};
use crate::revoked::status_lists::{PATH, list, referring, sources};

/// A configuration whose rules end their streams; under `/still` they go on.
fn ending(revocation: Value) -> Value {
    let mut config = config(revocation);
    for rule in config["rules"].as_array_mut().expect("rules") {
        rule["streams"] = json!({ "end_with_token": true });
    }
    let still = json!({ "match": { "prefix": "/still" }, "requires": { "provider_name": "p" } });
    config["rules"].as_array_mut().expect("rules").insert(0, still);
    config
}

fn revoking(what: Value) -> Value {
    let mut entry = json!({ "issuer": ISSUER, "until": START + 10_000 });
    entry.as_object_mut().expect("fields").extend(what.as_object().expect("fields").clone());
    json!({ "version": 1, "entries": [entry] })
}

/// Opens a stream on a worker, and gives its number.
#[track_caller]
fn open(fleet: &mut Fleet, at: usize, path: &str, token: &str) -> u32 {
    match fleet.on(at, path, token) {
        "allow" => {}
        "wait" => {
            fleet.seconds(2);
            assert_eq!(fleet.woken.pop(), Some("allow"), "{path}");
        }
        other => panic!("{other} at {path}"),
    }
    fleet.stream
}

#[test]
fn a_stream_ends_on_every_worker_within_the_interval_and_a_second_after_its_token_was_revoked() {
    let mut fleet = Fleet::start(3, &ending(polled(json!({ "poll_interval": "10s" }))));
    fleet.list(&json!({ "version": 1, "entries": [] }));
    fleet.seconds(1);
    let (gone, kept) = (token(json!({ "sid": "gone" })), token(json!({ "sid": "kept" })));
    let mut expected = Vec::new();
    for worker in 0..3 {
        expected.push(open(&mut fleet, worker, "/", &gone));
        for (path, token) in [("/", &kept), ("/still", &gone), ("/glass", &gone)] {
            open(&mut fleet, worker, path, token);
        }
        // A request that is over is not ended.
        let over = open(&mut fleet, worker, "/", &gone);
        fleet.gates[worker].forget(portcullis::StreamId(over));
    }
    fleet.seconds(30);
    assert!(fleet.ended.is_empty(), "{:?}", fleet.ended);
    fleet.list(&revoking(json!({ "sid": "gone" })));
    fleet.seconds(11);
    fleet.ended.sort_unstable();
    assert_eq!(fleet.ended, expected);
    fleet.seconds(60);
    assert_eq!(fleet.ended, expected, "once");
}

#[test]
fn a_list_that_cannot_be_had_ends_no_stream_and_what_a_later_one_revokes_ends_when_it_comes() {
    let mut fleet = Fleet::start(1, &ending(polled(json!({ "max_staleness": "20s" }))));
    fleet.list(&json!({ "version": 1, "entries": [] }));
    fleet.seconds(1);
    let token = token(json!({ "jti": "a" }));
    let stream = open(&mut fleet, 0, "/", &token);
    fleet.serve("/r/list.json", Served::Status(500));
    fleet.seconds(300);
    assert_eq!(fleet.on(0, "/", &token), "revocation_unavailable");
    assert!(fleet.ended.is_empty());
    fleet.list(&revoking(json!({ "jti": "a" })));
    fleet.seconds(75);
    assert_eq!(fleet.ended, [stream]);
}

#[test]
fn the_status_list_of_an_open_stream_is_kept_for_hours_and_ends_it_in_time() {
    let mut fleet = Fleet::start(2, &ending(sources(json!({}))));
    fleet.serve(PATH, list(&[0], json!({})));
    let (ours, other) = (referring(3), referring(4));
    let ended = [open(&mut fleet, 0, "/", &ours), open(&mut fleet, 1, "/", &ours)];
    open(&mut fleet, 0, "/", &other);
    // For so long no request has named it.
    fleet.seconds(3 * 3600);
    assert!(fleet.ended.is_empty());
    fleet.serve(PATH, list(&[0b0000_1000], json!({})));
    fleet.seconds(21);
    fleet.ended.sort_unstable();
    assert_eq!(fleet.ended, ended);
}

#[test]
fn of_thousands_of_streams_each_that_was_revoked_ends_within_a_second_more() {
    let mut fleet = Fleet::start(1, &ending(polled(json!({ "poll_interval": "10s" }))));
    fleet.list(&json!({ "version": 1, "entries": [] }));
    fleet.seconds(1);
    let tokens = [token(json!({ "sub": "gone" })), token(json!({ "sub": "kept" }))];
    let streams: Vec<u32> = (0..5_000).map(|at| open(&mut fleet, 0, "/", &tokens[at % 2])).collect();
    fleet.list(&revoking(json!({ "sub": "gone" })));
    fleet.seconds(11);
    let expected: Vec<u32> = streams.iter().step_by(2).copied().collect();
    fleet.ended.sort_unstable();
    assert_eq!(fleet.ended, expected);
}
