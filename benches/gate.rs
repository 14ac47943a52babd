//! What a decision costs natively: a signature by each algorithm, in Rust, and a token that was seen before, among few
//! and among many.
//!
//! `cargo bench --bench gate` gives times. `make bench-instructions` gives instructions, the same to a few hundredths in
//! every run: it has valgrind count those of `gate CASE COUNT`, which decides that often and prints nothing.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use harness::idp::{jwks, now};
use harness::{Alg, Key, TokenBuilder};
use portcullis::{Config, Effect, Environment, Gate, HttpResponse, Outcome, Request, StreamId, Timestamp};
use serde_json::{Value, json};

/// Those with a public key, the ones of each family that differ most.
const ALGS: [Alg; 7] = [Alg::RS256, Alg::RS512, Alg::PS256, Alg::ES256, Alg::ES384, Alg::ES512, Alg::EdDSA];
const ISSUER: &str = "https://idp.example/";

/// A gate for this key's tokens that remembers so many of them, with so many rules of which the last but one is met.
fn gate(key: &Key, remembered: usize, rules: usize) -> Gate {
    let rule =
        |prefix: &str| json!({ "match": { "prefix": prefix }, "requires": { "provider_name": "corp" } });
    let mut list: Vec<Value> = (2..rules).map(|at| rule(&format!("/service-{at}/"))).collect();
    list.push(rule("/orders/"));
    list.push(json!({ "match": { "prefix": "/public/" } }));
    let config = json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "local_jwks": { "inline_string": jwks([key]).to_string() },
            "jwt_cache_config": { "jwt_cache_size": remembered },
        } },
        "rules": list,
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a sound configuration");
    Gate::new(config, Environment::alone(1), clock())
}

fn clock() -> Timestamp {
    Timestamp::from_secs(u64::try_from(now()).expect("after 1970"))
}

fn bearer(key: &Key, number: usize) -> String {
    let token =
        TokenBuilder::new(key, ISSUER, "orders").claim("jti", number.to_string()).expires_in(3000).sign();
    format!("Bearer {token}")
}

/// Whether a request passes with this Authorization, or with none. The list of its fields is no part of what is
/// measured, so that nothing is allocated for it.
fn passes(gate: &mut Gate, authorization: Option<&str>, now: Timestamp) -> bool {
    let value = authorization.unwrap_or_default().as_bytes();
    let fields = [
        (&b":method"[..], &b"GET"[..]),
        (b":path", b"/orders/7"),
        (b":authority", b"shop"),
        (b"authorization", value),
    ];
    let (fields, _) = fields.split_at(if authorization.is_some() { 4 } else { 3 });
    let passes = matches!(gate.decide(StreamId(1), &Request::new(fields), now), Outcome::Allow(_));
    while gate.next_effect().is_some() {}
    passes
}

fn verify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a new token");
    for alg in ALGS {
        let key = Key::cached(alg, "key");
        let (mut gate, authorization, now) = (gate(&key, 0, 2), bearer(&key, 0), clock());
        assert!(passes(&mut gate, Some(&authorization), now), "{alg:?}");
        group.bench_function(BenchmarkId::from_parameter(alg.name()), |bencher| {
            bencher.iter(|| passes(&mut gate, Some(black_box(&authorization)), now));
        });
    }
}

fn known(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a known token among");
    let key = Key::cached(Alg::ES256, "key");
    for count in [1, 100, 1_000] {
        let (mut gate, now) = (gate(&key, count, 2), clock());
        let all: Vec<String> = (0..count).map(|number| bearer(&key, number)).collect();
        assert!(all.iter().all(|one| passes(&mut gate, Some(one), now)));
        let mut next = all.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| passes(&mut gate, next.next().map(|one| black_box(&**one)), now));
        });
    }
}

/// Decides one case again and again, for valgrind to count.
fn count(case: &str, times: usize) {
    let key = Key::cached(Alg::ES256, "key");
    let rules = if case == "a known token, 10,000 rules" { 10_000 } else { 10 };
    let (mut gate, now) = (gate(&key, 1000, rules), clock());
    let good = bearer(&key, 0);
    assert!(passes(&mut gate, Some(&good), now));
    if case.starts_with("a known opaque") {
        return count_opaque(times);
    }
    let authorization = match case {
        "a known token" | "a known token, 10,000 rules" => Some(good),
        "no token" => None,
        "a malformed token" => Some("Bearer a.b.c".to_owned()),
        "an expired token" => {
            let token = TokenBuilder::new(&key, ISSUER, "orders").expires_in(-3000).sign();
            Some(format!("Bearer {token}"))
        }
        _ => panic!("{case:?} is none of {CASES:?}"),
    };
    for _ in 0..times {
        black_box(passes(&mut gate, black_box(authorization.as_deref()), now));
    }
}

/// The same for an opaque token whose provider was asked.
fn count_opaque(times: usize) {
    let endpoint = json!({ "uri": "https://idp.example/introspect", "cluster": "idp" });
    let config = json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "introspection": { "http_uri": endpoint, "auth_method": "none" },
        } },
        "rules": [{ "match": { "prefix": "/orders/" }, "requires": { "provider_name": "corp" } }],
    });
    let config = Config::parse(config.to_string().as_bytes(), &|_| None).expect("a sound configuration");
    let (now, token) =
        (clock(), "Bearer ory_at_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123");
    let mut gate = Gate::new(config, Environment::alone(1), now);
    let fields = [
        (&b":method"[..], &b"GET"[..]),
        (b":path", b"/orders/7"),
        (b":authority", b"shop"),
        (b"authorization", token.as_bytes()),
    ];
    let request = Request::new(&fields);
    assert!(matches!(gate.decide(StreamId(1), &request, now), Outcome::Wait));
    let Some(Effect::Fetch { lookup, .. }) = gate.next_effect() else { panic!("no call") };
    let body =
        json!({ "active": true, "sub": "ann", "aud": "orders", "exp": now.as_secs() + 600 }).to_string();
    gate.fetched(
        lookup,
        Ok(HttpResponse { status: 200, body: body.into_bytes(), ..HttpResponse::default() }),
        now,
    );
    let Some(Effect::Wake(stream, waited)) = gate.next_effect() else { panic!("nobody is woken") };
    assert!(matches!(gate.resume(stream, waited, &request, now), Outcome::Allow(_)));
    for _ in 0..times {
        assert!(black_box(passes(&mut gate, black_box(Some(token)), now)));
    }
}

const CASES: [&str; 6] = [
    "a known token",
    "a known token, 10,000 rules",
    "a known opaque token",
    "no token",
    "a malformed token",
    "an expired token",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cases"] => CASES.iter().for_each(|case| println!("{case}")),
        [case, times] if CASES.contains(&case) => count(case, times.parse().expect("a number")),
        _ => {
            let mut criterion = Criterion::default()
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(1))
                .sample_size(20)
                .configure_from_args();
            verify(&mut criterion);
            known(&mut criterion);
            criterion.final_summary();
        }
    }
}
