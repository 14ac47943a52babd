//! Kubernetes manifests against the schemas of their kinds, as an API server checks them: types, required fields,
//! choices, patterns, bounds, and no field that the schema does not know.
//!
//! The rules in CEL (`x-kubernetes-validations`) are not evaluated. A keyword that this does not know is an error: a
//! schema is checked whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex_lite::Regex;
use serde_json::Value;

use super::pages::documents;

/// The schemas by apiVersion and kind, and whether their objects are in a namespace.
pub struct Crds(BTreeMap<(String, String), (Value, bool)>);

/// What says nothing about a value.
const SILENT: &[&str] = &[
    "description",
    "default",
    "title",
    "format",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-int-or-string",
    "nullable",
    "properties",
    "additionalProperties",
];

impl Crds {
    /// Reads every definition in the YAML files of a folder.
    pub fn read(folder: &Path) -> Self {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).expect("the folder of schemas").flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            // One of the files is a template; the lines that say so are no part of the schemas.
            let text = fs::read_to_string(&path).expect("a file of schemas");
            let text: String =
                text.lines().filter(|line| !line.contains("{{")).map(|line| format!("{line}\n")).collect();
            for definition in documents(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                let spec = &definition["spec"];
                let (Some(group), Some(kind)) = (spec["group"].as_str(), spec["names"]["kind"].as_str())
                else {
                    continue;
                };
                let is_namespaced = spec["scope"] != "Cluster";
                for version in spec["versions"].as_array().into_iter().flatten() {
                    let name = format!("{group}/{}", version["name"].as_str().expect("the version's name"));
                    let schema = version["schema"]["openAPIV3Schema"].clone();
                    found.insert((name, kind.to_owned()), (schema, is_namespaced));
                }
            }
        }
        assert!(!found.is_empty(), "no schema in {}", folder.display());
        Self(found)
    }

    /// Everything that is wrong with a manifest.
    pub fn problems(&self, manifest: &Value) -> Vec<String> {
        let text = |name: &str| manifest[name].as_str().unwrap_or_default().to_owned();
        let Some((schema, is_namespaced)) = self.0.get(&(text("apiVersion"), text("kind"))) else {
            return vec![format!("there is no schema of {} {}", text("apiVersion"), text("kind"))];
        };
        let mut problems = Vec::new();
        let mut rest = manifest.clone();
        if let Some(members) = rest.as_object_mut() {
            for known in ["apiVersion", "kind"] {
                members.remove(known);
            }
            metadata(&members.remove("metadata").unwrap_or_default(), *is_namespaced, &mut problems);
        }
        // The schemas say of `metadata` no more than that it is an object.
        let mut schema = schema.clone();
        if let Some(properties) = schema["properties"].as_object_mut() {
            for known in ["apiVersion", "kind", "metadata"] {
                properties.remove(known);
            }
        }
        check(&rest, &schema, "", &mut problems);
        problems
    }
}

/// What every object says of itself.
fn metadata(metadata: &Value, is_namespaced: bool, problems: &mut Vec<String>) {
    let Some(members) = metadata.as_object() else {
        return problems.push("metadata: is missing".to_owned());
    };
    for (name, value) in members {
        match name.as_str() {
            "name" | "namespace" if value.is_string() => {}
            "labels" | "annotations"
                if value.as_object().is_some_and(|all| all.values().all(Value::is_string)) => {}
            _ => problems.push(format!("metadata.{name}: is not known, or not of its type")),
        }
    }
    let has = |name| members.contains_key(name);
    if !has("name") {
        problems.push("metadata.name: is missing".to_owned());
    }
    match (is_namespaced, has("namespace")) {
        (true, false) => problems.push("metadata.namespace: is missing".to_owned()),
        (false, true) => problems.push("metadata.namespace: is none of this kind".to_owned()),
        _ => {}
    }
}

/// Checks a value against a schema, which says which fields there may be.
fn check(value: &Value, schema: &Value, path: &str, problems: &mut Vec<String>) {
    constraints(value, schema, path, problems);
    let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if let Some(of_member) = schema["properties"].get(name) {
                    check(member, of_member, &at, problems);
                } else if schema["additionalProperties"].is_object() {
                    check(member, &schema["additionalProperties"], &at, problems);
                } else if !free && schema["additionalProperties"] != true {
                    problems.push(format!("{at}: there is no such field"));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if schema["items"].is_object() {
                    check(item, &schema["items"], &format!("{path}[{index}]"), problems);
                }
            }
        }
        _ => {}
    }
}

/// Checks what a schema demands, whichever fields there may be: the only thing that nested alternatives do.
fn constraints(value: &Value, schema: &Value, path: &str, problems: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else { return };
    let mut wrong = |what: String| problems.push(format!("{path}: {what}"));
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let number = value.as_f64();
    let length = value.as_str().map(|text| text.chars().count() as f64);
    let count = value.as_array().map(|items| items.len() as f64);
    let members = value.as_object().map(|members| members.len() as f64);
    for (keyword, demand) in keywords {
        let limit = demand.as_f64();
        let over = |found: Option<f64>| found.zip(limit).is_some_and(|(found, limit)| found > limit);
        let under = |found: Option<f64>| found.zip(limit).is_some_and(|(found, limit)| found < limit);
        let holds = match keyword.as_str() {
            "type" => is_of_type(value, demand.as_str().unwrap_or_default()),
            "enum" => demand.as_array().is_some_and(|choices| choices.contains(value)),
            "pattern" => value.as_str().is_none_or(|text| pattern(demand).is_match(text)),
            "required" => value.as_object().is_none_or(|members| {
                let needed = demand.as_array().into_iter().flatten().filter_map(Value::as_str);
                needed.into_iter().all(|name| members.contains_key(name))
            }),
            "maximum" => !over(number),
            "minimum" => !under(number),
            "maxLength" => !over(length),
            "minLength" => !under(length),
            "maxItems" => !over(count),
            "minItems" => !under(count),
            "maxProperties" => !over(members),
            "minProperties" => !under(members),
            "allOf" => alternatives(demand).all(|each| satisfies(value, each)),
            "anyOf" => alternatives(demand).any(|each| satisfies(value, each)),
            "oneOf" => alternatives(demand).filter(|each| satisfies(value, each)).count() == 1,
            "not" => !satisfies(value, demand),
            // Looked into by whoever walks the fields.
            "items" => true,
            _ if SILENT.contains(&keyword.as_str()) => true,
            _ => panic!("{path}: the schema's keyword {keyword} is not known here"),
        };
        if !holds {
            wrong(format!("{value} is not as {keyword} {demand} demands"));
        }
    }
}

/// Whether a value satisfies a nested schema, with everything below it.
fn satisfies(value: &Value, schema: &Value) -> bool {
    let mut problems = Vec::new();
    constraints(value, schema, "", &mut problems);
    let members = schema["properties"].as_object().into_iter().flatten();
    let below = members
        .into_iter()
        .all(|(name, of_member)| value.get(name).is_none_or(|member| satisfies(member, of_member)));
    let items = value.as_array().filter(|_| schema["items"].is_object());
    problems.is_empty()
        && below
        && items.is_none_or(|items| items.iter().all(|item| satisfies(item, &schema["items"])))
}

fn alternatives(demand: &Value) -> impl Iterator<Item = &Value> {
    demand.as_array().into_iter().flatten()
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("the schema's type {other} is not known here"),
    }
}

fn pattern(demand: &Value) -> Regex {
    let text = demand.as_str().expect("a pattern");
    Regex::new(text).unwrap_or_else(|error| panic!("the schema's pattern {text}: {error}"))
}
