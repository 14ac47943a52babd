//! The plugin in one worker: its configuration, its gate, its fetches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use super::hostcalls::{self, Buffer, Map};
use super::metrics::Meter;
use super::refused::{self, OnRefusal, PluginName};
use super::{Done, clock, handle, stream};
use crate::config::{Config, Problem};
use crate::fetch::{FetchError, HttpRequest, HttpResponse, LookupId};
use crate::gate::{Effect, Environment, Gate, StreamId, Waited};
use crate::metrics::Metrics;
use crate::request::Request;
use crate::time::Timestamp;

/// What the root context and its streams share.
#[derive(Default)]
pub(super) struct Plugin {
    pub(super) gate: Option<Gate>,
    /// Whether the configuration was refused: the gate, if there is one, is of the last good one.
    pub(super) refused: bool,
    /// Whether routes turn their policies on by themselves, as under Envoy Gateway: another route has others.
    pub(super) per_route: bool,
    /// How often the host calls `on_tick`; zero: not at all.
    period: Option<Duration>,
}

/// The shortest time between two ticks: while something waits or is about to start.
const BUSY: Duration = Duration::from_millis(10);
/// How long what was counted may wait to be handed to the host.
const FLUSH: Duration = Duration::from_secs(1);

impl Plugin {
    /// Sets how often the host calls `on_tick`.
    pub(super) fn tick_every(&mut self, period: Duration) {
        if self.period != Some(period) && hostcalls::set_tick_period(period).is_ok() {
            self.period = Some(period);
        }
    }

    /// A request has begun to wait: the fetch that it waits for starts with the next tick.
    pub(super) fn tick_soon(&mut self) {
        self.tick_every(BUSY);
    }

    /// Something was counted. Where nothing else asks for a tick, one comes for that.
    pub(super) fn tick_for_counts(&mut self) {
        if self.period.is_none_or(|period| period.is_zero()) {
            self.tick_every(FLUSH);
        }
    }
}

/// For so many ticks after the start a call that cannot be sent is kept and tried again: Envoy ticks us before it has
/// resolved the names of its clusters. While a call is kept, a tick comes every [`BUSY`].
const STARTING: u32 = 100;

/// The root context.
pub(super) struct Root {
    id: u32,
    name: PluginName,
    plugin: Rc<RefCell<Plugin>>,
    /// What each call under way is for, and the largest body that it may bring.
    calls: HashMap<u32, (LookupId, usize)>,
    /// Calls of the start that could not be sent yet.
    unsent: Vec<(LookupId, HttpRequest)>,
    /// How many ticks the start still lasts.
    starting: u32,
    meter: Meter,
}

impl Root {
    pub(super) fn new(id: u32, plugin: Rc<RefCell<Plugin>>) -> Self {
        Self {
            id,
            name: PluginName::default(),
            plugin,
            calls: HashMap::new(),
            unsent: Vec::new(),
            starting: STARTING,
            meter: Meter::default(),
        }
    }

