//! What a request costs: host calls are counted, because each is a way out of the VM and back.

use std::time::Duration;

use portcullis::host::exports;
use serde_json::json;

use crate::fake_host::{Request, Vm};
use crate::fixtures::{config, local_config, orders, token, warm, with};

/// The host calls of one request after another like it, without those that end the stream.
fn host_calls(vm: &Vm, request: impl Fn() -> Request) -> Vec<&'static str> {
    vm.request(request());
    vm.forget_host_calls();
    vm.request(request());
    vm.host_calls()
}

#[test]
fn a_request_makes_few_host_calls() {
    let vm = warm();
    let good = token().sign();
    // Headers and time are read once, and whether the route has rules of its own is asked once, a call without bytes;
    // a header is removed or written, a filter state object of a refusal set, with one call each. A refusal of which the
    // audit tells asks for the client's address.
    for (name, request, most, reads_expected) in [
        ("a public path", Box::new(|| Request::get("/healthz")) as Box<dyn Fn() -> Request>, 3, 3),
        ("a good token", Box::new(move || orders(&good)), 7, 3),
        ("no token", Box::new(|| Request::get("/orders/7")), 10, 4),
        ("a bad token", Box::new(|| orders("x")), 10, 4),
    ] {
        let calls = host_calls(&vm, request);
        assert!(calls.len() <= most, "{name}: {} host calls: {calls:?}", calls.len());
        let reads = calls.iter().filter(|call| call.starts_with("proxy_get_")).count();
        assert_eq!(reads, reads_expected, "{name}: {calls:?}");
    }
}

#[test]
fn filter_state_of_what_passes_costs_a_host_call_for_each_entry_that_is_named() {
    let good = token().sign();
    for (selection, calls) in [
        (None, 0),
        (Some(json!([])), 0),
        (Some(json!(["rule"])), 1),
        (Some(json!(["rule", "scopes", "reason"])), 2),
        (Some(json!(["decision", "reason", "rule", "provider", "subject", "scopes"])), 5),
    ] {
        let vm = Vm::start(match &selection {
            Some(selection) => with(local_config(), "/filter_state", selection.clone()),
            None => local_config(),
        });
        vm.tick();
        let made = host_calls(&vm, || orders(&good));
        let written = made.iter().filter(|call| **call == "proxy_set_property").count();
        assert_eq!(written, calls, "{selection:?}: {made:?}");
        assert_eq!(made.len(), 7 + calls, "{selection:?}: {made:?}");
    }
}

#[test]
fn an_answer_costs_one_host_call_and_none_where_no_rules_stand_on_routes() {
    for (route_rules, most) in [(true, 1), (false, 0)] {
        let vm = Vm::start(with(local_config(), "/route_rules", json!(route_rules)));
        let good = token().sign();
        let stream = vm.request(orders(&good));
        vm.forget_host_calls();
        stream.finish();
        assert_eq!(vm.host_calls().len(), most, "{:?}", vm.host_calls());
        // What a body or an upload has in parts costs none at all.
        let stream = vm.request(Request::new("POST", "/public/x").body(&[b'x'; 100_000]));
        vm.forget_host_calls();
        let id = stream.id();
        let goes_on = vm.as_guest(id, move || exports::portcullis_on_request_body(id, 16_384, false));
        assert_eq!((goes_on, vm.host_calls().len()), (0, 0));
    }
}

#[test]
fn a_plugin_with_nothing_to_do_is_rarely_woken() {
    let vm = warm();
    vm.advance(Duration::from_secs(15)); // by then every gauge is known to the host
    vm.forget_host_calls();
    vm.advance(Duration::from_secs(60));
    let calls = vm.host_calls();
    // Each of four ticks a second reads the time and the shared state, and every ten seconds there are four gauges of the one
    // provider.
    assert!(
        calls.len() <= 60 * 4 * 2 + 7 * 4 + 8,
        "{} host calls in a minute of idleness: {calls:?}",
        calls.len()
    );
    assert_eq!(vm.pending_calls(), []);

    // While a request waits it may hurry, but not busily.
    let vm = Vm::start(config());
    let _waiting = vm.request(orders(&token().sign()));
    vm.forget_host_calls();
    vm.advance(Duration::from_secs(1));
    let calls = vm.host_calls();
    assert!(calls.len() <= 300, "{} host calls in a second", calls.len());
}

/// How often the plugin is woken within a minute.
fn ticks(vm: &Vm) -> usize {
    vm.forget_host_calls();
    vm.advance(Duration::from_secs(60));
    // Each reads the time first, and nothing else does that while no request comes.
    vm.host_calls().iter().filter(|call| **call == "proxy_get_current_time_nanoseconds").count()
}

#[test]
fn a_plugin_that_fetches_nothing_is_woken_for_what_it_counted_alone() {
    let vm = Vm::start(local_config());
    assert!(ticks(&vm) <= 1, "after the start");
    assert_eq!(ticks(&vm), 0);
    let good = token().sign();
    for _ in 0..3 {
        vm.request(orders(&good)).finish();
    }
    let counted = || -> u64 {
        let world = vm.world();
        let stats = world.lock();
        let requests = stats.stats.iter().filter(|(name, _)| name.starts_with("portcullis.requests"));
        requests.map(|(_, stat)| stat.value).sum()
    };
    assert_eq!(counted(), 0);
    vm.advance(Duration::from_secs(1));
    assert_eq!(counted(), 3, "within a second");
    assert!(ticks(&vm) <= 2);
    assert_eq!(ticks(&vm), 0);
}

#[test]
fn a_plugin_that_fetches_keys_is_woken_four_times_a_second() {
    let vm = warm();
    vm.advance(Duration::from_secs(15));
    let ticks = ticks(&vm);
    assert!((238..=242).contains(&ticks), "{ticks} ticks in a minute");
}
