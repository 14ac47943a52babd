//! The requests that wait for keys: bounded in number, each with a deadline.

use std::collections::HashMap;

use super::StreamId;
use crate::rules::ProviderId;
use crate::time::Timestamp;

/// How many requests may wait in one worker.
pub const MAX_WAITING: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<StreamId, (ProviderId, Timestamp)>);

impl Waiting {
    /// Lets a request wait for a provider's keys; false where too many wait already.
    pub(super) fn add(&mut self, stream: StreamId, provider: ProviderId, deadline: Timestamp) -> bool {
        let room = self.0.len() < MAX_WAITING;
        if room {
            self.0.insert(stream, (provider, deadline));
        }
        room
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        self.0.remove(&stream);
    }

    /// Takes out whoever waits for this provider, first come first.
    pub(super) fn released(&mut self, provider: ProviderId) -> Vec<StreamId> {
        self.take(|(waits_for, _)| *waits_for == provider)
    }

    /// Takes out whoever has waited until its deadline.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<StreamId> {
        self.take(|(_, deadline)| now >= *deadline)
    }

    /// Takes out everyone.
    pub(super) fn all(&mut self) -> Vec<StreamId> {
        self.take(|_| true)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, done: impl Fn(&(ProviderId, Timestamp)) -> bool) -> Vec<StreamId> {
        let mut taken: Vec<StreamId> = Vec::new();
        self.0.retain(|stream, waiter| {
            let done = done(waiter);
            if done {
                taken.push(*stream);
            }
            !done
        });
        taken.sort_unstable();
        taken
    }
}
