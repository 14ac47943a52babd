//! The list that gates poll: built whole from one reading of the database, kept with its ETag until something changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portcullis::{RevocationDraft, RevocationIndex, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::store::Store;

/// How many entries and cut-offs the document may have in JSON; a longer list is served in pages.
pub const MAX_JSON_ENTRIES: usize = 4096;
/// The same in bytes.
pub const MAX_JSON_BYTES: usize = 1 << 20;
/// How many entries a page has on average.
const PAGE_ENTRIES: usize = 8192;
/// For how long at the most a list is served after a change.
const LAZY: Duration = Duration::from_millis(500);
/// How long a page is served that is on the list no more: a gate may be on its way to it.
const RETIRED: Duration = Duration::from_secs(600);
/// How many bytes of such pages are kept.
pub const MAX_RETIRED_BYTES: usize = 64 << 20;

/// The list at one moment.
pub(crate) struct Built {
    pub(crate) document: Bytes,
    pub(crate) etag: String,
    pub(crate) entries: u64,
    pages: HashMap<String, Bytes>,
    generation: u64,
    /// When the first entry ends.
    good_until: u64,
    /// When it was ready, and how long that took.
    at: Instant,
    took: Duration,
}

/// The list as it is served.
pub(crate) struct Lists {
    store: Store,
    clock: Clock,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    built: Option<Arc<Built>>,
    retired: HashMap<String, (Bytes, Instant)>,
}

impl Lists {
    pub(crate) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, held: Mutex::default() }
    }

    /// The list as it is now. One that takes long to build is built less often.
    ///
    /// # Errors
    /// The database cannot be read; says why.
    pub(crate) async fn current(&self) -> Result<Arc<Built>, String> {
        let mut held = self.held.lock().await;
        let now = self.clock.now().as_secs();
        let generation = self.store.generation();
        if let Some(built) = &held.built {
            let is_same = built.generation == generation && now < built.good_until;
            if is_same || built.at.elapsed() < built.took.saturating_mul(4).min(LAZY) {
                return Ok(Arc::clone(built));
            }
        }
        let store = self.store.clone();
        let built = tokio::task::spawn_blocking(move || build(&store, generation, now)).await;
        let built = Arc::new(built.map_err(|error| error.to_string())??);
        if let Some(before) = held.built.replace(Arc::clone(&built)) {
            held.retire(&before, &built);
        }
        Ok(built)
    }

    /// A page by its digest in hexadecimal.
    pub(crate) async fn page(&self, digest: &str) -> Option<Bytes> {
        let held = self.held.lock().await;
        let current = held.built.as_ref().and_then(|built| built.pages.get(digest));
        current.or_else(|| held.retired.get(digest).map(|(page, _)| page)).cloned()
    }
}

impl Held {
    fn retire(&mut self, before: &Built, now: &Built) {
        let gone = before.pages.iter().filter(|(digest, _)| !now.pages.contains_key(*digest));
        self.retired.extend(gone.map(|(digest, page)| (digest.clone(), (page.clone(), Instant::now()))));
        self.retired
            .retain(|digest, (_, since)| since.elapsed() < RETIRED && !now.pages.contains_key(digest));
        let mut size: usize = self.retired.values().map(|(page, _)| page.len()).sum();
        while size > MAX_RETIRED_BYTES {
            let oldest = self.retired.iter().min_by_key(|(_, (_, since))| *since);
            let Some((digest, gone)) = oldest.map(|(digest, (page, _))| (digest.clone(), page.len())) else {
                break;
            };
            self.retired.remove(&digest);
            size = size.saturating_sub(gone);
        }
    }
}

fn build(store: &Store, generation: u64, now: u64) -> Result<Built, String> {
    let began = Instant::now();
    let (mut count, mut good_until) = (0usize, u64::MAX);
    let (mut entries, mut cutoffs) = (String::new(), String::new());
    let mut draft = RevocationDraft::default();
    let each = |is_cutoff: bool, key: [u8; 12], record: crate::entry::Record| {
        count = count.saturating_add(1);
        good_until = good_until.min(record.drop_at);
        record.add_to(&mut draft, is_cutoff, key);
        if count <= MAX_JSON_ENTRIES && entries.len().saturating_add(cutoffs.len()) <= MAX_JSON_BYTES {
            let out = if is_cutoff { &mut cutoffs } else { &mut entries };
            out.push_str(if out.is_empty() { "\n" } else { ",\n" });
            record.write_json(is_cutoff, out);
        }
    };
    store.entries(now, each).map_err(|error| error.to_string())?;
    let is_json = count <= MAX_JSON_ENTRIES && entries.len().saturating_add(cutoffs.len()) <= MAX_JSON_BYTES;
    let mut pages = HashMap::new();
    let document = if is_json {
        format!("{{\"version\":1,\"entries\":[{entries}\n],\"cutoffs\":[{cutoffs}\n]}}\n")
    } else {
        // What has ended is left out already.
        let list = draft.finish(PAGE_ENTRIES, Timestamp::default());
        for page in list.pages() {
            let path = RevocationIndex::page_path("", page.digest());
            pages.insert(digest_of(&path).to_owned(), Bytes::copy_from_slice(page.bytes()));
        }
        list.index().to_json()
    };
    let etag = format!("\"{}\"", base16ct::lower::encode_string(&Sha256::digest(&document)));
    Ok(Built {
        document: Bytes::from(document),
        etag,
        entries: count as u64,
        pages,
        generation,
        good_until,
        at: Instant::now(),
        took: began.elapsed(),
    })
}

/// The digest in the path of a page.
fn digest_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".bin").unwrap_or_default()
}
