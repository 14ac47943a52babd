//! The step that asks what a token grants.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use super::build_outcome::Refusal;
use super::flow::RequestFlow;
use super::outcome::{Accepted, Outcome};
use super::plan::RulePlan;
use crate::reason::{Reason, Rejected, excerpts};
use crate::request::{PeerName, RequestView, same_header};
use crate::rules::{Authorize, Rule, Rules};
use crate::time::Timestamp;
use crate::token::Bindings;

impl RequestFlow<'_, '_> {
    /// Whether the principal's token grants what the rule and the route ask for, and each token can be told to the
    /// upstream as its provider requires. Breaks off where that is not so.
    pub(super) fn authorize(
        &mut self,
        rule: &Rule,
        plan: Option<&RulePlan>,
        accepted: &[Accepted],
    ) -> ControlFlow<Outcome> {
        let principal = accepted.first();
        if rule.authorize.is_some() || !self.route_scopes.is_empty() {
            let result = match principal {
                Some(principal) => self.grants(principal, rule).map_err(|rejected| {
                    let grants = &principal.provider.policy.grants;
                    let hint = grants.hint(rejected.reason, principal.token.claims().all());
                    (rejected.with_more(&hint), true)
                }),
                // There is no token; one that was rejected says why.
                None => Err((self.failed.take().unwrap_or(Reason::TokenMissing.into()), false)),
            };
            if let Err((rejected, verified)) = result {
                let provider = self.provider_to_name(principal.map(|principal| principal.provider.id), plan);
                self.allow.state.principal = principal.map(|principal| Rc::clone(&principal.token));
                let scope = self.challenge_scope(rule);
                let refusal = Refusal { provider, verified, scope, ..Refusal::new(rejected) };
                return ControlFlow::Break(self.build_refusal(refusal));
            }
        }
        let unwritable = accepted.iter().find_map(|one| Some((&one.provider, one.token.unwritable()?)));
        if let Some((provider, rejected)) = unwritable {
            let provider = Some(Rc::clone(provider));
            let scope = self.challenge_scope(rule);
            let refusal = Refusal { provider, verified: true, scope, ..Refusal::new(rejected.clone()) };
            return ControlFlow::Break(self.build_refusal(refusal));
        }
        ControlFlow::Continue(())
    }

    /// Whether a token grants what the rule and the route ask for.
    fn grants(&self, principal: &Accepted, rule: &Rule) -> Result<(), Rejected> {
        let Accepted { token, provider, .. } = principal;
        let claims = token.claims();
        if let Some(authorize) = &rule.authorize {
            let bound = Bound {
                view: &self.view,
                rules: &self.config.rules,
                rule,
                is_matched: self.is_matched,
                time: (self.now, provider.policy.clock_skew),
            };
            if authorize.depends_on_request() {
                authorize.check(claims, &bound)?;
            } else {
                token.outcome(rule.id, || authorize.check(claims, &bound))?;
            }
        }
        let missing = || self.route_scopes.iter().map(String::as_str).filter(|scope| !claims.grants(scope));
        if missing().next().is_none() {
            return Ok(());
        }
        let words = format!("scope {} is missing (asked for by the route)", excerpts(missing()));
        Err(Reason::ScopeInsufficient.explained(words))
    }

    /// The `scope` of a challenge: what the rule and the route ask for.
    pub(super) fn challenge_scope(&self, rule: &Rule) -> Option<String> {
        let of_rule = rule.authorize.as_ref().and_then(Authorize::challenge).unwrap_or_default();
        let mut all: Vec<&str> = Vec::new();
        for scope in of_rule.split(' ').chain(self.route_scopes.iter().map(String::as_str)) {
            if !scope.is_empty() && !all.contains(&scope) {
                all.push(scope);
            }
        }
        (!all.is_empty()).then(|| all.join(" "))
    }
}

/// What a request binds for the conditions of a rule.
struct Bound<'a, 'r> {
    view: &'a RequestView<'r>,
    rules: &'a Rules,
    rule: &'a Rule,
    /// Whether the rule matches the request; otherwise its route named it.
    is_matched: bool,
    /// The time, and by how much it may differ from that of the token's provider.
    time: (Timestamp, Duration),
}

impl Bindings for Bound<'_, '_> {
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        let fits = self.is_matched || self.rules.fits(self.rule, self.view);
        fits.then(|| self.rules.path_variable(self.rule, name, self.view)).flatten()
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        // Of two fields that a server takes for one, it is not known which it reads.
        let fields = self.view.request().fields().iter();
        let mut alike = fields.filter(|(own, _)| same_header(own, name.as_bytes()));
        let (own, value) = alike.next()?;
        let value = std::str::from_utf8(value).ok()?;
        let is_only = alike.next().is_none() && own.eq_ignore_ascii_case(name.as_bytes());
        is_only.then_some(Cow::Borrowed(value))
    }

    fn time(&self) -> Option<(Timestamp, Duration)> {
        Some(self.time)
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        let authority = self.view.authority().filter(|authority| !authority.ends_with_dot())?;
        Some(Cow::Borrowed(authority.host()))
    }

    fn peer(&self, name: PeerName) -> Option<Cow<'_, str>> {
        self.view.request().properties().peer_name(name).map(Cow::Owned)
    }
}
