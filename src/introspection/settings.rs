//! What the operator wrote of a provider's introspection endpoint.

use std::time::Duration;

use crate::fetch::{Endpoint, SecretValue};
use crate::time::Timestamp;
use crate::token::Policy;

/// How long after its timeout an answer may take to reach this instance, and the least time for which an answer counts: the
/// requests that waited for it are judged by it.
pub const GRACE: Duration = Duration::from_millis(500);

/// The introspection endpoint of a provider (RFC 7662 section 2), and how it is used.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The name of this gate as a client of the provider (RFC 6749 section 2.2).
    pub client_id: Option<String>,
    /// How the gate shows that it is this client.
    pub authentication: ClientAuthentication,
    /// In which form answers come.
    pub form: AnswerForm,
    /// What every opaque token begins with; what does not is refused without a call.
    pub token_prefix: Option<String>,
    /// How long an answer counts that says that a token is active; never past the token's `exp`.
    pub active: Duration,
    /// How long every other answer about a token counts.
    pub inactive: Duration,
    /// How many answers are kept.
    pub size: usize,
    /// How many calls may be in flight at once, in each worker.
    pub max_in_flight: usize,
    /// Which of token and answer says what a JWT is good for.
    pub claims: ClaimSource,
    /// What an answer must say that an opaque token is active, or one that stands for a JWT's own claims.
    pub answer_policy: Policy,
    /// What a JWT must say where the answer says the rest.
    pub token_policy: Option<Policy>,
}

/// How the gate authenticates to the endpoint.
#[derive(Clone, Debug)]
pub enum ClientAuthentication {
    /// `client_secret_basic` (RFC 6749 section 2.3.1)
    Basic {
        /// The `client_id`
        id: String,
        /// The `client_secret`
        secret: SecretValue,
    },
    /// `client_secret_post` (RFC 6749 section 2.3.1)
    Post {
        /// The `client_id`
        id: String,
        /// The `client_secret`
        secret: SecretValue,
    },
    /// An access token of its own (RFC 7662 section 2.1)
    Bearer(SecretValue),
    /// Not at all: the network, or the cluster's certificate, says who asks
    None,
}

/// The form of answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AnswerForm {
    /// JSON (RFC 7662 section 2.2)
    #[default]
    Json,
    /// A JWT (RFC 9701)
    Jwt,
}

/// Which of a JWT and the answer about it says what the token is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClaimSource {
    /// The token
    #[default]
    Token,
    /// The answer
    Answer,
}

impl Introspection {
    /// Whether what counts until then still counts: an answer that would for longer than any may is from before the clock was
    /// set back.
    pub fn counts(&self, until: Timestamp, now: Timestamp) -> bool {
        now <= until && until.since(now) <= self.active.max(self.inactive).saturating_add(GRACE)
    }

    /// How long a request may wait for an answer.
    pub fn patience(&self) -> Duration {
        self.endpoint.timeout
    }

    /// Whether every JWT of this provider is asked about, whatever the rule.
    pub fn is_for_every_token(&self) -> bool {
        self.claims == ClaimSource::Answer
    }
}
