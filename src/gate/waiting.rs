//! The requests that wait for keys or lists: bounded in number, each with a deadline.

use std::collections::HashMap;

use super::StreamId;
use crate::fetch::LookupId;
use crate::time::Timestamp;

/// How many requests may wait in one worker.
pub const MAX_WAITING: usize = 1024;
/// A request waits for keys because of its signature only while fewer than this wait: anybody can make up a signature.
pub const MAX_DOUBTFUL: usize = 64;

/// How long a request has waited and may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// What it waits for.
    pub lookup: LookupId,
    /// When it began to wait, for whatever.
    pub since: Timestamp,
    /// When it is judged by what is there.
    pub deadline: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<StreamId, Waited>);

impl Waiting {
    /// Whether few enough wait for one more whose signature does not hold.
    pub(super) fn has_room_for_doubt(&self) -> bool {
        self.0.len() < MAX_DOUBTFUL
    }

    /// Lets a request wait; false where too many wait already.
    pub(super) fn add(&mut self, stream: StreamId, waited: Waited) -> bool {
        let room = self.0.len() < MAX_WAITING;
        if room {
            self.0.insert(stream, waited);
        }
        room
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        self.0.remove(&stream);
    }

    /// Takes out the requests that wait for this, first come first.
    pub(super) fn released(&mut self, lookup: LookupId) -> Vec<(StreamId, Waited)> {
        self.take(|waited| waited.lookup == lookup)
    }

    /// Takes out the requests that have waited until their deadline.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<(StreamId, Waited)> {
        self.take(|waited| now >= waited.deadline)
    }

    /// When the first of them is to be judged by what is there.
    pub(super) fn first_deadline(&self) -> Option<Timestamp> {
        self.0.values().map(|waited| waited.deadline).min()
    }

    /// Takes out all.
    pub(super) fn all(&mut self) -> Vec<(StreamId, Waited)> {
        self.take(|_| true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, done: impl Fn(Waited) -> bool) -> Vec<(StreamId, Waited)> {
        let mut taken: Vec<(StreamId, Waited)> = Vec::new();
        self.0.retain(|stream, waited| {
            let done = done(*waited);
            if done {
                taken.push((*stream, *waited));
            }
            !done
        });
        taken.sort_unstable_by_key(|(stream, _)| *stream);
        taken
    }
}
