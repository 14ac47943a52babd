//! Which of a proxy's instances asks a source, when, and what it tells the others: one instance at a time has the
//! lease, a failure makes all of them pause, and what succeeded is put where all find it.

use std::time::Duration;

use super::shared::{Copy, SharedSlot, State};
use super::store::{CasVersion, Store};
use crate::time::Timestamp;

/// How long after its timeout an answer may take to reach this instance before the fetch counts as lost.
const GRACE: Duration = Duration::from_secs(1);
/// The least and the most that a source's `Retry-After` counts for.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The number that no instance has.
const NO_OWNER: u64 = 0;

/// This instance's part in asking one source.
#[derive(Debug)]
pub(crate) struct FetchLease {
    slot: SharedSlot,
    /// This instance's number among those that share the store.
    id: u64,
    /// The shared state as it was last seen.
    pub(crate) seen: State,
    /// The number of the last answer that this instance published or took over from another. An earlier one is a
    /// replay: its seal was valid once.
    newest: u64,
    /// The end of this instance's lease, which identifies it too.
    lease: Option<Timestamp>,
    /// The end of the last lease that was found to be lost.
    lost: Timestamp,
    /// Spreads refreshes and retries; nothing depends on its being hard to guess.
    random: fastrand::Rng,
}

impl FetchLease {
    /// `identity` is everything that makes the source's answers what they are; `random` tells this
    /// instance from the others; `secret` seals what is shared.
    pub(crate) fn new(identity: &[u8], random: u64, secret: Option<&str>) -> Self {
        Self::with(SharedSlot::new(identity, secret), random)
    }

    /// The same in a place that several sources use in turn.
    pub(crate) fn in_slot(slot: &str, identity: &[u8], random: u64, secret: Option<&str>) -> Self {
        Self::with(SharedSlot::in_slot(slot, identity, secret), random)
    }

    fn with(slot: SharedSlot, random: u64) -> Self {
        Self {
            slot,
            // Never NO_OWNER.
            id: random.max(1),
            seen: State::default(),
            newest: 0,
            lease: None,
            lost: Timestamp::default(),
            random: fastrand::Rng::with_seed(random),
        }
    }

    /// The shared state as it is, and the stamp by which to replace it.
    pub(crate) fn read(&self, store: &dyn Store) -> (State, Option<CasVersion>) {
        self.slot.state(store)
    }

    /// A shared state without what no source of this patience and these pauses could ask for. One from
    /// before the last answer that is known says nothing.
    pub(crate) fn clamped(&self, state: State, patience: Duration, pause: Duration, now: Timestamp) -> State {
        if state.generation < self.newest {
            // With the number that is known, so that what comes of the next fetch is used.
            return State { generation: self.newest, ..State::default() };
        }
        State {
            lease_until: within(state.lease_until, patience.saturating_add(GRACE), now),
            looked: Some(state.looked).filter(|looked| *looked <= now).unwrap_or_default(),
            not_before: within(state.not_before, pause.mul_f64(1.2), now),
            hold_until: within(state.hold_until, MAX_RETRY_AFTER, now),
            ..state
        }
    }

    /// Whether a shared state tells of an answer that is newer than all that this instance published or took over.
    pub(crate) fn is_news(&self, state: &State) -> bool {
        self.is_newer(state.generation)
    }

    /// Whether an answer of this number is newer than all that this instance published or took over.
    pub(crate) fn is_newer(&self, generation: u64) -> bool {
        generation > self.newest
    }

    /// The answer of this number was taken over.
    pub(crate) fn took(&mut self, generation: u64) {
        self.newest = self.newest.max(generation);
    }

    /// Where the source's values are.
    pub(crate) fn slot(&self) -> &SharedSlot {
        &self.slot
    }

