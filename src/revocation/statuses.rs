//! The life of the status lists to which tokens refer: fetched when a good token first names one, from
//! where the operator mapped it, and kept fresh while tokens name it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::status::StatusList;
use super::status_document::StatusDocument;
use super::status_source::{MIN_TTL, StatusSource, Verify};
use crate::fetch::{
    Endpoint, FetchError, FetchLease, HttpResponse, LookupId, LookupIds, Refresher, Slots, SourceEvent, Store,
};
use crate::time::Timestamp;
use crate::token::ProviderId;

/// The status lists, seen from one instance.
#[derive(Debug)]
pub struct Statuses {
    sources: Vec<Rc<StatusSource>>,
    /// Where the lists of each source are in the shared store.
    slots: Vec<Slots>,
    swept: Timestamp,
    random: u64,
    secret: Option<String>,
    ids: HashMap<(ProviderId, String), LookupId>,
    lists: BTreeMap<LookupId, Entry>,
    lookups: LookupIds,
    /// How many lists there ever were.
    made: u64,
}

#[derive(Debug)]
struct Entry {
    source: usize,
    refresher: Refresher<StatusDocument>,
    /// What makes its answers what they are.
    identity: Vec<u8>,
    random: u64,
    /// Its place in the shared store, and when it was last known to be its own.
    slot: Option<String>,
    asked_for_slot: Timestamp,
    /// Whether it was found that there is no place for it.
    has_no_slot: bool,
    used: Timestamp,
}

/// A list that no token named for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// A list that a token named so lately is not given up for another.
const IN_USE: Duration = Duration::from_secs(60);
/// How often a list sees whether its place in the shared store is still its own.
const PLACED: Duration = Duration::from_secs(20);
/// How often the places of forgotten lists are emptied.
const SWEPT: Duration = Duration::from_secs(60);

/// Why there is no list for a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoList {
    /// The operator mapped no such URI: it is never asked for.
    NotMapped,
    /// Too many others are in use.
    TooMany,
}

impl Statuses {
    /// The lists of these sources, none of them known yet.
    pub fn new(sources: Vec<StatusSource>, lookups: LookupIds, random: u64, secret: Option<&str>) -> Self {
        let slots = sources.iter().map(|source| source.slots(secret)).collect();
        Self {
            sources: sources.into_iter().map(Rc::new).collect(),
            slots,
            swept: Timestamp::default(),
            random,
            secret: secret.map(str::to_owned),
            ids: HashMap::new(),
            lists: BTreeMap::new(),
            lookups,
            made: 0,
        }
    }

    /// Whether no source is configured.
    pub fn is_off(&self) -> bool {
        self.sources.is_empty()
    }

