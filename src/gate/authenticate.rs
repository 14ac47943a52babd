//! Whether a request's tokens meet a requirement.

use std::rc::Rc;

use super::background::KeySource;
use super::cache::TokenCache;
use super::cached_token::CachedToken;
use super::revocations::{Asked, Passed, Revocations};
use super::waiting::Waited;
use crate::config::{Config, Keys, Provider, RequireTls};
use crate::crypto::Backend;
use crate::fetch::{LookupId, Store};
use crate::keys::{KeySet, UnknownKid};
use crate::metrics::{Event, Metrics};
use crate::reason::Reason;
use crate::request::Request;
use crate::rules::{Demand, Requirement};
use crate::time::Timestamp;
use crate::token::{Credential, Found, Jws, ProviderId, Unverified, find};

/// A token that holds, and whose it is.
#[derive(Debug)]
pub struct Accepted {
    /// Whose it is
    pub provider: Rc<Provider>,
    /// What was found
    pub verdict: Rc<CachedToken>,
    /// Whether it tells the upstream who calls. A token that nobody asked for beside another does not: what two issuers
    /// say of two subjects is no identity.
    pub(super) speaks: bool,
}

/// What was said of a provider's token.
type Said = (ProviderId, Result<Rc<CachedToken>, Lack>);

/// Why a requirement is not met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lack {
    /// The provider that lacks it.
    pub(super) provider: ProviderId,
    pub(super) why: Why,
}

/// What is lacking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// This is on its way.
    Wait(LookupId),
    /// It will not be there.
    Deny(Reason),
}

impl Lack {
    /// How much it says of what is wrong: of several failures the one that says most is told, and of
    /// those the first. That a provider has no keys to judge its own token by comes before what another
    /// one makes of it.
    fn weight(&self) -> u8 {
        match self.why {
            Why::Wait(_) => 4,
            Why::Deny(Reason::KeysUnavailable | Reason::RevocationUnavailable) => 3,
            Why::Deny(Reason::TokenMissing) => 0,
            Why::Deny(Reason::IssuerUnknown) => 1,
            Why::Deny(_) => 2,
        }
    }
}

/// One request before the tokens' judges.
pub(super) struct Authenticator<'g, 'r> {
    pub(super) config: &'g Config,
    pub(super) backend: &'g Backend,
    /// What the instances of the proxy share.
    pub(super) store: &'g dyn Store,
    pub(super) sources: &'g mut [Option<KeySource>],
    pub(super) verdicts: &'g mut [TokenCache],
    /// What says whether tokens were withdrawn, where the rule heeds it.
    pub(super) revocations: Option<&'g mut Revocations>,
    pub(super) request: &'g Request<'r>,
    /// Every provider, and what the rule asks of its tokens.
    pub(super) everyone: &'g [(ProviderId, Option<Vec<String>>)],
    /// How long the request waited, if it did.
    pub(super) waited: Option<Waited>,
    /// Whether it may wait at all.
    pub(super) patient: bool,
    pub(super) now: Timestamp,
    /// Whether a provider may be asked more than once.
    pub(super) remembers: bool,
    /// What each provider said that was asked before.
    pub(super) known: Vec<(ProviderId, Result<Rc<CachedToken>, Why>)>,
    /// Why the first token did not hold that was there and did not.
    pub(super) failed: Option<Reason>,
    pub(super) metrics: &'g mut Metrics,
    pub(super) stopwatch: fn() -> u64,
}

