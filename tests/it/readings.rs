//! A request passes only under a rule that it meets whoever reads it: each kind of another reading on a real Envoy, over
//! HTTP/1.1 and HTTP/2, in the three settings of `ambiguous_paths`, under rules that decide and rules that only report.

use crate::common;

use std::cell::RefCell;
use std::sync::OnceLock;

use common::{Gateway, config, corp, local_provider};
use harness::{Filter, Idp, Listener, Request, Response, Wasm};
use serde_json::{Value, json};

const SETTINGS: [&str; 3] = ["reject", "normalize", "match_raw"];
const MODES: [&str; 2] = ["enforce", "report"];

/// What is open to everybody, or would be refused and is only reported, beside what needs a token or a scope.
fn rules(mode: &str) -> Value {
    let admin = json!({ "scopes": { "all_of": ["admin"] } });
    let open = |conditions: Value| match mode {
        "report" => json!({ "match": conditions, "requires": corp(), "authorize": admin, "mode": "report" }),
        _ => json!({ "match": conditions }),
    };
    let strict = |conditions: Value| json!({ "match": conditions, "requires": corp(), "authorize": admin });
    let tenant = json!({ "claims": [{ "claim": "tenant", "equals_path": "tenant" }] });
    let site = json!({ "claims": [{ "claim": "tenant", "equals_host": true }] });
    let purge = json!({ "name": "op", "string_match": { "exact": "purge" } });
    let operation = json!({ "name": "x-operation", "string_match": { "exact": "purge" } });
    let not_read = json!({ "name": "x-mode", "string_match": { "exact": "read" }, "invert_match": true,
        "treat_missing_header_as_empty": true });
    json!([
        open(json!({ "prefix": "/public" })),
        open(json!({ "path": "/healthz" })),
        open(json!({ "safe_regex": { "regex": "/files/[a-z]+" } })),
        open(json!({ "path_template": "/docs/{page}" })),
        open(json!({ "prefix": "/host", "hosts": ["www.example", "port.example:8080", "any.example:*"] })),
        strict(json!({ "prefix": "/query", "query_parameters": [purge] })),
        open(json!({ "prefix": "/query" })),
        strict(json!({ "prefix": "/header", "headers": [operation] })),
        open(json!({ "prefix": "/header" })),
        strict(json!({ "prefix": "/inverted", "headers": [not_read] })),
        open(json!({ "prefix": "/inverted" })),
        strict(json!({ "prefix": "/shop.Orders", "grpc": {} })),
        open(json!({ "prefix": "/shop.Orders" })),
        { "match": { "path_template": "/t/{tenant}/**" }, "requires": corp(), "authorize": tenant },
        { "match": { "prefix": "/site" }, "requires": corp(), "authorize": site },
        { "match": { "prefix": "/admin" }, "requires": corp(), "authorize": admin },
        { "match": { "prefix": "/" }, "requires": corp() },
    ])
}

/// A listener for each setting and mode; Envoy itself normalises nothing.
fn gateway() -> &'static Gateway {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        let configurations = RefCell::new(Vec::new());
        let of = |idp: &Idp, setting: &str, mode: &str| {
            let mut config = config(local_provider(idp), rules(mode));
            config["ambiguous_paths"] = json!(setting);
            config
        };
        Gateway::start_with(
            |idp| {
                for (setting, mode) in SETTINGS.iter().flat_map(|setting| MODES.map(|mode| (setting, mode))) {
                    configurations.borrow_mut().push((format!("{setting}-{mode}"), of(idp, setting, mode)));
                }
                of(idp, "reject", "enforce")
            },
            |builder| {
                let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }]);
                configurations.borrow().iter().fold(builder.shared(), |builder, (name, config)| {
                    let listener = Listener::new(name).filter(Filter::from(Wasm::portcullis(config.clone())));
                    builder.listener(listener.routes(routes.clone()))
                })
            },
        )
    })
}

