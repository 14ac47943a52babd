//! The life of a polled list: when to ask, what to trust, how long.
//!
//! A state machine without I/O, like that of a key source. Of a proxy's instances one asks, and puts
//! what it got where the others find it: the digests of the pages, sealed, and the pages, for which
//! the digests vouch.

use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::time::Duration;

use super::OnUnavailable;
use super::document::{Document, MAX_ENTRIES};
use super::index::Index;
use super::list::List;
use super::page::{Digest, Page};
use crate::fetch::{Copy, Endpoint, FetchError, FetchLease, HttpRequest, HttpResponse, SecretValue, Store};
use crate::time::Timestamp;

/// A polled list as the operator configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Polled {
    /// Its name in the log.
    pub name: String,
    /// Where the document is.
    pub endpoint: Endpoint,
    /// More fields for each request; values are credentials and never shown.
    pub headers: Vec<(String, SecretValue)>,
    /// How often it is asked for.
    pub interval: Duration,
    /// What becomes of tokens while there is no list that can be trusted.
    pub on_unavailable: OnUnavailable,
    /// How long the last good list serves while the source fails.
    pub max_staleness: Duration,
    /// The largest answer that is read, in bytes.
    pub max_bytes: usize,
    /// The issuer of entries that name none.
    pub issuer: Option<String>,
}

/// Something that a list wants done or known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourceEvent {
    /// Send this, and report what came of it.
    Ask(HttpRequest),
    /// A fetch ended, here or elsewhere in the proxy: whoever waited for it can be judged.
    Ended,
    /// This instance fetched the list, or failed to.
    Tried(Result<(), ()>),
    /// The list is another than before.
    Changed,
    /// Write this to the log.
    Log(log::Level, String),
}

/// A polled list, seen from one instance.
#[derive(Debug)]
pub struct Poll {
    polled: Polled,
    turn: FetchLease,
    held: Option<Held>,
    work: Option<Work>,
    taking: Option<Taking>,
    /// The generation that could not be taken over.
    unreadable: u64,
    looked: bool,
    hasher: RandomState,
    said_stale: bool,
}

/// A list at hand.
#[derive(Debug)]
struct Held {
    list: Rc<List>,
    copy: Copy,
    /// The hash of the document, where this instance fetched it: the same need not be read again.
    document: Option<u64>,
}

/// What this instance asks for.
#[derive(Debug)]
enum Work {
    Document,
    Pages(Gathering),
}

/// Pages of a new list, on their way.
#[derive(Debug)]
struct Gathering {
    copy: Copy,
    document: u64,
    index: Index,
    pages: Vec<Rc<Page>>,
}

/// What another instance fetched, taken over a few pages at a time.
#[derive(Debug)]
struct Taking {
    copy: Copy,
    index: Index,
    pages: Vec<Rc<Page>>,
}

/// The media types of a document and of a page.
const ACCEPT: &str = "application/json, application/octet-stream";
/// How many entries a page of a JSON list has on average.
const PAGE: usize = 4096;
/// How many bytes of pages are taken over at a time, so that no request waits for long.
const AT_ONCE: usize = 256 << 10;

impl Poll {
    /// A list of which nothing is known yet. `random` tells this instance from the others; `secret`
    /// seals what is shared.
    pub fn new(polled: Polled, random: u64, secret: Option<&str>) -> Self {
        Self {
            turn: FetchLease::new(&polled.identity(), random, secret),
            polled,
            held: None,
            work: None,
            taking: None,
            unreadable: 0,
            looked: false,
            hasher: RandomState::new(),
            said_stale: false,
        }
    }

    /// How the list is reached, and what counts without it.
    pub fn polled(&self) -> &Polled {
        &self.polled
    }

    /// The list, however old it is.
    pub fn list(&self) -> Option<&Rc<List>> {
        self.held.as_ref().map(|held| &held.list)
    }

