//! Requests about every rule, with tokens of every kind in every place.

use std::collections::BTreeSet;

use portcullis_explain::{RequestSketch, RouteSketch};
use serde_json::Value;

use super::super::input::{is_on, list};
use super::matching::start_of;
use super::model::{Place, places};
use super::tokens::{Token, Tokens, meeting, plain_of};

/// A request, and the rows that may be about it.
pub(super) struct Ask {
    /// What it is, for a person; without a token's text.
    pub(super) name: String,
    pub(super) request: RequestSketch,
    pub(super) rows: Vec<&'static str>,
}

/// A request without a token.
struct Bare {
    request: RequestSketch,
    rows: Vec<&'static str>,
}

/// How a token comes.
struct Carried {
    name: String,
    tokens: Vec<(Place, String)>,
    rows: Vec<&'static str>,
}

/// All requests: about the rules of `jwt_authn`, and these besides.
pub(super) fn asks(today: &Value, more: Vec<RequestSketch>, tokens: &Tokens) -> Vec<Ask> {
    let carried = carried(today, tokens);
    let mut asks = Vec::new();
    let more = more.into_iter().map(|request| Bare { rows: port_rows(&request), request });
    for bare in bare(today).into_iter().chain(more) {
        let Bare { request, rows } = &bare;
        let with = |carried: &Carried| {
            let mut request = request.clone();
            carried.tokens.iter().for_each(|(place, text)| put(&mut request, place, text));
            request
        };
        for carried in &carried {
            let route = match &request.route.requirement {
                Some(name) => format!(", the route asks for {name:?}"),
                None => String::new(),
            };
            let fields: String =
                request.headers.iter().map(|(name, value)| format!(", {name}: {value}")).collect();
            let name = format!(
                "{} {} on {}{fields}{route}, {}",
                request.method, request.path, request.host, carried.name
            );
            let request = with(carried);
            // Where a rule is compared with the query, too, and that is said.
            let query = request.path.contains('?').then_some("query");
            let rows = rows.iter().chain(&carried.rows).copied().chain(query).collect();
            asks.push(Ask { name, request, rows });
        }
    }
    asks
}

/// What may be otherwise about a host with a port.
fn port_rows(request: &RequestSketch) -> Vec<&'static str> {
    if request.host.contains(':') { vec!["host_twice"] } else { Vec::new() }
}

fn put(request: &mut RequestSketch, place: &Place, text: &str) {
    match place {
        Place::Header(name, prefix) => request.headers.push((name.clone(), format!("{prefix}{text}"))),
        Place::Cookie(name) => request.headers.push(("cookie".to_owned(), format!("{name}={text}"))),
        Place::Parameter(name) => {
            let sign = if request.path.contains('?') { '&' } else { '?' };
            request.path = format!("{}{sign}{name}={text}", request.path);
        }
    }
}

/// Requests that meet each rule, and some that meet none.
fn bare(today: &Value) -> Vec<Bare> {
    let rules = list(&today["rules"]);
    let mut paths: BTreeSet<String> = ["/", "/nothing-is-here"].map(str::to_owned).into();
    let mut headers: Vec<Vec<(String, String)>> = vec![Vec::new()];
    let mut queries: BTreeSet<String> = BTreeSet::from([String::new()]);
    for rule in rules {
        paths.extend(paths_of(&rule["match"]));
        let wanted: Vec<(String, String)> = list(&rule["match"]["headers"]).iter().map(wanted).collect();
        let others = wanted.iter().map(|(name, value)| (name.clone(), other(name, value))).collect();
        for fields in [wanted, others] {
            if !headers.contains(&fields) {
                headers.push(fields);
            }
        }
        for condition in list(&rule["match"]["query_parameters"]) {
            let name = condition["name"].as_str().unwrap_or_default();
            queries.insert(format!("?{name}={}", meeting(&condition["string_match"])));
            queries.insert(format!("?{name}=other"));
        }
        if rule["match"].get("grpc").is_some() {
            headers.push(vec![("content-type".to_owned(), "application/grpc".to_owned())]);
        }
    }
    let mut all = Vec::new();
    for path in &paths {
        for (fields, query) in
            headers.iter().flat_map(|fields| queries.iter().map(move |query| (fields, query)))
        {
            let mut request = RequestSketch {
                path: format!("{path}{query}"),
                host: "shop.example".to_owned(),
                ..Default::default()
            };
            for (name, value) in fields {
                match name.to_ascii_lowercase().as_str() {
                    ":method" => request.method = value.clone(),
                    ":authority" | "host" => request.host = value.clone(),
                    name if name.starts_with(':') => {}
                    _ => request.headers.push((name.clone(), value.clone())),
                }
            }
            all.push(Bare { request, rows: Vec::new() });
        }
    }
    all.extend(odd(today, &paths));
    all
}

