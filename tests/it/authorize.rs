//! What a token may do, on a real Envoy: roles, claims, bindings to the request, and their combinations.

use crate::common;

use common::{Gateway, assert_problem, challenge, config, corp, local_provider, with};
use harness::{Request, Response};
use serde_json::{Value, json};

fn gateway() -> Gateway {
    let rule = |matches: Value, authorize: Value| json!({ "match": matches, "requires": corp(), "authorize": authorize });
    let path = |path: &str, authorize: Value| rule(json!({ "path": path }), authorize);
    let is = |claim: &str, value: Value| json!({ "claims": [{ "claim": claim, "equals": value }] });
    Gateway::start(|idp| {
        let provider = with(
            local_provider(idp),
            json!({
                "role_claims": ["roles", "/realm/roles", { "claim": "o.per", "format": "comma" }, { "claim": "grants", "format": "keys" }],
                "scope_hierarchy": { "write": ["read"], "orders:*": ["orders:list"] },
            }),
        );
        config(
            provider,
            json!([
                rule(
                    json!({ "path_template": "/tenants/{tenant}/{rest=**}" }),
                    json!({ "claims": [{ "claim": "tenant", "equals_path": "tenant" }] }),
                ),
                path("/header", json!({ "claims": [{ "claim": "tenant", "equals_header": "X-Tenant" }] })),
                path("/host", json!({ "claims": [{ "claim": "tenant", "equals_host": true }] })),
                path("/roles", json!({ "roles": { "all_of": ["ops", "site admin"] } })),
                path("/not-banned", json!({ "roles": { "none_of": ["banned"] } })),
                path("/read", json!({ "scopes": { "all_of": ["read", "orders:list"] } })),
                path("/verified", is("email_verified", json!(true))),
                path("/level", json!({ "claims": [{ "claim": "level", "gte": 2, "lte": 3.5 }] })),
                path(
                    "/either",
                    json!({ "any": [{ "scopes": { "all_of": ["admin"] } }, { "roles": { "any_of": ["ops"] } }] }),
                ),
                path("/both", json!({ "all": [{ "roles": { "any_of": ["ops"] } }, { "scopes": { "any_of": ["a", "b"] } }] })),
                path("/not", json!({ "not": is("suspended", json!(true)) })),
                { "match": { "prefix": "/" }, "requires": corp() },
            ]),
        )
    })
}

#[track_caller]
fn assert_outcome(what: &str, response: &Response, expected: &str) {
    match expected {
        "" => assert_eq!(response.status, 200, "{what}: {}", response.text()),
        "path_ambiguous" | "request_ambiguous" => assert_problem(what, response, 400, expected),
        reason => assert_problem(what, response, 403, reason),
    }
}

