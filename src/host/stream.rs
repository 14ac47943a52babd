//! One request in the hands of the host.

use std::cell::RefCell;

use super::root::Plugin;
use super::{Done, answer, clean_trailers, handle, overloaded};
use crate::gate::{Outcome, Refusal, State, StreamId};

/// Without a configuration there is nothing to decide by.
pub(super) fn no_gate() -> Outcome {
    Outcome::Deny(Refusal { denial: overloaded(), state: State::default() })
}

/// Decides a request by its `count` header fields. Without a plugin it is refused.
pub(super) fn headers(plugin: Option<&RefCell<Plugin>>, id: StreamId, count: usize) -> Done {
    #[cfg(feature = "trap-for-tests")]
    super::trap::if_asked();
    let done = handle(Some(count), |request, now| {
        match plugin.and_then(|plugin| plugin.try_borrow_mut().ok()).as_mut() {
            Some(plugin) => plugin.gate.as_mut().map_or_else(no_gate, |gate| gate.decide(id, request, now)),
            None => no_gate(),
        }
    });
    if done == Done::Waiting
        && let Some(plugin) = plugin
    {
        plugin.borrow_mut().hurry();
    }
    done
}

/// Takes away the trailers that nobody else may write; where that cannot be done, the request is refused.
pub(super) fn trailers(plugin: Option<&RefCell<Plugin>>, count: usize) -> Done {
    let cleaned = clean_trailers(count, |fields| {
        let plugin = plugin?.borrow();
        Some(plugin.gate.as_ref().map(|gate| gate.not_in_trailers().among(fields)).unwrap_or_default())
    });
    if cleaned {
        return Done::Passed;
    }
    log::error!("the host did not let the trailers be cleaned; the request is refused");
    answer(&overloaded(), false)
}

/// A request is over: nothing is decided about it any more.
pub(super) fn done(plugin: &RefCell<Plugin>, id: StreamId) {
    if let Some(gate) = plugin.borrow_mut().gate.as_mut() {
        gate.forget(id);
    }
}
