//! `rules[].match`: which requests a rule is for.

use super::fields::Item;
use crate::rules::{Match, PathMatch, Template, canonical};

pub(super) fn read(item: &Item<'_>) -> Option<Match> {
    let mut fields = item.fields()?;
    let kinds = [
        "prefix",
        "path",
        "path_template",
        "safe_regex",
        "path_separated_prefix",
        "path_match_policy",
        "connect_matcher",
    ];
    let given = fields.present(&kinds);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "needs one of \"prefix\", \"path\" and \"path_template\"".to_owned()
        } else {
            format!("has {}; keep one", given.join(" and "))
        });
    }
    let prefix = fields.get("prefix").and_then(|item| plain(&item).map(PathMatch::Prefix));
    let exact = fields.get("path").and_then(|item| plain(&item).map(PathMatch::Exact));
    let template = fields.get("path_template").and_then(|item| {
        let template = Template::parse(item.text()?);
        template.map_err(|error| item.error(error.to_string())).ok().map(PathMatch::Template)
    });
    let methods = fields.get("methods").and_then(|item| methods(&item)).unwrap_or_default();
    fields.not_yet(&[
        "safe_regex",
        "path_separated_prefix",
        "path_match_policy",
        "connect_matcher",
        "case_sensitive",
        "headers",
        "query_parameters",
        "hosts",
        "runtime_fraction",
        "grpc",
        "tls_context",
        "dynamic_metadata",
    ]);
    fields.finish();
    Some(Match { path: prefix.or(exact).or(template)?, methods })
}

/// A path or the start of one, in the form in which request paths are compared.
fn plain(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.contains(['?', ';']) {
        item.error("can only name a path; queries and \";parameters\" are not compared");
        return None;
    }
    match canonical(text.as_bytes()) {
        Ok(path) => Some(path.into_owned()),
        Err(ambiguous) => {
            item.error(format!("no request path can match: {ambiguous}"));
            None
        }
    }
}

fn methods(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one method; leave the field out for every method");
    }
    for method in &items {
        let Some(text) = method.text() else { continue };
        if !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            method.error("is not a method; methods are upper case, such as GET");
        }
    }
    item.texts()
}