/// The answers of one listener over both versions of HTTP; what a version cannot send has none.
fn answers(request: &Request, listener: &str) -> Vec<(&'static str, Response)> {
    let addr = gateway().envoy.addr_of(listener);
    let both = [("HTTP/1.1", request.try_send(addr)), ("HTTP/2", request.try_send_h2(addr))];
    both.into_iter().filter_map(|(version, answer)| Some((version, answer.ok()?))).collect()
}

/// Refused with 400 before any token is looked at, in these settings and both modes; with a good token too.
#[track_caller]
fn assert_ambiguous(settings: &[&str], requests: &[Request]) {
    let admin = gateway().idp.token(json!({ "scope": "admin", "tenant": "acme" }));
    let mut wrong = Vec::new();
    for request in requests {
        for (setting, mode) in settings.iter().flat_map(|setting| MODES.map(|mode| (setting, mode))) {
            let what = format!("{request:?}");
            for request in [request.clone(), request.clone().bearer(&admin)] {
                for (version, answer) in answers(&request, &format!("{setting}-{mode}")) {
                    if answer.status != 400 {
                        let answer = format!("{} {}", answer.status, answer.text());
                        wrong.push(format!("{what}, {setting}, {mode}, {version}: {answer}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} pass:\n{}", wrong.len(), wrong.join("\n"));
}

/// Passes without a token in every setting and mode.
#[track_caller]
fn assert_open(requests: &[Request]) {
    for request in requests {
        for (setting, mode) in SETTINGS.iter().flat_map(|setting| MODES.map(|mode| (setting, mode))) {
            for (version, answer) in answers(request, &format!("{setting}-{mode}")) {
                assert_eq!(
                    answer.status,
                    200,
                    "{request:?}, {setting}, {mode}, {version}: {}",
                    answer.text()
                );
            }
        }
    }
}

fn gets(paths: &[&str]) -> Vec<Request> {
    paths.iter().map(Request::get).collect()
}

#[test]
fn a_rule_that_only_reports_or_is_public_opens_no_path_of_another_rule() {
    let both = &SETTINGS[..2];
    assert_ambiguous(
        both,
        &gets(&[
            "/public/..%2fadmin/secret.txt",
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%5cadmin",
            "/public\\..\\admin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/..%3b/admin",
            "/public/.%2e/admin",
            "/public/%252e%252e/admin",
            "/public/%252e%252e%252fadmin",
            "/public//../../admin",
            "/public/x/../../admin",
            "/public%2f..%2fadmin",
            "/public%2f%2e%2e%2fadmin",
            "/public/;/../../admin",
            "/public/%3b/../../admin",
            "/public/a%2f..%2f..%2fadmin",
            "/public/a/%2e%2e%5c..%5cadmin",
            "/public/./%2e./admin",
            "/public/..%25%32%66admin",
            "/public/..%c0%afadmin",
            "/public/..%00/admin",
            "/admin/delete%2f..%2f..%2fpublic",
            "/admin/..%2fpublic",
            "/x/../public",
            "/;/public",
            "/%3B/public",
        ]),
    );
    // Under the default they are refused whatever rules they meet.
    assert_ambiguous(
        &["reject"],
        &gets(&[
            "/public/a/../b",
            "/public/a//b",
            "/public/%2e/a",
            "/public/a%2fb",
            "/public/a\\b",
            "/public/a%252fb",
        ]),
    );
}

#[test]
fn parameters_and_escapes_that_not_everybody_reads_meet_no_open_rule() {
    assert_ambiguous(
        &SETTINGS[..2],
        &gets(&[
            "/healthz;anything",
            "/healthz;a=b;c",
            "/healthz%3bx",
            "/health%7a",
            "/%68ealthz",
            "/healthz%253bx",
            "/%70ublic",
            "/%70ublic/x",
            "/%2570ublic",
            "/admin%3bx/../public",
            "/public;/../admin",
            "/files/abc;x",
            "/files/ab%63",
            "/files;x/abc",
            "/docs;x/a",
            "/docs/a%2fb",
            "/do%63s/a",
            "/host%3bx/../healthz",
            "/p%75blic;x",
        ]),
    );
    // What all readings agree on passes.
    assert_open(&gets(&[
        "/public;x",
        "/public/a;x=1",
        "/public/%61",
        "/public/a%3bb",
        "/public/100%25",
        "/public/caf%c3%a9",
        "/public/a%20b",
        "/docs/a%20b",
        "/docs/%61",
    ]));
}

#[test]
fn a_host_is_judged_as_envoy_and_everybody_else_reads_it() {
    let hosts =
        |hosts: &[&str]| hosts.iter().map(|host| Request::get("/host").host(host)).collect::<Vec<_>>();
    assert_ambiguous(
        &SETTINGS,
        &hosts(&[
            "www.example:8080",
            "www.example:80",
            "www.example:443",
            "WWW.example:1",
            "www.example.",
            "www.example.:8080",
            "www.example:",
            "www.example:x",
            "www.example:80x",
            "www.example:65536",
            "www.example:8080:8080",
            "user@www.example",
            "user:pass@www.example",
            "www.example,evil.example",
            "www.example..",
            ".www.example",
            "port.example.:8080",
            "any.example.",
            "any.example:x",
            "www%2eexample",
            "[::1",
        ]),
    );
    assert_open(&hosts(&["www.example", "WWW.Example", "port.example:8080", "any.example", "any.example:9"]));
}

#[test]
fn a_query_parameter_is_judged_as_everybody_reads_it() {
    let query = |queries: &[&str]| -> Vec<Request> {
        queries.iter().map(|query| Request::get(format!("/query?{query}"))).collect()
    };
    assert_ambiguous(
        &SETTINGS,
        &query(&[
            "%6fp=purge",
            "o%70=purge",
            "op=%70urge",
            "op=purg%65",
            "op=read;op=purge",
            "x;op=purge",
            "op=read&op=purge",
            "op=purge&op=read",
            "op=read&%6fp=purge",
            "op[]=purge",
            "op%5b%5d=purge",
            "op[0]=purge",
            "+op=purge",
            "%20op=purge",
            "op%00=purge",
            "op%00x=purge",
            "x=1;op=purge;y",
            "a=b&op=%70%75%72%67%65",
            "op=read&x;op=purge",
            "op[a]=purge",
            "x=1&x;op=purge",
        ]),
    );
    assert_open(&query(&[
        "op=read",
        "x=purge",
        "",
        "op=read&x=a%20b",
        "q=a+b",
        "v=1.2",
        "f[x]=1",
        "op=a%20b",
        "op=&x",
    ]));
}

#[test]
fn a_header_is_judged_by_each_of_its_values() {
    let get = |fields: &[(&str, &str)]| {
        fields.iter().fold(Request::get("/header"), |request, (name, value)| request.header(name, value))
    };
    let two = |one: &str, other: &str| get(&[("x-operation", one), ("x-operation", other)]);
    let mut requests = vec![
        two("purge", "purge"),
        two("purge", "read"),
        two("read", "purge"),
        two("", "purge"),
        two("purge", ""),
        get(&[("x-operation", "read"), ("x-a", "b"), ("x-operation", "purge")]),
        get(&[("x-operation", "a"), ("x-operation", "purge"), ("x-operation", "b")]),
    ];
    // A server that folds names takes these for the same.
    for name in [
        "x_operation",
        "X_Operation",
        "x.operation",
        "x~operation",
        "x!operation",
        "x#operation",
        "x$operation",
        "x%operation",
        "x&operation",
        "x'operation",
        "x*operation",
        "x+operation",
        "x^operation",
        "x`operation",
        "x|operation",
    ] {
        requests.push(get(&[(name, "purge")]));
        requests.push(get(&[("x-operation", "read"), (name, "purge")]));
    }
    assert_ambiguous(&SETTINGS, &requests);
    let inverted = |fields: &[(&str, &str)]| {
        fields.iter().fold(Request::get("/inverted"), |request, (name, value)| request.header(name, value))
    };
    assert_ambiguous(
        &SETTINGS,
        &[
            inverted(&[("x-mode", "read"), ("x-mode", "write")]),
            inverted(&[("x-mode", "read"), ("x_mode", "write")]),
            inverted(&[("x_mode", "read")]),
        ],
    );
    assert_open(&[
        get(&[]),
        get(&[("x-operation", "read")]),
        get(&[("x-operation", "PURGE")]),
        get(&[("x_op", "purge")]),
        inverted(&[("x-mode", "read")]),
    ]);
}

#[test]
fn grpc_is_judged_as_envoy_and_what_translates_to_it_read_it() {
    let post =
        |content_type: &str| Request::post("/shop.Orders/Get", "").header("content-type", content_type);
    assert_ambiguous(
        &SETTINGS,
        &[
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpc;x=y",
            "Application/gRPC",
            "APPLICATION/GRPC+PROTO",
            "application/grpcx",
            "application/grpc-web;x",
        ]
        .map(post),
    );
    assert_open(&["application/json", "text/plain", "application/x-grpc"].map(post));
}

#[test]
fn a_tenant_is_one_tenant_whoever_reads_the_path() {
    let token = gateway().idp.token(json!({ "tenant": "acme corp" }));
    let acme = gateway().idp.token(json!({ "tenant": "acme" }));
    for setting in &SETTINGS[..2] {
        let listener = format!("{setting}-enforce");
        for path in ["/t/acme%20corp/x", "/t/acme%20corp/%61", "/t/acme%20corp/x;y"] {
            for (version, answer) in answers(&Request::get(path).bearer(&token), &listener) {
                assert_eq!(answer.status, 200, "{path}, {setting}, {version}: {}", answer.text());
            }
        }
        for path in [
            "/t/acme;x/y",
            "/t/acme;other/y",
            "/t/acme%3bx/y",
            "/t/acme%253bx/y",
            "/t/other/../acme/y",
            "/t/acme/../other/y",
            "/t/acme%2f..%2fother/y",
            "/t/other%2f..%2facme/y",
            "/t/acme%252f..%252fother/y",
            "/t/acme/..;/other/y",
            "/t/ac%256de/y",
            "/t/acme%5c..%5cother/y",
            "/t/acme\\..\\other/y",
            "/t//acme/y",
            "/t/./acme/y",
            "/t/;/acme/y",
            "/t/other;/../acme/y",
            "/t/acme/y/../../other/y",
            "/t/%2e/acme/y",
            "/t/acme/%2e%2e/other/y",
        ] {
            for (version, answer) in answers(&Request::get(path).bearer(&acme), &listener) {
                assert_eq!(answer.status, 400, "{path}, {setting}, {version}: {}", answer.text());
            }
        }
    }
    // The port of a host does not count for a claim, another host does.
    let site = gateway().idp.token(json!({ "tenant": "shop.example" }));
    for (host, status) in [
        ("shop.example", 200),
        ("SHOP.example:8080", 200),
        ("other.example", 403),
        ("shop.example.", 400),
        ("x@shop.example", 400),
    ] {
        for (version, answer) in answers(&Request::get("/site").host(host).bearer(&site), "reject-enforce") {
            assert_eq!(answer.status, status, "{host}, {version}: {}", answer.text());
        }
    }
}

/// Expressions run over texts of a bounded length alone, and a request for which they would have to run over more is
/// refused, not given to the rule below.
#[test]
fn no_expression_is_run_over_a_text_of_any_length() {
    for length in [9_000, 30_000] {
        let path = format!("/files/{}", "a".repeat(length));
        assert_ambiguous(&["reject"], &[Request::get(path)]);
    }
    assert_open(&[
        Request::get(format!("/files/{}", "a".repeat(2_000))),
        Request::get(format!("/public/{}", "a".repeat(30_000))),
    ]);
}
