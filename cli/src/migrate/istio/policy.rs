//! AuthorizationPolicies, and what they ask of a request whose path, method, host and headers are known.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::change::{Changes, Kind};
use super::super::formula::Formula;
use super::super::input::list;
use super::formula::{claim, principal};
use super::region::{Hosts, Paths};

/// All policies of a workload, as far as they are about requests and tokens.
#[derive(Clone, Default, Debug)]
pub(crate) struct Policies {
    pub(crate) deny: Vec<Value>,
    /// None where there is no ALLOW policy.
    pub(crate) allow: Option<Vec<Value>>,
    /// What each rule of `allow` asks for of the connection, and its place; null: nothing.
    peers: Vec<(Value, String)>,
    /// The claims that are taken apart at blanks, besides `scope`.
    pub(crate) split: BTreeSet<String>,
}

/// What is known of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cell {
    pub(crate) paths: Paths,
    pub(crate) hosts: Hosts,
    /// None: a method that no policy names.
    pub(crate) method: Option<String>,
    /// The conditions on headers that are met: names and patterns.
    pub(crate) headers: BTreeSet<(String, String)>,
}

/// The fields about the connection, which stay where they are.
const PEER_FIELDS: &[&str] = &[
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "trustDomains",
    "notTrustDomains",
    "ports",
    "notPorts",
];

/// Why two rules cannot be carried over.
const APART: &str = "one or the other cannot be said by two filters that must both let a request pass; give them a path, method or host each";

pub(crate) fn texts<'v>(value: &'v Value, name: &str) -> Vec<&'v str> {
    list(&value[name]).iter().filter_map(Value::as_str).collect()
}

fn known(value: &Value, names: &[&str]) -> Result<(), String> {
    let mut fields = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    match fields.find(|name| !names.contains(name)) {
        Some(name) => {
            Err(format!("{name:?} of an AuthorizationPolicy is not known here; carry its rule over by hand"))
        }
        None => Ok(()),
    }
}

/// Whether a key of a condition is about the connection.
fn is_of_peer(key: &str) -> bool {
    ["source.", "destination.", "connection.", "remote.ip", "experimental."]
        .iter()
        .any(|start| key.starts_with(start))
}

/// The rule without what is about the connection, and that; null: nothing.
fn without_peers(rule: &Value) -> (Value, Value) {
    let (mut rule, mut found) = (rule.clone(), Vec::new());
    for (list, object) in [("from", "source"), ("to", "operation")] {
        for element in rule[list].as_array_mut().into_iter().flatten() {
            if let Some(members) = element[object].as_object_mut() {
                let is_peer = |name: &String| PEER_FIELDS.contains(&name.as_str());
                let (peers, own) = std::mem::take(members).into_iter().partition(|(name, _)| is_peer(name));
                *members = own;
                let peers: serde_json::Map<String, Value> = peers;
                found.extend((!peers.is_empty()).then_some(Value::Object(peers)));
            }
        }
    }
    if let Some(conditions) = rule["when"].as_array_mut() {
        let is_peer = |condition: &Value| condition["key"].as_str().is_some_and(is_of_peer);
        found.extend(conditions.iter().filter(|condition| is_peer(condition)).cloned());
        conditions.retain(|condition| !is_peer(condition));
    }
    if let Some(members) = rule.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    let found = if found.is_empty() { Value::Null } else { Value::Array(found) };
    (rule, found)
}

/// Whether a rule asks for something of the token.
fn asks_for_token(rule: &Value) -> bool {
    let text = rule.to_string();
    text.contains("equestPrincipals") || text.contains("request.auth")
}

/// Whether the sources of a rule differ in what they ask of the connection, and also in what they ask of the token.
fn is_peer_or_token(rule: &Value) -> bool {
    let part = |is_peer: bool| {
        let of_source = move |from: &Value| -> Vec<(String, Value)> {
            let members = from["source"].as_object().into_iter().flatten();
            let members = members.filter(|(name, _)| PEER_FIELDS.contains(&name.as_str()) == is_peer);
            members.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let all: Vec<_> = list(&rule["from"]).iter().map(of_source).collect();
        all.iter().any(|one| Some(one) != all.first())
    };
    part(true) && part(false)
}

/// What a rule asks for besides its operations.
fn asked(rule: &Value) -> Value {
    let mut sources: Vec<&Value> = list(&rule["from"]).iter().collect();
    sources.dedup();
    json!([sources, rule["when"]])
}

/// Whether two rules may be about the same requests.
fn may_overlap(one: &Value, other: &Value) -> bool {
    let any = |one: &[&str], other: &[&str], may: &dyn Fn(&str, &str) -> bool| {
        one.is_empty() || other.is_empty() || one.iter().any(|one| other.iter().any(|other| may(one, other)))
    };
    let path = |one: &str, other: &str| !matches!(Paths::of(one).both(&Paths::of(other)), Ok(None));
    let method = |one: &str, other: &str| one == other || one.contains('*') || other.contains('*');
    let host = |one: &str, other: &str| match (Hosts::of(one), Hosts::of(other)) {
        (Ok(one), Ok(other)) => one.both(&other).is_some(),
        _ => true,
    };
    let none = [Value::Null];
    let operations = |rule: &'_ Value| -> Vec<Value> {
        let all = list(&rule["to"]);
        (if all.is_empty() { &none[..] } else { all }).iter().map(|to| to["operation"].clone()).collect()
    };
    let (ones, others) = (operations(one), operations(other));
    ones.iter().any(|one| {
        others.iter().any(|other| {
            any(&texts(one, "paths"), &texts(other, "paths"), &path)
                && any(&texts(one, "methods"), &texts(other, "methods"), &method)
                && any(&texts(one, "hosts"), &texts(other, "hosts"), &host)
        })
    })
}

