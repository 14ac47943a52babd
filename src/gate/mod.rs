//! One request's way through: rule, token, verdict, outcome.
//!
//! The gate does no I/O. It is asked about requests and told of time and of fetched keys; what should
//! happen it hands out as values.

mod verdicts;
mod waiting;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::answer::Denial;
use crate::config::{Config, Keys, Provider, Unmatched};
use crate::crypto::Backend;
use crate::identity::Reserved;
use crate::keys::{
    Alone, Answer, FetchError, KeySet, News, Query, Remote, Source, Status, Store, UnknownKid,
};
use crate::reason::Reason;
use crate::request::Request;
use crate::rules::{Authorize, Bindings, Met, ProviderId, Requirement, Rule};
use crate::time::Timestamp;
use crate::token::{Found, Unverified, Verified, find};

pub use verdicts::CacheSize;
use verdicts::Verdicts;
use waiting::Waiting;
pub use waiting::{MAX_WAITING, Waited};

/// The host's number for a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u32);

/// What is to become of a request.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on to the upstream, changed like this.
    Allow(Allow),
    /// It is answered here.
    Deny(Refusal),
    /// It waits for keys. The gate wakes it with [`Effect::Wake`], and then it is asked about again
    /// with [`Gate::resume`].
    Wait,
}

/// How a request that passes is changed.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Allow {
    /// Header fields to take away, by the names in which they came.
    pub remove: Vec<Vec<u8>>,
    /// Header fields to add, after that.
    pub add: Vec<(String, String)>,
    /// What other filters and the access log may read.
    pub state: State,
}

/// A request that is refused.
#[derive(PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The refusal.
    pub denial: Denial,
    /// What the access log may read.
    pub state: State,
}

/// What is written to the filter state: a name behind `portcullis.` and its value.
pub type State = Vec<(&'static str, String)>;

/// Something to be done outside.
#[derive(PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a request for keys, and report what came of it with [`Gate::answered`].
    Fetch {
        /// For which provider
        provider: ProviderId,
        /// What to ask
        query: Query,
    },
    /// Ask about this waiting request again with [`Gate::resume`].
    Wake(StreamId, Waited),
    /// Write this to the log.
    Log(log::Level, String),
}

/// What a gate is given of the world around it.
pub struct World {
    /// Where signatures are checked.
    pub backend: Backend,
    /// What the instances of this proxy share.
    pub store: Rc<dyn Store>,
    /// A number that no other instance has.
    pub random: u64,
}

impl World {
    /// A world of one instance, with everything in Rust: for tests and tools.
    pub fn alone(random: u64) -> Self {
        Self { backend: Backend::portable(), store: Rc::new(Alone::default()), random }
    }
}

/// The gate of one plugin configuration in one worker.
pub struct Gate {
    config: Config,
    reserved: Reserved,
    backend: Backend,
    store: Rc<dyn Store>,
    /// The remote key source of each provider that has one.
    sources: Vec<Option<Source>>,
    /// The verdicts on each provider's tokens.
    verdicts: Vec<Verdicts>,
    waiting: Waiting,
    effects: VecDeque<Effect>,
}

/// Why a provider's keys cannot judge a token now.
enum Lack {
    /// They are on their way.
    Wait,
    /// They are not to be had.
    Deny(Reason),
}

impl Gate {
    /// A gate for a configuration. It starts with what other instances of the proxy have put into the
    /// store.
    pub fn new(config: Config, world: World, now: Timestamp) -> Self {
        let World { backend, store, random } = world;
        let secret = config.shared_data_secret.as_ref().map(|secret| secret.0.as_str());
        let sources = config
            .providers
            .iter()
            .zip(0u64..)
            .map(|(provider, at)| match &provider.keys {
                Keys::Local(_) => None,
                Keys::Remote(remote) => {
                    // Far apart, so that no two sources of two instances have one number.
                    let random = random.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                    Some(Source::new(Remote::clone(remote), random, secret))
                }
            })
            .collect();
        let reserved = Reserved::new(config.providers.iter().flat_map(|p| p.outputs.names()));
        let verdicts = config.providers.iter().map(|provider| Verdicts::new(provider.cache)).collect();
        let (waiting, effects) = (Waiting::default(), VecDeque::new());
        let mut gate = Self { config, reserved, backend, store, sources, verdicts, waiting, effects };
        for at in 0..gate.sources.len() {
            gate.with_source(ProviderId(at), |source, store| source.look(store, now));
        }
        gate
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The header names that a client may not send, for its trailers too.
    pub fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// What an operator may want to see of a provider's key source, where it has one.
    pub fn status(&self, provider: ProviderId, now: Timestamp) -> Option<Status> {
        Some(self.sources.get(provider.0)?.as_ref()?.status(now))
    }

    /// Decides a request that has just arrived.
    pub fn decide(&mut self, stream: StreamId, request: &Request<'_>, now: Timestamp) -> Outcome {
        self.judge(stream, None, request, now)
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
        self.judge(stream, Some(waited), request, now)
    }

    /// Forgets a request: its client has gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.waiting.remove(stream);
    }

