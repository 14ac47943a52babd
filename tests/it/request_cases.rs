//! Requests with what becomes of them: the rows that are made here. A token stands in a row by its name in `{{…}}`.

use harness::idp::b64;
use serde_json::{Value, json};

use super::CLOCK;
use crate::common::with;

/// The tokens of the rows, by name. Their signatures come later.
pub(super) fn tokens() -> Value {
    let usual = || {
        json!({ "iss": "https://issuer.example", "aud": "api", "sub": "reader-7", "scope": "orders.read",
            "iat": CLOCK - 60, "nbf": CLOCK - 60, "exp": CLOCK + 86_400 })
    };
    let header = || json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa-1" });
    let token = |head: Value, claims: Value| {
        let (head, claims) = (with(header(), head).to_string(), with(usual(), claims).to_string());
        format!("{}.{}.{}", b64(head), b64(claims), b64("not signed yet"))
    };
    let claims = |claims: Value| token(json!({}), claims);
    json!({
        "reader": claims(json!({})),
        "chief": claims(json!({ "sub": "chief", "scope": "orders.read admin" })),
        "nearly": claims(json!({ "scope": "administrator admin.read Admin" })),
        "scopeless": claims(json!({ "scope": "" })),
        "late": claims(json!({ "exp": CLOCK - 3600 })),
        "early": claims(json!({ "nbf": CLOCK + 86_000 })),
        "elsewhere": claims(json!({ "aud": ["api.other", "API"] })),
        "foreign": claims(json!({ "iss": "https://issuer.example.evil.example" })),
        "bound": claims(json!({ "cnf": { "jkt": "A".repeat(43) } })),
        "broken": claims(json!({ "sub": "reader-7\r\nx-user-id: chief" })),
        "large": claims(json!({ "padding": "x".repeat(20_000) })),
        "eternal": claims(json!({ "exp": "tomorrow" })),
        "other_type": token(json!({ "typ": "logout+jwt" }), json!({})),
        "critical": token(json!({ "crit": ["x"], "x": 1 }), json!({})),
        "forged": claims(json!({})),
        "unsigned": format!("{}.{}.", b64(json!({ "alg": "none" }).to_string()), b64(usual().to_string())),
        "strange": token(json!({ "kid": "nobody-knows" }), json!({})),
        "stranger": claims(json!({})),
    })
}

/// What a row says of its request: it passes.
fn allow() -> Value {
    json!({ "decision": "allow" })
}

/// It passes, and the upstream gets who it is from.
fn allow_as(user: &str, scopes: &str) -> Value {
    json!({ "decision": "allow", "upstream_equals": { "x-user-id": user, "x-scopes": scopes } })
}

/// It passes, and the upstream gets none of these.
fn allow_without(names: &[&str]) -> Value {
    json!({ "decision": "allow", "upstream_absent": names })
}

/// It is refused.
fn deny(status: u16) -> Value {
    json!({ "decision": "deny", "status": status })
}

/// It is refused, and each of these parts, with `, ` between, is in the challenge.
fn deny_with(status: u16, challenge: &str) -> Value {
    json!({ "decision": "deny", "status": status, "www_authenticate": challenge })
}

/// A row: the name, the configuration, method and path, header fields, and what becomes of it.
fn row(id: &str, config: &str, line: &str, fields: &[(&str, &str)], expect: Value) -> Value {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    json!({ "id": format!("made/{id}"), "config": config, "expect": expect,
        "request": { "method": method, "authority": "api.example", "path": path, "headers": fields } })
}

/// The same where Envoy may be the first to refuse it, with a status of its own.
fn by_anybody(mut row: Value) -> Value {
    row["any_4xx"] = json!(true);
    row
}

pub(super) fn rows() -> Vec<Value> {
    [tokens_of_all_kinds(), schemes(), places(), identities(), paths(), methods()].concat()
}

