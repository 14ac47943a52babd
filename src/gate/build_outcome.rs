//! The step that says what becomes of a request, and the one place where a refusal is made.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::few::Few;
use super::flow::RequestFlow;
use super::outcome::{Accepted, Allow, FilterState, Outcome, Rejection};
use super::plan::RulePlan;
use crate::config::{Config, Provider};
use crate::proof::RequiredProof;
use crate::reason::{Reason, Rejected};
use crate::request::Request;
use crate::response::{DpopChallenge, ErrorResponse};
use crate::rules::{Authorize, Mode, Rule};
use crate::token::{Found, Location, ProviderId, Scheme, find};
use crate::upstream::{Decision, FilterStateField, FilterStateFields};

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
        rule: Rc<Rule>,
        plan: Option<&RulePlan>,
        mut accepted: Few<Accepted>,
    ) {
        if let Some(plan) = plan.filter(|_| rule.mode == Mode::Enforce) {
            let forwarded = accepted.iter().filter(|one| one.provider.forward);
            let forwarded: Vec<&[u8]> =
                forwarded.filter_map(|one| Some(self.credential(one.provider.id)?.text)).collect();
            plan.strip_tokens(self.request, &forwarded, &mut self.allow);
        }
        let allow = &mut self.allow;
        if let Some(principal) = accepted.first() {
            allow.state.provider = Some(Rc::clone(&principal.provider));
            allow.state.principal = Some(Rc::clone(&principal.token));
            if allow.state.selection.has(FilterStateField::DpopNonce) {
                let nonces = principal.provider.dpop().and_then(|dpop| dpop.nonces.as_ref());
                allow.state.nonce = nonces.map(|nonces| Rc::new(nonces.issue(self.now)));
            }
        }
        accepted.retain(|one| one.is_identity);
        let writes = |one: &Accepted| {
            one.provider.clear_route_cache
                && (one.token.headers().next().is_some() || one.token.has_metadata())
        };
        allow.clear_route_cache = accepted.iter().any(writes);
        allow.identity = accepted;
        allow.state.rule = Some(rule);
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
        self.gate.trace.failed(&rejected);
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
        let dpop = provider.as_deref().and_then(|own| self.dpop_challenge(own, rule.as_deref()));
        let state = FilterState { decision, reason: Some(reason), context, rule, provider, ..allow.state };
        if reports {
            return Outcome::Allow(Allow { state, ..allow });
        }
        let state = FilterState { selection: FilterStateFields::ALL, ..state };
        let response =
            ErrorResponse { verified, scope, retry_after, resource_metadata, step_up, dpop, ..response };
        Outcome::Deny(Rejection { response, state })
    }

    /// What a refusal tells of the scheme `DPoP`, where the provider takes proofs and the rule could accept one.
    fn dpop_challenge(&self, provider: &Provider, rule: Option<&Rule>) -> Option<Box<DpopChallenge>> {
        let dpop = provider.dpop()?;
        let required = rule.and_then(|rule| rule.requires_proof);
        let used = match find(&provider.locations, self.request) {
            Found::One(credential) => credential.scheme,
            Found::Nothing | Found::Malformed | Found::Several => Scheme::Bearer,
        };
        if required == Some(RequiredProof::Mtls) && used == Scheme::Bearer {
            return None;
        }
        let takes = |place: &Location| !matches!(place, Location::Header(place) if !place.accepts_bearer());
        let beside_bearer = required != Some(RequiredProof::Dpop) && provider.locations.iter().any(takes);
        let nonce = dpop.nonces.as_ref().map(|nonces| nonces.issue(self.now));
        Some(Box::new(DpopChallenge { algs: dpop.algs.clone(), used, beside_bearer, nonce }))
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
