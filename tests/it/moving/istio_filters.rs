//! The filters of Envoy that Istio makes of its policies, to hold the model against.

use harness::Filter;
use harness::idp::jwks;
use serde_json::{Value, json};

use super::tokens::key;

const JWT: &str = "envoy.filters.http.jwt_authn";

/// The filters for policies that speak of requests and tokens alone, in Istio's order.
pub fn filters(documents: &[Value]) -> Vec<Filter> {
    let of = |kind: &'static str| documents.iter().filter(move |document| document["kind"] == kind);
    let jwt_rules = of("RequestAuthentication").flat_map(|it| items(&it["spec"]["jwtRules"])).collect();
    let mut filters = vec![jwt_authn(jwt_rules)];
    for action in ["DENY", "ALLOW"] {
        let is_such = |policy: &&Value| policy["spec"]["action"].as_str().unwrap_or("ALLOW") == action;
        let policies: Vec<&Value> = of("AuthorizationPolicy").filter(is_such).collect();
        if !policies.is_empty() {
            let rules: Vec<Value> =
                policies.iter().flat_map(|policy| items(&policy["spec"]["rules"])).collect();
            filters.push(rbac(action, &rules));
        }
    }
    filters
}

fn items(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn jwt_authn(mut rules: Vec<Value>) -> Filter {
    rules.sort_by_key(|rule| rule["issuer"].as_str().map(str::to_owned));
    let mut providers = json!({});
    let (mut strict, mut lenient) = (Vec::new(), Vec::new());
    for (index, rule) in rules.iter().enumerate() {
        let name = format!("origins-{index}");
        let issuer = rule["issuer"].as_str().expect("an issuer");
        providers[&name] = json!({
            "issuer": issuer,
            "audiences": items(&rule["audiences"]),
            "local_jwks": { "inline_string": jwks([&key(issuer)]).to_string() },
            "from_headers": headers(rule),
            "from_params": items(&rule["fromParams"]),
            "from_cookies": items(&rule["fromCookies"]),
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": { "space_delimited_claims": ["permission", "scope"] },
        });
        strict.push(json!({ "provider_name": name }));
        let parts = json!([{ "provider_name": name }, { "allow_missing": {} }]);
        lenient.push(json!({ "requires_any": { "requirements": parts } }));
    }
    let requires = match lenient.as_slice() {
        [one] => one.clone(),
        many => {
            strict.push(json!({ "requires_all": { "requirements": many } }));
            json!({ "requires_any": { "requirements": strict } })
        }
    };
    Filter::JwtAuthn(json!({
        "providers": providers,
        "rules": [{ "match": { "prefix": "/" }, "requires": requires }],
        "bypass_cors_preflight": true,
    }))
}

fn headers(rule: &Value) -> Vec<Value> {
    let header = |header: &Value| match header["prefix"].as_str() {
        Some(prefix) => json!({ "name": header["name"], "value_prefix": prefix }),
        None => json!({ "name": header["name"] }),
    };
    items(&rule["fromHeaders"]).iter().map(header).collect()
}

fn rbac(action: &str, rules: &[Value]) -> Filter {
    let policies: serde_json::Map<String, Value> =
        rules.iter().enumerate().map(|(index, rule)| (format!("rule-{index}"), policy(rule))).collect();
    Filter::Raw(json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": { "action": action, "policies": policies },
        },
    }))
}

fn policy(rule: &Value) -> Value {
    let when: Vec<Value> = items(&rule["when"]).iter().flat_map(condition).collect();
    let or_all = |items: Vec<Value>| if items.is_empty() { vec![json!({})] } else { items };
    let permission = |to: Value| {
        let operation = &to["operation"];
        let parts = [
            values(operation, "hosts", "or_rules", "not_rule", |it| header(":authority", it, true)),
            values(operation, "methods", "or_rules", "not_rule", |it| header(":method", it, false)),
            values(operation, "paths", "or_rules", "not_rule", path),
        ];
        json!({ "and_rules": { "rules": or_any(parts.concat()) } })
    };
    let principal = |from: Value| {
        let mut parts = values(&from["source"], "requestPrincipals", "or_ids", "not_id", request_principal);
        parts.extend(when.clone());
        json!({ "and_ids": { "ids": or_any(parts) } })
    };
    json!({
        "permissions": or_all(items(&rule["to"])).into_iter().map(permission).collect::<Vec<_>>(),
        "principals": or_all(items(&rule["from"])).into_iter().map(principal).collect::<Vec<_>>(),
    })
}

