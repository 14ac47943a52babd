//! One request, from its headers to the headers of its response.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use portcullis::{
    Allow, Answer, CorsFields, ErrorResponse, FilterState, Gate, HostProperties as _, LocalReply,
    METADATA_NAMESPACE, Outcome, Reason, Rejection, Request, RouteCheck, Served, StreamId,
};

use crate::abi::{BodyStatus, EnvoyFilter, Fields, HeadersStatus, TrailersStatus};
use crate::plugin::{Plugin, clock};
use crate::properties::StreamProperties;
use crate::worker::{Woken, Worker};

/// The event that says: it need not wait any longer.
pub(crate) const WAKE: u64 = 1;
/// The event that says: its token has ended.
pub(crate) const CLOSE: u64 = 2;
/// The event that says: let this worker's gate look at the clock.
pub(crate) const POLL: u64 = 3;

/// Fields of a client, as they came.
type OwnFields = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What has become of a request.
enum Phase {
    /// Its headers have not come.
    New,
    /// It waits. These fields were removed before it began to; it is judged as if they were still there.
    Waiting(OwnFields),
    /// It was answered here.
    Answered,
    /// It passed. The route of its response is held to this.
    Passed(Expected),
}

/// What is known of a request that passed when its response comes.
struct Expected {
    /// What the metadata of the route that serves is held to.
    check: RouteCheck,
    /// The resource that this route must be of, where Envoy chose it again.
    resource: Option<String>,
    /// What another answer in its place says to a page of another origin.
    cors: Option<Cors>,
}

/// What another answer in its place says to a page of another origin.
type Cors = Rc<CorsFields>;

/// A request.
pub(crate) struct Stream {
    plugin: Arc<Plugin>,
    worker: Rc<Worker>,
    id: StreamId,
    phase: RefCell<Phase>,
    is_open: Cell<bool>,
    /// The hook that a test wants to panic.
    #[cfg(feature = "panic-for-tests")]
    panic: RefCell<Option<String>>,
}

/// What is to be done with a request, with nothing borrowed from it.
struct Judged {
    outcome: Outcome,
    grpc: bool,
    cors: Option<Cors>,
    /// Of a request that begins to wait: the fields that only this filter may write, by their names, and all as they came.
    taken: (Vec<Box<[u8]>>, OwnFields),
}

impl Stream {
    pub(crate) fn new(plugin: Arc<Plugin>) -> Rc<Self> {
        let worker = Worker::of(&plugin);
        let id = worker.stream_id();
        Rc::new(Self {
            plugin,
            worker,
            id,
            phase: RefCell::new(Phase::New),
            is_open: Cell::new(false),
            #[cfg(feature = "panic-for-tests")]
            panic: RefCell::default(),
        })
    }

    /// Panics where a test wants this hook to.
    #[cfg(feature = "panic-for-tests")]
    fn panic_if_asked(&self, hook: &str) {
        // Once: what refuses the request is not to panic too.
        let asked = self.panic.borrow_mut().take_if(|asked| asked == hook);
        assert!(asked.is_none(), "as a test asked");
    }

    #[cfg(not(feature = "panic-for-tests"))]
    fn panic_if_asked(&self, _: &str) {}

    /// The headers of the request came.
    pub(crate) fn request_headers(&self, envoy: &mut EnvoyFilter<'_>) -> HeadersStatus {
        self.plugin.record_pending(envoy);
        let Some(now) = clock() else {
            log::error!("there is no time to judge by; the request is refused");
            self.answer(envoy, &overloaded(), false);
            return HeadersStatus::Stop;
        };
        self.worker.poll_if_due(&self.plugin, now);
        let judged = self.judge(envoy, &Vec::new(), |gate, request| gate.decide(self.id, request, now));
        let status = self.act(envoy, judged, Vec::new());
        self.worker.carry_out(&self.plugin, now);
        self.plugin.counted();
        status
    }

