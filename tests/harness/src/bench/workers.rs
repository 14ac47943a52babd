//! What a second worker brings.
//!
//! With one worker and with two, each on a processor of its own, the same requests come over as many connections for each
//! worker. What counts is the processor time of all workers together for each request: where two workers take as much for
//! it as one does, they wait for no common lock and do nothing twice, and throughput doubles on as many free processors.
//! Requests per second on the clock are told too, but the load generator needs a processor itself.

use std::time::Duration;

use super::growth::GROWN;
use super::load::Load;
use super::measure::{Estimate, Pinned};
use super::plan::{Plan, Tokens, Variant};
use super::report::Samples;
use super::stage::Stage;
use super::{Runner, interleave};

/// What is compared; the first is what the others are measured over.
const VARIANTS: [Variant; 4] =
    [Variant::None, Variant::NativeCached, Variant::PortcullisFull, Variant::DynamicFull];
/// How many workers are compared with one.
const MANY: u32 = 2;

/// What one variant took with one worker and with two.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// What stood before the route.
    pub variant: Variant,
    /// With one worker.
    pub one: Samples,
    /// With two.
    pub two: Samples,
}

impl Scaling {
    /// Processor time for each request with two workers, as a multiple of that with one.
    pub fn cost(&self) -> Estimate {
        self.each(|one, two| two / one)
    }

    /// How many times the requests two workers serve in the time on the processor that one has, each on its own.
    pub fn throughput(&self) -> Estimate {
        self.each(|one, two| f64::from(MANY) * one / two)
    }

    fn each(&self, ratio: impl Fn(f64, f64) -> f64) -> Estimate {
        let ratios: Vec<f64> =
            self.one.total.iter().zip(&self.two.total).map(|(one, two)| ratio(*one, *two)).collect();
        Estimate::of(&ratios)
    }
}

/// A token seen before, with one worker and with two in turn.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Scaling>, String> {
    let stages = [Stage::start(&VARIANTS, [GROWN], 1)?, Stage::start(&VARIANTS, [GROWN], MANY)?];
    let _pinned =
        plan.pin.then(|| Pinned::new(&stages.each_ref().map(|stage| &stage.processor))).transpose()?;
    let requests = stages.each_ref().map(|stage| stage.requests(GROWN, Tokens::One, plan));
    let mut runners = Vec::new();
    for ((stage, requests), workers) in stages.iter().zip(&requests).zip([1, MANY]) {
        for variant in &VARIANTS {
            let title = format!("{}, workers: {workers}", variant.title());
            let failed = |error: std::io::Error| format!("{title}: {error}");
            let connections = plan.connections * workers as usize;
            let mut load =
                Load::open(stage.envoy.addr_of(&variant.name()), connections, "200").map_err(failed)?;
            let before = stage.processor.times().map_err(failed)?;
            load.drive(requests, plan.warm_up).map_err(failed)?;
            let after = stage.processor.times().map_err(failed)?;
            shared(&before, &after).map_err(|error| format!("{title}: {error}"))?;
            runners.push(Runner {
                title,
                load,
                requests,
                warm_up: plan.requests,
                slices: Vec::new(),
                processor: &stage.processor,
            });
        }
    }
    let mut one = interleave(&mut runners, plan)?;
    let two = one.split_off(VARIANTS.len());
    let over = |samples: Vec<Samples>| Samples::over_first(samples);
    let pairs = VARIANTS.into_iter().zip(over(one).into_iter().zip(over(two)));
    Ok(pairs.map(|(variant, (one, two))| Scaling { variant, one, two }).collect())
}

/// That each worker had its share of the work: a comparison of one worker with one that idles is none.
fn shared(before: &[Duration], after: &[Duration]) -> Result<(), String> {
    let times: Vec<Duration> =
        before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).collect();
    let fair = times.iter().sum::<Duration>() / u32::try_from(times.len().max(1)).unwrap_or(u32::MAX);
    match times.iter().find(|time| **time < fair / 2) {
        Some(_) => Err(format!("the workers did not share the work: {times:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(total: &[f64]) -> Samples {
        Samples { total: total.to_vec(), over: Vec::new(), rate: Vec::new() }
    }

    #[test]
    fn a_second_worker_doubles_what_costs_the_same() {
        let scaling = |two: &[f64]| Scaling {
            variant: Variant::None,
            one: samples(&[10.0, 20.0, 30.0]),
            two: samples(two),
        };
        let same = scaling(&[10.0, 20.0, 30.0]);
        assert_eq!((same.cost().median, same.throughput().median), (1.0, 2.0));
        let dearer = scaling(&[20.0, 40.0, 60.0]);
        assert_eq!((dearer.cost().median, dearer.throughput().median), (2.0, 1.0));
    }

    #[test]
    fn a_worker_that_idles_is_found() {
        let millis = |times: [u64; 2]| times.map(Duration::from_millis);
        assert!(shared(&millis([5, 5]), &millis([105, 85])).is_ok());
        assert!(shared(&millis([5, 5]), &millis([105, 25])).is_err());
        assert!(shared(&millis([5, 5]), &millis([5, 105])).is_err());
    }
}
