//! Whether a valid token was revoked: every source is asked, and what they say is remembered with
//! the verdict for as long as none of them says anything new.

use std::rc::Rc;
use std::time::Duration;

use super::Timestamp;
use super::cached_token::CachedToken;
use super::unmet::Obstacle;
use super::waiting::Waited;
use crate::config::Config;
use crate::fetch::{FetchError, HttpResponse, LookupId, LookupIds, SourceEvent, Store};
use crate::reason::{Reason, Rejected, excerpt};
use crate::revocation::{
    Identity, List, NoList, OnUnavailable, Poll, Reference, RevocationStatus, Statuses, Verify,
};
use crate::time::Limiter;
use crate::token::ProviderId;

/// The sources of one gate.
#[derive(Debug)]
pub(super) struct Revocations {
    inline: Option<Rc<List>>,
    lists: Vec<Poll>,
    /// The number of each of them.
    lookups: Vec<LookupId>,
    statuses: Statuses,
    /// The largest clock skew of all providers: a token lives for that much longer than its `exp`, and an
    /// entry must outlive it.
    skew: Duration,
    /// Grows whenever a source says something new: what is remembered of an earlier one does not count.
    epoch: u64,
    /// The latest time that is known.
    latest: Timestamp,
    unchecked: u64,
    notes: Limiter,
    /// What the log is to be told.
    log: Vec<String>,
}

/// One request's question.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) provider: ProviderId,
    /// How long the request waited, if it did.
    pub(super) waited: Option<Waited>,
    /// Whether it may wait at all.
    pub(super) may_wait: bool,
    pub(super) now: Timestamp,
}

/// How a token passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// No source revoked it.
    Checked,
    /// A source could not be had, and the operator lets tokens pass then.
    Unchecked,
}

/// How long what a status list said of a token is remembered without a look at the list.
const STILL_NAMED: Duration = Duration::from_secs(60);
/// The end of time.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

