//! Metrics of the host, by name.

use std::collections::BTreeMap;

use proxy_wasm::types::MetricType;

use super::capabilities::{Capability, DEFINE_METRIC, INCREMENT_METRIC, RECORD_METRIC};
use super::hostcalls;
use super::plugin::Plugin;
use super::status::Status;
use crate::metrics::{Kind, Sample};

/// The numbers that the host gave to names.
#[derive(Default)]
pub(super) struct HostMetrics {
    /// What stands behind each name.
    suffix: String,
    /// None for a name that the host did not take.
    known: BTreeMap<String, Option<u32>>,
}

impl HostMetrics {
    /// Metrics whose names end in this.
    pub(super) fn ending_in(suffix: String) -> Self {
        Self { suffix, known: BTreeMap::new() }
    }

    /// What each name ends in.
    pub(super) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Hands values to the host. One that it does not take is lost: nothing hangs on it.
    pub(super) fn record(&mut self, samples: &[Sample], plugin: &mut Plugin) {
        for sample in samples {
            let call = if sample.kind == Kind::Counter { &INCREMENT_METRIC } else { &RECORD_METRIC };
            if plugin.missing().has(&DEFINE_METRIC) || plugin.missing().has(call) {
                continue;
            }
            let Some(id) = self.id(sample, plugin) else { continue };
            let status = match sample.kind {
                Kind::Counter => {
                    hostcalls::proxy_increment_metric(id, i64::try_from(sample.value).unwrap_or(i64::MAX))
                }
                Kind::Gauge | Kind::Histogram => hostcalls::proxy_record_metric(id, sample.value),
            };
            note(status.ok(), call, plugin);
        }
    }

    /// The number of a metric; none where the host did not take its name.
    fn id(&mut self, sample: &Sample, plugin: &mut Plugin) -> Option<u32> {
        if let Some(id) = self.known.get(&sample.name) {
            return *id;
        }
        let id = hostcalls::define_metric(kind(sample.kind), &format!("{}{}", sample.name, self.suffix));
        let id = note(id, &DEFINE_METRIC, plugin);
        self.known.insert(sample.name.clone(), id);
        id
    }
}

/// The value, and a note where the host lacks the call.
fn note<T>(result: Result<T, Status>, call: &Capability, plugin: &mut Plugin) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(status) => {
            if status.is_missing() {
                plugin.note_missing(call);
            }
            None
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
