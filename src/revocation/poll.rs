//! A polled list as a fetched document: the list itself, or an index and the pages that it names.
//!
//! Of a proxy's instances one asks, and puts what it got where the others find it: the digests of the pages, sealed,
//! and the pages, for which the digests vouch.

use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::OnUnavailable;
use super::document::{Document as Written, MAX_ENTRIES};
use super::index::Index;
use super::list::List;
use super::page::{Digest, Page};
use crate::fetch::{
    Age, Around, Copy, Document, Endpoint, FetchError, FetchLease, Fetched, Held, HttpRequest, HttpResponse,
    Next, Refresher, Restored, SecretValue, SourceEvent, Store,
};
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

/// A polled list, seen from one instance.
#[derive(Debug)]
pub struct Poll {
    refresher: Refresher<PolledDocument>,
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
        let lease = FetchLease::new(&polled.identity(), random, secret);
        Self { refresher: Refresher::new(PolledDocument { polled, hasher: RandomState::new() }, lease) }
    }

    /// How the list is reached, and what counts without it.
    pub fn polled(&self) -> &Polled {
        &self.refresher.document().polled
    }

    /// The list, however old it is.
    pub fn list(&self) -> Option<&Rc<List>> {
        self.refresher.held().map(|held| &held.value.list)
    }

    /// Until when the list at hand can be trusted not to lack anything.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        self.refresher.fresh_until()
    }

    /// When the list was last confirmed by its source.
    pub fn last_success(&self) -> Option<Timestamp> {
        self.refresher.held().map(|held| held.copy.fetched_at)
    }

    /// Whether an answer is under way, here or elsewhere, or the first fetch has yet to start.
    pub fn expects_answer(&self, now: Timestamp) -> bool {
        self.refresher.expects_answer(now)
    }

    /// Whether a fetch has ended, well or not.
    pub fn was_tried(&self) -> bool {
        self.refresher.was_tried()
    }

    /// Whether it wants to be ticked often: it is taking over pages.
    pub fn is_busy(&self) -> bool {
        self.refresher.is_restoring()
    }

    /// When it wants the next tick at the latest. `is_waited_for`: requests wait.
    pub fn wake_at(&self, is_waited_for: bool, now: Timestamp) -> Timestamp {
        self.refresher.wake_at(is_waited_for, now)
    }

    /// When the next fetch may start.
    pub fn next_fetch_in(&self, now: Timestamp) -> Duration {
        self.refresher.due_at(now).since(now)
    }

    /// Takes over what is in the store, so that an instance that starts late starts warm.
    pub fn read_store(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        self.refresher.read_store(store, (), now)
    }

    /// Takes note of the time and of what the others did; starts a fetch where one is due and no other instance
    /// fetches.
    pub fn tick(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        self.refresher.tick(store, (), now)
    }

    /// The answer to the last request of this instance, or why there is none.
    pub fn answered(
        &mut self,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) -> Vec<SourceEvent> {
        self.refresher.fetched(store, (), answer, now)
    }

    /// Leaves the fetch that this instance has begun to another one of the process; false where there is none.
    pub fn hand_over(&mut self, store: &dyn Store) -> bool {
        self.refresher.hand_over(store)
    }

    /// Takes on a fetch that another instance of the process has left to this one.
    pub fn take_on(&mut self, store: &dyn Store, now: Timestamp) -> Vec<SourceEvent> {
        self.refresher.take_on(store, (), now)
    }
}

/// What is asked, and what it means.
#[derive(Debug)]
struct PolledDocument {
    polled: Polled,
    hasher: RandomState,
}

/// A list at hand.
#[derive(Clone, Debug)]
struct ListAtHand {
    list: Rc<List>,
    /// The hash of the document, where this instance fetched it: the same need not be read again.
    document: Option<u64>,
}

/// What is asked.
#[derive(Debug)]
enum Step {
    Document,
    /// The next page of these.
    Page(Gathering),
}

/// Pages of a new list, on their way.
#[derive(Debug)]
struct Gathering {
    so_far: SomePages,
    document: u64,
    at: Timestamp,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// The first pages of a list.
#[derive(Debug)]
struct SomePages {
    index: Index,
    pages: Vec<Arc<Page>>,
}

impl SomePages {
    /// Which page comes next; none where the list is whole.
    fn next(&self) -> Option<&Digest> {
        self.index.digests().get(self.pages.len())
    }

