//! `match.metadata`: a rule can ask for what a filter before the gate wrote of a request, such as what Envoy's MCP filter
//! read from its body.

use crate::common;

use std::fs;

use common::{Gateway, assert_problem, config, corp, local_provider};
use harness::{Envoy, Filter, Request, Upstream, Wasm, workspace};
use serde_json::{Value, json};

const T: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// An Envoy with a filter before the gate.
fn start(filter: Value, rules: Value) -> Gateway {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let plugin = Wasm::portcullis(config(local_provider(&idp), rules));
    let builder = Envoy::builder().shared().upstream(&upstream).filter(Filter::Raw(filter)).filter(plugin);
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
    if common::is_native() {
        // Envoy hands a dynamic module no value within a structure: below.
        return;
    }
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

/// The filters before the gate, the gate's configuration and the routes of `envoy/mcp/envoy.yaml`, with the test's own
/// provider and upstream. None, and a word about it, on an Envoy whose MCP filter lacks what the recipe sets.
fn recipe(test: &str) -> Option<Gateway> {
    let envoy = harness::envoy::find().unwrap_or_else(|error| panic!("{error}"));
    if envoy.version.minor < 40 {
        harness::skip(test, "the MCP filter of the recipe is that of Envoy 1.40");
        return None;
    }
    let text = fs::read_to_string(workspace().join("envoy/mcp/envoy.yaml")).expect("the recipe");
    let recipe: Value = serde_norway::from_str(&text).expect("YAML");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = recipe.pointer(manager).expect("the connection manager");
    let mut host = manager["route_config"]["virtual_hosts"][0].clone();
    for route in host["routes"].as_array_mut().expect("routes") {
        route["route"]["cluster"] = json!("upstream");
    }
    let (idp, upstream) = (common::idp(), Upstream::start());
    let filters = manager["http_filters"].as_array().expect("filters");
    let [before @ .., gate, _router] = &filters[..] else { panic!("{filters:?}") };
    let plugin = gate["typed_config"]["config"]["configuration"]["value"].as_str().expect("a text");
    let mut plugin: Value = serde_json::from_str(plugin).expect("JSON");
    plugin["providers"]["demo"] = local_provider(&idp);
    let builder = Envoy::builder().shared().upstream(&upstream);
    let builder = before.iter().fold(builder, |builder, filter| builder.filter(Filter::Raw(filter.clone())));
    let builder = builder.filter(Wasm::portcullis(plugin)).main(|main| {
        let main = main.route_config(json!({ "name": "routes", "virtual_hosts": [host] }));
        ["strip_any_host_port", "use_remote_address"]
            .iter()
            .fold(main, |main, name| main.hcm(name, json!(true)))
    });
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    Some(Gateway { idp, upstream, envoy })
}

/// Header fields of a request.
type Fields<'f> = Vec<(&'f str, &'f str)>;

const JSON: (&str, &str) = ("content-type", "application/json");
const BOTH: (&str, &str) = ("accept", "application/json, text/event-stream");

#[test]
fn the_recipe_for_mcp_runs_no_tool_without_its_scope() {
    if common::is_native() {
        // Envoy hands a dynamic module no value within a structure: below.
        return;
    }
    let Some(gateway) = recipe("the_recipe_for_mcp_runs_no_tool_without_its_scope") else { return };
    let token = |scope: &str| {
        let token = gateway.idp.mint().claim("aud", "https://mcp.example.com/mcp").claim("scope", scope);
        token.sign()
    };
    let (reader, writer) = (token("mcp:use files:read"), token("mcp:use files:read files:write"));
    let send = |fields: &[(&str, &str)], body: &[u8], token: &str| {
        let request = Request::post("/mcp", body).host("mcp.example.com").bearer(token);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send(gateway.addr()).status
    };
    let call = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#).into_bytes()
    };
    let (read, write) =
        (call(r#"{"name":"read","arguments":{}}"#), call(r#"{"name":"write","arguments":{}}"#));
    assert_eq!(send(&[JSON, BOTH], &read, &reader), 200);
    assert_eq!(send(&[JSON, BOTH], &write, &writer), 200);
    assert_eq!(send(&[("content-type", "application/json; charset=UTF-8"), BOTH], &write, &writer), 200);
    let other = gateway.idp.mint().claim("scope", "mcp:use files:read").sign();
    assert_eq!(send(&[JSON, BOTH], &read, &other), 401, "a token for something else");
    let passed = gateway.upstream.take();
    assert_eq!(passed.len(), 3);
    let utf16: Vec<u8> = String::from_utf8_lossy(&write).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with = |more: &[(&'static str, &'static str)]| [&[JSON, BOTH][..], more].concat();
    let (method, name, newest) =
        (("mcp-method", "tools/call"), ("mcp-name", "read"), ("mcp-protocol-version", "2026-07-28"));
    let cases: Vec<(&str, Fields<'_>, Vec<u8>)> = vec![
        ("the other tool", with(&[]), write.clone()),
        ("fields that say another", with(&[newest, method, name]), write.clone()),
        ("the same of an older client", with(&[("mcp-protocol-version", "2025-11-25"), method, name]), write.clone()),
        ("the same without a version", with(&[method, name]), write.clone()),
        ("a list in the field", with(&[newest, ("mcp-method", "tools/list")]), write.clone()),
        ("two names", with(&[newest, method, name, ("mcp-name", "write")]), write.clone()),
        ("an encoded name", with(&[newest, method, ("mcp-name", "=?base64?cmVhZA==?=")]), write.clone()),
        ("a batch", with(&[]), [b"[", &write[..], b"]"].concat()),
        ("a name twice", with(&[]), call(r#"{"name":"read","name":"write"}"#)),
        ("a name twice, the other way", with(&[]), call(r#"{"name":"write","name":"read"}"#)),
        ("params twice", with(&[]), br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"},"params":{"name":"write"}}"#.to_vec()),
        ("a method twice", with(&[]), br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"write"}}"#.to_vec()),
        ("a list for a name", with(&[]), call(r#"{"name":["write"]}"#)),
        ("an escaped name", with(&[]), call(r#"{"name":"writ\u0065"}"#)),
        ("a byte order mark", with(&[]), [b"\xef\xbb\xbf", &write[..]].concat()),
        ("UTF-16", with(&[]), utf16),
        ("without an id", with(&[]), br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"write"}}"#.to_vec()),
        ("another type", vec![("content-type", "text/plain"), BOTH], write.clone()),
        ("no type", vec![BOTH], write.clone()),
        ("UTF-7, in which there is a second name", vec![("content-type", "application/json; charset=utf-7"), BOTH], call(r#"{"name":"read","+AG4-ame":"write"}"#)),
        ("the same, in the older way to quote", vec![("content-type", "application/json;charset=\"UTF-7\""), BOTH], call(r#"{"name":"read","+AG4-ame":"write"}"#)),
        ("a charset and another", vec![("content-type", "application/json; charset=utf-8; charset=utf-7"), BOTH], read.clone()),
        ("two types", vec![("content-type", "application/json; charset=utf-7"), JSON, BOTH], read.clone()),
        ("two types, the other way", vec![JSON, ("content-type", "application/json; charset=utf-7"), BOTH], read.clone()),
        ("what says that it is compressed", with(&[("content-encoding", "br")]), read.clone()),
        ("half of what is accepted", vec![JSON, ("accept", "application/json")], write.clone()),
        ("a tool of nobody", with(&[]), call(r#"{"name":"drop"}"#)),
        ("a method of nobody", with(&[]), br#"{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{"name":"write"}}"#.to_vec()),
        ("a large body", with(&[]), call(&format!(r#"{{"pad":"{}","name":"write"}}"#, "x".repeat(70_000)))),
    ];
    for (what, fields, body) in cases {
        let status = send(&fields, &body, &reader);
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_eq!(gateway.upstream.take().len(), 0, "{what}: the server got it");
    }
    // What clients do before they call a tool, and where they learn how to get a token.
    for method in ["initialize", "server/discover", "tools/list", "ping"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
        assert_eq!(send(&[JSON, BOTH], body.as_bytes(), &token("mcp:use")), 200, "{method}");
    }
    let get = |path: &str| Request::get(path).host("mcp.example.com");
    let document = get("/.well-known/oauth-protected-resource/mcp").send(gateway.addr());
    assert_eq!(
        (document.status, document.json()["resource"].as_str()),
        (200, Some("https://mcp.example.com/mcp"))
    );
    let stream = get("/mcp").header("accept", "text/event-stream");
    let challenge = common::challenge(&stream.send(gateway.addr())).expect("a challenge");
    assert_eq!(challenge.get("scope").map(String::as_str), Some("mcp:use"));
    assert_eq!(stream.bearer(&token("mcp:use")).send(gateway.addr()).status, 200);
    let preflight =
        Request::new("OPTIONS", "/mcp").host("mcp.example.com").header("origin", "https://app.example");
    let preflight = preflight.header("access-control-request-method", "POST").send(gateway.addr());
    assert_eq!(preflight.header("access-control-allow-origin").as_deref(), Some("https://app.example"));
    gateway.assert_sound();
}

#[test]
fn what_a_dynamic_module_cannot_read_of_the_metadata_is_refused() {
    if !common::is_native() {
        return;
    }
    let test = "what_a_dynamic_module_cannot_read_of_the_metadata_is_refused";
    let Some(gateway) = recipe(test) else { return };
    let token =
        gateway.idp.mint().claim("aud", "https://mcp.example.com/mcp").claim("scope", "mcp:use files:read");
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{}}}"#;
    let request = Request::post("/mcp", call).host("mcp.example.com").bearer(&token.sign());
    let request = [JSON, BOTH].iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = request.send(gateway.addr());
    common::assert_problem("nested", &answer, 400, "request_ambiguous");
    assert_eq!(gateway.upstream.count(), 0);
}
