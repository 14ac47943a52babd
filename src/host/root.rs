//! The plugin in one worker: its configuration, its gate, its fetches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{BufferType, ContextType, StreamType};

use super::apply::{answer, decide, overloaded, reset};
use super::call_response::response;
use super::capabilities::{CALLS, CLOCK, CONTEXT, RESUME, TIMER};
use super::configuration;
use super::hostcalls;
use super::metrics::HostMetrics;
use super::plugin::{BUSY, FLUSH, Phase, SharedPlugin, clock, note_failure};
use super::refused::{self, OnRefusal, PluginName};
use super::status::Status;
use super::stream::Stream;
use crate::config::Config;
use crate::fetch::{FetchError, HttpRequest, LookupId};
use crate::gate::{Effect, Gate, StreamId, Waited};
use crate::metrics::{Metrics, Sample};
use crate::request::Request;
use crate::time::Timestamp;

thread_local! {
    /// The root contexts by their numbers. The SDK keeps its own, and gives no way to them but its callbacks.
    static ROOTS: RefCell<BTreeMap<u32, Rc<RefCell<Root>>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A root context as the SDK holds it: dropped when the host says that the context is over.
pub(super) struct RootHandle {
    id: u32,
    root: Rc<RefCell<Root>>,
    plugin: SharedPlugin,
}

impl RootHandle {
    pub(super) fn new(id: u32) -> Self {
        let plugin = SharedPlugin::default();
        plugin.borrow_mut().root = id;
        let root = Rc::new(RefCell::new(Root::new(id, Rc::clone(&plugin))));
        ROOTS.with_borrow_mut(|roots| roots.insert(id, Rc::clone(&root)));
        Self { id, root, plugin }
    }
}

impl Context for RootHandle {}

impl RootContext for RootHandle {
    fn on_configure(&mut self, size: usize) -> bool {
        self.root.try_borrow_mut().is_ok_and(|mut root| root.configure(size))
    }

    fn on_tick(&mut self) {
        if let Ok(mut root) = self.root.try_borrow_mut() {
            root.tick();
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(StreamId(id), Rc::clone(&self.plugin))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for RootHandle {
    fn drop(&mut self) {
        // Where they are gone, a native thread ends, and with it the host: there is nothing left to do.
        let known = ROOTS.try_with(|roots| roots.borrow_mut().remove(&self.id).is_some());
        if let (Ok(true), Ok(mut root)) = (known, self.root.try_borrow_mut()) {
            root.done();
        }
    }
}

/// The response to a call of a root context, or that there is none; nothing where either is not known.
pub(super) fn call_answered(id: u32, token: u32, fields: usize, size: usize) {
    let root = ROOTS.with_borrow(|roots| roots.get(&id).map(Rc::clone));
    if let Some(Ok(mut root)) = root.as_ref().map(|root| root.try_borrow_mut()) {
        root.answered(token, fields, size);
    }
}

/// Whether there is such a root context.
pub(super) fn is_known(root: u32) -> bool {
    ROOTS.with_borrow(|roots| roots.contains_key(&root))
}

/// Does in the context of a request what a tick would do: so it is where no tick came yet, and where the host has none.
/// Gives how long the request has waited where it need not any longer.
pub(super) fn tick_in(stream: StreamId, root: u32) -> Option<Waited> {
    let root = ROOTS.with_borrow(|roots| roots.get(&root).map(Rc::clone))?;
    root.try_borrow_mut().ok()?.tick_in(stream)
}

/// Sends in the context of a request what it waits for. Gives how long the request has waited where it need not any longer.
pub(super) fn send_in(stream: StreamId, root: u32) -> Option<Waited> {
    let root = ROOTS.with_borrow(|roots| roots.get(&root).map(Rc::clone))?;
    root.try_borrow_mut().ok()?.send_in(stream)
}

/// Wakes the requests that could not be woken in the context of another one.
pub(super) fn wake_held_back(root: u32) {
    // Where they are gone, a native thread ends.
    let root = ROOTS.try_with(|roots| roots.borrow().get(&root).map(Rc::clone)).ok().flatten();
    if let Some(Ok(mut root)) = root.as_ref().map(|root| root.try_borrow_mut())
        && !root.held_back.is_empty()
        && let Some(now) = clock()
    {
        root.carry_out(now);
    }
}

/// Whether anything that a root context asked for is still to be answered.
pub(super) fn is_calling(root: u32) -> bool {
    let root = ROOTS.with_borrow(|roots| roots.get(&root).map(Rc::clone));
    root.is_some_and(|root| root.try_borrow().is_ok_and(|root| !root.calls.is_empty()))
}

/// For so many ticks after the start a call that cannot be sent is kept and tried again: Envoy ticks us before it has
/// resolved the names of its clusters. While a call is kept, a tick comes every [`BUSY`].
const STARTING: u32 = 100;

/// The root context.
struct Root {
    id: u32,
    /// None where the host does not say it.
    name: Option<PluginName>,
    plugin: SharedPlugin,
    /// What each call under way is for, and the largest body that it may bring.
    calls: BTreeMap<u32, (LookupId, usize)>,
    /// Calls of the start that could not be sent yet.
    unsent: Vec<(LookupId, HttpRequest)>,
    /// How many ticks the start still lasts.
    starting: u32,
    metrics: HostMetrics,
    /// Requests that are to be woken and could not be in the context of another one.
    held_back: Vec<(StreamId, Waited)>,
    /// The request in whose context ticks are made up for, and how long it has waited where it was woken.
    current: Option<(StreamId, Option<Waited>)>,
    /// Since when ticks are made up for.
    without_ticks: Option<Timestamp>,
}

impl Root {
    fn new(id: u32, plugin: SharedPlugin) -> Self {
        Self {
            id,
            name: None,
            plugin,
            calls: BTreeMap::new(),
            unsent: Vec::new(),
            starting: STARTING,
            metrics: HostMetrics::default(),
            held_back: Vec::new(),
            current: None,
            without_ticks: None,
        }
    }

    /// Tells the gate something and then carries out what it wants done. Gives the time at which it did.
    fn run(&mut self, tell: impl FnOnce(&mut Gate, Timestamp)) -> Timestamp {
        let Some(now) = clock() else {
            if !self.plugin.borrow().missing().has(&CLOCK) {
                log::error!("the host gave no time; nothing is fetched");
            }
            return Timestamp::default();
        };
        if let Some(gate) = self.plugin.borrow_mut().gate.as_mut() {
            tell(gate, now);
        }
        self.carry_out(now);
        now
    }

    /// Lets everyone go who waits: what they wait for ends here.
    fn release_all(&mut self) {
        if let Some(gate) = self.plugin.borrow_mut().gate.as_mut() {
            gate.release_all();
        }
        // Whoever is woken is refused where there is no time to judge by.
        self.carry_out(clock().unwrap_or_default());
    }

    fn carry_out(&mut self, now: Timestamp) {
        if self.current.is_none() {
            for (stream, waited) in std::mem::take(&mut self.held_back) {
                self.wake(stream, waited);
            }
        }
        // Bounded: each fetch that cannot be sent is kept, or reported once and is then due later.
        while let Some(effect) = self.next_effect() {
            match effect {
                Effect::Log(level, text) => log::log!(level, "{text}"),
                Effect::Wake(stream, waited) => self.wake(stream, waited),
                Effect::Close(stream) => reset(stream, self.id, &self.plugin),
                Effect::Fetch { lookup, request } => self.fetch(lookup, request, now),
            }
        }
    }

    /// Hands what was counted to the host. Says whether there was anything.
    fn report(&mut self, now: Timestamp) -> bool {
        let samples = match self.plugin.borrow_mut().gate.as_mut() {
            Some(gate) => gate.samples(now),
            None => return false,
        };
        self.record(&samples);
        !samples.is_empty()
    }

    fn record(&mut self, samples: &[Sample]) {
        self.metrics.record(samples, &mut self.plugin.borrow_mut());
    }

    /// Asks the host for the next tick, by when the gate wants it. `flush`: one is to come for what is counted.
    fn schedule(&self, now: Timestamp, flush: bool) {
        let mut plugin = self.plugin.borrow_mut();
        let gate = plugin.gate.as_ref().and_then(|gate| gate.poll_timeout(now));
        let kept = (!self.unsent.is_empty() || !self.held_back.is_empty()).then_some(BUSY);
        match gate.into_iter().chain(kept).chain(flush.then_some(FLUSH)).min() {
            // Whole milliseconds, and none too early.
            Some(span) => {
                let millis = span.as_nanos().div_ceil(1_000_000);
                let span = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
                let _ = plugin.tick_every(span.max(BUSY));
            }
            None => drop(plugin.tick_every(Duration::ZERO)),
        }
    }

    fn next_effect(&self) -> Option<Effect> {
        self.plugin.borrow_mut().gate.as_mut()?.next_effect()
    }

    /// Sends what could not be sent at the last tick.
    fn send_unsent(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        // Without a time they stay for the next tick.
        let Some(now) = clock() else { return };
        for (lookup, request) in std::mem::take(&mut self.unsent) {
            self.fetch(lookup, request, now);
        }
        self.carry_out(now);
    }

    fn fetch(&mut self, lookup: LookupId, request: HttpRequest, now: Timestamp) {
        // A new request for it gives up the earlier one.
        self.unsent.retain(|(unsent, _)| *unsent != lookup);
        let endpoint = &request.endpoint;
        let headers = request.fields();
        let timeout = u32::try_from(endpoint.timeout.as_millis()).unwrap_or(u32::MAX);
        match hostcalls::http_call(&endpoint.cluster, &headers, &request.body, timeout) {
            Ok(token) => {
                self.calls.insert(token, (lookup, request.max_bytes));
            }
            Err(status) if self.starting > 0 && !self.cannot_call(status) => {
                self.unsent.push((lookup, request));
            }
            Err(_) => {
                if let Some(gate) = self.plugin.borrow_mut().gate.as_mut() {
                    let error = FetchError::NotSent { cluster: request.endpoint.cluster };
                    gate.fetched(lookup, Err(error), now);
                }
            }
        }
    }

    /// Whether this status of a call says that the host makes none for this plugin. Envoy says the same of a cluster
    /// without a healthy member, but not of one that no configuration can have.
    fn cannot_call(&self, status: Status) -> bool {
        let cannot =
            status.is_missing() && hostcalls::http_call("", &[], b"", 1).is_err_and(Status::is_missing);
        if cannot {
            self.plugin.borrow_mut().tell(&CALLS);
        }
        cannot
    }

    /// Decides a request that waited, in its own context. While the host is in the callback of another request it is held
    /// back: an answer to the one would stop the other for good, since Envoy goes by the callback in which it was sent.
    fn wake(&mut self, id: StreamId, waited: Waited) {
        if let Some((current, woken)) = &mut self.current {
            if *current == id {
                *woken = Some(waited);
            } else {
                self.held_back.push((id, waited));
                self.plugin.borrow_mut().tick_soon();
            }
            return;
        }
        let removed = match self.plugin.borrow().waiting.get(&id) {
            Some(Phase::Waiting(removed)) => removed.clone(),
            // It was answered meanwhile.
            _ => return,
        };
        if hostcalls::proxy_set_effective_context(id.0).ok().is_err() {
            return; // Its client has gone.
        }
        let judge = |gate: &mut Gate, request: &Request<'_>, now| gate.resume(id, waited, request, now);
        let mut phase = decide(id, &self.plugin, None, &removed, judge);
        if matches!(phase, Phase::Passed(_))
            && let Err(status) = hostcalls::proxy_continue_stream(StreamType::HttpRequest).ok()
        {
            note_failure(&self.plugin, &RESUME, status);
            phase = answer(&self.plugin, &overloaded(), false);
        }
        if let Some(known) = self.plugin.borrow_mut().waiting.get_mut(&id) {
            *known = phase;
        }
        let _ = hostcalls::proxy_set_effective_context(self.id);
    }
}

impl Root {
    /// A call ended.
    fn answered(&mut self, token: u32, fields: usize, size: usize) {
        let Some((lookup, limit)) = self.calls.remove(&token) else { return };
        let response = response(fields, size, limit);
        let now = self.run(|gate, now| gate.fetched(lookup, response, now));
        self.schedule(now, true);
    }

    /// The configuration is going: nobody is left waiting for it.
    fn done(&mut self) {
        self.release_all();
        self.report(Timestamp::default());
        if self.speaks_of_a_refusal() {
            self.record(&[Metrics::configuration_refused(false)]);
        }
    }

    /// Takes a configuration of `size` bytes. One that cannot be used is reported, and refused or answered for.
    fn configure(&mut self, size: usize) -> bool {
        let bytes = hostcalls::buffer(BufferType::PluginConfiguration, size);
        let missing = self.plugin.borrow_mut().find_missing();
        self.name = PluginName::current();
        if let Some(name) = &self.name {
            refused::configured(name.clone(), self.id);
        }
        let (on_refusal, wrong) = refused::on_refusal(missing);
        match (configuration::read(&bytes), wrong) {
            (Ok(config), None) => {
                if let (Some(name), Ok(bytes)) = (&self.name, &bytes) {
                    refused::keep(name.clone(), bytes);
                }
                let instance = config.instance.clone();
                self.begin(Some(config), instance, false);
                true
            }
            (config, wrong) => {
                configuration::tell(wrong.into_iter().chain(config.err().unwrap_or_default()).collect());
                match on_refusal {
                    OnRefusal::Reject => {
                        self.plugin.borrow_mut().tell_missing();
                        false
                    }
                    OnRefusal::Deny => {
                        let instance = bytes.as_deref().ok().and_then(Config::instance_of);
                        self.keep_the_last_good(instance);
                        true
                    }
                }
            }
        }
    }

    /// Serves by the last good configuration of the plugin; where there is none, every request is refused. `instance`
    /// is what the one that was refused calls the plugin.
    fn keep_the_last_good(&mut self, instance: Option<String>) {
        let known = self.name.as_ref().and_then(refused::last_good);
        let config = known.and_then(|bytes| configuration::read(&Ok(bytes.to_vec())).ok());
        match &config {
            Some(_) => log::error!("the last good configuration stays in force until this one is mended"),
            None => log::error!("there is no earlier one: every request gets 503 until this one is mended"),
        }
        let instance = instance.or_else(|| config.as_ref()?.instance.clone());
        self.begin(config, instance, true);
    }

    /// Puts a configuration into force, or none.
    fn begin(&mut self, config: Option<Config>, instance: Option<String>, refused: bool) {
        // Whoever waits under an earlier configuration of this context gets an answer now.
        self.release_all();
        self.report(Timestamp::default());
        self.calls.clear();
        self.unsent.clear();
        let mut plugin = self.plugin.borrow_mut();
        let missing = plugin.missing();
        self.starting = if missing.has(&TIMER) { 0 } else { STARTING };
        self.without_ticks = None;
        plugin.gate = config.map(|config| configuration::gate_of(config, missing));
        plugin.refused = refused;
        plugin.per_route = refused::is_of_envoy_gateway();
        plugin.tell_missing();
        drop(plugin);
        let instance = instance.or_else(refused::policy);
        self.metrics =
            HostMetrics::ending_in(instance.as_deref().map(Metrics::instance_suffix).unwrap_or_default());
        self.record(&[Metrics::version()]);
        let name = self.name.clone().unwrap_or_default();
        for (suffix, refused) in refused::gauges(&name, self.metrics.suffix(), refused) {
            let refused = Metrics::configuration_refused(refused);
            HostMetrics::ending_in(suffix).record(&[refused], &mut self.plugin.borrow_mut());
        }
    }

    /// Whether the last configuration of this plugin came here and was refused.
    fn speaks_of_a_refusal(&self) -> bool {
        let is_newest = |name| refused::is_newest(name, self.id);
        self.plugin.borrow().refused && self.name.as_ref().is_none_or(is_newest)
    }

    fn tick(&mut self) {
        self.plugin.borrow_mut().note_tick();
        self.without_ticks = None;
        self.starting = self.starting.saturating_sub(1);
        self.work();
    }

    /// A tick in the context of a request.
    fn tick_in(&mut self, stream: StreamId) -> Option<Waited> {
        let now = clock()?;
        // At the start a request can come before the first tick.
        if now.since(*self.without_ticks.get_or_insert(now)) >= FLUSH {
            self.plugin.borrow_mut().note_missing(&TIMER);
        }
        if self.plugin.borrow().missing().has(&TIMER) {
            self.starting = 0;
        }
        self.in_context_of(stream, Self::work)
    }

    /// Carries out what a request led to, in its context.
    fn send_in(&mut self, stream: StreamId) -> Option<Waited> {
        let now = clock()?;
        self.in_context_of(stream, |root| root.carry_out(now))
    }

    /// Does something while the host is in the context of a request, and leaves it there. Gives how long the request has
    /// waited where it was woken by that.
    fn in_context_of(&mut self, stream: StreamId, act: impl FnOnce(&mut Self)) -> Option<Waited> {
        self.current = Some((stream, None));
        act(self);
        if !self.plugin.borrow().missing().has(&CONTEXT) {
            let _ = hostcalls::proxy_set_effective_context(stream.0);
        }
        self.current.take()?.1
    }

    /// Does what is due.
    fn work(&mut self) {
        self.send_unsent();
        let now = self.run(Gate::tick);
        let counted = self.report(now);
        let refused = self.speaks_of_a_refusal();
        if refused {
            // Again and again: every plugin of the proxy writes the same gauge, and a good configuration of another one
            // has set it back.
            self.record(&[Metrics::configuration_refused(true)]);
        }
        self.schedule(now, counted || refused);
    }
}
