//! A request in the fake Envoy, and a worker with its queue of events.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use super::config::Config;
use super::hooks::{self, Bytes};

pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A value of metadata.
#[derive(Clone, Debug)]
pub enum Value {
    Text(&'static str),
    Number(f64),
    Flag(bool),
    List(Vec<Value>),
    /// A structure or a null, which Envoy does not hand over.
    Other,
}

/// Namespaces of metadata, with what is in each.
pub type Metadata = Vec<(&'static str, Vec<(&'static str, Value)>)>;

/// What a route says for the filter.
pub struct Route(*const c_void);

impl Route {
    /// None where the module refuses it.
    pub fn new(text: &[u8]) -> Option<Self> {
        let (name, text) = (Box::<[u8]>::from(&b"portcullis"[..]), Box::<[u8]>::from(text));
        // SAFETY: both texts live as long as the call.
        let own = unsafe {
            hooks::envoy_dynamic_module_on_http_filter_per_route_config_new((&*name).into(), (&*text).into())
        };
        (!own.is_null()).then(|| Self(own))
    }

    pub(super) fn raw(&self) -> *const c_void {
        self.0
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        // SAFETY: once.
        unsafe { hooks::envoy_dynamic_module_on_http_filter_per_route_config_destroy(self.0) }
    }
}

/// A request as it comes.
#[derive(Clone, Default)]
pub struct Request {
    pub headers: Fields,
    pub has_body: bool,
    pub trailers: Option<Fields>,
    pub attributes: BTreeMap<u32, Vec<u8>>,
    pub dynamic: Metadata,
    pub of_route: Metadata,
    pub route: Option<Rc<Route>>,
    /// Its client is gone as soon as it was answered, or goes on: the stream ends within that callback.
    pub ends_at_once: bool,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        let mut request = Self::default();
        for (name, value) in
            [(":method", method), (":scheme", "https"), (":authority", "a.example"), (":path", path)]
        {
            request = request.header(name, value);
        }
        request.attributes.insert(24, b"192.0.2.1:4711".to_vec());
        request.attributes.insert(61, b"a route".to_vec());
        request
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub fn body(self) -> Self {
        Self { has_body: true, ..self }
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.get_or_insert_default().push((name.into(), value.into()));
        self
    }

    pub fn ending_at_once(self) -> Self {
        Self { ends_at_once: true, ..self }
    }
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The module has not let it go on, and has not answered it.
    Held,
    /// It went on, with these fields.
    Forwarded(Fields),
    /// The module answered it.
    Replied { status: u32, headers: Fields, body: String, details: String },
    /// The module reset it.
    Reset(String),
    /// The module has no stream for it: Envoy closes it.
    Closed,
}

/// What both the test and the callbacks see of a request.
pub struct Shared {
    pub config: Arc<Config>,
    pub id: u64,
    pub thread: ThreadId,
    pub queue: Arc<Queue>,
    pub request: Request,
    pub headers: RefCell<Fields>,
    pub trailers: RefCell<Fields>,
    pub response: RefCell<Fields>,
    pub state: RefCell<State>,
    pub is_waiting: Cell<bool>,
    pub is_encoding: Cell<bool>,
    pub filter_state: RefCell<BTreeMap<String, Vec<u8>>>,
    pub written: RefCell<Vec<(String, Vec<u8>)>>,
    pub route_clears: Cell<usize>,
    own: Cell<*const c_void>,
    filter: Cell<*mut Filter>,
    depth: Cell<usize>,
    is_ended: Cell<bool>,
}

/// What the module's pointer to a request leads to. It is freed when Envoy frees it.
pub struct Filter {
    pub shared: Rc<Shared>,
    /// How many fields the module was told of last.
    pub told: Cell<usize>,
    /// Header fields that were lent: until one is changed, or the hook ends.
    pub fields: RefCell<Vec<Box<[u8]>>>,
    /// Other texts that were lent: until the next callback.
    pub texts: RefCell<Vec<Box<[u8]>>>,
}

pub(super) type Queue = Mutex<VecDeque<(u64, u64)>>;

