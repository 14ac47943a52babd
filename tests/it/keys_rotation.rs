//! Keys change while requests keep coming: nobody with a good token is refused for it, and a removed key's tokens stop.

use crate::common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Gateway, SOON, assert_problem, config, corp, provider, with};
use harness::idp::b64;
use harness::{Alg, Connection, Envoy, Idp, Key, Request, Upstream, Wasm, eventually};
use serde_json::{Value, json};

/// Two workers, one ES256 key, and this cooldown for unknown kids.
fn gateway(cooldown: &str) -> Gateway {
    gateway_of(2, cooldown)
}

fn gateway_of(workers: u32, cooldown: &str) -> Gateway {
    let idp = Idp::builder().audience(common::AUDIENCE).algs([Alg::ES256]).start().expect("a provider");
    let upstream = Upstream::start();
    let remote = json!({
        "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "60s" },
        "unknown_kid_cooldown": cooldown,
    });
    let provider = with(provider(&idp), json!({ "remote_jwks": remote }));
    let config = config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .concurrency(workers)
        .main(harness::Listener::without_access_log)
        .log_level("info", "")
        .filter(Wasm::portcullis(config))
        .start();
    Gateway { idp, upstream, envoy: envoy.unwrap_or_else(|error| panic!("{error}")) }
}

/// The token of the hour, and how often it has changed.
type Current = Arc<Mutex<(usize, String)>>;

/// Clients that send the current token without a break. What was refused is told, unless the token changed meanwhile.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<String>>>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &Gateway, current: &Current) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let refused = Arc::<Mutex<Vec<String>>>::default();
        let addr = gateway.addr();
        let client = |number: usize| {
            let (stop, answered, refused) = (stop.clone(), answered.clone(), refused.clone());
            let current = current.clone();
            move || {
                let mut connection = Connection::open(addr).expect("a connection");
                while !stop.load(Ordering::Acquire) {
                    let (turn, token) = current.lock().expect("the token").clone();
                    let response = connection.send(&Request::get(format!("/{number}")).bearer(&token));
                    answered.fetch_add(1, Ordering::AcqRel);
                    let same = current.lock().expect("the token").0 == turn;
                    if response.status != 200 && same {
                        let what = format!("turn {turn}: {} {}", response.status, response.text());
                        refused.lock().expect("the list").push(what);
                    }
                }
            }
        };
        // Enough connections for both workers to have some.
        let clients = (0..8).map(|number| thread::spawn(client(number))).collect();
        Self { stop, answered, refused, clients }
    }

    /// Waits until so many more requests were answered.
    fn wait(&self, more: usize) {
        let goal = self.answered.load(Ordering::Acquire) + more;
        eventually("answers under load", SOON, || {
            (self.answered.load(Ordering::Acquire) >= goal).then_some(())
        });
    }

    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        for client in self.clients {
            client.join().expect("a client gets answers");
        }
        std::mem::take(&mut self.refused.lock().expect("the list"))
    }
}

fn rotate(idp: &Idp, current: &Current, keep_old: bool) {
    let mut current = current.lock().expect("the token");
    idp.rotate(keep_old);
    *current = (current.0 + 1, idp.token(json!({})));
}

#[test]
fn rotation_with_overlap_refuses_nobody_while_requests_keep_coming() {
    let gateway = gateway("1s");
    let idp = &gateway.idp;
    let current: Current = Arc::new(Mutex::new((0, idp.token(json!({})))));
    let load = Load::start(&gateway, &current);
    load.wait(100);
    let mut tokens = vec![idp.token(json!({}))];
    for _ in 0..5 {
        rotate(idp, &current, true);
        load.wait(100);
        tokens.push(current.lock().expect("the token").1.clone());
        // All keys so far are published: every token is good.
        for token in &tokens {
            assert_eq!(Request::get("/").bearer(token).send(gateway.addr()).status, 200);
        }
        // The bucket fills again.
        thread::sleep(Duration::from_secs(1));
    }
    let refused = load.stop();
    assert!(refused.is_empty(), "{} refused: {}", refused.len(), refused[0]);
    assert_eq!(idp.fetches(), 1 + 5, "one for each rotation");
    gateway.assert_sound();
}

