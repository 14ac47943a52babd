//! Ten thousand well-formed tokens that nobody issued: the endpoint hears of a few at a time, and others are served all
//! the while.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::idp::b64;
use harness::{Behaviour, Connection, Endpoint, Listener, Request};
use serde_json::json;

use super::gateway::{WORKERS, start};
use crate::common::Random;

const TOKENS: usize = 10_000;
const CLIENTS: usize = 4;
/// How many requests each of them has in flight.
const AT_ONCE: usize = 25;
const MAX_IN_FLIGHT: usize = 16;

/// The middle one of these times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn ten_thousand_made_up_tokens_make_few_calls_at_a_time_and_slow_nobody_down() {
    let gateway = start(json!({ "cache": { "active": "600s", "inactive": "600s" } }), |builder| {
        builder.log_level("info", "").main(Listener::without_access_log)
    });
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = idp.opaque_token(json!({ "sub": "alice" }));
    let request = Request::get("/opaque/good").bearer(&good);
    let mut connections: Vec<_> = (0..4).map(|_| Connection::open(addr).expect("a connection")).collect();
    let mut measure = |until: &dyn Fn(usize) -> bool| {
        let mut times = Vec::new();
        while !until(times.len()) {
            for connection in &mut connections {
                let began = Instant::now();
                let response = connection.send(&request);
                times.push(began.elapsed());
                assert_eq!(response.status, 200, "{}", response.text());
            }
            // A client that thinks, and not one that takes a processor for itself.
            thread::sleep(Duration::from_millis(2));
        }
        times
    };
    let _warm = measure(&|count| count >= 100);
    let quiet = median(measure(&|count| count >= 1000));
    idp.forget_introspections();
    // A call takes its time: the flood waits for it, and not the processor.
    idp.behave_on(Endpoint::Introspection, Behaviour::Delay(Duration::from_millis(25)));
    let done = AtomicBool::new(false);
    let (refused, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let times = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (refused, busy) = (&refused, &busy);
                scope.spawn(move || {
                    let mut random = Random(u64::try_from(client).expect("few") + 1);
                    let mut connections: Vec<_> =
                        (0..AT_ONCE).map(|_| Connection::open(addr).expect("a connection")).collect();
                    for _ in 0..TOKENS / CLIENTS / AT_ONCE {
                        for connection in &mut connections {
                            let token = b64([random.next(), random.next(), random.next()]
                                .map(u64::to_be_bytes)
                                .concat());
                            let request = Request::get("/opaque/bad").bearer(&token);
                            connection.write(&request).expect("a request is sent");
                        }
                        for connection in &mut connections {
                            let response = connection.read(false, Instant::now() + crate::common::SOON);
                            let response = response.expect("an answer");
                            match (response.status, response.reason().as_deref()) {
                                (401, Some("token_inactive")) => refused.fetch_add(1, Ordering::Relaxed),
                                (503, Some("introspection_unavailable" | "overloaded")) => {
                                    busy.fetch_add(1, Ordering::Relaxed)
                                }
                                other => panic!("{other:?}: {}", response.text()),
                            };
                        }
                        thread::sleep(Duration::from_millis(5));
                    }
                })
            })
            .collect();
        let ends = &done;
        let watching = scope.spawn(move || {
            for client in clients {
                client.join().expect("every made-up token is refused");
            }
            ends.store(true, Ordering::Release);
        });
        let times = measure(&|_| done.load(Ordering::Acquire));
        watching.join().expect("the flood ends");
        times
    });
    let (refused, busy) = (refused.into_inner(), busy.into_inner());
    let calls = idp.introspections().len();
    let most = idp.most_introspections_at_once();
    let flooded = median(times);
    println!(
        "{TOKENS} made-up tokens: {refused} inactive, {busy} not asked about; {calls} calls, at most {most} at once; \
         a good one took {quiet:?} before and {flooded:?} meanwhile"
    );
    assert_eq!(refused + busy, TOKENS);
    assert!(most <= MAX_IN_FLIGHT * WORKERS, "{most} calls at once");
    assert!(calls <= TOKENS, "{calls} calls for {TOKENS} tokens");
    assert!(refused > 0, "the endpoint was asked");
    assert_eq!(idp.introspections_of(&good), 0, "a token that is known is not asked about again");
    // The rest is what a busy machine adds.
    assert!(flooded <= quiet * 3 / 2 + Duration::from_millis(1), "{flooded:?} and {quiet:?} before");
    gateway.assert_sound();
}

/// Garbage and forged tokens cost the endpoint nothing at all.
#[test]
fn garbage_and_forged_tokens_make_no_call() {
    let gateway = start(json!({}), |builder| builder);
    let idp = &gateway.idp;
    let good = idp.token(json!({}));
    for number in 0..200 {
        let forged = idp.token(json!({ "jti": number.to_string() }));
        let forged = harness::idp::flip_bit(&forged);
        assert_eq!(Request::get("/pay").bearer(&forged).send(gateway.addr()).status, 401);
        let short = format!("x{number}");
        assert_eq!(Request::get("/opaque").bearer(&short).send(gateway.addr()).status, 401);
    }
    assert_eq!(idp.introspections().len(), 0);
    idp.answer_about(&good, json!({ "active": true }));
    assert_eq!(Request::get("/pay").bearer(&good).send(gateway.addr()).status, 200);
    assert_eq!(idp.introspections().len(), 1);
    gateway.assert_sound();
}
