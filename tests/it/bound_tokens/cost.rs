//! What a proof costs Envoy, beside a new token: one more signature and two looks at what came.

use std::time::Duration;

use harness::wait::SOON;
use harness::{Connection, Envoy, Request, Upstream, Wasm};
use serde_json::json;

use super::{Client, request, with_proofs};
use crate::common::{self, config, corp};

const COUNT: usize = 800;

/// Envoy's processor time for these requests, each of which passes.
fn time(envoy: &Envoy, requests: &[Request]) -> Duration {
    let mut connection = Connection::open(envoy.addr()).expect("a connection");
    let before = envoy.cpu_time();
    for request in requests {
        let response = connection.send(request);
        assert_eq!(response.status, 200, "{}", response.text());
    }
    envoy.cpu_time() - before
}

/// A request with a known token and a new proof costs little more than one with a new token of the same algorithm, by
/// processor time. The margin is for a busy machine.
#[test]
fn a_new_proof_costs_about_what_a_new_token_does() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .concurrency(1)
        .filter(Wasm::portcullis(config(with_proofs(&idp, json!({})), rules)))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new("client");
    let bound = client.token(&idp, json!({}));
    envoy.wait_ready(SOON);
    let mut ratios = Vec::new();
    let cheap = (0..4).any(|round| {
        let tokens: Vec<Request> = (0..COUNT)
            .map(|number| {
                let mint = idp.mint().alg(harness::Alg::ES256).claim("jti", format!("{round}-{number}"));
                Request::get("/orders").host("api.example").bearer(&mint.sign())
            })
            .collect();
        let proofs: Vec<Request> =
            (0..COUNT).map(|_| request("/orders", &bound, &client.proof("/orders", &bound))).collect();
        let (of_tokens, of_proofs) = (time(&envoy, &tokens), time(&envoy, &proofs));
        let ratio = of_proofs.as_secs_f64() / of_tokens.as_secs_f64();
        println!("{of_proofs:?} for {COUNT} proofs, {of_tokens:?} for as many tokens: {ratio:.2}");
        ratios.push(ratio);
        ratio <= 1.3
    });
    assert!(cheap, "{ratios:.2?} times a new token's processor time");
    common::assert_sound(&envoy);
}
