//! `authorize.claims[]` of a rule and `required_claims[]` of a provider: conditions on claims.

use super::fields::{Fields, Item, join};
use super::values::{claim_path, header_name};
use crate::json::{Json, Number};
use crate::request::PeerName;
use crate::text::TextMatch;
use crate::token::{ClaimOperator, Condition, RequestValue, Scalar};

const OPERATORS: [&str; 12] = [
    "equals",
    "any_of",
    "all_of",
    "none_of",
    "present",
    "matches",
    "gte",
    "lte",
    "equals_path",
    "equals_header",
    "equals_host",
    "equals_peer",
];

/// What compares a claim with the request.
const OF_REQUEST: [&str; 4] = ["equals_path", "equals_header", "equals_host", "equals_peer"];

/// Whose condition it is.
#[derive(Clone, Copy)]
pub(super) enum Owner<'v> {
    /// A rule's, whose path template binds these variables; none: not known, for the rule's match cannot be read.
    Rule(Option<&'v [&'v str]>),
    /// A provider's.
    Provider,
}

pub(super) fn read(item: &Item<'_>, owner: Owner<'_>) -> Option<Condition> {
    let mut fields = item.fields()?;
    let variables = match owner {
        Owner::Rule(variables) => variables,
        Owner::Provider => {
            for name in fields.present(&OF_REQUEST) {
                let path = join(&fields.path, name);
                fields.report.error(&path, "compares the claim with the request, but required claims are checked once for each token; write it into \"authorize.claims\" of the rules");
            }
            None
        }
    };
    let claim = fields
        .required("claim", "name the claim: its name, a path such as /realm_access/roles, or a list of names")
        .and_then(|item| claim_path(&item));
    let given = fields.present(&OPERATORS);
    if given.len() != 1 && given != ["gte", "lte"] {
        fields.error(if given.is_empty() {
            "has no condition; add one of \"equals\", \"any_of\", \"all_of\", \"none_of\", \"present\", \"matches\", \"gte\", \"lte\", \"equals_path\", \"equals_header\", \"equals_host\" and \"equals_peer\"".to_owned()
        } else {
            format!("has {}; keep one, and write each of the others as its own condition", given.join(" and "))
        });
    }
    // Every field is read, so that each tells its own errors.
    let tests = [
        fields.get("equals").and_then(|item| scalar(&item)).map(ClaimOperator::Equals),
        fields.get("any_of").and_then(|item| scalars(&item)).map(ClaimOperator::AnyOf),
        fields.get("all_of").and_then(|item| scalars(&item)).map(ClaimOperator::AllOf),
        fields.get("none_of").and_then(|item| scalars(&item)).map(ClaimOperator::NoneOf),
        fields.get("present").and_then(|item| item.bool()).map(ClaimOperator::Present),
        fields.get("matches").and_then(|item| {
            TextMatch::regex(item.text()?).map_err(|error| item.error(error)).ok().map(ClaimOperator::Matches)
        }),
        between(&mut fields),
        fields
            .get("equals_path")
            .and_then(|item| variable(&item, variables))
            .map(ClaimOperator::EqualsRequest),
        fields
            .get("equals_header")
            .and_then(|item| header_name(&item))
            .map(|name| ClaimOperator::EqualsRequest(RequestValue::Header(name))),
        fields.get("equals_host").and_then(|item| match item.bool()? {
            true => Some(ClaimOperator::EqualsRequest(RequestValue::Host)),
            false => {
                item.error("can only be true; put the condition under \"not\" for the opposite");
                None
            }
        }),
        peer(&mut fields).map(|name| ClaimOperator::EqualsRequest(RequestValue::Peer(name))),
    ];
    fields.finish();
    Some(Condition { claim: claim?, test: tests.into_iter().flatten().next()? })
}

/// The name in the certificate of the client with which a claim is compared.
fn peer(fields: &mut Fields<'_>) -> Option<PeerName> {
    let words = [
        ("uri_san", Some(PeerName::UriSan)),
        ("dns_san", Some(PeerName::DnsSan)),
        ("subject", Some(PeerName::Subject)),
    ];
    fields.choice("equals_peer", &words, None)
}

/// The elements of a list that is not empty.
pub(super) fn some<'c>(item: &Item<'c>, what: &str) -> Option<Vec<Item<'c>>> {
    let items = item.list()?;
    if items.is_empty() {
        item.error(format!("must name at least one {what}"));
    }
    Some(items)
}

fn scalar(item: &Item<'_>) -> Option<Scalar> {
    if let Json::Number(number) = item.json {
        return exact(item, *number).map(Scalar::Number);
    }
    let scalar = Scalar::of(item.json);
    if scalar.is_none() {
        item.error(match item.json {
            Json::Null => "is null; write \"present\": false for a claim that must be missing",
            Json::Array(_) => "is a list; compare lists with \"any_of\", \"all_of\" or \"none_of\"",
            _ => "is an object, and claims are not compared with objects; name the member in \"claim\", such as /a/b",
        });
    }
    scalar
}

fn scalars(item: &Item<'_>) -> Option<Vec<Scalar>> {
    let items = some(item, "value")?;
    let scalars: Vec<Scalar> = items.iter().filter_map(scalar).collect();
    (scalars.len() == items.len()).then_some(scalars)
}

/// A number that means the same in every form of a configuration: a Struct holds doubles alone, in which 2^53 is also
/// what is left of 2^53 + 1.
fn exact(item: &Item<'_>, number: Number) -> Option<Number> {
    let exact = match number {
        Number::Unsigned(whole) => whole < 1 << 53,
        Number::Negative(whole) => whole.unsigned_abs() < 1 << 53,
        Number::Float(value) => value.abs() < 9_007_199_254_740_992.0,
    };
    if !exact {
        item.error(
            "is larger than 2^53 - 1, where JSON numbers are rounded; let the issuer write the claim as a string, and compare it with a string",
        );
    }
    exact.then_some(number)
}

/// `gte` and `lte`, alone or together.
fn between(fields: &mut Fields<'_>) -> Option<ClaimOperator> {
    let mut bound = |name| {
        let item: Item<'_> = fields.get(name)?;
        match item.json {
            Json::Number(number) => exact(&item, *number),
            other => {
                item.error(format!("expected a number, not {}; write one without quotes", other.kind()));
                None
            }
        }
    };
    let (min, max) = (bound("gte"), bound("lte"));
    if let (Some(min), Some(max)) = (min, max)
        && min.compare(max).is_gt()
    {
        fields.error("has a \"gte\" above its \"lte\", so that no number can pass; swap them");
    }
    (min.is_some() || max.is_some()).then_some(ClaimOperator::Between { min, max })
}

/// A variable that the rule's path template binds.
fn variable(item: &Item<'_>, variables: Option<&[&str]>) -> Option<RequestValue> {
    let name = item.text()?;
    if let Some(variables) = variables.filter(|variables| !variables.contains(&name)) {
        item.error(match variables {
            [] => format!("the rule's match has no variable; write {{{name}}} in a \"path_template\""),
            some => {
                format!("the rule's path template has no variable {name:?}; use one of {}", some.join(", "))
            }
        });
        return None;
    }
    Some(RequestValue::Path(name.to_owned()))
}
