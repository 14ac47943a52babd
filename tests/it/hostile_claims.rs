//! A thousand claim values that were made to break something, in every list format, on a real Envoy: what the upstream
//! gets is a request with sound fields, and what the client gets is not touched by any of them.

use crate::common;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::{Gateway, Random, SOON, config, corp, local_provider, with};
use harness::client::Connection;
use harness::{Record, Request, Response};
use serde_json::{Value, json};

/// The longest value that is written from a claim.
const MAX_BYTES: usize = 8192;

/// The formats and the headers that are written in them: of the value itself, and of a list with the value in it.
const FORMATS: [(&str, &str, &str); 4] = [
    ("csv", "x-csv", "x-list-csv"),
    ("json", "x-json", "x-list-json"),
    ("repeat", "x-repeat", "x-list-repeat"),
    ("base64_json", "x-base64", "x-list-base64"),
];

fn start() -> Gateway {
    Gateway::start_with(
        |idp| {
            let headers: Vec<Value> = FORMATS
                .iter()
                .flat_map(|(format, one, list)| [(one, "value", format), (list, "list", format)])
                .map(|(header, claim, format)| {
                    json!({ "header_name": header, "claim_name": claim, "list_format": format })
                })
                .collect();
            let provider = with(
                local_provider(idp),
                json!({
                    "claim_to_headers": headers,
                    "forward_payload_header": "x-payload",
                    "max_token_size": 1_048_576,
                }),
            );
            let required = with(provider.clone(), json!({ "required_claims": ["value"] }));
            let mut config = config(
                provider,
                json!([
                    { "match": { "path": "/required" }, "requires": { "provider_name": "required" } },
                    { "match": { "prefix": "/scoped" }, "requires": corp(),
                      "authorize": { "scopes": { "all_of": ["nobody-has-it"] } } },
                    { "match": { "prefix": "/" }, "requires": corp() },
                ]),
            );
            config["providers"]["required"] = required;
            config
        },
        |builder| builder.main(|listener| listener.hcm("max_request_headers_kb", json!(8192))),
    )
}

/// Parts that mean something to somebody on the way.
const PARTS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{1}",
    "\t",
    "\u{b}",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{80}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{202e}",
    "\"",
    "'",
    "\\",
    ",",
    ";",
    ":",
    "=",
    " ",
    "%0d%0a",
    "%00",
    "x-admin: true",
    "é",
    "山田",
    "🔒",
    "\u{e9}\u{301}",
    "HTTP/1.1",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "transfer-encoding: chunked",
    "alice",
    "root",
    "a",
    "0",
    "{",
    "}",
    "[",
    "]",
    "<b>",
];

fn text(random: &mut Random) -> String {
    let count = random.below(6);
    (0..count).map(|_| random.pick(PARTS)).collect()
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 6 } else { 9 }) {
        0..=2 => json!(text(random)),
        3 => json!(
            char::from_u32(u32::try_from(random.below(0x300)).expect("small")).unwrap_or('x').to_string()
        ),
        4 => [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e308),
            json!(-0.0),
            json!(5e-324),
            json!(0.1),
        ][random.below(10)]
        .clone(),
        5 => json!(text(random).to_uppercase()),
        6 | 7 => Value::Array((0..random.below(5)).map(|_| value(random, depth - 1)).collect()),
        _ => Value::Object((0..random.below(4)).map(|_| (text(random), value(random, depth - 1))).collect()),
    }
}

fn values() -> Vec<Value> {
    let mut random = Random(0x5eed_0006);
    let mut values: Vec<Value> = Vec::new();
    // Every control character, and every one of the first that are not ASCII, alone, at each end, and in a list.
    for code in (0..0x20).chain(0x7e..0xa2) {
        let letter = char::from_u32(code).expect("a character");
        values.extend([
            json!(letter.to_string()),
            json!(format!("a{letter}b")),
            json!([format!("{letter}a"), "b"]),
        ]);
    }
    for length in [MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 100_000, 700_000] {
        values.push(json!("x".repeat(length)));
        values.push(json!(["x".repeat(length)]));
        values.push(json!(format!("{}\r\nx-admin: true", "x".repeat(length))));
    }
    for count in [MAX_ITEMS - 1, MAX_ITEMS, MAX_ITEMS + 1, 500, 10_000, 100_000] {
        values.push(json!(vec!["a"; count]));
        values.push(json!(vec![""; count]));
        values.push(json!(vec![0; count]));
    }
    for depth in [10, 40, 60] {
        values.push((0..depth).fold(json!("x\r\n"), |inner, _| json!([inner])));
        values.push((0..depth).fold(json!(1), |inner, _| json!({ "a\r\nb": inner })));
    }
    while values.len() < 1000 {
        values.push(value(&mut random, 4));
    }
    values
}

/// How many fields a list becomes at the most.
const MAX_ITEMS: usize = 64;

/// What a text has to be to stand in a field as it is.
fn is_sound(text: &str) -> bool {
    text.len() <= MAX_BYTES && !text.chars().any(char::is_control) && text.trim() == text
}

