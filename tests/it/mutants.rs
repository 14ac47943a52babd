//! A hundred thousand requests that no client should send: none traps the filter, and none gets in without a good
//! token. `PORTCULLIS_MUTANTS` sets their number, `PORTCULLIS_SEED` repeats a run.

use crate::common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Gateway, Random, SOON, config, corp, provider, with};
use harness::hostile::{Stock, bent};
use harness::wait::poll;
use harness::{Connection, Record, Request};
use serde_json::json;

/// How many threads send.
const SENDERS: usize = 4;
/// How many connections each of them keeps open, with one request on each: Envoy takes three that wait for their
/// answers on one connection for an attack.
const CONNECTIONS: usize = 16;
/// The one path that needs no token.
const PUBLIC: &str = "/public";

/// A number from the environment.
fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
        Err(_) => default,
    }
}

fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    number("PORTCULLIS_SEED", u64::from(now.subsec_nanos()) ^ now.as_secs())
}

#[test]
fn no_mutated_request_traps_the_filter_or_gets_in() {
    let count = usize::try_from(number("PORTCULLIS_MUTANTS", 100_000)).expect("a number");
    let seed = seed();
    println!("{count} mutants; PORTCULLIS_SEED={seed} repeats them");
    eprintln!("{count} mutants; PORTCULLIS_SEED={seed} repeats them");

    let gateway = Gateway::start_with(
        |idp| {
            let mut corp_provider = with(
                provider(idp),
                json!({
                    // The upstream shall see what it was that got in.
                    "forward": true,
                    "forward_payload_header": "x-jwt-payload",
                    "claim_to_headers": [
                        { "header_name": "x-user", "claim_name": "sub" },
                        { "header_name": "x-groups", "claim_name": "realm.groups", "list_format": "repeat" },
                    ],
                }),
            );
            // Made-up kids wait for a fetch now and then.
            corp_provider["remote_jwks"]["unknown_kid_cooldown"] = json!("1s");
            config(
                corp_provider,
                json!([
                    { "match": { "path": PUBLIC } },
                    { "match": { "path_template": "/tenants/{tenant}/**" }, "requires": corp(),
                      "authorize": { "scopes": { "any_of": ["a", "b"] } } },
                    { "match": { "prefix": "/" }, "requires": corp() },
                ]),
            )
        },
        |builder| {
            builder.concurrency(2).log_level("warning", "wasm:warning").main(|listener| {
                listener
                    .access_log(json!({ "details": "%RESPONSE_CODE_DETAILS%", "status": "%RESPONSE_CODE%" }))
            })
        },
    );
    let addr = gateway.addr();
    let stock = Stock::new(&gateway.idp);
    assert_eq!(Request::get("/").bearer(&stock.good()[0]).send(addr).status, 200, "the good token is good");

    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut strays = Vec::new();
    let mut seen = 0;
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (gateway, stock, next) = (&gateway, &stock, &next);
                scope.spawn(move || send(gateway, stock, next, count, seed))
            })
            .collect();
        let watcher = scope.spawn(|| {
            let (mut strays, mut seen) = (Vec::new(), 0);
            loop {
                let last = done.load(Ordering::Acquire);
                let records = gateway.upstream.take();
                seen += records.len();
                strays.extend(records.iter().filter_map(|record| stray(&stock, record)));
                if last {
                    return (strays, seen);
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        let sent = senders.into_iter().map(|sender| sender.join()).collect::<Result<Vec<()>, _>>();
        // Nothing may still be on its way to the upstream when it is looked at for the last time.
        let ended = poll(SOON, || (gateway.envoy.stat("http.main.downstream_rq_active") == 0).then_some(()));
        done.store(true, Ordering::Release);
        (strays, seen) = watcher.join().expect("the watcher");
        assert!(sent.is_ok(), "seed {seed}: a sender gave up");
        assert!(ended.is_some(), "seed {seed}: a request never ended");
    });

    strays.truncate(20);
    assert!(strays.is_empty(), "seed {seed}: got in:\n{}", strays.join("\n"));
    assert_eq!(seen, gateway.upstream.count(), "every request at the upstream was looked at");

    // Envoy is there and both workers decide as before.
    let answers = harness::burst(addr, 40, |number| {
        let request = Request::get("/after");
        if number % 2 == 0 { request.bearer(&stock.good()[number % stock.good().len()]) } else { request }
    });
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, if number % 2 == 0 { 200 } else { 401 }, "seed {seed}: {}", answer.text());
    }
    let tally = tally(&gateway, seed);
    for (details, count) in &tally {
        println!("{count:>8} {details}");
    }
    let reasons = tally.keys().filter(|details| details.starts_with("portcullis_")).count();
    let total: usize = tally.values().sum();
    if count >= 10_000 {
        assert!(reasons >= 10, "seed {seed}: only {reasons} kinds of refusal: {tally:?}");
        assert!(seen > count / 50, "seed {seed}: only {seen} of {count} got in: too few are any good");
        assert!(total > count / 2, "seed {seed}: only {total} of {count} were requests");
    }
    gateway.assert_sound();
}

