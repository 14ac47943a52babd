//! One request in the hands of the host, from its headers to the headers of its answer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::hostcalls::{self, Map};
use super::properties::Current;
use super::root::Plugin;
use super::{Done, Kept, Passed, answer, clean_trailers, clock, handle, overloaded, owner, write_state};
use crate::gate::{FilterState, Gate, Outcome, Rejection, Served, StreamId};
use crate::request::{HostProperties as _, Request};
use crate::response::ErrorResponse;
use crate::upstream::Decision;

/// What a root context shares with its requests, some of which may outlive it.
pub(super) type Shared = Rc<RefCell<Plugin>>;

/// How a request stands, after its headers.
enum Phase {
    /// Its headers have not come.
    New,
    /// It waits. These fields were taken away before it began to; it is judged as if they were still there.
    Waiting(Kept),
    /// It was answered here.
    Answered,
    /// It passed. The route of its answer is held to this.
    Passed(Passed),
}

struct Stream {
    shared: Shared,
    phase: Phase,
}

/// The host numbers its contexts one after the other: nobody chooses these numbers, and any spread will do.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

thread_local! {
    /// The requests that are not over.
    static STREAMS: RefCell<HashMap<u32, Stream, BuildHasherDefault<Spread>>> = RefCell::default();
}

/// Remembers a request whose headers come later.
pub(super) fn announced(id: StreamId, shared: Shared) {
    set(id, shared, Phase::New);
}

/// Whose request this is, where it was announced.
pub(super) fn plugin_of(id: StreamId) -> Option<Shared> {
    STREAMS.with_borrow(|streams| streams.get(&id.0).map(|stream| Rc::clone(&stream.shared)))
}

fn set(id: StreamId, shared: Shared, phase: Phase) {
    STREAMS.with_borrow_mut(|streams| streams.insert(id.0, Stream { shared, phase }));
}

/// The fields that were taken away from a request that waits.
pub(super) fn kept(id: StreamId) -> Kept {
    STREAMS.with_borrow(|streams| match streams.get(&id.0).map(|stream| &stream.phase) {
        Some(Phase::Waiting(kept)) => kept.clone(),
        _ => Kept::default(),
    })
}

/// Notes what became of a request that waited.
pub(super) fn woken(id: StreamId, done: Done) {
    if let Some(shared) = plugin_of(id) {
        set(id, shared, Phase::from(done));
    }
}

impl From<Done> for Phase {
    fn from(done: Done) -> Self {
        match done {
            Done::Passed(passed) => Self::Passed(passed),
            Done::Answered => Self::Answered,
            Done::Waiting(kept) => Self::Waiting(kept),
        }
    }
}

/// Decides a request by its `count` header fields; says whether it may go on. Without a plugin it is refused.
pub(super) fn headers(shared: Option<Shared>, id: StreamId, count: usize) -> bool {
    #[cfg(feature = "trap-for-tests")]
    super::trap::if_asked();
    let decide = |gate: &mut Gate, request: &Request<'_>, now| gate.decide(id, request, now);
    let done = handle(id, shared.as_deref(), Some(count), &Kept::default(), decide);
    if let Some(plugin) = &shared {
        match done {
            Done::Waiting(_) => plugin.borrow_mut().tick_soon(),
            _ => plugin.borrow_mut().tick_for_counts(),
        }
    }
    let passes = matches!(done, Done::Passed(_));
    if let Some(shared) = shared {
        set(id, shared, done.into());
    }
    passes
}

/// Whether what follows the headers of a request may go on: only where these did.
pub(super) fn may_go_on(id: StreamId) -> bool {
    let passed = |stream: &Stream| matches!(stream.phase, Phase::Passed(_));
    STREAMS.with_borrow(|streams| streams.get(&id.0).is_some_and(passed))
}

fn is_answered(id: StreamId) -> bool {
    let answered = |stream: &Stream| matches!(stream.phase, Phase::Answered);
    STREAMS.with_borrow(|streams| streams.get(&id.0).is_some_and(answered))
}

