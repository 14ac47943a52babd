//! What the host knows of a request besides its header fields.

use std::cell::Cell;
use std::collections::BTreeMap;

use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proxy_wasm::types::Bytes;

use super::capabilities::{Missing, PROPERTY};
use super::header_map::HeaderMap;
use super::hostcalls;
use super::status::Status;
use crate::json::{Object, from_struct};
use crate::request::{HostProperties, MAX_METADATA, Metadata, PeerName};

/// What became of asking for a property.
enum Property {
    /// There is none.
    Absent,
    /// This.
    Value(Bytes),
    /// Something that cannot be handed over as bytes: a structure, or null.
    Structure,
    /// The host could not tell.
    Failed,
}

/// A property of the current context; `path` is its names with a zero byte between them.
fn property(path: &[u8]) -> Property {
    match hostcalls::property(path) {
        Ok(value) => Property::Value(value),
        Err(Status::NOT_FOUND) => Property::Absent,
        Err(Status::SERIALIZATION_FAILURE) => Property::Structure,
        Err(_) => Property::Failed,
    }
}

/// A property that is text; none where the host has none.
pub(super) fn text(path: &[u8]) -> Option<String> {
    String::from_utf8(hostcalls::property(path).ok()?).ok()
}

/// The properties of the current request.
pub(super) struct StreamProperties {
    /// Whether the host has any.
    exist: bool,
    /// Whether the route has metadata for this filter at all, once that was asked: one cheap call tells
    /// it for almost every request.
    has_metadata: Cell<Option<bool>>,
}

impl StreamProperties {
    /// Those of a host that lacks this.
    pub(super) fn of(missing: Missing) -> Self {
        Self { exist: !missing.has(&PROPERTY), has_metadata: Cell::default() }
    }

    fn text(&self, path: &[u8]) -> Option<String> {
        self.exist.then(|| text(path)).flatten()
    }
}

/// `envoy.config.core.v3.Metadata`, but for what is not a struct.
#[derive(Clone, PartialEq, prost::Message)]
struct DynamicMetadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Struct>,
}

const METADATA: &[u8] = b"xds\0route_metadata\0filter_metadata\0portcullis";

impl HostProperties for StreamProperties {
    /// By the version of TLS, which says nothing of hops before this one.
    fn is_tls(&self) -> bool {
        self.exist && hostcalls::property(b"connection\0tls_version").is_ok_and(|version| !version.is_empty())
    }

    fn peer_certificate_hash(&self) -> Option<String> {
        self.text(b"connection\0sha256_peer_certificate_digest").filter(|hash| !hash.is_empty())
    }

    fn peer_name(&self, name: PeerName) -> Option<String> {
        self.text(match name {
            PeerName::UriSan => b"connection\0uri_san_peer_certificate",
            PeerName::DnsSan => b"connection\0dns_san_peer_certificate",
            PeerName::Subject => b"connection\0subject_peer_certificate",
        })
    }

    fn client_address(&self) -> Option<String> {
        self.text(b"source\0address")
    }

    fn route_name(&self) -> Option<String> {
        self.text(b"xds\0route_name")
    }

    /// Read as a whole: of a single value the host does not tell the type. Where no filter wrote anything, it is empty.
    fn dynamic_metadata(&self) -> Option<Object> {
        if !self.exist {
            return None;
        }
        let bytes = match property(b"metadata") {
            Property::Absent => return Some(Object::default()),
            Property::Value(bytes) if bytes.len() <= MAX_METADATA => bytes,
            Property::Value(_) | Property::Structure | Property::Failed => return None,
        };
        let DynamicMetadata { filter_metadata } = DynamicMetadata::decode(&*bytes).ok()?;
        let mut fields = BTreeMap::new();
        for (name, own) in filter_metadata {
            fields.insert(name, Value { kind: Some(Kind::StructValue(own)) });
        }
        from_struct(Struct { fields })
    }

    fn has_route_metadata(&self) -> bool {
        // Where nothing can be read, there could be some.
        !self.exist
            || self.has_metadata.get().unwrap_or_else(|| {
                let found = !matches!(property(METADATA), Property::Absent);
                self.has_metadata.set(Some(found));
                found
            })
    }

    fn route_metadata(&self, key: &str) -> Metadata {
        if !self.exist {
            return Metadata::Unreadable;
        }
        if !self.has_route_metadata() {
            return Metadata::Absent;
        }
        let path = [METADATA, b"\0", key.as_bytes()].concat();
        match property(&path) {
            Property::Absent => Metadata::Absent,
            // A boolean comes as one byte, which is no text.
            Property::Value(value) if value == [1] => Metadata::Flag(true),
            Property::Value(value) if value == [0] => Metadata::Flag(false),
            Property::Value(value) => texts(value),
            Property::Structure | Property::Failed => Metadata::Unreadable,
        }
    }
}

/// A text comes as it is, a list of texts in the form of a map without values.
fn texts(value: Bytes) -> Metadata {
    if value == EMPTY_LIST {
        return Metadata::Texts(Vec::new());
    }
    let list = HeaderMap::from(value);
    let fields = list.fields();
    if !fields.is_empty() {
        let texts = fields.iter().map(|(name, value)| readable(name).filter(|_| value.is_empty()));
        return texts.collect::<Option<Vec<_>>>().map_or(Metadata::Unreadable, Metadata::Texts);
    }
    readable(&Bytes::from(list)).map_or(Metadata::Unreadable, |text| Metadata::Texts(vec![text]))
}

/// A map of no pairs.
const EMPTY_LIST: [u8; 4] = [0; 4];

/// A number comes as eight bytes, a list within a list as a map; most of their bytes are no text.
fn readable(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
