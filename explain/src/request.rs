//! A request as somebody writes it down.

use std::collections::BTreeMap;

use portcullis::{HostProperties, JsonObject, RouteMetadataValue};
use serde::Deserialize;

/// A request, as the filter would see it in the proxy.
#[derive(Clone, Debug)]
pub struct RequestSketch {
    /// `:method`
    pub method: String,
    /// `:path`: with its query.
    pub path: String,
    /// `:authority`
    pub host: String,
    /// The header fields, in their order, names as they came.
    pub headers: Vec<(String, String)>,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The address of the client, as the proxy sees it.
    pub client_address: Option<String>,
    /// What filters before this one wrote of the request.
    pub metadata: JsonObject,
    /// What its route says in its metadata for this filter.
    pub route: RouteSketch,
}

/// What the metadata of a route says for this filter.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSketch {
    /// The rule to use.
    pub rule: Option<String>,
    /// The requirement to ask for in place of the rule's.
    pub requirement: Option<String>,
    /// Further scopes.
    pub scopes: Vec<String>,
    /// Whether nothing is asked.
    pub disabled: Option<bool>,
}

impl Default for RequestSketch {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: "localhost".to_owned(),
            headers: Vec::new(),
            tls: false,
            client_address: None,
            metadata: JsonObject::default(),
            route: RouteSketch::default(),
        }
    }
}

/// The header fields of a request, names in lower case as a proxy has them.
pub(crate) type OwnedFields = Vec<(Vec<u8>, Vec<u8>)>;

impl RequestSketch {
    /// The fields as Envoy hands them to a filter: pseudo-header fields first, a target in absolute form taken apart (RFC
    /// 9112 section 3.2.2), values without blanks around them (RFC 9110 section 5.5).
    pub(crate) fn fields(&self) -> OwnedFields {
        let scheme = if self.tls { "https" } else { "http" };
        let (host, path) = absolute(&self.path).unwrap_or((&self.host, &self.path));
        let pseudo = [(":method", &*self.method), (":scheme", scheme), (":authority", host), (":path", path)];
        let pseudo = pseudo.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let header = |(name, value): &(String, String)| {
            (name.to_ascii_lowercase().into_bytes(), value.trim_matches([' ', '\t']).as_bytes().to_vec())
        };
        pseudo.into_iter().chain(self.headers.iter().map(header)).collect()
    }

    /// The header of one line as `curl -H` takes it: `name: value`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn header_of(line: &str) -> Result<(String, String), String> {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) else {
            return Err("a header is \"name: value\"".to_owned());
        };
        let value = value.trim_matches([' ', '\t']);
        if value.contains(['\r', '\n', '\0']) {
            return Err(format!("the value of {name} has a line end; no header field has one"));
        }
        Ok((name.to_owned(), value.to_owned()))
    }
}

/// The authority and the rest of a target in absolute form.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Some((authority, if path.is_empty() { "/" } else { path }))
}

/// Whether it is the name of a field (RFC 9110 section 5.6.2).
pub(crate) fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// What the proxy would say of the request besides its fields.
pub(crate) struct Properties<'s>(pub(crate) &'s RequestSketch);

impl HostProperties for Properties<'_> {
    fn is_tls(&self) -> bool {
        self.0.tls
    }

    fn client_address(&self) -> Option<String> {
        self.0.client_address.clone()
    }

    fn dynamic_metadata(&self) -> Option<JsonObject> {
        Some(self.0.metadata.clone())
    }

    fn route_metadata(&self, key: &str) -> RouteMetadataValue {
        let RouteSketch { rule, requirement, scopes, disabled } = &self.0.route;
        let text = |text: &Option<String>| match text {
            Some(text) => RouteMetadataValue::Texts(vec![text.clone()]),
            None => RouteMetadataValue::Absent,
        };
        match key {
            "rule" => text(rule),
            "requirement" => text(requirement),
            "scopes" if !scopes.is_empty() => RouteMetadataValue::Texts(scopes.clone()),
            "disabled" => disabled.map_or(RouteMetadataValue::Absent, RouteMetadataValue::Flag),
            _ => RouteMetadataValue::Absent,
        }
    }
}

/// The fields of a message, by name: repeated ones in their order.
pub(crate) fn by_name(fields: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in fields {
        by_name.entry(name).or_default().push(value);
    }
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let parsed = |line| RequestSketch::header_of(line).ok();
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(parsed("X-A: b"), pair("X-A", "b"));
        assert_eq!(parsed("x-a:b:c "), pair("x-a", "b:c"));
        assert_eq!(parsed("x-a:"), pair("x-a", ""));
        for line in ["", "x-a", ":path: /", "x a: b", "x-a: b\r\nc: d"] {
            assert_eq!(parsed(line), None, "{line:?}");
        }
    }
}
