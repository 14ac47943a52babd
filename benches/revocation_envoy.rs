//! What a list of a million revoked tokens costs a real Envoy: memory of a worker, processor time of a request whose
//! verdict is cached, and how long requests wait at the most while such a list comes in.
//!
//! `make bench-revocation`; needs the filter and an Envoy.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::bench::{Estimate, Load, Pinned, Processor};
use harness::idp::{jwks, now};
use harness::{
    Alg, Cluster, Connection, Documents, Envoy, Key, Listener, Request, TokenBuilder, Wasm, eventually,
};
use portcullis::{
    RevocationDraft as Draft, RevocationIndex as Index, RevocationKey as Name, RevocationKind as Kind,
    RevocationList as List, Timestamp,
};
use serde_json::{Value, json};

const COUNT: usize = 1_000_000;
const PAGE: usize = 8192;
const ISSUER: &str = "https://idp.example/";
const ROUNDS: usize = 40;
const REQUESTS: usize = 500;
const MORE_WORKERS: u32 = 3;
const LOADS: usize = 5;
const SOON: Duration = Duration::from_secs(120);

/// A million tokens, all on other pages than those of another `series`.
fn list(series: usize) -> List {
    let mut draft = Draft::default();
    let until = Some(now() as u64 + 3600);
    (0..COUNT).for_each(|n| draft.entry(Name::new(Kind::Token, ISSUER, &format!("{series}-{n}")), until));
    draft.finish(PAGE, Timestamp::from_secs(0))
}

fn serve(documents: &Documents, list: &List) {
    for page in list.pages() {
        documents.put(&Index::page_path("/index.json", page.digest()), page.bytes().to_vec());
    }
    documents.put("/index.json", list.index().to_json());
}

fn config(key: &Key, documents: Option<&Documents>) -> Value {
    let mut config = json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "local_jwks": { "inline_string": jwks([key]).to_string() },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    });
    if let Some(documents) = documents {
        let uri = json!({ "uri": documents.uri("/index.json"), "cluster": "lists", "timeout": "5s" });
        config["revocation"] = json!({ "lists": [{ "http_uri": uri, "poll_interval": "1s" }] });
    }
    config
}

fn listener(name: &str, config: Option<Value>) -> Listener {
    let listener = Listener::new(name)
        .without_access_log()
        .routes(json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]));
    match config {
        Some(config) => listener.filter(Wasm::portcullis(config)),
        None => listener,
    }
}

fn start(workers: u32, documents: &Documents, listeners: impl IntoIterator<Item = Listener>) -> Envoy {
    let mut builder = Envoy::builder()
        .log_level("warn", "")
        .concurrency(workers)
        .cluster("lists", Cluster::new(documents.addr()))
        .main(|_| listener("none", None))
        .patch(|bootstrap| bootstrap["stats_flush_interval"] = json!("60s"));
    for listener in listeners {
        builder = builder.listener(listener);
    }
    builder.start().unwrap_or_else(|error| panic!("{error}"))
}

fn token(key: &Key, jti: &str) -> String {
    TokenBuilder::new(key, ISSUER, "orders").claim("exp", now() + 3600).claim("jti", jti).sign()
}

/// Waits until every worker answers a token with this status.
fn until(envoy: &Envoy, token: &str, status: u16) {
    let request = Request::get("/").bearer(token);
    eventually("the list is there", SOON, || {
        let addr = envoy.addr_of("revoking");
        (0..32).all(|_| request.send(addr).status == status).then_some(())
    });
}

fn memory(key: &Key, documents: &Documents, revoked: &str) {
    let resident = |workers, with: bool| {
        let config = config(key, with.then_some(documents));
        let envoy = start(workers, documents, [listener("revoking", Some(config))]);
        until(&envoy, revoked, if with { 401 } else { 200 });
        // Whoever has not taken the list over yet does so now.
        thread::sleep(Duration::from_secs(3));
        envoy.memory() as f64 / 1e6
    };
    let [one, all] = [1, 1 + MORE_WORKERS].map(|workers| {
        let (with, without) = (resident(workers, true), resident(workers, false));
        println!(
            "memory of Envoy, workers {workers}: {with:.1} MB with the list, {without:.1} MB without: {:.1} MB more",
            with - without
        );
        with - without
    });
    println!("of the list, in each further worker: {:.1} MB", (all - one) / f64::from(MORE_WORKERS));
}

