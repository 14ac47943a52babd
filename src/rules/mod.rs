//! Which rule a request meets, and what that rule asks for.

mod authorize;
mod conditions;
mod matcher;
mod members;
mod path;
mod requirement;
mod template;

use std::borrow::Cow;
use std::rc::Rc;

pub use authorize::{Authorize, Bindings, Clause};
pub use conditions::{Condition, Place, Scalar, Test};
pub use matcher::{Match, PathMatch};
pub use members::Members;
pub use path::{Ambiguous, canonical};
pub use requirement::Requirement;
pub use template::{Template, TemplateError};

use crate::request::Request;

/// The index of a provider in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProviderId(pub usize);

/// The place of a rule in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub usize);

/// A rule: for the requests that it matches, the token that they need and what it must grant.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its place.
    pub id: RuleId,
    /// Its name, or `rules[i]`.
    pub name: String,
    /// Which requests it is for.
    pub matches: Match,
    /// The tokens that are needed; none: the rule is public.
    pub requires: Option<Requirement>,
    /// What the token must grant.
    pub authorize: Option<Authorize>,
    /// Whether it decides, or only tells what it would decide.
    pub mode: Mode,
}

/// Whether a rule decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It decides.
    #[default]
    Enforce,
    /// It says what it would decide, and lets everything through.
    Report,
}

/// The rules in their order; the first that matches decides.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rc<Rule>>);

/// Which rule a request meets.
#[derive(Debug)]
pub enum Met<'r> {
    /// This one, for the path in the form in which it was compared.
    Rule(Rc<Rule>, Cow<'r, str>),
    /// The path could be read in more than one way; the rule that it would meet, where that is known.
    Ambiguous(Option<Rc<Rule>>),
    /// None.
    Nothing,
}

impl Rules {
    /// These rules, in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into_iter().map(Rc::new).collect())
    }

    /// The first rule that matches a request.
    pub fn find<'r>(&self, request: &Request<'r>) -> Met<'r> {
        // A CONNECT request has no path (RFC 9113 section 8.5): no rule of this version is for it.
        let Some(target) = request.target() else { return Met::Nothing };
        let Ok(path) = canonical(target) else { return Met::Ambiguous(None) };
        match self.0.iter().find(|rule| rule.matches.holds(request.method(), &path)) {
            Some(rule) => Met::Rule(Rc::clone(rule), path),
            None => Met::Nothing,
        }
    }

    /// The rule of that name.
    pub fn named(&self, name: &str) -> Option<Rc<Rule>> {
        self.0.iter().find(|rule| rule.name == name).map(Rc::clone)
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(|rule| &**rule)
    }
}

#[cfg(test)]
mod testing;
