//! What introspection found of tokens, kept for as long as it counts; and what follows from the end of a call.

use std::hash::BuildHasherDefault;
use std::rc::Rc;

use lru::LruCache;

use super::background::{KeySource, keys_of};
use super::cached_token::CachedToken;
use super::known::{Kept, Known};
use super::{Effect, Gate};
use crate::config::Config;
use crate::fetch::{FetchError, HttpResponse, LookupId, LookupIds};
use crate::introspection::{
    AnswerForm, CallUpdate, Calls, DigestHasher, Ended, Finding, GRACE, TokenDigest, Verifier,
};
use crate::keys::KeySet;
use crate::metrics::{Event, Sample};
use crate::reason::Reason;
use crate::time::{Limiter, Timestamp, seconds_up};
use crate::token::ProviderId;

/// The introspection of one provider in one worker.
#[derive(Debug)]
pub(super) struct Introspector {
    pub(super) calls: Calls,
    /// What is known of tokens that are good.
    good: KnownTokens,
    /// What is known of all others, apart: anybody can make them up.
    others: KnownTokens,
    notes: Limiter,
}

/// What is known of tokens. Those that are refused are known by their digests alone.
type KnownTokens = LruCache<TokenDigest, Kept<Rc<CachedToken>>, BuildHasherDefault<DigestHasher>>;

/// What to do where the endpoint refuses the gate.
const MEND: &str = ": tokens that are not known get 503 until \"client_id\", \"client_secret\" and \"auth_method\" are those of a client that may introspect";

/// The introspection of the providers, by provider.
pub(super) fn all(config: &Config, lookups: &LookupIds, random: u64) -> Vec<Option<Introspector>> {
    let introspectors = config.providers.iter().zip(0u64..).map(|(provider, at)| {
        let settings = Rc::clone(provider.introspection.as_ref()?);
        let size = settings.size;
        let calls = Calls::new(settings, lookups.clone(), random.rotate_left(17).wrapping_add(at));
        let size = std::num::NonZeroUsize::new(size)?;
        // Made without a bound: with one it would set aside room for all of its entries at once.
        let known = || {
            let mut known = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
            known.resize(size);
            known
        };
        Some(Introspector { calls, good: known(), others: known(), notes: Limiter::new(1) })
    });
    introspectors.collect()
}

impl Introspector {
    /// What is known of a token at this moment.
    pub(super) fn known(&mut self, token: TokenDigest, now: Timestamp) -> Option<&Kept<Rc<CachedToken>>> {
        let settings = self.calls.settings();
        let known = self.good.get(&token).or_else(|| self.others.get(&token));
        known.filter(|kept| settings.counts(kept.until, now))
    }

    /// Whether a token was good when its provider was last asked.
    pub(super) fn was_good(&self, token: TokenDigest) -> bool {
        self.good.contains(&token)
    }

    /// Forgets what was learnt by answers that were signed with a key that is not in this set.
    pub(super) fn keep_keys(&mut self, set: &KeySet) {
        let is_gone = |kept: &Kept<Rc<CachedToken>>| match &kept.what {
            Known::Answered(answer) => !set.contains(&answer.key),
            Known::Token(token) => !set.contains(token.key()),
            Known::Active | Known::Rejected(_) => false,
        };
        if self.calls.settings().form == AnswerForm::Jwt {
            let gone = self.good.iter().filter(|(_, kept)| is_gone(kept));
            for token in gone.map(|(token, _)| *token).collect::<Vec<_>>() {
                self.good.pop(&token);
            }
        }
    }

    /// Keeps what is known of a token.
    pub(super) fn keep(&mut self, token: TokenDigest, kept: Kept<Rc<CachedToken>>) {
        let (place, other) = match kept.what {
            Known::Rejected(_) => (&mut self.others, &mut self.good),
            Known::Answered(_) | Known::Active | Known::Token(_) => (&mut self.good, &mut self.others),
        };
        other.pop(&token);
        place.put(token, kept);
    }

    /// What a call about a token found, and until when it counts.
    fn take(&self, ended: &mut Ended, now: Timestamp) -> Option<Kept<Rc<CachedToken>>> {
        let settings = self.calls.settings();
        let otherwise = ended.sent.plus(settings.inactive);
        let cannot_be_had =
            |why: &str| Known::Rejected(Reason::IntrospectionUnavailable.explained(why.to_owned()));
        let (until, what) = match &mut ended.finding {
            Finding::Active(answer) => {
                let until = ended.sent.plus(settings.active);
                let until = answer.expires().map_or(until, |expires| until.min(expires));
                (until, Known::Answered(Rc::new(answer.clone())))
            }
            Finding::Inactive(rejected) => (otherwise, Known::Rejected(rejected.clone())),
            Finding::Unclear { why, .. } => (otherwise, cannot_be_had(why)),
            // A key that is missing may be there with the next look.
            Finding::Unverified { kid: Some(_), why } => (now, cannot_be_had(why)),
            Finding::Unverified { kid: None, why } => (otherwise, cannot_be_had(why)),
            Finding::Failed(_) => return None,
        };
        // Whoever waited for it is judged by it.
        Some(Kept { until: until.max(now.plus(GRACE)), what })
    }

