//! The rule that is for a request decides, and no other spelling of a path gets around it.

use crate::common;
use crate::request_vectors::{Vectors, configuration, read, settings};

use common::{Gateway, Random, assert_problem, config, corp, local_provider, with};
use harness::{Idp, Request, Response};
use serde_json::{Value, json};

/// `GET`s and what they get, as a table of path, with the token or not, and status.
#[track_caller]
fn assert_statuses(gateway: &Gateway, token: &str, table: &[(&str, &str, bool, u16)]) {
    for (method, path, has_token, status) in table {
        let mut request = Request::new(method, path);
        if *has_token {
            request = request.bearer(token);
        }
        let response = request.send(gateway.addr());
        assert_eq!(response.status, *status, "{method} {path}, token: {has_token}: {}", response.text());
    }
    let passed = table.iter().filter(|row| row.3 == 200).count();
    assert_eq!(gateway.upstream.take().len(), passed, "what is refused does not reach the upstream");
}

#[test]
fn the_first_rule_that_matches_decides() {
    let scope = |scope: &str| json!({ "scopes": { "all_of": [scope] } });
    let gateway = Gateway::start(|idp| {
        config(
            local_provider(idp),
            json!([
                { "match": { "path": "/admin/health" } },
                { "name": "admin", "match": { "prefix": "/admin" }, "requires": corp(), "authorize": scope("admin") },
                { "match": { "path": "/orders", "methods": ["GET", "HEAD"] }, "requires": corp(), "authorize": scope("read") },
                { "match": { "path": "/orders", "methods": ["POST"] }, "requires": corp(), "authorize": scope("write") },
                { "match": { "path_template": "/tenants/{tenant}/orders/*" }, "requires": corp(), "authorize": scope("read") },
                { "match": { "path_template": "/files/{rest=**}" }, "requires": corp(), "authorize": scope("read") },
                { "match": { "prefix": "/public/" } },
                { "match": { "prefix": "/" }, "requires": corp() },
            ]),
        )
    });
    let token = gateway.idp.token(json!({ "scope": "read" }));
    assert_statuses(
        &gateway,
        &token,
        &[
            ("GET", "/admin/health", false, 200),
            ("GET", "/admin/health/", false, 401),
            ("GET", "/admin", false, 401),
            ("GET", "/admin", true, 403),
            ("GET", "/admin/x", true, 403),
            ("GET", "/administration", true, 403),
            ("GET", "/orders", false, 401),
            ("GET", "/orders", true, 200),
            ("HEAD", "/orders", true, 200),
            ("POST", "/orders", true, 403),
            ("DELETE", "/orders", false, 401),
            ("DELETE", "/orders", true, 200),
            ("GET", "/orders?x=/public/", false, 401),
            ("GET", "/tenants/acme/orders/7", false, 401),
            ("GET", "/tenants/acme/orders/7", true, 200),
            ("GET", "/files/a/b/c", true, 200),
            ("GET", "/files/a/b/c", false, 401),
            ("GET", "/public/", false, 200),
            ("GET", "/public/a/b?c=d", false, 200),
            ("GET", "/public/a?x=/../../admin", false, 200),
            ("GET", "/public", false, 401),
            ("GET", "/Public/a", false, 401),
            ("GET", "/ADMIN", true, 200),
            ("GET", "/", false, 401),
            ("GET", "/", true, 200),
        ],
    );
    // Over HTTP/1.1 it is Envoy that refuses a method in lower case.
    let lower = Request::new("get", "/orders");
    assert_problem("lower case", &lower.send_h2(gateway.addr()), 401, "token_missing");
    gateway.assert_sound();
}

#[test]
fn a_template_takes_whole_segments() {
    let gateway = Gateway::start(|idp| {
        config(
            local_provider(idp),
            json!([
                { "match": { "path_template": "/tenants/{tenant}/orders/**" }, "requires": corp() },
                { "match": { "path_template": "/one/*/end" }, "requires": corp() },
            ]),
        )
    });
    let token = gateway.idp.token(json!({}));
    assert_statuses(
        &gateway,
        &token,
        &[
            ("GET", "/tenants/acme/orders/7", true, 200),
            ("GET", "/tenants/acme/orders/7/lines/1", true, 200),
            ("GET", "/tenants/a%20b/orders/7", true, 200),
            ("GET", "/tenants/acme/orders/7", false, 401),
            ("GET", "/tenants/acme/invoices/7", true, 403),
            ("GET", "/tenants/acme/x/orders/7", true, 403),
            ("GET", "/tenants/orders/7", true, 403),
            ("GET", "/tenants//orders/7", true, 400),
            ("GET", "/one/x/end", true, 200),
            ("GET", "/one/x/y/end", true, 403),
            ("GET", "/one/x/end/", true, 403),
        ],
    );
}

