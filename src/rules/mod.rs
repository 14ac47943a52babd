//! Which rule a request meets, and what that rule asks for.

mod matcher;
mod path;
mod scopes;
mod template;

pub use matcher::{Match, PathMatch};
pub use path::{Ambiguous, canonical};
pub use scopes::Scopes;
pub use template::{Template, TemplateError};

/// The index of a provider in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProviderId(pub usize);

/// A rule: for the requests that it matches, the token that they need and what it must grant.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, or `rules[i]`.
    pub name: String,
    /// Which requests it is for.
    pub matches: Match,
    /// The provider whose token is needed; none: the rule is public.
    pub requires: Option<ProviderId>,
    /// The scopes that the token must grant.
    pub scopes: Option<Scopes>,
}

/// The rules in their order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The first rule that matches a method and a canonical path (see [`canonical`]).
    pub fn find(&self, method: &[u8], path: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| rule.matches.holds(method, path))
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}
