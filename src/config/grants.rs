//! `scope_claims`, `role_claims` and `scope_hierarchy` of a provider: what its tokens grant.

use super::authorize::sound_scope;
use super::conditions::some;
use super::fields::{Fields, Item};
use super::values::{claim_path, claim_paths, paths};
use crate::token::{Grants, RoleClaim, RoleFormat, ScopeHierarchy};

pub(super) fn read(fields: &mut Fields<'_>) -> Grants {
    Grants {
        scope_claims: claim_paths(fields, "scope_claims").unwrap_or_else(|| paths(&["scope", "scp"])),
        role_claims: fields.get("role_claims").and_then(|item| role_claims(&item)).unwrap_or_default(),
        hierarchy: fields.get("scope_hierarchy").and_then(|item| hierarchy(&item)).unwrap_or_default(),
    }
}

/// Claim paths, or `{ claim, format }` where the form must be told.
fn role_claims(item: &Item<'_>) -> Option<Vec<RoleClaim>> {
    Some(some(item, "claim")?.iter().filter_map(role_claim).collect())
}

fn role_claim(item: &Item<'_>) -> Option<RoleClaim> {
    if item.json.as_object().is_none() {
        return Some(RoleClaim { claim: claim_path(item)?, format: RoleFormat::Auto });
    }
    let mut fields = item.fields()?;
    let claim = fields.required("claim", "name the claim").and_then(|item| claim_path(&item));
    let format = fields.choice(
        "format",
        &[
            ("auto", RoleFormat::Auto),
            ("space", RoleFormat::Space),
            ("comma", RoleFormat::Comma),
            ("keys", RoleFormat::Keys),
        ],
        RoleFormat::Auto,
    );
    fields.finish();
    Some(RoleClaim { claim: claim?, format })
}

fn hierarchy(item: &Item<'_>) -> Option<ScopeHierarchy> {
    let mut lines = Vec::new();
    for (left, item) in item.entries()? {
        if left.is_empty() {
            item.error("has an empty scope name; name the scope that grants these");
        } else if let Err(error) = sound_scope(left) {
            item.error(error);
        }
        let prefix = left.strip_suffix('*').unwrap_or(left);
        let separated = prefix.len() == left.len() || prefix.ends_with([':', '.', '/']);
        if prefix.contains('*') || !separated {
            item.error(
                "has a \"*\" in the wrong place; write it at the end alone, behind \":\", \".\" or \"/\", as in orders:*",
            );
        }
        let mut right = Vec::new();
        for item in some(&item, "scope").unwrap_or_default() {
            let Some(scope) = item.text() else { continue };
            if let Err(error) = sound_scope(scope) {
                item.error(error);
            } else if scope.contains('*') {
                item.error("has a \"*\", which can only stand on the left; name each scope that is granted");
            }
            right.push(scope.to_owned());
        }
        lines.push((left.to_owned(), right));
    }
    Some(ScopeHierarchy::new(lines))
}
