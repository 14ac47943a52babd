//! Open streams that end with their tokens: those of requests that passed under a rule with `streams`.
//!
//! They are kept by when they end, so that a tick looks at the first alone. What says that tokens are revoked is asked
//! again where it says something new, about so many streams with each tick.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::rc::Rc;
use std::time::Duration;

use super::build_outcome::Refusal;
use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use super::outcome::{Accepted, Outcome};
use super::plan::RulePlan;
use super::revocations::Revocations;
use super::{Effect, Gate, StreamId};
use crate::config::{Keys, Provider};
use crate::metrics::Event;
use crate::reason::Reason;
use crate::revocation::{Identity, Reference};
use crate::rules::{Mode, Rule};
use crate::time::Timestamp;
use crate::token::ProviderId;

/// How many open streams a worker remembers of rules that end them.
pub const MAX_STREAMS: usize = 50_000;
/// How many of them are ended, and how many are looked at because of a revocation, with one tick.
const AT_ONCE: usize = 1_000;
/// How often it is said of the status lists that open streams name them: a list that nothing names is forgotten.
const NAMED_EVERY: Duration = Duration::from_secs(30);

/// The open streams of one gate.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: BTreeMap<StreamId, Open>,
    /// When each ends that ends by itself.
    ends: BTreeSet<(Timestamp, StreamId)>,
    /// How often a provider's keys changed.
    key_changes: u64,
    /// What the sources said when the last look at all of them began.
    seen: Seen,
    /// When that was.
    looked: Timestamp,
    /// The last stream that was looked at, while such a look goes on.
    at: Option<StreamId>,
}

/// Which news of revocations are known: those of lists, and those of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    epoch: u64,
    key_changes: u64,
}

/// An open stream.
#[derive(Debug)]
struct Open {
    /// When it ends by itself, and whose token ends then.
    end: Option<(Timestamp, ProviderId)>,
    tokens: Vec<OpenedBy>,
    /// Whether its rule only reports.
    reports: bool,
}

/// What a token is revoked by that opened a stream.
#[derive(Debug)]
struct OpenedBy {
    provider: ProviderId,
    /// The fingerprint of the key that verified it, where its provider can stop listing that.
    key: Option<[u8; 32]>,
    /// Its names, where lists are asked about it.
    identity: Option<Identity>,
    /// Its place in a status list.
    reference: Option<Reference>,
}

impl OpenedBy {
    fn can_be_revoked(&self) -> bool {
        self.key.is_some() || self.identity.is_some()
    }
}

/// Why a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    Expired,
    Revoked,
}

/// A stream that ends now.
#[derive(Debug)]
struct Ended {
    stream: StreamId,
    provider: ProviderId,
    why: Why,
    reports: bool,
}

impl Streams {
    fn has_room(&self) -> bool {
        self.open.len() < MAX_STREAMS
    }

    fn add(&mut self, stream: StreamId, open: Open) {
        self.remove(stream);
        if let Some((at, _)) = open.end {
            self.ends.insert((at, stream));
        }
        self.open.insert(stream, open);
    }

    /// A stream is no longer open.
    pub(super) fn remove(&mut self, stream: StreamId) {
        drop(self.take(stream));
    }

    fn take(&mut self, stream: StreamId) -> Option<Open> {
        let open = self.open.remove(&stream)?;
        if let Some((at, _)) = open.end {
            self.ends.remove(&(at, stream));
        }
        Some(open)
    }

    /// A provider's keys are others now.
    pub(super) fn keys_changed(&mut self) {
        self.key_changes = self.key_changes.wrapping_add(1);
    }

    /// When the next tick is wanted at the latest; none where no stream is open.
    pub(super) fn wake_at(&self, revocations: &Revocations) -> Option<Timestamp> {
        if self.open.is_empty() {
            return None;
        }
        if self.at.is_some() || self.seen != self.news(revocations) {
            return Some(Timestamp::default());
        }
        let named = revocations.has_status_lists().then(|| self.looked.plus(NAMED_EVERY));
        named.into_iter().chain(self.ends.first().map(|(at, _)| *at)).min()
    }

    fn news(&self, revocations: &Revocations) -> Seen {
        Seen { epoch: revocations.epoch(), key_changes: self.key_changes }
    }

    /// Takes out the streams whose time is up, so many of them.
    fn expired(&mut self, now: Timestamp) -> Vec<Ended> {
        let mut ended = Vec::new();
        while ended.len() < AT_ONCE
            && let Some((_, stream)) = self.ends.first().copied().filter(|(at, _)| *at <= now)
        {
            match self.take(stream) {
                Some(Open { end: Some((_, provider)), reports, .. }) => {
                    ended.push(Ended { stream, provider, why: Why::Expired, reports });
                }
                _ => drop(self.ends.pop_first()),
            }
        }
        ended
    }

    /// Looks at some more streams where anything says something new, and takes out those whose tokens were revoked.
    fn revoked(&mut self, now: Timestamp, asked: &mut Asked<'_>) -> Vec<Ended> {
        let Some(after) = self.goes_on_after(asked.revocations, now) else { return Vec::new() };
        let mut ended = Vec::new();
        let mut last = None;
        for (stream, open) in self.open.range((after, Bound::Unbounded)).take(AT_ONCE) {
            last = Some(*stream);
            if let Some(token) = open.tokens.iter().find(|token| asked.is_revoked(token, now)) {
                let (provider, reports) = (token.provider, open.reports);
                ended.push(Ended { stream: *stream, provider, why: Why::Revoked, reports });
            }
        }
        self.at = last;
        for one in &ended {
            self.remove(one.stream);
        }
        ended
    }

