//! Key ids that no key has: which were looked for in vain, when to look again, and which were removed from the set.
//!
//! The instances of a proxy share this, so that a key id that one of them looked for costs the others
//! nothing. Bounded: what was asked for least lately goes first.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::fetch::{CasVersion, NOTES_SCHEMA, SharedSlot, Store};
use crate::time::Timestamp;

/// A key id, shortened to 96 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name([u8; 12]);

impl Name {
    pub(super) fn new(kid: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(kid).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// A key id that is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Missing {
    name: Name,
    /// When a fetch was first asked for because of it; none where there never was one.
    first: Option<Timestamp>,
    /// When a fetch was last asked for because of it; where there never was one, when it was last seen.
    asked: Timestamp,
}

/// How long after the first look it may be looked for again; after these, once in each cooldown. A key that is listed up
/// to ten seconds late is found within sixteen, however rarely it is asked for.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];
/// Missing key ids that are remembered at most.
const MAX_MISSING: usize = 256;
/// Removed key ids that are remembered at most.
const MAX_RETIRED: usize = 256;
/// How often the shared value is read or written because of requests, at most.
const PAUSE: Duration = Duration::from_millis(20);
const NAME: usize = 12;
const ENTRY: usize = NAME + 16;

impl Missing {
    /// Whether a fetch that began after it was asked for did not bring it.
    pub(super) fn was_in_vain(&self, looked: Timestamp) -> bool {
        self.first.is_some() && self.asked <= looked
    }

    /// When it may be looked for again.
    pub(super) fn due(&self, cooldown: Duration) -> Timestamp {
        let usual = self.asked.plus(cooldown);
        let again = AGAIN.iter().filter_map(|pause| Some(self.first?.plus(*pause)));
        again.filter(|at| *at > self.asked).fold(usual, Timestamp::min)
    }

    /// What is known of it here and elsewhere: the first look of all, and the last one.
    fn and(self, other: Self) -> Self {
        match (self.first, other.first) {
            (Some(_), None) => self,
            (None, Some(_)) => other,
            (first, theirs) => Self { first: first.min(theirs), asked: self.asked.max(other.asked), ..self },
        }
    }
}

/// What one instance knows of them.
#[derive(Debug, Default)]
pub(super) struct Kids {
    /// The one that was asked for last comes last.
    missing: Vec<Missing>,
    retired: Vec<Name>,
    /// The shared value that is contained in this.
    stamp: Option<CasVersion>,
    /// There is something that the shared value lacks.
    is_ahead: bool,
    exchanged: Timestamp,
}

impl Kids {
    /// Whether it was in an earlier key set and is gone.
    pub(super) fn is_retired(&self, name: Name) -> bool {
        self.retired.contains(&name)
    }

    /// Whether there is something to tell the others.
    pub(super) fn is_ahead(&self) -> bool {
        self.is_ahead
    }

    pub(super) fn missing(&self, name: Name) -> Option<Missing> {
        self.missing.iter().find(|missing| missing.name == name).copied()
    }

    /// It was seen, and could not be looked for.
    pub(super) fn seen(&mut self, name: Name, now: Timestamp) {
        if self.missing(name).is_none_or(|missing| missing.first.is_none()) {
            self.put(Missing { name, first: None, asked: now });
        }
    }

    /// A fetch is asked for because of it.
    pub(super) fn asked(&mut self, name: Name, now: Timestamp) {
        let first = self.missing(name).and_then(|missing| missing.first).unwrap_or(now);
        self.put(Missing { name, first: Some(first), asked: now });
    }

    /// A fetch that began after this moment did not bring it.
    pub(super) fn in_vain(&mut self, name: Name, since: Timestamp) {
        let known = self.missing(name).filter(|missing| missing.first.is_some());
        if known.is_none_or(|missing| missing.asked < since) {
            self.asked(name, since);
        }
    }

    fn put(&mut self, missing: Missing) {
        self.missing.retain(|other| other.name != missing.name);
        if self.missing.len() >= MAX_MISSING {
            self.missing.remove(0);
        }
        self.missing.push(missing);
        self.is_ahead = true;
    }