    fn judge(
        &self,
        envoy: &EnvoyFilter<'_>,
        removed: &OwnFields,
        ask: impl FnOnce(&mut Gate, &Request<'_>) -> Outcome,
    ) -> Judged {
        let mut fields = envoy.fields(Fields::RequestHeaders);
        #[cfg(feature = "panic-for-tests")]
        if matches!(&*self.phase.borrow(), Phase::New) {
            *self.panic.borrow_mut() = crate::panics::asked(&fields);
        }
        self.panic_if_asked("request_headers");
        fields.extend(removed.iter().map(|(name, value)| (&**name, &**value)));
        let properties = StreamProperties(envoy);
        let request = Request::new(&fields).within(&properties);
        let grpc = request.is_grpc();
        let refused =
            |reason| Judged { outcome: without_gate(reason), grpc, cors: None, taken: Default::default() };
        if request.method().is_empty() {
            log::error!("Envoy gave no request headers; the request is refused");
            return refused(Reason::Overloaded);
        }
        let judged = self.worker.with_gate(|gate| {
            let outcome = ask(gate, &request);
            let mut taken: (Vec<Box<[u8]>>, OwnFields) = Default::default();
            if matches!(outcome, Outcome::Wait) {
                let names = gate.reserved().among(request.fields());
                let own = request.fields().iter().filter(|(name, _)| names.iter().any(|own| **own == **name));
                taken.1 = own.map(|(name, value)| (Box::from(*name), Box::from(*value))).collect();
                taken.0 = names.iter().map(|name| Box::from(&**name)).collect();
            }
            Judged { outcome, grpc, cors: gate.cors(&request), taken }
        });
        judged.unwrap_or_else(|| {
            refused(match self.plugin.is_refused() {
                true => Reason::ConfigurationRefused,
                false => Reason::Overloaded,
            })
        })
    }

    fn act(&self, envoy: &mut EnvoyFilter<'_>, judged: Judged, removed: OwnFields) -> HeadersStatus {
        let Judged { outcome, grpc, cors, taken } = judged;
        match outcome {
            Outcome::Wait => self.wait(envoy, taken, removed, grpc),
            Outcome::Deny(Rejection { response, state }) => {
                write_state(envoy, &state);
                write_refusal(envoy, &response, &state);
                self.answer(envoy, &response, grpc);
                HeadersStatus::Stop
            }
            Outcome::Answer(Answer { reply, state }) => {
                write_state(envoy, &state);
                self.send(envoy, &reply);
                HeadersStatus::Stop
            }
            Outcome::Allow(allow) => {
                // Each route turns on the policies that are for it: another one has others.
                let is_chosen_anew = allow.spoofed || allow.target.is_some();
                let resource =
                    is_chosen_anew.then(|| StreamProperties(envoy).route_name()).flatten().and_then(resource);
                if !change(envoy, &allow) {
                    return self.refuse_unchanged(envoy, cors, grpc);
                }
                *self.phase.borrow_mut() = Phase::Passed(Expected { check: allow.route, resource, cors });
                if allow.is_followed {
                    self.open(envoy);
                } else {
                    self.close();
                }
                HeadersStatus::Continue
            }
        }
    }

    /// Lets a request wait, without the fields that only this filter may write: whatever becomes of it, those do not
    /// travel.
    fn wait(
        &self,
        envoy: &mut EnvoyFilter<'_>,
        (names, mut taken): (Vec<Box<[u8]>>, OwnFields),
        removed: OwnFields,
        grpc: bool,
    ) -> HeadersStatus {
        if !names.iter().all(|name| envoy.remove(Fields::RequestHeaders, name)) {
            return self.refuse_unchanged(envoy, None, grpc);
        }
        if taken.is_empty() {
            taken = removed;
        }
        *self.phase.borrow_mut() = Phase::Waiting(taken);
        self.open(envoy);
        HeadersStatus::StopAllAndWatermark
    }

    /// Refuses a request that Envoy did not let be changed, and lets the gate forget it.
    fn refuse_unchanged(&self, envoy: &mut EnvoyFilter<'_>, cors: Option<Cors>, grpc: bool) -> HeadersStatus {
        log::error!("Envoy did not let the request be changed; it is refused");
        self.worker.forget(self.id);
        self.answer(envoy, &ErrorResponse { cors, ..overloaded() }, grpc);
        HeadersStatus::Stop
    }

    fn open(&self, envoy: &EnvoyFilter<'_>) {
        if !self.is_open.replace(true) {
            self.worker.open(&self.plugin, self.id, envoy.scheduler());
        }
    }

    fn close(&self) {
        if self.is_open.replace(false) {
            self.worker.close(&self.plugin, self.id);
        }
    }

    /// An event came that was sent here.
    pub(crate) fn scheduled(&self, envoy: &mut EnvoyFilter<'_>, event: u64) {
        self.plugin.record_pending(envoy);
        let Some(now) = clock() else { return };
        match event {
            POLL => self.worker.poll(&self.plugin, now),
            CLOSE => return self.end_early(envoy),
            _ => {}
        }
        let Some(woken) = self.worker.take_woken(self.id) else { return };
        self.panic_if_asked("scheduled");
        let removed = match &*self.phase.borrow() {
            Phase::Waiting(removed) => removed.clone(),
            // It was answered meanwhile.
            _ => return,
        };
        let judged = self.judge(envoy, &removed, |gate, request| match woken {
            Woken::Waited(waited) => gate.resume(self.id, waited, request, now),
            Woken::Anew => gate.decide(self.id, request, now),
        });
        let status = self.act(envoy, judged, removed);
        self.worker.carry_out(&self.plugin, now);
        self.plugin.counted();
        if status == HeadersStatus::Continue {
            envoy.resume();
        }
    }

    /// Its token has ended.
    fn end_early(&self, envoy: &mut EnvoyFilter<'_>) {
        if matches!(&*self.phase.borrow(), Phase::Passed(..)) {
            envoy.reset("portcullis_stream_ended");
        }
    }

    /// A part of the body came.
    pub(crate) fn request_body(&self, envoy: &mut EnvoyFilter<'_>) -> BodyStatus {
        self.refuse_unjudged(envoy);
        self.panic_if_asked("request_body");
        match &*self.phase.borrow() {
            Phase::Passed(..) => BodyStatus::Continue,
            Phase::New | Phase::Waiting(_) | Phase::Answered => BodyStatus::StopWithoutBuffer,
        }
    }

    /// Removes the trailers that only this filter may write.
    pub(crate) fn request_trailers(&self, envoy: &mut EnvoyFilter<'_>) -> TrailersStatus {
        self.refuse_unjudged(envoy);
        self.panic_if_asked("request_trailers");
        if matches!(&*self.phase.borrow(), Phase::Answered) {
            return TrailersStatus::Stop;
        }
        let (is_whole, names) = {
            let fields = envoy.fields(Fields::RequestTrailers);
            let names = self.worker.with_gate(|gate| gate.reserved_in_trailers().among(&fields));
            let names: Vec<Box<[u8]>> =
                names.unwrap_or_default().iter().map(|name| Box::from(&**name)).collect();
            (fields.len() == envoy.count(Fields::RequestTrailers), names)
        };
        if !is_whole || !names.iter().all(|name| envoy.remove(Fields::RequestTrailers, name)) {
            log::error!("Envoy did not let the trailers be cleaned; the request is refused");
            self.answer(envoy, &overloaded(), false);
            return TrailersStatus::Stop;
        }
        match &*self.phase.borrow() {
            Phase::Passed(..) => TrailersStatus::Continue,
            Phase::New | Phase::Waiting(_) | Phase::Answered => TrailersStatus::Stop,
        }
    }

    /// What follows the headers came without them.
    fn refuse_unjudged(&self, envoy: &mut EnvoyFilter<'_>) {
        if matches!(&*self.phase.borrow(), Phase::New) {
            self.answer(envoy, &overloaded(), false);
        }
    }

    /// The route that served is known now. Where it asks for something else than was judged, another response takes
    /// the place of this one.
    pub(crate) fn response_headers(&self, envoy: &mut EnvoyFilter<'_>) -> HeadersStatus {
        self.plugin.record_pending(envoy);
        self.panic_if_asked("response_headers");
        let Some((response, state, grpc)) = self.replacement(envoy) else { return HeadersStatus::Continue };
        write_state(envoy, &state);
        self.answer(envoy, &response, grpc);
        HeadersStatus::Stop
    }

    fn replacement(&self, envoy: &EnvoyFilter<'_>) -> Option<(ErrorResponse, FilterState, bool)> {
        let phase = self.phase.borrow();
        let Phase::Passed(Expected { check, resource: expected, cors }) = &*phase else {
            // What did not pass was answered here.
            return None;
        };
        let properties = StreamProperties(envoy);
        let replaced = self.worker.with_gate(|gate| {
            let is_other = expected.is_some() && properties.route_name().and_then(resource) != *expected;
            let served = if is_other { Served::Otherwise } else { gate.served(check, &properties) };
            if served == Served::AsJudged {
                return None;
            }
            // The request's own fields are gone by now; of the response's, the content type tells a call of gRPC.
            let mut fields = envoy.fields(Fields::ResponseHeaders);
            fields.retain(|(name, _)| *name == b"content-type");
            let request = Request::new(&fields).within(&properties);
            let Rejection { response, state } =
                gate.note_served(served, &request, clock().unwrap_or_default())?;
            Some((ErrorResponse { cors: cors.clone(), ..response }, state, request.is_grpc()))
        });
        match replaced {
            Some(replaced) => replaced,
            None => Some((overloaded(), FilterState::refused(Reason::Overloaded), false)),
        }
    }

    /// Refuses the request. It may be over when this returns.
    fn answer(&self, envoy: &mut EnvoyFilter<'_>, response: &ErrorResponse, grpc: bool) {
        self.send(envoy, &response.reply(grpc));
    }

    /// Answers the request. It may be over when this returns.
    fn send(&self, envoy: &mut EnvoyFilter<'_>, reply: &LocalReply) {
        self.close();
        *self.phase.borrow_mut() = Phase::Answered;
        let grpc_status = reply.grpc_status.map(|status| status.to_string());
        let headers = reply.headers.iter().map(|(name, value)| (*name, &**value));
        let headers: Vec<_> =
            headers.chain(grpc_status.as_deref().map(|status| ("grpc-status", status))).collect();
        envoy.send_response(reply.status, &headers, &reply.body, &reply.details);
    }

    /// A hook of this stream panicked: the request is refused, and nothing of this worker's gate is relied on any more.
    pub(crate) fn panicked(&self, envoy: &mut EnvoyFilter<'_>) {
        self.worker.begin_anew(&self.plugin);
        if !matches!(self.phase.try_borrow().as_deref(), Ok(Phase::Answered)) {
            self.answer(envoy, &overloaded(), false);
        }
    }

    /// It is over.
    pub(crate) fn end(&self) {
        self.close();
        self.panic_if_asked("destroy");
    }
}

/// The kind, namespace and name at the beginning of the names that Envoy Gateway gives to routes
/// (`httproute/shop/orders/rule/0/match/0/shop_example`): its policies are for these. None of another name.
fn resource(mut route: String) -> Option<String> {
    let is_of_gateway = route.starts_with("httproute/") || route.starts_with("grpcroute/");
    let end = route.match_indices('/').nth(2).map(|(end, _)| end).filter(|_| is_of_gateway)?;
    route.truncate(end);
    Some(route)
}

/// Without a configuration there is nothing to decide by.
fn without_gate(reason: Reason) -> Outcome {
    Outcome::Deny(Rejection { response: ErrorResponse::new(reason, ""), state: FilterState::refused(reason) })
}

/// What a request is answered with that cannot be judged or changed.
fn overloaded() -> ErrorResponse {
    ErrorResponse::new(Reason::Overloaded, "")
}

/// Changes a request that passes, as the gate says; false where Envoy did not let it.
fn change(envoy: &mut EnvoyFilter<'_>, allow: &Allow) -> bool {
    const OF: Fields = Fields::RequestHeaders;
    let mut done = allow.remove.iter().all(|name| envoy.remove(OF, name));
    for (name, fields) in &allow.left {
        done = done && envoy.remove(OF, name.as_bytes());
        done = done && fields.iter().all(|field| field.is_empty() || envoy.add(OF, name.as_bytes(), field));
    }
    if let Some(target) = &allow.target {
        done = done && envoy.set(OF, b":path", target);
    }
    done = done && allow.added().all(|(name, value)| envoy.add(OF, name.as_bytes(), value.as_bytes()));
    // Here a change of a header alone makes no other route. One that was chosen by what a client must not send does not
    // stay, nor one that was chosen by a target that there is no longer.
    let told = write_metadata(envoy, allow);
    if allow.clear_route_cache || allow.spoofed || allow.target.is_some() {
        envoy.clear_route_cache();
    }
    done && told && write_state(envoy, &allow.state)
}

/// Writes what other filters get of the tokens; false where Envoy does not take it.
fn write_metadata(envoy: &mut EnvoyFilter<'_>, allow: &Allow) -> bool {
    let done = write_failures(envoy, &allow.state);
    let told = allow.identity.iter().filter_map(|one| one.token.metadata());
    told.fold(done, |all, told| all & envoy.set_metadata_struct(METADATA_NAMESPACE, told))
}

/// Writes why tokens were not accepted; false where Envoy does not take it.
fn write_failures(envoy: &mut EnvoyFilter<'_>, state: &FilterState) -> bool {
    let failures = state.failures.iter();
    let told = failures.filter_map(|(provider, reason)| provider.metadata.as_ref()?.of_failure(*reason));
    told.fold(true, |all, told| all & envoy.set_metadata_struct(METADATA_NAMESPACE, &told))
}

/// Writes why a request is refused.
fn write_refusal(envoy: &mut EnvoyFilter<'_>, response: &ErrorResponse, state: &FilterState) {
    write_failures(envoy, state);
    let outputs = state.provider.as_ref().and_then(|provider| provider.metadata.as_ref());
    if let (Some(outputs), Some(reason)) = (outputs, state.reason)
        && let Some(told) = outputs.of_refusal(response.reply(false).status, reason)
    {
        envoy.set_metadata_struct(METADATA_NAMESPACE, &told);
    }
}

/// Writes filter state for the access log and other filters; false where some of it was not taken.
fn write_state(envoy: &mut EnvoyFilter<'_>, state: &FilterState) -> bool {
    // Under the names that the wasm plugin's have.
    const PREFIX: &str = "wasm.";
    let mut key = String::new();
    let mut all = true;
    for (entry, value) in state.entries() {
        key.clear();
        key.push_str(PREFIX);
        key.push_str(entry.key());
        all &= envoy.set_filter_state(&key, value);
    }
    all
}
