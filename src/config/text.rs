//! Conditions on texts: Envoy's `StringMatcher` and `RegexMatcher`.

use super::fields::{Fields, Item};
use crate::text::TextMatch;

/// Envoy's `StringMatcher`, but for `custom`.
pub(super) fn text_match(item: &Item<'_>) -> Option<TextMatch> {
    let mut fields = item.fields()?;
    let given = fields.present(&["exact", "prefix", "suffix", "contains", "safe_regex"]);
    if given.len() != 1 {
        fields
            .error("needs exactly one of \"exact\", \"prefix\", \"suffix\", \"contains\" and \"safe_regex\"");
    }
    let text = |fields: &mut Fields<'_>, name| fields.text(name).map(str::to_owned);
    let exact = text(&mut fields, "exact").map(TextMatch::Exact);
    let prefix = text(&mut fields, "prefix").map(TextMatch::Prefix);
    let suffix = text(&mut fields, "suffix").map(TextMatch::Suffix);
    let contains = text(&mut fields, "contains").map(TextMatch::Contains);
    let regex = fields.get("safe_regex").and_then(|item| regex(&item));
    let any_case = fields.get("ignore_case").and_then(|item| {
        let any_case = item.bool()?;
        if any_case && given == ["safe_regex"] {
            item.error("has no effect on a regular expression; write \"(?i)\" at its start");
        }
        Some(any_case)
    });
    fields.refuse(&[("custom", "write it as one of the other forms, such as \"safe_regex\"")]);
    fields.finish();
    let condition = exact.or(prefix).or(suffix).or(contains).or(regex)?;
    Some(if any_case == Some(true) { condition.ignoring_case() } else { condition })
}

/// Envoy's `RegexMatcher`.
pub(super) fn regex(item: &Item<'_>) -> Option<TextMatch> {
    let (item, expression) = expression(item)?;
    TextMatch::regex(expression).map_err(|error| item.error(error)).ok()
}

/// The expression of a `RegexMatcher`, as it was written.
pub(super) fn expression<'c>(item: &Item<'c>) -> Option<(Item<'c>, &'c str)> {
    let mut fields = item.fields()?;
    let regex = fields.required("regex", "give the regular expression");
    // The engine that Envoy names; it is the only one there, and expressions mean the same here.
    if let Some(mut engine) = fields.get("google_re2").and_then(|item| item.fields()) {
        // Its one field bounds the size of a program; here a bound is built in.
        engine.get("max_program_size");
        engine.finish();
    }
    fields.finish();
    let item = regex?;
    let text = item.text()?;
    Some((item, text))
}
