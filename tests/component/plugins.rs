//! More than one configuration: side by side in one VM, and one after the other.

use std::time::Duration;

use harness::idp::{self, Alg, Key, TokenBuilder};
use serde_json::{Value, json};

use crate::fake_host::{Outcome, Request, Response, Stream, Vm, World};
use crate::fixtures::{
    AUDIENCE, NOW, cold, config, fetch_keys, keys_answer, local_config, next_fetch, orders, the_fetch, token,
    warm, with,
};

/// Another tenant's provider: same names, other issuer, other keys, other cluster.
fn other_config() -> Value {
    let config = with(config(), "/providers/corp/issuer", json!("https://other.example/"));
    let config =
        with(config, "/providers/corp/remote_jwks/http_uri/uri", json!("https://other.example/keys"));
    with(
        config,
        "/providers/corp/claim_to_headers",
        json!([{ "header_name": "x-other", "claim_name": "sub" }]),
    )
}

fn other_key() -> Key {
    Key::cached(Alg::ES256, "other")
}

fn other_token() -> String {
    TokenBuilder::new(&other_key(), "https://other.example/", AUDIENCE)
        .claims(json!({ "iat": NOW, "exp": NOW + 300, "scope": "orders:read", "sub": "bob" }))
        .sign()
}

#[test]
fn two_plugins_in_one_vm_share_nothing() {
    let vm = Vm::start(config());
    let first = vm.root();
    let second = vm.add_plugin(other_config()).expect("accepted");
    vm.tick();
    let calls = vm.pending_calls();
    assert_eq!(calls.len(), 2, "each fetches its own keys");

    // Both hold requests; each is woken by its own fetch alone.
    let mine = vm.request_to(first, orders(&token().sign()));
    let theirs = vm.request_to(second, orders(&other_token()));
    let call_of = |root: u32| calls.iter().find(|call| call.root == root).expect("one call each");
    vm.respond(call_of(first), keys_answer());
    assert_eq!(mine.outcome().continued().values("x-user"), ["alice"]);
    assert!(theirs.outcome().is_waiting());
    vm.respond(call_of(second), Response::ok(idp::jwks([&other_key()]).to_string()));
    assert_eq!(theirs.outcome().continued().values("x-other"), ["bob"]);

    // A token of one is worth nothing at the other, before and after it was seen there.
    for _ in 0..2 {
        for (root, foreign) in [(first, other_token()), (second, token().sign())] {
            let reply = vm.request_to(root, orders(&foreign)).outcome().replied();
            assert_eq!(reply.details, "portcullis_issuer_unknown");
        }
        assert!(vm.request_to(first, orders(&token().sign())).outcome().is_continued());
        assert!(vm.request_to(second, orders(&other_token())).outcome().is_continued());
    }
    let spoofed = Request::get("/healthz").header("x-other", "kept").header("x-user", "mallory");
    let forwarded = vm.request_to(first, spoofed).outcome().continued();
    assert!(forwarded.has("x-other") && !forwarded.has("x-user"), "each removes its own headers");
}

