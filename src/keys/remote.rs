//! Where keys are fetched from.

use std::fmt;
use std::time::Duration;

use super::form::Format;
use crate::fetch::{Endpoint, SecretValue};
use crate::reason::{excerpt, excerpts};

/// A remote key source as the operator configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Where the key set, or the document that names it, is.
    pub origin: Origin,
    /// More fields for each request; values are credentials and never shown.
    pub headers: Vec<(String, SecretValue)>,
    /// How long keys are fresh, where the answer does not say less.
    pub cache_duration: Duration,
    /// How long keys serve on past that while the source fails.
    pub stale_if_error: Duration,
    /// The longest pause between two tries that fail, where the source asks for no longer one.
    pub max_pause: Duration,
    /// One more fetch for an unknown kid each time this has passed.
    pub unknown_kid_cooldown: Duration,
    /// The largest answer that is read, in bytes, unless it is a SPIFFE bundle.
    pub max_bytes: usize,
    /// The largest SPIFFE bundle that is read, in bytes.
    pub max_bundle_bytes: usize,
    /// The most keys that a set may have.
    pub max_keys: usize,
    /// The form in which the keys are published.
    pub format: Format,
    /// How many keys are tried for a token that names none of them.
    pub tried_without_kid: usize,
    /// Whether the provider's `issuer` or `subjects` bind its tokens to one SPIFFE trust domain.
    pub is_bound: bool,
}

/// What to tell the operator of a SPIFFE bundle whose provider takes tokens of any trust domain.
pub const UNBOUND: &str = "the keys are a SPIFFE bundle, and neither \"issuer\" nor \"subjects\" binds its tokens to the trust domain: whoever signs with them could name a workload of another domain; write \"subjects\": { \"prefix\": \"spiffe://NAME/\" }, with the slash at its end";

/// Where a key set is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Here.
    Jwks(Endpoint),
    /// Where a metadata document says (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
    Discovery {
        /// The document.
        document: Endpoint,
        /// The `issuer` that the document may name.
        issuers: Vec<String>,
        /// The one other host on which the key set may be, and the cluster that reaches it.
        elsewhere: Option<(String, String)>,
    },
}

/// Why a metadata document does not lead to keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentError {
    /// Not a JSON object with the texts `issuer` and `jwks_uri`
    Malformed,
    /// A key set
    KeySet,
    /// Its `issuer` is none that is configured (RFC 8414 section 3.3)
    OtherIssuer {
        /// Its `issuer`
        found: String,
        /// Those that are configured
        accepted: Vec<String>,
    },
    /// Its `jwks_uri` is no absolute http(s) URI, or steps down from https
    BadUri,
    /// Its `jwks_uri` is on a host that the configuration does not name
    OtherHost(String),
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the metadata document has no texts \"issuer\" and \"jwks_uri\""),
            Self::OtherIssuer { found, accepted } => write!(
                f,
                "the metadata document names another issuer than the configuration: {}, and not {}",
                excerpt(found),
                excerpts(accepted.iter().map(String::as_str))
            ),
            Self::KeySet => f.write_str(
                "the document is a key set, not a metadata document; name its URI under \"remote_jwks\" instead of \"discovery\"",
            ),
            Self::BadUri => f.write_str(
                "the jwks_uri of the metadata document is not an absolute URI of the same security",
            ),
            Self::OtherHost(host) => write!(
                f,
                "the jwks_uri of the metadata document is on {host:?}; name that host and its cluster in discovery.jwks"
            ),
        }
    }
}

impl Remote {
    /// The longest pause of a gate between two tries that fail.
    pub const MAX_PAUSE: Duration = Duration::from_secs(60);

    /// Everything that makes the answers of this source what they are, as one text.
    pub fn identity(&self) -> Vec<u8> {
        let endpoint = |e: &Endpoint| format!("{}\n{}\n{}\n{}", e.scheme, e.authority, e.path, e.cluster);
        let origin = match &self.origin {
            Origin::Jwks(jwks) => format!("jwks\n{}", endpoint(jwks)),
            Origin::Discovery { document, issuers, elsewhere } => {
                format!("discovery\n{}\n{issuers:?}\n{elsewhere:?}", endpoint(document))
            }
        };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name, &value.0)).collect();
        let Self { max_bytes, max_bundle_bytes, max_keys, format, .. } = self;
        format!("{origin}\n{headers:?}\n{max_bytes} {max_bundle_bytes} {max_keys} {format:?}").into_bytes()
    }

    /// The largest answer that could be a key set here, in bytes: whether it is a bundle shows when it is read.
    pub fn max_answer_bytes(&self) -> usize {
        match self.format {
            Format::Auto => self.max_bytes.max(self.max_bundle_bytes),
            Format::Spiffe => self.max_bundle_bytes,
            Format::Jwks | Format::PemMap => self.max_bytes,
        }
    }

    /// How long a whole fetch may take.
    pub fn patience(&self) -> Duration {
        match &self.origin {
            Origin::Jwks(jwks) => jwks.timeout,
            Origin::Discovery { document, .. } => document.timeout.saturating_mul(2),
        }
    }
}
