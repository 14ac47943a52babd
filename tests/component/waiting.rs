//! A request that waits is held whole, without what a client may not send, and is judged as it came.

use std::time::Duration;

use portcullis::host::exports;
use proxy_wasm::hostcalls;
use proxy_wasm::types::MapType;
use serde_json::json;

use crate::fake_host::{Call, Guest, Request, Status, Vm, World};
use crate::fixtures::{AUDIENCE, ISSUER, NOW};
use crate::fixtures::{cold, config, foreign_key, keys_answer, orders, reads_as, the_fetch, token, with};
use harness::idp::TokenBuilder;

fn forged() -> String {
    let claims = json!({ "iat": NOW, "exp": NOW + 300, "scope": "orders:read", "sub": "mallory" });
    TokenBuilder::new(&foreign_key(), ISSUER, AUDIENCE).kid("current").claims(claims).sign()
}

/// A request with a body and trailers, or without.
fn forms(token: &str) -> Vec<Request> {
    let spoofed = || orders(token).header("x-user", "mallory").header("X_User", "mallory");
    vec![
        spoofed(),
        spoofed().body(b"x"),
        spoofed().body(&[b'x'; 100_000]),
        spoofed().trailer("x-checksum", "1"),
        spoofed().trailer("x-user", "mallory"),
        spoofed().body(b"x").trailer("x-checksum", "1").trailer("x_user", "mallory"),
    ]
}

#[test]
fn nothing_that_follows_releases_its_headers() {
    for alone in [false, true] {
        let (vm, call) = cold();
        if alone {
            vm.stop_headers_alone();
        }
        let good: Vec<_> = forms(&token().sign()).into_iter().map(|request| vm.request(request)).collect();
        let bad: Vec<_> = forms(&forged()).into_iter().map(|request| vm.request(request)).collect();
        for stream in good.iter().chain(&bad) {
            assert!(stream.outcome().is_waiting());
            let id = stream.id();
            let (body, again, trailers, fields) = vm.as_guest(id, move || {
                let body = exports::portcullis_on_request_body(id, 1, false);
                let again = exports::portcullis_on_request_body(id, 0, true);
                let trailers = (Guest::PORTCULLIS.request_trailers)(id, 0);
                (body, again, trailers, hostcalls::get_map_bytes(MapType::HttpRequestHeaders).unwrap())
            });
            assert!(body != 0 && again != 0 && trailers != 0, "{body} {again} {trailers}");
            // Whatever becomes of it, what only this filter may write has gone already.
            let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            assert_eq!(reads_as(&fields, "x-user"), Vec::<String>::new());
        }
        vm.respond(&call, keys_answer());
        for stream in &good {
            let forwarded = stream.outcome().continued();
            assert_eq!(reads_as(&forwarded.headers, "x-user"), ["alice"]);
            assert_eq!(reads_as(&forwarded.trailers, "x-user"), Vec::<String>::new());
            let id = stream.id();
            assert_eq!(vm.as_guest(id, move || exports::portcullis_on_request_body(id, 1, false)), 0);
        }
        for stream in &bad {
            assert_eq!(stream.outcome().replied().status, 401);
        }
    }
}

#[test]
fn nothing_goes_on_of_a_request_whose_answer_the_host_refuses() {
    let (vm, call) = cold();
    for call in ["proxy_send_local_response", "proxy_close_stream"] {
        vm.fail(call, Status::INTERNAL_FAILURE);
    }
    let streams: Vec<_> = forms(&forged()).into_iter().map(|request| vm.request(request)).collect();
    vm.respond(&call, keys_answer());
    for stream in &streams {
        let id = stream.id();
        let (body, trailers) = vm.as_guest(id, move || {
            let body = exports::portcullis_on_request_body(id, 1, false);
            (body, (Guest::PORTCULLIS.request_trailers)(id, 0))
        });
        assert!(body != 0 && trailers != 0, "{body} {trailers}");
        assert!(!stream.outcome().is_continued());
    }
}

