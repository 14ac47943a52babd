//! What other filters of a real Envoy make of what this one writes to the filter state, and what this one makes of the
//! metadata of a route.

use crate::common;

use std::collections::BTreeMap;

use common::{FILTER_STATE, Gateway, SOON, assert_problem, challenge, config, corp, local_provider};
use harness::idp::flip_bit;
use harness::{Filter, Idp, Request};
use serde_json::{Value, json};

fn rules() -> Value {
    json!([
        { "name": "public", "match": { "prefix": "/public" } },
        { "name": "report", "match": { "prefix": "/report" }, "requires": corp(), "mode": "report" },
        { "name": "all", "match": { "prefix": "/" }, "requires": corp() },
    ])
}

fn subject(idp: &Idp, name: &str) -> String {
    idp.mint().claim("sub", name).claim("scope", format!("read {name}:write")).sign()
}

/// A filter behind this one: in the chain of the listener they stand in the order in which they are added.
fn behind(filter: Value) -> impl FnOnce(harness::envoy::EnvoyBuilder) -> harness::envoy::EnvoyBuilder {
    move |builder| builder.shared().filter(Filter::Raw(filter))
}

#[test]
fn rbac_decides_by_the_filter_state() {
    let is = |key: &str, matcher: Value| json!({ "filter_state": { "key": format!("wasm.portcullis.{key}"), "string_match": matcher } });
    let policy = |principal: Value, permission: Value| json!({ "principals": [principal], "permissions": [permission] });
    let path = |prefix: &str| json!({ "url_path": { "path": { "prefix": prefix } } });
    let exact = |text: &str| json!({ "exact": text });
    let rbac = json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "ALLOW",
                "policies": {
                    "subject": policy(is("subject", exact("alice")), path("/subject")),
                    "scope": policy(is("scopes", json!({ "safe_regex": { "regex": "(.* )?bob:write( .*)?" } })), path("/scope")),
                    "provider": policy(is("provider", exact("corp")), path("/provider")),
                    "rule": policy(is("rule", exact("public")), path("/public")),
                    "allowed": policy(is("decision", exact("allow")), path("/report")),
                },
            },
        },
    });
    let gateway = Gateway::start_with(|idp| config(local_provider(idp), rules()), behind(rbac));
    let (alice, bob) = (subject(&gateway.idp, "alice"), subject(&gateway.idp, "bob"));
    let bad = flip_bit(&alice);
    for (path, token, expected) in [
        ("/subject", Some(&alice), 200),
        ("/subject", Some(&bob), 403),
        ("/scope", Some(&alice), 403),
        ("/scope", Some(&bob), 200),
        ("/provider", Some(&alice), 200),
        ("/public", None, 200),
        ("/public", Some(&bad), 200),
        // A rule that only reports lets pass what RBAC then refuses by what was decided.
        ("/report", Some(&alice), 200),
        ("/report", None, 403),
        ("/report", Some(&bad), 403),
        ("/subject", None, 401),
        ("/elsewhere", Some(&alice), 403),
    ] {
        for h2 in [false, true] {
            // Nobody writes to the filter state from outside.
            let request =
                Request::get(path).header("wasm.portcullis.subject", "alice").header("x-subject", "alice");
            let request = token.iter().fold(request, |request, token| request.bearer(token));
            let response = if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
            assert_eq!(response.status, expected, "{path}, HTTP/2 {h2}: {}", response.text());
            if expected == 403 {
                assert_eq!(response.text(), "RBAC: access denied", "{path}");
            }
        }
    }
    gateway.assert_sound();
}

