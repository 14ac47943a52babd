//! Keys that change in ways that no key id tells, or too late, and sources that are not there: a good token passes in
//! time, a forged one costs little and is refused as ever, and nobody waits for longer than the rule says.

use crate::common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Gateway, SOON, assert_problem, config, corp, provider, with};
use harness::idp::{TokenBuilder, flip_bit, jwks};
use harness::{Alg, Connection, Envoy, Idp, Key, Request, Response, Upstream, Wasm, eventually};
use portcullis::{
    Config, Effect, Environment, FetchError, Gate, HttpResponse, LookupId, Outcome, StreamId, Timestamp,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example/";
const COOLDOWN: Duration = Duration::from_secs(30);

/// A gate without a proxy around it, and its time.
struct Native {
    gate: Gate,
    now: Timestamp,
    stream: u32,
    /// The requests that wait, with their paths and tokens.
    waiting: BTreeMap<u32, (String, String)>,
    /// What was asked for and not answered, each with its path.
    asked: Vec<(LookupId, String)>,
}

impl Native {
    /// Nothing was answered yet. `more` goes on top of the configuration.
    fn cold(rules: Value, more: Value) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let config = json!({
            "providers": { "corp": {
                "issuer": ISSUER,
                "audiences": ["orders"],
                "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp", "timeout": "5s" } },
            } },
            "rules": rules,
        });
        let config = with(config, more).to_string();
        let config = Config::parse(config.as_bytes(), &|_| None).expect("a sound configuration");
        let now = Timestamp::from_secs(since.as_secs());
        let gate = Gate::new(config, Environment::alone(1), now);
        let mut native = Self { gate, now, stream: 0, waiting: BTreeMap::new(), asked: Vec::new() };
        native.tick();
        native
    }

    /// The same, with these keys, as they were a cooldown ago and more.
    fn warm(rules: Value, set: &Value) -> Self {
        let mut native = Self::cold(rules, json!({}));
        native.answer("/jwks", set);
        native.pass(COOLDOWN);
        assert!(native.asked.is_empty());
        native
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
        self.tick();
    }

    /// Gives who was woken, each with what became of him.
    fn tick(&mut self) -> Vec<&'static str> {
        self.gate.tick(self.now);
        self.work()
    }

    fn work(&mut self) -> Vec<&'static str> {
        let mut woken = Vec::new();
        while let Some(effect) = self.gate.next_effect() {
            match effect {
                Effect::Fetch { lookup, request } => self.asked.push((lookup, request.endpoint.path)),
                Effect::Wake(stream, waited) => {
                    let (path, token) = self.waiting.remove(&stream.0).expect("it waits");
                    let (gate, now) = (&mut self.gate, self.now);
                    let outcome = request(&path, &token, |request| gate.resume(stream, waited, request, now));
                    woken.push(self.note(stream.0, &path, &token, outcome));
                }
                Effect::Close(_) | Effect::Log(..) => {}
            }
        }
        woken
    }

    fn note(&mut self, stream: u32, path: &str, token: &str, outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Allow(_) => "allow",
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => {
                self.waiting.insert(stream, (path.to_owned(), token.to_owned()));
                "wait"
            }
            Outcome::Deny(refusal) => {
                let reason = refusal.response.reason.as_str();
                let reply = refusal.response.reply(false);
                let retry = reply.headers.iter().find(|(name, _)| *name == "retry-after");
                assert_eq!(retry.is_some(), reply.status == 503, "{reason}");
                reason
            }
        }
    }

    fn ask(&mut self, path: &str, token: &str) -> &'static str {
        self.stream += 1;
        let (stream, now) = (self.stream, self.now);
        let gate = &mut self.gate;
        let outcome = request(path, token, |request| gate.decide(StreamId(stream), request, now));
        self.note(stream, path, token, outcome)
    }

    /// Answers what was asked for of this path, and gives what became of those who are woken.
    fn answer(&mut self, path: &str, body: &Value) -> Vec<&'static str> {
        let body = body.to_string().into_bytes();
        self.respond(path, Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }))
    }

    fn respond(&mut self, path: &str, answer: Result<HttpResponse, FetchError>) -> Vec<&'static str> {
        let at = self.asked.iter().position(|(_, own)| own == path);
        let (lookup, _) = self.asked.remove(at.unwrap_or_else(|| panic!("{path} is not asked for")));
        self.gate.fetched(lookup, answer, self.now);
        self.work()
    }
}