#[test]
fn it_is_judged_with_the_fields_that_it_came_with() {
    let strict = json!({
        "name": "marked",
        "match": { "prefix": "/orders", "headers": [{ "name": "x-user", "present_match": true }] },
        "requires": { "provider_name": "corp" },
        "authorize": { "scopes": { "all_of": ["never"] } },
    });
    let rules =
        [strict, json!({ "match": { "prefix": "/orders" }, "requires": { "provider_name": "corp" } })];
    let vm = Vm::start(with(config(), "/rules", json!(rules)));
    let call = the_fetch(&vm);
    let marked = vm.request(orders(&token().sign()).header("x-user", "mallory"));
    let plain = vm.request(orders(&token().sign()));
    vm.respond(&call, keys_answer());
    assert_eq!(marked.outcome().replied().details, "portcullis_scope_insufficient");
    assert!(plain.outcome().is_continued());
    // The same as without waiting.
    let reply = vm.request(orders(&token().sign()).header("x-user", "mallory")).outcome().replied();
    assert_eq!(reply.details, "portcullis_scope_insufficient");
}

#[test]
fn what_cannot_be_taken_away_before_it_waits_is_refused() {
    let (vm, call) = cold();
    vm.fail_once("proxy_remove_header_map_value", 0, Status::BAD_ARGUMENT);
    let stream = vm.request(orders(&token().sign()).header("x-user", "mallory"));
    assert_eq!(stream.outcome().replied().details, "portcullis_overloaded");
    vm.respond(&call, keys_answer());
    assert_eq!(stream.outcome().replied().details, "portcullis_overloaded");
}

/// Two workers, of which the second has not been ticked: what wakes its requests is the callback of another one.
fn two_workers(guest: Guest) -> (Vm, Vm, Call) {
    let world = World::new();
    let rules = json!([
        { "name": "public", "match": { "path": "/public" } },
        { "match": { "prefix": "/orders" }, "requires": { "provider_name": "corp" },
          "authorize": { "scopes": { "all_of": ["orders:read"] } } },
    ]);
    let plugin = || with(config(), "/rules", rules.clone());
    let first = Vm::start_in(&world, plugin());
    let call = the_fetch(&first);
    let second = Vm::with_guest_in(&world, plugin(), guest);
    (first, second, call)
}

/// A token without the scope: known for that once the keys are there.
fn poor() -> Request {
    orders(&token().claim("scope", "profile").sign())
}

fn public() -> Request {
    Request::get("/public")
}

/// Envoy stops the callback in which an answer was sent, whoever got it.
#[test]
fn an_answer_to_one_request_does_not_hold_up_another() {
    let (first, second, call) = two_workers(Guest::PORTCULLIS);
    let bad = second.request(poor());
    let good = second.request(orders(&token().sign()));
    assert!(bad.outcome().is_waiting() && good.outcome().is_waiting());
    first.respond(&call, keys_answer());
    for _ in 0..3 {
        assert!(second.request(public()).outcome().is_continued());
        assert!(second.request(orders(&token().sign())).outcome().is_continued());
    }
    second.advance(Duration::from_millis(20));
    assert_eq!(bad.outcome().replied().details, "portcullis_scope_insufficient");
    assert!(good.outcome().is_continued());
}

/// What follows its headers may end a request that is about to be woken.
#[test]
fn a_request_that_was_answered_meanwhile_is_not_answered_again() {
    let (first, second, call) = two_workers(Guest::PORTCULLIS);
    let bad = second.request(poor());
    assert!(bad.outcome().is_waiting());
    first.respond(&call, keys_answer());
    assert!(second.request(public()).outcome().is_continued());
    assert!(bad.outcome().is_waiting());
    // One trailer, which the host does not hand over.
    let id = bad.id();
    second.as_guest(id, move || (Guest::PORTCULLIS.request_trailers)(id, 1));
    assert_eq!(bad.outcome().replied().details, "portcullis_overloaded");
    second.advance(Duration::from_millis(20));
    assert_eq!(bad.outcome().replied().details, "portcullis_overloaded");
    assert_eq!(second.take_violations(), Vec::<String>::new());
}

extern "C" fn no_tick(_: u32) {}

/// Where there are no ticks at all, the end of any request wakes those that had to be held back.
#[test]
fn without_ticks_the_end_of_a_request_wakes_others() {
    let (first, second, call) = two_workers(Guest { tick: no_tick, ..Guest::PORTCULLIS });
    let bad = second.request(poor());
    let good = second.request(orders(&token().sign()));
    assert!(bad.outcome().is_waiting() && good.outcome().is_waiting());
    first.respond(&call, keys_answer());
    let other = second.request(public());
    assert!(other.outcome().is_continued());
    other.finish();
    assert_eq!(bad.outcome().replied().details, "portcullis_scope_insufficient");
    assert!(good.outcome().is_continued());
}
