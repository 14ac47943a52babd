//! The step that asks for the tokens which a rule requires.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::build_outcome::Refusal;
use super::cached_token::CachedToken;
use super::few::Few;
use super::flow::RequestFlow;
use super::outcome::{Accepted, Outcome};
use super::plan::RulePlan;
use super::trace::{Check, StepName};
use super::unmet::{Obstacle, Unmet};
use super::waiting::{MAX_WAITING, Waited};
use super::{Effect, revocations::is_about_revocation};
use crate::config::Provider;
use crate::fetch::LookupId;
use crate::reason::{Reason, Rejected};
use crate::rules::{Demand, Requirement, Rule};
use crate::token::{Credential, Found, ProviderId, find, listed};

/// Whose tokens a part of a requirement looks at that names no provider.
#[derive(Clone, Copy)]
struct Candidates<'p> {
    /// The demands of the alternatives beside it, if they name any provider.
    siblings: Option<&'p [Demand<'p>]>,
    /// Every provider, with the audiences that the rule asks for where it names the provider.
    all: &'p [(ProviderId, Option<Vec<String>>)],
}

/// What came of the token of a provider.
type TokenResult = (ProviderId, Result<Rc<CachedToken>, Unmet>);

/// Where a token was found.
fn found_token(provider: &Provider, credential: &Credential<'_>) -> Check {
    let bytes = credential.token().len();
    Check::seen("token", format!("one of {bytes} bytes, in: {}", listed(&provider.locations)))
}

