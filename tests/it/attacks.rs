//! The known ways to get past a gateway at the level of HTTP, one test a row of the table of attacks (H1 to H18): where
//! the token is, and who may say who somebody is. Each is tried on a real Envoy over HTTP/1.1 and HTTP/2.

use crate::common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Gateway, SOON, assert_problem, challenge, config, corp, local_provider, with};
use harness::idp::flip_bit;
use harness::wait::poll;
use harness::{Cluster, Filter, Idp, Record, Request, Response};
use portcullis::Config;
use serde_json::{Value, json};

/// The names that the filter writes.
const OWN: [&str; 3] = ["x-user", "x-tenant", "x-payload"];

fn configuration(idp: &Idp) -> Value {
    let outputs = json!({
        "forward_payload_header": "x-payload",
        "claim_to_headers": [
            { "header_name": "x-user", "claim_name": "sub" },
            { "header_name": "x-tenant", "claim_name": "tenant" },
        ],
    });
    let usual = with(local_provider(idp), outputs);
    let places = json!({
        "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }],
        "from_cookies": ["session"],
        "from_params": ["access_token"],
    });
    let optional = |part: &str| json!({ "requires_any": { "requirements": [corp(), { part: {} }] } });
    let mut config = config(
        usual.clone(),
        json!([
            { "match": { "prefix": "/public" } },
            { "match": { "prefix": "/missing" }, "requires": optional("allow_missing") },
            { "match": { "prefix": "/failed" }, "requires": optional("allow_missing_or_failed") },
            { "match": { "prefix": "/places" }, "requires": { "provider_name": "places" } },
            { "match": { "prefix": "/forward" }, "requires": { "provider_name": "forward" } },
            { "match": { "prefix": "/routed" }, "requires": { "provider_name": "routed" } },
            { "match": { "prefix": "/x" }, "requires": corp() },
        ]),
    );
    config["providers"]["places"] = with(usual.clone(), places);
    config["providers"]["forward"] = with(usual.clone(), json!({ "forward": true }));
    config["providers"]["routed"] = with(usual, json!({ "clear_route_cache": true }));
    // No line of the audit is left out.
    let audit = json!({ "max_per_second": 1000 });
    with(config, json!({ "unmatched": "allow", "bypass_cors_preflight": true, "audit": audit }))
}

fn start() -> Gateway {
    // A filter in front that rewrites paths, and one behind.
    let rewrite = |name: &str, header: &str| {
        let code = format!(
            "function envoy_on_request(handle)\n  local path = handle:headers():get(\"{header}\")\n  if path then handle:headers():replace(\":path\", path) end\nend"
        );
        Filter::Raw(json!({
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": { "inline_string": code },
            },
        }))
    };
    let (idp, upstream) = (common::idp(), harness::Upstream::start());
    let by_tenant = |start: &str| {
        json!({
            "match": { "prefix": start, "headers": [{ "name": "x-tenant", "string_match": { "exact": "acme" } }] },
            "route": { "cluster": "upstream" },
            "request_headers_to_add": [{ "header": { "key": "x-route", "value": "acme" } }],
        })
    };
    let routes = json!([
        by_tenant("/routed"),
        by_tenant("/x"),
        { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
    ]);
    let envoy = harness::Envoy::builder()
        .cluster("upstream", Cluster::new(upstream.addr()).http2())
        .filter(rewrite("before", "x-before"))
        .filter(harness::Wasm::portcullis(configuration(&idp)))
        .filter(rewrite("behind", "x-behind"))
        .main(|listener| {
            listener.routes(routes).hcm("http_protocol_options", json!({ "enable_trailers": true }))
        })
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    Gateway { idp, upstream, envoy }
}

/// The answers over HTTP/1.1 and over HTTP/2.
fn both(gateway: &Gateway, request: &Request) -> [Response; 2] {
    [request.send(gateway.addr()), request.send_h2(gateway.addr())]
}

#[track_caller]
fn refused(gateway: &Gateway, what: &str, request: &Request, status: u16, reason: &str) {
    for response in both(gateway, request) {
        assert_problem(what, &response, status, reason);
    }
    assert_eq!(gateway.upstream.take().len(), 0, "{what}: it reached the upstream");
}

/// What reached the upstream.
#[track_caller]
fn passed(gateway: &Gateway, what: &str, request: &Request) -> Vec<Record> {
    for response in both(gateway, request) {
        assert_eq!(response.status, 200, "{what}: {}", response.text());
    }
    let records = gateway.upstream.take();
    assert_eq!(records.len(), 2, "{what}");
    records
}

