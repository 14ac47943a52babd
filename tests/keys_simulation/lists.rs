//! The life of revocation lists, as that of keys: several instances over one store, and a source that misbehaves at
//! random. One list of a run is polled as a JSON document, or as an index with pages, or is a Token Status List.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use harness::idp::{Alg, Key, TokenBuilder, b64, jwks};
use portcullis::{
    Config, Effect, Environment, FetchError, Gate, HttpRequest, HttpResponse, InMemoryStore, LookupId,
    Outcome, Request, RevocationDraft as Draft, RevocationIndex as Index, Store, StreamId, Timestamp, Waited,
};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::plan::{AUDIENCE, ISSUER, START};

/// What holds in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// While the source is well, a revoked token is refused an interval and a second after it was listed.
    RevocationActsInTime,
    /// No token passes by a list that was last confirmed longer ago than `max_staleness`.
    NoListTooOld,
    /// A token that no list of that time names is not refused as revoked.
    OnlyListedTokens,
    /// The source is never asked twice at once.
    OneFetchAtOnce,
    /// A request is decided by its deadline.
    NobodyWaitsTooLong,
    /// Some time after the source is well again, no request lacks a list.
    HealsInTime,
}

/// Something that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    None,
    /// The source's answers lack what was revoked last.
    ListsLate,
    /// The gates have another `max_staleness` than they should.
    TrustsTooLong,
    /// The source names tokens that were not revoked.
    ListsAll,
    /// Each instance has a store of its own.
    SharesNothing,
    /// Now and then a request that should wake is left waiting.
    WakesNotAll,
    /// After a few failures no request is sent any more.
    GivesUp,
}

const TOKENS: usize = 6;
/// How long a run is.
const SPAN: Duration = Duration::from_secs(1200);
/// How late a tick may come.
const LATE: Duration = Duration::from_millis(300);
/// How long an answer takes at the most, where one comes.
const WAY: Duration = Duration::from_millis(150);
const PATH: &str = "/r/list.json";
const STATUS_URI: &str = "https://lists.example/status/1";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Document,
    Pages,
    Status,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    Hung,
    Status(u16),
    Resetting,
    Html,
    Large,
}

const MOODS: [Mood; 8] = [
    Mood::Hung,
    Mood::Status(500),
    Mood::Status(503),
    Mood::Status(304),
    Mood::Status(404),
    Mood::Resetting,
    Mood::Html,
    Mood::Large,
];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Tick(usize, u64),
    Deliver(u64),
    Mood,
    List,
    Request,
    Crash,
    Begin,
    Spoil,
}

/// What the source has said since when.
struct Version {
    since: Timestamp,
    listed: BTreeSet<usize>,
}

struct Call {
    instance: usize,
    lookup: LookupId,
    response: Result<HttpResponse, FetchError>,
    /// Whether it says how things are.
    is_good: bool,
}

#[derive(Clone, Copy)]
struct Waiter {
    token: usize,
    deadline: Timestamp,
}

struct Run {
    chance: Chance,
    sabotage: Sabotage,
    kind: Kind,
    interval: Duration,
    staleness: Duration,
    timeout: Duration,
    vandals: bool,
    config: String,
    store: Rc<InMemoryStore>,
    gates: Vec<Option<Gate>>,
    ticks: Vec<(Timestamp, u64)>,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    number: u64,
    now: Timestamp,
    mood: Mood,
    versions: Vec<Version>,
    pages: BTreeMap<String, Vec<u8>>,
    calls: BTreeMap<u64, Call>,
    waiting: BTreeMap<(usize, u32), Waiter>,
    stream: u32,
    calm_since: Timestamp,
    /// When the source last gave an answer that says how things are.
    last_good: Timestamp,
    failures: u32,
    happened: BTreeMap<&'static str, u64>,
    broken: Option<(Promise, String)>,
}

/// What came of a run: what happened, or the promise that was broken.
pub(crate) type Report = Result<BTreeMap<&'static str, u64>, (Promise, String)>;

fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::generate(Alg::EdDSA, "lists"))
}

fn token(number: usize) -> &'static str {
    static ALL: OnceLock<Vec<String>> = OnceLock::new();
    let sign = |number: usize| {
        let claims = json!({
            "iat": START - 10, "exp": START + 24 * 3600, "jti": format!("t{number}"),
            "status": { "status_list": { "idx": number, "uri": STATUS_URI } },
        });
        TokenBuilder::new(key(), ISSUER, AUDIENCE).claims(claims).sign()
    };
    &ALL.get_or_init(|| (0..TOKENS).map(sign).collect())[number]
}