/// What a scalar is as a text. Numbers are compared as numbers, in [`assert_header`].
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn same(got: &str, expected: &str) -> bool {
    got == expected || matches!((got.parse::<f64>(), expected.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

/// Holds the fields of one header to the value that it was made from.
fn assert_header(what: &str, format: &str, value: &Value, got: &[String]) {
    // Envoy takes no empty field from a dynamic module.
    let whole: Vec<String>;
    let empty = |value: &Value| scalar(value).is_some_and(|text| text.is_empty());
    let got = match value {
        value if common::is_native() && format != "json" && got.is_empty() && empty(value) => {
            whole = vec![String::new()];
            &whole
        }
        Value::Array(items) if common::is_native() && format == "repeat" && items.iter().any(empty) => {
            let written = items.iter().filter(|item| !empty(item)).count();
            if got.len() == written && items.len() <= MAX_ITEMS {
                let mut got = got.iter();
                let all =
                    items.iter().map(|item| if empty(item) { "" } else { got.next().map_or("", |one| one) });
                whole = all.map(str::to_owned).collect();
                &whole[..]
            } else {
                got
            }
        }
        Value::Array(items)
            if common::is_native() && format == "csv" && got.is_empty() && items.is_empty() =>
        {
            whole = vec![String::new()];
            &whole
        }
        _ => got,
    };
    assert!(got.iter().all(|text| is_sound(text)), "{what}: {got:?}");
    if format == "json" {
        match got {
            [got] => assert_eq!(&serde_json::from_str::<Value>(got).expect("JSON"), value, "{what}"),
            // With escapes a text is six times as long at the most.
            [] => assert!(value.is_null() || value.to_string().len() * 6 > MAX_BYTES, "{what}: not written"),
            _ => panic!("{what}: {got:?}"),
        }
        return;
    }
    if let Some(text) = scalar(value) {
        // Readers of a list split it at commas.
        let one = is_sound(&text) && (format == "base64_json" || !text.contains(','));
        let fits = if one { got.len() == 1 && same(&got[0], &text) } else { got.is_empty() };
        assert!(fits, "{what}: {got:?} of {text:?}");
        return;
    }
    if value.is_null() || got.is_empty() {
        assert!(got.is_empty(), "{what}: {got:?}");
        // What could be written is.
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Vec<String> = items.iter().filter_map(scalar).collect();
        let plain = texts.len() == items.len()
            && texts.iter().all(|text| is_sound(text) && !text.is_empty() && !text.contains(','));
        let short = texts.iter().map(String::len).sum::<usize>() + items.len() < MAX_BYTES;
        let writable = matches!(format, "csv" | "repeat") && plain && short;
        assert!(
            !writable || items.is_empty() || (format == "repeat" && items.len() > MAX_ITEMS),
            "{what}: not written"
        );
        return;
    }
    let items = value.as_array().map(Vec::as_slice);
    match (format, items) {
        ("repeat", Some(items)) => {
            let fits = |(got, item): (&String, &Value)| scalar(item).is_some_and(|text| same(got, &text));
            assert!(got.len() == items.len() && got.iter().zip(items).all(fits), "{what}: {got:?}");
        }
        ("csv", Some(items)) => {
            let [got] = got else { panic!("{what}: {got:?}") };
            let parts: Vec<&str> = if items.is_empty() { vec![] } else { got.split(',').collect() };
            let fits = |(got, item): (&&str, &Value)| scalar(item).is_some_and(|text| same(got, &text));
            assert!(parts.len() == items.len() && parts.iter().zip(items).all(fits), "{what}: {got:?}");
        }
        ("base64_json", _) => {
            let [got] = got else { panic!("{what}: {got:?}") };
            let json = BASE64_STANDARD.decode(got).unwrap_or_else(|error| panic!("{what}: {got:?}: {error}"));
            assert_eq!(&serde_json::from_slice::<Value>(&json).expect("JSON"), value, "{what}");
        }
        _ => panic!("{what}: {got:?} of something else than a list"),
    }
}

/// Holds a request that reached the upstream to the token that it came with.
fn assert_record(what: &str, record: &Record, value: &Value, token: &str) {
    assert!(!record.malformed, "{what}: {record:?}");
    let mut fields: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &record.headers {
        fields.entry(name).or_default().push(String::from_utf8_lossy(value).into_owned());
    }
    let list = json!([value, "x"]);
    for (format, one, of_list) in FORMATS {
        for (name, value) in [(one, value), (of_list, &list)] {
            let got = fields.remove(name).unwrap_or_default();
            assert_header(&format!("{what}, {name}"), format, value, &got);
        }
    }
    let payload = token.split('.').nth(1).expect("a payload");
    assert_eq!(fields.remove("x-payload").unwrap_or_default(), [payload], "{what}");
    // Nothing else is there but what Envoy and the client have written.
    for name in fields.keys() {
        let known =
            ["host", "x-request-id", "x-forwarded-proto", "x-envoy-expected-rq-timeout-ms", "content-length"];
        assert!(known.contains(name), "{what}: {name}");
    }
}

/// A response without what differs from answer to answer.
fn constant(response: &Response) -> (u16, String, Vec<u8>) {
    let fields: Vec<_> = response.headers.iter().filter(|(name, _)| name != "date").collect();
    (response.status, format!("{fields:?}"), response.body.clone())
}

#[test]
fn a_thousand_hostile_claims_make_no_malformed_field() {
    let gateway = start();
    let mut connection = Connection::open(gateway.addr()).expect("a connection");
    let mut send = |request: &Request| {
        let request = request.clone().timeout(Duration::from_secs(30));
        connection.try_send(&request).unwrap_or_else(|_| {
            connection = Connection::open(gateway.addr()).expect("a connection");
            connection.send(&request)
        })
    };
    let refused = send(&Request::get("/scoped").bearer(&gateway.idp.token(json!({}))));
    let incomplete = send(&Request::get("/required").bearer(&gateway.idp.token(json!({}))));
    assert_eq!((refused.status, incomplete.status), (403, 401));
    let values = values();
    assert!(values.len() >= 1000, "{}", values.len());
    let (mut written, mut left_out) = (0, 0);
    let mut counted = 0;
    for (number, value) in values.iter().enumerate() {
        let shown: String = value.to_string().chars().take(100).collect();
        let what = format!("value {number}, {shown}");
        let claims = json!({ "value": value, "list": [value, "x"] });
        let token = gateway.idp.mint().alg(harness::Alg::ES256).claims(claims).sign();
        if token.len() > 1 << 20 {
            assert_eq!(send(&Request::get("/").bearer(&token)).status, 401, "{what}");
            continue;
        }
        let response = send(&Request::get(format!("/{number}")).bearer(&token));
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        let records = gateway.upstream.take();
        let [record] = &records[..] else { panic!("{what}: {} requests", records.len()) };
        assert_eq!(record.path(), format!("/{number}"), "{what}");
        assert_record(&what, record, value, &token);
        let has = |(_, one, list): &(&str, &str, &str)| {
            [record.header(one).is_some(), record.header(list).is_some()]
        };
        let has: Vec<bool> = FORMATS.iter().flat_map(has).collect();
        written += has.iter().filter(|has| **has).count();
        left_out += has.iter().filter(|has| !**has).count();
        // Of what is nothing, no header is missing.
        let nothing = |format: &str| {
            value.is_null()
                || matches!(format, "csv" | "repeat") && value.as_array().is_some_and(Vec::is_empty)
        };
        let missing = FORMATS
            .iter()
            .zip(has.chunks(2))
            .map(|((format, ..), has)| u64::from(!has[0] && !nothing(format)) + u64::from(!has[1]));
        // A token is remembered whatever its length: for the request below it is not judged anew.
        counted += missing.sum::<u64>();

        let answer = send(&Request::get("/scoped").bearer(&token));
        assert_eq!(constant(&answer), constant(&refused), "{what}");

        // Where the claim is required, a header that cannot be written is a token that cannot be used.
        let whole = FORMATS.iter().all(|(_, one, _)| record.header(one).is_some());
        let required = send(&Request::get("/required").bearer(&token));
        let empty = matches!(value, Value::Array(items) if items.is_empty());
        match required.status {
            200 => assert!(whole || empty, "{what}: a required claim is in no header"),
            status => {
                assert_eq!(status, 401, "{what}");
                assert!(!whole || value.is_null(), "{what}: {}", required.text());
            }
        }
        gateway.upstream.take();
    }
    let name = "wasmcustom.portcullis.claims_left_out.provider.corp";
    common::wait_for_count(&gateway.envoy, name, SOON, &Request::get("/"), |count| count == counted);
    println!("{} values: {written} headers written, {left_out} left out", values.len());
    assert!(
        written > 500 && left_out > 500,
        "{written} written, {left_out} left out: the values say too little"
    );
    gateway.assert_sound();
}

#[test]
fn a_claim_of_a_megabyte_or_nested_a_thousand_deep_is_refused_before_it_is_read() {
    let gateway = start();
    let send =
        |token: &str| Request::get("/").bearer(token).timeout(Duration::from_secs(30)).send(gateway.addr());
    let mint = || gateway.idp.mint().alg(harness::Alg::ES256);
    let large = mint().claim("value", "x".repeat(1 << 20)).sign();
    common::assert_problem("a megabyte", &send(&large), 401, "token_too_large");
    let signed_anyhow = |claims: &str| {
        let key = gateway.idp.key(harness::Alg::ES256);
        let payload = mint().payload().to_string();
        let payload = format!("{},\"value\":{claims}}}", payload.strip_suffix('}').expect("an object"));
        key.sign_jws(&json!({ "alg": "ES256", "kid": key.kid() }), payload.as_bytes())
    };
    assert_eq!(send(&signed_anyhow("1")).status, 200);
    for depth in [1000, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            common::assert_problem("deep", &send(&signed_anyhow(&nested)), 401, "token_malformed");
        }
    }
    gateway.assert_sound();
}
