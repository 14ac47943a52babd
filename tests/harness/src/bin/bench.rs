//! The benchmark behind `make bench`: Portcullis beside Envoy's own `jwt_authn`, in one Envoy.
//!
//! Prints a table and writes `benches/results.json` (or what `--json FILE` says). See [`harness::bench`].

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use harness::bench::{self, Plan};

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), String> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let mut results = bench::default_results();
    if let Some(at) = arguments.iter().position(|argument| argument == "--json") {
        let path = arguments.get(at + 1).ok_or("--json needs a file")?;
        results = PathBuf::from(path);
        arguments.drain(at..at + 2);
    }
    let Some(plan) = Plan::parse(arguments)? else {
        println!(
            "bench [OPTIONS]\n{}\n  --json FILE          where the results go ({})",
            Plan::usage(),
            results.display()
        );
        return Ok(());
    };
    let report = bench::run(&plan, |what| eprintln!("{what}"))?;
    print!("{report}");
    bench::write(&report, &results)?;
    eprintln!("\nresults: {}", results.display());
    Ok(())
}