/// What an upstream could take for a field of this name.
fn seen_as(record: &Record, name: &str) -> Vec<String> {
    let fields = record.headers.iter().chain(&record.trailers);
    let folded = |known: &str| known.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let same = fields.filter(|(known, _)| folded(known) == name);
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn good(gateway: &Gateway) -> String {
    gateway.idp.token(json!({}))
}

fn lying(request: Request) -> Request {
    ["x-user", "x_user", "x-tenant", "x-payload", "x_payload"]
        .iter()
        .fold(request, |request, name| request.header(name, "mallory").header(name, "root"))
}

#[track_caller]
fn assert_nobody(record: &Record, what: &str) {
    for name in OWN {
        assert_eq!(seen_as(record, name), [""; 0], "{what}: {name}");
    }
}

fn h1_several_authorization_fields(gateway: &Gateway) {
    let (one, other) = (good(gateway), gateway.idp.token(json!({ "sub": "root" })));
    for (first, second) in [(&one, &other), (&one, &one), (&flip_bit(&one), &one), (&one, &flip_bit(&one))] {
        refused(gateway, "two", &Request::get("/x").bearer(first).bearer(second), 400, "token_multiple");
        // Where a token may be missing or bad, two of them are as good as a bad one.
        let request = Request::get("/missing").bearer(first).bearer(second);
        refused(gateway, "two, optional", &request, 400, "token_multiple");
    }
    let basic = Request::get("/x").header("authorization", "Basic dTpw").bearer(&one);
    refused(gateway, "beside another scheme", &basic, 400, "token_multiple");
}

fn h2_tokens_in_two_places(gateway: &Gateway) {
    let token = good(gateway);
    let cookie = format!("session={token}");
    let query = format!("/places?access_token={token}");
    for (what, request) in [
        ("header and query", Request::get(&query).bearer(&token)),
        ("header and cookie", Request::get("/places").bearer(&token).header("cookie", &cookie)),
        ("query and cookie", Request::get(&query).header("cookie", &cookie)),
        ("all", Request::get(&query).bearer(&token).header("cookie", &cookie)),
    ] {
        refused(gateway, what, &request, 400, "token_multiple");
    }
}

fn h3_forms_of_the_scheme(gateway: &Gateway) {
    let token = good(gateway);
    let with_value = |value: String| Request::get("/x").header("authorization", value);
    for scheme in ["Bearer ", "bearer ", "BEARER ", "bEaReR   "] {
        passed(gateway, scheme, &with_value(format!("{scheme}{token}")));
    }
    for (value, status, reason) in [
        (format!("Bearer\t{token}"), 401, "token_malformed"),
        (token.clone(), 401, "token_missing"),
        (format!("Token {token}"), 401, "token_missing"),
        (format!("Bearer:{token}"), 401, "token_missing"),
        (format!("Bearer \"{token}\""), 401, "token_malformed"),
        (format!("Bearer {token} x"), 401, "token_malformed"),
        (format!("Bearer token={token}"), 401, "token_malformed"),
        (format!("Bearer {token},{token}"), 400, "token_multiple"),
        (format!("Bearer {token}, Basic dTpw"), 400, "token_multiple"),
    ] {
        refused(gateway, &value, &with_value(value.clone()), status, reason);
    }
}

fn h4_a_token_in_the_query(gateway: &Gateway) {
    let token = good(gateway);
    let query = format!("?access_token={token}&a=b");
    refused(gateway, "off unless named", &Request::get(format!("/x{query}")), 401, "token_missing");
    for record in passed(gateway, "named", &Request::get(format!("/places/h4{query}"))) {
        assert_eq!(record.path(), "/places/h4?a=b");
    }
    let line = gateway.logged("/places/h4?a=b");
    assert!(!line.to_string().contains(&token), "the access log has the token");
    let bad = Request::get(format!("/places?access_token={}", flip_bit(&token)));
    for response in both(gateway, &bad) {
        assert_eq!(
            (response.status, response.headers_named("cache-control")),
            (401, vec!["no-store".to_owned()])
        );
    }
}

fn h5_a_client_that_says_who_it_is(gateway: &Gateway) {
    let preflight = Request::new("OPTIONS", "/x")
        .header("origin", "https://a.example")
        .header("access-control-request-method", "GET");
    for (what, request) in [
        ("public", Request::get("/public")),
        ("no rule", Request::get("/elsewhere")),
        ("optional", Request::get("/missing")),
        ("optional, failed", Request::get("/failed")),
        ("preflight", preflight),
        ("public, with a token", Request::get("/public").bearer(&good(gateway))),
    ] {
        for record in passed(gateway, what, &lying(request)) {
            assert_nobody(&record, what);
        }
    }
}

fn h6_other_spellings_of_a_name(gateway: &Gateway) {
    for name in [
        "x_user",
        "X-User",
        "X_USER",
        "x-User",
        "X_Tenant",
        "x_payload",
        "x.user",
        "x~user",
        "x!user",
        "X.TENANT",
        "x|payload",
        "x+user",
    ] {
        for path in ["/public", "/missing", "/x"] {
            let request = Request::get(path).header(name, "mallory").bearer(&good(gateway));
            let response = request.send(gateway.addr());
            assert_eq!(response.status, 200, "{name} {path}");
            let record = gateway.upstream.take().pop().expect("a request");
            let all: Vec<String> = OWN.iter().flat_map(|own| seen_as(&record, own)).collect();
            assert!(!all.iter().any(|value| value == "mallory"), "{name} {path}: {record:?}");
        }
    }
}

fn h7_a_claim_that_is_absent(gateway: &Gateway) {
    let token = gateway.idp.mint().without("sub").sign();
    for record in passed(gateway, "no subject", &lying(Request::get("/x")).bearer(&token)) {
        assert_eq!(seen_as(&record, "x-user"), [""; 0]);
        assert_eq!(seen_as(&record, "x-tenant"), [""; 0]);
    }
}

fn h8_one_value_and_no_more(gateway: &Gateway) {
    let token = gateway.idp.token(json!({ "tenant": "acme" }));
    for record in passed(gateway, "replaced", &lying(Request::get("/x")).bearer(&token)) {
        assert_eq!(seen_as(&record, "x-user"), ["alice"]);
        assert_eq!(seen_as(&record, "x-tenant"), ["acme"]);
        assert_eq!(seen_as(&record, "x-payload").len(), 1);
    }
}

fn h9_hop_by_hop(gateway: &Gateway) {
    let request = Request::get("/x").bearer(&good(gateway)).header("connection", "close, x-user, x-tenant");
    assert_eq!(request.send(gateway.addr()).status, 200);
    let record = gateway.upstream.take().pop().expect("a request");
    assert_eq!(seen_as(&record, "x-user"), ["alice"]);
    let response =
        Request::get("/x").bearer(&good(gateway)).header("connection", "authorization").send(gateway.addr());
    gateway.upstream.take();
    assert!(matches!(response.status, 200 | 401), "the token is there or it is not: {}", response.status);
}

fn h10_identity_in_trailers(gateway: &Gateway) {
    let trailing = |request: Request| {
        request
            .trailer("x-sum", "7")
            .trailer("x-user", "mallory")
            .trailer("x_user", "mallory")
            .trailer("x-payload", "x")
    };
    for path in ["/public", "/elsewhere", "/missing"] {
        for record in passed(gateway, path, &trailing(Request::post(path, "body"))) {
            assert_eq!(seen_as(&record, "x-sum"), ["7"], "{path}: trailers do arrive");
            assert_nobody(&record, path);
        }
    }
    for record in passed(gateway, "/x", &trailing(Request::post("/x", "body")).bearer(&good(gateway))) {
        assert_eq!(seen_as(&record, "x-user"), ["alice"]);
    }
}

fn h11_claims_that_nobody_verified(gateway: &Gateway) {
    let token = good(gateway);
    for (what, bad) in [
        ("a bad signature", flip_bit(&token)),
        ("unsigned", gateway.idp.mint().unsigned()),
        ("expired", gateway.idp.mint().expires_in(-100).sign()),
        ("another audience", gateway.idp.token(json!({ "aud": "another" }))),
    ] {
        for record in passed(gateway, what, &lying(Request::get("/failed")).bearer(&bad)) {
            assert_nobody(&record, what);
            assert_eq!(seen_as(&record, "authorization"), [""; 0], "{what}");
        }
    }
    for record in passed(gateway, "a good one", &Request::get("/failed").bearer(&token)) {
        assert_eq!(seen_as(&record, "x-user"), ["alice"]);
    }
}

fn h12_missing_means_none(gateway: &Gateway) {
    let idp = &gateway.idp;
    for (what, bad, reason) in [
        ("a bad signature", flip_bit(&good(gateway)), "token_rejected"),
        ("expired", idp.mint().expires_in(-100).sign(), "expired"),
        ("another issuer", idp.token(json!({ "iss": "https://another.example" })), "token_rejected"),
        ("another audience", idp.token(json!({ "aud": "another" })), "token_rejected"),
        ("unsigned", idp.mint().unsigned(), "token_rejected"),
        ("no token", "x".to_owned(), "token_malformed"),
    ] {
        refused(gateway, what, &Request::get("/missing").bearer(&bad), 401, reason);
    }
    passed(gateway, "none", &Request::get("/missing"));
    for record in passed(gateway, "an empty one", &Request::get("/missing").bearer("")) {
        assert!(seen_as(&record, "authorization").is_empty(), "an empty one travels on");
    }
}

fn h13_the_token_stays_here(gateway: &Gateway) {
    let token = good(gateway);
    for (path, kept) in [("/x", false), ("/missing", false), ("/places", false), ("/forward", true)] {
        for record in passed(gateway, path, &Request::get(path).bearer(&token)) {
            let all = format!("{:?}", seen_as(&record, "authorization"));
            assert_eq!(all.contains(&token), kept, "{path}: {all}");
        }
    }
}

fn h14_nothing_of_a_token_in_the_log(gateway: &Gateway) {
    let secret = "nobody-may-read-this";
    let mut sent = Vec::new();
    for kid in ["kid\r\n[critical] forged line", "kid\u{1b}[2J", "%n%s", &"k".repeat(3000)] {
        let token = gateway
            .idp
            .mint()
            .kid(kid)
            .claim("sub", secret)
            .claim("iss", format!("{secret}\r\nforged line"))
            .sign();
        let _ = both(gateway, &Request::get("/x").bearer(&token));
        sent.push(token);
    }
    let token = gateway.idp.token(json!({ "sub": "seen", "secret": secret }));
    let _ = both(gateway, &Request::get("/x").bearer(&token));
    let _ = both(gateway, &Request::get("/x").bearer(&flip_bit(&token)));
    sent.push(token);
    gateway.upstream.take();
    // The audit line tells the key id, escaped; lines are written a moment after the answer.
    let log =
        poll(SOON, || Some(gateway.envoy.log()).filter(|log| log.contains("\\r\\n[critical] forged line")))
            .expect("an audit line with the key id, escaped");
    assert!(!log.contains(secret), "a claim is in the log");
    let is_forged = |line: &str| line.starts_with("[critical]") || line.starts_with("forged");
    assert!(!log.split(['\r', '\n']).any(is_forged), "a key id or an issuer made a line of its own");
    assert!(!log.contains('\u{1b}'), "a key id drives the terminal");
    let stats = format!("{:?}", gateway.envoy.stats_matching("wasmcustom"));
    assert!(!stats.contains(secret) && !stats.contains("forged"), "{stats}");
    for part in sent.iter().flat_map(|token| token.split('.')) {
        assert!(!log.contains(part), "a part of a token is in the log");
    }
}

fn h15_an_answer_repeats_nothing(gateway: &Gateway) {
    let constant = |request: Request| {
        both(gateway, &request)
            .map(|response| (response.status, response.header("www-authenticate"), response.text()))
    };
    let first = constant(Request::get("/x"));
    for (what, request) in [
        ("a path", Request::get("/x/'alert(1)'")),
        ("a query", Request::get("/x?'alert(1)'&%0d%0ax:y=%3Cscript%3E")),
        ("a host", Request::get("/x").host("evil.example")),
        (
            "a field",
            Request::get("/x").header("x-forwarded-host", "evil.example").header("referer", "<script>"),
        ),
        ("another scheme", Request::get("/x").header("authorization", "Digest username=\"<script>\"")),
    ] {
        assert_eq!(constant(request), first, "{what}");
    }
    let of = |token: &str| constant(Request::get("/x").bearer(token));
    let one = of(&flip_bit(&gateway.idp.token(json!({ "sub": "<script>" }))));
    assert_eq!(one, of(&gateway.idp.token(json!({ "iss": "<script>", "sub": "\"\r\n" }))));
}

fn h16_what_a_client_says_of_its_connection(gateway: &Gateway) {
    let bound =
        gateway.idp.token(json!({ "cnf": { "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" } }));
    let xfcc =
        "Hash=6f070ad1eb1cdc0082dc30766398ff9444ac5c4f28f65b5cd3b93bcf63748dd7d760;Subject=\"CN=alice\"";
    for (name, value) in [
        ("x-forwarded-client-cert", xfcc),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-envoy-internal", "true"),
        ("x-envoy-external-address", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1;proto=https"),
    ] {
        let request = Request::get("/x").header(name, value);
        refused(gateway, name, &request, 401, "token_missing");
        refused(gateway, name, &request.bearer(&bound), 401, "token_rejected");
    }
}

fn h17_filters_that_change_the_request(gateway: &Gateway) {
    let token = good(gateway);
    // In front: what it makes of the request is what is judged.
    let before = Request::get("/public").header("x-before", "/x/1");
    refused(gateway, "in front", &before, 401, "token_missing");
    for record in passed(gateway, "in front", &before.bearer(&token)) {
        assert_eq!(record.path(), "/x/1");
    }
    // Behind: the decision was about what came; the order of the filters is the operator's to choose.
    for record in passed(gateway, "behind", &Request::get("/public").header("x-behind", "/x/2")) {
        assert_eq!(record.path(), "/x/2");
        assert_nobody(&record, "behind");
    }
    // Envoy chooses the route anew after a field has changed, whether that was asked for or not; then by what the
    // token says, and never by what the client said.
    let tenant = gateway.idp.token(json!({ "tenant": "acme" }));
    let route = |request: &Request| -> Vec<Vec<String>> {
        passed(gateway, "routed", request).iter().map(|record| seen_as(record, "x-route")).collect()
    };
    assert_eq!(route(&Request::get("/routed").bearer(&tenant)), [["acme"], ["acme"]]);
    // A dynamic module's changes of fields make Envoy choose no other route by themselves.
    let unasked = if common::is_native() { [""; 0].as_slice() } else { &["acme"] };
    assert_eq!(route(&Request::get("/x").bearer(&tenant)), [unasked, unasked]);
    let lie = Request::get("/routed").bearer(&token).header("x-tenant", "acme");
    assert_eq!(route(&lie), [[""; 0], [""; 0]], "the route that the client asked for");
    let lie = Request::get("/x").bearer(&token).header("x_tenant", "acme").header("x-tenant", "acme");
    assert_eq!(route(&lie), [[""; 0], [""; 0]], "the route that the client asked for");
}

fn h18_parameters_of_the_challenge(gateway: &Gateway) {
    for response in both(gateway, &Request::get("/x")) {
        assert_eq!(challenge(&response).expect("a challenge")["realm"], "corp");
    }
    let parse = |config: &Value| Config::parse(config.to_string().as_bytes(), &|_| None);
    let base = |rules: Value| config(local_provider(&gateway.idp), rules);
    let rule = |authorize: Value| json!([{ "match": { "prefix": "/" }, "requires": corp(), "authorize": authorize }]);
    for realm in ["a\r\nset-cookie: x=y", "a\nb", "a\0b", "\u{7f}", "\u{e9}"] {
        let config = with(base(json!([])), json!({ "realm": realm }));
        assert!(parse(&config).is_err(), "the realm {realm:?}");
    }
    for scope in ["a\"b", "a\\b", "a\r\nb", "a b", "", "\u{e9}"] {
        let config = base(rule(json!({ "scopes": { "all_of": [scope] } })));
        assert!(parse(&config).is_err(), "the scope {scope:?}");
    }
    // The name of a provider is a realm, too.
    let mut named = base(json!([]));
    named["providers"]["a\r\nb"] = named["providers"]["corp"].clone();
    assert!(parse(&named).is_err(), "the name of a provider");
    assert!(parse(&base(rule(json!({ "scopes": { "all_of": ["a:b/c?d=e"] } })))).is_ok());
}

type Attack = fn(&Gateway);

const ROWS: [(&str, Attack); 18] = [
    ("H1", h1_several_authorization_fields),
    ("H2", h2_tokens_in_two_places),
    ("H3", h3_forms_of_the_scheme),
    ("H4", h4_a_token_in_the_query),
    ("H5", h5_a_client_that_says_who_it_is),
    ("H6", h6_other_spellings_of_a_name),
    ("H7", h7_a_claim_that_is_absent),
    ("H8", h8_one_value_and_no_more),
    ("H9", h9_hop_by_hop),
    ("H10", h10_identity_in_trailers),
    ("H11", h11_claims_that_nobody_verified),
    ("H12", h12_missing_means_none),
    ("H13", h13_the_token_stays_here),
    ("H14", h14_nothing_of_a_token_in_the_log),
    ("H15", h15_an_answer_repeats_nothing),
    ("H16", h16_what_a_client_says_of_its_connection),
    ("H17", h17_filters_that_change_the_request),
    ("H18", h18_parameters_of_the_challenge),
];

#[test]
fn no_row_of_the_table_gets_through() {
    let gateway = start();
    let mut failed = Vec::new();
    for (row, attack) in ROWS {
        // All of them are tried, whichever fails.
        if catch_unwind(AssertUnwindSafe(|| attack(&gateway))).is_err() {
            failed.push(row);
        }
        gateway.upstream.take();
    }
    assert!(failed.is_empty(), "{failed:?} got through; what they did is told above");
    gateway.envoy.wait_for_access_log(100, SOON);
    gateway.assert_sound();
}
