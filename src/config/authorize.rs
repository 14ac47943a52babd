//! `rules[].authorize`: what a token must grant.

use super::fields::{Fields, Item};
use crate::rules::{Authorize, Scopes};

pub(super) fn read(item: &Item<'_>) -> Option<Authorize> {
    let mut fields = item.fields()?;
    let scopes = fields.get("scopes").and_then(|item| read_scopes(&item));
    let others = ["roles", "claims", "any", "all", "not"];
    if scopes.is_none() && fields.present(&["scopes"]).is_empty() && fields.present(&others).is_empty() {
        fields.error("is empty; say what the token must grant, such as { scopes: { all_of: [...] } }");
    }
    fields.not_yet(&others);
    fields.finish();
    Some(Authorize { scopes: Some(scopes?) })
}

fn read_scopes(item: &Item<'_>) -> Option<Scopes> {
    let mut fields = item.fields()?;
    let scopes = Scopes {
        all_of: scope_list(&mut fields, "all_of"),
        any_of: scope_list(&mut fields, "any_of"),
        none_of: scope_list(&mut fields, "none_of"),
    };
    if fields.present(&["all_of", "any_of", "none_of"]).is_empty() {
        fields.error("needs \"all_of\", \"any_of\" or \"none_of\"");
    }
    fields.finish();
    Some(scopes)
}

/// Scopes as RFC 6749 section 3.3 spells them: a blank would be two, a quote would break a challenge.
fn scope_list(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let Some(item) = fields.get(name) else {
        return Vec::new();
    };
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
        item.error("must name at least one scope");
    }
    for scope in &items {
        let Some(text) = scope.text() else { continue };
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            scope.error(
                "is not one scope: no blanks, quotes, backslashes or non-ASCII (RFC 6749 section 3.3)",
            );
        }
    }
    items.iter().filter_map(|scope| scope.json.as_str()).map(str::to_owned).collect()
}