    /// Takes note of the time: starts the fetches that are due, takes over what others fetched, and
    /// wakes whoever waited too long.
    pub fn tick(&mut self, now: Timestamp) {
        for at in 0..self.sources.len() {
            self.with_source(ProviderId(at), |source, store| source.tick(store, now));
        }
        let expired = self.waiting.expired(now);
        self.wake(expired);
    }

    /// An [`Effect::Fetch`] ended, well or not.
    pub fn answered(&mut self, provider: ProviderId, answer: Result<Answer, FetchError>, now: Timestamp) {
        self.with_source(provider, |source, store| source.answered(store, answer, now));
    }

    fn with_source(&mut self, id: ProviderId, act: impl FnOnce(&mut Source, &dyn Store) -> Vec<News>) {
        let Some(source) = self.sources.get_mut(id.0).and_then(Option::as_mut) else { return };
        let name = self.config.provider(id).map_or("", |provider| &provider.name);
        for news in act(source, &*self.store) {
            match news {
                News::Ask(query) => self.effects.push_back(Effect::Fetch { provider: id, query }),
                News::Log(level, text) => {
                    self.effects.push_back(Effect::Log(level, format!("provider {name:?}: {text}")));
                }
                News::Ended => {
                    let released = self.waiting.released(id).into_iter();
                    self.effects.extend(released.map(|(stream, waited)| Effect::Wake(stream, waited)));
                }
                // A key that is no longer listed was withdrawn, and so was every verdict under it.
                News::Changed => {
                    if let (Some(verdicts), Some(set)) = (self.verdicts.get_mut(id.0), source.held()) {
                        verdicts.keep_keys(set);
                    }
                }
            }
        }
    }

    fn wake(&mut self, streams: Vec<(StreamId, Waited)>) {
        self.effects.extend(streams.into_iter().map(|(stream, waited)| Effect::Wake(stream, waited)));
    }

    /// Wakes everyone who waits, because this gate ends.
    pub fn release_all(&mut self) {
        // Their time is up, so that none of them begins to wait again.
        let all = self.waiting.all().into_iter();
        let all = all.map(|(stream, waited)| (stream, Waited { deadline: Timestamp::default(), ..waited }));
        self.wake(all.collect());
    }

    /// Whether any request waits.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next thing to be done outside.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn judge(
        &mut self,
        stream: StreamId,
        waited: Option<Waited>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Outcome {
        let config = &self.config;
        let unmatched = |reason| refuse(Denial::new(reason, ""), None);
        let mut allow = Allow {
            remove: self.reserved.among(request.fields()).into_iter().map(<[u8]>::to_vec).collect(),
            ..Allow::default()
        };
        let rule = match config.rules.find(request) {
            Met::Rule(rule, _) => rule,
            Met::Ambiguous(_) => return unmatched(Reason::PathAmbiguous),
            // A CONNECT request passes by its own rule alone.
            Met::Nothing if config.unmatched == Unmatched::Allow && request.target().is_some() => {
                allow.state.push(("decision", "allow".to_owned()));
                return Outcome::Allow(allow);
            }
            Met::Nothing => return unmatched(Reason::RouteUnmatched),
        };
        let rule = &*rule;
        let required = match &rule.requires {
            Some(Requirement::Provider { provider, .. }) => Some(*provider),
            _ => None,
        };
        let Some((id, provider)) = required.and_then(|id| Some((id, config.provider(id)?))) else {
            allow.state.push(("decision", "allow".to_owned()));
            allow.state.push(("rule", rule.name.clone()));
            return Outcome::Allow(allow);
        };
        let source = self.sources.get_mut(id.0).and_then(Option::as_mut);
        let denial = Denial {
            scope: rule.authorize.as_ref().and_then(Authorize::challenge),
            ..Denial::new(Reason::TokenMissing, &provider.name)
        };
        let verdicts = self.verdicts.get_mut(id.0);
        let mut judge = Judge { provider, backend: &self.backend, source, verdicts, waited, now };
        let token = match judge.authenticate(request) {
            Ok(token) => token,
            Err(Lack::Deny(reason)) => {
                let source = self.sources.get(id.0).and_then(Option::as_ref);
                let retry_after = source.map(|source| source.next_fetch_in(now).as_secs());
                return refuse(Denial { reason, retry_after, ..denial }, Some((rule, provider)));
            }
            Err(Lack::Wait) => {
                let patience = match &provider.keys {
                    Keys::Remote(remote) => remote.patience(),
                    Keys::Local(_) => Duration::ZERO,
                };
                let deadline = waited.map_or(now.plus(patience), |waited| waited.deadline);
                if self.waiting.add(stream, id, Waited { since: now, deadline }) {
                    return Outcome::Wait;
                }
                return refuse(Denial { reason: Reason::Overloaded, ..denial }, Some((rule, provider)));
            }
        };
        let claims = token.claims();
        let granted = rule.authorize.as_ref().map_or(Ok(()), |authorize| authorize.check(claims, &Unbound));
        if let Err(reason) = granted {
            let denial = Denial { reason, verified: true, ..denial };
            return refuse(denial, Some((rule, provider)));
        }
        if !provider.forward {
            let names = provider.locations.iter().map(|location| location.header_name().as_bytes());
            allow.remove.extend(names.map(<[u8]>::to_vec));
        }
        let headers = provider.outputs.headers(&token);
        allow.add = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        allow.state = state("allow", Some((rule, provider)));
        allow.state.extend(claims.subject.clone().map(|subject| ("subject", subject)));
        allow.state.push(("scopes", claims.scopes.join(" ")));
        Outcome::Allow(allow)
    }
}