    /// Tells the gate something and then carries out what it wants done. Gives the time at which it did.
    fn run(&mut self, tell: impl FnOnce(&mut Gate, Timestamp)) -> Timestamp {
        let Some(now) = clock() else {
            log::error!("the host gave no time; nothing is fetched");
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
        // Bounded: each fetch that cannot be sent is kept, or reported once and is then due later.
        while let Some(effect) = self.next_effect() {
            match effect {
                Effect::Log(level, text) => log::log!(level, "{text}"),
                Effect::Wake(stream, waited) => self.wake(stream, waited),
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
        self.meter.record(&samples);
        !samples.is_empty()
    }

    /// Asks the host for the next tick, by when the gate wants it. `flush`: one is to come for what is counted.
    fn schedule(&self, now: Timestamp, flush: bool) {
        let mut plugin = self.plugin.borrow_mut();
        let gate = plugin.gate.as_ref().and_then(|gate| gate.poll_timeout(now));
        let unsent = (!self.unsent.is_empty()).then_some(BUSY);
        match gate.into_iter().chain(unsent).chain(flush.then_some(FLUSH)).min() {
            // Whole milliseconds, and none too early.
            Some(span) => {
                let millis = span.as_nanos().div_ceil(1_000_000);
                let span = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
                plugin.tick_every(span.max(BUSY));
            }
            None => plugin.tick_every(Duration::ZERO),
        }
    }

    fn next_effect(&self) -> Option<Effect> {
        self.plugin.borrow_mut().gate.as_mut()?.next_effect()
    }

    /// Sends what could not be sent at the last tick.
    fn send_unsent(&mut self) {
        self.starting = self.starting.saturating_sub(1);
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
        let mut headers = vec![
            (":method", request.method.as_str()),
            (":scheme", endpoint.scheme.as_str()),
            (":authority", endpoint.authority.as_str()),
            (":path", endpoint.path.as_str()),
            ("user-agent", concat!("portcullis/", env!("CARGO_PKG_VERSION"))),
        ];
        headers.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str())));
        match hostcalls::http_call(&endpoint.cluster, &headers, &request.body, endpoint.timeout) {
            Ok(token) => {
                self.calls.insert(token, (lookup, request.max_bytes));
            }
            Err(_) if self.starting > 0 => self.unsent.push((lookup, request)),
            Err(_) => {
                if let Some(gate) = self.plugin.borrow_mut().gate.as_mut() {
                    let error = FetchError::NotSent { cluster: request.endpoint.cluster };
                    gate.fetched(lookup, Err(error), now);
                }
            }
        }
    }

    /// Decides a request that waited, in its own context.
    fn wake(&self, id: StreamId, waited: Waited) {
        if hostcalls::set_effective_context(id.0).is_err() {
            return; // Its client has gone.
        }
        let judge = |gate: &mut Gate, request: &Request<'_>, now| gate.resume(id, waited, request, now);
        let done = handle(id, Some(&self.plugin), None, &stream::kept(id), judge);
        let passes = matches!(done, Done::Passed(_));
        stream::woken(id, done);
        if passes && hostcalls::resume_request().is_err() {
            log::error!("the host refused to resume a request");
        }
        let _ = hostcalls::set_effective_context(self.id);
    }
}

