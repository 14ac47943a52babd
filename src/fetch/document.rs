//! What the life of a fetched document does not know of itself: what is asked, how an answer is read, what it means.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::http::{FetchError, HttpRequest, HttpResponse};
use super::lease::FetchLease;
use super::shared::{Copy, SharedSlot, State};
use super::store::{Parsed, Store};
use crate::time::Timestamp;

/// A kind of document. Everything else of its life is the same for all, and in [`Refresher`](super::Refresher).
pub(crate) trait Document: Sized {
    /// What an answer means.
    type Value: Clone + std::fmt::Debug;
    /// One request of a fetch: the document itself, or what it leads to.
    type Step: std::fmt::Debug;
    /// What was restored so far of a copy that is taken over in several turns.
    type Restoring: std::fmt::Debug;
    /// What an answer is verified by beside the answer.
    type Trust<'t>: std::marker::Copy;

    /// How long one answer may take.
    fn patience(&self) -> Duration;

    /// The longest pause between two tries that fail.
    fn max_pause(&self) -> Duration;

    /// No instance asks before this moment. `is_usable` says whether there is a document that can be trusted.
    fn not_before(&self, state: &State, is_usable: bool) -> Timestamp {
        let _ = is_usable;
        state.not_before.max(state.hold_until)
    }

    /// A shared state without what this document could not have written into its own part of it.
    fn clamped(&self, state: State, now: Timestamp) -> State {
        let _ = now;
        state
    }

    /// When a document is to be refreshed.
    fn due_at(&self, held: &Held<Self::Value>) -> Timestamp;

    /// From when on it is past its life.
    fn fresh_until(&self, held: &Held<Self::Value>) -> Timestamp;

    /// From when on it is not to be trusted any more.
    fn usable_until(&self, held: &Held<Self::Value>) -> Timestamp;

    /// The first step of a fetch.
    fn first(&self) -> Self::Step;

    /// What is asked in a step.
    fn request(&self, step: &Self::Step) -> HttpRequest;

    /// Whether the answer to a step need not be sent again where it is the one at hand.
    fn is_conditional(&self, step: &Self::Step) -> bool;

    /// Reads an answer with status 200 that is not too large.
    fn read(
        &self,
        step: Self::Step,
        response: HttpResponse,
        around: &Around<'_, '_, Self>,
    ) -> Result<Next<Self>, FetchError>;

    /// Begins to take over what another instance fetched. `before` is what was restored of an earlier copy, not to its
    /// end. None: the copy is damaged.
    fn begin(&self, copy: &Copy, before: Option<Self::Restoring>) -> Option<Self::Restoring>;

    /// Goes on with that, by as much as requests can wait for.
    fn restore(
        &self,
        copy: &Copy,
        restoring: &mut Self::Restoring,
        around: &Around<'_, '_, Self>,
    ) -> Restored<Self::Value>;

    /// Whether two documents say the same.
    fn is_same(&self, before: &Held<Self::Value>, after: &Held<Self::Value>) -> bool;

    /// A document came in the place of another.
    fn replaced(&mut self, before: Option<&Self::Value>, after: &Self::Value) {
        let _ = (before, after);
    }

    /// What this instance fetched is about to be published: what goes with it is published before.
    fn before_publishing(&mut self, slot: &SharedSlot, store: &dyn Store, now: Timestamp) {
        let _ = (slot, store, now);
    }

    /// What the log says of a document that differs from the one before.
    fn describe(
        &self,
        before: Option<&Self::Value>,
        after: &Self::Value,
    ) -> impl Iterator<Item = (log::Level, String)>;

    /// What the log says of a fetch that failed.
    fn failure(&self, error: &FetchError, is_usable: bool) -> String;

    /// What the log says when the document at hand becomes older or, at last, fresh again; `since` its source last
    /// confirmed it.
    fn aged(&self, age: Age, since: Duration) -> Option<(log::Level, String)>;
}

/// A document at hand.
#[derive(Debug)]
pub(crate) struct Held<V> {
    /// What it means.
    pub(crate) value: V,
    /// What is shared of it.
    pub(crate) copy: Copy,
}

/// What an answer is read with.
pub(crate) struct Around<'r, 't, D: Document> {
    /// The document at hand.
    pub(crate) held: Option<&'r Held<D::Value>>,
    /// The values beside the copy in the shared store.
    pub(crate) parts: Parts<'r>,
    /// What it is verified by.
    pub(crate) trust: D::Trust<'t>,
    pub(crate) now: Timestamp,
}

/// Values of a document that the copy vouches for, for they have no seal of their own.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'s> {
    pub(super) store: &'s dyn Store,
    pub(super) lease: &'s FetchLease,
}

impl Parts<'_> {
    /// Whether this instance may write them: it still has the lease.
    pub(crate) fn may_put(&self) -> bool {
        self.lease.holds(self.store)
    }

    /// Puts one where the others find it: as it is, where they have memory in common, else its bytes. Where the store
    /// cannot be written, an instance that misses it fetches it.
    pub(crate) fn put<T: Any + Send + Sync>(&self, at: usize, part: &Arc<T>, bytes: &[u8]) {
        let key = self.lease.slot().part_key(at);
        match self.store.parsed() {
            Some(parsed) => parsed.put(&key, Arc::clone(part) as Parsed),
            None => drop(self.store.put(&key, bytes)),
        }
    }

    /// The bytes of one.
    pub(crate) fn get(&self, at: usize) -> Option<Vec<u8>> {
        self.store.get(&self.lease.slot().part_key(at)).map(|(bytes, _)| bytes)
    }

    /// One as another instance read it, where they have memory in common.
    pub(crate) fn kept<T: Any + Send + Sync>(&self, at: usize) -> Option<Arc<T>> {
        self.store.parsed()?.get(&self.lease.slot().part_key(at))?.downcast().ok()
    }

    /// Keeps what was read of the whole document for the other instances, where they have memory in common.
    pub(crate) fn keep_whole<T: Any + Send + Sync>(&self, whole: impl FnOnce() -> Arc<T>) {
        if let Some(parsed) = self.store.parsed() {
            parsed.put(&self.lease.slot().parsed_key(), whole());
        }
    }

    /// What another instance read of the whole document.
    pub(crate) fn kept_whole<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.store.parsed()?.get(&self.lease.slot().parsed_key())?.downcast().ok()
    }
}

/// What follows from an answer.
pub(crate) enum Next<D: Document> {
    /// One more request.
    Ask(D::Step),
    /// The document is there.
    Done(Fetched<D::Value>),
}

/// A document as it was fetched.
pub(crate) struct Fetched<V> {
    /// What it means.
    pub(crate) value: V,
    /// What other instances restore it from.
    pub(crate) body: Vec<u8>,
    /// When the answer came that says how things are.
    pub(crate) at: Timestamp,
    /// `max-age` in seconds
    pub(crate) max_age: Option<u64>,
    /// `ETag`
    pub(crate) etag: Option<String>,
    /// `Last-Modified`
    pub(crate) last_modified: Option<String>,
}

/// What became of taking over a copy.
pub(crate) enum Restored<V> {
    /// It is whole.
    Whole(V),
    /// There is more to do, in the next turn.
    Partly,
    /// What it is verified by is not there yet.
    NotYet,
    /// It is damaged, or a part of it was overwritten.
    Damaged,
    /// It is whole and cannot be used; says why.
    Unusable(String),
}

/// How old a document is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Age {
    /// Within its life.
    Fresh,
    /// Past its life, and to be trusted for a while.
    Stale,
    /// Not to be trusted.
    Expired,
}
