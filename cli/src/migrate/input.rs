//! Finds the configuration to migrate in files, and normalizes it.

use serde_json::{Map, Value};

use crate::check::entries::{self, Given, Kind};
use crate::check::written::{self, Dialect};
use crate::output::Failure;
use crate::source::{File, Node};

/// A configuration of `jwt_authn`.
pub(crate) struct Today {
    /// Its file and line.
    pub(crate) place: String,
    /// In one form: names in `snake_case`, lists as lists, without what is null.
    pub(crate) config: Value,
    pub(crate) routes: Vec<Route>,
}

/// What the files contain.
pub(crate) enum Source {
    JwtAuthn(Today),
    /// Istio's manifests, each with its place.
    Istio(Vec<(String, Value)>),
    /// Envoy Gateway's SecurityPolicy with its place, and the ConfigMaps beside it.
    Gateway {
        place: String,
        policy: Value,
        maps: Vec<Value>,
    },
}

/// What a route says for the filter, in its `PerRouteConfig`.
pub(crate) struct Route {
    pub(crate) place: String,
    pub(crate) says: Says,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Says {
    Requirement(String),
    Disabled,
}

/// Fields that take one element in the place of a list.
const LISTS: &[&str] = &[
    "rules",
    "audiences",
    "from_headers",
    "from_params",
    "from_cookies",
    "claim_to_headers",
    "headers",
    "query_parameters",
    "requirements",
];

/// Everything in files that may be migrated.
#[derive(Default)]
struct Found {
    jwt_authn: Vec<(String, Value)>,
    routes: Vec<Route>,
    istio: Vec<(String, Value)>,
    gateway: Vec<(String, Value)>,
    maps: Vec<Value>,
}

/// The one configuration in these files.
///
/// # Errors
/// A file that cannot be read, none, or several.
pub(crate) fn read(files: &[File]) -> Result<Source, Failure> {
    let mut found = Found::default();
    for file in files {
        for document in file.readable()? {
            found.document(document, file)?;
        }
    }
    found.one()
}

impl Found {
    fn document(&mut self, document: &Node, file: &File) -> Result<(), Failure> {
        let value = |node: &Node, dialect: Dialect, line: usize| -> Result<(String, Value), Failure> {
            let place = format!("{}:{line}", file.name);
            let value = serde_json::from_str(&written::json(node, dialect))
                .map_err(|error| Failure::of(&place, error))?;
            Ok((place, value))
        };
        if document.is_null() {
            return Ok(());
        }
        let manifest = || value(document, Dialect::Kubernetes, document.at.line);
        match document.get("kind").and_then(Node::as_str) {
            Some("RequestAuthentication" | "AuthorizationPolicy") => {
                self.istio.push(manifest()?);
                return Ok(());
            }
            Some("SecurityPolicy") => {
                let (place, policy) = manifest()?;
                self.gateway.push((place, without_nulls(policy)));
                return Ok(());
            }
            Some("ConfigMap") => self.maps.push(manifest()?.1),
            _ => {}
        }
        for entry in entries::find(document).entries {
            let is_ours = matches!(entry.kind, Kind::Wasm | Kind::Native) && !entry.way.is_empty();
            let is_elsewhere = entry.kind == Kind::RequestAuthentication;
            let Given::Values(node, dialect) = &entry.given else { continue };
            if !is_ours && !is_elsewhere {
                let (place, config) = value(node, *dialect, entry.at.line)?;
                self.jwt_authn.push((place, normal(&config)));
            }
        }
        per_route(document, file, &mut self.routes);
        Ok(())
    }

