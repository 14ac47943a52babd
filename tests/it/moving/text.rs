//! How Istio, Envoy Gateway and Envoy compare texts.

use regex_lite::Regex;
use serde_json::Value;

/// Istio's four forms: `*` for whatever is there, `*x`, `x*`, and the text itself.
pub fn fits(pattern: &str, text: &str) -> bool {
    match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        ("*", ..) => !text.is_empty(),
        (_, Some(end), _) => text.ends_with(end),
        (_, _, Some(start)) => text.starts_with(start),
        _ => text == pattern,
    }
}

/// The same without case, as Istio compares hosts.
pub fn fits_host(pattern: &str, host: &str) -> bool {
    fits(&pattern.to_lowercase(), &host.to_lowercase())
}

/// Istio's paths: one of the four forms, or a template of Envoy's (`{*}`, `{**}`).
pub fn fits_path(pattern: &str, path: &str) -> bool {
    if !pattern.contains("{*}") && !pattern.contains("{**}") {
        return fits(pattern, path);
    }
    const GLOB: &str = r"a-zA-Z0-9\-._~%!$&'()+,;:@=";
    let whole = regex_escape(pattern)
        .replace(r"\{\*\*\}", &format!("[{GLOB}/]*"))
        .replace(r"\{\*\}", &format!("[{GLOB}]+"));
    is_whole(&whole, path)
}

/// A path of Envoy Gateway's: `Exact`, `PathPrefix` or `RegularExpression`. What is compared is the path with its query.
pub fn fits_gateway_path(matcher: &Value, target: &str) -> bool {
    let value = matcher["value"].as_str().unwrap_or("/");
    let pattern = match matcher["type"].as_str().unwrap_or("PathPrefix") {
        "PathPrefix" => {
            format!(r"{}(/.*|\?.*|#.*|;.*|)", regex_escape(value.strip_suffix('/').unwrap_or(value)))
        }
        "Exact" => format!(r"{}(\?.*|#.*|)", regex_escape(value)),
        "RegularExpression" => value.to_owned(),
        other => panic!("an unknown type of path: {other}"),
    };
    is_whole(&pattern, target) != matcher["invert"].as_bool().unwrap_or_default()
}

fn is_whole(pattern: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{pattern})$")).expect("an expression").is_match(text)
}

fn regex_escape(text: &str) -> String {
    regex_lite::escape(text)
}

#[test]
fn the_four_forms_and_the_templates_of_istio() {
    for (pattern, text, expected) in [
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a*", "/ab", true),
        ("/a/*", "/a", false),
        ("*/health", "/x/health", true),
        ("*/health", "/x/healthy", false),
        ("*", "/", true),
        ("/a/{*}", "/a/b", true),
        ("/a/{*}", "/a/", false),
        ("/a/{*}", "/a/b/c", false),
        ("/a/{**}", "/a/", true),
        ("/a/{**}", "/a", false),
        ("/a/{**}", "/a/b/c", true),
        ("/a/{**}/z", "/a/b/c/z", true),
        ("/a/{**}/z", "/a/z", false),
    ] {
        assert_eq!(fits_path(pattern, text), expected, "{pattern} {text}");
    }
    assert!(!fits("*", ""));
    assert!(fits_host("*.Example.com", "api.example.COM"));
    assert!(!fits_host("api.example.com", "api.example.com:8080"));
}
