//! What the sender of a token proves, beside having it: the key or the certificate that the token is bound to (RFC 9449,
//! RFC 8705), and that it did not come before.
//!
//! [`Confirmation`] is what a token asks for (`cnf`), [`Constraint`] how a provider has it shown, [`Dpop`] the checks of a
//! proof, [`CertificateSource`] where a certificate is, [`ReplayStore`] the memory of what came.

mod certificate;
mod confirmation;
mod dpop;
mod htu;
mod key;
mod nonce;
mod replay;

pub use certificate::{CertificateSource, MAX_CLIENT_CERT, XfccElement};
pub use confirmation::Confirmation;
pub use dpop::{Dpop, FIELD, MAX_PROOF, NONCE_FIELD};
pub use htu::Origin;
pub use nonce::Nonces;
pub use replay::{ReplayStore, SingleUse, Used};

use std::time::Duration;

use crate::reason::{Reason, Rejected};
use crate::request::Request;

/// How the senders of a provider's tokens show what those are bound to: in one of these ways at least.
#[derive(Clone, Debug)]
pub struct Constraint {
    /// By proofs.
    pub dpop: Option<Dpop>,
    /// By a certificate.
    pub mtls: Option<CertificateSource>,
}

/// What a rule asks of the sender of every token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequiredProof {
    /// That the token is bound, to whatever.
    Any,
    /// That it is bound to a key, by a proof.
    Dpop,
    /// That it is bound to a certificate.
    Mtls,
}

/// How tokens are taken one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneTime {
    /// How many tokens are remembered.
    pub entries: usize,
    /// For how long a token may still be good: so long it must be remembered.
    pub max_lifetime: Duration,
}

impl Default for OneTime {
    /// 100,000 tokens of at most five minutes.
    fn default() -> Self {
        Self { entries: 100_000, max_lifetime: Duration::from_secs(300) }
    }
}

impl Confirmation {
    /// Whether all that it names can be shown at a provider.
    ///
    /// # Errors
    /// [`Reason::TokenBound`]
    pub fn check_ways(&self, constraint: &Constraint) -> Result<(), Rejected> {
        let words = match (self.is_unknown(), constraint) {
            (true, _) => "\"cnf\" names nothing that is known: neither \"jkt\" nor \"x5t#S256\"",
            (_, Constraint { dpop: None, .. }) if self.names_key() => {
                "\"cnf\" has \"jkt\", and the provider has no \"dpop\""
            }
            (_, Constraint { mtls: None, .. }) if self.names_certificate() => {
                "\"cnf\" has \"x5t#S256\", and the provider has no \"mtls\""
            }
            _ => return Ok(()),
        };
        Err(Reason::TokenBound.because(words))
    }

    /// Whether a request came with the certificate that the token is bound to, if it is bound to one.
    ///
    /// # Errors
    /// [`Reason::CertificateMismatch`]
    pub fn check_certificate(
        &self,
        source: Option<CertificateSource>,
        request: &Request<'_>,
    ) -> Result<(), Rejected> {
        let Some(bound) = &self.certificate else { return Ok(()) };
        match source.and_then(|source| source.hash(request)) {
            Some(hash) if hash == *bound => Ok(()),
            Some(_) => Err(Reason::CertificateMismatch.because("the certificate is another one")),
            None => Err(Reason::CertificateMismatch.because("there is no certificate, or not just one")),
        }
    }
}

#[cfg(test)]
mod tests;
