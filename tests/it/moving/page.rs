//! What docs/migration.md says: its pairs, and the rows of its table.

use std::fs;

use harness::workspace;
use serde_json::Value;

use super::compare::Pair;
use crate::common::pages::documents;

fn text() -> String {
    fs::read_to_string(workspace().join("docs/migration.md")).expect("the page")
}

/// The blocks of the page that begin with one of these, and their documents.
fn blocks(text: &str) -> Vec<(&str, Vec<Value>)> {
    let mut found = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        let (language, block) = block.split_once('\n').expect("a language");
        let documents = documents(block).unwrap_or_else(|error| panic!("{error}:\n{block}"));
        found.push((language, documents));
    }
    found
}

fn is_manifest(document: &Value) -> bool {
    document.get("apiVersion").is_some()
}

/// The pairs of policies and configurations. What a pair does not say is as in the first of its section.
pub fn pairs() -> Vec<Pair> {
    let text = text();
    let section = text.split_once("\n### The providers\n").expect("the section").1;
    let blocks = blocks(section);
    let mut pairs: Vec<Pair> = Vec::new();
    for both in blocks.chunks(2) {
        let [(_, today), (_, then)] = both else { panic!("a block without its other half: {both:?}") };
        assert!(today.iter().all(is_manifest), "this should be policies: {today:?}");
        let (stays, ours): (Vec<Value>, Vec<Value>) = then.iter().cloned().partition(is_manifest);
        let [mut ours] = <[Value; 1]>::try_from(ours).expect("one configuration");
        let mut today = today.clone();
        let first = pairs.first();
        if today.iter().all(|document| document["kind"] == "AuthorizationPolicy") {
            today.extend(first.expect("a first pair").today.iter().cloned());
        }
        if let Some(first) = first.filter(|_| ours.get("providers").is_none()) {
            for name in ["providers", "requirement_map"] {
                ours[name] = first.ours[name].clone();
            }
        }
        let name = today[0]["metadata"]["name"].as_str().expect("a name");
        let name = format!("page-{:02}-{name}", pairs.len() + 1);
        pairs.push(Pair { name, today, ours, stays });
    }
    pairs
}

/// The blocks about `jwt_authn`: what is there today, and the blocks that take its place.
pub fn native() -> Vec<(Value, Vec<Value>)> {
    let text = text();
    let section = text.split_once("\n## From Istio").expect("the next section").0;
    let mut found: Vec<(Value, Vec<Value>)> = Vec::new();
    for (language, mut documents) in blocks(section) {
        let document = documents.pop().expect("a document");
        match language {
            "yaml jwt_authn" => found.push((document, Vec::new())),
            _ => found.last_mut().expect("what is there today").1.push(document),
        }
    }
    found
}

/// The rows of the table of differences.
pub fn rows() -> Vec<String> {
    let text = text();
    let table = text.split_once("## Where Istio and Envoy Gateway differ").expect("the section").1;
    let rows = table.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
    rows.collect()
}
