//! What the host knows of a request besides its header fields.

use std::cell::Cell;

use super::hostcalls::{self, Pairs, Property};
use crate::request::{HostProperties, Metadata};

/// The current request's.
#[derive(Default)]
pub(super) struct Current {
    /// Whether the route has metadata for this filter at all, once that was asked: one cheap call tells
    /// it for almost every request.
    has_metadata: Cell<Option<bool>>,
}

const METADATA: &[u8] = b"xds\0route_metadata\0filter_metadata\0portcullis";

impl HostProperties for Current {
    /// By the version of TLS, which says nothing of hops before this one.
    fn is_tls(&self) -> bool {
        matches!(hostcalls::property(b"connection\0tls_version"), Property::Value(version) if !version.is_empty())
    }

    fn client_address(&self) -> Option<String> {
        match hostcalls::property(b"source\0address") {
            Property::Value(address) => String::from_utf8(address).ok(),
            Property::Absent | Property::Structure | Property::Failed => None,
        }
    }

    fn route_name(&self) -> Option<String> {
        match hostcalls::property(b"xds\0route_name") {
            Property::Value(name) => String::from_utf8(name).ok(),
            Property::Absent | Property::Structure | Property::Failed => None,
        }
    }

    fn route_metadata(&self, key: &str) -> Metadata {
        let has_metadata = self.has_metadata.get().unwrap_or_else(|| {
            let found = !matches!(hostcalls::property(METADATA), Property::Absent);
            self.has_metadata.set(Some(found));
            found
        });
        if !has_metadata {
            return Metadata::Absent;
        }
        let path = [METADATA, b"\0", key.as_bytes()].concat();
        match hostcalls::property(&path) {
            Property::Absent => Metadata::Absent,
            Property::Value(value) => texts(value),
            Property::Structure | Property::Failed => Metadata::Unreadable,
        }
    }
}

/// A text comes as it is, a list of texts in the form of a map without values.
fn texts(value: Vec<u8>) -> Metadata {
    if value == EMPTY_LIST {
        return Metadata::Texts(Vec::new());
    }
    let pairs = Pairs::from(value);
    let fields = pairs.fields();
    if !fields.is_empty() {
        let list = fields.iter().map(|(name, value)| text(name).filter(|_| value.is_empty()));
        return list.collect::<Option<Vec<_>>>().map_or(Metadata::Unreadable, Metadata::Texts);
    }
    text(&Vec::from(pairs)).map_or(Metadata::Unreadable, |text| Metadata::Texts(vec![text]))
}

/// A map of no pairs.
const EMPTY_LIST: [u8; 4] = [0; 4];

/// A number comes as eight bytes, a list within a list as a map; most of their bytes are no text.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
