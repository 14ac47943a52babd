//! A host that fails: whatever call it refuses, with whatever status, nothing traps and nobody gets in.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::fake_host::{Fault, Outcome, Request, Response, Status, Stream, Vm, World};
use crate::fixtures::{
    cold, config, fetch_keys, foreign_key, keys_answer, local_config, orders, reads_as, the_fetch, token,
    warm, with,
};

/// A status that Envoy returns often, one that it returns rarely, one that has no name in the SDK.
const SOME: [Status; 3] = [Status::BAD_ARGUMENT, Status::INTERNAL_FAILURE, Status::UNIMPLEMENTED];

/// A request and who may get in with it.
struct Sent {
    stream: Stream,
    may_pass: May,
}

/// Who may get in with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum May {
    Anyone,
    Alice,
    Nobody,
}

/// Requests with a good token, with a forged one, without one, and to a public path; each claims to be mallory.
fn send_all(vm: &Vm) -> Vec<Sent> {
    let now = vm.world().now();
    let good = token().claims(json!({ "iat": now, "exp": now + 300 }));
    let forged = token().key(&foreign_key()).kid("current").sign();
    let requests = [
        (Request::get("/public/a"), May::Anyone),
        (orders(&good.sign()), May::Alice),
        (
            Request::new("POST", "/api/x").bearer(&good.sign()).body(b"{}").trailer("x-user", "mallory"),
            May::Alice,
        ),
        (orders(&forged), May::Nobody),
        (Request::get("/orders/7"), May::Nobody),
        (Request::get("/elsewhere"), May::Nobody),
        (Request::get("/public/..%2forders/7"), May::Nobody),
    ];
    requests
        .into_iter()
        .map(|(request, may_pass)| {
            let request = request.header("x-user", "mallory").header("x_user", "mallory");
            Sent { stream: vm.request(request), may_pass }
        })
        .collect()
}

/// Whatever happened, nobody got in who must not, and nobody brought a false identity along.
fn check(name: &str, sent: &[Sent]) {
    for (at, Sent { stream, may_pass }) in sent.iter().enumerate() {
        let Outcome::Continued(forwarded) = stream.outcome() else { continue };
        let users = reads_as(&forwarded.headers, "x-user");
        let expected: &[&str] = match may_pass {
            May::Anyone => &[],
            May::Alice => &["alice"],
            May::Nobody => panic!("{name}: request {at} got in"),
        };
        assert_eq!(users, expected, "{name}: request {at} got in under this name");
        let users = reads_as(&forwarded.trailers, "x-user");
        assert_eq!(users, [""; 0], "{name}: request {at} got in with this name in its trailers");
        assert!(!forwarded.has("authorization"), "{name}: request {at} got in with its token");
    }
}

/// After the host has recovered, so does the filter: soon, and without help.
fn check_recovery(name: &str, vm: &Vm) {
    vm.heal();
    for _ in 0..90 {
        answer_pending(vm);
        let now = vm.world().now();
        let fresh = token().claims(json!({ "iat": now, "exp": now + 60 })).sign();
        if vm.request(orders(&fresh)).outcome().is_continued() {
            return;
        }
        vm.advance(Duration::from_secs(1));
    }
    panic!("{name}: it did not recover: {:#?}", vm.logs());
}

fn answer_pending(vm: &Vm) {
    for call in vm.pending_calls() {
        vm.respond(&call, keys_answer());
    }
}

/// Nobody who waited is forgotten over it, unless the host would not let the filter speak for that request.
fn check_nobody_waits(name: &str, function: &str, vm: &Vm, sent: &[Sent]) {
    if function == "proxy_set_effective_context" {
        return;
    }
    let waiting = || sent.iter().filter(|one| one.stream.outcome().is_waiting()).count();
    for _ in 0..20 {
        if waiting() == 0 {
            return;
        }
        vm.advance(Duration::from_secs(1));
        answer_pending(vm);
    }
    panic!("{name}: {} requests wait for ever: {:#?}", waiting(), vm.logs());
}

