//! A hundred thousand tokens with made-up key ids: the identity provider hears of them once a cooldown, and others are
//! served all the while. What they cost Envoy, `make bench-flood` tells.

use crate::common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{SOON, config, corp, provider, with};
use harness::idp::{b64, now};
use harness::{Connection, Envoy, Request, Upstream, Wasm};
use serde_json::json;

const REQUESTS: usize = 100_000;
const CLIENTS: usize = 4;
/// How many requests each of them has in flight.
const AT_ONCE: usize = 25;
const COOLDOWN: Duration = Duration::from_secs(2);

#[test]
fn a_hundred_thousand_made_up_kids_cost_the_provider_one_fetch_a_cooldown() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let remote = json!({
        "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "60s" },
        "cache_duration": "86400s",
        "unknown_kid_cooldown": format!("{}s", COOLDOWN.as_secs()),
    });
    idp.set_cache_control(None);
    let provider = with(provider(&idp), json!({ "remote_jwks": remote }));
    let config = config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .concurrency(2)
        .log_level("info", "")
        .main(harness::Listener::without_access_log)
        .filter(Wasm::portcullis(config))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let addr = envoy.addr();
    let good = Request::get("/good").bearer(&idp.token(json!({ "exp": now() + 3600 })));
    assert_eq!(good.send(addr).status, 200);
    assert_eq!(idp.fetches(), 1);

    // Everything but the kid is in order; the signature is never looked at.
    let rest = idp.mint().claims(json!({ "exp": now() + 3600 })).sign();
    let rest = rest.split_once('.').expect("three parts").1;
    let token = |number: usize| {
        let header = json!({ "alg": "RS256", "kid": format!("made-up-{number:x}") }).to_string();
        format!("{}.{rest}", b64(header))
    };
    let done = AtomicBool::new(false);
    let began = Instant::now();
    let served = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let token = &token;
                scope.spawn(move || {
                    let mut connections: Vec<_> =
                        (0..AT_ONCE).map(|_| Connection::open(addr).expect("a connection")).collect();
                    for batch in 0..REQUESTS / CLIENTS / AT_ONCE {
                        let first = (batch * CLIENTS + client) * AT_ONCE;
                        for (connection, number) in connections.iter_mut().zip(first..) {
                            let request = Request::get("/bad").bearer(&token(number));
                            connection.write(&request).expect("a request is sent");
                        }
                        for (connection, number) in connections.iter_mut().zip(first..) {
                            let response = connection.read(false, Instant::now() + SOON);
                            let response = response.unwrap_or_else(|error| panic!("{number}: {error}"));
                            common::assert_missing_kid(&number.to_string(), &response);
                        }
                    }
                })
            })
            .collect();
        let others = scope.spawn(|| {
            let mut connections: Vec<_> =
                (0..4).map(|_| Connection::open(addr).expect("a connection")).collect();
            let mut served = 0;
            while !done.load(Ordering::Acquire) {
                for connection in &mut connections {
                    let response = connection.send(&good);
                    assert_eq!(response.status, 200, "{}", response.text());
                    served += 1;
                }
            }
            served
        });
        let ended: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok), "every made-up token is refused");
        others.join().expect("good requests pass")
    });
    let duration = began.elapsed();
    let fetches = idp.fetches() - 1;
    let allowed = 3 + usize::try_from(duration.as_secs() / COOLDOWN.as_secs()).expect("few");
    assert!(fetches >= 3, "the flood was no flood: {fetches} fetches");
    assert!(fetches <= allowed, "{fetches} fetches in {duration:?}; {allowed} were allowed");
    assert!(served > 0);
    assert_eq!(upstream.count(), served + 1, "none of them got through");
    println!(
        "{REQUESTS} made-up kids in {duration:?}: {fetches} fetches; {served} good requests beside them"
    );
    common::assert_sound(&envoy);
}
