//! The step that checks what a request proves of its token.
//!
//! It is taken for every request, after the token's own result and whether or not that came from the cache: a token
//! may be used again, a proof is for one request or one connection.

use super::cached_token::CachedToken;
use super::flow::RequestFlow;
use crate::config::Provider;
use crate::proof::{Constraint, RequiredProof};
use crate::reason::{Reason, Rejected};
use crate::token::{BOUND, Credential, Scheme};

impl RequestFlow<'_, '_> {
    /// Whether the sender of a token has shown to possess the key that the token is bound to (RFC 7800), as its provider
    /// has it shown; and that it is bound to one, where the rule asks for that.
    #[inline]
    pub(super) fn check_proof(
        &mut self,
        provider: &Provider,
        credential: &Credential<'_>,
        token: &CachedToken,
    ) -> Result<(), Rejected> {
        let required = self.rule.as_ref().and_then(|rule| rule.requires_proof);
        if let Some(constraint) = &provider.constraint {
            return self.check_bound(provider, constraint, required, credential, token);
        }
        match credential.scheme {
            _ if !provider.policy.reject_bound => {}
            _ if token.is_bound() => return Err(BOUND),
            Scheme::Dpop => return Err(NOT_BOUND),
            Scheme::Bearer => {}
        }
        required.map_or(Ok(()), |required| Err(lacking(required)))
    }

    /// Proofs and certificates are looked at, and what they show is noted, to be used up once everything else has
    /// passed.
    #[inline(never)]
    fn check_bound(
        &mut self,
        provider: &Provider,
        constraint: &Constraint,
        required: Option<RequiredProof>,
        credential: &Credential<'_>,
        token: &CachedToken,
    ) -> Result<(), Rejected> {
        let Some(confirmation) = token.confirmation() else {
            return match (credential.scheme, required) {
                (Scheme::Dpop, _) => Err(UNBOUND),
                (Scheme::Bearer, Some(required)) => Err(lacking(required)),
                (Scheme::Bearer, None) => Ok(()),
            };
        };
        confirmation.check_ways(constraint)?;
        match required {
            Some(RequiredProof::Dpop) if !confirmation.names_key() => {
                return Err(lacking(RequiredProof::Dpop));
            }
            Some(RequiredProof::Mtls) if !confirmation.names_certificate() => {
                return Err(lacking(RequiredProof::Mtls));
            }
            _ => {}
        }
        match (credential.scheme, confirmation.names_key(), &constraint.dpop) {
            (Scheme::Bearer, true, _) => return Err(AS_BEARER),
            (Scheme::Dpop, false, _) => return Err(UNBOUND),
            (Scheme::Dpop, true, Some(dpop)) => {
                let (text, backend) = (credential.token(), &self.gate.backend);
                let proof = dpop.check(confirmation, &text, self.request, backend, self.now)?;
                self.proofs.retain(|(own, _)| *own != provider.id);
                self.proofs.push((provider.id, proof));
            }
            (Scheme::Dpop, true, None) => return Err(BOUND),
            (Scheme::Bearer, false, _) => {}
        }
        confirmation.check_certificate(constraint.mtls, self.request)
    }
}

/// The rejection of a token that is not bound as the rule requires.
fn lacking(required: RequiredProof) -> Rejected {
    match required {
        RequiredProof::Any => {
            Reason::ProofMissing.because("requires_proof is \"any\", and the token is bound to nothing")
        }
        RequiredProof::Dpop => Reason::ProofMissing
            .because("requires_proof is \"dpop\", and the token is bound to no key of proofs"),
        RequiredProof::Mtls => Reason::CertificateMismatch
            .because("requires_proof is \"mtls\", and the token is bound to no certificate"),
    }
}

/// The rejection of a token that is bound to no key and comes as if it were: where bound tokens are refused, `DPoP` is no
/// scheme of the provider's.
const NOT_BOUND: Rejected = Reason::TokenMissing
    .because("the scheme is DPoP, the token is not bound to a key, and sender_constrained is \"reject\"");
/// The same where proofs are looked at.
const UNBOUND: Rejected =
    Reason::ProofInvalid.because("the scheme is DPoP, and the token is bound to no key of proofs");
/// The rejection of a bound token as one that is not (RFC 9449 section 7.2).
const AS_BEARER: Rejected =
    Reason::ProofMissing.because("the token is bound to a key of proofs, and its scheme is not DPoP");
