//! Rotations while made-up key ids and the ids of removed keys keep coming: whoever has a token of a new key is never
//! refused for good, passes soon, and the provider is not asked more often than the documentation says.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use harness::idp::{self, Alg, Key, TokenBuilder, b64};
use portcullis::{
    Config, Effect, Environment, Gate, HttpResponse, InMemoryStore, LookupId, Outcome, Store, StreamId,
    Timestamp,
};
use serde_json::json;

use crate::chance::Chance;
use crate::plan::{AUDIENCE, ISSUER, START};
use crate::request::request;

/// What holds in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// A token of a key that was never listed before gets 503 with `Retry-After`, waits or passes.
    NewKeysAreNotRefused,
    /// Within 8 seconds, for a client that comes again when it is told to.
    NewKeysPassSoon,
    /// Three fetches and one in each cooldown for key ids that are new; two and one in 5 s for those that come again.
    FetchesAreBounded,
}

/// Something that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    None,
    /// The provider signs with keys some seconds before it lists them.
    ListsLate,
    /// Nobody who waits is woken.
    WakesNobody,
    /// Each worker has a store of its own.
    SharesNothing,
    /// Half the workers never tick, so that they neither fetch nor take over.
    StandsStill,
}

/// Who else sends requests.
#[derive(Clone, Copy, Debug)]
enum Other {
    /// A key id that nobody has seen, every so many milliseconds.
    MadeUp(u64),
    /// The same, each of them twice, a second apart.
    Twice(u64),
    /// One of a few, over and over.
    Few(u64, u64),
    /// The token of a key that was removed.
    Retired(u64),
    /// The token of a key that was removed before this proxy began.
    Forgotten(u64),
}

const KEYS: usize = 10;
/// Those before this one are removed before a run begins.
const FIRST: usize = 1;
const STEP: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(8);

fn wallet() -> &'static [(Key, String)] {
    static WALLET: OnceLock<Vec<(Key, String)>> = OnceLock::new();
    WALLET.get_or_init(|| {
        let one = |n| {
            let key = Key::generate(Alg::EdDSA, &format!("r{n}"));
            let times = json!({ "iat": START, "exp": START + 24 * 3600 });
            let token = TokenBuilder::new(&key, ISSUER, AUDIENCE).claims(times).sign();
            (key, token)
        };
        (0..KEYS).map(one).collect()
    })
}

fn made_up(kid: &str) -> String {
    let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
    let rest = wallet()[0].1.split_once('.').map_or("", |(_, rest)| rest);
    format!("{}.{rest}", b64(header))
}

/// A request of a client with a token of a new key, until it passes.
struct Honest {
    token: usize,
    since: Timestamp,
    /// When it sends; none while it waits.
    next: Option<Timestamp>,
}

struct Run {
    chance: Chance,
    sabotage: Sabotage,
    cooldown: u64,
    gates: Vec<Gate>,
    ticks: Vec<Timestamp>,
    now: Timestamp,
    listed: Vec<usize>,
    listed_since: Timestamp,
    calls: Vec<(usize, LookupId, Timestamp)>,
    fetches: u64,
    stream: u32,
    /// Who waits: the worker, the token, and whose it is.
    waiting: BTreeMap<u32, (usize, String, Option<usize>)>,
    honest: Vec<Honest>,
    answers: BTreeMap<&'static str, u64>,
    broken: Option<(Promise, String)>,
}

/// What came of a run: what was answered, or the promise that was broken.
pub(crate) type Report = Result<BTreeMap<&'static str, u64>, (Promise, String)>;

pub(crate) fn run(seed: u64, workers: usize, sabotage: Sabotage) -> Report {
    let mut chance = Chance::new(seed ^ 0x7f4a_7c15);
    let cooldown = chance.pick(&[10, 30, 30, 120]);
    let others = others(&mut chance);
    let mut run = Run {
        chance,
        sabotage,
        cooldown,
        gates: Vec::new(),
        ticks: vec![Timestamp::default(); workers],
        now: Timestamp::from_secs(START),
        listed: vec![FIRST],
        listed_since: Timestamp::from_secs(START),
        calls: Vec::new(),
        fetches: 0,
        stream: 0,
        waiting: BTreeMap::new(),
        honest: Vec::new(),
        answers: BTreeMap::new(),
        broken: None,
    };
    run.begin(workers);
    let what = format!("seed {seed}, {workers} workers, cooldown {cooldown} s, {others:?}");
    run.play(&others);
    match run.broken {
        Some((promise, text)) => Err((promise, format!("{promise:?}: {text}; {what}"))),
        None => Ok(run.answers),
    }
}

