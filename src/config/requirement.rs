//! `requires` and `requirement_map`: the tokens that a rule asks for.

use std::collections::BTreeMap;

use super::fields::{Fields, Item};
use super::values::compared_texts;
use crate::rules::Requirement;
use crate::token::ProviderId;

/// The providers of a configuration by name.
pub(super) type Providers<'c> = BTreeMap<&'c str, ProviderId>;

/// The requirements that rules name: none for one that is wrong, and reported.
pub(super) type Named<'c> = BTreeMap<&'c str, Option<Requirement>>;

const KINDS: &[&str] = &[
    "provider_name",
    "provider_and_audiences",
    "requires_any",
    "requires_all",
    "allow_missing",
    "allow_missing_or_failed",
];

pub(super) fn read_map<'c>(item: &Item<'c>, providers: &Providers<'_>) -> Option<Named<'c>> {
    let entries = item.entries()?;
    let mut named = Named::new();
    for (name, item) in entries {
        named.insert(name, read(&item, providers));
    }
    Some(named)
}

/// The requirement that a rule names.
pub(super) fn named(item: &Item<'_>, named: &Named<'_>) -> Option<Requirement> {
    let name = item.text()?;
    match named.get(name) {
        Some(requirement) => requirement.clone(),
        None => {
            item.error(format!(
                "no requirement {name:?} is configured; {}",
                use_one_of(named.keys(), "requirement_map")
            ));
            None
        }
    }
}

pub(super) fn read(item: &Item<'_>, providers: &Providers<'_>) -> Option<Requirement> {
    let mut fields = item.fields()?;
    let given = fields.present(KINDS);
    fields.refuse(&[(
        "extract_only_without_validation",
        "claims that nobody verified must not reach the upstream; use \"allow_missing_or_failed\"",
    )]);
    let refused = !fields.present(&["extract_only_without_validation"]).is_empty();
    if given.len() != 1 && !refused {
        fields.error(if given.is_empty() {
            "is empty, which asks for no token; name a provider with \"provider_name\", allow a token to be missing with \"allow_missing\", or leave \"requires\" out for a public rule"
                .to_owned()
        } else {
            format!(
                "has {}; keep one, or put them into \"requires_any\" or \"requires_all\"",
                given.join(" and ")
            )
        });
    }
    let provider = fields
        .get("provider_name")
        .map(|item| Some(Requirement::Provider { provider: provider(&item, providers)?, audiences: None }));
    let audiences = fields.get("provider_and_audiences").map(|item| with_audiences(&item, providers));
    let any = fields.get("requires_any").map(|item| list(&item, providers).map(Requirement::Any));
    let all = fields.get("requires_all").map(|item| list(&item, providers).map(Requirement::All));
    let missing = nothing(&mut fields, "allow_missing", Requirement::AllowMissing);
    let failed = nothing(&mut fields, "allow_missing_or_failed", Requirement::AllowMissingOrFailed);
    fields.finish();
    if given.len() != 1 {
        return None;
    }
    provider.or(audiences).or(any).or(all).or(missing).or(failed)?
}

/// What to write for a name that is not there.
pub(super) fn use_one_of<'n>(known: impl Iterator<Item = &'n &'n str>, map: &str) -> String {
    let known: Vec<_> = known.map(|name| format!("{name:?}")).collect();
    match known.is_empty() {
        true => format!("add it to {map:?}"),
        false => format!("use one of {}, or add it to {map:?}", known.join(", ")),
    }
}

fn provider(item: &Item<'_>, providers: &Providers<'_>) -> Option<ProviderId> {
    let text = item.text()?;
    let found = providers.get(text).copied();
    if found.is_none() {
        item.error(format!(
            "no provider {text:?} is configured; {}",
            use_one_of(providers.keys(), "providers")
        ));
    }
    found
}

fn with_audiences(item: &Item<'_>, providers: &Providers<'_>) -> Option<Requirement> {
    let mut fields = item.fields()?;
    let name = fields.required("provider_name", "name the provider");
    let provider = name.and_then(|item| provider(&item, providers));
    let audiences =
        fields.required("audiences", "list the audiences of this rule; the provider's do not count");
    let audiences = audiences.and_then(|item| {
        let texts = compared_texts(&item)?;
        if texts.is_empty() {
            item.error("must name at least one audience");
        }
        Some(texts)
    });
    fields.finish();
    Some(Requirement::Provider { provider: provider?, audiences: Some(audiences?) })
}

/// `{ requirements: [...] }`
fn list(item: &Item<'_>, providers: &Providers<'_>) -> Option<Vec<Requirement>> {
    let mut fields = item.fields()?;
    let parts = fields.required("requirements", "list the requirements");
    fields.finish();
    let parts = parts?;
    let items = parts.list()?;
    if items.len() < 2 {
        parts.error("must list at least two requirements; write a single one directly under \"requires\"");
    }
    let read: Vec<Requirement> = items.iter().filter_map(|item| read(item, providers)).collect();
    (read.len() == items.len()).then_some(read)
}

/// A requirement without fields, written `{}`.
fn nothing(
    fields: &mut Fields<'_>,
    name: &'static str,
    requirement: Requirement,
) -> Option<Option<Requirement>> {
    let item = fields.get(name)?;
    Some(item.fields().map(|fields| {
        fields.finish();
        requirement
    }))
}
