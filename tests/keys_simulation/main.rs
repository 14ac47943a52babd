//! Hours of virtual time in the life of all that is fetched, keys and revocation lists: several instances of the gate
//! over one store, and a source that misbehaves at random. Whatever happens, the promises of [`Promise`] and of
//! [`lists::Promise`] hold.
//!
//! Each run follows from its seed. `PORTCULLIS_SEED=7 cargo test --test keys_simulation -- --nocapture` tells run 7
//! as it goes; `PORTCULLIS_RUNS=100000` makes more of them.

mod chance;
mod introspection;
mod lists;
mod oracle;
mod plan;
mod provider;
mod replaced;
mod request;
mod store;
mod trickle;
mod world;

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use oracle::{Broken, Counts, Promise};
use plan::Sabotage;
use world::World;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Runs these many seeds on all processors; the first broken promise of each run, and what happened in all of them.
fn run_all(runs: u64) -> (Vec<Broken>, Counts) {
    let next = AtomicU64::new(0);
    let work = || {
        let (mut broken, mut counts) = (Vec::new(), Counts::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= runs {
                return (broken, counts);
            }
            let (outcome, happened) = World::run(seed, Sabotage::None, false);
            broken.extend(outcome.err());
            counts.add(&happened);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = (Vec::new(), Counts::default());
        for thread in working {
            let (broken, counts) = thread.join().expect("a run does not panic");
            all.0.extend(broken);
            all.1.add(&counts);
        }
        all
    })
}

#[test]
fn an_hour_with_a_provider_that_misbehaves_breaks_no_promise() {
    if let Some(seed) = number("PORTCULLIS_SEED") {
        let (outcome, counts) = World::run(seed, Sabotage::None, true);
        println!("{counts:#?}");
        return outcome.unwrap_or_else(|broken| panic!("{broken}"));
    }
    let runs = number("PORTCULLIS_RUNS").unwrap_or(2000);
    let (broken, counts) = run_all(runs);
    println!("{runs} runs: {counts:#?}");
    if let Some(first) = broken.iter().min_by_key(|broken| broken.seed) {
        panic!("{} of {runs} runs broke a promise; the first is {first}", broken.len());
    }
    // Otherwise the promises would be kept for want of temptation.
    for (name, count) in counts.each() {
        assert!(count > 0, "in no run: {name}");
    }
}

#[test]
fn each_promise_can_be_seen_broken_and_the_report_names_the_seed() {
    for (sabotage, promise) in [
        (Sabotage::LooksAway, Promise::OnlyListedKeys),
        (Sabotage::TrustsTooLong, Promise::NoKeyTooOld),
        (Sabotage::SharesNothing, Promise::OneFetchAtOnce),
        (Sabotage::WakesNotAll, Promise::NobodyWaitsTooLong),
        (Sabotage::ForgetsKeys, Promise::NobodyIsRefusedWithoutNeed),
        (Sabotage::GivesUp, Promise::HealsInTime),
    ] {
        let found = (0..1000).find_map(|seed| {
            let broken = World::run(seed, sabotage, false).0.err()?;
            (broken.promise == promise).then_some((seed, broken))
        });
        let Some((seed, broken)) = found else {
            panic!("{sabotage:?}: 1,000 runs and not one in which {promise:?} is broken");
        };
        let text = broken.to_string();
        assert!(text.contains(&format!("PORTCULLIS_SEED={seed} ")), "{text}");
    }
}