impl Shared {
    /// Calls a hook; none where the stream is over.
    pub(super) fn hook<R>(&self, call: impl FnOnce(*mut c_void, *const c_void) -> R) -> Option<R> {
        if self.own.get().is_null() {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        let result = call(self.filter.get().cast(), self.own.get());
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() == 0 {
            // SAFETY: it is freed here alone.
            let filter = unsafe { &*self.filter.get() };
            filter.fields.borrow_mut().clear();
            filter.texts.borrow_mut().clear();
            self.free_if_ended();
        }
        Some(result)
    }

    fn free_if_ended(&self) {
        if self.is_ended.get() && self.depth.get() == 0 {
            let filter = self.filter.replace(std::ptr::null_mut());
            if !filter.is_null() {
                // SAFETY: it came from a box, and is freed once.
                drop(unsafe { Box::from_raw(filter) });
            }
        }
    }

    /// The stream is over: the module's part goes at once, Envoy's when no hook is running.
    pub(super) fn end(&self) {
        if self.is_ended.replace(true) {
            return;
        }
        self.hook(|filter, own| {
            // SAFETY: both live.
            unsafe { hooks::envoy_dynamic_module_on_http_filter_stream_complete(filter, own) }
        });
        let own = self.own.replace(std::ptr::null());
        if !own.is_null() {
            // SAFETY: once.
            unsafe { hooks::envoy_dynamic_module_on_http_filter_destroy(own) }
        }
        self.free_if_ended();
    }

    /// The response's headers pass the module.
    pub(super) fn encode(&self) -> Option<u32> {
        self.is_encoding.set(true);
        // SAFETY: both live.
        let status = self.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_response_headers(filter, own, false)
        });
        // SAFETY: both live.
        self.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_response_body(filter, own, true);
            hooks::envoy_dynamic_module_on_http_filter_response_trailers(filter, own);
        });
        status
    }

    /// It goes on to the upstream.
    pub(super) fn forward(&self) {
        *self.state.borrow_mut() = State::Forwarded(self.headers.borrow().clone());
        self.is_waiting.set(false);
        if self.request.ends_at_once {
            self.encode();
            self.end();
        }
    }

    /// The module answered it.
    pub(super) fn replied(&self, reply: State) {
        let again = !matches!(*self.state.borrow(), State::Held | State::Forwarded(_));
        if again {
            self.config.violation("a second answer to one request");
        }
        let State::Replied { status, headers, details, .. } = &reply else { return };
        let (status, details) = (*status, details.clone());
        *self.response.borrow_mut() = headers.clone();
        *self.state.borrow_mut() = reply;
        self.is_waiting.set(false);
        // SAFETY: both live, and the details as long as the call.
        self.hook(|filter, own| unsafe {
            let details = Bytes::from(details.as_bytes());
            hooks::envoy_dynamic_module_on_http_filter_local_reply(filter, own, status, details, false)
        });
        if !self.is_encoding.get() {
            self.encode();
        }
        if self.request.ends_at_once {
            self.end();
        }
    }
}

/// A request that was sent.
#[derive(Clone)]
pub struct Stream(pub(super) Rc<Shared>);

impl Stream {
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    pub fn is_held(&self) -> bool {
        !self.0.is_ended.get() && matches!(self.state(), State::Held)
    }

    pub fn is_forwarded(&self) -> bool {
        matches!(self.state(), State::Forwarded(_))
    }

    /// The status of the module's answer.
    #[track_caller]
    pub fn status(&self) -> u32 {
        match self.state() {
            State::Replied { status, .. } => status,
            other => panic!("no answer: {other:?}"),
        }
    }

    /// The values of a field with which it went on.
    pub fn forwarded(&self, name: &str) -> Vec<String> {
        let State::Forwarded(fields) = self.state() else { return Vec::new() };
        values(&fields, name)
    }

    pub fn trailers(&self, name: &str) -> Vec<String> {
        values(&self.0.trailers.borrow(), name)
    }

    pub fn filter_state(&self, key: &str) -> Option<Vec<u8>> {
        self.0.filter_state.borrow().get(key).cloned()
    }

    /// What the module wrote as dynamic metadata.
    pub fn written(&self) -> Vec<(String, Vec<u8>)> {
        self.0.written.borrow().clone()
    }

