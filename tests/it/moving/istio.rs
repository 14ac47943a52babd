//! A model of Istio's RequestAuthentication and AuthorizationPolicy, from Istio's documentation. Own code, none of the
//! filter's.
//!
//! What it does not know it refuses to read, so that nothing in a policy is passed over.

use serde_json::Value;

use super::ask::Ask;
use super::jwt::{Found, Provider, member, strings};
use super::text::{fits, fits_host, fits_path};
use super::tokens::Tokens;

/// All policies of a workload.
#[derive(Default)]
pub struct Mesh {
    providers: Vec<Provider>,
    deny: Vec<Value>,
    /// None where there is no ALLOW policy.
    allow: Option<Vec<Value>>,
}

/// The texts in a member, whether it is there or not.
fn list(value: &Value, name: &str) -> Vec<String> {
    let all = value[name].as_array().into_iter().flatten();
    all.map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// No member but these.
#[track_caller]
fn known(value: &Value, names: &[&str]) {
    for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(names.contains(&name.as_str()), "the model does not know {name}: {value}");
    }
}

fn provider(rule: &Value) -> Provider {
    known(
        rule,
        &[
            "issuer",
            "audiences",
            "jwksUri",
            "jwks",
            "timeout",
            "fromHeaders",
            "fromParams",
            "fromCookies",
            "forwardOriginalToken",
            "outputPayloadToHeader",
            "outputClaimToHeaders",
            "spaceDelimitedClaims",
        ],
    );
    let headers = rule["fromHeaders"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut space_delimited = list(rule, "spaceDelimitedClaims");
    space_delimited.extend(["scope", "permission"].map(str::to_owned));
    Provider {
        name: text(&rule["issuer"]),
        issuer: text(&rule["issuer"]),
        audiences: list(rule, "audiences"),
        headers: headers.map(|header| (text(&header["name"]), text(&header["prefix"]))).collect(),
        parameters: list(rule, "fromParams"),
        cookies: list(rule, "fromCookies"),
        space_delimited,
    }
}

impl Mesh {
    /// Reads manifests.
    pub fn read<'d>(documents: impl IntoIterator<Item = &'d Value>) -> Self {
        let mut mesh = Self::default();
        for document in documents {
            let spec = &document["spec"];
            let items = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
            match (document["kind"].as_str(), spec["action"].as_str().unwrap_or("ALLOW")) {
                (Some("RequestAuthentication"), _) => {
                    mesh.providers.extend(items("jwtRules").iter().map(provider));
                }
                (Some("AuthorizationPolicy"), "DENY") => mesh.deny.extend(items("rules")),
                (Some("AuthorizationPolicy"), "ALLOW") => {
                    mesh.allow.get_or_insert_default().extend(items("rules"));
                }
                (kind, action) => panic!("the model does not know {kind:?} with {action}"),
            }
        }
        mesh.providers.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        mesh
    }

    /// Whether a request passes.
    pub fn passes(&self, ask: &Ask, tokens: &Tokens) -> bool {
        let Some(claims) = self.authenticate(ask, tokens) else { return false };
        let meets = |rule: &Value| matches(rule, ask, &claims);
        !self.deny.iter().any(meets) && self.allow.as_ref().is_none_or(|rules| rules.iter().any(meets))
    }

    /// The claims of the token, `null` where there is none; none where a token is bad.
    fn authenticate(&self, ask: &Ask, tokens: &Tokens) -> Option<Value> {
        if ask.is_preflight() {
            return Some(Value::Null);
        }
        let found: Vec<Found> = self.providers.iter().map(|provider| provider.judge(ask, tokens)).collect();
        let good = found.iter().find_map(|found| match found {
            Found::Good(claims) => Some(claims.clone()),
            _ => None,
        });
        good.or_else(|| (!found.contains(&Found::Bad)).then_some(Value::Null))
    }
}

/// Whether a rule of a policy is about a request.
fn matches(rule: &Value, ask: &Ask, claims: &Value) -> bool {
    known(rule, &["from", "to", "when"]);
    let items = |name: &str| rule[name].as_array().cloned().unwrap_or_default();
    let (from, to) = (items("from"), items("to"));
    (from.is_empty() || from.iter().any(|from| is_source(&from["source"], ask, claims)))
        && (to.is_empty() || to.iter().any(|to| is_operation(&to["operation"], ask)))
        && items("when").iter().all(|when| is_met(when, ask, claims))
}

/// `name` and `notName` of an object, by a test of one pattern.
fn both(object: &Value, name: &str, is: impl Fn(&str) -> bool) -> bool {
    let mut letters = name.chars();
    let first = letters.next().expect("a name").to_ascii_uppercase();
    let (values, not) = (list(object, name), list(object, &format!("not{first}{}", letters.as_str())));
    (values.is_empty() || values.iter().any(|value| is(value))) && !not.iter().any(|value| is(value))
}

fn is_source(source: &Value, ask: &Ask, claims: &Value) -> bool {
    known(
        source,
        &[
            "principals",
            "notPrincipals",
            "namespaces",
            "notNamespaces",
            "requestPrincipals",
            "notRequestPrincipals",
        ],
    );
    let namespace = ask.peer.split('/').nth(2).unwrap_or_default();
    both(source, "principals", |pattern| fits(pattern, &ask.peer))
        && both(source, "namespaces", |pattern| fits(pattern, namespace))
        && both(source, "requestPrincipals", |pattern| is_principal(pattern, claims))
}

fn is_operation(operation: &Value, ask: &Ask) -> bool {
    known(
        operation,
        &["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths", "ports", "notPorts"],
    );
    both(operation, "hosts", |pattern| fits_host(pattern, &ask.host))
        && both(operation, "methods", |pattern| fits(pattern, &ask.method))
        && both(operation, "paths", |pattern| fits_path(pattern, ask.path()))
        && both(operation, "ports", |pattern| pattern == ask.port.to_string())
}

/// `issuer/subject`, split at the last slash, a star in one of them.
fn is_principal(pattern: &str, claims: &Value) -> bool {
    let (issuer, subject) = (claims["iss"].as_str(), claims["sub"].as_str());
    let (Some(issuer), Some(subject)) = (issuer, subject) else { return false };
    let (wanted_issuer, wanted_subject) = match pattern.rsplit_once('/') {
        _ if pattern == "*" => ("*", "*"),
        Some(both) => both,
        None if pattern.starts_with('*') => ("*", pattern),
        None if pattern.ends_with('*') => (pattern, "*"),
        None => (pattern, ""),
    };
    fits(wanted_issuer, issuer) && fits(wanted_subject, subject)
}

fn is_met(when: &Value, ask: &Ask, claims: &Value) -> bool {
    known(when, &["key", "values", "notValues"]);
    let key = when["key"].as_str().expect("a key");
    let (name, rest) = key.split_once('[').unwrap_or((key, ""));
    let names: Vec<&str> = rest.trim_end_matches(']').split("][").collect();
    let claim =
        |path: &[&str], pattern: &str| strings(member(claims, path)).iter().any(|text| fits(pattern, text));
    both(when, "values", |pattern| match name {
        "request.auth.principal" => is_principal(pattern, claims),
        "request.auth.audiences" => claim(&["aud"], pattern),
        "request.auth.presenter" => claim(&["azp"], pattern),
        "request.auth.claims" => claim(&names, pattern),
        "request.headers" => ask.header(names[0]).is_some_and(|value| pattern == "*" || fits(pattern, value)),
        "source.principal" => fits(pattern, &ask.peer),
        "destination.port" => pattern == ask.port.to_string(),
        other => panic!("the model does not know the key {other}"),
    })
}