/// Requests of their own kinds.
fn odd(today: &Value, paths: &BTreeSet<String>) -> Vec<Bare> {
    let mut all = Vec::new();
    let usual = |path: &str| RequestSketch {
        path: path.to_owned(),
        host: "shop.example".to_owned(),
        ..Default::default()
    };
    let last = paths.last().cloned().unwrap_or_default();
    all.push(Bare { request: RequestSketch { method: "POST".to_owned(), ..usual(&last) }, rows: Vec::new() });
    all.push(Bare { request: usual(&format!("{}//x", last.trim_end_matches('/'))), rows: vec!["path"] });
    let names = ["origin", "access-control-request-method"];
    let headers = names
        .iter()
        .zip(["https://a.example", "GET"])
        .map(|(name, value)| ((*name).to_owned(), value.to_owned()));
    let preflight = RequestSketch { method: "OPTIONS".to_owned(), headers: headers.collect(), ..usual("/") };
    all.push(Bare { request: preflight, rows: vec!["preflight"] });
    for (name, _) in today["requirement_map"].as_object().into_iter().flatten() {
        let route = RouteSketch { requirement: Some(name.clone()), ..Default::default() };
        all.push(Bare { request: RequestSketch { route, ..usual("/") }, rows: Vec::new() });
    }
    all
}

/// Paths within and beside a match.
fn paths_of(matcher: &Value) -> Vec<String> {
    let text = |name: &str| matcher[name].as_str();
    let mut paths = Vec::new();
    if let Some(path) = text("path") {
        paths.extend([path.to_owned(), format!("{path}x")]);
    }
    if let Some(prefix) = text("prefix").or(text("path_separated_prefix")) {
        let below = format!("{}/x", prefix.trim_end_matches('/'));
        paths.extend([prefix.to_owned(), format!("{prefix}x"), below]);
    }
    if let Some(regex) = matcher["safe_regex"]["regex"].as_str() {
        let path = plain_of(regex);
        paths.extend([format!("{path}/x"), path]);
    }
    if matcher.get("case_sensitive").is_some_and(|value| !is_on(value)) {
        let turned: Vec<String> = paths.iter().map(|path| path.to_ascii_uppercase()).collect();
        paths.extend(turned);
    }
    paths.retain(|path| path.starts_with('/') && !path.contains("//"));
    paths
}

/// A field that meets a condition.
fn wanted(condition: &Value) -> (String, String) {
    let name = condition["name"].as_str().unwrap_or_default().to_owned();
    let older = ["exact_match", "prefix_match", "suffix_match", "contains_match"];
    let value = older.iter().find_map(|name| condition[*name].as_str().map(str::to_owned));
    let value = value.or_else(|| condition["safe_regex_match"]["regex"].as_str().map(plain_of));
    let value = value.or_else(|| condition.get("range_match").map(start_of));
    let value = value.or_else(|| condition.get("string_match").map(meeting));
    let usual = if name.eq_ignore_ascii_case(":method") { "GET" } else { "x" };
    (name, value.unwrap_or_else(|| usual.to_owned()))
}

/// Another value of the same field.
fn other(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        ":method" if value == "GET" => "DELETE".to_owned(),
        ":method" => "GET".to_owned(),
        _ => "other".to_owned(),
    }
}

/// Nothing, tokens of every kind in the first place of their provider, good ones in every place, and several.
fn carried(today: &Value, tokens: &Tokens) -> Vec<Carried> {
    let mut all = vec![Carried { name: "no token".to_owned(), tokens: Vec::new(), rows: Vec::new() }];
    let providers = today["providers"].as_object().cloned().unwrap_or_default();
    let good: Vec<&Token> = tokens.values().filter(|token| token.is_good()).collect();
    let mut every: BTreeSet<Place> = BTreeSet::new();
    for provider in providers.values() {
        every.extend(places(provider));
    }
    for token in tokens.values() {
        let Token { text, provider, name, rows, .. } = token;
        let own = providers.get(provider).map(places).unwrap_or_default();
        let name = format!("a token of {provider:?}, {name}");
        for place in own.iter().take(1) {
            all.push(Carried {
                name: name.clone(),
                tokens: vec![(place.clone(), text.clone())],
                rows: rows.clone(),
            });
        }
    }
    for token in &good {
        let name = |how: &str| format!("a good token of {:?} {how}", token.provider);
        for place in &every {
            all.push(Carried {
                name: name(&format!("in {place:?}")),
                tokens: vec![(place.clone(), token.text.clone())],
                // Where that place is given up, and said.
                rows: match place {
                    Place::Parameter(name) if name == "access_token" => vec!["query_token"],
                    _ => Vec::new(),
                },
            });
        }
        let scheme = Place::Header("authorization".to_owned(), "bearer ".to_owned());
        all.push(Carried {
            name: name("under \"bearer\""),
            tokens: vec![(scheme, token.text.clone())],
            rows: vec!["bearer"],
        });
    }
    for (one, other) in every.iter().flat_map(|one| every.iter().map(move |other| (one, other))) {
        if one < other && !is_same_header(one, other) {
            for (first, second) in
                good.iter().flat_map(|first| good.iter().map(move |second| (first, second)))
            {
                let name = format!(
                    "good tokens of {:?} in {one:?} and of {:?} in {other:?}",
                    first.provider, second.provider
                );
                let tokens = vec![(one.clone(), first.text.clone()), (other.clone(), second.text.clone())];
                all.push(Carried { name, tokens, rows: vec!["several", "any_good"] });
            }
        }
    }
    all
}

/// Whether two places are in one header field, where they cannot both be.
fn is_same_header(one: &Place, other: &Place) -> bool {
    match (one, other) {
        (Place::Header(one, _), Place::Header(other, _)) => one.eq_ignore_ascii_case(other),
        (Place::Cookie(_), Place::Cookie(_)) => true,
        _ => false,
    }
}
