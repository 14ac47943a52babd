//! `rules`: which requests need which token.

use std::collections::BTreeMap;

use super::fields::{Fields, Item};
use crate::rules::{Match, PathMatch, ProviderId, Rule, Scopes, Template, canonical};

type Providers<'c> = BTreeMap<&'c str, ProviderId>;

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
        .and_then(|item| read_match(&item));
    let requires_item = fields.get("requires");
    let has_requires = requires_item.is_some();
    let requires = requires_item.and_then(|item| requirement(&item, providers));
    let authorize = fields.get("authorize");
    if let Some(authorize) = authorize.as_ref().filter(|_| !has_requires) {
        authorize.error("needs \"requires\": without a token there is nothing to authorize");
    }
    let scopes = authorize.and_then(|item| read_authorize(&item));
    fields.not_yet(&["mode", "ambiguous_paths", "requirement_name"]);
    fields.finish();
    let broken = has_requires && requires.is_none();
    Some(Rule {
        name: name.unwrap_or_else(|| format!("rules[{at}]")),
        matches: matches?,
        requires: if broken { return None } else { requires },
        scopes,
    })
}

fn read_match(item: &Item<'_>) -> Option<Match> {
    let mut fields = item.fields()?;
    let kinds = [
        "prefix",
        "path",
        "path_template",
        "safe_regex",
        "path_separated_prefix",
        "path_match_policy",
        "connect_matcher",
    ];
    let given = fields.present(&kinds);
    if given.len() != 1 {
        fields.error(if given.is_empty() {
            "needs one of \"prefix\", \"path\" and \"path_template\"".to_owned()
        } else {
            format!("has {}; keep one", given.join(" and "))
        });
    }
    let prefix = fields.get("prefix").and_then(|item| plain(&item).map(PathMatch::Prefix));
    let exact = fields.get("path").and_then(|item| plain(&item).map(PathMatch::Exact));
    let template = fields.get("path_template").and_then(|item| {
        let template = Template::parse(item.text()?);
        template.map_err(|error| item.error(error.to_string())).ok().map(PathMatch::Template)
    });
    let methods = fields.get("methods").and_then(|item| methods(&item)).unwrap_or_default();
    fields.not_yet(&[
        "safe_regex",
        "path_separated_prefix",
        "path_match_policy",
        "connect_matcher",
        "case_sensitive",
        "headers",
        "query_parameters",
        "hosts",
        "runtime_fraction",
        "grpc",
        "tls_context",
        "dynamic_metadata",
    ]);
    fields.finish();
    Some(Match { path: prefix.or(exact).or(template)?, methods })
}

/// A path or the start of one, in the form in which request paths are compared.
fn plain(item: &Item<'_>) -> Option<String> {
    let text = item.text()?;
    if text.contains(['?', ';']) {
        item.error("can only name a path; queries and \";parameters\" are not compared");
        return None;
    }
    match canonical(text.as_bytes()) {
        Ok(path) => Some(path.into_owned()),
        Err(ambiguous) => {
            item.error(format!("no request path can match: {ambiguous}"));
            None
        }
    }
}

fn methods(item: &Item<'_>) -> Option<Vec<String>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error("must name at least one method; leave the field out for every method");
    }
    for method in &items {
        let Some(text) = method.text() else { continue };
        if !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            method.error("is not a method; methods are upper case, such as GET");
        }
    }
    item.texts()
}

fn requirement(item: &Item<'_>, providers: &Providers<'_>) -> Option<ProviderId> {
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
    found
}

fn read_authorize(item: &Item<'_>) -> Option<Scopes> {
    let mut fields = item.fields()?;
    let scopes = fields.get("scopes").and_then(|item| read_scopes(&item));
    let others = ["roles", "claims", "any", "all", "not"];
    if scopes.is_none() && fields.present(&["scopes"]).is_empty() && fields.present(&others).is_empty() {
        fields.error("is empty; say what the token must grant, such as { scopes: { all_of: [...] } }");
    }
    fields.not_yet(&others);
    fields.finish();
    scopes
}

fn read_scopes(item: &Item<'_>) -> Option<Scopes> {
    let mut fields = item.fields()?;
    let scopes = Scopes {
        all_of: scope_list(&mut fields, "all_of"),
        any_of: scope_list(&mut fields, "any_of"),
        none_of: scope_list(&mut fields, "none_of"),
    };
    if fields.present(&["all_of", "any_of", "none_of"]).is_empty() {
        fields.error("needs \"all_of\", \"any_of\" or \"none_of\"");
    }
    fields.finish();
    Some(scopes)
}

/// Scopes as RFC 6749 section 3.3 spells them: a blank would be two, a quote would break a challenge.
fn scope_list(fields: &mut Fields<'_>, name: &'static str) -> Vec<String> {
    let Some(item) = fields.get(name) else {
        return Vec::new();
    };
    let items = item.list().unwrap_or_default();
    if items.is_empty() && item.json.as_array().is_some() {
        item.error("must name at least one scope");
    }
    for scope in &items {
        let Some(text) = scope.text() else { continue };
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            scope.error(
                "is not one scope: no blanks, quotes, backslashes or non-ASCII (RFC 6749 section 3.3)",
            );
        }
    }
    items.iter().filter_map(|scope| scope.json.as_str()).map(str::to_owned).collect()
}
