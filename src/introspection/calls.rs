//! The calls of one provider: one for each token at a time, few at once, and pauses after failures.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use super::answer::{self, Finding};
use super::form;
use super::settings::{GRACE, Introspection};
use super::signed::Verifier;
use crate::fetch::{
    FetchError, HttpRequest, HttpResponse, LookupId, LookupIds, MAX_RETRY_AFTER, pause_after, retry_after,
    within,
};
use crate::time::{Timestamp, seconds_up};

/// What a token is known by: a keyed hash of 128 bits, so that no client can choose tokens that share an entry, and no token is
/// kept. Every request with a token has it made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TokenDigest([u64; 2]);

impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Hashes a [`TokenDigest`], which is a hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        // Nothing but digests comes, by `write_u64`.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many tokens may wait for a call to be free, in each worker: as many as requests may wait. Beyond that the answer is
/// 503.
pub const MAX_QUEUED: usize = 1024;
/// The longest pause after failures, unless the endpoint asks for more. Short, as it is for keys that are missing: requests
/// need what is asked for, and while the endpoint fails one call at a time asks.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The calls of one provider in one worker.
#[derive(Debug)]
pub(crate) struct Calls {
    settings: Rc<Introspection>,
    /// Two keys, which nobody else knows.
    keys: [RandomState; 2],
    ids: LookupIds,
    in_flight: Vec<Call>,
    queue: VecDeque<Queued>,
    /// How many calls failed in a row.
    failures: u64,
    /// When the last of them failed. What was sent before that says nothing more.
    failed: Timestamp,
    /// No call before this.
    not_before: Timestamp,
    /// When the endpoint last answered.
    answered: Option<Timestamp>,
    /// Spreads retries.
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Call {
    lookup: LookupId,
    token: TokenDigest,
    sent: Timestamp,
}

#[derive(Debug)]
struct Queued {
    lookup: LookupId,
    token: TokenDigest,
    request: HttpRequest,
    since: Timestamp,
}

/// What asking about a token led to.
#[derive(Debug)]
pub(crate) enum Asked {
    /// An answer is on its way; this is to be sent for it, unless it was before or waits for its turn.
    OnItsWay(LookupId, Option<HttpRequest>),
    /// The endpoint fails, and it is too early to try again.
    Paused,
    /// Too many tokens wait for their turn.
    Full,
}

/// What follows from the end of a call.
#[derive(Debug, Default)]
pub(crate) struct CallUpdate {
    /// The call that ended.
    pub(crate) ended: Option<Ended>,
    /// What else is not on its way any longer.
    pub(crate) released: Vec<LookupId>,
    /// What is to be sent.
    pub(crate) requests: Vec<(LookupId, HttpRequest)>,
}

/// A call that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) lookup: LookupId,
    /// The token that it was about.
    pub(crate) token: TokenDigest,
    /// When it was sent: the answer may be about that moment.
    pub(crate) sent: Timestamp,
    pub(crate) finding: Finding,
    /// Whether it is the first that fails since one did not, or since the last pause.
    pub(crate) is_news: bool,
}

impl Calls {
    /// No calls yet. `random` spreads retries.
    pub(crate) fn new(settings: Rc<Introspection>, ids: LookupIds, random: u64) -> Self {
        Self {
            settings,
            keys: [RandomState::new(), RandomState::new()],
            ids,
            in_flight: Vec::new(),
            queue: VecDeque::new(),
            failures: 0,
            failed: Timestamp::default(),
            not_before: Timestamp::default(),
            answered: None,
            random: fastrand::Rng::with_seed(random),
        }
    }

    /// What is asked, and how.
    pub(crate) fn settings(&self) -> &Rc<Introspection> {
        &self.settings
    }

    /// What a token is known by here.
    pub(crate) fn digest(&self, token: &[u8]) -> TokenDigest {
        TokenDigest(self.keys.each_ref().map(|key| key.hash_one(token)))
    }

    /// How many calls are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the endpoint last answered.
    pub(crate) fn answered_at(&self) -> Option<Timestamp> {
        self.answered
    }

    /// Whether this is one of its calls.
    pub(crate) fn has(&self, lookup: LookupId) -> bool {
        self.in_flight.iter().any(|call| call.lookup == lookup)
    }

    /// In how many seconds it may be tried again.
    pub(crate) fn retry_in(&self, now: Timestamp) -> u64 {
        seconds_up(self.not_before.since(now)).max(1)
    }

