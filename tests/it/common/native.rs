//! Envoy's own `jwt_authn` and Portcullis side by side: what both tests of that have in common.

use std::collections::BTreeMap;

use harness::client::Connection;
use harness::{Envoy, Request};
use serde_json::Value;

/// The listener with Envoy's own filter.
pub const NATIVE: &str = "native";
/// The listener with ours.
pub const OWN: &str = "portcullis";

/// A difference between the two filters that is meant.
pub struct Difference {
    pub id: &'static str,
    pub shows: Shows,
    /// What differs, and the rule that asks for it.
    pub why: &'static str,
}

/// How a difference shows.
#[derive(Clone, Copy)]
pub enum Shows {
    /// Portcullis alone refuses, for one of these reasons.
    Refused(&'static [&'static str]),
    /// Portcullis alone allows.
    Allowed,
    /// Both allow, and the upstream gets other fields.
    Fields,
}

/// Portcullis alone refuses, for one of these reasons; or, where there are none, it alone allows.
pub const fn differs(id: &'static str, reasons: &'static [&'static str], why: &'static str) -> Difference {
    let shows = if reasons.is_empty() { Shows::Allowed } else { Shows::Refused(reasons) };
    Difference { id, shows, why }
}

/// Both allow, and the upstream gets other fields.
pub const fn forwards(id: &'static str, why: &'static str) -> Difference {
    Difference { id, shows: Shows::Fields, why }
}

/// What became of a request: whether each filter let it pass, and whether the upstream got the same from both.
#[derive(Clone, Copy)]
pub struct Verdicts {
    pub native: bool,
    pub own: bool,
    pub same_fields: bool,
}

impl Difference {
    /// Whether verdicts differ as this says. `reason` is why Portcullis refused, if it did.
    fn fits(&self, verdicts: Verdicts, reason: &str) -> bool {
        let Verdicts { native, own, same_fields } = verdicts;
        match self.shows {
            Shows::Refused(reasons) => native && !own && reasons.contains(&reason),
            Shows::Allowed => !native && own,
            Shows::Fields => native && own && !same_fields,
        }
    }
}

/// What is wrong with verdicts that should differ as `differs` says, or, where that is empty, not at all; if anything
/// is.
pub fn misfit(known: &[Difference], differs: &str, verdicts: Verdicts, reason: &str) -> Option<String> {
    let as_written = match known.iter().find(|known| known.id == differs) {
        None => differs.is_empty() && verdicts.native == verdicts.own && verdicts.same_fields,
        Some(known) => known.fits(verdicts, reason),
    };
    let does = |verdict: bool| if verdict { "allows" } else { "refuses" };
    let fields = if verdicts.same_fields { "" } else { ", and the upstream gets other fields" };
    (!as_written).then(|| {
        format!(
            "({differs:?}): jwt_authn {}, Portcullis {} {reason}{fields}",
            does(verdicts.native),
            does(verdicts.own)
        )
    })
}

/// A listener that is asked over one connection as long as it keeps that open.
pub struct Asked<'e> {
    envoy: &'e Envoy,
    listener: String,
    connection: Option<Connection>,
}

impl<'e> Asked<'e> {
    pub fn new(envoy: &'e Envoy, listener: impl Into<String>) -> Self {
        Self { envoy, listener: listener.into(), connection: None }
    }

    /// Whether it lets a request pass.
    pub fn allows(&mut self, request: &Request) -> bool {
        let answer = self.connection.as_mut().and_then(|connection| connection.try_send(request).ok());
        let response = answer.unwrap_or_else(|| {
            let addr = self.envoy.addr_of(&self.listener);
            self.connection.insert(Connection::open(addr).expect("a connection")).send(request)
        });
        assert!(
            matches!(response.status, 200 | 400 | 401 | 403),
            "{}: {} {:?}",
            self.listener,
            response.status,
            response.text()
        );
        response.status == 200
    }
}

/// Why Portcullis refused what it refused, by the number of the case: the second segment of its path. `is_own` tells
/// the names of its listeners.
pub fn reasons(envoy: &Envoy, is_own: impl Fn(&str) -> bool) -> BTreeMap<usize, String> {
    let reason = |line: Value| {
        let number = line["path"].as_str()?.split(['/', '?']).nth(2)?.parse().ok()?;
        Some((number, line["details"].as_str()?.strip_prefix("portcullis_")?.to_owned()))
    };
    let own = |line: &Value| line["listener"].as_str().is_some_and(&is_own);
    envoy.access_log().into_iter().filter(own).filter_map(reason).collect()
}

/// One object of the members of several; of two of one name the last counts.
pub fn merged(parts: &[&Value]) -> Value {
    let members = parts.iter().filter_map(|part| part.as_object()).flatten();
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}
