//! What a list of a million revoked tokens costs: memory, a look-up, and the longest that anything holds up a
//! worker while the list comes. Natively; `make bench-revocation` shows the same on Envoy.
//!
//! `cargo bench --bench revocation`

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis::{
    Claims, Endpoint, Grants, HttpRequest, HttpResponse, InMemoryStore, Json, OnUnavailable,
    PolledList as Poll, PolledListSettings as Polled, RevocationDraft as Draft,
    RevocationIdentity as Identity, RevocationIndex as Index, RevocationKey as Key, RevocationKind as Kind,
    RevocationList as List, RevocationStatus, SourceEvent, Timestamp, limits::MAX_ENTRIES,
};

/// Counts the bytes that are held, and the most that ever were.
struct Counting {
    held: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { held: AtomicUsize::new(0), most: AtomicUsize::new(0) };

#[allow(unsafe_code, reason = "an allocator is")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.held.fetch_add(layout.size(), Relaxed) + layout.size();
        self.most.fetch_max(held, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

const COUNT: usize = 1_000_000;
const PAGE: usize = 8192;
const LOOK_UPS: usize = 1_000_000;
const ROUNDS: usize = 5;
const ISSUER: &str = "https://idp.example/";
const START: u64 = 1_800_000_000;

fn name(number: usize) -> String {
    format!("{number:032x}")
}

fn large() -> List {
    let mut draft = Draft::default();
    (0..COUNT).for_each(|n| draft.entry(Key::new(Kind::Token, ISSUER, &name(n)), Some(START + 3600)));
    draft.finish(PAGE, Timestamp::from_secs(START))
}

fn polled() -> Polled {
    Polled {
        name: "list".to_owned(),
        endpoint: Endpoint {
            scheme: "https".to_owned(),
            authority: "lists.example".to_owned(),
            path: "/index.json".to_owned(),
            cluster: "lists".to_owned(),
            timeout: Duration::from_secs(5),
        },
        headers: Vec::new(),
        interval: Duration::from_secs(10),
        on_unavailable: OnUnavailable::Deny,
        max_staleness: Duration::from_secs(300),
        max_bytes: 8 << 20,
        issuer: None,
    }
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Lets a list be fetched by one worker; the longest step.
fn fetch(
    poll: &mut Poll,
    store: &InMemoryStore,
    serve: impl Fn(&HttpRequest) -> Vec<u8>,
    now: Timestamp,
) -> Duration {
    let mut longest = Duration::ZERO;
    let mut step = |work: &mut dyn FnMut() -> Vec<SourceEvent>| {
        let start = Instant::now();
        let news = work();
        longest = longest.max(start.elapsed());
        news.into_iter().find_map(|news| if let SourceEvent::Ask(query) = news { Some(query) } else { None })
    };
    let mut query = step(&mut || poll.tick(store, now));
    while let Some(asked) = query {
        let mut answer = Some(HttpResponse { status: 200, body: serve(&asked), ..HttpResponse::default() });
        query = step(&mut || poll.answered(store, Ok(answer.take().expect("one answer")), now));
    }
    longest
}

/// Lets a worker take over what another fetched; the longest step, and how many there were.
fn take_over(poll: &mut Poll, store: &InMemoryStore, now: Timestamp) -> (Duration, usize) {
    let (mut longest, mut steps) = (Duration::ZERO, 0);
    loop {
        let start = Instant::now();
        poll.tick(store, now);
        longest = longest.max(start.elapsed());
        steps += 1;
        if !poll.is_busy() {
            return (longest, steps);
        }
    }
}

fn main() {
    let now = Timestamp::from_secs(START);
    let list = large();
    let index = list.index().to_json().into_bytes();
    println!(
        "{COUNT} entries on {} pages of {:.0} kB; index {:.0} kB",
        list.pages().len(),
        megabytes(list.pages()[0].bytes().len()) * 1e3,
        megabytes(index.len()) * 1e3
    );
    let serve = |query: &HttpRequest| match query.endpoint.path.as_str() {
        "/index.json" => index.clone(),
        path => {
            let page =
                list.pages().iter().find(|page| Index::page_path("/index.json", page.digest()) == path);
            page.expect("a page of the list").bytes().to_vec()
        }
    };
    let (mut fetched, mut taken) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let store = InMemoryStore::default();
        let mut first = Poll::new(polled(), 1, None);
        fetched = fetched.min(fetch(&mut first, &store, serve, now));
        assert_eq!(first.list().map(|list| list.len()), Some(COUNT));
        let before = ALLOCATOR.held.load(Relaxed);
        ALLOCATOR.most.store(before, Relaxed);
        let mut second = Poll::new(polled(), 2, None);
        let (longest, steps) = take_over(&mut second, &store, now);
        taken = taken.min(longest);
        assert_eq!(second.list().map(|list| list.len()), Some(COUNT));
        if round == 0 {
            let held = ALLOCATOR.held.load(Relaxed) - before;
            let most = ALLOCATOR.most.load(Relaxed) - before;
            println!(
                "memory of a worker: {:.1} MB, at most {:.1} MB while it loads",
                megabytes(held),
                megabytes(most)
            );
            println!("taken over in {steps} steps");
        }
    }
    println!("longest step of the worker that fetches: {fetched:.2?} (best of {ROUNDS} loads)");
    println!("longest step of a worker that takes over: {taken:.2?} (best of {ROUNDS} loads)");

    let identity = |number: usize| {
        let text =
            format!(r#"{{"iss":"{ISSUER}","sub":"s-{number}","jti":"{}","iat":{START}}}"#, name(number));
        let Ok(Json::Object(all)) = portcullis::parse_json(text.as_bytes()) else { panic!("an object") };
        Identity::new(&Claims::new(all, &Grants::default()).expect("claims"))
    };
    for (what, first) in [("revoked", 0), ("not revoked", COUNT)] {
        let identities: Vec<Identity> = (0..10_000).map(|n| identity(first + n * 97)).collect();
        let expected = first == 0;
        let start = Instant::now();
        for identity in identities.iter().cycle().take(LOOK_UPS) {
            black_box(list.standing(black_box(identity), now));
        }
        let each = start.elapsed() / LOOK_UPS as u32;
        let hit =
            |identity: &Identity| matches!(list.standing(identity, now), RevocationStatus::Revoked { .. });
        assert_eq!(identities.iter().filter(|identity| hit(identity)).count() > 5000, expected);
        println!("look-up of all names of a token that is {what}: {each:.0?}");
    }

    let entries: Vec<String> = (0..MAX_ENTRIES)
        .map(|n| format!(r#"{{"issuer":"{ISSUER}","jti":"{}","until":{}}}"#, name(n), START + 3600))
        .collect();
    let document = format!(r#"{{"version":1,"entries":[{}]}}"#, entries.join(",")).into_bytes();
    let mut longest = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut poll = Poll::new(polled(), 1, None);
        longest = longest.min(fetch(&mut poll, &InMemoryStore::default(), |_| document.clone(), now));
    }
    println!(
        "a JSON list of {MAX_ENTRIES} entries, {:.1} MB, is read in one step of {longest:.1?}",
        megabytes(document.len())
    );
}
