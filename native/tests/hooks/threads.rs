//! Workers in threads of their own.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::envoy::{Answer, Envoy, Request, eventually, logged};
use crate::identity::{Key, cold, config, keys, orders, rotated_keys, token};

const WORKERS: usize = 4;

#[test]
fn what_the_main_thread_fetches_wakes_every_worker() {
    let (envoy, call) = cold();
    let (all_wait, done) = (Barrier::new(WORKERS + 1), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (worker, all_wait, done) = (envoy.other_worker(), &all_wait, &done);
            scope.spawn(move || {
                let worker = worker();
                let waiting: Vec<_> = (0..20).map(|_| worker.send(orders(&token()))).collect();
                assert!(waiting.iter().all(|stream| stream.is_held()));
                all_wait.wait();
                eventually("all go on", || {
                    worker.pump();
                    waiting.iter().all(|stream| stream.is_forwarded()).then_some(())
                });
                // A known token, a new one, a forged one, again and again.
                let (known, forged) = (token(), Key::foreign().sign(json!({})));
                for _ in 0..200 {
                    assert!(worker.send(orders(&known)).is_forwarded());
                    assert!(worker.send(orders(&token())).is_forwarded());
                    let refused = worker.send(orders(&forged));
                    // It could be of a new key: it may wait for the main thread to ask for one.
                    eventually("a refusal", || {
                        worker.pump();
                        (!refused.is_held()).then_some(())
                    });
                    assert_eq!(refused.status(), 401);
                }
                done.fetch_add(1, Ordering::AcqRel);
            });
        }
        all_wait.wait();
        envoy.answer(call.id, &keys());
        eventually("all workers are done", || {
            envoy.pump();
            envoy.calls().iter().for_each(|call| envoy.answer(call.id, &keys()));
            (done.load(Ordering::Acquire) == WORKERS).then_some(())
        });
    });
    eventually("all is counted", || {
        envoy.pump();
        let expected = u64::try_from(WORKERS * (20 + 600)).expect("64 bits");
        (envoy.metric("portcullis.requests") == expected).then_some(())
    });
}

#[test]
fn a_worker_that_has_no_request_any_more_keeps_nobody_waiting() {
    let mut config = config();
    config["providers"]["corp"]["remote_jwks"]["unknown_kid_cooldown"] = json!("1s");
    let envoy = Envoy::start(&config.to_string());
    envoy.answer(envoy.next_call().id, &keys());
    let [refused_all, has_asked, is_idle, done] = [const { AtomicBool::new(false) }; 4];
    let is_set = |flag: &AtomicBool| flag.load(Ordering::Acquire).then_some(());
    let set = |flag: &AtomicBool| flag.store(true, Ordering::Release);
    thread::scope(|scope| {
        let worker = envoy.other_worker();
        scope.spawn(|| {
            let worker = worker();
            // The first has the keys asked for, the second one has them asked for once more after the cooldown.
            for _ in 0..2 {
                let refused = worker.send(orders(&Key::foreign().sign(json!({}))));
                eventually("a refusal", || {
                    worker.pump();
                    (!refused.is_held()).then_some(())
                });
                assert_eq!(refused.status(), 401);
                refused.end();
            }
            set(&refused_all);
            // A request that needs no keys makes it look at the clock, and is gone.
            eventually("the keys are asked for", || {
                worker.send(Request::get("/public")).end();
                is_set(&has_asked)
            });
            set(&is_idle);
            eventually("the end", || is_set(&done));
        });
        eventually("both are refused", || {
            envoy.pump();
            envoy.calls().iter().for_each(|call| envoy.answer(call.id, &keys()));
            is_set(&refused_all)
        });
        let call = envoy.next_call();
        set(&has_asked);
        eventually("it is idle", || is_set(&is_idle));
        let waiting = envoy.worker.send(orders(&Key::next().sign(json!({}))));
        // This fetch began before the token came: the keys are asked for anew.
        envoy.answer(call.id, &keys());
        eventually("an answer", || {
            envoy.pump();
            envoy.calls().iter().for_each(|call| envoy.answer(call.id, &rotated_keys()));
            (!waiting.is_held()).then_some(())
        });
        set(&done);
        assert!(waiting.is_forwarded(), "{:?}", waiting.state());
    });
}

#[test]
fn workers_that_come_and_go_beside_a_main_thread_that_fetches_harm_nobody() {
    let envoy = Envoy::start(&config().to_string());
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (worker, done) = (envoy.other_worker(), &done);
            scope.spawn(move || {
                let worker = worker();
                for round in 0..100 {
                    let streams: Vec<_> = (0..8).map(|_| worker.send(orders(&token()))).collect();
                    worker.pump();
                    // Some go while they wait, and some while they are being woken.
                    streams.iter().skip((number + round) % 3).step_by(3).for_each(|stream| stream.end());
                    worker.pump();
                    worker.end_all();
                }
                done.fetch_add(1, Ordering::AcqRel);
            });
        }
        let mut answers = [Answer::reset(), Answer::ok("{"), keys()].into_iter().cycle();
        eventually("all workers are done", || {
            envoy.pump();
            for (call, answer) in envoy.calls().iter().zip(&mut answers) {
                envoy.answer(call.id, &answer);
            }
            (done.load(Ordering::Acquire) == WORKERS).then_some(())
        });
    });
    assert!(logged("a defect").is_empty());
}