fn request<T>(path: &str, token: &str, hand: impl FnOnce(&portcullis::Request<'_>) -> T) -> T {
    let bearer = format!("Bearer {token}");
    let fields = [(":method", "GET"), (":path", path), ("authorization", &bearer)];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    hand(&portcullis::Request::new(&fields))
}

fn protected() -> Value {
    json!([{ "match": { "prefix": "/" }, "requires": corp() }])
}

fn sign(key: &Key) -> String {
    TokenBuilder::new(key, ISSUER, "orders").expires_in(3600).sign()
}

/// The set of one key, and a token of it.
fn published(key: &Key, named: bool) -> (Value, String) {
    let mut set = jwks([key]);
    if !named {
        set["keys"][0].as_object_mut().expect("a key").remove("kid");
        let token = TokenBuilder::new(key, ISSUER, "orders").expires_in(3600).without_header("kid").sign();
        return (set, token);
    }
    (set, sign(key))
}

fn main_key(alg: Alg, number: usize) -> Key {
    Key::cached(alg, &format!("main-{number}")).with_kid("main")
}

#[test]
fn a_token_of_a_key_that_was_replaced_under_its_name_waits_for_it_and_passes() {
    let old = main_key(Alg::ES256, 1);
    for (what, named, new) in [
        ("the same key id", true, main_key(Alg::ES256, 2)),
        ("the same key id and another algorithm", true, main_key(Alg::EdDSA, 2)),
        ("no key id", false, main_key(Alg::ES256, 2)),
        ("no key id and another algorithm", false, main_key(Alg::EdDSA, 2)),
    ] {
        let (before, before_token) = published(&old, named);
        let (after, after_token) = published(&new, named);
        let mut native = Native::warm(protected(), &before);
        assert_eq!(native.ask("/", &before_token), "allow", "{what}");
        for _ in 0..3 {
            assert_eq!(native.ask("/", &after_token), "wait", "{what}");
        }
        assert_eq!(native.ask("/", &before_token), "allow", "{what}: what is known waits for nothing");
        native.tick();
        assert_eq!(native.ask("/", &after_token), "wait", "{what}: it is under way");
        assert_eq!(native.answer("/jwks", &after), ["allow"; 4], "{what}");
        assert_eq!(native.ask("/", &after_token), "allow", "{what}");
        let refused = native.ask("/", &before_token);
        assert!(matches!(refused, "signature_invalid" | "key_not_found"), "{what}: {refused}");
    }
}

#[test]
fn a_forged_token_is_refused_as_ever_and_costs_a_fetch_in_each_cooldown() {
    let (set, good) = published(&main_key(Alg::ES256, 1), true);
    let forged = flip_bit(&good);
    let mut native = Native::warm(protected(), &set);
    assert_eq!(native.ask("/", &forged), "wait");
    native.tick();
    assert_eq!(native.answer("/jwks", &set), ["signature_invalid"]);
    for _ in 0..100 {
        native.pass(Duration::from_millis(290));
        assert_eq!(native.ask("/", &forged), "signature_invalid");
        assert!(native.asked.is_empty());
    }
    // The next one is due without anybody's asking again, and what the provider says then counts for all.
    native.pass(Duration::from_secs(1));
    assert_eq!(native.asked.len(), 1);
    assert_eq!(native.ask("/", &forged), "wait");
    let failed = HttpResponse { status: 500, ..HttpResponse::default() };
    assert_eq!(native.respond("/jwks", Ok(failed)), ["signature_invalid"], "an outage is no 503 for it");
    assert_eq!(native.ask("/", &forged), "signature_invalid");
    assert_eq!(native.ask("/", &good), "allow");
}

#[test]
fn during_an_outage_a_key_id_that_could_be_new_is_503_beside_keys_without_one_too() {
    let old = main_key(Alg::ES256, 1);
    let (set, _) = published(&old, false);
    let mut native = Native::warm(protected(), &set);
    let new = sign(&Key::cached(Alg::ES256, "new-in-an-outage"));
    assert_eq!(native.ask("/", &new), "wait");
    native.tick();
    let failed = HttpResponse { status: 500, ..HttpResponse::default() };
    assert_eq!(native.respond("/jwks", Ok(failed)), ["keys_unavailable"]);
    assert_eq!(native.ask("/", &new), "keys_unavailable");
    // The key that has no key id may have signed it, whatever that one says.
    let odd = TokenBuilder::new(&old, ISSUER, "orders").expires_in(3600).kid("odd").sign();
    assert_eq!(native.ask("/", &odd), "allow");
}

#[test]
fn few_wait_because_of_a_signature_and_they_keep_no_place_from_others() {
    let (set, good) = published(&main_key(Alg::ES256, 1), true);
    let forged = flip_bit(&good);
    let mut native = Native::warm(protected(), &set);
    for _ in 0..portcullis::limits::MAX_DOUBTFUL {
        assert_eq!(native.ask("/", &forged), "wait");
    }
    for _ in 0..1000 {
        assert_eq!(native.ask("/", &forged), "signature_invalid");
    }
    assert_eq!(native.ask("/", &good), "allow");
    let new = Key::cached(Alg::ES256, "new-beside-forged");
    assert_eq!(native.ask("/", &sign(&new)), "wait", "a key id that is new");
    native.tick();
    let both = json!({ "keys": [set["keys"][0], new.public_jwk()] });
    let woken = native.answer("/jwks", &both);
    assert_eq!(woken.iter().filter(|said| **said == "allow").count(), 1, "{woken:?}");
    assert_eq!(woken.len(), portcullis::limits::MAX_DOUBTFUL + 1);
}

#[test]
fn a_rule_that_lets_a_bad_token_pass_waits_for_nothing_and_the_key_is_fetched_all_the_same() {
    for rule in [
        json!({ "match": { "prefix": "/" }, "requires": corp(), "mode": "report" }),
        json!({ "match": { "prefix": "/" }, "requires": { "allow_missing_or_failed": {} } }),
    ] {
        let (set, _) = published(&main_key(Alg::ES256, 1), true);
        let (after, token) = published(&main_key(Alg::ES256, 2), true);
        let mut native = Native::warm(json!([rule]), &set);
        assert_eq!(native.ask("/", &token), "allow", "{rule}");
        native.tick();
        assert_eq!(native.asked.len(), 1, "{rule}");
        native.answer("/jwks", &after);
        native.pass(COOLDOWN + Duration::from_secs(1));
        assert!(native.asked.is_empty(), "{rule}: that was all");
    }
}

#[test]
fn a_rule_bounds_how_long_its_requests_wait_for_whatever_it_is() {
    let (set, token) = published(&main_key(Alg::ES256, 1), true);
    let rules = json!([
        { "match": { "prefix": "/short" }, "requires": corp(), "wait_timeout": "2s" },
        { "match": { "prefix": "/long" }, "requires": corp() },
    ]);
    let seconds = Duration::from_secs;
    let mut native = Native::cold(rules.clone(), json!({}));
    assert_eq!(native.ask("/short", &token), "wait");
    assert_eq!(native.ask("/long", &token), "wait");
    native.now = native.now.plus(Duration::from_millis(1999));
    assert!(native.tick().is_empty());
    native.now = native.now.plus(Duration::from_millis(1));
    assert_eq!(native.gate.poll_timeout(native.now), Some(Duration::ZERO), "it is time");
    assert_eq!(native.tick(), ["keys_unavailable"], "the rule's own");
    native.now = native.now.plus(seconds(3));
    assert_eq!(native.tick(), ["keys_unavailable"], "the timeout of the source");

    // Keys first, and then a list: one bound for both.
    let list = json!({ "revocation": { "lists": [{
        "http_uri": { "uri": "https://idp.example/list", "cluster": "idp", "timeout": "5s" },
    }] } });
    let mut native = Native::cold(rules, list);
    assert_eq!(native.ask("/short", &token), "wait");
    assert_eq!(native.ask("/long", &token), "wait");
    native.now = native.now.plus(Duration::from_millis(1500));
    assert_eq!(native.answer("/jwks", &set), ["wait", "wait"]);
    native.now = native.now.plus(Duration::from_millis(500));
    assert_eq!(native.tick(), ["revocation_unavailable"]);
    native.now = native.now.plus(seconds(1));
    let good = json!({ "version": 1, "entries": [] });
    assert_eq!(native.answer("/list", &good), ["allow"]);
}

#[test]
fn wait_timeout_is_a_duration_of_a_rule_that_asks_for_a_token() {
    let (set, _) = published(&main_key(Alg::ES256, 1), true);
    let public = json!({ "match": { "prefix": "/" }, "wait_timeout": "2s" });
    let with_token =
        |value: Value| json!({ "match": { "prefix": "/" }, "requires": corp(), "wait_timeout": value });
    for (rule, wrong) in [
        (with_token(json!("2s")), ""),
        (with_token(json!("0.001s")), ""),
        (with_token(json!("60s")), ""),
        (with_token(json!({ "seconds": 1 })), ""),
        (with_token(json!("0s")), "rules[0].wait_timeout: must be from 0.001s to 60s"),
        (with_token(json!("61s")), "rules[0].wait_timeout: must be from 0.001s to 60s"),
        (with_token(json!(2)), "rules[0].wait_timeout: expected a duration such as \"600s\""),
        (public, "rules[0].wait_timeout: needs \"requires\""),
    ] {
        let local = json!({ "issuer": ISSUER, "audiences": ["orders"], "local_jwks": { "inline": set } });
        let read = Config::parse(config(local, json!([rule])).to_string().as_bytes(), &|_| None);
        match read {
            Ok(_) => assert!(wrong.is_empty(), "{rule} is taken"),
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                assert!(!wrong.is_empty() && problems[0].starts_with(wrong), "{rule}: {problems:?}");
            }
        }
    }
}

