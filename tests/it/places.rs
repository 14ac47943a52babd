//! Where a request may carry its token, end to end: found in its place over HTTP/1.1 and HTTP/2, taken away from there
//! before the upstream sees it, refused from another site's page, and over a connection without TLS.

use crate::common;

use std::net::SocketAddr;

use common::{Gateway, SOON, assert_problem, config, corp, local_provider, with};
use harness::{Cluster, Envoy, Idp, Listener, Record, Request, Response, Upstream, Wasm};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

const PLACES: &[&str] = &["bearer", "header", "prefix", "cookie", "parameter"];

fn places(idp: &Idp) -> Value {
    with(
        local_provider(idp),
        json!({
            "from_headers": [
                { "name": "Authorization", "value_prefix": "Bearer " },
                { "name": "X-Token" },
                { "name": "X-Prefixed", "value_prefix": "token=" },
            ],
            "from_cookies": ["session"],
            "from_params": ["access_token"],
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        }),
    )
}

/// A request with a token in one of the [`PLACES`], and other things beside it.
fn carrying(place: &str, path: &str, token: &str) -> Request {
    let get = |query: &str| Request::get(format!("{path}?a=1{query}&b=%2F")).header("x-other", "kept");
    match place {
        "bearer" => get("").bearer(token),
        "header" => get("").header("x-token", token),
        "prefix" => get("").header("x-prefixed", format!("token={token}")),
        "cookie" => get("")
            .header("cookie", "theme=dark")
            .header("cookie", format!("session={token}; lang=\"en\""))
            .header("cookie", "last=1"),
        "parameter" => get(&format!("&access_token={token}")),
        other => panic!("{other}"),
    }
}

fn send(request: &Request, addr: SocketAddr, h2: bool) -> Response {
    if h2 { request.send_h2(addr) } else { request.send(addr) }
}

/// Everything of a request, as text.
fn all_of(record: &Record) -> String {
    let fields: Vec<String> = record
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    format!("{}\n{}\n{}", record.path(), fields.join("\n"), String::from_utf8_lossy(&record.body))
}

#[test]
fn a_token_is_found_in_its_place_and_taken_away_from_there() {
    for forward in [false, true] {
        let gateway = Gateway::start(|idp| {
            let provider = with(places(idp), json!({ "forward": forward }));
            config(provider, json!([{ "match": { "prefix": "/x" }, "requires": corp() }]))
        });
        let token = gateway.idp.token(json!({}));
        let mut asked = 0;
        for h2 in [false, true] {
            for place in PLACES {
                let path = format!("/x/{place}-{h2}");
                let response = send(&carrying(place, &path, &token), gateway.addr(), h2);
                let what = format!("{place}, HTTP/2 {h2}, forward {forward}");
                assert_eq!(response.status, 200, "{what}: {}", response.text());
                asked += 1;
                let record = gateway.upstream.last();
                assert_eq!(record.headers_named("x-user"), ["alice"], "{what}");
                assert_eq!(record.headers_named("x-other"), ["kept"], "{what}");
                assert_eq!(all_of(&record).contains(&token), forward, "{what}: {record:?}");
                let query = record.path();
                let query = query.split_once('?').expect("a query").1.to_owned();
                if !forward || *place != "parameter" {
                    assert_eq!(query, "a=1&b=%2F", "{what}");
                }
                if *place == "cookie" {
                    let cookies = record.headers_named("cookie").join("; ");
                    let left =
                        cookies.split("; ").filter(|pair| !pair.starts_with("session=")).collect::<Vec<_>>();
                    assert_eq!(left, ["theme=dark", "lang=\"en\"", "last=1"], "{what}");
                    assert_eq!(cookies.contains("session"), forward, "{what}: {cookies}");
                }
            }
        }
        // Nor does the access log keep a token from the query (RFC 6750 section 5.3), where it is not passed on.
        let lines = gateway.envoy.wait_for_access_log(asked, SOON);
        let logged = lines.iter().any(|line| line.to_string().contains(&token));
        assert_eq!(logged, forward, "the access log has a token");
        gateway.assert_sound();
    }
}