    fn one(self) -> Result<Source, Failure> {
        let Self { jwt_authn: mut found, routes, istio, mut gateway, maps } = self;
        let kinds = [!found.is_empty(), !istio.is_empty(), !gateway.is_empty()];
        if kinds.into_iter().filter(|is_there| *is_there).count() > 1 {
            let text = "jwt_authn, policies of Istio and a SecurityPolicy of Envoy Gateway are in these files together; give one kind at a time";
            return Err(Failure::from(text.to_owned()));
        }
        let places = |found: &[(String, Value)]| {
            found.iter().map(|(place, _)| place.as_str()).collect::<Vec<_>>().join(", ")
        };
        if !istio.is_empty() {
            return Ok(Source::Istio(istio));
        }
        let of_gateway = places(&gateway);
        match (gateway.pop(), gateway.is_empty()) {
            (Some((place, policy)), true) => return Ok(Source::Gateway { place, policy, maps }),
            (Some(_), false) => {
                return Err(Failure::from(format!(
                    "several SecurityPolicies are in these files ({of_gateway}); each becomes a configuration of its own: give one at a time"
                )));
            }
            (None, _) => {}
        }
        let all = places(&found);
        found.dedup_by(|one, other| one.1 == other.1);
        match (found.pop(), found.is_empty()) {
            (Some((place, config)), true) if config.is_object() => {
                Ok(Source::JwtAuthn(Today { place, config, routes }))
            }
            (Some((place, _)), true) => Err(Failure::of(place, "is no configuration of jwt_authn")),
            (None, _) => Err(Failure::from(
                "no configuration of jwt_authn, and no policy of Istio or Envoy Gateway, is in these files"
                    .to_owned(),
            )),
            (Some(_), false) => Err(Failure::from(format!(
                "several configurations of jwt_authn are in these files ({all}); give each in a file of its own"
            ))),
        }
    }
}

/// A manifest without members that are null, which are as if they were not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            present.map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(elements) => elements.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// What routes say in `typed_per_filter_config`.
fn per_route(node: &Node, file: &File, routes: &mut Vec<Route>) {
    let configs = node.field("typed_per_filter_config").map(Node::members).unwrap_or_default();
    for member in configs {
        let is_such =
            member.value.get("@type").and_then(Node::as_str).is_some_and(|name| {
                name.ends_with("/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig")
            });
        let named = member.value.field("requirement_name").and_then(Node::as_str);
        let is_disabled = member.value.field("disabled").is_some_and(Node::is_true);
        let says = match named {
            Some(name) => Some(Says::Requirement(name.to_owned())),
            None => is_disabled.then_some(Says::Disabled),
        };
        if let (true, Some(says)) = (is_such, says) {
            routes.push(Route { place: format!("{}:{}", file.name, member.at.line), says });
        }
    }
    node.members().iter().for_each(|member| per_route(&member.value, file, routes));
    node.elements().iter().for_each(|element| per_route(element, file, routes));
}

/// A configuration in one form. Names of providers and of requirements stay as they are.
pub(crate) fn normal(config: &Value) -> Value {
    let Value::Object(members) = config else { return config.clone() };
    let mut out = Map::new();
    for (key, value) in members {
        let key = snake(key);
        if key == "@type" || value.is_null() {
            continue;
        }
        let named = matches!(key.as_str(), "providers" | "requirement_map");
        let value = match value {
            Value::Object(members) if named => {
                members.iter().map(|(name, value)| (name.clone(), normal_value(value))).collect()
            }
            value => as_list(&key, normal_value(value)),
        };
        out.insert(key, value);
    }
    Value::Object(out)
}

fn normal_value(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            let named = present.map(|(key, value)| {
                let key = snake(key);
                let value = as_list(&key, normal_value(value));
                (key, value)
            });
            named.collect()
        }
        Value::Array(elements) => elements.iter().map(normal_value).collect(),
        other => other.clone(),
    }
}

fn as_list(key: &str, value: Value) -> Value {
    match value.is_array() || !LISTS.contains(&key) {
        true => value,
        false => Value::Array(vec![value]),
    }
}

fn snake(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Whether a field is on: a boolean, alone or wrapped.
pub(crate) fn is_on(value: &Value) -> bool {
    let value = value.get("value").unwrap_or(value);
    value == &Value::Bool(true) || value == "true"
}

/// A number that may be written as a text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let value = value.get("value").unwrap_or(value);
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The elements of a list; none where it is missing.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