    /// Takes the pages that come next from the list at hand, as far as it has them.
    fn fill(&mut self, held: Option<&Held<ListAtHand>>) {
        while let Some(page) = self.next().and_then(|digest| self.at_hand(held, digest)) {
            self.pages.push(page);
        }
    }

    fn at_hand(&self, held: Option<&Held<ListAtHand>>, digest: &Digest) -> Option<Arc<Page>> {
        page_at_hand(held, self.pages.len(), self.index.digests().len(), digest)
    }
}

/// The page of this number and digest, if it is in the list at hand.
fn page_at_hand(
    held: Option<&Held<ListAtHand>>,
    at: usize,
    count: usize,
    digest: &Digest,
) -> Option<Arc<Page>> {
    let pages = held?.value.list.pages();
    pages.get(at).filter(|page| page.is(at, count, digest)).cloned()
}

impl Document for PolledDocument {
    type Value = ListAtHand;
    type Step = Step;
    type Restoring = SomePages;
    type Trust<'t> = ();

    fn patience(&self) -> Duration {
        self.polled.endpoint.timeout
    }

    fn max_pause(&self) -> Duration {
        self.polled.interval
    }

    fn due_at(&self, held: &Held<ListAtHand>) -> Timestamp {
        held.copy.fetched_at.plus(self.polled.interval)
    }

    fn fresh_until(&self, held: &Held<ListAtHand>) -> Timestamp {
        held.copy.fetched_at.plus(self.polled.max_staleness)
    }

    fn usable_until(&self, held: &Held<ListAtHand>) -> Timestamp {
        self.fresh_until(held)
    }

    fn first(&self) -> Step {
        Step::Document
    }

    fn request(&self, step: &Step) -> HttpRequest {
        let mut endpoint = self.polled.endpoint.clone();
        if let Step::Page(gathering) = step
            && let Some(digest) = gathering.so_far.next()
        {
            endpoint.path = Index::page_path(&endpoint.path, digest);
        }
        HttpRequest::get(endpoint, ACCEPT, &self.polled.headers, self.polled.max_bytes)
    }

    fn is_conditional(&self, step: &Step) -> bool {
        matches!(step, Step::Document)
    }

    fn read(
        &self,
        step: Step,
        response: HttpResponse,
        around: &Around<'_, '_, Self>,
    ) -> Result<Next<Self>, FetchError> {
        match step {
            Step::Document => self.read_document(response, around),
            Step::Page(gathering) => read_page(gathering, response, around),
        }
    }

    fn begin(&self, copy: &Copy, before: Option<SomePages>) -> Option<SomePages> {
        let index = Index::decode(&copy.body)?;
        let same = before.filter(|before| before.index == index);
        Some(SomePages { index, pages: same.map(|before| before.pages).unwrap_or_default() })
    }

    fn restore(
        &self,
        _: &Copy,
        so_far: &mut SomePages,
        around: &Around<'_, '_, Self>,
    ) -> Restored<ListAtHand> {
        let mut room = AT_ONCE;
        loop {
            so_far.fill(around.held);
            let (at, count) = (so_far.pages.len(), so_far.index.digests().len());
            let Some(digest) = so_far.next() else { break };
            if room == 0 {
                return Restored::Partly;
            }
            // Another instance of this process read it: nothing is to be done with it.
            let kept = around.parts.kept::<Page>(at).filter(|page| page.is(at, count, digest));
            if let Some(page) = kept {
                so_far.pages.push(page);
                continue;
            }
            let Some(bytes) = around.parts.get(at) else { return Restored::Damaged };
            room = room.saturating_sub(bytes.len());
            // Checked here as in the instance that fetched it: what is shared is not believed.
            match Page::parse(bytes, at, count) {
                Ok(page) if page.digest() == digest => so_far.pages.push(Arc::new(page)),
                _ => return Restored::Damaged,
            }
        }
        let list = Rc::new(List::new(std::mem::take(&mut so_far.pages)));
        Restored::Whole(ListAtHand { list, document: None })
    }

    fn is_same(&self, before: &Held<ListAtHand>, after: &Held<ListAtHand>) -> bool {
        before.copy.body == after.copy.body
    }

    fn describe(
        &self,
        _: Option<&ListAtHand>,
        after: &ListAtHand,
    ) -> impl Iterator<Item = (log::Level, String)> {
        std::iter::once((log::Level::Info, format!("{} entries and cut-offs", after.list.len())))
    }

