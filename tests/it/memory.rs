//! What a request leaves behind in a real Envoy: nothing.
//!
//! The module exports only the callbacks that the filter answers (`scripts/check-imports` has the list). Were the one
//! that ends a stream among those that are missing, every request would stay in memory for ever.

use std::fs;

use harness::bench::Load;
use harness::{Alg, Envoy, Key, Listener, Request, Wasm};
use serde_json::json;

/// Memory of the process, in kilobytes.
fn resident(envoy: &Envoy) -> usize {
    let status =
        fs::read_to_string(format!("/proc/{}/status", envoy.pid())).expect("the status of a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line with VmRSS");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number of kilobytes")
}

#[test]
fn a_stream_that_ended_leaves_nothing_behind() {
    // Half of what one context takes, with its place in the table of contexts.
    const CONTEXT: usize = 28;
    const REQUESTS: usize = 40_000;
    let key = Key::cached(Alg::ES256, "key");
    let config = json!({
        "providers": { "corp": {
            "issuer": "https://idp.example/",
            "local_jwks": { "inline": harness::idp::jwks([&key]) },
        } },
        "rules": [
            { "match": { "prefix": "/public" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } },
        ],
    });
    let listener = |_| {
        Listener::new("main")
            .without_access_log()
            .routes(json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]))
            .filter(Wasm::portcullis(config))
    };
    let envoy = Envoy::builder()
        .main(listener)
        .concurrency(1)
        .log_level("warn", "")
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = harness::idp::TokenBuilder::new(&key, "https://idp.example/", "any").sign();
    let ways = [
        (Request::get("/public"), "200"),
        (Request::get("/orders").bearer(&token), "200"),
        (Request::get("/orders"), "401"),
    ];
    let drive = |count| {
        for (request, status) in &ways {
            let mut load = Load::open(envoy.addr(), 8, status).expect("connections");
            load.drive(&[request.to_bytes()], count).expect("an answer to each request");
        }
        resident(&envoy)
    };
    // Everything grows as far as it will.
    let before = drive(REQUESTS / 4);
    let grown = drive(REQUESTS).saturating_sub(before);
    let requests = REQUESTS * ways.len();
    assert!(grown < requests * CONTEXT / 1024, "{grown} KB more after {requests} requests");
}
