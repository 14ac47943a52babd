//! A virtual machine that traps is made anew, and serves again without asking the identity provider for anything. The
//! filter does not trap by itself: these tests load a second module, which does so when a request says it should.

use crate::common;

use std::fs;
use std::path::PathBuf;

use common::{Gateway, SOON, config, corp, provider};
use harness::envoy::{PluginConfig, portcullis_module};
use harness::{Envoy, Request, Upstream, Wasm, eventually, workspace};
use serde_json::json;

const TRIGGER: &str = "x-portcullis-trap-for-tests";

fn trap_module() -> PathBuf {
    let module = workspace().join("dist/test/portcullis-trap.wasm");
    assert!(module.is_file(), "{} is missing: make wasm-for-tests builds it", module.display());
    module
}

#[test]
fn after_a_trap_a_new_vm_serves_again_without_a_fetch() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let config = config(provider(&idp), json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let wasm = Wasm::new(&trap_module(), PluginConfig::Json(config))
        .field("reload_config", json!({ "backoff": { "base_interval": "0.1s", "max_interval": "0.2s" } }));
    let envoy = Envoy::builder().upstream(&upstream).idp("idp", &idp).filter(wasm).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let good = Request::get("/orders").bearer(&token);
    assert_eq!(good.send(envoy.addr()).status, 200);
    assert_eq!(idp.fetches(), 1);

    // Whoever needs a fetch from here on does not get one.
    idp.go_away();
    for trap in 1..=3 {
        let response = Request::get("/trap").bearer(&token).header(TRIGGER, "1").send(envoy.addr());
        assert_eq!(response.status, 503, "it does not pass: {}", response.text());
        eventually(&format!("it serves again after trap {trap}"), SOON, || {
            let response = good.send(envoy.addr());
            assert!(matches!(response.status, 200 | 503), "{response:?}");
            assert_ne!(response.reason().as_deref(), Some("keys_unavailable"), "it has its keys at once");
            (response.status == 200).then_some(())
        });
        let forged = Request::get("/orders").bearer(&harness::idp::flip_bit(&token)).send(envoy.addr());
        assert_eq!(forged.status, 401, "{}", forged.text());
    }
    let reloads = envoy.stats_matching(r"vm_reload_success");
    assert_eq!(reloads.values().sum::<u64>(), 3, "{reloads:?}");
    assert_eq!(idp.fetches(), 1);
    assert!(upstream.requests().iter().all(|request| request.path() == "/orders"));
}

#[test]
fn the_filter_itself_has_no_such_trigger() {
    let holds = |module: &PathBuf| {
        let bytes = fs::read(module).unwrap_or_else(|error| panic!("{}: {error}", module.display()));
        bytes.windows(TRIGGER.len()).any(|window| window == TRIGGER.as_bytes())
    };
    assert!(holds(&trap_module()), "the other one has it");
    assert!(!holds(&portcullis_module()));
    let gateway = Gateway::start(|idp| {
        config(provider(idp), json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
    });
    let token = gateway.idp.token(json!({}));
    for _ in 0..3 {
        let response = Request::get("/orders").bearer(&token).header(TRIGGER, "1").send(gateway.addr());
        assert_eq!(response.status, 200, "{}", response.text());
    }
    gateway.assert_sound();
}