impl Policies {
    /// Takes a policy in.
    ///
    /// # Errors
    /// A rule that can only be judged in one place.
    pub(crate) fn add(&mut self, document: &Value, place: &str, changes: &mut Changes) -> Result<(), String> {
        let spec = &document["spec"];
        let stays = |changes: &mut Changes, text: &str| {
            changes.add(Kind::Lost, "stays", "", format!("{place}: {text}"))
        };
        if document["metadata"]["annotations"]["istio.io/dry-run"] == "true" {
            stays(changes, "a dry run is left out; mode: report of a rule counts and logs");
            return Ok(());
        }
        let action = spec["action"].as_str().unwrap_or("ALLOW");
        if !matches!(action, "ALLOW" | "DENY") {
            stays(changes, &format!("a policy with the action {action} stays in Istio"));
            return Ok(());
        }
        let mut rules = Vec::new();
        for rule in list(&spec["rules"]) {
            known(rule, &["from", "to", "when"])?;
            let (own, peers) = without_peers(rule);
            let has_peers = !peers.is_null();
            if has_peers && action == "ALLOW" && is_peer_or_token(rule) {
                return Err(format!("{place}: an ALLOW rule asks for a peer or for a token: {APART}"));
            }
            if has_peers && action == "DENY" {
                if asks_for_token(&own) {
                    return Err(format!(
                        "{place}: a DENY rule asks for a peer and for a token, which no filter sees together; split it by path or host"
                    ));
                }
                stays(changes, "a DENY rule about the connection stays in Istio");
                continue;
            }
            if has_peers {
                stays(
                    changes,
                    "an ALLOW rule asks for the connection too (peers, addresses, ports): keep a policy with that part and the paths that need none; both must let a request pass",
                );
            }
            if action == "ALLOW" {
                self.peers.push((peers, place.to_owned()));
            }
            rules.push(own);
        }
        match action {
            "DENY" => self.deny.extend(rules),
            _ => self.allow.get_or_insert_default().extend(rules),
        }
        Ok(())
    }