/// What a VM goes through while the fault is there.
type Scenario = (&'static str, fn() -> Vm, fn(&Vm) -> Vec<Sent>);

fn scenarios() -> Vec<Scenario> {
    vec![
        ("warm", warm, send_all),
        ("local keys", || Vm::start(local_config()), send_all),
        (
            "a tick",
            || Vm::start(config()),
            |vm| {
                vm.tick();
                send_all(vm)
            },
        ),
        (
            "keys arrive",
            || cold().0,
            |vm| {
                let sent = send_all(vm);
                for call in vm.pending_calls() {
                    vm.respond(&call, keys_answer());
                }
                sent
            },
        ),
        (
            "the fetch fails",
            || cold().0,
            |vm| {
                let sent = send_all(vm);
                for call in vm.pending_calls() {
                    vm.respond(&call, Response::reset());
                }
                sent
            },
        ),
        (
            "clients hang up",
            || cold().0,
            |vm| {
                let sent = send_all(vm);
                for one in sent.iter().step_by(2).filter(|one| one.stream.outcome().is_waiting()) {
                    one.stream.disconnect();
                }
                for call in vm.pending_calls() {
                    vm.respond(&call, keys_answer());
                }
                sent
            },
        ),
        (
            "they wait too long",
            || cold().0,
            |vm| {
                let sent = send_all(vm);
                vm.advance(Duration::from_secs(61));
                sent
            },
        ),
    ]
}

/// A fault may leave a request hanging, and replies that failed may be tried again: not what these tests are about.
fn tolerated(vm: &Vm) {
    vm.take_violations();
}

#[test]
fn a_single_failing_host_call_lets_nobody_in() {
    for (name, start, act) in scenarios() {
        let vm = start();
        vm.forget_host_calls();
        check(name, &act(&vm));
        let calls = vm.host_call_counts();
        assert!(calls.len() > 3, "{name}: {calls:?}");
        for (function, count) in calls {
            // The first few and the last: what lies between is the same call for the next request.
            for after in (0..count).filter(|at| *at < 8 || at + 1 == count) {
                // Every status has its turn in the next test.
                for status in SOME {
                    let name = format!("{name}: {function} number {after} says {status:?}");
                    let vm = start();
                    vm.fail_once(function, after, status);
                    let sent = act(&vm);
                    check(&name, &sent);
                    check_recovery(&name, &vm);
                    check_nobody_waits(&name, function, &vm, &sent);
                    check(&name, &sent);
                    tolerated(&vm);
                }
            }
        }
    }
}

#[test]
fn a_host_function_that_always_fails_lets_nobody_in() {
    for (name, start, act) in scenarios() {
        let vm = start();
        vm.forget_host_calls();
        act(&vm);
        for function in vm.host_call_counts().into_keys() {
            for status in Status::failures() {
                let name = format!("{name}: {function} always says {status:?}");
                let vm = start();
                vm.fail(function, status);
                let sent = act(&vm);
                check(&name, &sent);
                check_recovery(&name, &vm);
                check_nobody_waits(&name, function, &vm, &sent);
                check(&name, &sent);
                tolerated(&vm);
            }
        }
    }
}

#[test]
fn a_host_that_fails_from_the_start_lets_nobody_in() {
    let mut functions = BTreeMap::new();
    let vm = Vm::start(config());
    functions.extend(vm.host_call_counts());
    for function in functions.into_keys() {
        for status in Status::failures() {
            let name = format!("{function} says {status:?} from the start");
            let world = World::new();
            world.fail_new_vms(Fault { function, status, after: 0, times: None });
            // It may refuse to start; it must not start and be open.
            let Ok(vm) = Vm::try_start_in(&world, config()) else { continue };
            let sent = send_all(&vm);
            vm.advance(Duration::from_secs(10));
            for call in vm.pending_calls() {
                vm.respond(&call, keys_answer());
            }
            check(&name, &sent);
            check(&name, &send_all(&vm));
            tolerated(&vm);
        }
    }
}

#[test]
fn a_second_configuration_that_meets_a_failing_host_leaves_nobody_waiting() {
    let mut wrong = Vec::new();
    for function in [
        "proxy_get_current_time_nanoseconds",
        "proxy_get_buffer_bytes",
        "proxy_set_tick_period_milliseconds",
        "proxy_log",
    ] {
        let vm = cold().0;
        let sent = send_all(&vm);
        vm.fail(function, Status::INTERNAL_FAILURE);
        let accepted = vm.reconfigure(config()).is_ok();
        vm.heal();
        for _ in 0..20 {
            vm.advance(Duration::from_secs(1));
            answer_pending(&vm);
        }
        let waiting = sent.iter().filter(|one| one.stream.outcome().is_waiting()).count();
        if waiting > 0 {
            wrong.push(format!("{function} fails, accepted: {accepted}: {waiting} requests wait for ever"));
        }
        check(function, &sent);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_request_whose_headers_cannot_be_read_is_denied() {
    let vm = warm();
    for status in Status::failures() {
        vm.fail("proxy_get_header_map_pairs", status);
        for request in [Request::get("/healthz"), orders(&token().sign()), Request::get("/orders/7")] {
            let reply = vm.request(request).outcome().replied();
            assert_eq!(reply.status, 503, "{status:?}: {reply:?}");
        }
        vm.heal();
    }
}

#[test]
fn trailers_that_cannot_be_read_do_not_pass() {
    let vm = warm();
    let post =
        || Request::new("POST", "/api/x").bearer(&token().sign()).body(b"x").trailer("x-user", "mallory");
    for garbled in [None, Some(&b""[..]), Some(&[1, 0, 0, 0]), Some(&[0xff; 32])] {
        vm.fail_once("proxy_get_header_map_pairs", 1, Status::INTERNAL_FAILURE);
        if let Some(garbled) = garbled {
            vm.heal();
            vm.garble_pairs(1, garbled);
        }
        let outcome = vm.request(post()).outcome();
        if let Outcome::Continued(forwarded) = outcome {
            assert_eq!(reads_as(&forwarded.trailers, "x-user"), [""; 0], "{garbled:?}");
        }
        vm.heal();
        tolerated(&vm);
    }
}

#[test]
fn header_lists_that_make_no_sense_are_denied() {
    let vm = warm();
    let huge = u32::MAX.to_le_bytes();
    let lists: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0, 0],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 0, 1],
        vec![1, 0, 0, 0],
        huge.to_vec(),
        [&[1, 0, 0, 0][..], &huge, &huge].concat(),
        [&[1, 0, 0, 0][..], &[1, 0, 0, 0], &huge, b"a\0"].concat(),
        [&[1, 0, 0, 0][..], &[1, 0, 0, 0], &[0, 0, 0, 0], b"a"].concat(),
        [&[2, 0, 0, 0][..], &[1, 0, 0, 0], &[1, 0, 0, 0], b"a\0b\0"].concat(),
        [0xff; 64].to_vec(),
    ];
    for list in lists {
        vm.garble_pairs(0, &list);
        let reply = vm.request(Request::get("/healthz")).outcome().replied();
        assert!(matches!(reply.status, 400 | 403 | 503), "{list:?}: {reply:?}");
    }
    assert!(vm.request(Request::get("/healthz")).outcome().is_continued());
}

