//! Tells the log of the claims that could not become headers.

use crate::config::{Config, Provider};
use crate::time::{Limiter, Timestamp};
use crate::upstream::{ClaimHeader, Why};

/// How often one worker tells the log of one header, in seconds.
pub const LEFT_OUT_SECONDS: u64 = 60;

/// What was logged: each header of each provider has a limit of its own, so that no claim hides another.
#[derive(Debug)]
pub(super) struct LeftOutNotes(Vec<Vec<Limiter>>);

impl LeftOutNotes {
    pub(super) fn new(config: &Config) -> Self {
        let limiters = |provider: &Provider| {
            provider.outputs.claims.iter().map(|_| Limiter::one_in(LEFT_OUT_SECONDS)).collect::<Vec<_>>()
        };
        Self(config.providers.iter().map(|provider| limiters(provider)).collect())
    }

    /// The line for a claim that is left out, the one at this place among the provider's; none where there was one
    /// within the last minute.
    pub(super) fn line(
        &mut self,
        provider: &Provider,
        (at, why): (usize, Why),
        now: Timestamp,
    ) -> Option<String> {
        let ClaimHeader { claim, header, .. } = provider.outputs.claims.get(at)?;
        let more = self.0.get_mut(provider.id.0)?.get_mut(at)?.room(now)?;
        let name = &provider.name;
        Some(format!("provider {name:?}: claim {claim} is not written to the header {header:?}: {why}{more}"))
    }
}
