//! The filters of Envoy that Envoy Gateway makes of a SecurityPolicy, to hold the model against.

use harness::Filter;
use harness::idp::jwks;
use serde_json::{Value, json};

use super::tokens::key;

/// The filters of a policy, in Envoy Gateway's order.
pub fn filters(policy: &Value) -> Vec<Filter> {
    let spec = &policy["spec"];
    vec![jwt_authn(&spec["jwt"]), rbac(&spec["authorization"])]
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn jwt_authn(jwt: &Value) -> Filter {
    let (mut providers, mut requirements) = (json!({}), Vec::new());
    for provider in items(&jwt["providers"]) {
        let name = provider["name"].as_str().expect("a name");
        let issuer = provider["issuer"].as_str().expect("an issuer");
        let from = &provider["extractFrom"];
        let header = |header: Value| match header["valuePrefix"].as_str() {
            Some(prefix) => json!({ "name": header["name"], "value_prefix": prefix }),
            None => json!({ "name": header["name"] }),
        };
        providers[name] = json!({
            "issuer": issuer,
            "audiences": items(&provider["audiences"]),
            "local_jwks": { "inline_string": jwks([&key(issuer)]).to_string() },
            "from_headers": items(&from["headers"]).into_iter().map(header).collect::<Vec<_>>(),
            "from_params": items(&from["params"]),
            "from_cookies": items(&from["cookies"]),
            "forward": true,
            "payload_in_metadata": name,
            "normalize_payload_in_metadata": { "space_delimited_claims": ["scope", "scp"] },
        });
        requirements.push(json!({ "provider_name": name }));
    }
    for (flag, requirement) in [("optional", "allow_missing"), ("failOpen", "allow_missing_or_failed")] {
        if jwt[flag] == true {
            requirements.push(json!({ requirement: {} }));
        }
    }
    let requires = match requirements.as_slice() {
        [one] => one.clone(),
        many => json!({ "requires_any": { "requirements": many } }),
    };
    let rules = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
    Filter::JwtAuthn(json!({ "providers": providers, "rules": rules }))
}

fn rbac(authorization: &Value) -> Filter {
    let action = |action: &Value| {
        let name = if action == "Allow" { "ALLOW" } else { "DENY" };
        let kind = "type.googleapis.com/envoy.config.rbac.v3.Action";
        json!({ "action": { "name": name, "typed_config": { "@type": kind, "name": name, "action": name } } })
    };
    let matcher = |rule: &Value| json!({ "predicate": predicate(rule), "on_match": action(&rule["action"]) });
    let matchers: Vec<Value> = items(&authorization["rules"]).iter().map(matcher).collect();
    Filter::Raw(json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "matcher": {
                "matcher_list": { "matchers": matchers },
                "on_no_match": action(&authorization["defaultAction"]),
            },
        },
    }))
}

/// All of these, or any of them; one alone stands for itself.
fn joined(how: &str, mut parts: Vec<Value>) -> Value {
    if parts.len() == 1 { parts.remove(0) } else { json!({ how: { "predicate": parts } }) }
}

fn header(name: &str, matcher: Value) -> Value {
    let kind = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
    json!({ "single_predicate": {
        "input": { "name": "header", "typed_config": { "@type": kind, "header_name": name } },
        "value_match": matcher,
    } })
}

fn one_of(name: &str, values: &Value) -> Value {
    joined("or_matcher", items(values).iter().map(|value| header(name, json!({ "exact": value }))).collect())
}

fn predicate(rule: &Value) -> Value {
    let (operation, principal) = (&rule["operation"], &rule["principal"]);
    let mut parts = Vec::new();
    if operation.get("methods").is_some() {
        parts.push(one_of(":method", &operation["methods"]));
    }
    if operation.get("path").is_some() {
        parts.push(header(":path", path(&operation["path"])));
    }
    for field in items(&principal["headers"]) {
        parts.push(one_of(field["name"].as_str().expect("a name"), &field["values"]));
    }
    let jwt = &principal["jwt"];
    for scope in items(&jwt["scopes"]) {
        let either = ["scope", "scp"].map(|claim| claim_is(jwt, claim, &scope, true));
        parts.push(joined("or_matcher", either.to_vec()));
    }
    for claim in items(&jwt["claims"]) {
        let (name, is_list) = (claim["name"].as_str().expect("a name"), claim["valueType"] == "StringArray");
        let values = items(&claim["values"]);
        let values = values.iter().map(|value| claim_is(jwt, name, value, is_list));
        parts.push(joined("or_matcher", values.collect()));
    }
    joined("and_matcher", parts)
}

fn path(path: &Value) -> Value {
    let value = path["value"].as_str().unwrap_or("/");
    let regex = match path["type"].as_str().unwrap_or("PathPrefix") {
        "RegularExpression" => value.to_owned(),
        "Exact" => format!(r"{value}(\?.*|#.*|)"),
        _ => format!(r"{}(/.*|\?.*|#.*|;.*|)", value.trim_end_matches('/')),
    };
    json!({ "safe_regex": { "regex": regex, "google_re2": {} } })
}

fn claim_is(jwt: &Value, claim: &str, value: &Value, is_list: bool) -> Value {
    let text = json!({ "string_match": { "exact": value } });
    let matcher = if is_list { json!({ "list_match": { "one_of": text } }) } else { text };
    let keys = jwt["provider"].as_str().into_iter().chain(claim.split('.')).map(|key| json!({ "key": key }));
    json!({ "single_predicate": {
        "input": { "name": "claim", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
            "filter": "envoy.filters.http.jwt_authn",
            "path": keys.collect::<Vec<_>>(),
        } },
        "custom_match": { "name": "claim", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
            "value": matcher,
        } },
    } })
}
