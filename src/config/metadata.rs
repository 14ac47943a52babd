//! `match.metadata`: Envoy's `MetadataMatcher` over what filters before this one wrote.

use super::fields::{Fields, Item};
use super::text::text_match;
use crate::json::{Json, Number};
use crate::rules::{MetadataMatch, MetadataValue};

/// How deep `list_match` and `or_match` go.
const MAX_DEPTH: usize = 8;

const KINDS: [&str; 7] =
    ["null_match", "double_match", "string_match", "bool_match", "present_match", "list_match", "or_match"];

pub(super) fn read(item: &Item<'_>) -> Option<MetadataMatch> {
    let mut fields = item.fields()?;
    let filter = fields
        .required("filter", "name the filter that writes it, such as envoy.filters.http.mcp")
        .and_then(|item| item.text());
    let path = fields.required("path", "list the members that lead to the value, such as [method]");
    let path = path.and_then(|item| path_of(&item));
    let value =
        fields.required("value", "say what it must be, such as { string_match: { exact: tools/call } }");
    let value = value.and_then(|item| value_of(&item, MAX_DEPTH));
    let invert = fields.bool("invert", false);
    fields.finish();
    Some(MetadataMatch { filter: filter?.to_owned(), path: path?, value: value?, invert })
}

/// Names, or Envoy's `{ key: name }`.
fn path_of(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one member");
        return None;
    }
    let name = |item: &Item<'_>| {
        if item.json.as_object().is_none() {
            return item.text().map(str::to_owned);
        }
        let mut fields = item.fields()?;
        let key = fields.required("key", "name the member").and_then(|item| item.text());
        fields.finish();
        key.map(str::to_owned)
    };
    items.iter().map(name).collect()
}

/// Envoy's `ValueMatcher`.
fn value_of(item: &Item<'_>, depth: usize) -> Option<MetadataValue> {
    let Some(depth) = depth.checked_sub(1) else {
        item.error(format!(
            "is nested deeper than {MAX_DEPTH} levels of \"list_match\" and \"or_match\"; write it with fewer"
        ));
        return None;
    };
    let mut fields = item.fields()?;
    let given = fields.present(&KINDS);
    if given.len() != 1 {
        fields.error(match given.is_empty() {
            true => format!("is empty; give one of {}", KINDS.map(|kind| format!("{kind:?}")).join(", ")),
            false => format!("has {}; keep one", given.join(" and ")),
        });
    }
    let null = fields.get("null_match").and_then(|item| item.fields()).map(|fields| {
        fields.finish();
        MetadataValue::Null
    });
    let number = fields.get("double_match").and_then(|item| number_of(&item));
    let text = fields.get("string_match").and_then(|item| text_match(&item)).map(MetadataValue::Text);
    let flag = fields.get("bool_match").and_then(|item| item.bool()).map(MetadataValue::Bool);
    let present = fields.get("present_match").and_then(|item| match item.bool()? {
        true => Some(MetadataValue::Present),
        false => {
            item.error("is false, which nothing meets; write true, and \"invert\": true beside \"value\"");
            None
        }
    });
    let list = fields.get("list_match").and_then(|item| {
        let one_of = inner(&item, "one_of", "say what an element must be")?;
        value_of(&one_of, depth).map(|own| MetadataValue::OneOf(Box::new(own)))
    });
    let any = fields.get("or_match").and_then(|item| {
        let all = inner(&item, "value_matchers", "list what it may be")?;
        let items = super::conditions::some(&all, "value")?;
        Some(MetadataValue::Or(items.iter().filter_map(|item| value_of(item, depth)).collect()))
    });
    fields.finish();
    null.or(number).or(text).or(flag).or(present).or(list).or(any)
}

/// The one field of an object.
fn inner<'c>(item: &Item<'c>, name: &'static str, hint: &str) -> Option<Item<'c>> {
    let mut fields = item.fields()?;
    let inner = fields.required(name, hint);
    fields.finish();
    inner
}