    /// Whether two filters that must both let a request pass can say what the ALLOW rules say.
    ///
    /// # Errors
    /// A peer, or a token, for the same requests.
    pub(crate) fn apart(&self) -> Result<(), String> {
        let allow: Vec<_> = self.allow.iter().flatten().zip(&self.peers).collect();
        for (one, (peers, place)) in allow.iter().filter(|(_, (peers, _))| !peers.is_null()) {
            for (other, (others, other_place)) in &allow {
                let is_token = asks_for_token(one) || asks_for_token(other);
                let differ = peers != others && asked(one) != asked(other);
                if differ && is_token && may_overlap(one, other) {
                    return Err(format!(
                        "{place}, {other_place}: one ALLOW rule asks for a peer, another for the same requests does not, and a token is asked for: {APART}"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Value> {
        self.deny.iter().chain(self.allow.iter().flatten())
    }

    /// The claim that is said by roles, since it is taken apart at blanks.
    ///
    /// # Errors
    /// Several such claims.
    pub(crate) fn roles(&self) -> Result<Option<String>, String> {
        let conditions = self.rules().flat_map(|rule| list(&rule["when"]));
        let keys = conditions.filter_map(|condition| condition["key"].as_str().and_then(claim_of));
        let named = keys.filter_map(|path| match path[..] {
            [name] if self.split.contains(name) => Some(name.to_owned()),
            _ => None,
        });
        let mut named: BTreeSet<String> = named.collect();
        match named.len() {
            0 | 1 => Ok(named.pop_first()),
            _ => Err("conditions on several claims that Istio takes apart at blanks, besides scope, cannot be said here; carry these rules over by hand".to_owned()),
        }
    }

    /// What is asked of the token of a request of this cell.
    ///
    /// # Errors
    /// What cannot be said here.
    pub(crate) fn formula(&self, cell: &Cell) -> Result<Formula, String> {
        let roles = self.roles()?;
        let roles = roles.as_deref();
        let of = |rules: &[Value]| -> Result<Formula, String> {
            let parts: Result<Vec<Formula>, String> =
                rules.iter().map(|rule| of_rule(rule, cell, roles)).collect();
            Ok(Formula::any(parts?))
        };
        let allow = self.allow.as_deref().map_or(Ok(Formula::Is(true)), of)?;
        Ok(Formula::all([of(&self.deny)?.not(), allow]))
    }
}

fn of_rule(rule: &Value, cell: &Cell, roles: Option<&str>) -> Result<Formula, String> {
    let (from, to) = (list(&rule["from"]), list(&rule["to"]));
    let mut parts = Vec::new();
    if !to.is_empty() {
        let mut is_met = false;
        for operation in to {
            is_met |= is_operation(&operation["operation"], cell)?;
        }
        if !is_met {
            return Ok(Formula::Is(false));
        }
    }
    if !from.is_empty() {
        let sources: Result<Vec<Formula>, String> =
            from.iter().map(|from| of_source(&from["source"])).collect();
        parts.push(Formula::any(sources?));
    }
    for condition in list(&rule["when"]) {
        parts.push(of_condition(condition, cell, roles)?);
    }
    Ok(Formula::all(parts))
}

fn is_operation(operation: &Value, cell: &Cell) -> Result<bool, String> {
    known(operation, &["paths", "notPaths", "methods", "notMethods", "hosts", "notHosts"])?;
    let path = |name: &str| {
        texts(operation, name).into_iter().any(|pattern| cell.paths.is_within(&Paths::of(pattern)))
    };
    let method = |name: &str| {
        let own = cell.method.as_deref();
        texts(operation, name).into_iter().any(|pattern| pattern == "*" || Some(pattern) == own)
    };
    let host = |name: &str| -> Result<bool, String> {
        for pattern in texts(operation, name) {
            if cell.hosts.is_within(&Hosts::of(pattern)?) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let is_free = |name: &str| texts(operation, name).is_empty();
    Ok((is_free("paths") || path("paths"))
        && !path("notPaths")
        && (is_free("methods") || method("methods"))
        && !method("notMethods")
        && (is_free("hosts") || host("hosts")?)
        && !host("notHosts")?)
}

fn of_source(source: &Value) -> Result<Formula, String> {
    known(source, &["requestPrincipals", "notRequestPrincipals"])?;
    let of = |name: &str| -> Result<Vec<Formula>, String> {
        texts(source, name).into_iter().map(principal).collect()
    };
    let (wanted, unwanted) = (of("requestPrincipals")?, of("notRequestPrincipals")?);
    let wanted = if wanted.is_empty() { Formula::Is(true) } else { Formula::any(wanted) };
    Ok(Formula::all([wanted, Formula::any(unwanted).not()]))
}

/// The header that a key of a condition names.
pub(crate) fn header_of(key: &str) -> Option<&str> {
    key.strip_prefix("request.headers[")?.strip_suffix(']')
}

/// The claim that a key of a condition names.
pub(crate) fn claim_of(key: &str) -> Option<Vec<&str>> {
    match key {
        "request.auth.audiences" => Some(vec!["aud"]),
        "request.auth.presenter" => Some(vec!["azp"]),
        key => Some(key.strip_prefix("request.auth.claims[")?.strip_suffix(']')?.split("][").collect()),
    }
}

fn of_condition(condition: &Value, cell: &Cell, roles: Option<&str>) -> Result<Formula, String> {
    known(condition, &["key", "values", "notValues"])?;
    let key = condition["key"].as_str().unwrap_or_default();
    let of = |patterns: Vec<&str>| -> Result<Formula, String> {
        if patterns.is_empty() {
            return Ok(Formula::Is(false));
        }
        if key == "request.auth.principal" {
            let all: Result<Vec<Formula>, String> = patterns.into_iter().map(principal).collect();
            return Ok(Formula::any(all?));
        }
        if let Some(name) = header_of(key) {
            let name = name.to_ascii_lowercase();
            let is_met = |pattern: &&str| cell.headers.contains(&(name.clone(), (*pattern).to_owned()));
            return Ok(Formula::Is(patterns.iter().any(is_met)));
        }
        let path = claim_of(key).ok_or_else(|| {
            format!("the condition {key:?} cannot be said here; carry its rule over by hand")
        })?;
        claim(&path, &patterns, roles)
    };
    let (wanted, unwanted) = (texts(condition, "values"), texts(condition, "notValues"));
    let wanted = if wanted.is_empty() { Formula::Is(true) } else { of(wanted)? };
    Ok(Formula::all([wanted, of(unwanted)?.not()]))
}
