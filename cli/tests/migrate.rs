//! `portcullis migrate`, as an operator runs it.

mod common;

use common::{counted, explains, migrate, set_of};
use portcullis::Config;
use serde_json::{Value, json};

const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn keys() -> String {
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": X }] }).to_string()
}

fn with(mut value: Value, more: Value) -> Value {
    for (name, member) in more.as_object().cloned().unwrap_or_default() {
        match member.is_null() {
            true => _ = value.as_object_mut().expect("an object").remove(&name),
            false => value[name] = member,
        }
    }
    value
}

fn corp() -> Value {
    json!({ "provider_name": "corp" })
}

fn partner() -> Value {
    json!({ "provider_name": "partner" })
}

fn any(parts: Value) -> Value {
    json!({ "requires_any": { "requirements": parts } })
}

fn all(parts: Value) -> Value {
    json!({ "requires_all": { "requirements": parts } })
}

fn provider(more: Value) -> Value {
    let usual = json!({ "issuer": "https://idp.example/", "audiences": ["orders"], "local_jwks": { "inline_string": keys() } });
    with(usual, more)
}

fn second(more: Value) -> Value {
    let usual = json!({ "issuer": "https://partner.example", "audiences": ["orders"], "local_jwks": { "inline_string": keys() } });
    with(usual, more)
}

fn whole(providers: Value, requires: Value) -> Value {
    json!({
        "providers": providers,
        "rules": [{ "match": { "path": "/open" } }, { "match": { "prefix": "/" }, "requires": requires }],
    })
}

