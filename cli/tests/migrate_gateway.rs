//! `portcullis migrate` for SecurityPolicies of Envoy Gateway, as an operator runs it.

mod common;

use std::fs;

use common::{counted, explains, migrate, project, set_of};
use serde_json::{Value, json};

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A provider with keys of its own.
fn corp(more: Value) -> Value {
    let usual = json!({
        "name": "corp",
        "issuer": "https://idp.example/",
        "audiences": ["orders"],
        "localJWKS": { "inline": KEYS },
    });
    with(usual, more)
}

fn with(mut value: Value, more: Value) -> Value {
    for (name, member) in more.as_object().cloned().unwrap_or_default() {
        value[name] = member;
    }
    value
}

/// A policy for a route.
fn policy(spec: Value) -> Value {
    let target = json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "orders" });
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": with(json!({ "targetRefs": [target], "jwt": { "providers": [corp(json!({}))] } }), spec),
    })
}

/// One with these rules, in which the rest is denied.
fn rules(jwt: Value, rules: Value) -> Value {
    let jwt = with(json!({ "providers": [corp(json!({}))] }), jwt);
    policy(json!({ "jwt": jwt, "authorization": { "defaultAction": "Deny", "rules": rules } }))
}

fn claims(claims: Value) -> Value {
    json!({ "jwt": { "provider": "corp", "claims": claims } })
}

fn admins() -> Value {
    claims(json!([{ "name": "role", "values": ["admin"] }]))
}

/// The SecurityPolicies of the page, one by one.
fn of_page() -> Vec<String> {
    let page = fs::read_to_string(project().join("docs/migration.md")).expect("the page");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.filter(|block| block.contains("kind: SecurityPolicy")).map(str::to_owned).collect()
}

/// Forms in which policies are written, each for another way of the command.
fn forms() -> Vec<Value> {
    let allow = |operation: Value, principal: Value| json!({ "action": "Allow", "operation": operation, "principal": principal });
    let deny = |operation: Value, principal: Value| json!({ "action": "Deny", "operation": operation, "principal": principal });
    let path = |kind: &str, value: &str| json!({ "path": { "type": kind, "value": value } });
    let scopes = |scopes: Value| json!({ "jwt": { "provider": "corp", "scopes": scopes } });
    let blocked = || claims(json!([{ "name": "status", "values": ["blocked", "left"] }]));
    let beside = json!({ "methods": ["GET", "HEAD"], "path": { "value": "/orders" } });
    let inverted = json!({ "path": { "value": "/admin", "invert": true } });
    let partner =
        json!({ "name": "partner", "issuer": "https://partner.example", "localJWKS": { "inline": KEYS } });
    let places =
        json!({ "headers": [{ "name": "x-token", "valuePrefix": "T " }], "params": ["t"], "cookies": ["c"] });
    vec![
        policy(json!({})),
        policy(json!({ "jwt": { "optional": true, "providers": [corp(json!({}))] } })),
        policy(json!({ "jwt": { "failOpen": true, "providers": [corp(json!({}))] } })),
        policy(
            json!({ "jwt": { "providers": [corp(json!({ "extractFrom": places, "recomputeRoute": true }))] } }),
        ),
        rules(json!({}), json!([allow(beside.clone(), scopes(json!(["orders:read", "use"])))])),
        rules(json!({}), json!([deny(json!({}), blocked()), allow(json!({}), admins())])),
        rules(json!({}), json!([deny(inverted.clone(), blocked()), allow(json!({}), scopes(json!(["a"])))])),
        rules(
            json!({ "optional": true }),
            json!([allow(inverted, json!({ "headers": [{ "name": "x-a", "values": ["1", "2"] }] }))]),
        ),
        // A claim that is denied on a path that is open: rules for requests with a token, and for those without one.
        rules(
            json!({ "optional": true }),
            json!([
                deny(json!({}), blocked()),
                allow(path("Exact", "/open"), json!({ "headers": [{ "name": "x-a", "values": ["1"] }] }))
            ]),
        ),
        rules(
            json!({ "optional": true }),
            json!([
                allow(path("RegularExpression", "/v[0-9]+/a"), admins()),
                allow(path("PathPrefix", "/w"), scopes(json!(["w"])))
            ]),
        ),
        rules(
            json!({}),
            json!([allow(
                json!({}),
                claims(json!([
                    { "name": "scope", "valueType": "StringArray", "values": ["a", "b"] },
                    { "name": "org.groups", "valueType": "StringArray", "values": ["x"] },
                ]))
            )]),
        ),
        with(
            rules(
                json!({ "providers": [corp(json!({})), partner] }),
                json!([
                    allow(path("PathPrefix", "/a"), admins()),
                    allow(
                        path("PathPrefix", "/a/b"),
                        json!({ "jwt": { "provider": "partner", "claims": [{ "name": "tenant", "values": ["t"] }] } })
                    ),
                ]),
            ),
            json!({}),
        ),
        rules(
            json!({}),
            json!([deny(json!({}), json!({ "clientCIDRs": ["10.0.0.0/8"] })), allow(json!({}), admins())]),
        ),
        rules(json!({}), json!([allow(beside, with(admins(), json!({ "clientCIDRs": ["10.0.0.0/8"] })))])),
    ]
}

