//! `protected_resources`: clients find their way by the gate alone. A challenge says where the resource's metadata is,
//! and the gate serves that document, whatever the rules say of its path.

use crate::common;

use std::collections::BTreeMap;

use common::{Gateway, config, corp, local_provider, with};
use harness::{Idp, Listener, Request, Response, Wasm};
use serde_json::{Value, json};

const HOST: &str = "mcp.example.com";
const PLACE: &str = "/.well-known/oauth-protected-resource";
const DOCUMENT: &str = "/.well-known/oauth-protected-resource/mcp";
const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";

/// The one resource of most tests.
fn resource() -> Value {
    json!({
        "resource": "https://mcp.example.com/mcp",
        "match": { "path_separated_prefix": "/mcp", "hosts": [HOST] },
        "authorization_servers": ["https://idp.example/"],
        "scopes_supported": ["files:read", "files:write"],
        "resource_name": "Files",
        "resource_documentation": "https://docs.example/mcp",
        "also_at_root": true,
        "cache_duration": "600s",
    })
}

/// The document, to the byte.
const TEXT: &str = "{\"resource\":\"https://mcp.example.com/mcp\",\"authorization_servers\":[\"https://idp.example/\"],\"scopes_supported\":[\"files:read\",\"files:write\"],\"bearer_methods_supported\":[\"header\"],\"resource_name\":\"Files\",\"resource_documentation\":\"https://docs.example/mcp\"}";

fn resources(all: Value) -> Value {
    json!({ "protected_resources": all })
}

/// Rules under which the place of the document is treated in every way there is.
fn ways() -> Vec<(&'static str, Value)> {
    let rule = |more: Value| with(json!({ "match": { "prefix": "/" }, "requires": corp() }), more);
    vec![
        ("enforce", json!({ "rules": [rule(json!({}))] })),
        ("report", json!({ "rules": [rule(json!({ "mode": "report" }))] })),
        ("public", json!({ "rules": [{ "match": { "prefix": "/" } }] })),
        (
            "of-the-resource",
            json!({ "rules": [rule(json!({ "match": { "path_separated_prefix": "/mcp" } }))] }),
        ),
        ("unmatched-deny", json!({ "rules": [], "unmatched": "deny" })),
        ("unmatched-allow", json!({ "rules": [], "unmatched": "allow" })),
        ("normalize", json!({ "rules": [rule(json!({}))], "ambiguous_paths": "normalize" })),
        ("raw", json!({ "rules": [rule(json!({}))], "ambiguous_paths": "match_raw" })),
        ("preflights", json!({ "rules": [rule(json!({}))], "bypass_cors_preflight": true })),
        ("tls", json!({ "rules": [rule(json!({}))], "require_tls": "connection" })),
        ("stripped", json!({ "rules": [rule(json!({}))], "strip_failure_response": true })),
        ("optional", json!({ "rules": [rule(json!({ "requires": { "allow_missing_or_failed": {} } }))] })),
    ]
}

fn configuration(idp: &Idp, more: Value) -> Value {
    with(config(local_provider(idp), json!([])), more)
}