/// How often each detail stands in the access log.
fn tally(gateway: &Gateway, seed: u64) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for line in gateway.envoy.access_log() {
        let details = line["details"].as_str().unwrap_or("none").to_owned();
        assert!(!details.contains("wasm"), "seed {seed}: {line}");
        // Without a host or a provider that fails there is no reason for a 503.
        // A made-up key id could be new; nothing else makes the gate give up.
        let could_be_new = line["details"] == "portcullis_keys_unavailable";
        assert!(could_be_new || line["status"] != 503, "seed {seed}: {line}");
        assert!(could_be_new || line["status"] != "503", "seed {seed}: {line}");
        *tally.entry(details).or_default() += 1;
    }
    tally
}

/// Sends its share of the mutants.
fn send(gateway: &Gateway, stock: &Stock, next: &AtomicUsize, count: usize, seed: u64) {
    let addr = gateway.addr();
    let mut connections: Vec<Option<Connection>> = (0..CONNECTIONS).map(|_| None).collect();
    loop {
        let first = next.fetch_add(CONNECTIONS, Ordering::Relaxed);
        if first >= count {
            return;
        }
        let mut sent = Vec::with_capacity(CONNECTIONS);
        for (index, kept) in (first..count).zip(&mut connections) {
            // A mutant depends on the seed and its number alone, not on who sends it.
            let mut random = Random(seed ^ u64::try_from(index).expect("64 bits").wrapping_mul(0x9e37_79b9));
            let bytes = stock.request(&mut random).to_bytes();
            if random.below(8) == 0 {
                raw(addr, &bent(bytes, &mut random));
                continue;
            }
            let mut open = kept.take().unwrap_or_else(|| Connection::open(addr).expect("a connection"));
            // What cannot be written any more was answered before its end.
            let _ = open.write_raw(&bytes);
            sent.push((open, bytes, kept));
        }
        for (mut open, bytes, kept) in sent {
            match open.read(bytes.starts_with(b"HEAD "), Instant::now() + SOON) {
                Ok(response) if response.header("connection").is_some_and(|value| value == "close") => {}
                Ok(_) => *kept = Some(open),
                Err(error) => {
                    let late = error.kind() == std::io::ErrorKind::TimedOut;
                    let request = String::from_utf8_lossy(&bytes);
                    assert!(!late, "no answer to {request:?}; {}", on_the_way(gateway));
                }
            }
        }
    }
}

/// Where a request is that has no answer: in Envoy, at the upstream, or at the provider of keys.
fn on_the_way(gateway: &Gateway) -> String {
    let stats = [
        "http.main.downstream_rq_active",
        "cluster.upstream.upstream_rq_active",
        "cluster.upstream.upstream_rq_pending_active",
        "cluster.idp.upstream_rq_active",
    ];
    stats.map(|name| format!("{name} {}", gateway.envoy.stat(name))).join(", ")
}

/// Sends any bytes on a connection of their own, and reads until it ends.
fn raw(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // Envoy may close before it has read everything.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let late =
                    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!late, "no end of the answer to {:?}", String::from_utf8_lossy(bytes));
                return;
            }
        }
    }
}

/// What is wrong with a request that has reached the upstream.
fn stray(stock: &Stock, record: &Record) -> Option<String> {
    let wrong = |what: &str| {
        let fields: Vec<_> = record
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
            .collect();
        Some(format!("{what}: {} {:?} {fields:?}", record.method, record.path()))
    };
    if record.malformed {
        return wrong("no HTTP");
    }
    let named = |name: &str| {
        let fields = record.headers.iter().chain(&record.trailers);
        let same = fields.filter(|(known, _)| known.to_lowercase().replace('_', "-") == name);
        same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
    };
    let users = named("x-user");
    let credentials = record.headers_named("authorization");
    let token = match credentials.as_slice() {
        [one] => one.split_once(' ').map(|(_, token)| token.trim_start_matches(' ')),
        _ => None,
    };
    let is_good = token.is_some_and(|token| stock.good().iter().any(|good| good == token));
    if is_public(&record.path()) {
        return if users.is_empty() { None } else { wrong("an identity on a public path") };
    }
    if !is_good {
        return wrong("without the good token");
    }
    if users != ["alice"] || named("x-groups") != ["x", "y"] {
        return wrong("with another identity");
    }
    None
}

/// Whether a path is the public one, in one of the spellings that mean the same.
fn is_public(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let mut plain = String::new();
    let mut rest = path;
    while let Some(letter) = rest.chars().next() {
        let escaped =
            rest.get(1..3).filter(|_| letter == '%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped.map(char::from).filter(|letter| letter.is_ascii_alphanumeric()) {
            Some(letter) => {
                plain.push(letter);
                rest = &rest[3..];
            }
            None => {
                plain.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    plain.split_once(';').map_or(plain.as_str(), |(head, _)| head) == PUBLIC && !plain[1..].contains('/')
}
