//! One filter configuration: what all threads share of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis::{
    Config, Environment, FetchError, Gate, HostFeatures, HttpRequest, HttpResponse, LookupId, Metrics,
    Problem, Sample, StreamId, Timestamp, WritesMetadata,
};

use crate::abi::{self, EnvoyConfig, MainScheduler, StreamScheduler};
use crate::metrics::HostMetrics;
use crate::store::ProcessStore;
use crate::ticker::Ticker;
use crate::{crypto, main_thread, refused};

/// The number of a worker's gate among those of a plugin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct WorkerId(pub(crate) u32);

/// The answer to a call, as Envoy hands it over.
pub(crate) struct Answer<'h> {
    /// Its header fields.
    pub(crate) headers: Vec<(&'h [u8], &'h [u8])>,
    /// Its body, piece by piece.
    pub(crate) body: Vec<&'h [u8]>,
}

/// What came of a fetch.
pub(crate) type Fetched = (LookupId, Result<HttpResponse, FetchError>);

/// What a worker wants sent.
pub(crate) struct Wanted {
    pub(crate) by: WorkerId,
    pub(crate) lookup: LookupId,
    pub(crate) request: HttpRequest,
}

/// What a worker has open at this plugin.
#[derive(Default)]
struct WorkerShare {
    counts: Option<Arc<Metrics>>,
    fetched: Vec<Fetched>,
    /// What it last said of calls of its own.
    gauges: Vec<Sample>,
    /// A way to each stream that waits or is followed.
    streams: BTreeMap<StreamId, Arc<StreamScheduler>>,
    /// When its gate is to be woken, where there is a stream to wake it by.
    due: Option<Timestamp>,
}

impl WorkerShare {
    /// Lets its gate look at what is new, where there is a stream to wake it by.
    fn wake(&self) {
        if let Some((_, way)) = self.streams.first_key_value() {
            way.commit(crate::stream::POLL);
        }
    }
}

/// A filter configuration.
pub(crate) struct Plugin {
    id: u64,
    /// The configuration in force; none where it was refused and there is no earlier one.
    text: Option<Arc<[u8]>>,
    /// Whether the last one was refused.
    refused: bool,
    main: MainScheduler,
    metrics: HostMetrics,
    wanted: Mutex<Vec<Wanted>>,
    /// Fetches that workers' gates have left to the main thread's.
    handed_over: Mutex<Vec<LookupId>>,
    workers: Mutex<BTreeMap<WorkerId, WorkerShare>>,
    next_worker: AtomicU64,
    /// How often something was fetched.
    news: AtomicU64,
    /// Whether there are counts that Envoy takes only in the name of a request.
    has_pending: AtomicBool,
    pending: Mutex<Vec<Sample>>,
    ticker: Ticker,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The shortest time between two looks at the clock.
pub(crate) const BUSY: Duration = Duration::from_millis(10);

/// Envoy's clock is the system's. None before this project existed: such a clock is not set.
pub(crate) fn clock() -> Option<Timestamp> {
    const EARLIEST: Timestamp = Timestamp::from_secs(1_735_689_600);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let nanos = u64::try_from(since.as_nanos()).ok()?;
    Some(Timestamp::from_nanos(nanos)).filter(|now| *now >= EARLIEST)
}

fn stopwatch() -> u64 {
    clock().map_or(0, Timestamp::as_nanos)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is locked calls what could panic halfway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse(text: &[u8]) -> Result<Config, Vec<Problem>> {
    let writes_metadata = match abi::takes_structures() {
        true => WritesMetadata::Yes,
        false => WritesMetadata::NotInThisProxy,
    };
    let host = HostFeatures { read_file: Some(read_file), skips_empty_headers: true, writes_metadata };
    Config::parse_for(host, text, &|name| std::env::var(name).ok())
}

/// The largest key set that is read from a file, in bytes: as large as one that is fetched.
const MAX_FILE: u64 = 1 << 20;

/// Reads a key set, once for each configuration. Whoever changes the file sends the configuration again.
fn read_file(name: &str) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| {
        format!("{name:?} cannot be read: {error}; write the path of a file that Envoy may read")
    };
    let file = std::fs::File::open(name).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{name:?} is no file; write the path of one"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    match u64::try_from(bytes.len()) {
        Ok(size) if size <= MAX_FILE => Ok(bytes),
        _ => Err(format!("{name:?} has more than {MAX_FILE} bytes; write the path of a key set")),
    }
}

