//! The life of the status lists to which tokens refer: fetched when a good token first names one, from
//! where the operator mapped it, and kept fresh while tokens name it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use super::OnUnavailable;
use super::poll::SourceEvent;
use super::status::{StatusError, StatusList};
use crate::fetch::{
    Copy, Endpoint, FetchError, FetchLease, HttpRequest, HttpResponse, LookupId, LookupIds, SecretValue,
    Slots, Store,
};
use crate::time::Timestamp;
use crate::token::ProviderId;

/// Where status lists may come from, as the operator configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusSource {
    /// URIs that begin like this are asked for, and no others; it ends with `/`.
    pub uri_prefix: String,
    /// The Envoy cluster that reaches them.
    pub cluster: String,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whose keys verify the lists; none: those of the token's provider.
    pub provider: Option<ProviderId>,
    /// More fields for each request; values are credentials and never shown.
    pub headers: Vec<(String, SecretValue)>,
    /// What becomes of tokens while there is no list that can be trusted.
    pub on_unavailable: OnUnavailable,
    /// How long the last good list serves while the source fails; its `exp` ends it in any case.
    pub max_staleness: Duration,
    /// How long a list is used before it is asked for again, whatever its `ttl`.
    pub max_ttl: Duration,
    /// The largest answer that is read, in bytes.
    pub max_bytes: usize,
    /// The largest list, unpacked, in bytes.
    pub max_list_bytes: usize,
    /// How many lists are kept.
    pub max_lists: usize,
}

impl StatusSource {
    /// Where a list of this URI is, if it is one of this source: the rest of it is plain path segments, so
    /// that nobody reads it as another place.
    fn endpoint(&self, uri: &str) -> Option<Endpoint> {
        let rest = uri.strip_prefix(&self.uri_prefix)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/=&?".contains(&byte);
        let path = rest.split('?').next().unwrap_or_default();
        let dots = path.split('/').any(|segment| matches!(segment, "." | ".." | ""));
        if dots || !rest.bytes().all(plain) || uri.len() > 1024 {
            return None;
        }
        let (scheme, authority, path) = Endpoint::split(uri)?;
        Some(Endpoint { scheme, authority, path, cluster: self.cluster.clone(), timeout: self.timeout })
    }

    /// The places of its lists: more than there may be lists at once, for one that has made room for another
    /// keeps its own for a while.
    fn slots(&self, secret: Option<&str>) -> Slots {
        let count = self.max_lists.saturating_mul(4);
        let identity = format!("status lists\n{}\n{}\n{count}", self.uri_prefix, self.cluster);
        Slots::new(identity.as_bytes(), count, secret)
    }

    /// `ttl`, or what stands for it: never so short that a list is asked for without end.
    fn life(&self, ttl: Option<u64>) -> Duration {
        let ttl = ttl.map_or(self.max_ttl, Duration::from_secs);
        ttl.max(MIN_TTL).min(self.max_ttl)
    }
}

/// Verifies a list of a provider that came from this URI and unpacks to this many bytes at most.
pub type Verify<'v> = &'v dyn Fn(ProviderId, &str, &[u8], usize) -> Result<StatusList, StatusError>;

/// The status lists, seen from one instance.
#[derive(Debug)]
pub struct Statuses {
    sources: Vec<StatusSource>,
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
    provider: ProviderId,
    uri: String,
    endpoint: Endpoint,
    /// What makes its answers what they are.
    identity: Vec<u8>,
    random: u64,
    turn: FetchLease,
    /// Its place in the shared store, and when it was last known to be its own.
    slot: Option<String>,
    asked_for_slot: Timestamp,
    held: Option<Held>,
    /// The generation that was looked at last, good or not.
    seen: u64,
    looked: bool,
    used: Timestamp,
}

#[derive(Debug)]
struct Held {
    list: Rc<StatusList>,
    copy: Copy,
}

