//! The call itself: its form and how the gate shows who it is, byte for byte.

use std::rc::Rc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use portcullis::{HttpMethod, HttpRequest};
use serde_json::{Value, json};

use super::replay::{Replay, SECRET, config, field, form, introspection, json_answer, opaque};
use crate::common::with;

const NOW: u64 = 1_800_000_000;

fn called(block: Value, secret: &str) -> HttpRequest {
    called_about(block, secret, &opaque(1))
}

fn called_about(block: Value, secret: &str, token: &str) -> HttpRequest {
    let provider =
        json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": block });
    let mut replay = Replay::with_secret(&config(&provider, json!({})), NOW, &Rc::default(), secret);
    let got = replay.bearer(token, NOW, |_| json_answer(json!({ "active": true, "aud": "orders" })));
    assert_eq!(got, "allow");
    replay.calls.remove(0)
}

fn client(id: &str, method: &str) -> Value {
    introspection(json!({ "client_id": id, "auth_method": method }))
}

/// The credentials of a Basic field.
fn basic(call: &HttpRequest) -> String {
    let field = field(call, "authorization").expect("a field").strip_prefix("Basic ").expect("Basic");
    String::from_utf8(BASE64_STANDARD.decode(field).expect("base64")).expect("text")
}

#[test]
fn the_form_names_the_token_and_its_kind_and_nothing_else() {
    let call = called(introspection(json!({})), SECRET);
    assert_eq!(call.method, HttpMethod::Post);
    assert_eq!((call.endpoint.path.as_str(), call.endpoint.cluster.as_str()), ("/introspect", "id"));
    assert_eq!(form(&call), format!("token={}&token_type_hint=access_token", opaque(1)));
    assert_eq!(field(&call, "content-type"), Some("application/x-www-form-urlencoded"));
    assert!(field(&call, "accept").is_some_and(|accept| accept.contains("application/json")), "{call:?}");
    let names: Vec<_> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "a field that comes twice: {names:?}");
    // What a b64token may have and a form may not.
    let call = called_about(introspection(json!({})), SECRET, "abc+def/ghi~jkl-mno_pqr.stu==");
    let text = form(&call);
    assert!(text.contains("token=abc%2Bdef%2Fghi~jkl-mno_pqr.stu%3D%3D"), "{text}");
}

/// RFC 6749 section 2.3.1: both are form-encoded first.
#[test]
fn client_secret_basic_encodes_both_before_it_joins_them() {
    for (id, secret, expected) in [
        ("gate", "plain-secret-0123456789", "gate:plain-secret-0123456789"),
        ("gate:odd", "p:w+d %2F/&=x%41 end", "gate%3Aodd:p%3Aw%2Bd%20%252F%2F%26%3Dx%2541%20end"),
        ("https://gate.example/", "a~b-c._d", "https%3A%2F%2Fgate.example%2F:a~b-c._d"),
        ("gate 7", "p*ss'(w)!", "gate%207:p%2Ass%27%28w%29%21"),
    ] {
        let call = called(client(id, "client_secret_basic"), secret);
        assert_eq!(basic(&call), expected, "{id} {secret}");
        let text = form(&call);
        assert!(!text.contains("client"), "the client is named in one place: {text}");
    }
    // It is the default, and the secret may come from the environment.
    assert_eq!(basic(&called(introspection(json!({})), SECRET)), "gate:s3cret-value");
}

#[test]
fn the_other_ways_to_show_who_asks() {
    let call = called(client("gate:odd", "client_secret_post"), "p w&=");
    assert_eq!(field(&call, "authorization"), None);
    let parameters: Vec<(String, String)> = parsed(&form(&call));
    for (name, value) in [("client_id", "gate:odd"), ("client_secret", "p w&="), ("token", &opaque(1))] {
        let found: Vec<_> = parameters.iter().filter(|(own, _)| own == name).collect();
        assert_eq!(found, [&(name.to_owned(), value.to_owned())], "{name}");
    }
    let mut block = client("x", "bearer");
    block.as_object_mut().expect("a block").remove("client_id");
    let call = called(block, "the-token-of-the-gate");
    assert_eq!(field(&call, "authorization"), Some("Bearer the-token-of-the-gate"));
    assert!(!form(&call).contains("client_secret"));
    let mut block = introspection(json!({ "auth_method": "none" }));
    block.as_object_mut().expect("a block").remove("client_secret");
    let call = called(block.clone(), SECRET);
    assert_eq!(field(&call, "authorization"), None);
    assert!(form(&call).contains("client_id=gate"), "{}", form(&call));
    block.as_object_mut().expect("a block").remove("client_id");
    let call = called(block, SECRET);
    assert!(!form(&call).contains("client_id"), "{}", form(&call));
}

fn parsed(form: &str) -> Vec<(String, String)> {
    form.split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').expect("a value");
            (unescaped(name), unescaped(value))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                let digits = std::str::from_utf8(digits).expect("hex");
                u8::from_str_radix(digits, 16).expect("hex")
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn accept_names_signed_answers_where_they_are_wanted() {
    let keys = crate::common::local_provider(&crate::common::idp());
    let block = introspection(json!({ "accept": "jwt" }));
    let provider = with(keys, json!({ "introspection": block }));
    let mut replay = Replay::new(&config(&provider, json!({})), NOW);
    let _ = replay.bearer(&opaque(1), NOW, |_| json_answer("{}"));
    let accept = field(&replay.calls[0], "accept").expect("a field");
    assert!(accept.starts_with("application/token-introspection+jwt"), "{accept}");
}
