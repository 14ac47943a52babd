//! A first file of tests for a configuration: requests about each rule, and what the gate does with them today.

use std::path::Path;

use portcullis_explain::Forge;
use serde_json::{Map, Value, json};

use super::file::Test;
use super::run::explained;
use crate::configuration;
use crate::explain::system_time;
use crate::migrate::{example_of, list, normal, yaml};
use crate::output::Failure;

const HEAD: &str = "\
# What the gate does today, a request or two for each rule. Read each line: is it what you want? Correct the
# configuration where it is not, give the tests the names of your promises, and add what matters to you.
";

/// The file, as YAML.
///
/// # Errors
/// A configuration that cannot be read, or that the filter refuses.
pub(super) fn draft(path: &Path) -> Result<String, Failure> {
    let (name, text) = configuration::text_of(path)?;
    let bench = configuration::bench(&name, text.as_bytes())?;
    let config: Value = serde_json::from_str(&text).map_err(|error| Failure::of(&name, error))?;
    let config = normal(&config);
    let mut forge = Forge::default();
    let now = system_time();
    let mut tests = Vec::new();
    let names: Vec<&str> = bench.config().rules.iter().map(|rule| rule.name.as_str()).collect();
    for mut draft in drafts(&config, &names) {
        draft["expect"] = json!({ "status": 200 });
        let test: Test = serde_json::from_value(draft.clone()).map_err(|error| Failure::of(&name, error))?;
        let found = explained(&test, &bench, (&mut forge, now)).map_err(|error| Failure::of(&name, error))?;
        let mut expect = json!({ "status": found.status });
        if let Some(rule) = found.rule {
            expect["rule"] = json!(rule);
        }
        if let Some(reason) = found.reason {
            expect["reason"] = json!(reason);
        }
        draft["expect"] = expect;
        tests.push(draft);
    }
    let file = json!({ "config": path.display().to_string(), "tests": tests });
    Ok(format!("{HEAD}{}", yaml(&file)))
}

/// The tests, without what is to be expected.
fn drafts(config: &Value, names: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut is_first = true;
    for (rule, name) in list(&config["rules"]).iter().zip(names) {
        let request = request(&rule["match"]);
        let what = format!("{name}: {}", said(&request));
        all.push(json!({ "name": format!("{what}, without a token"), "request": request }));
        let Some((provider, claims)) = token(config, rule) else { continue };
        let mut with = |how: &str, more: Value| {
            let mut claims = claims.clone();
            claims.extend(more.as_object().cloned().unwrap_or_default());
            let mut token = json!({ "provider": provider });
            if !claims.is_empty() {
                token["claims"] = json!(claims);
            }
            all.push(json!({ "name": format!("{what}, with {how}"), "request": request, "token": token }));
        };
        with("a good token", json!({}));
        if !claims.is_empty() {
            let none: Map<String, Value> = claims.keys().map(|name| (name.clone(), Value::Null)).collect();
            let names = claims.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            with(&format!("a token without {names}"), Value::Object(none));
        }
        if std::mem::take(&mut is_first) {
            with("a token of another issuer", json!({ "iss": "https://elsewhere.example" }));
            with("a token for another service", json!({ "aud": "elsewhere" }));
        }
    }
    all.push(json!({ "name": "a path that no rule names", "request": { "path": "/nothing-is-here" } }));
    all
}

fn said(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let method = if request["method"].is_null() { "GET" } else { text("method") };
    format!("{method} {}{}", text("host"), text("path"))
}

/// A request that a match is about.
fn request(matcher: &Value) -> Value {
    let mut request = json!({ "path": path(matcher) });
    if let Some(method) = matcher["methods"][0].as_str().filter(|method| *method != "GET") {
        request["method"] = json!(method);
    }
    if let Some(host) = matcher["hosts"][0].as_str() {
        request["host"] = json!(host.trim_end_matches(":*").replacen('*', "a", 1));
    }
    let mut headers = Map::new();
    for condition in list(&matcher["headers"]) {
        let is_absent = condition["present_match"] == false;
        if let (Some(name), false) = (condition["name"].as_str(), is_absent) {
            headers.insert(
                name.to_ascii_lowercase(),
                json!(example_of(&condition["string_match"]).unwrap_or("x".to_owned())),
            );
        }
    }
    if matcher.get("grpc").is_some() {
        headers.insert("content-type".to_owned(), json!("application/grpc"));
    }
    let parameters = list(&matcher["query_parameters"]).iter().map(|condition| {
        let value = example_of(&condition["string_match"]).unwrap_or("x".to_owned());
        format!("{}={value}", condition["name"].as_str().unwrap_or_default())
    });
    let query = parameters.collect::<Vec<_>>().join("&");
    if !query.is_empty() {
        request["path"] = json!(format!("{}?{query}", path(matcher)));
    }
    if !headers.is_empty() {
        request["headers"] = Value::Object(headers);
    }
    request
}

