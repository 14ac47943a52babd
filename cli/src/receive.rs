//! `portcullis receive`: a small server for the fleet's revocations.

use std::path::PathBuf;

use clap::Args;
use portcullis::Timestamp;

use crate::output::{Exit, Failure};

/// Runs the server that takes logouts and security events of providers, and serves the list that gates poll
#[derive(Args)]
#[command(
    after_help = "It runs until SIGTERM; what it acknowledged is on the disk. Log lines are JSON, on standard error.\n\
                  docs/receive.md has its configuration.\n\n\
                  Example:\n  portcullis receive --config receive.yaml"
)]
pub(crate) struct Command {
    /// Its configuration, in YAML or JSON
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where its clock begins, in Unix seconds; for tests
    #[arg(long, value_name = "SECONDS")]
    now: Option<u64>,
}

impl Command {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let now = self.now.map(Timestamp::from_secs);
        match portcullis_receive::run(&self.config, now) {
            Ok(()) => Ok(Exit::Good),
            Err(failure) => Err(Failure::from(failure.to_string())),
        }
    }
}
