//! What Istio and Envoy Gateway say of a provider in the same way, in the form of `jwt_authn`.

use portcullis::member_path;
use serde_json::{Map, Value, json};

use super::change::{Changes, Kind};
use super::input::list;
use super::istio::policy::texts;

/// Sets a field, where there is something to set.
pub(super) fn set(out: &mut Value, field: &str, values: Vec<Value>) {
    if !values.is_empty() {
        out[field] = Value::Array(values);
    }
}

/// Sets a field to a list of texts.
pub(super) fn set_texts(out: &mut Value, field: &str, of: &Value, name: &str) {
    set(out, field, texts(of, name).into_iter().map(Value::from).collect());
}

/// The headers with a token; `prefix` is the name of the field for what stands before it.
pub(super) fn headers(of: &Value, prefix: &str) -> Vec<Value> {
    let header = |header: &Value| match header[prefix].as_str() {
        Some(text) => json!({ "name": header["name"], "value_prefix": text }),
        None => json!({ "name": header["name"] }),
    };
    list(of).iter().map(header).collect()
}

/// The headers that are made of claims.
pub(super) fn claim_headers(of: &Value) -> Vec<Value> {
    let one = |one: &Value| json!({ "header_name": one["header"], "claim_name": one["claim"] });
    list(of).iter().map(one).collect()
}

/// A good token of any provider, or what else is enough.
pub(super) fn requirement(providers: &Map<String, Value>, more: Option<Value>) -> Value {
    let named = providers.keys().map(|name| json!({ "provider_name": name }));
    let parts: Vec<Value> = named.chain(more).collect();
    match &parts[..] {
        [one] => one.clone(),
        _ => json!({ "requires_any": { "requirements": parts } }),
    }
}

/// Where no other place is named.
const PLACES: &[&str] = &["from_headers", "from_params", "from_cookies"];

/// Where rules for requests with and without a token stand side by side, a token has one place. `today`: the providers as
/// they are.
///
/// # Errors
/// A provider with other places.
pub(super) fn only_authorization(
    config: &mut Value,
    today: &Map<String, Value>,
    changes: &mut Changes,
) -> Result<(), String> {
    for (name, provider) in config["providers"].as_object_mut().into_iter().flatten() {
        if PLACES.iter().any(|place| today[name].get(*place).is_some()) {
            return Err(format!(
                "a condition on a token that may be missing, and provider {name:?} takes tokens elsewhere than in Authorization: give the path a rule that asks for a token, or one that does not"
            ));
        }
        let path = member_path("providers", name);
        provider.as_object_mut().map(|provider| provider.shift_remove("from_params"));
        changes.take_back(&member_path(&path, "from_params"));
        let text =
            "the query parameter access_token is not looked at: such a request counts as one without a token";
        changes.add(Kind::Differs, "query_token", member_path(&path, "from_headers"), text);
    }
    let text =
        "a request with another scheme in Authorization (Basic) counts as one with a token, and is 401";
    changes.add(Kind::Differs, "basic", "rules", text);
    Ok(())
}
