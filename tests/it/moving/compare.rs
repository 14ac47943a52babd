//! Policies of others and what takes their place, asked the same.

use std::collections::BTreeSet;

use harness::idp::{jwks, now};
use portcullis::{Config, Environment, FilterStateField, Gate, Outcome, Request, StreamId, Timestamp};
use serde_json::{Value, json};

use super::ask::Ask;
use super::gateway::Policy;
use super::istio::Mesh;
use super::requests::asks;
use super::tokens::{CORP, PARTNER, Tokens, key};

/// How a difference shows.
enum Shows {
    /// Portcullis alone refuses, for one of these reasons.
    Refused(&'static [&'static str]),
    /// Portcullis alone allows.
    Allowed,
    /// The one or the other.
    Either(&'static [&'static str]),
}

/// Beside whom it shows.
#[derive(PartialEq)]
enum Beside {
    Istio,
    Gateway,
    Both,
}

/// What can be wrong with a token.
const TOKEN: &[&str] = &[
    "token_malformed",
    "algorithm_not_allowed",
    "key_not_found",
    "signature_invalid",
    "issuer_unknown",
    "audience_mismatch",
    "expired",
    "not_yet_valid",
    "expiration_missing",
    "issued_in_future",
    "type_not_allowed",
    "token_bound",
    "claim_missing",
    "claim_invalid",
    "claim_mismatch",
    "token_missing",
];

/// The rows of the table of differences in docs/migration.md, and how each shows.
const ROWS: &[(&str, Beside, Shows)] = &[
    ("no_expiry", Beside::Both, Shows::Refused(&["expiration_missing"])),
    ("issued_later", Beside::Both, Shows::Refused(&["issued_in_future"])),
    ("kind", Beside::Both, Shows::Refused(&["type_not_allowed"])),
    ("bound", Beside::Both, Shows::Refused(&["token_bound"])),
    ("scope_form", Beside::Both, Shows::Refused(&["claim_invalid"])),
    ("several", Beside::Both, Shows::Refused(&["token_multiple"])),
    ("scheme", Beside::Both, Shows::Either(&["signature_invalid"])),
    ("basic", Beside::Both, Shows::Refused(&["token_missing"])),
    ("query_token", Beside::Both, Shows::Either(&["token_missing"])),
    ("path_twice", Beside::Both, Shows::Refused(&["path_ambiguous"])),
    ("host_twice", Beside::Istio, Shows::Refused(&["request_ambiguous"])),
    ("preflight", Beside::Istio, Shows::Either(TOKEN)),
    ("no_subject", Beside::Istio, Shows::Refused(&["claim_invalid"])),
    ("slash_subject", Beside::Istio, Shows::Allowed),
    ("odd_value", Beside::Istio, Shows::Refused(&["claim_mismatch"])),
    ("single_for_list", Beside::Gateway, Shows::Allowed),
    ("query", Beside::Gateway, Shows::Either(TOKEN)),
];

/// The names of all rows.
pub fn rows() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(name, ..)| *name)
}

/// What stands there today, and what takes its place.
pub struct Pair {
    pub name: String,
    pub today: Vec<Value>,
    pub ours: Value,
    /// The policies that stay.
    pub stays: Vec<Value>,
}

/// Somebody who judges requests.
enum Judge {
    Istio(Mesh),
    Gateway(Policy),
}

impl Judge {
    fn new(documents: &[Value]) -> Self {
        match documents {
            [policy] if policy["kind"] == "SecurityPolicy" => Self::Gateway(Policy::read(policy)),
            many => Self::Istio(Mesh::read(many)),
        }
    }

    fn passes(&self, ask: &Ask, tokens: &Tokens) -> bool {
        match self {
            Self::Istio(mesh) => mesh.passes(ask, tokens),
            Self::Gateway(policy) => policy.passes(ask, tokens),
        }
    }
}

/// A configuration with the keys of the tokens in place of those that it would fetch.
pub fn with_keys(mut config: Value) -> Value {
    for (_, provider) in config["providers"].as_object_mut().expect("providers") {
        let members = provider.as_object_mut().expect("a provider");
        for source in ["remote_jwks", "discovery", "local_jwks"] {
            members.remove(source);
        }
        let issuer = members["issuer"].as_str().expect("an issuer").to_owned();
        assert!([CORP, PARTNER].contains(&issuer.as_str()), "no tokens of {issuer} are there");
        let keys = jwks([&key(&issuer)]).to_string();
        members.insert("local_jwks".to_owned(), json!({ "inline_string": keys }));
    }
    config
}

