//! One request in the hands of the host.

use std::cell::RefCell;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::root::Plugin;
use super::{Done, answer, clean_trailers, handle, overloaded};
use crate::gate::{Outcome, Refusal, State, StreamId};

/// The context of a request.
pub(super) struct Stream {
    id: StreamId,
    plugin: Rc<RefCell<Plugin>>,
    waiting: bool,
}

impl Stream {
    pub(super) fn new(id: StreamId, plugin: Rc<RefCell<Plugin>>) -> Self {
        Self { id, plugin, waiting: false }
    }
}

/// Without a configuration there is nothing to decide by.
pub(super) fn no_gate() -> Outcome {
    Outcome::Deny(Refusal { denial: overloaded(), state: State::default() })
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if self.waiting
            && let Some(gate) = self.plugin.borrow_mut().gate.as_mut()
        {
            gate.forget(self.id);
        }
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, count: usize, _end: bool) -> Action {
        #[cfg(feature = "trap-for-tests")]
        super::trap::if_asked();
        let done = handle(Some(count), |request, now| match self.plugin.borrow_mut().gate.as_mut() {
            Some(gate) => gate.decide(self.id, request, now),
            None => no_gate(),
        });
        match done {
            Done::Passed => Action::Continue,
            Done::Answered => Action::Pause,
            Done::Waiting => {
                self.waiting = true;
                self.plugin.borrow_mut().hurry();
                Action::Pause
            }
        }
    }

    fn on_http_request_trailers(&mut self, count: usize) -> Action {
        let cleaned = clean_trailers(count, |fields| match self.plugin.borrow().gate.as_ref() {
            Some(gate) => gate.reserved().among(fields),
            None => Vec::new(),
        });
        if cleaned {
            return Action::Continue;
        }
        log::error!("the host did not let the trailers be cleaned; the request is refused");
        answer(&overloaded(), false);
        Action::Pause
    }
}
