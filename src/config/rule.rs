//! `rules`: which requests need which token.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fields::{Fields, Item, join};
use super::requirement::{Named, Providers};
use super::values::MINUTE;
use super::{authorize, binding, matching, protobuf, requirement, streams};
use crate::json::Json;
use crate::rules::{AmbiguousPaths, Match, Mode, Requirement, Rule, RuleId};

/// How a rule says that it asks for no token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PublicRules {
    /// By leaving `requires` out, as with `jwt_authn`.
    Implicit,
    /// By `public: true`. What lost its `requires` on the way to the filter is an error then, and not open.
    Explicit,
}

pub(super) fn read_all(
    items: &[Item<'_>],
    providers: &Providers<'_>,
    named: &Named<'_>,
    ambiguous_paths: AmbiguousPaths,
    public: PublicRules,
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut expressions = 0usize;
    for (at, item) in items.iter().enumerate() {
        let Some(rule) = read(at, item, providers, named, ambiguous_paths, public) else {
            continue;
        };
        let before = expressions;
        expressions = expressions.saturating_add(rule.matches.expressions());
        if expressions > matching::MAX_EXPRESSIONS && before <= matching::MAX_EXPRESSIONS {
            item.error(format!(
                "all rules together have more than {} regular expressions; use \"prefix\", \"path_separated_prefix\" or \"path_template\"",
                matching::MAX_EXPRESSIONS
            ));
        }
        if let Some(other) = names.insert(rule.name.clone(), at) {
            item.error(format!("has the name {:?} of rules[{other}]; give each rule its own", rule.name));
        }
        rules.push(rule);
    }
    warn_of_content_types(items, &rules);
    rules
}

/// A client chooses its content type, and a filter behind this one may make gRPC of another: a rule for gRPC
/// protects nothing that a later rule leaves open.
fn warn_of_content_types(items: &[Item<'_>], rules: &[Rule]) {
    let is_open = |rule: &&Rule| !rule.matches.grpc && (rule.requires.is_none() || rule.mode == Mode::Report);
    let strict = rules.iter().filter(|rule| rule.matches.grpc && rule.requires.is_some());
    for rule in strict.filter(|rule| rule.mode == Mode::Enforce) {
        let start = rule.matches.path_start();
        let overlaps = |other: &&Rule| {
            let other = other.matches.path_start();
            other.starts_with(&*start) || start.starts_with(&*other)
        };
        let later = rules.iter().skip_while(|other| other.id != rule.id).skip(1);
        if let Some(open) = later.filter(is_open).find(overlaps)
            && let Some(item) = items.get(rule.id.0)
        {
            item.report.warning(
                &join(&join(&item.path, "match"), "grpc"),
                format!(
                    "does not cover a client that sends another content type: its request matches {:?}, which lets it through without a token; leave \"grpc\" out, and put Envoy's grpc_web filter before this one",
                    open.name
                ),
            );
        }
    }
}

/// What becomes of ambiguous paths, where the field says it.
pub(super) fn ambiguous_paths(fields: &mut Fields<'_>) -> Option<AmbiguousPaths> {
    let words = [
        ("reject", Some(AmbiguousPaths::Reject)),
        ("normalize", Some(AmbiguousPaths::Normalize)),
        ("match_raw", Some(AmbiguousPaths::MatchRaw)),
    ];
    let policy = fields.choice("ambiguous_paths", &words, None);
    if policy == Some(AmbiguousPaths::MatchRaw) {
        let path = join(&fields.path, "ambiguous_paths");
        let text =
            "compares paths as they arrive: other spellings of a path (%61, //, /x/../) get around its rules";
        fields.report.warning(&path, text);
    }
    policy
}

fn read(
    at: usize,
    item: &Item<'_>,
    providers: &Providers<'_>,
    named: &Named<'_>,
    otherwise: AmbiguousPaths,
    public: PublicRules,
) -> Option<Rule> {
    let mut fields = item.message(protobuf::RULE)?;
    let ambiguous_paths = ambiguous_paths(&mut fields);
    let name = fields.get("name").and_then(|item| self::name(&item));
    let matches = fields
        .required("match", "say which requests the rule is for, such as { prefix: / }")
        .and_then(|item| matching::read(&item, ambiguous_paths.unwrap_or(otherwise)));
    let written = fields.get("requires");
    // Generators write the one of the two that is not meant as null.
    let is_unused = |item: &Item<'_>| written.is_some() && *item.json == Json::Null;
    let by_name = fields.get("requirement_name").filter(|item| !is_unused(item));
    if let (Some(_), Some(item)) = (&written, &by_name) {
        item.error("cannot stand beside \"requires\"; keep one of them");
    }
    let has_requires = written.is_some() || by_name.is_some();
    let written = written.and_then(|item| requirement::read(&item, providers));
    let requires = written.or_else(|| by_name.and_then(|item| requirement::named(&item, named)));
    let authorize_item = fields.get("authorize");
    check_public(&mut fields, has_requires, authorize_item.is_some(), public);
    if let Some(item) = authorize_item.as_ref().filter(|_| !has_requires) {
        item.error("needs \"requires\": without a token there is nothing to authorize; leave it out");
    }
    if let (Some(item), Some(Requirement::AllowMissing | Requirement::AllowMissingOrFailed)) =
        (&authorize_item, &requires)
    {
        item.report.warning(
            &item.path,
            "needs a token: a request without one is refused here, whatever \"requires\" allows",
        );
    }
    let variables = matches.as_ref().map(Match::variables);
    let authorize = authorize_item.and_then(|item| authorize::read(&item, variables.as_deref()));
    let mode = fields.choice("mode", &[("enforce", Mode::Enforce), ("report", Mode::Report)], Mode::Enforce);
    let ignores_revocation = fields.choice("revocation", &[("enforce", false), ("ignore", true)], false);
    if ignores_revocation {
        let path = join(&fields.path, "revocation");
        fields.report.warning(&path, "is \"ignore\": tokens that were revoked pass here until they expire");
    }
    let requires_proof = binding::required_proof(&mut fields, has_requires);
    let one_time = binding::is_one_time(&mut fields, has_requires);
    let introspect = introspect(&mut fields, has_requires);
    let wait_timeout = wait_timeout(&mut fields, has_requires);
    let stream_grace = streams::read(&mut fields, has_requires);
    fields.finish();
    let broken = has_requires && requires.is_none();
    Some(Rule {
        id: RuleId(at),
        name: name.unwrap_or_else(|| format!("rules[{at}]")),
        matches: matches?,
        requires: if broken { return None } else { requires },
        authorize,
        mode,
        ambiguous_paths,
        ignores_revocation,
        requires_proof,
        one_time,
        introspect,
        wait_timeout,
        stream_grace,
    })
}

/// Whether the providers of this rule are asked about their tokens.
fn introspect(fields: &mut Fields<'_>, has_requires: bool) -> bool {
    let Some(item) = fields.get("introspect") else { return false };
    let introspect = item.bool().unwrap_or(false);
    if introspect && !has_requires {
        item.error("needs \"requires\": without a token there is nothing to ask about; leave it out");
    }
    introspect
}

/// How long a request may wait for keys, lists and answers, where the rule says it.
fn wait_timeout(fields: &mut Fields<'_>, has_requires: bool) -> Option<Duration> {
    let item = fields.get("wait_timeout")?;
    if !has_requires {
        item.error("needs \"requires\": without a token there is nothing to wait for; leave it out");
    }
    item.duration(Duration::from_millis(1), MINUTE)
}

/// A name that stands in log lines and labels of metrics.
pub(super) fn name(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    let is_sound = name.len() <= 128 && !name.chars().any(char::is_control);
    if !is_sound {
        item.error("must have at most 128 bytes and no control characters");
    }
    is_sound.then(|| name.to_owned())
}

/// `public` says the same as the rest of the rule, and under `public_rules: explicit` an open rule says it.
fn check_public(fields: &mut Fields<'_>, has_requires: bool, authorizes: bool, public: PublicRules) {
    let item = fields.get("public");
    let said = item.as_ref().map(|item| (item, item.bool()));
    match said {
        Some((item, Some(true))) if has_requires || authorizes => {
            let other = if has_requires { "requires" } else { "authorize" };
            item.error(format!("is true beside \"{other}\", but a public rule needs no token; keep one of them"));
        }
        Some((item, Some(false))) if !has_requires => {
            item.error("is false, and there is no \"requires\"; name the token that is needed, or write true");
        }
        None if !has_requires && public == PublicRules::Explicit => fields.error(
            "has no \"requires\", and \"public_rules\" is \"explicit\"; name the token that is needed, or write \"public\": true",
        ),
        _ => {}
    }
}