    /// When the first call is to be given up.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.in_flight.iter().map(|call| self.lost_at(call)).min()
    }

    /// Asks about a token, unless a call about it is on its way. One that is known to be the provider's comes before those
    /// that anybody can make up.
    pub(crate) fn ask(
        &mut self,
        token: TokenDigest,
        text: &[u8],
        is_the_providers: bool,
        now: Timestamp,
    ) -> Asked {
        let known = self.in_flight.iter().find(|call| call.token == token).map(|call| call.lookup);
        let queued = || self.queue.iter().find(|queued| queued.token == token).map(|queued| queued.lookup);
        if let Some(lookup) = known.or_else(queued) {
            return Asked::OnItsWay(lookup, None);
        }
        // Further ahead than any pause: the clock was set back.
        self.not_before = within(self.not_before, MAX_RETRY_AFTER, now);
        if now < self.not_before {
            return Asked::Paused;
        }
        let max = if is_the_providers { MAX_QUEUED.saturating_mul(2) } else { MAX_QUEUED };
        if self.in_flight.len() >= self.room() && self.queue.len() >= max {
            return Asked::Full;
        }
        let lookup = self.ids.next();
        let request = form::request(&self.settings, text);
        if self.in_flight.len() < self.room() {
            self.in_flight.push(Call { lookup, token, sent: now });
            return Asked::OnItsWay(lookup, Some(request));
        }
        let queued = Queued { lookup, token, request, since: now };
        match is_the_providers {
            true => self.queue.push_front(queued),
            false => self.queue.push_back(queued),
        }
        Asked::OnItsWay(lookup, None)
    }

    /// A call ended, well or not.
    pub(crate) fn fetched(
        &mut self,
        lookup: LookupId,
        response: Result<HttpResponse, FetchError>,
        verifier: Verifier<'_>,
        now: Timestamp,
    ) -> CallUpdate {
        let Some(at) = self.in_flight.iter().position(|call| call.lookup == lookup) else {
            return CallUpdate::default();
        };
        let Call { token, sent, .. } = self.in_flight.swap_remove(at);
        let hold = response.as_ref().ok().and_then(retry_after);
        let finding = answer::read(&self.settings, response, verifier, now);
        let mut news = CallUpdate::default();
        let mut is_news = true;
        if matches!(finding, Finding::Failed(_)) {
            // Those that were in flight together fail together.
            is_news = sent >= self.failed || self.failures == 0;
            if is_news || hold.is_some() {
                self.pause(hold, now);
            }
            news.released = self.queue.drain(..).map(|queued| queued.lookup).collect();
        } else {
            (self.failures, self.not_before) = (0, Timestamp::default());
            self.answered = Some(now);
            self.send_queued(&mut news, now);
        }
        news.ended = Some(Ended { lookup, token, sent, finding, is_news });
        news
    }

    /// The calls whose answers are lost.
    pub(crate) fn lost(&self, now: Timestamp) -> Vec<LookupId> {
        // Sent later than now: the clock was set back.
        let lost = |call: &&Call| now >= self.lost_at(call) || now.plus(GRACE) < call.sent;
        let lost = self.in_flight.iter().filter(lost);
        lost.map(|call| call.lookup).collect()
    }

    fn lost_at(&self, call: &Call) -> Timestamp {
        call.sent.plus(self.settings.endpoint.timeout).plus(GRACE)
    }

    /// How many calls may be in flight: one alone tries whether the endpoint is well again.
    fn room(&self) -> usize {
        if self.failures > 0 { 1 } else { self.settings.max_in_flight }
    }

    fn pause(&mut self, hold: Option<Duration>, now: Timestamp) {
        let spread = 0.8 + 0.4 * self.random.f64();
        let pause = pause_after(self.failures, MAX_PAUSE, hold, spread);
        self.failures = self.failures.saturating_add(1);
        (self.failed, self.not_before) = (now, now.plus(pause));
    }

    /// Sends what waits for its turn. What has waited for longer than an answer may take, nobody waits for.
    fn send_queued(&mut self, news: &mut CallUpdate, now: Timestamp) {
        while self.in_flight.len() < self.room()
            && let Some(Queued { lookup, token, request, since }) = self.queue.pop_front()
        {
            if now.since(since) >= self.settings.patience() {
                news.released.push(lookup);
                continue;
            }
            self.in_flight.push(Call { lookup, token, sent: now });
            news.requests.push((lookup, request));
        }
    }
}
