//! What is counted, in Envoy's statistics.
//!
//! The core writes labels into a metric's name, as `.label.value`; here they are labels. Envoy takes new metrics only
//! while a configuration is made, so each is defined then.

use std::collections::HashMap;

use portcullis::{MetricKind, Sample};

use crate::abi::{EnvoyConfig, EnvoyFilter, Metric};

use MetricKind::{Counter, Gauge, Histogram};

/// Every metric: its kind, its name behind `portcullis.`, and its labels.
const ALL: [(MetricKind, &str, &[&str]); 28] = [
    (Counter, "requests", &["decision", "provider", "reason"]),
    (Counter, "rules", &["rule", "decision"]),
    (Counter, "token_cache", &["provider", "result"]),
    (Counter, "jwks_fetches", &["provider", "outcome"]),
    (Counter, "claims_left_out", &["provider"]),
    (Counter, "revocation_unchecked", &["provider"]),
    (Counter, "introspection_cache", &["provider", "result"]),
    (Counter, "introspection_calls", &["provider", "outcome"]),
    (Counter, "streams_ended", &["provider", "reason"]),
    (Counter, "streams_would_end", &["provider", "reason"]),
    (Counter, "revocation_fetches", &["list", "outcome"]),
    (Counter, "route_changes", &[]),
    (Counter, "client_failures", &[]),
    (Counter, "clients_blocked", &[]),
    (Counter, PANICS, &[]),
    (Gauge, "keys", &["provider"]),
    (Gauge, "keys_last_success_seconds", &["provider"]),
    (Gauge, "keys_age_seconds", &["provider"]),
    (Gauge, "keys_stale", &["provider"]),
    (Gauge, "revocation_entries", &["list"]),
    (Gauge, "revocation_stale", &["list"]),
    (Gauge, "revocation_age_seconds", &["list"]),
    (Gauge, "configuration_refused", &[]),
    (Gauge, "build", &["version"]),
    (Histogram, "verification_microseconds", &[]),
    (Gauge, "introspection_in_flight", &["provider"]),
    (Gauge, "introspection_last_success_seconds", &["provider"]),
    (Gauge, "introspection_age_seconds", &["provider"]),
];

/// The count of hooks that panicked.
const PANICS: &str = "panics";
const PREFIX: &str = "portcullis.";

/// The metrics of a configuration, by their names without values.
pub(crate) struct HostMetrics {
    known: HashMap<&'static str, (Metric, usize)>,
    /// What tells them apart from those of other plugins of this process.
    instance: Option<String>,
}

impl HostMetrics {
    /// Defines them.
    pub(crate) fn define(config: &EnvoyConfig<'_>, instance: Option<String>) -> Self {
        let known = ALL.iter().filter_map(|(kind, name, labels)| {
            let own = instance.as_ref().map(|_| "instance");
            let labels: Vec<&str> = labels.iter().copied().chain(own).collect();
            let metric = config.define(*kind, &format!("{PREFIX}{name}"), &labels)?;
            Some((*name, (metric, labels.len())))
        });
        Self { known: known.collect(), instance }
    }

    /// Hands values to Envoy; those that it takes only in the name of a request come back.
    pub(crate) fn record(&self, config: &EnvoyConfig<'_>, samples: Vec<Sample>) -> Vec<Sample> {
        let kept = |sample: &Sample| {
            self.write(sample, |metric, labels| config.record(metric, labels, sample.value))
        };
        samples.into_iter().filter(|sample| kept(sample).is_none()).collect()
    }

    /// Hands values to Envoy in the name of a request.
    pub(crate) fn record_in(&self, filter: &EnvoyFilter<'_>, samples: &[Sample]) {
        for sample in samples {
            // A value that is not taken is lost: nothing hangs on it.
            let _ = self.write(sample, |metric, labels| Some(filter.record(metric, labels, sample.value)));
        }
    }

    /// How many hooks panicked since the last time.
    pub(crate) fn panics(count: u64) -> Sample {
        Sample { kind: Counter, name: format!("{PREFIX}{PANICS}"), value: count }
    }

    /// None where it cannot be written now; false where it never can.
    fn write(&self, sample: &Sample, write: impl FnOnce(Metric, &[&str]) -> Option<bool>) -> Option<bool> {
        let mut words = sample.name.strip_prefix(PREFIX).unwrap_or_default().split('.');
        let Some((metric, count)) = words.next().and_then(|name| self.known.get(name)) else {
            return Some(false);
        };
        // Every second word is the name of a label.
        let mut labels: Vec<&str> = words.skip(1).step_by(2).collect();
        labels.extend(self.instance.as_deref());
        if labels.len() != *count {
            return Some(false);
        }
        write(*metric, &labels)
    }
}
