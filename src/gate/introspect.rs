//! The step that asks the provider about a token (RFC 7662): about an opaque one in place of its signature, about a JWT on
//! top of everything that can be judged without a call.

use std::rc::Rc;
use std::sync::Arc;

use super::Effect;
use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use super::known::{Kept, Known};
use super::unmet::Obstacle;
use crate::config::{Keys, Provider};
use crate::introspection::{
    Answer, AnswerForm, Asked, GRACE, Introspection, MAX_QUEUED, check_shape, is_signed,
};
use crate::metrics::Event;
use crate::reason::{Reason, Rejected};
use crate::token::{ProviderId, Unverified, Verified};

impl RequestFlow<'_, '_> {
    /// What the provider says of an opaque token.
    pub(super) fn authenticate_opaque(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        text: &[u8],
    ) -> Result<Rc<CachedToken>, Obstacle> {
        let (answer, until) = match self.known_answer(provider.id, text) {
            Some(Kept { what: Known::Token(token), .. }) => {
                token.check_time(&settings.answer_policy, self.now)?;
                return Ok(token);
            }
            Some(Kept { what: Known::Answered(answer), until }) => (answer, until),
            Some(Kept { what: Known::Rejected(rejected), .. }) => {
                self.check_failures()?;
                return Err(rejected.into());
            }
            None | Some(Kept { what: Known::Active, .. }) => {
                return Err(self.ask_opaque(provider, settings, text));
            }
        };
        let made = answer.check_type().and_then(|()| self.token_of(provider, settings, &answer));
        let what = match &made {
            Ok(token) => Known::Token(Rc::clone(token)),
            Err(rejected) => Known::Rejected(rejected.clone()),
        };
        self.keep(provider.id, text, Kept { until, what });
        Ok(made?)
    }

    /// Asks about an opaque token of which nothing is known, unless it is to be refused without that.
    #[cold]
    fn ask_opaque(&mut self, provider: &Provider, settings: &Introspection, text: &[u8]) -> Obstacle {
        // What was good when it was last asked about is not held up for what others behind the same address send.
        if !self.was_good(provider.id, text)
            && let Err(rejected) = self.check_failures()
        {
            return rejected.into();
        }
        if let Err(rejected) = check_shape(settings, text) {
            return rejected.into();
        }
        if self.is_of_another(provider.id, text) {
            return OF_ANOTHER.into();
        }
        // What verifies the answer comes first.
        if settings.form == AnswerForm::Jwt
            && let Err(obstacle) = self.keys_at_hand(provider)
        {
            return obstacle;
        }
        self.ask_provider(provider.id, text, false)
    }

    /// What the provider says of a JWT that was verified, where it is to be asked: the token that counts from here on.
    pub(super) fn introspect(
        &mut self,
        provider: &Provider,
        token: Rc<CachedToken>,
    ) -> Result<Rc<CachedToken>, Obstacle> {
        let Some(settings) = &provider.introspection else { return Ok(token) };
        let says_so = self.rule.as_ref().is_some_and(|rule| rule.introspect);
        if token.is_answer() || !provider.introspects(says_so) {
            return Ok(token);
        }
        let now = self.now;
        let kept = match token.introspected(|until| settings.counts(until, now)) {
            Some(kept) => {
                self.gate.metrics.happened(provider.id, Event::AnswerKnown);
                kept
            }
            None => {
                let credential = self.credential(provider.id).ok_or(Reason::TokenMissing)?;
                let text = credential.token();
                let Some(Kept { until, what }) = self.known_answer(provider.id, &text) else {
                    return Err(self.ask_provider(provider.id, &text, true));
                };
                let end = token.claims().expires.map(|expires| expires.max(now.plus(GRACE)));
                let until = end.map_or(until, |end| until.min(end));
                let what = match what {
                    Known::Answered(answer) => {
                        let what = self.judge_answer(provider, settings, &token, &answer);
                        self.keep(provider.id, &text, Kept { until, what: what.clone() });
                        what
                    }
                    other => other,
                };
                let kept = Kept { until, what };
                token.remember_introspection(kept.clone());
                kept
            }
        };
        match kept.what {
            Known::Token(answer) => {
                answer.check_time(&settings.answer_policy, now)?;
                Ok(answer)
            }
            Known::Rejected(rejected) => Err(rejected.into()),
            Known::Active | Known::Answered(_) => Ok(token),
        }
    }

    /// What an answer makes of the JWT that it is about.
    fn judge_answer(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        token: &CachedToken,
        answer: &Answer,
    ) -> Known<Rc<CachedToken>> {
        let judged = answer.check_same(token.claims().all()).and_then(|()| {
            if !settings.is_for_every_token() {
                // What the provider binds is bound, whatever the token says of itself.
                let ignores_bound = !provider.policy.reject_bound && provider.constraint.is_none();
                let is_bound = (answer.is_dpop() || answer.members.contains("cnf")) && !token.is_bound();
                return if is_bound && !ignores_bound { Err(BOUND_BY_ANSWER) } else { Ok(Known::Active) };
            }
            answer.check_type()?;
            self.token_of(provider, settings, answer).map(Known::Token)
        });
        judged.unwrap_or_else(Known::Rejected)
    }

    /// What an answer says of the token that it is about, as of a token whose payload it is.
    fn token_of(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        answer: &Answer,
    ) -> Result<Rc<CachedToken>, Rejected> {
        let Answer { text, members, key } = answer;
        let policy = &settings.answer_policy;
        let token = Verified::of_answer(Arc::clone(text), members.clone(), *key, policy, self.now)?;
        let ignores_bound = !policy.reject_bound && provider.constraint.is_none();
        if !ignores_bound && answer.is_dpop() && !members.contains("cnf") {
            return Err(DPOP_WITHOUT_KEY);
        }
        let token = Rc::new(CachedToken::of_answer(token, provider));
        self.note_left_out(provider, &token);
        Ok(token)
    }

