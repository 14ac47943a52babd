//! A provider's remote keys: the life of a fetched document, and what unknown key ids may cause.

use std::sync::Arc;
use std::time::Duration;

use super::budget::Budget;
use super::document::KeyDocument;
use super::kids::Name;
use super::remote::Remote;
use super::set::KeySet;
use crate::fetch::{FetchError, FetchLease, HttpResponse, Refresher, SourceEvent, State, Store};
use crate::time::Timestamp;

/// What an unknown kid should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownKid {
    /// Wait: a fetch is under way, or due now, that may bring it.
    Wait,
    /// Do without: it was looked for in vain, or was removed from the set.
    Missing,
    /// It is not known: it could be new, and no fetch may start before the time of [`Source::retry_in`].
    Unavailable,
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
    refresher: Refresher<KeyDocument>,
    /// When an unknown kid last had it look at the shared state.
    peeked: Timestamp,
    /// A fetch is asked for out of turn, and what it is taken from.
    wanted: Option<Budget>,
    /// When the last token came whose signature holds under none of the keys that it names. A fetch that begins after
    /// that settles whether one of them was replaced.
    doubted: Option<Timestamp>,
}

/// How often an unknown kid is reason enough to look at what the others have.
const PEEK: Duration = Duration::from_millis(5);

impl Source {
    /// A source of which nothing is known yet. `random` tells this instance from the others and
    /// spreads their refreshes; `secret` seals what is shared.
    pub fn new(remote: Remote, random: u64, secret: Option<&str>) -> Self {
        let mut lease = FetchLease::new(&remote.identity(), random, secret);
        let refresh_at = lease.between(0.8, 0.9);
        Self {
            refresher: Refresher::new(KeyDocument::new(remote, refresh_at), lease),
            peeked: Timestamp::default(),
            wanted: None,
            doubted: None,
        }
    }

    /// How the source is reached.
    pub fn remote(&self) -> &Remote {
        &self.refresher.document().remote
    }

    /// The keys, if there are any that may still be trusted.
    pub fn keys(&self, now: Timestamp) -> Option<&Arc<KeySet>> {
        self.refresher.usable(now).map(|(held, _)| &held.value)
    }

    /// The keys, however old they are.
    pub fn held(&self) -> Option<&Arc<KeySet>> {
        self.refresher.held().map(|held| &held.value)
    }