    /// The next of this instance's own random numbers, between two bounds.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random.f64()
    }

    /// The number of an answer that comes now: no other instance gives it to another answer.
    pub(crate) fn next_generation(&self, now: Timestamp) -> u64 {
        now.as_nanos().max(self.seen.generation.max(self.newest).saturating_add(1))
    }

    /// The answer of this number, if it is there and whole.
    pub(crate) fn copy_of(&self, store: &dyn Store, generation: u64) -> Option<Copy> {
        self.slot.copy(store, generation)
    }

    /// Whether a fetch has ended in the proxy, well or not.
    pub(crate) fn was_tried(&self) -> bool {
        self.seen.attempts > 0 || self.seen.failures > 0
    }

    /// Whether an answer is under way, here or elsewhere.
    pub(crate) fn is_busy(&self, now: Timestamp) -> bool {
        self.lease.is_some() || now < self.seen.lease_until
    }

    /// Until when this instance alone may ask, where it has the lease.
    pub(crate) fn lease(&self) -> Option<Timestamp> {
        self.lease
    }

    /// Tries to become the one that asks, from a shared state that was read before. Where another instance was faster,
    /// the next read shows it.
    pub(crate) fn start(
        &mut self,
        store: &dyn Store,
        state: State,
        stamp: Option<CasVersion>,
        patience: Duration,
        now: Timestamp,
    ) -> bool {
        let until = now.plus(patience).plus(GRACE);
        let state = State { owner: self.id, lease_until: until, started: now, ..state };
        let taken = self.slot.replace_state(store, &state, stamp).is_ok();
        if taken {
            (self.seen, self.lease) = (state, Some(until));
        }
        taken
    }

    /// Goes on asking: false where the lease went to another.
    pub(crate) fn renew(&mut self, store: &dyn Store, patience: Duration, now: Timestamp) -> bool {
        let (state, stamp) = self.slot.state(store);
        let until = now.plus(patience).plus(GRACE);
        let next = State { lease_until: until, ..state };
        let renewed = self.is_ours(&state) && self.slot.replace_state(store, &next, stamp).is_ok();
        if renewed {
            (self.seen, self.lease) = (next, Some(until));
        }
        renewed
    }

    /// Leaves the asking, which this instance was to do, to another one of the process: until one takes it on, the lease is
    /// nobody's. False where this instance has no lease any more.
    pub(crate) fn hand_over(&mut self, store: &dyn Store) -> bool {
        let (state, stamp) = self.slot.state(store);
        let next = State { owner: NO_OWNER, ..state };
        let given = self.is_ours(&state) && self.slot.replace_state(store, &next, stamp).is_ok();
        if given {
            (self.seen, self.lease) = (next, None);
        }
        given
    }

    /// Becomes the one that asks in the place of an instance that left it to another, by a shared state that was read
    /// before. False where there is no such lease.
    pub(crate) fn take_on(
        &mut self,
        store: &dyn Store,
        state: State,
        stamp: Option<CasVersion>,
        now: Timestamp,
    ) -> bool {
        let next = State { owner: self.id, ..state };
        let taken = self.lease.is_none()
            && state.owner == NO_OWNER
            && now < state.lease_until
            && self.slot.replace_state(store, &next, stamp).is_ok();
        if taken {
            (self.seen, self.lease) = (next, Some(state.lease_until));
        }
        taken
    }

    /// Whether the instance that had this lease has not ended its fetch in time: it is gone, or stuck. Said once of each.
    pub(crate) fn note_lost(&mut self, state: &State, now: Timestamp) -> bool {
        let is_lost = state.lease_until > Timestamp::default()
            && now >= state.lease_until
            && state.lease_until != self.lost
            && self.lease.is_none();
        if is_lost {
            self.lost = state.lease_until;
        }
        is_lost
    }

    fn is_ours(&self, state: &State) -> bool {
        state.owner == self.id && Some(state.lease_until) == self.lease
    }

    /// Whether the shared state still says that this instance asks.
    pub(crate) fn holds(&self, store: &dyn Store) -> bool {
        self.is_ours(&self.slot.state(store).0)
    }

    /// Publishes an answer. The copy goes first: an instance that sees the new generation finds it.
    pub(crate) fn succeed(&mut self, store: &dyn Store, copy: &Copy) {
        let generation = copy.generation;
        let published = self.holds(store) && self.slot.put_copy(store, copy).is_ok();
        let published = self.end(store, published, |state| State {
            generation,
            attempts: state.attempts.saturating_add(1),
            owner: NO_OWNER,
            lease_until: Timestamp::default(),
            looked: state.started,
            not_before: Timestamp::default(),
            failures: 0,
            hold_until: Timestamp::default(),
            ..*state
        });
        if published {
            self.took(generation);
        }
    }

    /// Ends a fetch that brought nothing. The next comes after the time that is returned: 1 s, 2 s, 4 s …
    /// up to `longest`, give or take a fifth; where the provider said when, after that.
    pub(crate) fn fail(
        &mut self,
        store: &dyn Store,
        longest: Duration,
        hold: Option<Duration>,
        now: Timestamp,
    ) -> Duration {
        let failures = self.seen.failures;
        let spread = self.between(0.8, 1.2);
        let pause = pause_after(failures, longest, hold, spread);
        let not_before = now.plus(pause.min(longest));
        let hold_until = hold.map(|_| now.plus(pause)).unwrap_or_default();
        let _ = self.end(store, true, |state| State {
            attempts: state.attempts.saturating_add(1),
            owner: NO_OWNER,
            lease_until: Timestamp::default(),
            not_before,
            hold_until,
            failures: failures.saturating_add(1),
            ..*state
        });
        pause
    }

    /// Ends the fetch of this instance and says so to the others, unless its lease went to another; whether
    /// it did.
    fn end(&mut self, store: &dyn Store, publish: bool, change: impl Fn(&State) -> State) -> bool {
        if self.lease.is_none() {
            return false;
        }
        for _ in 0..3 {
            let (state, stamp) = self.slot.state(store);
            if !self.is_ours(&state) || !publish {
                break;
            }
            let next = change(&state);
            if self.slot.replace_state(store, &next, stamp).is_ok() {
                (self.seen, self.lease) = (next, None);
                return true;
            }
        }
        // The others go on without it; what this instance learnt, it keeps.
        let seen = change(&self.seen);
        self.seen = State { generation: self.seen.generation, attempts: self.seen.attempts, ..seen };
        self.lease = None;
        false
    }
}

/// How long to leave a source alone after so many failures before this one: 1 s, 2 s, 4 s … up to `longest`, times `spread`;
/// or as long as the source asked for, within bounds.
pub(crate) fn pause_after(failures: u64, longest: Duration, hold: Option<Duration>, spread: f64) -> Duration {
    let doubled = Duration::from_secs(1u64 << failures.min(6));
    let asked = hold.map(|hold| hold.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER));
    asked.unwrap_or_else(|| doubled.min(longest).mul_f64(spread))
}

/// A moment, unless it lies further ahead than a span: then it is damage, malice, or the clock was set back.
pub(crate) fn within(moment: Timestamp, span: Duration, now: Timestamp) -> Timestamp {
    if moment > now.plus(span).plus(GRACE) { Timestamp::default() } else { moment }
}