#[test]
fn a_source_of_lists_is_asked_when_it_says_too() {
    for (status, header, seconds) in [(429, "7", 7), (503, "30", 30), (503, "0", 1), (429, "86400", 300)] {
        let list = json!({ "revocation": { "lists": [{
            "http_uri": { "uri": "https://idp.example/list", "cluster": "idp" },
        }] } });
        let mut native = Native::cold(protected(), list);
        let retry_after = Some(header.to_owned());
        native.respond("/list", Ok(HttpResponse { status, retry_after, ..HttpResponse::default() })).clear();
        native.asked.clear();
        for second in 1..=seconds {
            assert!(!native.asked.iter().any(|(_, path)| path == "/list"), "{status} {header}: {second}");
            native.pass(Duration::from_secs(1));
        }
        assert!(native.asked.iter().any(|(_, path)| path == "/list"), "{status} {header}");
    }
}

/// An Envoy of so many workers before a provider with these keys.
fn gateway(workers: u32, cooldown: &str, keys: &[Key]) -> Gateway {
    let idp = Idp::builder().audience(common::AUDIENCE).keys(keys.iter().cloned()).cache_control(None);
    start(workers, cooldown, idp.start().expect("a provider"))
}

fn start(workers: u32, cooldown: &str, idp: Idp) -> Gateway {
    let upstream = Upstream::start();
    let remote = json!({
        "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "20s" },
        "unknown_kid_cooldown": cooldown,
        "cache_duration": "86400s",
    });
    let provider = with(provider(&idp), json!({ "remote_jwks": remote }));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .concurrency(workers)
        .main(harness::Listener::without_access_log)
        .log_level("info", "")
        .filter(Wasm::portcullis(config(provider, protected())))
        .start();
    Gateway { idp, upstream, envoy: envoy.unwrap_or_else(|error| panic!("{error}")) }
}

