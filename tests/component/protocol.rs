//! A host that calls back what it should not, or when it should not. What Envoy may do is survived; what no host does
//! that keeps to the protocol ends the VM in the SDK, before anything passes.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::fake_host::{Guest, Request, Response, Vm};
use crate::fixtures::{
    cold, config, foreign_key, keys_answer, local_config, next_fetch, orders, the_fetch, token, warm,
};

const FILTER: Guest = Guest::PORTCULLIS;

/// No context has this number.
const UNKNOWN: u32 = 4711;

#[test]
fn a_response_to_an_unknown_call_is_ignored() {
    let (vm, call) = cold();
    let waiting = vm.request(orders(&token().sign()));
    let (root, stream, token_of_call) = (vm.root(), waiting.id(), call.token);
    for (context, token) in [
        (root, token_of_call + 4),
        (root, 0),
        (root, u32::MAX),
        (UNKNOWN, token_of_call),
        (stream, token_of_call),
        (0, token_of_call),
    ] {
        for (fields, size) in [(0, 0), (3, 100), (usize::MAX, usize::MAX)] {
            vm.as_guest(root, move || (FILTER.http_call_response)(context, token, fields, size, 0));
            assert!(waiting.outcome().is_waiting(), "{context} {token} {fields} {size}");
        }
    }
    // The one that was asked for is still taken, once.
    vm.respond(&call, keys_answer());
    assert!(waiting.outcome().is_continued());
    vm.as_guest(root, move || (FILTER.http_call_response)(root, token_of_call, 0, 0, 0));
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_response_after_its_root_context_has_gone_is_ignored() {
    let (mut vm, call) = cold();
    let old = vm.root();
    vm.update(config()).unwrap();
    assert_eq!(vm.roots(), 1);
    vm.as_guest(vm.root(), move || (FILTER.http_call_response)(old, call.token, 3, 100, 0));
    vm.respond(&next_fetch(&vm, Duration::from_secs(60)), keys_answer());
    let now = vm.world().now();
    let fresh = token().claims(json!({ "iat": now, "exp": now + 300 })).sign();
    assert!(vm.request(orders(&fresh)).outcome().is_continued());
}

#[test]
fn what_follows_headers_that_never_came_does_not_pass() {
    let vm = warm();
    let root = vm.root();
    let (body, trailers, response) = vm.as_guest(root, move || {
        (FILTER.context_create)(UNKNOWN, root);
        let body = (FILTER.request_body.unwrap())(UNKNOWN, 10, true);
        let trailers = (FILTER.request_trailers)(UNKNOWN, 0);
        (FILTER.delete)(UNKNOWN);
        (FILTER.context_create)(UNKNOWN, root);
        // A response to what was never shown does not reach the client either.
        let response = (FILTER.response_headers.unwrap())(UNKNOWN, 3, true);
        (FILTER.delete)(UNKNOWN);
        (body, trailers, response)
    });
    assert!(body != 0 && trailers != 0 && response != 0, "{body} {trailers} {response}");
    // Headers without a stream to read them of: no answer can be sent, and nothing passes.
    let (headers, body) = vm.as_guest(root, move || {
        (FILTER.context_create)(UNKNOWN, root);
        let headers = (FILTER.request_headers)(UNKNOWN, 7, false);
        let body = (FILTER.request_body.unwrap())(UNKNOWN, 10, true);
        (FILTER.delete)(UNKNOWN);
        (headers, body)
    });
    assert!(headers != 0 && body != 0, "{headers} {body}");
    vm.take_violations();
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn headers_that_come_twice_are_judged_twice() {
    let (vm, call) = cold();
    let good = vm.request(orders(&token().sign()));
    let bad = vm.request(orders(&token().key(&foreign_key()).kid("current").sign()));
    for stream in [&good, &bad] {
        let id = stream.id();
        assert_ne!(vm.as_guest(id, move || (FILTER.request_headers)(id, 7, true)), 0);
    }
    vm.respond(&call, keys_answer());
    assert!(good.outcome().is_continued());
    assert_eq!(bad.outcome().replied().status, 401);
}

#[test]
fn a_plugin_that_is_not_there_takes_no_configuration() {
    let vm = Vm::start(local_config());
    let root = vm.root();
    assert!(!vm.as_guest(root, || (FILTER.configure)(UNKNOWN, 0)));
    assert!(vm.errors().iter().any(|line| line.contains("proxy_on_context_create")), "{:#?}", vm.errors());
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_plugin_without_a_configuration_lets_nobody_in() {
    let vm = Vm::start(config());
    let root = vm.root();
    vm.as_guest(root, || (FILTER.context_create)(UNKNOWN, 0));
    vm.as_guest(root, || (FILTER.tick)(UNKNOWN));
    let stream = vm.request_to(UNKNOWN, Request::get("/public/a"));
    assert_eq!(stream.outcome().replied().details, "portcullis_overloaded");
    vm.as_guest(root, || (FILTER.delete)(UNKNOWN));
    vm.respond(&the_fetch(&vm), Response::reset());
}

/// What a host does that breaks the protocol, and what the SDK says to it.
type Breach = (&'static str, fn(u32), &'static str);

fn ignore<T>(_: T) {}

const BREACHES: [Breach; 9] = [
    ("a context that is there already", |root| (FILTER.context_create)(root, 0), "duplicate context_id"),
    ("a request of no plugin", |_| (FILTER.context_create)(1, UNKNOWN), "invalid root_context_id"),
    ("an unknown plugin ticked", |_| (FILTER.tick)(UNKNOWN), "invalid context_id"),
    (
        "headers of an unknown request",
        |_| ignore((FILTER.request_headers)(UNKNOWN, 7, true)),
        "invalid context_id",
    ),
    ("a body of one", |_| ignore((FILTER.request_body.unwrap())(UNKNOWN, 7, true)), "invalid context_id"),
    ("trailers of one", |_| ignore((FILTER.request_trailers)(UNKNOWN, 7)), "invalid context_id"),
    (
        "a response to one",
        |_| ignore((FILTER.response_headers.unwrap())(UNKNOWN, 7, true)),
        "invalid context_id",
    ),
    ("the end of one", |_| (FILTER.delete)(UNKNOWN), "invalid context_id"),
    ("the headers of a plugin", |root| ignore((FILTER.request_headers)(root, 7, true)), "invalid context_id"),
];

const BREACH: &str = "PORTCULLIS_TEST_BREACH";

#[test]
fn a_host_that_breaks_the_protocol_ends_the_vm_and_lets_nobody_in() {
    let own = std::env::current_exe().unwrap();
    for (at, (name, _, message)) in BREACHES.iter().enumerate() {
        let mut child = Command::new(&own);
        child.args(["--exact", "--nocapture", "protocol::breach"]).env(BREACH, at.to_string());
        let done = child.output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains(message), "{name}: {} {said}", done.status);
    }
}

/// Ends the process of the test above.
#[test]
fn breach() {
    let Ok(at) = std::env::var(BREACH) else { return };
    let (_, act, _) = BREACHES[at.parse::<usize>().unwrap()];
    let vm = Vm::start(config());
    let root = vm.root();
    vm.as_guest(root, move || act(root));
}
