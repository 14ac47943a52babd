//! `portcullis`: the command-line tool, on the same core as the filter.

mod admission;
mod check;
mod completions;
mod configuration;
mod explain;
mod jwks;
mod migrate;
mod output;
mod promises;
mod receive;
mod revlist;
mod schema;
mod source;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, Parser, Subcommand};

use output::{Exit, Failure, Terminal};

/// Says beforehand what Portcullis does with a configuration, a request or a token.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 nothing is wrong, 1 something was found, 2 the command cannot be run.\n\
                  Nothing is sent over a network but by receive, and where --online is given; no token and no secret is ever printed.\n\n\
                  From a file of jwt_authn to a configuration that is checked and tested:\n  \
                  portcullis migrate --verify jwt_authn.yaml > portcullis.yaml\n  \
                  portcullis check portcullis.yaml\n  \
                  portcullis test --draft portcullis.yaml > tests.yaml\n  \
                  portcullis test tests.yaml"
)]
struct Arguments {
    /// When to write in colour; "auto" is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

/// A module each.
#[derive(Subcommand)]
enum Command {
    Check(check::Command),
    Explain(Box<explain::Command>),
    Test(promises::Command),
    Migrate(migrate::Command),
    Schema(schema::Command),
    Jwks(jwks::Command),
    Receive(receive::Command),
    /// Makes folders of large lists of revoked tokens, which any web server can serve
    #[command(subcommand, arg_required_else_help = true)]
    Revlist(revlist::Command),
    Admission(admission::Command),
    Completions(completions::Command),
    #[command(hide = true)]
    Man(completions::Man),
}

impl Command {
    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        match self {
            Self::Check(command) => command.run(terminal),
            Self::Explain(command) => command.run(terminal),
            Self::Test(command) => command.run(terminal),
            Self::Migrate(command) => command.run(terminal),
            Self::Schema(command) => command.run(terminal),
            Self::Jwks(command) => command.run(terminal),
            Self::Receive(command) => command.run(),
            Self::Revlist(command) => terminal.line(&command.run()?),
            Self::Admission(command) => command.run(terminal),
            Self::Completions(command) => command.run(terminal, Arguments::command()),
            Self::Man(command) => command.run(terminal, Arguments::command()),
        }
    }
}

fn main() -> ExitCode {
    // Wrong usage ends here, with 2; so does --help, with 0.
    let arguments = Arguments::parse();
    let terminal = Terminal::new(arguments.color);
    match arguments.command.run(&terminal) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("portcullis: {failure}");
            Exit::CannotRun.into()
        }
    }
}