/// A request over a connection of its own, so that any worker may get it.
fn send(addr: SocketAddr, token: &str) -> Response {
    Request::get("/").bearer(token).send(addr)
}

#[test]
fn a_key_that_is_replaced_under_its_name_is_known_to_all_workers_within_the_cooldown() {
    const COOLDOWN: Duration = Duration::from_secs(4);
    for named in [true, false] {
        let keys: Vec<Key> = (10..14).map(|number| main_key(Alg::ES256, number)).collect();
        let gateway = gateway(3, "4s", &keys[..1]);
        let (idp, addr) = (&gateway.idp, gateway.addr());
        let publish = |key: &Key| {
            idp.set_keys([key.clone()]);
            let (set, _) = published(key, named);
            idp.publish(Some(set.to_string().into_bytes()));
            let token = idp.mint();
            if named { token.sign() } else { token.without_header("kid").sign() }
        };
        // Nothing was fetched before this.
        let mut token = publish(&keys[0]);
        eventually("keys are there", SOON, || (send(addr, &token).status == 200).then_some(()));
        for key in &keys[1..] {
            let old = std::mem::replace(&mut token, publish(key));
            let (fetches, first) = (idp.fetches(), Instant::now());
            loop {
                let sent = first.elapsed();
                let response = send(addr, &token);
                if response.status == 200 {
                    break;
                }
                assert_problem("a new key of the same name", &response, 401, "token_rejected");
                // What a busy machine adds to it is not the filter's.
                assert!(sent < COOLDOWN + Duration::from_secs(10), "named {named}: after {sent:?}");
                thread::sleep(Duration::from_millis(300));
            }
            for _ in 0..12 {
                eventually("every worker has it", SOON, || (send(addr, &token).status == 200).then_some(()));
            }
            eventually("the token of the key before stops in every worker", SOON, || {
                (0..12).all(|_| send(addr, &old).status == 401).then_some(())
            });
            let elapsed = first.elapsed().as_secs() / COOLDOWN.as_secs();
            let more = idp.fetches() - fetches;
            assert!(more as u64 <= 2 + elapsed, "named {named}: {more} fetches");
        }
        gateway.assert_sound();
    }
}

