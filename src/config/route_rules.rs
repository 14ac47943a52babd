//! `route_rules`, and the requirements that routes name: what the metadata of the proxy's routes may say.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::fields::{Fields, join};
use super::requirement::Named;
use crate::json::Json;
use crate::rules::{Match, Requirement, Rule, RuleId};

/// What the metadata of the proxy's routes may say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteRules {
    /// Whether it is looked at: `rule`, `requirement` and `scopes`.
    pub is_on: bool,
    /// Whether `disabled` is looked at, too.
    pub allow_disable: bool,
}

/// `true`, `false`, or an object, which turns it on.
pub(super) fn read(fields: &mut Fields<'_>) -> RouteRules {
    let on = RouteRules { is_on: true, allow_disable: false };
    let Some(item) = fields.get("route_rules") else { return on };
    match item.json {
        Json::Bool(is_on) => return RouteRules { is_on: *is_on, ..on },
        Json::Object(_) => {}
        other => {
            let kind = other.kind();
            item.error(format!("expected true or false, not {kind}; or write {{ \"allow_disable\": true }}"));
            return on;
        }
    }
    let Some(mut fields) = item.fields() else { return on };
    let allow_disable = fields.bool("allow_disable", false);
    fields.finish();
    if allow_disable {
        item.warning(
            "\"allow_disable\": a request of a route that says \"disabled\" passes without a token; do not choose such a route by what a client can make up or a filter changes",
        );
    }
    RouteRules { allow_disable, ..on }
}

/// The requirements that routes may name, each as a rule for every request. Their places follow those of `rules`.
pub(super) fn requirements(named: &Named<'_>, rules: usize) -> BTreeMap<String, Rc<Rule>> {
    let sound = named.iter().filter_map(|(name, requirement)| Some((*name, requirement.as_ref()?)));
    let as_rule = |((name, requirement), id): ((&str, &Requirement), usize)| {
        let rule = Rule::public(RuleId(id), join("requirement_map", name), Match::every_path());
        (name.to_owned(), Rc::new(Rule { requires: Some(requirement.clone()), ..rule }))
    };
    let mut rules_by_name = BTreeMap::new();
    for (name, rule) in sound.zip(rules..).map(as_rule) {
        rules_by_name.insert(name, rule);
    }
    rules_by_name
}
