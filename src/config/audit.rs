//! `audit`: which decisions are written to the log, and how.

use super::Variables;
use super::fields::Item;
use crate::audit::{AuditPolicy, ShownSubject};
use crate::json::{Json, Number};

pub(super) fn read(item: &Item<'_>, environment: Variables<'_>) -> Option<AuditPolicy> {
    let usual = AuditPolicy::default();
    let mut fields = item.fields()?;
    let policy = AuditPolicy {
        refusals: fields.bool("refusals", usual.refusals),
        allow_sample: fields.get("allow_sample").and_then(|item| share(&item)).unwrap_or(usual.allow_sample),
        max_per_second: fields
            .whole("max_per_second", 1, 10_000)
            .and_then(|limit| u32::try_from(limit).ok())
            .unwrap_or(usual.max_per_second),
        subject: fields.choice(
            "subject",
            &[("hash", ShownSubject::Hash), ("plain", ShownSubject::Plain), ("none", ShownSubject::None)],
            usual.subject,
        ),
        key: fields.get("key").and_then(|item| super::values::secret(&item, environment)),
    };
    fields.finish();
    Some(policy)
}

/// A part of the whole, from 0 to 1.
fn share(item: &Item<'_>) -> Option<f64> {
    let share = match item.json {
        Json::Number(Number::Unsigned(0)) => 0.0,
        Json::Number(Number::Unsigned(1)) => 1.0,
        Json::Number(Number::Float(share)) if (0.0..=1.0).contains(share) => *share,
        _ => {
            item.error("must be a number from 0 to 1: the share of passed requests that get an audit line");
            return None;
        }
    };
    Some(share)
}
