//! The host's side of one VM: what the host calls read and change.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wire::{Header, Status};
use super::world::World;

/// The levels of `proxy_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    pub(crate) fn from_u32(level: u32) -> Level {
        match level {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            3 => Level::Warn,
            4 => Level::Error,
            _ => Level::Critical,
        }
    }
}

/// One of a stream's header maps, and whether the host would hand it out in this phase.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    pub(crate) pairs: Vec<Header>,
    pub(crate) readable: bool,
}

impl Map {
    pub(crate) fn new(pairs: Vec<Header>) -> Map {
        Map { pairs, readable: true }
    }

    /// The first value, as Envoy's single getter has it.
    pub(crate) fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let name = name.to_ascii_lowercase();
        let found = self.pairs.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_slice())
    }

    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.pairs.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// Puts the value in the place of the first of that name; the others go.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) {
        let name = name.to_ascii_lowercase();
        let mut placed = false;
        self.pairs.retain_mut(|(key, old)| {
            if *key != name {
                return true;
            }
            if placed {
                return false;
            }
            placed = true;
            *old = value.to_vec();
            true
        });
        if !placed {
            self.pairs.push((name, value.to_vec()));
        }
    }

    /// Removes every copy of a name.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.pairs.retain(|(key, _)| *key != name);
    }
}

/// What the filter asked the host to answer in the upstream's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
    /// `%RESPONSE_CODE_DETAILS%`
    pub(crate) details: String,
    /// The gRPC status the filter named; `None` leaves it to Envoy.
    pub(crate) grpc_status: Option<i32>,
}

/// A property of a stream, as a test sets it.
#[derive(Clone, Debug)]
pub(crate) enum Property {
    Value(Vec<u8>),
    /// What Envoy says for a Struct, a null, or a bare `xds`.
    Fails(Status),
}

/// One filter state object that the guest wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterState {
    pub(crate) value: Vec<u8>,
    pub(crate) read_only: bool,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The filter has said nothing yet.
    Deciding,
    /// The filter holds it.
    Held,
    /// It went on to the upstream.
    Forwarded,
    /// The filter answered it.
    Replied,
    /// The filter reset it.
    Reset,
    /// The client went away before there was an answer.
    HungUp,
}

/// One HTTP stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamState {
    pub(crate) root: u32,
    pub(crate) progress: Progress,
    pub(crate) request: Map,
    pub(crate) request_trailers: Map,
    pub(crate) response: Map,
    pub(crate) body: Vec<u8>,
    pub(crate) reply: Option<Reply>,
    pub(crate) properties: BTreeMap<String, Property>,
    pub(crate) filter_state: BTreeMap<String, FilterState>,
    pub(crate) route_cache_cleared: bool,
    /// The headers of its answer are in the filter's hands: an answer of the filter's takes their place.
    pub(crate) responding: bool,
    /// Header maps may be read but not changed: the access log.
    pub(crate) logging: bool,
    /// `on_done` returned false and the context waits for `proxy_done`.
    pub(crate) done_pending: bool,
}

impl StreamState {
    pub(crate) fn new(root: u32, request: Vec<Header>) -> StreamState {
        StreamState {
            root,
            progress: Progress::Deciding,
            request: Map::new(request),
            request_trailers: Map::default(),
            response: Map::default(),
            body: Vec::new(),
            reply: None,
            properties: BTreeMap::new(),
            filter_state: BTreeMap::new(),
            route_cache_cleared: false,
            responding: false,
            logging: false,
            done_pending: false,
        }
    }
}

/// A request that the guest sent to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) token: u32,
    pub(crate) root: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
    /// Zero: none.
    pub(crate) timeout: Duration,
    pub(crate) sent_at: Duration,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(key, _)| key == name.as_bytes());
        String::from_utf8_lossy(found.map_or(b"", |(_, value)| value)).into_owned()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        (!self.timeout.is_zero()).then(|| self.sent_at + self.timeout)
    }
}

/// What a callout brought. No headers at all is how Envoy reports a reset.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) headers: Vec<Header>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Header>,
}