pub(crate) fn run(seed: u64, sabotage: Sabotage) -> Report {
    let mut chance = Chance::new(seed.wrapping_mul(0x9e6c_63d0_876a_68ee) ^ 0x2f0b);
    let kind = chance.pick(&[Kind::Document, Kind::Pages, Kind::Status]);
    let interval = Duration::from_secs(chance.pick(&[5, 10, 30]));
    let staleness = interval * chance.pick(&[2, 6]) + Duration::from_secs(30);
    let timeout = Duration::from_millis(chance.pick(&[200, 1000, 2000]));
    let start = Timestamp::from_secs(START);
    let instances = 2 + chance.below(3);
    let mut run = Run {
        sabotage,
        kind,
        interval,
        staleness,
        timeout,
        vandals: chance.once_in(5) && sabotage == Sabotage::None,
        config: String::new(),
        store: Rc::default(),
        gates: Vec::new(),
        ticks: Vec::new(),
        events: BinaryHeap::new(),
        number: 0,
        now: start,
        mood: Mood::Well,
        versions: vec![Version { since: start, listed: BTreeSet::new() }],
        pages: BTreeMap::new(),
        calls: BTreeMap::new(),
        waiting: BTreeMap::new(),
        stream: 0,
        calm_since: start,
        last_good: start,
        failures: 0,
        happened: BTreeMap::new(),
        broken: None,
        chance,
    };
    run.config = run.configuration();
    (0..instances).for_each(|_| run.begin());
    for event in [Event::Request, Event::Mood, Event::List, Event::Crash, Event::Spoil] {
        run.after_about(event);
    }
    while let Some(Reverse((at, _, event))) = run.events.pop() {
        if run.broken.is_some() || at.since(start) > SPAN {
            break;
        }
        run.now = at.max(run.now);
        run.happen(event);
    }
    let what = format!("seed {seed}, {kind:?}, {instances} instances, interval {interval:?}");
    match run.broken {
        Some((promise, text)) => Err((promise, format!("{promise:?}: {text}; {what}"))),
        None => Ok(run.happened),
    }
}

