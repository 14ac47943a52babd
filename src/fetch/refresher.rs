//! The life of a fetched document: when to ask, whom to trust, how long.
//!
//! A state machine without I/O. The clock, the shared store and the answers come in; requests to be sent and events
//! come out. Every worker of a proxy and its main thread run one for each document, and they agree through the store:
//! one of them fetches, the others take over what it got.

mod takeover;

use std::time::Duration;

use super::document::{Age, Around, Document, Fetched, Held, Next, Parts};
use super::http::{FetchError, HttpRequest, HttpResponse, content_coding, max_age, retry_after};
use super::lease::FetchLease;
use super::shared::{Copy, SharedSlot, State};
use super::store::{CasVersion, Store};
use crate::time::Timestamp;
use takeover::Restoring;

/// Something that a fetched document wants done or known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceEvent {
    /// Send this, and report what came of it.
    Ask(HttpRequest),
    /// A fetch ended, here or elsewhere in the proxy: the requests that waited for it can be judged.
    Ended,
    /// This instance fetched the document, or failed to.
    Tried(Result<(), ()>),
    /// The document is another than before.
    Changed,
    /// Write this to the log.
    Log(log::Level, String),
}

/// A fetched document, seen from one instance.
#[derive(Debug)]
pub(crate) struct Refresher<D: Document> {
    document: D,
    lease: FetchLease,
    held: Option<Held<D::Value>>,
    /// What this instance asks for, while it fetches.
    step: Option<D::Step>,
    restoring: Option<Restoring<D>>,
    /// The number of the copy that cannot be taken over.
    unusable: u64,
    /// Whether there was a tick.
    has_ticked: bool,
    /// The age that was last reported.
    reported: Age,
}

/// The shared state as it was read, and the version by which to replace it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) state: State,
    version: Option<CasVersion>,
}

/// How late an instance notices what another one does out of turn: a fetch for an unknown key id, say.
const PEEK: Duration = Duration::from_millis(250);
/// The same while another instance is known to fetch, or a fetch is due.
const PEEK_EXPECTING: Duration = Duration::from_millis(200);

impl<D: Document> Refresher<D> {
    /// A document of which nothing is known yet.
    pub(crate) fn new(document: D, lease: FetchLease) -> Self {
        Self {
            document,
            lease,
            held: None,
            step: None,
            restoring: None,
            unusable: 0,
            has_ticked: false,
            reported: Age::Fresh,
        }
    }

    /// What is asked and what it means.
    pub(crate) fn document(&self) -> &D {
        &self.document
    }

    /// The same, to be changed, and where its shared values are.
    pub(crate) fn document_mut(&mut self) -> (&mut D, &SharedSlot) {
        (&mut self.document, self.lease.slot())
    }

    /// The shared state as it was last seen.
    pub(crate) fn state(&self) -> &State {
        &self.lease.seen
    }

    /// The document at hand, however old it is.
    pub(crate) fn held(&self) -> Option<&Held<D::Value>> {
        self.held.as_ref()
    }

    /// The document at hand, if it can be trusted, and until when.
    pub(crate) fn usable(&self, now: Timestamp) -> Option<(&Held<D::Value>, Timestamp)> {
        let held = self.held.as_ref()?;
        let until = self.document.usable_until(held);
        (now < until).then_some((held, until))
    }

