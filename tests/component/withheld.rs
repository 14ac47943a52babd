//! Hosts that offer less: each host call withheld from the start, alone and with others. The answers are right, or a
//! refusal that the log explains, once; and nothing is open.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_host::{Fault, Guest, Level, Outcome, Request, Status, Vm, World};
use crate::fixtures::{config, foreign_key, keys_answer, local_config, orders, token, with};

/// What the hosts say that are known to lack calls.
const MISSING: [Status; 2] = [Status::INTERNAL_FAILURE, Status::UNIMPLEMENTED];

/// The answers to a request to a public path, one with a good token, one without, and one with a forged one.
type Answers = [&'static str; 4];

const RIGHT: Answers = ["200", "200", "401", "401"];
const NONE: Answers = ["503", "503", "503", "503"];

/// A host call, the answers without it where the keys are in the configuration, those where they are fetched once there
/// was time to, and whether the log names the call in either case.
const CALLS: [(&str, Answers, Answers, [bool; 2]); 20] = [
    ("proxy_log", RIGHT, RIGHT, [false, false]),
    ("proxy_get_current_time_nanoseconds", NONE, NONE, [true, true]),
    ("proxy_get_header_map_pairs", NONE, NONE, [true, true]),
    ("proxy_add_header_map_value", WITHOUT_CHANGE, WITHOUT_CHANGE, [true, true]),
    ("proxy_remove_header_map_value", WITHOUT_CHANGE, WITHOUT_CHANGE, [true, true]),
    ("proxy_replace_header_map_value", RIGHT, RIGHT, [false, false]),
    ("proxy_get_property", ["403", "403", "403", "403"], ["403", "403", "403", "403"], [true, true]),
    ("proxy_set_property", RIGHT, RIGHT, [true, true]),
    ("proxy_set_tick_period_milliseconds", RIGHT, RIGHT, [true, true]),
    ("proxy_get_shared_data", RIGHT, RIGHT, [true, true]),
    ("proxy_set_shared_data", RIGHT, RIGHT, [true, true]),
    (
        "proxy_send_local_response",
        ["200", "200", "reset", "reset"],
        ["200", "200", "reset", "reset"],
        [true, true],
    ),
    ("proxy_close_stream", RIGHT, RIGHT, [false, false]),
    ("proxy_continue_stream", RIGHT, RIGHT, [false, true]),
    ("proxy_set_effective_context", RIGHT, RIGHT, [true, true]),
    ("proxy_http_call", RIGHT, ["200", "503", "401", "503"], [false, true]),
    ("proxy_call_foreign_function", RIGHT, RIGHT, [true, true]),
    ("proxy_define_metric", RIGHT, RIGHT, [true, true]),
    ("proxy_increment_metric", RIGHT, RIGHT, [true, true]),
    ("proxy_record_metric", RIGHT, RIGHT, [true, true]),
];

/// The token is taken away and a header written, of every request that passes with one.
const WITHOUT_CHANGE: Answers = ["200", "503", "401", "401"];

fn without_state(config: Value) -> Value {
    with(config, "/filter_state", json!([]))
}

/// A VM of a host that never had these calls.
fn start(calls: &[&'static str], status: Status, config: Value) -> Vm {
    let world = World::new();
    for function in calls {
        world.fail_new_vms(Fault { function, status, after: 0, times: None });
    }
    Vm::start_in(&world, config)
}

fn answer_calls(vm: &Vm) {
    for call in vm.pending_calls() {
        vm.respond(&call, keys_answer());
    }
}

/// What becomes of a request, when the provider answers and time goes by.
fn answer(vm: &Vm, request: Request) -> String {
    let stream = vm.request(request);
    for _ in 0..70 {
        match stream.outcome() {
            Outcome::Continued(_) => return "200".to_owned(),
            Outcome::Replied(reply) => return reply.status.to_string(),
            Outcome::Reset => return "reset".to_owned(),
            Outcome::Waiting | Outcome::HungUp => {}
        }
        answer_calls(vm);
        if stream.outcome().is_waiting() {
            vm.advance(Duration::from_secs(1));
        }
    }
    "waits for ever".to_owned()
}

fn answers(vm: &Vm) -> Vec<String> {
    let now = vm.world().now();
    let good = token().claims(json!({ "iat": now, "exp": now + 300 })).sign();
    let forged =
        token().claims(json!({ "iat": now, "exp": now + 300 })).key(&foreign_key()).kid("current").sign();
    [Request::get("/public/a"), orders(&good), Request::get("/orders/7"), orders(&forged)]
        .map(|request| answer(vm, request.header("x-request-start", "1")))
        .to_vec()
}

/// Every answer is the right one or a refusal, from the first request on; and soon it is the expected one.
#[track_caller]
fn check(what: &str, vm: &Vm, expected: &Answers) {
    let mut last = Vec::new();
    for _ in 0..8 {
        last = answers(vm);
        for (answer, right) in last.iter().zip(RIGHT) {
            let refused = ["401", "403", "503", "reset"].contains(&answer.as_str());
            assert!(answer == right || refused, "{what}: {last:?}");
        }
        if last == expected {
            return;
        }
        vm.advance(Duration::from_secs(1));
        answer_calls(vm);
    }
    assert_eq!(last, expected, "{what}: {:#?}", vm.logs());
}

/// The lines of the log that name a call.
fn naming(vm: &Vm, call: &str) -> Vec<String> {
    let lines = vm.logged(Level::Warn).into_iter();
    lines.filter(|line| line.contains(call)).collect()
}

#[test]
fn without_one_call_every_answer_is_right_or_a_refusal_that_the_log_explains() {
    for (call, inline, remote, named) in CALLS {
        for status in MISSING {
            let configs = [(without_state(local_config()), inline), (without_state(config()), remote)];
            for ((config, expected), named) in configs.into_iter().zip(named) {
                let keys =
                    if config.pointer("/providers/corp/local_jwks").is_some() { "inline" } else { "remote" };
                let what = format!("{call} says {status:?}, {keys} keys");
                let vm = start(&[call], status, config);
                check(&what, &vm, &expected);
                vm.advance(Duration::from_secs(30));
                check(&what, &vm, &expected);
                let lines = naming(&vm, call);
                assert_eq!(lines.len(), usize::from(named), "{what}: {lines:#?}");
            }
        }
    }
}

#[test]
fn with_keys_in_the_configuration_next_to_nothing_is_needed() {
    const NEEDED: [&str; 7] = [
        "proxy_get_buffer_bytes",
        "proxy_get_current_time_nanoseconds",
        "proxy_get_header_map_pairs",
        "proxy_add_header_map_value",
        "proxy_remove_header_map_value",
        "proxy_send_local_response",
        "proxy_log",
    ];
    let withheld: Vec<&str> =
        CALLS.iter().map(|(call, ..)| *call).filter(|call| !NEEDED.contains(call)).collect();
    assert_eq!(withheld.len(), 14, "{withheld:?}");
    for status in MISSING {
        let config = with(without_state(local_config()), "/route_rules", json!(false));
        let vm = start(&withheld, status, config);
        check("next to nothing", &vm, &RIGHT);
        // Each of those that a request or the configuration asks for is named once, however much time goes by.
        vm.advance(Duration::from_secs(30));
        check("next to nothing", &vm, &RIGHT);
        for (call, .., [named, _]) in CALLS.iter().filter(|(call, ..)| withheld.contains(call)) {
            // Without the first, the other two are not asked for.
            let asked = !["proxy_increment_metric", "proxy_record_metric"].contains(call);
            let lines = naming(&vm, call);
            assert_eq!(lines.len(), usize::from(*named && asked), "{call}: {lines:#?}");
        }
    }
}

#[test]
fn without_any_call_nothing_begins_and_nothing_passes() {
    let world = World::new();
    for (call, ..) in CALLS {
        let fault = Fault { function: call, status: Status::UNIMPLEMENTED, after: 0, times: None };
        world.fail_new_vms(fault);
    }
    let vm = Vm::start_in(&world, local_config());
    let stream = vm.request(orders(&token().sign()));
    assert!(!stream.outcome().is_continued(), "{:?}", stream.outcome());
    let fault =
        Fault { function: "proxy_get_buffer_bytes", status: Status::UNIMPLEMENTED, after: 0, times: None };
    let world = World::new();
    world.fail_new_vms(fault);
    let refused = Vm::try_start_in(&world, local_config()).err().expect("no configuration, no start");
    assert!(refused.errors.iter().any(|line| line.contains("proxy_get_buffer_bytes")), "{refused:#?}");
}

#[test]
fn routes_are_not_asked_where_the_configuration_says_so() {
    for keys in [local_config(), config()] {
        let vm = start(
            &["proxy_get_property"],
            Status::INTERNAL_FAILURE,
            with(without_state(keys), "/route_rules", json!(false)),
        );
        check("route_rules: false", &vm, &RIGHT);
        vm.forget_host_calls();
        answers(&vm);
        assert!(!vm.host_calls().contains(&"proxy_get_property"), "{:?}", vm.host_calls());
        // It is no error then.
        assert!(vm.errors().is_empty(), "{:#?}", vm.errors());
    }
    let vm = start(&["proxy_get_property"], Status::INTERNAL_FAILURE, without_state(local_config()));
    assert!(vm.errors().iter().any(|line| line.contains("route_rules")), "{:#?}", vm.errors());
}

#[test]
fn the_way_that_a_token_came_is_not_taken_for_tls() {
    let config = with(without_state(local_config()), "/route_rules", json!(false));
    let config = with(config, "/require_tls", json!("connection"));
    let vm = start(&["proxy_get_property"], Status::INTERNAL_FAILURE, config);
    let request = orders(&token().sign()).property("connection.tls_version", "TLSv1.3");
    assert_eq!(vm.request(request).outcome().replied().status, 403);
}

/// What a filter behind may rely on is written, or the request does not pass.
#[test]
fn filter_state_that_is_asked_for_and_cannot_be_written_refuses() {
    let named = with(local_config(), "/filter_state", json!(["rule"]));
    let vm = start(&["proxy_set_property"], Status::INTERNAL_FAILURE, named);
    assert_eq!(answers(&vm), ["503", "503", "401", "401"]);
    let lines = naming(&vm, "proxy_set_property");
    assert!(lines.len() == 1 && lines[0].contains("\"filter_state\": []"), "{lines:#?}");
}

extern "C" fn nothing(_: u32) {}

/// `proxy_on_tick` withheld: the host takes the period and never calls.
#[test]
fn a_timer_that_is_never_due_is_made_up_for_and_named() {
    const FILTER: Guest = Guest { tick: nothing, ..Guest::PORTCULLIS };
    for config in [local_config(), config()] {
        let vm = Vm::with_guest(without_state(config), FILTER);
        assert_eq!(answers(&vm), RIGHT);
        vm.advance(Duration::from_secs(2));
        for _ in 0..3 {
            assert_eq!(answers(&vm), RIGHT);
        }
        assert_eq!(naming(&vm, "proxy_on_tick").len(), 1, "{:#?}", vm.logs());
        assert!(vm.logs().iter().any(|(_, line)| line.contains("audit {")), "{:#?}", vm.logs());
        assert!(vm.world().stat("portcullis.requests.decision.allow.provider.corp.reason.none") > 0);
    }
}

#[test]
fn a_timer_that_is_late_is_not_named() {
    let vm = Vm::start(without_state(local_config()));
    assert_eq!(answers(&vm), RIGHT);
    vm.advance(Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(answers(&vm), RIGHT);
        vm.advance(Duration::from_secs(60));
    }
    assert_eq!(naming(&vm, "proxy_on_tick").len(), 0, "{:#?}", vm.logs());
}

/// Without a timer, keys are fetched again when a request comes after their time.
#[test]
fn without_a_timer_keys_are_refreshed_by_requests() {
    let vm = start(&["proxy_set_tick_period_milliseconds"], Status::UNIMPLEMENTED, without_state(config()));
    check("cold", &vm, &RIGHT);
    let fetched = vm.sent_calls().len();
    vm.advance(Duration::from_secs(650));
    check("after a cache_duration", &vm, &RIGHT);
    assert!(vm.sent_calls().len() > fetched, "{:#?}", vm.logs());
    // A provider that is away.
    vm.world().set_cluster("idp", crate::fake_host::Cluster::Unhealthy);
    vm.advance(Duration::from_secs(6_000));
    assert_eq!(answers(&vm), ["200", "503", "401", "503"]);
    vm.world().set_cluster("idp", crate::fake_host::Cluster::Healthy);
    vm.advance(Duration::from_secs(60));
    check("it is back", &vm, &RIGHT);
}

/// Two plugins of a VM whose names the host does not tell never serve by each other's configuration.
#[test]
fn a_plugin_without_a_name_keeps_no_configuration() {
    let config = with(without_state(local_config()), "/route_rules", json!(false));
    let mut vm = start(&["proxy_get_property"], Status::INTERNAL_FAILURE, config);
    check("the first", &vm, &RIGHT);
    // It cannot be known who answers for a refused configuration: the filter does.
    vm.update("{}").expect("accepted, and nothing passes");
    assert_eq!(answers(&vm), NONE);
    assert!(vm.errors().iter().any(|line| line.contains("there is no earlier one")), "{:#?}", vm.errors());
}