/// What judging a token of one provider takes.
struct Judge<'g> {
    provider: &'g Provider,
    backend: &'g Backend,
    source: Option<&'g mut Source>,
    verdicts: Option<&'g mut Verdicts>,
    /// Since when and until when the request waited for keys, if it did.
    waited: Option<Waited>,
    now: Timestamp,
}

impl Judge<'_> {
    /// Finds the provider's token in a request and judges it.
    fn authenticate(&mut self, request: &Request<'_>) -> Result<Rc<Verified>, Lack> {
        let policy = &self.provider.policy;
        let credential = match find(&self.provider.locations, request) {
            Found::One(credential) => credential,
            Found::Nothing => return Err(Lack::Deny(Reason::TokenMissing)),
            Found::Several => return Err(Lack::Deny(Reason::TokenMultiple)),
        };
        if credential.len() > policy.max_token_size {
            return Err(Lack::Deny(Reason::TokenTooLarge));
        }
        if let Some(known) = self.verdicts.as_mut().and_then(|verdicts| verdicts.get(credential)) {
            // Verdicts under a key that was withdrawn went with it; here all keys may have grown too old.
            if self.source.as_ref().is_none_or(|source| source.keys(self.now).is_some()) {
                policy.check_time(known.claims(), self.now).map_err(Lack::Deny)?;
                return Ok(known);
            }
        }
        let token = Unverified::parse(credential, &policy.grants).map_err(Lack::Deny)?;
        policy.check(&token, self.now).map_err(Lack::Deny)?;
        let keys = self.keys_for(&token)?;
        let (kid, algorithm) = (token.header().kid.clone(), token.header().algorithm);
        let candidates = keys.candidates(kid.as_deref(), algorithm);
        let token = Rc::new(token.verify(self.backend, candidates).map_err(Lack::Deny)?);
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.insert(credential, Rc::clone(&token));
        }
        Ok(token)
    }

    /// The keys that a token is judged by, or why there are none yet.
    fn keys_for(&mut self, token: &Unverified<'_>) -> Result<Rc<KeySet>, Lack> {
        let source = match (&self.provider.keys, &mut self.source) {
            (Keys::Local(set), _) => return Ok(Rc::clone(set)),
            (Keys::Remote(_), Some(source)) => source,
            (Keys::Remote(_), None) => return Err(Lack::Deny(Reason::KeysUnavailable)),
        };
        let Some(keys) = source.keys(self.now).map(Rc::clone) else {
            let wait = self.waited.is_none() && source.expects_answer(self.now);
            return Err(if wait { Lack::Wait } else { Lack::Deny(Reason::KeysUnavailable) });
        };
        let Some(kid) = token.header().kid.as_deref().filter(|kid| !keys.has_kid(kid)) else {
            return Ok(keys);
        };
        // A fetch that had begun before the token came may have missed its key; one that began after
        // it did not.
        let looked = self.waited.is_some_and(|waited| waited.since <= source.last_started());
        let in_time = self.waited.is_none_or(|waited| self.now < waited.deadline);
        if looked {
            source.still_missing(kid, self.now);
        } else if in_time && source.unknown_kid(kid, self.now) == UnknownKid::Wait {
            return Err(Lack::Wait);
        }
        Ok(keys)
    }
}

/// Nothing of a request.
struct Unbound;

impl Bindings for Unbound {
    fn path_variable(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn header(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
    fn host(&self) -> Option<Cow<'_, str>> {
        None
    }
}

fn refuse(denial: Denial, met: Option<(&Rule, &Provider)>) -> Outcome {
    let mut state = state("deny", met);
    state.push(("reason", denial.reason.as_str().to_owned()));
    Outcome::Deny(Refusal { denial, state })
}

fn state(decision: &str, met: Option<(&Rule, &Provider)>) -> State {
    let mut state = vec![("decision", decision.to_owned())];
    if let Some((rule, provider)) = met {
        state.push(("rule", rule.name.clone()));
        state.push(("provider", provider.name.clone()));
    }
    state
}

#[cfg(test)]
mod tests;
