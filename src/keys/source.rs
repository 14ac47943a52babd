//! The life of a remote key source: when to fetch, what to trust, how long.
//!
//! A state machine without I/O. The clock, the shared store and the answers come in; queries to be
//! sent and news come out. Every worker of a proxy and its main thread run one, and they agree through
//! the store: one of them fetches, the others take over what it got.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::discovery::jwks_endpoint;
use super::remote::{Answer, Endpoint, FetchError, Hidden, Origin, Query, Remote};
use super::set::{KeySet, Reading};
use super::shared::{Copy, State};
use super::store::{Stamp, Store};
use super::turn::{Turn, within};
use crate::time::Timestamp;

/// Something that a source wants done or known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// Send this, and report with [`Source::answered`].
    Ask(Query),
    /// A fetch ended, here or elsewhere in the proxy: whoever waited for it can be judged.
    Ended,
    /// This instance fetched the keys, or failed to.
    Tried(Result<(), ()>),
    /// The keys are others than before.
    Changed,
    /// Write this to the log.
    Log(log::Level, String),
}

/// What an unknown kid should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownKid {
    /// Wait: a fetch is under way, or due now, that may bring it.
    Wait,
    /// Do without: it was looked for in vain, or too many others were.
    GiveUp,
}

/// What an operator may want to see of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// How many keys there are.
    pub keys: usize,
    /// When they were last confirmed by the provider.
    pub last_success: Option<Timestamp>,
    /// When they are to be refreshed.
    pub next_refresh: Option<Timestamp>,
    /// Whether they serve past their life because the provider fails.
    pub stale: bool,
}

/// A remote key source, seen from one instance.
#[derive(Debug)]
pub struct Source {
    remote: Remote,
    turn: Turn,
    keys: Option<Held>,
    looked: bool,
    /// What this instance asks for, while it is at it.
    asks: Option<Asks>,
    /// The generation whose copy was not to be read.
    unreadable: u64,
    /// When an unknown kid last had it look at the shared state.
    peeked: Timestamp,
    /// An unknown kid asks for a fetch.
    wanted: bool,
    missing_kids: Vec<(String, Timestamp)>,
    /// Where in the last part of their life keys are refreshed: 0.8 to 0.9.
    refresh_at: f64,
    said: Age,
}

/// What the log was last told of the age of the keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Age {
    Fresh,
    Stale,
    Expired,
}

/// Keys at hand.
#[derive(Debug)]
struct Held {
    set: Rc<KeySet>,
    copy: Copy,
    life: Duration,
}

/// What is asked: the document, or the key set at an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asks {
    Document,
    Keys,
}

/// How often an unknown kid is reason enough to look at what the others have.
const PEEK: Duration = Duration::from_millis(5);
/// Known-missing kids that are remembered at most.
const MAX_MISSING: usize = 256;
/// The shortest lifetime that an answer can ask for.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The longest pause between two tries that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Fetches for unknown kids that may follow one another at once.
const KID_BURST: u32 = 3;

impl Held {
    /// From when on they are past their life.
    fn fresh_until(&self) -> Timestamp {
        self.copy.fetched_at.plus(self.life)
    }
}

impl Source {
    /// A source of which nothing is known yet. `random` tells this instance from the others and
    /// spreads their refreshes; `secret` seals what is shared.
    pub fn new(remote: Remote, random: u64, secret: Option<&str>) -> Self {
        let mut turn = Turn::new(&remote.identity(), random, secret);
        let refresh_at = turn.between(0.8, 0.9);
        Self {
            turn,
            remote,
            keys: None,
            looked: false,
            asks: None,
            unreadable: 0,
            peeked: Timestamp::default(),
            wanted: false,
            missing_kids: Vec::new(),
            refresh_at,
            said: Age::Fresh,
        }
    }

    /// How the source is reached.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The keys, if there are any that may still be trusted.
    pub fn keys(&self, now: Timestamp) -> Option<&Rc<KeySet>> {
        let held = self.keys.as_ref()?;
        (now < held.fresh_until().plus(self.remote.stale_if_error)).then_some(&held.set)
    }

