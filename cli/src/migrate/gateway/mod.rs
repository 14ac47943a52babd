//! Envoy Gateway's SecurityPolicy.

pub(super) mod policy;
mod provider;
mod region;
mod rules;

use serde_json::{Map, Value, json};

use super::change::{Changes, Kind};
use super::input::{is_on, list};
use super::jwt_authn;
use super::provider::{only_authorization, requirement};
use policy::known;
use rules::Token;

/// The policy of Envoy Gateway, and its migration.
pub(crate) struct Gateway {
    /// The `jwt_authn` that Envoy Gateway makes of it.
    pub(crate) jwt_authn: Value,
    pub(crate) authorization: Value,
    pub(crate) config: Value,
    pub(crate) changes: Changes,
}

/// The parts of a policy that stay where they are.
const STAYS: &[&str] = &["cors", "csrf", "oidc", "extAuth", "basicAuth", "apiKeyAuth"];

/// The targets whose requests are of HTTP.
const HTTP: &[&str] = &["Gateway", "ListenerSet", "HTTPRoute", "GRPCRoute"];

/// Migrates a SecurityPolicy. `maps`: the ConfigMaps beside it.
///
/// # Errors
/// What cannot be migrated, and what to do.
pub(crate) fn migrate(place: &str, document: &Value, maps: &[Value]) -> Result<Gateway, String> {
    let mut changes = Changes::default();
    let spec = &document["spec"];
    let own = ["targetRef", "targetRefs", "targetSelectors", "mergeType", "jwt", "authorization"];
    known(spec, "a SecurityPolicy", &[&own[..], STAYS].concat())
        .map_err(|error| format!("{place}: {error}"))?;
    target(place, document, &mut changes)?;
    let jwt = &spec["jwt"];
    let providers = providers(place, document, maps, &mut changes)?;
    let issuers: Map<String, Value> = providers
        .iter()
        .map(|(name, provider)| (name.clone(), provider.get("issuer").cloned().unwrap_or_else(|| json!(""))))
        .collect();
    let (rules, is_rest_allowed) = match spec.get("authorization") {
        Some(authorization) => (
            policy::rules(authorization, &issuers, place, &mut changes)?,
            authorization["defaultAction"] == "Allow",
        ),
        None => (Vec::new(), true),
    };
    let missing = match (is_on(&jwt["failOpen"]), is_on(&jwt["optional"])) {
        (true, _) => Some(json!({ "allow_missing_or_failed": {} })),
        (false, true) => Some(json!({ "allow_missing": {} })),
        (false, false) => None,
    };
    let token = if missing.is_some() { Token::Optional } else { Token::Required };
    let made = rules::rules(&rules, is_rest_allowed, token).map_err(|error| format!("{place}: {error}"))?;
    let mut config = json!({
        "providers": providers,
        "requirement_map": { "token": requirement(&providers, None) },
        "rules": made.rules,
    });
    let today = requirement(&providers, missing.clone());
    if missing.is_some() {
        config["requirement_map"]["open"] = today.clone();
    }
    let (mut config, of_jwt) = jwt_authn::migrate(&config, &[], false);
    changes.append(of_jwt);
    if made.is_split {
        only_authorization(&mut config, &providers, &mut changes)?;
    }
    said(spec, place, made.is_split, &mut changes);
    of_rules(&config, spec, &mut changes);
    let jwt_authn = json!({
        "providers": providers,
        "rules": [{ "match": { "prefix": "/" }, "requires": today }],
    });
    let authorization = spec.get("authorization").cloned().unwrap_or_default();
    Ok(Gateway { jwt_authn, authorization, config, changes })
}

/// The providers in the form of `jwt_authn`.
fn providers(
    place: &str,
    document: &Value,
    maps: &[Value],
    changes: &mut Changes,
) -> Result<Map<String, Value>, String> {
    let jwt = &document["spec"]["jwt"];
    known(jwt, "jwt", &["optional", "failOpen", "providers"]).map_err(|error| format!("{place}: {error}"))?;
    let namespace = document["metadata"]["namespace"].as_str().unwrap_or("default");
    let around = provider::Around { place, namespace, maps };
    let all = list(&jwt["providers"]).iter().map(|own| provider::provider(own, &around, changes));
    let all: Map<String, Value> = all.collect::<Result<_, _>>()?;
    match all.is_empty() {
        true => Err(format!(
            "{place}: this SecurityPolicy has no jwt: it is not about tokens, and stays as it is"
        )),
        false => Ok(all),
    }
}