    /// What an operator may want to see.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.refresher.held() {
            None => Status::default(),
            Some(held) => Status {
                keys: held.value.keys().len(),
                last_success: Some(held.copy.fetched_at),
                next_refresh: Some(self.refresher.due_at(now)),
                stale: self.refresher.fresh_until().is_some_and(|until| now >= until),
            },
        }
    }

    /// Whether an answer is under way, here or elsewhere, or the first fetch has yet to start.
    pub fn expects_answer(&self, now: Timestamp) -> bool {
        self.refresher.expects_answer(now)
    }

    /// When the next fetch may start.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.refresher.due_at(now).since(now)
    }

    /// When it wants the next tick at the latest. `is_waited_for`: requests wait.
    pub fn wake_at(&self, is_waited_for: bool, now: Timestamp) -> Timestamp {
        if self.wanted.is_some() { now } else { self.refresher.wake_at(is_waited_for, now) }
    }

    /// Whether the last fetch failed.
    pub fn is_failing(&self) -> bool {
        self.refresher.state().failures > 0
    }

    /// When a request may be tried again that lacked keys, or one of them.
    pub fn retry_in(&self, now: Timestamp) -> Duration {
        let state = self.refresher.state();
        if self.keys(now).is_none() {
            return self.next_fetch_in(now);
        }
        if state.failures > 0 {
            return state.not_before.max(state.hold_until).since(now);
        }
        self.refresher.document().budgets.refills_in(state, now)
    }

    /// A request needs keys, and there are none.
    pub fn need(&mut self, now: Timestamp) {
        let needed = self.keys(now).is_none();
        self.refresher.document_mut().0.needed = needed;
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub fn read_store(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        self.refresher.read_store(store, (), now)
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and no other instance
    /// fetches.
    pub fn tick(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        let mut look = self.refresher.observe(store, (), now, &mut events);
        if events.contains(&SourceEvent::Ended) {
            // A request that asked for a fetch is judged by this one first, and asks again where it came too early.
            self.wanted = None;
        }
        let (document, slot) = self.refresher.document_mut();
        document.kids.forget_the_future(now);
        if document.kids.is_ahead() {
            document.kids.exchange(slot, store, true, now);
        }
        if !self.refresher.may_start(&look, now) {
            return events;
        }
        // What is due costs the budget nothing.
        if now < self.refresher.due_at(now) {
            self.wanted = self.wanted.or_else(|| self.doubt(&look.state, now));
            let Some(budget) = self.wanted else {
                if self.refresher.note_lost(&look, now) {
                    // Requests that wait for another instance's fetch ask for one of their own.
                    events.push(SourceEvent::Ended);
                }
                return events;
            };
            match self.refresher.document_mut().0.budgets.draw(budget, &look.state, now) {
                Some(drawn) => look.state = drawn,
                None => {
                    // Another instance took the last one. Requests that wait learn that there is none.
                    self.wanted = None;
                    events.push(SourceEvent::Ended);
                    return events;
                }
            }
        }
        if self.refresher.start(store, look, now, &mut events) {
            self.wanted = None;
            self.refresher.document_mut().0.needed = false;
        }
        events
    }

    /// The answer to the last request of this instance, or why there is none.
    pub fn answered(
        &mut self,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        self.refresher.fetched(store, (), answer, now)
    }

    /// Leaves the fetch that this instance has begun to another one of the process; false where there is none.
    pub fn hand_over(&mut self, store: &dyn Store) -> bool {
        self.refresher.hand_over(store)
    }

    /// Takes on a fetch that another instance of the process has left to this one.
    pub fn take_on(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        self.refresher.take_on(store, (), now)
    }

    /// Whether another instance has fetched keys that this one takes over with its next tick: a kid that is
    /// unknown here may be among them. It looks at most every 5 ms, lest made-up kids cost more than that.
    pub fn is_behind(&mut self, store: &dyn Store, now: Timestamp) -> bool {
        if self.refresher.is_fetching() || (now >= self.peeked && now.since(self.peeked) < PEEK) {
            return false;
        }
        self.peeked = now;
        self.refresher.is_behind(store)
    }

    /// A token in order but for its kid, which no key has: is it worth a fetch? Where it is, one
    /// starts with the next tick. `fresh` is a request that has not waited yet: a kid that comes with a
    /// second one may use the reserve.
    pub fn unknown_kid(&mut self, store: &dyn Store, kid: &str, fresh: bool, now: Timestamp) -> UnknownKid {
        let name = Name::new(kid);
        let state = *self.refresher.state();
        let (document, slot) = self.refresher.document_mut();
        document.kids.exchange(slot, store, false, now);
        if document.kids.is_retired(name) {
            document.retired_seen = true;
            return UnknownKid::Missing;
        }
        let known = document.kids.missing(name);
        let cooldown = document.remote.unknown_kid_cooldown;
        let missing = known
            .filter(|_| state.failures == 0)
            .is_some_and(|missing| missing.was_in_vain(state.looked) && now < missing.due(cooldown));
        if missing {
            return UnknownKid::Missing;
        }
        if self.wanted.is_some() || self.refresher.is_busy(now) || now >= self.refresher.due_at(now) {
            return UnknownKid::Wait;
        }
        let (document, slot) = self.refresher.document_mut();
        self.wanted = document.budgets.find(&state, known.is_some() && fresh, now);
        match self.wanted {
            // It is not looked for because of this one alone.
            Some(Budget::Free) => {}
            Some(_) => document.kids.asked(name, now),
            None => document.kids.seen(name, now),
        }
        document.kids.exchange(slot, store, false, now);
        if self.wanted.is_some() { UnknownKid::Wait } else { UnknownKid::Unavailable }
    }

    /// A token came at `since` whose signature holds under none of the keys that it names: one of them may have been
    /// replaced under the same key id. Whether a fetch is under way that may bring another key, or starts with the next
    /// tick; else one starts once a cooldown has passed since the last one. So forged tokens, however many and of
    /// whatever key, cause one fetch in each cooldown at the most.
    pub fn signature_failed(&mut self, store: &dyn Store, since: Timestamp, now: Timestamp) -> bool {
        if since <= self.last_looked() {
            return false;
        }
        if self.wanted.is_some() || self.refresher.is_busy(now) || self.is_behind(store, now) {
            return true;
        }
        self.doubted = Some(since);
        self.wanted = self.doubt(self.refresher.state(), now);
        self.wanted.is_some()
    }

    /// What a fetch for a doubtful signature can be taken from, where it may start now.
    fn doubt(&self, state: &State, now: Timestamp) -> Option<Budget> {
        let document = self.refresher.document();
        let is_open = self.doubted.is_some_and(|since| since > state.looked && since <= now);
        let is_due = now >= state.looked.plus(document.remote.unknown_kid_cooldown);
        document.budgets.find_for_signature(state, now).filter(|_| is_open && is_due)
    }

    /// When the last fetch of the proxy that brought keys began, as far as this instance knows.
    pub fn last_looked(&self) -> Timestamp {
        self.refresher.state().looked
    }

    /// A kid that a token brought at `since` was not among the keys that were asked for after that.
    pub fn still_missing(&mut self, store: &dyn Store, kid: &str, since: Timestamp, now: Timestamp) {
        let (document, slot) = self.refresher.document_mut();
        document.kids.in_vain(Name::new(kid), since);
        document.kids.exchange(slot, store, false, now);
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
