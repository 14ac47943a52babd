//! The clock of a plugin: a thread that sleeps until something is due.

use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::Timestamp;

use crate::plugin::{BUSY, Plugin, clock, lock};

#[derive(Default)]
struct Due {
    main: Option<Timestamp>,
    workers: Option<Timestamp>,
    ended: bool,
}

/// How long what was counted may wait.
const COUNTED: Duration = Duration::from_secs(1);
/// How long it sleeps where nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// The thread, and what it sleeps on.
pub(crate) struct Ticker {
    due: Arc<(Mutex<Due>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counted: std::sync::atomic::AtomicBool,
}

impl Ticker {
    pub(crate) fn new(plugin: Weak<Plugin>) -> Self {
        let due = Arc::new((Mutex::<Due>::default(), Condvar::new()));
        let own = Arc::clone(&due);
        let thread = std::thread::Builder::new().name("portcullis".to_owned()).stack_size(256 * 1024);
        let thread = thread.spawn(move || run(&own, &plugin));
        if thread.is_err() {
            log::error!("no thread could be started: keys and lists are fetched only when a request comes");
        }
        Self { due, thread: Mutex::new(thread.ok()), counted: false.into() }
    }

    fn earlier(&self, choose: impl FnOnce(&mut Due) -> &mut Option<Timestamp>, at: Timestamp) {
        let mut due = lock(&self.due.0);
        let own = choose(&mut due);
        if own.is_none_or(|own| at < own) {
            *own = Some(at);
            self.due.1.notify_one();
        }
    }

    /// The main thread is to be woken by then.
    pub(crate) fn wake_main_by(&self, at: Timestamp) {
        self.earlier(|due| &mut due.main, at);
    }

    /// A worker is to be woken by then.
    pub(crate) fn wake_by(&self, at: Timestamp) {
        self.earlier(|due| &mut due.workers, at);
    }

    /// Something was counted: the main thread is to be woken within a second.
    pub(crate) fn counted(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        if !self.counted.load(Relaxed)
            && !self.counted.swap(true, Relaxed)
            && let Some(now) = clock()
        {
            self.wake_main_by(now.plus(COUNTED));
        }
    }

    /// Whether something was counted that the main thread has not taken.
    pub(crate) fn has_counts(&self) -> bool {
        self.counted.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The main thread takes the counts now.
    pub(crate) fn taken(&self) {
        self.counted.store(false, std::sync::atomic::Ordering::Relaxed);
    }

    /// Ends the thread: nothing is woken after this.
    pub(crate) fn end(&self) {
        lock(&self.due.0).ended = true;
        self.due.1.notify_one();
        let thread = lock(&self.thread).take();
        // The thread itself ends a plugin where it held it last.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

fn run(due: &(Mutex<Due>, Condvar), plugin: &Weak<Plugin>) {
    loop {
        let mut own = lock(&due.0);
        if own.ended {
            return;
        }
        let Some(now) = clock() else {
            drop(due.1.wait_timeout(own, COUNTED));
            continue;
        };
        let next = own.main.into_iter().chain(own.workers).min();
        if let Some(at) = next.filter(|at| *at > now) {
            drop(due.1.wait_timeout(own, at.since(now)));
            continue;
        }
        if next.is_none() {
            drop(due.1.wait_timeout(own, LONG));
            continue;
        }
        let main = own.main.take_if(|at| *at <= now).is_some();
        let workers = own.workers.take_if(|at| *at <= now).is_some();
        drop(own);
        // Not held while it sleeps: it would never end.
        let Some(plugin) = plugin.upgrade() else {
            // It is not whole yet, or it is gone.
            std::thread::sleep(BUSY);
            continue;
        };
        if main {
            plugin.wake_main();
        }
        if workers && let Some(at) = plugin.wake_workers(now) {
            let mut own = lock(&due.0);
            own.workers = Some(own.workers.map_or(at, |known| known.min(at)));
        }
    }
}
