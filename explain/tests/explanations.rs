//! What is explained: the decision, its steps, and what travels.

use portcullis::Timestamp;
use portcullis_explain::{
    Bench, Explanation, Forge, KeysGiven, RequestSketch, RouteSketch, TokenSketch, as_text,
};
use serde_json::{Map, Value, json};

const NOW: u64 = 1_796_000_000;

fn bench(config: &Value) -> Bench {
    Bench::new(config.to_string().as_bytes(), &|_| Some("0123456789abcdef0123456789abcdef".to_owned()))
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A shop whose orders want a scope.
fn shop() -> Bench {
    bench(&json!({
        "providers": {
            "corp": {
                "issuer": "https://idp.example/",
                "audiences": ["shop"],
                "forward": true,
                "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
                "remote_jwks": { "http_uri": { "uri": "https://idp.example/keys", "cluster": "idp", "timeout": "1s" } },
            },
            "partner": {
                "issuer": "https://partner.example/",
                "audiences": ["shop"],
                "remote_jwks": { "http_uri": { "uri": "https://partner.example/keys", "cluster": "partner", "timeout": "1s" } },
            },
        },
        "rules": [
            { "name": "health", "match": { "path": "/health" } },
            { "name": "orders", "match": { "prefix": "/orders", "methods": ["GET"] },
              "requires": { "provider_name": "corp" }, "authorize": { "scopes": { "any_of": ["orders:read"] } } },
            { "name": "partners", "match": { "prefix": "/partners" }, "requires": { "provider_name": "partner" } },
        ],
    }))
}

fn get(path: &str) -> RequestSketch {
    RequestSketch { path: path.to_owned(), ..RequestSketch::default() }
}

fn claims(claims: Value) -> TokenSketch {
    let Value::Object(claims) = claims else { panic!("{claims} is no object") };
    TokenSketch { claims, ..TokenSketch::default() }
}

/// What is explained of a request with a token for its rule.
fn with_token(
    bench: &Bench,
    sketch: &RequestSketch,
    token: &TokenSketch,
    provider: Option<&str>,
) -> Explanation {
    let (mut bench, mut sketch) = (bench.clone(), sketch.clone());
    let token = bench.carry(&mut sketch, token, provider, (&mut Forge::default(), NOW)).expect("a token");
    bench.explain(&sketch, Timestamp::from_secs(NOW), &[token])
}

fn without_token(bench: &Bench, sketch: &RequestSketch) -> Explanation {
    bench.explain(sketch, Timestamp::from_secs(NOW), &[])
}

fn steps(explanation: &Explanation) -> Vec<(&'static str, &'static str)> {
    explanation.steps.iter().map(|step| (step.step, step.outcome)).collect()
}

#[test]
fn a_request_that_passes_shows_its_steps_and_what_goes_on() {
    let explanation =
        with_token(&shop(), &get("/orders/7"), &claims(json!({ "scope": "orders:read" })), None);
    assert_eq!((explanation.decision, explanation.status, explanation.reason), ("allow", 200, None));
    assert_eq!(explanation.rule.as_deref(), Some("orders"));
    assert_eq!(explanation.provider.as_deref(), Some("corp"));
    assert_eq!(explanation.readings, ["/orders/7"]);
    let all = [
        "match_rule",
        "find_token",
        "authenticate",
        "check_proof",
        "check_revocation",
        "introspect",
        "authorize",
    ];
    assert_eq!(steps(&explanation), all.map(|step| (step, "passed")));
    let upstream = explanation.upstream.as_ref().expect("it goes on");
    assert_eq!(upstream.headers.0["x-user"], ["alice"]);
    let bearer = &upstream.headers.0["authorization"][0];
    assert!(bearer.starts_with("Bearer <token of ") && !bearer.contains("eyJ"), "{bearer}");
    assert!(explanation.answer.is_none());
}

#[test]
fn each_rule_before_says_why_it_is_not_the_one() {
    let explanation = without_token(&shop(), &RequestSketch { method: "POST".into(), ..get("/orders") });
    let checks: Vec<_> =
        explanation.steps[0].checks.iter().map(|check| (&*check.what, &*check.text)).collect();
    assert_eq!(
        checks,
        [
            ("rule \"health\"", "path does not hold"),
            ("rule \"orders\"", "prefix holds, methods does not hold"),
            ("rule \"partners\"", "prefix does not hold"),
        ]
    );
    assert_eq!((explanation.status, explanation.reason), (403, Some("route_unmatched")));
}

/// What is wrong with a request, and the step that says so.
#[test]
fn the_step_that_refuses_says_why() {
    let shop = shop();
    let good = json!({ "scope": "orders:read" });
    let sketch = |token: TokenSketch, more: Value| {
        let Value::Object(more) = more else { panic!() };
        let mut claims = good.as_object().cloned().unwrap();
        claims.extend(more);
        TokenSketch { claims, ..token }
    };
    let own = TokenSketch::default;
    for (token, step, reason, status) in [
        (sketch(own(), json!({ "exp": NOW - 100 })), "authenticate", "expired", 401),
        (sketch(own(), json!({ "aud": "another" })), "authenticate", "audience_mismatch", 401),
        (sketch(own(), json!({ "iss": "https://else.example/" })), "authenticate", "issuer_unknown", 401),
        (sketch(own(), json!({ "iss": null })), "authenticate", "issuer_unknown", 401),
        (sketch(own(), json!({ "nbf": NOW + 1000 })), "authenticate", "not_yet_valid", 401),
        (sketch(own(), json!({ "scope": "else" })), "authorize", "scope_insufficient", 403),
        (sketch(own(), json!({ "cnf": { "jkt": "x" } })), "authenticate", "token_bound", 401),
        (TokenSketch { age: 1000, ..sketch(own(), json!({})) }, "authenticate", "expired", 401),
        (
            TokenSketch { alg: Some("HS256".into()), ..sketch(own(), json!({})) },
            "authenticate",
            "algorithm_not_allowed",
            401,
        ),
        (
            TokenSketch { kid: Some("another".into()), ..sketch(own(), json!({})) },
            "authenticate",
            "key_not_found",
            401,
        ),
        (
            TokenSketch { header: map(json!({ "typ": "dpop+jwt" })), ..sketch(own(), json!({})) },
            "authenticate",
            "type_not_allowed",
            401,
        ),
    ] {
        let explanation = with_token(&shop, &get("/orders/7"), &token, None);
        let last = explanation.steps.iter().find(|step| step.outcome == "failed").expect("one fails");
        assert_eq!(explanation.reason, Some(reason), "{token:?}: {explanation:#?}");
        assert_eq!((last.step, last.reason), (step, Some(reason)), "{token:?}");
        let answer = explanation.answer.as_ref().expect("an answer");
        assert_eq!((explanation.status, answer.status), (status, status), "{token:?}");
        assert!(answer.headers.0.contains_key("www-authenticate") || status == 403, "{answer:?}");
        assert!(explanation.upstream.is_none());
    }
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

#[test]
fn every_check_of_the_claims_is_shown_and_not_the_first_failure_alone() {
    let token = claims(json!({ "exp": NOW - 100, "aud": "another", "scope": "orders:read" }));
    let explanation = with_token(&shop(), &get("/orders/7"), &token, None);
    let authenticate = explanation.steps.iter().find(|step| step.step == "authenticate").expect("the step");
    let failed: Vec<_> =
        authenticate.checks.iter().filter(|check| !check.ok).map(|check| &*check.what).collect();
    assert_eq!(failed, ["exp, nbf, iat", "aud"]);
}

#[test]
fn every_algorithm_can_be_signed_with() {
    for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] {
        let bench = bench(&json!({
            "providers": { "p": { "issuer": "https://idp.example/", "algorithms": [alg],
                "remote_jwks": { "http_uri": { "uri": "https://idp.example/keys", "cluster": "idp", "timeout": "1s" } } } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        }));
        let explanation = with_token(&bench, &get("/"), &TokenSketch::default(), None);
        assert_eq!((explanation.decision, explanation.reason), ("allow", None), "{alg}: {explanation:#?}");
    }
    for alg in ["HS256", "HS384", "HS512"] {
        let secret = "A".repeat(86);
        let bench = bench(&json!({
            "providers": { "p": { "issuer": "https://idp.example/", "algorithms": [alg],
                "local_jwks": { "inline": { "keys": [{ "kty": "oct", "k": secret }] } } } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        }));
        let explanation = with_token(&bench, &get("/"), &TokenSketch::default(), None);
        assert_eq!((explanation.decision, explanation.reason), ("allow", None), "{alg}: {explanation:#?}");
    }
}

#[test]
fn a_provider_s_keys_are_its_own() {
    let as_partner =
        with_token(&shop(), &get("/orders"), &claims(json!({ "scope": "orders:read" })), Some("partner"));
    assert_eq!(as_partner.reason, Some("issuer_unknown"));
    let claims = claims(json!({ "scope": "orders:read", "iss": "https://idp.example/" }));
    let forged = with_token(&shop(), &get("/orders"), &claims, Some("partner"));
    assert_eq!(forged.reason, Some("signature_invalid"), "{forged:#?}");
}

#[test]
fn keys_that_are_not_given_are_not_there() {
    let mut bench = shop();
    let request = RequestSketch {
        headers: vec![("Authorization".into(), format!("Bearer {}", example_of_jwt()))],
        ..get("/orders")
    };
    let explanation = without_token(&bench, &request);
    assert_eq!(explanation.reason, Some("issuer_unknown"));
    assert!(explanation.notes.iter().any(|note| note.contains("\"corp\"")), "{:?}", explanation.notes);
    let keys = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }] });
    bench.set_keys(Some("corp"), keys.to_string().as_bytes(), KeysGiven::Fetched).expect("keys");
    assert!(!without_token(&bench, &request).notes.iter().any(|note| note.contains("\"corp\"")));
    assert!(bench.set_keys(Some("nobody"), keys.to_string().as_bytes(), KeysGiven::Fetched).is_err());
    assert!(bench.set_keys(None, b"{}", KeysGiven::Fetched).is_err());
}

