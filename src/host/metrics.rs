//! Metrics of the host, by name.

use std::collections::HashMap;

use proxy_wasm::types::MetricType;

use super::hostcalls;
use crate::metrics::{Kind, Sample};

/// The numbers that the host gave to names.
#[derive(Default)]
pub(super) struct HostMetrics {
    /// What stands behind each name.
    suffix: String,
    /// None for a name that the host did not take.
    known: HashMap<String, Option<u32>>,
}

impl HostMetrics {
    /// Metrics whose names end in this.
    pub(super) fn ending_in(suffix: String) -> Self {
        Self { suffix, known: HashMap::new() }
    }

    /// What each name ends in.
    pub(super) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Hands values to the host. One that it does not take is lost: nothing hangs on it.
    pub(super) fn record(&mut self, samples: &[Sample]) {
        for sample in samples {
            let id = match self.known.get(&sample.name) {
                Some(id) => *id,
                None => {
                    let id = hostcalls::define_metric(
                        kind(sample.kind),
                        &format!("{}{}", sample.name, self.suffix),
                    )
                    .ok();
                    self.known.insert(sample.name.clone(), id);
                    id
                }
            };
            let Some(id) = id else { continue };
            let _ = match sample.kind {
                Kind::Counter => {
                    hostcalls::proxy_increment_metric(id, i64::try_from(sample.value).unwrap_or(i64::MAX))
                }
                Kind::Gauge | Kind::Histogram => hostcalls::proxy_record_metric(id, sample.value),
            };
        }
    }
}

fn kind(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    }
}