impl Plugin {
    /// Reads a configuration for the filters of a name; none where Envoy is to refuse it. The log says why.
    pub(crate) fn new(envoy: &EnvoyConfig<'_>, name: &str, text: &[u8]) -> Option<Arc<Self>> {
        let answered_for = refused::is_answered_for();
        match (parse(text), &answered_for) {
            (Ok(config), Ok(_)) => {
                for warning in &config.warnings {
                    log::warn!("{warning}");
                }
                refused::keep(name, text);
                Some(Self::begin(envoy, Some(Arc::from(text)), config.instance.clone(), false))
            }
            (config, _) => {
                let problems = config.err().unwrap_or_default();
                let wrong = answered_for.as_ref().err();
                let count = problems.len() + usize::from(wrong.is_some());
                log::error!("configuration rejected: {count} error{}", if count == 1 { "" } else { "s" });
                wrong.iter().for_each(|problem| log::error!("  {problem}"));
                problems.iter().for_each(|problem| log::error!("  {problem}"));
                if !answered_for.is_ok_and(|yes| yes) {
                    return None;
                }
                let known = refused::last_good(name);
                match &known {
                    Some(_) => {
                        log::error!("the last good configuration stays in force until this one is mended")
                    }
                    None => log::error!(
                        "there is no earlier one: every request gets 503 until this one is mended"
                    ),
                }
                let instance = Config::instance_of(text)
                    .or_else(|| parse(known.as_deref()?).ok().and_then(|config| config.instance));
                Some(Self::begin(envoy, known, instance, true))
            }
        }
    }

    fn begin(
        envoy: &EnvoyConfig<'_>,
        text: Option<Arc<[u8]>>,
        instance: Option<String>,
        refused: bool,
    ) -> Arc<Self> {
        let instance = instance.map(|instance| Metrics::instance_label(&instance));
        let plugin = Arc::new_cyclic(|own: &Weak<Self>| Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            text,
            refused,
            main: envoy.scheduler(),
            metrics: HostMetrics::define(envoy, instance),
            wanted: Mutex::default(),
            handed_over: Mutex::default(),
            workers: Mutex::default(),
            next_worker: AtomicU64::new(0),
            news: AtomicU64::new(0),
            has_pending: AtomicBool::new(false),
            pending: Mutex::default(),
            ticker: Ticker::new(Weak::clone(own)),
        });
        main_thread::begin(&plugin);
        main_thread::work(&plugin, envoy);
        plugin
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// A gate of the configuration in force; none where there is none.
    pub(crate) fn gate(&self) -> Option<Gate> {
        let config = parse(self.text.as_deref()?).ok()?;
        let environment = Environment {
            backend: crypto::backend(),
            store: Rc::new(ProcessStore),
            random: fastrand::u64(..),
            stopwatch,
        };
        Some(Gate::new(config, environment, clock().unwrap_or_default()))
    }

    /// The configuration is over.
    pub(crate) fn end(&self) {
        self.ticker.end();
        main_thread::end(self);
    }
}

/// What workers do here.
impl Plugin {
    /// A worker has made a gate that counts here.
    pub(crate) fn join(&self, counts: Option<Arc<Metrics>>) -> WorkerId {
        let id =
            WorkerId(u32::try_from(self.next_worker.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX));
        lock(&self.workers).insert(id, WorkerShare { counts, ..WorkerShare::default() });
        id
    }

    /// A worker has made another gate.
    pub(crate) fn recount(&self, worker: WorkerId, counts: Option<Arc<Metrics>>) {
        if let Some(share) = lock(&self.workers).get_mut(&worker) {
            share.counts = counts;
        }
    }

    /// A worker wants something fetched.
    pub(crate) fn want(&self, by: WorkerId, lookup: LookupId, request: HttpRequest) {
        lock(&self.wanted).push(Wanted { by, lookup, request });
        self.wake_main();
    }

    /// A worker's gate leaves a fetch to the main thread's.
    pub(crate) fn hand_over(&self, lookup: LookupId) {
        lock(&self.handed_over).push(lookup);
        self.wake_main();
    }

    /// How calls are that a worker asked for.
    pub(crate) fn set_gauges(&self, worker: WorkerId, gauges: Vec<Sample>) {
        if gauges.is_empty() {
            return;
        }
        if let Some(share) = lock(&self.workers).get_mut(&worker) {
            share.gauges = gauges;
        }
    }

    /// How often something was fetched: another number is a reason to look.
    pub(crate) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// What came of what a worker wanted.
    pub(crate) fn take_fetched(&self, worker: WorkerId) -> Vec<Fetched> {
        lock(&self.workers)
            .get_mut(&worker)
            .map(|share| std::mem::take(&mut share.fetched))
            .unwrap_or_default()
    }

