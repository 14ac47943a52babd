//! `portcullis check`.

use crate::output::{Exit, Failure, Terminal};
use crate::source::File;
use clap::Args;
use std::path::PathBuf;

/// Reads configurations and manifests as the filter does, and says what is wrong or dangerous
#[derive(Args)]
#[command(after_help = "Example:\n  portcullis check envoy.yaml policies/*.yaml")]
pub(crate) struct Command {
    files: Vec<PathBuf>,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        for file in &self.files {
            let file = File::read(file)?;
            println!("{:?}", file.documents);
        }
        terminal.line("")
    }
}
