//! Before the keys are there: requests wait, are woken by one fetch, and are never forgotten.

use std::time::Duration;

use serde_json::json;

use crate::fake_host::{Cluster, Level, Outcome, Request, Response, Stream, Vm, World};
use crate::fixtures::{
    CLUSTER, cold, config, details, foreign_key, keys_answer, next_fetch, orders, the_fetch, token, with,
};

/// Longer than any request may be kept waiting.
const PATIENCE: Duration = Duration::from_secs(60);

#[track_caller]
fn refused_for_want_of_keys(stream: &Stream) {
    let reply = stream.outcome().replied();
    assert_eq!((reply.status, reply.details.as_str()), (503, "portcullis_keys_unavailable"));
    let retry_after = reply.header("retry-after").expect("Retry-After");
    assert!(retry_after.parse::<u32>().is_ok_and(|seconds| (1..=120).contains(&seconds)), "{retry_after:?}");
    assert_eq!(reply.header("www-authenticate"), None);
    assert!(reply.text().contains("keys_unavailable"), "{}", reply.text());
}

#[test]
fn requests_wait_for_the_one_fetch_and_are_all_woken_by_it() {
    let (vm, call) = cold();
    assert_eq!(call.cluster, CLUSTER);
    let asked = [":method", ":scheme", ":authority", ":path"].map(|name| call.header(name));
    assert_eq!(asked, ["GET", "https", "idp.example", "/jwks.json"]);
    assert_eq!(call.timeout, Duration::from_secs(5));

    let good = token().sign();
    let waiting: Vec<Stream> = (0..50).map(|_| vm.request(orders(&good))).collect();
    let forged = vm.request(orders(&token().key(&foreign_key()).kid("current").sign()));
    assert!(waiting.iter().all(|stream| stream.outcome().is_waiting()));
    assert!(forged.outcome().is_waiting());
    assert_eq!(vm.sent_calls().len(), 1, "fifty requests, one fetch");

    vm.respond(&call, keys_answer());
    for stream in &waiting {
        assert_eq!(stream.outcome().continued().values("x-user"), ["alice"]);
    }
    assert_eq!(details(&forged), "portcullis_signature_invalid");
    assert_eq!(vm.request(orders(&good)).outcome().continued().values("x-user"), ["alice"]);
    assert_eq!(vm.sent_calls().len(), 1);
}

#[test]
fn the_first_request_need_not_wait_for_the_first_tick() {
    let vm = Vm::start(config());
    let stream = vm.request(orders(&token().sign()));
    assert!(stream.outcome().is_waiting());
    let call = next_fetch(&vm, Duration::from_secs(2));
    vm.respond(&call, keys_answer());
    assert!(stream.outcome().is_continued());
}

#[test]
fn what_needs_no_keys_does_not_wait_for_them() {
    let (vm, _call) = cold();
    assert!(vm.request(Request::get("/healthz")).outcome().is_continued());
    for (request, expected) in [
        (Request::get("/orders/7"), "portcullis_token_missing"),
        (orders("nonsense"), "portcullis_token_malformed"),
        (orders(&token().claim("exp", 1_000).sign()), "portcullis_expired"),
        (orders(&token().claim("iss", "https://other.example/").sign()), "portcullis_issuer_unknown"),
        (orders(&token().unsigned()), "portcullis_algorithm_not_allowed"),
        (Request::get("/elsewhere"), "portcullis_route_unmatched"),
    ] {
        assert_eq!(details(&vm.request(request)), expected);
    }
}

#[test]
fn when_the_fetch_fails_the_waiting_get_503_and_the_next_fetch_heals() {
    let (vm, call) = cold();
    let good = token().sign();
    let waiting = [vm.request(orders(&good)), vm.request(orders(&good))];
    vm.respond(&call, Response::refused());
    waiting.iter().for_each(refused_for_want_of_keys);

    let call = next_fetch(&vm, PATIENCE);
    let late = vm.request(orders(&good));
    vm.respond(&call, keys_answer());
    // Whoever came while the next try was under way was either told at once or served by it.
    match late.outcome() {
        Outcome::Replied(_) => refused_for_want_of_keys(&late),
        other => assert!(other.is_continued(), "{other:?}"),
    }
    assert!(vm.request(orders(&good)).outcome().is_continued());
}

#[test]
fn a_fetch_that_times_out_is_a_failed_fetch() {
    let (vm, _call) = cold();
    let stream = vm.request(orders(&token().sign()));
    vm.advance(Duration::from_secs(4));
    assert!(stream.outcome().is_waiting());
    vm.advance(Duration::from_secs(2));
    refused_for_want_of_keys(&stream);
}

#[test]
fn no_request_waits_for_ever_even_if_the_endpoint_may() {
    let timeout = "/providers/corp/remote_jwks/http_uri/timeout";
    let vm = Vm::start(with(config(), timeout, json!("60s")));
    the_fetch(&vm);
    let stream = vm.request(orders(&token().sign()));
    vm.advance(Duration::from_secs(62));
    refused_for_want_of_keys(&stream);
}