#[test]
fn a_place_that_is_not_named_is_not_searched_and_one_token_is_enough() {
    let gateway = Gateway::start(|idp| {
        let mut config = config(
            places(idp),
            json!([
                { "match": { "prefix": "/x" }, "requires": corp() },
                { "match": { "prefix": "/usual" }, "requires": { "provider_name": "usual" } },
            ]),
        );
        config["providers"]["usual"] = local_provider(idp);
        config
    });
    let (addr, token) = (gateway.addr(), gateway.idp.token(json!({})));
    for h2 in [false, true] {
        for place in &PLACES[1..] {
            let response = send(&carrying(place, "/usual", &token), addr, h2);
            assert_problem(place, &response, 401, "token_missing");
        }
        for (one, other) in PLACES.iter().flat_map(|one| PLACES.iter().map(move |other| (one, other))) {
            if one == other {
                continue;
            }
            // Both in one request: the fields of the second beside those of the first.
            let request = match *other {
                "bearer" => carrying(one, "/x", &token).bearer(&token),
                "header" => carrying(one, "/x", &token).header("x-token", &token),
                "prefix" => carrying(one, "/x", &token).header("x-prefixed", format!("token={token}")),
                "cookie" => carrying(one, "/x", &token).header("cookie", format!("session={token}")),
                _ => carrying(one, &format!("/x?access_token={token}&c="), &token),
            };
            assert_problem(&format!("{one} and {other}"), &send(&request, addr, h2), 400, "token_multiple");
        }
        for (what, request) in [
            ("two cookies", Request::get("/x").header("cookie", format!("session={token}; session={token}"))),
            (
                "two cookie fields",
                Request::get("/x").header("cookie", "session=a").header("cookie", "session=b"),
            ),
            ("two parameters", Request::get(format!("/x?access_token={token}&access_token={token}"))),
            (
                "one parameter in two spellings",
                Request::get(format!("/x?access_token={token}&access%5Ftoken=x")),
            ),
            ("two headers", Request::get("/x").header("x-token", &token).header("x-token", &token)),
        ] {
            assert_problem(what, &send(&request, addr, h2), 400, "token_multiple");
        }
        // What only looks like the place.
        for (what, request) in [
            (
                "another cookie",
                Request::get("/x").header("cookie", format!("Session={token}; xsession={token}")),
            ),
            ("another parameter", Request::get(format!("/x?Access_Token={token}&xaccess_token={token}"))),
            ("the fragment of a parameter", Request::get(format!("/x?q=access_token={token}"))),
            ("another prefix", Request::get("/x").header("x-prefixed", format!("Token={token}"))),
            (
                "the body",
                Request::post("/x", format!("access_token={token}"))
                    .header("content-type", "application/x-www-form-urlencoded"),
            ),
        ] {
            assert_problem(what, &send(&request, addr, h2), 401, "token_missing");
        }
    }
    assert_eq!(gateway.upstream.count(), 0);
    gateway.assert_sound();
}

#[test]
fn a_token_that_failed_and_was_let_through_is_taken_away_whatever_forward_says() {
    let gateway = Gateway::start(|idp| {
        let either =
            json!({ "requires_any": { "requirements": [corp(), { "allow_missing_or_failed": {} }] } });
        config(
            with(places(idp), json!({ "forward": true })),
            json!([{ "match": { "prefix": "/" }, "requires": either }]),
        )
    });
    let bad = harness::idp::flip_bit(&gateway.idp.token(json!({})));
    let foreign = gateway.idp.token(json!({ "aud": "somebody-else" }));
    for h2 in [false, true] {
        for token in [&bad, &foreign] {
            for place in PLACES {
                let request = carrying(place, "/x", token).header("x-user", "mallory");
                assert_eq!(send(&request, gateway.addr(), h2).status, 200, "{place}");
                let record = gateway.upstream.last();
                assert!(!all_of(&record).contains(token.as_str()), "{place}: {record:?}");
                assert_eq!(
                    record.headers_named("x-user"),
                    [""; 0],
                    "{place}: nothing of a token that failed"
                );
                assert_eq!(record.headers_named("x-other"), ["kept"], "{place}");
            }
        }
    }
    gateway.assert_sound();
}

