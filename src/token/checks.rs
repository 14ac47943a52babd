//! The checks of a token's claims, in one list: what the gate asks, and what is told of each.

use super::policy::check_events;
use super::{Claims, Policy};
use crate::reason::Rejected;
use crate::time::Timestamp;

/// A check of the claims of a token, for these audiences, at this time.
type ClaimCheck = fn(&Policy, &Claims, &[String], Timestamp) -> Result<(), Rejected>;

/// The checks of the claims, in their order.
const CLAIM_CHECKS: [(&str, ClaimCheck); 7] = [
    ("iss", |policy, claims, _, _| policy.check_issuer(claims.issuer.as_deref(), claims.all())),
    ("events", |_, claims, _, _| check_events(claims.all())),
    ("exp, nbf, iat", |policy, claims, _, now| policy.check_time(claims, now)),
    ("aud", |policy, claims, audiences, _| policy.check_audience(claims, audiences)),
    ("sub", |policy, claims, _, _| policy.check_subject(claims.subject.as_deref())),
    ("required_claims", |policy, claims, _, _| policy.check_required(claims.all())),
    ("cnf", |policy, claims, _, _| policy.check_bound(claims.all())),
];

impl Policy {
    /// Every check of the claims, once all of them were read.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check_claims(
        &self,
        claims: &Claims,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(), Rejected> {
        CLAIM_CHECKS.iter().try_for_each(|(_, check)| check(self, claims, audiences, now))
    }

    /// The same checks, each by its name and with what comes of it, whether or not one before it failed.
    pub fn each_check(
        &self,
        claims: &Claims,
        audiences: &[String],
        now: Timestamp,
    ) -> impl Iterator<Item = (&'static str, Result<(), Rejected>)> {
        CLAIM_CHECKS.iter().map(move |(name, check)| (*name, check(self, claims, audiences, now)))
    }
}
