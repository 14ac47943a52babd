//! What good requests wait for while one client sends unsigned tokens over four connections to the same worker.

#![allow(dead_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::idp::now;
use harness::{Alg, Connection, Envoy, Key, Listener, Request, Wasm};
use serde_json::json;

use super::dearest::{self, Genes};

/// How many connections the client has.
const CONNECTIONS: usize = 4;
/// How long its tokens are, in bytes.
const SIZE: usize = 8000;

/// An Envoy of one worker with five providers, and a good request.
pub fn start() -> (Envoy, Request) {
    let mut providers = dearest::providers(5, Alg::ES256);
    for (_, provider) in providers.as_object_mut().expect("an object") {
        provider["jwt_cache_config"] = json!({ "jwt_cache_size": 100 });
    }
    let all: Vec<_> = (0..5).map(|at| json!({ "provider_name": format!("p{at}") })).collect();
    let config = json!({
        "providers": providers,
        "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": all } } }],
    });
    let answer = json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    let listener = Listener::new("main").without_access_log().routes(answer).filter(Wasm::portcullis(config));
    let envoy = Envoy::builder().concurrency(1).log_level("warn", "").main(|_| listener).start();
    let envoy = envoy.unwrap_or_else(|error| panic!("{error}"));
    let claims = json!({
        "iss": "https://idp-0.example/", "aud": "service-39", "sub": "ab", "exp": now() + 3600,
        "realm": { "name": "x" }, "groups": ["a"],
    });
    let key = Key::cached(Alg::ES256, "key").with_kid("k-0");
    let token = key.sign_jws(&json!({ "alg": "ES256", "kid": "k-0" }), claims.to_string().as_bytes());
    let good = Request::get("/good").bearer(&token);
    assert_eq!(good.send(envoy.addr()).status, 200);
    (envoy, good)
}

/// The median time of so many good requests while the client sends this one over and over.
pub fn median(addr: SocketAddr, good: &Request, bad: &Request, count: usize) -> Duration {
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(addr).expect("a connection");
                while !done.load(Ordering::Acquire) {
                    assert_eq!(connection.send(bad).status, 401);
                    sent.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let mut connection = Connection::open(addr).expect("a connection");
        let mut times = Vec::new();
        // Not before the client is at it.
        while sent.load(Ordering::Acquire) < 10 * CONNECTIONS {
            assert_eq!(connection.send(good).status, 200);
        }
        while times.len() < count {
            let start = Instant::now();
            assert_eq!(connection.send(good).status, 200);
            times.push(start.elapsed());
        }
        done.store(true, Ordering::Release);
        times.sort_unstable();
        times[times.len() / 2]
    })
}

/// What one request costs Envoy in processor time, over so many: unlike a time that passes, whatever else the machine
/// does is not in it.
pub fn processor_time(envoy: &Envoy, request: &Request, count: u32) -> Duration {
    let mut connection = Connection::open(envoy.addr()).expect("a connection");
    let before = envoy.cpu_time();
    for _ in 0..count {
        assert_eq!(connection.send(request).status, 401);
    }
    (envoy.cpu_time() - before) / count
}

/// A request with an unsigned token, and one with a malformed token of its length.
pub fn pair(genes: &Genes) -> [Request; 2] {
    let clock = u64::try_from(now()).expect("after 1970");
    let (dear, malformed) = genes.at(clock).tokens(SIZE);
    [Request::get("/bad").bearer(&dear), Request::get("/bad").bearer(&malformed)]
}

/// The dearest request that a search finds under these providers, and one that was very dear once.
pub fn dear(tries: usize) -> Vec<Genes> {
    let mut gate = dearest::doors().remove(1).gate();
    vec![dearest::search(&mut gate, SIZE, tries, 3).genes, Genes::plain(0)]
}