#[test]
fn policies_of_envoy_gateway_go_over_load_and_hold() {
    let sets = ["11-gateway-claims.yaml", "12-gateway-rest-passes.yaml"];
    let sets = sets.map(|name| set_of(name).replace("inline: \"{}\"", &format!("inline: '{KEYS}'")));
    let page = of_page();
    assert_eq!(page.len(), 2, "the pairs of the page");
    let all = sets.into_iter().chain(page).chain(forms().into_iter().map(|form| form.to_string()));
    let mut wrong = Vec::new();
    let mut count = 0;
    for text in all {
        count += 1;
        let ran = migrate(&text, &["--verify"]);
        let loads = explains(&ran.out);
        if ran.status != Some(0) || loads.is_err() {
            wrong.push(format!("{text}: {:?}: {loads:?}\n{}\n{}", ran.status, ran.out, ran.report));
            continue;
        }
        let (asked, passed) = counted(&ran.report);
        assert!(asked >= 90 && passed >= 2 && asked - passed >= 20, "{text}: {passed} of {asked} pass");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 18, "only {count} policies");
}

#[test]
fn each_change_of_a_policy_is_a_comment_at_its_place_and_a_line_of_the_report() {
    let extract = json!({ "name": "x", "valueType": "StringArray", "values": ["a"] });
    let provider = corp(json!({
        "remoteJWKS": {
            "uri": "https://idp.example/keys",
            "cacheDuration": "1h30m",
            "backendRefs": [{ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "idp" }],
        },
        "claimToHeaders": [{ "header": "x-user", "claim": "org.name" }],
        "recomputeRoute": true,
    }));
    let mut text = policy(json!({
        "cors": { "allowOrigins": ["*"] },
        "jwt": { "optional": true, "providers": [provider] },
        "authorization": { "defaultAction": "Allow", "rules": [
            { "action": "Deny", "operation": { "path": { "type": "RegularExpression", "value": "/a.*" } }, "principal": claims(json!([extract])) },
        ] },
    }));
    text["spec"]["jwt"]["providers"][0].as_object_mut().expect("a provider").remove("localJWKS");
    let ran = migrate(&text.to_string(), &[]);
    assert_eq!(ran.status, Some(0), "{}", ran.report);
    for (line, comment) in [
        ("    remote_jwks:", "backendRefs"),
        ("    forward: true", "every token"),
        ("  open:", "optional"),
        ("rules:", "defaultAction is Allow"),
        ("  - match:", "path and query"),
        ("    authorize:", "StringArray"),
    ] {
        let at = ran.out.lines().position(|written| written.starts_with(line));
        let at = at.unwrap_or_else(|| panic!("{line:?} is not in\n{}", ran.out));
        let lines: Vec<&str> = ran.out.lines().take(at).collect();
        let comments: Vec<&str> =
            lines.iter().rev().take_while(|line| line.trim_start().starts_with("# ")).copied().collect();
        assert!(comments.concat().contains(comment), "{line:?}: {comment:?} is not above in\n{}", ran.out);
    }
    for written in [
        "clear_route_cache: true",
        r#"cache_duration: "5400s""#,
        "httproute/shop/corp-keys/rule/0",
        "claim_name: org.name",
    ] {
        assert!(ran.out.contains(written), "{written} is not in\n{}", ran.out);
    }
    for said in [
        "cors of the SecurityPolicy stays there",
        r#""kind":"HTTPRoute","name":"orders""#,
        "in one step",
        "[metadata]",
    ] {
        assert!(ran.report.contains(said), "{said} is not in\n{}", ran.report);
    }
}

