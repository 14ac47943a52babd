//! Whether a request may pass: the way of each request is the list of steps in `flow.rs`.
//!
//! The gate does no I/O. It is asked about requests and told of time and of fetched keys; what should
//! happen it hands out as values.

mod authenticate;
mod authorize;
mod background;
mod brakes;
mod build_outcome;
mod cache;
mod cached_token;
mod check_proof;
mod check_revocation;
mod few;
mod find_resource;
mod find_token;
mod flow;
mod introspect;
mod introspector;
mod known;
mod left_out;
mod match_rule;
mod meet_requirement;
mod outcome;
mod plan;
mod revocations;
mod route;
mod streams;
mod trace;
mod unmet;
mod use_once;
mod waiting;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use crate::audit::AuditLog;
pub use crate::audit::MAX_TEXT;
use crate::config::Config;
use crate::crypto::Backend;
use crate::fetch::{HttpRequest, InMemoryStore, LookupId, LookupIds, Store};
use crate::metrics::Metrics;
use crate::reason::{Context, Reason, ResponseStatus};
use crate::request::{HostProperties, Request};
use crate::response::{CorsFields, ErrorResponse};
use crate::time::{Limiter, Timestamp};
use crate::token::Location;
use crate::upstream::{Decision, FilterStateFields, ReservedHeaders};

use background::KeySource;
use brakes::Brakes;
use build_outcome::error_response;
use cache::TokenCache;
pub use cached_token::CachedToken;
use flow::RequestFlow;
use introspector::Introspector;
pub use left_out::LEFT_OUT_SECONDS;
use left_out::LeftOutNotes;
pub use outcome::{Accepted, Allow, Answer, FilterState, Outcome, Rejection};
use plan::RulePlan;
use revocations::Revocations;
pub use route::{RouteCheck, Served};
pub use streams::MAX_STREAMS;
use streams::Streams;
use trace::Trace;
pub use trace::{Check, Step, StepName, StepOutcome};
use use_once::UsedUp;
use waiting::Waiting;
pub use waiting::{MAX_DOUBTFUL, MAX_WAITING, Waited};

/// The host's number for a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u32);

/// Something to be done outside.
#[derive(PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a request, and report what came of it with [`Gate::fetched`].
    Fetch {
        /// What is fetched
        lookup: LookupId,
        /// What to send
        request: HttpRequest,
    },
    /// Ask about this waiting request again with [`Gate::resume`].
    Wake(StreamId, Waited),
    /// Reset this stream, which passed: its token has ended.
    Close(StreamId),
    /// Write this to the log.
    Log(log::Level, String),
}

/// What a gate is given from outside.
pub struct Environment {
    /// Where signatures are checked.
    pub backend: Backend,
    /// What the instances of this proxy share.
    pub store: Rc<dyn Store>,
    /// A number that no other instance has.
    pub random: u64,
    /// A clock for spans, in nanoseconds from any moment on.
    pub stopwatch: fn() -> u64,
}

impl Environment {
    /// The environment of one instance, with everything in Rust: for tests and tools.
    pub fn alone(random: u64) -> Self {
        Self {
            backend: Backend::portable(),
            store: Rc::new(InMemoryStore::default()),
            random,
            stopwatch: || 0,
        }
    }
}

/// The gate of one plugin configuration in one worker.
pub struct Gate {
    config: Rc<Config>,
    /// What each rule's tokens are taken from, by the rule's place; then those of the requirements that routes name.
    plans: Rc<[RulePlan]>,
    reserved: ReservedHeaders,
    /// The same, and every header that a token is read from: in a trailer it would not be judged.
    reserved_in_trailers: ReservedHeaders,
    backend: Backend,
    store: Rc<dyn Store>,
    /// The remote key source of each provider that has one.
    sources: Vec<Option<KeySource>>,
    /// The introspection of each provider that has it.
    introspectors: Vec<Option<Introspector>>,
    /// The verified tokens of each provider.
    token_caches: Vec<TokenCache>,
    revocations: Revocations,
    used_up: UsedUp,
    streams: Streams,
    waiting: Waiting,
    brakes: Brakes,
    audit: AuditLog,
    route_notes: Limiter,
    left_out_notes: LeftOutNotes,
    metrics: Arc<Metrics>,
    /// When the gauges were last shown.
    gauged: Timestamp,
    stopwatch: fn() -> u64,
    effects: VecDeque<Effect>,
    trace: Trace,
}