    /// From when on the document at hand is past its life.
    pub(crate) fn fresh_until(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| self.document.fresh_until(held))
    }

    /// Whether this instance fetches.
    pub(crate) fn is_fetching(&self) -> bool {
        self.lease.lease().is_some()
    }

    /// Whether this instance or another one fetches.
    pub(crate) fn is_busy(&self, now: Timestamp) -> bool {
        self.lease.is_busy(now)
    }

    /// Whether a copy is being taken over, and the next tick brings more of it.
    pub(crate) fn is_restoring(&self) -> bool {
        self.restoring.as_ref().is_some_and(|restoring| restoring.goes_on)
    }

    /// Whether a fetch has ended in the proxy, well or not.
    pub(crate) fn was_tried(&self) -> bool {
        self.lease.was_tried()
    }

    /// Whether an answer is under way, here or elsewhere, or about to be asked for.
    pub(crate) fn expects_answer(&self, now: Timestamp) -> bool {
        !self.has_ticked || self.restoring.is_some() || self.is_busy(now) || now >= self.due_at(now)
    }

    /// When the next fetch may start.
    pub(crate) fn due_at(&self, now: Timestamp) -> Timestamp {
        let due = self.held.as_ref().map(|held| self.document.due_at(held));
        due.unwrap_or_default().max(self.document.not_before(&self.lease.seen, self.usable(now).is_some()))
    }

    /// When it wants the next tick at the latest, having had one. `is_waited_for`: requests wait.
    pub(crate) fn wake_at(&self, is_waited_for: bool, now: Timestamp) -> Timestamp {
        if !self.has_ticked || self.is_restoring() {
            return now;
        }
        let next = match self.lease.lease() {
            // The answer to its own request comes by itself.
            Some(until) => until,
            None if is_waited_for => now,
            None if self.restoring.is_some() || self.is_busy(now) => now.plus(PEEK_EXPECTING),
            // It is due: another instance was faster, or the store cannot be written.
            None if now >= self.due_at(now) => now.plus(PEEK_EXPECTING),
            None => self.due_at(now),
        };
        next.min(now.plus(PEEK))
    }

    /// From now on what is shared is in another place.
    pub(crate) fn move_to(&mut self, lease: FetchLease) {
        self.lease = lease;
        self.step = None;
        self.restoring = None;
    }

    /// Whether another instance has fetched a document that this one takes over with its next tick.
    pub(crate) fn is_behind(&self, store: &dyn Store) -> bool {
        if self.is_fetching() {
            return false;
        }
        let state = self.lease.read(store).0;
        self.lease.is_news(&state) && state.generation != self.unusable
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub(crate) fn read_store(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        self.catch_up(store, trust, now, &mut events);
        events
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and no other instance
    /// fetches.
    pub(crate) fn tick(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let look = self.observe(store, trust, now, &mut events);
        if self.may_start(&look, now) && now >= self.due_at(now) {
            self.start(store, look, now, &mut events);
        }
        events
    }

    /// Takes note of the time and of what the others did.
    pub(crate) fn observe(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) -> Look {
        if self.lease.lease().is_some_and(|until| now >= until) {
            self.failed(store, &FetchError::NoAnswer, None, now, events);
        }
        // Where the clock was set back, a document does not last longer for it.
        if let Some(held) = &mut self.held {
            held.copy.fetched_at = held.copy.fetched_at.min(now);
        }
        let look = self.catch_up(store, trust, now, events);
        self.has_ticked = true;
        self.note_age(now, events);
        look
    }

    /// Whether a fetch may start by what was read.
    pub(crate) fn may_start(&self, look: &Look, now: Timestamp) -> bool {
        // What another instance has just fetched need not be fetched again.
        !self.is_fetching() && self.restoring.is_none() && now >= look.state.lease_until
    }

    /// Tries to become the one that fetches. Where another instance was faster, the next tick shows it.
    pub(crate) fn start(
        &mut self,
        store: &dyn Store,
        look: Look,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) -> bool {
        let started = self.lease.start(store, look.state, look.version, self.document.patience(), now);
        if started {
            self.ask(self.document.first(), events);
        }
        started
    }

    /// Leaves the fetch that this instance has begun to another one of the process: its [`SourceEvent::Ask`] is void. False
    /// where this instance has no lease.
    pub(crate) fn hand_over(&mut self, store: &dyn Store) -> bool {
        let given = self.lease.hand_over(store);
        if given {
            self.step = None;
        }
        given
    }

    /// Takes on a fetch that another instance of the process has left to this one, where there is one.
    pub(crate) fn take_on(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let Look { state, version } = self.observe(store, trust, now, &mut events);
        if self.lease.take_on(store, state, version, now) {
            self.ask(self.document.first(), &mut events);
        }
        events
    }

    /// Whether another instance was to fetch and has not ended in time. Said once of each fetch.
    pub(crate) fn note_lost(&mut self, look: &Look, now: Timestamp) -> bool {
        self.lease.note_lost(&look.state, now)
    }

    fn ask(&mut self, step: D::Step, events: &mut Vec<SourceEvent>) {
        let request = self.document.request(&step);
        let known = self.held.as_ref().filter(|_| self.document.is_conditional(&step));
        events.push(SourceEvent::Ask(match known {
            Some(Held { copy, .. }) => {
                request.unless_same(copy.etag.as_deref(), copy.last_modified.as_deref())
            }
            None => request,
        }));
        self.step = Some(step);
    }

    /// The answer to the last request of this instance, or why there is none.
    pub(crate) fn fetched(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        response: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let Some(step) = self.step.take() else { return events };
        let asked_to_wait = response.as_ref().ok().and_then(retry_after);
        match response.and_then(|response| self.read(step, response, store, trust, now)) {
            Ok(Next::Ask(step)) if self.lease.renew(store, self.document.patience(), now) => {
                self.ask(step, &mut events);
            }
            // Another instance has taken the lease, and fetches.
            Ok(Next::Ask(_)) => self.failed(store, &FetchError::NoAnswer, None, now, &mut events),
            Ok(Next::Done(fetched)) => self.succeeded(store, fetched, now, &mut events),
            Err(error) => {
                // Only with a status that says so (RFC 9110 section 10.2.3).
                let asked_to_wait = asked_to_wait.filter(|_| matches!(error, FetchError::Status(_)));
                self.failed(store, &error, asked_to_wait, now, &mut events);
            }
        }
        events
    }

    fn read(
        &self,
        step: D::Step,
        response: HttpResponse,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
    ) -> Result<Next<D>, FetchError> {
        let HttpRequest { endpoint, max_bytes: limit, .. } = self.document.request(&step);
        let size = response.body.len();
        let known = self.held.as_ref().filter(|held| {
            self.document.is_conditional(&step)
                && (held.copy.etag.is_some() || held.copy.last_modified.is_some())
        });
        if response.status == 200
            && let Some(coding) = content_coding(&response)
        {
            return Err(FetchError::ContentCoding(coding));
        }
        match (response.status, known) {
            (200, _) if size > limit => Err(FetchError::TooLarge { size, limit }),
            (200, _) => self.document.read(step, response, &self.around(store, trust, now)),
            // Not modified (RFC 9110 section 15.4.5): only where this instance asked whether it was.
            (304, Some(Held { value, copy })) => Ok(Next::Done(Fetched {
                value: value.clone(),
                body: copy.body.clone(),
                at: now,
                max_age: max_age(&response).or(copy.max_age),
                etag: copy.etag.clone(),
                last_modified: copy.last_modified.clone(),
            })),
            (status, _) => Err(match response.local_reply {
                Some(reason) => FetchError::LocalReply { cluster: endpoint.cluster, status, reason },
                None => FetchError::Status(status),
            }),
        }
    }

    fn around<'r, 't>(
        &'r self,
        store: &'r dyn Store,
        trust: D::Trust<'t>,
        now: Timestamp,
    ) -> Around<'r, 't, D> {
        Around { held: self.held.as_ref(), parts: Parts { store, lease: &self.lease }, trust, now }
    }

    /// Takes what was fetched and publishes it. The copy goes first: an instance that sees the new generation finds it.
    fn succeeded(
        &mut self,
        store: &dyn Store,
        fetched: Fetched<D::Value>,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) {
        let Fetched { value, body, at, max_age, etag, last_modified } = fetched;
        // Never a number that was used before, even where the shared state was lost in between.
        let generation = self.lease.next_generation(now);
        let copy = Copy { generation, fetched_at: at, max_age, etag, last_modified, body };
        self.hold(Held { value, copy }, true, now, events);
        self.document.before_publishing(self.lease.slot(), store, now);
        if let Some(held) = &self.held {
            self.lease.succeed(store, &held.copy);
        }
        events.push(SourceEvent::Tried(Ok(())));
        events.push(SourceEvent::Ended);
    }

    /// The next try comes after 1 s, 2 s, 4 s … up to the longest pause, give or take a fifth, or when the source says.
    fn failed(
        &mut self,
        store: &dyn Store,
        error: &FetchError,
        asked_to_wait: Option<Duration>,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) {
        self.step = None;
        let pause = self.lease.fail(store, self.document.max_pause(), asked_to_wait, now);
        let failure = self.document.failure(error, self.usable(now).is_some());
        let text = format!("{failure}; next try in {:.1} s", pause.as_secs_f64());
        events.push(SourceEvent::Log(log::Level::Warn, text));
        events.push(SourceEvent::Tried(Err(())));
        events.push(SourceEvent::Ended);
    }

    fn hold(&mut self, held: Held<D::Value>, is_own: bool, now: Timestamp, events: &mut Vec<SourceEvent>) {
        // Once for the proxy.
        let lowered = |level| if is_own { level } else { log::Level::Debug };
        let before = self.held.replace(held);
        let Some(held) = &self.held else { return };
        let before_value = before.as_ref().map(|before| &before.value);
        self.document.replaced(before_value, &held.value);
        if before.as_ref().is_none_or(|before| !self.document.is_same(before, held)) {
            events.push(SourceEvent::Changed);
            let lines = self.document.describe(before_value, &held.value);
            events.extend(lines.map(|(level, text)| SourceEvent::Log(lowered(level), text)));
        }
        if self.reported > Age::Fresh && now < self.document.fresh_until(held) {
            self.reported = Age::Fresh;
            if let Some((level, text)) = self.document.aged(Age::Fresh, Duration::ZERO) {
                events.push(SourceEvent::Log(lowered(level), text));
            }
        }
    }

    fn note_age(&mut self, now: Timestamp, events: &mut Vec<SourceEvent>) {
        let Some(held) = &self.held else { return };
        let age = match now {
            now if now >= self.document.usable_until(held) => Age::Expired,
            now if now >= self.document.fresh_until(held) => Age::Stale,
            _ => return,
        };
        if age <= self.reported {
            return;
        }
        self.reported = age;
        if let Some((level, text)) = self.document.aged(age, now.since(held.copy.fetched_at)) {
            events.push(SourceEvent::Log(level, text));
        }
    }
}
