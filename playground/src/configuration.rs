//! The configuration in a text, and what is wrong with it, line by line.

use portcullis_explain::Bench;
use serde::Serialize;

use crate::check::entries::{self, Entry, Given, Kind};
use crate::check::written::{self, place};
use crate::source::{File, Mark, Node, START};

/// Stands for the value of an environment variable: good for a secret, and as a key set. The tool has the same.
const PLACEHOLDER: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The filter refuses the configuration.
    Error,
    /// The filter takes it and warns.
    Warning,
}

/// What is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in it, in characters, counted from 1.
    pub column: usize,
    /// The path of the member in the configuration; empty for the text as a whole.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// The gate of a configuration: alone, or the one in a file for Envoy, Istio or Envoy Gateway. Without a gate there is at
/// least one error.
pub(crate) fn bench_of(text: &str) -> (Option<Bench>, Vec<Problem>) {
    let file = File::of("configuration".to_owned(), text.to_owned());
    let documents = match &file.documents {
        Ok(documents) => documents,
        Err(error) => return (None, vec![whole(error.at, &error.message)]),
    };
    let mut found: Vec<Entry> =
        documents.iter().flat_map(|document| entries::find(document).entries).collect();
    found.retain(|entry| entry.kind != Kind::RequestAuthentication);
    if found.iter().any(|entry| entry.kind != Kind::JwtAuthn) {
        found.retain(|entry| entry.kind != Kind::JwtAuthn);
    }
    match &found[..] {
        [entry] => bench_of_entry(&file, entry),
        [] => (
            None,
            vec![whole(START, "no configuration of Portcullis is here; write one, or choose an example")],
        ),
        [_, second, ..] => {
            let text = format!("{} configurations are here; leave one", found.len());
            (None, vec![whole(second.at, &text)])
        }
    }
}

fn bench_of_entry(file: &File, entry: &Entry) -> (Option<Bench>, Vec<Problem>) {
    let (text, tree): (String, Option<Node>) = match &entry.given {
        Given::Values(node, _) if file.is_json && entry.way.is_empty() => {
            (file.text.clone(), Some(node.clone()))
        }
        Given::Values(node, dialect) => (written::json(node, *dialect), Some(node.clone())),
        Given::Text(node) => {
            (node.as_str().unwrap_or_default().to_owned(), node.inner_json().and_then(Result::ok))
        }
        Given::Nothing => (String::new(), None),
    };
    let mark = |path: &str| tree.as_ref().map_or(entry.at, |tree| place(tree, path));
    let problem = |severity, problem: &portcullis::Problem| {
        let Mark { line, column } = mark(&problem.path);
        let (path, message) = (problem.path.clone(), problem.message.clone());
        Problem { severity, line, column, path, message }
    };
    match Bench::new(text.as_bytes(), &|_| Some(PLACEHOLDER.to_owned())) {
        Ok(bench) => {
            let warnings = bench.config().warnings.iter().map(|warning| problem(Severity::Warning, warning));
            let warnings = warnings.collect();
            (Some(bench), warnings)
        }
        Err(errors) => (None, errors.iter().map(|error| problem(Severity::Error, error)).collect()),
    }
}

fn whole(at: Mark, message: &str) -> Problem {
    let Mark { line, column } = at;
    let message = message.to_owned();
    Problem { severity: Severity::Error, line, column, path: String::new(), message }
}
