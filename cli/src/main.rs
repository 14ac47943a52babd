//! `portcullis`: the command-line tool, on the same core as the filter.

mod revlist;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The command-line tool of Portcullis.
#[derive(Parser)]
#[command(name = "portcullis", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists of withdrawn tokens
    #[command(subcommand)]
    Revlist(revlist::Command),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Revlist(command) => command.run(),
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("portcullis: {error}");
            ExitCode::FAILURE
        }
    }
}