#[test]
fn what_no_rule_matches_is_denied_unless_it_is_allowed() {
    for (unmatched, status) in [(None, 403), (Some("deny"), 403), (Some("allow"), 200)] {
        let gateway = Gateway::start(|idp| {
            let mut config = config(
                local_provider(idp),
                json!([{ "match": { "path": "/orders", "methods": ["GET"] }, "requires": corp() }]),
            );
            if let Some(unmatched) = unmatched {
                config["unmatched"] = json!(unmatched);
            }
            config
        });
        let token = gateway.idp.token(json!({}));
        assert_statuses(
            &gateway,
            &token,
            &[
                ("GET", "/orders", false, 401),
                ("GET", "/orders", true, 200),
                ("GET", "/", false, status),
                ("GET", "/", true, status),
                ("POST", "/orders", true, status),
                // What could be read as /orders is refused, rule or no rule.
                ("GET", "/a/../orders", false, 400),
                ("GET", "//orders", false, 400),
            ],
        );
        if status == 403 {
            let response = Request::get("/elsewhere").bearer(&token).send(gateway.addr());
            assert_problem("no rule", &response, 403, "route_unmatched");
            assert_eq!(common::challenge(&response), None, "no token would help");
            let line = gateway.logged("/elsewhere");
            assert_eq!(
                (&line["details"], &line["rule"]),
                (&json!("portcullis_route_unmatched"), &Value::Null)
            );
        }
    }
}

