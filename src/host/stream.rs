//! One request in the hands of the host, from its headers to the headers of its response.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, MapType};

use super::apply::{
    answer, cannot_wait, clean_trailers, decide, missing, overloaded, route_resource, write_state,
};
use super::capabilities::{REMOVE, REQUEST_HEADERS, TIMER};
use super::hostcalls;
use super::plugin::{ExpectedRoute, Phase, Plugin, RemovedFields, SharedPlugin, clock};
use super::properties::StreamProperties;
use super::root;
use crate::gate::{FilterState, Gate, Rejection, Served, StreamId, Waited};
use crate::reason::Reason;
use crate::request::{HostProperties as _, Request};
use crate::response::ErrorResponse;

/// The context of one request.
pub(super) struct Stream {
    id: StreamId,
    plugin: SharedPlugin,
    /// None where it had to wait: its phase is among the plugin's then, where the root context can reach it.
    phase: Option<Phase>,
}

impl Stream {
    pub(super) fn new(id: StreamId, plugin: SharedPlugin) -> Self {
        Self { id, plugin, phase: Some(Phase::New) }
    }

    fn with_phase<R>(&self, read: impl FnOnce(&Phase) -> R) -> R {
        if let Some(phase) = &self.phase {
            return read(phase);
        }
        match self.plugin.try_borrow() {
            Ok(plugin) => read(plugin.waiting.get(&self.id).unwrap_or(&Phase::New)),
            Err(_) => read(&Phase::New),
        }
    }

    /// What follows the headers of a request may go on only where these did.
    fn action(&self) -> Action {
        self.with_phase(|phase| match phase {
            Phase::Passed(_) => Action::Continue,
            Phase::New | Phase::Waiting(_) | Phase::Answered => Action::Pause,
        })
    }

    /// Takes note that it was answered here: nothing is decided about it any more.
    fn refuse(&mut self, response: &ErrorResponse, grpc: bool) {
        self.forget();
        self.phase = Some(answer(&self.plugin, response, grpc));
    }

    /// What follows the headers of a request came without them: the host does not show those. Nothing that it still
    /// shows goes on.
    fn refuse_unjudged(&mut self) {
        if self.with_phase(|phase| matches!(phase, Phase::New)) {
            if let Ok(mut plugin) = self.plugin.try_borrow_mut() {
                plugin.tell(&REQUEST_HEADERS);
            }
            self.refuse(&overloaded(), false);
        }
    }

    /// Does what ticks are for, where the host has none. A request that waits is judged again where that brought what
    /// it waits for, and refused where nothing would wake it.
    fn make_up_for_ticks(&mut self) {
        let Ok(plugin) = self.plugin.try_borrow() else { return };
        let (root, is_without) = (plugin.root, plugin.is_without_ticks());
        drop(plugin);
        if !is_without {
            return;
        }
        let woken = root::tick_in(self.id, root);
        // Without ticks, nothing but the answer to a call wakes it.
        let is_stuck = missing(&self.plugin).has(&TIMER) && !root::is_calling(root);
        if woken.is_some() || is_stuck {
            self.judge_again(woken);
        }
    }

    /// Where its stream ends with its token, a tick comes in time.
    fn tick_for_streams(&self) {
        if self.with_phase(|phase| matches!(phase, Phase::Passed(expected) if expected.is_followed))
            && let Ok(mut plugin) = self.plugin.try_borrow_mut()
        {
            plugin.tick_for_streams();
        }
    }

    /// Sends what this request waits for at once, and not with the next tick.
    fn send_now(&mut self) {
        if self.phase.is_some() {
            return;
        }
        let Ok(root) = self.plugin.try_borrow().map(|plugin| plugin.root) else { return };
        if let Some(woken) = root::send_in(self.id, root) {
            self.judge_again(Some(woken));
        }
    }

    /// Judges a request that waits by what there is now; refuses it where nothing will wake it.
    fn judge_again(&mut self, woken: Option<Waited>) {
        let waiting = match self.plugin.try_borrow() {
            Ok(plugin) => match plugin.waiting.get(&self.id) {
                Some(Phase::Waiting(removed)) if self.phase.is_none() => Some(removed.clone()),
                _ => None,
            },
            Err(_) => None,
        };
        let Some(removed) = waiting else { return };
        let id = self.id;
        let phase = match woken {
            Some(waited) => {
                let judge =
                    |gate: &mut Gate, request: &Request<'_>, now| gate.resume(id, waited, request, now);
                decide(id, &self.plugin, None, &removed, judge)
            }
            None => cannot_wait(id, &self.plugin, None),
        };
        if let Ok(mut plugin) = self.plugin.try_borrow_mut() {
            plugin.waiting.insert(id, phase);
        }
    }

