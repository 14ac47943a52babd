//! What a gate does beside requests: keys and lists are fetched and taken over, requests that wait are woken, counts are
//! handed out.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::revocations::Revocations;
use super::waiting::Waited;
use super::{Effect, Gate, StreamId};
use crate::config::{Config, Keys, Provider};
use crate::fetch::{FetchError, HttpResponse, LookupId, LookupIds, SourceEvent, Store};
use crate::keys::{KeySet, Remote, Source, Status};
use crate::metrics::{Event, Sample};
use crate::reason::Reason;
use crate::revocation::{self, StatusError, StatusList};
use crate::time::{Timestamp, seconds_up};
use crate::token::{Jws, ProviderId};

/// The remote keys of a provider.
pub(super) struct KeySource {
    /// What requests wait for that need them.
    pub(super) lookup: LookupId,
    pub(super) source: Source,
}

/// The key sources of the providers, by provider; none for one whose keys are in the configuration.
pub(super) fn key_sources(config: &Config, lookups: &LookupIds, random: u64) -> Vec<Option<KeySource>> {
    let secret = config.shared_data_secret.as_ref().map(|secret| secret.0.as_str());
    let sources = config.providers.iter().zip(0u64..).map(|(provider, at)| match &provider.keys {
        Keys::Local(_) | Keys::None => None,
        Keys::Remote(remote) => {
            // Far apart, so that no two sources of two instances have one number.
            let random = random.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let source = Source::new(Remote::clone(remote), random, secret);
            Some(KeySource { lookup: lookups.next(), source })
        }
    });
    sources.collect()
}

/// The keys of a provider that can be trusted now.
pub(super) fn keys_of<'k>(
    provider: &'k Provider,
    sources: &'k [Option<KeySource>],
    now: Timestamp,
) -> Option<&'k Arc<KeySet>> {
    match &provider.keys {
        Keys::Local(set) => Some(set),
        Keys::None => None,
        Keys::Remote(_) => sources.get(provider.id.0)?.as_ref()?.source.keys(now),
    }
}

impl Gate {
    /// Takes over what other instances of the proxy have put into the store.
    pub(super) fn read_store(&mut self, now: Timestamp) {
        for at in 0..self.sources.len() {
            self.with_source(ProviderId(at), |source, store| source.read_store(store, now));
        }
        self.with_revocations(now, |revocations, store, _| revocations.read_store(store, now));
    }

    /// Takes note of the time: starts the fetches that are due, takes over what other instances fetched, and
    /// wakes the requests that waited too long.
    pub fn tick(&mut self, now: Timestamp) {
        for at in 0..self.sources.len() {
            self.with_source(ProviderId(at), |source, store| source.tick(store, now));
        }
        self.with_revocations(now, |revocations, store, verify| revocations.tick(store, verify, now));
        self.introspection_tick(now);
        self.end_streams(now);
        let expired = self.waiting.expired(now);
        self.wake(expired);
    }

    /// An [`Effect::Fetch`] ended, well or not.
    pub fn fetched(&mut self, lookup: LookupId, response: Result<HttpResponse, FetchError>, now: Timestamp) {
        if let Some(id) = self.introspected_by(lookup) {
            return self.introspected(id, lookup, response, now);
        }
        match self.key_source_of(lookup) {
            Some(id) => self.with_source(id, |source, store| source.answered(store, response, now)),
            None => self.with_revocations(now, |revocations, store, verify| {
                revocations.fetched(lookup, store, response, verify, now)
            }),
        }
    }

    /// Leaves an [`Effect::Fetch`] of keys or of a polled list, which this gate was to carry out, to another gate of the
    /// same configuration in this process, which shares the store and is to be told with [`Gate::take_on`]. For hosts on
    /// which a worker cannot be reached once it has no request. False for everything else, which only this gate can
    /// carry out.
    pub fn hand_over(&mut self, lookup: LookupId) -> bool {
        let store = Rc::clone(&self.store);
        let own = self.sources.iter_mut().flatten().find(|own| own.lookup == lookup);
        match own {
            Some(own) => own.source.hand_over(&*store),
            None => self.revocations.hand_over(lookup, &*store),
        }
    }