    /// Behind which stream a look at all of them goes on, or begins, where one is due.
    fn goes_on_after(&mut self, revocations: &Revocations, now: Timestamp) -> Option<Bound<StreamId>> {
        if let Some(last) = self.at {
            return Some(Bound::Excluded(last));
        }
        let news = self.news(revocations);
        let is_due = news != self.seen
            || now < self.looked
            || (revocations.has_status_lists() && now.since(self.looked) >= NAMED_EVERY);
        if !is_due {
            return None;
        }
        (self.seen, self.looked) = (news, now);
        (!self.open.is_empty()).then_some(Bound::Unbounded)
    }
}

#[cfg(test)]
impl Streams {
    /// Remembers so many streams that end at once.
    pub(super) fn fill(&mut self, count: usize) {
        for stream in (0..).take(count) {
            let end = Some((Timestamp::default(), ProviderId(0)));
            self.add(StreamId(stream), Open { end, tokens: Vec::new(), reports: false });
        }
    }
}

/// What is asked whether a token was revoked.
struct Asked<'g> {
    revocations: &'g mut Revocations,
    /// Whether a provider has no such key any more.
    is_key_gone: &'g dyn Fn(ProviderId, &[u8; 32]) -> bool,
}

impl Asked<'_> {
    fn is_revoked(&mut self, token: &OpenedBy, now: Timestamp) -> bool {
        let (provider, reference) = (token.provider, token.reference.as_ref());
        token.key.as_ref().is_some_and(|key| (self.is_key_gone)(provider, key))
            || token
                .identity
                .as_ref()
                .is_some_and(|identity| self.revocations.revokes(identity, reference, provider, now))
    }
}

impl Gate {
    /// Ends the streams whose tokens have expired or were revoked.
    pub(super) fn end_streams(&mut self, now: Timestamp) {
        let Self { streams, revocations, sources, .. } = self;
        let is_key_gone = |id: ProviderId, key: &[u8; 32]| {
            let held = sources.get(id.0).and_then(Option::as_ref).and_then(|own| own.source.held());
            held.is_some_and(|set| set.keys().iter().all(|own| own.fingerprint != *key))
        };
        let mut ended = streams.expired(now);
        ended.extend(streams.revoked(now, &mut Asked { revocations, is_key_gone: &is_key_gone }));
        for Ended { stream, provider, why, reports } in ended {
            let event = match (why, reports) {
                (Why::Expired, false) => Event::StreamExpired,
                (Why::Revoked, false) => Event::StreamRevoked,
                (Why::Expired, true) => Event::StreamWouldExpire,
                (Why::Revoked, true) => Event::StreamWouldBeRevoked,
            };
            self.metrics.happened(provider, event);
            if !reports {
                self.effects.push_back(Effect::Close(stream));
            }
        }
    }
}

impl RequestFlow<'_, '_> {
    /// The last steps under a rule whose streams end with their tokens, `grace` after them.
    pub(super) fn use_once_and_follow(
        &mut self,
        rule: &Rule,
        plan: Option<&RulePlan>,
        accepted: &[Accepted],
        grace: Duration,
    ) -> ControlFlow<Outcome> {
        let open = self.open_stream(rule, accepted, grace);
        if open.is_some() && !self.gate.streams.has_room() {
            let words = format!("{MAX_STREAMS} streams are open already that end with their tokens");
            let provider = self.provider_to_name(None, plan);
            let refusal = Refusal { provider, ..Refusal::new(Reason::Overloaded.explained(words)) };
            return ControlFlow::Break(self.build_refusal(refusal));
        }
        self.use_once(rule, accepted)?;
        if let Some(open) = open {
            self.allow.is_followed = true;
            self.gate.streams.add(self.stream, open);
        }
        ControlFlow::Continue(())
    }

    /// What ends the stream of a request with these tokens; none where nothing does.
    fn open_stream(&self, rule: &Rule, accepted: &[Accepted], grace: Duration) -> Option<Open> {
        let mut open = Open { end: None, tokens: Vec::new(), reports: rule.mode == Mode::Report };
        for one in accepted {
            self.add_token(&mut open, rule, grace, (&one.provider, &one.token));
            // Where a JWT is good for what its provider answers, it ends and is revoked by what it says itself, too.
            let own = self.results.iter().find(|(id, _)| *id == one.provider.id);
            if let Some((_, Ok(token))) = own
                && !Rc::ptr_eq(token, &one.token)
            {
                self.add_token(&mut open, rule, grace, (&one.provider, token));
            }
        }
        (open.end.is_some() || !open.tokens.is_empty()).then_some(open)
    }

    fn add_token(
        &self,
        open: &mut Open,
        rule: &Rule,
        grace: Duration,
        (provider, token): (&Provider, &CachedToken),
    ) {
        if let Some(expires) = token.claims().expires {
            let end = (expires.plus(provider.policy.clock_skew).plus(grace), provider.id);
            open.end = Some(open.end.map_or(end, |other| other.min(end)));
        }
        let is_listed = !self.config.revocation.is_off() && !rule.ignores_revocation;
        let can_lose_key = matches!(provider.keys, Keys::Remote(_)) && !token.is_answer();
        let named = || token.reference().as_ref().ok()?.clone();
        let token = OpenedBy {
            provider: provider.id,
            key: can_lose_key.then(|| *token.key()),
            identity: is_listed.then(|| token.identity().as_ref().ok().cloned()).flatten(),
            reference: (is_listed && self.gate.revocations.has_status_lists()).then(named).flatten(),
        };
        if token.can_be_revoked() {
            open.tokens.push(token);
        }
    }
}