    /// The headers come once more than they should.
    pub fn send_headers(&self) -> Option<u32> {
        // SAFETY: both live.
        let status = self.0.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_request_headers(filter, own, false)
        })?;
        let state = self.state();
        match (status, &state) {
            (0, State::Held) => self.0.forward(),
            (0, _) => self.0.config.violation(format!("a request that goes on after {state:?}")),
            (4, State::Held) => self.0.is_waiting.set(true),
            (1 | 4, _) => {}
            _ => self.0.config.violation(format!("status {status} for headers")),
        }
        Some(status)
    }

    /// A part of the body comes, whatever the state is. What the module says of it.
    pub fn send_body(&self) -> Option<u32> {
        // SAFETY: both live.
        self.0.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_request_body(filter, own, false)
        })
    }

    /// The trailers come, whatever the state is. What the module says of them.
    pub fn send_trailers(&self) -> Option<u32> {
        // SAFETY: both live.
        self.0.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_request_trailers(filter, own)
        })
    }

    /// Where it went on, its body and trailers follow, and its response comes.
    pub fn finish(&self) {
        if !self.is_forwarded() {
            return;
        }
        if self.0.request.has_body && self.send_body().is_some_and(|status| status != 0) {
            self.0.config.violation("the body of a request that passed was held");
        }
        if self.0.request.trailers.is_some() && self.send_trailers() == Some(1) && self.is_forwarded() {
            self.0.config.violation("the trailers of a request that passed were held");
        }
        self.respond(&[(":status", "200")]);
    }

    /// The upstream's response comes.
    pub fn respond(&self, headers: &[(&str, &str)]) {
        if self.is_forwarded() && !self.0.is_encoding.get() {
            let owned =
                headers.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            *self.0.response.borrow_mut() = owned.collect();
            self.0.encode();
        }
    }

    /// An event comes that nobody sent.
    pub fn stray_event(&self, event: u64) {
        // SAFETY: both live.
        self.0.hook(|filter, own| unsafe {
            hooks::envoy_dynamic_module_on_http_filter_scheduled(filter, own, event);
        });
    }

    /// It is over: it was served, or its client is gone.
    pub fn end(&self) {
        self.0.end();
    }
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    let same = fields.iter().filter(|(known, _)| known == name.as_bytes());
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

/// A worker: requests, and events for them. It stays in its thread.
pub struct Worker {
    config: Arc<Config>,
    queue: Arc<Queue>,
    streams: RefCell<BTreeMap<u64, Rc<Shared>>>,
    next: Cell<u64>,
}

impl Worker {
    pub(super) fn new(config: &Arc<Config>) -> Self {
        Self {
            config: Arc::clone(config),
            queue: Arc::default(),
            streams: RefCell::default(),
            next: Cell::new(1),
        }
    }

    /// A request comes whose headers the module has not seen.
    pub fn open(&self, request: Request) -> Stream {
        let id = self.next.get();
        self.next.set(id + 1);
        let shared = Rc::new(Shared {
            config: Arc::clone(&self.config),
            id,
            thread: thread::current().id(),
            queue: Arc::clone(&self.queue),
            headers: RefCell::new(request.headers.clone()),
            trailers: RefCell::new(request.trailers.clone().unwrap_or_default()),
            request,
            response: RefCell::default(),
            state: RefCell::new(State::Held),
            is_waiting: Cell::new(false),
            is_encoding: Cell::new(false),
            filter_state: RefCell::default(),
            written: RefCell::default(),
            route_clears: Cell::new(0),
            own: Cell::new(std::ptr::null()),
            filter: Cell::new(std::ptr::null_mut()),
            depth: Cell::new(0),
            is_ended: Cell::new(false),
        });
        let filter = Box::new(Filter {
            shared: Rc::clone(&shared),
            told: Cell::new(0),
            fields: RefCell::default(),
            texts: RefCell::default(),
        });
        shared.filter.set(Box::into_raw(filter));
        // SAFETY: both live.
        let own = unsafe {
            hooks::envoy_dynamic_module_on_http_filter_new(self.config.plugin(), shared.filter.get().cast())
        };
        shared.own.set(own);
        if own.is_null() {
            *shared.state.borrow_mut() = State::Closed;
        }
        self.streams.borrow_mut().insert(id, Rc::clone(&shared));
        Stream(shared)
    }

    /// A request comes.
    pub fn send(&self, request: Request) -> Stream {
        let stream = self.open(request);
        stream.send_headers();
        stream
    }

    /// Hands over the events that came meanwhile for requests that are not over.
    pub fn pump(&self) {
        let events = std::mem::take(&mut *self.queue.lock().expect("no panic"));
        for (id, event) in events {
            let stream = self.streams.borrow().get(&id).cloned();
            if let Some(stream) = stream {
                Stream(stream).stray_event(event);
            }
        }
        self.streams.borrow_mut().retain(|_, stream| !stream.is_ended.get());
    }

    /// Every request is over.
    pub fn end_all(&self) {
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        streams.values().for_each(|stream| stream.end());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end_all();
    }
}