impl Run {
    fn configuration(&self) -> String {
        let text = |span: Duration| format!("{}s", span.as_secs_f64());
        let more = if self.sabotage == Sabotage::TrustsTooLong { 4 } else { 1 };
        let staleness = text(self.staleness * more);
        let revocation: Value = match self.kind {
            Kind::Status => json!({ "status_lists": [{
                "uri_prefix": "https://lists.example/status/", "cluster": "lists", "timeout": text(self.timeout),
                "max_ttl": text(self.interval), "max_staleness": staleness,
            }] }),
            _ => json!({ "lists": [{
                "http_uri": { "uri": format!("https://lists.example{PATH}"), "cluster": "lists", "timeout": text(self.timeout) },
                "poll_interval": text(self.interval), "max_staleness": staleness,
            }] }),
        };
        json!({
            "providers": { "corp": {
                "issuer": ISSUER, "audiences": [AUDIENCE],
                "local_jwks": { "inline_string": jwks([key()]).to_string() },
            } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
            "revocation": revocation,
        })
        .to_string()
    }

    fn begin(&mut self) {
        let store: Rc<dyn Store> = match self.sabotage {
            Sabotage::SharesNothing => Rc::new(InMemoryStore::default()),
            _ => Rc::clone(&self.store) as Rc<dyn Store>,
        };
        let config = Config::parse(self.config.as_bytes(), &|_| None).expect("a sound configuration");
        let world = Environment { store, ..Environment::alone(self.chance.number()) };
        self.gates.push(Some(Gate::new(config, world, self.now)));
        self.ticks.push((Timestamp::default(), 0));
        self.tick_within(self.gates.len() - 1, Duration::from_millis(10));
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now.plus(span), self.number, event)));
    }

    /// The next event of a kind, by how often that comes.
    fn after_about(&mut self, event: Event) {
        let mean = match event {
            Event::Request => 1,
            Event::Mood => self.chance.pick(&[5, 60, 200]),
            Event::List => 30,
            Event::Crash => 200,
            _ => 20,
        };
        let span = self.chance.about(Duration::from_secs(mean));
        self.after(span, event);
    }

    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn broke(&mut self, promise: Promise, what: String) {
        let after = self.now.since(Timestamp::from_secs(START)).as_secs_f64();
        self.broken.get_or_insert((promise, format!("after {after:.3} s, {what}")));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(instance, number) => self.tick(instance, number),
            Event::Deliver(number) => return self.deliver(number),
            Event::Begin => return self.begin(),
            Event::Request => self.request(),
            Event::Mood => {
                self.mood = if self.mood == Mood::Well { self.chance.pick(&MOODS) } else { Mood::Well };
                self.calm_since = self.now;
            }
            Event::List => self.list(),
            Event::Crash => {
                let instance = self.chance.below(self.gates.len());
                if self.gates[instance].take().is_some() {
                    self.count("crashes");
                    self.calm_since = self.now;
                    self.waiting.retain(|(waits_at, _), _| *waits_at != instance);
                    self.calls.retain(|_, call| call.instance != instance);
                    let span = self.chance.between(Duration::ZERO, Duration::from_secs(2));
                    self.after(span, Event::Begin);
                }
            }
            Event::Spoil => self.spoil(),
        }
        if !matches!(event, Event::Tick(..)) {
            self.after_about(event);
        }
    }

    /// Another plugin writes nonsense into a shared value.
    fn spoil(&mut self) {
        let mut names = self.store.names();
        names.sort_unstable();
        if !self.vandals || names.is_empty() {
            return;
        }
        self.count("spoilt values");
        let name = &names[self.chance.below(names.len())];
        let mut value = self.store.get(name).map(|(value, _)| value).unwrap_or_default();
        value.truncate(self.chance.below(value.len().max(1)));
        self.store.put(name, &value).expect("it can be written");
    }

    /// A token is revoked, or is so no more.
    fn list(&mut self) {
        let mut listed = self.versions.last().map(|version| version.listed.clone()).unwrap_or_default();
        let token = self.chance.below(TOKENS);
        if !listed.remove(&token) {
            listed.insert(token);
        }
        self.versions.push(Version { since: self.now, listed });
        self.count("versions");
    }

    fn tick(&mut self, instance: usize, number: u64) {
        if self.ticks[instance].1 != number {
            return;
        }
        let now = self.now;
        let Some(gate) = &mut self.gates[instance] else { return };
        gate.tick(now);
        self.work(instance);
        let late = |waiter: (&(usize, u32), &Waiter)| waiter.0.0 == instance && waiter.1.deadline <= now;
        if self.waiting.iter().any(late) {
            self.broke(Promise::NobodyWaitsTooLong, format!("at instance {instance}"));
        }
        let Some(gate) = &self.gates[instance] else { return };
        let Some(span) = gate.poll_timeout(now) else {
            // No token has named a status list yet.
            self.ticks[instance].0 = Timestamp::default();
            return;
        };
        let late = self.chance.between(Duration::ZERO, LATE);
        self.ticks[instance].0 = Timestamp::default();
        self.tick_within(instance, span.max(Duration::from_millis(10)) + late);
    }

    fn tick_within(&mut self, instance: usize, span: Duration) {
        let at = self.now.plus(span);
        let (next, number) = &mut self.ticks[instance];
        if *next > Timestamp::default() && *next <= at {
            return;
        }
        *next = at;
        *number += 1;
        let event = Event::Tick(instance, *number);
        self.after(span, event);
    }

    fn work(&mut self, instance: usize) {
        while let Some(effect) = self.gates[instance].as_mut().and_then(Gate::next_effect) {
            match effect {
                Effect::Close(_) | Effect::Log(..) => {}
                Effect::Fetch { lookup, request } => self.send(instance, lookup, &request),
                Effect::Wake(stream, waited) => self.wake(instance, stream, waited),
            }
        }
    }

    fn send(&mut self, instance: usize, lookup: LookupId, request: &HttpRequest) {
        self.count("fetches");
        if self.sabotage == Sabotage::GivesUp && self.failures >= 3 {
            return;
        }
        if let Some(other) = self.calls.values().next().filter(|_| !self.vandals) {
            let what = format!("instances {instance} and {}", other.instance);
            self.broke(Promise::OneFetchAtOnce, what);
        }
        let (response, is_good) = self.answer(request);
        let hangs = matches!(response, Ok(HttpResponse { status: 504, .. }));
        let longest = (self.timeout / 2).min(WAY);
        let span =
            if hangs { self.timeout } else { self.chance.between(Duration::from_micros(200), longest) };
        self.number += 1;
        let number = self.number;
        self.calls.insert(number, Call { instance, lookup, response, is_good });
        self.after(span, Event::Deliver(number));
    }

    /// What the source answers, and whether that says how things are.
    fn answer(&mut self, request: &HttpRequest) -> (Result<HttpResponse, FetchError>, bool) {
        let status = |status| Ok(HttpResponse { status, ..HttpResponse::default() });
        let conditional = request.headers.iter().any(|(name, _)| name == "if-none-match");
        let failure = match self.mood {
            Mood::Well => None,
            Mood::Hung => Some(status(504)),
            Mood::Status(304) if conditional => Some(status(500)),
            Mood::Status(code) => Some(status(code)),
            Mood::Resetting => Some(Err(FetchError::NoAnswer)),
            Mood::Html => Some(Ok(HttpResponse { status: 200, body: b"<p>".to_vec(), ..Default::default() })),
            Mood::Large => Some(Err(FetchError::TooLarge { size: 9 << 20, limit: request.max_bytes })),
        };
        if let Some(failure) = failure {
            return (failure, false);
        }
        if let Some(page) = self.pages.get(&request.endpoint.path) {
            let body = page.clone();
            return (Ok(HttpResponse { status: 200, body, ..HttpResponse::default() }), false);
        }
        let number = match self.sabotage {
            Sabotage::ListsLate => self.versions.len().saturating_sub(3),
            _ => self.versions.len() - 1,
        };
        let etag = format!("\"{number}\"");
        if request.headers.iter().any(|(name, value)| name == "if-none-match" && value.0 == etag) {
            self.count("not modified");
            return (status(304), true);
        }
        let body = self.body(number);
        (Ok(HttpResponse { status: 200, etag: Some(etag), body, ..HttpResponse::default() }), true)
    }

    /// The list as it is served.
    fn body(&mut self, number: usize) -> Vec<u8> {
        let listed: Vec<usize> = match self.sabotage {
            Sabotage::ListsAll => (0..TOKENS).collect(),
            _ => self.versions[number].listed.iter().copied().collect(),
        };
        match self.kind {
            Kind::Document => {
                let entry = |token: &usize| json!({ "issuer": ISSUER, "jti": format!("t{token}"), "until": START + 24 * 3600 });
                let entries: Vec<Value> = listed.iter().map(entry).collect();
                json!({ "version": 1, "entries": entries }).to_string().into_bytes()
            }
            Kind::Pages => {
                let mut draft = Draft::default();
                let names = listed.iter().map(|token| format!("t{token}"));
                // Others, so that there are several pages.
                for jti in names.chain((0..20).map(|other| format!("other-{other}"))) {
                    let name =
                        portcullis::RevocationKey::new(portcullis::RevocationKind::Token, ISSUER, &jti);
                    draft.entry(name, Some(START + 24 * 3600));
                }
                let list = draft.finish(4, self.now);
                for page in list.pages() {
                    let path = Index::page_path(PATH, page.digest());
                    self.pages.insert(path, page.bytes().to_vec());
                }
                list.index().to_json().into_bytes()
            }
            Kind::Status => {
                let byte = listed.iter().fold(0u8, |byte, token| byte | 1 << token);
                let claims = json!({
                    "sub": STATUS_URI, "iat": self.now.as_secs(), "ttl": self.interval.as_secs(),
                    "status_list": { "bits": 1, "lst": b64(zlib(byte)) },
                });
                let header = json!({ "alg": "EdDSA", "kid": key().kid(), "typ": "statuslist+jwt" });
                key().sign_jws(&header, claims.to_string().as_bytes()).into_bytes()
            }
        }
    }

    fn deliver(&mut self, number: u64) {
        let Some(Call { instance, lookup, response, is_good }) = self.calls.remove(&number) else { return };
        let is_page = matches!(&response, Ok(answer) if answer.status == 200 && answer.etag.is_none())
            && self.mood == Mood::Well;
        if is_good {
            self.last_good = self.now;
            self.failures = 0;
        } else if !is_page {
            self.count("failures");
            self.failures += 1;
        }
        let now = self.now;
        let Some(gate) = &mut self.gates[instance] else { return };
        gate.fetched(lookup, response, now);
        self.work(instance);
        // As the host does after an answer.
        let timeout = self.gates[instance].as_ref().and_then(|gate| gate.poll_timeout(now));
        if let Some(span) = timeout {
            self.tick_within(instance, span.max(Duration::from_millis(10)) + LATE);
        }
    }

    fn request(&mut self) {
        let alive: Vec<usize> = (0..self.gates.len()).filter(|at| self.gates[*at].is_some()).collect();
        if alive.is_empty() {
            return;
        }
        let (instance, token) = (self.chance.pick(&alive), self.chance.below(TOKENS));
        self.stream += 1;
        let (stream, now) = (self.stream, self.now);
        let Some(gate) = &mut self.gates[instance] else { return };
        let outcome = ask(token, |request| gate.decide(StreamId(stream), request, now));
        let waiter = Waiter { token, deadline: now.plus(self.timeout) };
        self.judge(instance, stream, waiter, &outcome);
        self.work(instance);
    }

    fn wake(&mut self, instance: usize, stream: StreamId, waited: Waited) {
        if self.sabotage == Sabotage::WakesNotAll && self.chance.once_in(3) {
            return;
        }
        let Some(waiter) = self.waiting.remove(&(instance, stream.0)) else { return };
        let now = self.now;
        let Some(gate) = &mut self.gates[instance] else { return };
        let outcome = ask(waiter.token, |request| gate.resume(stream, waited, request, now));
        self.judge(instance, stream.0, waiter, &outcome);
    }

    /// Was that lawful?
    fn judge(&mut self, instance: usize, stream: u32, waiter: Waiter, outcome: &Outcome) {
        let said = match outcome {
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => {
                self.count("waits");
                self.waiting.insert((instance, stream), waiter);
                return self.tick_within(instance, Duration::from_millis(10));
            }
            Outcome::Allow(_) => "passes",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        };
        self.count(said);
        let token = waiter.token;
        let what = format!("t{token} at instance {instance}: {said}");
        let calm =
            self.mood == Mood::Well && !self.vandals && self.now.since(self.calm_since) > self.recovery();
        // Its way to two fetches, an interval, and a second; ticks come late here.
        let ways = if self.kind == Kind::Pages { 20 } else { 2 };
        let in_time = self.interval + Duration::from_secs(1) + LATE * 3 + WAY * ways;
        let then = self.now.minus(in_time);
        let since_then = |window: Timestamp| {
            let first = self.versions.iter().rposition(|version| version.since <= window).unwrap_or(0);
            &self.versions[first..]
        };
        match said {
            "passes" => {
                if calm && since_then(then).iter().all(|version| version.listed.contains(&token)) {
                    self.broke(Promise::RevocationActsInTime, what);
                } else if self.now.since(self.last_good) > self.staleness + LATE {
                    self.broke(Promise::NoListTooOld, what);
                }
            }
            "revoked" => {
                let listed = since_then(then).iter().any(|version| version.listed.contains(&token));
                if !listed && calm {
                    self.broke(Promise::OnlyListedTokens, what);
                }
            }
            "revocation_unavailable" if calm => self.broke(Promise::HealsInTime, what),
            "revocation_unavailable" => {}
            _ => self.broke(Promise::OnlyListedTokens, what),
        }
    }

    /// The longest pause between two tries, the lease of an instance that died, a poll, and late ticks.
    fn recovery(&self) -> Duration {
        let pause = if self.kind == Kind::Status { Duration::from_secs(30) } else { self.interval };
        pause.mul_f64(1.2) + self.timeout * 12 + self.interval + Duration::from_secs(3) + LATE * 3
    }
}

/// One byte in zlib, without compression.
fn zlib(byte: u8) -> Vec<u8> {
    let (a, b) = (1 + u32::from(byte), 1 + u32::from(byte));
    let mut packed = vec![0x78, 0x01, 0x01, 0x01, 0x00, 0xfe, 0xff, byte];
    packed.extend(((b << 16) | a).to_be_bytes());
    packed
}

/// Puts a request with this token together and hands it on.
fn ask<T>(number: usize, hand: impl FnOnce(&Request<'_>) -> T) -> T {
    let bearer = format!("Bearer {}", token(number));
    let fields: [(&[u8], &[u8]); 3] =
        [(b":method", b"GET"), (b":path", b"/"), (b"authorization", bearer.as_bytes())];
    hand(&Request::new(&fields))
}
