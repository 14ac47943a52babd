//! What the main thread does for a filter configuration.
//!
//! A gate of its own never judges a request there: it fetches keys and lists by the clock, so that the workers find them
//! in the store, and what workers' gates leave to it. What only a worker's gate can make use of is sent from there too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis::{Effect, FetchError, Gate, HttpRequest, HttpResponse, LookupId, Timestamp};

use crate::abi::EnvoyConfig;
use crate::metrics::HostMetrics;
use crate::plugin::{Answer, BUSY, Plugin, Wanted, WorkerId, clock};
use crate::{call, panics};

/// How long what was counted may wait to be handed to Envoy.
const FLUSH: Duration = Duration::from_secs(1);

thread_local! {
    /// What the main thread has of each plugin. Gates stay on their threads.
    static MAIN: RefCell<Vec<Rc<RefCell<Main>>>> = const { RefCell::new(Vec::new()) };
}

/// Who asked for a call.
#[derive(Clone, Copy)]
enum Asker {
    Main,
    Worker(WorkerId),
}

/// The main thread's part of a plugin.
struct Main {
    id: u64,
    plugin: Weak<Plugin>,
    gate: Option<Gate>,
    /// What each call under way is for, and the largest body that it may bring.
    calls: BTreeMap<u64, (Asker, LookupId, usize)>,
    /// Calls of the start that could not be sent yet.
    unsent: Vec<Wanted>,
    unsent_own: Vec<(LookupId, HttpRequest)>,
    /// Until when the start lasts, in which Envoy does not know the members of its clusters.
    starting: Timestamp,
    flushed: Timestamp,
    panics: u64,
}

/// How long calls that cannot be sent are tried again at the start.
const STARTING: Duration = Duration::from_secs(1);

impl Main {
    fn new(plugin: &Arc<Plugin>) -> Self {
        let now = clock().unwrap_or_default();
        let gate = plugin.gate();
        if let Some(gate) = &gate {
            log::info!(
                "version {}: {} providers, {} rules",
                env!("CARGO_PKG_VERSION"),
                gate.config().providers.len(),
                gate.config().rules.iter().count()
            );
            log::info!("AWS-LC verifies RSA PKCS #1 v1.5 and ECDSA");
        }
        Self {
            id: plugin.id(),
            plugin: Arc::downgrade(plugin),
            gate,
            calls: BTreeMap::new(),
            unsent: Vec::new(),
            unsent_own: Vec::new(),
            starting: now.plus(STARTING),
            flushed: Timestamp::default(),
            panics: panics::all(),
        }
    }

    /// Does what is due.
    fn work(&mut self, plugin: &Plugin, envoy: &EnvoyConfig<'_>) {
        let Some(now) = clock() else { return };
        for (lookup, request) in std::mem::take(&mut self.unsent_own) {
            self.send(plugin, envoy, Asker::Main, lookup, request, now);
        }
        for Wanted { by, lookup, request } in
            std::mem::take(&mut self.unsent).into_iter().chain(plugin.take_wanted())
        {
            self.send(plugin, envoy, Asker::Worker(by), lookup, request, now);
        }
        if let Some(gate) = &mut self.gate {
            plugin.take_handed_over().into_iter().for_each(|lookup| gate.take_on(lookup, now));
            gate.tick(now);
        }
        self.carry_out(plugin, envoy, now);
        if now.since(self.flushed) >= FLUSH {
            self.flushed = now;
            self.flush(plugin, envoy, now);
        }
        let gate = self.gate.as_ref().and_then(|gate| gate.poll_timeout(now));
        let unsent = (!self.unsent.is_empty() || !self.unsent_own.is_empty()).then_some(BUSY);
        // It was woken for something else than what is counted.
        let flush = plugin.ticker().has_counts().then(|| FLUSH.saturating_sub(now.since(self.flushed)));
        if let Some(span) = gate.into_iter().chain(unsent).chain(flush).min() {
            plugin.ticker().wake_main_by(now.plus(span.max(BUSY)));
        }
    }