#[test]
fn no_request_waits_for_an_answer_that_the_host_has_lost() {
    let (vm, call) = cold();
    let stream = vm.request(orders(&token().sign()));
    vm.lose(&call);
    for _ in 0..8 {
        vm.advance(Duration::from_secs(1));
        for call in vm.pending_calls() {
            vm.lose(&call);
        }
    }
    refused_for_want_of_keys(&stream);
    let call = next_fetch(&vm, PATIENCE);
    vm.respond(&call, keys_answer());
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_worker_holds_1024_requests_and_turns_the_next_away() {
    let (vm, call) = cold();
    let good = token().sign();
    let waiting: Vec<Stream> = (0..1024).map(|_| vm.request(orders(&good))).collect();
    assert!(waiting.iter().all(|stream| stream.outcome().is_waiting()));

    let reply = vm.request(orders(&good)).outcome().replied();
    assert_eq!((reply.status, reply.details.as_str()), (503, "portcullis_overloaded"));
    assert!(reply.header("retry-after").is_some());
    // A seat that a client left is free again.
    waiting[7].disconnect();
    let seated = vm.request(orders(&good));
    assert!(seated.outcome().is_waiting());

    vm.respond(&call, keys_answer());
    let woken = waiting.iter().filter(|stream| stream.outcome().is_continued()).count();
    assert_eq!(woken, 1023);
    assert!(seated.outcome().is_continued());
}

#[test]
fn clients_that_hang_up_while_they_wait_do_not_disturb_the_others() {
    let (vm, call) = cold();
    let good = token().sign();
    let streams: Vec<Stream> = (0..10).map(|_| vm.request(orders(&good))).collect();
    for stream in streams.iter().step_by(2) {
        stream.disconnect();
    }
    vm.respond(&call, keys_answer());
    for (at, stream) in streams.iter().enumerate() {
        match at % 2 {
            0 => assert_eq!(stream.outcome(), Outcome::HungUp),
            _ => assert!(stream.outcome().is_continued()),
        }
    }

    // And when all of them have gone.
    let (vm, call) = cold();
    vm.request(orders(&good)).disconnect();
    vm.respond(&call, Response::reset());
    let call = next_fetch(&vm, PATIENCE);
    vm.request(orders(&good)).disconnect();
    vm.respond(&call, keys_answer());
    assert!(vm.request(orders(&good)).outcome().is_continued());
}

#[test]
fn a_held_request_goes_on_with_its_body_and_trailers() {
    let (vm, call) = cold();
    let request = Request::new("POST", "/api/orders").bearer(&token().sign());
    let request = request.body(b"{\"sku\":7}").trailer("x-checksum", "1").trailer("X-User", "mallory");
    let stream = vm.request(request);
    assert!(stream.outcome().is_waiting());
    vm.respond(&call, keys_answer());
    let forwarded = stream.outcome().continued();
    assert_eq!(forwarded.values("x-user"), ["alice"]);
    assert_eq!(forwarded.trailers, [(b"x-checksum".to_vec(), b"1".to_vec())]);
}

#[test]
fn a_cluster_that_is_ready_a_moment_after_the_start_costs_nobody_a_503() {
    let world = World::new();
    world.set_cluster(CLUSTER, Cluster::Unhealthy);
    let vm = Vm::start_in(&world, config());
    vm.advance(Duration::from_millis(500));
    assert_eq!(vm.sent_calls(), []);
    let early = vm.request(orders(&token().sign()));
    assert!(early.outcome().is_waiting(), "{:?}", early.outcome());

    world.set_cluster(CLUSTER, Cluster::Healthy);
    vm.advance(Duration::from_millis(20));
    vm.respond(&the_fetch(&vm), keys_answer());
    assert!(early.outcome().is_continued());
    assert_eq!(vm.logged(Level::Warn), Vec::<String>::new(), "nothing failed");
    assert_eq!(vm.sent_calls().len(), 1);
}

#[test]
fn a_cluster_that_is_not_ready_soon_is_a_failed_fetch_and_said_once() {
    let world = World::new();
    world.remove_cluster(CLUSTER);
    let vm = Vm::start_in(&world, config());
    let early = vm.request(orders(&token().sign()));
    vm.advance(Duration::from_millis(1200));
    refused_for_want_of_keys(&early);
    let said = vm.logged(Level::Warn);
    assert!(said.len() == 1 && said[0].contains("no healthy endpoint"), "{said:?}");
}

#[test]
fn a_cluster_that_comes_later_is_found_when_it_is_there() {
    let world = World::new();
    world.remove_cluster(CLUSTER);
    let vm = Vm::start_in(&world, config());
    vm.advance(Duration::from_secs(5));
    assert_eq!(vm.sent_calls(), []);
    let early = vm.request(orders(&token().sign()));
    vm.advance(Duration::from_secs(20));
    refused_for_want_of_keys(&early);

    world.set_cluster(CLUSTER, Cluster::Unhealthy);
    vm.advance(PATIENCE);
    world.set_cluster(CLUSTER, Cluster::Healthy);
    let call = next_fetch(&vm, 2 * PATIENCE);
    vm.respond(&call, keys_answer());
    assert!(vm.request(orders(&token().claim("exp", world.now() + 60).sign())).outcome().is_continued());
}

#[test]
fn failing_fetches_come_ever_more_rarely() {
    let vm = Vm::start(config());
    let mut fetches = 0;
    for _ in 0..600 {
        vm.advance(Duration::from_secs(1));
        for call in vm.pending_calls() {
            vm.respond(&call, Response::new(500, &[], ""));
            fetches += 1;
        }
    }
    assert!((8..=25).contains(&fetches), "{fetches} fetches in ten minutes of failures");
}

#[test]
fn every_worker_fetches_once_and_no_more() {
    let world = World::new();
    let good = token().sign();
    let workers: Vec<Vm> = (0..4).map(|_| Vm::start_in(&world, config())).collect();
    let streams: Vec<Stream> = (0..200).map(|n| workers[n % workers.len()].request(orders(&good))).collect();
    world.advance(Duration::from_secs(2));
    for vm in &workers {
        for call in vm.pending_calls() {
            vm.respond(&call, keys_answer());
        }
    }
    world.advance(Duration::from_secs(2));
    assert!(streams.iter().all(|stream| stream.outcome().is_continued()));
    let fetches: usize = workers.iter().map(|vm| vm.sent_calls().len()).sum();
    assert!(fetches <= workers.len(), "{fetches} fetches");
}
