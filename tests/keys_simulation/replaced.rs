//! Keys that are replaced under their key id, or have none, and keys that are listed late, while forged tokens keep
//! coming and the source asks for patience: a good token passes in time, a forged one gets 401, and the source is not
//! asked more often than the documentation says.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use harness::idp::{self, Alg, Key, TokenBuilder, flip_bit};
use portcullis::{
    Config, Effect, Environment, Gate, HttpResponse, InMemoryStore, LookupId, Outcome, Store, StreamId,
    Timestamp,
};
use serde_json::{Value, json};

use crate::chance::Chance;
use crate::plan::{AUDIENCE, ISSUER, START};
use crate::request::request;

/// What holds in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// A key that was replaced under its key id is known one cooldown after its first token came, however rarely tokens
    /// come.
    ReplacedKeysHeal,
    /// A key that is listed up to ten seconds late is known sixteen seconds after its first token came.
    LateKeysPass,
    /// A forged token under a known key id never gets anything but 401.
    ForgedTokensGet401,
    /// Three fetches and one in each cooldown, however many tokens are forged.
    FetchesAreBounded,
    /// Nobody asks before the time that the source named.
    RetryAfterIsHeeded,
}

/// Something that is broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    None,
    /// The source goes on with a replaced key for longer than a cooldown.
    ReplacesLate,
    /// The source lists keys more than ten seconds late.
    ListsLate,
    /// Keys do not outlive an outage.
    TrustsNothing,
    /// Each worker has a store of its own.
    SharesNothing,
    /// What the source says of the time to come again is lost on the way.
    LosesRetryAfter,
}

const STEP: Duration = Duration::from_millis(20);
const SPAN: Duration = Duration::from_secs(300);
/// How late a listing may be, and when its key is accepted.
const LATE: Duration = Duration::from_secs(10);
const LATE_KEY_PASSES: Duration = Duration::from_secs(16);
/// What an answer takes on its way, and the ticks beside it.
const WAY: Duration = Duration::from_secs(1);
const KEYS: usize = 12;

/// Keys and a token of each. All but the late ones have one name, or none.
struct Wallet {
    keys: Vec<Key>,
    tokens: Vec<String>,
}

fn wallet(late: bool, named: bool) -> &'static Wallet {
    static ALL: OnceLock<[Wallet; 3]> = OnceLock::new();
    let make = |kid: &dyn Fn(usize) -> String, named: bool| {
        let keys: Vec<Key> = (0..KEYS).map(|n| Key::generate(Alg::EdDSA, &kid(n))).collect();
        let token = |key: &Key| {
            let times = json!({ "iat": START, "exp": START + 24 * 3600 });
            let token = TokenBuilder::new(key, ISSUER, AUDIENCE).claims(times);
            if named { token.sign() } else { token.without_header("kid").sign() }
        };
        let tokens = keys.iter().map(token).collect();
        Wallet { keys, tokens }
    };
    let all = ALL.get_or_init(|| {
        let main = |_: usize| "main".to_owned();
        [make(&main, true), make(&main, false), make(&|n| format!("late-{n}"), true)]
    });
    match (late, named) {
        (true, _) => &all[2],
        (false, true) => &all[0],
        (false, false) => &all[1],
    }
}

/// Somebody with a token of a new key, who sends it now and then.
#[derive(Clone, Copy)]
struct Honest {
    late: bool,
    key: usize,
    /// When he sent it first.
    first: Option<Timestamp>,
    /// When he sends it again; none once another key has taken its place.
    next: Option<Timestamp>,
}

/// Whose request it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Honest(usize),
    Forger,
}

struct Run {
    chance: Chance,
    sabotage: Sabotage,
    cooldown: Duration,
    named: bool,
    gates: Vec<Gate>,
    ticks: Vec<Timestamp>,
    now: Timestamp,
    /// The key of the one name that is listed, and since when.
    listed: (usize, Timestamp),
    before: usize,
    /// Keys that are listed late, each with the time from which on.
    late: Vec<(usize, Timestamp)>,
    /// Until when the source answers 503, and from when on all is well again.
    busy_until: Timestamp,
    well_since: Timestamp,
    hold_until: Timestamp,
    calls: Vec<(usize, LookupId, Timestamp)>,
    fetches: u64,
    failures: u64,
    stream: u32,
    waiting: BTreeMap<u32, (usize, String, Whose, Timestamp)>,
    honest: Vec<Honest>,
    answers: BTreeMap<&'static str, u64>,
    broken: Option<(Promise, String)>,
}

/// What came of a run: what was answered, or the promise that was broken.
pub(crate) type Report = Result<BTreeMap<&'static str, u64>, (Promise, String)>;