#[test]
fn a_seed_repeats_its_run() {
    for seed in 0..5 {
        let runs = [(); 2].map(|()| World::run(seed, Sabotage::None, false).1);
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}

#[test]
fn new_keys_pass_soon_and_fetches_stay_few_while_made_up_and_removed_kids_keep_coming() {
    let mut answers = std::collections::BTreeMap::new();
    for workers in [1, 2, 4] {
        for seed in 0..number("PORTCULLIS_RUNS").unwrap_or(60) {
            match trickle::run(seed, workers, trickle::Sabotage::None) {
                Ok(more) => {
                    more.into_iter().for_each(|(said, count)| *answers.entry(said).or_insert(0) += count)
                }
                Err((_, broken)) => panic!("{broken}"),
            }
        }
    }
    println!("{answers:?}");
    // Otherwise the promises would be kept for want of temptation.
    for said in ["passes", "waits", "keys_unavailable", "key_not_found", "fetches"] {
        assert!(answers.contains_key(said), "{said}: {answers:?}");
    }
}

#[test]
fn each_promise_about_new_keys_can_be_seen_broken() {
    use trickle::{Promise, Sabotage};
    for (sabotage, promise) in [
        (Sabotage::ListsLate, Promise::NewKeysAreNotRefused),
        (Sabotage::WakesNobody, Promise::NewKeysPassSoon),
        (Sabotage::StandsStill, Promise::NewKeysPassSoon),
        (Sabotage::SharesNothing, Promise::FetchesAreBounded),
    ] {
        let found = (0..200)
            .any(|seed| trickle::run(seed, 4, sabotage).err().is_some_and(|(broken, _)| broken == promise));
        assert!(found, "{sabotage:?}: 200 runs and not one in which {promise:?} is broken");
    }
}

#[test]
fn replaced_and_late_keys_pass_in_time_and_forged_tokens_cost_little() {
    let mut answers = std::collections::BTreeMap::new();
    for workers in [1, 2, 4] {
        for seed in 0..number("PORTCULLIS_RUNS").unwrap_or(60) {
            match replaced::run(seed, workers, replaced::Sabotage::None) {
                Ok(more) => {
                    more.into_iter().for_each(|(said, count)| *answers.entry(said).or_insert(0) += count)
                }
                Err((_, broken)) => panic!("{broken}"),
            }
        }
    }
    println!("{answers:?}");
    // Otherwise the promises would be kept for want of temptation.
    for said in ["passes", "waits", "signature_invalid", "key_not_found", "fetches", "failures"] {
        assert!(answers.get(said).is_some_and(|count| *count > 0), "{said}: {answers:?}");
    }
}

#[test]
fn each_promise_about_replaced_keys_can_be_seen_broken() {
    use replaced::{Promise, Sabotage};
    for (sabotage, promise) in [
        (Sabotage::ReplacesLate, Promise::ReplacedKeysHeal),
        (Sabotage::ListsLate, Promise::LateKeysPass),
        (Sabotage::TrustsNothing, Promise::ForgedTokensGet401),
        (Sabotage::SharesNothing, Promise::FetchesAreBounded),
        (Sabotage::LosesRetryAfter, Promise::RetryAfterIsHeeded),
    ] {
        let found = (0..200)
            .any(|seed| replaced::run(seed, 4, sabotage).err().is_some_and(|(broken, _)| broken == promise));
        assert!(found, "{sabotage:?}: 200 runs and not one in which {promise:?} is broken");
    }
}

#[test]
fn twenty_minutes_with_a_source_of_lists_that_misbehaves_break_no_promise() {
    let mut happened = std::collections::BTreeMap::new();
    for seed in 0..number("PORTCULLIS_RUNS").unwrap_or(300) {
        match lists::run(seed, lists::Sabotage::None) {
            Ok(more) => {
                more.into_iter().for_each(|(what, count)| *happened.entry(what).or_insert(0) += count)
            }
            Err((_, broken)) => panic!("{broken}"),
        }
    }
    println!("{happened:?}");
    // Otherwise the promises would be kept for want of temptation.
    for what in [
        "passes",
        "revoked",
        "revocation_unavailable",
        "waits",
        "fetches",
        "failures",
        "not modified",
        "versions",
        "crashes",
        "spoilt values",
    ] {
        assert!(happened.contains_key(what), "{what}: {happened:?}");
    }
}

#[test]
fn each_promise_about_lists_can_be_seen_broken() {
    use lists::{Promise, Sabotage};
    for (sabotage, promise) in [
        (Sabotage::ListsLate, Promise::RevocationActsInTime),
        (Sabotage::TrustsTooLong, Promise::NoListTooOld),
        (Sabotage::ListsAll, Promise::OnlyListedTokens),
        (Sabotage::SharesNothing, Promise::OneFetchAtOnce),
        (Sabotage::WakesNotAll, Promise::NobodyWaitsTooLong),
        (Sabotage::GivesUp, Promise::HealsInTime),
    ] {
        let found = (0..300)
            .any(|seed| lists::run(seed, sabotage).err().is_some_and(|(broken, _)| broken == promise));
        assert!(found, "{sabotage:?}: 300 runs and not one in which {promise:?} is broken");
    }
}

#[test]
fn minutes_with_an_introspection_endpoint_that_misbehaves_break_no_promise() {
    let mut happened = std::collections::BTreeMap::new();
    for workers in [1, 3] {
        for seed in 0..number("PORTCULLIS_RUNS").unwrap_or(200) {
            match introspection::run(seed, workers, introspection::Sabotage::None) {
                Ok(more) => {
                    more.into_iter().for_each(|(what, count)| *happened.entry(what).or_insert(0) += count)
                }
                Err((_, broken)) => panic!("{broken}"),
            }
        }
    }
    println!("{happened:?}");
    // Otherwise the promises would be kept for want of temptation.
    for what in ["passes", "waits", "token_inactive", "introspection_unavailable", "calls"] {
        assert!(happened.contains_key(what), "{what}: {happened:?}");
    }
}

#[test]
fn each_promise_about_introspection_can_be_seen_broken() {
    use introspection::{Promise, Sabotage};
    for (sabotage, promise) in [
        (Sabotage::KnowsAll, Promise::OnlyActiveTokens),
        (Sabotage::RevokesLate, Promise::RevokedInTime),
        (Sabotage::CallsMore, Promise::CallsAreBounded),
        (Sabotage::Forgets, Promise::OneCallInEachPeriod),
        (Sabotage::WakesNobody, Promise::NobodyWaitsTooLong),
        (Sabotage::StaysIll, Promise::HealsInTime),
    ] {
        let found = (0..200).any(|seed| {
            introspection::run(seed, 2, sabotage).err().is_some_and(|(broken, _)| broken == promise)
        });
        assert!(found, "{sabotage:?}: 200 runs and not one in which {promise:?} is broken");
    }
}
