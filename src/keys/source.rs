//! The life of a remote key source: when to fetch, what to trust, how long.
//!
//! A state machine without I/O. The clock, the shared store and the answers come in; queries to be
//! sent and news come out. Every worker of a proxy and its main thread run one, and they agree through
//! the store: one of them fetches, the others take over what it got.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::discovery::jwks_endpoint;
use super::kids::{Kids, Name};
use super::remote::{Origin, Remote};
use super::set::{KeySet, Reading};
use crate::fetch::{
    CasVersion, Copy, Endpoint, FetchError, FetchLease, HttpRequest, HttpResponse, State, Store, within,
};
use crate::time::Timestamp;

/// Something that a source wants done or known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceEvent {
    /// Send this, and report with [`Source::answered`].
    Ask(HttpRequest),
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
    /// Do without: it was looked for in vain, or was withdrawn.
    Missing,
    /// Nobody knows: it could be new, and no fetch may start before the time of [`Source::retry_in`].
    Unavailable,
}

/// What a fetch for an unknown kid is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Budget {
    /// [`KID_BURST`] fetches, one more in each cooldown.
    Bucket,
    /// [`RESERVE_BURST`] fetches, one more in [`RESERVE_PAUSE`], for kids that come again.
    Reserve,
    /// The pauses between tries that fail.
    Failing,
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
    turn: FetchLease,
    keys: Option<Held>,
    looked: bool,
    /// What this instance asks for, while it is at it.
    asks: Option<Asks>,
    /// The generation whose copy was not to be read.
    unreadable: u64,
    /// When an unknown kid last had it look at the shared state.
    peeked: Timestamp,
    /// An unknown kid asks for a fetch.
    wanted: Option<Budget>,
    kids: Kids,
    /// A request asks for keys, and there are none.
    needed: bool,
    /// A kid was seen that was withdrawn: should it come back, that is noticed within a minute.
    retired_seen: bool,
    /// When the bucket and the reserve are full again at the least, whatever others write into the store.
    floors: (Timestamp, Timestamp),
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

