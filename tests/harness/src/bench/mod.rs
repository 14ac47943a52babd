//! The benchmark behind `make bench`: what a request costs Envoy, filter by filter.
//!
//! One Envoy with one worker has one listener for each [`Variant`]: no filter, a wasm filter that does nothing, Envoy's
//! own `jwt_authn` as it comes and with its token cache, `ext_authz`, and Portcullis. Every route answers by itself, so that
//! no upstream blurs the figures.
//! In each round every listener gets the same requests, in an order that rotates; what counts is the processor time
//! of Envoy's worker thread, in nanoseconds from the kernel's scheduler, less what the listener without a filter
//! took in the same round. Medians over the rounds leave out whatever else ran on the machine meanwhile.

mod chart;
mod footprint;
mod growth;
mod load;
mod measure;
mod plan;
mod portable;
mod report;
mod stage;
mod workers;

use std::path::Path;

pub use footprint::Footprint;
pub use growth::{Group, Line, Traffic};
pub use load::Load;
pub use measure::{Estimate, Pinned, Processor};
pub use plan::{Part, Plan, Section, Tokens, Variant};
pub use report::{Cell, Report, Samples, Table};
pub use workers::Scaling;

use crate::idp::Alg;
use growth::GROWN;
use measure::Slice;
use stage::Stage;

/// Runs a plan, and tells `progress` how far it is.
///
/// # Errors
/// Envoy does not start, or something does not answer as it should.
pub fn run(plan: &Plan, progress: impl Fn(&str)) -> Result<Report, String> {
    let mut report = Report::new(plan, crate::envoy::find()?.version);
    let main = plan.has(Section::Main);
    let groups = if plan.has(Section::Growth) { growth::groups(plan.pool) } else { Vec::new() };
    if main || !groups.is_empty() {
        let variants = plan.variants.iter().filter(|_| main);
        let algs = [GROWN].into_iter().chain(plan.algs.iter().copied().filter(|_| main));
        let stage = Stage::start(variants.chain(groups.iter().flat_map(Group::variants)), algs, 1)?;
        let _pinned = plan.pin.then(|| Pinned::new(&[&stage.processor])).transpose()?;
        for alg in plan.algs.iter().filter(|_| main) {
            for tokens in &plan.tokens {
                let requests = stage.requests(*alg, *tokens, plan);
                progress(&format!("{alg}, {} …", tokens.title()));
                report.cells.extend(compare(&stage, *alg, *tokens, &requests, plan)?);
            }
        }
        for group in groups {
            progress(&format!("{} …", group.title));
            let lines = grow(&stage, &group, plan)?;
            report.groups.push((group.title, lines));
        }
    }
    if plan.has(Section::Workers) {
        progress("one worker and two …");
        report.workers = workers::measure(plan)?;
    }
    if plan.has(Section::Portable) {
        let groups = portable::groups(&plan.portable_algs);
        let algs = plan.portable_algs.iter().copied();
        let stage = Stage::start(groups.iter().flat_map(Group::variants), algs, 1)?;
        portable::check(&stage, &groups)?;
        let _pinned = plan.pin.then(|| Pinned::new(&[&stage.processor])).transpose()?;
        for group in groups {
            progress(&format!("in V8: {} …", group.title));
            let lines = grow(&stage, &group, &portable::scaled(plan))?;
            report.portable.push((group.title, lines));
        }
    }
    if plan.has(Section::Footprint) {
        progress("memory and time to start …");
        report.footprint = Some(Footprint::measure()?);
    }
    Ok(report)
}

/// One listener under load.
struct Runner<'r> {
    title: String,
    load: Load,
    requests: &'r [Vec<u8>],
    warm_up: usize,
    slices: Vec<Slice>,
    /// The workers of its Envoy.
    processor: &'r Processor,
}

/// Everyone in turn, round after round.
fn interleave(runners: &mut [Runner<'_>], plan: &Plan) -> Result<Vec<Samples>, String> {
    for Runner { title, load, requests, warm_up, .. } in &mut *runners {
        load.drive(requests, *warm_up).map_err(|error| format!("{title}: {error}"))?;
    }
    for round in 0..plan.rounds {
        for turn in 0..runners.len() {
            let at = (turn + round) % runners.len();
            let Some(Runner { title, load, requests, slices, processor, .. }) = runners.get_mut(at) else {
                continue;
            };
            let slice = processor.slice(|| load.drive(requests, plan.requests));
            slices.push(slice.map_err(|error| format!("{title}: {error}"))?);
        }
    }
    Ok(runners.iter().map(|runner| Samples::of(&runner.slices, plan.requests)).collect())
}

/// Every variant with the same requests.
fn compare(
    stage: &Stage,
    alg: Alg,
    tokens: Tokens,
    requests: &[Vec<u8>],
    plan: &Plan,
) -> Result<Vec<Cell>, String> {
    let mut runners = Vec::new();
    for variant in &plan.variants {
        let title = variant.title().into_owned();
        let load = Load::open(stage.envoy.addr_of(&variant.name()), plan.connections, "200")
            .map_err(|error| format!("{title}: {error}"))?;
        let processor = &stage.processor;
        runners.push(Runner { title, load, requests, warm_up: plan.warm_up, slices: Vec::new(), processor });
    }
    let samples = Samples::over_first(interleave(&mut runners, plan)?);
    let cells = plan.variants.iter().cloned().zip(samples);
    Ok(cells.map(|(variant, samples)| Cell { alg, tokens, variant, samples }).collect())
}

/// Every line of a group, each with its own requests.
fn grow(stage: &Stage, group: &Group, plan: &Plan) -> Result<Vec<(Line, Samples)>, String> {
    let none = Line { title: "no filter", variant: Variant::None, traffic: Traffic::Good(1) };
    let lines: Vec<&Line> = std::iter::once(&none).chain(&group.lines).collect();
    let requests: Vec<Vec<Vec<u8>>> =
        lines.iter().map(|line| stage.traffic(group.alg, line.traffic)).collect();
    let mut runners = Vec::new();
    for (line, requests) in lines.iter().zip(&requests) {
        let title = line.title.to_owned();
        let status = line.traffic.status();
        let load = Load::open(stage.envoy.addr_of(&line.variant.name()), plan.connections, status)
            .map_err(|error| format!("{title}: {error}"))?;
        // Every token once at least, so that what fits into a cache is there.
        let warm_up = plan.warm_up.max(requests.len());
        let processor = &stage.processor;
        runners.push(Runner { title, load, requests, warm_up, slices: Vec::new(), processor });
    }
    let samples = Samples::over_first(interleave(&mut runners, plan)?);
    Ok(lines.into_iter().cloned().zip(samples).skip(1).collect())
}

/// Where the results go unless told otherwise.
pub fn default_results() -> std::path::PathBuf {
    crate::vectors::workspace().join("benches/results.json")
}

/// Writes a report as JSON and, beside it, its main table as a picture.
///
/// # Errors
/// A file cannot be written.
pub fn write(report: &Report, path: &Path) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(&report.to_json()).map_err(|error| error.to_string())?;
    text.push('\n');
    let picture = path.with_extension("svg");
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::write(path, text).map_err(|error| failed(path, error))?;
    if report.cells.is_empty() {
        return Ok(());
    }
    std::fs::write(&picture, chart::svg(report)).map_err(|error| failed(&picture, error))
}
