//! `rules[].requires`: the tokens that a rule asks for.

use std::collections::BTreeMap;

use super::fields::Item;
use crate::rules::{ProviderId, Requirement};

/// The providers of a configuration by name.
pub(super) type Providers<'c> = BTreeMap<&'c str, ProviderId>;

pub(super) fn read(item: &Item<'_>, providers: &Providers<'_>) -> Option<Requirement> {
    let mut fields = item.fields()?;
    let name = fields.get("provider_name");
    fields.not_yet(&[
        "provider_and_audiences",
        "requires_any",
        "requires_all",
        "allow_missing",
        "allow_missing_or_failed",
        "requirement_name",
    ]);
    fields.refuse(&[(
        "extract_only_without_validation",
        "and an unchecked token must not pass for a checked one; use \"allow_missing_or_failed\"",
    )]);
    if name.is_none()
        && fields
            .present(&[
                "provider_and_audiences",
                "requires_any",
                "requires_all",
                "allow_missing",
                "allow_missing_or_failed",
                "requirement_name",
                "extract_only_without_validation",
            ])
            .is_empty()
    {
        fields.error(
            "is empty; name a provider with \"provider_name\", or leave \"requires\" out for a public rule",
        );
    }
    fields.finish();
    let name = name?;
    let text = name.text()?;
    let found = providers.get(text).copied();
    if found.is_none() {
        let known: Vec<_> = providers.keys().map(|name| format!("{name:?}")).collect();
        name.error(format!("no provider {text:?} is configured; there are: {}", known.join(", ")));
    }
    Some(Requirement::Provider { provider: found?, audiences: None })
}