/// The media types of key sets (RFC 7517 section 8.5) and metadata documents.
const ACCEPT: &str = "application/jwk-set+json, application/json";
/// How often an unknown kid is reason enough to look at what the others have.
const PEEK: Duration = Duration::from_millis(5);
/// The shortest lifetime that an answer can ask for.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// The longest pause between two tries that fail.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Fetches for unknown kids that may follow one another at once.
const KID_BURST: u32 = 3;
/// The same for kids that come again, beside it.
const RESERVE_BURST: u32 = 2;
/// How long the reserve takes for one more, where the cooldown is not shorter.
const RESERVE_PAUSE: Duration = Duration::from_secs(5);
/// How often a source without keys is asked while requests need them and it fails.
const NEEDED_PAUSE: Duration = Duration::from_secs(5);

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
        let mut turn = FetchLease::new(&remote.identity(), random, secret);
        let refresh_at = turn.between(0.8, 0.9);
        Self {
            turn,
            remote,
            keys: None,
            looked: false,
            asks: None,
            unreadable: 0,
            peeked: Timestamp::default(),
            wanted: None,
            kids: Kids::default(),
            needed: false,
            retired_seen: false,
            floors: Default::default(),
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
                next_refresh: Some(self.due_at(now)),
                stale: now >= held.fresh_until(),
            },
        }
    }

    /// Whether an answer is under way, here or elsewhere, or the first fetch has yet to start.
    pub fn expects_answer(&self, now: Timestamp) -> bool {
        !self.looked || self.turn.is_busy(now) || now >= self.due_at(now)
    }

    /// When the next fetch may start.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.due_at(now).since(now)
    }

    /// When a request may be tried again that lacked keys, or one of them.
    pub fn retry_in(&self, now: Timestamp) -> Duration {
        let state = &self.turn.seen;
        if self.keys(now).is_none() {
            return self.next_fetch_in(now);
        }
        if state.failures > 0 {
            return self.turn.not_before().since(now);
        }
        let next = |budget| {
            let (full_at, each, burst) = self.level(budget, state);
            full_at.since(now).saturating_sub(each.saturating_mul(burst.saturating_sub(1)))
        };
        next(Budget::Bucket).min(next(Budget::Reserve))
    }

    /// A request needs keys, and there are none.
    pub fn need(&mut self, now: Timestamp) {
        self.needed = self.keys(now).is_none();
    }

    fn due_at(&self, now: Timestamp) -> Timestamp {
        let refresh = self.keys.as_ref().map_or(Timestamp::default(), |held| {
            let life = held.life.mul_f64(self.refresh_at);
            let life = if self.retired_seen { life.min(MIN_LIFE) } else { life };
            held.copy.fetched_at.plus(life)
        });
        let state = &self.turn.seen;
        let not_before = if self.needed && self.keys(now).is_none() {
            let soon = state.started.plus(NEEDED_PAUSE).min(state.not_before);
            soon.max(state.hold_until)
        } else {
            self.turn.not_before()
        };
        refresh.max(not_before)
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub fn look(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        self.catch_up(store, now, &mut news);
        news
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and nobody
    /// else is at it.
    pub fn tick(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        if self.turn.lease().is_some_and(|until| now >= until) {
            self.failed(store, FetchError::NoAnswer, None, now, &mut news);
        }
        let (state, stamp) = self.catch_up(store, now, &mut news);
        self.looked = true;
        self.bear_with_the_clock(now);
        if self.kids.is_ahead() {
            self.kids.exchange(self.turn.shelf(), store, true, now);
        }
        self.note_staleness(now, &mut news);
        if self.turn.lease().is_some() || now < state.lease_until {
            return news;
        }
        let due = (now >= self.due_at(now)).then_some(state);
        let for_kid = match self.wanted {
            // What is due costs the bucket nothing.
            Some(budget) if due.is_none() => {
                let drawn = self.draw(budget, &state, now);
                if drawn.is_none() {
                    // Somebody else took the last one. Whoever waits is told that there is none.
                    self.wanted = None;
                    news.push(SourceEvent::Ended);
                }
                drawn
            }
            _ => None,
        };
        if let Some(state) = due.or(for_kid) {
            self.start(store, state, stamp, now, &mut news);
        }
        news
    }

    /// Tries to become the one that fetches.
    fn start(
        &mut self,
        store: &dyn Store,
        state: State,
        stamp: Option<CasVersion>,
        now: Timestamp,
        news: &mut Vec<SourceEvent>,
    ) {
        if !self.turn.start(store, state, stamp, self.remote.patience(), now) {
            return;
        }
        self.wanted = None;
        self.needed = false;
        let (asks, endpoint) = match &self.remote.origin {
            Origin::Jwks(jwks) => (Asks::Keys, jwks.clone()),
            Origin::Discovery { document, .. } => (Asks::Document, document.clone()),
        };
        self.asks = Some(asks);
        news.push(SourceEvent::Ask(self.query(endpoint)));
    }

    fn query(&self, endpoint: Endpoint) -> HttpRequest {
        let request = HttpRequest::get(endpoint, ACCEPT, &self.remote.headers, self.remote.max_bytes);
        match self.keys.as_ref().filter(|_| self.asks == Some(Asks::Keys)) {
            Some(Held { copy, .. }) => {
                request.unless_same(copy.etag.as_deref(), copy.last_modified.as_deref())
            }
            None => request,
        }
    }

    /// The answer to the last query of this instance, or why there is none.
    pub fn answered(
        &mut self,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        let Some(asks) = self.asks else { return news };
        let hold = answer.as_ref().ok().and_then(|answer| answer.retry_after.as_deref()).and_then(seconds);
        let step = answer.and_then(|answer| match asks {
            Asks::Document => self.document(&answer).map(Step::Ask),
            Asks::Keys => self.copy_of(answer, now).map(Step::Keep),
        });
        match step {
            Ok(Step::Ask(endpoint)) => {
                self.asks = Some(Asks::Keys);
                news.push(SourceEvent::Ask(self.query(endpoint)));
            }
            Ok(Step::Keep((copy, set))) => self.succeeded(store, copy, set, now, &mut news),
            Err(error) => {
                // Only with a status that says so (RFC 9110 section 10.2.3).
                let hold = hold.filter(|_| matches!(error, FetchError::Status(_)));
                self.failed(store, error, hold, now, &mut news);
            }
        }
        news
    }

    fn document(&self, answer: &HttpResponse) -> Result<Endpoint, FetchError> {
        let Origin::Discovery { document, issuers, elsewhere } = &self.remote.origin else {
            return Err(FetchError::NoAnswer);
        };
        if answer.status != 200 {
            return Err(FetchError::Status(answer.status));
        }
        self.check_size(&answer.body)?;
        jwks_endpoint(&answer.body, document, issuers, elsewhere.as_ref())
            .map_err(|error| FetchError::Unusable(error.to_string()))
    }

    fn check_size(&self, body: &[u8]) -> Result<(), FetchError> {
        let (size, limit) = (body.len(), self.remote.max_bytes);
        if size > limit { Err(FetchError::TooLarge { size, limit }) } else { Ok(()) }
    }

    /// The answer as it is to be kept, and the keys in it.
    fn copy_of(&self, answer: HttpResponse, now: Timestamp) -> Result<(Copy, Rc<KeySet>), FetchError> {
        let max_age = answer.cache_control.as_deref().and_then(max_age);
        // Never a number that was used before, even where the shared state was lost in between.
        let generation = self.turn.next_generation(now);
        match (answer.status, &self.keys) {
            (200, _) => {
                self.check_size(&answer.body)?;
                let set = self.read(&answer.body)?;
                let HttpResponse { etag, last_modified, body, .. } = answer;
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
        let Remote { format, max_keys, tried_without_kid, .. } = self.remote;
        let set = KeySet::parse(body, Reading { format, max_keys, symmetric: false });
        set.map(|set| set.trying_without_kid(tried_without_kid))
            .map_err(|error| FetchError::Unusable(error.to_string()))
    }

    /// Publishes new keys and takes them. The copy goes first: whoever sees the new generation finds it.
    fn succeeded(
        &mut self,
        store: &dyn Store,
        copy: Copy,
        set: Rc<KeySet>,
        now: Timestamp,
        news: &mut Vec<SourceEvent>,
    ) {
        self.asks = None;
        self.hold(copy, set, now, log::Level::Info, news);
        self.kids.exchange(self.turn.shelf(), store, true, now);
        if let Some(held) = &self.keys {
            self.turn.succeed(store, &held.copy);
        }
        news.push(SourceEvent::Tried(Ok(())));
        news.push(SourceEvent::Ended);
    }

    /// The next try comes after 1 s, 2 s, 4 s … up to a minute, give or take a fifth, or when the provider
    /// says.
    fn failed(
        &mut self,
        store: &dyn Store,
        error: FetchError,
        hold: Option<Duration>,
        now: Timestamp,
        news: &mut Vec<SourceEvent>,
    ) {
        self.asks = None;
        let pause = self.turn.fail(store, MAX_PAUSE, hold, now);
        let kept =
            if self.keys(now).is_some() { "the keys at hand stay in use" } else { "there are no keys" };
        let text = format!("fetching keys failed: {error}; {kept}; next try in {:.1} s", pause.as_secs_f64());
        news.push(SourceEvent::Log(log::Level::Warn, text));
        news.push(SourceEvent::Tried(Err(())));
        news.push(SourceEvent::Ended);
    }

    /// Reads the shared state, and takes over what changed in it.
    fn catch_up(
        &mut self,
        store: &dyn Store,
        now: Timestamp,
        news: &mut Vec<SourceEvent>,
    ) -> (State, Option<CasVersion>) {
        let (state, stamp) = self.turn.read(store);
        let state = self.sane(state, now);
        if state == self.turn.seen || self.turn.lease().is_some() {
            return (state, stamp);
        }
        let ended = state.attempts != self.turn.seen.attempts;
        // Only what is newer: an earlier value can be put there again by whoever read it once.
        if self.turn.is_news(&state) {
            if state.generation == self.unreadable {
                return (state, stamp);
            }
            // Overwritten meanwhile, or damaged: nothing is taken over. Where nothing better comes, this
            // instance fetches when its own keys are due.
            let Some(copy) = self.turn.copy_of(store, state.generation) else {
                self.unreadable = state.generation;
                return (state, stamp);
            };
            self.turn.took(state.generation);
            // Nor is anything from the future.
            let copy = Copy { fetched_at: copy.fetched_at.min(now), ..copy };
            // Checked here as in the instance that fetched it: what is shared is not believed.
            match self.read(&copy.body) {
                Ok(set) => self.hold(copy, Rc::new(set), now, log::Level::Debug, news),
                Err(error) => {
                    news.push(SourceEvent::Log(
                        log::Level::Warn,
                        format!("shared keys are not used: {error}"),
                    ));
                }
            }
        }
        self.turn.seen = state;
        if ended {
            // Whoever asked for a fetch is judged by this one first, and asks again where it came too early.
            self.wanted = None;
            news.push(SourceEvent::Ended);
        }
        (state, stamp)
    }

    /// Where the clock was set back, keys do not last longer for it.
    fn bear_with_the_clock(&mut self, now: Timestamp) {
        if let Some(held) = &mut self.keys {
            held.copy.fetched_at = held.copy.fetched_at.min(now);
        }
        self.kids.bear_with_the_clock(now);
    }

    /// The shared state without what can only be damage, malice or a clock that was set back: nobody
    /// is kept from fetching for longer than this source itself could ask for.
    fn sane(&self, state: State, now: Timestamp) -> State {
        let state = self.turn.sane(state, self.remote.patience(), MAX_PAUSE, now);
        let (kids, reserve) = self.floors;
        let (_, each, burst) = self.level(Budget::Bucket, &state);
        let kids_full_at = within(state.kids_full_at.max(kids), each.saturating_mul(burst), now);
        let (_, each, burst) = self.level(Budget::Reserve, &state);
        let reserve_full_at = within(state.reserve_full_at.max(reserve), each.saturating_mul(burst), now);
        State { kids_full_at, reserve_full_at, ..state }
    }

    fn hold(
        &mut self,
        copy: Copy,
        set: Rc<KeySet>,
        now: Timestamp,
        level: log::Level,
        news: &mut Vec<SourceEvent>,
    ) {
        let life = lifetime(self.remote.cache_duration, copy.max_age);
        let before = self.keys.replace(Held { set, copy, life });
        let Some(held) = &self.keys else { return };
        self.retired_seen = false;
        let kids = before.iter().flat_map(|before| before.set.keys()).filter_map(|key| key.kid.as_deref());
        for gone in kids.filter(|kid| !held.set.has_kid(kid)) {
            self.kids.retire(Name::new(gone));
        }
        let changed = before.as_ref().is_none_or(|before| !same_keys(&before.set, &held.set));
        if changed {
            news.push(SourceEvent::Changed);
            let text = describe(before.as_ref().map(|before| &*before.set), &held.set);
            news.push(SourceEvent::Log(level, text));
            // Once for the proxy, like the line above.
            if let Some(text) = held.set.untried() {
                let level = if level == log::Level::Info { log::Level::Warn } else { level };
                news.push(SourceEvent::Log(level, text));
            }
        }
        if self.said > Age::Fresh && now < held.fresh_until() {
            self.said = Age::Fresh;
            news.push(SourceEvent::Log(level, "keys are fresh again".to_owned()));
        }
    }

    fn note_staleness(&mut self, now: Timestamp, news: &mut Vec<SourceEvent>) {
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
            Age::Expired => SourceEvent::Log(
                log::Level::Error,
                format!("keys were last confirmed {since} s ago, too long to trust them; their tokens are answered with 503"),
            ),
            _ => SourceEvent::Log(
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
        let state = self.turn.read(store).0;
        self.turn.is_news(&state) && state.generation != self.unreadable
    }

    /// A token in order but for its kid, which no key has: is it worth a fetch? Where it is, one
    /// starts with the next tick. `fresh` is a request that has not waited yet: a kid that comes with a
    /// second one may use the reserve.
    pub fn unknown_kid(&mut self, store: &dyn Store, kid: &str, fresh: bool, now: Timestamp) -> UnknownKid {
        let name = Name::new(kid);
        self.kids.exchange(self.turn.shelf(), store, false, now);
        if self.kids.is_retired(name) {
            self.retired_seen = true;
            return UnknownKid::Missing;
        }
        let state = self.turn.seen;
        let known = self.kids.missing(name);
        let missing = known.filter(|_| state.failures == 0).is_some_and(|missing| {
            missing.was_in_vain(state.looked) && now < missing.due(self.remote.unknown_kid_cooldown)
        });
        if missing {
            return UnknownKid::Missing;
        }
        if self.wanted.is_some() || self.turn.is_busy(now) || now >= self.due_at(now) {
            return UnknownKid::Wait;
        }
        self.wanted = self.budget(&state, known.is_some() && fresh, now);
        match self.wanted {
            // It is not looked for because of this one alone.
            Some(Budget::Failing) => {}
            Some(_) => self.kids.asked(name, now),
            None => self.kids.seen(name, now),
        }
        self.kids.exchange(self.turn.shelf(), store, false, now);
        if self.wanted.is_some() { UnknownKid::Wait } else { UnknownKid::Unavailable }
    }

    /// What a fetch for an unknown kid can be taken from.
    fn budget(&self, state: &State, again: bool, now: Timestamp) -> Option<Budget> {
        let choices: &[Budget] = match (state.failures > 0, again) {
            (true, _) => &[Budget::Failing],
            // The bucket is left to those who come first.
            (false, true) => &[Budget::Reserve, Budget::Bucket],
            (false, false) => &[Budget::Bucket],
        };
        choices.iter().copied().find(|budget| self.drawn(*budget, state, now).is_some())
    }

    /// When a budget is full again, how long it takes for one more, and how many it holds.
    fn level(&self, budget: Budget, state: &State) -> (Timestamp, Duration, u32) {
        let cooldown = self.remote.unknown_kid_cooldown;
        match budget {
            Budget::Reserve => (state.reserve_full_at, cooldown.min(RESERVE_PAUSE), RESERVE_BURST),
            Budget::Bucket | Budget::Failing => (state.kids_full_at, cooldown, KID_BURST),
        }
    }

    /// The state after a fetch for an unknown kid was taken from a budget; none where it is empty.
    fn drawn(&self, budget: Budget, state: &State, now: Timestamp) -> Option<State> {
        // While a fetch has just failed, another would fail too.
        if now < state.not_before.max(state.hold_until) {
            return None;
        }
        let (full_at, each, burst) = self.level(budget, state);
        let full_at = full_at.max(now).plus(each);
        let has_room = full_at.since(now) <= each.saturating_mul(burst);
        match budget {
            Budget::Failing => Some(*state),
            Budget::Bucket => has_room.then_some(State { kids_full_at: full_at, ..*state }),
            Budget::Reserve => has_room.then_some(State { reserve_full_at: full_at, ..*state }),
        }
    }

    fn draw(&mut self, budget: Budget, state: &State, now: Timestamp) -> Option<State> {
        let drawn = self.drawn(budget, state, now)?;
        self.floors = (drawn.kids_full_at, drawn.reserve_full_at);
        Some(drawn)
    }

    /// When the last fetch of the proxy that brought keys began, as far as this instance knows.
    pub fn last_looked(&self) -> Timestamp {
        self.turn.seen.looked
    }

    /// A kid that a token brought at `since` was not among the keys that were asked for after that.
    pub fn still_missing(&mut self, store: &dyn Store, kid: &str, since: Timestamp, now: Timestamp) {
        self.kids.in_vain(Name::new(kid), since);
        self.kids.exchange(self.turn.shelf(), store, false, now);
    }
}

/// Whole seconds (RFC 9110 section 10.2.3); a date says too little to a clock that may be wrong.
fn seconds(retry_after: &str) -> Option<Duration> {
    retry_after.trim().parse().ok().map(Duration::from_secs)
}

/// What follows from an answer.
enum Step {
    /// The key set is there.
    Ask(Endpoint),
    /// This is the key set.
    Keep((Copy, Rc<KeySet>)),
}

/// `max-age` in seconds (RFC 9111 section 5.2.2.1); without one, `no-store` and `no-cache` count as 0.
fn max_age(cache_control: &str) -> Option<u64> {
    let mut directives = cache_control.split(',').map(str::trim);
    let given = directives.clone().find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then_some(seconds)
    });
    let name = |directive: &str| directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    given.or(directives.any(|own| matches!(name(own).as_str(), "no-store" | "no-cache")).then_some(0))
}

/// `cache_duration`, lowered by `max-age` but not under a minute.
fn lifetime(cache_duration: Duration, max_age: Option<u64>) -> Duration {
    max_age.map_or(cache_duration, |age| Duration::from_secs(age).max(MIN_LIFE).min(cache_duration))
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
