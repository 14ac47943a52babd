//! One request's way through: rule, token, verdict, outcome.
//!
//! The gate does no I/O. It is asked about requests and told of time and of fetched keys; what should
//! happen it hands out as values.

mod audit;

mod authenticate;
mod background;
mod cache;
mod cached_token;
mod notes;
mod outcome;
mod plan;
mod revocations;
mod route;
mod waiting;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::config::{Config, Provider, Unmatched};
use crate::crypto::Backend;
use crate::fetch::{HttpRequest, InMemoryStore, LookupId, LookupIds, Store};
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::request::{Held, HostProperties, Request, RequestView, same_header};
use crate::response::ErrorResponse;
use crate::rules::{Authorize, Bindings, Mode, Requirement, Rule, RuleMatch, Rules};
use crate::time::Timestamp;
use crate::token::{Location, ProviderId};
use crate::upstream::Decision;
use crate::upstream::Reserved;

use audit::Audit;
pub use audit::MAX_TEXT;

pub use authenticate::Accepted;
use authenticate::{Authenticator, Lack, Why};

use background::KeySource;
use cache::TokenCache;
pub use cached_token::CachedToken;
use notes::Limiter;
pub use outcome::{Allow, FilterState, Outcome, Rejection};
use plan::RulePlan;
use revocations::Revocations;
use route::RouteMetadata;
pub use route::{RouteCheck, Served};
use waiting::Waiting;
pub use waiting::{MAX_WAITING, Waited};

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
    /// Write this to the log.
    Log(log::Level, String),
}

/// What a gate is given of the world around it.
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
    /// A world of one instance, with everything in Rust: for tests and tools.
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
    /// What each rule's tokens are taken from, by the rule's place.
    plans: Vec<RulePlan>,
    reserved: Reserved,
    /// The same, and every header that a token is read from: in a trailer nobody would judge it.
    reserved_in_trailers: Reserved,
    backend: Backend,
    store: Rc<dyn Store>,
    /// The remote key source of each provider that has one.
    sources: Vec<Option<KeySource>>,
    /// The verdicts on each provider's tokens.
    verdicts: Vec<TokenCache>,
    revocations: Revocations,
    waiting: Waiting,
    audit: Audit,
    route_notes: Limiter,
    metrics: Metrics,
    /// When the gauges were last shown.
    gauged: Timestamp,
    stopwatch: fn() -> u64,
    effects: VecDeque<Effect>,
}

