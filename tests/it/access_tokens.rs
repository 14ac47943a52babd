//! What no access token is, though its provider signed it: ID tokens, refresh tokens, logout tokens.

use crate::common;

use common::{Gateway, SOON, config, corp, local_provider, with};
use harness::{Alg, Idp, Request, eventually};
use serde_json::{Value, json};

fn rules() -> Value {
    json!([{ "name": "api", "match": { "prefix": "/" }, "requires": corp() }])
}

/// A gateway whose provider has this besides.
fn gateway(more: Value) -> Gateway {
    Gateway::start(|idp| configuration(idp, more))
}

fn configuration(idp: &Idp, more: Value) -> Value {
    with(config(with(local_provider(idp), more), rules()), json!({ "audit": { "max_per_second": 1000 } }))
}

/// What becomes of a token with these claims, asked for three times: it passes, or the reason and the detail of the audit
/// line.
fn judged(gateway: &Gateway, number: usize, claims: &Value, without_exp: bool) -> Option<(String, String)> {
    let mint = gateway.idp.mint().claims(claims.clone());
    let token = if without_exp { mint.without("exp") } else { mint }.sign();
    let path = format!("/{number}");
    let statuses: Vec<u16> =
        (0..3).map(|_| Request::get(&path).bearer(&token).send(gateway.addr()).status).collect();
    if statuses == [200; 3] {
        return None;
    }
    assert_eq!(statuses, [401; 3], "{claims}");
    let line = gateway.envoy.wait_for_log(&format!("\"path\":\"{path}\""), SOON);
    let (_, line) = line.split_once(" audit {").expect("an audit line");
    let line: Value = serde_json::from_str(&format!("{{{line}")).expect("JSON");
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Some((text("reason"), text("detail")))
}

#[test]
fn a_condition_on_claims_tells_access_tokens_from_others() {
    let gateway = gateway(json!({
        "required_claims": [
            "sub",
            { "claim": "typ", "any_of": ["Bearer", "bearer", "DPoP"] },
            { "claim": "realm_access.roles", "matches": "api-.*" },
            { "claim": "auth_level", "gte": 1, "lte": 3 },
            { "claim": "nonce", "present": false },
            { "claim": "azp", "none_of": ["web"] },
            { "claim": "active", "equals": true },
        ],
        "claim_to_headers": [{ "header_name": "x-typ", "claim_name": "typ" }],
    }));
    let good = json!({
        "typ": "Bearer", "realm_access": { "roles": ["staff", "api-read"] }, "auth_level": 2, "azp": "shop", "active": true,
    });
    let cases = [
        (json!({}), None),
        (json!({ "typ": "DPoP" }), None),
        (json!({ "auth_level": 1.0, "realm_access": { "roles": "api-x" } }), None),
        (json!({ "nonce": null }), None),
        (json!({ "typ": "ID" }), Some("claim \"typ\" must have any of \"Bearer\"")),
        (json!({ "typ": "Refresh" }), Some("claim \"typ\"")),
        (json!({ "typ": ["x", "Logout"] }), Some("claim \"typ\"")),
        (json!({ "typ": null }), Some("claim \"typ\"")),
        (json!({ "typ": 7 }), Some("claim \"typ\"")),
        (
            json!({ "realm_access": { "roles": ["staff", "xapi-read"] } }),
            Some("claim \"realm_access.roles\""),
        ),
        (json!({ "realm_access": {} }), Some("claim \"realm_access.roles\"")),
        (json!({ "auth_level": 4 }), Some("claim \"auth_level\" must be a number from 1 to 3")),
        (json!({ "auth_level": "2" }), Some("claim \"auth_level\"")),
        (json!({ "nonce": "n" }), Some("claim \"nonce\" must be absent")),
        (json!({ "azp": "web" }), Some("claim \"azp\" must have none of \"web\"")),
        // A claim that is asked for must be there, for `none_of` too.
        (json!({ "azp": null }), Some("claim \"azp\"")),
        (json!({ "active": "true" }), Some("claim \"active\" must equal true")),
    ];
    for (number, (change, expected)) in cases.iter().enumerate() {
        let claims = with(good.clone(), change.clone());
        let found = judged(&gateway, number, &claims, false);
        match (expected, found) {
            (None, None) => assert!(gateway.upstream.last().header("x-typ").is_some(), "{claims}"),
            (Some(words), Some((reason, detail))) => {
                assert_eq!(reason, "claim_invalid", "{claims}: {detail}");
                assert!(
                    detail.starts_with(words) && detail.ends_with("(required_claims)"),
                    "{claims}: {detail}"
                );
            }
            (expected, found) => panic!("{claims}: {found:?}, and not {expected:?}"),
        }
    }
    // The client is not told what was asked for.
    let token = gateway.idp.token(with(good, json!({ "typ": "ID" })));
    let response = Request::get("/told").bearer(&token).send(gateway.addr());
    assert!(
        !response.text().contains("typ\"") && !response.text().contains("Bearer\""),
        "{}",
        response.text()
    );
    gateway.assert_sound();
}

