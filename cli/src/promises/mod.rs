//! `portcullis test`: a file of tests, put to the gate.

mod coverage;
mod draft;
mod file;
mod report;
mod run;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::output::{Exit, Failure, Terminal};

/// Holds a configuration to a file of tests: requests, their tokens, and what is to come of them
///
/// Tokens are signed on the fly, with keys that are thrown away.
#[derive(Args)]
#[command(after_help = "A file of tests, in YAML or JSON:\n\n  \
                  config: portcullis.yaml        # or the configuration itself\n  \
                  tests:\n  \
                  - name: orders can be read with the scope\n    \
                  request: { path: /orders/7 }\n    \
                  token: { claims: { scope: \"orders:read\" } }\n    \
                  expect: { status: 200, rule: orders, upstream: { x-user: alice } }\n  \
                  - name: and not without\n    \
                  request: { path: /orders/7 }\n    \
                  expect: { status: 401, reason: token_missing }\n\n\
                  A token is good unless the test says otherwise, with claims, alg, kid, age, provider, header or raw. What is not expected is not\n\
                  looked at; null expects that there is none. docs/tool.md has all members.\n\n\
                  Exit status: 1 where a test fails.\n\n\
                  Examples:\n  portcullis test --draft portcullis.yaml > tests.yaml\n  portcullis test tests/*.yaml --format junit > report.xml")]
pub(crate) struct Command {
    /// The files of tests
    #[arg(required_unless_present = "draft", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write a first file of tests for a configuration: requests about each rule, and what the gate does with them
    #[arg(long, value_name = "CONFIG", conflicts_with_all = ["files", "format"])]
    draft: Option<PathBuf>,
    /// The form of what is written
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
    Junit,
    Tap,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        if let Some(config) = &self.draft {
            terminal.write(&draft::draft(config)?)?;
            return Ok(Exit::Good);
        }
        let mut suites = Vec::new();
        for path in &self.files {
            suites.push(run::suite(path)?);
        }
        let text = match self.format {
            Form::Text => report::text(&suites, terminal),
            Form::Json => report::json(&suites)?,
            Form::Junit => report::junit(&suites)?,
            Form::Tap => report::tap(&suites),
        };
        terminal.write(&text)?;
        let is_good = suites.iter().flat_map(|suite| &suite.results).all(|result| result.problems.is_empty());
        Ok(if is_good { Exit::Good } else { Exit::Findings })
    }
}