const FORGED: usize = 10_000;
const CLIENTS: usize = 4;
const AT_ONCE: usize = 25;

/// Sends this client's part of the forged tokens, each of them another.
fn forge(addr: SocketAddr, idp: &Idp, rogue: &Key, client: usize) {
    let mut connections: Vec<_> =
        (0..AT_ONCE).map(|_| Connection::open(addr).expect("a connection")).collect();
    for batch in 0..FORGED / CLIENTS / AT_ONCE {
        for (at, connection) in connections.iter_mut().enumerate() {
            let forged = idp.mint().key(rogue).claim("n", json!([client, batch, at])).sign();
            connection.write(&Request::get("/").bearer(&forged)).expect("a request is sent");
        }
        for connection in &mut connections {
            let response = connection.read(false, Instant::now() + SOON).expect("an answer");
            assert_problem("a forged token", &response, 401, "token_rejected");
        }
    }
}

#[test]
fn ten_thousand_forged_tokens_cost_no_more_fetches_than_unknown_key_ids_and_harm_nobody() {
    let own = Key::cached(Alg::ES256, "forged-under");
    let gateway = gateway(2, "2s", std::slice::from_ref(&own));
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let good = idp.token(json!({}));
    assert_eq!(send(addr, &good).status, 200);
    let rogue = Key::cached(Alg::ES256, "another").with_kid(own.kid());
    let done = AtomicBool::new(false);
    let began = Instant::now();
    thread::scope(|scope| {
        let rogue = &rogue;
        let forgers: Vec<_> =
            (0..CLIENTS).map(|client| scope.spawn(move || forge(addr, idp, rogue, client))).collect();
        let others = scope.spawn(|| {
            let mut connections: Vec<_> =
                (0..4).map(|_| Connection::open(addr).expect("a connection")).collect();
            while !done.load(Ordering::Acquire) {
                for connection in &mut connections {
                    let response = connection.send(&Request::get("/").bearer(&good));
                    assert_eq!(response.status, 200, "{}", response.text());
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        // A new key, in the midst of it.
        let new = Key::cached(Alg::ES256, "new-in-the-midst");
        idp.set_keys([new, own.clone()]);
        let token = idp.token(json!({}));
        let mut paused = 0;
        loop {
            let response = send(addr, &token);
            if response.status == 200 {
                break;
            }
            assert_problem("a new key", &response, 503, "keys_unavailable");
            let pause = common::retry_after(&response);
            thread::sleep(Duration::from_secs(pause));
            paused += pause;
        }
        assert!(paused < 8, "asked to wait for {paused} s");
        let ended: Vec<_> = forgers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        assert!(ended.iter().all(Result::is_ok), "every forged token gets 401");
        others.join().expect("good requests pass");
    });
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few");
    let fetches = idp.fetches() - 1;
    assert!(fetches <= 3 + seconds / 2, "{fetches} fetches in {seconds} s");
    println!("{FORGED} forged tokens in {seconds} s: {fetches} fetches");
    gateway.assert_sound();
}

#[test]
fn a_key_that_is_listed_ten_seconds_late_is_accepted_sixteen_seconds_after_its_first_token() {
    // When requests come, in seconds after the first; several Envoys at once, since most of it is waiting.
    let times: [&[u64]; 3] = [&[], &[3, 7], &[1, 2, 4, 8, 9]];
    thread::scope(|scope| {
        for (at, times) in times.iter().enumerate() {
            scope.spawn(move || {
                let listed = Key::cached(Alg::ES256, &format!("listed-{at}"));
                let late = Key::cached(Alg::ES256, &format!("late-{at}"));
                let gateway =
                    gateway(2 + u32::try_from(at).expect("few"), "30s", std::slice::from_ref(&listed));
                let (idp, addr) = (&gateway.idp, gateway.addr());
                assert_eq!(send(addr, &idp.token(json!({}))).status, 200);
                let token = idp.mint().key(&late).sign();
                let first = Instant::now();
                assert_problem("the first", &send(addr, &token), 401, "token_rejected");
                let until = |seconds: u64| {
                    thread::sleep(Duration::from_secs(seconds).saturating_sub(first.elapsed()));
                };
                for second in *times {
                    until(*second);
                    common::assert_missing_kid("too early", &send(addr, &token));
                }
                until(10);
                idp.set_keys([listed, late]);
                until(16);
                let response = send(addr, &token);
                assert_eq!(response.status, 200, "{times:?}: {}", response.text());
                assert!(idp.fetches() <= 1 + 4, "{times:?}: {}", idp.fetches());
                gateway.assert_sound();
            });
        }
    });
}

#[test]
fn a_gate_that_starts_without_its_provider_is_right_soon_after_its_return() {
    let idp = Idp::builder().audience(common::AUDIENCE).keys([Key::cached(Alg::ES256, "away")]);
    let idp = idp.start().expect("a provider");
    idp.go_away();
    let gateway = start(3, "30s", idp);
    let (idp, addr) = (&gateway.idp, gateway.addr());
    let token = idp.token(json!({}));
    // Long enough that the pauses between tries would have grown.
    let refused = |what: &str, response: &Response| {
        assert_problem(what, response, 503, "keys_unavailable");
        let pause = common::retry_after(response);
        assert!((1..=5).contains(&pause), "{what}: {response:?}");
        pause
    };
    for _ in 0..16 {
        refused("away", &send(addr, &token));
        thread::sleep(Duration::from_secs(1));
    }
    idp.come_back();
    let mut paused = 0;
    loop {
        let response = send(addr, &token);
        if response.status == 200 {
            break;
        }
        let pause = refused("just back", &response);
        thread::sleep(Duration::from_secs(pause));
        paused += pause;
    }
    assert!(paused < 8, "asked to wait for {paused} s");
    for _ in 0..8 {
        eventually("every worker has keys", SOON, || (send(addr, &token).status == 200).then_some(()));
    }
    gateway.assert_sound();
}
