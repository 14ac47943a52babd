//! Which rule a request meets, and what that rule asks for.

mod authorize;
mod conditions;
mod host;
mod index;
mod matcher;
mod members;
mod path;
mod requirement;
mod template;
mod uri_template;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use authorize::{Authorize, Bindings, Clause};
pub use conditions::{Condition, Place, Scalar, Test};
pub use host::{HostMatch, host_of};
pub use matcher::{HeaderMatch, Match, PathMatch, PathRegex, QueryMatch, QueryValue, ValueMatch};
pub use members::Members;
pub use path::{Ambiguous, canonical, guesses, resolved};
pub use requirement::{Demand, Requirement};
pub use template::{Template, TemplateError};
pub use uri_template::UriTemplate;

use crate::request::Request;
use index::{First, Index, Rank};
use matcher::Facts;

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
    /// What it makes of ambiguous paths, where it has its own mind.
    pub ambiguous_paths: Option<AmbiguousPaths>,
    /// Whether it lets tokens pass that were withdrawn.
    pub ignores_revocation: bool,
}

/// What becomes of a path that could be read in more than one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AmbiguousPaths {
    /// It is refused.
    #[default]
    Reject,
    /// The form is judged that every hop resolves it to, and refused where there is none.
    Normalize,
    /// Every path is compared as it arrived, without its query.
    MatchRaw,
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
pub struct Rules {
    list: Vec<Rc<Rule>>,
    /// What each makes of ambiguous paths.
    policies: Vec<AmbiguousPaths>,
    /// What is made of one that no rule is for.
    otherwise: AmbiguousPaths,
    /// Rules that compare canonical paths.
    canonical: Index,
    /// Rules that compare paths as they arrive.
    raw: Index,
    has_raw: bool,
    /// Rules for requests without a path.
    connect: Vec<Rank>,
    /// All, by their names.
    by_name: BTreeMap<Rc<str>, Rank>,
}

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
    /// These rules, in this order. `ambiguous_paths` is for those that have no mind of their own.
    pub fn new(rules: Vec<Rule>, ambiguous_paths: AmbiguousPaths) -> Self {
        let mut all = Self { otherwise: ambiguous_paths, ..Self::default() };
        for (rule, at) in rules.into_iter().zip(0..) {
            let policy = rule.ambiguous_paths.unwrap_or(ambiguous_paths);
            match (&rule.matches.path, policy) {
                (PathMatch::Connect, _) => all.connect.push(at),
                (_, AmbiguousPaths::MatchRaw) => {
                    all.has_raw = true;
                    all.raw.add(at, &rule.matches);
                }
                (_, AmbiguousPaths::Reject | AmbiguousPaths::Normalize) => {
                    all.canonical.add(at, &rule.matches);
                }
            }
            all.by_name.entry(rule.name.as_str().into()).or_insert(at);
            all.policies.push(policy);
            all.list.push(Rc::new(rule));
        }
        all
    }

    /// The first rule that matches a request.
    pub fn find<'r>(&self, request: &Request<'r>) -> Met<'r> {
        let facts = Facts::new(request);
        // It has no path (RFC 9113 section 8.5).
        if request.is_connect() {
            let holds = |at: &&Rank| self.get(**at).is_some_and(|rule| rule.matches.others_hold(&facts));
            let found = self.connect.iter().find(holds).and_then(|at| self.get(*at));
            return found.map_or(Met::Nothing, |rule| Met::Rule(Rc::clone(rule), Cow::Borrowed("")));
        }
        let Some(target) = request.target() else { return Met::Nothing };
        let Ok(path) = canonical(target) else { return self.find_ambiguous(target, &facts) };
        let mut first = First::new();
        self.search(&self.canonical, &path, &facts, &mut first, |_| true);
        let of_canonical = first.get();
        let raw = self.search_raw(target, &facts, &mut first);
        match (first.get(), raw) {
            (at, Some(raw)) if at != of_canonical => self.met(at, raw),
            (at, _) => self.met(at, path),
        }
    }

    /// The first rule for a path that could be read in more than one way. A rule that rejects such paths
    /// rejects the request where it is for the path in any reading that is known.
    fn find_ambiguous<'r>(&self, target: &'r [u8], facts: &Facts<'_>) -> Met<'r> {
        let mut first = First::new();
        let policy = |at| self.policy(at);
        let form = resolved(target, facts.host());
        let as_sent = String::from_utf8_lossy(path::without_query(target));
        match &form {
            Some(form) => {
                self.search(&self.canonical, form, facts, &mut first, |_| true);
                let rejects = |at| policy(at) == AmbiguousPaths::Reject;
                self.search(&self.canonical, &as_sent, facts, &mut first, rejects);
            }
            None => {
                for guess in guesses(target).iter().map(String::as_str).chain([&*as_sent]) {
                    self.search(&self.canonical, guess, facts, &mut first, |_| true);
                }
            }
        }
        self.search_raw(target, facts, &mut first);
        match (first.get(), form) {
            (Some(at), _) if policy(at) == AmbiguousPaths::MatchRaw => self.met(Some(at), as_sent),
            (Some(at), Some(form)) if policy(at) == AmbiguousPaths::Normalize => {
                self.met(Some(at), Cow::Owned(form))
            }
            (Some(at), Some(_)) => Met::Ambiguous(self.get(at).map(Rc::clone)),
            // What rule it is for is anyone's guess.
            (Some(_), None) => Met::Ambiguous(None),
            (None, form) => match (self.otherwise, form) {
                (AmbiguousPaths::MatchRaw, _) | (AmbiguousPaths::Normalize, Some(_)) => Met::Nothing,
                (AmbiguousPaths::Reject, _) | (AmbiguousPaths::Normalize, None) => Met::Ambiguous(None),
            },
        }
    }

    /// Looks among the rules that compare what arrived; says what that is, if there are any.
    fn search_raw<'r>(&self, target: &'r [u8], facts: &Facts<'_>, first: &mut First) -> Option<Cow<'r, str>> {
        self.has_raw.then(|| {
            let path = String::from_utf8_lossy(path::without_query(target));
            self.search(&self.raw, &path, facts, first, |_| true);
            path
        })
    }

    fn search(
        &self,
        index: &Index,
        path: &str,
        facts: &Facts<'_>,
        first: &mut First,
        counts: impl Fn(Rank) -> bool,
    ) {
        index.search(path, facts, first, &mut |at| {
            counts(at)
                && self.get(at).is_some_and(|rule| {
                    let matches = &rule.matches;
                    // What the index is not sure of.
                    let unsure = matches!(matches.path, PathMatch::Regex(_) | PathMatch::UriTemplate(_));
                    matches.others_hold(facts) && (!unsure || matches.path_holds(path))
                })
        });
    }

    fn get(&self, at: Rank) -> Option<&Rc<Rule>> {
        self.list.get(usize::try_from(at).ok()?)
    }

    fn policy(&self, at: Rank) -> AmbiguousPaths {
        let own = usize::try_from(at).ok().and_then(|at| self.policies.get(at));
        own.copied().unwrap_or_default()
    }

    fn met<'r>(&self, at: Option<Rank>, path: Cow<'r, str>) -> Met<'r> {
        let rule = at.and_then(|at| self.get(at));
        rule.map_or(Met::Nothing, |rule| Met::Rule(Rc::clone(rule), path))
    }

    /// The rule of that name.
    pub fn named(&self, name: &str) -> Option<Rc<Rule>> {
        self.get(*self.by_name.get(name)?).map(Rc::clone)
    }

    /// All rules, in order, to be kept.
    pub fn shared(&self) -> impl Iterator<Item = Rc<Rule>> {
        self.list.iter().map(Rc::clone)
    }

    /// All rules, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter().map(|rule| &**rule)
    }
}

#[cfg(test)]
mod testing;