#[test]
fn connect_is_denied_even_where_everything_is_allowed() {
    for unmatched in ["deny", "allow"] {
        let gateway = Gateway::start_with(
            |idp| {
                let rules = json!([{ "match": { "prefix": "/" } }]);
                with(config(local_provider(idp), rules), json!({ "unmatched": unmatched }))
            },
            |builder| {
                builder.shared().main(|listener| {
                    // Envoy itself would take it to the upstream.
                    listener.hcm("upgrade_configs", json!([{ "upgrade_type": "CONNECT" }])).routes(json!([
                        { "match": { "connect_matcher": {} }, "route": {
                            "cluster": "upstream",
                            "upgrade_configs": [{ "upgrade_type": "CONNECT", "connect_config": {} }],
                        } },
                        { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
                    ]))
                })
            },
        );
        let request = Request::new("CONNECT", "internal.example:443").host("internal.example:443");
        let response = request.send(gateway.addr());
        assert_eq!(response.status, 403, "unmatched {unmatched}: {}", response.text());
        assert_eq!(response.reason().as_deref(), Some("route_unmatched"));
        let token = gateway.idp.token(json!({}));
        assert_eq!(request.bearer(&token).send(gateway.addr()).status, 403);
        assert_eq!(gateway.upstream.count(), 0);
        assert_eq!(Request::get("/").send(gateway.addr()).status, 200);
        gateway.assert_sound();
    }
}

/// Spellings that some hop reads as `/admin/x` (or as something else than it says), each from a public path.
const AMBIGUOUS: &[&str] = &[
    "/public/../admin/x",
    "/public/./../admin/x",
    "/public/..",
    "/public/../../admin/x",
    "/public/%2e%2e/admin/x",
    "/public/%2E%2E/admin/x",
    "/public/.%2e/admin/x",
    "/public/%2e./admin/x",
    "/public/%2e%2e%2fadmin/x",
    "/public%2f..%2fadmin/x",
    "/public%2F../admin/x",
    "/public/..%2fadmin/x",
    "/public/..%5cadmin/x",
    "/public\\..\\admin\\x",
    "/public/..\\admin/x",
    "/public/\\admin",
    "/public/%5c..%5cadmin/x",
    "//admin/x",
    "/public//admin/x",
    "/public//../admin/x",
    "/public/..//admin/x",
    "/public/..;/admin/x",
    "/public/..;a=b/admin/x",
    "/public/.;/../admin/x",
    "/public/;/../admin/x",
    "/public/;x/admin",
    "/public/%2e%2e;/admin/x",
    "/public/%00/../admin/x",
    "/public/x%00",
    "/public/%252e%252e/admin/x",
    "/public/%252e%252e%252fadmin/x",
    "/public/%25252e%25252e/admin/x",
    "/public%252f..%252fadmin",
    "/public/%255c..%255cadmin",
    "/public/%c0%ae%c0%ae/admin/x",
    "/public/%c0%af../admin/x",
    "/public/%e0%80%af/admin/x",
    "/public/\u{ff0e}\u{ff0e}/../admin/x",
    "/public/%3f/../admin/x",
    "/public/x%3f",
    "/public/%23/../admin/x",
    "/public/x%23",
    "/public/%09/../admin/x",
    "/public/%0d%0a",
    "/public/%7f",
    "/public/%zz",
    "/public/%2",
    "/public/%",
    "/public/%u002e%u002e/admin",
    "/public/%ff",
];

/// Spellings of a protected path, and paths beside the public one: they need a token like any other.
const PROTECTED: &[&str] = &[
    "/admin/x",
    "/%61dmin/x",
    "/%61%64%6d%69%6e/x",
    "/admin;a=b/x",
    "/admin;a=b",
    "/ADMIN/x",
    "/admin/x?/public/",
    "/admin?/public/",
    "/publi%63",
    "/public",
    "/%70ublic",
    "/publicx/",
    "/.public/",
    "/...",
    "/public%2e",
];

/// The path as upstreams may read it: decoded so many times, with or without the parameters of segments, empty
/// segments gone before `.` and `..` or after.
fn readings(path: &str) -> Vec<String> {
    let mut text = path.split('?').next().unwrap_or_default().as_bytes().to_vec();
    let mut readings = Vec::new();
    for _ in 0..4 {
        for parameters in [true, false] {
            for merge_first in [true, false] {
                let shown = String::from_utf8_lossy(&text).replace('\\', "/");
                let cut = |segment: &str| match parameters {
                    true => segment.to_owned(),
                    false => segment.split(';').next().unwrap_or_default().to_owned(),
                };
                let mut kept: Vec<String> = Vec::new();
                for segment in shown.split('/').skip(1).map(cut) {
                    match segment.as_str() {
                        "." => {}
                        "" if merge_first => {}
                        ".." => drop(kept.pop()),
                        _ => kept.push(segment),
                    }
                }
                kept.retain(|segment| !segment.is_empty());
                readings.push(format!("/{}", kept.join("/")));
            }
        }
        text = decoded(&text);
    }
    readings
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| *byte == b'%' && digits.bytes().all(|d| d.is_ascii_hexdigit()));
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(*byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    out
}

#[test]
fn no_spelling_of_a_path_reaches_a_protected_one_without_a_token() {
    for (normalize, merge) in [(false, false), (true, false), (false, true), (true, true)] {
        for policy in ["reject", "normalize"] {
            protected_paths_stay_protected(normalize, merge, policy);
        }
    }
}

fn protected_paths_stay_protected(normalize: bool, merge: bool, policy: &str) {
    let gateway = Gateway::start_with(
        |idp| {
            let mut config = config(
                with(local_provider(idp), json!({ "forward": true })),
                json!([
                    { "match": { "prefix": "/public/" } },
                    { "match": { "prefix": "/admin" }, "requires": corp(),
                      "authorize": { "scopes": { "all_of": ["admin"] } } },
                    { "match": { "prefix": "/" }, "requires": corp() },
                ]),
            );
            config["ambiguous_paths"] = json!(policy);
            config
        },
        |builder| {
            let route = |prefix: &str| {
                let header = json!({ "header": { "key": "x-route", "value": prefix } });
                json!({ "match": { "prefix": prefix }, "route": { "cluster": "upstream" },
                    "request_headers_to_add": [header] })
            };
            builder.shared().main(|listener| {
                let listener = listener.normalize_path(normalize).merge_slashes(merge);
                listener.routes(json!([route("/admin"), route("/public/"), route("/")]))
            })
        },
    );
    let addr = gateway.addr();
    let token = gateway.idp.token(json!({ "scope": "read" }));
    let setting = format!("normalize_path {normalize}, merge_slashes {merge}, ambiguous_paths {policy}");
    let mut passed_at_all = 0;
    for path in AMBIGUOUS {
        for request in [Request::get(path), Request::get(path).bearer(&token)] {
            for (version, response) in [("1.1", request.try_send(addr)), ("2", request.try_send_h2(addr))] {
                let what = format!("{setting}: {path} over HTTP/{version}: {response:?}");
                if let Ok(response) = response
                    && policy == "reject"
                    && !normalize
                    && !merge
                {
                    // Nobody but the filter has judged it, unless Envoy has refused it before.
                    assert_eq!(response.status, 400, "{what}");
                    let reason = response.reason();
                    assert!(reason.as_deref().is_none_or(|reason| reason == "path_ambiguous"), "{what}");
                }
                for record in gateway.upstream.take() {
                    passed_at_all += 1;
                    let carries = record.header("authorization").is_some();
                    let readings = readings(&record.path());
                    let below = |start: &str| readings.iter().filter(|path| path.starts_with(start)).count();
                    assert_eq!(below("/admin"), 0, "{what}: {record:?}");
                    // Without a token, that is what it was judged as, what it is, and where it was sent.
                    let public = below("/public") == readings.len();
                    assert!(carries || public, "{what}: {record:?}");
                    let route = record.header("x-route").unwrap_or_default();
                    assert!(route == "/public/" || (carries && route == "/"), "{what}: {route} {record:?}");
                    if policy == "reject" {
                        let path = record.path();
                        let path = path.split('?').next().unwrap_or_default();
                        assert!(
                            !path.contains("..") && !path.contains("//") && !path.contains(['%', '\\', ';']),
                            "{what}"
                        );
                    }
                }
            }
        }
    }
    // Envoy's and the filter's own forms let some of them through, as what they are.
    assert_eq!(passed_at_all > 0, normalize || merge || policy == "normalize", "{setting}: {passed_at_all}");
    for path in PROTECTED {
        for response in [Request::get(path).try_send(addr), Request::get(path).try_send_h2(addr)] {
            let status = response.map_or(0, |response| response.status);
            assert!(matches!(status, 0 | 400 | 401), "{setting}: {path}: {status}");
        }
    }
    assert!(gateway.upstream.take().is_empty(), "{setting}: a protected path was reached");
    for path in ["/admin/x", "/%61dmin/x", "/admin;a=b/x", "/admin?/public/", "/administrator"] {
        for response in
            [Request::get(path).bearer(&token).send(addr), Request::get(path).bearer(&token).send_h2(addr)]
        {
            // Without `normalize_path` Envoy forwards it as it is, and not everybody decodes it.
            let (status, reason) = match path.starts_with("/%61") && !normalize {
                true => (400, "path_ambiguous"),
                false => (403, "scope_insufficient"),
            };
            assert_problem(&format!("{setting}: {path}"), &response, status, reason);
        }
    }
    gateway.assert_sound();
}

/// What a path is judged as under `normalize`, and that it is forwarded as it came.
#[test]
fn a_normalized_path_passes_where_all_its_readings_meet_one_rule() {
    let gateway = Gateway::start(|idp| {
        let rules = json!([
            { "name": "admin", "match": { "path_template": "/admin/{x}" }, "requires": corp() },
            { "name": "public", "match": { "prefix": "/public/" } },
        ]);
        with(config(local_provider(idp), rules), json!({ "ambiguous_paths": "normalize" }))
    });
    let (addr, token) = (gateway.addr(), gateway.idp.token(json!({})));
    for (path, without, bearing) in [
        ("/public/x", 200, 200),
        ("/public//x", 200, 200),
        ("/public/a/../x", 200, 200),
        ("/public/a%2Fx", 200, 200),
        ("/public/%2e/x/", 200, 200),
        ("/admin/../public/x", 400, 400),
        ("/public/../admin/x", 400, 400),
        ("/public/%2e%2e/admin/x", 400, 400),
        ("/public/..;v=1/admin/x", 400, 400),
        ("/public%2F..%2Fadmin%2Fx", 400, 400),
        ("/public/%252e%252e/admin/x", 400, 400),
        ("//admin//x", 400, 400),
        ("/public/../elsewhere", 400, 400),
        ("/elsewhere/../other", 403, 403),
        ("/public/%zz", 400, 400),
        ("/public/%00", 400, 400),
        ("/public//../x", 400, 400),
        ("/public/x%23", 400, 400),
    ] {
        for h2 in [false, true] {
            for (request, expected) in
                [(Request::get(path), without), (Request::get(path).bearer(&token), bearing)]
            {
                let response = if h2 { request.send_h2(addr) } else { request.send(addr) };
                assert_eq!(response.status, expected, "{path}, HTTP/2: {h2}: {}", response.text());
                let passed: Vec<_> = gateway.upstream.take().iter().map(harness::Record::path).collect();
                assert_eq!(
                    passed,
                    if expected == 200 { vec![path.to_owned()] } else { Vec::new() },
                    "{path}"
                );
            }
        }
    }
    gateway.assert_sound();
}

#[test]
fn a_raw_rule_compares_what_arrives_and_so_what_is_forwarded() {
    for normalize in [false, true] {
        let gateway = Gateway::start_with(
            |idp| {
                let rules = json!([
                    { "match": { "path": "/files/a%2Fb" }, "ambiguous_paths": "match_raw" },
                    { "match": { "prefix": "/raw/" }, "ambiguous_paths": "match_raw" },
                    { "match": { "prefix": "/" }, "requires": corp() },
                ]);
                config(local_provider(idp), rules)
            },
            |builder| builder.shared().main(|listener| listener.normalize_path(normalize)),
        );
        for (path, raw, normal) in [
            ("/files/a%2Fb", 200, 200),
            ("/files/a%2fb", 400, 400),
            ("/files/a/b", 401, 401),
            ("/files/%61%2Fb", 400, 200),
            ("/raw/a//b?c", 200, 200),
            ("/raw/%zz", 200, 200),
            ("/x/../raw/y", 400, 200),
            ("/raw/../files/x", 200, 401),
            ("/%72aw/x", 401, 200),
        ] {
            for h2 in [false, true] {
                let request = Request::get(path);
                let response =
                    if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
                let passed = gateway.upstream.take();
                let expected = if normalize { normal } else { raw };
                let what = format!("{path}, HTTP/2 {h2}, normalize_path {normalize}: {passed:?}");
                assert_eq!(response.status, expected, "{what}: {}", response.text());
                for record in passed {
                    let path = record.path();
                    assert!(path == "/files/a%2Fb" || path.starts_with("/raw/"), "{what}");
                }
            }
        }
        gateway.assert_sound();
    }
}

/// Table 1.7 of the attacks, row P15, and what is said of hosts beside it.
#[test]
fn a_rule_for_a_host_is_met_in_every_case_and_with_the_ports_that_it_names() {
    let gateway = Gateway::start(|idp| {
        let rules = json!([
            { "match": { "prefix": "/", "hosts": ["open.example"] } },
            { "match": { "prefix": "/", "hosts": ["API.example", "*.corp.example", "port.example:8443", "any.example:*"] }, "requires": corp() },
        ]);
        with(config(local_provider(idp), rules), json!({ "unmatched": "allow" }))
    });
    for (host, status) in [
        ("api.example", 401),
        ("API.EXAMPLE", 401),
        ("api.example:443", 400),
        ("api.example.", 400),
        ("Api.Example.:443", 400),
        ("port.example:8443", 401),
        ("port.example", 200),
        ("port.example:8444", 200),
        ("any.example:1", 401),
        ("any.example", 401),
        ("a.b.CORP.example", 401),
        ("corp.example", 200),
        ("open.example", 200),
        ("other.example", 200),
    ] {
        let request = Request::get("/").host(host).header("x-forwarded-host", "open.example");
        for response in [request.send(gateway.addr()), request.send_h2(gateway.addr())] {
            assert_eq!(response.status, status, "{host}: {}", response.text());
        }
    }
    // An absolute target names the host, and Host does not count (RFC 9112 section 3.2.2).
    let request = Request::get("http://api.example/").host("open.example");
    assert_eq!(request.send(gateway.addr()).status, 401);
    gateway.assert_sound();
}

#[test]
fn a_tunnel_is_opened_by_its_own_rule_alone() {
    let gateway = Gateway::start_with(
        |idp| {
            let rules = json!([
                { "match": { "connect_matcher": {}, "hosts": ["far.example:443"] }, "requires": corp() },
                { "match": { "prefix": "/" } },
            ]);
            config(local_provider(idp), rules)
        },
        |builder| {
            builder.shared().main(|listener| {
                listener.hcm("upgrade_configs", json!([{ "upgrade_type": "CONNECT" }])).routes(json!([
                    { "match": { "connect_matcher": {} }, "direct_response": { "status": 200 } },
                    { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
                ]))
            })
        },
    );
    let (addr, token) = (gateway.addr(), gateway.idp.token(json!({})));
    let connect = |host: &str| Request::new("CONNECT", host).host(host);
    assert_eq!(connect("near.example:443").bearer(&token).send(addr).status, 403);
    assert_eq!(connect("far.example:443").send(addr).status, 401);
    assert_eq!(connect("FAR.example:443").bearer(&token).send(addr).status, 200);
    assert_eq!(Request::get("/").send(addr).status, 200);
    gateway.assert_sound();
}

#[test]
fn an_ambiguous_path_is_a_400_that_says_so() {
    let gateway = Gateway::start(|idp| config(local_provider(idp), json!([{ "match": { "prefix": "/" } }])));
    let token = gateway.idp.token(json!({}));
    for path in ["/a/../b", "/a%2Fb", "/a//b"] {
        let response = Request::get(path).bearer(&token).send(gateway.addr());
        assert_problem(path, &response, 400, "path_ambiguous");
        assert_eq!(common::challenge(&response), None, "{path}: no token would help");
        assert!(!response.text().contains(path), "{path} is not repeated");
        let line = gateway.logged(path);
        assert_eq!(
            (&line["details"], &line["reason"], &line["decision"]),
            (&json!("portcullis_path_ambiguous"), &json!("path_ambiguous"), &json!("deny"))
        );
    }
    assert_eq!(gateway.upstream.count(), 0);
}

#[test]
fn the_upstream_gets_the_path_that_was_judged() {
    let gateway = Gateway::start(|idp| {
        config(local_provider(idp), json!([{ "match": { "prefix": "/orders" }, "requires": corp() }]))
    });
    let token = gateway.idp.token(json!({}));
    for path in ["/orders", "/orders/7?a=b&c=%2F", "/orders/%41%20b", "/orders;v=1/7", "/orders/%C3%A9"] {
        assert_eq!(Request::get(path).bearer(&token).send(gateway.addr()).status, 200, "{path}");
        assert_eq!(gateway.upstream.last().path(), path);
    }
}

#[test]
fn more_than_one_token_is_a_400() {
    let gateway = Gateway::start(|idp| {
        config(local_provider(idp), json!([{ "match": { "prefix": "/orders" }, "requires": corp() }]))
    });
    let (addr, idp) = (gateway.addr(), &gateway.idp);
    let (good, root) = (idp.token(json!({})), idp.token(json!({ "sub": "root" })));
    let field = |value: &str| ("authorization", value.to_owned());
    let mut wrong = Vec::new();
    for (number, fields) in [
        vec![field(&format!("Bearer {good}")), field(&format!("Bearer {root}"))],
        vec![field(&format!("Bearer {good}")), field(&format!("Bearer {good}"))],
        vec![field(&format!("Bearer {good}")), field("Basic dTpw")],
        vec![field("Basic dTpw"), field(&format!("Bearer {good}"))],
        vec![field("Bearer x"), field(&format!("Bearer {good}"))],
        vec![field("Bearer"), field(&format!("Bearer {good}"))],
        vec![field(&format!("Bearer {good},Bearer {root}"))],
        vec![field(&format!("Bearer {good}, Bearer {root}"))],
        vec![("Authorization", format!("Bearer {good}")), ("AUTHORIZATION", format!("Bearer {root}"))],
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/orders/{number}");
        let lower: Vec<_> = fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        let http1 =
            fields.iter().fold(Request::get(&path), |request, (name, value)| request.header(name, value));
        let http2 =
            lower.iter().fold(Request::get(&path), |request, (name, value)| request.header(name, value));
        for (version, response) in [("HTTP/1.1", http1.send(addr)), ("HTTP/2", http2.send_h2(addr))] {
            let challenge = common::challenge(&response).unwrap_or_default();
            let error = challenge.get("error").map(String::as_str);
            let found = (response.status, response.reason());
            if found != (400, Some("token_multiple".to_owned())) || error != Some("invalid_request") {
                let values: Vec<_> = fields.iter().map(|(_, value)| value.replace(&good, "(good)")).collect();
                wrong.push(format!("{version}: {values:?}: {found:?}, error {error:?}"));
            }
        }
        let details = &gateway.logged(&path)["details"];
        assert!(details == "portcullis_token_multiple" || !wrong.is_empty(), "{details}");
    }
    assert!(wrong.is_empty(), "not refused as token_multiple:\n{}", wrong.join("\n"));
    assert_eq!(gateway.upstream.count(), 0);
    gateway.assert_sound();
}

#[test]
fn headers_that_claim_another_method_or_path_change_nothing() {
    let gateway = Gateway::start(|idp| {
        config(
            local_provider(idp),
            json!([
                { "match": { "prefix": "/orders", "methods": ["GET"] }, "requires": corp() },
                { "match": { "prefix": "/public/", "methods": ["GET", "OPTIONS"] } },
                { "match": { "prefix": "/public/" }, "requires": corp() },
            ]),
        )
    });
    let addr = gateway.addr();
    let token = gateway.idp.token(json!({}));
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "x-envoy-original-method"] {
        for method in ["GET", "OPTIONS"] {
            let request = |target: &str| Request::new("DELETE", target).header(name, method);
            assert_eq!(request("/public/a").send(addr).status, 401, "{name}: {method}");
            assert_eq!(request("/public/a?_method=GET").send(addr).status, 401, "{name}: {method}");
            assert_eq!(request("/orders").bearer(&token).send(addr).status, 403, "{name}: {method}");
        }
        let request = Request::get("/orders").bearer(&token).header(name, "DELETE");
        assert_eq!(request.send(addr).status, 200, "{name}: it stays a GET");
        assert_eq!(gateway.upstream.last().method, "GET");
    }
    gateway.upstream.take();
    for name in [
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-original-path",
        "x-forwarded-uri",
        "x-original-uri",
        "x-forwarded-prefix",
    ] {
        assert_eq!(Request::get("/orders").header(name, "/public/a").send(addr).status, 401, "{name}");
        assert_eq!(Request::get("/elsewhere").header(name, "/public/a").send(addr).status, 403, "{name}");
    }
    for request in [
        Request::new("OPTIONS", "/orders")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "GET"),
        Request::get("/orders").header("upgrade", "websocket").header("connection", "Upgrade"),
        Request::get("http://gateway.test/orders"),
        Request::get("/orders").header("x-forwarded-for", "127.0.0.1").header("x-envoy-internal", "true"),
    ] {
        let response = request.send(addr);
        assert!(matches!(response.status, 401 | 403), "{request:?}: {}", response.status);
    }
    assert!(gateway.upstream.take().is_empty());
    gateway.assert_sound();
}

