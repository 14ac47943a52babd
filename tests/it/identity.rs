//! What the upstream is told of a caller comes from the token alone.

use crate::common;

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{Gateway, HeldKeys, SOON, config, corp, local_provider, with};
use harness::envoy::EnvoyBuilder;
use harness::{Alg, Cluster, Connection, Idp, Record, Request};
use serde_json::{Value, json};

/// The names that the filter writes.
const OWN: [&str; 4] = ["x-user", "x-tenant", "x-groups", "x-jwt-payload"];

/// What is not forwarded, what is written.
fn outputs(idp: &Idp) -> Value {
    with(
        local_provider(idp),
        json!({
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [
                { "header_name": "x-user", "claim_name": "sub" },
                { "header_name": "X-Tenant", "claim_name": "tenant" },
                { "header_name": "x-groups", "claim_name": "groups", "list_format": "csv" },
            ],
        }),
    )
}

fn rules() -> Value {
    json!([
        { "match": { "prefix": "/public/" } },
        { "match": { "prefix": "/scoped/" }, "requires": corp(), "authorize": { "scopes": { "all_of": ["a"] } } },
        { "match": { "prefix": "/orders" }, "requires": corp() },
    ])
}

/// Every spelling that a server behind Envoy could take for one of the names.
fn spellings(name: &str) -> Vec<String> {
    let mixed: String = name
        .char_indices()
        .map(|(at, letter)| if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter })
        .collect();
    let mut spellings: Vec<String> = ".~!".chars().map(|mark| name.replace('-', &mark.to_string())).collect();
    spellings.extend([
        name.to_uppercase().replace('-', "."),
        name.to_owned(),
        name.to_uppercase(),
        mixed,
        name.replace('-', "_"),
        name.replace('-', "_").to_uppercase(),
        name.replacen('-', "_", 1),
    ]);
    spellings.dedup();
    spellings
}

/// The request with every name in every spelling, and each of them twice.
fn with_claims_of_its_own(mut request: Request) -> Request {
    for name in OWN {
        for spelling in spellings(name) {
            request = request.header(&spelling, "mallory").header(&spelling, "root");
        }
    }
    request
}

/// Every field or trailer that an upstream could take for `name`.
fn seen_as(name: &str, fields: &[(String, Vec<u8>)]) -> Vec<String> {
    fields
        .iter()
        .filter(|(known, _)| known.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-") == name)
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
        .collect()
}

#[track_caller]
fn assert_sees(record: &Record, name: &str, expected: &[&str]) {
    assert_eq!(seen_as(name, &record.headers), expected, "{name} in {record:?}");
    assert!(!record.malformed, "{record:?}");
}

fn start() -> Gateway {
    Gateway::start(|idp| config(outputs(idp), rules()))
}

#[test]
fn identity_headers_of_a_client_never_reach_the_upstream_on_public_routes() {
    for allow in [false, true] {
        let gateway = Gateway::start(|idp| {
            with(config(outputs(idp), rules()), json!({ "unmatched": if allow { "allow" } else { "deny" } }))
        });
        let path = if allow { "/no/rule/for/it" } else { "/public/a" };
        let response =
            with_claims_of_its_own(Request::get(path).header("x-other", "kept")).send(gateway.addr());
        assert_eq!(response.status, 200);
        let token = gateway.idp.token(json!({ "tenant": "acme" }));
        let response = with_claims_of_its_own(Request::get(path)).bearer(&token).send(gateway.addr());
        assert_eq!(response.status, 200);
        for record in gateway.upstream.take() {
            for name in OWN {
                assert_sees(&record, name, &[]);
            }
            assert!(record.headers.iter().all(|(_, value)| value != b"mallory"), "{record:?}");
        }
        gateway.assert_sound();
    }
}

#[test]
fn identity_headers_come_from_the_token_once_and_replace_what_the_client_sent() {
    let gateway = start();
    let claims = json!({ "sub": "alice", "tenant": "acme", "groups": ["staff", "ops"] });
    let token = gateway.idp.token(claims);
    let request = with_claims_of_its_own(Request::get("/orders")).bearer(&token);
    assert_eq!(request.send(gateway.addr()).status, 200);
    // HTTP/2 knows lower case only.
    let mut request = Request::get("/orders").bearer(&token);
    for name in [
        "x-user",
        "x_user",
        "x.user",
        "x~user",
        "x!user",
        "x'user",
        "x*user",
        "x|user",
        "x-tenant",
        "x_tenant",
        "x.tenant",
        "x-jwt_payload",
        "x.jwt~payload",
    ] {
        request = request.header(name, "mallory").header(name, "root");
    }
    assert_eq!(request.send_h2(gateway.addr()).status, 200);
    let payload = token.split('.').nth(1).expect("a payload");
    let records = gateway.upstream.take();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_sees(&record, "x-user", &["alice"]);
        assert_sees(&record, "x-tenant", &["acme"]);
        assert_sees(&record, "x-groups", &["staff,ops"]);
        assert_sees(&record, "x-jwt-payload", &[payload]);
    }
    gateway.assert_sound();
}