pub(crate) fn run(seed: u64, workers: usize, sabotage: Sabotage) -> Report {
    let mut chance = Chance::new(seed ^ 0x5eed_0f1e);
    let start = Timestamp::from_secs(START);
    let mut run = Run {
        cooldown: Duration::from_secs(chance.pick(&[10, 30, 60])),
        named: chance.once_in(2),
        chance,
        sabotage,
        gates: Vec::new(),
        ticks: vec![Timestamp::default(); workers],
        now: start,
        listed: (0, start),
        before: 0,
        late: Vec::new(),
        busy_until: start,
        well_since: start,
        hold_until: start,
        calls: Vec::new(),
        fetches: 0,
        failures: 0,
        stream: 0,
        waiting: BTreeMap::new(),
        honest: Vec::new(),
        answers: BTreeMap::new(),
        broken: None,
    };
    run.begin(workers);
    let lists_late = run.chance.once_in(2) || sabotage == Sabotage::ListsLate;
    let forges = Duration::from_millis(run.chance.pick(&[100, 700, 5000]));
    let what = format!(
        "seed {seed}, {workers} workers, cooldown {:?}, named {}, a forged token every {forges:?}",
        run.cooldown, run.named
    );
    run.play(forges, lists_late);
    match run.broken {
        Some((promise, text)) => Err((promise, format!("{promise:?}: {text}; {what}"))),
        None => Ok(run.answers),
    }
}

