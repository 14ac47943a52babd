//! The step that verifies a token: by the cache, or by its signature and claims.

use std::rc::Rc;
use std::sync::Arc;

use super::Effect;
use super::background::KeySource;
use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use super::trace::Check;
use super::unmet::Obstacle;
use crate::config::{Keys, Provider};
use crate::keys::{KeySet, UnknownKid};
use crate::metrics::Event;
use crate::reason::{Reason, Rejected, excerpt};
use crate::time::Timestamp;
use crate::token::{Header, Jws, Policy, Unverified};

impl RequestFlow<'_, '_> {
    /// Verifies a provider's token. `audiences` are those of the rule, where it has its own; a token from the cache
    /// may be for others.
    pub(super) fn authenticate(
        &mut self,
        provider: &Provider,
        text: &[u8],
        audiences: Option<&[String]>,
    ) -> Result<Rc<CachedToken>, Obstacle> {
        if let Some(settings) = provider.asks_in_place_of_a_signature(text) {
            return self.authenticate_opaque(provider, settings, text);
        }
        if let Some(known) = self.cached(provider, text)? {
            self.gate.trace.saw(|| [Check::seen("cache", "verified before")]);
            return Ok(known);
        }
        self.check_failures()?;
        let (id, policy) = (provider.id, provider.token_policy());
        let jws = Jws::parse(text)?;
        // Before its claims are looked at, for that costs more.
        policy.check_header(jws.header())?;
        self.gate.trace.saw(|| header_checks(jws.header()));
        let token = Unverified::read(jws, policy)?;
        let audiences = match provider.leaves_claims_to_answers() {
            true => &[],
            false => audiences.unwrap_or(&policy.audiences),
        };
        self.gate.trace.saw(|| claim_checks(policy, &token, audiences, self.now));
        policy.check(&token, audiences, self.now)?;
        let (keys, lacks_kid) = self.keys_for(provider, &token)?;
        let header = token.shared_header();
        let candidates = keys.candidates(header.kid.as_deref(), header.algorithm);
        self.gate.trace.saw(|| [key_check(&keys, &header)]);
        self.gate.brakes.verify(self.now).map_err(overloaded)?;
        let metrics = &self.gate.metrics;
        metrics.happened(id, Event::CacheMiss);
        let stopwatch = self.gate.stopwatch;
        let began = metrics.wants_time().then(stopwatch);
        let token = token.verify(&self.gate.backend, candidates);
        if let Some(began) = began {
            metrics.verified(stopwatch().saturating_sub(began));
        }
        let token = token.map_err(|rejected| match &header.kid {
            Some(kid) if lacks_kid => kid_unavailable(provider, kid).into(),
            _ => self.doubt(provider, &header, &keys, rejected),
        })?;
        self.gate.trace.saw(|| [Check::seen("signature", "valid")]);
        let token = CachedToken::new(token.read(policy, audiences, self.now)?, provider);
        let token = Rc::new(token.with_metadata(provider, text));
        if !provider.leaves_claims_to_answers() {
            self.note_left_out(provider, &token);
        }
        if let Some(cache) = self.gate.token_caches.get_mut(id.0) {
            cache.insert(text, Rc::clone(&token));
        }
        Ok(token)
    }

    /// Takes note of the claims of a new token that could not become headers.
    pub(super) fn note_left_out(&mut self, provider: &Provider, token: &CachedToken) {
        for left_out in token.left_out() {
            self.gate.metrics.happened(provider.id, Event::ClaimLeftOut);
            if let Some(line) = self.gate.left_out_notes.line(provider, *left_out, self.now) {
                self.gate.effects.push_back(Effect::Log(log::Level::Warn, line));
            }
        }
    }

    /// The token from the cache, if it is there and its time has not passed.
    fn cached(&mut self, provider: &Provider, text: &[u8]) -> Result<Option<Rc<CachedToken>>, Rejected> {
        let (id, now) = (provider.id, self.now);
        let known = self.gate.token_caches.get_mut(id.0).and_then(|cache| cache.get(text));
        let Some(known) = known else { return Ok(None) };
        // The tokens of a key that was revoked went with it; here all keys may have grown too old.
        if self.key_source(provider).is_some_and(|own| own.source.keys(now).is_none()) {
            return Ok(None);
        }
        known.check_time(&provider.policy, now)?;
        // A request that waited for anything but keys was judged before that, and counted then.
        let mut key_lookups = self.gate.sources.iter().flatten().map(|own| own.lookup);
        if self.waited.is_none_or(|waited| key_lookups.any(|lookup| lookup == waited.lookup)) {
            self.gate.metrics.happened(id, Event::CacheHit);
        }
        Ok(Some(known))
    }

    fn key_source(&mut self, provider: &Provider) -> Option<&mut KeySource> {
        self.gate.sources.get_mut(provider.id.0)?.as_mut()
    }

    /// The keys of a provider, or why there are none yet.
    pub(super) fn keys_at_hand(&mut self, provider: &Provider) -> Result<Arc<KeySet>, Obstacle> {
        if let Keys::Local(set) = &provider.keys {
            return Ok(Arc::clone(set));
        }
        let (now, waited, may_wait) = (self.now, self.waited, self.may_wait());
        let Some(KeySource { lookup, source }) = self.key_source(provider) else {
            return Err(Reason::KeysUnavailable.into());
        };
        if let Some(keys) = source.keys(now) {
            return Ok(Arc::clone(keys));
        }
        // A request that waited for these keys was woken because their fetch ended, without keys.
        let is_first = waited.is_none_or(|waited| waited.lookup != *lookup);
        let in_time = waited.is_none_or(|waited| now < waited.deadline);
        source.need(now);
        if may_wait && is_first && in_time && source.expects_answer(now) {
            return Err(Obstacle::Wait(*lookup));
        }
        let age = source.status(now).last_success.map(|last| now.since(last).as_secs());
        Err(keys_unavailable(provider, age).into())
    }