#[test]
fn a_page_of_another_site_cannot_use_the_cookie() {
    let gateway = Gateway::start_with(
        |idp| {
            let csrf = json!({ "csrf": { "allowed_origins": ["https://app.example"] } });
            config(with(places(idp), csrf), json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
        },
        |builder| {
            builder
                .shared()
                .main(|listener| listener.hcm("upgrade_configs", json!([{ "upgrade_type": "websocket" }])))
        },
    );
    let (addr, token) = (gateway.addr(), gateway.idp.token(json!({})));
    let cookie = |method: &str| {
        let request = Request::new(method, "/x").header("cookie", format!("session={token}"));
        if matches!(method, "GET" | "HEAD" | "OPTIONS") { request } else { request.body("x") }
    };
    for h2 in [false, true] {
        for (what, request, passes) in [
            ("GET", cookie("GET"), true),
            ("HEAD", cookie("HEAD"), true),
            ("GET from elsewhere", cookie("GET").header("origin", "https://evil.example"), true),
            ("POST that says nothing", cookie("POST"), false),
            ("DELETE that says nothing", cookie("DELETE"), false),
            ("a method that nobody knows", cookie("PATCH"), false),
            ("same origin", cookie("POST").header("sec-fetch-site", "same-origin"), true),
            ("cross site", cookie("POST").header("sec-fetch-site", "cross-site"), false),
            ("own origin", cookie("POST").header("origin", "http://gateway.test"), true),
            ("own origin and port", cookie("POST").header("origin", "http://gateway.test:8080"), false),
            ("a listed origin", cookie("POST").header("origin", "https://app.example"), true),
            ("another origin", cookie("POST").header("origin", "https://evil.example"), false),
            ("an origin within", cookie("POST").header("origin", "https://app.example.evil.example"), false),
            ("no origin", cookie("POST").header("origin", "null"), false),
            ("a referer", cookie("POST").header("referer", "http://gateway.test/"), false),
            (
                "another host in the name of a proxy",
                cookie("POST")
                    .header("origin", "https://evil.example")
                    .header("x-forwarded-host", "evil.example"),
                false,
            ),
            (
                "two origins",
                cookie("POST")
                    .header("origin", "https://app.example")
                    .header("origin", "https://evil.example"),
                false,
            ),
            (
                "no cookie",
                Request::post("/x", "x").bearer(&token).header("origin", "https://evil.example"),
                true,
            ),
        ] {
            let response = send(&request, addr, h2);
            if passes {
                assert_eq!(response.status, 200, "{what}, HTTP/2 {h2}: {}", response.text());
                assert!(!all_of(&gateway.upstream.last()).contains(&token), "{what}");
            } else {
                assert_problem(&format!("{what}, HTTP/2 {h2}"), &response, 403, "csrf_suspected");
                assert_eq!(common::challenge(&response), None, "{what}");
            }
        }
    }
    // A page of another site can open a WebSocket with a GET.
    let socket = cookie("GET")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = socket.header("origin", "https://evil.example").send(addr);
    assert_problem("a WebSocket from elsewhere", &response, 403, "csrf_suspected");
    gateway.assert_sound();
}

/// A certificate for the gateway, and its key.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["gateway.test".to_owned()]).expect("parameters");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// An Envoy that sends on over TLS what comes to it in the clear: a client that can TLS.
fn tls_client(to: SocketAddr) -> Envoy {
    let socket = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "gateway.test",
        },
    });
    let route = |proto: &str| {
        json!({
            "match": { "prefix": format!("/{proto}/") },
            "route": { "cluster": "upstream", "prefix_rewrite": "/" },
            "request_headers_to_add": [{
                "header": { "key": "x-forwarded-proto", "value": proto },
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
        })
    };
    Envoy::builder()
        .cluster("upstream", Cluster::new(to).field("transport_socket", socket))
        .main(|listener| listener.routes(json!([route("http"), route("https")])))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Row H16 of the attacks: what a client says of its connection decides nothing where the connection is asked.
#[test]
fn a_token_over_plaintext_is_refused_whatever_the_client_says_of_it() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let rules =
        json!([{ "match": { "path": "/public" } }, { "match": { "prefix": "/" }, "requires": corp() }]);
    let config =
        |setting: &str| with(config(local_provider(&idp), rules.clone()), json!({ "require_tls": setting }));
    let (chain, key) = certificate();
    let tls = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": { "tls_certificates": [{
                "certificate_chain": { "inline_string": chain },
                "private_key": { "inline_string": key },
            }] },
        },
    });
    let listeners = ["connection", "forwarded_proto", "none"];
    let builder = listeners.iter().fold(Envoy::builder().upstream(&upstream), |builder, setting| {
        let listener = |name: &str| Listener::new(name).filter(Wasm::portcullis(config(setting)));
        builder.listener(listener(setting)).listener(listener(&format!("{setting}-tls")))
    });
    let envoy = builder
        .patch(move |bootstrap| {
            let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners");
            for listener in listeners {
                if listener["name"].as_str().is_some_and(|name| name.ends_with("-tls")) {
                    listener["filter_chains"][0]["transport_socket"] = tls.clone();
                }
            }
        })
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    for setting in listeners {
        let clear = envoy.addr_of(setting);
        let plain = [None, Some("http"), Some("https"), Some("HTTPS"), Some("https,http"), Some("wss")];
        for (proto, h2) in plain.iter().flat_map(|proto| [(proto, false), (proto, true)]) {
            let with_proto = |request: Request| match proto {
                Some(proto) => request.header("x-forwarded-proto", proto),
                None => request,
            };
            let what = format!("{setting}, plaintext, x-forwarded-proto {proto:?}, HTTP/2 {h2}");
            let response = send(&with_proto(Request::get("/x").bearer(&token)), clear, h2);
            let vouched = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
            if setting == "none" || (setting == "forwarded_proto" && vouched) {
                assert_eq!(response.status, 200, "{what}: {}", response.text());
            } else {
                assert_problem(&what, &response, 403, "transport_insecure");
                assert_eq!(common::challenge(&response), None, "{what}");
            }
            // Without a token, it is the token that is asked for.
            assert_problem(&what, &send(&with_proto(Request::get("/x")), clear, h2), 401, "token_missing");
            assert_eq!(
                send(&with_proto(Request::get("/public").bearer(&token)), clear, h2).status,
                200,
                "{what}"
            );
        }
        let client = tls_client(envoy.addr_of(&format!("{setting}-tls")));
        for (proto, h2) in [("http", false), ("http", true), ("https", false), ("https", true)] {
            let response = send(&Request::get(format!("/{proto}/x")).bearer(&token), client.addr(), h2);
            let what = format!("{setting}, TLS, x-forwarded-proto {proto}: {}", response.text());
            let vouched = setting != "forwarded_proto" || proto == "https";
            assert_eq!(response.status, if vouched { 200 } else { 403 }, "{what}");
        }
    }
    common::assert_sound(&envoy);
}
