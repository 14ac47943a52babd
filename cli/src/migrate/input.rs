//! What is there today: found in files, and brought into one form.

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

/// What there is in files.
pub(crate) enum Source {
    JwtAuthn(Today),
    /// Istio's manifests, each with its place.
    Istio(Vec<(String, Value)>),
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

/// The one configuration in these files.
///
/// # Errors
/// A file that cannot be read, none, several, or another kind of policy.
pub(crate) fn read(files: &[File]) -> Result<Source, Failure> {
    let (mut found, mut routes, mut manifests) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let documents = file.documents.as_ref().map_err(|error| {
            Failure::of(format!("{}:{}:{}", file.name, error.at.line, error.at.column), &error.message)
        })?;
        for document in documents {
            if let Some("RequestAuthentication" | "AuthorizationPolicy") =
                document.get("kind").and_then(Node::as_str)
            {
                let text = written::json(document, Dialect::Kubernetes);
                let place = format!("{}:{}", file.name, document.at.line);
                let manifest: Value =
                    serde_json::from_str(&text).map_err(|error| Failure::of(&place, error))?;
                manifests.push((place, manifest));
                continue;
            }
            if let Some(kind @ "SecurityPolicy") = document.get("kind").and_then(Node::as_str) {
                let place = format!("{}:{}", file.name, document.at.line);
                return Err(Failure::of(
                    place,
                    format!(
                        "a {kind} cannot be carried over by this command; docs/migration.md says how it is done by hand"
                    ),
                ));
            }
            for entry in entries::find(document).entries {
                let is_ours = matches!(entry.kind, Kind::Wasm | Kind::Native) && !entry.way.is_empty();
                let is_elsewhere = entry.kind == Kind::RequestAuthentication;
                let Given::Values(node, dialect) = &entry.given else { continue };
                if !is_ours && !is_elsewhere {
                    let text = written::json(node, *dialect);
                    let place = format!("{}:{}", file.name, entry.at.line);
                    let config: Value =
                        serde_json::from_str(&text).map_err(|error| Failure::of(&place, error))?;
                    found.push((place, normal(&config)));
                }
            }
            per_route(document, file, &mut routes);
        }
    }
    if found.is_empty() && !manifests.is_empty() {
        return Ok(Source::Istio(manifests));
    }
    let places: Vec<String> = found.iter().map(|(place, _)| place.clone()).collect();
    found.dedup_by(|one, other| one.1 == other.1);
    match (found.pop(), found.is_empty()) {
        (Some((place, config)), true) if config.is_object() => {
            Ok(Source::JwtAuthn(Today { place, config, routes }))
        }
        (Some((place, _)), true) => Err(Failure::of(place, "is no configuration of jwt_authn")),
        (None, _) => Err(Failure::from(
            "no configuration of jwt_authn and no policy of Istio is in these files".to_owned(),
        )),
        (Some(_), false) => Err(Failure::from(format!(
            "several configurations of jwt_authn are in these files ({}); give each in a file of its own",
            places.join(", ")
        ))),
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
fn normal(config: &Value) -> Value {
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
