//! `portcullis schema`: what editors complete and underline.

use clap::Args;

use crate::output::{Exit, Failure, Terminal};

/// The schema, as `docs/portcullis.schema.json` has it.
const SCHEMA: &str = include_str!("../../docs/portcullis.schema.json");

/// Prints the JSON Schema of the plugin configuration, for editors
#[derive(Args)]
#[command(
    after_help = "Example:\n  portcullis schema > portcullis.schema.json\n\nIn a YAML file, most editors then take the line\n  # yaml-language-server: $schema=portcullis.schema.json"
)]
pub(crate) struct Command {}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        terminal.write(SCHEMA)?;
        Ok(Exit::Good)
    }
}