/// The response to a call, of `fields` header fields and a body of `size` bytes.
fn response(fields: usize, size: usize, limit: usize) -> Result<HttpResponse, FetchError> {
    // A call that failed has no headers, and asking for one would be an error.
    if fields == 0 {
        return Err(FetchError::NoAnswer);
    }
    let pairs = hostcalls::pairs(Map::CallResponseHeaders).map_err(|_| FetchError::NoAnswer)?;
    let fields = pairs.fields();
    let text = |wanted: &str| {
        let (_, value) = fields.iter().find(|(name, _)| *name == wanted.as_bytes())?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    let status = text(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = match status {
        200 if size > limit => return Err(FetchError::TooLarge { size, limit }),
        200 => hostcalls::buffer(Buffer::CallResponseBody, size).map_err(|_| FetchError::NoAnswer)?,
        _ => Vec::new(),
    };
    Ok(HttpResponse {
        status,
        cache_control: text("cache-control"),
        etag: text("etag"),
        last_modified: text("last-modified"),
        retry_after: text("retry-after"),
        body,
    })
}

impl Root {
    /// A call ended.
    pub(super) fn answered(&mut self, token: u32, fields: usize, size: usize) {
        let Some((lookup, limit)) = self.calls.remove(&token) else { return };
        let response = response(fields, size, limit);
        let now = self.run(|gate, now| gate.fetched(lookup, response, now));
        self.schedule(now, true);
    }

    /// The configuration is going: nobody is left waiting for it.
    pub(super) fn done(&mut self) {
        self.release_all();
        self.report(Timestamp::default());
        if self.speaks_of_a_refusal() {
            self.meter.record(&[Metrics::configuration_refused(false)]);
        }
    }

    /// Takes a configuration of `size` bytes. One that cannot be used is told of, and refused or answered for.
    pub(super) fn configure(&mut self, size: usize) -> bool {
        let bytes = hostcalls::buffer(Buffer::PluginConfiguration, size).unwrap_or_default();
        let plugin = PluginName::current();
        refused::came(plugin.clone(), self.id);
        self.name = plugin.clone();
        let (on_refusal, wrong) = refused::on_refusal();
        match (parse(&bytes), wrong) {
            (Ok(config), None) => {
                refused::keep(plugin, &bytes);
                self.begin(Some(config), false);
                true
            }
            (config, wrong) => {
                tell(wrong.into_iter().chain(config.err().unwrap_or_default()).collect());
                match on_refusal {
                    OnRefusal::Reject => false,
                    OnRefusal::Deny => {
                        self.keep_the_last_good(&plugin);
                        true
                    }
                }
            }
        }
    }

    /// Serves by the last good configuration of the plugin; where there is none, every request is refused.
    fn keep_the_last_good(&mut self, plugin: &PluginName) {
        let config = refused::last_good(plugin).and_then(|bytes| parse(&bytes).ok());
        match &config {
            Some(_) => log::error!("the last good configuration stays in force until this one is mended"),
            None => log::error!("there is no earlier one: every request gets 503 until this one is mended"),
        }
        self.begin(config, true);
    }

    /// Puts a configuration into force, or none.
    fn begin(&mut self, config: Option<Config>, refused: bool) {
        // Whoever waits under an earlier configuration of this context gets an answer now.
        self.release_all();
        self.report(Timestamp::default());
        self.calls.clear();
        self.unsent.clear();
        self.starting = STARTING;
        let gate = config.map(gate_of);
        let mut plugin = self.plugin.borrow_mut();
        plugin.gate = gate;
        plugin.refused = refused;
        plugin.per_route = refused::is_of_envoy_gateway();
        plugin.tick_every(BUSY);
        drop(plugin);
        self.meter.record(&[Metrics::version()]);
        if refused::is_shown(refused) {
            self.meter.record(&[Metrics::configuration_refused(refused)]);
        }
    }

    /// Whether the last configuration of this plugin came here and was refused.
    fn speaks_of_a_refusal(&self) -> bool {
        self.plugin.borrow().refused && refused::is_newest(&self.name, self.id)
    }

    /// Does what is due.
    pub(super) fn tick(&mut self) {
        self.send_unsent();
        let now = self.run(Gate::tick);
        let counted = self.report(now);
        let refused = self.speaks_of_a_refusal();
        if refused {
            // Again and again: every plugin of the proxy writes the same gauge, and a good configuration of another one
            // has set it back.
            self.meter.record(&[Metrics::configuration_refused(true)]);
        }
        self.schedule(now, counted || refused);
    }
}

fn parse(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    Config::parse(bytes, &|name| std::env::var(name).ok())
}

/// Says what is wrong with a configuration.
fn tell(problems: Vec<Problem>) {
    log::error!("the configuration is refused; {} to mend:", problems.len());
    for problem in problems {
        log::error!("  {problem}");
    }
}

/// The gate of a configuration. Says what is dangerous in it, and what the filter cannot see.
fn gate_of(config: Config) -> Gate {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    log::info!(
        "version {}: {} providers, {} rules",
        env!("CARGO_PKG_VERSION"),
        config.providers.len(),
        config.rules.iter().count()
    );
    log::info!("{UNSEEN}");
    let backend = super::crypto::backend();
    log::info!("{backend}");
    let world = Environment {
        backend,
        store: super::store::store(),
        random: RandomState::new().build_hasher().finish(),
        stopwatch: || hostcalls::now().unwrap_or_default().as_nanos(),
    };
    // Without a time nothing can be judged; the first request and the first tick say so.
    Gate::new(config, world, clock().unwrap_or_default())
}

/// What no filter can see and the operator must know.
const UNSEEN: &str = "not visible to this filter, and assumed to be set in the connection manager: normalize_path, \
    merge_slashes, path_with_escaped_slashes_action, strip_any_host_port, strip_trailing_host_dot; nor does it see \
    whether filters before it change what routes are chosen by (docs/operations.md)";