    /// Whether a text is a JWT of another provider that this request may come with, by the issuer that it names: it is for no
    /// eyes but that provider's.
    fn is_of_another(&self, id: ProviderId, text: &[u8]) -> bool {
        let plan = self.asks.and_then(|asks| self.gate.plans.get(asks.0));
        let others = plan.map(|plan| &plan.providers[..]).unwrap_or_default();
        let others =
            others.iter().filter(|other| **other != id).filter_map(|other| self.config.provider(*other));
        let is_theirs = |other: &Rc<Provider>| {
            let reason = match Unverified::parse(text, &other.policy) {
                Ok(token) => other.policy.check(&token, &[], self.now).err().map(|rejected| rejected.reason),
                Err(_) => return false,
            };
            // These come before the issuer is looked at.
            let is_early = |reason| matches!(reason, Reason::AlgorithmNotAllowed | Reason::TypeNotAllowed);
            !reason.is_some_and(|reason| reason == Reason::IssuerUnknown || is_early(reason))
        };
        others
            .filter(|other| {
                other.asks_in_place_of_a_signature(text).is_none() && !other.policy.issuers.is_empty()
            })
            .any(is_theirs)
    }

    /// What is known of a token.
    fn known_answer(&mut self, id: ProviderId, text: &[u8]) -> Option<Kept<Rc<CachedToken>>> {
        let own = self.gate.introspectors.get_mut(id.0)?.as_mut()?;
        let kept = own.known(own.calls.digest(text), self.now)?.clone();
        if self.waited.is_none() {
            self.gate.metrics.happened(id, Event::AnswerKnown);
        }
        Some(kept)
    }

    fn was_good(&self, id: ProviderId, text: &[u8]) -> bool {
        let own = self.gate.introspectors.get(id.0).and_then(Option::as_ref);
        own.is_some_and(|own| own.was_good(own.calls.digest(text)))
    }

    /// Asks the provider about a token of which nothing is known. What keeps the request from being judged until then.
    #[cold]
    fn ask_provider(&mut self, id: ProviderId, text: &[u8], is_the_providers: bool) -> Obstacle {
        let (now, may_wait) = (self.now, self.may_wait());
        let in_time = self.waited.is_none_or(|waited| now < waited.deadline);
        let Some(own) = self.gate.introspectors.get_mut(id.0).and_then(Option::as_mut) else {
            return Reason::IntrospectionUnavailable.into();
        };
        let unavailable = |words| Obstacle::from(Reason::IntrospectionUnavailable.because(words));
        if !in_time {
            return unavailable("no answer came in time");
        }
        let token = own.calls.digest(text);
        let is_the_providers = is_the_providers || own.was_good(token);
        match own.calls.ask(token, text, is_the_providers, now) {
            Asked::OnItsWay(lookup, request) => {
                if self.waited.is_none() {
                    self.gate.metrics.happened(id, Event::AnswerUnknown);
                }
                let request = request.map(|request| Effect::Fetch { lookup, request });
                self.gate.effects.extend(request);
                // A rule that only reports says what there is.
                if may_wait { Obstacle::Wait(lookup) } else { unavailable("the provider is being asked") }
            }
            Asked::Paused => unavailable("the endpoint fails, and it is too early to ask again"),
            Asked::Full => {
                Reason::Overloaded.explained(format!("{MAX_QUEUED} tokens wait to be asked about")).into()
            }
        }
    }

    fn keep(&mut self, id: ProviderId, text: &[u8], kept: Kept<Rc<CachedToken>>) {
        if let Some(own) = self.gate.introspectors.get_mut(id.0).and_then(Option::as_mut) {
            let token = own.calls.digest(text);
            own.keep(token, kept);
        }
    }
}

/// The rejection of a token that is another provider's.
const OF_ANOTHER: Rejected = Reason::IssuerUnknown
    .because("it is a JWT of another provider of the rule, and nobody but that one is asked about it");

/// The rejection of a token that is bound by what its answer calls it, to a key that it does not name.
const DPOP_WITHOUT_KEY: Rejected =
    Reason::TokenBound.because("token_type of the introspection answer is DPoP, and it has no \"cnf\"");

/// The rejection of a JWT that its answer binds, where the claims of the JWT count.
const BOUND_BY_ANSWER: Rejected =
    Reason::TokenBound.because("the introspection answer has \"cnf\", and the token has none");

impl Provider {
    /// Whether its tokens are asked about, under a rule that does or does not say so.
    pub(super) fn introspects(&self, rule_says_so: bool) -> bool {
        let settings = self.introspection.as_ref();
        settings.is_some_and(|settings| rule_says_so || settings.is_for_every_token())
    }

    /// How this text is asked about in place of a signature, if it is: it is an opaque token of this provider's.
    pub(super) fn asks_in_place_of_a_signature(&self, token: &[u8]) -> Option<&Rc<Introspection>> {
        let settings = self.introspection.as_ref()?;
        let is_opaque = match self.keys {
            // May be anything: some servers give encrypted JWTs that only they read.
            Keys::None => true,
            Keys::Local(_) | Keys::Remote(_) => settings.form == AnswerForm::Jwt && !is_signed(token),
        };
        is_opaque.then_some(settings)
    }

    /// Whether the answer about a JWT says what it is good for, and the JWT itself only whose it is and for how long.
    pub(super) fn leaves_claims_to_answers(&self) -> bool {
        self.introspection.as_ref().is_some_and(|settings| settings.is_for_every_token())
    }
}