    /// The list that a token of this provider names. Where it was not known, its fetch starts with the next
    /// tick.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&mut self, provider: ProviderId, uri: &str, now: Timestamp) -> Result<LookupId, NoList> {
        let found = self.sources.iter().enumerate().find_map(|(at, source)| {
            source.endpoint(uri).map(|endpoint| (at, source.provider.unwrap_or(provider), endpoint))
        });
        let (source, provider, endpoint) = found.ok_or(NoList::NotMapped)?;
        let name = (provider, uri.to_owned());
        if let Some(id) = self.ids.get(&name) {
            if let Some(entry) = self.lists.get_mut(id) {
                entry.used = now;
            }
            return Ok(*id);
        }
        self.make_room(source, now)?;
        let id = self.lookups.next();
        let entry = self.entry(source, provider, endpoint, uri, now).ok_or(NoList::NotMapped)?;
        self.lists.insert(id, entry);
        self.ids.insert(name, id);
        Ok(id)
    }

    fn entry(
        &mut self,
        at: usize,
        provider: ProviderId,
        endpoint: Endpoint,
        uri: &str,
        now: Timestamp,
    ) -> Option<Entry> {
        self.made = self.made.wrapping_add(1);
        let identity = format!("status list\n{}\n{uri}\n{}", provider.0, endpoint.cluster).into_bytes();
        let random = self.random.wrapping_add(self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Until the next tick it has no place, and nothing is shared.
        let lease = FetchLease::in_slot("", &identity, random, self.secret.as_deref());
        let source = Rc::clone(self.sources.get(at)?);
        let document = StatusDocument { source, provider, uri: uri.to_owned(), endpoint };
        Some(Entry {
            source: at,
            refresher: Refresher::new(document, lease),
            identity,
            random,
            slot: None,
            asked_for_slot: Timestamp::default(),
            has_no_slot: false,
            used: now,
        })
    }

    fn make_room(&mut self, source: usize, now: Timestamp) -> Result<(), NoList> {
        let max = self.sources.get(source).map_or(0, |source| source.max_lists);
        let own = || self.lists.iter().filter(|(_, entry)| entry.source == source);
        if own().count() < max {
            return Ok(());
        }
        let idle = own().filter(|(_, entry)| now.since(entry.used) >= IN_USE);
        let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
        self.forget(oldest.ok_or(NoList::TooMany)?);
        Ok(())
    }

    fn forget(&mut self, id: LookupId) {
        self.lists.remove(&id);
        self.ids.retain(|_, own| *own != id);
    }

    /// A list, and until when it can be trusted; none where it cannot.
    pub fn list(&self, id: LookupId, now: Timestamp) -> Option<(&StatusList, Timestamp)> {
        self.lists.get(&id)?.refresher.usable(now).map(|(held, until)| (&*held.value, until))
    }

    /// The status at a place of the list at hand, however old that is.
    pub fn last_known(&self, id: LookupId, at: u64) -> Option<u8> {
        self.lists.get(&id)?.refresher.held()?.value.bits.get(at)
    }

    /// The source of a list.
    pub fn source(&self, id: LookupId) -> Option<&StatusSource> {
        self.lists.get(&id).map(|entry| &*entry.refresher.document().source)
    }

    /// The place of a list's source among the sources.
    pub fn place(&self, id: LookupId) -> Option<usize> {
        Some(self.lists.get(&id)?.source)
    }

    /// The source to which a URI belongs.
    pub fn source_of(&self, uri: &str) -> Option<&StatusSource> {
        self.sources.iter().map(|source| &**source).find(|source| source.endpoint(uri).is_some())
    }

    /// Whether an answer is under way, here or elsewhere, or about to be asked for.
    pub fn expects_answer(&self, id: LookupId, now: Timestamp) -> bool {
        self.lists.get(&id).is_some_and(|entry| !entry.has_no_slot && entry.refresher.expects_answer(now))
    }

    /// Whether a fetch of it has ended, well or not.
    pub fn was_tried(&self, id: LookupId) -> bool {
        self.lists.get(&id).is_some_and(|entry| entry.refresher.was_tried())
    }

    /// The URI of a list, for the log.
    pub fn uri(&self, id: LookupId) -> &str {
        self.lists.get(&id).map_or("", |entry| &entry.refresher.document().uri)
    }

    /// When they want the next tick at the latest; none where there is no list. `is_waited_for`: requests wait.
    pub fn wake_at(&self, is_waited_for: bool, now: Timestamp) -> Option<Timestamp> {
        let each = |entry: &Entry| match entry.slot {
            None if entry.has_no_slot => entry.asked_for_slot.plus(MIN_TTL),
            _ => entry.refresher.wake_at(is_waited_for, now),
        };
        self.lists.values().map(each).min()
    }

    /// Takes note of the time and of what the others did: starts the fetches that are due where no other instance
    /// fetches.
    pub fn tick(
        &mut self,
        store: &dyn Store,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<(LookupId, SourceEvent)> {
        self.forget_unused(store, now);
        let mut all = Vec::new();
        for (id, entry) in &mut self.lists {
            if let Some(slots) = self.slots.get(entry.source) {
                entry.find_slot(slots, store, self.secret.as_deref(), now);
            }
            let events = if entry.slot.is_some() {
                entry.has_no_slot = false;
                entry.refresher.tick(store, verify, now)
            } else if std::mem::replace(&mut entry.has_no_slot, true) {
                Vec::new()
            } else {
                // Too many lists are in use at once: this one cannot be had for now.
                vec![SourceEvent::Ended]
            };
            all.extend(events.into_iter().map(|event| (*id, event)));
        }
        all
    }

    /// Forgets the lists that no token names any more, and empties their places.
    fn forget_unused(&mut self, store: &dyn Store, now: Timestamp) {
        let unused = |(id, entry): (&LookupId, &mut Entry)| {
            entry.used = entry.used.min(now);
            let is_unused = now.since(entry.used) >= FORGOTTEN && !entry.refresher.is_fetching();
            is_unused.then_some(*id)
        };
        let forgotten: Vec<LookupId> = self.lists.iter_mut().filter_map(unused).collect();
        forgotten.into_iter().for_each(|id| self.forget(id));
        self.swept = self.swept.min(now);
        if now.since(self.swept) >= SWEPT {
            self.swept = now;
            self.slots.iter().for_each(|slots| slots.sweep(store, FORGOTTEN, now));
        }
    }

    /// The answer to the last request for a list, or why there is none.
    pub fn answered(
        &mut self,
        id: LookupId,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let entry = self.lists.get_mut(&id);
        entry.map(|entry| entry.refresher.fetched(store, verify, answer, now)).unwrap_or_default()
    }
}

impl Entry {
    /// Finds its place in the shared store, or sees now and then whether that is still its own.
    fn find_slot(&mut self, slots: &Slots, store: &dyn Store, secret: Option<&str>, now: Timestamp) {
        self.asked_for_slot = self.asked_for_slot.min(now);
        let pause = if self.slot.is_some() { PLACED } else { MIN_TTL };
        let is_first = self.asked_for_slot == Timestamp::default();
        if self.refresher.is_fetching() || (!is_first && now.since(self.asked_for_slot) < pause) {
            return;
        }
        self.asked_for_slot = now;
        let slot = slots.place(store, &self.identity, now.since(self.used) < IN_USE, now);
        if slot != self.slot {
            let place = slot.as_deref().unwrap_or_default();
            self.refresher.move_to(FetchLease::in_slot(place, &self.identity, self.random, secret));
            self.slot = slot;
        }
    }
}