impl Run {
    fn begin(&mut self, workers: usize) {
        let source = json!({
            "http_uri": { "uri": format!("{ISSUER}/jwks"), "cluster": "idp", "timeout": "5s" },
            "cache_duration": if self.sabotage == Sabotage::TrustsNothing { "20s" } else { "600s" },
            "stale_if_error": if self.sabotage == Sabotage::TrustsNothing { "0s" } else { "3600s" },
            "unknown_kid_cooldown": format!("{}s", self.cooldown.as_secs()),
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

    fn play(&mut self, forges: Duration, lists_late: bool) {
        let start = self.now;
        let seconds = Duration::from_secs;
        let mut forged_at = start.plus(seconds(2));
        let mut replaced_at = start.plus(self.chance.between(seconds(3), seconds(60)));
        let mut late_at = start.plus(self.chance.between(seconds(3), seconds(60)));
        let mut busy_at = start.plus(self.chance.between(seconds(20), seconds(200)));
        while self.broken.is_none() && self.now.since(start) < SPAN {
            self.now = self.now.plus(STEP);
            self.deliver();
            self.tick();
            if self.now >= forged_at {
                forged_at = self.now.plus(forges);
                let token = flip_bit(&wallet(false, self.named).tokens[self.listed.0]);
                self.send(&token, Whose::Forger);
            }
            if self.now >= replaced_at && self.listed.0 + 1 < KEYS {
                replaced_at = self.now.plus(self.chance.between(seconds(70), seconds(130)));
                self.replace();
            }
            if lists_late && self.now >= late_at && self.late.len() < KEYS {
                late_at = self.now.plus(self.chance.between(seconds(50), seconds(90)));
                self.sign_early();
            }
            if self.now >= busy_at {
                busy_at = self.now.plus(self.chance.between(seconds(100), seconds(200)));
                self.busy_until = self.now.plus(self.chance.between(seconds(1), seconds(15)));
                self.well_since = self.busy_until;
            }
            self.send_honest();
        }
        self.count(start, lists_late);
    }

    /// Another key under the same name, in the place of the one before.
    fn replace(&mut self) {
        let late = if self.sabotage == Sabotage::ReplacesLate { self.cooldown * 3 } else { Duration::ZERO };
        self.before = self.listed.0;
        self.listed = (self.before + 1, self.now.plus(late));
        // Nobody sends the old one any more.
        self.honest.iter_mut().filter(|honest| !honest.late).for_each(|honest| honest.next = None);
        let next = self.now.plus(self.chance.about(Duration::from_secs(3)));
        self.honest.push(Honest { late: false, key: self.listed.0, first: None, next: Some(next) });
    }

    /// A key with which tokens are signed before it is listed.
    fn sign_early(&mut self) {
        let most = if self.sabotage == Sabotage::ListsLate { LATE * 4 } else { LATE };
        let from = self.now.plus(self.chance.between(Duration::ZERO, most));
        let key = self.late.len();
        self.late.push((key, from));
        self.honest.push(Honest { late: true, key, first: None, next: Some(self.now) });
    }

    /// What the source lists now.
    fn set(&self) -> Value {
        let (key, since) = self.listed;
        let key = if self.now < since { self.before } else { key };
        let late = self.late.iter().filter(|(_, from)| *from <= self.now);
        let keys = late.map(|(key, _)| &wallet(true, true).keys[*key]);
        let mut set = idp::jwks(keys.chain([&wallet(false, self.named).keys[key]]));
        if !self.named {
            for member in set["keys"].as_array_mut().expect("a list") {
                if member["kid"] == "main" {
                    member.as_object_mut().expect("a key").remove("kid");
                }
            }
            // A token without a key id is tried against the first few.
            set["keys"].as_array_mut().expect("a list").rotate_right(1);
        }
        set
    }

    fn deliver(&mut self) {
        let due: Vec<_> = self.calls.extract_if(.., |(_, _, at)| *at <= self.now).collect();
        for (worker, lookup, _) in due {
            let answer = if self.now < self.busy_until {
                self.failures += 1;
                let seconds = 1 + self.chance.below(20) as u64;
                self.hold_until = self.now.plus(Duration::from_secs(seconds));
                self.well_since = self.busy_until.max(self.hold_until);
                let keeps = self.sabotage != Sabotage::LosesRetryAfter;
                let retry_after = keeps.then(|| seconds.to_string());
                HttpResponse { status: 503, retry_after, ..HttpResponse::default() }
            } else {
                let body = self.set().to_string().into_bytes();
                HttpResponse { status: 200, body, ..HttpResponse::default() }
            };
            self.gates[worker].fetched(lookup, Ok(answer), self.now);
            self.work(worker);
        }
    }

    fn tick(&mut self) {
        for worker in 0..self.gates.len() {
            if self.now < self.ticks[worker] {
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
                    if self.now < self.hold_until {
                        let early = self.hold_until.since(self.now);
                        self.broke(Promise::RetryAfterIsHeeded, format!("{early:?} too early"));
                    }
                    let span = self.chance.between(Duration::from_millis(5), Duration::from_millis(300));
                    self.calls.push((worker, lookup, self.now.plus(span)));
                }
                Effect::Wake(stream, waited) => {
                    let Some((_, token, whose, sent)) = self.waiting.remove(&stream.0) else { continue };
                    let outcome = request(&token, |request| {
                        self.gates[worker].resume(stream, waited, request, self.now)
                    });
                    self.judge(worker, stream.0, token, whose, sent, outcome);
                }
            }
        }
    }

    fn send(&mut self, token: &str, whose: Whose) {
        let worker = self.chance.below(self.gates.len());
        self.stream += 1;
        let stream = self.stream;
        let outcome =
            request(token, |request| self.gates[worker].decide(StreamId(stream), request, self.now));
        self.judge(worker, stream, token.to_owned(), whose, self.now, outcome);
        self.work(worker);
        if self.waiting.contains_key(&stream) {
            self.ticks[worker] = self.ticks[worker].min(self.now.plus(Duration::from_millis(10)));
        }
    }

    fn judge(
        &mut self,
        worker: usize,
        stream: u32,
        token: String,
        whose: Whose,
        sent: Timestamp,
        outcome: Outcome,
    ) {
        let said = match &outcome {
            Outcome::Allow(_) => "passes",
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => "waits",
            Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        };
        *self.answers.entry(said).or_default() += 1;
        if said == "waits" {
            self.waiting.insert(stream, (worker, token, whose, sent));
            return;
        }
        let at = match whose {
            Whose::Honest(at) => at,
            Whose::Forger if said == "signature_invalid" => return,
            Whose::Forger => {
                return self.broke(Promise::ForgedTokensGet401, format!("{said} at worker {worker}"));
            }
        };
        let honest = self.honest[at];
        if said == "passes" || honest.next.is_none() {
            return;
        }
        // From when on it must pass: what stands in the way of the source does not count.
        let first = honest.first.unwrap_or(sent);
        let (promise, within) = match honest.late {
            true => (Promise::LateKeysPass, LATE_KEY_PASSES),
            false => (Promise::ReplacedKeysHeal, self.cooldown),
        };
        // After an outage of the source the tries are up to twice as far apart.
        let was_away = self.well_since > first;
        let by = first.max(self.well_since).plus(within).plus(WAY);
        let by = if was_away { by.plus(Duration::from_secs(75)) } else { by };
        if sent >= by {
            let after = sent.since(first);
            self.broke(promise, format!("key {} {said} after {after:?}, at worker {worker}", honest.key));
        }
    }

    fn send_honest(&mut self) {
        for at in 0..self.honest.len() {
            let Honest { late, key, first, next } = self.honest[at];
            if next.is_none_or(|next| self.now < next) {
                continue;
            }
            let span = self.chance.about(Duration::from_secs(4)).max(STEP);
            let first = first.or(Some(self.now));
            self.honest[at] = Honest { late, key, first, next: Some(self.now.plus(span)) };
            let token = wallet(late, self.named).tokens[key].clone();
            self.send(&token, Whose::Honest(at));
        }
    }

    fn count(&mut self, start: Timestamp, lists_late: bool) {
        let seconds = self.now.since(start).as_secs();
        // The first, those in the last part of their life, and those that failed.
        let usual = 1 + seconds / 480 + self.failures;
        let again = if lists_late { 2 + seconds / 5 } else { 0 };
        let most = usual + 3 + seconds / self.cooldown.as_secs() + again;
        if self.fetches > most && self.sabotage != Sabotage::TrustsNothing {
            self.broke(
                Promise::FetchesAreBounded,
                format!("{} in {seconds} s, {most} at most", self.fetches),
            );
        }
        *self.answers.entry("fetches").or_default() += self.fetches;
        *self.answers.entry("failures").or_default() += self.failures;
    }

    fn broke(&mut self, promise: Promise, what: String) {
        let after = self.now.since(Timestamp::from_secs(START)).as_secs_f64();
        self.broken.get_or_insert((promise, format!("after {after:.2} s, {what}")));
    }
}
