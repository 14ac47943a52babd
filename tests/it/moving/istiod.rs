//! The filters of Envoy that istiod has made of the policies: `istiod/` keeps them, and `make real WITH=istio` sees that it
//! makes the same today.

use std::fs;

use harness::idp::jwks;
use harness::{Filter, workspace};
use serde_json::{Value, json};

use super::tokens::key;

/// What is kept of a set: the policies as they were stored, and the filters in their order.
fn kept(name: &str) -> Value {
    let file = workspace().join(format!("tests/it/moving/istiod/{name}.json"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What matters of a policy: where keys come from does not.
fn essence(kind: &Value, name: &Value, spec: &Value) -> Value {
    let mut spec = spec.clone();
    for rule in spec["jwtRules"].as_array_mut().into_iter().flatten() {
        for source in ["jwks", "jwksUri"] {
            rule.as_object_mut().expect("a rule").remove(source);
        }
    }
    json!([kind, name, spec])
}

/// The filters of a set of policies, with the keys of the tokens.
#[track_caller]
pub fn filters(name: &str, policies: &[Value]) -> Vec<Filter> {
    let mut kept = kept(name);
    let stored = kept["policies"].as_array().expect("policies").iter();
    let stored: Vec<Value> = stored.map(|it| essence(&it["kind"], &it["name"], &it["spec"])).collect();
    let own = policies.iter().map(|it| essence(&it["kind"], &it["metadata"]["name"], &it["spec"]));
    assert_eq!(stored, own.collect::<Vec<_>>(), "{name}: istiod has to make the filters anew");
    let filters = kept["http_filters"].as_array_mut().expect("filters");
    for filter in &mut *filters {
        let providers = filter.pointer_mut("/typed_config/providers").and_then(Value::as_object_mut);
        for (_, provider) in providers.into_iter().flatten() {
            let issuer = provider["issuer"].as_str().expect("an issuer").to_owned();
            provider["local_jwks"] = json!({ "inline_string": jwks([&key(&issuer)]).to_string() });
        }
    }
    assert!(!filters.is_empty(), "{name}: no filters");
    filters.drain(..).map(Filter::Raw).collect()
}