fn path(matcher: &Value) -> String {
    let text = |name: &str| matcher[name].as_str();
    let below = |prefix: &str| format!("{}/x", prefix.trim_end_matches('/'));
    let of_template = |template: &str| {
        let segments = template.split('/').map(|segment| match segment {
            segment if segment.contains("**") => "x/y".to_owned(),
            segment => match segment.split_once('{') {
                Some((start, _)) => format!("{start}x"),
                None => segment.replace('*', "x"),
            },
        });
        segments.collect::<Vec<_>>().join("/")
    };
    let template =
        text("path_template").or(matcher["path_match_policy"]["typed_config"]["path_template"].as_str());
    text("path")
        .map(str::to_owned)
        .or_else(|| text("prefix").or(text("path_separated_prefix")).map(below))
        .or_else(|| template.map(of_template))
        .or_else(|| matcher.get("safe_regex").and_then(|_| example_of(matcher)))
        .unwrap_or_else(|| "/".to_owned())
}

/// The first provider whose token a rule asks for, and claims that meet it as far as they can be guessed.
fn token(config: &Value, rule: &Value) -> Option<(String, Map<String, Value>)> {
    let requires = match rule["requirement_name"].as_str() {
        Some(name) => &config["requirement_map"][name],
        None => &rule["requires"],
    };
    let provider = provider(requires)?;
    let mut claims = Map::new();
    for required in list(&config["providers"][provider.as_str()]["required_claims"]) {
        match required {
            Value::String(name) => put(&mut claims, &json!(name), json!("x")),
            condition => meet(condition, &mut claims),
        }
    }
    meet_all(&rule["authorize"], &mut claims);
    Some((provider, claims))
}

fn provider(requires: &Value) -> Option<String> {
    let own = requires["provider_name"].as_str();
    let own = own.or(requires["provider_and_audiences"]["provider_name"].as_str());
    let parts =
        ["requires_any", "requires_all"].into_iter().flat_map(|kind| list(&requires[kind]["requirements"]));
    own.map(str::to_owned).or_else(|| parts.into_iter().find_map(provider))
}

/// Claims that meet what is asked: of "any" the first, and nothing of "not".
fn meet_all(authorize: &Value, claims: &mut Map<String, Value>) {
    let scopes = &authorize["scopes"];
    let texts = |name: &str| list(&scopes[name]).iter().filter_map(Value::as_str);
    let scopes: Vec<&str> = texts("all_of").chain(texts("any_of").take(1)).collect();
    if !scopes.is_empty() {
        claims.insert("scope".to_owned(), json!(scopes.join(" ")));
    }
    list(&authorize["claims"]).iter().for_each(|condition| meet(condition, claims));
    list(&authorize["all"]).iter().for_each(|part| meet_all(part, claims));
    list(&authorize["any"]).iter().take(1).for_each(|part| meet_all(part, claims));
}

fn meet(condition: &Value, claims: &mut Map<String, Value>) {
    let first = |name: &str| condition[name].get(0).cloned();
    let matches = || example_of(&json!({ "safe_regex": { "regex": condition["matches"].as_str()? } }));
    let value = condition.get("equals").cloned();
    let value = value.or_else(|| first("any_of")).or_else(|| condition.get("all_of").cloned());
    let value = value.or_else(|| condition.get("gte").cloned()).or_else(|| matches().map(Value::from));
    let value = value.or_else(|| (condition["present"] == true).then(|| json!("x")));
    if let Some(value) = value {
        put(claims, &condition["claim"], value);
    }
}

/// Puts a value where a claim is named: a name, a path such as `/a/b`, or a list of names.
fn put(claims: &mut Map<String, Value>, claim: &Value, value: Value) {
    let path: Vec<&str> = match claim {
        Value::String(text) if text.starts_with('/') => text.split('/').skip(1).collect(),
        Value::String(text) => vec![text],
        other => list(other).iter().filter_map(Value::as_str).collect(),
    };
    // What a token has anyway stays, unless something else is asked for.
    let Some((last, outer)) = path.split_last() else { return };
    let mut at = claims;
    for name in outer {
        let inner = at.entry((*name).to_owned()).or_insert_with(|| json!({}));
        let Some(inner) = inner.as_object_mut() else { return };
        at = inner;
    }
    at.insert((*last).to_owned(), value);
}