impl<'g, 'r> Authenticator<'g, 'r> {
    /// Judges what a requirement asks for. `beside` are the demands of the alternatives that it stands among, which
    /// say whose tokens a part looks at that allows them to be missing; without any it looks at all providers'.
    pub(super) fn meet(
        &mut self,
        requirement: &Requirement,
        beside: Option<&[Demand<'_>]>,
    ) -> Result<Vec<Accepted>, Lack> {
        match requirement {
            Requirement::Provider { provider, audiences } => {
                let verdict = self.ask(*provider, audiences.as_deref())?;
                let provider = Rc::clone(self.config.provider(*provider).ok_or(NOBODY)?);
                Ok(vec![Accepted { provider, verdict, speaks: true }])
            }
            Requirement::All(parts) => {
                let mut accepted: Vec<Accepted> = Vec::new();
                for part in parts {
                    for one in self.meet(part, beside)? {
                        match accepted.iter_mut().find(|known| known.provider.id == one.provider.id) {
                            Some(known) => known.speaks |= one.speaks,
                            None => accepted.push(one),
                        }
                    }
                }
                Ok(accepted)
            }
            Requirement::Any(parts) => self.any(parts, beside),
            Requirement::AllowMissing => self.good_or_missing(beside),
            Requirement::AllowMissingOrFailed => {
                let mut accepted = Vec::new();
                for (provider, said) in self.ask_all(beside)? {
                    if let (Ok(verdict), Some(provider)) = (said, self.config.provider(provider)) {
                        let provider = Rc::clone(provider);
                        accepted.push(Accepted { provider, verdict, speaks: accepted.is_empty() });
                    }
                }
                Ok(accepted)
            }
        }
    }

    fn any(&mut self, parts: &[Requirement], beside: Option<&[Demand<'_>]>) -> Result<Vec<Accepted>, Lack> {
        let lenient = |part: &&Requirement| {
            matches!(part, Requirement::AllowMissing | Requirement::AllowMissingOrFailed)
        };
        // A token that an alternative refused is not accepted by a part that asks for less.
        let mut demands = Vec::new();
        parts.iter().for_each(|part| part.collect_demands(&mut demands));
        for demand in beside.unwrap_or_default() {
            if !demands.contains(demand) {
                demands.push(*demand);
            }
        }
        let beside = (!demands.is_empty()).then_some(&demands[..]);
        let mut worst: Option<Lack> = None;
        let strict = parts.iter().filter(|part| !lenient(part));
        for part in strict.chain(parts.iter().filter(lenient)) {
            match self.meet(part, beside) {
                Ok(accepted) => return Ok(accepted),
                // Whoever comes first may still hold, and then it is the one.
                Err(lack @ Lack { why: Why::Wait(_), .. }) => return Err(lack),
                Err(lack) if worst.is_none_or(|worst| lack.weight() > worst.weight()) => worst = Some(lack),
                Err(_) => {}
            }
        }
        Err(worst.unwrap_or(NOBODY))
    }

    /// Every token that is there must hold for one of the providers; there may be none. Nobody has asked for more than
    /// one, so that the first speaks alone.
    fn good_or_missing(&mut self, beside: Option<&[Demand<'_>]>) -> Result<Vec<Accepted>, Lack> {
        let mut accepted = Vec::new();
        let mut failed: Vec<Lack> = Vec::new();
        for (provider, said) in self.ask_all(beside)? {
            match said {
                Ok(verdict) => {
                    let provider = Rc::clone(self.config.provider(provider).ok_or(NOBODY)?);
                    accepted.push(Accepted { provider, verdict, speaks: accepted.is_empty() });
                }
                Err(Lack { why: Why::Deny(Reason::TokenMissing), .. }) => {}
                Err(lack) => failed.push(lack),
            }
        }
        // The token that one provider does not know may be another's, in the same place.
        let good: Vec<&[u8]> =
            accepted.iter().filter_map(|one| Some(self.credential(one.provider.id)?.text)).collect();
        failed.retain(|lack| self.credential(lack.provider).is_none_or(|bad| !good.contains(&bad.text)));
        match failed.into_iter().reduce(|one, other| if other.weight() > one.weight() { other } else { one })
        {
            Some(lack) => Err(lack),
            None => Ok(accepted),
        }
    }

    /// The verdicts on the tokens of these providers, each for whichever of its demands it meets; of all providers
    /// where none are named. A token that must be waited for ends it.
    fn ask_all(&mut self, beside: Option<&[Demand<'_>]>) -> Result<Vec<Said>, Lack> {
        let everyone = self.everyone;
        let demands: Vec<Demand<'_>> = match beside {
            Some(demands) => demands.to_vec(),
            None => everyone.iter().map(|(id, audiences)| (*id, audiences.as_deref())).collect(),
        };
        let mut all: Vec<Said> = Vec::new();
        for (id, audiences) in demands {
            let known = all.iter().position(|(known, _)| *known == id);
            let before = known.and_then(|at| all.get_mut(at));
            if before.as_ref().is_some_and(|(_, said)| said.is_ok()) {
                continue;
            }
            let said = self.ask(id, audiences);
            if let Err(lack @ Lack { why: Why::Wait(_), .. }) = said {
                return Err(lack);
            }
            match before {
                Some((_, lacked)) if said.is_ok() => *lacked = said,
                Some(_) => {}
                None => all.push((id, said)),
            }
        }
        Ok(all)
    }

    fn credential(&self, id: ProviderId) -> Option<Credential<'r>> {
        match find(&self.config.provider(id)?.locations, self.request) {
            Found::One(credential) => Some(credential),
            Found::Nothing | Found::Malformed | Found::Several => None,
        }
    }

    /// The tokens that were accepted for a provider which lets them travel on, as they stand in the request.
    pub(super) fn travelling(&self, accepted: &[Accepted]) -> Vec<&'r [u8]> {
        let travelling = accepted.iter().filter(|one| one.provider.forward);
        travelling.filter_map(|one| Some(self.credential(one.provider.id)?.text)).collect()
    }

    /// The verdict on the provider's token.
    fn ask(&mut self, id: ProviderId, audiences: Option<&[String]>) -> Result<Rc<CachedToken>, Lack> {
        let said = self.verdict(id, audiences);
        if let Err(Why::Deny(reason)) = said
            && reason != Reason::TokenMissing
        {
            self.failed.get_or_insert(reason);
        }
        said.map_err(|why| Lack { provider: id, why })
    }

    fn verdict(&mut self, id: ProviderId, audiences: Option<&[String]>) -> Result<Rc<CachedToken>, Why> {
        let config = self.config;
        let provider = config.provider(id).ok_or(Why::Deny(Reason::TokenMissing))?;
        let known = self.known.iter().find(|(own, _)| *own == id).map(|(_, said)| said.clone());
        let verdict = match known {
            Some(said) => said?,
            None => {
                let said = self.authenticate(id, provider, audiences);
                // Another rule's audience may still fit.
                if self.remembers && !matches!(said, Err(Why::Deny(Reason::AudienceMismatch))) {
                    self.known.push((id, said.clone()));
                }
                said?
            }
        };
        verdict.check_audience(provider, audiences).map_err(Why::Deny)?;
        // Last, so that nothing is fetched for a token that fails in any case.
        let asked = Asked { provider: id, waited: self.waited, patient: self.patient, now: self.now };
        let Some(revocations) = &mut self.revocations else { return Ok(verdict) };
        match revocations.check(&verdict, asked) {
            Ok(Passed::Checked) => Ok(verdict),
            Ok(Passed::Unchecked) => {
                self.metrics.happened(id, Event::Unchecked);
                Ok(verdict)
            }
            Err(why) => {
                self.known.retain(|(own, _)| *own != id);
                self.known.push((id, Err(why)));
                Err(why)
            }
        }
    }

    /// Finds the provider's token in the request and judges it.
    fn authenticate(
        &mut self,
        id: ProviderId,
        provider: &Provider,
        audiences: Option<&[String]>,
    ) -> Result<Rc<CachedToken>, Why> {
        let policy = &provider.policy;
        let credential = match find(&provider.locations, self.request) {
            Found::One(credential) => credential,
            Found::Nothing => return Err(Why::Deny(Reason::TokenMissing)),
            Found::Malformed => return Err(Why::Deny(Reason::TokenMalformed)),
            Found::Several => return Err(Why::Deny(Reason::TokenMultiple)),
        };
        if !self.is_secure() {
            return Err(Why::Deny(Reason::TransportInsecure));
        }
        if let Some(csrf) = provider.csrf.as_ref().filter(|_| credential.from_cookie)
            && !csrf.holds(self.request)
        {
            return Err(Why::Deny(Reason::CsrfSuspected));
        }
        let credential = credential.text;
        if credential.len() > policy.max_token_size {
            return Err(Why::Deny(Reason::TokenTooLarge));
        }
        if let Some(known) = self.verdicts.get_mut(id.0).and_then(|verdicts| verdicts.get(credential)) {
            // TokenCache under a key that was withdrawn went with it; here all keys may have grown too old.
            let now = self.now;
            if self.key_source(id).is_none_or(|own| own.source.keys(now).is_some()) {
                policy.check_time(known.claims(), now).map_err(Why::Deny)?;
                // A request that waited for anything but keys was judged before that, and counted then.
                let waited_for_keys =
                    |waited: Waited| self.sources.iter().flatten().any(|own| own.lookup == waited.lookup);
                if self.waited.is_none_or(waited_for_keys) {
                    self.metrics.happened(id, Event::CacheHit);
                }
                return Ok(known);
            }
        }
        let jws = Jws::parse(credential).map_err(Why::Deny)?;
        // Before its claims are looked at, for that costs more.
        policy.check_header(jws.header()).map_err(Why::Deny)?;
        let token = Unverified::read(jws, policy).map_err(Why::Deny)?;
        let audiences = audiences.unwrap_or(&policy.audiences);
        policy.check(&token, audiences, self.now).map_err(Why::Deny)?;
        let keys = self.keys_for(id, provider, &token)?;
        let header = token.shared_header();
        let candidates = keys.candidates(header.kid.as_deref(), header.algorithm);
        self.metrics.happened(id, Event::CacheMiss);
        let began = self.metrics.wants_time().then(self.stopwatch);
        let token = token.verify(self.backend, candidates);
        if let Some(began) = began {
            self.metrics.verified((self.stopwatch)().saturating_sub(began));
        }
        let token = token.and_then(|token| token.read(policy, audiences, self.now)).map_err(Why::Deny)?;
        let verdict = Rc::new(CachedToken::new(token, provider));
        for _ in 0..verdict.left_out() {
            self.metrics.happened(id, Event::ClaimLeftOut);
        }
        if let Some(verdicts) = self.verdicts.get_mut(id.0) {
            verdicts.insert(credential, Rc::clone(&verdict));
        }
        Ok(verdict)
    }

    /// Whether the token came the way that is asked for.
    fn is_secure(&self) -> bool {
        match self.config.require_tls {
            RequireTls::None => true,
            RequireTls::Connection => self.request.properties().is_tls(),
            RequireTls::ForwardedProto => {
                let mut protos = self.request.all("x-forwarded-proto");
                protos.next().is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
                    && protos.next().is_none()
            }
        }
    }

    fn key_source(&mut self, id: ProviderId) -> Option<&mut KeySource> {
        self.sources.get_mut(id.0)?.as_mut()
    }

    /// The keys that a token is judged by, or why there are none yet.
    fn keys_for(
        &mut self,
        id: ProviderId,
        provider: &Provider,
        token: &Unverified<'_>,
    ) -> Result<Rc<KeySet>, Why> {
        if let Keys::Local(set) = &provider.keys {
            return Ok(Rc::clone(set));
        }
        let (now, waited, patient, store) = (self.now, self.waited, self.patient, self.store);
        let KeySource { lookup, source } = self.key_source(id).ok_or(Why::Deny(Reason::KeysUnavailable))?;
        let lookup = *lookup;
        let in_time = waited.is_none_or(|waited| now < waited.deadline);
        let Some(keys) = source.keys(now).map(Rc::clone) else {
            // Whoever waited for these keys was woken because their fetch ended, without keys.
            let first = waited.is_none_or(|waited| waited.lookup != lookup);
            source.need(now);
            let wait = patient && first && in_time && source.expects_answer(now);
            return Err(if wait { Why::Wait(lookup) } else { Why::Deny(Reason::KeysUnavailable) });
        };
        let header = token.header();
        let Some(kid) = header.kid.as_deref().filter(|kid| !keys.has_kid(kid)) else {
            return Ok(keys);
        };
        // A fetch that had begun before the token came may have missed its key; one that began after
        // it did not.
        let looked = waited.filter(|waited| waited.since <= source.last_looked());
        let said = if let Some(waited) = looked {
            source.still_missing(store, kid, waited.since, now);
            UnknownKid::Missing
        } else if source.is_behind(store, now) {
            UnknownKid::Wait
        } else {
            source.unknown_kid(store, kid, waited.is_none(), now)
        };
        match said {
            UnknownKid::Missing => Ok(keys),
            UnknownKid::Wait if in_time && patient => Err(Why::Wait(lookup)),
            // A rule that only reports tells what there is.
            UnknownKid::Wait if !patient => Ok(keys),
            // A key that names no kid may be the one.
            _ if keys.candidates(Some(kid), header.algorithm).next().is_some() => Ok(keys),
            _ => Err(Why::Deny(Reason::KeysUnavailable)),
        }
    }
}

/// What is lacking where nothing was asked for.
const NOBODY: Lack = Lack { provider: ProviderId(usize::MAX), why: Why::Deny(Reason::TokenMissing) };