#[test]
fn keys_of_a_config_map_are_copied_where_it_is_given() {
    let mut own = corp(
        json!({ "localJWKS": { "type": "ValueRef", "valueRef": { "kind": "ConfigMap", "name": "keys" } } }),
    );
    own["localJWKS"]["type"] = json!("ValueRef");
    let text = policy(json!({ "jwt": { "providers": [own] } })).to_string();
    let alone = migrate(&text, &[]);
    assert_eq!(alone.status, Some(0), "{}", alone.report);
    assert!(alone.out.contains("environment_variable: PORTCULLIS_CORP_JWKS"), "{}", alone.out);
    assert!(alone.report.contains("ConfigMap \"keys\""), "{}", alone.report);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "keys" }, "data": { "jwks": KEYS } });
    let both = migrate(&format!("{text}\n---\n{map}\n"), &["--verify"]);
    assert_eq!(both.status, Some(0), "{}", both.report);
    assert!(
        both.out.contains("inline_string") && both.report.contains("are copied"),
        "{}\n{}",
        both.out,
        both.report
    );
}

#[test]
fn what_cannot_be_carried_over_is_no_configuration_and_says_what_to_do() {
    let cidr = || json!({ "clientCIDRs": ["10.0.0.0/8"] });
    let allow = |principal: Value| json!({ "action": "Allow", "principal": principal });
    let at = |kind: &str, value: &str| json!({ "path": { "type": kind, "value": value } });
    let twice = |one: &Value, other: &Value| format!("{one}\n---\n{other}\n");
    let cases = [
        (rules(json!({}), json!([{ "action": "Deny", "principal": with(admins(), cidr()) }])).to_string(), "split it by path or host"),
        (rules(json!({}), json!([allow(cidr()), allow(admins())])).to_string(), "one or the other"),
        (rules(json!({}), json!([{ "action": "Allow", "cel": "true" }, allow(admins())])).to_string(), "one or the other"),
        (
            rules(json!({}), json!([allow(with(admins(), cidr())), allow(claims(json!([{ "name": "a", "values": ["b"] }])))])).to_string(),
            "one or the other",
        ),
        (policy(json!({ "mergeType": "StrategicMerge" })).to_string(), "mergeType"),
        (policy(json!({ "targetRefs": [{ "kind": "TCPRoute", "name": "x" }] })).to_string(), "no requests of HTTP"),
        (policy(json!({ "jwt": null, "cors": {} })).to_string(), "stays as it is"),
        (policy(json!({ "somethingNew": {} })).to_string(), "\"somethingNew\" of a SecurityPolicy is not known"),
        (twice(&policy(json!({})), &policy(json!({ "cors": {} }))), "give one at a time"),
        (twice(&policy(json!({})), &json!({ "kind": "AuthorizationPolicy", "spec": {} })), "one kind at a time"),
        (rules(json!({}), json!([allow(json!({ "jwt": { "provider": "other", "scopes": ["a"] } }))])).to_string(), "no provider \"other\""),
        (
            rules(json!({}), json!([
                { "action": "Allow", "operation": at("PathPrefix", "/a"), "principal": admins() },
                { "action": "Allow", "operation": at("RegularExpression", ".*/b"), "principal": { "jwt": { "provider": "corp", "scopes": ["b"] } } },
            ])).to_string(),
            "may overlap",
        ),
        (
            rules(json!({ "providers": [corp(json!({})), corp(json!({ "name": "same" }))] }), json!([allow(admins())])).to_string(),
            "name the issuers",
        ),
    ];
    for (text, says) in cases {
        let ran = migrate(&text, &[]);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{text}: {}", ran.report);
        assert!(ran.report.contains(says), "{text}: {says:?} is not in {}", ran.report);
    }
}
