//! The step that says what becomes of a request, and the one place where a refusal is made.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::flow::RequestFlow;
use super::outcome::{Accepted, Allow, FilterState, Outcome, Rejection};
use super::plan::RulePlan;
use crate::config::{Config, Provider};
use crate::reason::{Reason, Rejected};
use crate::request::Request;
use crate::response::ErrorResponse;
use crate::rules::{Authorize, Mode, Rule};
use crate::token::ProviderId;
use crate::upstream::{Decision, FilterStateFields};

/// A refusal with all that is said of it.
pub(super) struct Refusal {
    pub(super) rejected: Rejected,
    /// The provider of the token, or of the token that was asked for.
    pub(super) provider: Option<Rc<Provider>>,
    /// Whether the token was verified, so that its sender may know the reason.
    pub(super) verified: bool,
    /// The scopes to ask for.
    pub(super) scope: Option<String>,
    /// In how many seconds to try again.
    pub(super) retry_after: Option<u64>,
    /// Whether the request is refused by a rule that only reports, too.
    pub(super) is_enforced: bool,
}

impl Refusal {
    pub(super) fn new(rejected: Rejected) -> Self {
        Self { rejected, provider: None, verified: false, scope: None, retry_after: None, is_enforced: false }
    }
}

impl RequestFlow<'_, '_> {
    /// What becomes of a request that passes: tokens are stripped, identity headers written.
    pub(super) fn build_outcome(
        &mut self,
        rule: &Rc<Rule>,
        plan: Option<&RulePlan>,
        mut accepted: Vec<Accepted>,
    ) -> Outcome {
        let mut allow = std::mem::take(&mut self.allow);
        if let Some(plan) = plan.filter(|_| rule.mode == Mode::Enforce) {
            let forwarded = accepted.iter().filter(|one| one.provider.forward);
            let forwarded: Vec<&[u8]> =
                forwarded.filter_map(|one| Some(self.credential(one.provider.id)?.text)).collect();
            plan.strip_tokens(self.request, &forwarded, &mut allow);
        }
        if let Some(principal) = accepted.first() {
            allow.state.provider = Some(Rc::clone(&principal.provider));
            allow.state.principal = Some(Rc::clone(&principal.token));
        }
        accepted.retain(|one| one.is_identity);
        let writes = |one: &Accepted| one.provider.clear_route_cache && one.token.headers().next().is_some();
        allow.clear_route_cache = accepted.iter().any(writes);
        allow.identity = accepted;
        allow.state.rule = Some(Rc::clone(rule));
        Outcome::Allow(allow)
    }

    /// Refuses a request for a reason that has nothing to do with a token.
    pub(super) fn refuse<T>(&mut self, rejected: Rejected) -> ControlFlow<Outcome, T> {
        ControlFlow::Break(self.build_refusal(Refusal::new(rejected)))
    }

    /// Refuses a request; under a rule that only reports, says so and lets it pass as it came, but for
    /// the headers that only the filter writes.
    #[cold]
    pub(super) fn build_refusal(&mut self, refusal: Refusal) -> Outcome {
        let Refusal { rejected, provider, verified, scope, retry_after, is_enforced } = refusal;
        let Rejected { reason, context } = rejected;
        let allow = std::mem::take(&mut self.allow);
        let rule = self.rule.take();
        let reports = !is_enforced && rule.as_ref().is_some_and(|rule| rule.mode == Mode::Report);
        let decision = if reports { Decision::WouldDeny } else { Decision::Deny };
        let authorize = rule.as_ref().and_then(|rule| rule.authorize.as_ref());
        let step_up = authorize.filter(|_| reason == Reason::AuthenticationInsufficient);
        let step_up = step_up.and_then(Authorize::step_up);
        let resource_metadata = self.resource.take().map(|resource| Rc::clone(&resource.metadata_url));
        let response = error_response(self.config, reason, provider.as_deref(), self.request);
        let state = FilterState { decision, reason: Some(reason), context, rule, provider, ..allow.state };
        if reports {
            return Outcome::Allow(Allow { state, ..allow });
        }
        let state = FilterState { selection: FilterStateFields::ALL, ..state };
        let response = ErrorResponse { verified, scope, retry_after, resource_metadata, step_up, ..response };
        Outcome::Deny(Rejection { response, state })
    }

    /// The provider that a refusal names: the one whose token was asked for, else the first that the rule looks at.
    pub(super) fn provider_to_name(
        &self,
        wanted: Option<ProviderId>,
        plan: Option<&RulePlan>,
    ) -> Option<Rc<Provider>> {
        let first = plan.and_then(|plan| plan.providers.first().copied());
        let provider = |id: Option<ProviderId>| self.config.provider(id?);
        provider(wanted).or_else(|| provider(first)).map(Rc::clone)
    }
}

/// A refusal of a request in the form that the operator chose.
pub(super) fn error_response(
    config: &Config,
    reason: Reason,
    provider: Option<&Provider>,
    request: &Request<'_>,
) -> ErrorResponse {
    let realm = match (&config.realm, provider) {
        (Some(realm), _) => realm,
        (None, Some(provider)) => &provider.name,
        (None, None) => "",
    };
    let cors = config.cors.as_ref().and_then(|cors| cors.fields(request));
    ErrorResponse { style: config.style, cors, ..ErrorResponse::new(reason, realm) }
}