#[test]
fn a_claim_that_is_missing_leaves_its_header_out_whatever_the_client_sent() {
    let gateway = start();
    let token = gateway.idp.mint().without("sub").claim("tenant", Value::Null).sign();
    let request = with_claims_of_its_own(Request::get("/orders")).bearer(&token);
    assert_eq!(request.send(gateway.addr()).status, 200);
    let record = gateway.upstream.last();
    for name in ["x-user", "x-tenant", "x-groups"] {
        assert_sees(&record, name, &[]);
    }
    gateway.assert_sound();
}

/// Every character that a name may have (RFC 9110 section 5.6.2) and that a server may fold, each by itself.
#[test]
fn a_name_is_ours_in_every_character_that_a_server_folds() {
    let gateway = start();
    let token = gateway.idp.token(json!({ "tenant": "acme" }));
    for mark in "-_.~!#$%&'*+^`|".chars() {
        for h2 in [false, true] {
            for path in ["/public/a", "/orders"] {
                let spelled = |name: &str| name.replace('-', &mark.to_string());
                let request = OWN.iter().fold(Request::post(path, "body").bearer(&token), |request, name| {
                    let upper = spelled(name).to_uppercase();
                    request
                        .header(spelled(name), "mallory")
                        .header(upper, "root")
                        .trailer(spelled(name), "mallory")
                });
                let response =
                    if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
                assert_eq!(response.status, 200, "{mark} {path}: {}", response.text());
                let record = gateway.upstream.last();
                let user: &[&str] = if path == "/orders" { &["alice"] } else { &[] };
                assert_sees(&record, "x-user", user);
                for name in OWN {
                    let all = [seen_as(name, &record.headers), seen_as(name, &record.trailers)].concat();
                    assert!(
                        !all.iter().any(|value| value == "mallory" || value == "root"),
                        "{mark} {path}: {all:?}"
                    );
                }
            }
        }
    }
    // What is as long and another name, stays.
    let request = Request::get("/public/a").header("x-usex", "1").header("y-user", "2").header("xzuser", "3");
    assert_eq!(request.send(gateway.addr()).status, 200);
    let record = gateway.upstream.last();
    assert_eq!(
        ["x-usex", "y-user", "xzuser"].map(|name| record.header(name)),
        ["1", "2", "3"].map(|value| Some(value.to_owned()))
    );
    gateway.assert_sound();
}

#[test]
fn hop_by_hop_tricks_do_not_take_the_identity_away() {
    let gateway = start();
    let token = gateway.idp.token(json!({ "tenant": "acme" }));
    let request = Request::get("/orders").bearer(&token).header("x-user", "mallory");
    let spoofed = request.clone().header("connection", "x-user, x-tenant, x-jwt-payload");
    assert_eq!(spoofed.send(gateway.addr()).status, 200);
    let record = gateway.upstream.last();
    assert_sees(&record, "x-user", &["alice"]);
    assert_sees(&record, "x-tenant", &["acme"]);
    let connection = record.header("connection").unwrap_or_default();
    assert!(!connection.contains("x-user"), "the upstream could drop it: {connection:?}");
    // Whoever takes the token itself away has none.
    let without = request.header("connection", "authorization").send(gateway.addr());
    assert!(matches!(without.status, 200 | 401), "{}", without.status);
}

