//! The echo upstream as a program of its own. `LISTEN` (or the first argument) is its address, by default 127.0.0.1:8082.

use std::env;
use std::process::ExitCode;

use harness::Upstream;

fn main() -> ExitCode {
    let listen =
        env::args().nth(1).or_else(|| env::var("LISTEN").ok()).unwrap_or_else(|| "127.0.0.1:8082".to_owned());
    let started = listen
        .parse()
        .map_err(|error| format!("{listen:?} is no address: {error}"))
        .and_then(|addr| Upstream::bind(addr).map_err(|error| format!("{addr}: {error}")));
    match started {
        Ok(upstream) => {
            println!("echo upstream: {}", upstream.url());
            harness::wait::until_stopped();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo upstream: {error}");
            ExitCode::FAILURE
        }
    }
}