#[test]
fn the_access_log_writes_and_chooses_lines_by_the_filter_state() {
    let gateway = Gateway::start_with(
        |idp| config(local_provider(idp), rules()),
        |builder| {
            builder.patch(|bootstrap| {
                let hcm = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
                let log = &mut hcm["access_log"][0];
                log["filter"] = json!({ "extension_filter": {
                    "name": "envoy.access_loggers.extension_filters.cel",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                        "expression": "filter_state['wasm.portcullis.decision'] != b'allow' || filter_state['wasm.portcullis.subject'] == b'bob'",
                    },
                } });
                log["typed_config"]["log_format"]["json_format"]["cel"] =
                    json!("%CEL(filter_state['wasm.portcullis.subject'])%");
            })
        },
    );
    let (alice, bob) = (subject(&gateway.idp, "alice"), subject(&gateway.idp, "bob"));
    let addr = gateway.addr();
    for (path, token) in [
        ("/1", &alice),
        ("/2", &bob),
        ("/3", &flip_bit(&alice)),
        ("/report/4", &flip_bit(&bob)),
        ("/5", &bob),
    ] {
        Request::get(path).bearer(token).send(addr);
    }
    let lines = gateway.envoy.wait_for_access_log(4, SOON);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let fields = ["path", "decision", "reason", "provider", "rule", "subject", "scopes", "cel"];
            fields.iter().map(|name| line[*name].clone()).collect()
        })
        .collect();
    let none = Value::Null;
    let of_bob = |path: &str| json!([path, "allow", none, "corp", "all", "bob", "read bob:write", "bob"]);
    let refused = |path: &str, decision: &str, rule: &str| {
        json!([path, decision, "signature_invalid", "corp", rule, none, none, none])
    };
    assert_eq!(
        lines,
        [
            of_bob("/2"),
            refused("/3", "deny", "all"),
            refused("/report/4", "would_deny", "report"),
            of_bob("/5")
        ]
    );
    gateway.assert_sound();
}

#[test]
fn the_local_rate_limit_counts_each_subject_by_the_filter_state() {
    let bucket =
        |tokens: u32| json!({ "max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": "3600s" });
    let entry = |subject: &str, tokens: u32| json!({ "entries": [{ "key": "subject", "value": subject }], "token_bucket": bucket(tokens) });
    let always = json!({ "default_value": { "numerator": 100, "denominator": "HUNDRED" } });
    let limit = json!({
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limit",
            "token_bucket": bucket(1000),
            "filter_enabled": always,
            "filter_enforced": always,
            "rate_limits": [{ "actions": [{ "extension": {
                "name": "envoy.rate_limit_descriptors.expr",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
                    "descriptor_key": "subject",
                    "text": "filter_state['wasm.portcullis.subject']",
                },
            } }] }],
            "descriptors": [entry("alice", 2), entry("bob", 4)],
        },
    });
    let gateway = Gateway::start_with(|idp| config(local_provider(idp), rules()), behind(limit));
    let addr = gateway.addr();
    let passed = |token: &str| {
        let statuses: Vec<u16> = (0..6).map(|_| Request::get("/").bearer(token).send(addr).status).collect();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
        statuses.iter().filter(|status| **status == 200).count()
    };
    let (alice, bob, carol) =
        (subject(&gateway.idp, "alice"), subject(&gateway.idp, "bob"), subject(&gateway.idp, "carol"));
    // Who is refused uses up nothing of anybody's.
    for _ in 0..6 {
        assert_eq!(Request::get("/").bearer(&flip_bit(&alice)).send(addr).status, 401);
    }
    assert_eq!(passed(&alice), 2);
    assert_eq!(passed(&bob), 4);
    assert_eq!(passed(&carol), 6, "for whom there is no limit");
    // Another token of the same subject is the same subject.
    assert_eq!(passed(&gateway.idp.token(json!({ "sub": "alice", "jti": "another" }))), 0);
    gateway.assert_sound();
}

