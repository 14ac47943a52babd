//! The run behind `make hostile`: hostile requests by the million on one Envoy, none of which may pass, crash it or stay
//! in its memory.
//!
//! `--requests N` requests (default 10,000,000), `--seed N` repeats a run. The host is the one that `$HOST` names.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use harness::arguments::number;
use harness::hostile::{Memory, Plan, Report, run};

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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let seed = number("--seed", now.as_secs())?;
    let requests = number("--requests", 10_000_000)?;
    let plan = Plan::of(requests, seed);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let shown = |memory: Memory| {
        format!("{:.1} MiB resident, {:.1} MiB allocated", mib(memory.resident), mib(memory.allocated))
    };
    println!("{requests} hostile requests; --seed {seed} repeats them");
    let told = |report: &Report, memory: Memory| {
        println!("{:>10} in {:.0} s: {}", report.sent, report.elapsed.as_secs_f64(), shown(memory));
    };
    let report = run(plan, &mut { told })?;
    let answered: usize = report.answers.values().sum();
    println!();
    println!("sent                 {:>10} in {:.0} s", report.sent, report.elapsed.as_secs_f64());
    println!("answered             {answered:>10} {:?}", report.answers);
    println!("cut off or reset     {:>10}", report.cut_off);
    println!("closed by Envoy      {:>10}", report.closed);
    println!("passed               {:>10}", 0);
    println!("after {:>7}        {}", plan.warm_up, shown(report.before));
    println!("at most              {}", shown(report.most));
    println!("at the end           {}", shown(report.after));
    Ok(())
}