/// The status of a refusal, where the interface or Envoy sets it otherwise than the table. Envoy joins repeated
/// Authorization fields with a comma, so that one field with a comma cannot be told from two: 400, as two of them
/// are. A method that is not registered, and a CONNECT to a path, Envoy's HTTP/1.1 refuses itself: 400.
fn status_of(row: &Value, h2: bool) -> u64 {
    match row["id"].as_str() {
        Some("req/scheme.comma") => 400,
        Some("req/method.unknown" | "req/method.connect") if !h2 => 400,
        // It has no path, and no rule for it is there.
        Some("req/method.connect") => 403,
        _ => row["expect"]["status"].as_u64().unwrap_or(200),
    }
}

#[test]
fn the_published_request_cases_come_out_as_they_say() {
    let (tokens, rows) = read();
    let settings = settings().into_iter().flat_map(|setting| [(setting.clone(), false), (setting, true)]);
    let gateways = settings.map(|((name, of_provider, of_all), normalize)| {
        let configuration = |idp: &Idp| configuration(idp, &of_provider, &of_all);
        let gateway = Gateway::start_with(configuration, |builder| {
            let upgrades = json!([{ "upgrade_type": "websocket" }]);
            builder.shared().main(|listener| {
                let listener = listener.normalize_path(normalize).merge_slashes(normalize);
                listener.hcm("upgrade_configs", upgrades)
            })
        });
        (name, normalize, gateway)
    });
    let gateways: Vec<(&str, bool, Gateway)> = gateways.collect();
    let vectors = Vectors::read(&tokens, &gateways[0].2.idp);

    let mut wrong = Vec::new();
    let mut asked = 0;
    for row in &rows {
        asked += usize::from(gateways.iter().any(|(name, ..)| row["config"] == *name));
        let fields = row["request"]["headers"].as_array().into_iter().flatten();
        // Fields of the connection make an HTTP/2 request malformed (RFC 9113 section 8.2.2).
        let of_http1 = fields.clone().any(|field| field[0] == "connection");
        let gateways = gateways.iter().filter(|(name, ..)| row["config"] == *name);
        for (_, normalize, gateway) in gateways {
            let normalize = *normalize;
            for h2 in [false, true] {
                if h2 && of_http1 {
                    continue;
                }
                let request = vectors.request(row, h2);
                let response =
                    if h2 { request.try_send_h2(gateway.addr()) } else { request.try_send(gateway.addr()) };
                let passed = gateway.upstream.take();
                let setting = format!("HTTP/2: {h2}, normalize_path: {normalize}");
                let mut differs = |what: String| wrong.push(format!("{}: {setting}: {what}", row["id"]));
                // Envoy has made it a public path before the filter saw it: what is judged is what is forwarded.
                let public = |path: &String| path.starts_with("/public/");
                let made_public = normalize
                    && row["id"].as_str().is_some_and(|id| id.contains("/path."))
                    && passed.iter().any(|record| readings(&record.path()).iter().all(public));
                match response {
                    Ok(_) if made_public => {}
                    Ok(response) => judge(row, h2, &response, &passed, &mut differs),
                    // Envoy resets what is no request.
                    Err(error) if h2 && row["expect"]["decision"] == "deny" && passed.is_empty() => {
                        eprintln!("{}: {setting}: {error}", row["id"]);
                    }
                    Err(error) => differs(error.to_string()),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked == rows.len() && asked >= 120, "{asked} of {} rows asked", rows.len());
    for (.., gateway) in &gateways {
        gateway.assert_sound();
    }
}

fn judge(
    row: &Value,
    h2: bool,
    response: &Response,
    passed: &[harness::Record],
    differs: &mut dyn FnMut(String),
) {
    let denied = row["expect"]["decision"] == "deny";
    if !row["ambiguous"].is_null() {
        // Both verdicts can be defended; a refused request still does not pass.
        if response.status != 200 && !passed.is_empty() {
            differs(format!("{} and yet it passed", response.status));
        }
        return;
    }
    if denied {
        let status = status_of(row, h2);
        let fits = u64::from(response.status) == status
            || (row["any_4xx"] == true && (400..500).contains(&response.status));
        if !fits {
            differs(format!("status {} instead of {status}: {}", response.status, response.text()));
        }
        if !passed.is_empty() {
            differs(format!("it reached the upstream: {passed:?}"));
        }
        let challenge = response.header("www-authenticate").unwrap_or_default();
        for part in row["expect"]["www_authenticate"].as_str().unwrap_or_default().split(", ") {
            if !challenge.contains(part) {
                differs(format!("{part} is not in the challenge {challenge:?}"));
            }
        }
        return;
    }
    let [record] = passed else {
        return differs(format!("status {}, {} requests at the upstream", response.status, passed.len()));
    };
    for name in row["expect"]["upstream_absent"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        // That one Envoy takes away from clients that it does not trust; it is nothing to this filter.
        if name != "x-envoy-original-path" && !record.headers_named(name).is_empty() {
            differs(format!("the upstream got {name}: {:?}", record.headers_named(name)));
        }
    }
    for (name, value) in row["expect"]["upstream_equals"].as_object().into_iter().flatten() {
        if record.headers_named(name) != [value.as_str().unwrap_or_default()] {
            differs(format!("the upstream got {name}: {:?}, not {value}", record.headers_named(name)));
        }
    }
}

/// A seed for the paths below; any other would do.
const SEED: u64 = 0x5eed_0001;

#[test]
fn no_path_put_together_from_bad_parts_gets_past_the_rules() {
    let gateway = Gateway::start(|idp| {
        config(
            local_provider(idp),
            json!([
                { "match": { "prefix": "/public/" } },
                { "match": { "prefix": "/" }, "requires": corp() },
            ]),
        )
    });
    let parts: &[&str] = &[
        "/", "..", ".", "%2e", "%2F", "%5c", "\\", ";", "a", "admin", "public", "%61", "?", "%25", "%00",
        "~", "=", "%c3%a9",
    ];
    let mut random = Random(SEED);
    let mut connection = harness::Connection::open(gateway.addr()).expect("a connection");
    let mut passed = 0;
    for _ in 0..3000 {
        let count = 1 + random.below(7);
        let tail: String = (0..count).map(|_| random.pick(parts)).collect();
        let path = format!("/public/{tail}");
        let response = match connection.try_send(&Request::get(&path)) {
            Ok(response) => response,
            Err(_) => {
                connection = harness::Connection::open(gateway.addr()).expect("a connection");
                continue;
            }
        };
        let records = gateway.upstream.take();
        assert_eq!(records.len(), usize::from(response.status == 200), "{path}");
        if response.status != 200 {
            if response.header("connection").is_some_and(|value| value == "close") {
                connection = harness::Connection::open(gateway.addr()).expect("a connection");
            }
            continue;
        }
        passed += 1;
        let judged = path.split('?').next().unwrap_or_default();
        // Whatever the upstream decodes or cuts off, it stays below /public/.
        let decoded = judged.replace("%2e", ".").replace("%61", "a").replace("%25", "%");
        for segment in decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
            assert!(!matches!(segment, "." | ".."), "{path} passed");
        }
        assert!(
            !decoded.contains("//") && !decoded.contains('\\') && !decoded.contains("%2F"),
            "{path} passed"
        );
    }
    assert!(passed > 100, "{passed} of 3000 passed: the table is too harsh to say anything");
    gateway.assert_sound();
}