impl Revocations {
    pub(super) fn new(config: &Config, lookups: &LookupIds, random: u64) -> Self {
        let secret = config.shared_data_secret.as_ref().map(|secret| secret.0.as_str());
        // Far apart from each other, and from the sources of keys.
        let numbers = (1u64..).map(|at| random.wrapping_sub(at.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let lists = config.revocation.lists.iter().zip(numbers);
        Self {
            inline: config.revocation.inline.clone(),
            lists: lists.map(|(polled, random)| Poll::new(polled.clone(), random, secret)).collect(),
            lookups: config.revocation.lists.iter().map(|_| lookups.next()).collect(),
            statuses: Statuses::new(config.revocation.status_lists.clone(), lookups.clone(), !random, secret),
            skew: config
                .providers
                .iter()
                .map(|provider| provider.policy.clock_skew)
                .max()
                .unwrap_or_default(),
            epoch: 0,
            latest: Timestamp::default(),
            unchecked: 0,
            notes: Limiter::new(10),
            log: Vec::new(),
        }
    }

    /// How many tokens passed although it could not be known whether they were revoked.
    pub(super) fn unchecked(&self) -> u64 {
        self.unchecked
    }

    /// The lists that are polled.
    pub(super) fn lists(&self) -> &[Poll] {
        &self.lists
    }

    /// What is to be logged of the requests that were judged.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// When a source wants the next tick at the latest; none where nothing is fetched.
    pub(super) fn wake_at(&self, is_waited_for: bool, now: Timestamp) -> Option<Timestamp> {
        let lists = self.lists.iter().map(|list| list.wake_at(is_waited_for, now));
        lists.chain(self.statuses.wake_at(is_waited_for, now)).min()
    }

    pub(super) fn read_store(&mut self, store: &dyn Store, now: Timestamp) -> Vec<(LookupId, SourceEvent)> {
        let lists = self.lookups.iter().zip(&mut self.lists);
        lists.flat_map(|(lookup, list)| named(*lookup, list.read_store(store, now))).collect()
    }

    pub(super) fn tick(
        &mut self,
        store: &dyn Store,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<(LookupId, SourceEvent)> {
        // Where the clock was set back, what is remembered would last longer than its lists.
        if now < self.latest {
            self.changed();
        }
        self.latest = now;
        let lists = self.lookups.iter().zip(&mut self.lists);
        let mut all: Vec<_> =
            lists.flat_map(|(lookup, list)| named(*lookup, list.tick(store, now))).collect();
        all.extend(self.statuses.tick(store, verify, now));
        all
    }

    pub(super) fn fetched(
        &mut self,
        lookup: LookupId,
        store: &dyn Store,
        answer: Result<HttpResponse, FetchError>,
        verify: Verify<'_>,
        now: Timestamp,
    ) -> Vec<(LookupId, SourceEvent)> {
        let polled = self.polled(lookup).and_then(|at| self.lists.get_mut(at));
        named(
            lookup,
            match polled {
                Some(list) => list.answered(store, answer, now),
                None => self.statuses.answered(lookup, store, answer, verify, now),
            },
        )
    }

    /// Leaves the fetch of a polled list to another gate of the process; false for any other source.
    pub(super) fn hand_over(&mut self, lookup: LookupId, store: &dyn Store) -> bool {
        let polled = self.polled(lookup).and_then(|at| self.lists.get_mut(at));
        polled.is_some_and(|list| list.hand_over(store))
    }

    /// Takes on the fetch of a polled list that another gate of the process has left to this one.
    pub(super) fn take_on(
        &mut self,
        lookup: LookupId,
        store: &dyn Store,
        now: Timestamp,
    ) -> Vec<(LookupId, SourceEvent)> {
        let polled = self.polled(lookup).and_then(|at| self.lists.get_mut(at));
        named(lookup, polled.map(|list| list.take_on(store, now)).unwrap_or_default())
    }

    /// The place of a polled list in the configuration.
    fn polled(&self, lookup: LookupId) -> Option<usize> {
        self.lookups.iter().position(|own| *own == lookup)
    }

    /// A source says something new.
    pub(super) fn changed(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// How often a source said something new.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether tokens can refer to status lists.
    pub(super) fn has_status_lists(&self) -> bool {
        !self.statuses.is_off()
    }

    /// Whether a source that is at hand, however old, revokes the token of these names. A status list that it refers to
    /// is kept up to date for it.
    pub(super) fn revokes(
        &mut self,
        identity: &Identity,
        reference: Option<&Reference>,
        provider: ProviderId,
        now: Timestamp,
    ) -> bool {
        let then = now.minus(self.skew);
        let mut lists = self.inline.iter().chain(self.lists.iter().filter_map(Poll::list));
        if lists.any(|list| list.standing(identity, then) != RevocationStatus::Good) {
            return true;
        }
        let Some(reference) = reference else { return false };
        let Ok(list) = self.statuses.find(provider, &reference.uri, now) else { return false };
        self.statuses.last_known(list, reference.at).is_some_and(|status| status != 0)
    }

    /// What the log calls a list.
    pub(super) fn name(&self, lookup: LookupId) -> String {
        match self.polled(lookup).and_then(|at| self.lists.get(at)) {
            Some(list) => format!("revocation list {:?}", list.polled().name),
            None => format!("status list {:?}", self.statuses.uri(lookup)),
        }
    }

    /// The place of a source among all: the polled lists, then the places of status lists.
    pub(super) fn place(&self, lookup: LookupId) -> Option<usize> {
        let status = || self.lists.len().checked_add(self.statuses.place(lookup)?);
        self.polled(lookup).or_else(status)
    }

    /// In how many seconds a request may be tried again for which a list was missing.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<u64> {
        let missing = |list: &&Poll| list.fresh_until().is_none_or(|until| now >= until);
        self.lists.iter().filter(missing).map(|list| list.next_fetch_in(now).as_secs()).max()
    }

    /// Whether a verified token was revoked.
    pub(super) fn check(&mut self, token: &CachedToken, asked: Asked) -> Result<Passed, Obstacle> {
        let now = asked.now;
        if now < self.latest {
            // The clock was set back: an entry that had ended may count again.
            self.changed();
            self.latest = now;
        }
        if let Some(result) = token.checked(self.epoch, now) {
            return Ok(result.map(|()| Passed::Checked)?);
        }
        self.latest = now;
        let (result, until) = self.ask(token, asked)?;
        token.remember_check(self.epoch, until, &result);
        // What could not be known is not remembered: each time is counted.
        let passed = if until <= now { Passed::Unchecked } else { Passed::Checked };
        Ok(result.map(|()| passed)?)
    }

    /// What the sources say together, and until when that holds if none of them says anything new.
    fn ask(
        &mut self,
        token: &CachedToken,
        asked: Asked,
    ) -> Result<(Result<(), Rejected>, Timestamp), Obstacle> {
        let now = asked.now;
        let identity = match token.identity() {
            Ok(identity) => identity,
            Err(rejected) => return Ok((Err(rejected.clone()), NEVER)),
        };
        let lists = self.inline.iter().chain(self.lists.iter().filter_map(Poll::list));
        let then = now.minus(self.skew);
        let standing =
            lists.fold(RevocationStatus::Good, |standing, list| standing.and(list.standing(identity, then)));
        if let RevocationStatus::Revoked { until } = standing {
            let rejected = self.revoked_by(identity, then);
            return Ok((Err(rejected), until.map_or(NEVER, |until| until.plus(self.skew))));
        }
        let mut until = NEVER;
        let mut unchecked = None;
        let mut missing = None;
        for (lookup, list) in self.lookups.iter().zip(&self.lists) {
            match list.fresh_until().filter(|fresh_until| now < *fresh_until) {
                Some(fresh_until) => until = until.min(fresh_until),
                None if list.polled().on_unavailable == OnUnavailable::Allow => {
                    // Only the very first answer is worth the wait.
                    if !list.was_tried() {
                        asked.wait(*lookup, list.expects_answer(now))?;
                    }
                    unchecked = Some(self.name(*lookup));
                }
                None => {
                    asked.wait(*lookup, list.expects_answer(now))?;
                    missing = Some(self.name(*lookup));
                }
            }
        }
        let status = self.status(token, asked)?;
        match status {
            Status::None => {}
            // A list is kept up to date while tokens name it, so that each says once in a while that it does.
            Status::Good(status_until) => until = until.min(status_until).min(now.plus(STILL_NAMED)),
            Status::Bad(rejected) => return Ok((Err(rejected), now.plus(STILL_NAMED))),
            Status::Missing(OnUnavailable::Deny) => missing = Some(self.status_name(token)),
            Status::Missing(OnUnavailable::Allow) => unchecked = Some("a status list".to_owned()),
        }
        if let Some(name) = missing {
            return Err(Reason::RevocationUnavailable.explained([&name, " cannot be had"].concat()).into());
        }
        if let Some(what) = unchecked {
            self.unchecked = self.unchecked.saturating_add(1);
            if let Some(more) = self.notes.room(now) {
                self.log.push(format!(
                    "a token passed unchecked, for {what} cannot be had and \"on_unavailable\" is \"allow\"{more}"
                ));
            }
            until = now;
        }
        Ok((Ok(()), until))
    }

    /// Which list revokes a token.
    fn revoked_by(&self, identity: &Identity, then: Timestamp) -> Rejected {
        let revokes = |list: &List| list.standing(identity, then) != RevocationStatus::Good;
        if self.inline.as_ref().is_some_and(|list| revokes(list)) {
            return Reason::Revoked.because("an entry of the inline list");
        }
        let mut lists = self.lookups.iter().zip(&self.lists);
        let list = lists.find(|(_, list)| list.list().is_some_and(|list| revokes(list)));
        let name = list.map(|(lookup, _)| self.name(*lookup)).unwrap_or_default();
        Reason::Revoked.explained(["an entry of ", &name].concat())
    }

    /// What the log calls the status list of a token.
    fn status_name(&self, token: &CachedToken) -> String {
        match token.reference() {
            Ok(Some(reference)) => ["status list ", &excerpt(&reference.uri)].concat(),
            Ok(None) | Err(_) => "a status list".to_owned(),
        }
    }

    /// What the status list says to which the token refers.
    fn status(&mut self, token: &CachedToken, asked: Asked) -> Result<Status, Obstacle> {
        if self.statuses.is_off() {
            return Ok(Status::None);
        }
        let reference = match token.reference() {
            Ok(None) => return Ok(Status::None),
            Ok(Some(reference)) => reference,
            Err(rejected) => return Ok(Status::Bad(rejected.clone())),
        };
        let now = asked.now;
        let id = match self.statuses.find(asked.provider, &reference.uri, now) {
            Ok(id) => id,
            Err(NoList::NotMapped) => {
                if let Some(more) = self.notes.room(now) {
                    self.log.push(format!(
                        "a token was refused, for no \"uri_prefix\" of \"status_lists\" covers the list that it names{more}"
                    ));
                }
                let words = format!("no uri_prefix of status_lists covers {}", excerpt(&reference.uri));
                return Ok(Status::Bad(Reason::ClaimInvalid.explained(words)));
            }
            Err(NoList::TooMany) => {
                let source = self.statuses.source_of(&reference.uri);
                return Ok(Status::Missing(source.map(|source| source.on_unavailable).unwrap_or_default()));
            }
        };
        if let Some((list, until)) = self.statuses.list(id, now) {
            return Ok(match list.bits.get(reference.at) {
                Some(0) => Status::Good(until),
                Some(status) => Status::Bad(revoked_status(reference, status)),
                // Section 8.3 of the draft: a place that is not there is no status.
                None => Status::Bad(Reason::ClaimInvalid.explained(format!(
                    "status list {} has no status at {}",
                    excerpt(&reference.uri),
                    reference.at
                ))),
            });
        }
        // Too old to say that a token is valid; what it revoked stays revoked.
        if let Some(status) = self.statuses.last_known(id, reference.at).filter(|status| *status != 0) {
            return Ok(Status::Bad(revoked_status(reference, status)));
        }
        let on_unavailable = self.statuses.source(id).map(|source| source.on_unavailable).unwrap_or_default();
        if on_unavailable == OnUnavailable::Deny || !self.statuses.was_tried(id) {
            asked.wait(id, self.statuses.expects_answer(id, now))?;
        }
        Ok(Status::Missing(on_unavailable))
    }
}

/// Whether a reason is one for which revocation was looked up, as is done for verified tokens alone.
pub(super) fn is_about_revocation(reason: Reason) -> bool {
    matches!(reason, Reason::Revoked | Reason::RevocationUnavailable)
}

fn revoked_status(reference: &Reference, status: u8) -> Rejected {
    let (uri, at) = (excerpt(&reference.uri), reference.at);
    Reason::Revoked.explained(format!("status list {uri} has the status {status} at {at}"))
}

enum Status {
    /// The token has none.
    None,
    /// It is valid, until then.
    Good(Timestamp),
    /// It is not valid, for this reason.
    Bad(Rejected),
    /// It cannot be known.
    Missing(OnUnavailable),
}

impl Asked {
    /// Lets the request wait for a list that is on its way. A request that waited for it was woken because its
    /// fetch ended.
    fn wait(&self, lookup: LookupId, expected: bool) -> Result<(), Obstacle> {
        let wait = self.may_wait
            && expected
            && self.waited.is_none_or(|waited| waited.lookup != lookup && self.now < waited.deadline);
        if wait { Err(Obstacle::Wait(lookup)) } else { Ok(()) }
    }
}

fn named(lookup: LookupId, news: Vec<SourceEvent>) -> Vec<(LookupId, SourceEvent)> {
    news.into_iter().map(|news| (lookup, news)).collect()
}
