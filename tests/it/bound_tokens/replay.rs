//! What may come once comes once: on every worker, in parallel, after a virtual machine was made anew, and when the table
//! is full.

use std::path::PathBuf;

use harness::envoy::PluginConfig;
use harness::{Envoy, EnvoyBuilder, Idp, Request, Upstream, Wasm, burst, eventually, workspace};
use serde_json::{Value, json};

use super::{Client, ORIGIN, request, with_proofs};
use crate::common::{self, SOON, assert_sound, config, corp, with};

const WORKERS: u32 = 4;
const COPIES: usize = 64;

fn rules() -> Value {
    json!([
        { "match": { "prefix": "/once" }, "requires": corp(), "one_time": true },
        { "match": { "prefix": "/" }, "requires": corp() },
    ])
}

fn start(
    idp: &Idp,
    upstream: &Upstream,
    more: Value,
    change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
) -> Envoy {
    let config = with(config(with_proofs(idp, json!({ "replay_entries": 2000 })), rules()), more);
    let builder =
        Envoy::builder().shared().upstream(upstream).concurrency(WORKERS).filter(Wasm::portcullis(config));
    change(builder).start().unwrap_or_else(|error| panic!("{error}"))
}

/// How many of these copies passed; the others were refused for this reason.
fn passed(envoy: &Envoy, sent: &Request, reason: &str) -> usize {
    let answers = burst(envoy.addr(), COPIES, |_| sent.clone());
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    for answer in &refused {
        assert_eq!((answer.status, answer.reason().as_deref()), (401, Some(reason)), "{answer:?}");
    }
    COPIES - refused.len()
}

#[test]
fn of_many_copies_of_a_proof_one_passes() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let envoy = start(&idp, &upstream, json!({}), |builder| builder);
    let client = Client::new("client");
    let token = client.token(&idp, json!({}));
    for round in 0..10 {
        let path = format!("/orders/{round}");
        let sent = request(&path, &token, &client.proof(&path, &token));
        assert_eq!(passed(&envoy, &sent, "proof_replayed"), 1, "round {round}");
        assert_eq!(upstream.take().len(), 1, "round {round}");
        assert_eq!(passed(&envoy, &sent, "proof_replayed"), 0, "round {round}, again");
    }
    assert_sound(&envoy);
}

#[test]
fn of_many_copies_of_a_one_time_token_one_passes() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let envoy = start(&idp, &upstream, json!({ "one_time": { "max_lifetime": "120s" } }), |builder| builder);
    for round in 0..10 {
        let token = idp.mint().expires_in(100).claim("jti", format!("t{round}")).sign();
        let sent = Request::get("/once").bearer(&token);
        assert_eq!(passed(&envoy, &sent, "replayed"), 1, "round {round}");
        assert_eq!(upstream.take().len(), 1, "round {round}");
        assert_eq!(passed(&envoy, &sent, "replayed"), 0, "round {round}, again");
        // A rule that does not say so takes it all the same.
        assert_eq!(Request::get("/often").bearer(&token).send(envoy.addr()).status, 200);
        upstream.take();
    }
    let long = idp.mint().expires_in(200).sign();
    let response = Request::get("/once").bearer(&long).send(envoy.addr());
    common::assert_problem("a token that lives too long", &response, 401, "lifetime_exceeded");
    assert_sound(&envoy);
}