    /// Where it waits, or had to, or its stream ends with its token, neither the gate nor the plugin has to think of it
    /// any longer.
    fn forget(&mut self) {
        if self.phase.as_ref().is_some_and(|phase| !phase.is_known_to_the_gate()) {
            return;
        }
        if let Ok(mut plugin) = self.plugin.try_borrow_mut() {
            let phase = self.phase.take().or_else(|| plugin.waiting.remove(&self.id));
            if let (true, Some(gate)) =
                (phase.is_some_and(|phase| phase.is_known_to_the_gate()), plugin.gate.as_mut())
            {
                gate.forget(self.id);
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.forget();
        let Ok(plugin) = self.plugin.try_borrow() else { return };
        let (root, is_without) = (plugin.root, plugin.is_without_ticks());
        drop(plugin);
        // Nothing follows that an answer to another request could stop.
        if is_without {
            root::wake_held_back(root);
        }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, count: usize, _: bool) -> Action {
        #[cfg(feature = "trap-for-tests")]
        super::trap::if_asked();
        self.forget();
        let id = self.id;
        let judge = |gate: &mut Gate, request: &Request<'_>, now| gate.decide(id, request, now);
        let phase = decide(id, &self.plugin, Some(count), &RemovedFields::default(), judge);
        match self.plugin.try_borrow_mut() {
            Ok(mut plugin) if matches!(phase, Phase::Waiting(_)) => {
                plugin.tick_soon();
                plugin.waiting.insert(id, phase);
                self.phase = None;
            }
            Ok(mut plugin) => {
                plugin.tick_for_counts();
                self.phase = Some(phase);
            }
            Err(_) => self.phase = Some(phase),
        }
        self.send_now();
        self.make_up_for_ticks();
        self.tick_for_streams();
        self.action()
    }

    fn on_http_request_body(&mut self, _: usize, _: bool) -> Action {
        self.refuse_unjudged();
        self.action()
    }

    /// Removes the trailers that only this filter may write. Where the host does not let it, the request is refused.
    /// They are removed while the request waits, too: they do not come again.
    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        self.refuse_unjudged();
        if self.with_phase(|phase| matches!(phase, Phase::Answered)) {
            return Action::Pause;
        }
        let cleaned = clean_trailers(count, |fields| {
            let plugin = self.plugin.try_borrow().ok()?;
            let gate = plugin.gate.as_ref();
            Some(gate.map(|gate| gate.reserved_in_trailers().among(fields)).unwrap_or_default())
        });
        if !cleaned {
            if !missing(&self.plugin).has(&REMOVE) {
                log::error!("the host did not let the trailers be cleaned; the request is refused");
            }
            self.refuse(&overloaded(), false);
        }
        self.action()
    }

    /// The route that served is known now. Where it asks for something else than was judged, another response takes
    /// the place of this one.
    /// So it is where the request was never shown.
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.with_phase(|phase| matches!(phase, Phase::New)) {
            self.refuse_unjudged();
            return Action::Pause;
        }
        let Some((response, state, grpc)) = self.replacement() else { return Action::Continue };
        // The access log misses what cannot be written; the answer is the same.
        let _ = write_state(&state, missing(&self.plugin));
        self.refuse(&response, grpc);
        Action::Pause
    }
}

/// A response, the filter state that goes with it, and whether the client speaks gRPC.
type Replacement = (ErrorResponse, FilterState, bool);

impl Stream {
    /// What takes the place of a response of a route for which the request was not judged.
    fn replacement(&self) -> Option<Replacement> {
        let without_gate = || Some((overloaded(), FilterState::refused(Reason::Overloaded), false));
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else { return without_gate() };
        let missing = plugin.missing();
        let Plugin { gate, waiting, .. } = &mut *plugin;
        let Phase::Passed(expected) = self.phase.as_ref().or_else(|| waiting.get(&self.id))? else {
            // What did not pass was answered here.
            return None;
        };
        let Some(gate) = gate else { return without_gate() };
        let properties = StreamProperties::of(missing);
        match served(gate, expected, &properties) {
            Served::AsJudged => None,
            served => {
                let cors = expected.cors.clone();
                let replacement = refusal(gate, served, &properties);
                plugin.tick_for_counts();
                replacement.map(|(response, state, grpc)| (ErrorResponse { cors, ..response }, state, grpc))
            }
        }
    }
}

/// Whether the route that serves is one for which this request was judged.
fn served(gate: &Gate, expected: &ExpectedRoute, properties: &StreamProperties) -> Served {
    match &expected.resource {
        Some(resource) if *resource != route_resource(properties.route_name()) => Served::Otherwise,
        _ => gate.served(&expected.check, properties),
    }
}

/// The refusal in place of such a response; none under a rule that only reports. The request's own fields are gone by
/// now; of the response's, the content type tells a call of gRPC.
fn refusal(gate: &mut Gate, served: Served, properties: &StreamProperties) -> Option<Replacement> {
    let headers = hostcalls::header_map(MapType::HttpResponseHeaders).unwrap_or_default();
    let mut fields = headers.fields();
    fields.retain(|(name, _)| *name == b"content-type");
    let request = Request::new(&fields).within(properties);
    let Rejection { response, state } = gate.note_served(served, &request, clock().unwrap_or_default())?;
    Some((response, state, request.is_grpc()))
}