/// One way to send a token, and tokens of every kind.
fn tokens_of_all_kinds() -> Vec<Value> {
    let shown = |id: &str, path: &str, token: &str, expect: Value| {
        let id = format!("token.{id}");
        row(
            &id,
            "base",
            &format!("GET {path}"),
            &[("authorization", &format!("Bearer {{{{{token}}}}}"))],
            expect,
        )
    };
    let bad = || deny_with(401, "Bearer, error=\"invalid_token\"");
    let scope = || deny_with(403, "error=\"insufficient_scope\", scope=\"admin\"");
    let mut rows = vec![
        shown("good", "/v1/orders", "reader", allow_as("reader-7", "orders.read")),
        shown("good, with a query", "/v1/orders?page=2", "reader", allow_as("reader-7", "orders.read")),
        shown("good, on an optional route", "/optional/x", "reader", allow_as("reader-7", "orders.read")),
        shown("scope", "/admin/users", "chief", allow_as("chief", "orders.read admin")),
        shown("no such scope", "/admin/users", "reader", scope()),
        shown("scopes that resemble it", "/admin/users", "nearly", scope()),
        shown("no scopes", "/admin/users", "scopeless", scope()),
        shown("a claim with a line end", "/v1/orders", "broken", allow_without(&["x-user-id"])),
        row("token.none", "base", "GET /v1/orders", &[], deny_with(401, "Bearer")),
        row("token.none, optional", "base", "GET /optional/x", &[], allow_without(&["x-user-id"])),
    ];
    for token in [
        "forged",
        "unsigned",
        "strange",
        "stranger",
        "late",
        "early",
        "elsewhere",
        "foreign",
        "eternal",
        "other_type",
        "critical",
        "large",
    ] {
        rows.push(shown(token, "/v1/orders", token, bad()));
        // That a token is optional makes none of them good.
        rows.push(shown(&format!("{token}, optional"), "/optional/x", token, bad()));
    }
    rows.push(shown("bound", "/v1/orders", "bound", deny(401)));
    rows
}

/// Spellings of the field `authorization`.
fn schemes() -> Vec<Value> {
    let spelled = |id: &str, value: &str, expect: Value| {
        row(&format!("scheme.{id}"), "base", "GET /v1/orders", &[("authorization", value)], expect)
    };
    vec![
        spelled("lower case", "bearer {{reader}}", allow_as("reader-7", "orders.read")),
        spelled("upper case", "BEARER {{reader}}", allow_as("reader-7", "orders.read")),
        spelled("two blanks", "Bearer  {{reader}}", allow_as("reader-7", "orders.read")),
        spelled("nothing behind it", "Bearer", deny(401)),
        spelled("no blank", "Bearer{{reader}}", deny(401)),
        spelled("a longer word", "Bearers {{reader}}", deny(401)),
        spelled("a tab", "Bearer\t{{reader}}", deny(401)),
        spelled("a colon", "Bearer: {{reader}}", deny(401)),
        spelled("a parameter", "Bearer token={{reader}}", deny(401)),
        spelled("quotes", "Bearer \"{{reader}}\"", deny(401)),
        spelled("more behind the token", "Bearer {{reader}} {{chief}}", deny(401)),
        spelled("no scheme", "{{reader}}", deny(401)),
        spelled("Token", "Token {{reader}}", deny(401)),
        spelled("JWT", "JWT {{reader}}", deny(401)),
        spelled("Basic", "Basic cmVhZGVyOnJlYWRlcg==", deny(401)),
        spelled("empty", "", deny(401)),
        row(
            "scheme.another field",
            "base",
            "GET /v1/orders",
            &[("x-authorization", "Bearer {{reader}}")],
            deny(401),
        ),
        row(
            "scheme.for proxies",
            "base",
            "GET /v1/orders",
            &[("proxy-authorization", "Bearer {{reader}}")],
            deny(401),
        ),
    ]
}