/// Trailers on their way to the upstream, over HTTP/2 and over HTTP/1.1.
fn trailers(builder: EnvoyBuilder, gateway_addr: std::net::SocketAddr) -> EnvoyBuilder {
    builder
        .cluster("upstream", Cluster::new(gateway_addr).http2())
        .main(|listener| listener.hcm("http_protocol_options", json!({ "enable_trailers": true })))
}

#[test]
fn identity_in_trailers_never_reaches_the_upstream() {
    let (idp, upstream) = (common::idp(), harness::Upstream::start());
    let held = HeldKeys::start(&idp.jwks());
    let remote = json!({ "http_uri": { "uri": held.uri(), "cluster": "held", "timeout": "60s" } });
    let mut waits = with(outputs(&idp), json!({ "remote_jwks": remote }));
    waits.as_object_mut().expect("an object").remove("local_jwks");
    let mut config = config(outputs(&idp), rules());
    config["providers"]["waits"] = waits;
    config["rules"]
        .as_array_mut()
        .expect("a list")
        .push(json!({ "match": { "prefix": "/waits" }, "requires": { "provider_name": "waits" } }));
    let builder = harness::Envoy::builder().cluster("held", Cluster::new(held.addr()));
    let envoy = trailers(builder, upstream.addr())
        .filter(harness::Wasm::portcullis(config))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let spoofed = |request: Request| {
        request
            .trailer("x-sum", "7")
            .trailer("x-user", "mallory")
            .trailer("x_user", "mallory")
            .trailer("x.user", "mallory")
            .trailer("x~user", "mallory")
            .trailer("x!tenant", "mallory")
            .trailer("authorization", "Bearer mallory")
            .trailer("x-user", "root")
            .trailer("x-jwt-payload", "mallory")
            .trailer("x_tenant", "mallory")
    };

    for path in ["/public/a", "/orders"] {
        let request = spoofed(Request::post(path, "body").bearer(&token));
        assert_eq!(request.send(envoy.addr()).status, 200, "{path}");
        assert_eq!(request.send_h2(envoy.addr()).status, 200, "{path} over HTTP/2");
    }
    // The same for a request whose trailers arrive while it waits for keys.
    let mut waiting = Connection::open(envoy.addr()).expect("a connection");
    waiting.write(&spoofed(Request::post("/waits", "body").bearer(&token))).expect("a request is sent");
    envoy.wait_for_stat("http.main.downstream_rq_active", SOON, |active| active == 1);
    held.release();
    assert_eq!(waiting.read(false, Instant::now() + SOON).expect("an answer").status, 200);

    let records = upstream.take();
    assert_eq!(records.len(), 5);
    for record in records {
        assert_eq!(seen_as("x-sum", &record.trailers), ["7"], "trailers do arrive: {record:?}");
        for name in OWN {
            assert_eq!(seen_as(name, &record.trailers), [""; 0], "{name} in {record:?}");
        }
        // Nor does a token that nobody judged.
        assert_eq!(seen_as("authorization", &record.trailers), [""; 0], "{record:?}");
        assert_eq!(record.body, b"body");
    }
    common::assert_sound(&envoy);
}