#[test]
fn a_refused_plugin_leaves_its_neighbour_alone() {
    let vm = warm();
    let refused = vm.add_plugin(json!({ "providers": [] })).expect_err("no configuration");
    assert!(!refused.errors.is_empty());
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn the_same_token_is_judged_by_each_plugins_own_rules() {
    let vm = Vm::start(local_config());
    let strict = with(local_config(), "/rules/2/authorize/scopes/all_of", json!(["orders:admin"]));
    let strict = vm.add_plugin(strict).expect("accepted");
    let good = token().sign();
    for _ in 0..3 {
        assert!(vm.request(orders(&good)).outcome().is_continued());
        assert_eq!(
            vm.request_to(strict, orders(&good)).outcome().replied().details,
            "portcullis_scope_insufficient"
        );
    }
}

fn waiting(vm: &Vm) -> Vec<Stream> {
    let streams: Vec<Stream> = (0..5).map(|_| vm.request(orders(&token().sign()))).collect();
    assert!(streams.iter().all(|stream| stream.outcome().is_waiting()));
    streams
}

#[test]
fn a_configuration_update_leaves_nobody_waiting() {
    // Envoy's way: the old plugin lives on until its last request has gone.
    let (mut vm, call) = cold();
    let streams = waiting(&vm);
    vm.update(local_config()).expect("accepted");
    assert!(vm.request(orders(&token().sign())).outcome().is_continued(), "the new one needs no fetch");
    vm.respond(&call, keys_answer());
    for stream in &streams {
        assert!(stream.outcome().is_continued());
        stream.finish();
    }
    assert_eq!(vm.roots(), 1, "and then it is gone");

    // Without an answer they wait no longer than without an update.
    let (mut vm, _call) = cold();
    let streams = waiting(&vm);
    vm.update(local_config()).expect("accepted");
    vm.advance(Duration::from_secs(60));
    for stream in &streams {
        assert_eq!(stream.outcome().replied().status, 503);
    }
}

#[test]
fn a_second_on_configure_leaves_nobody_waiting() {
    for (name, update) in
        [("other rules", with(config(), "/unmatched", json!("allow"))), ("local keys", local_config())]
    {
        let (vm, call) = cold();
        let streams = waiting(&vm);
        vm.reconfigure(update).unwrap_or_else(|refused| panic!("{name}: {refused:?}"));
        // The answer to the question of the old configuration may still come.
        vm.respond(&call, keys_answer());
        // Each question is answered before its time is up, whenever it comes.
        for _ in 0..60 {
            vm.advance(Duration::from_secs(1));
            for call in vm.pending_calls() {
                vm.respond(&call, keys_answer());
            }
        }
        for stream in &streams {
            assert!(!stream.outcome().is_waiting(), "{name}");
        }
        let outcome = vm.request(orders(&token().claim("exp", vm.world().now() + 60).sign())).outcome();
        assert!(outcome.is_continued(), "{name}: {outcome:?}");
    }
}

#[test]
fn a_refused_update_changes_nothing() {
    let (vm, call) = cold();
    let streams = waiting(&vm);
    vm.reconfigure("{").expect_err("broken");
    vm.respond(&call, keys_answer());
    assert!(streams.iter().all(|stream| stream.outcome().is_continued()));

    let mut vm = warm();
    vm.update(json!({})).expect_err("broken");
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_retired_plugin_goes_with_its_requests_and_its_callouts() {
    let (mut vm, call) = cold();
    let streams = waiting(&vm);
    vm.update(other_config()).expect("accepted");
    for stream in &streams {
        stream.disconnect();
        assert_eq!(stream.outcome(), Outcome::HungUp);
    }
    assert_eq!(vm.roots(), 1);
    assert!(!vm.pending_calls().contains(&call));
    let call = the_fetch(&vm);
    vm.respond(&call, Response::ok(idp::jwks([&other_key()]).to_string()));
    assert!(vm.request(orders(&other_token())).outcome().is_continued());
}

#[test]
fn the_canary_that_envoy_kills_takes_nothing_along() {
    let world = World::new();
    // Envoy starts the plugin once to see whether it takes its configuration, and drops it.
    let mut canary = Vm::start_in(&world, config());
    canary.kill();
    let vm = Vm::start_in(&world, config());
    let call = next_fetch(&vm, Duration::from_secs(2));
    vm.respond(&call, keys_answer());
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_vm_that_is_started_again_serves_again_with_the_keys_of_the_one_before() {
    let world = World::new();
    for life in 0..3 {
        let mut vm = Vm::start_in(&world, config());
        if life == 0 {
            fetch_keys(&vm);
        }
        assert!(vm.pending_calls().is_empty());
        assert!(vm.request(orders(&token().sign())).outcome().is_continued());
        vm.kill();
    }
}
