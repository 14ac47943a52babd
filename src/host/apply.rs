//! Asks the gate about the request of the current context and carries out what it says.
//!
//! Whatever the host cannot do ends in a refusal.

use std::rc::Rc;

use proxy_wasm::types::MapType;

use super::hostcalls;
use super::plugin::{ExpectedRoute, Phase, Plugin, RemovedFields, SharedPlugin, clock};
use super::properties::StreamProperties;
use super::status::Status;
use crate::gate::{Allow, FilterState, Gate, Outcome, Rejection, StreamId};
use crate::reason::Reason;
use crate::request::{Field, Request};
use crate::response::{CorsFields, ErrorResponse};
use crate::time::Timestamp;

/// Decides the request. `count` is how many fields the host says there are, where it does; `removed` are those that
/// were removed before.
pub(super) fn decide(
    stream: StreamId,
    plugin: &SharedPlugin,
    count: Option<usize>,
    removed: &RemovedFields,
    judge: impl FnOnce(&mut Gate, &Request<'_>, Timestamp) -> Outcome,
) -> Phase {
    let headers = hostcalls::header_map(MapType::HttpRequestHeaders).unwrap_or_default();
    let mut fields = headers.fields();
    // More fields than the host can hand over come as none at all.
    let whole = count.is_none_or(|count| count == fields.len());
    fields.extend(removed.iter().map(|(name, value)| (&**name, &**value)));
    let properties = StreamProperties::default();
    let request = Request::new(&fields).within(&properties);
    let whole = whole && !request.method().is_empty();
    let Some(now) = clock().filter(|_| whole) else {
        log::error!("the host gave no request headers or no time; the request is refused");
        return answer(&overloaded(), request.is_grpc());
    };
    let (outcome, per_route, cors) = match plugin.try_borrow_mut().as_deref_mut() {
        Ok(Plugin { gate: Some(gate), per_route, .. }) => {
            (judge(gate, &request, now), *per_route, gate.cors(&request))
        }
        Ok(Plugin { refused: true, .. }) => (without_gate(Reason::ConfigurationRefused), false, None),
        Ok(_) | Err(_) => (without_gate(Reason::Overloaded), false, None),
    };
    match outcome {
        Outcome::Wait => hold(stream, plugin, &request, removed),
        Outcome::Deny(Rejection { response, state }) => {
            // The access log misses what cannot be written; the answer is the same.
            let _ = write_state(&state);
            answer(&response, request.is_grpc())
        }
        Outcome::Allow(allow) => pass(allow, &request, per_route, cors),
    }
}

/// Without a configuration there is nothing to decide by.
fn without_gate(reason: Reason) -> Outcome {
    Outcome::Deny(Rejection { response: ErrorResponse::new(reason, ""), state: FilterState::refused(reason) })
}

/// Changes a request that passes, or refuses it where the host does not let us.
fn pass(allow: Allow, request: &Request<'_>, per_route: bool, cors: Option<Rc<CorsFields>>) -> Phase {
    // Each change makes Envoy choose a route anew, perhaps one whose policies were not asked.
    let watched = per_route && allow.changes_fields() && (allow.spoofed || !allow.clear_route_cache);
    let resource = watched.then(|| route_resource(request.properties().route_name()));
    match change(&allow) {
        Ok(()) => Phase::Passed(ExpectedRoute { check: allow.route, resource, cors }),
        Err(status) => {
            log::error!("the host refused to change the request ({status}); it is refused");
            answer(&ErrorResponse { cors, ..overloaded() }, request.is_grpc())
        }
    }
}

/// The kind, namespace and name at the beginning of the names that Envoy Gateway gives to routes
/// (`httproute/shop/orders/rule/0/match/0/shop_example`): policies are for these. The whole of another name.
pub(super) fn route_resource(route: Option<String>) -> String {
    let mut name = route.unwrap_or_default();
    if let Some((end, _)) = name.match_indices('/').nth(2) {
        name.truncate(end);
    }
    name
}

/// Lets a request wait, without the fields that only this filter may write: whatever becomes of it, those do not
/// travel.
fn hold(stream: StreamId, plugin: &SharedPlugin, request: &Request<'_>, removed: &RemovedFields) -> Phase {
    let mut plugin = plugin.try_borrow_mut().ok();
    let Some(gate) = plugin.as_mut().and_then(|plugin| plugin.gate.as_mut()) else {
        return answer(&overloaded(), request.is_grpc());
    };
    let names = gate.reserved().among(request.fields());
    if names.is_empty() {
        return Phase::Waiting(removed.clone());
    }
    if let Err(status) =
        names.iter().try_for_each(|name| hostcalls::remove(MapType::HttpRequestHeaders, name))
    {
        log::error!("the host refused to change the request ({status}); it is refused");
        gate.forget(stream);
        let refusal = ErrorResponse { cors: gate.cors(request), ..overloaded() };
        return answer(&refusal, request.is_grpc());
    }
    let taken = request.fields().iter().filter(|(name, _)| names.iter().any(|own| **own == **name));
    Phase::Waiting(taken.map(|(name, value)| (Box::from(*name), Box::from(*value))).collect())
}

/// What a request is answered with that cannot be judged or changed.
pub(super) fn overloaded() -> ErrorResponse {
    ErrorResponse::new(Reason::Overloaded, "")
}

fn change(allow: &Allow) -> Result<(), Status> {
    const MAP: MapType = MapType::HttpRequestHeaders;
    for name in &allow.remove {
        hostcalls::remove(MAP, name)?;
    }
    for (name, fields) in &allow.left {
        hostcalls::remove(MAP, name.as_bytes())?;
        for field in fields {
            hostcalls::add(MAP, name.as_bytes(), field)?;
        }
    }
    if let Some(target) = &allow.target {
        hostcalls::replace(MAP, b":path", target)?;
    }
    for (name, value) in allow.added() {
        hostcalls::add(MAP, name.as_bytes(), value.as_bytes())?;
    }
    if allow.clear_route_cache {
        // A host that lacks it chooses the route anew by itself, or not at all.
        let _ = hostcalls::call_foreign_function("clear_route_cache", b"");
    }
    write_state(&allow.state)
}

/// Writes filter state for the access log and other filters.
pub(super) fn write_state(state: &FilterState) -> Result<(), Status> {
    state.entries().try_for_each(|(entry, value)| hostcalls::set_property(entry.key(), value.as_bytes()))
}

/// Answers the request in the upstream's place.
pub(super) fn answer(response: &ErrorResponse, grpc: bool) -> Phase {
    if let Err(status) = hostcalls::send_local_reply(&response.reply(grpc)) {
        // The stream stays paused: nothing passes, and Envoy's own timeout ends it.
        log::error!("the host refused a local reply ({status})");
    }
    Phase::Answered
}

/// Removes the trailers that only this filter may write; false where the host did not let us. `count`
/// is how many trailers it says there are; `reserved` says nothing where that is not known.
pub(super) fn clean_trailers(
    count: usize,
    reserved: impl FnOnce(&[Field<'_>]) -> Option<Vec<Rc<[u8]>>>,
) -> bool {
    const MAP: MapType = MapType::HttpRequestTrailers;
    let trailers = hostcalls::header_map(MAP).unwrap_or_default();
    let fields = trailers.fields();
    fields.len() == count
        && reserved(&fields)
            .is_some_and(|names| names.iter().all(|name| hostcalls::remove(MAP, name).is_ok()))
}
