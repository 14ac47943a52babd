//! `portcullis completions SHELL`, and the man pages, both from the commands as they are.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::output::{Exit, Failure, Terminal};

/// Prints the completion of commands and options for a shell
#[derive(Args)]
#[command(after_help = "Example:\n  portcullis completions bash > /etc/bash_completion.d/portcullis")]
pub(crate) struct Command {
    /// The shell to write it for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal, mut command: clap::Command) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "portcullis", &mut script);
        terminal.write(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Good)
    }
}

/// Man pages, a file for each command
#[derive(Args)]
#[command(after_help = "Example:\n  portcullis man dist/man")]
pub(crate) struct Man {
    /// The folder to write them into; it is made where it is missing
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self, terminal: &Terminal, command: clap::Command) -> Result<Exit, Failure> {
        let failed = |error| Failure::of(self.folder.display(), error);
        fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(command, &self.folder).map_err(failed)?;
        terminal.line(&format!("man pages are in {}", self.folder.display()))
    }
}
