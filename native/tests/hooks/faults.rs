//! An Envoy whose callbacks fail: whichever it is, and however, nobody gets in who must not.

use std::sync::Mutex;
use std::thread;

use serde_json::json;

use crate::envoy::{Answer, Envoy, FAULTS, Fault, Request, Stream, Value, eventually, logged};
use crate::identity::{Key, cold, config, keys, local_config, orders, token, warm};

/// Who may get in with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum May {
    Anyone,
    Alice,
    Nobody,
}

/// Requests with a good token, with a forged one, without one, and to the public path; each claims to be mallory.
pub fn send_all(envoy: &Envoy) -> Vec<(Stream, May)> {
    let requests = [
        (Request::get("/public"), May::Anyone),
        (orders(&token()), May::Alice),
        (orders(&token()).ending_at_once(), May::Alice),
        (Request::new("POST", "/orders").bearer(&token()).body().trailer("x-user", "mallory"), May::Alice),
        (orders(&Key::foreign().sign(json!({}))), May::Nobody),
        (orders(&Key::foreign().sign(json!({}))).ending_at_once(), May::Nobody),
        (Request::get("/orders"), May::Nobody),
        (Request::get("/public/..%2forders"), May::Nobody),
    ];
    let with = |mut request: Request| {
        request.dynamic = vec![(
            "a.filter",
            vec![("text", Value::Text("x")), ("list", Value::List(vec![Value::Flag(true)]))],
        )];
        request.header("x-user", "mallory").header("x_user", "mallory")
    };
    requests.into_iter().map(|(request, may)| (envoy.worker.send(with(request)), may)).collect()
}

/// Whatever happened, nobody got in who must not, and nobody brought a false identity along.
pub fn check(name: &str, sent: &[(Stream, May)]) {
    for (at, (stream, may)) in sent.iter().enumerate() {
        if !stream.is_forwarded() {
            continue;
        }
        stream.finish();
        // What cannot be cleaned on its way is answered after all.
        if !stream.is_forwarded() {
            continue;
        }
        assert!(
            stream.trailers("x-user").is_empty(),
            "{name}: request {at} got in with a name in its trailers"
        );
        let users = [stream.forwarded("x-user"), stream.forwarded("x_user")].concat();
        let expected: &[&str] = match may {
            May::Anyone => &[],
            May::Alice => &["alice"],
            May::Nobody => panic!("{name}: request {at} got in"),
        };
        assert_eq!(users, expected, "{name}: request {at} got in under this name");
        assert!(stream.forwarded("authorization").is_empty(), "{name}: request {at} got in with its token");
    }
}

/// After Envoy has recovered, so does the gate; and nobody who waited is forgotten over it.
fn check_recovery(name: &str, envoy: &Envoy, sent: &[(Stream, May)], may_hang: bool) {
    envoy.heal();
    eventually(&format!("{name}: it works again"), || {
        envoy.pump();
        for call in envoy.calls() {
            envoy.answer(call.id, &keys());
        }
        envoy.worker.send(orders(&token())).is_forwarded().then_some(())
    });
    if !may_hang {
        eventually(&format!("{name}: nobody waits"), || {
            envoy.pump();
            sent.iter().all(|(stream, _)| !stream.is_held()).then_some(())
        });
    }
}

/// What an Envoy goes through while a callback fails.
type Scenario = (&'static str, fn() -> Envoy, fn(&Envoy) -> Vec<(Stream, May)>);

fn scenarios() -> Vec<Scenario> {
    vec![
        ("warm", warm, send_all),
        ("local keys", || Envoy::start(&local_config().to_string()), send_all),
        ("metadata", with_metadata, send_all),
        (
            "keys arrive",
            || cold().0,
            |envoy| {
                let sent = send_all(envoy);
                envoy.calls().iter().for_each(|call| envoy.answer(call.id, &keys()));
                sent
            },
        ),
        (
            "the fetch fails",
            || cold().0,
            |envoy| {
                let sent = send_all(envoy);
                envoy.calls().iter().for_each(|call| envoy.answer(call.id, &Answer::reset()));
                sent
            },
        ),
        (
            "clients hang up",
            || cold().0,
            |envoy| {
                let sent = send_all(envoy);
                sent.iter()
                    .step_by(2)
                    .filter(|(stream, _)| stream.is_held())
                    .for_each(|(stream, _)| stream.end());
                envoy.calls().iter().for_each(|call| envoy.answer(call.id, &keys()));
                sent
            },
        ),
    ]
}

/// One that writes metadata, reads that of others, and asks what the route says.
fn with_metadata() -> Envoy {
    let mut config = config();
    config["providers"]["corp"]["payload_in_metadata"] = json!("payload");
    config["providers"]["corp"]["failed_status_in_metadata"] = json!("failed");
    config["providers"]["corp"]["clear_route_cache"] = json!(true);
    let envoy = Envoy::start(&config.to_string());
    let call = envoy.next_call();
    envoy.answer(call.id, &keys());
    envoy
}

/// Where these fail, Envoy does not do what it was asked to do for a request: it hangs, whatever the module does.
const HANGS: [&str; 4] = [
    "http_send_response",
    "http_filter_continue_decoding",
    "http_filter_scheduler_commit",
    "http_filter_config_scheduler_commit",
];

/// One case after another, in several threads: most of them wait for the next try of a fetch.
fn each(cases: Vec<(Scenario, &'static str, Fault, usize, usize)>) {
    let cases = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let case = cases.lock().expect("no panic").pop();
                    let Some(((name, start, act), callback, fault, after, times)) = case else { return };
                    let name = format!("{name}: {callback} number {after}, {times} times {fault:?}");
                    let envoy = start();
                    envoy.fail(callback, fault, after, times);
                    let sent = act(&envoy);
                    check(&name, &sent);
                    check_recovery(&name, &envoy, &sent, HANGS.contains(&callback));
                    check(&name, &sent);
                }
            });
        }
    });
    assert!(logged("a defect").is_empty(), "{:#?}", logged("a defect"));
}

/// How often each callback is called in a scenario.
fn counts((_, start, act): Scenario) -> Vec<(&'static str, usize)> {
    let envoy = start();
    envoy.take_counts();
    check("nothing fails", &act(&envoy));
    envoy.pump();
    envoy.take_counts().into_iter().collect()
}

#[test]
fn a_callback_that_fails_once_lets_nobody_in() {
    let mut cases = Vec::new();
    for scenario in scenarios() {
        let counts = counts(scenario);
        assert!(counts.len() > 8, "{}: {counts:?}", scenario.0);
        for (callback, count) in counts {
            // The first few and the last: what lies between is the same call for the next request.
            for after in (0..count).filter(|at| *at < 6 || at + 1 == count) {
                cases.extend(FAULTS.map(|fault| (scenario, callback, fault, after, 1)));
            }
        }
    }
    each(cases);
}

#[test]
fn a_callback_that_always_fails_lets_nobody_in() {
    let mut cases = Vec::new();
    for scenario in scenarios() {
        for (callback, _) in counts(scenario) {
            cases.extend(FAULTS.map(|fault| (scenario, callback, fault, 0, usize::MAX)));
        }
    }
    each(cases);
}