#[test]
fn what_passes_writes_what_is_named_and_a_refusal_writes_all() {
    for (selection, written) in [
        (None, &[][..]),
        (Some(json!([])), &[]),
        (Some(json!(["subject", "reason"])), &["subject"]),
        (Some(json!(["decision", "rule"])), &["decision", "rule"]),
        (Some(json!(FILTER_STATE)), &["decision", "provider", "rule", "scopes", "subject"]),
    ] {
        let gateway = Gateway::start(|idp| {
            let mut config = config(local_provider(idp), rules());
            match &selection {
                Some(selection) => config["filter_state"] = selection.clone(),
                None => drop(config.as_object_mut().expect("an object").remove("filter_state")),
            }
            config
        });
        let token = subject(&gateway.idp, "alice");
        let lines = |path: &str| -> BTreeMap<String, Value> {
            let line = gateway.logged(path);
            let entries = FILTER_STATE.iter().map(|name| ((*name).to_owned(), line[*name].clone()));
            entries.filter(|(_, value)| !value.is_null()).collect()
        };
        assert_eq!(Request::get("/a").bearer(&token).send(gateway.addr()).status, 200);
        assert_eq!(Request::get("/b").bearer(&flip_bit(&token)).send(gateway.addr()).status, 401);
        assert_eq!(Request::get("/report/c").send(gateway.addr()).status, 200);
        let passed = lines("/a");
        assert!(passed.keys().eq(written), "{selection:?}: {passed:?}");
        for (name, value) in [("subject", "alice"), ("decision", "allow"), ("rule", "all")] {
            let value = written.contains(&name).then(|| json!(value));
            assert_eq!(passed.get(name), value.as_ref(), "{selection:?}: {name}");
        }
        let refused =
            json!({ "decision": "deny", "provider": "corp", "reason": "signature_invalid", "rule": "all" });
        assert_eq!(json!(lines("/b")), refused, "{selection:?}");
        // What a rule only reports passes.
        let reported = lines("/report/c");
        let is_written = |name: &str| selection.as_ref().is_some_and(|own| own.to_string().contains(name));
        for (name, value) in [("decision", "would_deny"), ("reason", "token_missing"), ("rule", "report")] {
            let value = is_written(name).then(|| json!(value));
            assert_eq!(reported.get(name), value.as_ref(), "{selection:?}: {name}");
        }
        gateway.assert_sound();
    }
}

/// A route for a path, with metadata for this filter.
fn route(path: &str, metadata: Value) -> Value {
    json!({
        "match": { "prefix": path },
        "route": { "cluster": "upstream" },
        "metadata": { "filter_metadata": { "portcullis": metadata, "another": { "rule": "public", "scopes": 7 } } },
    })
}

