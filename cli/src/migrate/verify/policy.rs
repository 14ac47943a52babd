//! A model of Istio's AuthorizationPolicy, from its documentation: own code, none of the filter's, none of `istio`'s.

use std::collections::BTreeSet;

use portcullis_explain::RequestSketch;
use serde_json::{Map, Value, json};

use super::super::input::list;
use super::super::istio::policy::{Policies, claim_of, header_of, texts};
use super::matching::header;

/// Whether the policies let a request pass.
pub(super) fn passes(policies: &Policies, request: &RequestSketch, claims: &Value) -> bool {
    let meets = |rule: &Value| matches(rule, request, claims, &policies.split);
    !policies.deny.iter().any(meets) && policies.allow.as_ref().is_none_or(|rules| rules.iter().any(meets))
}

fn matches(rule: &Value, request: &RequestSketch, claims: &Value, split: &BTreeSet<String>) -> bool {
    let (from, to) = (list(&rule["from"]), list(&rule["to"]));
    (from.is_empty()
        || from.iter().any(|from| {
            both(&from["source"], "requestPrincipals", "notRequestPrincipals", |one| {
                is_principal(one, claims)
            })
        }))
        && (to.is_empty() || to.iter().any(|to| is_operation(&to["operation"], request)))
        && list(&rule["when"]).iter().all(|when| is_met(when, request, claims, split))
}

fn both(object: &Value, name: &str, not: &str, is: impl Fn(&str) -> bool) -> bool {
    let (wanted, unwanted) = (texts(object, name), texts(object, not));
    (wanted.is_empty() || wanted.into_iter().any(&is)) && !unwanted.into_iter().any(&is)
}

fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern == "*" => !text.is_empty(),
        (Some(end), _) => text.ends_with(end),
        (_, Some(start)) => text.starts_with(start),
        _ => text == pattern,
    }
}

