//! The benchmark behind `make bench`: what a request costs Envoy, filter by filter.
//!
//! One Envoy with one worker has one listener for each [`Variant`]: no filter, Envoy's own `jwt_authn` as it comes
//! and with its token cache, and Portcullis. Every route answers by itself, so that no upstream blurs the figures.
//! In each round every listener gets the same requests, in an order that rotates; what counts is the processor time
//! of Envoy's worker thread, in nanoseconds from the kernel's scheduler, less what the listener without a filter
//! took in the same round. Medians over the rounds leave out whatever else ran on the machine meanwhile.

mod load;
mod measure;
mod plan;
mod report;
mod stage;

use std::path::Path;

pub use load::Load;
pub use measure::{Estimate, Processor};
pub use plan::{Plan, Tokens, Variant};
pub use report::{Cell, Report};

use crate::envoy::Envoy;
use crate::idp::Alg;
use stage::Stage;

/// Runs a plan, and tells `progress` how far it is.
///
/// # Errors
/// Envoy does not start, or something does not answer as it should.
pub fn run(plan: &Plan, progress: impl Fn(&str)) -> Result<Report, String> {
    let stage = Stage::start(plan)?;
    if plan.pin {
        stage.processor.pin()?;
    }
    let mut report = Report::new(plan, &stage.envoy);
    for alg in &plan.algs {
        for tokens in &plan.tokens {
            let requests = stage.requests(*alg, *tokens, plan);
            progress(&format!("{alg}, {} …", tokens.title()));
            report.cells.extend(compare(&stage, *alg, *tokens, &requests, plan)?);
        }
    }
    Ok(report)
}

/// Every variant with the same requests, round after round.
fn compare(
    stage: &Stage,
    alg: Alg,
    tokens: Tokens,
    requests: &[Vec<u8>],
    plan: &Plan,
) -> Result<Vec<Cell>, String> {
    let envoy: &Envoy = &stage.envoy;
    let mut loads = Vec::new();
    let mut cells = Vec::new();
    for variant in &plan.variants {
        let failed = |error| format!("{}: {error}", variant.title());
        let mut load = Load::open(envoy.addr_of(variant.name()), plan.connections).map_err(failed)?;
        load.drive(requests, plan.warm_up).map_err(failed)?;
        loads.push(load);
        cells.push(Cell::new(alg, tokens, variant.clone()));
    }
    for round in 0..plan.rounds {
        for turn in 0..loads.len() {
            let at = (turn + round) % loads.len();
            let (Some(load), Some(cell)) = (loads.get_mut(at), cells.get_mut(at)) else { continue };
            let slice = stage
                .processor
                .slice(|| load.drive(requests, plan.requests))
                .map_err(|error| format!("{}: {error}", cell.variant.title()))?;
            cell.add(slice, plan.requests);
        }
    }
    report::subtract(&mut cells);
    Ok(cells)
}

/// Where the results go unless told otherwise.
pub fn default_results() -> std::path::PathBuf {
    crate::vectors::workspace().join("benches/results.json")
}

/// Writes a report as JSON.
///
/// # Errors
/// The file cannot be written.
pub fn write(report: &Report, path: &Path) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(&report.to_json()).map_err(|error| error.to_string())?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
