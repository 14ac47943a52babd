//! Why a rule is for a request or not, condition by condition.

use super::matcher::{Match, PathMatch};
use super::{AmbiguousPaths, Rule, Rules};
use crate::request::{Held, RequestView};

/// A rule that was tried on a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trial {
    /// Its name.
    pub rule: String,
    /// Its conditions by their members of `match`, each with whether it holds: under every reading of the request, under
    /// none, or depending on who reads.
    pub conditions: Vec<(String, Held)>,
}

impl Trial {
    /// Whether the rule could be the one for the request.
    pub fn is_possible(&self) -> bool {
        self.conditions.iter().all(|(_, held)| held.is_possible())
    }
}

impl Rules {
    /// Tries the rules in their order on a request, until one of them could be for it. [`Rules::find`] comes to the same
    /// by an index.
    pub fn trials(&self, view: &RequestView<'_>) -> Vec<Trial> {
        let mut trials = Vec::new();
        for rule in self.iter() {
            trials.push(self.trial(rule, view));
            if trials.last().is_some_and(Trial::is_possible) {
                break;
            }
        }
        trials
    }

    /// Tries one rule.
    fn trial(&self, rule: &Rule, view: &RequestView<'_>) -> Trial {
        let path = match view.request().is_connect() {
            true => Held::from(matches!(rule.matches.path, PathMatch::Connect)),
            false if self.compares_raw(rule) => rule.matches.path_held(&view.path().sent(), view),
            false => rule.matches.paths_held(view),
        };
        let mut conditions = vec![(rule.matches.path.member().to_owned(), path)];
        rule.matches.add_other_conditions(view, &mut conditions);
        Trial { rule: rule.name.clone(), conditions }
    }

    fn compares_raw(&self, rule: &Rule) -> bool {
        rule.ambiguous_paths.unwrap_or(self.otherwise) == AmbiguousPaths::MatchRaw
    }
}

impl Match {
    /// Each condition but that on the path alone.
    fn add_other_conditions(&self, view: &RequestView<'_>, conditions: &mut Vec<(String, Held)>) {
        let mut one = |what: String, only: Match| conditions.push((what, only.others_held(view)));
        let none = Self::every_path;
        if !self.methods.is_empty() {
            one("methods".to_owned(), Self { methods: self.methods.clone(), ..none() });
        }
        if !self.hosts.is_empty() {
            one("hosts".to_owned(), Self { hosts: self.hosts.clone(), ..none() });
        }
        if self.grpc {
            one("grpc".to_owned(), Self { grpc: true, ..none() });
        }
        for header in &self.headers {
            let what = format!("headers {:?}", header.name);
            one(what, Self { headers: vec![header.clone()], ..none() });
        }
        for parameter in &self.query_parameters {
            let what = format!("query_parameters {:?}", parameter.name);
            one(what, Self { query_parameters: vec![parameter.clone()], ..none() });
        }
        for (at, value) in self.metadata.iter().enumerate() {
            one(format!("metadata[{at}]"), Self { metadata: vec![value.clone()], ..none() });
        }
    }
}