    /// Takes on a fetch that another gate of the process has left to this one: an [`Effect::Fetch`] follows, unless it
    /// was taken on before or its time has passed.
    pub fn take_on(&mut self, lookup: LookupId, now: Timestamp) {
        match self.key_source_of(lookup) {
            Some(id) => self.with_source(id, |source, store| source.take_on(store, now)),
            None => {
                self.with_revocations(now, |revocations, store, _| revocations.take_on(lookup, store, now))
            }
        }
    }

    /// The provider whose keys have this number.
    fn key_source_of(&self, lookup: LookupId) -> Option<ProviderId> {
        let is_own = |own: &Option<KeySource>| own.as_ref().is_some_and(|own| own.lookup == lookup);
        self.sources.iter().position(is_own).map(ProviderId)
    }

    /// What requests wait for that need the keys of this provider; none where they are in the configuration.
    pub fn keys_lookup(&self, provider: ProviderId) -> Option<LookupId> {
        Some(self.sources.get(provider.0)?.as_ref()?.lookup)
    }

    /// What an operator may want to see of a provider's key source, where it has one.
    pub fn status(&self, provider: ProviderId, now: Timestamp) -> Option<Status> {
        Some(self.sources.get(provider.0)?.as_ref()?.source.status(now))
    }

    /// The revocation lists that are polled.
    pub fn revocation_lists(&self) -> &[revocation::Poll] {
        self.revocations.lists()
    }

    /// How many tokens passed although it could not be known whether they were revoked, because of an
    /// `on_unavailable` that says so.
    pub fn unchecked(&self) -> u64 {
        self.revocations.unchecked()
    }

    /// In how many seconds a request without keys may be tried again.
    pub(super) fn retry_after(&self, id: ProviderId, now: Timestamp) -> Option<u64> {
        Some(seconds_up(self.sources.get(id.0)?.as_ref()?.source.retry_in(now)))
    }

    /// What was counted since the last time, and every ten seconds how the keys and lists are.
    pub fn samples(&mut self, now: Timestamp) -> Vec<Sample> {
        let mut samples = self.metrics.take();
        if now.since(self.gauged) >= GAUGES_EVERY {
            self.gauged = now;
            self.key_gauges(now, &mut samples);
            self.list_gauges(now, &mut samples);
            self.introspection_gauges(now, &mut samples);
        }
        samples
    }

    fn key_gauges(&self, now: Timestamp, samples: &mut Vec<Sample>) {
        for id in (0..self.sources.len()).map(ProviderId) {
            let Some(status) = self.status(id, now) else { continue };
            samples.push(self.metrics.gauge(id, "keys", number(status.keys)));
            let Some(last) = status.last_success else { continue };
            samples.push(self.metrics.gauge(id, "keys_last_success_seconds", last.as_secs()));
            samples.push(self.metrics.gauge(id, "keys_age_seconds", now.since(last).as_secs()));
            samples.push(self.metrics.gauge(id, "keys_stale", u64::from(status.stale)));
        }
    }

    fn list_gauges(&self, now: Timestamp, samples: &mut Vec<Sample>) {
        for (at, list) in self.revocations.lists().iter().enumerate() {
            let entries = list.list().map_or(0, |list| list.len());
            samples.push(self.metrics.list_gauge(at, "revocation_entries", number(entries)));
            let stale = list.fresh_until().is_none_or(|until| now >= until);
            samples.push(self.metrics.list_gauge(at, "revocation_stale", u64::from(stale)));
            let Some(last) = list.last_success() else { continue };
            let age = now.since(last).as_secs();
            samples.push(self.metrics.list_gauge(at, "revocation_age_seconds", age));
        }
    }

    /// Forgets a request, which is over or whose client has gone.
    pub fn forget(&mut self, stream: StreamId) {
        self.waiting.remove(stream);
        self.streams.remove(stream);
    }

    /// Wakes every request that waits, because this gate ends.
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

    /// After what time [`Gate::tick`] is to be called again at the latest, as things are at `now`; none where nothing is
    /// fetched: then only what is counted is to be taken with [`Gate::samples`]. It is called earlier where a request
    /// begins to wait.
    pub fn poll_timeout(&self, now: Timestamp) -> Option<Duration> {
        let is_waited_for = self.is_waited_for();
        let keys = self.sources.iter().flatten().map(|own| own.source.wake_at(is_waited_for, now));
        let sources = keys.chain(self.revocations.wake_at(is_waited_for, now)).min();
        // The gauges of what is fetched need no time of their own: a source asks for ticks several times a second.
        let calls = sources.into_iter().chain(self.introspection_wake_at());
        let streams = self.streams.wake_at(&self.revocations);
        let wake_at = calls.chain(streams).chain(self.waiting.first_deadline()).min();
        wake_at.map(|at| at.since(now))
    }

