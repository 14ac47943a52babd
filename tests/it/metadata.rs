//! `match.metadata`: a rule can ask for what a filter before the gate wrote of a request, such as what Envoy's MCP filter
//! read from its body.

use crate::common;

use common::{Gateway, assert_problem, config, corp, local_provider};
use harness::{Envoy, Filter, Request, Upstream, Wasm};
use serde_json::{Value, json};

const T: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// An Envoy with a filter before the gate.
fn start(filter: Value, rules: Value) -> Gateway {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let plugin = Wasm::portcullis(config(local_provider(&idp), rules));
    let builder = Envoy::builder().upstream(&upstream).filter(Filter::Raw(filter)).filter(plugin);
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    Gateway { idp, upstream, envoy }
}

fn condition(filter: &str, path: Value, value: Value) -> Value {
    json!({ "filter": filter, "path": path, "value": value })
}

/// Writes the request header of this name as a value of this type.
fn header_rule(name: &str, kind: &str) -> Value {
    json!({ "header": name, "on_header_present": { "metadata_namespace": "from-headers", "key": name, "type": kind } })
}

#[test]
fn a_rule_is_met_by_the_type_and_value_that_a_filter_wrote() {
    let of = |name: &str, value: Value| condition("from-headers", json!([name]), value);
    let rule = |path: &str, metadata: Value| json!({ "match": { "path": path, "metadata": metadata } });
    let rules = json!([
        rule("/text", json!([of("x-text", json!({ "string_match": { "prefix": "a" } }))])),
        rule(
            "/number",
            json!([of("x-number", json!({ "double_match": { "range": { "start": 1, "end": 3 } } }))])
        ),
        rule("/as-text", json!([of("x-number", json!({ "string_match": { "exact": "2" } }))])),
        rule("/there", json!([of("x-text", json!({ "present_match": true }))])),
        rule(
            "/both",
            json!([
                of("x-text", json!({ "string_match": { "exact": "a" } })),
                of("x-number", json!({ "double_match": { "exact": 2 } })),
            ])
        ),
        rule(
            "/not",
            json!([{ "filter": "from-headers", "path": [{ "key": "x-text" }], "value": { "present_match": true }, "invert": true }])
        ),
    ]);
    let filter = json!({
        "name": "envoy.filters.http.header_to_metadata",
        "typed_config": {
            "@type": format!("{T}.header_to_metadata.v3.Config"),
            "request_rules": [header_rule("x-text", "STRING"), header_rule("x-number", "NUMBER")],
        },
    });
    let gateway = start(filter, rules);
    let addr = gateway.addr();
    for (path, fields, passes) in [
        ("/text", &[("x-text", "abc")][..], true),
        ("/text", &[("x-text", "b")], false),
        ("/text", &[], false),
        ("/number", &[("x-number", "2")], true),
        ("/number", &[("x-number", "3")], false),
        ("/number", &[], false),
        ("/as-text", &[("x-number", "2")], false),
        ("/there", &[("x-text", "x")], true),
        ("/there", &[], false),
        ("/both", &[("x-text", "a"), ("x-number", "2")], true),
        ("/both", &[("x-text", "a")], false),
        ("/not", &[], true),
        ("/not", &[("x-text", "a")], false),
    ] {
        let request =
            fields.iter().fold(Request::get(path), |request, (name, value)| request.header(name, value));
        let response = request.send(addr);
        assert_eq!(response.status, if passes { 200 } else { 403 }, "{path} {fields:?}: {response:?}");
    }
    gateway.assert_sound();
}

#[test]
fn a_scope_for_each_tool_is_asked_by_what_the_body_calls() {
    const MCP: &str = "envoy.filters.http.mcp";
    let exact = |path: Value, text: &str| condition(MCP, path, json!({ "string_match": { "exact": text } }));
    let rule = |name: &str, metadata: Value, scopes: Value| {
        json!({
            "name": name, "match": { "path": "/mcp", "metadata": metadata },
            "requires": corp(), "authorize": { "scopes": { "all_of": scopes } },
        })
    };
    let call =
        |tool: &str| json!([exact(json!(["method"]), "tools/call"), exact(json!(["params", "name"]), tool)]);
    let rules = json!([
        rule("read", call("read"), json!(["files:read"])),
        rule("write", call("write"), json!(["files:write"])),
        rule("list", json!([exact(json!(["method"]), "tools/list")]), json!(["mcp:use"])),
        rule("rest", json!([]), json!(["everything"])),
    ]);
    let filter = json!({
        "name": MCP,
        "typed_config": {
            "@type": format!("{T}.mcp.v3.Mcp"),
            "traffic_mode": "REJECT_NO_MCP",
            "request_storage_mode": "DYNAMIC_METADATA",
            "attribute_source": "BODY",
            "reject_duplicate_keys": true,
            "max_request_body_size": 65_536,
        },
    });
    let gateway = start(filter, rules);
    let addr = gateway.addr();
    let body = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    };
    let tool = |name: &str| body("tools/call", json!({ "name": name, "arguments": {} }));
    for (what, body, scope, expected) in [
        ("a tool", tool("read"), "files:read", None),
        ("a tool of another scope", tool("write"), "files:read", Some("files:write")),
        ("the other tool", tool("write"), "files:write", None),
        ("a list", body("tools/list", json!({})), "mcp:use", None),
        ("a list of somebody who may call", body("tools/list", json!({})), "files:read", Some("mcp:use")),
        ("a tool that no rule names", tool("drop"), "files:read files:write mcp:use", Some("everything")),
    ] {
        let token = gateway.idp.token(json!({ "scope": scope }));
        let request = Request::post("/mcp", body).header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        // What clients of the newest revision say in headers does not count.
        let request = request.header("mcp-method", "tools/call").header("mcp-name", "read").bearer(&token);
        let response = request.send(addr);
        match expected {
            None => assert_eq!(response.status, 200, "{what}: {response:?}"),
            Some(scope) => {
                assert_problem(what, &response, 403, "scope_insufficient");
                let challenge = common::challenge(&response).expect("a challenge");
                assert_eq!(challenge.get("scope").map(String::as_str), Some(scope), "{what}");
            }
        }
    }
    gateway.assert_sound();
}
