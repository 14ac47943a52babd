//! What a plugin's root context shares with its requests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::capabilities::{Capability, Missing, TIMER};
use super::hostcalls;
use super::status::Status;
use crate::gate::{Gate, RouteCheck, StreamId};
use crate::response::CorsFields;
use crate::time::Timestamp;

/// Requests hold on to it: some of them outlive the root context.
pub(super) type SharedPlugin = Rc<RefCell<Plugin>>;

/// One configuration of the filter in one worker.
#[derive(Default)]
pub(super) struct Plugin {
    pub(super) gate: Option<Gate>,
    /// Whether the configuration was refused: the gate, if there is one, is of the last good one.
    pub(super) refused: bool,
    /// Whether routes turn their policies on by themselves, as under Envoy Gateway: another route has others.
    pub(super) per_route: bool,
    /// The requests that had to wait, until they end: here the root context can reach them.
    pub(super) waiting: BTreeMap<StreamId, Phase>,
    /// Its root context.
    pub(super) root: u32,
    /// Whether the host has called `on_tick` under this configuration.
    ticked: bool,
    missing: Missing,
    /// What of it, and of what failed as if it were missing, the log has named.
    logged: Missing,
    /// How often the host calls `on_tick`; zero: not at all.
    period: Option<Duration>,
}

/// What has become of a request.
pub(super) enum Phase {
    /// Its headers have not come.
    New,
    /// It waits. These fields were removed before it began to; it is judged as if they were still there.
    Waiting(RemovedFields),
    /// It was answered here.
    Answered,
    /// It passed. The route of its response is held to this.
    Passed(ExpectedRoute),
}

impl Phase {
    /// Whether the gate is to be called when the request is over.
    pub(super) fn is_known_to_the_gate(&self) -> bool {
        match self {
            Self::Waiting(_) => true,
            Self::Passed(expected) => expected.is_followed,
            Self::New | Self::Answered => false,
        }
    }
}

/// Fields that were removed from a request, as they came.
pub(super) type RemovedFields = Vec<(Box<[u8]>, Box<[u8]>)>;

/// What is known of a request that passed when its response comes.
#[derive(Clone)]
pub(super) struct ExpectedRoute {
    /// What the metadata of the route that serves is held to.
    pub(super) check: RouteCheck,
    /// The resource that this route must be of, where one is asked for.
    pub(super) resource: Option<String>,
    /// What another answer in its place says to a page of another origin.
    pub(super) cors: Option<Rc<CorsFields>>,
    /// Whether the gate is to be called when its stream ends.
    pub(super) is_followed: bool,
}

/// The shortest time between two ticks: while something waits or is about to start.
pub(super) const BUSY: Duration = Duration::from_millis(10);
/// How often the gate looks at the clock at least while a stream is open that ends with its token.
const OPEN: Duration = Duration::from_millis(500);
/// How long what was counted may wait to be handed to the host.
pub(super) const FLUSH: Duration = Duration::from_secs(1);

impl Plugin {
    /// Takes note of what the host lacks, under a new configuration, and asks for the first tick.
    pub(super) fn find_missing(&mut self) -> Missing {
        (self.missing, self.logged) = (Missing::find(self.root), Missing::default());
        (self.ticked, self.period) = (false, None);
        if self.tick_every(BUSY).is_err_and(Status::is_missing) {
            self.missing.add(&TIMER);
        }
        self.missing
    }

    /// What the host is known to lack.
    pub(super) fn missing(&self) -> Missing {
        self.missing
    }

    /// Names all that is missing in the log.
    pub(super) fn tell_missing(&mut self) {
        self.missing.all().for_each(|capability| self.tell(capability));
    }

    /// Names what a call said that the host does not have, the first time. It is called again: a host that has it may
    /// fail once.
    pub(super) fn tell(&mut self, capability: &Capability) {
        if self.logged.add(capability) {
            capability.tell(self.gate.as_ref().map(Gate::config));
        }
    }

    /// The host is found to lack something.
    pub(super) fn note_missing(&mut self, capability: &Capability) {
        self.missing.add(capability);
        self.tell(capability);
    }

    /// A tick came.
    pub(super) fn note_tick(&mut self) {
        self.ticked = true;
        self.missing.remove(&TIMER);
    }

    /// Whether requests have to do what ticks are for.
    pub(super) fn is_without_ticks(&self) -> bool {
        !self.ticked
    }

    /// Sets how often the host calls `on_tick`.
    pub(super) fn tick_every(&mut self, period: Duration) -> Result<(), Status> {
        if self.period == Some(period) || self.missing.has(&TIMER) {
            return Ok(());
        }
        let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
        hostcalls::proxy_set_tick_period_milliseconds(millis).ok()?;
        self.period = Some(period);
        Ok(())
    }

    /// A request has begun to wait: the fetch that it waits for starts with the next tick.
    pub(super) fn tick_soon(&mut self) {
        let _ = self.tick_every(BUSY);
    }

    /// A stream is open that ends with its token: the next tick may be meant for a later one.
    pub(super) fn tick_for_streams(&mut self) {
        if self.period.is_none_or(|period| period.is_zero() || period > OPEN) {
            let _ = self.tick_every(OPEN);
        }
    }

    /// Something was counted. Where nothing else asks for a tick, one comes for that.
    pub(super) fn tick_for_counts(&mut self) {
        if self.period.is_none_or(|period| period.is_zero()) {
            let _ = self.tick_every(FLUSH);
        }
    }
}

/// A call failed without which a request is refused. What the host lacks the log names once, all else each time.
pub(super) fn note_failure(plugin: &SharedPlugin, capability: &Capability, status: Status) {
    match plugin.try_borrow_mut() {
        Ok(mut plugin) if status.is_missing() => plugin.tell(capability),
        _ => log::error!("{} failed ({status}); the request is refused", capability.name()),
    }
}

/// Any date before this project existed: a clock that says so is not set.
const EARLIEST: Timestamp = Timestamp::from_secs(1_735_689_600);

/// The host's clock, if it can be believed.
pub(super) fn clock() -> Option<Timestamp> {
    hostcalls::now().ok().map(Timestamp::from_nanos).filter(|now| *now >= EARLIEST)
}
