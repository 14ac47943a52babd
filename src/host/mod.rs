//! The only folder that knows proxy-wasm: callbacks in, host calls out, no decisions.
//!
//! A panic would take down the VM of a whole worker and leave its waiting requests hanging. So every
//! status of a host call is a value here, and every failure ends in a refusal.

mod crypto;
pub mod exports;
mod hostcalls;
mod logger;
mod metrics;
mod properties;
mod refused;
mod root;
mod store;
mod stream;
#[cfg(feature = "trap-for-tests")]
mod trap;

use std::cell::RefCell;
use std::rc::Rc;

use crate::gate::{Allow, FilterState, Gate, Outcome, Rejection, RouteCheck, StreamId};
use crate::reason::Reason;
use crate::request::{Field, Request};
use crate::response::ErrorResponse;
use crate::time::Timestamp;
use hostcalls::Map;
use properties::Current;
use root::Plugin;

/// Any date before this project existed: a clock that says so is not set.
const EARLIEST: Timestamp = Timestamp::from_secs(1_735_689_600);

/// The host's clock, if it can be believed.
fn clock() -> Option<Timestamp> {
    hostcalls::now().ok().filter(|now| *now >= EARLIEST)
}

/// Fields that were taken away from a request, as they came.
type Kept = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What has become of a request.
enum Done {
    /// It may go on. The route of its answer is held to this.
    Passed(Passed),
    /// It was answered.
    Answered,
    /// It waits, without these fields.
    Waiting(Kept),
}

/// What is known of a request that passed when its answer comes.
#[derive(Clone)]
struct Passed {
    /// What the metadata of the route that serves is held to.
    check: RouteCheck,
    /// The owner that this route must have, where one is asked for.
    owner: Option<String>,
}

/// The kind, namespace and name at the beginning of the names that Envoy Gateway gives to routes
/// (`httproute/shop/orders/rule/0/match/0/shop_example`): policies are for these. The whole of another name.
fn owner(route: Option<String>) -> String {
    let mut name = route.unwrap_or_default();
    if let Some((end, _)) = name.match_indices('/').nth(2) {
        name.truncate(end);
    }
    name
}

