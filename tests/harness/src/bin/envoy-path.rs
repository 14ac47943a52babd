//! Prints the path of the Envoy that tests and demo use, fetching it first where none is installed.

use std::process::ExitCode;

fn main() -> ExitCode {
    match harness::envoy::find() {
        Ok(binary) => {
            println!("{}", binary.path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("envoy: {error}");
            ExitCode::FAILURE
        }
    }
}
