//! Whatever is refused of a configuration of `jwt_authn`, the error says what to write instead.

use crate::common::pages;
use crate::refusals::tells_what_to_do;

use std::collections::{BTreeMap, BTreeSet};

use portcullis::Config;
use serde_json::{Value, json};

/// What is said of a configuration.
fn said(config: &Value) -> Vec<String> {
    let variable = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
    match Config::parse(config.to_string().as_bytes(), &variable) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Every value in a configuration, by its pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The examples of the reference.
fn examples() -> Vec<Value> {
    let blocks =
        pages::blocks("yaml").into_iter().filter(|block| block.name.starts_with("docs/configuration/"));
    let plugin = |content: &Value| content.get("providers").is_some();
    blocks.map(|block| block.content).filter(plugin).collect()
}

#[test]
fn every_refusal_names_its_place_and_what_to_write_instead() {
    let broken = [
        Value::Null,
        json!(true),
        json!(7),
        json!(-1.5),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("a b"),
        json!("é\n"),
        json!("*"),
        json!("600"),
        json!([]),
        json!([[]]),
        json!(["x", "x"]),
        json!({}),
        json!({ "x": 1 }),
        json!({ "prefix": "/" }),
        json!({ "provider_name": "x" }),
    ];
    let examples = examples();
    assert!(!examples.is_empty());
    let mut without = BTreeMap::new();
    let mut messages = BTreeSet::new();
    for example in &examples {
        let mut all = Vec::new();
        pointers(example, "", &mut all);
        // What is wrong within a key set is the key set's own to tell.
        all.retain(|pointer| !pointer.contains("/local_jwks/inline"));
        for (pointer, value) in
            all.iter().flat_map(|pointer| broken.iter().map(move |value| (pointer, value)))
        {
            let mut config = example.clone();
            *config.pointer_mut(pointer).expect("a place") = value.clone();
            for problem in said(&config) {
                let (path, message) = problem.split_once(": ").expect("a path");
                assert!(!path.is_empty() && !message.is_empty(), "{pointer} {value}: {problem}");
                if !tells_what_to_do(message) {
                    without.insert(message.to_owned(), format!("{path} with {value}"));
                }
                messages.insert(message.to_owned());
            }
        }
    }
    assert!(messages.len() >= 150, "only {} errors were provoked", messages.len());
    assert!(without.is_empty(), "no way: {without:#?}");
}
