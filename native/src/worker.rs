//! What a worker keeps of a plugin: its gate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use portcullis::{Effect, Gate, StreamId, Timestamp, Waited};

use crate::abi::StreamScheduler;
use crate::plugin::{Plugin, WorkerId, clock};
use crate::stream::{CLOSE, WAKE};

thread_local! {
    /// The plugins that this worker has had requests of.
    static WORKERS: RefCell<Vec<(u64, Rc<Worker>)>> = const { RefCell::new(Vec::new()) };
}

/// A stream that waits, or is followed.
struct Open {
    way: Arc<StreamScheduler>,
    /// Once it need not wait any longer.
    woken: Option<Woken>,
}

/// Why a request is judged again.
pub(crate) enum Woken {
    /// It has waited for this.
    Waited(Waited),
    /// The gate that it waited for has gone.
    Anew,
}

/// A plugin in one worker.
pub(crate) struct Worker {
    plugin: Weak<Plugin>,
    id: WorkerId,
    gate: RefCell<Option<Gate>>,
    open: RefCell<BTreeMap<StreamId, Open>>,
    next_stream: Cell<u32>,
    /// When the gate is to look at the clock.
    due: Cell<Timestamp>,
    /// How much news there was for workers when it last looked.
    news: Cell<u64>,
}

/// Later than any time.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

impl Worker {
    /// This thread's part of a plugin.
    pub(crate) fn of(plugin: &Arc<Plugin>) -> Rc<Self> {
        WORKERS.with_borrow_mut(|workers| {
            if let Some((_, worker)) = workers.iter().find(|(id, _)| *id == plugin.id()) {
                return Rc::clone(worker);
            }
            // A new configuration: the gates of those that are over go.
            workers.retain(|(_, worker)| worker.plugin.strong_count() > 0);
            let worker = Rc::new(Self::new(plugin));
            workers.push((plugin.id(), Rc::clone(&worker)));
            worker
        })
    }

    fn new(plugin: &Arc<Plugin>) -> Self {
        let gate = plugin.gate();
        Self {
            plugin: Arc::downgrade(plugin),
            id: plugin.join(gate.as_ref().map(Gate::metrics)),
            gate: RefCell::new(gate),
            open: RefCell::default(),
            next_stream: Cell::new(0),
            due: Cell::default(),
            news: Cell::default(),
        }
    }

    /// A number for a new stream.
    pub(crate) fn stream_id(&self) -> StreamId {
        let next = self.next_stream.get();
        self.next_stream.set(next.wrapping_add(1));
        StreamId(next)
    }

    /// Asks the gate something; none where there is none.
    pub(crate) fn with_gate<R>(&self, ask: impl FnOnce(&mut Gate) -> R) -> Option<R> {
        self.gate.borrow_mut().as_mut().map(ask)
    }

    /// Does what is due by the clock, and takes over what was fetched since.
    pub(crate) fn poll_if_due(&self, plugin: &Plugin, now: Timestamp) {
        if now >= self.due.get() || plugin.news() != self.news.get() {
            self.poll(plugin, now);
        }
    }

    /// Takes over what was fetched, and lets the gate look at the clock.
    pub(crate) fn poll(&self, plugin: &Plugin, now: Timestamp) {
        self.news.set(plugin.news());
        let fetched = plugin.take_fetched(self.id);
        let has_news = !fetched.is_empty();
        let gauges = self.with_gate(|gate| {
            for (lookup, response) in fetched {
                gate.fetched(lookup, response, now);
            }
            gate.tick(now);
            if has_news { gate.call_gauges(now) } else { Vec::new() }
        });
        plugin.set_gauges(self.id, gauges.unwrap_or_default());
        plugin.counted();
        self.effects(plugin);
        self.set_due(plugin, now);
    }

    /// Does what the gate wants done outside, and takes note of when it is to look at the clock again.
    pub(crate) fn carry_out(&self, plugin: &Plugin, now: Timestamp) {
        if self.effects(plugin) {
            self.set_due(plugin, now);
        }
    }

    /// Says whether there was anything to do.
    fn effects(&self, plugin: &Plugin) -> bool {
        let mut any = false;
        while let Some(effect) = self.with_gate(Gate::next_effect).flatten() {
            any = true;
            match effect {
                Effect::Log(level, text) => log::log!(level, "{text}"),
                // The main thread's gate fetches what it knows too: this worker cannot be reached without a request.
                Effect::Fetch { lookup, .. }
                    if self.with_gate(|gate| gate.hand_over(lookup)) == Some(true) =>
                {
                    plugin.hand_over(lookup);
                }
                Effect::Fetch { lookup, request } => plugin.want(self.id, lookup, request),
                Effect::Wake(stream, waited) => {
                    if let Some(open) = self.open.borrow_mut().get_mut(&stream) {
                        open.woken = Some(Woken::Waited(waited));
                        open.way.commit(WAKE);
                    }
                }
                Effect::Close(stream) => {
                    if let Some(open) = self.open.borrow().get(&stream) {
                        open.way.commit(CLOSE);
                    }
                }
            }
        }
        any
    }

    fn set_due(&self, plugin: &Plugin, now: Timestamp) {
        let span = self.with_gate(|gate| gate.poll_timeout(now)).flatten();
        let due = span.map(|span| now.plus(span));
        self.due.set(due.unwrap_or(NEVER));
        if !self.open.borrow().is_empty() {
            plugin.set_due(self.id, due);
        }
    }

    /// A stream waits, or is followed.
    pub(crate) fn open(&self, plugin: &Plugin, stream: StreamId, way: StreamScheduler) {
        let way = Arc::new(way);
        plugin.add_stream(self.id, stream, Arc::clone(&way));
        self.open.borrow_mut().insert(stream, Open { way, woken: None });
        if let Some(now) = clock() {
            self.set_due(plugin, now);
        }
    }

    /// Whether a stream is to be judged again, and why.
    pub(crate) fn take_woken(&self, stream: StreamId) -> Option<Woken> {
        self.open.borrow_mut().get_mut(&stream)?.woken.take()
    }

    /// A stream is over, or was answered.
    pub(crate) fn close(&self, plugin: &Plugin, stream: StreamId) {
        if self.open.borrow_mut().remove(&stream).is_some() {
            plugin.remove_stream(self.id, stream);
            self.forget(stream);
        }
    }

    /// A stream was answered that the gate thinks of and that was not opened.
    pub(crate) fn forget(&self, stream: StreamId) {
        let _ = self.with_gate(|gate| gate.forget(stream));
    }

    /// A hook panicked: what the gate knows may be half of something. Another one takes its place, which knows the keys
    /// from the store; those who wait are judged again.
    pub(crate) fn begin_anew(&self, plugin: &Plugin) {
        // Nothing more is asked of the old one: it could panic again.
        for open in self.open.borrow_mut().values_mut() {
            open.woken = Some(Woken::Anew);
            open.way.commit(WAKE);
        }
        let gate = plugin.gate();
        plugin.recount(self.id, gate.as_ref().map(Gate::metrics));
        *self.gate.borrow_mut() = gate;
        self.due.set(clock().unwrap_or_default());
    }
}
