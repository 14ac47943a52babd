//! `rules`: which requests need which token.

use super::fields::Item;
use super::requirement::{Named, Providers};
use super::{authorize, matching, requirement};
use crate::rules::{Mode, Requirement, Rule, RuleId};

pub(super) fn read_all(items: &[Item<'_>], providers: &Providers<'_>, named: &Named<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(rule) = read(at, item, providers, named) else {
            continue;
        };
        if let Some(other) = rules.iter().position(|other| other.name == rule.name) {
            item.error(format!("has the name {:?} of rules[{other}]; give each rule its own", rule.name));
        }
        rules.push(rule);
    }
    rules
}

fn read(at: usize, item: &Item<'_>, providers: &Providers<'_>, named: &Named<'_>) -> Option<Rule> {
    let mut fields = item.fields()?;
    let name = fields.get("name").and_then(|item| {
        let name = item.text()?;
        let sound = name.len() <= 128 && !name.chars().any(char::is_control);
        if !sound {
            item.error("a rule's name has at most 128 bytes and no control characters");
        }
        sound.then(|| name.to_owned())
    });
    let matches = fields
        .required("match", "say which requests the rule is for, such as { prefix: / }")
        .and_then(|item| matching::read(&item));
    let written = fields.get("requires");
    let by_name = fields.get("requirement_name");
    if let (Some(_), Some(item)) = (&written, &by_name) {
        item.error("stands beside \"requires\"; keep one");
    }
    let has_requires = written.is_some() || by_name.is_some();
    let written = written.and_then(|item| requirement::read(&item, providers));
    let requires = written.or_else(|| by_name.and_then(|item| requirement::named(&item, named)));
    let authorize_item = fields.get("authorize");
    if let Some(item) = authorize_item.as_ref().filter(|_| !has_requires) {
        item.error("needs \"requires\": without a token there is nothing to authorize");
    }
    if let (Some(item), Some(Requirement::AllowMissing | Requirement::AllowMissingOrFailed)) =
        (&authorize_item, &requires)
    {
        item.report.warning(
            &item.path,
            "needs a token: a request without one is refused here, whatever \"requires\" allows",
        );
    }
    let authorize = authorize_item.and_then(|item| authorize::read(&item));
    let mode = fields.choice("mode", &[("enforce", Mode::Enforce), ("report", Mode::Report)], Mode::Enforce);
    fields.not_yet(&["ambiguous_paths"]);
    fields.finish();
    let broken = has_requires && requires.is_none();
    Some(Rule {
        id: RuleId(at),
        name: name.unwrap_or_else(|| format!("rules[{at}]")),
        matches: matches?,
        requires: if broken { return None } else { requires },
        authorize,
        mode,
    })
}
