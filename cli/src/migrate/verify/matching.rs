//! A model of how `jwt_authn` chooses a rule. It shares no code with the filter.

use portcullis_explain::RequestSketch;
use regex_lite::Regex;
use serde_json::Value;

use super::super::input::{is_on, list, number};

/// No field but these.
fn known(value: &Value, names: &[&str]) -> Result<(), String> {
    let mut fields = value.as_object().into_iter().flatten();
    match fields.find(|(name, _)| !names.contains(&name.as_str())) {
        Some((name, _)) => Err(format!("the model of jwt_authn does not know {name:?} of a match")),
        None => Ok(()),
    }
}

/// The path without its query.
fn bare(request: &RequestSketch) -> &str {
    request.path.split(['?', '#']).next().unwrap_or_default()
}

/// The values of a query parameter.
pub(super) fn parameters<'r>(request: &'r RequestSketch, name: &str) -> Vec<&'r str> {
    let query = request.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

/// The value of a header field, or of a pseudo-header field.
pub(super) fn header<'r>(request: &'r RequestSketch, name: &str) -> Option<&'r str> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        ":method" => Some(&request.method),
        ":path" => Some(&request.path),
        ":authority" | "host" => Some(&request.host),
        ":scheme" => Some(if request.tls { "https" } else { "http" }),
        _ => {
            let mut fields = request.headers.iter();
            fields.find(|(key, _)| key.eq_ignore_ascii_case(&name)).map(|(_, value)| value.as_str())
        }
    }
}

/// Whether an expression matches a text from its beginning to its end.
pub(super) fn is_whole(regex: &str, text: &str) -> Result<bool, String> {
    let regex = Regex::new(&format!("^(?:{regex})$"));
    Ok(regex
        .map_err(|error| format!("the model of jwt_authn cannot read an expression: {error}"))?
        .is_match(text))
}

/// Whether a `StringMatcher` matches a text.
pub(super) fn is_met(matcher: &Value, text: &str) -> Result<bool, String> {
    known(matcher, &["exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"])?;
    if let Some(regex) = matcher["safe_regex"]["regex"].as_str() {
        return is_whole(regex, text);
    }
    let fold =
        |text: &str| if is_on(&matcher["ignore_case"]) { text.to_ascii_lowercase() } else { text.to_owned() };
    let text = fold(text);
    let wanted = |name: &str| matcher[name].as_str().map(fold);
    let met = [
        wanted("exact").map(|wanted| text == wanted),
        wanted("prefix").map(|wanted| text.starts_with(&wanted)),
        wanted("suffix").map(|wanted| text.ends_with(&wanted)),
        wanted("contains").map(|wanted| text.contains(&wanted)),
    ];
    met.into_iter().flatten().next().ok_or_else(|| "the model of jwt_authn knows no empty matcher".to_owned())
}

/// Whether a rule is about a request.
pub(super) fn matches(matcher: &Value, request: &RequestSketch) -> Result<bool, String> {
    known(
        matcher,
        &[
            "prefix",
            "path",
            "safe_regex",
            "path_separated_prefix",
            "connect_matcher",
            "case_sensitive",
            "headers",
            "query_parameters",
            "grpc",
        ],
    )?;
    if !is_path(matcher, request)? {
        return Ok(false);
    }
    if matcher.get("grpc").is_some() {
        let kind = header(request, "content-type").unwrap_or_default();
        if kind != "application/grpc" && !kind.starts_with("application/grpc+") {
            return Ok(false);
        }
    }
    for condition in list(&matcher["headers"]) {
        if !is_header(condition, request)? {
            return Ok(false);
        }
    }
    for condition in list(&matcher["query_parameters"]) {
        if !is_parameter(condition, request)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_path(matcher: &Value, request: &RequestSketch) -> Result<bool, String> {
    if matcher.get("connect_matcher").is_some() {
        return Ok(request.method == "CONNECT");
    }
    let is_insensitive = matcher.get("case_sensitive").is_some_and(|value| !is_on(value));
    let fold = |text: &str| if is_insensitive { text.to_ascii_lowercase() } else { text.to_owned() };
    let path = fold(bare(request));
    let wanted = |name: &str| matcher[name].as_str().map(fold);
    if let Some(prefix) = wanted("prefix") {
        return Ok(path.starts_with(&prefix));
    }
    if let Some(exact) = wanted("path") {
        return Ok(path == exact);
    }
    if let Some(prefix) = wanted("path_separated_prefix") {
        let rest = path.strip_prefix(&prefix);
        return Ok(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    }
    match matcher["safe_regex"]["regex"].as_str() {
        Some(regex) => is_whole(regex, bare(request)),
        None => Err("the model of jwt_authn knows no match without a path".to_owned()),
    }
}

fn is_header(condition: &Value, request: &RequestSketch) -> Result<bool, String> {
    let older = ["exact_match", "prefix_match", "suffix_match", "contains_match"];
    known(
        condition,
        &[
            &older[..],
            &["name", "string_match", "safe_regex_match", "present_match", "range_match", "invert_match"],
            &["treat_missing_header_as_empty"],
        ]
        .concat(),
    )?;
    let is_inverted = is_on(&condition["invert_match"]);
    let value = header(request, condition["name"].as_str().unwrap_or_default());
    let value = value.or_else(|| is_on(&condition["treat_missing_header_as_empty"]).then_some(""));
    let met = |value: &str| -> Option<Result<bool, String>> {
        if let Some(matcher) = condition.get("string_match") {
            return Some(is_met(matcher, value));
        }
        if let Some(range) = condition.get("range_match") {
            let number = value.parse::<i64>().ok().map(|value| value as f64);
            let (start, end) =
                (super::super::input::number(&range["start"]), super::super::input::number(&range["end"]));
            let is_within =
                number.is_some_and(|value| start.unwrap_or(0.0) <= value && value < end.unwrap_or(0.0));
            return Some(Ok(is_within));
        }
        if let Some(regex) = condition["safe_regex_match"]["regex"].as_str() {
            return Some(is_whole(regex, value));
        }
        older.iter().find_map(|name| {
            let matcher = Value::from_iter([(name.trim_end_matches("_match"), condition[*name].as_str()?)]);
            Some(is_met(&matcher, value))
        })
    };
    match (value, met(value.unwrap_or_default())) {
        (Some(_), Some(met)) => Ok(met? != is_inverted),
        // What is not there meets no condition on its value, inverted or not.
        (None, Some(_)) => Ok(false),
        (value, None) => {
            let wanted = condition.get("present_match").is_none_or(is_on);
            Ok((value.is_some() == wanted) != is_inverted)
        }
    }
}

fn is_parameter(condition: &Value, request: &RequestSketch) -> Result<bool, String> {
    known(condition, &["name", "string_match", "present_match"])?;
    let values = parameters(request, condition["name"].as_str().unwrap_or_default());
    match (condition.get("string_match"), values.first()) {
        (Some(matcher), Some(value)) => is_met(matcher, value),
        (Some(_), None) => Ok(false),
        (None, value) => Ok(value.is_some() == condition.get("present_match").is_none_or(is_on)),
    }
}

/// A number that is wanted somewhere in a range.
pub(super) fn start_of(range: &Value) -> String {
    number(&range["start"]).unwrap_or_default().to_string()
}
