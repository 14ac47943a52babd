//! The configuration in a text, and what is wrong with it, line by line.

use portcullis_explain::Bench;
use serde::Serialize;

use crate::check::entries::{self, Entry, Given};
use crate::check::written::{self, place};
use crate::source::{File, Mark, Node, START};

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
    let found = entries::of_gates(documents);
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
    let tree: Option<Node> = match &entry.given {
        Given::Values(node, _) => Some(node.clone()),
        Given::Text(node) => node.inner_json().and_then(Result::ok),
        Given::Nothing => None,
    };
    let mark = |path: &str| tree.as_ref().map_or(entry.at, |tree| place(tree, path));
    let problem = |severity, problem: &portcullis::Problem| {
        let Mark { line, column } = mark(&problem.path);
        let (path, message) = (problem.path.clone(), problem.message.clone());
        Problem { severity, line, column, path, message }
    };
    match Bench::with_stand_ins(written::text(file, entry).as_bytes(), &|_| None) {
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
