//! A model of the authorization of Envoy Gateway's SecurityPolicy, from its documentation: own code, none of the filter's,
//! none of `gateway`'s. A client is meant whose address lets it pass what is asked of addresses.

use std::collections::BTreeSet;

use portcullis_explain::RequestSketch;
use serde_json::{Map, Value, json};

use super::super::gateway::policy::is_of_client;
use super::super::input::list;
use super::super::istio::policy::texts;
use super::matching::{header, is_whole};
use super::policy::set;
use super::tokens::{Asked, plain_of};

type Token<'t> = Option<(&'t str, &'t Map<String, Value>)>;

/// Whether it lets a request pass.
pub(super) fn passes(
    authorization: &Value,
    request: &RequestSketch,
    token: Token<'_>,
) -> Result<bool, String> {
    if authorization.is_null() {
        return Ok(true);
    }
    for rule in list(&authorization["rules"]) {
        let is_passed_over = is_of_client(rule) && rule["action"] == "Deny";
        if !is_passed_over && matches(rule, request, token)? {
            return Ok(rule["action"] == "Allow");
        }
    }
    Ok(authorization["defaultAction"] == "Allow")
}

fn matches(rule: &Value, request: &RequestSketch, token: Token<'_>) -> Result<bool, String> {
    let methods = texts(&rule["operation"], "methods");
    let path = &rule["operation"]["path"];
    let is_path = path.is_null() || is_path(path, &request.path)? != (path["invert"] == true);
    let mut headers = list(&rule["principal"]["headers"]).iter();
    let has_headers = headers.all(|wanted| {
        let own = header(request, wanted["name"].as_str().unwrap_or_default());
        own.is_some_and(|own| texts(wanted, "values").contains(&own))
    });
    let jwt = &rule["principal"]["jwt"];
    Ok((methods.is_empty() || methods.contains(&request.method.as_str()))
        && is_path
        && has_headers
        && (jwt.is_null() || is_granted(jwt, token)))
}

/// A path is compared with its query.
fn is_path(path: &Value, target: &str) -> Result<bool, String> {
    let value = path["value"].as_str().unwrap_or("/");
    let behind = |start: &str, marks: &[char]| {
        target.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(marks))
    };
    match path["type"].as_str().unwrap_or("PathPrefix") {
        "Exact" => Ok(behind(value, &['?', '#'])),
        "PathPrefix" => Ok(behind(value.strip_suffix('/').unwrap_or(value), &['/', '?', '#', ';'])),
        _ => is_whole(value, target),
    }
}

fn is_granted(jwt: &Value, token: Token<'_>) -> bool {
    let Some((_, claims)) = token.filter(|(provider, _)| jwt["provider"] == *provider) else {
        return false;
    };
    let told = |name: &str| match claims.get(name) {
        Some(Value::String(text)) if ["scope", "scp"].contains(&name) => {
            text.split(' ').filter(|part| !part.is_empty()).collect()
        }
        Some(value) => value.clone(),
        None => Value::Null,
    };
    let has = |name: &str, scope: &str| list(&told(name)).iter().any(|own| own == scope);
    let mut scopes = texts(jwt, "scopes").into_iter();
    let mut wanted = list(&jwt["claims"]).iter();
    scopes.all(|scope| has("scope", scope) || has("scp", scope))
        && wanted.all(|wanted| {
            let mut path = wanted["name"].as_str().unwrap_or_default().split('.');
            let first = told(path.next().unwrap_or_default());
            let value = path.fold(&first, |at, name| at.get(name).unwrap_or(&Value::Null));
            let values = texts(wanted, "values");
            let is_one = |own: &Value| own.as_str().is_some_and(|own| values.contains(&own));
            match wanted["valueType"] == "StringArray" {
                true => list(value).iter().any(is_one),
                false => is_one(value),
            }
        })
}