/// The example of RFC 7515 appendix A.3.
fn example_of_jwt() -> &'static str {
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
}

#[test]
fn no_token_is_shown_anywhere() {
    let shop = shop();
    let token = example_of_jwt();
    for request in [
        RequestSketch {
            headers: vec![("authorization".into(), format!("Bearer {token}"))],
            ..get("/health")
        },
        RequestSketch { headers: vec![("cookie".into(), format!("a=b; t={token}"))], ..get("/health") },
        get(&format!("/health?access_token={token}")),
        get(&format!("/{token}/x")),
        RequestSketch {
            headers: vec![("x".into(), token.into()), ("authorization".into(), format!("Bearer {token}"))],
            ..get("/orders")
        },
    ] {
        let explanation = without_token(&shop, &request);
        let text = as_text(&explanation, &|_, text| text.to_owned());
        let json = serde_json::to_string(&explanation).expect("JSON");
        let signature = token.rsplit('.').next().expect("a signature");
        assert!(!text.contains(signature) && !json.contains(signature), "{text}\n{json}");
    }
}

#[test]
fn a_route_s_metadata_and_other_places_of_tokens_count() {
    let mut bench = bench(&json!({
        "providers": { "p": { "issuer": "https://idp.example/", "from_cookies": ["session"],
            "remote_jwks": { "http_uri": { "uri": "https://idp.example/keys", "cluster": "idp", "timeout": "1s" } } } },
        "rules": [{ "name": "all", "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        "route_rules": true,
    }));
    let explanation = with_token(&bench, &get("/"), &TokenSketch::default(), None);
    assert_eq!(explanation.reason, None, "{explanation:#?}");
    let upstream = explanation.upstream.expect("it goes on");
    assert_eq!(upstream.removed, ["cookie"]);
    let route = RouteSketch { scopes: vec!["a".into()], ..RouteSketch::default() };
    let asked = with_token(&bench, &RequestSketch { route, ..get("/") }, &TokenSketch::default(), None);
    assert_eq!(asked.reason, Some("scope_insufficient"), "{asked:#?}");
    bench.set_introspection(b"{}".to_vec());
}

#[test]
fn an_opaque_token_is_what_introspection_says_of_it() {
    let mut bench = bench(&json!({
        "providers": { "p": { "issuer": "https://idp.example/", "introspection": {
            "http_uri": { "uri": "https://idp.example/introspect", "cluster": "idp", "timeout": "1s" },
            "client_id": "gate", "client_secret": { "environment_variable": "SECRET" } } } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
    }));
    let request = RequestSketch {
        headers: vec![("authorization".into(), "Bearer opaque-token-1234567890".into())],
        ..get("/")
    };
    let unknown = bench.explain(&request, Timestamp::from_secs(NOW), &["opaque-token-1234567890".into()]);
    assert_eq!(unknown.reason, Some("introspection_unavailable"), "{unknown:#?}");
    let answer = json!({ "active": true, "sub": "alice", "exp": NOW + 100, "iss": "https://idp.example/" });
    bench.set_introspection(answer.to_string().into_bytes());
    let known = bench.explain(&request, Timestamp::from_secs(NOW), &["opaque-token-1234567890".into()]);
    assert_eq!((known.decision, known.reason), ("allow", None), "{known:#?}");
    bench.set_introspection(br#"{"active":false}"#.to_vec());
    let inactive = bench.explain(&request, Timestamp::from_secs(NOW), &[]);
    assert_eq!(inactive.reason, Some("token_inactive"), "{inactive:#?}");
}

#[test]
fn a_grpc_client_and_a_head_request_get_their_own_forms() {
    let grpc = RequestSketch {
        method: "POST".into(),
        headers: vec![("content-type".into(), "application/grpc".into())],
        ..get("/orders.Orders/Get")
    };
    let answer = without_token(&shop(), &grpc).answer.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (200, ""));
    assert_eq!(answer.headers.0["grpc-status"], ["7"]);
    let head = RequestSketch { method: "HEAD".into(), ..get("/orders") };
    let answer = without_token(&shop(), &head).answer.expect("an answer");
    assert_eq!((answer.status, &*answer.body), (403, ""));
}

/// Each refusal stands with the step that made it.
#[test]
fn what_is_used_up_and_which_resource_is_meant_are_steps_of_their_own() {
    let bench = bench(&json!({
        "providers": { "p": { "issuer": "https://idp.example/", "audiences": ["shop"],
            "remote_jwks": { "http_uri": { "uri": "https://idp.example/keys", "cluster": "idp", "timeout": "1s" } } } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" }, "one_time": true }],
        "protected_resources": [{ "resource": "https://shop.example/orders", "match": { "path_separated_prefix": "/orders", "hosts": ["shop.example"] }, "authorization_servers": ["https://idp.example/"] }],
    }));
    let request = RequestSketch { host: "shop.example".into(), ..get("/orders") };
    let passed = with_token(&bench, &request, &claims(json!({ "jti": "1" })), None);
    let named: Vec<_> = steps(&passed).into_iter().map(|(step, _)| step).collect();
    assert_eq!(passed.reason, None, "{passed:#?}");
    assert!(named.contains(&"find_resource") && named.last() == Some(&"use_once"), "{named:?}");
    // Nobody remembers a token for as long as that.
    let refused = with_token(&bench, &request, &claims(json!({ "exp": NOW + 1_000_000 })), None);
    assert!(refused.reason.is_some(), "{refused:#?}");
    let last = refused.steps.last().expect("a step");
    assert_eq!((last.step, last.outcome), ("use_once", "failed"), "{refused:#?}");
}
