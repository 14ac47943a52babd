//! The step that asks whether a token was revoked.

use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use super::revocations::{Asked, Passed};
use super::unmet::Obstacle;
use crate::metrics::Event;
use crate::token::ProviderId;

impl RequestFlow<'_, '_> {
    /// Whether no source revokes a verified token, where the rule asks for that.
    pub(super) fn check_revocation(&mut self, id: ProviderId, token: &CachedToken) -> Result<(), Obstacle> {
        if self.config.revocation.is_off() || self.rule.as_ref().is_some_and(|rule| rule.ignores_revocation) {
            return Ok(());
        }
        let asked = Asked { provider: id, waited: self.waited, may_wait: self.may_wait(), now: self.now };
        if self.gate.revocations.check(token, asked)? == Passed::Unchecked {
            self.gate.metrics.happened(id, Event::Unchecked);
        }
        Ok(())
    }
}