    /// Until when the list at hand can be trusted not to lack anything.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        Some(self.held.as_ref()?.copy.fetched_at.plus(self.polled.max_staleness))
    }

    /// When the list was last confirmed by its source.
    pub fn last_success(&self) -> Option<Timestamp> {
        Some(self.held.as_ref()?.copy.fetched_at)
    }

    /// Whether an answer is under way, here or elsewhere, or the first fetch has yet to start.
    pub fn expects_answer(&self, now: Timestamp) -> bool {
        !self.looked || self.is_busy() || self.turn.is_busy(now) || now >= self.due_at()
    }

    /// Whether a fetch has ended, well or not.
    pub fn was_tried(&self) -> bool {
        self.turn.was_tried()
    }

    /// Whether it wants to be ticked often.
    pub fn is_busy(&self) -> bool {
        self.taking.is_some()
    }

    /// When the next fetch may start.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.due_at().since(now)
    }

    fn due_at(&self) -> Timestamp {
        let next = self.held.as_ref().map(|held| held.copy.fetched_at.plus(self.polled.interval));
        next.unwrap_or_default().max(self.turn.not_before())
    }

    fn patience(&self) -> Duration {
        self.polled.endpoint.timeout
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub fn look(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        let _ = self.turn.look(store, self.patience(), self.polled.interval, now);
        self.take_over(store, now, &mut news);
        news
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and nobody
    /// else is at it.
    pub fn tick(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        // Where the clock was set back, a list does not last longer for it.
        if let Some(held) = &mut self.held {
            held.copy.fetched_at = held.copy.fetched_at.min(now);
        }
        let look = self.turn.look(store, self.patience(), self.polled.interval, now);
        self.take_over(store, now, &mut news);
        if look.ended && self.taking.is_none() {
            news.push(SourceEvent::Ended);
        }
        self.looked = true;
        self.note_staleness(now, &mut news);
        match self.turn.lease() {
            Some(until) if now >= until => self.failed(store, &FetchError::NoAnswer, now, &mut news),
            Some(_) => {}
            // What another instance has just fetched need not be fetched again.
            None if self.taking.is_some() => {}
            None if now >= self.due_at() && self.turn.take(store, &look, self.patience(), now) => {
                self.work = Some(Work::Document);
                news.push(SourceEvent::Ask(self.query()));
            }
            None => {}
        }
        news
    }

    fn query(&self) -> HttpRequest {
        let request = self.get(self.polled.endpoint.clone());
        match &self.held {
            Some(Held { copy, .. }) => {
                request.unless_same(copy.etag.as_deref(), copy.last_modified.as_deref())
            }
            None => request,
        }
    }

    fn get(&self, endpoint: Endpoint) -> HttpRequest {
        HttpRequest::get(endpoint, ACCEPT, &self.polled.headers, self.polled.max_bytes)
    }

    fn page_query(&self, digest: &Digest) -> HttpRequest {
        let path = Index::page_path(&self.polled.endpoint.path, digest);
        self.get(Endpoint { path, ..self.polled.endpoint.clone() })
    }

    /// The answer to the last query of this instance, or why there is none.
    pub fn answered(
        &mut self,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        let mut news = Vec::new();
        let Some(work) = self.work.take() else { return news };
        let answer = answer.and_then(|answer| match answer.body.len() {
            size if size > self.polled.max_bytes => {
                Err(FetchError::TooLarge { size, limit: self.polled.max_bytes })
            }
            _ => Ok(answer),
        });
        let step = answer.and_then(|answer| match work {
            Work::Document => self.document(answer, now),
            Work::Pages(gathering) => page(gathering, answer).inspect(|step| {
                // Each at once, for all of them together would hold up this worker.
                if let Step::Gather(gathering) = step
                    && let Some((page, at)) = gathering.pages.last().zip(gathering.pages.len().checked_sub(1))
                {
                    let _ = store.put(&self.turn.part_key(at), page.bytes());
                }
            }),
        });
        let step = step.map(|step| match step {
            Step::Gather(mut gathering) => {
                self.fill(&mut gathering);
                Step::Gather(gathering)
            }
            held => held,
        });
        match step {
            Err(error) => self.failed(store, &error, now, &mut news),
            Ok(Step::Hold(held)) => {
                self.put_pages(store, &held.list);
                self.succeeded(store, held, now, &mut news);
            }
            Ok(Step::Gather(gathering)) => match gathering.index.digests().get(gathering.pages.len()) {
                None => {
                    let list = Rc::new(List::new(gathering.pages));
                    let held = Held { list, copy: gathering.copy, document: Some(gathering.document) };
                    self.succeeded(store, held, now, &mut news);
                }
                Some(digest) if self.turn.renew(store, self.patience(), now) => {
                    let query = self.page_query(digest);
                    self.work = Some(Work::Pages(gathering));
                    news.push(SourceEvent::Ask(query));
                }
                Some(_) => self.failed(store, &FetchError::NoAnswer, now, &mut news),
            },
        }
        news
    }

    /// Takes the pages that are at hand already.
    fn fill(&self, gathering: &mut Gathering) {
        while let Some(digest) = gathering.index.digests().get(gathering.pages.len()) {
            match self.page_at_hand(gathering.pages.len(), gathering.index.digests().len(), digest) {
                Some(page) => gathering.pages.push(page),
                None => return,
            }
        }
    }

    fn page_at_hand(&self, at: usize, count: usize, digest: &Digest) -> Option<Rc<Page>> {
        let pages = self.held.as_ref()?.list.pages();
        pages.get(at).filter(|page| pages.len() == count && page.digest() == digest).cloned()
    }

    fn document(&self, answer: HttpResponse, now: Timestamp) -> Result<Step, FetchError> {
        let generation = self.turn.next_generation(now);
        let HttpResponse { status, etag, last_modified, body, .. } = answer;
        let asked =
            self.held.as_ref().filter(|held| held.copy.etag.is_some() || held.copy.last_modified.is_some());
        let document = self.hasher.hash_one(&body);
        match (status, asked) {
            (200, _) => {}
            // Not modified (RFC 9110 section 15.4.5): only where we asked whether it was.
            (304, Some(held)) => {
                let copy = Copy { generation, fetched_at: now, ..held.copy.clone() };
                let held = Held { list: Rc::clone(&held.list), copy, document: held.document };
                return Ok(Step::Hold(held));
            }
            _ => return Err(FetchError::Status(status)),
        }
        let mut copy =
            Copy { generation, fetched_at: now, max_age: None, etag, last_modified, body: Vec::new() };
        if let Some(held) = self.held.as_ref().filter(|held| held.document == Some(document)) {
            copy.body.clone_from(&held.copy.body);
            return Ok(Step::Hold(Held { list: Rc::clone(&held.list), copy, document: Some(document) }));
        }
        let read = Document::parse(&body, self.polled.issuer.as_deref(), MAX_ENTRIES);
        match read.map_err(|error| FetchError::Unusable(error.to_string()))? {
            Document::List(draft) => {
                // Whatever has ended stays in: the clock may be ahead now and be set back later, and an
                // unchanged document is not read again. Whether an entry has ended is asked of the clock
                // with each token.
                let list = Rc::new(draft.finish(PAGE, Timestamp::default()));
                copy.body = list.index().encode();
                Ok(Step::Hold(Held { list, copy, document: Some(document) }))
            }
            Document::Index(index) => {
                copy.body = index.encode();
                Ok(Step::Gather(Gathering { copy, document, index, pages: Vec::new() }))
            }
        }
    }

    /// Puts the pages of a list where the others find them.
    fn put_pages(&self, store: &dyn Store, list: &List) {
        if !self.turn.holds(store) {
            return;
        }
        let count = list.pages().len();
        for (at, page) in list.pages().iter().enumerate() {
            // What this instance held before is there since then. Where it is not, because another fetch
            // broke off, whoever misses it fetches it.
            if self.page_at_hand(at, count, page.digest()).is_none() {
                let _ = store.put(&self.turn.part_key(at), page.bytes());
            }
        }
    }

    /// Publishes what vouches for the pages of a list, which are there already, and takes it.
    fn succeeded(&mut self, store: &dyn Store, held: Held, now: Timestamp, news: &mut Vec<SourceEvent>) {
        self.turn.succeed(store, &held.copy);
        self.hold(held, log::Level::Info, now, news);
        news.push(SourceEvent::Tried(Ok(())));
        news.push(SourceEvent::Ended);
    }

    /// The next try comes after 1 s, 2 s, 4 s … up to the interval, give or take a fifth.
    fn failed(&mut self, store: &dyn Store, error: &FetchError, now: Timestamp, news: &mut Vec<SourceEvent>) {
        self.work = None;
        let pause = self.turn.fail(store, self.polled.interval, None, now);
        let kept = match self.fresh_until() {
            Some(until) if now < until => "the list at hand stays in use",
            _ => "there is no list that can be trusted",
        };
        let text = format!("fetching failed: {error}; {kept}; next try in {:.1} s", pause.as_secs_f64());
        news.push(SourceEvent::Log(log::Level::Warn, text));
        news.push(SourceEvent::Tried(Err(())));
        news.push(SourceEvent::Ended);
    }

    fn hold(&mut self, held: Held, level: log::Level, now: Timestamp, news: &mut Vec<SourceEvent>) {
        let before = self.held.replace(held);
        let Some(held) = &self.held else { return };
        let same = |before: &Held| before.copy.body == held.copy.body;
        if !before.as_ref().is_some_and(same) {
            news.push(SourceEvent::Changed);
            let count = held.list.len();
            news.push(SourceEvent::Log(level, format!("{count} entries and cut-offs")));
        }
        if self.said_stale && self.fresh_until().is_some_and(|until| now < until) {
            self.said_stale = false;
            news.push(SourceEvent::Log(level, "the list can be trusted again".to_owned()));
        }
    }

    /// Takes over the list of another instance, some of its pages at a time. Until it is whole the one at
    /// hand serves.
    fn take_over(&mut self, store: &dyn Store, now: Timestamp, news: &mut Vec<SourceEvent>) {
        let generation = self.turn.generation();
        // Only what is newer: an earlier value can be put there again by whoever read it once.
        let is_news = self.turn.has_news() && generation != self.unreadable;
        if self.turn.lease().is_some() || !is_news {
            self.taking = None;
            return;
        }
        // Unless it comes to a good end.
        self.unreadable = generation;
        if self.taking.as_ref().is_none_or(|taking| taking.copy.generation != generation) {
            // Overwritten meanwhile, or damaged: nothing is taken over. Where nothing better comes, this
            // instance asks when its own list is due.
            let copy = self.turn.copy(store);
            let read = copy.and_then(|copy| Some((Index::decode(&copy.body)?, copy)));
            let before = self.taking.take();
            self.taking = read.map(|(index, copy)| {
                // Nor is anything from the future.
                let copy = Copy { fetched_at: copy.fetched_at.min(now), ..copy };
                let same = before.filter(|before| before.index == index);
                Taking { copy, index, pages: same.map(|before| before.pages).unwrap_or_default() }
            });
        }
        let Some(mut taking) = self.taking.take() else { return };
        let digests = taking.index.digests();
        let mut room = AT_ONCE;
        while let Some(digest) = digests.get(taking.pages.len()) {
            let (at, count) = (taking.pages.len(), digests.len());
            if let Some(page) = self.page_at_hand(at, count, digest) {
                taking.pages.push(page);
                continue;
            }
            if room == 0 {
                self.unreadable = 0;
                self.taking = Some(taking);
                return;
            }
            let Some((bytes, _)) = store.get(&self.turn.part_key(at)) else { return };
            room = room.saturating_sub(bytes.len());
            // Checked here as in the instance that fetched it: what is shared is not believed.
            match Page::parse(bytes, at, count) {
                Ok(page) if page.digest() == digest => taking.pages.push(Rc::new(page)),
                _ => return,
            }
        }
        self.unreadable = 0;
        self.turn.took(generation);
        let list = Rc::new(List::new(taking.pages));
        self.hold(Held { list, copy: taking.copy, document: None }, log::Level::Debug, now, news);
        news.push(SourceEvent::Ended);
    }

    fn note_staleness(&mut self, now: Timestamp, news: &mut Vec<SourceEvent>) {
        let Some(until) = self.fresh_until().filter(|until| now >= *until && !self.said_stale) else {
            return;
        };
        self.said_stale = true;
        let since = now.since(until).saturating_add(self.polled.max_staleness).as_secs();
        let then = match self.polled.on_unavailable {
            OnUnavailable::Deny => "requests with tokens are answered with 503",
            OnUnavailable::Allow => "tokens pass unless the old list names them",
        };
        let text = format!("the list was last confirmed {since} s ago, too long to trust it; {then}");
        news.push(SourceEvent::Log(log::Level::Error, text));
    }
}

/// What follows from an answer.
enum Step {
    /// The list is there.
    Hold(Held),
    /// Its pages are needed.
    Gather(Gathering),
}

/// Takes in the page that was asked for.
fn page(mut gathering: Gathering, answer: HttpResponse) -> Result<Step, FetchError> {
    if answer.status != 200 {
        return Err(FetchError::Status(answer.status));
    }
    let (at, count) = (gathering.pages.len(), gathering.index.digests().len());
    let wrong = |what: &str| FetchError::Unusable(format!("page {at} of the revocation list {what}"));
    let page = Page::parse(answer.body, at, count).map_err(|_| wrong("is damaged"))?;
    if gathering.index.digests().get(at) != Some(page.digest()) {
        return Err(wrong("is not the one that the index names"));
    }
    gathering.pages.push(Rc::new(page));
    Ok(Step::Gather(gathering))
}

impl Polled {
    /// Everything that makes the answers of this source what they are, as one text.
    fn identity(&self) -> Vec<u8> {
        let Self { endpoint, headers, issuer, max_bytes, .. } = self;
        let Endpoint { scheme, authority, path, cluster, .. } = endpoint;
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name, &value.0)).collect();
        format!("revocation\n{scheme}\n{authority}\n{path}\n{cluster}\n{headers:?}\n{issuer:?}\n{max_bytes}")
            .into_bytes()
    }
}
