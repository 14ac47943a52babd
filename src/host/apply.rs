//! Asks the gate about the request of the current context and carries out what it says.
//!
//! Whatever the host cannot do ends in a refusal.

use std::rc::Rc;

use proxy_wasm::types::{MapType, StreamType};

use super::capabilities::{self as host, Capability, Missing};
use super::hostcalls;
use super::plugin::{ExpectedRoute, Phase, Plugin, RemovedFields, SharedPlugin, clock, note_failure};
use super::properties::StreamProperties;
use super::status::Status;
use crate::gate::{Allow, Answer, FilterState, Gate, Outcome, Rejection, StreamId};
use crate::reason::Reason;
use crate::request::{Field, Request};
use crate::response::{CorsFields, ErrorResponse, LocalReply};
use crate::time::Timestamp;
use crate::upstream::FilterStateFields;

/// Decides the request. `count` is how many fields the host says there are, where it does; `removed` are those that
/// were removed before.
pub(super) fn decide(
    stream: StreamId,
    plugin: &SharedPlugin,
    count: Option<usize>,
    removed: &RemovedFields,
    judge: impl FnOnce(&mut Gate, &Request<'_>, Timestamp) -> Outcome,
) -> Phase {
    let missing = missing(plugin);
    let headers = match hostcalls::header_map(MapType::HttpRequestHeaders) {
        Ok(headers) => headers,
        Err(status) => {
            note_failure(plugin, &host::HEADERS, status);
            return answer(plugin, &overloaded(), false);
        }
    };
    let mut fields = headers.fields();
    // More fields than the host can hand over come as none at all.
    let whole = count.is_none_or(|count| count == fields.len());
    fields.extend(removed.iter().map(|(name, value)| (&**name, &**value)));
    let properties = StreamProperties::of(missing);
    let request = Request::new(&fields).within(&properties);
    let whole = whole && !request.method().is_empty();
    let Some(now) = clock().filter(|_| whole) else {
        if !missing.has(&host::CLOCK) {
            log::error!("the host gave no request headers or no time; the request is refused");
        }
        return answer(plugin, &overloaded(), request.is_grpc());
    };
    let (outcome, per_route, cors) = match plugin.try_borrow_mut().as_deref_mut() {
        Ok(Plugin { gate: Some(gate), per_route, .. }) => {
            (judge(gate, &request, now), *per_route, gate.cors(&request))
        }
        Ok(Plugin { refused: true, .. }) => (without_gate(Reason::ConfigurationRefused), false, None),
        Ok(plugin) => {
            plugin.tell(&host::CONFIGURE);
            (without_gate(Reason::Overloaded), false, None)
        }
        Err(_) => (without_gate(Reason::Overloaded), false, None),
    };
    match outcome {
        Outcome::Wait => hold(stream, plugin, &request, removed),
        Outcome::Deny(Rejection { response, state }) => {
            // The access log misses what cannot be written; the answer is the same.
            let _ = write_state(&state, missing);
            answer(plugin, &response, request.is_grpc())
        }
        Outcome::Answer(Answer { reply, state }) => {
            let _ = write_state(&state, missing);
            send(plugin, &reply)
        }
        Outcome::Allow(allow) => pass(stream, plugin, allow, &request, per_route, cors),
    }
}

/// Without a configuration there is nothing to decide by.
fn without_gate(reason: Reason) -> Outcome {
    Outcome::Deny(Rejection { response: ErrorResponse::new(reason, ""), state: FilterState::refused(reason) })
}

/// Changes a request that passes, or refuses it where the host does not let us.
fn pass(
    stream: StreamId,
    plugin: &SharedPlugin,
    allow: Allow,
    request: &Request<'_>,
    per_route: bool,
    cors: Option<Rc<CorsFields>>,
) -> Phase {
    // Each change makes Envoy choose a route again, perhaps one whose policies were not asked.
    let watched = per_route && allow.changes_fields() && (allow.spoofed || !allow.clear_route_cache);
    let resource = watched.then(|| route_resource(request.properties().route_name()));
    match change(plugin, &allow) {
        Ok(()) => Phase::Passed(ExpectedRoute {
            check: allow.route,
            resource,
            cors,
            is_followed: allow.is_followed,
        }),
        Err((capability, status)) => {
            if let Ok(mut plugin) = plugin.try_borrow_mut()
                && let Some(gate) = &mut plugin.gate
            {
                gate.forget(stream);
            }
            note_failure(plugin, capability, status);
            answer(plugin, &ErrorResponse { cors, ..overloaded() }, request.is_grpc())
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
    let names = match plugin.try_borrow_mut().as_deref_mut() {
        Ok(plugin) if plugin.missing().has(&host::CONTEXT) => {
            // What it needs is fetched all the same.
            plugin.tick_soon();
            None
        }
        Ok(Plugin { gate: Some(gate), .. }) => Some(gate.reserved().among(request.fields())),
        Ok(_) | Err(_) => None,
    };
    let Some(names) = names else { return cannot_wait(stream, plugin, Some(request)) };
    if names.is_empty() {
        return Phase::Waiting(removed.clone());
    }
    if let Err(status) =
        names.iter().try_for_each(|name| hostcalls::remove(MapType::HttpRequestHeaders, name))
    {
        note_failure(plugin, &host::REMOVE, status);
        return cannot_wait(stream, plugin, Some(request));
    }
    let taken = request.fields().iter().filter(|(name, _)| names.iter().any(|own| **own == **name));
    Phase::Waiting(taken.map(|(name, value)| (Box::from(*name), Box::from(*value))).collect())
}

/// Refuses a request that would have to wait and cannot.
/// `request` is what it is answered by, where that is at hand.
pub(super) fn cannot_wait(stream: StreamId, plugin: &SharedPlugin, request: Option<&Request<'_>>) -> Phase {
    let mut refusal = overloaded();
    if let Ok(mut plugin) = plugin.try_borrow_mut()
        && let Some(gate) = &mut plugin.gate
    {
        gate.forget(stream);
        refusal.cors = request.and_then(|request| gate.cors(request));
    }
    answer(plugin, &refusal, request.is_some_and(|request| request.is_grpc()))
}

/// What a request is answered with that cannot be judged or changed.
pub(super) fn overloaded() -> ErrorResponse {
    ErrorResponse::new(Reason::Overloaded, "")
}

/// Changes the request of the current context as the gate says, or says which call failed.
fn change(plugin: &SharedPlugin, allow: &Allow) -> Result<(), (&'static Capability, Status)> {
    const MAP: MapType = MapType::HttpRequestHeaders;
    let remove = |name: &[u8]| hostcalls::remove(MAP, name).map_err(|status| (&host::REMOVE, status));
    let add =
        |name: &[u8], value: &[u8]| hostcalls::add(MAP, name, value).map_err(|status| (&host::ADD, status));
    allow.remove.iter().try_for_each(|name| remove(name))?;
    for (name, fields) in &allow.left {
        remove(name.as_bytes())?;
        for field in fields {
            add(name.as_bytes(), field)?;
        }
    }
    if let Some(target) = &allow.target {
        hostcalls::replace(MAP, b":path", target).map_err(|status| (&host::REPLACE, status))?;
    }
    allow.added().try_for_each(|(name, value)| add(name.as_bytes(), value.as_bytes()))?;
    let missing = missing(plugin);
    if allow.clear_route_cache && !missing.has(&host::FOREIGN_FUNCTIONS) {
        // A host that lacks it chooses the route again by itself, or not at all.
        let _ = hostcalls::call_foreign_function("clear_route_cache", b"");
    }
    match write_state(&allow.state, missing) {
        Err(status) if relies_on_state(plugin) => Err((&host::FILTER_STATE, status)),
        _ => Ok(()),
    }
}

/// What the host is known to lack.
pub(super) fn missing(plugin: &SharedPlugin) -> Missing {
    plugin.try_borrow().map(|plugin| plugin.missing()).unwrap_or_default()
}

/// Whether a filter behind may rely on the filter state of what passes: the configuration names entries.
fn relies_on_state(plugin: &SharedPlugin) -> bool {
    let plugin = plugin.try_borrow();
    let gate = plugin.as_ref().ok().and_then(|plugin| plugin.gate.as_ref());
    gate.is_none_or(|gate| gate.config().filter_state != FilterStateFields::NONE)
}

/// Writes filter state for the access log and other filters.
pub(super) fn write_state(state: &FilterState, missing: Missing) -> Result<(), Status> {
    if missing.has(&host::FILTER_STATE) {
        return Err(Status::UNIMPLEMENTED);
    }
    state.entries().try_for_each(|(entry, value)| hostcalls::set_property(entry.key(), value.as_bytes()))
}

/// Refuses the request.
pub(super) fn answer(plugin: &SharedPlugin, response: &ErrorResponse, grpc: bool) -> Phase {
    send(plugin, &response.reply(grpc))
}

/// Answers the request in the upstream's place. Where the host takes no answer, its stream is reset; else it stays
/// paused: nothing passes, and Envoy's own timeout ends it.
fn send(plugin: &SharedPlugin, reply: &LocalReply) -> Phase {
    if let Err(status) = hostcalls::send_local_reply(reply) {
        note_failure(plugin, &host::LOCAL_REPLY, status);
        if let Err(status) = hostcalls::proxy_close_stream(StreamType::HttpRequest).ok() {
            note_failure(plugin, &host::CLOSE, status);
        }
    }
    Phase::Answered
}

/// Resets the stream of a request that passed, unless it has ended. `root` is the context to go back to.
pub(super) fn reset(stream: StreamId, root: u32, plugin: &SharedPlugin) {
    let (capability, result) = match hostcalls::proxy_set_effective_context(stream.0).ok() {
        Err(status) if !status.is_missing() => return,
        Err(status) => (&host::CONTEXT, Err(status)),
        Ok(()) => (&host::CLOSE, hostcalls::proxy_close_stream(StreamType::HttpRequest).ok()),
    };
    if let Err(status) = result {
        match plugin.try_borrow_mut() {
            Ok(mut plugin) if status.is_missing() => plugin.tell(capability),
            _ => log::error!("{} failed ({status}); a stream outlives its token", capability.name()),
        }
    }
    let _ = hostcalls::proxy_set_effective_context(root);
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