/// The gate under a configuration.
struct Own(Gate);

impl Own {
    #[track_caller]
    fn new(name: &str, config: &Value) -> Self {
        let text = with_keys(config.clone()).to_string();
        match Config::parse(text.as_bytes(), &|_| None) {
            Ok(config) => Self(Gate::new(config, Environment::alone(1), clock())),
            Err(problems) => panic!("{name}: {problems:#?}"),
        }
    }

    /// Why it refuses, if it does.
    fn refuses(&mut self, ask: &Ask) -> Option<String> {
        let fields = ask.to_fields();
        let outcome = self.0.decide(StreamId(1), &Request::new(&fields), clock());
        while self.0.next_effect().is_some() {}
        match outcome {
            Outcome::Allow(_) => None,
            Outcome::Deny(rejection) => {
                Some(rejection.state.get(FilterStateField::Reason).unwrap_or_default().to_owned())
            }
            Outcome::Answer(_) => panic!("no resource is configured"),
            Outcome::Wait => panic!("{ask} waits"),
        }
    }
}

fn clock() -> Timestamp {
    Timestamp::from_secs(u64::try_from(now()).expect("a clock after 1970"))
}

/// The row that a difference shows.
fn row(beside: &Beside, ask: &Ask, refused: Option<&str>) -> Option<&'static str> {
    let shows = |shows: &Shows| match (shows, refused) {
        (Shows::Refused(reasons) | Shows::Either(reasons), Some(reason)) => reasons.contains(&reason),
        (Shows::Allowed | Shows::Either(_), None) => true,
        _ => false,
    };
    let is_here = |of: &Beside| *of == Beside::Both || of == beside;
    let mut rows = ROWS.iter().filter(|(name, of, _)| is_here(of) && ask.traits.contains(name));
    rows.find(|(.., how)| shows(how)).map(|(name, ..)| *name)
}

/// Both sides of a pair.
pub struct Sides {
    beside: Beside,
    today: Judge,
    own: Own,
    stays: Judge,
}

impl Sides {
    #[track_caller]
    pub fn new(pair: &Pair) -> Self {
        let today = Judge::new(&pair.today);
        Self {
            beside: if matches!(today, Judge::Gateway(_)) { Beside::Gateway } else { Beside::Istio },
            today,
            own: Own::new(&pair.name, &pair.ours),
            stays: Judge::new(&pair.stays),
        }
    }

    /// Whether a request passes today, whether it passes then, and why Portcullis refuses it if it does.
    pub fn ask(&mut self, ask: &Ask, tokens: &Tokens) -> (bool, bool, Option<String>) {
        let refused = self.own.refuses(ask);
        let then = refused.is_none() && self.stays.passes(ask, tokens);
        (self.today.passes(ask, tokens), then, refused)
    }

    /// The row that a difference shows, if the page has one.
    pub fn row(&self, ask: &Ask, refused: Option<&str>) -> Option<&'static str> {
        row(&self.beside, ask, refused)
    }
}

/// What came of asking both.
#[derive(Default)]
pub struct Compared {
    /// The rows that showed.
    pub shown: BTreeSet<&'static str>,
    pub asked: usize,
    pub passed: usize,
    /// Differences that no row is about.
    pub wrong: Vec<String>,
}

/// Asks both sides of a pair.
pub fn compare(pair: &Pair, tokens: &Tokens, more: usize) -> Compared {
    let mut sides = Sides::new(pair);
    let mut compared = Compared::default();
    for ask in asks(&pair.today, tokens, more) {
        let (today, then, refused) = sides.ask(&ask, tokens);
        compared.asked += 1;
        compared.passed += usize::from(today);
        if today == then {
            continue;
        }
        match sides.row(&ask, refused.as_deref()) {
            Some(row) => drop(compared.shown.insert(row)),
            None => {
                let does = |passes: bool| if passes { "passes" } else { "is refused" };
                let reason = refused.map_or(String::new(), |reason| format!(" ({reason})"));
                let verdicts = format!("{} today, and {} then{reason}", does(today), does(then));
                compared.wrong.push(format!("{}: {ask}: {verdicts}", pair.name));
            }
        }
    }
    compared
}
