//! Configurations of `jwt_authn` as people write them, and the requests that are put to each: for tests that compare two
//! filters, or the filter and what is explained of it.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use harness::idp::{jwks, now};
use harness::{Alg, Idp, Key, Request, TokenBuilder};
use serde_json::{Value, json};

use crate::common::{AUDIENCE, corp, with};

const PARTNER: &str = "https://partner.example";

/// Stands for every request in the rows of a configuration; that each of them differs is not asked.
pub(crate) const ANY: &str = "";

/// A configuration for both.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) config: Value,
    /// What Portcullis is told beside it.
    pub(crate) own: Value,
    /// The routes of each, where they say something: of `jwt_authn`, and of Portcullis.
    pub(crate) routes: Option<[Value; 2]>,
    /// Which requests differ, and in which row.
    pub(crate) rows: &'static [(&'static str, &'static str)],
}

fn partner_key() -> Key {
    Key::cached(Alg::ES256, "partner")
}

fn partner() -> TokenBuilder {
    TokenBuilder::new(&partner_key(), PARTNER, AUDIENCE).claim("sub", "bob")
}

fn secret() -> Key {
    Key::hmac(Alg::HS256, "secret", b"0123456789abcdef0123456789abcdef")
}

fn any(parts: Value) -> Value {
    json!({ "requires_any": { "requirements": parts } })
}

fn all(parts: Value) -> Value {
    json!({ "requires_all": { "requirements": parts } })
}

fn second() -> Value {
    json!({ "provider_name": "partner" })
}

fn x_token() -> Value {
    json!([{ "name": "x-token" }])
}

const SECOND_IN_X_TOKEN: &[(&str, &str)] =
    &[("two issuers", "other_place"), ("a bad one in x-token beside", "other_place")];