fn fits_path(pattern: &str, path: &str) -> bool {
    if !pattern.contains("{*}") && !pattern.contains("{**}") {
        return fits(pattern, path);
    }
    let mut rest = path;
    let mut parts = pattern.split_inclusive('}').peekable();
    // Without backtracking: what a template's parts have between them is in no part of a generated path.
    while let Some(part) = parts.next() {
        let literal = part.split('{').next().unwrap_or_default();
        let Some(behind) = rest.strip_prefix(literal) else { return false };
        rest = behind;
        if part.ends_with("{*}") {
            let end = rest.find('/').unwrap_or(rest.len());
            if end == 0 {
                return false;
            }
            rest = rest.get(end..).unwrap_or_default();
        } else if part.ends_with("{**}") {
            let end = match parts.peek() {
                Some(next) => rest.find(*next).filter(|_| rest.ends_with(*next)),
                None => Some(rest.len()),
            };
            let Some(end) = end else { return false };
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    rest.is_empty()
}

fn is_operation(operation: &Value, request: &RequestSketch) -> bool {
    let path = request.path.split('?').next().unwrap_or_default();
    let host = request.host.to_ascii_lowercase();
    both(operation, "hosts", "notHosts", |one| fits(&one.to_ascii_lowercase(), &host))
        && both(operation, "methods", "notMethods", |one| fits(one, &request.method))
        && both(operation, "paths", "notPaths", |one| fits_path(one, path))
}

fn is_principal(pattern: &str, claims: &Value) -> bool {
    let (Some(issuer), Some(subject)) = (claims["iss"].as_str(), claims["sub"].as_str()) else {
        return false;
    };
    let (wanted_issuer, wanted_subject) = match pattern.rsplit_once('/') {
        _ if pattern == "*" => ("*", "*"),
        Some(both) => both,
        None => ("*", pattern),
    };
    fits(wanted_issuer, issuer) && fits(wanted_subject, subject)
}

fn is_met(when: &Value, request: &RequestSketch, claims: &Value, split: &BTreeSet<String>) -> bool {
    let key = when["key"].as_str().unwrap_or_default();
    both(when, "values", "notValues", |pattern| {
        if key == "request.auth.principal" {
            return is_principal(pattern, claims);
        }
        if let Some(name) = header_of(key) {
            return header(request, name).is_some_and(|value| pattern == "*" || fits(pattern, value));
        }
        let path = claim_of(key).unwrap_or_default();
        let value = path.iter().fold(claims, |at, name| at.get(name).unwrap_or(&Value::Null));
        match value {
            Value::String(text)
                if path == ["scope"] || path.len() == 1 && path.iter().all(|name| split.contains(*name)) =>
            {
                text.split(' ').any(|one| fits(pattern, one))
            }
            Value::String(text) => fits(pattern, text),
            Value::Array(all) => all.iter().filter_map(Value::as_str).any(|one| fits(pattern, one)),
            _ => false,
        }
    })
}

/// Claims that meet conditions, one by one and those of a rule together.
pub(super) fn claims(policies: &Policies) -> Vec<Map<String, Value>> {
    let mut all: Vec<Map<String, Value>> = Vec::new();
    for rule in policies.rules() {
        let mut together = Map::new();
        let mut add = |path: &[&str], pattern: &str| {
            let text = pattern.replace('*', "x");
            for (value, is_kept) in [
                (json!(text), true),
                (json!(["other", text]), false),
                (json!(format!("other {text}")), false),
            ] {
                let mut alone = Map::new();
                set(&mut alone, path, value.clone());
                all.push(alone);
                if is_kept {
                    set(&mut together, path, value);
                }
            }
        };
        for condition in list(&rule["when"]) {
            let key = condition["key"].as_str().unwrap_or_default();
            let values = texts(condition, "values").into_iter().chain(texts(condition, "notValues"));
            for value in values {
                match claim_of(key) {
                    Some(path) if path != ["iss"] && path != ["aud"] => add(&path, value),
                    _ if key == "request.auth.principal" => add(&["sub"], subject(value)),
                    _ => {}
                }
            }
        }
        for from in list(&rule["from"]) {
            let source = &from["source"];
            let names =
                texts(source, "requestPrincipals").into_iter().chain(texts(source, "notRequestPrincipals"));
            names.for_each(|name| add(&["sub"], subject(name)));
        }
        all.push(together);
    }
    all.retain(|claims| !claims.is_empty() && claims.get("sub").is_none_or(Value::is_string));
    let mut seen = BTreeSet::new();
    all.retain(|claims| seen.insert(Value::Object(claims.clone()).to_string()));
    all
}

fn subject(principal: &str) -> &str {
    principal.rsplit('/').next().unwrap_or(principal)
}

pub(super) fn set(map: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => _ = map.insert((*name).to_owned(), value),
        [name, rest @ ..] => {
            let inner = map.entry((*name).to_owned()).or_insert_with(|| json!({}));
            if let Some(inner) = inner.as_object_mut() {
                set(inner, rest, value);
            }
        }
    }
}

/// What a segment may begin with, where another pattern is about that.
fn segments(policies: &Policies) -> BTreeSet<String> {
    let operations = policies.rules().flat_map(|rule| list(&rule["to"])).map(|to| &to["operation"]);
    let patterns = operations.flat_map(|it| [texts(it, "paths"), texts(it, "notPaths")].concat());
    let starts = patterns.filter_map(|pattern| pattern.strip_suffix('*')?.rsplit('/').next());
    let starts = starts.filter(|start| !start.is_empty() && !start.contains(['{', '}']));
    starts.flat_map(|start| [start.to_owned(), format!("{start}x")]).collect()
}

/// Requests about every path, method, host and header that policies name.
pub(super) fn requests(policies: &Policies) -> Vec<RequestSketch> {
    let mut paths: BTreeSet<String> = ["/", "/nothing-is-here"].map(str::to_owned).into();
    let mut methods: BTreeSet<&str> = ["GET", "PATCH"].into();
    let mut hosts: BTreeSet<String> = ["elsewhere.test".to_owned()].into();
    let mut fields: BTreeSet<Option<(String, String)>> = [None].into();
    let mut ends = BTreeSet::new();
    let segments = segments(policies);
    for rule in policies.rules() {
        for to in list(&rule["to"]) {
            let of = |one: &str, other: &str| {
                [texts(&to["operation"], one), texts(&to["operation"], other)].concat()
            };
            for pattern in of("paths", "notPaths") {
                let any = pattern.replace("{**}", "a/b");
                paths.extend(segments.iter().map(|segment| any.replace("{*}", segment)));
                let plain = any.replace("{*}", "a");
                ends.extend(plain.strip_prefix('*').map(str::to_owned));
                let start = plain.replace('*', "");
                paths.extend([
                    start.clone(),
                    format!("{start}x"),
                    format!("{}/x", start.trim_end_matches('/')),
                ]);
            }
            methods.extend(of("methods", "notMethods").into_iter().filter(|method| !method.contains('*')));
            for pattern in of("hosts", "notHosts") {
                hosts.insert(pattern.replace(":*", ":8080").replacen('*', "a", 1));
                hosts.insert(pattern.replace(":*", "").replacen('*', "a", 1));
            }
        }
        for condition in list(&rule["when"]) {
            let Some(name) = condition["key"].as_str().and_then(header_of) else { continue };
            for pattern in [texts(condition, "values"), texts(condition, "notValues")].concat() {
                fields.insert(Some((name.to_owned(), pattern.replace('*', "x"))));
            }
            fields.insert(Some((name.to_owned(), "other".to_owned())));
        }
    }
    let with_ends: Vec<String> = ends
        .iter()
        .flat_map(|end| paths.iter().map(move |path| format!("{}{end}", path.trim_end_matches('/'))))
        .collect();
    paths.extend(with_ends);
    paths.retain(|path| path.starts_with('/') && !path.contains("//") && !path.contains('*'));
    product(&paths, &methods, &hosts, &fields)
}

/// Every path with every method, host and header field.
fn product(
    paths: &BTreeSet<String>,
    methods: &BTreeSet<&str>,
    hosts: &BTreeSet<String>,
    fields: &BTreeSet<Option<(String, String)>>,
) -> Vec<RequestSketch> {
    let mut all = Vec::new();
    for path in paths {
        for method in methods {
            for host in hosts {
                for field in fields {
                    all.push(RequestSketch {
                        method: (*method).to_owned(),
                        path: path.clone(),
                        host: host.clone(),
                        headers: field.iter().cloned().collect(),
                        ..Default::default()
                    });
                }
            }
        }
    }
    all
}