#[test]
fn without_a_clock_no_token_is_good() {
    let vm = warm();
    let eternal = token().without("iat").claim("exp", 253_402_300_799_u64).sign();
    assert!(vm.request(orders(&eternal)).outcome().is_continued());
    for seconds in [0, 1, 1_000_000] {
        vm.world().set_clock(seconds);
        let outcome = vm.request(orders(&eternal)).outcome();
        assert!(!outcome.is_continued(), "at {seconds} s after 1970");
    }
    // And at the other end of time nothing overflows.
    for seconds in [u64::MAX / 1_000_000_000, u64::MAX] {
        vm.world().set_clock(seconds);
        vm.tick();
        vm.request(orders(&eternal));
    }
    for status in Status::failures() {
        let vm = warm();
        vm.fail("proxy_get_current_time_nanoseconds", status);
        let outcome = vm.request(orders(&eternal)).outcome();
        assert!(!outcome.is_continued(), "the clock says {status:?}");
        vm.tick();
    }
}

#[test]
fn a_clock_that_jumps_leaves_nobody_waiting() {
    for jump in [-86_400_i64, -3_600, -30, 30, 3_600, 86_400] {
        let vm = Vm::start(config());
        let now = vm.world().now();
        let lasting = token().without("iat").claim("exp", now + 864_000).sign();
        the_fetch(&vm);
        let stream = vm.request(orders(&lasting));
        assert!(stream.outcome().is_waiting());
        vm.world().set_clock(now.saturating_add_signed(jump));
        vm.advance(Duration::from_secs(10));
        assert!(!stream.outcome().is_waiting(), "a jump of {jump} s");
        check_recovery(&format!("a jump of {jump} s"), &vm);
    }
}

#[test]
fn foreign_functions_and_properties_that_are_missing_are_no_trouble() {
    let vm = Vm::start(with(config(), "/unmatched", json!("deny")));
    fetch_keys(&vm);
    let request = orders(&token().sign())
        .failing_property("xds", Status::SERIALIZATION_FAILURE)
        .failing_property("xds.route_name", Status::INTERNAL_FAILURE)
        .failing_property("xds.route_metadata.filter_metadata.portcullis", Status::SERIALIZATION_FAILURE);
    assert!(vm.request(request).outcome().is_continued());
}

#[test]
fn filter_state_that_others_hold_read_only_does_not_stop_a_request() {
    let all = json!(["decision", "reason", "rule", "provider", "subject", "scopes"]);
    let vm = Vm::start(with(local_config(), "/filter_state", all));
    for key in ["provider", "subject", "scopes", "rule", "decision", "reason"] {
        vm.declare_read_only(&format!("wasm.portcullis.{key}"));
    }
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
    assert_eq!(vm.request(orders("x")).outcome().replied().status, 401);
}

#[test]
fn a_stray_answer_is_ignored() {
    // The stream is gone, the fetch that it waited for is lost and another is under way.
    let (vm, first) = cold();
    vm.request(orders(&token().sign())).disconnect();
    vm.advance(Duration::from_secs(20));
    assert!(!vm.pending_calls().contains(&first));
    for call in vm.pending_calls() {
        vm.respond(&call, keys_answer());
    }
    check_recovery("after a lost answer", &vm);
}