    fn carry_out(&mut self, plugin: &Plugin, envoy: &EnvoyConfig<'_>, now: Timestamp) {
        while let Some(effect) = self.gate.as_mut().and_then(Gate::next_effect) {
            match effect {
                Effect::Log(level, text) => log::log!(level, "{text}"),
                Effect::Fetch { lookup, request } => {
                    self.send(plugin, envoy, Asker::Main, lookup, request, now);
                }
                // This gate has no requests.
                Effect::Wake(..) | Effect::Close(_) => {}
            }
        }
    }

    fn send(
        &mut self,
        plugin: &Plugin,
        envoy: &EnvoyConfig<'_>,
        asker: Asker,
        lookup: LookupId,
        request: HttpRequest,
        now: Timestamp,
    ) {
        let endpoint = &request.endpoint;
        let headers = request.fields();
        let timeout = u64::try_from(endpoint.timeout.as_millis()).unwrap_or(u64::MAX);
        match envoy.call(&endpoint.cluster, &headers, &request.body, timeout) {
            Some(call) => {
                self.calls.insert(call, (asker, lookup, request.max_bytes));
            }
            None if now < self.starting => match asker {
                Asker::Main => self.unsent_own.push((lookup, request)),
                Asker::Worker(by) => self.unsent.push(Wanted { by, lookup, request }),
            },
            None => {
                let error = FetchError::NotSent { cluster: request.endpoint.cluster };
                self.ended(plugin, asker, lookup, Err(error), now);
            }
        }
    }

    /// A fetch ended: whoever asked is told.
    fn ended(
        &mut self,
        plugin: &Plugin,
        asker: Asker,
        lookup: LookupId,
        response: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) {
        match asker {
            Asker::Main => {
                if let Some(gate) = &mut self.gate {
                    gate.fetched(lookup, response, now);
                }
                plugin.tell_all();
            }
            Asker::Worker(worker) => plugin.tell(worker, (lookup, response)),
        }
    }

    /// Hands what was counted to Envoy.
    fn flush(&mut self, plugin: &Plugin, envoy: &EnvoyConfig<'_>, now: Timestamp) {
        plugin.ticker().taken();
        let mut samples = self.gate.as_mut().map(|gate| gate.samples(now)).unwrap_or_default();
        let panics = panics::all();
        if panics > self.panics {
            samples.push(HostMetrics::panics(panics - self.panics));
            self.panics = panics;
        }
        plugin.flush(envoy, samples);
    }
}

/// The main thread's part of a new plugin.
pub(crate) fn begin(plugin: &Arc<Plugin>) {
    MAIN.with_borrow_mut(|mains| {
        mains.retain(|main| main.borrow().plugin.strong_count() > 0);
        mains.push(Rc::new(RefCell::new(Main::new(plugin))));
    });
}

/// A plugin is over.
pub(crate) fn end(plugin: &Plugin) {
    // On a worker's thread there is nothing of it; then it goes with the next configuration.
    let _ = MAIN.try_with(|mains| {
        mains.borrow_mut().retain(|main| main.borrow().id != plugin.id());
    });
}

fn with(plugin: &Plugin, act: impl FnOnce(&mut Main)) {
    let main = MAIN.with_borrow(|mains| {
        let is_own = |main: &&Rc<RefCell<Main>>| main.try_borrow().is_ok_and(|main| main.id == plugin.id());
        mains.iter().find(is_own).cloned()
    });
    // Envoy calls no hook of the main thread within another one.
    if let Some(main) = main {
        act(&mut main.borrow_mut());
    }
}

/// The ticker, or a worker, asked for the main thread: it does what is due.
pub(crate) fn work(plugin: &Plugin, envoy: &EnvoyConfig<'_>) {
    with(plugin, |main| main.work(plugin, envoy));
}

/// A call ended.
pub(crate) fn answered(plugin: &Plugin, envoy: &EnvoyConfig<'_>, call: u64, answer: Option<Answer<'_>>) {
    with(plugin, |main| {
        let Some((asker, lookup, limit)) = main.calls.remove(&call) else { return };
        let Some(now) = clock() else { return };
        let response = call::response(answer, limit);
        main.ended(plugin, asker, lookup, response, now);
        main.work(plugin, envoy);
    });
}