    /// The next thing to be done outside.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn wake(&mut self, streams: Vec<(StreamId, Waited)>) {
        self.effects.extend(streams.into_iter().map(|(stream, waited)| Effect::Wake(stream, waited)));
    }

    fn with_source(&mut self, id: ProviderId, act: impl FnOnce(&mut Source, &dyn Store) -> Vec<SourceEvent>) {
        let Some(own) = self.sources.get_mut(id.0).and_then(Option::as_mut) else { return };
        let KeySource { lookup, source } = own;
        let lookup = *lookup;
        let name = self.config.provider(id).map_or("", |provider| &provider.name);
        for event in act(source, &*self.store) {
            match event {
                SourceEvent::Ask(request) => self.effects.push_back(Effect::Fetch { lookup, request }),
                SourceEvent::Log(level, text) => {
                    self.effects.push_back(Effect::Log(level, format!("provider {name:?}: {text}")));
                }
                SourceEvent::Ended => {
                    let released = self.waiting.released(lookup).into_iter();
                    self.effects.extend(released.map(|(stream, waited)| Effect::Wake(stream, waited)));
                }
                SourceEvent::Tried(outcome) => {
                    let event = if outcome.is_ok() { Event::Fetched } else { Event::FetchFailed };
                    self.metrics.happened(id, event);
                }
                // A key that is no longer listed was revoked, and so was every token that was verified by it.
                SourceEvent::Changed => {
                    self.streams.keys_changed();
                    if let (Some(cache), Some(set)) = (self.token_caches.get_mut(id.0), source.held()) {
                        cache.keep_keys(set);
                        if let Some(Some(introspector)) = self.introspectors.get_mut(id.0) {
                            introspector.keep_keys(set);
                        }
                    }
                }
            }
        }
    }

    fn with_revocations(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut Revocations, &dyn Store, revocation::Verify<'_>) -> Vec<(LookupId, SourceEvent)>,
    ) {
        if self.config.revocation.is_off() {
            return;
        }
        let unverified: RefCell<Vec<(ProviderId, Option<String>)>> = RefCell::default();
        let verify = |id: ProviderId, uri: &str, token: &[u8], max: usize| {
            let provider = self.config.provider(id).ok_or(StatusError::NoKeys)?;
            let keys = keys_of(provider, &self.sources, now);
            let trust = (&**keys.ok_or(StatusError::NoKeys)?, &provider.policy, &self.backend);
            let list = StatusList::verify(token, uri, trust, max, now);
            if let Err(StatusError::Token(Reason::KeyNotFound | Reason::SignatureInvalid)) = list
                && let Ok(jws) = Jws::parse(token.trim_ascii())
            {
                unverified.borrow_mut().push((id, jws.header().kid.clone()));
            }
            list
        };
        for (lookup, event) in act(&mut self.revocations, &*self.store, &verify) {
            match event {
                SourceEvent::Ask(request) => self.effects.push_back(Effect::Fetch { lookup, request }),
                SourceEvent::Log(level, text) => {
                    let name = self.revocations.name(lookup);
                    self.effects.push_back(Effect::Log(level, format!("{name}: {text}")));
                }
                SourceEvent::Ended => {
                    let released = self.waiting.released(lookup).into_iter();
                    self.effects.extend(released.map(|(stream, waited)| Effect::Wake(stream, waited)));
                }
                SourceEvent::Tried(outcome) => {
                    if let Some(at) = self.revocations.place(lookup) {
                        self.metrics.list_fetched(at, outcome);
                    }
                }
                SourceEvent::Changed => self.revocations.changed(),
            }
        }
        // A list under a new key is a reason to look for the key, like a token.
        for (id, kid) in unverified.into_inner() {
            let Some(own) = self.sources.get_mut(id.0).and_then(Option::as_mut) else { continue };
            let source = &mut own.source;
            match kid.filter(|kid| source.held().is_none_or(|keys| !keys.has_kid(kid))) {
                Some(kid) => {
                    source.unknown_kid(&*self.store, &kid, true, now);
                }
                None => {
                    source.signature_failed(&*self.store, now, now);
                }
            }
        }
    }
}

/// How often it is reported how keys and lists are.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

fn number(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
