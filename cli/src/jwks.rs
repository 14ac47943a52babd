//! `portcullis jwks`: whatever a key comes in, as a key set for `local_jwks`.

use clap::Args;

use crate::output::{Exit, Failure, Terminal};

/// Keys in PEM, DER, certificates or JWKs as a key set for "local_jwks"
#[derive(Args)]
#[command(after_help = "Example:\n  portcullis jwks idp.pem > jwks.json")]
pub(crate) struct Command {}

impl Command {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        terminal.line("")
    }
}
