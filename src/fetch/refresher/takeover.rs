//! Taking over what another instance fetched: what is shared is checked here as in the instance that fetched it, and a
//! large document comes in several turns.

use super::super::document::{Document, Held, Restored};
use super::super::shared::{Copy, State};
use super::super::store::Store;
use super::{Look, Refresher, SourceEvent};
use crate::time::Timestamp;

/// What another instance fetched, while it is taken over.
#[derive(Debug)]
pub(super) struct Restoring<D: Document> {
    pub(super) copy: Copy,
    pub(super) so_far: D::Restoring,
    /// Whether the next turn brings more.
    pub(super) goes_on: bool,
}

/// What came of looking for a newer copy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takeover {
    /// There is none.
    Nothing,
    /// It was taken over.
    Whole,
    /// It is being taken over.
    UnderWay,
    /// It cannot be.
    Unusable,
}

impl<D: Document> Refresher<D> {
    /// Reads the shared state, and takes over what changed in it.
    pub(super) fn catch_up(
        &mut self,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) -> Look {
        let (state, version) = self.lease.read(store);
        let state = self.lease.clamped(state, self.document.patience(), self.document.max_pause(), now);
        let state = self.document.clamped(state, now);
        let look = Look { state, version };
        if self.is_fetching() {
            self.restoring = None;
            return look;
        }
        let seen = self.lease.seen;
        if state == seen {
            return look;
        }
        let has_ended = state.attempts != seen.attempts;
        let takeover = self.take_over(state.generation, store, trust, now, events);
        self.lease.seen = match takeover {
            Takeover::Nothing | Takeover::Whole => state,
            // It tells of a document that this instance does not have: what the document lacks, it cannot know.
            Takeover::UnderWay | Takeover::Unusable => {
                State { generation: seen.generation, looked: seen.looked, ..state }
            }
        };
        let wakes = match takeover {
            Takeover::Whole => true,
            Takeover::Nothing | Takeover::Unusable => has_ended,
            Takeover::UnderWay => false,
        };
        if wakes {
            events.push(SourceEvent::Ended);
        }
        look
    }

    /// Takes over what another instance fetched, as much of it as can be done in one turn. Until it is whole the one at
    /// hand serves.
    fn take_over(
        &mut self,
        generation: u64,
        store: &dyn Store,
        trust: D::Trust<'_>,
        now: Timestamp,
        events: &mut Vec<SourceEvent>,
    ) -> Takeover {
        // Only what is newer: an earlier value can be put there again by a plugin that read it once.
        if !self.lease.is_newer(generation) {
            self.restoring = None;
            return Takeover::Nothing;
        }
        if generation == self.unusable {
            self.restoring = None;
            return Takeover::Unusable;
        }
        let under_way = self.restoring.take();
        let restoring = match under_way {
            Some(restoring) if restoring.copy.generation == generation => Some(restoring),
            before => self.begin(generation, before, store, now),
        };
        // Overwritten meanwhile, or damaged: nothing is taken over. Where nothing better comes, this instance asks when
        // its own document is due.
        let Some(mut restoring) = restoring else {
            self.unusable = generation;
            return Takeover::Unusable;
        };
        // Checked here as in the instance that fetched it: what is shared is not believed.
        let around = self.around(store, trust, now);
        let restored = self.document.restore(&restoring.copy, &mut restoring.so_far, &around);
        match restored {
            Restored::Whole(value) => {
                self.lease.took(generation);
                self.hold(Held { value, copy: restoring.copy }, false, now, events);
                return Takeover::Whole;
            }
            Restored::Partly => restoring.goes_on = true,
            Restored::NotYet => restoring.goes_on = false,
            Restored::Damaged => {
                self.unusable = generation;
                return Takeover::Unusable;
            }
            Restored::Unusable(text) => {
                self.unusable = generation;
                events.push(SourceEvent::Log(log::Level::Warn, text));
                return Takeover::Unusable;
            }
        }
        self.restoring = Some(restoring);
        Takeover::UnderWay
    }

    fn begin(
        &self,
        generation: u64,
        before: Option<Restoring<D>>,
        store: &dyn Store,
        now: Timestamp,
    ) -> Option<Restoring<D>> {
        let copy = self.lease.copy_of(store, generation)?;
        // Nothing is from the future.
        let copy = Copy { fetched_at: copy.fetched_at.min(now), ..copy };
        let so_far = self.document.begin(&copy, before.map(|before| before.so_far))?;
        Some(Restoring { copy, so_far, goes_on: true })
    }
}
