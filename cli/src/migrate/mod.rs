//! `portcullis migrate`: what is there today, as a configuration of Portcullis.

mod change;
mod input;
mod jwt_authn;
mod verify;
mod yaml;

use std::path::PathBuf;

use clap::Args;
use portcullis::Problem;

use crate::configuration;
use crate::output::{Exit, Failure, Terminal, printable};
use crate::source::File;

/// Writes a configuration of jwt_authn as one of Portcullis that means the same, and reports what changes
#[derive(Args)]
#[command(
    after_help = "The configuration goes to standard output, with each change of meaning as a comment at its place; the report goes to standard \
                  error. What jwt_authn leaves open stays open, and is said. Exit status: 0 it was carried over, 1 --verify found a difference \
                  that the report does not name, 2 it cannot be carried over.\n\n\
                  Examples:\n  portcullis migrate envoy.yaml > portcullis.yaml\n  portcullis migrate --verify jwt_authn.json > portcullis.yaml"
)]
pub(crate) struct Command {
    /// A configuration of jwt_authn, alone or in a configuration of Envoy; "-" is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put generated requests and tokens to a model of jwt_authn and to the gate, and list what differs
    #[arg(long)]
    verify: bool,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let files = self.files.iter().map(|path| File::read(path)).collect::<Result<Vec<_>, _>>()?;
        let today = input::read(&files)?;
        let (config, changes) = jwt_authn::migrate(&today.config, &today.routes);
        let bench = configuration::bench(&today.place, config.to_string().as_bytes())
            .map_err(|failure| Failure::of("cannot be carried over", failure))?;
        terminal.write(&yaml::text(&config, &changes))?;
        let mut report = changes.report();
        if !bench.config().warnings.is_empty() {
            report.push_str("The filter warns of it:\n");
        }
        for Problem { path, message } in &bench.config().warnings {
            report.push_str(&format!("  {path}: {message}\n"));
        }
        eprint!("{}: from jwt_authn\n{}", printable(&today.place), printable(&report));
        if !self.verify {
            return Ok(Exit::Good);
        }
        let verified = verify::verify(&today.config, bench, &changes)?;
        eprint!("{}", printable(&verified.text()));
        Ok(if verified.unexplained.is_empty() { Exit::Good } else { Exit::Findings })
    }
}
