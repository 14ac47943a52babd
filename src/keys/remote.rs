//! Where keys are fetched from, what is asked, and what may come back.

use std::fmt;
use std::time::Duration;

use super::set::{Format, SetError};

/// A remote key source as the operator configured it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remote {
    /// Where the key set, or the document that names it, is.
    pub origin: Origin,
    /// More fields for each request; values are credentials and never shown.
    pub headers: Vec<(String, Hidden)>,
    /// How long keys are fresh, where the answer does not say less.
    pub cache_duration: Duration,
    /// How long keys serve on past that while the source fails.
    pub stale_if_error: Duration,
    /// One more fetch for an unknown kid each time this has passed.
    pub unknown_kid_cooldown: Duration,
    /// The largest answer that is read, in bytes.
    pub max_bytes: usize,
    /// The most keys that a set may have.
    pub max_keys: usize,
    /// The form in which the keys are published.
    pub format: Format,
    /// How many keys are tried for a token that names none of them.
    pub tried_without_kid: usize,
}

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

/// Something that can be asked over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `https` or `http`: what the URI says.
    pub scheme: String,
    /// The authority of the URI (RFC 3986 section 3.2): host, and port where it names one.
    pub authority: String,
    /// The path and query of the URI.
    pub path: String,
    /// The name of the Envoy cluster that the request goes to.
    pub cluster: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A value that is never written to a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A GET to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Where to.
    pub endpoint: Endpoint,
    /// Fields beside the pseudo-header fields.
    pub headers: Vec<(String, Hidden)>,
    /// The largest body that is read, in bytes; a larger one is [`FetchError::TooLarge`].
    pub max_bytes: usize,
}

/// What came back: a status, and of a 200 or 304 what matters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The HTTP status (RFC 9110 section 15); 0 where it was not a number.
    pub status: u16,
    /// `Cache-Control` (RFC 9111 section 5.2.2)
    pub cache_control: Option<String>,
    /// `ETag` (RFC 9110 section 8.8.3)
    pub etag: Option<String>,
    /// `Last-Modified` (RFC 9110 section 8.8.2)
    pub last_modified: Option<String>,
    /// `Retry-After` (RFC 9110 section 10.2.3)
    pub retry_after: Option<String>,
    /// The body of a 200.
    pub body: Vec<u8>,
}

/// Why a fetch brought nothing that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchError {
    /// The host did not take the request: the cluster is not known or has no healthy member
    NotSent {
        /// The cluster of the configuration
        cluster: String,
    },
    /// No answer: the connection was reset, or the answer was larger than the host takes
    NoAnswer,
    /// An answer other than 200
    Status(u16),
    /// A body larger than `max_bytes`
    TooLarge {
        /// Its size in bytes
        size: usize,
        /// How large it may be
        limit: usize,
    },
    /// A body that is not a usable key set
    Set(SetError),
    /// A body that is not a usable metadata document
    Document(DocumentError),
    /// A body that is not a usable revocation list; says why
    List(String),
}

/// Why a metadata document does not lead to keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DocumentError {
    /// Not a JSON object with the texts `issuer` and `jwks_uri`
    Malformed,
    /// Its `issuer` is none that is configured (RFC 8414 section 3.3)
    OtherIssuer,
    /// Its `jwks_uri` is no absolute http(s) URI, or steps down from https
    BadUri,
    /// Its `jwks_uri` is on a host that the configuration does not name
    OtherHost(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { cluster } => {
                write!(f, "the cluster {cluster:?} is unknown or has no healthy endpoint")
            }
            Self::NoAnswer => f.write_str("no complete answer"),
            Self::Status(status @ 300..=399) => write!(f, "status {status}; redirects are not followed"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge { size, limit } => {
                write!(f, "the answer has {size} bytes, more than max_bytes ({limit})")
            }
            Self::Set(error) => write!(f, "{error}"),
            Self::List(error) => f.write_str(error),
            Self::Document(DocumentError::Malformed) => {
                f.write_str("the metadata document has no texts \"issuer\" and \"jwks_uri\"")
            }
            Self::Document(DocumentError::OtherIssuer) => {
                f.write_str("the metadata document names another issuer than the configuration")
            }
            Self::Document(DocumentError::BadUri) => f.write_str(
                "the jwks_uri of the metadata document is not an absolute URI of the same security",
            ),
            Self::Document(DocumentError::OtherHost(host)) => write!(
                f,
                "the jwks_uri of the metadata document is on {host:?}; name that host and its cluster in discovery.jwks"
            ),
        }
    }
}

impl Endpoint {
    /// The parts of an absolute and plain http(s) URI (RFC 3986 section 3): scheme, authority, and
    /// path with query. None for anything else, a user or a fragment among them.
    pub fn split(uri: &str) -> Option<(String, String, String)> {
        let (scheme, rest) = uri.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let sound = matches!(scheme.as_str(), "http" | "https")
            && !authority.is_empty()
            && !authority.contains('@')
            && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
        let slash = if path.starts_with('/') { "" } else { "/" };
        sound.then(|| (scheme, authority.to_owned(), format!("{slash}{path}")))
    }
}

impl Remote {
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
        let Self { max_bytes, max_keys, format, .. } = self;
        format!("{origin}\n{headers:?}\n{max_bytes} {max_keys} {format:?}").into_bytes()
    }

    /// How long a whole fetch may take.
    pub fn patience(&self) -> Duration {
        match &self.origin {
            Origin::Jwks(jwks) => jwks.timeout,
            Origin::Discovery { document, .. } => document.timeout.saturating_mul(2),
        }
    }
}
