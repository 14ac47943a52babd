//! What the operator wrote, checked and compiled once.
//!
//! [`Config::parse`] reads the plugin configuration strictly: an unknown field, a wrong type or a
//! contradiction is an error, all errors are told at once, and nothing runs on a guess.

mod authorize;
mod conditions;
mod fields;
mod grants;
mod input;
mod matching;
mod problem;
mod provider;
mod requirement;
mod rule;

use std::collections::BTreeMap;

pub use problem::Problem;
pub use provider::{Keys, Provider};

use crate::json::Json;
use crate::keys::Hidden;
use crate::rules::{ProviderId, Rules};
use fields::Item;
use problem::Report;

/// A sound configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The trusted issuers; a [`ProviderId`] is a place in this list.
    pub providers: Vec<Provider>,
    /// The rules; the first that matches decides.
    pub rules: Rules,
    /// What a request gets that no rule matches.
    pub unmatched: Unmatched,
    /// What the values that workers share are sealed with.
    pub shared_data_secret: Option<Hidden>,
    /// What is legal and dangerous.
    pub warnings: Vec<Problem>,
}

/// What a request gets that no rule matches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmatched {
    /// It is refused.
    Deny,
    /// It passes, as with `jwt_authn`.
    Allow,
}

/// Where the values of environment variables come from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads the bytes of a plugin configuration.
    ///
    /// # Errors
    /// Every problem that was found, never none.
    pub fn parse(bytes: &[u8], environment: Environment<'_>) -> Result<Self, Vec<Problem>> {
        let whole = |message| vec![Problem { path: String::new(), message }];
        let json = input::parse(bytes).map_err(whole)?;
        let report = Report::default();
        let config = read(&json, environment, &report);
        let (errors, warnings) = report.into_parts();
        match config {
            Some(config) if errors.is_empty() => Ok(Self { warnings, ..config }),
            _ if errors.is_empty() => Err(whole("cannot be read".to_owned())),
            _ => Err(errors),
        }
    }

    /// The provider of an id; ids are only made for providers that are there.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.0)
    }
}

/// Fields that later versions have. Until then they are refused, for what is ignored is not enforced.
const NOT_YET: &[&str] = &[
    "requirement_map",
    "bypass_cors_preflight",
    "strip_failure_response",
    "ambiguous_paths",
    "require_tls",
    "realm",
    "error_body",
    "filter_state",
];

fn read(json: &Json, environment: Environment<'_>, report: &Report) -> Option<Config> {
    let root = Item { json, path: String::new(), report };
    let mut fields = root.fields()?;
    let providers = fields.required("providers", "name at least one trusted issuer");
    let providers = providers.and_then(|item| item.entries()).unwrap_or_default();
    let mut names = BTreeMap::new();
    let mut list = Vec::new();
    for (name, item) in providers {
        names.insert(name, ProviderId(list.len()));
        list.push(provider::read(name, &item, environment));
    }
    let rules = fields.required("rules", "without rules nothing is protected");
    let rules = rules.and_then(|item| item.list()).unwrap_or_default();
    let rules = rule::read_all(&rules, &names);
    let unmatched = fields.choice(
        "unmatched",
        &[("deny", Unmatched::Deny), ("allow", Unmatched::Allow)],
        Unmatched::Deny,
    );
    let shared_data_secret = fields.get("shared_data_secret").and_then(|item| secret(&item, environment));
    fields.not_yet(NOT_YET);
    fields.refuse(&[(
        "filter_state_rules",
        "choose by path in \"rules\", or with \"rule\" in the metadata of the route",
    )]);
    fields.finish();
    let providers = list.into_iter().collect::<Option<Vec<Provider>>>()?;
    for provider in &providers {
        let read = |name: &&str| {
            providers.iter().flat_map(|other| &other.locations).any(|place| place.header_name() == *name)
        };
        if let Some(name) = provider.outputs.names().find(read) {
            let path = fields::join("providers", &provider.name);
            report.error(
                &path,
                format!("writes the header {name:?}, from which tokens are read; choose another"),
            );
        }
    }
    Some(Config { providers, rules: Rules::new(rules), unmatched, shared_data_secret, warnings: Vec::new() })
}

fn secret(item: &Item<'_>, environment: Environment<'_>) -> Option<Hidden> {
    let mut fields = item.fields()?;
    let named = fields.required("environment_variable", "name the variable that holds the secret");
    fields.finish();
    let named = named?;
    let secret = fields::variable(&named, environment)?;
    if secret.len() < 32 {
        named.error("holds fewer than 32 bytes; take 32 or more from a random source");
        return None;
    }
    Some(Hidden(secret))
}

#[cfg(test)]
mod tests;