    /// A stream of a worker waits, or is followed: it can be woken by this.
    pub(crate) fn add_stream(&self, worker: WorkerId, stream: StreamId, way: Arc<StreamScheduler>) {
        if let Some(share) = lock(&self.workers).get_mut(&worker) {
            share.streams.insert(stream, way);
        }
    }

    /// It is over.
    pub(crate) fn remove_stream(&self, worker: WorkerId, stream: StreamId) {
        if let Some(share) = lock(&self.workers).get_mut(&worker) {
            share.streams.remove(&stream);
        }
    }

    /// When a worker's gate is to look at the clock, as long as a stream is there to wake it by.
    pub(crate) fn set_due(&self, worker: WorkerId, due: Option<Timestamp>) {
        let mut workers = lock(&self.workers);
        let Some(share) = workers.get_mut(&worker) else { return };
        share.due = due;
        let has_stream = !share.streams.is_empty();
        drop(workers);
        if let (Some(due), true) = (due, has_stream) {
            self.ticker.wake_by(due);
        }
    }

    /// Something was counted: it is handed to Envoy within a second.
    pub(crate) fn counted(&self) {
        self.ticker.counted();
    }

    /// Hands over in the name of a request what Envoy takes only so.
    pub(crate) fn record_pending(&self, filter: &crate::abi::EnvoyFilter<'_>) {
        if self.has_pending.load(Ordering::Relaxed) && self.has_pending.swap(false, Ordering::AcqRel) {
            let samples = std::mem::take(&mut *lock(&self.pending));
            self.metrics.record_in(filter, &samples);
        }
    }
}

/// What the main thread does here.
impl Plugin {
    /// What workers want sent.
    pub(crate) fn take_wanted(&self) -> Vec<Wanted> {
        std::mem::take(&mut *lock(&self.wanted))
    }

    /// The fetches that workers' gates have left to the main thread's.
    pub(crate) fn take_handed_over(&self) -> Vec<LookupId> {
        std::mem::take(&mut *lock(&self.handed_over))
    }

    /// A worker gets the result of what it asked for.
    pub(crate) fn tell(&self, worker: WorkerId, fetched: Fetched) {
        if let Some(share) = lock(&self.workers).get_mut(&worker) {
            share.fetched.push(fetched);
            self.news.fetch_add(1, Ordering::Release);
            share.wake();
        }
    }

    /// There is something new in the store: those who wait look there.
    pub(crate) fn tell_all(&self) {
        self.news.fetch_add(1, Ordering::Release);
        lock(&self.workers).values().for_each(WorkerShare::wake);
    }

    /// The clock of this plugin.
    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Hands what was counted to Envoy, beside what the main thread counted.
    pub(crate) fn flush(&self, envoy: &EnvoyConfig<'_>, mut samples: Vec<Sample>) {
        let counts: Vec<_> = lock(&self.workers).values().filter_map(|share| share.counts.clone()).collect();
        samples.extend(counts.iter().flat_map(|counts| counts.take()));
        samples.extend(lock(&self.workers).values_mut().flat_map(|share| std::mem::take(&mut share.gauges)));
        samples.push(Metrics::version());
        if self.refused {
            samples.push(Metrics::configuration_refused(true));
        }
        let left = self.metrics.record(envoy, samples);
        if !left.is_empty() {
            let mut pending = lock(&self.pending);
            pending.extend(left);
            // Where no request comes, old values of gauges are as good as lost.
            let excess = pending.len().saturating_sub(MAX_PENDING);
            pending.drain(..excess);
            self.has_pending.store(true, Ordering::Release);
            drop(pending);
            // A stream that is open is as good as the next request.
            let workers = lock(&self.workers);
            if let Some(share) = workers.values().find(|share| !share.streams.is_empty()) {
                share.wake();
            }
        }
    }
}

/// How many values wait for a request at most.
const MAX_PENDING: usize = 10_000;

/// What the ticker does here, on its own thread.
impl Plugin {
    pub(crate) fn wake_main(&self) {
        self.main.commit(0);
    }

    /// Wakes the workers that are due, and says when the next one is.
    pub(crate) fn wake_workers(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        for share in lock(&self.workers).values_mut() {
            let Some((_, way)) = share.streams.first_key_value() else { continue };
            let Some(due) = share.due else { continue };
            let due = if due <= now {
                way.commit(crate::stream::POLL);
                // The worker says when again; until it does, or where that stream ends before, soon.
                let again = now.plus(BUSY);
                share.due = Some(again);
                again
            } else {
                due
            };
            next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
        }
        next
    }
}