fn processor(key: &Key, documents: &Documents, revoked: &str) {
    let listeners = [
        listener("plain", Some(config(key, None))),
        listener("revoking", Some(config(key, Some(documents)))),
    ];
    let envoy = start(1, documents, listeners);
    until(&envoy, revoked, 401);
    let processor = Processor::of(envoy.pid()).expect("accounts of the worker");
    let _pinned = Pinned::new(&[&processor]).expect("a processor for the worker");
    for (what, count) in [("one token again and again", 1), ("1,000 tokens", 1000)] {
        let requests: Vec<Vec<u8>> = (0..count)
            .map(|n| Request::get("/orders/7").bearer(&token(key, &format!("good-{n}"))).to_bytes())
            .collect();
        let open = |name| Load::open(envoy.addr_of(name), 16, "200").expect("connections");
        let mut loads = ["none", "plain", "revoking"].map(open);
        for load in &mut loads {
            load.drive(&requests, 4000).expect("answers");
        }
        let mut took: [Vec<f64>; 3] = Default::default();
        for round in 0..ROUNDS {
            for turn in 0..3 {
                let at = (turn + round) % 3;
                let slice = processor.slice(|| loads[at].drive(&requests, REQUESTS)).expect("answers");
                took[at].push(slice.cpu.as_secs_f64() * 1e6 / REQUESTS as f64);
            }
        }
        let [none, plain, revoking] = &took;
        let ratios: Vec<f64> = plain.iter().zip(revoking).map(|(plain, revoking)| revoking / plain).collect();
        let filter = |all: &[f64]| {
            Estimate::of(&all.iter().zip(none).map(|(all, none)| all - none).collect::<Vec<_>>()).median
        };
        let whole = Estimate::of(&ratios);
        println!(
            "{what}: {:.2} µs a request for the filter without a list, {:.2} µs with; the whole request takes {:.3} ({:.3} to {:.3}) times as much",
            filter(plain),
            filter(revoking),
            whole.median,
            whole.low,
            whole.high
        );
    }
}

fn stalls(key: &Key, documents: &Documents, lists: &[List; 2]) {
    let envoy = start(1, documents, [listener("revoking", Some(config(key, Some(documents))))]);
    let tokens = [token(key, "0-7"), token(key, "1-7")];
    until(&envoy, &tokens[0], 401);
    // The longest wait of requests that have nothing to do with the filter, while `work` goes on.
    let longest = |work: &dyn Fn()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let probe = scope.spawn(|| {
                let mut connection = Connection::open(envoy.addr_of("none")).expect("a connection");
                let request = Request::get("/");
                let mut longest = Duration::ZERO;
                while !stop.load(Relaxed) {
                    let start = Instant::now();
                    connection.write(&request).expect("a request is sent");
                    connection.read(false, start + SOON).expect("an answer");
                    longest = longest.max(start.elapsed());
                }
                longest
            });
            work();
            stop.store(true, Relaxed);
            probe.join().expect("the probe")
        })
    };
    // What else runs on the machine only adds to it.
    let (mut idle, mut loading) = (Duration::MAX, Duration::MAX);
    for round in 1..=LOADS {
        idle = idle.min(longest(&|| thread::sleep(Duration::from_secs(2))));
        loading = loading.min(longest(&|| {
            serve(documents, &lists[round % 2]);
            until(&envoy, &tokens[round % 2], 401);
        }));
    }
    println!(
        "longest wait of a request while a list of {COUNT} comes in: {loading:.1?} (while none does: {idle:.1?}); best of {LOADS}"
    );
}

fn main() {
    if !harness::envoy::portcullis_module().is_file() {
        return println!("the filter is not built (make wasm)");
    }
    let key = Key::generate(Alg::ES256, "k");
    let lists = [list(0), list(1)];
    let documents = Documents::start();
    serve(&documents, &lists[0]);
    println!("{COUNT} entries on {} pages", lists[0].pages().len());
    let revoked = token(&key, "0-7");
    memory(&key, &documents, &revoked);
    stalls(&key, &documents, &lists);
    serve(&documents, &lists[0]);
    processor(&key, &documents, &revoked);
}
