//! Why a requirement is not met.

use crate::fetch::LookupId;
use crate::reason::{Reason, Rejected};
use crate::token::ProviderId;

/// Why a requirement is not met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unmet {
    /// The provider whose token was asked for; none: nothing was asked for.
    pub(super) provider: Option<ProviderId>,
    pub(super) obstacle: Obstacle,
}

/// What keeps a token from being accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// Something that is on its way and that the request may wait for.
    Wait(LookupId),
    /// It is rejected, or there is none.
    Reject(Rejected),
    /// It is rejected, as things are: its signature holds under none of the keys at hand, and what is on its way may bring
    /// another key of the same name. The request may wait for that if nothing else lets it pass.
    Doubt(LookupId, Rejected),
}

impl Unmet {
    /// Nothing was asked for, so that there is no token.
    pub(super) fn nothing_asked() -> Self {
        Self { provider: None, obstacle: Obstacle::from(Reason::TokenMissing) }
    }

    /// Whether the request may wait for what is on its way.
    pub(super) fn is_wait(&self) -> bool {
        matches!(self.obstacle, Obstacle::Wait(_))
    }

    /// Whether there is no token.
    pub(super) fn is_missing(&self) -> bool {
        self.obstacle.is(Reason::TokenMissing)
    }

    /// How much it says of what is wrong: of several failures the one that says most is reported, and of
    /// those the first. That a provider has no keys to judge its own token by comes before what another
    /// one makes of it, and so does that a token was not looked at.
    pub(super) fn weight(&self) -> u8 {
        match &self.obstacle {
            Obstacle::Wait(_) => 4,
            Obstacle::Reject(rejected) | Obstacle::Doubt(_, rejected) => match rejected.reason {
                Reason::KeysUnavailable
                | Reason::RevocationUnavailable
                | Reason::TooManyFailures
                | Reason::Overloaded
                | Reason::IntrospectionUnavailable => 3,
                // The token is this provider's, and verified.
                Reason::ProofMissing
                | Reason::ProofInvalid
                | Reason::NonceRequired
                | Reason::CertificateMismatch => 3,
                Reason::TokenMissing => 0,
                Reason::IssuerUnknown => 1,
                _ => 2,
            },
        }
    }
}

impl Obstacle {
    /// Whether it is a rejection for this reason.
    pub(super) fn is(&self, reason: Reason) -> bool {
        self.rejected().is_some_and(|rejected| rejected.reason == reason)
    }

    /// The rejection, if it is one.
    pub(super) fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Wait(_) => None,
            Self::Reject(rejected) | Self::Doubt(_, rejected) => Some(rejected),
        }
    }
}

impl From<Rejected> for Obstacle {
    fn from(rejected: Rejected) -> Self {
        Self::Reject(rejected)
    }
}

impl From<Reason> for Obstacle {
    fn from(reason: Reason) -> Self {
        Self::Reject(reason.into())
    }
}