#[test]
fn the_token_stays_here_unless_it_is_to_be_forwarded() {
    for (forward, locations) in [
        (None, None),
        (Some(false), None),
        (Some(true), None),
        (
            Some(false),
            Some(json!([{ "name": "X-Token" }, { "name": "Authorization", "value_prefix": "Bearer " }])),
        ),
    ] {
        let gateway = Gateway::start(|idp| {
            let mut corp = outputs(idp);
            if let Some(forward) = forward {
                corp["forward"] = json!(forward);
            }
            if let Some(locations) = &locations {
                corp["from_headers"] = locations.clone();
            }
            config(corp, rules())
        });
        let token = gateway.idp.token(json!({}));
        let kept = if forward == Some(true) { vec![format!("Bearer {token}")] } else { Vec::new() };
        let request = Request::get("/orders").bearer(&token);
        assert_eq!(request.send(gateway.addr()).status, 200);
        assert_eq!(gateway.upstream.last().headers_named("authorization"), kept, "forward: {forward:?}");
        if locations.is_some() {
            let request = Request::get("/orders").header("x-token", &token);
            assert_eq!(request.send(gateway.addr()).status, 200);
            assert_eq!(gateway.upstream.last().headers_named("x-token"), [""; 0]);
            let twice = Request::get("/orders").header("x-token", &token).bearer(&token);
            common::assert_problem("two places", &twice.send(gateway.addr()), 400, "token_multiple");
            let repeated = Request::get("/orders").header("x-token", &token).header("x-token", &token);
            common::assert_problem("one place twice", &repeated.send(gateway.addr()), 400, "token_multiple");
        }
        for record in gateway.upstream.take() {
            let text = format!(
                "{:?}",
                record.headers.iter().map(|(_, value)| String::from_utf8_lossy(value)).collect::<Vec<_>>()
            );
            assert_eq!(text.contains(&token), forward == Some(true), "{text}");
        }
        gateway.assert_sound();
    }
}

#[test]
fn the_payload_header_is_the_payload_of_the_token() {
    let gateway = start();
    for alg in [Alg::RS256, Alg::ES256] {
        for pad in ["", "x", "xx", "ÿ?>~"] {
            let token = gateway.idp.mint().alg(alg).claim("pad", pad).sign();
            assert_eq!(Request::get("/orders").bearer(&token).send(gateway.addr()).status, 200);
            let payload = token.split('.').nth(1).expect("a payload");
            assert_sees(&gateway.upstream.last(), "x-jwt-payload", &[payload]);
        }
    }
}

/// A header is as long as the token allows; single claims keep their bound.
#[test]
fn the_payload_header_is_written_however_long_the_token_may_be() {
    let gateway = Gateway::start(|idp| {
        let provider =
            with(outputs(idp), json!({ "max_token_size": 40_000, "pad_forward_payload_header": true }));
        config(provider, rules())
    });
    for length in [5_000, 8_000, 20_000, 29_000] {
        let token = gateway.idp.token(json!({ "filling": "x".repeat(length) }));
        for _ in 0..2 {
            assert_eq!(Request::get("/orders").bearer(&token).send(gateway.addr()).status, 200, "{length}");
            let payload = token.split('.').nth(1).expect("a payload");
            let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
            assert_sees(&gateway.upstream.last(), "x-jwt-payload", &[&padded]);
        }
    }
    let token = gateway.idp.token(json!({ "tenant": "x".repeat(8193) }));
    assert_eq!(Request::get("/orders").bearer(&token).send(gateway.addr()).status, 200);
    assert_sees(&gateway.upstream.last(), "x-tenant", &[]);
    let log = gateway.envoy.wait_for_log("claim \"tenant\" is not written to the header \"x-tenant\"", SOON);
    assert!(log.contains("it is longer than 8192 bytes"), "{log}");
    gateway.assert_sound();
}