/// What people write, beyond the forms of one and the same configuration in `pasted`.
pub(crate) fn forms(idp: &Idp) -> Vec<Form> {
    let local = json!({ "inline_string": idp.jwks().to_string() });
    let first = |more: Value| {
        with(json!({ "issuer": idp.issuer(), "audiences": [AUDIENCE], "local_jwks": local }), more)
    };
    let theirs = |more: Value| {
        let keys = json!({ "inline_string": jwks([&partner_key()]).to_string() });
        with(json!({ "issuer": PARTNER, "audiences": [AUDIENCE], "local_jwks": keys }), more)
    };
    let whole = |providers: Value, requires: Value| {
        json!({
            "providers": providers,
            "rules": [{ "match": { "path": "/open" } }, { "match": { "prefix": "/" }, "requires": requires }],
        })
    };
    let form = |name, config: Value, rows| Form {
        name,
        config,
        own: json!({ "unmatched": "allow" }),
        routes: None,
        rows,
    };
    let one = |name, more: Value, rows| form(name, whole(json!({ "corp": first(more) }), corp()), rows);
    let two = |name, requires: Value, rows| {
        let providers =
            json!({ "corp": first(json!({})), "partner": theirs(json!({ "from_headers": x_token() })) });
        form(name, whole(providers, requires), rows)
    };
    let both = |name, requires: Value, rows| {
        form(name, whole(json!({ "corp": first(json!({})), "partner": theirs(json!({})) }), requires), rows)
    };
    let matches = |name, matches: Value| {
        let config = json!({ "providers": { "corp": first(json!({})) }, "rules": [{ "match": matches, "requires": corp() }] });
        form(name, config, &[])
    };
    let keys = |name, keys: Value, rows| {
        let provider =
            theirs(json!({ "local_jwks": { "inline_string": json!({ "keys": keys }).to_string() } }));
        form(name, whole(json!({ "corp": provider }), corp()), rows)
    };
    let remote = |more: Value| {
        let uri = json!({ "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "10s" } });
        json!({ "local_jwks": null, "remote_jwks": with(uri, more) })
    };
    let without = |mut provider: Value, name: &str| {
        provider.as_object_mut().expect("a provider").remove(name);
        provider
    };
    let writes = |header: &str, claim: &str| json!([{ "header_name": header, "claim_name": claim }]);
    let jwk = |key: &Key, more: Value| with(key.public_jwk(), more);
    let without_kid = without(partner_key().public_jwk(), "kid");
    let decoy = idp.key(Alg::ES256);
    let type_of = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
    let routes = |says: [Value; 2]| {
        let [native, own] = says;
        let native = with(json!({ "@type": type_of }), native);
        let route = |more: Value| {
            json!([with(json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }), more)])
        };
        Some([
            route(json!({ "typed_per_filter_config": { "envoy.filters.http.jwt_authn": native } })),
            route(json!({ "metadata": { "filter_metadata": { "portcullis": own } } })),
        ])
    };
    let named = json!({
        "providers": { "corp": first(json!({})) },
        "requirement_map": { "staff": corp(), "guests": any(json!([corp(), { "allow_missing": {} }])) },
    });
    let mut found = vec![
        // Requirements
        both("any of two issuers", any(json!([corp(), second()])), &[]),
        two("any of two places", any(json!([corp(), second()])), SECOND_IN_X_TOKEN),
        two("all of two places", all(json!([corp(), second()])), &[]),
        two("one, or both", any(json!([corp(), all(json!([corp(), second()]))])), SECOND_IN_X_TOKEN),
        two(
            "each where it is there",
            all(json!([
                any(json!([corp(), { "allow_missing": {} }])),
                any(json!([second(), { "allow_missing": {} }]))
            ])),
            &[],
        ),
        form(
            "the same twice",
            whole(json!({ "corp": first(json!({})) }), all(json!([corp(), corp()]))),
            &[(ANY, "twice"), ("a good token", "twice")],
        ),
        form(
            "only allow_missing",
            whole(json!({ "corp": first(json!({})) }), json!({ "allow_missing": {} })),
            &[],
        ),
        form(
            "only allow_missing_or_failed",
            whole(json!({ "corp": first(json!({})) }), json!({ "allow_missing_or_failed": {} })),
            &[],
        ),
        form(
            "allow_missing of two that write",
            whole(
                json!({
                    "corp": first(json!({ "claim_to_headers": writes("x-corp", "sub") })),
                    "partner": theirs(json!({ "from_headers": x_token(), "claim_to_headers": writes("x-partner", "sub") })),
                }),
                json!({ "allow_missing": {} }),
            ),
            &[("two issuers", "first_alone"), ("a bad one in x-token beside", "any_good")],
        ),
        form(
            "audiences of the rule",
            whole(
                json!({ "corp": first(json!({})) }),
                json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": ["billing", "vault"] } }),
            ),
            &[],
        ),
        // Places
        one(
            "two headers",
            json!({ "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }, { "name": "X-Token" }] }),
            &[
                ("the same in x-token too", "several"),
                ("two issuers", "several"),
                ("a bad one in x-token beside", "several"),
            ],
        ),
        one(
            "a prefix of its own",
            json!({ "from_headers": [{ "name": "x-token", "value_prefix": "Token " }] }),
            &[],
        ),
        one("a cookie", json!({ "from_cookies": ["session"] }), &[("in a cookie", "cookie")]),
        one("a parameter", json!({ "from_params": ["token"] }), &[]),
        one("a parameter that stays", json!({ "from_params": ["token"], "forward": true }), &[]),
        // What is told
        one("forward", json!({ "forward": true }), &[]),
        one("the payload", json!({ "forward_payload_header": "x-payload" }), &[]),
        one(
            "the payload, padded",
            json!({ "forward_payload_header": "x-payload", "pad_forward_payload_header": true }),
            &[],
        ),
        one("a claim", json!({ "claim_to_headers": writes("x-user", "sub") }), &[]),
        one(
            "a claim within",
            json!({ "claimToHeaders": [{ "headerName": "x-tenant", "claimName": "org.tenant" }] }),
            &[],
        ),
        one(
            "a list and a number",
            json!({ "claim_to_headers": [
            { "header_name": "x-groups", "claim_name": "groups" }, { "header_name": "x-level", "claim_name": "level" },
        ] }),
            &[],
        ),
        one(
            "a fraction",
            json!({ "claim_to_headers": writes("x-share", "share") }),
            &[(ANY, "number"), ("a good token", "number")],
        ),
        one(
            "another route",
            json!({ "clear_route_cache": true, "claim_to_headers": writes("x-user", "sub") }),
            &[],
        ),
        // Times
        one(
            "no skew",
            json!({ "clock_skew_seconds": 0 }),
            &[("expired within the default skew", "skew_zero")],
        ),
        one("much skew", json!({ "clock_skew_seconds": 300 }), &[]),
        one("a lifetime", json!({ "max_lifetime": { "seconds": 86_400 } }), &[]),
        one(
            "no lifetime without an end",
            json!({ "require_expiration": true, "max_lifetime": "86400s" }),
            &[],
        ),
        // Issuers, audiences, subjects
        form("any audience", whole(json!({ "corp": without(first(json!({})), "audiences") }), corp()), &[]),
        form("any issuer", whole(json!({ "corp": without(first(json!({})), "issuer") }), corp()), &[]),
        one(
            "several audiences",
            json!({ "audiences": ["billing", AUDIENCE, "https://vault.example/"] }),
            &[],
        ),
        one("a subject", json!({ "subjects": { "exact": "alice" } }), &[]),
        one(
            "subjects by an expression",
            json!({ "subjects": { "safe_regex": { "regex": "ali.*|carol" } } }),
            &[],
        ),
        // Keys
        one("fetched keys", remote(json!({})), &[]),
        one("fetched keys, kept", remote(json!({ "cache_duration": { "seconds": 300 } })), &[]),
        one(
            "fetched keys, ahead",
            remote(
                json!({ "async_fetch": { "fast_listener": false }, "retry_policy": { "num_retries": 3 }, "cacheDuration": "300s" }),
            ),
            &[],
        ),
        one(
            "a cache",
            json!({ "jwt_cache_config": { "jwt_cache_size": 100, "jwt_max_token_size": 4096 } }),
            &[],
        ),
        keys(
            "a secret beside a key",
            json!([partner_key().public_jwk(), secret().public_jwk()]),
            &[("a secret's", "algorithms")],
        ),
        keys(
            "a key for encrypting",
            json!([jwk(&partner_key(), json!({ "use": "enc" })), decoy.public_jwk()]),
            &[("another issuer's", "keys")],
        ),
        keys(
            "a key without the name that another has",
            json!([without_kid, jwk(&decoy, json!({ "kid": "partner" }))]),
            &[("another issuer's", "kid")],
        ),
        // Rules
        Form {
            own: json!({}),
            ..form(
                "no rule for the rest",
                json!({ "providers": { "corp": first(json!({})) }, "rules": [{ "match": { "prefix": "/admin" }, "requires": corp() }] }),
                &[(ANY, "unmatched"), ("no token", "unmatched")],
            )
        },
        matches("an exact path", json!({ "path": "/orders" })),
        matches("an expression for the path", json!({ "safe_regex": { "regex": "/(orders|open)" } })),
        matches(
            "a method",
            json!({ "prefix": "/", "headers": [{ "name": ":method", "string_match": { "exact": "GET" } }] }),
        ),
        matches(
            "no such header",
            json!({ "prefix": "/", "headers": [{ "name": "x-n", "present_match": true, "invert_match": true }] }),
        ),
        matches(
            "a parameter",
            json!({ "prefix": "/", "query_parameters": [{ "name": "token", "present_match": true }] }),
        ),
        // The whole
        form(
            "no texts in answers",
            with(
                whole(json!({ "corp": first(json!({})) }), corp()),
                json!({ "strip_failure_response": true }),
            ),
            &[],
        ),
        form(
            "preflights pass",
            with(
                whole(json!({ "corp": first(json!({})) }), corp()),
                json!({ "bypass_cors_preflight": true }),
            ),
            &[],
        ),
        // Routes
        Form {
            routes: routes([json!({ "requirement_name": "staff" }), json!({ "requirement": "staff" })]),
            ..form("a route for staff", named.clone(), &[])
        },
        Form {
            routes: routes([json!({ "requirement_name": "guests" }), json!({ "requirement": "guests" })]),
            ..form("a route for guests", named.clone(), &[])
        },
        Form {
            own: json!({ "route_rules": { "allow_disable": true } }),
            routes: routes([json!({ "disabled": true }), json!({ "disabled": true })]),
            ..form("a route for everybody", named, &[])
        },
    ];
    found.extend(same(idp).into_iter().map(|(name, config)| form(name, config, &[])));
    found
}

/// A request for every configuration, and the rows that it may show with any.
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    pub(crate) rows: &'static [&'static str],
}