impl Gate {
    /// A gate for a configuration. It starts with what other instances of the proxy have put into the
    /// store.
    pub fn new(config: Config, world: Environment, now: Timestamp) -> Self {
        let Environment { backend, store, random, stopwatch } = world;
        let lookups = LookupIds::default();
        let sources = background::key_sources(&config, &lookups, random);
        let written = || config.providers.iter().flat_map(|provider| provider.outputs.names());
        let read = config.providers.iter().flat_map(|provider| &provider.locations);
        let read = read.filter_map(|place| match place {
            Location::Header(place) => Some(place.name()),
            Location::Cookie(_) => Some("cookie"),
            Location::Param(_) => None,
        });
        let (reserved, reserved_in_trailers) =
            (Reserved::new(written()), Reserved::new(written().chain(read)));
        let verdicts = config.providers.iter().map(|provider| TokenCache::new(provider.cache)).collect();
        let plans = config.rules.iter().map(|rule| RulePlan::new(rule, &config)).collect();
        let audit = Audit::new(&config.audit, random);
        let revocations = Revocations::new(&config, &lookups, random);
        let mut gate = Self {
            metrics: Metrics::new(&config),
            gauged: Timestamp::default(),
            stopwatch,
            revocations,
            config: Rc::new(config),
            plans,
            reserved,
            reserved_in_trailers,
            backend,
            store,
            sources,
            verdicts,
            waiting: Waiting::default(),
            audit,
            route_notes: Limiter::new(1),
            effects: VecDeque::new(),
        };
        gate.look(now);
        gate
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The header names that only this gate writes.
    pub fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// The names that a client may not send in its trailers: of headers that the filter writes, and of those that
    /// tokens are read from.
    pub fn reserved_in_trailers(&self) -> &Reserved {
        &self.reserved_in_trailers
    }

    /// Decides a request that has just arrived.
    pub fn decide(&mut self, stream: StreamId, request: &Request<'_>, now: Timestamp) -> Outcome {
        let outcome = self.judge(stream, None, request, now);
        self.note(outcome, request, now)
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
        self.note(outcome, request, now)
    }

    /// Counts a decision, and tells the log of it where that is wanted.
    fn note(&mut self, outcome: Outcome, request: &Request<'_>, now: Timestamp) -> Outcome {
        let state = match &outcome {
            Outcome::Allow(allow) => &allow.state,
            Outcome::Deny(refusal) => &refusal.state,
            Outcome::Wait => return outcome,
        };
        self.metrics.decided(state);
        if let Some(line) = self.audit.line(state, request, now) {
            self.effects.push_back(Effect::Log(log::Level::Info, line));
        }
        outcome
    }

    /// How what the serving route says compares with what its request was judged by. Where no rules may stand on
    /// routes, nothing is asked.
    pub fn served(&self, check: &RouteCheck, properties: &dyn HostProperties) -> Served {
        if self.config.route_rules { check.compare(properties) } else { Served::AsJudged }
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
        let state = FilterState {
            selection: self.config.filter_state,
            decision,
            reason: Some(reason),
            route: request.properties().route_name(),
            ..FilterState::default()
        };
        self.metrics.route_changed(&state);
        if let Some(line) = self.audit.line(&state, request, now) {
            self.effects.push_back(Effect::Log(log::Level::Info, line));
        }
        let response = ErrorResponse { status: Some(403), ..self.response(reason, None) };
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
        let mut allow = Allow { remove: self.reserved.among(request.fields()), ..Allow::default() };
        allow.spoofed = !allow.remove.is_empty();
        allow.state.selection = config.filter_state;
        let view = config.rules.view(request);
        let met = match config.rules.find(&view) {
            RuleMatch::Rule(rule) => Some(rule),
            RuleMatch::Nothing => None,
            // Whatever its mode: a request that may be another rule's is not this rule's to let through.
            RuleMatch::Ambiguous(reason, rule) => {
                let response = self.response(reason, None);
                return deny(response, FilterState { rule, ..allow.state });
            }
        };
        // Taking such a header away can make the proxy choose another route than the one that chose this filter.
        let spoofed = config.refuses_spoofed_headers && !allow.remove.is_empty();
        if config.bypass_cors_preflight && is_preflight(request) {
            allow.route = RouteCheck::Exempt;
            return if spoofed { self.refuse_reading(met, allow) } else { Outcome::Allow(allow) };
        }
        let has_path = request.target().is_some() && !request.is_connect();
        let unmatched = || self.response(Reason::RouteUnmatched, None);
        let matched = met.as_ref().map(|rule| rule.id);
        let on_route = if config.route_rules {
            RouteMetadata::read(request.properties())
        } else {
            RouteMetadata::none()
        };
        let rule = match &on_route.rule {
            // It may mean any rule, so that the one of the path, which may only report, has no say.
            Err(_) => return self.refuse(unmatched(), None, None, allow),
            // Only a rule for CONNECT is for a request without a path (RFC 9113 section 8.5).
            Ok(Some(name)) if has_path => match config.rules.named(name) {
                None => return self.refuse(unmatched(), None, None, allow),
                named => named,
            },
            Ok(_) => met,
        };
        let reports = rule.as_ref().is_some_and(|rule| rule.mode == Mode::Report);
        allow.route = RouteCheck::new(&on_route, reports);
        if spoofed {
            return self.refuse_reading(rule, allow);
        }
        let Ok(scopes) = on_route.scopes else {
            return self.refuse(unmatched(), rule, None, allow);
        };
        let Some(rule) = rule else {
            let open = config.unmatched == Unmatched::Allow && has_path;
            return if open && scopes.is_empty() {
                Outcome::Allow(allow)
            } else {
                self.refuse(unmatched(), None, None, allow)
            };
        };
        let is_matched = matched == Some(rule.id);
        if !is_matched && rule.matches.others_held(&view) != Held::Always {
            note_named(&mut self.route_notes, &mut self.effects, &rule, now);
        }
        let Some(requirement) = &rule.requires else {
            if scopes.is_empty() {
                allow.state.rule = Some(rule);
                return Outcome::Allow(allow);
            }
            // A route that asks for scopes under a rule that asks for no token: nothing can meet both.
            return self.refuse(self.response(Reason::RouteUnmatched, None), Some(rule), None, allow);
        };
        let plan = self.plans.get(rule.id.0);
        if plan.is_some_and(|plan| plan.is_ambiguous(request)) {
            return self.refuse_reading(Some(rule), allow);
        }
        let heeds = !rule.ignores_revocation && !config.revocation.is_off();
        let mut judge = Authenticator {
            config: &config,
            backend: &self.backend,
            store: &*self.store,
            sources: &mut self.sources,
            verdicts: &mut self.verdicts,
            revocations: Some(&mut self.revocations).filter(|_| heeds),
            request,
            everyone: plan.map(|plan| &plan.everyone[..]).unwrap_or_default(),
            waited,
            patient: rule.mode == Mode::Enforce,
            now,
            remembers: !matches!(requirement, Requirement::Provider { .. }),
            known: Vec::new(),
            failed: None,
            metrics: &mut self.metrics,
            stopwatch: self.stopwatch,
        };
        let met = judge.meet(requirement, None);
        let travelling = met.as_ref().map(|accepted| judge.travelling(accepted)).unwrap_or_default();
        let failure = judge.failed;
        for text in self.revocations.take_said() {
            self.effects.push_back(Effect::Log(log::Level::Warn, text));
        }
        let asked = |wanted: Option<ProviderId>| {
            let first = plan.and_then(|plan| plan.providers.first().copied());
            wanted.and_then(|id| config.provider(id)).or_else(|| config.provider(first?)).map(Rc::clone)
        };
        let mut accepted = match met {
            Ok(accepted) => accepted,
            Err(Lack { provider, why: Why::Wait(lookup) }) => {
                let patience = plan.map(|plan| plan.patience).unwrap_or_default();
                let waited = Waited {
                    lookup,
                    since: waited.map_or(now, |waited| waited.since),
                    deadline: waited.map_or(now.plus(patience), |waited| waited.deadline),
                };
                if self.waiting.add(stream, waited) {
                    return Outcome::Wait;
                }
                let provider = asked(Some(provider));
                let response = self.response(Reason::Overloaded, provider.as_deref());
                return self.refuse(response, Some(rule), provider, allow);
            }
            Err(Lack { provider: id, why: Why::Deny(reason) }) => {
                let provider = asked(Some(id));
                let withdrawn = matches!(reason, Reason::Revoked | Reason::RevocationUnavailable);
                let response = ErrorResponse {
                    // Only a token that held is looked up.
                    verified: withdrawn,
                    scope: challenge(rule.authorize.as_ref(), &scopes),
                    retry_after: if withdrawn {
                        self.revocations.retry_after(now)
                    } else {
                        self.retry_after(id, now)
                    },
                    ..self.response(reason, provider.as_deref())
                };
                return self.refuse(response, Some(rule), provider, allow);
            }
        };
        let principal = accepted.first().map(|first| (first.provider.id, Rc::clone(&first.verdict)));
        if rule.authorize.is_some() || !scopes.is_empty() {
            let bound = Bound { view: &view, rules: &config.rules, rule: &rule, is_matched };
            let refused = match &principal {
                Some((_, verdict)) => {
                    authorized(verdict, &rule, &scopes, &bound).err().map(|why| (why, true))
                }
                // Nobody to ask; the token that failed, if one did, says why.
                None => Some((failure.unwrap_or(Reason::TokenMissing), false)),
            };
            if let Some((reason, verified)) = refused {
                let provider = asked(principal.as_ref().map(|(id, _)| *id));
                allow.state.principal = principal.map(|(_, verdict)| verdict);
                let response = ErrorResponse {
                    verified,
                    scope: challenge(rule.authorize.as_ref(), &scopes),
                    ..self.response(reason, provider.as_deref())
                };
                return self.refuse(response, Some(rule), provider, allow);
            }
        }
        if let Some(lacking) = accepted.iter().find(|one| one.verdict.lacks_required()) {
            let provider = Some(Rc::clone(&lacking.provider));
            let response =
                ErrorResponse { verified: true, ..self.response(Reason::ClaimInvalid, provider.as_deref()) };
            return self.refuse(response, Some(rule), provider, allow);
        }
        if let Some(plan) = plan.filter(|_| rule.mode == Mode::Enforce) {
            plan.empty_places(request, &travelling, &mut allow);
        }
        accepted.retain(|one| one.speaks);
        allow.clear_route_cache = accepted
            .iter()
            .any(|one| one.provider.clear_route_cache && one.verdict.headers().next().is_some());
        allow.identity = accepted;
        allow.state.provider = principal.as_ref().and_then(|(id, _)| config.provider(*id)).map(Rc::clone);
        allow.state.principal = principal.map(|(_, verdict)| verdict);
        allow.state.rule = Some(rule);
        Outcome::Allow(allow)
    }

    /// Refuses a request that could be read in two ways.
    fn refuse_reading(&self, rule: Option<Rc<Rule>>, allow: Allow) -> Outcome {
        self.refuse(self.response(Reason::RequestAmbiguous, None), rule, None, allow)
    }

    /// A refusal in the words that the operator chose.
    fn response(&self, reason: Reason, provider: Option<&Provider>) -> ErrorResponse {
        let realm = match (&self.config.realm, provider) {
            (Some(realm), _) => realm,
            (None, Some(provider)) => &provider.name,
            (None, None) => "",
        };
        ErrorResponse { style: self.config.style, ..ErrorResponse::new(reason, realm) }
    }

    /// Refuses a request; under a rule that only reports, says so and lets it pass as it came, but for
    /// the headers that nobody else may write.
    fn refuse(
        &self,
        response: ErrorResponse,
        rule: Option<Rc<Rule>>,
        provider: Option<Rc<Provider>>,
        allow: Allow,
    ) -> Outcome {
        let report = rule.as_ref().is_some_and(|rule| rule.mode == Mode::Report);
        let decision = if report { Decision::WouldDeny } else { Decision::Deny };
        let state = FilterState { decision, reason: Some(response.reason), rule, provider, ..allow.state };
        if !report {
            return deny(response, state);
        }
        Outcome::Allow(Allow { state, ..allow })
    }
}

/// Tells the log of a rule that a route named for a request which the rule's own conditions are not for.
fn note_named(notes: &mut Limiter, effects: &mut VecDeque<Effect>, rule: &Rule, now: Timestamp) {
    if let Some(more) = notes.room(now) {
        let text = format!(
            "a route names the rule {:?} for a request that its methods, hosts, headers or parameters are not for; on a route they are not asked{more}",
            rule.name
        );
        effects.push_back(Effect::Log(log::Level::Warn, text));
    }
}

/// Refuses a request.
fn deny(response: ErrorResponse, state: FilterState) -> Outcome {
    let state = FilterState { decision: Decision::Deny, reason: Some(response.reason), ..state };
    Outcome::Deny(Rejection { response, state })
}

/// Whether a browser asks whether it may send a request of another origin (Fetch, CORS-preflight).
fn is_preflight(request: &Request<'_>) -> bool {
    let given = |name| request.first(name).is_some_and(|value| !value.is_empty());
    request.method() == b"OPTIONS" && given("origin") && given("access-control-request-method")
}

/// Whether a token may do what is asked, by its rule and by its route.
fn authorized(
    verdict: &CachedToken,
    rule: &Rule,
    scopes: &[String],
    bound: &Bound<'_, '_>,
) -> Result<(), Reason> {
    let claims = verdict.claims();
    if let Some(authorize) = &rule.authorize {
        if authorize.depends_on_request() {
            authorize.check(claims, bound)?;
        } else {
            verdict.outcome(rule.id, || authorize.check(claims, bound))?;
        }
    }
    if scopes.iter().all(|scope| claims.grants(scope)) { Ok(()) } else { Err(Reason::ScopeInsufficient) }
}

/// The `scope` of a challenge: what the rule and the route ask for.
fn challenge(authorize: Option<&Authorize>, scopes: &[String]) -> Option<String> {
    let of_rule = authorize.and_then(Authorize::challenge).unwrap_or_default();
    let mut all: Vec<&str> = Vec::new();
    for scope in of_rule.split(' ').chain(scopes.iter().map(String::as_str)) {
        if !scope.is_empty() && !all.contains(&scope) {
            all.push(scope);
        }
    }
    (!all.is_empty()).then(|| all.join(" "))
}

/// What a request binds for the conditions of a rule.
struct Bound<'a, 'r> {
    view: &'a RequestView<'r>,
    rules: &'a Rules,
    rule: &'a Rule,
    /// Whether the request met the rule; otherwise its route named it.
    is_matched: bool,
}

impl Bindings for Bound<'_, '_> {
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        let fits = self.is_matched || self.rules.fits(self.rule, self.view);
        fits.then(|| self.rules.path_variable(self.rule, name, self.view)).flatten()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        // Of two fields that a server takes for one, nobody knows which it reads.
        let fields = self.view.request().fields().iter();
        let mut alike = fields.filter(|(own, _)| same_header(own, name.as_bytes()));
        let (own, value) = alike.next()?;
        let value = std::str::from_utf8(value).ok()?;
        let alone = alike.next().is_none() && own.eq_ignore_ascii_case(name.as_bytes());
        alone.then_some(Cow::Borrowed(value))
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        let authority = self.view.authority().filter(|authority| !authority.ends_with_dot())?;
        Some(Cow::Borrowed(authority.host()))
    }
}

#[cfg(test)]
mod tests;