/// The bytes of a header as servers hand them on: most read them as latin-1.
fn as_latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn text_beyond_ascii_is_written_in_the_encoding_that_was_asked_for() {
    let formats = ["base64_json", "csv", "repeat", "json"];
    let encodings = ["utf8", "percent", "base64"];
    for http2 in [false, true] {
        let (idp, upstream) = (common::idp(), harness::Upstream::start());
        let headers: Vec<Value> = formats
            .iter()
            .flat_map(|format| encodings.map(|encoding| (*format, encoding)))
            .map(|(format, encoding)| {
                json!({ "header_name": format!("x-{}-{encoding}", format.replace('_', "-")),
                    "claim_name": "name", "list_format": format, "encoding": encoding })
            })
            .chain([json!({ "header_name": "x-name-bin", "claim_name": "name", "encoding": "base64" })])
            .collect();
        let config = config(with(local_provider(&idp), json!({ "claim_to_headers": headers })), rules());
        let cluster = Cluster::new(upstream.addr());
        let cluster = if http2 { cluster.http2() } else { cluster };
        let envoy = harness::Envoy::builder()
            .shared()
            .cluster("upstream", cluster)
            .filter(harness::Wasm::portcullis(config))
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let base64 = |text: &str| BASE64_STANDARD.encode(text);
        for (name, percent, json_text) in [
            ("J\u{fc}rgen", "J%C3%BCrgen", r#""J\u00fcrgen""#),
            (
                "\u{5c71}\u{7530} \u{592a}\u{90ce}",
                "%E5%B1%B1%E7%94%B0%20%E5%A4%AA%E9%83%8E",
                r#""\u5c71\u7530 \u592a\u90ce""#,
            ),
            ("a+b/c?%~", "a%2Bb%2Fc%3F%25~", r#""a+b/c?%~""#),
        ] {
            let token = idp.token(json!({ "name": name }));
            assert_eq!(Request::get("/orders").bearer(&token).send(envoy.addr()).status, 200, "{name}");
            let record = upstream.last();
            assert!(!record.malformed, "{record:?}");
            for format in ["x-base64-json", "x-csv", "x-repeat"] {
                let seen = |encoding: &str| seen_as(&format!("{format}-{encoding}"), &record.headers);
                assert_eq!(seen("utf8"), [name], "{format}");
                assert_eq!(seen("percent"), [percent], "{format}");
                assert_eq!(seen("base64"), [base64(name)], "{format}");
            }
            assert_eq!(seen_as("x-json-utf8", &record.headers), [json_text]);
            assert_eq!(seen_as("x-json-base64", &record.headers), [base64(json_text)]);
            assert_eq!(seen_as("x-name-bin", &record.headers), [base64(name)]);
            // As Node, WSGI and servlets read it, and what the page tells to do with it.
            let (_, bytes) = record.headers.iter().find(|(own, _)| own == "x-csv-utf8").expect("the header");
            let read = as_latin_1(bytes);
            let again: Vec<u8> = read.chars().map(|c| u8::try_from(c).expect("latin-1")).collect();
            assert_eq!(String::from_utf8(again).expect("UTF-8"), name);
        }
        // What is harmless under one encoding is left out under another.
        for (claim, utf8, percent) in [
            (json!("a\r\nx-admin: true"), None, Some("a%0D%0Ax-admin%3A%20true")),
            (json!(" a\u{a0}"), None, Some("%20a%C2%A0")),
            (json!(["a b", " c\u{0}"]), None, Some("a%20b,%20c%00")),
            (json!(["\u{fc}", "b"]), Some("\u{fc},b"), Some("%C3%BC,b")),
            (json!("a,b"), None, None),
            (json!(["a,b"]), None, None),
            (json!([""]), None, None),
            (json!({ "a": 1 }), None, None),
            (json!([]), None, None),
        ] {
            let token = idp.token(json!({ "name": claim }));
            assert_eq!(Request::get("/orders").bearer(&token).send(envoy.addr()).status, 200, "{claim}");
            let record = upstream.last();
            assert!(!record.malformed, "{record:?}");
            for (encoding, expected) in [("utf8", utf8), ("percent", percent)] {
                let seen = seen_as(&format!("x-csv-{encoding}"), &record.headers);
                assert_eq!(seen.first().map(String::as_str), expected, "{claim} {encoding}");
            }
            assert_sees(&record, "x-admin", &[]);
        }
        common::assert_sound(&envoy);
    }
}

/// The lines that the page has for Node and Python, run by these: each gives the text back.
#[test]
fn servers_read_what_is_written_by_the_lines_of_the_page() {
    const NAME: &str = "J\u{fc}rgen \u{5c71}\u{7530}";
    let page = include_str!("../../docs/configuration/headers.md");
    let cells = |server: &str| -> Vec<String> {
        let row = page.lines().find(|line| line.starts_with(&format!("| {server} |"))).expect("a row");
        let lines: Vec<String> =
            row.split(" | ").skip(1).filter_map(|cell| Some(cell.split('`').nth(1)?.to_owned())).collect();
        assert_eq!(lines.len(), 2, "{row}");
        lines
    };
    let latin_1 = as_latin_1(NAME.as_bytes());
    let percent = "J%C3%BCrgen%20%E5%B1%B1%E7%94%B0";
    for (server, command, flag, program) in [
        ("Node", "node", "-e", "const req = { headers: { 'x-name': HEADER } }; process.stdout.write(LINE)"),
        (
            "Flask and other WSGI",
            "python3",
            "-c",
            "import sys, types, urllib.parse\nrequest = types.SimpleNamespace(headers={'X-Name': HEADER})\nsys.stdout.buffer.write((LINE).encode('utf-8'))",
        ),
    ] {
        for (line, header) in cells(server).into_iter().zip([latin_1.as_str(), percent]) {
            let program = program.replace("HEADER", &json!(header).to_string()).replace("LINE", &line);
            let output = match std::process::Command::new(command).args([flag, &program]).output() {
                Ok(output) => output,
                Err(error) => {
                    println!("skipped: {command} does not run here: {error}");
                    continue;
                }
            };
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), NAME, "{server}: {line}");
        }
    }
}