#[test]
fn rotation_without_overlap_refuses_no_new_token_and_stops_the_old_ones() {
    let gateway = gateway("1s");
    let idp = &gateway.idp;
    let current: Current = Arc::new(Mutex::new((0, idp.token(json!({})))));
    let load = Load::start(&gateway, &current);
    load.wait(100);
    for _ in 0..5 {
        let old = current.lock().expect("the token").1.clone();
        rotate(idp, &current, false);
        load.wait(100);
        // One worker has seen the new set for sure; the other has it within a tick. So many connections in a row reach
        // both.
        eventually("the old key's token stops in every worker", SOON, || {
            let status = |_| Request::get("/").bearer(&old).send(gateway.addr()).status;
            (0..16).map(status).all(|status| status == 401).then_some(())
        });
        for _ in 0..8 {
            let response = Request::get("/").bearer(&old).send(gateway.addr());
            assert_problem("a removed key", &response, 401, "token_rejected");
        }
        thread::sleep(Duration::from_secs(1));
    }
    let refused = load.stop();
    assert!(refused.is_empty(), "{} refused: {}", refused.len(), refused[0]);
    gateway.assert_sound();
}

/// A token with a kid that nobody has, and a signature of nobody's.
fn made_up(idp: &Idp, number: usize) -> String {
    let header = json!({ "alg": "ES256", "kid": format!("made-up-{number}") }).to_string();
    let good = idp.token(Value::Object(serde_json::Map::new()));
    let rest = good.split_once('.').expect("three parts").1;
    format!("{}.{rest}", b64(header))
}

#[test]
fn under_a_flood_of_made_up_kids_a_new_key_is_known_with_the_next_fetch_that_is_earned() {
    let gateway = gateway("2s");
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let stop = AtomicBool::new(false);
    let good = idp.token(json!({}));
    assert_eq!(Request::get("/").bearer(&good).send(addr).status, 200);
    thread::scope(|scope| {
        for client in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                let mut connection = Connection::open(addr).expect("a connection");
                for number in (client..).step_by(4).take_while(|_| !stop.load(Ordering::Acquire)) {
                    let response = connection.send(&Request::get("/").bearer(&made_up(idp, number)));
                    common::assert_missing_kid("a made-up kid", &response);
                }
            });
        }
        // The bucket is empty: what it held, and then what was earned, has been spent.
        idp.wait_for_fetches(1 + 3 + 1, SOON);
        for generation in 2..=4 {
            let fresh = Key::cached(Alg::ES256, &format!("generation-{generation}"));
            idp.set_keys([fresh]);
            let before = idp.fetches();
            let token = idp.token(json!({}));
            eventually("the new key is known", SOON, || {
                (Request::get("/").bearer(&token).send(addr).status == 200).then_some(())
            });
            let more = idp.fetches() - before;
            assert!(more <= 2, "{more} fetches went by before the new key was known");
        }
        stop.store(true, Ordering::Release);
    });
    gateway.assert_sound();
}

/// Sends this without a break for a client whose token is of a new key, as a client does that heeds `Retry-After`: it is
/// never refused, and passes within 8 seconds, as the filter counts them: what the machine adds is not in the pauses that
/// it asks for.
fn passes_soon(what: &str, gateway: &Gateway, token: &str) {
    let mut waited = 0;
    loop {
        let response = Request::get("/new").bearer(token).send(gateway.addr());
        if response.status == 200 {
            break;
        }
        assert_problem(what, &response, 503, "keys_unavailable");
        let pause = common::retry_after(&response);
        assert!((1..=5).contains(&pause), "{what}: {response:?}");
        thread::sleep(Duration::from_secs(pause));
        waited += pause;
    }
    assert!(waited < 8, "{what}: asked to wait for {waited} s");
}