#[test]
fn a_logout_token_or_another_security_event_token_is_no_access_token() {
    const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
    for require_expiration in [false, true] {
        let gateway = gateway(json!({
            "require_expiration": require_expiration,
            "token_types": ["absent", "JWT", "at+jwt", "logout+jwt", "secevent+jwt"],
        }));
        let mut number = 0;
        for (events, passes) in [
            (json!({ LOGOUT: {} }), false),
            (
                json!({ "https://schemas.openid.net/secevent/caep/event-type/session-revoked": { "a": 1 } }),
                false,
            ),
            (json!({}), false),
            (json!([]), false),
            (json!("text"), false),
            (json!(null), true),
        ] {
            for without_exp in [false, true] {
                number += 1;
                let found = judged(&gateway, number, &json!({ "events": events, "sid": "s" }), without_exp);
                let passes = passes && (!without_exp || !require_expiration);
                assert_eq!(found.is_none(), passes, "{events}: {found:?}");
                if let Some((reason, _)) = found {
                    let expected = if events.is_null() { "expiration_missing" } else { "type_not_allowed" };
                    assert_eq!(reason, expected, "{events}, without exp {without_exp}");
                }
            }
        }
        for typ in ["JWT", "at+jwt", "logout+jwt", "secevent+jwt"] {
            let token = gateway.idp.mint().header("typ", typ).claim("events", json!({ LOGOUT: {} })).sign();
            assert_eq!(Request::get("/typ").bearer(&token).send(gateway.addr()).status, 401, "{typ}");
        }
        // A name with escapes is the same name.
        let claims = gateway.idp.mint().payload().to_string();
        let escaped = claims.replacen('{', r#"{"\u0065vents":{"x":{}},"#, 1);
        let token =
            gateway.idp.key(Alg::ES256).sign_parts(br#"{"alg":"ES256","kid":"ec-1"}"#, escaped.as_bytes());
        assert_eq!(Request::get("/escaped").bearer(&token).send(gateway.addr()).status, 401);
        gateway.assert_sound();
    }
}

#[test]
fn null_scopes_and_roles_are_none() {
    let gateway = Gateway::start(|idp| {
        let provider = with(local_provider(idp), json!({ "role_claims": ["roles", "groups"] }));
        let rules = json!([
            { "match": { "prefix": "/scope" }, "requires": corp(), "authorize": { "scopes": { "any_of": ["read"] } } },
            { "match": { "prefix": "/role" }, "requires": corp(), "authorize": { "roles": { "any_of": ["admin"] } } },
            { "match": { "prefix": "/" }, "requires": corp() },
        ]);
        config(provider, rules)
    });
    let status = |path: &str, claims: Value| {
        Request::get(path).bearer(&gateway.idp.token(claims)).send(gateway.addr()).status
    };
    for (path, claims, expected) in [
        ("/a", json!({ "scope": null, "scp": null, "roles": null }), 200),
        ("/scope", json!({ "scope": null }), 403),
        ("/scope", json!({ "scope": null, "scp": "read" }), 200),
        ("/scope", json!({ "scope": "read", "scp": null }), 200),
        ("/role", json!({ "roles": null }), 403),
        ("/role", json!({ "roles": null, "groups": ["admin"] }), 200),
        ("/a", json!({ "scope": [null] }), 401),
    ] {
        assert_eq!(status(path, claims.clone()), expected, "{path} {claims}");
    }
    gateway.assert_sound();
}

#[test]
fn a_token_is_remembered_however_long_it_may_be() {
    for (more, remembered) in [
        (json!({ "max_token_size": 40_000 }), true),
        (json!({}), true),
        (json!({ "max_token_size": 40_000, "jwt_cache_config": { "jwt_cache_size": 10 } }), true),
        (json!({ "max_token_size": 40_000, "jwt_cache_config": { "jwt_max_token_size": 4096 } }), false),
    ] {
        let gateway = Gateway::alone(|idp| configuration(idp, more.clone()));
        let roles: Vec<String> =
            (0..200).map(|at| format!("realm-role-{at:03}-of-a-large-company")).collect();
        let length = if more.get("max_token_size").is_some() { 200 } else { 100 };
        let token = gateway.idp.token(json!({ "realm_access": { "roles": roles[..length] } }));
        assert!(token.len() > 4096, "{}", token.len());
        for _ in 0..3 {
            assert_eq!(Request::get("/").bearer(&token).send(gateway.addr()).status, 200);
        }
        let counts = if remembered { [2, 1] } else { [0, 3] };
        let stat = |name: &str| {
            gateway.envoy.stat(&format!("wasmcustom.portcullis.token_cache.provider.corp.result.{name}"))
        };
        eventually("the hits and misses", SOON, || {
            // It has no token to look up.
            common::nudge(&gateway.envoy, &Request::get("/"));
            (["hit", "miss"].map(stat) == counts).then_some(())
        });
        gateway.assert_sound();
    }
}