fn others(chance: &mut Chance) -> Vec<Other> {
    let every = |chance: &mut Chance| chance.pick(&[100, 500, 2000, 2000, 5000]);
    let count = 1 + chance.below(3);
    let mut all = Vec::new();
    for _ in 0..count {
        let span = every(chance);
        all.push(match chance.below(5) {
            0 => Other::MadeUp(span),
            1 => Other::Twice(span),
            2 => Other::Few(span, 1 + chance.below(6) as u64),
            3 => Other::Retired(span),
            _ => Other::Forgotten(span),
        });
    }
    all
}

impl Run {
    fn begin(&mut self, workers: usize) {
        let source = json!({
            "http_uri": { "uri": format!("{ISSUER}/jwks"), "cluster": "idp", "timeout": "5s" },
            "cache_duration": "600s",
            "unknown_kid_cooldown": format!("{}s", self.cooldown),
        });
        let config = json!({
            "providers": { "corp": { "issuer": ISSUER, "audiences": [AUDIENCE], "remote_jwks": source } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        })
        .to_string();
        let shared: Rc<dyn Store> = Rc::new(InMemoryStore::default());
        for _ in 0..workers {
            let store: Rc<dyn Store> = match self.sabotage {
                Sabotage::SharesNothing => Rc::new(InMemoryStore::default()),
                _ => Rc::clone(&shared),
            };
            let config = Config::parse(config.as_bytes(), &|_| None).expect("a sound configuration");
            let world = Environment { store, ..Environment::alone(self.chance.number()) };
            self.gates.push(Gate::new(config, world, self.now));
        }
    }

    fn play(&mut self, others: &[Other]) {
        let start = self.now;
        let mut next: Vec<Timestamp> = others
            .iter()
            .map(|_| start.plus(self.chance.between(Duration::from_secs(1), Duration::from_secs(3))))
            .collect();
        let mut again: Vec<(Timestamp, String)> = Vec::new();
        let mut rotates = start.plus(Duration::from_secs(20));
        let mut key = FIRST;
        let mut number = 0u64;
        while self.broken.is_none() {
            self.now = self.now.plus(STEP);
            self.deliver();
            self.tick();
            if self.now >= rotates {
                if key + 1 == KEYS {
                    break;
                }
                key += 1;
                self.rotate(key);
                rotates =
                    self.now.plus(self.chance.between(Duration::from_secs(12), Duration::from_secs(70)));
            }
            for (other, next) in others.iter().zip(&mut next) {
                if self.now < *next {
                    continue;
                }
                number += 1;
                let fresh = format!("made-up-{number}");
                let (span, token) = match other {
                    Other::MadeUp(span) => (*span, made_up(&fresh)),
                    Other::Twice(span) => {
                        again.push((self.now.plus(Duration::from_secs(1)), made_up(&fresh)));
                        (*span, made_up(&fresh))
                    }
                    Other::Few(span, count) => (*span, made_up(&format!("few-{}", number % count))),
                    Other::Retired(span) if self.listed.contains(&FIRST) => (*span, made_up(&fresh)),
                    Other::Retired(span) => (*span, wallet()[FIRST].1.clone()),
                    Other::Forgotten(span) => (*span, wallet()[0].1.clone()),
                };
                *next = self.now.plus(Duration::from_millis(span));
                self.send(&token, None);
            }
            let due = again.partition_point(|(at, _)| *at <= self.now);
            for (_, token) in again.drain(..due).collect::<Vec<_>>() {
                self.send(&token, None);
            }
            self.honest();
        }
        self.count(start);
    }

    /// A new key; the ones before go, or stay for a while.
    fn rotate(&mut self, key: usize) {
        if self.chance.once_in(3) {
            self.listed = vec![self.listed[0]];
        } else {
            self.listed.clear();
        }
        self.listed.insert(0, key);
        let late = if self.sabotage == Sabotage::ListsLate { 3 } else { 0 };
        self.listed_since = self.now.plus(Duration::from_secs(late));
        for _ in 0..1 + self.chance.below(3) {
            let span = self.chance.between(Duration::ZERO, Duration::from_secs(2));
            let since = self.now.plus(span);
            self.honest.push(Honest { token: key, since, next: Some(since) });
        }
    }

    /// What the provider is asked for is answered after a while, with what it listed when it was asked.
    fn deliver(&mut self) {
        let due: Vec<_> = self.calls.extract_if(.., |(_, _, at)| *at <= self.now).collect();
        for (worker, lookup, _) in due {
            let late = self.now < self.listed_since;
            let listed: Vec<&Key> =
                self.listed.iter().skip(usize::from(late)).map(|key| &wallet()[*key].0).collect();
            let body = match listed.is_empty() {
                true => idp::jwks([&wallet()[FIRST].0]),
                false => idp::jwks(listed),
            };
            let answer =
                HttpResponse { status: 200, body: body.to_string().into_bytes(), ..HttpResponse::default() };
            self.gates[worker].fetched(lookup, Ok(answer), self.now);
            self.work(worker);
        }
    }

    fn tick(&mut self) {
        for worker in 0..self.gates.len() {
            if self.now < self.ticks[worker] || (self.sabotage == Sabotage::StandsStill && worker % 2 == 1) {
                continue;
            }
            self.gates[worker].tick(self.now);
            self.work(worker);
            let span = self.gates[worker].poll_timeout(self.now).expect("keys are fetched");
            self.ticks[worker] = self.now.plus(span.max(Duration::from_millis(10)));
        }
    }

    fn work(&mut self, worker: usize) {
        while let Some(effect) = self.gates[worker].next_effect() {
            match effect {
                Effect::Close(_) | Effect::Log(..) => {}
                Effect::Fetch { lookup, .. } => {
                    self.fetches += 1;
                    let span = self.chance.between(Duration::from_millis(5), Duration::from_millis(300));
                    self.calls.push((worker, lookup, self.now.plus(span)));
                }
                Effect::Wake(stream, waited) => {
                    if self.sabotage == Sabotage::WakesNobody {
                        continue;
                    }
                    let Some((_, token, whose)) = self.waiting.remove(&stream.0) else { continue };
                    let outcome = request(&token, |request| {
                        self.gates[worker].resume(stream, waited, request, self.now)
                    });
                    self.judge(worker, stream.0, token, whose, outcome);
                }
            }
        }
    }

    fn send(&mut self, token: &str, whose: Option<usize>) {
        let worker = self.chance.below(self.gates.len());
        self.stream += 1;
        let stream = self.stream;
        let outcome =
            request(token, |request| self.gates[worker].decide(StreamId(stream), request, self.now));
        self.judge(worker, stream, token.to_owned(), whose, outcome);
        self.work(worker);
        if self.waiting.contains_key(&stream) {
            self.ticks[worker] = self.ticks[worker].min(self.now.plus(Duration::from_millis(10)));
        }
    }

    fn judge(&mut self, worker: usize, stream: u32, token: String, whose: Option<usize>, outcome: Outcome) {
        let said = match &outcome {
            Outcome::Allow(_) => "passes",
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "waits",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        };
        *self.answers.entry(said).or_default() += 1;
        let Some(at) = whose else {
            if said == "waits" {
                self.waiting.insert(stream, (worker, token, whose));
            }
            return;
        };
        match outcome {
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => {
                self.waiting.insert(stream, (worker, token, whose));
            }
            Outcome::Allow(_) => self.honest[at].since = Timestamp::from_nanos(u64::MAX),
            Outcome::Deny(refusal) => {
                let headers = refusal.response.reply(false).headers;
                let after = headers.iter().find(|(name, _)| *name == "retry-after");
                match after.and_then(|(_, value)| value.parse().ok()) {
                    Some(after) if said == "keys_unavailable" => {
                        self.honest[at].next = Some(self.now.plus(Duration::from_secs(after)));
                    }
                    _ => self.broke(Promise::NewKeysAreNotRefused, format!("{said} at worker {worker}")),
                }
            }
        }
    }

    fn honest(&mut self) {
        for at in 0..self.honest.len() {
            let Honest { token, since, next } = self.honest[at];
            if since.as_nanos() != u64::MAX && self.now.since(since) > SOON {
                self.broke(Promise::NewKeysPassSoon, format!("r{token} has come since {since:?}"));
            }
            if next.is_some_and(|next| self.now >= next) {
                self.honest[at].next = None;
                self.send(&wallet()[token].1.clone(), Some(at));
            }
        }
    }

    fn count(&mut self, start: Timestamp) {
        let seconds = self.now.since(start).as_secs();
        // The first, those in the last part of their life, and those within a minute for a key that may come back.
        let usual = 1 + seconds / 60;
        let most = usual + 3 + seconds / self.cooldown + 2 + seconds / 5;
        if self.fetches > most {
            self.broke(
                Promise::FetchesAreBounded,
                format!("{} in {seconds} s, {most} at most", self.fetches),
            );
        }
        *self.answers.entry("fetches").or_default() += self.fetches;
    }

    fn broke(&mut self, promise: Promise, what: String) {
        let after = self.now.since(Timestamp::from_secs(START)).as_secs_f64();
        self.broken.get_or_insert((promise, format!("after {after:.2} s, {what}")));
    }
}
