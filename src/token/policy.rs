//! What a provider's tokens must say to be believed.

use std::time::Duration;

use super::{Claims, Unverified};
use crate::crypto::AlgorithmSet;
use crate::reason::Reason;
use crate::time::Timestamp;

/// A provider's demands on its tokens, besides a signature.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `iss` must equal this, to the letter; absent: not checked.
    pub issuer: Option<String>,
    /// `aud` must hold one of these; none: not checked.
    pub audiences: Vec<String>,
    /// `alg` must be one of these.
    pub algorithms: AlgorithmSet,
    /// By how much clocks may differ; at most five minutes.
    pub clock_skew: Duration,
    /// Whether `exp` must be there.
    pub require_expiration: bool,
    /// The longest token that is read, in bytes.
    pub max_token_size: usize,
    /// The claims that hold scopes.
    pub scope_claims: Vec<String>,
}

impl Policy {
    /// Every check that needs no key, cheapest first.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check(&self, token: &Unverified<'_>, now: Timestamp) -> Result<(), Reason> {
        let header = token.header();
        let claims = token.claims();
        if !self.algorithms.contains(header.algorithm) {
            return Err(Reason::AlgorithmNotAllowed);
        }
        // Other kinds of JWT (logout+jwt, dpop+jwt …) are no access tokens (RFC 8725 section 3.11).
        if !matches!(header.typ.as_deref(), None | Some("jwt" | "at+jwt")) {
            return Err(Reason::TypeNotAllowed);
        }
        if self.issuer.is_some() && self.issuer != claims.issuer {
            return Err(Reason::IssuerUnknown);
        }
        self.check_time(claims, now)?;
        if !self.audiences.is_empty() && !claims.audiences.iter().any(|aud| self.audiences.contains(aud)) {
            return Err(Reason::AudienceMismatch);
        }
        // A token bound to a key (RFC 7800) is worth nothing to whoever merely holds its text.
        if claims.all().contains("cnf") {
            return Err(Reason::TokenBound);
        }
        Ok(())
    }

    /// The checks whose outcome changes as time goes by: RFC 7519 sections 4.1.4 and 4.1.5, and an
    /// `iat` that has not come.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn check_time(&self, claims: &Claims, now: Timestamp) -> Result<(), Reason> {
        match claims.expires {
            None if self.require_expiration => return Err(Reason::ExpirationMissing),
            // `exp` 0 has passed however large the skew and wrong the clock.
            Some(exp) if now >= exp.plus(self.clock_skew) || exp == Timestamp::default() => {
                return Err(Reason::Expired);
            }
            _ => {}
        }
        if claims.not_before.is_some_and(|nbf| now < nbf.minus(self.clock_skew)) {
            return Err(Reason::NotYetValid);
        }
        if claims.issued.is_some_and(|iat| iat > now.plus(self.clock_skew)) {
            return Err(Reason::IssuedInFuture);
        }
        Ok(())
    }
}