/// Asks the gate of `plugin` about the request of the current context and does what it says. Whatever the host
/// cannot do ends in a refusal. `count` is how many fields the host says there are, where it does; `kept` are those
/// that were taken away before.
fn handle(
    stream: StreamId,
    plugin: Option<&RefCell<Plugin>>,
    count: Option<usize>,
    kept: &Kept,
    judge: impl FnOnce(&mut Gate, &Request<'_>, Timestamp) -> Outcome,
) -> Done {
    let pairs = hostcalls::pairs(Map::RequestHeaders).unwrap_or_default();
    let mut fields = pairs.fields();
    // More fields than the host can hand over come as none at all.
    let whole = count.is_none_or(|count| count == fields.len());
    fields.extend(kept.iter().map(|(name, value)| (&**name, &**value)));
    let properties = Current::default();
    let request = Request::new(&fields).within(&properties);
    let whole = whole && !request.method().is_empty();
    let now = clock().filter(|_| whole);
    let Some(now) = now else {
        log::error!("the host gave no request headers or no time; the request is refused");
        return answer(&overloaded(), request.is_grpc());
    };
    let per_route = plugin.is_some_and(|plugin| plugin.try_borrow().is_ok_and(|plugin| plugin.per_route));
    let outcome = match plugin.and_then(|plugin| plugin.try_borrow_mut().ok()).as_deref_mut() {
        Some(Plugin { gate: Some(gate), .. }) => judge(gate, &request, now),
        plugin => stream::no_gate(plugin.as_deref()),
    };
    match outcome {
        Outcome::Wait => hold(stream, plugin, &request, kept),
        Outcome::Deny(Rejection { response, state }) => {
            // The access log misses what cannot be written; the answer is the same.
            let _ = write_state(&state);
            answer(&response, request.is_grpc())
        }
        Outcome::Allow(allow) => pass(allow, &request, per_route),
    }
}

/// Changes a request that passes, or refuses it where the host does not let us.
fn pass(allow: Allow, request: &Request<'_>, per_route: bool) -> Done {
    // Each change makes Envoy choose a route anew, perhaps one whose policies were not asked.
    let watched = per_route && allow.changes_fields() && (allow.spoofed || !allow.clear_route_cache);
    let owner = watched.then(|| owner(request.properties().route_name()));
    match change(&allow) {
        Ok(()) => Done::Passed(Passed { check: allow.route, owner }),
        Err(status) => {
            log::error!("the host refused to change the request ({status}); it is refused");
            answer(&overloaded(), request.is_grpc())
        }
    }
}

/// Lets a request wait, without the fields that only this filter may write: whatever becomes of it, those do not
/// travel.
fn hold(stream: StreamId, plugin: Option<&RefCell<Plugin>>, request: &Request<'_>, kept: &Kept) -> Done {
    let mut plugin = plugin.and_then(|plugin| plugin.try_borrow_mut().ok());
    let Some(gate) = plugin.as_mut().and_then(|plugin| plugin.gate.as_mut()) else {
        return answer(&overloaded(), request.is_grpc());
    };
    let names = gate.reserved().among(request.fields());
    if names.is_empty() {
        return Done::Waiting(kept.clone());
    }
    if let Err(status) = names.iter().try_for_each(|name| hostcalls::remove(Map::RequestHeaders, name)) {
        log::error!("the host refused to change the request ({status}); it is refused");
        gate.forget(stream);
        return answer(&overloaded(), request.is_grpc());
    }
    let taken = request.fields().iter().filter(|(name, _)| names.iter().any(|own| **own == **name));
    Done::Waiting(taken.map(|(name, value)| (Box::from(*name), Box::from(*value))).collect())
}

fn overloaded() -> ErrorResponse {
    ErrorResponse::new(Reason::Overloaded, "")
}

fn configuration_refused() -> ErrorResponse {
    ErrorResponse::new(Reason::ConfigurationRefused, "")
}

fn change(allow: &Allow) -> Result<(), hostcalls::Status> {
    for name in &allow.remove {
        hostcalls::remove(Map::RequestHeaders, name)?;
    }
    if let Some(cookie) = &allow.cookie {
        hostcalls::remove(Map::RequestHeaders, b"cookie")?;
        if !cookie.is_empty() {
            hostcalls::add(Map::RequestHeaders, b"cookie", cookie)?;
        }
    }
    if let Some(target) = &allow.target {
        hostcalls::replace(Map::RequestHeaders, b":path", target)?;
    }
    for (name, value) in allow.added() {
        hostcalls::add(Map::RequestHeaders, name.as_bytes(), value.as_bytes())?;
    }
    if allow.clear_route_cache {
        // A host that lacks it chooses the route anew by itself, or not at all.
        let _ = hostcalls::call_foreign_function("clear_route_cache", b"");
    }
    write_state(&allow.state)
}

fn write_state(state: &FilterState) -> Result<(), hostcalls::Status> {
    state.entries().try_for_each(|(entry, value)| hostcalls::set_property(entry.key(), value.as_bytes()))
}

fn answer(response: &ErrorResponse, grpc: bool) -> Done {
    let reply = response.reply(grpc);
    if let Err(status) = hostcalls::local_reply(&reply) {
        // The stream stays paused: nothing passes, and Envoy's own timeout ends it.
        log::error!("the host refused a local reply ({status})");
    }
    Done::Answered
}

/// Removes the trailers that only this filter may write; false where the host did not let us. `count`
/// is how many trailers it says there are; `reserved` says nothing where that is not known.
fn clean_trailers(count: usize, reserved: impl FnOnce(&[Field<'_>]) -> Option<Vec<Rc<[u8]>>>) -> bool {
    let pairs = hostcalls::pairs(Map::RequestTrailers).unwrap_or_default();
    let fields = pairs.fields();
    let clean =
        |names: Vec<Rc<[u8]>>| names.iter().all(|name| hostcalls::remove(Map::RequestTrailers, name).is_ok());
    fields.len() == count && reserved(&fields).is_some_and(clean)
}