fn listeners(named: Vec<(&'static str, Value)>) -> Gateway {
    let idp = common::idp();
    let upstream = harness::Upstream::start();
    let builder = harness::Envoy::builder().shared().upstream(&upstream).filter(Wasm::portcullis(
        configuration(&idp, with(resources(json!([resource()])), json!({ "rules": [] }))),
    ));
    let builder = named.into_iter().fold(builder, |builder, (name, more)| {
        builder.listener(Listener::new(name).filter(Wasm::portcullis(configuration(&idp, more))))
    });
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    Gateway { idp, upstream, envoy }
}

fn field(response: &Response, name: &str) -> String {
    let all = response.headers_named(name);
    assert!(all.len() <= 1, "{name}: {all:?}");
    all.into_iter().next().unwrap_or_default()
}

#[test]
fn a_document_is_served_for_every_method_under_every_rule_and_never_by_the_upstream() {
    let named = ways().into_iter().map(|(name, more)| (name, with(more, resources(json!([resource()])))));
    let gateway = listeners(named.collect());
    let good = gateway.idp.token(json!({}));
    for (way, _) in ways() {
        let addr = gateway.envoy.addr_of(way);
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"] {
            for target in [
                DOCUMENT,
                PLACE,
                "/.well-known/oauth-protected-resource/mcp?x=y",
                "/.well-known/oauth-protected-resource/mcp/",
                "/.well-known/oauth-protected-resource/",
            ] {
                for (h2, bearer) in
                    [(false, None), (true, None), (false, Some(good.as_str())), (true, Some("forged"))]
                {
                    let what = format!("{way}: {method} {target} {h2} {bearer:?}");
                    let request = Request::new(method, target).host(HOST);
                    let request = bearer.map_or(request.clone(), |token| request.bearer(token));
                    let preflight = method == "OPTIONS" && h2;
                    let request = match preflight {
                        true => request
                            .header("origin", "https://app.example")
                            .header("access-control-request-method", "GET"),
                        false => request,
                    };
                    let response = if h2 { request.send_h2(addr) } else { request.send(addr) };
                    let is_there = !target.ends_with('/');
                    let status = match method {
                        _ if !is_there => 404,
                        "GET" | "HEAD" => 200,
                        "OPTIONS" => 204,
                        _ => 405,
                    };
                    assert_eq!(response.status, status, "{what}: {response:?}");
                    assert_eq!(field(&response, "access-control-allow-origin"), "*", "{what}");
                    assert_eq!(field(&response, "www-authenticate"), "", "{what}");
                    let caching = if status == 200 { "public, max-age=600" } else { "no-store" };
                    assert_eq!(field(&response, "cache-control"), caching, "{what}");
                    let body = if status == 200 && method == "GET" { TEXT } else { "" };
                    assert_eq!(response.text(), body, "{what}");
                    let kind = if status == 200 { "application/json" } else { "" };
                    assert_eq!(field(&response, "content-type"), kind, "{what}");
                    let (allow, methods, headers) = match status {
                        204 => ("", "GET, HEAD, OPTIONS", "*"),
                        405 => ("GET, HEAD, OPTIONS", "", ""),
                        _ => ("", "", ""),
                    };
                    assert_eq!(field(&response, "allow"), allow, "{what}");
                    assert_eq!(field(&response, "access-control-allow-methods"), methods, "{what}");
                    assert_eq!(field(&response, "access-control-allow-headers"), headers, "{what}");
                }
            }
        }
    }
    assert_eq!(gateway.upstream.count(), 0);
    let line = gateway.logged("/.well-known/oauth-protected-resource/mcp?x=y");
    assert_eq!(line["details"], "portcullis_resource_metadata", "{line}");
    gateway.assert_sound();
}

#[test]
fn what_only_resembles_the_place_of_a_document_does_not_get_round_the_rules() {
    let rule = json!({ "match": { "prefix": "/" } });
    let named = ["reject", "normalize"].map(|policy| {
        let more = json!({ "rules": [rule], "ambiguous_paths": policy });
        (policy, with(more, resources(json!([resource()]))))
    });
    let gateway = listeners(named.to_vec());
    for policy in ["reject", "normalize"] {
        let addr = gateway.envoy.addr_of(policy);
        for (target, host, expected) in [
            ("/.well-known/oauth-protected-resource/mcp;x", HOST, 400),
            ("/.well-known/oauth-protected-resource;x/mcp", HOST, 400),
            ("/x/..;/.well-known/oauth-protected-resource/mcp", HOST, 400),
            ("/.well-known/oauth-protected-resource/x;y", HOST, 404),
            ("/.well-known/oauth-protected-resource/%6Dcp", HOST, 400),
            // A host that no resource names, and one of which that hangs on the reader.
            (DOCUMENT, "other.example.com", 200),
            (DOCUMENT, "mcp.example.com:8443", 400),
            (DOCUMENT, "mcp.example.com.", 400),
            (DOCUMENT, "MCP.example.com", 200),
            ("/.well-known/oauth-protected-resources", HOST, 200),
            ("/.well-known/openid-configuration", HOST, 200),
        ] {
            let response = Request::get(target).host(host).send(addr);
            assert_eq!(response.status, expected, "{policy}: {target} at {host}: {response:?}");
        }
    }
    // Those of the others alone.
    assert_eq!(gateway.upstream.count(), 6);
    gateway.assert_sound();
}