#[test]
fn a_virtual_machine_that_is_made_anew_knows_what_came() {
    let module: PathBuf = workspace().join("dist/test/portcullis-trap.wasm");
    assert!(module.is_file(), "{} is missing: make wasm-for-tests builds it", module.display());
    let (idp, upstream) = (common::idp(), Upstream::start());
    let config = config(with_proofs(&idp, json!({})), rules());
    let wasm = Wasm::new(&module, PluginConfig::Json(config))
        .field("reload_config", json!({ "backoff": { "base_interval": "0.1s", "max_interval": "0.2s" } }));
    let envoy = Envoy::builder().upstream(&upstream).concurrency(1).filter(wasm).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    let once = idp.mint().expires_in(200).sign();
    let proof = request("/orders", &bound, &client.proof("/orders", &bound));
    let token = Request::get("/once").bearer(&once);
    for sent in [&proof, &token] {
        assert_eq!(sent.send(envoy.addr()).status, 200);
    }
    let trap = Request::get("/trap").bearer(&once).header("x-portcullis-trap-for-tests", "1");
    assert_eq!(trap.send(envoy.addr()).status, 503);
    eventually("it serves again", SOON, || {
        let fresh = Request::get("/orders").bearer(&idp.token(json!({}))).send(envoy.addr());
        (fresh.status == 200).then_some(())
    });
    for (sent, reason) in [(&proof, "proof_replayed"), (&token, "replayed")] {
        common::assert_problem(reason, &sent.send(envoy.addr()), 401, reason);
    }
}

#[test]
fn a_full_table_refuses_and_says_when_to_come_again() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let provider = with_proofs(&idp, json!({ "replay_entries": 20 }));
    let envoy = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .concurrency(WORKERS)
        .filter(Wasm::portcullis(config(provider, rules())))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    for number in 0..30 {
        let sent = request("/orders", &bound, &client.proof("/orders", &bound));
        let response = sent.send(envoy.addr());
        if number < 20 {
            assert_eq!(response.status, 200, "{number}: {}", response.text());
        } else {
            common::assert_problem(&number.to_string(), &response, 503, "overloaded");
            common::retry_after(&response);
        }
    }
    assert_eq!(upstream.requests().len(), 20);
    // Tokens that are bound to nothing pass as ever.
    assert_eq!(Request::get("/orders").bearer(&idp.token(json!({}))).send(envoy.addr()).status, 200);
    assert_sound(&envoy);
}

#[test]
fn two_gates_of_one_proxy_do_not_take_each_others_proofs_for_their_own() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let gate = |instance: &str, provider: Value| {
        Wasm::portcullis(with(config(provider, rules()), json!({ "instance": instance })))
    };
    let forwarding = with(with_proofs(&idp, json!({})), json!({ "forward": true }));
    let envoy = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .filter(gate("outer", forwarding))
        .filter(gate("inner", with_proofs(&idp, json!({}))))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    let claims = client.claims("GET", &format!("{ORIGIN}/orders"), &bound);
    let sent = request("/orders", &bound, &client.sign(&client.header(), &claims));
    let response = sent.send(envoy.addr());
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(sent.send(envoy.addr()).status, 401);
    assert_sound(&envoy);
}

#[test]
fn where_workers_share_nothing_what_may_come_once_is_refused() {
    if crate::common::is_native() {
        // All threads of a process share one store.
        return;
    }
    let (idp, upstream) = (common::idp(), Upstream::start());
    for withheld in ["proxy_set_shared_data", "proxy_get_shared_data", "proxy_set_tick_period_milliseconds"] {
        let wasm = Wasm::portcullis(config(with_proofs(&idp, json!({})), rules()));
        let wasm = crate::withheld::withholding(wasm, &[withheld.to_owned()]);
        let envoy = Envoy::builder().shared().upstream(&upstream).filter(wasm).start();
        let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
        let client = Client::new("client");
        let bound = client.token(&idp, json!({}));
        let plain = idp.mint().expires_in(200).sign();
        let sent = request("/orders", &bound, &client.proof("/orders", &bound)).send(envoy.addr());
        common::assert_problem(withheld, &sent, 503, "overloaded");
        let once = Request::get("/once").bearer(&plain).send(envoy.addr());
        common::assert_problem(withheld, &once, 503, "overloaded");
        assert_eq!(Request::get("/orders").bearer(&plain).send(envoy.addr()).status, 200, "{withheld}");
        let said = envoy.log().lines().any(|line| line.contains("[error]") && line.contains("one_time"));
        assert!(said, "{withheld}: the log says what it means");
    }
}
