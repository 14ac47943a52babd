//! Ten thousand well-formed tokens that nobody issued: the endpoint hears of a few at a time, and others are served all
//! the while.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::idp::{PREFIX, b64};
use harness::{Behaviour, Connection, Endpoint, Listener, Request};
use serde_json::json;

use super::gateway::{WORKERS, start};
use crate::common::{Random, SOON};

const TOKENS: usize = 10_000;
const CLIENTS: usize = 4;
/// How many requests each of them has in flight.
const AT_ONCE: usize = 25;
const MAX_IN_FLIGHT: usize = 16;
/// How often each of them sends a batch: a thousand tokens a second, all of them together.
const CADENCE: Duration = Duration::from_millis(100);

/// The middle one of these times.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What became of a flood.
#[derive(Default)]
struct Tally {
    inactive: AtomicUsize,
    busy: AtomicUsize,
    malformed: AtomicUsize,
}

/// Sends tokens that nobody issued, each with this prefix.
fn flood(addr: SocketAddr, prefix: &str, tally: &Tally) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut random = Random(u64::try_from(client).expect("few") + 1);
                let mut connections: Vec<_> =
                    (0..AT_ONCE).map(|_| Connection::open(addr).expect("a connection")).collect();
                for _ in 0..TOKENS / CLIENTS / AT_ONCE {
                    let began = Instant::now();
                    for connection in &mut connections {
                        let bytes = [random.word(), random.word(), random.word()].map(u64::to_be_bytes);
                        let token = format!("{prefix}{}", b64(bytes.concat()));
                        let request = Request::get("/opaque/bad").bearer(&token);
                        connection.write(&request).expect("a request is sent");
                    }
                    for connection in &mut connections {
                        let response = connection.read(false, Instant::now() + SOON).expect("an answer");
                        let count = match (response.status, response.reason().as_deref()) {
                            (401, Some("token_inactive")) => &tally.inactive,
                            (401, Some("token_malformed")) => &tally.malformed,
                            (503, Some("introspection_unavailable" | "overloaded")) => &tally.busy,
                            other => panic!("{other:?}: {}", response.text()),
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(CADENCE.saturating_sub(began.elapsed()));
                }
            });
        }
    });
}

#[test]
fn ten_thousand_made_up_tokens_make_few_calls_at_a_time_and_slow_nobody_down() {
    let more = json!({ "token_prefix": PREFIX, "cache": { "active": "600s", "inactive": "600s" } });
    let gateway = start(more, |builder| builder.log_level("info", "").main(Listener::without_access_log));
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = idp.opaque_token(json!({ "sub": "alice" }));
    let request = Request::get("/opaque/good").bearer(&good);
    let mut connections: Vec<_> = (0..4).map(|_| Connection::open(addr).expect("a connection")).collect();
    // How long a good request takes, until something else is done.
    let mut beside = |work: &(dyn Fn() + Sync)| {
        let (mut times, done) = (Vec::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                work();
                done.store(true, Ordering::Release);
            });
            while !done.load(Ordering::Acquire) {
                for connection in &mut connections {
                    let began = Instant::now();
                    let response = connection.send(&request);
                    times.push(began.elapsed());
                    assert_eq!(response.status, 200, "{}", response.text());
                }
                // A client that thinks, and not one that takes a processor for itself.
                thread::sleep(Duration::from_millis(2));
            }
        });
        median(times)
    };
    beside(&|| thread::sleep(Duration::from_millis(500)));
    idp.forget_introspections();
    // A call takes its time: the flood waits for it, and not the processor.
    idp.behave_on(Endpoint::Introspection, Behaviour::Delay(Duration::from_millis(25)));
    let quiet = beside(&|| thread::sleep(Duration::from_secs(3)));
    // As many, at the same pace, about which nobody is asked: what they cost is the machine's affair.
    let (garbage, made_up) = (Tally::default(), Tally::default());
    let unasked = beside(&|| flood(addr, "no-such-prefix-", &garbage));
    assert_eq!((garbage.malformed.into_inner(), idp.introspections().len()), (TOKENS, 0));
    let asked = beside(&|| flood(addr, PREFIX, &made_up));
    let (inactive, busy) = (made_up.inactive.into_inner(), made_up.busy.into_inner());
    let (calls, most) = (idp.introspections().len(), idp.most_introspections_at_once());
    println!(
        "{TOKENS} made-up tokens: {inactive} inactive, {busy} not asked about; {calls} calls, at most {most} at once; \
         a good one took {quiet:?} before, {unasked:?} beside garbage and {asked:?} meanwhile"
    );
    assert_eq!(inactive + busy, TOKENS);
    assert!(most <= MAX_IN_FLIGHT * WORKERS, "{most} calls at once");
    assert!((1..=TOKENS).contains(&calls), "{calls} calls for {TOKENS} tokens");
    assert_eq!(idp.introspections_of(&good), 0, "a token that is known is not asked about again");
    // What is added is what a busy machine adds.
    let slack = Duration::from_millis(1);
    assert!(asked <= unasked * 3 / 2 + slack, "{asked:?}, and {unasked:?} beside garbage");
    gateway.assert_sound();
}

/// Garbage and forged tokens cost the endpoint nothing at all.
#[test]
fn garbage_and_forged_tokens_make_no_call() {
    let gateway = start(json!({}), |builder| builder);
    let idp = &gateway.idp;
    let good = idp.token(json!({}));
    for number in 0..200 {
        let forged = idp.token(json!({ "jti": number.to_string() }));
        let forged = harness::idp::flip_bit(&forged);
        assert_eq!(Request::get("/pay").bearer(&forged).send(gateway.addr()).status, 401);
        let short = format!("x{number}");
        assert_eq!(Request::get("/opaque").bearer(&short).send(gateway.addr()).status, 401);
    }
    assert_eq!(idp.introspections().len(), 0);
    idp.answer_about(&good, json!({ "active": true }));
    assert_eq!(Request::get("/pay").bearer(&good).send(gateway.addr()).status, 200);
    assert_eq!(idp.introspections().len(), 1);
    gateway.assert_sound();
}