/// Places of tokens: where they are looked for, where they are not, and two at once.
fn places() -> Vec<Value> {
    let reader = || allow_as("reader-7", "orders.read");
    let twice = || deny_with(400, "error=\"invalid_request\"");
    let by = |name: &'static str, value: &'static str| [(name, value)];
    let good = ("authorization", "Bearer {{reader}}");
    let get = "GET /v1/orders";
    vec![
        row("place.field", "multi", get, &by("x-token", "{{reader}}"), reader()),
        row("place.query", "multi", "GET /v1/orders?access_token={{reader}}", &[], reader()),
        row("place.query, second", "multi", "GET /v1/orders?page=2&access_token={{reader}}", &[], reader()),
        row("place.cookie", "multi", get, &by("cookie", "session={{reader}}"), reader()),
        row(
            "place.cookie among others",
            "multi",
            get,
            &by("cookie", "a=1; session={{reader}}; b=2"),
            reader(),
        ),
        row("place.cookie in quotes", "multi", get, &by("cookie", "session=\"{{reader}}\""), reader()),
        row("place.another cookie", "multi", get, &by("cookie", "xsession={{reader}}"), deny(401)),
        row("place.another parameter", "multi", "GET /v1/orders?token={{reader}}", &[], deny(401)),
        row("place.forged in the query", "multi", "GET /v1/orders?access_token={{forged}}", &[], deny(401)),
        row("place.field, not asked for", "base", get, &by("x-token", "{{reader}}"), deny(401)),
        row("place.query, not asked for", "base", "GET /v1/orders?access_token={{reader}}", &[], deny(401)),
        row("place.cookie, not asked for", "base", get, &by("cookie", "session={{reader}}"), deny(401)),
        row("twice.one field", "base", get, &[good, good], twice()),
        row("twice.two tokens", "base", get, &[good, ("authorization", "Bearer {{chief}}")], twice()),
        row("twice.bad first", "base", get, &[("authorization", "Bearer {{unsigned}}"), good], twice()),
        row("twice.field and query", "multi", "GET /v1/orders?access_token={{chief}}", &[good], twice()),
        row("twice.field and cookie", "multi", get, &[good, ("cookie", "session={{chief}}")], twice()),
        row("twice.two fields", "multi", get, &[good, ("x-token", "{{chief}}")], twice()),
        row(
            "twice.two cookies",
            "multi",
            get,
            &by("cookie", "session={{reader}}; session={{chief}}"),
            twice(),
        ),
        row(
            "twice.two parameters",
            "multi",
            "GET /v1/orders?access_token={{reader}}&access_token={{chief}}",
            &[],
            twice(),
        ),
        row("taken out", "strip", get, &[good], allow_without(&["authorization"])),
    ]
}

/// A client that says who it is, in every spelling of the names that this configuration writes.
fn identities() -> Vec<Value> {
    let mut rows = Vec::new();
    let own = ["x-user-id", "x-scopes", "x-jwt-payload"];
    for name in [
        "x-user-id",
        "X-User-ID",
        "x_user_id",
        "x-user_id",
        "x-scopes",
        "X_Scopes",
        "x-jwt-payload",
        "x_jwt_payload",
    ] {
        let mut absent = own.to_vec();
        absent.push(name);
        let said = (name, "chief");
        let shown = |id: &str, line: &str, fields: &[(&str, &str)], expect: Value| {
            row(&format!("identity.{name}, {id}"), "base", line, fields, expect)
        };
        rows.push(shown("public", "GET /public/x", &[said], allow_without(&absent)));
        rows.push(shown("optional", "GET /optional/x", &[said], allow_without(&absent)));
        let reader = allow_as("reader-7", "orders.read");
        rows.push(shown(
            "with a token",
            "GET /v1/orders",
            &[said, ("authorization", "Bearer {{reader}}")],
            reader,
        ));
        rows.push(shown("without one", "GET /v1/orders", &[said], deny(401)));
    }
    rows
}