    /// What the log says of the end of a call.
    fn note(&mut self, ended: &Ended, now: Timestamp) -> Option<(log::Level, String)> {
        let wait = self.calls.retry_in(now);
        match &ended.finding {
            Finding::Active(_) | Finding::Inactive(_) => None,
            Finding::Unclear { why, refuses_us: true } => {
                let more = self.notes.room(now)?;
                Some((log::Level::Error, format!("the endpoint refuses this gate ({why}){MEND}{more}")))
            }
            Finding::Unclear { why, .. } => {
                let more = self.notes.room(now)?;
                Some((log::Level::Warn, format!("cannot say whether a token is active: {why}{more}")))
            }
            Finding::Unverified { why, .. } => {
                let more = self.notes.room(now)?;
                Some((log::Level::Warn, format!("cannot say whether a token is active: {why}{more}")))
            }
            Finding::Failed(_) if !ended.is_news => None,
            Finding::Failed(error @ FetchError::Status(401 | 403)) => Some((
                log::Level::Error,
                format!("the endpoint refuses this gate ({error}){MEND}; next try in {wait} s"),
            )),
            Finding::Failed(error) => Some((
                log::Level::Warn,
                format!("{error}; tokens that are not known get 503, next try in {wait} s"),
            )),
        }
    }
}

impl Gate {
    /// Whether an introspector has this call, and which provider's it is.
    pub(super) fn introspected_by(&self, lookup: LookupId) -> Option<ProviderId> {
        let has = |own: &Option<Introspector>| own.as_ref().is_some_and(|own| own.calls.has(lookup));
        self.introspectors.iter().position(has).map(ProviderId)
    }

    /// A call of a provider's introspection ended, well or not.
    pub(super) fn introspected(
        &mut self,
        id: ProviderId,
        lookup: LookupId,
        response: Result<HttpResponse, FetchError>,
        now: Timestamp,
    ) {
        let Some(own) = self.introspectors.get_mut(id.0).and_then(Option::as_mut) else { return };
        let Some(provider) = self.config.provider(id) else { return };
        let keys = keys_of(provider, &self.sources, now).map(|keys| &**keys);
        let verifier = Verifier { keys, backend: &self.backend };
        let CallUpdate { ended, released, requests } = own.calls.fetched(lookup, response, verifier, now);
        let Some(mut ended) = ended else { return };
        if let Some(kept) = own.take(&mut ended, now) {
            own.keep(ended.token, kept);
        }
        if let Some((level, text)) = own.note(&ended, now) {
            let text = format!("introspection of provider {:?}: {text}", provider.name);
            self.effects.push_back(Effect::Log(level, text));
        }
        self.metrics.happened(id, event(&ended.finding));
        if let Finding::Unverified { kid, .. } = ended.finding {
            look_for_key(self.sources.get_mut(id.0).and_then(Option::as_mut), kid, &*self.store, now);
        }
        let requests = requests.into_iter();
        self.effects.extend(requests.map(|(lookup, request)| Effect::Fetch { lookup, request }));
        for lookup in released.into_iter().chain([ended.lookup]) {
            let woken = self.waiting.released(lookup);
            self.wake(woken);
        }
    }

    /// Gives up the calls whose answers are lost.
    pub(super) fn introspection_tick(&mut self, now: Timestamp) {
        for id in (0..self.introspectors.len()).map(ProviderId) {
            let own = self.introspectors.get(id.0).and_then(Option::as_ref);
            for lookup in own.map(|own| own.calls.lost(now)).unwrap_or_default() {
                self.introspected(id, lookup, Err(FetchError::NoAnswer), now);
            }
        }
    }

    /// In how many seconds a request may be tried again of whose token nothing is known.
    pub(super) fn introspection_retry_after(
        &mut self,
        id: ProviderId,
        token: Option<&[u8]>,
        now: Timestamp,
    ) -> Option<u64> {
        let own = self.introspectors.get_mut(id.0)?.as_mut()?;
        let kept = token.and_then(|token| own.known(own.calls.digest(token), now));
        let wait = kept.map(|kept| kept.until.since(now)).unwrap_or_default();
        Some(seconds_up(wait).max(own.calls.retry_in(now)))
    }

    /// When the first call is to be given up.
    pub(super) fn introspection_wake_at(&self) -> Option<Timestamp> {
        self.introspectors.iter().flatten().filter_map(|own| own.calls.wake_at()).min()
    }

    /// How calls to introspection endpoints are, which each gate makes by itself.
    pub fn call_gauges(&self, now: Timestamp) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.introspection_gauges(now, &mut samples);
        samples
    }

    pub(super) fn introspection_gauges(&self, now: Timestamp, samples: &mut Vec<Sample>) {
        for (at, own) in self.introspectors.iter().enumerate() {
            let (id, Some(own)) = (ProviderId(at), own) else { continue };
            let in_flight = u64::try_from(own.calls.in_flight()).unwrap_or(u64::MAX);
            samples.push(self.metrics.gauge(id, "introspection_in_flight", in_flight));
            let Some(last) = own.calls.answered_at() else { continue };
            samples.push(self.metrics.gauge(id, "introspection_last_success_seconds", last.as_secs()));
            samples.push(self.metrics.gauge(id, "introspection_age_seconds", now.since(last).as_secs()));
        }
    }
}

fn event(finding: &Finding) -> Event {
    match finding {
        Finding::Active(_) => Event::AnsweredActive,
        Finding::Inactive(_) => Event::AnsweredInactive,
        Finding::Unclear { refuses_us: true, .. } | Finding::Failed(FetchError::Status(401 | 403)) => {
            Event::IntrospectionRefused
        }
        Finding::Unclear { .. } | Finding::Unverified { .. } => Event::AnswerUnclear,
        Finding::Failed(_) => Event::IntrospectionFailed,
    }
}

/// An answer under a key that is not known is a reason to look for the key, like a token.
fn look_for_key(
    own: Option<&mut KeySource>,
    kid: Option<String>,
    store: &dyn crate::fetch::Store,
    now: Timestamp,
) {
    let Some(own) = own else { return };
    match kid {
        Some(kid) => {
            own.source.unknown_kid(store, &kid, true, now);
        }
        None => {
            own.source.signature_failed(store, now, now);
        }
    }
}
