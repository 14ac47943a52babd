//! The step that checks what a request proves of its token.
//!
//! It is taken for every request, after the token's own result and whether or not that came from the cache: a token
//! may be used again, a proof is for one request or one connection.

use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use crate::config::Provider;
use crate::reason::{Reason, Rejected};
use crate::token::{BOUND, Credential, Scheme};

impl RequestFlow<'_, '_> {
    /// Whether the sender of a token has shown to possess the key that the token is bound to (RFC 7800). Proofs are not
    /// looked at, so that it takes a token without a key, or a provider that ignores it.
    pub(super) fn check_proof(
        &self,
        provider: &Provider,
        credential: &Credential<'_>,
        token: &CachedToken,
    ) -> Result<(), Rejected> {
        match credential.scheme {
            _ if !provider.policy.reject_bound => Ok(()),
            _ if token.is_bound() => Err(BOUND),
            Scheme::Dpop => Err(NOT_BOUND),
            Scheme::Bearer => Ok(()),
        }
    }
}

/// The rejection of a token that is bound to no key and comes as if it were: where bound tokens are refused, `DPoP` is no
/// scheme of the provider's.
const NOT_BOUND: Rejected = Reason::TokenMissing
    .because("the scheme is DPoP, the token is not bound to a key, and sender_constrained is \"reject\"");