/// The media type of a list (section 5.1 of the draft).
const ACCEPT: &str = "application/statuslist+jwt";
/// A list that no token named for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// A list that a token named so lately is not given up for another.
const IN_USE: Duration = Duration::from_secs(60);
/// How often a list sees whether its place in the shared store is still its own.
const PLACED: Duration = Duration::from_secs(20);
/// How often the places of forgotten lists are emptied.
const SWEPT: Duration = Duration::from_secs(60);
/// The shortest `ttl` that counts.
const MIN_TTL: Duration = Duration::from_secs(5);
/// The longest pause between two tries that fail.
const MAX_PAUSE: Duration = Duration::from_secs(30);

const OLDER: &str = "its \"iat\" is before that of the list at hand";

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
            sources,
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
        self.made = self.made.wrapping_add(1);
        let identity = format!("status list\n{}\n{uri}\n{}", provider.0, endpoint.cluster).into_bytes();
        let random = self.random.wrapping_add(self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let entry = Entry {
            source,
            provider,
            uri: uri.to_owned(),
            endpoint,
            // Until the next tick it has no place, and nothing is shared.
            turn: FetchLease::in_slot("", &identity, random, self.secret.as_deref()),
            identity,
            random,
            slot: None,
            asked_for_slot: Timestamp::default(),
            held: None,
            seen: 0,
            looked: false,
            used: now,
        };
        self.lists.insert(id, entry);
        self.ids.insert(name, id);
        Ok(id)
    }

    fn make_room(&mut self, source: usize, now: Timestamp) -> Result<(), NoList> {
        let most = self.sources.get(source).map_or(0, |source| source.max_lists);
        let own = || self.lists.iter().filter(|(_, entry)| entry.source == source);
        if own().count() < most {
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
        let entry = self.lists.get(&id)?;
        let held = entry.held.as_ref()?;
        let source = self.sources.get(entry.source)?;
        let stale = held.copy.fetched_at.plus(source.max_staleness);
        let until = held.list.expires.map_or(stale, |expires| stale.min(expires));
        (now < until).then_some((&held.list, until))
    }

    /// The status at a place of the list at hand, however old that is.
    pub fn last_known(&self, id: LookupId, at: u64) -> Option<u8> {
        self.lists.get(&id)?.held.as_ref()?.list.bits.get(at)
    }

    /// The source of a list.
    pub fn source(&self, id: LookupId) -> Option<&StatusSource> {
        self.sources.get(self.lists.get(&id)?.source)
    }

    /// The place of a list's source among the sources.
    pub fn place(&self, id: LookupId) -> Option<usize> {
        Some(self.lists.get(&id)?.source)
    }

    /// The source to which a URI belongs.
    pub fn source_of(&self, uri: &str) -> Option<&StatusSource> {
        self.sources.iter().find(|source| source.endpoint(uri).is_some())
    }

    /// Whether an answer is under way, here or elsewhere, or about to be asked for.
    pub fn expects_answer(&self, id: LookupId, now: Timestamp) -> bool {
        self.lists.get(&id).is_some_and(|entry| {
            let may_ask = entry.slot.is_some() && now >= self.due_at(entry);
            !entry.looked || entry.turn.is_busy(now) || may_ask
        })
    }

    /// Whether a fetch of it has ended, well or not.
    pub fn was_tried(&self, id: LookupId) -> bool {
        self.lists.get(&id).is_some_and(|entry| entry.turn.was_tried())
    }

    fn due_at(&self, entry: &Entry) -> Timestamp {
        let due = entry.held.as_ref().zip(self.sources.get(entry.source)).map(|(held, source)| {
            let due = held.copy.fetched_at.plus(source.life(held.list.ttl));
            held.list.expires.map_or(due, |expires| due.min(expires))
        });
        due.unwrap_or_default().max(entry.turn.not_before())
    }

    /// Takes note of the time and of what the others did: starts the fetches that are due where nobody
    /// else is at them.
    pub fn tick(
        &mut self,
        store: &dyn Store,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<(LookupId, SourceEvent)> {
        let idle = |(id, entry): (&LookupId, &Entry)| {
            (now.since(entry.used) >= FORGOTTEN && entry.turn.lease().is_none()).then_some(*id)
        };
        let forgotten: Vec<LookupId> = self.lists.iter().filter_map(idle).collect();
        forgotten.into_iter().for_each(|id| self.forget(id));
        self.swept = self.swept.min(now);
        if now.since(self.swept) >= SWEPT {
            self.swept = now;
            self.slots.iter().for_each(|slots| slots.sweep(store, FORGOTTEN, now));
        }
        let ids: Vec<LookupId> = self.lists.keys().copied().collect();
        let mut all = Vec::new();
        for id in ids {
            let Some(due_at) = self.lists.get(&id).map(|entry| self.due_at(entry)) else { continue };
            let Some(entry) = self.lists.get_mut(&id) else { continue };
            let Some(source) = self.sources.get(entry.source) else { continue };
            let mut news = Vec::new();
            // Where the clock was set back, a list does not last longer for it.
            if let Some(held) = &mut entry.held {
                held.copy.fetched_at = held.copy.fetched_at.min(now);
            }
            entry.used = entry.used.min(now);
            if let Some(slots) = self.slots.get(entry.source) {
                entry.settle(slots, store, self.secret.as_deref(), now);
            }
            if entry.slot.is_none() {
                // Too many lists are in use at once: this one cannot be had for now.
                if !std::mem::replace(&mut entry.looked, true) {
                    all.push((id, SourceEvent::Ended));
                }
                continue;
            }
            let look = entry.turn.look(store, source.timeout, MAX_PAUSE, now);
            let before = entry.seen;
            entry.take_over(store, verify, source, now, &mut news);
            if look.ended {
                news.push(SourceEvent::Ended);
            }
            entry.looked = true;
            match entry.turn.lease() {
                Some(until) if now >= until => entry.failed(store, &FetchError::NoAnswer, now, &mut news),
                Some(_) => {}
                None if before == entry.seen
                    && now >= due_at
                    && entry.turn.take(store, &look, source.timeout, now) =>
                {
                    news.push(SourceEvent::Ask(entry.query(source)));
                }
                None => {}
            }
            all.extend(news.into_iter().map(|news| (id, news)));
        }
        all
    }

    /// The answer to the last query for a list, or why there is none.
    pub fn answered(
        &mut self,
        id: LookupId,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        let Some(entry) = self.lists.get_mut(&id) else { return news };
        let Some(source) = self.sources.get(entry.source) else { return news };
        if entry.turn.lease().is_none() {
            return news;
        }
        match entry.read(answer, verify, source, now) {
            Err(error) => entry.failed(store, &error, now, &mut news),
            Ok(held) => {
                entry.turn.succeed(store, &held.copy);
                entry.seen = entry.turn.generation();
                entry.hold(held, &mut news);
                news.push(SourceEvent::Tried(Ok(())));
                news.push(SourceEvent::Ended);
            }
        }
        news
    }

    /// The URI of a list, for the log.
    pub fn uri(&self, id: LookupId) -> &str {
        self.lists.get(&id).map_or("", |entry| &entry.uri)
    }
}

impl Entry {
    /// Finds its place in the shared store, or sees now and then whether that is still its own.
    fn settle(&mut self, slots: &Slots, store: &dyn Store, secret: Option<&str>, now: Timestamp) {
        self.asked_for_slot = self.asked_for_slot.min(now);
        let pause = if self.slot.is_some() { PLACED } else { MIN_TTL };
        let is_first = self.asked_for_slot == Timestamp::default();
        if self.turn.lease().is_some() || (!is_first && now.since(self.asked_for_slot) < pause) {
            return;
        }
        self.asked_for_slot = now;
        let slot = slots.place(store, &self.identity, now.since(self.used) < IN_USE, now);
        if slot != self.slot {
            let place = slot.as_deref().unwrap_or_default();
            self.turn = FetchLease::in_slot(place, &self.identity, self.random, secret);
            self.slot = slot;
        }
    }

    fn query(&self, source: &StatusSource) -> HttpRequest {
        let request = HttpRequest::get(self.endpoint.clone(), ACCEPT, &source.headers, source.max_bytes);
        match &self.held {
            Some(Held { copy, .. }) => request.unless_same(copy.etag.as_deref(), None),
            None => request,
        }
    }

    fn read(
        &self,
        answer: Result<HttpResponse, FetchError>,
        verify: Verify<'_>,
        source: &StatusSource,
        now: Timestamp,
    ) -> Result<Held, FetchError> {
        let HttpResponse { status, etag, body, .. } = answer?;
        let generation = self.turn.next_generation(now);
        let (size, limit) = (body.len(), source.max_bytes);
        match (status, &self.held) {
            (200, _) if size > limit => Err(FetchError::TooLarge { size, limit }),
            (200, _) => {
                let copy =
                    Copy { generation, fetched_at: now, max_age: None, etag, last_modified: None, body };
                let list = verify(self.provider, &self.uri, &copy.body, source.max_list_bytes)
                    .map_err(|error| FetchError::Unusable(error.to_string()))?;
                if self.is_older(&list) {
                    return Err(FetchError::Unusable(OLDER.to_owned()));
                }
                Ok(Held { list: Rc::new(list), copy })
            }
            (304, Some(held)) if held.copy.etag.is_some() => {
                let copy = Copy { generation, fetched_at: now, ..held.copy.clone() };
                Ok(Held { list: Rc::clone(&held.list), copy })
            }
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    /// Whether a list was issued before the one at hand: it would undo what was withdrawn since. Of two
    /// of the same `iat` the one that comes later counts, for a list may be signed anew within a second.
    fn is_older(&self, list: &StatusList) -> bool {
        self.held.as_ref().is_some_and(|held| list.issued < held.list.issued)
    }

    fn failed(&mut self, store: &dyn Store, error: &FetchError, now: Timestamp, news: &mut Vec<SourceEvent>) {
        let pause = self.turn.fail(store, MAX_PAUSE, None, now);
        let text = format!("fetching failed: {error}; next try in {:.1} s", pause.as_secs_f64());
        news.push(SourceEvent::Log(log::Level::Warn, text));
        news.push(SourceEvent::Tried(Err(())));
        news.push(SourceEvent::Ended);
    }

    fn hold(&mut self, held: Held, news: &mut Vec<SourceEvent>) {
        let same = self.held.as_ref().is_some_and(|before| before.list == held.list);
        self.held = Some(held);
        if !same {
            news.push(SourceEvent::Changed);
        }
    }

    /// Takes over what another instance fetched.
    fn take_over(
        &mut self,
        store: &dyn Store,
        verify: Verify<'_>,
        source: &StatusSource,
        now: Timestamp,
        news: &mut Vec<SourceEvent>,
    ) {
        let generation = self.turn.generation();
        if self.turn.lease().is_some() || !self.turn.has_news() || generation == self.seen {
            return;
        }
        let Some(copy) = self.turn.copy(store) else { return };
        // Checked here as in the instance that fetched it: what is shared is not believed, nor is
        // anything from the future.
        match verify(self.provider, &self.uri, &copy.body, source.max_list_bytes) {
            Ok(list) if self.is_older(&list) => {
                self.seen = generation;
                let text = format!("a shared status list is not used: {OLDER}");
                news.push(SourceEvent::Log(log::Level::Warn, text));
            }
            Ok(list) => {
                self.seen = generation;
                self.turn.took(generation);
                let copy = Copy { fetched_at: copy.fetched_at.min(now), ..copy };
                self.hold(Held { list: Rc::new(list), copy }, news);
                news.push(SourceEvent::Ended);
            }
            // The keys are on their way here too.
            Err(StatusError::NoKeys) => {}
            Err(error) => {
                self.seen = generation;
                let text = format!("a shared status list is not used: {error}");
                news.push(SourceEvent::Log(log::Level::Warn, text));
            }
        }
    }
}
