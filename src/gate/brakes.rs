//! What keeps those who try tokens from costing much: a client whose tokens fail too often is refused before its next one
//! is looked at, and a worker checks only so many signatures in a second. A token that is known as good meets neither.

use super::flow::RequestFlow;
use crate::config::{FailureLimit, Limits};
use crate::reason::{Reason, Rejected};
use crate::request::Client;
use crate::time::{Attempts, Limiter, Timestamp, seconds_up};

/// The brakes of one worker.
#[derive(Debug, Default)]
pub(super) struct Brakes {
    /// Whose tokens failed, where that is bounded, and how many bits of an IPv6 address count.
    failures: Option<(Attempts, u32)>,
    verifications: Option<(Limiter, u32)>,
}

impl Brakes {
    pub(super) fn new(limits: &Limits) -> Self {
        let failures = |limit: FailureLimit| (Attempts::new(limit.attempts), limit.ipv6_prefix);
        Self {
            failures: limits.failures.map(failures),
            verifications: limits.verifications_per_second.map(|max| (Limiter::new(max), max)),
        }
    }

    /// Whether one more signature may be checked in this second; if not, how many may.
    pub(super) fn verify(&mut self, now: Timestamp) -> Result<(), u32> {
        let Some((limiter, max)) = &mut self.verifications else { return Ok(()) };
        limiter.admit(now).map(|_| ()).ok_or(*max)
    }
}

impl RequestFlow<'_, '_> {
    /// Refuses a token that is not known as good, of a client that failed too often. A request that waited was let in
    /// before.
    pub(super) fn check_failures(&mut self) -> Result<(), Rejected> {
        let blocks = |(attempts, _): &(Attempts, u32)| attempts.blocks(self.now);
        if self.waited.is_some() || !self.gate.brakes.failures.as_ref().is_some_and(blocks) {
            return Ok(());
        }
        let Some(client) = self.client() else { return Ok(()) };
        let Some((attempts, _)) = &self.gate.brakes.failures else { return Ok(()) };
        let Some(left) = attempts.blocked_for(&client, self.now) else { return Ok(()) };
        let seconds = seconds_up(left);
        self.blocked_for = Some(seconds);
        let limit = attempts.limit();
        Err(Reason::TooManyFailures.explained(format!(
            "its address reached limits.failures.per_client, {} in {} s; for {seconds} s more only tokens that are known pass",
            limit.max,
            limit.window.as_secs()
        )))
    }

    /// Counts that the client's token failed in a way in which honest ones do not.
    pub(super) fn note_failure(&mut self) {
        if !self.is_failure || self.gate.brakes.failures.is_none() {
            return;
        }
        let Some(client) = self.client() else { return };
        let Some((attempts, _)) = &mut self.gate.brakes.failures else { return };
        let begins = attempts.failed(&client, self.now);
        self.gate.metrics.client_failed(begins);
    }

    /// Takes note of why a token was rejected.
    pub(super) fn note_rejected(&mut self, reason: Reason) {
        self.is_failure |= reason.is_failure();
    }

    /// Who sent the request, where the host knows that.
    fn client(&mut self) -> Option<Client> {
        let prefix = self.gate.brakes.failures.as_ref()?.1;
        let address = || Client::parse(&self.request.properties().client_address()?, prefix);
        *self.client.get_or_init(address)
    }
}