    /// It was in the key set and is not any more.
    pub(super) fn retire(&mut self, name: Name) {
        if self.is_retired(name) {
            return;
        }
        if self.retired.len() >= MAX_RETIRED {
            self.retired.remove(0);
        }
        self.retired.push(name);
        self.is_ahead = true;
    }

    /// Drops what lies in the future: the clock was set back.
    pub(super) fn forget_the_future(&mut self, now: Timestamp) {
        self.missing.retain(|missing| missing.asked <= now);
        self.exchanged = self.exchanged.min(now);
    }

    /// Takes in what the others know and tells them what they do not. Because of requests that happens at
    /// most every 20 ms, lest made-up key ids cost more than that; with each tick `always`.
    pub(super) fn exchange(&mut self, slot: &SharedSlot, store: &dyn Store, always: bool, now: Timestamp) {
        if !always && now >= self.exchanged && now.since(self.exchanged) < PAUSE {
            return;
        }
        self.exchanged = now;
        let shared = slot.notes(store);
        let stamp = shared.as_ref().map(|(_, stamp)| *stamp);
        if stamp != self.stamp
            && let Some((bytes, _)) = &shared
        {
            let ahead = std::mem::take(&mut self.is_ahead);
            let lacks =
                bytes.as_deref().is_none_or(|bytes| self.take_in(bytes, now).is_none_or(|lacks| lacks));
            self.is_ahead = ahead && lacks;
            self.stamp = stamp;
        }
        // Where another instance was faster, the next time does it.
        if self.is_ahead && slot.replace_notes(store, self.encode(), stamp).is_ok() {
            self.is_ahead = false;
            self.stamp = slot.notes(store).map(|(_, stamp)| stamp);
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![NOTES_SCHEMA];
        bytes.extend(u32::try_from(self.retired.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(self.retired.iter().flat_map(|name| name.0));
        for missing in &self.missing {
            bytes.extend(missing.name.0);
            // No moment is 0: that stands for none.
            for moment in [missing.first.unwrap_or_default(), missing.asked] {
                bytes.extend(moment.as_nanos().to_le_bytes());
            }
        }
        bytes
    }

    /// Takes in a shared value; whether there is something that it lacks. None: it is not of the form.
    fn take_in(&mut self, bytes: &[u8], now: Timestamp) -> Option<bool> {
        let (count, rest) = bytes.strip_prefix(&[NOTES_SCHEMA])?.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (retired, missing) = rest.split_at_checked(count.checked_mul(NAME)?)?;
        let (missing, rest) = missing.as_chunks::<ENTRY>();
        if !rest.is_empty() || missing.len() > MAX_MISSING || count > MAX_RETIRED {
            return None;
        }
        let mine = self.retired.clone();
        let mut shared = 0usize;
        for name in retired.as_chunks::<NAME>().0 {
            shared = shared.saturating_add(usize::from(mine.contains(&Name(*name))));
            self.retire(Name(*name));
        }
        let mut lacks = shared < mine.len();
        let mut theirs: Vec<Missing> = missing.iter().filter_map(decode).collect();
        theirs.retain(|missing| missing.asked <= now);
        for mine in std::mem::take(&mut self.missing) {
            match theirs.iter_mut().find(|other| other.name == mine.name) {
                Some(other) => {
                    let both = other.and(mine);
                    lacks |= both != *other;
                    *other = both;
                }
                None => {
                    theirs.push(mine);
                    lacks = true;
                }
            }
        }
        // Nearly in order as they are, and few.
        let mut all: Vec<Missing> = Vec::with_capacity(theirs.len());
        for missing in theirs {
            let at = all.partition_point(|own| own.asked <= missing.asked);
            all.insert(at, missing);
        }
        let surplus = all.len().saturating_sub(MAX_MISSING);
        self.missing = all.split_off(surplus);
        Some(lacks)
    }
}

fn decode(entry: &[u8; ENTRY]) -> Option<Missing> {
    let (name, rest) = entry.split_first_chunk::<NAME>()?;
    let moment = |bytes: &[u8; 8]| Timestamp::from_nanos(u64::from_le_bytes(*bytes));
    let [first, asked] = rest.as_chunks::<8>().0 else { return None };
    let (first, asked) = (moment(first), moment(asked));
    let first = (first > Timestamp::default()).then(|| first.min(asked));
    Some(Missing { name: Name(*name), first, asked })
}