    /// The keys, however old they are.
    pub fn held(&self) -> Option<&Rc<KeySet>> {
        self.keys.as_ref().map(|held| &held.set)
    }

    /// What an operator may want to see.
    pub fn status(&self, now: Timestamp) -> Status {
        match &self.keys {
            None => Status::default(),
            Some(held) => Status {
                keys: held.set.keys().len(),
                last_success: Some(held.copy.fetched_at),
                next_refresh: Some(self.due_at()),
                stale: now >= held.fresh_until(),
            },
        }
    }

    /// Whether an answer is under way, here or elsewhere, or the first fetch has yet to start.
    pub fn expects_answer(&self, now: Timestamp) -> bool {
        !self.looked || self.turn.is_busy(now) || now >= self.due_at()
    }

    /// When the next fetch may start.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.due_at().since(now)
    }

    fn due_at(&self) -> Timestamp {
        let refresh = self.keys.as_ref().map_or(Timestamp::default(), |held| {
            held.copy.fetched_at.plus(held.life.mul_f64(self.refresh_at))
        });
        refresh.max(self.turn.not_before())
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub fn look(&mut self, store: &dyn Store, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        self.catch_up(store, now, &mut news);
        news
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and nobody
    /// else is at it.
    pub fn tick(&mut self, store: &dyn Store, now: Timestamp) -> Vec<News> {
        let mut news = Vec::new();
        if self.turn.lease().is_some_and(|until| now >= until) {
            self.failed(store, FetchError::NoAnswer, now, &mut news);
        }
        let (state, stamp) = self.catch_up(store, now, &mut news);
        self.looked = true;
        self.bear_with_the_clock(now);
        self.note_staleness(now, &mut news);
        if self.turn.lease().is_some() || now < state.lease_until {
            return news;
        }
        let kid_fetch = self.wanted.then(|| self.take_kid_fetch(&state, now));
        if kid_fetch == Some(None) {
            // Somebody else took the last one. Whoever waits is told that there is none.
            self.wanted = false;
            news.push(News::Ended);
        }
        if let Some(kids_full_at) =
            kid_fetch.flatten().or((now >= self.due_at()).then_some(state.kids_full_at))
        {
            self.start(store, State { kids_full_at, ..state }, stamp, now, &mut news);
        }
        news
    }

    /// Tries to become the one that fetches.
    fn start(
        &mut self,
        store: &dyn Store,
        state: State,
        stamp: Option<Stamp>,
        now: Timestamp,
        news: &mut Vec<News>,
    ) {
        if !self.turn.start(store, state, stamp, self.remote.patience(), now) {
            return;
        }
        self.wanted = false;
        let (asks, endpoint) = match &self.remote.origin {
            Origin::Jwks(jwks) => (Asks::Keys, jwks.clone()),
            Origin::Discovery { document, .. } => (Asks::Document, document.clone()),
        };
        self.asks = Some(asks);
        news.push(News::Ask(self.query(endpoint)));
    }

    fn query(&self, endpoint: Endpoint) -> Query {
        let mut headers = self.remote.headers.clone();
        let keys = self.asks == Some(Asks::Keys);
        if let Some(held) = self.keys.as_ref().filter(|_| keys) {
            let mut condition = |name: &str, value: &Option<String>| {
                headers.extend(value.clone().map(|value| (name.to_owned(), Hidden(value))));
            };
            condition("if-none-match", &held.copy.etag);
            condition("if-modified-since", &held.copy.last_modified);
        }
        Query { endpoint, headers, max_bytes: self.remote.max_bytes }
    }

    /// The answer to the last query of this instance, or why there is none.
    pub fn answered(
        &mut self,
        store: &dyn Store,
        answer: Result<Answer, FetchError>,
        now: Timestamp,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let Some(asks) = self.asks else { return news };
        let step = answer.and_then(|answer| match asks {
            Asks::Document => self.document(&answer).map(Step::Ask),
            Asks::Keys => self.copy_of(answer, now).map(Step::Keep),
        });
        match step {
            Ok(Step::Ask(endpoint)) => {
                self.asks = Some(Asks::Keys);
                news.push(News::Ask(self.query(endpoint)));
            }
            Ok(Step::Keep((copy, set))) => self.succeeded(store, copy, set, now, &mut news),
            Err(error) => self.failed(store, error, now, &mut news),
        }
        news
    }

    fn document(&self, answer: &Answer) -> Result<Endpoint, FetchError> {
        let Origin::Discovery { document, issuers, elsewhere } = &self.remote.origin else {
            return Err(FetchError::NoAnswer);
        };
        if answer.status != 200 {
            return Err(FetchError::Status(answer.status));
        }
        self.check_size(&answer.body)?;
        jwks_endpoint(&answer.body, document, issuers, elsewhere.as_ref()).map_err(FetchError::Document)
    }

    fn check_size(&self, body: &[u8]) -> Result<(), FetchError> {
        let (size, limit) = (body.len(), self.remote.max_bytes);
        if size > limit { Err(FetchError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// The answer as it is to be kept, and the keys in it.
    fn copy_of(&self, answer: Answer, now: Timestamp) -> Result<(Copy, Rc<KeySet>), FetchError> {
        let max_age = answer.cache_control.as_deref().and_then(max_age);
        // Never a number that was used before, even where the shared state was lost in between.
        let generation = self.turn.next_generation(now);
        match (answer.status, &self.keys) {
            (200, _) => {
                self.check_size(&answer.body)?;
                let set = self.read(&answer.body)?;
                let Answer { etag, last_modified, body, .. } = answer;
                Ok((Copy { generation, fetched_at: now, max_age, etag, last_modified, body }, Rc::new(set)))
            }
            // Not modified (RFC 9110 section 15.4.5): only where we asked whether it was.
            (304, Some(held)) if held.copy.etag.is_some() || held.copy.last_modified.is_some() => {
                let max_age = max_age.or(held.copy.max_age);
                let copy = Copy { generation, fetched_at: now, max_age, ..held.copy.clone() };
                Ok((copy, Rc::clone(&held.set)))
            }
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    fn read(&self, body: &[u8]) -> Result<KeySet, FetchError> {
        // Whoever can reach the endpoint can read it: no secret comes from there.
        let Remote { format, max_keys, .. } = self.remote;
        KeySet::parse(body, Reading { format, max_keys, symmetric: false }).map_err(FetchError::Set)
    }

    /// Publishes new keys and takes them. The copy goes first: whoever sees the new generation finds it.
    fn succeeded(
        &mut self,
        store: &dyn Store,
        copy: Copy,
        set: Rc<KeySet>,
        now: Timestamp,
        news: &mut Vec<News>,
    ) {
        self.asks = None;
        self.turn.succeed(store, &copy);
        self.hold(copy, set, now, log::Level::Info, news);
        news.push(News::Tried(Ok(())));
        news.push(News::Ended);
    }

    /// The next try comes after 1 s, 2 s, 4 s … up to a minute, give or take a fifth.
    fn failed(&mut self, store: &dyn Store, error: FetchError, now: Timestamp, news: &mut Vec<News>) {
        self.asks = None;
        let pause = self.turn.fail(store, LONGEST_PAUSE, now);
        let kept =
            if self.keys(now).is_some() { "the keys at hand stay in use" } else { "there are no keys" };
        let text = format!("fetching keys failed: {error}; {kept}; next try in {:.1} s", pause.as_secs_f64());
        news.push(News::Log(log::Level::Warn, text));
        news.push(News::Tried(Err(())));
        news.push(News::Ended);
    }

    /// Reads the shared state, and takes over what changed in it.
    fn catch_up(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> (State, Option<Stamp>) {
        let (state, stamp) = self.turn.read(store);
        let state = self.sane(state, now);
        if state == self.turn.seen || self.turn.lease().is_some() {
            return (state, stamp);
        }
        let ended = state.attempts != self.turn.seen.attempts;
        if state.generation != self.turn.seen.generation && state.generation > 0 {
            if state.generation == self.unreadable {
                return (state, stamp);
            }
            // Overwritten meanwhile, or damaged: nothing is taken over. Where nothing better comes, this
            // instance fetches when its own keys are due.
            let Some(copy) = self.turn.copy_of(store, state.generation) else {
                self.unreadable = state.generation;
                return (state, stamp);
            };
            // Nor is anything from the future.
            let copy = Copy { fetched_at: copy.fetched_at.min(now), ..copy };
            // Checked here as in the instance that fetched it: what is shared is not believed.
            match self.read(&copy.body) {
                Ok(set) => self.hold(copy, Rc::new(set), now, log::Level::Debug, news),
                Err(error) => {
                    news.push(News::Log(log::Level::Warn, format!("shared keys are not used: {error}")));
                }
            }
        }
        self.turn.seen = state;
        if ended {
            // Whoever asked for a fetch is judged by this one first, and asks again where it came too early.
            self.wanted = false;
            news.push(News::Ended);
        }
        (state, stamp)
    }

    /// Where the clock was set back, keys do not last longer for it.
    fn bear_with_the_clock(&mut self, now: Timestamp) {
        if let Some(held) = &mut self.keys {
            held.copy.fetched_at = held.copy.fetched_at.min(now);
        }
        let latest = now.plus(self.remote.unknown_kid_cooldown);
        self.missing_kids.retain(|(_, until)| *until <= latest);
    }

    /// The shared state without what can only be damage, malice or a clock that was set back: nobody
    /// is kept from fetching for longer than this source itself could ask for.
    fn sane(&self, state: State, now: Timestamp) -> State {
        let bucket = self.remote.unknown_kid_cooldown.saturating_mul(KID_BURST);
        let state = Turn::sane(state, self.remote.patience(), LONGEST_PAUSE, now);
        State { kids_full_at: within(state.kids_full_at, bucket, now), ..state }
    }

    fn hold(&mut self, copy: Copy, set: Rc<KeySet>, now: Timestamp, level: log::Level, news: &mut Vec<News>) {
        let life = lifetime(self.remote.cache_duration, copy.max_age);
        let before = self.keys.replace(Held { set, copy, life });
        let Some(held) = &self.keys else { return };
        let changed = before.as_ref().is_none_or(|before| !same_keys(&before.set, &held.set));
        if changed {
            news.push(News::Changed);
            let text = describe(before.as_ref().map(|before| &*before.set), &held.set);
            news.push(News::Log(level, text));
        }
        if self.said > Age::Fresh && now < held.fresh_until() {
            self.said = Age::Fresh;
            news.push(News::Log(level, "keys are fresh again".to_owned()));
        }
    }

    fn note_staleness(&mut self, now: Timestamp, news: &mut Vec<News>) {
        let Some(held) = &self.keys else { return };
        let age = match self.keys(now) {
            None => Age::Expired,
            Some(_) if now >= held.fresh_until() => Age::Stale,
            Some(_) => return,
        };
        if age <= self.said {
            return;
        }
        self.said = age;
        let since = now.since(held.copy.fetched_at).as_secs();
        let most = self.remote.stale_if_error.as_secs();
        news.push(match age {
            Age::Expired => News::Log(
                log::Level::Error,
                format!("keys were last confirmed {since} s ago, too long to trust them; their tokens are answered with 503"),
            ),
            _ => News::Log(
                log::Level::Warn,
                format!("keys were last confirmed {since} s ago and are past their life; they serve on for {most} s at the most"),
            ),
        });
    }

    /// Whether another instance has fetched keys that this one takes over with its next tick: a kid that is
    /// unknown here may be among them. It looks at most every 5 ms, lest made-up kids cost more than that.
    pub fn is_behind(&mut self, store: &dyn Store, now: Timestamp) -> bool {
        if self.turn.lease().is_some() || (now >= self.peeked && now.since(self.peeked) < PEEK) {
            return false;
        }
        self.peeked = now;
        let generation = self.turn.read(store).0.generation;
        generation > 0 && generation != self.turn.seen.generation && generation != self.unreadable
    }

    /// A token in order but for its kid, which no key has: is it worth a fetch? Where it is, one
    /// starts with the next tick.
    pub fn unknown_kid(&mut self, kid: &str, now: Timestamp) -> UnknownKid {
        self.missing_kids.retain(|(_, until)| now < *until);
        if self.missing_kids.iter().any(|(missing, _)| missing == kid) {
            return UnknownKid::GiveUp;
        }
        if self.wanted || self.turn.is_busy(now) {
            return UnknownKid::Wait;
        }
        self.wanted = self.take_kid_fetch(&self.turn.seen, now).is_some();
        if self.wanted { UnknownKid::Wait } else { UnknownKid::GiveUp }
    }

    /// When the bucket is full again if one more fetch is taken from it; none where it is empty.
    fn take_kid_fetch(&self, state: &State, now: Timestamp) -> Option<Timestamp> {
        let cooldown = self.remote.unknown_kid_cooldown;
        let full_at = state.kids_full_at.max(now).plus(cooldown);
        // While a fetch has just failed, another would fail too.
        let room = full_at.since(now) <= cooldown.saturating_mul(KID_BURST) && now >= state.not_before;
        room.then_some(full_at)
    }

    /// When the last fetch of the proxy began, as far as this instance knows.
    pub fn last_started(&self) -> Timestamp {
        self.turn.seen.started
    }

    /// A kid was waited for in vain; it is not fetched for again within the cooldown.
    pub fn still_missing(&mut self, kid: &str, now: Timestamp) {
        if self.missing_kids.len() >= MAX_MISSING {
            self.missing_kids.swap_remove(0);
        }
        self.missing_kids.push((kid.to_owned(), now.plus(self.remote.unknown_kid_cooldown)));
    }
}

/// What follows from an answer.
enum Step {
    /// The key set is there.
    Ask(Endpoint),
    /// This is the key set.
    Keep((Copy, Rc<KeySet>)),
}

/// `max-age` in seconds (RFC 9111 section 5.2.2.1).
fn max_age(cache_control: &str) -> Option<u64> {
    cache_control.split(',').find_map(|directive| {
        let (name, seconds) = directive.trim().split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then_some(seconds)
    })
}

/// `cache_duration`, lowered by `max-age` but not under a minute.
fn lifetime(cache_duration: Duration, max_age: Option<u64>) -> Duration {
    max_age.map_or(cache_duration, |age| Duration::from_secs(age).max(SHORTEST_LIFE).min(cache_duration))
}

fn fingerprints(set: &KeySet) -> BTreeSet<&[u8; 32]> {
    set.keys().iter().map(|key| &key.fingerprint).collect()
}

fn same_keys(a: &KeySet, b: &KeySet) -> bool {
    fingerprints(a) == fingerprints(b)
}

/// The keys in words: how many, which came and went, and which members are not used and why.
fn describe(before: Option<&KeySet>, set: &KeySet) -> String {
    let mut text = format!("{} keys", set.keys().len());
    if let Some(before) = before {
        for (word, from, to) in [("added", before, set), ("removed", set, before)] {
            let known = fingerprints(from);
            let kids: Vec<String> = to
                .keys()
                .iter()
                .filter(|key| !known.contains(&key.fingerprint))
                .take(10)
                .map(|key| shown(key.kid.as_deref().unwrap_or("(no kid)")))
                .collect();
            if !kids.is_empty() {
                text.push_str(&format!("; {word}: {}", kids.join(", ")));
            }
        }
    }
    if !set.skipped().is_empty() {
        text.push_str(&format!("; {} not used:", set.skipped().len()));
        for (at, skip) in set.skipped().iter().take(5) {
            text.push_str(&format!(" keys[{at}] {};", skip.as_str()));
        }
    }
    text
}

/// A kid in a log line: cut, and with nothing raw that could end the line.
fn shown(kid: &str) -> String {
    kid.chars().take(64).flat_map(char::escape_default).collect()
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
