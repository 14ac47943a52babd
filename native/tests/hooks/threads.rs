//! Workers in threads of their own.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::envoy::{Answer, Envoy, eventually, logged};
use crate::identity::{Key, cold, config, keys, orders, token};

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
