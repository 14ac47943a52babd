//! Which rules the tests of a configuration met, and how.

use std::collections::BTreeSet;

use portcullis::Config;
use portcullis_explain::Explanation;
use serde::Serialize;

/// What was met so far.
#[derive(Default)]
pub(super) struct Coverage {
    met: BTreeSet<String>,
    passed: BTreeSet<String>,
    refused: BTreeSet<String>,
}

/// What was never met, of the rules of a configuration in their order.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub(super) struct Gaps {
    /// How many rules there are.
    pub(super) rules: usize,
    /// Those that decided no test.
    pub(super) never_met: Vec<String>,
    /// Those that were met and let nothing pass.
    pub(super) never_passed: Vec<String>,
    /// Those that ask for something, were met, and refused nothing.
    pub(super) never_refused: Vec<String>,
}

impl Coverage {
    pub(super) fn note(&mut self, explanation: &Explanation) {
        let Some(rule) = &explanation.rule else { return };
        self.met.insert(rule.clone());
        let set = if explanation.decision == "allow" { &mut self.passed } else { &mut self.refused };
        set.insert(rule.clone());
    }

    pub(super) fn gaps(&self, config: &Config) -> Gaps {
        let rules = || config.rules.iter();
        let met = |name: &String| self.met.contains(name);
        let names = |wanted: &dyn Fn(&String, bool) -> bool| {
            let all = rules().map(|rule| (&rule.name, rule.requires.is_some()));
            all.filter(|(name, asks)| wanted(name, *asks)).map(|(name, _)| name.clone()).collect()
        };
        Gaps {
            rules: rules().count(),
            never_met: names(&|name, _| !met(name)),
            never_passed: names(&|name, _| met(name) && !self.passed.contains(name)),
            never_refused: names(&|name, asks| met(name) && asks && !self.refused.contains(name)),
        }
    }
}

impl Gaps {
    /// One line of it.
    pub(super) fn line(&self) -> String {
        let met = self.rules - self.never_met.len();
        let mut line = format!("coverage: {met} of {} rules met", self.rules);
        let parts = [
            ("never met", &self.never_met),
            ("never passed", &self.never_passed),
            ("never refused", &self.never_refused),
        ];
        for (words, names) in parts {
            if !names.is_empty() {
                line.push_str(&format!("; {words}: {}", names.join(", ")));
            }
        }
        line
    }
}