    fn failure(&self, error: &FetchError, is_usable: bool) -> String {
        let kept =
            if is_usable { "the list at hand stays in use" } else { "there is no list that can be trusted" };
        format!("fetching failed: {error}; {kept}")
    }

    fn aged(&self, age: Age, since: Duration) -> Option<(log::Level, String)> {
        let then = match (age, self.polled.on_unavailable) {
            (Age::Fresh, _) => return Some((log::Level::Info, "the list can be trusted again".to_owned())),
            (_, OnUnavailable::Deny) => "requests with tokens are answered with 503",
            (_, OnUnavailable::Allow) => "tokens pass unless the old list names them",
        };
        let since = since.as_secs();
        let text = format!("the list was last confirmed {since} s ago, too long to trust it; {then}");
        Some((log::Level::Error, text))
    }
}

impl PolledDocument {
    fn read_document(
        &self,
        response: HttpResponse,
        around: &Around<'_, '_, Self>,
    ) -> Result<Next<Self>, FetchError> {
        let HttpResponse { etag, last_modified, body, .. } = response;
        let document = self.hasher.hash_one(&body);
        let done = |list: Rc<List>, body: Vec<u8>, etag, last_modified| {
            let value = ListAtHand { list, document: Some(document) };
            Ok(Next::Done(Fetched { value, body, at: around.now, max_age: None, etag, last_modified }))
        };
        if let Some(Held { value, copy }) = around.held.filter(|held| held.value.document == Some(document)) {
            return done(Rc::clone(&value.list), copy.body.clone(), etag, last_modified);
        }
        let read = Written::parse(&body, self.polled.issuer.as_deref(), MAX_ENTRIES);
        match read.map_err(|error| FetchError::Unusable(error.to_string()))? {
            Written::List(draft) => {
                // Whatever has ended stays in: the clock may be ahead now and be set back later, and an
                // unchanged document is not read again. Whether an entry has ended is asked of the clock
                // with each token.
                let list = draft.finish(PAGE, Timestamp::default());
                put_pages(&list, around);
                let body = list.index().encode();
                done(Rc::new(list), body, etag, last_modified)
            }
            Written::Index(index) => {
                let so_far = SomePages { index, pages: Vec::new() };
                Ok(go_on(Gathering { so_far, document, at: around.now, etag, last_modified }, around))
            }
        }
    }
}

/// Takes the pages that are at hand already; then the list is whole, or the next page is asked for.
fn go_on(mut gathering: Gathering, around: &Around<'_, '_, PolledDocument>) -> Next<PolledDocument> {
    gathering.so_far.fill(around.held);
    if gathering.so_far.next().is_some() {
        return Next::Ask(Step::Page(gathering));
    }
    let Gathering { so_far, document, at, etag, last_modified } = gathering;
    let body = so_far.index.encode();
    let value = ListAtHand { list: Rc::new(List::new(so_far.pages)), document: Some(document) };
    Next::Done(Fetched { value, body, at, max_age: None, etag, last_modified })
}

/// Takes in the page that was asked for.
fn read_page(
    mut gathering: Gathering,
    response: HttpResponse,
    around: &Around<'_, '_, PolledDocument>,
) -> Result<Next<PolledDocument>, FetchError> {
    let SomePages { index, pages } = &mut gathering.so_far;
    let (at, count) = (pages.len(), index.digests().len());
    let wrong = |what: &str| FetchError::Unusable(format!("page {at} of the revocation list {what}"));
    let page = Page::parse(response.body, at, count).map_err(|_| wrong("is damaged"))?;
    if index.digests().get(at) != Some(page.digest()) {
        return Err(wrong("is not the one that the index names"));
    }
    // Each at once, for all of them together would hold up this worker.
    let page = Arc::new(page);
    around.parts.put(at, &page, page.bytes());
    pages.push(page);
    Ok(go_on(gathering, around))
}

/// Puts the pages of a list where the others find them.
fn put_pages(list: &List, around: &Around<'_, '_, PolledDocument>) {
    if !around.parts.may_put() {
        return;
    }
    let count = list.pages().len();
    for (at, page) in list.pages().iter().enumerate() {
        // What this instance had before is there since then. Where it is not, because another fetch broke off, an
        // instance that misses it fetches it.
        if page_at_hand(around.held, at, count, page.digest()).is_none() {
            around.parts.put(at, page, page.bytes());
        }
    }
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