/// One plugin configuration in the VM.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) plugin_name: String,
    pub(crate) root_id: String,
    pub(crate) configuration: Vec<u8>,
    pub(crate) vm_configuration: Vec<u8>,
    /// The configuration is readable only while the plugin starts.
    pub(crate) starting: bool,
    pub(crate) tick_period: Option<Duration>,
    pub(crate) next_tick: Duration,
    /// The answer whose callback runs now.
    pub(crate) answer: Option<Answer>,
    /// A newer configuration took over: it goes when its last stream has gone.
    pub(crate) retired: bool,
}

/// A host function told to fail.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) function: &'static str,
    pub(crate) status: Status,
    /// Calls that still succeed before the fault begins.
    pub(crate) after: usize,
    /// Calls that then fail; `None`: all of them.
    pub(crate) times: Option<usize>,
}

/// Kinds of metric, numbered as in the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// What Envoy puts off until the guest has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deferred {
    Reply(u32),
    Continue(u32),
    Close(u32),
    Done(u32),
}

/// The host's side of one VM.
pub(crate) struct VmState {
    pub(crate) world: World,
    pub(crate) vm_id: String,
    pub(crate) roots: BTreeMap<u32, Root>,
    pub(crate) streams: BTreeMap<u32, StreamState>,
    pub(crate) ended: BTreeMap<u32, StreamState>,
    pub(crate) next_context: u32,
    pub(crate) next_token: u32,
    pub(crate) pending: Vec<Call>,
    pub(crate) sent: Vec<Call>,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) log_level: u32,
    pub(crate) metrics: BTreeMap<u32, (MetricKind, String)>,
    pub(crate) faults: Vec<Fault>,
    /// A list of header pairs to be handed out in place of the real one, after so many others.
    pub(crate) bad_pairs: Option<(usize, Vec<u8>)>,
    pub(crate) read_only_properties: Vec<String>,
    /// Whether the plugin says `allow_on_headers_stop_iteration`.
    pub(crate) stops_headers_alone: bool,
    /// Every host call since the last `forget_host_calls`, in order.
    pub(crate) trace: Vec<&'static str>,
    pub(crate) current: u32,
    pub(crate) effective: u32,
    pub(crate) deferred: Vec<Deferred>,
    /// What a real host would punish with a crash or a hanging request.
    pub(crate) violations: Vec<String>,
}

impl VmState {
    pub(crate) fn new(world: World, vm_id: &str) -> VmState {
        let faults = world.lock().faults.clone();
        VmState {
            world,
            vm_id: vm_id.to_owned(),
            roots: BTreeMap::new(),
            streams: BTreeMap::new(),
            ended: BTreeMap::new(),
            next_context: 1,
            next_token: 4,
            pending: Vec::new(),
            sent: Vec::new(),
            logs: Vec::new(),
            log_level: 2,
            metrics: BTreeMap::new(),
            faults,
            bad_pairs: None,
            read_only_properties: Vec::new(),
            stops_headers_alone: false,
            trace: Vec::new(),
            current: 0,
            effective: 0,
            deferred: Vec::new(),
            violations: Vec::new(),
        }
    }

    pub(crate) fn context_id(&mut self) -> u32 {
        let id = self.next_context;
        self.next_context += 1;
        id
    }

    /// The context that host calls act on: the effective one as long as it exists.
    pub(crate) fn context(&self) -> u32 {
        if self.effective != 0 && self.exists(self.effective) { self.effective } else { self.current }
    }

    pub(crate) fn exists(&self, id: u32) -> bool {
        self.roots.contains_key(&id) || self.streams.contains_key(&id)
    }

    /// The root of the context that host calls act on.
    pub(crate) fn root_id(&self) -> u32 {
        let id = self.context();
        self.streams.get(&id).map_or(id, |stream| stream.root)
    }

    pub(crate) fn stream(&mut self) -> Option<&mut StreamState> {
        let id = self.context();
        self.streams.get_mut(&id)
    }

    /// A stream, be it alive or over.
    pub(crate) fn any_stream(&self, id: u32) -> &StreamState {
        let stream = self.streams.get(&id).or_else(|| self.ended.get(&id));
        stream.unwrap_or_else(|| panic!("stream {id} was never opened"))
    }

    /// The injected failure that this call of a host function meets, if any.
    pub(crate) fn fault(&mut self, function: &str) -> Option<Status> {
        for fault in self.faults.iter_mut().filter(|f| f.function == function) {
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            match &mut fault.times {
                Some(0) => continue,
                Some(n) => *n -= 1,
                None => {}
            }
            return Some(fault.status);
        }
        None
    }
}