/// Envoy's `DoubleMatcher`. The end of a range does not belong to it.
fn number_of(item: &Item<'_>) -> Option<MetadataValue> {
    let mut fields = item.fields()?;
    let given = fields.present(&["exact", "range"]);
    if given.len() != 1 {
        fields.error("needs \"exact\" or \"range\": write one of them");
    }
    let exact = fields.get("exact").and_then(|item| double(&item)).map(MetadataValue::Number);
    let range = fields.get("range").and_then(|item| {
        let mut fields = item.fields()?;
        let end = |fields: &mut Fields<'_>, name| fields.get(name).map_or(Some(0.0), |item| double(&item));
        let (start, end) = (end(&mut fields, "start"), end(&mut fields, "end"));
        fields.finish();
        let (start, end) = (start?, end?);
        if start >= end {
            item.error(
                "is an empty range; give an \"end\" above \"start\": the end itself does not belong to it",
            );
            return None;
        }
        Some(MetadataValue::Range(start, end))
    });
    fields.finish();
    exact.or(range)
}

fn double(item: &Item<'_>) -> Option<f64> {
    match item.json {
        Json::Number(Number::Unsigned(value)) => Some(*value as f64),
        Json::Number(Number::Negative(value)) => Some(*value as f64),
        Json::Number(Number::Float(value)) => Some(*value),
        other => {
            item.error(format!("expected a number, not {}; write it without quotes", other.kind()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// What is said of a rule with this condition on metadata, or that it is taken.
    fn read(metadata: &str) -> Result<(), String> {
        let text =
            format!(r#"{{"providers":{{}},"rules":[{{"match":{{"prefix":"/","metadata":{metadata}}}}}]}}"#);
        match Config::parse(text.as_bytes(), &|_| None) {
            Ok(_) => Ok(()),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    #[test]
    fn a_condition_is_written_as_envoy_writes_it() {
        let value = |value: &str| format!(r#"[{{"filter":"f","path":["a"],"value":{value}}}]"#);
        for good in [
            r#"{"string_match":{"exact":"x"}}"#,
            r#"{"stringMatch":{"safe_regex":{"regex":"a|b"}}}"#,
            r#"{"null_match":{}}"#,
            r#"{"bool_match":true}"#,
            r#"{"present_match":true}"#,
            r#"{"double_match":{"exact":1.5}}"#,
            r#"{"double_match":{"range":{"start":-1,"end":2}}}"#,
            r#"{"list_match":{"one_of":{"string_match":{"prefix":"x"}}}}"#,
            r#"{"or_match":{"value_matchers":[{"bool_match":false},{"null_match":{}}]}}"#,
        ] {
            assert_eq!(read(&value(good)), Ok(()), "{good}");
        }
        let path =
            r#"[{"filter":"f","path":[{"key":"a"},"b"],"value":{"present_match":true},"invert":true}]"#;
        assert_eq!(read(path), Ok(()));
        let deep =
            format!("{}{{\"null_match\":{{}}}}{}", r#"{"list_match":{"one_of":"#.repeat(8), "}}".repeat(8));
        for (metadata, expected) in [
            ("{}".to_owned(), "metadata: expected a list"),
            ("[{}]".to_owned(), "metadata[0].filter: is missing; name the filter"),
            (
                r#"[{"filter":"f","path":[],"value":{"null_match":{}}}]"#.to_owned(),
                "path: must name at least one",
            ),
            (r#"[{"filter":"f","path":"a","value":{"null_match":{}}}]"#.to_owned(), "path: expected a list"),
            (
                r#"[{"filter":"f","path":[{"name":"a"}],"value":{"null_match":{}}}]"#.to_owned(),
                "path[0].key: is missing",
            ),
            (value("{}"), "value: is empty; give one of"),
            (
                value(r#"{"bool_match":true,"null_match":{}}"#),
                "value: has null_match and bool_match; keep one",
            ),
            (value(r#"{"present_match":false}"#), "present_match: is false, which nothing meets; write true"),
            (value(r#"{"double_match":{}}"#), "double_match: needs \"exact\" or \"range\""),
            (value(r#"{"double_match":{"exact":"1"}}"#), "exact: expected a number, not a string"),
            (value(r#"{"double_match":{"range":{"start":2,"end":2}}}"#), "range: is an empty range"),
            (value(r#"{"list_match":{}}"#), "list_match.one_of: is missing"),
            (value(r#"{"or_match":{"value_matchers":[]}}"#), "value_matchers: must name at least one value"),
            (value(r#"{"string":"x"}"#), "value.string: unknown field"),
            (value(&deep), "is nested deeper than 8 levels"),
        ] {
            let said = read(&metadata).unwrap_err();
            assert!(said.contains(expected), "{metadata}: {said}");
        }
    }
}