#[test]
fn a_route_of_envoy_chooses_a_rule_and_asks_for_scopes() {
    const ROUTE: (u16, &str) = (403, "route_unmatched");
    const SCOPE: (u16, &str) = (403, "scope_insufficient");
    const MISSING: (u16, &str) = (401, "token_missing");
    const PASS: (u16, &str) = (200, "");
    // Metadata; what comes of no token, one without scopes, one with `read`, one with `read write`; which rule decides.
    let table = [
        ("/a", json!({}), [MISSING, PASS, PASS, PASS], Some("all")),
        ("/public-", json!({}), [PASS, PASS, PASS, PASS], Some("public")),
        ("/a", json!({ "rule": "public" }), [PASS, PASS, PASS, PASS], Some("public")),
        ("/public", json!({ "rule": "all" }), [MISSING, PASS, PASS, PASS], Some("all")),
        ("/a", json!({ "rule": "reads" }), [MISSING, SCOPE, PASS, PASS], Some("reads")),
        ("/a", json!({ "rule": ["reads"] }), [MISSING, SCOPE, PASS, PASS], Some("reads")),
        ("/a", json!({ "scopes": "read" }), [MISSING, SCOPE, PASS, PASS], Some("all")),
        ("/a", json!({ "scopes": "read write" }), [MISSING, SCOPE, SCOPE, PASS], Some("all")),
        ("/a", json!({ "scopes": ["read"] }), [MISSING, SCOPE, PASS, PASS], Some("all")),
        ("/a", json!({ "scopes": ["write", "read"] }), [MISSING, SCOPE, SCOPE, PASS], Some("all")),
        ("/a", json!({ "rule": "reads", "scopes": ["write"] }), [MISSING, SCOPE, SCOPE, PASS], Some("reads")),
        ("/a", json!({ "other": { "deep": [1] } }), [MISSING, PASS, PASS, PASS], Some("all")),
        ("/a", json!({ "scopes": [] }), [MISSING, PASS, PASS, PASS], Some("all")),
        // What means nothing allows nothing.
        ("/a", json!({ "rule": "nobody" }), [ROUTE; 4], None),
        ("/public", json!({ "rule": "nobody" }), [ROUTE; 4], None),
        ("/report", json!({ "rule": "nobody" }), [ROUTE; 4], None),
        ("/a", json!({ "rule": "" }), [ROUTE; 4], None),
        ("/a", json!({ "rule": ["reads", "public"] }), [ROUTE; 4], None),
        ("/a", json!({ "rule": 7 }), [ROUTE; 4], None),
        ("/public", json!({ "rule": true }), [ROUTE; 4], None),
        ("/public", json!({ "rule": { "name": "public" } }), [ROUTE; 4], None),
        ("/report", json!({ "rule": { "name": "public" } }), [ROUTE; 4], None),
        ("/a", json!({ "scopes": { "all_of": ["read"] } }), [ROUTE; 4], Some("all")),
        ("/a", json!({ "scopes": 7 }), [ROUTE; 4], Some("all")),
        ("/a", json!({ "scopes": ["read", 7] }), [ROUTE; 4], Some("all")),
        ("/a", json!({ "scopes": [["read"]] }), [ROUTE; 4], Some("all")),
        ("/a", json!({ "scopes": null }), [ROUTE; 4], Some("all")),
        ("/public", json!({ "scopes": ["read"] }), [ROUTE; 4], Some("public")),
    ];
    let routes: Vec<Value> = table
        .iter()
        .enumerate()
        .map(|(number, (path, metadata, ..))| route(&format!("{path}/{number}/"), metadata.clone()))
        .collect();
    let plain = json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } });
    let routes: Vec<Value> = routes.into_iter().chain([plain]).collect();
    let gateway = Gateway::start_with(
        |idp| {
            let mut config = config(local_provider(idp), rules());
            let reads = json!({ "name": "reads", "match": { "path": "/nowhere" }, "requires": corp(),
                "authorize": { "scopes": { "all_of": ["read"] } } });
            config["rules"].as_array_mut().expect("a list").insert(0, reads);
            config
        },
        |builder| builder.shared().main(|listener| listener.routes(json!(routes))),
    );
    let mint = |scope: Option<&str>| match scope {
        Some(scope) => gateway.idp.token(json!({ "scope": scope })),
        None => gateway.idp.token(json!({})),
    };
    let tokens = [None, Some(mint(None)), Some(mint(Some("read"))), Some(mint(Some("read write")))];
    let mut wrong = Vec::new();
    for (number, (path, metadata, expected, rule)) in table.iter().enumerate() {
        for (at, (token, expected)) in tokens.iter().zip(expected).enumerate() {
            for h2 in [false, true] {
                let path = format!("{path}/{number}/{at}-{h2}");
                let request = Request::get(&path);
                let request = token.iter().fold(request, |request, token| request.bearer(token));
                let response =
                    if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
                let got = (response.status, response.reason().unwrap_or_default());
                let line = gateway.logged(&path);
                if (got.0, got.1.as_str()) != *expected || line["rule"].as_str() != *rule {
                    wrong.push(format!(
                        "{path} {metadata}, token {at}: {got:?} under {}, not {expected:?} under {rule:?}",
                        line["rule"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What the route asks for is in the challenge, beside what the rule asks for.
    let number =
        table.iter().position(|row| row.1 == json!({ "rule": "reads", "scopes": ["write"] })).expect("a row");
    let response = Request::get(format!("/a/{number}/x"))
        .bearer(tokens[1].as_ref().expect("a token"))
        .send(gateway.addr());
    assert_problem("scopes of both", &response, 403, "scope_insufficient");
    assert_eq!(challenge(&response).expect("a challenge")["scope"], "read write");
    gateway.assert_sound();
}
