//! Places in the shared store for sources that come and go: the host never forgets a name, so that a fixed number of
//! them is used in turn.
//!
//! A directory says whose each place is and when it was last used. It is changed by compare-and-swap, and the owner of a
//! place asks it now and then whether the place is still its own.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::shared::{NOTES_SCHEMA, SharedSlot};
use super::store::{CasVersion, Store};
use crate::time::Timestamp;

/// How often it is noted that a place is in use.
const NOTED: Duration = Duration::from_secs(30);
/// A place that was not used for so long may be given to another source.
const IDLE: Duration = Duration::from_secs(120);
const NAME: usize = 16;
const ENTRY: usize = NAME + 8;

/// A fixed number of places.
#[derive(Debug)]
pub(crate) struct Slots {
    slot: SharedSlot,
    label: String,
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct SlotEntry {
    /// Whose it is; all zero where it is free.
    name: [u8; NAME],
    used: Timestamp,
}

impl SlotEntry {
    fn idle(&self, now: Timestamp) -> Duration {
        now.since(self.used.min(now))
    }
}

impl Slots {
    /// `identity` tells these places from others.
    pub(crate) fn new(identity: &[u8], count: usize, secret: Option<&str>) -> Self {
        Self { slot: SharedSlot::new(identity, secret), label: SharedSlot::label(identity), count }
    }

    /// The place of a source. Where it has none, it gets one that is free or was not used for long; a
    /// source that is not in use itself only keeps what it has.
    pub(crate) fn place(
        &self,
        store: &dyn Store,
        identity: &[u8],
        in_use: bool,
        now: Timestamp,
    ) -> Option<String> {
        let digest: [u8; 32] = Sha256::digest(identity).into();
        let name: [u8; NAME] = digest.first_chunk().copied()?;
        // Where another instance was faster, once more.
        for _ in 0..3 {
            let (mut places, stamp) = self.read(store);
            let own = places.iter().position(|place| place.name == name);
            let at = own.or_else(|| self.vacant(&places, now)).filter(|_| own.is_some() || in_use)?;
            let place = places.get_mut(at)?;
            if own.is_some() && (!in_use || place.idle(now) < NOTED) {
                return Some(self.slot_name(at));
            }
            let taken = own.is_none();
            *place = SlotEntry { name, used: now };
            if self.write(store, &places, stamp) {
                if taken {
                    self.clear(store, at);
                }
                return Some(self.slot_name(at));
            }
        }
        None
    }

    /// Empties the places that were not used for this long.
    pub(crate) fn sweep(&self, store: &dyn Store, idle: Duration, now: Timestamp) {
        let (mut places, stamp) = self.read(store);
        let is_over = |place: &SlotEntry| place.name != [0; NAME] && place.idle(now) >= idle;
        let over: Vec<usize> =
            places.iter().enumerate().filter(|(_, place)| is_over(place)).map(|(at, _)| at).collect();
        for place in places.iter_mut().filter(|place| is_over(place)) {
            *place = SlotEntry::default();
        }
        if !over.is_empty() && self.write(store, &places, stamp) {
            over.into_iter().for_each(|at| self.clear(store, at));
        }
    }

    fn vacant(&self, places: &[SlotEntry], now: Timestamp) -> Option<usize> {
        let free = places.iter().position(|place| place.name == [0; NAME]);
        let oldest = places.iter().enumerate().max_by_key(|(_, place)| place.idle(now));
        free.or(oldest.filter(|(_, place)| place.idle(now) >= IDLE).map(|(at, _)| at))
    }

    fn slot_name(&self, at: usize) -> String {
        format!("{}.{at}", self.label)
    }

    fn clear(&self, store: &dyn Store, at: usize) {
        SharedSlot::in_slot(&self.slot_name(at), b"", None).clear(store);
    }

    /// The directory; where it is missing or damaged, one in which all places are free.
    fn read(&self, store: &dyn Store) -> (Vec<SlotEntry>, Option<CasVersion>) {
        let mut places = vec![SlotEntry::default(); self.count];
        let shared = self.slot.notes(store);
        let stamp = shared.as_ref().map(|(_, stamp)| *stamp);
        let bytes = shared.and_then(|(bytes, _)| bytes).unwrap_or_default();
        let (entries, _) = bytes.strip_prefix(&[NOTES_SCHEMA]).unwrap_or_default().as_chunks::<ENTRY>();
        for (place, entry) in places.iter_mut().zip(entries) {
            if let Some((name, used)) = entry.split_first_chunk::<NAME>() {
                let used = used.first_chunk().copied().unwrap_or_default();
                *place = SlotEntry { name: *name, used: Timestamp::from_nanos(u64::from_le_bytes(used)) };
            }
        }
        (places, stamp)
    }

    fn write(&self, store: &dyn Store, places: &[SlotEntry], stamp: Option<CasVersion>) -> bool {
        let mut bytes = vec![NOTES_SCHEMA];
        for place in places {
            bytes.extend(place.name);
            bytes.extend(place.used.as_nanos().to_le_bytes());
        }
        self.slot.replace_notes(store, bytes, stamp).is_ok()
    }
}