#[test]
fn a_token_may_do_what_its_roles_and_claims_say() {
    const ROLE: &str = "role_insufficient";
    const CLAIM: &str = "claim_mismatch";
    const SCOPE: &str = "scope_insufficient";
    let gateway = gateway();
    // Path, claims, the reason of a refusal, and what the challenge then asks for.
    for (path, claims, expected, scope) in [
        ("/roles", json!({}), ROLE, None),
        ("/roles", json!({ "roles": ["ops", "site admin"] }), "", None),
        ("/roles", json!({ "roles": ["ops", "site", "admin"] }), ROLE, None),
        ("/roles", json!({ "roles": "ops", "realm": { "roles": ["site admin"] } }), "", None),
        ("/roles", json!({ "roles": "ops site admin" }), ROLE, None),
        ("/roles", json!({ "o": { "per": "site admin, ops" } }), "", None),
        ("/roles", json!({ "grants": { "ops": {}, "site admin": { "1": "x" } } }), "", None),
        ("/roles", json!({ "roles": null, "grants": { "ops": {} } }), ROLE, None),
        ("/not-banned", json!({}), "", None),
        ("/not-banned", json!({ "realm": { "roles": ["banned"] } }), ROLE, None),
        ("/read", json!({ "scope": "write orders:cancel" }), "", None),
        ("/read", json!({ "scope": "read orders:list" }), "", None),
        ("/read", json!({ "scope": "write orders" }), SCOPE, Some("read orders:list")),
        ("/verified", json!({ "email_verified": true }), "", None),
        ("/verified", json!({ "email_verified": "true" }), CLAIM, None),
        ("/verified", json!({}), CLAIM, None),
        ("/level", json!({ "level": 2 }), "", None),
        ("/level", json!({ "level": 3.5 }), "", None),
        ("/level", json!({ "level": 4 }), CLAIM, None),
        ("/level", json!({ "level": "2" }), CLAIM, None),
        ("/either", json!({ "scope": "admin" }), "", None),
        ("/either", json!({ "roles": ["ops"] }), "", None),
        ("/either", json!({ "scope": "administrator" }), SCOPE, Some("admin")),
        ("/both", json!({ "roles": ["ops"], "scope": "b" }), "", None),
        ("/both", json!({ "roles": ["ops"], "scope": "c" }), SCOPE, Some("a")),
        ("/both", json!({ "scope": "b" }), ROLE, None),
        ("/not", json!({}), "", None),
        ("/not", json!({ "suspended": false }), "", None),
        ("/not", json!({ "suspended": true }), CLAIM, None),
        ("/other", json!({}), "", None),
    ] {
        let what = format!("{path} with {claims}");
        let token = gateway.idp.token(claims);
        // Twice: the second time by what is remembered.
        for _ in 0..2 {
            let response = Request::get(path).bearer(&token).send(gateway.addr());
            assert_outcome(&what, &response, expected);
            let asked = challenge(&response);
            assert_eq!(asked.is_some(), !expected.is_empty(), "{what}");
            let asked = asked.unwrap_or_default();
            assert_eq!(asked.get("scope").map(String::as_str), scope, "{what}");
            let error = (expected == SCOPE).then_some("insufficient_scope");
            assert_eq!(asked.get("error").map(String::as_str), error, "{what}");
        }
    }
    // Roles that cannot be read are not none.
    for claims in [json!({ "roles": 7 }), json!({ "roles": { "a": 1 } }), json!({ "grants": ["ops"] })] {
        let token = gateway.idp.token(claims.clone());
        let response = Request::get("/not-banned?unreadable").bearer(&token).send(gateway.addr());
        assert_eq!(response.status, 401, "{claims}: {}", response.text());
        assert_eq!(
            gateway.logged("/not-banned?unreadable")["details"],
            "portcullis_claim_invalid",
            "{claims}"
        );
    }
    gateway.assert_sound();
}

/// One token, asked about again and again: what is remembered of one request is not taken for another.
#[test]
fn a_claim_is_bound_to_the_request_that_is_asked_about() {
    let gateway = gateway();
    let acme = gateway.idp.token(json!({ "tenant": "acme" }));
    let number = gateway.idp.token(json!({ "tenant": 42 }));
    let accent = gateway.idp.token(json!({ "tenant": "caf\u{e9}" }));
    let shop = gateway.idp.token(json!({ "tenant": "shop.example" }));
    let many = gateway.idp.token(json!({ "tenant": ["acme", "other"] }));
    let none = gateway.idp.token(json!({}));
    let get = |path: &str| Request::get(path);
    const NO: &str = "claim_mismatch";
    for round in 0..2 {
        for (token, request, expected) in [
            (&acme, get("/tenants/acme/orders/7"), ""),
            (&acme, get("/tenants/other/orders/7"), NO),
            (&acme, get("/tenants/acme/"), ""),
            (&acme, get("/tenants/ACME/orders"), NO),
            (&acme, get("/tenants/ac%6De/orders"), ""),
            (&acme, get("/tenants/acme;x=1/orders"), "path_ambiguous"),
            (&acme, get("/tenants/other;acme/orders"), "path_ambiguous"),
            (&acme, get("/tenants/ac%256De/orders"), "path_ambiguous"),
            (&acme, get("/tenants/acme/orders;x=1"), ""),
            (&acme, get("/tenants/other/acme"), NO),
            (&acme, get("/tenants/other/x?tenant=acme"), NO),
            (&number, get("/tenants/42/orders"), ""),
            (&number, get("/tenants/042/orders"), NO),
            (&accent, get("/tenants/caf%C3%A9/orders"), ""),
            (&accent, get("/tenants/cafe/orders"), NO),
            (&many, get("/tenants/acme/orders"), NO),
            (&none, get("/tenants/acme/orders"), NO),
            (&acme, get("/header").header("x-tenant", "acme"), ""),
            (&acme, get("/header").header("X-TENANT", "acme"), ""),
            (&acme, get("/header").header("x-tenant", "other"), NO),
            (&acme, get("/header").header("x-tenant", "acme").header("x-tenant", "other"), NO),
            (&acme, get("/header").header("x_tenant", "acme"), NO),
            (&acme, get("/header"), NO),
            (&none, get("/header"), NO),
            (&none, get("/header").header("x-tenant", ""), NO),
            (&shop, get("/host").host("shop.example"), ""),
            (&shop, get("/host").host("Shop.Example:8443"), ""),
            (&shop, get("/host").host("shop.example."), "request_ambiguous"),
            (&shop, get("/host").host("user@shop.example"), "request_ambiguous"),
            (&shop, get("/host").host("shop.example.evil.example"), NO),
            (&shop, get("/host").host("other.example").header("x-forwarded-host", "shop.example"), NO),
            (&none, get("/host").host("shop.example"), NO),
        ] {
            let what = format!("round {round}: {request:?}");
            assert_outcome(&what, &request.bearer(token).send(gateway.addr()), expected);
        }
    }
    gateway.assert_sound();
}

