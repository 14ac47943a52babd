//! Any rules and any request: the index finds the rule that trying one after the other finds.
//!
//! The first line is the target, the second the host, the third a header's value; each other is a rule, whose
//! first byte says of what kind it is and whose rest is the pattern.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::config::Config;
use portcullis::request::Request;
use portcullis::rules::{AmbiguousPaths, Met, canonical, resolved};
use serde_json::{Value, json};

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (target, host, header) = (line(), line(), line());
    let rules: Vec<Value> =
        lines.filter_map(rule).take(64).filter(|rule| parse(&[rule.clone()]).is_some()).collect();
    let Some(config) = parse(&rules) else { return };
    let fields: [(&[u8], &[u8]); 4] =
        [(b":method", b"GET"), (b":authority", host), (b":path", target), (b"x-a", header)];
    let request = Request::new(&fields);
    let found = config.rules.find(&request);
    let raw = String::from_utf8_lossy(target.split(|byte| *byte == b'?').next().unwrap_or_default());
    let is_raw = |policy| policy == Some(AmbiguousPaths::MatchRaw);
    let Ok(path) = canonical(target) else {
        // No rule that rejects such paths is met by one, and one that resolves them only by their form.
        if let Met::Rule(rule, path) = found {
            let form = resolved(target, std::str::from_utf8(host).ok());
            match rule.ambiguous_paths {
                Some(AmbiguousPaths::MatchRaw) => assert_eq!(path, raw),
                Some(AmbiguousPaths::Normalize) => assert!(form.is_none_or(|form| form == path), "{path}"),
                Some(AmbiguousPaths::Reject) | None => panic!("{path} met {}", rule.name),
            }
            assert!(rule.matches.holds(&request, &path));
        }
        return;
    };
    let first = config.rules.iter().find(|rule| {
        let path = if is_raw(rule.ambiguous_paths) { &*raw } else { &*path };
        rule.matches.holds(&request, path)
    });
    match (first, &found) {
        (Some(first), Met::Rule(rule, _)) => assert_eq!(first.id, rule.id, "{} or {}", first.name, rule.name),
        (None, Met::Nothing) => {}
        other => panic!("{other:?}"),
    }
    if let Met::Rule(rule, path) = found {
        for name in rule.matches.variables() {
            assert!(rule.matches.variable(name, &path).is_some() || is_raw(rule.ambiguous_paths), "{name}");
        }
    }
});

fn parse(rules: &[Value]) -> Option<Config> {
    let text = json!({ "providers": {}, "rules": rules }).to_string();
    Config::parse(text.as_bytes(), &|_| None).ok()
}

fn rule(line: &[u8]) -> Option<Value> {
    let (kind, pattern) = line.split_first()?;
    let pattern = String::from_utf8_lossy(pattern);
    let mut conditions = match kind % 7 {
        0 => json!({ "prefix": pattern }),
        1 => json!({ "path": pattern }),
        2 => json!({ "path_separated_prefix": pattern }),
        3 => json!({ "path_template": pattern }),
        4 => json!({ "safe_regex": { "regex": pattern } }),
        5 => json!({ "path_match_policy": { "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": pattern,
        } } }),
        _ => json!({ "prefix": pattern, "case_sensitive": false }),
    };
    match kind / 7 % 6 {
        0 => conditions["hosts"] = json!(["a.example", "*.b"]),
        1 => conditions["headers"] = json!([{ "name": "x-a", "exact_match": "1" }]),
        2 => conditions["headers"] = json!([{ "name": "x-a", "prefix_match": "1", "invert_match": true }]),
        _ => {}
    }
    let mut rule = json!({ "match": conditions });
    match kind / 42 {
        0 => rule["ambiguous_paths"] = json!("normalize"),
        1 => rule["ambiguous_paths"] = json!("match_raw"),
        _ => {}
    }
    Some(rule)
}
