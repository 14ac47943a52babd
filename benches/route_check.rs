//! What Envoy pays for looking at the route again when an answer comes: the filter as it is, beside the same module whose
//! export for answers has another name, so that Envoy does not call it. One worker, a known token, rounds in turns;
//! processor time of the worker.
//!
//! `make bench-routes`; needs the filter and an Envoy.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use harness::bench::{Estimate, Load, Pinned, Processor};
use harness::envoy::{PluginConfig, portcullis_module};
use harness::idp::jwks;
use harness::{Alg, Envoy, Key, Listener, Request, TokenBuilder, Upstream, Wasm};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example/";
const ROUNDS: usize = 60;
const REQUESTS: usize = 500;
const EXPORT: &[u8] = b"proxy_on_response_headers";
const OTHER: &[u8] = b"proxy_on_response_headerz";

/// The setups: a name, what the configuration says of rules on routes, and whether answers are looked at.
const SETUPS: [(&str, bool, bool); 4] = [
    ("routes-unseen", true, false),
    ("routes-seen", true, true),
    ("no-routes-unseen", false, false),
    ("no-routes-seen", false, true),
];

/// The module whose export for answers has another name: a file that goes with this value.
struct Unseen(PathBuf);

impl Unseen {
    fn make() -> Self {
        let mut bytes = fs::read(portcullis_module()).expect("the filter is built");
        let places: Vec<usize> = bytes
            .windows(EXPORT.len())
            .enumerate()
            .filter(|(_, window)| *window == EXPORT)
            .map(|(at, _)| at)
            .collect();
        let [at] = places[..] else { panic!("the export is there {} times", places.len()) };
        bytes[at..at + EXPORT.len()].copy_from_slice(OTHER);
        let path = env::temp_dir().join(format!("portcullis-unseen-{}.wasm", process::id()));
        fs::write(&path, bytes).expect("a file in the temporary folder");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn config(key: &Key, route_rules: bool) -> Value {
    json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "local_jwks": { "inline_string": jwks([key]).to_string() },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        "route_rules": route_rules,
    })
}

fn main() {
    let (key, upstream, unseen) = (Key::cached(Alg::ES256, "k"), Upstream::start(), Unseen::make());
    let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }]);
    let mut builder = Envoy::builder().concurrency(1).log_level("warn", "").upstream(&upstream);
    for (name, route_rules, seen) in SETUPS {
        let module = if seen { portcullis_module() } else { unseen.path().to_owned() };
        let filter = Wasm::new(&module, PluginConfig::Json(config(&key, route_rules))).vm_id(name);
        builder =
            builder.listener(Listener::new(name).without_access_log().routes(routes.clone()).filter(filter));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let processor = Processor::of(envoy.pid()).expect("accounts of the worker");
    let _pinned = Pinned::new(&[&processor]).expect("a processor for the worker");
    let token = TokenBuilder::new(&key, ISSUER, "orders").expires_in(3600).sign();
    let requests = [Request::get("/orders").bearer(&token).to_bytes()];
    let mut loads = SETUPS.map(|(name, ..)| Load::open(envoy.addr_of(name), 8, "200").expect("connections"));
    for load in &mut loads {
        load.drive(&requests, 4 * REQUESTS).expect("answers");
    }
    let mut took: [Vec<f64>; 4] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..SETUPS.len() {
            let at = (turn + round) % SETUPS.len();
            let slice = processor.slice(|| loads[at].drive(&requests, REQUESTS)).expect("answers");
            took[at].push(slice.cpu.as_secs_f64() * 1e6 / REQUESTS as f64);
        }
        upstream.take();
    }
    println!(
        "Envoy's processor time for a request with a known token, {ROUNDS} rounds of {REQUESTS} in turns"
    );
    let [routes_unseen, routes_seen, bare_unseen, bare_seen] = &took;
    for (what, unseen, seen) in
        [("route_rules: true", routes_unseen, routes_seen), ("route_rules: false", bare_unseen, bare_seen)]
    {
        let ratios: Vec<f64> = unseen.iter().zip(seen).map(|(unseen, seen)| seen / unseen).collect();
        let (ratio, unseen) = (Estimate::of(&ratios), Estimate::of(unseen).median);
        println!(
            "  {what:<18}  {unseen:.2} µs; with the look at the answer {:.3} times as much ({:.3} to {:.3})",
            ratio.median, ratio.low, ratio.high
        );
    }
}