/// What the rows of a table ask, and of whom.
fn parameters(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A path and tokens; the status, the parameters of its challenge, and those that only a resource adds.
type Row<'r> = (&'r str, Vec<&'r str>, u16, Vec<(&'r str, &'r str)>, Vec<(&'r str, &'r str)>);

#[test]
fn every_challenge_of_a_resource_says_where_its_metadata_is_and_no_other_does() {
    let scopes = json!({ "scopes": { "all_of": ["files:read"], "any_of": ["files:write", "admin"] } });
    let rules = json!([
        { "match": { "path": "/mcp/scope" }, "requires": corp(), "authorize": scopes },
        { "match": { "path": "/mcp/role" }, "requires": corp(), "authorize": { "roles": { "any_of": ["x"] } } },
        { "match": { "path": "/mcp/plain" }, "requires": corp() },
        { "match": { "path": "/plain" }, "requires": corp() },
        { "match": { "path": "/scope" }, "requires": corp(), "authorize": scopes },
    ]);
    let gateway = listeners(vec![
        ("with", with(resources(json!([resource()])), json!({ "rules": rules }))),
        ("without", json!({ "rules": rules })),
    ]);
    let idp = &gateway.idp;
    let (good, late) = (idp.token(json!({})), idp.mint().expires_in(-100).sign());
    let strange = idp.mint().claim("aud", "elsewhere").sign();
    const SCOPES: (&str, &str) = ("scope", "files:read files:write");
    let invalid = |what: &'static str| [("error", "invalid_token"), ("error_description", what)];
    // What every challenge has, and what it has where a resource is named.
    let rows: Vec<Row<'_>> = vec![
        ("/mcp/plain", vec![], 401, vec![], vec![]),
        ("/mcp/scope", vec![], 401, vec![SCOPES], vec![]),
        (
            "/mcp/plain",
            vec!["x"],
            401,
            invalid("The token is not a signed JWT in compact form.").to_vec(),
            vec![],
        ),
        (
            "/mcp/scope",
            vec!["x"],
            401,
            invalid("The token is not a signed JWT in compact form.").to_vec(),
            vec![SCOPES],
        ),
        ("/mcp/scope", vec![&late], 401, invalid("The token has expired.").to_vec(), vec![SCOPES]),
        ("/mcp/scope", vec![&strange], 401, invalid("The token is not accepted.").to_vec(), vec![SCOPES]),
        ("/mcp/scope", vec![&good], 403, vec![("error", "insufficient_scope"), SCOPES], vec![]),
        ("/mcp/role", vec![&good], 403, vec![], vec![]),
        ("/mcp/plain", vec![&good, &good], 400, vec![("error", "invalid_request")], vec![]),
    ];
    for (path, tokens, status, all, more) in rows {
        for (listener, target, host, is_resource) in [
            ("with", path, HOST, true),
            ("with", path, "other.example.com", false),
            ("without", path, HOST, false),
        ] {
            let what = format!("{listener} {target} at {host} {status}");
            let request = Request::get(target).host(host);
            let request = tokens.iter().fold(request, |request, token| request.bearer(token));
            let response = request.send(gateway.envoy.addr_of(listener));
            assert_eq!(response.status, status, "{what}: {response:?}");
            let mut expected = parameters(&all);
            expected.extend(parameters(&[("realm", "corp")]));
            if is_resource {
                expected.extend(parameters(&more));
                expected.extend(parameters(&[("resource_metadata", METADATA)]));
            }
            assert_eq!(common::challenge(&response), Some(expected), "{what}");
        }
    }
    // The same host, and another path.
    for path in ["/plain", "/scope"] {
        let response = Request::get(path).host(HOST).bearer("x").send(gateway.envoy.addr_of("with"));
        let challenge = common::challenge(&response).expect("a challenge");
        assert_eq!(challenge.keys().collect::<Vec<_>>(), ["error", "error_description", "realm"], "{path}");
    }
    let grpc = Request::grpc("/mcp/plain").host(HOST).send_h2(gateway.envoy.addr_of("with"));
    let challenge = common::challenge(&grpc).expect("a challenge");
    assert_eq!(challenge.get("resource_metadata").map(String::as_str), Some(METADATA));
    gateway.assert_sound();
}

