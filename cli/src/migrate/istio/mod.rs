//! Istio's RequestAuthentications and AuthorizationPolicies.

mod formula;
pub(super) mod policy;
mod region;
mod rules;
mod template;

use serde_json::{Map, Value, json};

use super::change::{Changes, Kind};
use super::input::{is_on, list};
use super::jwt_authn;
use super::provider::{claim_headers, headers, only_authorization, requirement, set, set_texts};
use policy::{Policies, texts};

/// What Istio has today, and what it becomes.
pub(crate) struct Istio {
    /// The `jwt_authn` that Istio makes of it.
    pub(crate) jwt_authn: Value,
    pub(crate) policies: Policies,
    pub(crate) config: Value,
    pub(crate) changes: Changes,
}

/// Brings manifests over, each with its place.
///
/// # Errors
/// What cannot be carried over, and what to do.
pub(crate) fn migrate(documents: &[(String, Value)]) -> Result<Istio, String> {
    let mut changes = Changes::default();
    let (mut providers, mut policies) = (Map::new(), Policies::default());
    for (place, document) in documents {
        match document["kind"].as_str() {
            Some("RequestAuthentication") => {
                policies.split.insert("permission".to_owned());
                for rule in list(&document["spec"]["jwtRules"]) {
                    let split =
                        texts(rule, "spaceDelimitedClaims").into_iter().filter(|name| *name != "scope");
                    policies.split.extend(split.map(str::to_owned));
                    let (name, provider) = provider(rule, &providers, place, &mut changes)?;
                    providers.insert(name, provider);
                }
            }
            _ => policies.add(document, place, &mut changes)?,
        }
    }
    if providers.is_empty() {
        return Err("no RequestAuthentication with jwtRules is in these files; give the policies of a workload together".to_owned());
    }
    policies.apart()?;
    one_workload(documents, &mut changes)?;
    let names: Vec<&String> = providers.keys().collect();
    let jwt_authn = json!({
        "providers": providers,
        "rules": [{ "match": { "prefix": "/" }, "requires": today(&names) }],
        "bypass_cors_preflight": true,
    });
    let made = rules::rules(&policies)?;
    let config = json!({
        "providers": providers,
        "requirement_map": {
            "token": requirement(&providers, None),
            "open": requirement(&providers, Some(json!({ "allow_missing": {} }))),
        },
        "rules": made.rules,
    });
    let (mut config, of_jwt) = jwt_authn::migrate(&config, &[], false);
    changes.append(of_jwt);
    let roles = policies.roles()?;
    for (_, provider) in config["providers"].as_object_mut().into_iter().flatten() {
        provider["scope_claims"] = json!(["scope"]);
        if let Some(claim) = &roles {
            provider["role_claims"] = json!([{ "claim": claim, "format": "space" }]);
        }
    }
    if made.is_split {
        only_authorization(&mut config, &providers, &mut changes)?;
    }
    said(&policies, documents, &mut changes);
    Ok(Istio { jwt_authn, policies, config, changes })
}

/// What Istio asks for: a good token of any provider, or none in each one's places.
fn today(names: &[&String]) -> Value {
    let strict = names.iter().map(|name| json!({ "provider_name": name }));
    let lenient = names.iter().map(|name| {
        json!({ "requires_any": { "requirements": [{ "provider_name": name }, { "allow_missing": {} }] } })
    });
    let lenient: Vec<Value> = lenient.collect();
    match &lenient[..] {
        [one] => one.clone(),
        many => {
            let all = json!({ "requires_all": { "requirements": many } });
            json!({ "requires_any": { "requirements": strict.chain([all]).collect::<Vec<_>>() } })
        }
    }
}

/// Policies for other workloads are another configuration's.
fn one_workload(documents: &[(String, Value)], changes: &mut Changes) -> Result<(), String> {
    let target = |document: &Value| {
        let spec = &document["spec"];
        json!([document["metadata"]["namespace"], spec["selector"], spec["targetRef"], spec["targetRefs"]])
    };
    let mut targets = documents.iter().map(|(place, document)| (place, target(document)));
    let Some((_, first)) = targets.next() else { return Ok(()) };
    match targets.find(|(_, target)| *target != first) {
        Some((place, _)) => Err(format!(
            "{place}: the manifests are for several workloads (namespace, selector, targetRefs); give those of one workload at a time, with what the whole namespace and mesh have for it under the same target"
        )),
        None => {
            let text = "the configuration belongs to a TrafficExtension or WasmPlugin at phase AUTHN with the same namespace and selector; take Istio's policies out only after it enforces, AuthorizationPolicies first";
            changes.add(Kind::Lost, "target", "", text);
            Ok(())
        }
    }
}