/// Rotates a few times while somebody else sends `other` tokens, one each time that `pause` has passed.
fn rotates_beside(
    workers: u32,
    pause: Duration,
    before: usize,
    other: impl Fn(&Idp, usize) -> String + Sync,
) {
    let gateway = gateway_of(workers, "30s");
    let (idp, addr) = (&gateway.idp, gateway.addr());
    assert_eq!(Request::get("/").bearer(&idp.token(json!({}))).send(addr).status, 200);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                // A connection of its own, so that all workers get some.
                let number = sent.load(Ordering::Acquire);
                let response = Request::get("/other").bearer(&other(idp, number)).send(addr);
                if number > 0 || response.status != 200 {
                    common::assert_missing_kid("another's token", &response);
                }
                sent.fetch_add(1, Ordering::AcqRel);
                thread::sleep(if number < before { Duration::from_millis(20) } else { pause });
            }
        });
        for generation in 0..3 {
            let goal = sent.load(Ordering::Acquire) + before.max(3);
            eventually("the others keep coming", SOON, || {
                (sent.load(Ordering::Acquire) >= goal || generation > 0).then_some(())
            });
            idp.set_keys([Key::cached(Alg::ES256, &format!("trickle-{generation}"))]);
            let token = idp.token(json!({}));
            for client in 0..6 {
                passes_soon(
                    &format!("{workers} workers, rotation {generation}, client {client}"),
                    &gateway,
                    &token,
                );
            }
        }
        stop.store(true, Ordering::Release);
    });
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few");
    let most = 1 + 3 + seconds / 30 + 2 + seconds / 5;
    assert!(idp.fetches() <= most, "{} fetches in {seconds} s; {most} were allowed", idp.fetches());
    gateway.assert_sound();
}

#[test]
fn new_keys_pass_soon_while_made_up_kids_trickle_in() {
    for workers in [2, 4] {
        rotates_beside(workers, Duration::from_secs(2), 8, made_up);
        // Each of them twice, so that the reserve is drawn on too.
        rotates_beside(workers, Duration::from_millis(400), 8, |idp, number| made_up(idp, number / 2));
    }
}

#[test]
fn new_keys_pass_soon_while_a_client_goes_on_with_the_token_of_a_removed_key() {
    for workers in [2, 4] {
        let removed = std::sync::OnceLock::new();
        let first = |idp: &Idp, _| removed.get_or_init(|| idp.token(json!({ "jti": "old" }))).clone();
        let half = Duration::from_millis(500);
        let gateway = gateway_of(workers, "30s");
        let (idp, addr) = (&gateway.idp, gateway.addr());
        let old = first(idp, 0);
        assert_eq!(Request::get("/").bearer(&old).send(addr).status, 200);
        idp.set_keys([Key::cached(Alg::ES256, "after-the-old")]);
        passes_soon("the second key", &gateway, &idp.token(json!({})));
        // Until every worker has taken the second set over.
        thread::sleep(half);
        let fetches = idp.fetches();
        for _ in 0..20 {
            assert_problem(
                "the old token",
                &Request::get("/").bearer(&old).send(addr),
                401,
                "token_rejected",
            );
            thread::sleep(half / 4);
        }
        assert_eq!(idp.fetches(), fetches, "{workers} workers: nobody looks for a key that was removed");
        idp.set_keys([Key::cached(Alg::ES256, "third")]);
        for client in 0..6 {
            passes_soon(&format!("{workers} workers, client {client}"), &gateway, &idp.token(json!({})));
        }
        assert!(idp.fetches() <= fetches + 2, "one fetch, and one more where two were on their way");
        gateway.assert_sound();
        // And where the proxy never knew the key.
        rotates_beside(workers, half, 4, |idp, _| made_up(idp, 0));
    }
}
