//! `portcullis test`: a file of tests, put to the gate.

mod coverage;
mod file;
mod report;
mod run;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::output::{Exit, Failure, Terminal};

/// Puts the requests of a file of tests to the gate, with tokens signed on the fly, and compares what it does with what the
/// file expects
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
                  A token has the usual claims of its provider unless the test says otherwise: claims, alg, kid, age, provider, header, raw.\n\n\
                  Example:\n  portcullis test tests/*.yaml --format junit > report.xml")]
pub(crate) struct Command {
    /// The files of tests
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
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