impl<'r> RequestFlow<'_, 'r> {
    /// Asks for the tokens that the rule requires, or its route in its place. Breaks off where there are none, or the
    /// request waits.
    pub(super) fn meet_requirement(
        &mut self,
        rule: &Rule,
        requires: Option<&Requirement>,
        plan: Option<&RulePlan>,
    ) -> ControlFlow<Outcome, Few<Accepted>> {
        if let Some(words) = plan.and_then(|plan| plan.ambiguity(self.request)) {
            return self.refuse(Reason::RequestAmbiguous.because(words));
        }
        let Some(requirement) = requires else { return ControlFlow::Continue(Few::default()) };
        self.remembers = !matches!(requirement, Requirement::Provider { .. }) || rule.stream_grace.is_some();
        let all = plan.map(|plan| &plan.all_demands[..]).unwrap_or_default();
        let met = self.meet(requirement, Candidates { siblings: None, all });
        for text in self.gate.revocations.take_notes() {
            self.gate.effects.push_back(Effect::Log(log::Level::Warn, text));
        }
        match met {
            Ok(accepted) => {
                if accepted.is_empty() {
                    self.note_failure();
                }
                ControlFlow::Continue(accepted)
            }
            Err(Unmet { provider, obstacle: Obstacle::Wait(lookup) }) => self.wait(lookup, provider, plan),
            Err(Unmet { provider, obstacle: Obstacle::Doubt(lookup, _) })
                if self.gate.waiting.has_room_for_doubt() =>
            {
                self.wait(lookup, provider, plan)
            }
            Err(Unmet { provider, obstacle: Obstacle::Reject(rejected) | Obstacle::Doubt(_, rejected) }) => {
                self.note_failure();
                self.refuse_token(rejected, provider, rule, plan)
            }
        }
    }

    /// Lets the request wait, unless too many wait already.
    fn wait<T>(
        &mut self,
        lookup: LookupId,
        provider: Option<ProviderId>,
        plan: Option<&RulePlan>,
    ) -> ControlFlow<Outcome, T> {
        let for_all = plan.map(|plan| plan.max_wait).unwrap_or_default();
        // The rule's own bound holds for what its route asks for, too.
        let own = self.rule.as_ref().and_then(|rule| rule.wait_timeout);
        let max_wait = own.map_or(for_all, |own| own.min(for_all));
        let waited = Waited {
            lookup,
            since: self.waited.map_or(self.now, |waited| waited.since),
            deadline: self.waited.map_or(self.now.plus(max_wait), |waited| waited.deadline),
        };
        if self.gate.waiting.add(self.stream, waited) {
            return ControlFlow::Break(Outcome::Wait);
        }
        let words = format!("{MAX_WAITING} requests wait already");
        let provider = self.provider_to_name(provider, plan);
        let refusal = Refusal { provider, ..Refusal::new(Reason::Overloaded.explained(words)) };
        ControlFlow::Break(self.build_refusal(refusal))
    }

    fn refuse_token<T>(
        &mut self,
        rejected: Rejected,
        provider: Option<ProviderId>,
        rule: &Rule,
        plan: Option<&RulePlan>,
    ) -> ControlFlow<Outcome, T> {
        // Revocation is looked up for verified tokens alone.
        let verified = is_about_revocation(rejected.reason);
        let retry_after = match rejected.reason {
            Reason::TooManyFailures => self.blocked_for,
            _ if verified => self.gate.revocations.retry_after(self.now),
            Reason::IntrospectionUnavailable | Reason::Overloaded => {
                let token = provider.and_then(|id| self.credential(id)).map(|credential| credential.token());
                provider.and_then(|id| self.gate.introspection_retry_after(id, token.as_deref(), self.now))
            }
            _ => provider.and_then(|id| self.gate.retry_after(id, self.now)),
        };
        let scope = self.challenge_scope(rule);
        let provider = self.provider_to_name(provider, plan);
        // Where what a token is bound to is to be shown, it is looked at once the signature holds.
        let enforces = provider.as_ref().is_some_and(|provider| provider.constraint.is_some());
        let verified = verified || (enforces && rejected.reason == Reason::TokenBound);
        let refusal = Refusal { provider, verified, scope, retry_after, ..Refusal::new(rejected) };
        ControlFlow::Break(self.build_refusal(refusal))
    }

    /// Judges what a requirement asks for.
    fn meet(
        &mut self,
        requirement: &Requirement,
        candidates: Candidates<'_>,
    ) -> Result<Few<Accepted>, Unmet> {
        match requirement {
            Requirement::Provider { provider, audiences } => {
                let token = self.check_token(*provider, audiences.as_deref())?;
                Ok(Few::one(self.accept(*provider, token, true)?))
            }
            Requirement::All(parts) => {
                let mut accepted: Few<Accepted> = Few::default();
                for part in parts {
                    for one in Vec::from(self.meet(part, candidates)?) {
                        match accepted.iter_mut().find(|known| known.provider.id == one.provider.id) {
                            Some(known) => known.is_identity |= one.is_identity,
                            None => accepted.push(one),
                        }
                    }
                }
                Ok(accepted)
            }
            Requirement::Any(parts) => self.meet_any(parts, candidates),
            Requirement::AllowMissing => self.valid_or_missing(candidates),
            Requirement::AllowMissingOrFailed => {
                let mut accepted = Few::default();
                for (provider, result) in self.check_tokens(candidates)? {
                    if let Ok(token) = result {
                        accepted.push(self.accept(provider, token, accepted.is_empty())?);
                    }
                }
                Ok(accepted)
            }
        }
    }

    fn accept(&self, id: ProviderId, token: Rc<CachedToken>, is_identity: bool) -> Result<Accepted, Unmet> {
        let provider = self.config.provider(id).ok_or_else(Unmet::nothing_asked)?;
        Ok(Accepted { provider: Rc::clone(provider), token, is_identity })
    }

    fn meet_any(
        &mut self,
        parts: &[Requirement],
        candidates: Candidates<'_>,
    ) -> Result<Few<Accepted>, Unmet> {
        let is_lenient = |part: &&Requirement| {
            matches!(part, Requirement::AllowMissing | Requirement::AllowMissingOrFailed)
        };
        // A token that an alternative rejected is not accepted by a part that asks for less.
        let mut demands = Vec::new();
        parts.iter().for_each(|part| part.collect_demands(&mut demands));
        for demand in candidates.siblings.unwrap_or_default() {
            if !demands.contains(demand) {
                demands.push(*demand);
            }
        }
        let candidates = Candidates { siblings: (!demands.is_empty()).then_some(&demands[..]), ..candidates };
        let mut worst: Option<Unmet> = None;
        let strict = parts.iter().filter(|part| !is_lenient(part));
        for part in strict.chain(parts.iter().filter(is_lenient)) {
            match self.meet(part, candidates) {
                Ok(accepted) => return Ok(accepted),
                // The first may still be met, and then it is the one that counts.
                Err(unmet) if unmet.is_wait() => return Err(unmet),
                Err(unmet) if worst.as_ref().is_none_or(|worst| unmet.weight() > worst.weight()) => {
                    worst = Some(unmet);
                }
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or_else(Unmet::nothing_asked))
    }

    /// Every token that is there must be valid for one of the providers; there may be none. More than one was not asked
    /// for, so that the first alone is the identity.
    fn valid_or_missing(&mut self, candidates: Candidates<'_>) -> Result<Few<Accepted>, Unmet> {
        let mut accepted: Few<Accepted> = Few::default();
        let mut failed: Vec<Unmet> = Vec::new();
        for (provider, result) in self.check_tokens(candidates)? {
            match result {
                Ok(token) => accepted.push(self.accept(provider, token, accepted.is_empty())?),
                Err(unmet) if unmet.is_missing() => {}
                Err(unmet) => failed.push(unmet),
            }
        }
        // The token that one provider does not know may be another's, in the same place.
        let valid: Vec<&[u8]> =
            accepted.iter().filter_map(|one| Some(self.credential(one.provider.id)?.text)).collect();
        let credential = |unmet: &Unmet| self.credential(unmet.provider?);
        failed.retain(|unmet| credential(unmet).is_none_or(|other| !valid.contains(&other.text)));
        match failed.into_iter().reduce(|one, other| if other.weight() > one.weight() { other } else { one })
        {
            Some(unmet) => Err(unmet),
            None => Ok(accepted),
        }
    }

    /// What comes of the tokens of all candidates, each by whichever of its demands it meets. A token that must be
    /// waited for ends it.
    fn check_tokens(&mut self, candidates: Candidates<'_>) -> Result<Vec<TokenResult>, Unmet> {
        let every = candidates.all.iter().map(|(id, audiences)| (*id, audiences.as_deref()));
        let demands: Vec<Demand<'_>> = candidates.siblings.map_or_else(|| every.collect(), <[_]>::to_vec);
        let mut all: Vec<TokenResult> = Vec::new();
        for (id, audiences) in demands {
            let known = all.iter().position(|(known, _)| *known == id);
            let before = known.and_then(|at| all.get_mut(at));
            if before.as_ref().is_some_and(|(_, result)| result.is_ok()) {
                continue;
            }
            let result = self.check_token(id, audiences);
            match (before, result) {
                (_, Err(unmet)) if unmet.is_wait() => return Err(unmet),
                (Some((_, failed)), Ok(token)) => *failed = Ok(token),
                (Some(_), Err(_)) => {}
                (None, result) => all.push((id, result)),
            }
        }
        Ok(all)
    }

    /// Takes the five steps of a provider's token, those that were not taken before.
    fn check_token(
        &mut self,
        id: ProviderId,
        audiences: Option<&[String]>,
    ) -> Result<Rc<CachedToken>, Unmet> {
        let result = self.token_steps(id, audiences);
        let rejected = result.as_ref().err().and_then(Obstacle::rejected);
        self.tell_failure(id, rejected.map(|rejected| rejected.reason));
        if let Err(obstacle) = &result {
            self.note_obstacle(obstacle);
        }
        result.map_err(|obstacle| Unmet { provider: Some(id), obstacle })
    }

    /// Other filters get the reason why a provider's token is not accepted, whatever becomes of the request.
    #[cfg(feature = "native")]
    fn tell_failure(&mut self, id: ProviderId, reason: Option<Reason>) {
        let failures = &mut self.allow.state.failures;
        if reason.is_none() && failures.is_empty() {
            return;
        }
        failures.retain(|(known, _)| known.id != id);
        let tells =
            |own: &&Rc<Provider>| own.metadata.as_ref().is_some_and(|own| own.failed_status.is_some());
        if let (Some(reason), Some(provider)) = (reason, self.config.provider(id).filter(tells)) {
            failures.push((Rc::clone(provider), reason));
        }
    }

    /// In the virtual machine no metadata can be written.
    #[cfg(not(feature = "native"))]
    fn tell_failure(&self, _: ProviderId, _: Option<Reason>) {}

    /// Takes note of what keeps a provider's token from being accepted.
    fn note_obstacle(&mut self, obstacle: &Obstacle) {
        let Some(rejected) = obstacle.rejected() else { return self.gate.trace.waits() };
        self.gate.trace.failed(rejected);
        if rejected.reason != Reason::TokenMissing {
            self.note_rejected(rejected.reason);
            self.failed.get_or_insert_with(|| rejected.clone());
        }
    }

    fn token_steps(
        &mut self,
        id: ProviderId,
        audiences: Option<&[String]>,
    ) -> Result<Rc<CachedToken>, Obstacle> {
        let provider = self.config.provider(id).ok_or(Reason::TokenMissing)?;
        let resource = self.resource.clone();
        let audiences = audiences.or_else(|| resource.as_deref()?.audiences.as_deref());
        let known = self.results.iter().find(|(own, _)| *own == id).map(|(_, result)| result.clone());
        let token = match known {
            Some(result) => result?,
            None => {
                self.gate.trace.begin(StepName::FindToken, Some(provider));
                let found = self.find_token(provider);
                let result = found.map_err(Obstacle::from).and_then(|credential| {
                    self.gate.trace.saw(|| [found_token(provider, &credential)]);
                    self.gate.trace.begin(StepName::Authenticate, Some(provider));
                    let token = self.authenticate(provider, &credential.token(), audiences)?;
                    // What an answer will say of the key counts, where the token itself names none.
                    let is_open =
                        provider.leaves_claims_to_answers() && !token.is_answer() && !token.is_bound();
                    if !is_open {
                        self.gate.trace.begin(StepName::CheckProof, Some(provider));
                        self.check_proof(provider, &credential, &token)?;
                    }
                    Ok(token)
                });
                // It may still have another audience of the rule.
                let may_still_fit =
                    result.as_ref().is_err_and(|obstacle| obstacle.is(Reason::AudienceMismatch));
                if self.remembers && !may_still_fit {
                    self.results.push((id, result.clone()));
                }
                result?
            }
        };
        // Last, so that nothing is fetched for a token that fails in any case.
        let checked = self.lookups(provider, token, audiences);
        if let Err(obstacle) = &checked
            && !obstacle.is(Reason::AudienceMismatch)
        {
            self.results.retain(|(own, _)| *own != id);
            self.results.push((id, Err(obstacle.clone())));
        }
        checked
    }

    /// What may have to be fetched for a token that is otherwise good: revocation lists, and what its provider says of it.
    fn lookups(
        &mut self,
        provider: &Provider,
        token: Rc<CachedToken>,
        audiences: Option<&[String]>,
    ) -> Result<Rc<CachedToken>, Obstacle> {
        let is_answered = provider.leaves_claims_to_answers() && !token.is_answer();
        if !is_answered {
            token.check_audience(provider, audiences)?;
        }
        self.gate.trace.begin(StepName::CheckRevocation, Some(provider));
        self.check_revocation(provider.id, &token)?;
        let names_key = token.is_bound();
        self.gate.trace.begin(StepName::Introspect, Some(provider));
        let token = self.introspect(provider, token)?;
        if is_answered {
            if token.is_bound() || !names_key {
                let credential = self.credential(provider.id).ok_or(Reason::TokenMissing)?;
                self.gate.trace.begin(StepName::CheckProof, Some(provider));
                self.check_proof(provider, &credential, &token)?;
            }
            token.check_audience(provider, audiences)?;
            self.check_revocation(provider.id, &token)?;
        }
        Ok(token)
    }

    /// The credential of a provider, if there is just one.
    pub(super) fn credential(&self, id: ProviderId) -> Option<Credential<'r>> {
        match find(&self.config.provider(id)?.locations, self.request) {
            Found::One(credential) => Some(credential),
            Found::Nothing | Found::Malformed | Found::Several => None,
        }
    }
}
