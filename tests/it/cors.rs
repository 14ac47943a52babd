//! `cors`: a page of a listed origin may read what the gate itself answers; and when a gRPC client is to try again.

use crate::common;

use common::{Gateway, assert_problem, config, corp, local_provider, with};
use harness::{Listener, Request, Response, Wasm};
use serde_json::{Value, json};

const APP: &str = "https://app.example";
const FIELDS: [&str; 4] = [
    "access-control-allow-origin",
    "vary",
    "access-control-expose-headers",
    "access-control-allow-credentials",
];

/// A provider whose keys cannot be had, and rules that refuse in every way.
fn rules(idp: &harness::Idp, more: Value) -> Value {
    let mut all = config(
        local_provider(idp),
        json!([
            { "match": { "path": "/keyless" }, "requires": { "provider_name": "keyless" } },
            { "match": { "path": "/scope" }, "requires": corp(), "authorize": { "scopes": { "all_of": ["x"] } } },
            { "match": { "path": "/public" } },
            { "match": { "prefix": "/me" }, "requires": corp() },
        ]),
    );
    let uri = json!({ "uri": "http://nowhere.example/", "cluster": "nowhere", "timeout": "1s" });
    all["providers"]["keyless"] = json!({
        "issuer": idp.issuer(), "audiences": [idp.audience()], "remote_jwks": { "http_uri": uri },
    });
    with(all, more)
}

fn cors_of(response: &Response) -> Vec<Option<String>> {
    FIELDS.iter().map(|name| response.header(name)).collect()
}

#[test]
fn a_page_of_a_listed_origin_may_read_what_the_gate_answers() {
    let cors = json!({ "cors": { "allow_origins": [APP, "http://localhost:3000"], "expose_headers": ["X-Request-Id"] } });
    let gateway = Gateway::start_with(
        |idp| rules(idp, cors.clone()),
        |builder| {
            let idp = common::idp();
            let stripped = with(cors.clone(), json!({ "strip_failure_response": true }));
            let stripped = Listener::new("stripped").filter(Wasm::portcullis(rules(&idp, stripped)));
            let plain = Listener::new("plain").filter(Wasm::portcullis(rules(&idp, json!({}))));
            // What the route says that serves is not what the route said that was judged.
            let route = |has: &str, metadata: Value| {
                json!({
                    "match": { "path": "/me/route", "headers": [{ "name": "authorization", "present_match": has == "token" }] },
                    "route": { "cluster": "upstream" },
                    "metadata": { "filter_metadata": { "portcullis": metadata } },
                })
            };
            let all = json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } });
            builder
                .shared()
                .main(|main| {
                    main.routes(json!([
                        route("token", json!({})),
                        route("none", json!({ "scopes": ["admin"] })),
                        all
                    ]))
                })
                .listener(stripped)
                .listener(plain)
        },
    );
    let good = gateway.idp.token(json!({}));
    let bearer = format!("Bearer {good}");
    let exposed = "www-authenticate, retry-after, grpc-status, grpc-message, x-request-id";
    let cases: [(&str, &str, Option<&str>, u16); 8] = [
        ("GET", "/me", None, 401),
        ("POST", "/me", Some("Bearer x"), 401),
        ("GET", "/scope", Some(&bearer), 403),
        ("GET", "/elsewhere", None, 403),
        ("GET", "/me/..;/x", None, 400),
        ("GET", "/keyless", Some(&bearer), 503),
        ("OPTIONS", "/me", None, 401),
        ("GET", "/me/route", Some(&bearer), 403),
    ];
    // A dynamic module that takes the token away makes Envoy choose no other route by that.
    let cases = cases.into_iter().filter(|(_, path, ..)| *path != "/me/route" || !common::is_native());
    for (method, path, authorization, status) in cases {
        for h2 in [false, true] {
            let ask = |origins: &[&str], listener: &str| {
                let request = Request::new(method, path);
                let request =
                    origins.iter().fold(request, |request, origin| request.header("origin", origin));
                let request = authorization
                    .iter()
                    .fold(request, |request, value| request.header("authorization", value));
                let addr = gateway.envoy.addr_of(listener);
                let response = if h2 { request.send_h2(addr) } else { request.send(addr) };
                assert!(listener != "main" || response.status == status, "{method} {path}: {response:?}");
                response
            };
            let what = format!("{method} {path} {h2}");
            for origin in [APP, "http://localhost:3000"] {
                let response = ask(&[origin], "main");
                let expected = [origin, "origin", exposed].map(|value| Some(value.to_owned()));
                assert_eq!(cors_of(&response)[..3], expected, "{what}");
                assert_eq!(cors_of(&response)[3], None, "{what}");
                assert_eq!(response.header("cache-control").as_deref(), Some("no-store"), "{what}");
            }
            for origins in [
                &[][..],
                &["https://evil.example"],
                &["https://app.example.evil.example"],
                &["http://app.example"],
                &["https://app.example:8443"],
                &["null"],
                &[APP, APP],
                &[APP, "https://evil.example"],
            ] {
                assert_eq!(cors_of(&ask(origins, "main")), [None, None, None, None], "{what} {origins:?}");
            }
            // Off, nothing is said; without body and challenge, it is said all the same.
            if path != "/me/route" {
                assert_eq!(cors_of(&ask(&[APP], "plain")), [None, None, None, None], "{what}");
                assert_eq!(cors_of(&ask(&[APP], "stripped"))[0].as_deref(), Some(APP), "{what}");
            }
        }
    }
    // What passes is the upstream's to answer.
    for path in ["/public", "/me"] {
        let response = Request::get(path).header("origin", APP).bearer(&good).send(gateway.addr());
        assert_eq!((response.status, cors_of(&response)), (200, vec![None; 4]), "{path}");
    }
    let grpc = Request::grpc("/me").header("origin", APP).send_h2(gateway.addr());
    assert_eq!(cors_of(&grpc)[0].as_deref(), Some(APP), "gRPC");
    gateway.assert_sound();
}

#[test]
fn a_grpc_client_is_told_when_to_try_again() {
    let gateway = Gateway::start(|idp| rules(idp, json!({})));
    let good = gateway.idp.token(json!({}));
    let pushback = "grpc-retry-pushback-ms";
    let keyless = |kind: &str| {
        let request = Request::new("POST", "/keyless").header("te", "trailers").body([0; 5]).bearer(&good);
        request.header("content-type", kind).send_h2(gateway.addr())
    };
    for kind in ["application/grpc", "application/grpc+proto"] {
        let response = keyless(kind);
        assert_eq!(response.header("grpc-status").as_deref(), Some("14"), "{kind}: {response:?}");
        let seconds = common::retry_after(&response);
        let expected = if seconds <= 10 { (seconds * 1000).to_string() } else { "-1".to_owned() };
        assert_eq!(response.header(pushback), Some(expected), "{kind}");
    }
    for kind in ["application/grpc-web", "application/grpc;x=y", "application/grpcx", "application/json"] {
        let response = keyless(kind);
        assert_problem(kind, &response, 503, "keys_unavailable");
        assert_eq!((response.header(pushback), response.header("grpc-status")), (None, None), "{kind}");
    }
    let missing = Request::grpc("/me").send_h2(gateway.addr());
    assert_eq!((missing.header("retry-after"), missing.header(pushback)), (None, None));
    gateway.assert_sound();
}
