//! Opaque tokens on a host that fails, loses answers, and brings them late: nobody gets in whom the provider does not
//! know, nobody waits for ever, and all is well once the host is.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_host::{Call, Outcome, Request, Response, Status, Stream, Vm};
use crate::fixtures::{AUDIENCE, CLUSTER, ISSUER, reads_as};

const ALICE: &str = "an-opaque-token-of-alice";
const NOBODY: &str = "an-opaque-token-of-nobody";

/// The statuses of failing host calls: a frequent one, a rare one, one without a name in the SDK.
const SOME: [Status; 3] = [Status::BAD_ARGUMENT, Status::INTERNAL_FAILURE, Status::UNIMPLEMENTED];

fn config() -> Value {
    json!({
        "providers": { "opaque": {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "introspection": {
                "http_uri": { "uri": "https://idp.example/introspect", "cluster": CLUSTER, "timeout": "5s" },
                "auth_method": "none",
                "cache": { "active": "2s", "inactive": "1s" },
            },
            "forward": false,
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "opaque" } }],
    })
}

/// What the endpoint says of the token that a call is about.
fn answer(call: &Call) -> Response {
    let form = String::from_utf8_lossy(&call.body).into_owned();
    let members = if form.contains(&format!("token={ALICE}")) {
        json!({ "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "alice" })
    } else {
        json!({ "active": false })
    };
    Response::ok(members.to_string())
}

fn answer_all(vm: &Vm) {
    for call in vm.pending_calls() {
        let response = answer(&call);
        vm.respond(&call, response);
    }
}

fn send(vm: &Vm, token: &str) -> Stream {
    vm.request(Request::get("/orders/7").bearer(token).header("x-user", "mallory"))
}

/// A few requests of each, with a body and without.
fn send_all(vm: &Vm) -> Vec<(Stream, bool)> {
    let post =
        |token: &str| Request::new("POST", "/x").bearer(token).body(b"{}").trailer("x-user", "mallory");
    vec![
        (send(vm, ALICE), true),
        (send(vm, NOBODY), false),
        (vm.request(post(ALICE)), true),
        (vm.request(post(NOBODY)), false),
        (send(vm, "short"), false),
    ]
}

/// Only alice got in, and under no other name.
fn check(name: &str, sent: &[(Stream, bool)]) {
    for (at, (stream, is_known)) in sent.iter().enumerate() {
        let Outcome::Continued(forwarded) = stream.outcome() else { continue };
        assert!(is_known, "{name}: request {at} got in");
        assert_eq!(reads_as(&forwarded.headers, "x-user"), ["alice"], "{name}: request {at}");
        assert!(!forwarded.has("authorization"), "{name}: request {at} got in with its token");
    }
}

/// Time passes and calls are answered, until nobody waits.
fn check_nobody_waits(name: &str, vm: &Vm, sent: &[(Stream, bool)]) {
    for _ in 0..20 {
        if !sent.iter().any(|(stream, _)| stream.outcome().is_waiting()) {
            return;
        }
        vm.advance(Duration::from_secs(1));
        answer_all(vm);
    }
    panic!("{name}: somebody waits for ever: {:#?}", vm.logs());
}

fn check_recovery(name: &str, vm: &Vm) {
    vm.heal();
    for _ in 0..30 {
        let stream = send(vm, ALICE);
        answer_all(vm);
        if stream.outcome().is_continued() {
            return;
        }
        vm.advance(Duration::from_secs(1));
        answer_all(vm);
    }
    panic!("{name}: it did not recover: {:#?}", vm.logs());
}

#[test]
fn a_single_failing_host_call_lets_nobody_in_whom_the_provider_does_not_know() {
    let start = || Vm::start(config());
    let act = |vm: &Vm| {
        let sent = send_all(vm);
        answer_all(vm);
        sent
    };
    let vm = start();
    vm.forget_host_calls();
    let sent = act(&vm);
    check("no fault", &sent);
    assert_eq!(sent.iter().filter(|(stream, _)| stream.outcome().is_continued()).count(), 2);
    for (function, count) in vm.host_call_counts() {
        for after in 0..count {
            for status in SOME {
                let name = format!("{function} number {after} says {status:?}");
                let vm = start();
                vm.fail_once(function, after, status);
                let sent = act(&vm);
                check(&name, &sent);
                check_recovery(&name, &vm);
                if function != "proxy_set_effective_context" {
                    check_nobody_waits(&name, &vm, &sent);
                }
                check(&name, &sent);
                vm.take_violations();
            }
        }
    }
}

#[test]
fn a_call_that_the_host_does_not_take_is_503_and_tried_again() {
    for status in SOME {
        let vm = Vm::start(config());
        vm.fail("proxy_http_call", status);
        let stream = send(&vm, ALICE);
        // What could not be sent is noticed with the next tick.
        vm.advance(Duration::from_secs(1));
        let reply = stream.outcome().replied();
        assert_eq!(reply.status, 503, "{status:?}: {}", reply.text());
        assert!(reply.text().contains("introspection_unavailable"), "{}", reply.text());
        assert!(reply.header("retry-after").is_some());
        check_recovery(&format!("{status:?}"), &vm);
    }
}

#[test]
fn an_answer_that_never_comes_is_waited_for_no_longer_than_it_may_take() {
    let vm = Vm::start(config());
    let sent = send_all(&vm);
    for call in vm.pending_calls() {
        vm.lose(&call);
    }
    vm.advance(Duration::from_secs(7));
    for (stream, _) in &sent {
        let reply = stream.outcome().replied();
        assert!([401, 503].contains(&reply.status), "{}", reply.text());
    }
    check_recovery("lost", &vm);
}

#[test]
fn what_the_host_says_in_place_of_the_endpoint_lets_nobody_in() {
    let yes = json!({ "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "alice" }).to_string();
    for (name, response) in [
        ("a timeout", Response::timeout()),
        ("no connection", Response::refused()),
        ("a reset", Response::reset()),
        (
            "no status",
            Response::raw(vec![(b"content-type".to_vec(), b"application/json".to_vec())], yes.clone()),
        ),
        ("a status that is none", Response::raw(vec![(b":status".to_vec(), b"abc".to_vec())], yes.clone())),
        ("no headers", Response::raw(Vec::new(), yes.clone())),
        ("500 with a yes", Response::new(500, &[], yes.clone())),
        ("compressed", Response::new(200, &[("content-encoding", "gzip")], yes.clone())),
        ("2 MB", Response::ok(vec![b' '; 2 << 20])),
    ] {
        let vm = Vm::start(config());
        let stream = send(&vm, ALICE);
        let [call] = &vm.pending_calls()[..] else { panic!("{name}: one call") };
        vm.respond(call, response);
        let reply = stream.outcome().replied();
        assert_eq!(reply.status, 503, "{name}: {}", reply.text());
        check_recovery(name, &vm);
    }
}

/// Whoever asked hangs up: the answer is kept for the next, and wakes nobody who is gone.
#[test]
fn clients_that_hang_up_leave_nothing_behind() {
    let vm = Vm::start(config());
    let streams: Vec<_> = (0..10).map(|_| send(&vm, ALICE)).collect();
    for stream in streams.iter().step_by(2) {
        stream.disconnect();
    }
    let calls = vm.pending_calls();
    assert_eq!(calls.len(), 1);
    answer_all(&vm);
    for stream in streams.iter().skip(1).step_by(2) {
        assert!(stream.outcome().is_continued());
    }
    assert!(send(&vm, ALICE).outcome().is_continued(), "what was answered is known");
    assert_eq!(vm.pending_calls().len(), 0);
}

/// A configuration that comes while a call is under way: its answer is for a gate that is gone.
#[test]
fn an_answer_for_a_configuration_that_is_gone_lets_nobody_in() {
    let vm = Vm::start(config());
    let stream = send(&vm, ALICE);
    let calls = vm.pending_calls();
    let mut other = config();
    other["providers"]["opaque"]["audiences"] = json!(["billing"]);
    vm.reconfigure(other).expect("a good configuration");
    for call in &calls {
        let response = answer(call);
        vm.respond(call, response);
    }
    assert!(!stream.outcome().is_continued(), "it was judged by the new configuration");
    for _ in 0..10 {
        vm.advance(Duration::from_secs(1));
        answer_all(&vm);
    }
    assert!(!stream.outcome().is_waiting(), "it waits for ever");
    let later = send(&vm, ALICE);
    answer_all(&vm);
    assert_eq!(later.outcome().replied().status, 401);
}