#[test]
fn the_identifier_is_the_audience_of_the_rules_where_that_is_asked_for() {
    let at = |resource: &str, path: &str, host: &str| {
        json!({
            "resource": resource,
            "match": { "prefix": path, "hosts": [host] },
            "authorization_servers": ["https://idp.example/"],
            "audience": "resource",
        })
    };
    let own = with(resource(), json!({ "audience": "resource", "also_at_root": false }));
    let all = json!([
        own,
        at("https://root.example", "/", "root.example"),
        at("https://slash.example/", "/", "slash.example")
    ]);
    let named = json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": ["named"] } });
    let rules = json!([
        { "match": { "path": "/mcp/named" }, "requires": named },
        { "match": { "path": "/mcp/any" }, "requires": { "requires_any": { "requirements": [corp(), { "allow_missing": {} }] } } },
        { "match": { "path": "/mcp/all" }, "requires": { "allow_missing_or_failed": {} } },
        { "match": { "prefix": "/" }, "requires": corp() },
    ]);
    let gateway = listeners(vec![("with", with(resources(all), json!({ "rules": rules })))]);
    let addr = gateway.envoy.addr_of("with");
    let token = |audience: Value| gateway.idp.mint().claim("aud", audience).sign();
    let (ours, other, mcp) = (common::AUDIENCE, "elsewhere", "https://mcp.example.com/mcp");
    for (host, path, audience, status) in [
        (HOST, "/mcp", json!(mcp), 200),
        (HOST, "/mcp", json!([other, mcp]), 200),
        (HOST, "/mcp", json!("https://mcp.example.com/mcp/"), 401),
        (HOST, "/mcp", json!("https://mcp.example.com"), 401),
        (HOST, "/mcp", json!(ours), 401),
        (HOST, "/mcp/any", json!(mcp), 200),
        (HOST, "/mcp/any", json!(ours), 401),
        // What the rule itself names counts.
        (HOST, "/mcp/named", json!("named"), 200),
        (HOST, "/mcp/named", json!(mcp), 401),
        // Beside the resource, what the provider names.
        (HOST, "/else", json!(ours), 200),
        (HOST, "/else", json!(mcp), 401),
        ("x.example", "/mcp", json!(ours), 200),
        ("root.example", "/", json!("https://root.example"), 200),
        ("root.example", "/", json!("https://root.example/"), 200),
        ("root.example", "/", json!("https://slash.example/"), 401),
        ("slash.example", "/a", json!("https://slash.example"), 200),
        ("slash.example", "/a", json!("https://slash.example/"), 200),
    ] {
        let token = token(audience.clone());
        // A second time it comes from the cache, and under another resource.
        for _ in 0..2 {
            let response = Request::get(path).host(host).bearer(&token).send(addr);
            assert_eq!(response.status, status, "{host}{path} {audience}: {response:?}");
        }
    }
    // The same token at two resources: what one of them took is not for the other.
    let token = token(json!(["https://root.example", "x"]));
    for (host, status) in [("root.example", 200), ("slash.example", 401), ("root.example", 200), (HOST, 401)]
    {
        assert_eq!(Request::get("/mcp").host(host).bearer(&token).send(addr).status, status, "{host}");
    }
    // A failed token counts for nothing.
    let response = Request::get("/mcp/all").host(HOST).bearer(&gateway.idp.token(json!({}))).send(addr);
    assert_eq!((response.status, response.echoed("authorization")), (200, vec![]));
    gateway.assert_sound();
}

#[test]
fn a_request_whose_resource_hangs_on_the_reader_is_refused() {
    let two = json!([
        with(resource(), json!({ "also_at_root": false })),
        { "resource": "https://mcp.example.com/other", "match": { "path_separated_prefix": "/other", "hosts": [HOST] },
          "authorization_servers": ["https://idp.example/"] },
    ]);
    let rules = |mode: &str| json!([{ "match": { "prefix": "/" }, "requires": corp(), "mode": mode, "ambiguous_paths": "normalize" }]);
    let named = ["enforce", "report"]
        .map(|mode| (mode, with(resources(two.clone()), json!({ "rules": rules(mode) }))));
    let gateway = listeners(named.to_vec());
    let good = gateway.idp.token(json!({}));
    for mode in ["enforce", "report"] {
        for (path, status, reason) in [
            ("/mcp/../other", 400, "path_ambiguous"),
            ("/mcp/..;/other", 400, "path_ambiguous"),
            ("/x/../x", 200, ""),
            ("/mcp/a/../b", 200, ""),
            ("/mcp/a;b", 200, ""),
        ] {
            let response = Request::get(path).host(HOST).bearer(&good).send(gateway.envoy.addr_of(mode));
            assert_eq!(response.status, status, "{mode} {path}: {response:?}");
            assert!(status == 200 || response.reason().as_deref() == Some(reason), "{mode} {path}");
        }
    }
    gateway.assert_sound();
}
