//! One request's way through: rule, token, verdict, outcome.
//!
//! The gate does no I/O. It is asked about requests and told of time and of fetched keys; what should
//! happen it hands out as values.

mod verdicts;
mod waiting;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::answer::Denial;
use crate::config::{Config, Keys, Provider, Unmatched};
use crate::crypto::Backend;
use crate::identity::Reserved;
use crate::keys::KeySet;
use crate::keys::source::{FetchError, Fetched, Remote, Source, UnknownKid};
use crate::reason::Reason;
use crate::request::Request;
use crate::rules::{ProviderId, Rule, canonical};
use crate::time::Timestamp;
use crate::token::{Found, Unverified, Verified, find};

pub use verdicts::CacheSize;
use verdicts::Verdicts;
pub use waiting::MAX_WAITING;
use waiting::Waiting;

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
    /// Send a request for keys, and report what came of it with [`Gate::fetched`].
    Fetch {
        /// For which provider
        provider: ProviderId,
        /// Where to
        remote: Remote,
    },
    /// Ask about this waiting request again with [`Gate::resume`].
    Wake(StreamId),
    /// Write this to the log.
    Log(log::Level, String),
}

/// The gate of one plugin configuration in one worker.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    reserved: Reserved,
    backend: Backend,
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
    /// A gate for a configuration. `seed` spreads the refreshes of many workers over time.
    pub fn new(config: Config, backend: Backend, seed: u64) -> Self {
        let sources = config
            .providers
            .iter()
            .zip(0u64..)
            .map(|(provider, at)| match &provider.keys {
                Keys::Local(_) => None,
                Keys::Remote(remote) => Some(Source::new(remote.clone(), seed.wrapping_add(at))),
            })
            .collect();
        let reserved = Reserved::new(config.providers.iter().flat_map(|p| p.outputs.names()));
        let verdicts = config.providers.iter().map(|provider| Verdicts::new(provider.cache)).collect();
        Self {
            config,
            reserved,
            backend,
            sources,
            verdicts,
            waiting: Waiting::default(),
            effects: VecDeque::new(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The header names that a client may not send, for its trailers too.
    pub fn reserved(&self) -> &Reserved {
        &self.reserved
    }

    /// Decides a request that has just arrived.
    pub fn decide(&mut self, stream: StreamId, request: &Request<'_>, now: Timestamp) -> Outcome {
        self.judge(Some(stream), request, now)
    }

    /// Decides a request that waited. It does not wait again.
    pub fn resume(&mut self, request: &Request<'_>, now: Timestamp) -> Outcome {
        self.judge(None, request, now)
    }

    /// Forgets a request: its client has gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.waiting.remove(stream);
    }

    /// Takes note of the time: starts the fetches that are due and wakes whoever waited too long.
    pub fn tick(&mut self, now: Timestamp) {
        for (at, source) in self.sources.iter_mut().enumerate() {
            let Some(source) = source.as_mut().filter(|source| source.due(now)) else {
                continue;
            };
            source.started(now);
            let remote = source.remote().clone();
            self.effects.push_back(Effect::Fetch { provider: ProviderId(at), remote });
        }
        self.effects.extend(self.waiting.expired(now).into_iter().map(Effect::Wake));
    }

    /// A fetch ended. Whoever waited for it is woken, however it ended.
    pub fn fetched(&mut self, provider: ProviderId, result: Result<Fetched, FetchError>, now: Timestamp) {
        let Some(source) = self.sources.get_mut(provider.0).and_then(Option::as_mut) else {
            return;
        };
        let name = self.config.provider(provider).map_or("", |provider| &provider.name);
        let had_keys = source.keys(now).is_some();
        let result = result.inspect_err(|_| source.failed(now));
        let (level, text) = match result.and_then(|fetched| source.arrived(&fetched, now).cloned()) {
            Ok(set) => {
                // A key that is no longer listed was withdrawn, and so was every verdict under it.
                if let Some(verdicts) = self.verdicts.get_mut(provider.0) {
                    verdicts.keep_keys(&set);
                }
                let level = if had_keys { log::Level::Debug } else { log::Level::Info };
                (level, format!("provider {name:?}: {}", summary(&set)))
            }
            Err(error) => {
                let next = source.next_fetch_in(now).as_secs_f64();
                let kept = if had_keys { "the keys at hand stay in use" } else { "there are no keys" };
                let text = format!(
                    "provider {name:?}: fetching keys failed: {error}; {kept}; next try in {next:.1} s"
                );
                (log::Level::Warn, text)
            }
        };
        self.effects.push_back(Effect::Log(level, text));
        self.effects.extend(self.waiting.released(provider).into_iter().map(Effect::Wake));
    }

    /// Wakes everyone who waits, because this gate ends.
    pub fn release_all(&mut self) {
        self.effects.extend(self.waiting.all().into_iter().map(Effect::Wake));
    }

    /// Whether any request waits.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next thing to be done outside.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// `stream` is the request's number where it may wait.
    fn judge(&mut self, stream: Option<StreamId>, request: &Request<'_>, now: Timestamp) -> Outcome {
        let config = &self.config;
        let unmatched = |reason| refuse(Denial::new(reason, ""), None);
        // A CONNECT request has no path: no rule of this version is for it.
        let Some(target) = request.target() else {
            return unmatched(Reason::RouteUnmatched);
        };
        let Ok(path) = canonical(target) else {
            return unmatched(Reason::PathAmbiguous);
        };
        let mut allow = Allow {
            remove: self.reserved.among(request.fields()).into_iter().map(<[u8]>::to_vec).collect(),
            ..Allow::default()
        };
        let Some(rule) = config.rules.find(request.method(), &path) else {
            return match config.unmatched {
                Unmatched::Deny => unmatched(Reason::RouteUnmatched),
                Unmatched::Allow => {
                    allow.state.push(("decision", "allow".to_owned()));
                    Outcome::Allow(allow)
                }
            };
        };
        let Some((id, provider)) = rule.requires.and_then(|id| Some((id, config.provider(id)?))) else {
            allow.state.push(("decision", "allow".to_owned()));
            allow.state.push(("rule", rule.name.clone()));
            return Outcome::Allow(allow);
        };
        let source = self.sources.get_mut(id.0).and_then(Option::as_mut);
        let denial = Denial {
            scope: rule.scopes.as_ref().and_then(|scopes| scopes.challenge()),
            ..Denial::new(Reason::TokenMissing, &provider.name)
        };
        let verdicts = self.verdicts.get_mut(id.0);
        let mut judge =
            Judge { provider, backend: &self.backend, source, verdicts, may_wait: stream.is_some(), now };
        let token = match judge.authenticate(request) {
            Ok(token) => token,
            Err(Lack::Deny(reason)) => {
                let source = self.sources.get(id.0).and_then(Option::as_ref);
                let retry_after = source.map(|source| source.next_fetch_in(now).as_secs());
                return refuse(Denial { reason, retry_after, ..denial }, Some((rule, provider)));
            }
            Err(Lack::Wait) => {
                let timeout = match &provider.keys {
                    Keys::Remote(remote) => remote.timeout,
                    Keys::Local(_) => Duration::ZERO,
                };
                let waits = stream.is_some_and(|stream| self.waiting.add(stream, id, now.plus(timeout)));
                if waits {
                    return Outcome::Wait;
                }
                return refuse(Denial { reason: Reason::Overloaded, ..denial }, Some((rule, provider)));
            }
        };
        let claims = token.claims();
        if rule.scopes.as_ref().is_some_and(|scopes| !scopes.satisfied_by(&claims.scopes)) {
            let denial = Denial { reason: Reason::ScopeInsufficient, verified: true, ..denial };
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
    /// Whether the request may wait for keys; it does so once.
    may_wait: bool,
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
        let token = Unverified::parse(credential, &policy.scope_claims).map_err(Lack::Deny)?;
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
            let wait = self.may_wait && source.expects_answer();
            return Err(if wait { Lack::Wait } else { Lack::Deny(Reason::KeysUnavailable) });
        };
        if let Some(kid) = token.header().kid.as_deref().filter(|kid| !keys.has_kid(kid)) {
            if !self.may_wait {
                source.still_missing(kid, self.now);
            } else if source.unknown_kid(kid, self.now) == UnknownKid::Wait {
                return Err(Lack::Wait);
            }
        }
        Ok(keys)
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

fn summary(set: &KeySet) -> String {
    let mut text = format!("{} keys", set.keys().len());
    if !set.skipped().is_empty() {
        text.push_str(&format!("; {} not used:", set.skipped().len()));
        for (at, skip) in set.skipped().iter().take(5) {
            text.push_str(&format!(" keys[{at}] {};", skip.as_str()));
        }
    }
    text
}

#[cfg(test)]
mod tests;
