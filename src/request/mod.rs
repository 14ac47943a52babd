//! A request as the gate sees it: its header fields, what the host can tell besides, and the readings of
//! its parts.

mod authority;
mod client;
pub mod cookies;
mod csrf;
mod envoy_path;
mod escapes;
mod names;
mod parameters;
mod path;
pub mod query;
mod readings;

use std::fmt;

use crate::json::Object;
use crate::text::same_bytes;

pub use authority::Authority;
pub use client::Client;
pub use csrf::Csrf;
pub use envoy_path::as_envoy_reads;
pub use names::{could_be_blank, same_header};
pub use parameters::{Decoding, MAX_PARAMETER_READINGS, MAX_QUERY, ParameterReading};
pub use path::{
    Ambiguous, MAX_READ_PATH, MAX_READINGS, MAX_READINGS_BYTES, PathKind, PathReading, PathReadings,
    PathStep, canonical, decoded, text_of,
};
pub use readings::{Held, RequestView};

/// One header field: its name, in lower case as Envoy hands it over, and its value.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// Whether a field has this name, which is in lower case; names have no case (RFC 9110 section 5.1).
#[inline]
fn is_named(field: &[u8], name: &[u8]) -> bool {
    // Most have another length.
    field.len() == name.len() && is_same_name(field, name)
}

/// The same for names of one length. Envoy hands them over in lower case.
#[inline(never)]
fn is_same_name(field: &[u8], name: &[u8]) -> bool {
    same_bytes(field, name) || field.eq_ignore_ascii_case(name)
}

/// The largest dynamic metadata of a request that is read, in bytes.
pub const MAX_METADATA: usize = 65_536;

/// What the host knows of a request besides its header fields. It is asked only where a rule needs it.
pub trait HostProperties {
    /// Whether the connection that the request came over is TLS, on this hop.
    fn is_tls(&self) -> bool;
    /// The address of the client, as the proxy sees it.
    fn client_address(&self) -> Option<String>;
    /// The SHA-256 in hexadecimal of the certificate that came over the connection, where one did.
    fn peer_certificate_hash(&self) -> Option<String> {
        None
    }
    /// A name in that certificate.
    fn peer_name(&self, _: PeerName) -> Option<String> {
        None
    }
    /// The name of the matched route of the proxy, where it has one.
    fn route_name(&self) -> Option<String> {
        None
    }
    /// Whether the matched route of the proxy has metadata for this filter at all.
    fn has_route_metadata(&self) -> bool {
        true
    }
    /// What filters before this one wrote of the request, by their names; none where it cannot be read.
    fn dynamic_metadata(&self) -> Option<Object> {
        Some(Object::default())
    }
    /// What the matched route of the proxy says under a key of its metadata for this filter.
    fn route_metadata(&self, key: &str) -> Metadata;
}

/// A value of a route's metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Metadata {
    /// There is none.
    Absent,
    /// A text, or a list of texts.
    Texts(Vec<String>),
    /// `true` or `false`.
    Flag(bool),
    /// Something else, or something that the host does not hand over.
    Unreadable,
}

/// A name in the certificate of a connection's client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerName {
    /// The first URI among its alternative names (RFC 5280 section 4.2.1.6), such as a SPIFFE ID.
    UriSan,
    /// The first DNS name among them.
    DnsSan,
    /// Its subject, as RFC 2253 writes it.
    Subject,
}

/// HostProperties of which nothing is known: plaintext, and no metadata.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProperties;

impl HostProperties for NoProperties {
    fn is_tls(&self) -> bool {
        false
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn has_route_metadata(&self) -> bool {
        false
    }

    fn route_metadata(&self, _: &str) -> Metadata {
        Metadata::Absent
    }
}

/// The head of a request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    fields: &'a [Field<'a>],
    method: &'a [u8],
    target: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    properties: &'a dyn HostProperties,
}

impl fmt::Debug for Request<'_> {
    /// Names and lengths alone: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter().map(|(name, value)| (String::from_utf8_lossy(name), value.len()));
        f.debug_map().entries(fields).finish()
    }
}

impl<'a> Request<'a> {
    /// A request of these fields, pseudo-header fields (`:method`, `:path` …) among them, in the
    /// order in which they arrived.
    pub fn new(fields: &'a [Field<'a>]) -> Self {
        let mut request =
            Self { fields, method: b"", target: None, authority: None, properties: &NoProperties };
        let mut has_method = false;
        for (name, value) in fields.iter().filter(|(name, _)| name.first() == Some(&b':')) {
            match *name {
                b":method" if !has_method => (request.method, has_method) = (value, true),
                b":path" => request.target = request.target.or(Some(value)),
                b":authority" => request.authority = request.authority.or(Some(value)),
                _ => {}
            }
        }
        request
    }

    /// The same request in properties that can be asked.
    #[must_use]
    pub fn within(self, properties: &'a dyn HostProperties) -> Self {
        Self { properties, ..self }
    }

    /// What the host knows besides.
    pub fn properties(&self) -> &'a dyn HostProperties {
        self.properties
    }

    /// All fields.
    pub fn fields(&self) -> &'a [Field<'a>] {
        self.fields
    }

    /// The first value of a field; `name` is in lower case.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of a field; `name` is in lower case.
    #[inline]
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(field, _)| is_named(field, name.as_bytes())).map(|(_, value)| *value)
    }

    /// `:method`; empty where there is none.
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// `:path` with its query. A CONNECT request has none (RFC 9113 section 8.5).
    pub fn target(&self) -> Option<&'a [u8]> {
        self.target
    }

    /// `:authority`, for which Envoy puts `Host` too.
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.authority
    }

    /// Whether it asks for a tunnel (RFC 9110 section 9.3.6). An extended CONNECT (RFC 8441) is none: Envoy
    /// hands it over as a GET with a path.
    pub fn is_connect(&self) -> bool {
        self.method() == b"CONNECT"
    }

    /// Whether the client speaks gRPC, and so expects a gRPC status. As Envoy tells it: `application/grpc`,
    /// with a suffix such as `+proto` or without.
    pub fn is_grpc(&self) -> bool {
        let rest = self.first("content-type").and_then(|value| value.strip_prefix(b"application/grpc"));
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    }

    /// Whether it is a gRPC request: for Envoy, and for a program that is less strict about the media type
    /// or translates gRPC-Web, as Envoy's own filter does.
    pub fn grpc_held(&self) -> Held {
        let mut types = self.all("content-type");
        let loosely = |value: &[u8]| {
            value
                .trim_ascii_start()
                .get(..16)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
        };
        match (types.next(), types.next()) {
            (None, _) => Held::Never,
            (Some(_), None) if self.is_grpc() => Held::Always,
            (Some(value), None) if !loosely(value) => Held::Never,
            (Some(one), Some(two)) if !loosely(one) && !types.chain([two]).any(loosely) => Held::Never,
            _ => Held::Depends,
        }
    }
}