pub(crate) fn requests(idp: &Idp) -> Vec<Asked> {
    let token = || {
        idp.mint()
            .claim("sub", "alice")
            .claim("org", json!({ "tenant": "acme" }))
            .claim("groups", json!(["a", "b"]))
            .claim("level", 7)
            .claim("share", 0.5)
    };
    let good = token().sign();
    let theirs = partner().sign();
    let orders = || Request::get("/orders");
    let bearer = |token: TokenBuilder| orders().bearer(&token.sign());
    let asked = |name, request, rows| Asked { name, request, rows };
    vec![
        asked("no token", orders(), &[]),
        asked("no token, open", Request::get("/open"), &[]),
        asked("a good token", orders().bearer(&good), &[]),
        asked("a good token, open", Request::get("/open").bearer(&good), &[]),
        asked("another audience", bearer(token().claim("aud", "billing")), &["failed_token"]),
        asked("two audiences", bearer(token().claim("aud", json!(["vault", "billing"]))), &["failed_token"]),
        asked("another issuer", bearer(token().claim("iss", "https://elsewhere.example")), &["failed_token"]),
        asked("another subject", bearer(token().claim("sub", "bob")), &["failed_token"]),
        asked("expired", bearer(token().expires_in(-120)), &["failed_token"]),
        asked("expired within the default skew", bearer(token().expires_in(-45)), &["failed_token"]),
        asked("far too long", bearer(token().expires_in(100_000)), &["failed_token"]),
        asked("no JWT", orders().bearer("x"), &["failed_token"]),
        asked("a number in a header", orders().header("x-n", "2"), &[]),
        asked("another scheme", orders().header("authorization", "Basic dTpw"), &[]),
        asked("in any letters", orders().header("authorization", format!("bearer {good}")), &["bearer"]),
        asked("words behind it", orders().header("authorization", format!("Bearer {good} x")), &["bearer"]),
        asked("in the query", Request::get(format!("/orders?access_token={good}")), &["places"]),
        asked("in a parameter", Request::get(format!("/orders?a=1&token={good}&b=2")), &[]),
        asked("in x-token", orders().header("x-token", &good), &["failed_token"]),
        asked("with a prefix", orders().header("x-token", format!("Token {good}")), &["failed_token"]),
        asked("in a cookie", orders().header("cookie", format!("theme=dark; session={good}")), &[]),
        asked("the same in x-token too", orders().bearer(&good).header("x-token", &good), &["other_place"]),
        asked("two issuers", orders().bearer(&good).header("x-token", &theirs), &[]),
        asked("a bad one in x-token beside", orders().bearer(&good).header("x-token", "x"), &[]),
        asked("another issuer's", orders().bearer(&theirs), &["failed_token"]),
        asked("a secret's", bearer(partner().key(&secret())), &["failed_token"]),
        asked(
            "an audience and a slash",
            bearer(token().claim("aud", format!("{AUDIENCE}/"))),
            &["audiences", "failed_token"],
        ),
        asked("no end", bearer(token().without("exp")), &["no_exp", "failed_token"]),
        asked("issued later", bearer(token().claim("iat", now() + 120)), &["iat"]),
        asked("another kind", bearer(token().header("typ", "logout+jwt")), &["kinds"]),
        asked("bound to a key", bearer(token().claim("cnf", json!({ "jkt": "x" }))), &["kinds"]),
        asked("two slashes", Request::get("/orders//1").bearer(&good), &["path"]),
        asked("lies beside a token", orders().bearer(&good).header("x-user", "mallory"), &[]),
        asked(
            "a preflight",
            Request::new("OPTIONS", "/orders")
                .header("origin", "https://a.example")
                .header("access-control-request-method", "GET"),
            &[],
        ),
    ]
}

