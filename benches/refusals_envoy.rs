//! How long good requests wait in Envoy while one client sends the dearest unsigned tokens over four connections to the
//! same worker, beside how long they wait while it sends malformed tokens of the same length. Fails where the median of
//! the rounds' ratios is above 1.5.
//!
//! `make bench-flood`, after the flood of made-up key ids.

#[path = "../tests/it/common/beside.rs"]
mod beside;
#[path = "../tests/it/common/dearest.rs"]
mod dearest;

use std::process::ExitCode;

const ROUNDS: usize = 15;
const REQUESTS: usize = 400;
const MAX_RATIO: f64 = 1.5;

fn main() -> ExitCode {
    let (envoy, good) = beside::start();
    let mut slow = 0;
    println!("the median of a known token's time, while four connections send unsigned tokens of 8 KB");
    for genes in beside::dear(300) {
        let [dear, malformed] = beside::pair(&genes);
        let mut rounds: Vec<(f64, f64)> = (0..ROUNDS)
            .map(|_| {
                let median = |bad| beside::median(envoy.addr(), &good, bad, REQUESTS).as_secs_f64() * 1e6;
                (median(&malformed), median(&dear))
            })
            .collect();
        rounds.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (calm, busy) = rounds[ROUNDS / 2];
        slow += usize::from(busy / calm > MAX_RATIO);
        println!(
            "  malformed {calm:.0} µs, dear {busy:.0} µs: {:.2} times as long  ({})",
            busy / calm,
            genes.words()
        );
    }
    if slow > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
