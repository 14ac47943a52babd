//! The operators' page says what is so.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::config::Config;
use crate::limits;
use crate::metrics::METRICS;

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/receive.md")).unwrap()
}

/// What lies between a heading and the next.
fn section(page: &str, heading: &str) -> String {
    let rest = page.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_default();
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[test]
fn the_example_is_a_good_configuration() {
    let page = page();
    let yaml = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(yaml.starts_with("# receive.yaml"));
    let config = Config::parse(yaml, &|_| Some("0123456789abcdef0123456789abcdef".to_owned()));
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_configuration_of_the_compose_stack_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/compose/receive.yaml");
    let config = Config::parse(&fs::read_to_string(file).unwrap(), &|_| None);
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn each_field_that_is_read_is_in_the_table() {
    let table = section(&page(), "Configuration");
    let wrong = json!({
        "listen": "127.0.0.1:1", "database": "x", "?": 0,
        "admin": { "token": { "environment_variable": "A" }, "?": 0 },
        "issuers": [{ "issuer": "https://a/", "local_jwks": {}, "?": 0 }],
        "ssf_poll": [{ "endpoint": "https://a/", "?": 0 }, {
            "endpoint": "https://a/", "client_credentials": { "?": 0 },
        }],
    });
    let Err(problems) = Config::parse(&Value::to_string(&wrong), &|_| None) else { panic!("it was taken") };
    let known: BTreeSet<&str> = problems
        .iter()
        .filter_map(|problem| problem.message.strip_prefix("unknown field; known here: "))
        .flat_map(|names| names.split(", ").map(|name| name.trim_matches('"')))
        .collect();
    assert!(known.len() > 20, "{known:?}");
    for name in known {
        let is_there = [format!("`{name}"), format!(".{name}"), format!(" {name}")];
        assert!(is_there.iter().any(|text| table.contains(text.as_str())), "{name} is not in the table");
    }
}

#[test]
fn each_bound_and_each_metric_is_there() {
    let page = page();
    let bounds = section(&page, "Limits");
    for number in [
        limits::MAX_BODY as u64,
        limits::MAX_CONNECTIONS as u64,
        limits::MAX_NAME as u64,
        limits::MAX_ENTRIES,
        limits::MAX_SEEN,
        limits::MAX_JSON_ENTRIES as u64,
        limits::MAX_JSON_BYTES as u64,
        limits::MAX_RETIRED_BYTES as u64,
        limits::MAX_ANSWER as u64,
    ] {
        assert!(bounds.contains(&with_commas(number)), "{number} is not in the table of bounds");
    }
    let written: BTreeSet<&str> = page
        .split(|c: char| !c.is_ascii_lowercase() && c != '_')
        .filter(|word| word.starts_with("portcullis_receive_"))
        .collect();
    assert_eq!(written, METRICS.iter().map(|(name, ..)| *name).collect());
}
