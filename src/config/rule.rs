//! `rules`: which requests need which token.

use super::fields::Item;
use super::requirement::Providers;
use super::{authorize, matching, requirement};
use crate::rules::{Match, Mode, Rule, RuleId};

pub(super) fn read_all(items: &[Item<'_>], providers: &Providers<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(rule) = read(at, item, providers) else {
            continue;
        };
        if let Some(other) = rules.iter().position(|other| other.name == rule.name) {
            item.error(format!("has the name {:?} of rules[{other}]; give each rule its own", rule.name));
        }
        rules.push(rule);
    }
    rules
}

fn read(at: usize, item: &Item<'_>, providers: &Providers<'_>) -> Option<Rule> {
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
    let requires_item = fields.get("requires");
    let has_requires = requires_item.is_some();
    let requires = requires_item.and_then(|item| requirement::read(&item, providers));
    let authorize_item = fields.get("authorize");
    if let Some(item) = authorize_item.as_ref().filter(|_| !has_requires) {
        item.error("needs \"requires\": without a token there is nothing to authorize");
    }
    let variables = matches.as_ref().map(Match::variables);
    let authorize = authorize_item.and_then(|item| authorize::read(&item, variables.as_deref()));
    fields.not_yet(&["mode", "ambiguous_paths", "requirement_name"]);
    fields.finish();
    let broken = has_requires && requires.is_none();
    Some(Rule {
        id: RuleId(at),
        name: name.unwrap_or_else(|| format!("rules[{at}]")),
        matches: matches?,
        requires: if broken { return None } else { requires },
        authorize,
        mode: Mode::default(),
    })
}