    /// The keys that a token is judged by, or why there are none yet; and whether a key of its kid may be lacking, so
    /// that the others cannot refuse it.
    fn keys_for(
        &mut self,
        provider: &Provider,
        token: &Unverified<'_>,
    ) -> Result<(Arc<KeySet>, bool), Obstacle> {
        let keys = self.keys_at_hand(provider)?;
        let (now, waited, may_wait) = (self.now, self.waited, self.may_wait());
        let store = Rc::clone(&self.gate.store);
        let Some(KeySource { lookup, source }) = self.key_source(provider) else {
            return Ok((keys, false));
        };
        let lookup = *lookup;
        let in_time = waited.is_none_or(|waited| now < waited.deadline);
        let header = token.header();
        let Some(kid) = header.kid.as_deref().filter(|kid| !keys.has_kid(kid)) else {
            return Ok((keys, false));
        };
        // A fetch that had begun before the token came may have missed its key; one that began after
        // it did not.
        let looked = waited.filter(|waited| waited.since <= source.last_looked());
        let unknown = if let Some(waited) = looked {
            source.still_missing(&*store, kid, waited.since, now);
            UnknownKid::Missing
        } else if source.is_behind(&*store, now) {
            UnknownKid::Wait
        } else {
            source.unknown_kid(&*store, kid, waited.is_none(), now)
        };
        match unknown {
            UnknownKid::Missing => Ok((keys, false)),
            UnknownKid::Wait if in_time && may_wait => Err(Obstacle::Wait(lookup)),
            // A rule that only reports says what there is.
            UnknownKid::Wait if !may_wait => Ok((keys, false)),
            // A key that names no kid may be the one.
            _ if keys.candidates(Some(kid), header.algorithm).next().is_some() => Ok((keys, true)),
            _ => Err(kid_unavailable(provider, kid).into()),
        }
    }

    /// What keeps a token from being accepted whose signature holds under none of these keys. Where they are fetched, and
    /// it names one of them or none, one of them may have been replaced under its key id.
    #[cold]
    fn doubt(&mut self, provider: &Provider, header: &Header, keys: &KeySet, rejected: Rejected) -> Obstacle {
        let (now, waited, may_wait) = (self.now, self.waited, self.may_wait());
        let is_named = header.kid.as_deref().is_none_or(|kid| keys.has_kid(kid));
        let by_keys = matches!(rejected.reason, Reason::SignatureInvalid | Reason::KeyNotFound);
        let store = Rc::clone(&self.gate.store);
        let Some(own) = self.key_source(provider).filter(|_| is_named && by_keys) else {
            return rejected.into();
        };
        let since = waited.map_or(now, |waited| waited.since);
        let in_time = waited.is_none_or(|waited| now < waited.deadline);
        match own.source.signature_failed(&*store, since, now) && may_wait && in_time {
            true => Obstacle::Doubt(own.lookup, rejected),
            false => rejected.into(),
        }
    }
}

/// What the header of a token says.
fn header_checks(header: &Header) -> [Check; 2] {
    let typ = header.typ.as_deref().map_or("absent".to_owned(), excerpt);
    [Check::seen("alg", header.algorithm.name()), Check::seen("typ", typ)]
}

/// What each check of the claims comes to, were the token verified.
fn claim_checks(policy: &Policy, token: &Unverified<'_>, audiences: &[String], now: Timestamp) -> Vec<Check> {
    let claims = match token.claims(policy) {
        Ok(claims) => claims,
        Err(rejected) => return vec![Check { what: "payload".to_owned(), outcome: Err(rejected) }],
    };
    let each = policy.each_check(&claims, audiences, now);
    each.map(|(what, outcome)| Check {
        what: what.to_owned(),
        outcome: outcome.map(|()| "accepted".to_owned()),
    })
    .collect()
}

/// Which keys the signature is checked under.
fn key_check(keys: &KeySet, header: &Header) -> Check {
    let count = keys.candidates(header.kid.as_deref(), header.algorithm).count();
    let kid = header
        .kid
        .as_deref()
        .map_or("the token names none".to_owned(), |kid| format!("kid {}", excerpt(kid)));
    Check::seen("key", format!("{kid}; keys that fit: {count} of {}", keys.keys().len()))
}

#[cold]
fn overloaded(max: u32) -> Rejected {
    Reason::Overloaded.explained(format!(
        "{max} new tokens were already verified in this second (limits.verifications_per_second)"
    ))
}

fn keys_unavailable(provider: &Provider, age: Option<u64>) -> Rejected {
    let name = &provider.name;
    Reason::KeysUnavailable.explained(match age {
        Some(age) => format!("the keys of provider {name:?} are too old, fetched {age} s ago"),
        None => format!("the keys of provider {name:?} were never fetched"),
    })
}

fn kid_unavailable(provider: &Provider, kid: &str) -> Rejected {
    let (name, kid) = (&provider.name, excerpt(kid));
    Reason::KeysUnavailable.explained(format!(
        "kid {kid} is not among the keys of provider {name:?}, and they cannot be fetched now"
    ))
}