/// Where the configuration goes.
fn target(place: &str, document: &Value, changes: &mut Changes) -> Result<(), String> {
    let spec = &document["spec"];
    if !spec["mergeType"].is_null() {
        return Err(format!(
            "{place}: mergeType adds the policy of a gateway to this one; give both as one policy, without mergeType"
        ));
    }
    let one = spec.get("targetRef").into_iter();
    let targets = one.chain(list(&spec["targetRefs"])).chain(list(&spec["targetSelectors"]));
    for kind in targets.filter_map(|target| target["kind"].as_str()) {
        if !HTTP.contains(&kind) {
            return Err(format!(
                "{place}: a {kind} has no requests of HTTP, and no tokens; leave it to the SecurityPolicy"
            ));
        }
    }
    let fields = ["targetRef", "targetRefs", "targetSelectors"].into_iter();
    let given = fields.filter_map(|name| Some(json!({ name: spec.get(name)? }).to_string()));
    let text = format!(
        "the configuration belongs into an EnvoyExtensionPolicy in the namespace {:?} with {}. A policy of a route takes the place of its gateway's, for both kinds: carry over the gateway's, too",
        document["metadata"]["namespace"].as_str().unwrap_or("default"),
        given.collect::<Vec<_>>().join(", "),
    );
    changes.add(Kind::Lost, "target", "", text);
    Ok(())
}

/// Notes about the whole policy.
fn said(spec: &Value, place: &str, is_split: bool, changes: &mut Changes) {
    let stays: Vec<&str> = STAYS.iter().filter(|name| spec.get(**name).is_some()).copied().collect();
    if !stays.is_empty() {
        let text = format!("{place}: {} of the SecurityPolicy stays there", stays.join(", "));
        changes.add(Kind::Lost, "stays", "", text);
    }
    let text = "when this enforces, take jwt and the rules of authorization with principal.jwt out of the SecurityPolicy, in one step: the one is refused without the other. What is left there must allow what is judged here";
    changes.add(Kind::Lost, "policy", "", text);
    let text = "what reads the metadata of jwt_authn (extAuth, a Lua or Wasm extension, access logs, rate limits) sees nothing of this filter: give it a header of claim_to_headers";
    changes.add(Kind::Lost, "metadata", "", text);
    if is_on(&spec["jwt"]["optional"]) || is_on(&spec["jwt"]["failOpen"]) {
        let text = "requests without a token pass here, as with optional or failOpen";
        changes.add(Kind::Open, "optional", "requirement_map.open", text);
    }
    if spec["authorization"]["defaultAction"] == "Allow" {
        let text = "defaultAction is Allow: what no rule names passes";
        changes.add(Kind::Open, "unmatched", "rules", text);
    }
    if is_split && is_on(&spec["jwt"]["failOpen"]) {
        let text =
            "where a rule looks at a token that may be missing, a bad one is 401; failOpen takes it for none";
        changes.add(Kind::Differs, "fail_open", "rules", text);
    }
    let text = "a scope that is no text and no list of texts is 401";
    changes.add(Kind::Differs, "scope_form", "", text);
    let text = "a request that no rule matches is 403 without a token, too, where it is 401 today";
    changes.add(Kind::Differs, "answer", "", text);
}

/// Notes about single rules.
fn of_rules(config: &Value, spec: &Value, changes: &mut Changes) {
    for (at, rule) in list(&config["rules"]).iter().enumerate() {
        if rule["match"].get("safe_regex").is_some() {
            let text = "compared with the path alone; RegularExpression is compared with path and query";
            changes.add(Kind::Differs, "query", format!("rules[{at}]"), text);
        }
        let authorize = &rule["authorize"];
        if has_any_of(authorize, "claims") {
            let text = "any_of is met by a single text, too; StringArray by a list alone";
            changes.add(Kind::Differs, "single_for_list", format!("rules[{at}].authorize"), text);
        }
        if has_any_of(authorize, "scopes") {
            let text = "the claims scope and scp are read as one here; the policy names one of them";
            changes.add(Kind::Differs, "scope_claim", format!("rules[{at}].authorize"), text);
        }
    }
    for (at, rule) in list(&spec["authorization"]["rules"]).iter().enumerate() {
        let claims = list(&rule["principal"]["jwt"]["claims"]).iter();
        let mut names = claims.filter(|claim| claim["valueType"] != "StringArray");
        if names.any(|claim| claim["name"] == "scope" || claim["name"] == "scp") {
            let text = format!(
                "authorization.rules[{at}] asks for scope or scp as a String and is never met, since it is a list by then; it is never met here, either: write \"scopes\""
            );
            changes.add(Kind::Lost, "never_met", "", text);
        }
    }
}

/// Whether a condition of this field compares with any of several values.
fn has_any_of(authorize: &Value, field: &str) -> bool {
    let own = &authorize[field];
    let is_here = own.get("any_of").is_some() || list(own).iter().any(|one| one.get("any_of").is_some());
    is_here
        || has_in(&authorize["not"], field)
        || ["any", "all"].iter().any(|name| list(&authorize[*name]).iter().any(|part| has_in(part, field)))
}

fn has_in(part: &Value, field: &str) -> bool {
    part.is_object() && has_any_of(part, field)
}