/// Takes the conditions out that compare a claim with the client's certificate.
fn without_peer(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.retain(|item| item.get("equals_peer").is_none());
            items.iter_mut().for_each(without_peer);
        }
        Value::Object(members) => members.values_mut().for_each(without_peer),
        _ => {}
    }
}

/// The example of the reference, with the test's keys and issuer: every condition in it counts.
#[test]
fn the_example_in_the_reference_means_what_it_says() {
    let page = include_str!("../../docs/configuration/authorize.md");
    let mut blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains("tenant-orders")).expect("the example");
    let mut example: Value = serde_norway::from_str(block).expect("YAML");
    // Nobody comes with a certificate here: what that condition does is shown in bound_tokens::certificates.
    without_peer(&mut example);
    let gateway = Gateway::start(|idp| {
        let corp = example["providers"]["corp"].as_object_mut().expect("the provider");
        corp.remove("remote_jwks").expect("keys");
        for (name, value) in local_provider(idp).as_object().expect("an object") {
            corp.insert(name.clone(), value.clone());
        }
        example.clone()
    });
    let clerk = || {
        json!({
            "scope": "orders:write",
            "permissions": "print, clerk",
            "tenant": "acme",
            "region": "eu",
            "site": "shop.example",
            "address": { "country": "AT" },
            "groups": ["trained", "staff", "choir"],
            "https://corp.example/level": 3,
            "email": "a@corp.example",
            "email_verified": true,
            "manager": "b",
        })
    };
    let send = |claims: Value| {
        let request =
            Request::get("/tenants/acme/orders/7").host("shop.example:8443").header("x-region", "eu");
        request.bearer(&gateway.idp.token(claims)).send(gateway.addr())
    };
    assert_outcome("the clerk", &send(clerk()), "");
    let admin = json!({ "scope": "orders:read orders:x", "realm_access": { "roles": ["admin"] } });
    assert_outcome("the admin", &send(admin), "");
    for (name, value, reason) in [
        ("scope", json!("orders"), "scope_insufficient"),
        ("scope", json!("orders:write orders:blocked"), "scope_insufficient"),
        ("permissions", json!("print"), "role_insufficient"),
        // Of `any` the first clause names the reason: the admin's role.
        ("tenant", json!("other"), "role_insufficient"),
        ("region", json!("us"), "role_insufficient"),
        ("site", json!("other.example"), "role_insufficient"),
        ("address", json!({ "country": "DE" }), "role_insufficient"),
        ("groups", json!(["staff"]), "role_insufficient"),
        ("status", json!("left"), "role_insufficient"),
        ("https://corp.example/level", json!(1), "role_insufficient"),
        ("https://corp.example/level", json!(6), "role_insufficient"),
        ("email", json!("a@corp.example.evil.example"), "role_insufficient"),
        ("email_verified", json!("true"), "role_insufficient"),
        ("manager", json!(null), "role_insufficient"),
        ("suspended", json!(true), "claim_mismatch"),
    ] {
        let what = format!("{name}: {value}");
        assert_outcome(&what, &send(with(clerk(), json!({ name: value }))), reason);
    }
    gateway.assert_sound();
}
