//! Workers that have their memory in common: what one of them read, all of them use.

use std::sync::Arc;

use portcullis::{Parsed, RevocationDraft as Draft, RevocationKey as Key, RevocationKind as Kind, Timestamp};
use serde_json::{Value, json};

use crate::revoked::fleet::{Fleet, ISSUER, START, Served, config, polled, token};
use crate::revoked::status_lists::{list, referring, sources};

const WORKERS: usize = 3;

/// How many times each thing is in use that is kept in memory, without the keeper.
fn uses(fleet: &Fleet) -> Vec<usize> {
    let process = fleet.process.as_ref().expect("workers of one process");
    process.parsed.borrow().values().map(|parsed| Arc::strong_count(parsed) - 1).collect()
}

/// How many bytes are in the shared store.
fn bytes(fleet: &Fleet) -> usize {
    use portcullis::Store as _;
    let size = |name: &String| fleet.store.get(name).map_or(0, |(value, _)| value.len());
    fleet.store.names().iter().map(size).sum()
}

/// What a source may be: its name, its configuration, what it serves, a revoked token, one that stands.
type Source = (&'static str, Value, fn(&mut Fleet), String, String);

fn sources_of_each_kind() -> [Source; 3] {
    let named = |name: &str| token(json!({ "jti": name }));
    [
        (
            "a JSON list",
            polled(json!({})),
            |fleet| {
                let entry = |n| json!({ "issuer": ISSUER, "jti": format!("jti-{n}"), "until": START + 1000 });
                let list = json!({ "version": 1, "entries": (0..5000).map(entry).collect::<Vec<_>>() });
                fleet.serve("/r/list.json", Served::Plain(list.to_string().into_bytes()));
            },
            named("jti-7"),
            named("other"),
        ),
        (
            "a list in pages",
            polled(json!({})),
            |fleet| {
                let mut draft = Draft::default();
                let key = |n| Key::new(Kind::Token, ISSUER, &format!("jti-{n}"));
                (0..5000).for_each(|n| draft.entry(key(n), Some(START + 1000)));
                fleet.paged(&draft.finish(256, Timestamp::from_secs(START)));
            },
            named("jti-7"),
            named("other"),
        ),
        (
            "a status list",
            sources(json!({})),
            |fleet| fleet.serve("/lists/1", list(&[0b10; 5000], json!({}))),
            referring(1),
            referring(0),
        ),
    ]
}

#[test]
fn what_one_worker_read_all_use_and_nobody_reads_it_again() {
    for (name, revocation, serve, revoked, standing) in sources_of_each_kind() {
        let mut fleet = Fleet::in_one_process(WORKERS, &config(revocation));
        serve(&mut fleet);
        for worker in 0..WORKERS {
            // A status list is fetched when a token names it.
            fleet.on(worker, "/", &revoked);
        }
        fleet.seconds(2);
        assert_eq!(fleet.show(&revoked), "revoked", "{name}");
        assert_eq!(fleet.show(&standing), "allow", "{name}");
        let used = uses(&fleet);
        assert!(!used.is_empty(), "{name}: something is kept");
        assert!(used.iter().all(|uses| *uses == WORKERS), "{name}: all use what is kept: {used:?}");
        // Of a status list, which each worker verifies, the token is shared.
        if name != "a status list" {
            assert!(bytes(&fleet) < 8000, "{name}: and its bytes are nowhere else: {}", bytes(&fleet));
        }

        fleet.join();
        assert!(
            uses(&fleet).iter().all(|uses| *uses > WORKERS) || name == "a status list",
            "{name}: a worker that comes later has it at once"
        );
        fleet.on(WORKERS, "/", &revoked);
        fleet.seconds(1);
        assert_eq!(fleet.on(WORKERS, "/", &revoked), "revoked", "{name}");
        assert!(uses(&fleet).iter().all(|uses| *uses == WORKERS + 1), "{name}");
    }
}

#[test]
fn what_is_kept_is_used_only_where_it_is_what_was_asked_for() {
    let process = |fleet: &Fleet| fleet.process.clone().expect("workers of one process");
    let [json_list, ..] = sources_of_each_kind();
    let (_, revocation, serve, revoked, _) = json_list;
    type Spoil = fn(&mut Vec<Parsed>);
    // Every page is in another's place, or is no page at all.
    let swapped: Spoil = |parsed| parsed.reverse();
    let other: Spoil = |parsed| parsed.iter_mut().for_each(|kept| *kept = Arc::new("no page"));
    for (at, spoil) in [swapped, other].iter().enumerate() {
        let mut fleet = Fleet::in_one_process(1, &config(revocation.clone()));
        serve(&mut fleet);
        fleet.seconds(2);
        let process = process(&fleet);
        let mut kept: Vec<Parsed> = process.parsed.borrow().values().cloned().collect();
        assert!(kept.len() > 1, "several pages");
        spoil(&mut kept);
        process.parsed.borrow_mut().values_mut().zip(kept).for_each(|(kept, spoilt)| *kept = spoilt);
        fleet.join();
        assert_ne!(fleet.on(1, "/", &revoked), "allow", "{at}: nothing wrong is taken over");
        fleet.asked.clear();
        fleet.seconds(12);
        assert_eq!(fleet.show(&revoked), "revoked", "{at}: {:?}", fleet.log.last());
    }
}

#[test]
fn a_status_list_that_is_forgotten_takes_no_memory_any_more() {
    let mut fleet = Fleet::in_one_process(WORKERS, &config(sources(json!({ "max_staleness": "60s" }))));
    fleet.serve("/lists/1", list(&[0b10; 5000], json!({})));
    fleet.on(0, "/", &referring(1));
    fleet.seconds(2);
    assert_eq!(uses(&fleet).len(), 1);
    fleet.seconds(800);
    assert!(uses(&fleet).is_empty(), "nothing is kept");
}