/// Providers in one way and another.
fn of_providers() -> Vec<Value> {
    let writes = json!([{ "header_name": "x-user", "claim_name": "sub" }]);
    let remote = |more: Value| {
        let uri = json!({ "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": "idp", "timeout": "5s" } });
        json!({ "local_jwks": null, "remote_jwks": with(uri, more) })
    };
    let secret = json!({ "keys": [{ "kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "alg": "HS256" }] });
    let forms = vec![
        json!({}),
        json!({ "audiences": "orders" }),
        json!({ "audiences": ["billing", "https://orders.example/"] }),
        json!({ "audiences": null }),
        json!({ "issuer": null }),
        json!({ "issuer": null, "audiences": null }),
        json!({ "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }, { "name": "X-Token" }] }),
        json!({ "from_headers": { "name": "x-token", "value_prefix": "Token " } }),
        json!({ "fromHeaders": [{ "name": "authorization", "valuePrefix": "Bearer " }] }),
        json!({ "from_cookies": ["session"] }),
        json!({ "from_cookies": ["session"], "forward": true }),
        json!({ "from_params": ["token"] }),
        json!({ "from_params": "t", "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }] }),
        json!({ "from_headers": [], "from_params": [], "from_cookies": [] }),
        json!({ "forward": true }),
        json!({ "forward_payload_header": "x-payload", "pad_forward_payload_header": true }),
        json!({ "claim_to_headers": writes }),
        json!({ "claimToHeaders": { "headerName": "x-tenant", "claimName": "org.tenant" } }),
        json!({ "clear_route_cache": true, "claim_to_headers": writes }),
        json!({ "clock_skew_seconds": 0 }),
        json!({ "clock_skew_seconds": 300 }),
        json!({ "clock_skew_seconds": 86_400 }),
        json!({ "clockSkewSeconds": "3e1" }),
        json!({ "max_lifetime": { "seconds": 86_400 } }),
        json!({ "max_lifetime": "7200.500s" }),
        json!({ "require_expiration": true }),
        json!({ "require_expiration": true, "max_lifetime": "86400s" }),
        json!({ "subjects": { "exact": "alice" } }),
        json!({ "subjects": { "prefix": "a" } }),
        json!({ "subjects": { "safe_regex": { "regex": "ali.*|carol" } } }),
        json!({ "jwt_cache_config": { "jwt_cache_size": 100, "jwt_max_token_size": 4096 } }),
        json!({ "jwt_cache_config": {} }),
        json!({ "payload_in_metadata": "payload", "header_in_metadata": "header" }),
        json!({ "payload_in_metadata": "", "failed_status_in_metadata": "status" }),
        json!({ "payload_in_metadata": "p", "normalize_payload_in_metadata": { "space_delimited_claims": ["scope"] } }),
        json!({ "local_jwks": { "filename": "/etc/jwks.json", "watched_directory": { "path": "/etc" } } }),
        json!({ "local_jwks": { "inline_string": secret.to_string() } }),
        json!({ "local_jwks": { "environment_variable": "JWKS" } }),
        remote(json!({})),
        remote(json!({ "cache_duration": { "seconds": 300 } })),
        remote(
            json!({ "async_fetch": { "fast_listener": false }, "retry_policy": { "num_retries": 3 }, "cacheDuration": "300s" }),
        ),
    ];
    forms.into_iter().map(|more| whole(json!({ "corp": provider(more) }), corp())).collect()
}

/// Requirements, rules and what is about the whole.
fn of_rules() -> Vec<Value> {
    let x_token = || json!({ "from_headers": [{ "name": "x-token" }] });
    let both = || json!({ "corp": provider(json!({})), "partner": second(json!({})) });
    let places = || json!({ "corp": provider(json!({})), "partner": second(x_token()) });
    let mut found: Vec<Value> = [
        any(json!([corp(), partner()])),
        all(json!([corp(), partner()])),
        any(json!([corp(), all(json!([corp(), partner()]))])),
        all(json!([any(json!([corp(), { "allow_missing": {} }])), any(json!([partner(), { "allow_missing": {} }]))])),
        any(json!([corp(), partner(), { "allow_missing": {} }])),
        any(json!([corp(), partner(), { "allow_missing_or_failed": {} }])),
        json!({ "allow_missing": {} }),
        json!({ "allow_missing_or_failed": {} }),
        all(json!([corp(), corp()])),
        any(json!([corp(), corp()])),
        json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": ["billing", "vault"] } }),
        json!({ "provider_name": "corp", "requires_all": null }),
        any(json!([corp(), { "allow_missing": {} }])),
        any(json!([{ "provider_and_audiences": { "provider_name": "partner", "audiences": "vault" } }, corp()])),
    ]
    .into_iter()
    .flat_map(|requires| [whole(places(), requires.clone()), whole(both(), requires)])
    .collect();
    let matches = [
        json!({ "path": "/orders" }),
        json!({ "path": "/ORDERS", "case_sensitive": { "value": false } }),
        json!({ "prefix": "/orders/" }),
        json!({ "prefix": "/OR", "case_sensitive": false }),
        json!({ "path_separated_prefix": "/orders" }),
        json!({ "safe_regex": { "google_re2": {}, "regex": "/(orders|open)/[0-9]+" } }),
        json!({ "prefix": "/", "headers": [{ "name": ":method", "string_match": { "exact": "GET" } }] }),
        json!({ "prefix": "/", "headers": [{ "name": "x-n", "present_match": true, "invert_match": true }] }),
        json!({ "prefix": "/", "headers": { "name": "x-n", "range_match": { "start": "1", "end": 3.0 } } }),
        json!({ "prefix": "/", "headers": [{ "name": "x-n", "string_match": { "prefix": "a", "ignore_case": true } }] }),
        json!({ "prefix": "/", "query_parameters": [{ "name": "debug", "present_match": true }] }),
        json!({ "prefix": "/", "query_parameters": [{ "name": "v", "string_match": { "exact": "1" } }] }),
    ];
    for matcher in matches {
        let rules = json!([{ "match": matcher, "requires": corp() }]);
        found.push(json!({ "providers": { "corp": provider(json!({})) }, "rules": rules }));
    }
    let base = || whole(json!({ "corp": provider(json!({})) }), corp());
    let named = json!({ "staff": corp(), "guests": any(json!([corp(), { "allow_missing": {} }])) });
    found.extend([
        with(base(), json!({ "strip_failure_response": true })),
        with(base(), json!({ "bypass_cors_preflight": true })),
        with(base(), json!({ "bypassCorsPreflight": true, "stat_prefix": "jwt" })),
        with(base(), json!({ "requirement_map": named, "rules": { "match": { "prefix": "/" }, "requirement_name": "staff" } })),
        with(base(), json!({ "requirement_map": named, "rules": [] })),
        with(base(), json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" })),
    ]);
    found
}

#[test]
fn configurations_as_people_write_them_go_over_load_and_hold() {
    let forms: Vec<Value> = of_providers().into_iter().chain(of_rules()).collect();
    assert!(forms.len() >= 60, "{} configurations", forms.len());
    let mut wrong = Vec::new();
    for form in &forms {
        let ran = migrate(&form.to_string(), &["--verify"]);
        if ran.status != Some(0) {
            wrong.push(format!("{form}: {:?}:\n{}", ran.status, ran.report));
        } else if let Err(error) = explains(&ran.out) {
            wrong.push(format!("{form}: does not load: {error}\n{}", ran.out));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), forms.len(), wrong.join("\n"));
}

#[test]
fn what_is_open_stays_open_and_is_said_at_its_place() {
    let config = json!({
        "providers": { "corp": provider(json!({ "clock_skew_seconds": 0, "payload_in_metadata": "payload" })) },
        "rules": [{ "match": { "prefix": "/admin" }, "requires": corp() }],
    });
    let ran = migrate(&config.to_string(), &[]);
    assert_eq!(ran.status, Some(0), "{}", ran.report);
    for line in [
        "    require_expiration: false",
        "    audience_match: normalized",
        "    sender_constrained: ignore",
        "    clock_skew_seconds: 60",
        "    from_params: [access_token]",
        "unmatched: allow",
    ] {
        let at = ran.out.lines().position(|written| written == line);
        let at = at.unwrap_or_else(|| panic!("{line:?} is not in\n{}", ran.out));
        let before = ran.out.lines().nth(at - 1).unwrap_or_default().trim_start();
        assert!(before.starts_with("# "), "{line:?} has no comment, but {before:?}");
        let name = line.trim_start().split(':').next().unwrap_or_default();
        assert!(ran.report.contains(name), "{name} is not in the report:\n{}", ran.report);
    }
    assert!(
        !ran.out.contains("payload_in_metadata:\n") && ran.report.contains("payload_in_metadata"),
        "{}",
        ran.report
    );
}

#[test]
fn the_configuration_of_an_envoy_goes_over_with_what_its_routes_say() {
    let config = r#"
static_resources:
  listeners:
    - name: main
      filter_chains:
        - filters:
            - name: hcm
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: { prefix: /healthz }
                          typed_per_filter_config:
                            envoy.filters.http.jwt_authn:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig
                              disabled: true
                        - match: { prefix: /orders }
                          typed_per_filter_config:
                            envoy.filters.http.jwt_authn:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig
                              requirement_name: staff
                http_filters:
                  - name: envoy.filters.http.jwt_authn
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
                      providers:
                        corp:
                          issuer: https://idp.example/
                          audiences: [orders]
                          remote_jwks: { http_uri: { uri: https://idp.example/jwks.json, cluster: idp, timeout: 5s } }
                      requirement_map: { staff: { provider_name: corp } }
"#;
    let ran = migrate(config, &["--verify"]);
    assert_eq!(ran.status, Some(0), "{}", ran.report);
    assert!(ran.out.contains("route_rules: { allow_disable: true }"), "{}", ran.out);
    for says in [
        r#"-:17: "#,
        r#""metadata": {"filter_metadata":{"portcullis":{"disabled":true}}}"#,
        r#"{"portcullis":{"requirement":"staff"}}"#,
    ] {
        assert!(ran.report.contains(says), "{says} is not in\n{}", ran.report);
    }
    assert_eq!(explains(&ran.out), Ok(()));
}

#[test]
fn what_cannot_be_carried_over_is_no_configuration_and_says_what_to_do() {
    let base = || whole(json!({ "corp": provider(json!({})) }), corp());
    let rest = json!({ "prefix": "/" });
    let cases = [
        (
            with(base(), json!({ "filter_state_rules": { "name": "x", "requires": {} } })),
            "filter_state_rules",
        ),
        (
            with(
                base(),
                json!({ "rules": [{ "match": rest, "requires": { "extract_only_without_validation": {} } }] }),
            ),
            "extract_only_without_validation",
        ),
        (
            with(
                base(),
                json!({ "rules": [{ "match": { "prefix": "/", "tls_context": {} }, "requires": corp() }] }),
            ),
            "tls_context",
        ),
        (json!({ "static_resources": {} }), "no configuration of jwt_authn"),
        (json!({ "providers": { "corp": { "issuer": 1 } } }), "providers.corp"),
    ];
    for (config, says) in cases {
        let ran = migrate(&config.to_string(), &[]);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{config}: {}", ran.report);
        assert!(ran.report.contains(says), "{config}: {says:?} is not in {}", ran.report);
    }
}

#[test]
fn what_is_written_says_what_was_meant_whatever_the_texts_are() {
    for text in
        ["no", "1", "a: b", "# x", "- x", "", "\u{85}\u{2028}é\n", "\"'\\", "{x}", "*x", "null", " x "]
    {
        let name = format!("x{text}");
        let config = json!({
            "providers": { name.clone(): provider(json!({ "audiences": [text, "orders"] })) },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": name } }],
        });
        let direct = Config::parse(config.to_string().as_bytes(), &|_| None);
        let ran = migrate(&config.to_string(), &[]);
        assert_eq!(ran.status == Some(0), direct.is_ok(), "{text:?}: {}", ran.report);
        if direct.is_ok() {
            assert_eq!(explains(&ran.out), Ok(()), "{text:?}:\n{}", ran.out);
        }
    }
}

const SETS: &[&str] = &[
    "01-open-and-closed.yaml",
    "02-deny-without-token.yaml",
    "03-union-of-claims.yaml",
    "04-scopes.yaml",
    "05-two-issuers.yaml",
    "06-hosts.yaml",
    "07-paths.yaml",
    "08-values.yaml",
    "09-places.yaml",
    "10-peers-stay.yaml",
];

#[test]
fn policies_of_istio_go_over_load_and_hold() {
    let mut wrong = Vec::new();
    for name in SETS {
        let ran = migrate(&set_of(name), &["--verify"]);
        let loads = explains(&ran.out);
        if ran.status != Some(0) || loads.is_err() {
            wrong.push(format!("{name}: {:?}: {loads:?}\n{}\n{}", ran.status, ran.out, ran.report));
        }
        let (asked, passed) = counted(&ran.report);
        assert!(asked >= 500 && passed >= 40 && asked - passed >= 40, "{name}: {passed} of {asked} pass");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_istio_alone_can_judge_is_said_or_refused() {
    let peers = migrate(&set_of("10-peers-stay.yaml"), &[]);
    assert!(peers.report.contains("asks for the connection too"), "{}", peers.report);
    let authentication = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nspec:\n  jwtRules: [{ issuer: https://a.example, jwksUri: https://a.example/jwks }]\n";
    let policy = |spec: &str| {
        format!(
            "{authentication}---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nspec: {spec}\n"
        )
    };
    let cases = [
        (
            policy(
                "{ action: DENY, rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/8], notRequestPrincipals: ['*'] } }] }] }",
            ),
            "asks for a peer and for a token",
        ),
        (
            policy(
                "{ rules: [{ from: [{ source: { principals: [a] } }, { source: { requestPrincipals: ['*'] } }] }] }",
            ),
            "one or the other",
        ),
        (
            policy(
                "{ rules: [{ from: [{ source: { principals: [a] } }], to: [{ operation: { paths: ['/a*'] } }] }, { from: [{ source: { requestPrincipals: ['*'] } }], to: [{ operation: { paths: ['/a/b'] } }] }] }",
            ),
            "one or the other",
        ),
        (policy("{ selector: { matchLabels: { app: a } }, rules: [{}] }"), "several workloads"),
        (policy("{ rules: [{ to: [{ operation: { methods: ['P*'] } }] }] }"), "name them"),
        (
            policy("{ rules: [{ when: [{ key: 'request.auth.claims[scope]', values: ['a*'] }] }] }"),
            "scopes with a star",
        ),
        (policy("{ rules: [{ form: [] }] }"), "is not known here"),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nspec: {}\n".to_owned(),
            "no RequestAuthentication",
        ),
    ];
    for (text, says) in cases {
        let ran = migrate(&text, &[]);
        assert_eq!((ran.status, ran.out.as_str()), (Some(2), ""), "{text}: {}", ran.report);
        assert!(ran.report.contains(says), "{text}: {says:?} is not in {}", ran.report);
    }
    let overlapping = "{ rules: [{ from: [{ source: { requestPrincipals: ['*'] } }], to: [{ operation: { paths: ['/a/{*}/c/{*}', '/{*}/b/{*}/d'] } }] }] }";
    let overlapping = migrate(&policy(overlapping), &[]);
    assert_eq!((overlapping.status, overlapping.out.as_str()), (Some(2), ""), "{}", overlapping.report);
    assert!(overlapping.report.contains("overlap in a way that is no pattern"), "{}", overlapping.report);
    let alone = migrate(authentication, &["--verify"]);
    assert_eq!(alone.status, Some(0), "{}", alone.report);
    assert!(alone.report.contains("no ALLOW policy is in these files"), "{}", alone.report);
    for action in ["CUSTOM", "AUDIT"] {
        let ran = migrate(&policy(&format!("{{ action: {action}, rules: [{{}}] }}")), &["--verify"]);
        assert_eq!(ran.status, Some(0), "{}", ran.report);
        assert!(ran.report.contains("stays in Istio"), "{}", ran.report);
    }
}
