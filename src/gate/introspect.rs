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
use crate::time::Timestamp;
use crate::token::{ProviderId, Verified};

impl RequestFlow<'_, '_> {
    /// What the provider says of an opaque token.
    pub(super) fn authenticate_opaque(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        text: &[u8],
    ) -> Result<Rc<CachedToken>, Obstacle> {
        check_shape(settings, text)?;
        if settings.form == AnswerForm::Jwt {
            // What verifies the answer comes first.
            self.keys_at_hand(provider)?;
        }
        // It was good, and is asked about anew.
        let is_known =
            self.gate.token_caches.get_mut(provider.id.0).is_some_and(|cache| cache.get(text).is_some());
        let Kept { until, what } = self.ask_provider(provider.id, text, is_known)?;
        let answer = match what {
            Known::Answered(answer) => answer,
            Known::Token(token) => return Ok(token),
            Known::Rejected(rejected) => return Err(rejected.into()),
            Known::Active => return Err(Reason::IntrospectionUnavailable.into()),
        };
        let made = answer.check_type().and_then(|()| self.token_of(provider, settings, &answer, until));
        let kept = match &made {
            Ok(token) => Known::Token(Rc::clone(token)),
            Err(rejected) => Known::Rejected(rejected.clone()),
        };
        self.keep(provider.id, text, Kept { until, what: kept });
        let token = made?;
        if let Some(cache) = self.gate.token_caches.get_mut(provider.id.0) {
            cache.insert(text, Rc::clone(&token));
        }
        Ok(token)
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
                let Kept { until, what } = self.ask_provider(provider.id, &text, true)?;
                let end = token.claims().expires.map(|expires| expires.max(now.plus(GRACE)));
                let until = end.map_or(until, |end| until.min(end));
                let what = match what {
                    Known::Answered(answer) => {
                        let what = self.judge_answer(provider, settings, (&token, &answer), until);
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
            Known::Token(answer) => Ok(answer),
            Known::Rejected(rejected) => Err(rejected.into()),
            Known::Active | Known::Answered(_) => Ok(token),
        }
    }

    /// What an answer makes of the JWT that it is about.
    fn judge_answer(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        (token, answer): (&CachedToken, &Answer),
        until: Timestamp,
    ) -> Known<Rc<CachedToken>> {
        let judged = answer.check_same(token.claims().all()).and_then(|()| {
            if !settings.is_for_every_token() {
                // What the provider binds is bound, whatever the token says of itself.
                let ignores_bound = !provider.policy.reject_bound && provider.constraint.is_none();
                let is_bound = (answer.is_dpop() || answer.members.contains("cnf")) && !token.is_bound();
                return if is_bound && !ignores_bound { Err(BOUND_BY_ANSWER) } else { Ok(Known::Active) };
            }
            answer.check_type()?;
            self.token_of(provider, settings, answer, until).map(Known::Token)
        });
        judged.unwrap_or_else(Known::Rejected)
    }

    /// What an answer says of the token that it is about, as of a token whose payload it is.
    fn token_of(
        &mut self,
        provider: &Provider,
        settings: &Introspection,
        answer: &Answer,
        until: Timestamp,
    ) -> Result<Rc<CachedToken>, Rejected> {
        let Answer { text, members, key } = answer;
        let policy = &settings.answer_policy;
        let token = Verified::of_answer(Arc::clone(text), members.clone(), *key, policy, self.now)?;
        let ignores_bound = !policy.reject_bound && provider.constraint.is_none();
        if !ignores_bound && answer.is_dpop() && !members.contains("cnf") {
            return Err(DPOP_WITHOUT_KEY);
        }
        let token = Rc::new(CachedToken::of_answer(token, provider, until));
        self.note_left_out(provider, &token);
        Ok(token)
    }

    /// What is known of a token; where nothing is, its provider is asked.
    fn ask_provider(
        &mut self,
        id: ProviderId,
        text: &[u8],
        is_the_providers: bool,
    ) -> Result<Kept<Rc<CachedToken>>, Obstacle> {
        let (now, may_wait) = (self.now, self.may_wait());
        let in_time = self.waited.is_none_or(|waited| now < waited.deadline);
        let Some(own) = self.gate.introspectors.get_mut(id.0).and_then(Option::as_mut) else {
            return Err(Reason::IntrospectionUnavailable.into());
        };
        let token = own.calls.digest(text);
        if let Some(kept) = own.known(token, now) {
            let kept = kept.clone();
            if self.waited.is_none() {
                self.gate.metrics.happened(id, Event::AnswerKnown);
            }
            return Ok(kept);
        }
        let unavailable = |words| Err(Obstacle::from(Reason::IntrospectionUnavailable.because(words)));
        if !in_time {
            return unavailable("no answer came in time");
        }
        match own.calls.ask(token, text, is_the_providers, now) {
            Asked::OnItsWay(lookup, request) => {
                if self.waited.is_none() {
                    self.gate.metrics.happened(id, Event::AnswerUnknown);
                }
                let request = request.map(|request| Effect::Fetch { lookup, request });
                self.gate.effects.extend(request);
                // A rule that only reports says what there is.
                if may_wait {
                    Err(Obstacle::Wait(lookup))
                } else {
                    unavailable("the provider is being asked")
                }
            }
            Asked::Paused => unavailable("the endpoint fails, and it is too early to ask again"),
            Asked::Full => {
                let words = format!("{MAX_QUEUED} tokens wait to be asked about");
                Err(Reason::Overloaded.explained(words).into())
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
