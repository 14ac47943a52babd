//! Any rules and any request: the index finds the rule that trying one after the other finds, and no request
//! meets a rule that it does not meet under every reading.
//!
//! The first line is the target, the second the host, the third a header's value; each other is a rule, whose
//! first byte says of what kind it is and whose rest is the pattern.

#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::{
    AmbiguousPaths, Authority, Certainty as Held, Config, PathKind, PathReadings, Request, RequestView, Rule,
    RuleMatch,
};
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
    let view = config.rules.view(&request);
    let found = config.rules.find(&view);
    let as_sent = RequestView::new(&request, PathReadings::as_sent(target));
    let whole = RequestView::new(&request, PathReadings::of(target, true));
    let kind = whole.path().kind();
    let is_raw = |rule: &Rule| rule.ambiguous_paths == Some(AmbiguousPaths::MatchRaw);
    let held = |rule: &Rule| rule.matches.held(if is_raw(rule) { &as_sent } else { &whole });
    // The first rule that may match, by trying one after the other.
    let first = config.rules.iter().find(|rule| held(rule) != Held::Never);
    match (found, first) {
        (RuleMatch::Rule(rule), Some(first)) => {
            assert_eq!(rule.id, first.id, "{} or {}", rule.name, first.name);
            assert_eq!(held(&rule), Held::Always, "{} under every reading", rule.name);
            match rule.ambiguous_paths {
                Some(AmbiguousPaths::MatchRaw) => {}
                Some(AmbiguousPaths::Normalize) => assert!(kind <= PathKind::Suspicious),
                Some(AmbiguousPaths::Reject) | None => assert_eq!(kind, PathKind::Clear),
            }
            for name in rule.matches.variables() {
                assert!(config.rules.path_variable(&rule, name, &view).is_some() || is_raw(&rule), "{name}");
            }
        }
        (RuleMatch::Nothing, None) => assert_eq!(kind, PathKind::Clear),
        (RuleMatch::Ambiguous(..), first) => {
            let sure = first.is_some_and(|first| held(first) == Held::Always);
            let valid = Authority::parse(host).is_some();
            assert!(!sure || kind != PathKind::Clear || !valid, "{first:?} is met whoever reads");
        }
        other => panic!("{other:?}"),
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
        0 => conditions["hosts"] = json!(["a.example", "*.b", "c:*"]),
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