/// Paths that are public, and paths that only look so.
fn paths() -> Vec<Value> {
    let mut rows = Vec::new();
    for path in
        ["/healthz", "/healthz?path=/admin", "/public/", "/public/a/b.css", "/public/a?b=/../../admin"]
    {
        rows.push(row(&format!("path.{path}"), "base", &format!("GET {path}"), &[], allow()));
    }
    for path in [
        "/",
        "/public",
        "/publics/x",
        "/Public/x",
        "/healthz/",
        "/healthz/x",
        "/healthzz",
        "/HEALTHZ",
        "/v1/public/",
        "/v1?x=/public/",
        "/admin",
        "/admin/",
        "/administration",
        "/optionally?x=1",
    ] {
        let expect = if path.starts_with("/optional") { allow() } else { deny(401) };
        rows.push(row(&format!("path.{path}"), "base", &format!("GET {path}"), &[], expect));
    }
    for path in [
        "/public/../admin",
        "/public/./../admin",
        "/public/x/../../admin",
        "/public//../admin",
        "//admin",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public%2f..%2fadmin",
        "/public/%252e%252e/admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/;/../admin",
        "/public/..\\admin",
        "/public/%5c..%5cadmin",
        "/admin#/public/",
        "/public/%00/../admin",
        "/public/../../admin",
    ] {
        let without = row(&format!("path.{path}"), "base", &format!("GET {path}"), &[], deny(401));
        rows.push(by_anybody(without));
    }
    let reader = [("authorization", "Bearer {{reader}}")];
    for path in [
        "/admin",
        "/admin/x",
        "/admin;a=b/x",
        "/admin?x=/public/",
        "/administration",
        "/admin%2fx",
        "/v1/../admin",
    ] {
        let shown =
            row(&format!("path.{path}, with a token"), "base", &format!("GET {path}"), &reader, deny(403));
        rows.push(by_anybody(shown));
    }
    for (authority, expect) in
        [("API.Example", allow()), ("shop.example", deny(401)), ("api.example.evil.example", deny(401))]
    {
        let mut shown = row(&format!("host.{authority}"), "base", "GET /public/x", &[], expect);
        shown["request"]["authority"] = json!(authority);
        rows.push(shown);
    }
    for name in ["x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-envoy-original-path"] {
        rows.push(row(&format!("path.{name}"), "base", "GET /admin/x", &[(name, "/public/x")], deny(401)));
    }
    rows
}

/// Methods, preflights, and upgrades.
fn methods() -> Vec<Value> {
    let origin = ("origin", "https://shop.example");
    let asked = ("access-control-request-method", "POST");
    let mut rows: Vec<Value> = ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        .iter()
        .map(|method| {
            row(&format!("method.{method}"), "base", &format!("{method} /v1/orders"), &[], deny(401))
        })
        .collect();
    rows.extend([
        row(
            "method.in a field",
            "cors",
            "GET /v1/orders",
            &[("x-http-method-override", "OPTIONS")],
            deny(401),
        ),
        row("method.in another field", "base", "GET /v1/orders", &[("x-method-override", "GET")], deny(401)),
        row("preflight.on", "cors", "OPTIONS /v1/orders", &[origin, asked], allow()),
        row(
            "preflight.on, as somebody",
            "cors",
            "OPTIONS /v1/orders",
            &[origin, asked, ("x-user-id", "chief")],
            allow_without(&["x-user-id"]),
        ),
        row("preflight.off", "base", "OPTIONS /v1/orders", &[origin, asked], deny(401)),
        row("preflight.no method", "cors", "OPTIONS /v1/orders", &[origin], deny(401)),
        row("preflight.no origin", "cors", "OPTIONS /v1/orders", &[asked], deny(401)),
        row("preflight.of another method", "cors", "GET /v1/orders", &[origin, asked], deny(401)),
        row(
            "upgrade.no token",
            "base",
            "GET /v1/socket",
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "MDEyMzQ1Njc4OWFiY2RlZg=="),
            ],
            deny(401),
        ),
        row(
            "upgrade.a token among the subprotocols",
            "base",
            "GET /v1/socket",
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "MDEyMzQ1Njc4OWFiY2RlZg=="),
                ("sec-websocket-protocol", "bearer, {{reader}}"),
            ],
            deny(401),
        ),
    ]);
    rows
}