/// The rows about every set of manifests.
fn said(policies: &Policies, documents: &[(String, Value)], changes: &mut Changes) {
    let text = "request.auth.* of policies that stay, and @request.auth.claims of routes, see nothing of this filter: a DENY on them fails open. Say it here, or match a header of claim_to_headers";
    changes.add(Kind::Lost, "metadata", "", text);
    if policies.allow.is_none() {
        let text =
            "no ALLOW policy is in these files, so that what no DENY policy names passes without a token";
        changes.add(Kind::Open, "unmatched", "rules", text);
    }
    let differs = [
        (
            "preflight",
            "a CORS preflight is judged like any request; Istio looks at no token of it. bypass_cors_preflight lets all preflights pass",
        ),
        (
            "host_twice",
            "a host with a port or a trailing dot that no rule names is 400 where rules differ by host",
        ),
        ("scope_form", "a scope that is no text and no list of texts is 401"),
        ("answer", "a request without a token is 401 with a challenge instead of 403"),
    ];
    for (row, text) in differs {
        changes.add(Kind::Differs, row, "", text);
    }
    if documents.iter().any(|(_, document)| document.to_string().contains("\"hosts\"")) {
        changes.add(Kind::Differs, "hosts", "", "a host named with \":*\" is meant without a port, too");
    }
}

/// A provider in the form of `jwt_authn`, and its name.
fn provider(
    rule: &Value,
    before: &Map<String, Value>,
    place: &str,
    changes: &mut Changes,
) -> Result<(String, Value), String> {
    let issuer = rule["issuer"].as_str().unwrap_or_default();
    let host = issuer.split("://").last().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    let mut name = match host.split('.').next().filter(|name| !name.is_empty()) {
        Some(name) => name.to_ascii_lowercase(),
        None => "provider".to_owned(),
    };
    while before.contains_key(&name) {
        name.push_str("-2");
    }
    let mut out = json!({});
    if !issuer.is_empty() {
        out["issuer"] = json!(issuer);
    }
    for (own, field) in
        [("audiences", "audiences"), ("from_params", "fromParams"), ("from_cookies", "fromCookies")]
    {
        set_texts(&mut out, own, rule, field);
    }
    set(&mut out, "from_headers", headers(&rule["fromHeaders"], "prefix"));
    set(&mut out, "claim_to_headers", claim_headers(&rule["outputClaimToHeaders"]));
    if rule["outputPayloadToHeader"].is_string() {
        out["forward_payload_header"] = rule["outputPayloadToHeader"].clone();
    }
    if is_on(&rule["forwardOriginalToken"]) {
        out["forward"] = json!(true);
    }
    let timeout = rule["timeout"].as_str().unwrap_or("5s");
    match (rule["jwks"].as_str(), rule["jwksUri"].as_str()) {
        (Some(keys), _) => out["local_jwks"] = json!({ "inline_string": keys }),
        (None, Some(uri)) => {
            let host = uri.split("://").last().unwrap_or_default().split('/').next().unwrap_or_default();
            let (host, port) =
                host.split_once(':').unwrap_or((host, if uri.starts_with("https") { "443" } else { "80" }));
            let cluster = format!("outbound|{port}||{host}");
            out["remote_jwks"] =
                json!({ "http_uri": { "uri": uri, "cluster": cluster, "timeout": timeout } });
            let path = portcullis::member_path("providers", &name);
            let text = format!(
                "the keys are fetched through Envoy: {host} needs a ServiceEntry, and TLS in a DestinationRule"
            );
            changes.add(Kind::Lost, "cluster", portcullis::member_path(&path, "remote_jwks"), text);
        }
        (None, None) => {
            return Err(format!(
                "{place}: {issuer:?} has neither jwks nor jwksUri, so that Istio discovers its keys; write jwksUri, or \"discovery\" by hand"
            ));
        }
    }
    Ok((name, out))
}