/// Takes away the trailers that nobody else may write, and says whether they may go on. Where they cannot be cleaned,
/// the request is refused. They are cleaned while the request waits, too: they do not come again.
pub(super) fn trailers(id: StreamId, count: usize) -> bool {
    if is_answered(id) {
        return false;
    }
    let plugin = plugin_of(id);
    let cleaned = clean_trailers(count, |fields| {
        let plugin = plugin.as_ref()?.try_borrow().ok()?;
        Some(plugin.gate.as_ref().map(|gate| gate.reserved_in_trailers().among(fields)).unwrap_or_default())
    });
    if cleaned {
        return may_go_on(id);
    }
    log::error!("the host did not let the trailers be cleaned; the request is refused");
    refused(id);
    answer(&overloaded(), false);
    false
}

/// Nothing is decided about it any more: it was answered here.
fn refused(id: StreamId) {
    if let Some(shared) = plugin_of(id) {
        if let Some(gate) = shared.borrow_mut().gate.as_mut() {
            gate.forget(id);
        }
        set(id, shared, Phase::Answered);
    }
}

/// The headers of the answer have come: the route that served is known now. Says whether the answer may go out; where
/// it may not, another one is sent.
pub(super) fn answered(id: StreamId) -> bool {
    let passed = STREAMS.with_borrow(|streams| {
        let stream = streams.get(&id.0)?;
        let Phase::Passed(passed) = &stream.phase else { return None };
        Some((Rc::clone(&stream.shared), passed.clone()))
    });
    // What did not pass was answered here.
    let Some((shared, passed)) = passed else { return true };
    let current = Current::default();
    let served = match shared.try_borrow_mut().ok().as_mut().and_then(|plugin| plugin.gate.as_mut()) {
        Some(gate) => match served(gate, &passed, &current) {
            Served::AsJudged => return true,
            served => refusal(gate, served, &current),
        },
        None => Some((overloaded(), FilterState::default(), false)),
    };
    if let Ok(mut plugin) = shared.try_borrow_mut() {
        plugin.tick_for_counts();
    }
    let Some((response, state, grpc)) = served else { return true };
    refused(id);
    // The access log misses what cannot be written; the answer is the same.
    let _ = write_state(&state);
    answer(&response, grpc);
    false
}

/// Whether the route that serves is one for which this request was judged.
fn served(gate: &Gate, passed: &Passed, current: &Current) -> Served {
    match &passed.owner {
        Some(expected) if *expected != owner(current.route_name()) => Served::Otherwise,
        _ => gate.served(&passed.check, current),
    }
}

/// What an answer is replaced by whose route asks for something else than was judged; nothing under a rule that only
/// reports. The request's own fields are gone by now; of the answer's, the content type tells a call of gRPC.
fn refusal(gate: &mut Gate, served: Served, current: &Current) -> Option<(ErrorResponse, FilterState, bool)> {
    let pairs = hostcalls::pairs(Map::ResponseHeaders).unwrap_or_default();
    let mut fields = pairs.fields();
    fields.retain(|(name, _)| *name == b"content-type");
    let request = Request::new(&fields).within(current);
    let Rejection { response, state } = gate.note_served(served, &request, clock().unwrap_or_default())?;
    Some((response, state, request.is_grpc()))
}

/// A request is over: nothing is decided about it any more. False where it was none.
pub(super) fn done(id: StreamId) -> bool {
    let Some(stream) = STREAMS.with_borrow_mut(|streams| streams.remove(&id.0)) else { return false };
    if let Phase::Waiting(_) = stream.phase
        && let Some(gate) = stream.shared.borrow_mut().gate.as_mut()
    {
        gate.forget(id);
    }
    true
}

/// Without a configuration there is nothing to decide by.
pub(super) fn no_gate(plugin: Option<&Plugin>) -> Outcome {
    let response = if plugin.is_some_and(|plugin| plugin.refused) {
        super::configuration_refused()
    } else {
        overloaded()
    };
    let state =
        FilterState { decision: Decision::Deny, reason: Some(response.reason), ..FilterState::default() };
    Outcome::Deny(Rejection { response, state })
}
