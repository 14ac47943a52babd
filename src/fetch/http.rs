//! One HTTP request for a document and what came of it, as values.

use std::fmt;
use std::time::Duration;

use crate::text::could_end_a_line;

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
pub struct SecretValue(pub String);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A request method (RFC 9110 section 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpMethod {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

impl HttpMethod {
    /// The method as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A request to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: HttpMethod,
    /// Where to.
    pub endpoint: Endpoint,
    /// All fields but the pseudo-header fields and `user-agent`.
    pub headers: Vec<(String, SecretValue)>,
    /// The content; empty for a GET.
    pub body: Vec<u8>,
    /// The largest body that is read, in bytes; a larger one is [`FetchError::TooLarge`].
    pub max_bytes: usize,
}

impl HttpRequest {
    /// A GET for a document of these media types, in no content coding (RFC 9110 section 12.5.3), with the fields that the
    /// operator configured.
    pub fn get(
        endpoint: Endpoint,
        accept: &str,
        headers: &[(String, SecretValue)],
        max_bytes: usize,
    ) -> Self {
        const CODING: &str = "accept-encoding";
        let own = [("accept", accept), (CODING, "identity")];
        let own = own.map(|(name, value)| (name.to_owned(), SecretValue(value.to_owned())));
        let configured = headers.iter().filter(|(name, _)| name != CODING).cloned();
        let headers = own.into_iter().chain(configured).collect();
        Self { method: HttpMethod::Get, endpoint, headers, body: Vec::new(), max_bytes }
    }

    /// All fields, as they are sent.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        let Endpoint { scheme, authority, path, .. } = &self.endpoint;
        let own = [
            (":method", self.method.as_str()),
            (":scheme", scheme.as_str()),
            (":authority", authority.as_str()),
            (":path", path.as_str()),
            ("user-agent", concat!("portcullis/", env!("CARGO_PKG_VERSION"))),
        ];
        let given = self.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str()));
        own.into_iter().chain(given).collect()
    }

    /// Asks only for what differs from the answer that had these validators (RFC 9110 sections 13.1.2 and 13.1.3).
    #[must_use]
    pub fn unless_same(mut self, etag: Option<&str>, last_modified: Option<&str>) -> Self {
        for (name, value) in [("if-none-match", etag), ("if-modified-since", last_modified)] {
            self.headers.extend(value.map(|value| (name.to_owned(), SecretValue(value.to_owned()))));
        }
        self
    }
}

/// What came back: a status, and what matters of an answer with it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HttpResponse {
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
    /// `Content-Encoding` (RFC 9110 section 8.4), of several fields all
    pub content_encoding: Option<String>,
    /// Why Envoy answered itself, in its own words, where no answer came from the endpoint.
    pub local_reply: Option<String>,
    /// The body of a 200, and of a refusal that may say why: 400, 401, 413, 414 and 422. Of those only where it is not
    /// too large.
    pub body: Vec<u8>,
}

/// Fields of an answer that came from an endpoint: Envoy's router puts the first into each of them, servers the others.
/// What Envoy answers itself has none.
const FROM_AN_ENDPOINT: [&[u8]; 3] = [b"x-envoy-upstream-service-time", b"date", b"server"];

impl HttpResponse {
    /// What matters of an answer with these fields (names in lower case) and a body of `size` bytes, of which `read` gives
    /// the first ones; one of more than `limit` bytes is not read.
    ///
    /// # Errors
    /// [`FetchError::TooLarge`], and [`FetchError::NoAnswer`] where the body of a 200 cannot be read.
    pub fn read(
        fields: &[(&[u8], &[u8])],
        size: usize,
        limit: usize,
        read: impl Fn(usize) -> Option<Vec<u8>>,
    ) -> Result<Self, FetchError> {
        let text = |wanted: &str| {
            let (_, value) = fields.iter().find(|(name, _)| *name == wanted.as_bytes())?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        };
        let all = |wanted: &str| {
            let own = fields.iter().filter(|(name, _)| *name == wanted.as_bytes());
            let values: Vec<_> = own.map(|(_, value)| String::from_utf8_lossy(value)).collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        let status = text(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = match status {
            200 if size > limit => return Err(FetchError::TooLarge { size, limit }),
            200 => read(size).ok_or(FetchError::NoAnswer)?,
            status if size <= limit && Self::has_body_to_read(status) => read(size).unwrap_or_default(),
            _ => Vec::new(),
        };
        let local_reply = Self::is_local_reply(status, fields.iter().map(|(name, _)| *name)).then(|| {
            let reason = read(size.min(Self::MAX_LOCAL_REPLY)).unwrap_or_default();
            String::from_utf8_lossy(&reason).into_owned()
        });
        Ok(Self {
            status,
            cache_control: text("cache-control"),
            etag: text("etag"),
            last_modified: text("last-modified"),
            retry_after: text("retry-after"),
            content_encoding: all("content-encoding"),
            local_reply,
            body,
        })
    }

    /// Whether the body of an answer with this status is read.
    pub fn has_body_to_read(status: u16) -> bool {
        matches!(status, 200 | 400 | 401 | 413 | 414 | 422)
    }

    /// How many bytes of Envoy's own answer are worth reading.
    const MAX_LOCAL_REPLY: usize = 1024;

    /// Whether Envoy itself gave an answer with this status and these field names (in lower case), for want of one from
    /// the endpoint: it could not connect, TLS failed, or nothing came in time. Its body says why.
    fn is_local_reply<'n>(status: u16, mut names: impl Iterator<Item = &'n [u8]>) -> bool {
        (500..600).contains(&status) && !names.any(|name| FROM_AN_ENDPOINT.contains(&name))
    }
}

/// `max-age` in seconds (RFC 9111 section 5.2.2.1); without one, `no-store` and `no-cache` count as 0.
pub(crate) fn max_age(response: &HttpResponse) -> Option<u64> {
    let mut directives = response.cache_control.as_deref()?.split(',').map(str::trim);
    let given = directives.clone().find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then_some(seconds)
    });
    let name = |directive: &str| directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
    given.or(directives.any(|own| matches!(name(own).as_str(), "no-store" | "no-cache")).then_some(0))
}