#[test]
fn lists_are_written_in_the_form_that_was_asked_for() {
    let header = |name: &str, claim: &str, format: Option<&str>| {
        let mut header = json!({ "header_name": name, "claim_name": claim });
        if let Some(format) = format {
            header["list_format"] = json!(format);
        }
        header
    };
    let gateway = Gateway::start(|idp| {
        let headers = json!([
            header("x-csv", "groups", Some("csv")),
            header("x-json", "groups", Some("json")),
            header("x-repeat", "groups", Some("repeat")),
            header("x-base64", "groups", Some("base64_json")),
            header("x-default", "groups", None),
            header("x-nested", "realm.roles", Some("csv")),
            header("x-object", "realm", Some("json")),
            header("x-text", "text", Some("json")),
            header("x-literal", "https://corp.example/team", None),
            header("x-number", "level", None),
            header("x-bool", "admin", None),
            header("x-one", "one", Some("csv")),
        ]);
        config(with(local_provider(idp), json!({ "claim_to_headers": headers })), rules())
    });
    let token = gateway.idp.token(json!({
        "groups": ["staff", "ops"],
        "realm": { "roles": ["clerk", "buyer"] },
        "https://corp.example/team": "blue",
        "level": 7,
        "admin": false,
        "one": "single",
        "text": "staff, [\u{e9}]\n",
    }));
    assert_eq!(Request::get("/orders").bearer(&token).send(gateway.addr()).status, 200);
    let record = gateway.upstream.last();
    let base64 = BASE64_STANDARD.encode(r#"["staff","ops"]"#);
    for (name, expected) in [
        ("x-csv", &["staff,ops"][..]),
        ("x-json", &[r#"["staff","ops"]"#]),
        ("x-repeat", &["staff", "ops"]),
        ("x-base64", &[&base64]),
        ("x-default", &[&base64]),
        ("x-nested", &["clerk,buyer"]),
        ("x-object", &[r#"{"roles":["clerk","buyer"]}"#]),
        ("x-text", &[r#""staff, [\u00e9]\n""#]),
        ("x-literal", &["blue"]),
        ("x-number", &["7"]),
        ("x-bool", &["false"]),
        ("x-one", &["single"]),
    ] {
        assert_sees(&record, name, expected);
    }
    gateway.assert_sound();
}

/// What would read as another list than the claim is not written: servers join repeated fields with commas, and
/// readers split at commas and cut off blanks.
#[test]
fn a_list_reads_as_what_the_claim_holds_or_is_left_out() {
    let header = |name: &str, format: &str| json!({ "header_name": name, "claim_name": "groups", "list_format": format });
    let gateway = Gateway::start(|idp| {
        let headers = json!([header("x-csv", "csv"), header("x-repeat", "repeat"), header("x-json", "json")]);
        config(with(local_provider(idp), json!({ "claim_to_headers": headers })), rules())
    });
    for (claim, csv, repeat) in [
        (json!(["staff", "ops"]), Some("staff,ops"), true),
        (json!(["site admin", "ops"]), Some("site admin,ops"), true),
        (json!("staff"), Some("staff"), true),
        (json!("site admin"), Some("site admin"), true),
        (json!([7, true, "a"]), Some("7,true,a"), true),
        (json!([]), None, true),
        (json!(["staff", "ops,root"]), None, false),
        (json!(["staff,admin"]), None, false),
        (json!([",admin"]), None, false),
        (json!(["staff", " admin"]), None, false),
        (json!(["staff", "admin "]), None, false),
        (json!([" admin"]), None, false),
        (json!(["staff", "\tadmin"]), None, false),
        (json!(["staff", "\u{a0}admin"]), None, false),
        (json!(["", "admin"]), None, false),
        (json!(["staff", ""]), None, false),
        (json!([""]), None, false),
        (json!("staff,admin"), None, false),
        (json!("staff, admin"), None, false),
        (json!(" admin"), None, false),
        (json!("admin\n"), None, false),
        (json!({ "a": 1, "b": 2 }), None, false),
        (json!(["a", { "b": 1 }]), None, false),
        (json!(["a", ["b"]]), None, false),
        (json!(["a", null]), None, false),
        (json!(["a\r\nx-admin: true"]), None, false),
        (json!(["staff", "admin\u{3000}"]), None, false),
        (json!("\u{2003}admin"), None, false),
        (json!(["Zo\u{eb}", "\u{5c71}\u{7530}"]), Some("Zo\u{eb},\u{5c71}\u{7530}"), true),
    ] {
        let token = gateway.idp.token(json!({ "groups": claim }));
        for h2 in [false, true] {
            let request =
                Request::get("/orders").bearer(&token).header("x-csv", "root").header("x_repeat", "root");
            let response = if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
            assert_eq!(response.status, 200, "{claim}");
            let record = gateway.upstream.last();
            assert_eq!(seen_as("x-csv", &record.headers).first().map(String::as_str), csv, "{claim}");
            let elements: Vec<String> = match (&claim, repeat) {
                (_, false) => Vec::new(),
                (Value::Array(items), _) => items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect(),
                (text, _) => vec![text.as_str().expect("a text").to_owned()],
            };
            assert_eq!(seen_as("x-repeat", &record.headers), elements, "{claim}");
            // JSON says all of them.
            let json: Value =
                serde_json::from_str(&seen_as("x-json", &record.headers).concat()).expect("JSON");
            assert_eq!(json, claim);
        }
    }
    gateway.assert_sound();
}

#[test]
fn a_request_with_a_header_of_ours_is_refused_where_that_is_asked_for() {
    let gateway = Gateway::start(|idp| {
        let rules = json!([
            { "match": { "prefix": "/public/" } },
            { "match": { "prefix": "/report" }, "requires": corp(), "mode": "report" },
            { "match": { "prefix": "/orders" }, "requires": corp() },
        ]);
        with(
            config(outputs(idp), rules),
            json!({ "spoofed_headers": "reject", "bypass_cors_preflight": true }),
        )
    });
    let token = gateway.idp.token(json!({ "tenant": "acme" }));
    let preflight = Request::new("OPTIONS", "/orders")
        .header("origin", "https://a.example")
        .header("access-control-request-method", "GET");
    let sent = |request: &Request, h2: bool| {
        if h2 { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) }
    };
    for name in [
        "x-user",
        "x_user",
        "x.user",
        "x~user",
        "x!user",
        "x-tenant",
        "x_tenant",
        "x-jwt-payload",
        "x.jwt.payload",
    ] {
        for h2 in [false, true] {
            for request in [
                Request::get("/public/a"),
                Request::get("/orders"),
                Request::get("/orders").bearer(&token),
                Request::get("/elsewhere"),
                preflight.clone(),
            ] {
                let response = sent(&request.clone().header(name, "mallory"), h2);
                common::assert_problem(name, &response, 400, "request_ambiguous");
                assert_eq!(common::challenge(&response), None, "{name}");
            }
            assert_eq!(gateway.upstream.take().len(), 0, "{name}");
            // Report mode counts it, and takes the header away all the same.
            let request = Request::get("/report").bearer(&token).header(name, "mallory");
            assert_eq!(sent(&request, h2).status, 200, "{name}");
            let record = gateway.upstream.last();
            OWN.iter().for_each(|own| assert_sees(&record, own, &[]));
            gateway.upstream.take();
        }
        let call = Request::grpc("/orders").header(name, "mallory").send_h2(gateway.addr());
        assert_eq!(call.header("grpc-status").as_deref(), Some("3"), "{name}");
    }
    for request in [Request::get("/public/a"), Request::get("/orders").bearer(&token), preflight] {
        let request = request.header("x-users", "a").header("xuser", "b").header("x-other", "c");
        assert_eq!(sent(&request, false).status, 200);
        assert_eq!(sent(&request, true).status, 200);
    }
    gateway.assert_sound();
}

#[test]
fn a_claim_with_line_ends_or_control_characters_never_makes_a_header() {
    let gateway = start();
    let addr = gateway.addr();
    for (number, claim) in [
        "alice\r\nx-admin: true",
        "alice\nx-admin: true",
        "alice\rx-admin: true",
        "alice\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n",
        "alice\0root",
        "\0",
        "\r\n",
        "alice\u{7f}",
        "alice\u{1}",
        "alice\u{85}x-admin: true",
    ]
    .into_iter()
    .enumerate()
    {
        let groups = json!([claim, "staff"]);
        let token = gateway.idp.token(json!({ "sub": claim, "tenant": "acme", "groups": groups }));
        let path = format!("/orders/{number}");
        let request = Request::get(&path).bearer(&token).header("x-user", "mallory");
        for response in [request.send(addr), request.send_h2(addr)] {
            assert_eq!(response.status, 200, "{claim:?}: {}", response.text());
        }
        let records = gateway.upstream.take();
        assert_eq!(records.len(), 2, "{claim:?}: {records:?}");
        for record in records {
            assert_eq!(record.path(), path);
            assert_sees(&record, "x-user", &[]);
            assert_sees(&record, "x-tenant", &["acme"]);
            assert_sees(&record, "x-admin", &[]);
            let control = |value: &[u8]| value.iter().any(|byte| *byte < b' ' || *byte == 0x7f);
            assert!(!record.headers.iter().any(|(_, value)| control(value)), "{claim:?}: {record:?}");
        }
    }
    // What is text stays text, beyond ASCII in UTF-8. White space at its ends is cut off by somebody on the way: such a
    // value is in no header, only in the payload.
    for (name, seen) in [
        ("a b", &["a b"][..]),
        ("a, b; c=\"d\"", &["a, b; c=\"d\""]),
        ("\\", &["\\"]),
        ("%0d%0a", &["%0d%0a"]),
        ("Zoë", &["Zoë"]),
        ("山田", &["山田"]),
        ("\u{1f512} \u{e9}\u{301}", &["\u{1f512} \u{e9}\u{301}"]),
        (" admin", &[]),
        ("admin ", &[]),
        ("admin\u{a0}", &[]),
        ("\u{3000}admin", &[]),
        ("admin\u{2028}", &[]),
    ] {
        let token = gateway.idp.token(json!({ "sub": name }));
        assert_eq!(Request::get("/orders").bearer(&token).send(addr).status, 200, "{name}");
        assert_sees(&gateway.upstream.last(), "x-user", seen);
    }
    gateway.assert_sound();
}

#[test]
fn a_refused_request_tells_the_upstream_nothing() {
    let gateway = start();
    let token = gateway.idp.token(json!({ "scope": "b" }));
    for request in [
        Request::get("/orders"),
        Request::get("/scoped/a").bearer(&token),
        Request::get("/elsewhere").bearer(&token),
        Request::get("/orders").bearer(&harness::idp::flip_bit(&token)),
        Request::post("/orders", vec![b'x'; 100_000]),
        Request::post("/orders", "body").trailer("x-user", "mallory"),
    ] {
        assert!(matches!(with_claims_of_its_own(request).send(gateway.addr()).status, 401 | 403));
    }
    assert_eq!(gateway.upstream.count(), 0);
    gateway.assert_sound();
}