fn or_any(parts: Vec<Value>) -> Vec<Value> {
    if parts.is_empty() { vec![json!({ "any": true })] } else { parts }
}

/// `name` and `notName` of an object.
fn values(object: &Value, name: &str, or: &str, not: &str, of: impl Fn(&str) -> Value) -> Vec<Value> {
    let (first, rest) = name.split_at(1);
    let either = |list: Vec<Value>| {
        let each: Vec<Value> = list.iter().map(|text| of(text.as_str().expect("a text"))).collect();
        json!({ or: { if or == "or_ids" { "ids" } else { "rules" }: each } })
    };
    let mut parts = Vec::new();
    let (wanted, unwanted) =
        (items(&object[name]), items(&object[format!("not{}{rest}", first.to_uppercase())]));
    if !wanted.is_empty() {
        parts.push(either(wanted));
    }
    if !unwanted.is_empty() {
        parts.push(json!({ not: either(unwanted) }));
    }
    parts
}

fn text(pattern: &str) -> Value {
    match (pattern, pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        ("*", ..) => json!({ "safe_regex": { "regex": ".+" } }),
        (_, Some(end), _) => json!({ "suffix": end }),
        (_, _, Some(start)) => json!({ "prefix": start }),
        _ => json!({ "exact": pattern }),
    }
}

fn header(name: &str, pattern: &str, ignore_case: bool) -> Value {
    if pattern == "*" {
        return json!({ "header": { "name": name, "present_match": true } });
    }
    let mut matcher = text(pattern);
    matcher["ignore_case"] = json!(ignore_case);
    json!({ "header": { "name": name, "string_match": matcher } })
}

fn path(pattern: &str) -> Value {
    if !pattern.contains("{*}") && !pattern.contains("{**}") {
        return json!({ "url_path": { "path": text(pattern) } });
    }
    json!({ "uri_template": {
        "name": "uri-template",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": pattern.replace("{*}", "*").replace("{**}", "**"),
        },
    } })
}

fn claim(names: &[&str], value: Value) -> Value {
    let keys = ["payload"].into_iter().chain(names.iter().copied()).map(|key| json!({ "key": key }));
    json!({ "metadata": { "filter": JWT, "path": keys.collect::<Vec<_>>(), "value": value } })
}

fn request_principal(pattern: &str) -> Value {
    let (issuer, subject) =
        if pattern == "*" { ("*", "*") } else { pattern.rsplit_once('/').expect("issuer/subject") };
    let is = |name, pattern| claim(&[name], json!({ "string_match": text(pattern) }));
    json!({ "and_ids": { "ids": [is("iss", issuer), is("sub", subject)] } })
}

fn condition(when: &Value) -> Vec<Value> {
    let key = when["key"].as_str().expect("a key");
    let (name, rest) = key.split_once('[').unwrap_or((key, ""));
    let names: Vec<&str> = rest.trim_end_matches(']').split("][").collect();
    let of_list = |names: &[&str], pattern: &str| {
        let one = json!({ "string_match": text(pattern) });
        claim(names, json!({ "or_match": { "value_matchers": [{ "list_match": { "one_of": one } }, one] } }))
    };
    values(when, "values", "or_ids", "not_id", |pattern| match name {
        "request.auth.claims" => of_list(&names, pattern),
        "request.auth.audiences" => of_list(&["aud"], pattern),
        "request.auth.presenter" => of_list(&["azp"], pattern),
        "request.auth.principal" => request_principal(pattern),
        "request.headers" => header(names[0], pattern, false),
        other => panic!("no filter is known for {other}"),
    })
}
