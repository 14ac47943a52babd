//! What Envoy knows of a request besides its header fields.

use portcullis::{HostProperties, JsonObject, PeerName, RouteMetadataValue};

use crate::abi::{Attribute, EnvoyFilter, MetadataSource, MetadataValue};

/// The properties of a request.
pub(crate) struct StreamProperties<'f>(pub(crate) &'f EnvoyFilter<'f>);

/// The namespace of what routes say for this filter.
const NAMESPACE: &str = "portcullis";

impl HostProperties for StreamProperties<'_> {
    /// By the version of TLS, which says nothing of hops before this one.
    fn is_tls(&self) -> bool {
        self.0.attribute(Attribute::TlsVersion).is_some_and(|version| !version.is_empty())
    }

    fn client_address(&self) -> Option<String> {
        self.0.attribute(Attribute::SourceAddress)
    }

    fn peer_certificate_hash(&self) -> Option<String> {
        self.0.attribute(Attribute::PeerDigest).filter(|hash| !hash.is_empty())
    }

    fn peer_name(&self, name: PeerName) -> Option<String> {
        self.0.attribute(match name {
            PeerName::UriSan => Attribute::PeerUriSan,
            PeerName::DnsSan => Attribute::PeerDnsSan,
            PeerName::Subject => Attribute::PeerSubject,
        })
    }

    fn route_name(&self) -> Option<String> {
        self.0.attribute(Attribute::RouteName)
    }

    /// Envoy hands over texts, numbers, booleans and lists of them. Where there is anything else, none of it is known.
    fn dynamic_metadata(&self) -> Option<JsonObject> {
        crate::metadata::all(self.0)
    }

    fn has_route_metadata(&self) -> bool {
        // This looks the route up: what is asked next is of the route that will serve.
        self.0.route_config().is_some() || self.0.keys_count(MetadataSource::Route, NAMESPACE) > 0
    }

    fn route_metadata(&self, key: &str) -> RouteMetadataValue {
        if let Some(config) = self.0.route_config() {
            return config.get(key);
        }
        match self.0.metadata(MetadataSource::Route, NAMESPACE, key) {
            Some(MetadataValue::Text(text)) => RouteMetadataValue::Texts(vec![text]),
            Some(MetadataValue::Flag(flag)) => RouteMetadataValue::Flag(flag),
            Some(MetadataValue::List(items)) => {
                let texts = items.into_iter().map(|item| match item {
                    Some(MetadataValue::Text(text)) => Some(text),
                    _ => None,
                });
                texts
                    .collect::<Option<Vec<_>>>()
                    .map_or(RouteMetadataValue::Unreadable, RouteMetadataValue::Texts)
            }
            Some(MetadataValue::Number(_)) => RouteMetadataValue::Unreadable,
            None => match self.0.keys(MetadataSource::Route, NAMESPACE).iter().any(|own| own == key) {
                true => RouteMetadataValue::Unreadable,
                false => RouteMetadataValue::Absent,
            },
        }
    }
}
