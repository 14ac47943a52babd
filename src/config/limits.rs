//! `limits`: what those cost who try tokens.

use std::time::Duration;

use super::fields::{Fields, Item};
use super::values::{HOUR, MINUTE, SECOND};
use crate::time::AttemptLimit;

/// What those cost who try tokens; nothing is bounded unless it is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// How many tokens of one client may fail.
    pub failures: Option<FailureLimit>,
    /// How many signatures one worker checks in a second.
    pub verifications_per_second: Option<u32>,
}

/// How many tokens of one client may fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureLimit {
    /// So many in such a time.
    pub attempts: AttemptLimit,
    /// How many bits of an IPv6 address tell clients apart.
    pub ipv6_prefix: u32,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Limits {
    fields.get("limits").and_then(|item| limits(&item)).unwrap_or_default()
}

fn limits(item: &Item<'_>) -> Option<Limits> {
    let mut fields = item.fields()?;
    if fields.present(&["failures", "verifications_per_second"]).is_empty() {
        fields.error("is empty; write { failures: { per_client: 30 } } to bound the tokens that a client may try, or { verifications_per_second: 2000 } for the signatures that a worker checks");
    }
    let failures = fields.get("failures").and_then(|item| failures(&item));
    let verifications = fields.whole("verifications_per_second", 1, 1_000_000);
    fields.finish();
    let verifications_per_second = verifications.and_then(|max| u32::try_from(max).ok());
    Some(Limits { failures, verifications_per_second })
}

fn failures(item: &Item<'_>) -> Option<FailureLimit> {
    let mut fields = item.fields()?;
    let number = |value: Option<u64>, otherwise| {
        value.and_then(|value| u32::try_from(value).ok()).unwrap_or(otherwise)
    };
    let max = number(fields.whole("per_client", 1, 100_000), 30);
    let mut span = |name| -> Duration { fields.duration(name, SECOND, HOUR, MINUTE) };
    let (window, block) = (span("window"), span("block"));
    let ipv6_prefix = number(fields.whole("ipv6_prefix", 32, 128), 64);
    fields.finish();
    item.warning("tells clients apart by the address that Envoy reports (source.address). With \"use_remote_address: false\", and in Istio's sidecars, Envoy reads it from X-Forwarded-For, which a client can choose; set this limit at the edge, with \"use_remote_address: true\"");
    Some(FailureLimit { attempts: AttemptLimit { max, window, block }, ipv6_prefix })
}