/// A configuration that both understand.
fn base(idp: &Idp) -> Value {
    json!({
        "providers": { "corp": {
            "issuer": idp.issuer(),
            "audiences": [AUDIENCE],
            "local_jwks": { "inline_string": idp.jwks().to_string() },
        } },
        "rules": [{ "match": { "path": "/open" } }, { "match": { "prefix": "/" }, "requires": corp() }],
    })
}

/// The forms in which Envoy takes one and the same configuration, each with its name.
pub(crate) fn same(idp: &Idp) -> Vec<(&'static str, Value)> {
    let of_provider = |more: Value| {
        let mut config = base(idp);
        let provider = with(config["providers"]["corp"].take(), more);
        config["providers"]["corp"] = provider;
        config
    };
    let of_filter = |more: Value| with(base(idp), more);
    let keys = |more: Value| {
        let mut config = base(idp);
        config["providers"]["corp"]["local_jwks"] = more;
        config
    };
    let rule = |rule: Value| of_filter(json!({ "rules": rule }));
    let matches =
        |more: Value| rule(json!([{ "match": with(json!({ "prefix": "/" }), more), "requires": corp() }]));
    let requires = |requires: Value| rule(json!([{ "match": { "prefix": "/" }, "requires": requires }]));
    let jwks = idp.jwks().to_string();
    let any = |parts: Value| requires(json!({ "requires_any": { "requirements": parts } }));
    vec![
        ("plain", base(idp)),
        (
            "@type",
            of_filter(
                json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" }),
            ),
        ),
        ("an audience for a list", of_provider(json!({ "audiences": AUDIENCE }))),
        (
            "a header for a list",
            of_provider(json!({ "from_headers": { "name": "Authorization", "value_prefix": "Bearer " } })),
        ),
        (
            "lowerCamelCase",
            of_provider(json!({ "fromHeaders": [{ "name": "authorization", "valuePrefix": "Bearer " }] })),
        ),
        (
            "a parameter for a list",
            of_provider(
                json!({ "from_params": "t", "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }] }),
            ),
        ),
        (
            "a claim header for a list",
            of_provider(json!({ "claim_to_headers": { "header_name": "x-user", "claim_name": "sub" } })),
        ),
        ("a rule for a list", rule(json!({ "match": { "prefix": "/" }, "requires": corp() }))),
        ("a header condition for a list", matches(json!({ "headers": { "name": ":method" } }))),
        ("a parameter condition for a list", matches(json!({ "query_parameters": { "name": "no-such" } }))),
        (
            "an audience of a rule for a list",
            requires(
                json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": "billing" } }),
            ),
        ),
        ("skew as text", of_provider(json!({ "clock_skew_seconds": "30" }))),
        ("skew as a double", of_provider(json!({ "clock_skew_seconds": 30.0 }))),
        ("skew as a double in text", of_provider(json!({ "clockSkewSeconds": "3e1" }))),
        (
            "numbers of the cache as text",
            of_provider(
                json!({ "jwt_cache_config": { "jwt_cache_size": "10", "jwt_max_token_size": 4096.0 } }),
            ),
        ),
        (
            "a range as text and double",
            matches(json!({ "headers": [{ "name": "x-n", "range_match": { "start": "1", "end": 3.0 } }] })),
        ),
        (
            "null for all else of a provider",
            of_provider(json!({
                "subjects": null, "max_lifetime": null, "require_expiration": null, "clock_skew_seconds": null, "remote_jwks": null,
                "from_headers": null, "from_params": null, "from_cookies": null, "forward": null, "forward_payload_header": null,
                "pad_forward_payload_header": null, "claim_to_headers": null, "clear_route_cache": null, "jwt_cache_config": null,
                "payload_in_metadata": null, "header_in_metadata": null, "failed_status_in_metadata": null,
                "normalize_payload_in_metadata": null,
            })),
        ),
        (
            "empty names of metadata",
            of_provider(json!({ "payload_in_metadata": "", "header_in_metadata": "" })),
        ),
        (
            "null for all else of the filter",
            of_filter(json!({
                "requirement_map": null, "bypass_cors_preflight": null, "strip_failure_response": null,
                "filter_state_rules": null, "stat_prefix": null,
            })),
        ),
        (
            "null conditions",
            matches(json!({
                "path": null, "safe_regex": null, "case_sensitive": null, "headers": null, "query_parameters": null, "grpc": null,
                "runtime_fraction": null, "tls_context": null, "dynamic_metadata": null, "connect_matcher": null,
            })),
        ),
        (
            "null in a header condition",
            matches(
                json!({ "headers": [{ "name": ":method", "string_match": null, "invert_match": null }] }),
            ),
        ),
        (
            "null beside a requirement",
            requires(json!({ "provider_name": "corp", "requires_all": null, "allow_missing": null })),
        ),
        (
            "null beside requires",
            rule(json!([{ "match": { "prefix": "/" }, "requires": corp(), "requirement_name": null }])),
        ),
        (
            "a wrapped boolean",
            matches(json!({ "path": "/ORDERS", "prefix": null, "case_sensitive": { "value": false } })),
        ),
        ("a lifetime with a fraction", of_provider(json!({ "max_lifetime": "7200.500s" }))),
        ("a lifetime as an object", of_provider(json!({ "max_lifetime": { "seconds": "7200" } }))),
        ("keys in base64", keys(json!({ "inline_bytes": BASE64_STANDARD.encode(&jwks) }))),
        ("keys in base64url", keys(json!({ "inlineBytes": BASE64_URL_SAFE_NO_PAD.encode(&jwks) }))),
        (
            "keys beside null",
            keys(
                json!({ "inline_string": jwks, "filename": null, "inline_bytes": null, "environment_variable": null }),
            ),
        ),
        ("allow_missing", any(json!([corp(), { "allow_missing": {} }]))),
        ("allow_missing_or_failed", any(json!([corp(), { "allow_missing_or_failed": {} }]))),
        ("the same twice", any(json!([corp(), corp()]))),
        (
            "a requirement by name",
            with(
                rule(json!([{ "match": { "prefix": "/" }, "requirement_name": "staff" }])),
                json!({ "requirement_map": { "staff": corp() } }),
            ),
        ),
        ("a requirement that no rule names", of_filter(json!({ "requirement_map": { "staff": corp() } }))),
        (
            "an expression",
            matches(json!({ "prefix": null, "safe_regex": { "google_re2": {}, "regex": "/o.*" } })),
        ),
        ("a separated prefix", matches(json!({ "prefix": null, "path_separated_prefix": "/orders" }))),
        ("any case", matches(json!({ "prefix": "/OR", "case_sensitive": false }))),
        ("a literal star", matches(json!({ "prefix": "/orders*" }))),
        ("an issuer and a line end", of_provider(json!({ "issuer": format!("{}\n", idp.issuer()) }))),
        ("subjects", of_provider(json!({ "subjects": { "prefix": "a" } }))),
        ("exp is asked for", of_provider(json!({ "require_expiration": true }))),
    ]
}
