//! `streams` of a rule: whether open streams end with their tokens.

use std::time::Duration;

use super::fields::Fields;
use super::values::MINUTE;

/// For how long after the end of its tokens a stream may stay open, where the rule ends it at all.
pub(super) fn read(fields: &mut Fields<'_>, has_requires: bool) -> Option<Duration> {
    let item = fields.get("streams")?;
    let mut own = item.fields()?;
    let hint = "write true: a stream that is still open ends with its token";
    let ends = own.required("end_with_token", hint).and_then(|item| item.bool());
    let grace = own.duration("grace", Duration::ZERO, MINUTE, Duration::ZERO);
    own.finish();
    if !has_requires {
        item.error("needs \"requires\": without a token there is no expiry to end a stream at; leave it out");
    }
    (ends == Some(true)).then_some(grace)
}