impl Gate {
    /// A gate for a configuration. It starts with what other instances of the proxy have put into the
    /// store.
    pub fn new(config: Config, environment: Environment, now: Timestamp) -> Self {
        let Environment { backend, store, random, stopwatch } = environment;
        let lookups = LookupIds::default();
        let sources = background::key_sources(&config, &lookups, random);
        let written = || config.providers.iter().flat_map(|provider| provider.outputs.names());
        let read = config.providers.iter().flat_map(|provider| &provider.locations);
        let read = read.filter_map(|place| match place {
            Location::Header(_) | Location::Subprotocols(_) => place.header_name(),
            Location::Cookie(_) => Some("cookie"),
            Location::Param(_) => None,
        });
        let read = read.chain(config.providers.iter().flat_map(|provider| plan::proof_fields(provider)));
        let (reserved, reserved_in_trailers) =
            (ReservedHeaders::new(written()), ReservedHeaders::new(written().chain(read)));
        let introspectors = introspector::all(&config, &lookups, random);
        let token_caches = config.providers.iter().map(|provider| TokenCache::new(provider.cache)).collect();
        let left_out_notes = LeftOutNotes::new(&config);
        let rules = config.rules.iter().chain(config.requirements.values().map(|rule| &**rule));
        let plans = rules.map(|rule| RulePlan::new(rule, &config)).collect();
        let audit = AuditLog::new(&config.audit, random);
        let brakes = Brakes::new(&config.limits);
        let revocations = Revocations::new(&config, &lookups, random);
        let mut gate = Self {
            metrics: Arc::new(Metrics::new(&config)),
            gauged: Timestamp::default(),
            stopwatch,
            revocations,
            used_up: UsedUp::new(&config),
            streams: Streams::default(),
            config: Rc::new(config),
            plans,
            reserved,
            reserved_in_trailers,
            backend,
            store,
            sources,
            introspectors,
            token_caches,
            waiting: Waiting::default(),
            brakes,
            audit,
            route_notes: Limiter::new(1),
            left_out_notes,
            effects: VecDeque::new(),
            trace: Trace::default(),
        };
        gate.read_store(now);
        gate
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it counts. A host of several threads can take the counts without a request that wakes this gate's.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The header names that only this gate writes.
    pub fn reserved(&self) -> &ReservedHeaders {
        &self.reserved
    }

    /// The names that a client may not send in its trailers: of headers that the filter writes, and of those that
    /// tokens are read from.
    pub fn reserved_in_trailers(&self) -> &ReservedHeaders {
        &self.reserved_in_trailers
    }

    /// What an answer to a request says to a page of another origin, where one may read it.
    pub fn cors(&self, request: &Request<'_>) -> Option<Rc<CorsFields>> {
        self.config.cors.as_ref()?.fields(request)
    }

    /// Keeps the steps of requests from here on, for [`Self::take_steps`].
    #[cfg(feature = "explain")]
    pub fn keep_steps(&mut self) {
        self.trace.keep();
    }

    /// The steps that the last requests took, in their order; each is reported once. A request that waited took some again.
    #[cfg(feature = "explain")]
    pub fn take_steps(&mut self) -> Vec<Step> {
        self.trace.take()
    }

    /// Decides a request that has just arrived.
    pub fn decide(&mut self, stream: StreamId, request: &Request<'_>, now: Timestamp) -> Outcome {
        let outcome = self.judge(stream, None, request, now);
        self.note(&outcome, request, now);
        outcome
    }

    /// Decides a request that waited. It waits again only where the fetch that it waited for had begun
    /// before it came, and never past its deadline.
    pub fn resume(
        &mut self,
        stream: StreamId,
        waited: Waited,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        let outcome = self.judge(stream, Some(waited), request, now);
        self.note(&outcome, request, now);
        outcome
    }

    /// Counts a decision, and tells the log of it where that is wanted.
    fn note(&mut self, outcome: &Outcome, request: &Request<'_>, now: Timestamp) {
        match outcome {
            Outcome::Allow(allow) => self.note_decision(&allow.state, request, now),
            Outcome::Deny(rejection) => self.note_decision(&rejection.state, request, now),
            Outcome::Answer(answer) => self.note_decision(&answer.state, request, now),
            Outcome::Wait => {}
        }
    }

    fn note_decision(&mut self, state: &FilterState, request: &Request<'_>, now: Timestamp) {
        let (rule, provider) = (state.rule.as_ref(), state.provider.as_ref());
        let (rule, provider) = (rule.map(|rule| rule.id), provider.map(|provider| provider.id));
        self.metrics.decided(state.decision, state.reason, rule, provider);
        if self.audit.wants(state.decision)
            && let Some(line) = self.audit.line(state.audit_record(), request, now)
        {
            self.effects.push_back(Effect::Log(log::Level::Info, line));
        }
    }

    /// How what the serving route says compares with what its request was judged by. Where no rules may be on
    /// routes, nothing is asked.
    pub fn served(&self, check: &RouteCheck, properties: &dyn HostProperties) -> Served {
        let rules = self.config.route_rules;
        if rules.is_on { check.compare(properties, rules) } else { Served::AsJudged }
    }

    /// Counts an answer of a route that asks for something else than its request was judged by, tells the log of it,
    /// and gives what takes its place, unless the rule only reports. The request counted already, as what passed.
    pub fn note_served(
        &mut self,
        served: Served,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Option<Rejection> {
        let decision = match served {
            Served::AsJudged => return None,
            Served::Reported => Decision::WouldDeny,
            Served::Otherwise => Decision::Deny,
        };
        let reason = Reason::RequestAmbiguous;
        const CHANGED: &str = "the route that served has another \"rule\", \"requirement\", \"scopes\" or \"disabled\" than the one by which the request was judged";
        let state = FilterState {
            selection: match decision {
                Decision::Deny => FilterStateFields::ALL,
                Decision::Allow | Decision::WouldDeny => self.config.filter_state,
            },
            decision,
            reason: Some(reason),
            context: Context::Fixed(CHANGED),
            route: request.properties().route_name(),
            ..FilterState::default()
        };
        self.metrics.route_changed();
        self.note_decision(&state, request, now);
        let response = error_response(&self.config, reason, None, request);
        let response = ErrorResponse { status: Some(ResponseStatus::Forbidden), ..response };
        (served == Served::Otherwise).then_some(Rejection { response, state })
    }

    fn judge(
        &mut self,
        stream: StreamId,
        waited: Option<Waited>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        let config = Rc::clone(&self.config);
        let mut flow = RequestFlow::new(self, &config, (stream, waited), request, now);
        match flow.steps() {
            ControlFlow::Continue(()) => Outcome::Allow(flow.allow),
            ControlFlow::Break(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod audit_details_tests;
#[cfg(test)]
mod bound_tests;
#[cfg(test)]
mod introspection_tests;
#[cfg(test)]
mod streams_tests;
#[cfg(test)]
mod tests;