/// Claims that meet conditions, one by one and those of a rule together.
pub(super) fn claims(authorization: &Value) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    let mut together: Vec<Map<String, Value>> = Vec::new();
    for rule in list(&authorization["rules"]) {
        let jwt = &rule["principal"]["jwt"];
        let mut whole = Map::new();
        let scopes = texts(jwt, "scopes");
        if let Some(first) = scopes.first() {
            set(&mut whole, &["scope"], json!(scopes.join(" ")));
            for (name, value) in [("scp", json!(scopes)), ("scope", json!([first]))] {
                all.push(Asked { claims: Map::from_iter([(name.to_owned(), value)]), rows: Vec::new() });
            }
        }
        for claim in list(&jwt["claims"]) {
            let path: Vec<&str> = claim["name"].as_str().unwrap_or_default().split('.').collect();
            let is_list = claim["valueType"] == "StringArray";
            for value in texts(claim, "values") {
                let (text, texts) = (json!(value), json!(["other", value]));
                set(&mut whole, &path, if is_list { texts.clone() } else { text.clone() });
                let rows: &[&str] = if is_list { &["single_for_list"] } else { &[] };
                for (form, rows) in [(text, rows), (texts, &[])] {
                    let mut claims = Map::new();
                    set(&mut claims, &path, form);
                    all.push(Asked { claims, rows: rows.to_vec() });
                }
            }
            if ["scope", "scp"].contains(&path[0]) {
                let other = if path[0] == "scope" { "scp" } else { "scope" };
                let claims = Map::from_iter([(other.to_owned(), json!(texts(claim, "values")))]);
                all.push(Asked { claims, rows: vec!["scope_claim"] });
            }
        }
        together.push(whole);
    }
    // Those of each two rules, of which one may deny what the other allows.
    for (at, one) in together.iter().enumerate() {
        for other in together.iter().skip(at) {
            let mut claims = one.clone();
            claims.extend(other.clone());
            all.push(Asked { claims, rows: Vec::new() });
        }
    }
    let can_be = |claims: &Map<String, Value>| {
        let text = |name: &str| claims.get(name).is_none_or(Value::is_string);
        !claims.is_empty() && ["iss", "aud", "sub"].into_iter().all(text)
    };
    let mut seen = BTreeSet::new();
    all.retain(|Asked { claims, .. }| {
        can_be(claims) && seen.insert(Value::Object(claims.clone()).to_string())
    });
    all
}

/// Requests about every path, method and header field that rules name.
pub(super) fn requests(authorization: &Value) -> Vec<RequestSketch> {
    let mut paths: BTreeSet<String> = ["/", "/nothing-is-here"].map(str::to_owned).into();
    let mut methods: BTreeSet<&str> = ["GET", "PATCH"].into();
    let mut fields: BTreeSet<Vec<(String, String)>> = [Vec::new()].into();
    for rule in list(&authorization["rules"]) {
        let path = &rule["operation"]["path"];
        if let Some(value) = path["value"].as_str() {
            let plain = if path["type"] == "RegularExpression" { plain_of(value) } else { value.to_owned() };
            let below = format!("{}/x", plain.trim_end_matches('/'));
            paths.extend([format!("{plain}x"), format!("{plain}?a=1"), below, plain]);
        }
        methods.extend(texts(&rule["operation"], "methods"));
        let headers = list(&rule["principal"]["headers"]);
        let name = |header: &Value| header["name"].as_str().unwrap_or_default().to_owned();
        for (at, header) in headers.iter().enumerate() {
            for value in texts(header, "values").into_iter().chain(["other"]) {
                let others = headers.iter().enumerate().filter(|(other, _)| *other != at);
                let others = others.filter_map(|(_, other)| {
                    Some((name(other), (*texts(other, "values").first()?).to_owned()))
                });
                fields.insert(others.chain([(name(header), value.to_owned())]).collect());
            }
        }
    }
    paths.retain(|path| path.starts_with('/') && !path.contains("//"));
    let mut all = Vec::new();
    for path in &paths {
        for method in &methods {
            for headers in &fields {
                all.push(RequestSketch {
                    method: (*method).to_owned(),
                    path: path.clone(),
                    host: "shop.example".to_owned(),
                    headers: headers.clone(),
                    ..Default::default()
                });
            }
        }
    }
    all
}
