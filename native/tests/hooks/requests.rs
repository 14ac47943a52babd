//! What becomes of a request.

use serde_json::json;

use crate::envoy::{Envoy, Request, State, eventually, logged};
use crate::identity::{Key, cold, keys, local_config, orders, token, warm};

#[test]
fn a_request_with_a_good_token_passes_under_the_name_of_its_token() {
    let envoy = warm();
    let token = token();
    // A new token, and then a known one.
    for _ in 0..2 {
        let stream = envoy.worker.send(orders(&token));
        assert_eq!(stream.forwarded("x-user"), ["alice"]);
        assert!(stream.forwarded("authorization").is_empty() && stream.forwarded("x_user").is_empty());
        assert_eq!(stream.filter_state("wasm.portcullis.subject").as_deref(), Some(&b"alice"[..]));
        stream.finish();
        stream.end();
    }
}

#[test]
fn others_are_refused() {
    let envoy = warm();
    let forged = Key::foreign().sign(json!({}));
    let expired = Key::own().sign(json!({ "exp": 1_000_000_000 }));
    let cases = [
        (Request::get("/orders"), 401),
        (orders(&forged), 401),
        (orders(&expired), 401),
        (orders("x"), 401),
        (Request::get("/orders").header("authorization", b"Bearer \xff\xfe"), 401),
        (Request::get("/public/..%2forders"), 400),
        (Request::default(), 503),
        (Request::default().header("\u{0}", b"\xff"), 503),
    ];
    for (at, (request, status)) in cases.into_iter().enumerate() {
        for request in [request.clone(), request.ending_at_once()] {
            let stream = envoy.worker.send(request.header("x-user", "mallory"));
            assert_eq!(stream.status(), status, "case {at}: {:?}", stream.state());
        }
    }
}

#[test]
fn a_request_that_waits_for_keys_is_held_and_then_judged() {
    for ends_at_once in [false, true] {
        let (envoy, call) = cold();
        let held = |request: Request| {
            let request = request.body().trailer("x-user", "mallory").trailer("x-other", "stays");
            envoy.worker.send(if ends_at_once { request.ending_at_once() } else { request })
        };
        let good = held(orders(&token()));
        let forged = held(orders(&Key::foreign().sign(json!({}))));
        for stream in [&good, &forged] {
            assert!(stream.is_held());
            // Neither body nor trailers pass while it waits.
            assert_eq!(stream.send_body(), Some(3));
            assert_eq!(stream.send_trailers(), Some(1));
            assert!(stream.is_held());
        }
        envoy.answer(call.id, &keys());
        // A signature that is not of this key could be of a new one: the keys are asked for once more.
        eventually("an answer to both", || {
            envoy.calls().iter().for_each(|call| envoy.answer(call.id, &keys()));
            envoy.pump();
            (!good.is_held() && !forged.is_held()).then_some(())
        });
        assert_eq!(good.forwarded("x-user"), ["alice"]);
        good.finish();
        if !ends_at_once {
            assert!(good.trailers("x-user").is_empty());
            assert_eq!(good.trailers("x-other"), ["stays"]);
        }
        assert_eq!(forged.status(), 401);
        assert!(envoy.violations().is_empty());
    }
}

#[test]
fn a_stream_may_end_at_every_stage() {
    let (envoy, call) = cold();
    let never_judged = envoy.worker.open(orders(&token()));
    never_judged.end();
    let waiting = envoy.worker.send(orders(&token()).body());
    let also_waiting = envoy.worker.send(orders(&token()));
    waiting.send_body();
    waiting.end();
    // Woken, and gone before the event arrives.
    envoy.stray_answer(call.id, &keys());
    also_waiting.end();
    envoy.pump();
    assert!(!also_waiting.is_forwarded() && !waiting.is_forwarded());
    let passed = envoy.worker.send(orders(&token()));
    assert!(passed.is_forwarded());
    passed.end();
    let answered = envoy.worker.send(orders("x"));
    assert_eq!(answered.status(), 401);
    answered.end();
}

#[test]
fn hooks_in_an_order_that_makes_no_sense_let_nobody_in() {
    let (envoy, call) = cold();
    // Body or trailers before the headers.
    for first in [true, false] {
        let stream = envoy.worker.open(orders(&token()).body().trailer("x-user", "mallory"));
        let status = if first { stream.send_body() } else { stream.send_trailers() };
        assert_ne!(status, Some(0));
        assert_eq!(stream.status(), 503);
    }
    // A response to what waits, events that nobody sent, and all of it again after the answer.
    let waiting = envoy.worker.send(orders(&token()).body());
    for _ in 0..2 {
        for event in [0, 1, 2, 3, 4, u64::MAX] {
            waiting.stray_event(event);
            envoy.stray_event(event);
        }
        waiting.send_body();
        waiting.send_trailers();
        if waiting.is_held() {
            envoy.answer(call.id, &keys());
        }
    }
    assert!(waiting.is_forwarded() || matches!(waiting.state(), State::Reset(_)), "{:?}", waiting.state());
    assert!(logged("a defect").is_empty());
}

#[test]
fn a_stream_is_reset_when_its_token_ends() {
    let mut config = local_config();
    config["providers"]["corp"]["clock_skew_seconds"] = json!(0);
    config["rules"][1]["streams"] = json!({ "end_with_token": true });
    let envoy = Envoy::start(&config.to_string());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let stream = envoy.worker.send(orders(&Key::own().sign(json!({ "exp": now + 1 }))));
    assert!(stream.is_forwarded(), "{:?}", stream.state());
    let details = eventually("the reset", || {
        envoy.pump();
        if let State::Reset(details) = stream.state() { Some(details) } else { None }
    });
    assert_eq!(details, "portcullis_stream_ended");
}
