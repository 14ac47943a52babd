//! The test behind `make compose-test`. `COMPOSE` is the command that knows the stack, a word a
//! line; `scripts/compose` sets it.

use std::env;
use std::process::ExitCode;

use harness::walk::Paint;

fn main() -> ExitCode {
    let paint = Paint::detect();
    let Ok(compose) = env::var("COMPOSE") else {
        eprintln!("COMPOSE is not set; make compose-test runs this");
        return ExitCode::FAILURE;
    };
    match harness::compose::run(&compose, paint) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", paint.bad(&error));
            ExitCode::FAILURE
        }
    }
}
