//! What most tests start from: one provider, a handful of rules, tokens that another library signed.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::idp::{self, Alg, Key, TokenBuilder};
use prost::Message;
use prost_types::value::Kind;
use serde_json::{Value, json};

use crate::fake_host::{Call, Header, Outcome, Request, Response, START, Stream, Vm};

pub(crate) const ISSUER: &str = "https://idp.example/";
pub(crate) const AUDIENCE: &str = "orders";
pub(crate) const CLUSTER: &str = "idp";

/// The time at which every world begins, in seconds since 1970.
pub(crate) const NOW: u64 = START.as_secs();

/// The provider's key, ES256 because tests sign many tokens.
pub(crate) fn key() -> Key {
    Key::cached(Alg::ES256, "current")
}

/// A key of the same kind that the provider does not publish.
pub(crate) fn foreign_key() -> Key {
    Key::cached(Alg::ES256, "foreign")
}

/// The provider's key set as its endpoint serves it.
pub(crate) fn jwks() -> String {
    idp::jwks([&key()]).to_string()
}

/// A key endpoint's good answer.
pub(crate) fn keys_answer() -> Response {
    Response::ok(jwks())
}

/// A provider whose keys come from an endpoint, five rules:
///
/// | request | needs |
/// | --- | --- |
/// | `/healthz` | nothing |
/// | below `/public` | nothing |
/// | GET `/orders/…` | a token with `orders:read` |
/// | anything below `/api` | a token |
/// | all else | matches no rule |
pub(crate) fn config() -> Value {
    json!({
        "providers": { "corp": {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "algorithms": ["ES256", "RS256"],
            "remote_jwks": {
                "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": CLUSTER, "timeout": "5s" },
                "cache_duration": "600s",
            },
            "forward": false,
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [
                { "header_name": "x-user", "claim_name": "sub" },
                { "header_name": "x-tenant", "claim_name": "tenant" },
            ],
        } },
        "rules": [
            { "name": "health", "match": { "path": "/healthz" } },
            { "name": "public", "match": { "prefix": "/public/" } },
            {
                "name": "orders-read",
                "match": { "path_template": "/orders/**", "methods": ["GET"] },
                "requires": { "provider_name": "corp" },
                "authorize": { "scopes": { "all_of": ["orders:read"] } },
            },
            { "name": "api", "match": { "prefix": "/api" }, "requires": { "provider_name": "corp" } },
        ],
    })
}

/// The same with the keys in the configuration: nothing to fetch.
pub(crate) fn local_config() -> Value {
    let mut config = config();
    let provider = &mut config["providers"]["corp"];
    provider["local_jwks"] = json!({ "inline_string": jwks() });
    provider.as_object_mut().expect("an object").remove("remote_jwks");
    config
}

/// The configuration with one value put somewhere (`/rules/3/match`, RFC 6901; `-` appends), or with null: taken out.
pub(crate) fn with(mut config: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let last = last.replace("~1", "/").replace("~0", "~");
    let target = config.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in the configuration"));
    match target {
        Value::Object(members) if value.is_null() => drop(members.remove(&last)),
        Value::Object(members) => drop(members.insert(last, value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => items[last.parse::<usize>().expect("an index")] = value,
        other => panic!("{parent} is {other}"),
    }
    config
}

/// A token as the provider would issue it now, for alice.
pub(crate) fn token() -> TokenBuilder {
    TokenBuilder::new(&key(), ISSUER, AUDIENCE)
        .claims(json!({ "iat": NOW, "exp": NOW + 300, "scope": "orders:read openid", "tenant": "acme" }))
}

/// A VM whose keys are there.
pub(crate) fn warm() -> Vm {
    let vm = Vm::start(config());
    fetch_keys(&vm);
    vm
}

/// A VM that waits for its keys: the one callout is under way.
pub(crate) fn cold() -> (Vm, Call) {
    let vm = Vm::start(config());
    let call = the_fetch(&vm);
    (vm, call)
}

/// Answers the fetch that the VM makes by itself.
pub(crate) fn fetch_keys(vm: &Vm) {
    let call = the_fetch(vm);
    vm.respond(&call, keys_answer());
}

/// The one callout that is under way, after a tick if need be.
#[track_caller]
pub(crate) fn the_fetch(vm: &Vm) -> Call {
    if vm.pending_calls().is_empty() {
        vm.tick();
    }
    let mut calls = vm.pending_calls();
    assert_eq!(calls.len(), 1, "one fetch: {calls:#?}");
    calls.remove(0)
}

/// Lets time pass in steps of a second until there is a callout.
#[track_caller]
pub(crate) fn next_fetch(vm: &Vm, within: Duration) -> Call {
    for _ in 0..=within.as_secs() {
        if let Some(call) = vm.pending_calls().pop() {
            return call;
        }
        vm.advance(Duration::from_secs(1));
    }
    panic!("no fetch within {within:?}; the log: {:#?}", vm.logs());
}

/// A request to a route that asks for a token with a scope.
pub(crate) fn orders(token: &str) -> Request {
    Request::get("/orders/7").bearer(token)
}

/// Sends a request and, where the filter looks for a key that it does not have, answers with the provider's set.
pub(crate) fn decided(vm: &Vm, request: Request) -> Outcome {
    let stream = vm.request(request);
    if stream.outcome().is_waiting() {
        vm.respond(&next_fetch(vm, Duration::from_secs(2)), keys_answer());
    }
    stream.outcome()
}

/// `%RESPONSE_CODE_DETAILS%` of a request that was answered.
#[track_caller]
pub(crate) fn details(stream: &Stream) -> String {
    stream.outcome().replied().details
}

/// A configuration as Envoy hands over a `google.protobuf.Struct`: protobuf bytes, every number a double.
pub(crate) fn struct_bytes(config: &Value) -> Vec<u8> {
    match to_protobuf(config).kind {
        Some(Kind::StructValue(object)) => object.encode_to_vec(),
        other => panic!("a configuration is an object, not {other:?}"),
    }
}

fn to_protobuf(json: &Value) -> prost_types::Value {
    let kind = match json {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().expect("a double")),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            let values = items.iter().map(to_protobuf).collect();
            Kind::ListValue(prost_types::ListValue { values })
        }
        Value::Object(members) => {
            let fields: BTreeMap<String, prost_types::Value> =
                members.iter().map(|(name, member)| (name.clone(), to_protobuf(member))).collect();
            Kind::StructValue(prost_types::Struct { fields })
        }
    };
    prost_types::Value { kind: Some(kind) }
}

/// Names of header fields that an upstream may read as `name`: `_` is folded into `-`, case does not count.
pub(crate) fn reads_as(headers: &[Header], name: &str) -> Vec<String> {
    let folded = |key: &[u8]| String::from_utf8_lossy(key).to_ascii_lowercase().replace('_', "-");
    headers
        .iter()
        .filter(|(key, _)| folded(key) == name)
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}