/// The content coding of an answer, where it has one: cut for a log line, and with nothing raw in it.
pub(crate) fn content_coding(response: &HttpResponse) -> Option<String> {
    let field = response.content_encoding.as_deref()?;
    let mut codings = field.split(',').map(str::trim);
    let is_coded = codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
    is_coded.then(|| field.chars().take(64).flat_map(char::escape_default).collect())
}

/// `Retry-After` in whole seconds (RFC 9110 section 10.2.3); a date says too little to a clock that may be wrong.
pub(crate) fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response.retry_after.as_deref()?.trim().parse().ok().map(Duration::from_secs)
}

/// How much of Envoy's own words goes into the log, in characters.
const MAX_REASON: usize = 300;

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
    /// Envoy answered itself: the endpoint could not be reached, or gave no answer in time
    LocalReply {
        /// The cluster of the configuration
        cluster: String,
        /// The status that Envoy gave
        status: u16,
        /// Why, in Envoy's own words
        reason: String,
    },
    /// A body larger than `max_bytes`
    TooLarge {
        /// Its size in bytes
        size: usize,
        /// How large it may be
        limit: usize,
    },
    /// A body in a content coding that was not asked for; says which
    ContentCoding(String),
    /// A body that is not what was asked for; says why
    Unusable(String),
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
            Self::LocalReply { cluster, status, reason } => {
                let clean = |c| if could_end_a_line(c) { ' ' } else { c };
                let reason: String = reason.trim().chars().take(MAX_REASON).map(clean).collect();
                write!(
                    f,
                    "status {status} from Envoy itself and not from the endpoint ({reason}); where the certificate may be the cause, see Envoy's counters cluster.{cluster}.ssl.fail_verify_*"
                )
            }
            Self::TooLarge { size, limit } => {
                write!(f, "the answer has {size} bytes, more than max_bytes ({limit})")
            }
            Self::ContentCoding(coding) => write!(
                f,
                "the answer has content-encoding {coding}, although accept-encoding: identity was sent; let the server, or the proxy before it, send this document uncompressed"
            ),
            Self::Unusable(why) => f.write_str(why),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_asked_for_without_a_content_coding() {
        let endpoint = Endpoint {
            scheme: "https".to_owned(),
            authority: "idp.example".to_owned(),
            path: "/".to_owned(),
            cluster: "idp".to_owned(),
            timeout: Duration::from_secs(5),
        };
        let field = |name: &str, value: &str| (name.to_owned(), SecretValue(value.to_owned()));
        let configured = [field("accept-encoding", "gzip"), field("x-api-key", "k")];
        let request = HttpRequest::get(endpoint, "application/json", &configured, 1);
        let expected = [
            field("accept", "application/json"),
            field("accept-encoding", "identity"),
            field("x-api-key", "k"),
        ];
        assert_eq!(request.headers, expected);
    }

    #[test]
    fn an_answer_has_a_content_coding_where_it_names_another_than_identity() {
        for (given, coding) in [
            (None, None),
            (Some(""), None),
            (Some(" , "), None),
            (Some("IDENTITY"), None),
            (Some("gzip"), Some("gzip")),
            (Some("identity, br"), Some("identity, br")),
            (Some("a\nb"), Some("a\\nb")),
        ] {
            let response =
                HttpResponse { content_encoding: given.map(str::to_owned), ..HttpResponse::default() };
            assert_eq!(content_coding(&response).as_deref(), coding, "{given:?}");
        }
        let long = HttpResponse { content_encoding: Some("x".repeat(1000)), ..HttpResponse::default() };
        assert_eq!(content_coding(&long).map(|coding| coding.len()), Some(64));
    }
}
