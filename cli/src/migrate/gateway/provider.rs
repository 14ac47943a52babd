//! A provider of a SecurityPolicy, in the form of `jwt_authn`.

use portcullis::member_path;
use serde_json::{Value, json};

use super::super::change::{Changes, Kind};
use super::super::input::{is_on, list};
use super::super::provider::{claim_headers, headers, set, set_texts};
use super::policy::known;

/// What is around a provider.
pub(super) struct Around<'a> {
    pub(super) place: &'a str,
    pub(super) namespace: &'a str,
    /// The ConfigMaps that were given.
    pub(super) maps: &'a [Value],
}

const FIELDS: &[&str] = &[
    "name",
    "issuer",
    "audiences",
    "remoteJWKS",
    "localJWKS",
    "extractFrom",
    "claimToHeaders",
    "recomputeRoute",
];

/// Its name, and what it is.
///
/// # Errors
/// What cannot be carried over.
pub(super) fn provider(
    own: &Value,
    around: &Around<'_>,
    changes: &mut Changes,
) -> Result<(String, Value), String> {
    let name = own["name"].as_str().unwrap_or("provider").to_owned();
    let failed = |error: String| format!("{}: jwt.providers, {name:?}: {error}", around.place);
    known(own, "a provider", FIELDS).map_err(failed)?;
    let mut out = json!({});
    if let Some(issuer) = own["issuer"].as_str().filter(|issuer| !issuer.is_empty()) {
        out["issuer"] = json!(issuer);
    }
    set_texts(&mut out, "audiences", own, "audiences");
    let from = &own["extractFrom"];
    known(from, "extractFrom", &["headers", "cookies", "params"]).map_err(failed)?;
    set(&mut out, "from_headers", headers(&from["headers"], "valuePrefix"));
    set_texts(&mut out, "from_params", from, "params");
    set_texts(&mut out, "from_cookies", from, "cookies");
    set(&mut out, "claim_to_headers", claim_headers(&own["claimToHeaders"]));
    if is_on(&own["recomputeRoute"]) {
        out["clear_route_cache"] = json!(true);
    }
    out["forward"] = json!(true);
    let path = member_path("providers", &name);
    let text = "Envoy Gateway passes every token on; leave this out when no service behind needs it";
    changes.add(Kind::Open, "forward", member_path(&path, "forward"), text);
    let (field, keys) = keys(&name, own, around, changes).map_err(failed)?;
    out[field] = keys;
    Ok((name, out))
}

/// Where its keys are.
fn keys(
    name: &str,
    own: &Value,
    around: &Around<'_>,
    changes: &mut Changes,
) -> Result<(&'static str, Value), String> {
    let path = member_path("providers", name);
    if let Some(local) = own.get("localJWKS") {
        if let Some(text) = local["inline"].as_str() {
            return Ok(("local_jwks", json!({ "inline_string": text })));
        }
        let map = local["valueRef"]["name"].as_str().unwrap_or_default();
        if let Some(text) = of_map(map, around.maps) {
            let text_of = format!(
                "the keys of the ConfigMap {map:?} are copied: a wasm module reads none, so change them here as well"
            );
            changes.add(Kind::Differs, "value_ref", member_path(&path, "local_jwks"), text_of);
            return Ok(("local_jwks", json!({ "inline_string": text })));
        }
        let variable = super::super::jwt_authn::variable(name);
        let text = format!(
            "the keys are in the ConfigMap {map:?}, which a wasm module cannot read: give it to this command, too, to copy them, or the content in the variable {variable} of the proxy, named in env.hostKeys"
        );
        changes.add(Kind::Lost, "value_ref", member_path(&path, "local_jwks"), text);
        return Ok(("local_jwks", json!({ "environment_variable": variable })));
    }
    let remote = &own["remoteJWKS"];
    known(
        remote,
        "remoteJWKS",
        &["uri", "backendRef", "backendRefs", "backendSettings", "cacheDuration", "failedRefetchDuration"],
    )?;
    let uri = remote["uri"].as_str().ok_or("has neither remoteJWKS.uri nor localJWKS")?;
    let kept = remote["cacheDuration"].as_str().unwrap_or("300s");
    let kept = seconds(kept).ok_or_else(|| format!("cacheDuration {kept:?} is no duration"))?;
    let route = format!("{name}-keys");
    let cluster = format!("httproute/{}/{route}/rule/0", around.namespace);
    let host = uri.split("://").last().unwrap_or_default().split('/').next().unwrap_or_default();
    let backends = match list(&remote["backendRefs"]).first().or(remote.get("backendRef")) {
        Some(backend) => format!("with backendRefs {}", json!([backend])),
        None => "to a Backend with TLS".to_owned(),
    };
    let text = format!(
        "the keys are fetched through Envoy, which has this cluster where an HTTPRoute {route:?} in the namespace {:?} leads to {host}, {backends}: see envoy/envoy-gateway/identity-provider.yaml",
        around.namespace
    );
    changes.add(Kind::Lost, "cluster", member_path(&path, "remote_jwks"), text);
    for field in ["backendSettings", "failedRefetchDuration"] {
        if remote.get(field).is_some() {
            let text = format!(
                "{field} is not carried over: a failed fetch is tried again with growing pauses, and a BackendTrafficPolicy of the route says the rest"
            );
            changes.add(Kind::Lost, "fetch", member_path(&path, "remote_jwks"), text);
        }
    }
    let http = json!({ "uri": uri, "cluster": cluster, "timeout": "5s" });
    Ok(("remote_jwks", json!({ "http_uri": http, "cache_duration": format!("{kept}s") })))
}

/// The key set in a ConfigMap: `jwks`, or what stands first.
fn of_map(name: &str, maps: &[Value]) -> Option<String> {
    let map = maps.iter().find(|map| map["metadata"]["name"] == name)?;
    let text = map["data"].get("jwks").or_else(|| map["data"].as_object()?.values().next())?;
    text.as_str().map(str::to_owned)
}

/// A duration of Kubernetes (`1h30m`, `1.5s`) in seconds.
fn seconds(text: &str) -> Option<f64> {
    let (mut rest, mut all) = (text, 0.0);
    while !rest.is_empty() {
        let (number, unit) = rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic())?);
        let length = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, behind) = unit.split_at(length);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        all += number.parse::<f64>().ok()? * factor;
        rest = behind;
    }
    (!text.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_of_kubernetes() {
        let cases = [
            ("300s", Some(300.0)),
            ("1h30m", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("1m30s", Some(90.0)),
            ("", None),
            ("5", None),
            ("5d", None),
        ];
        for (text, expected) in cases {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
