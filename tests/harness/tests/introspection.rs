//! The identity provider issues opaque tokens, says what they are to the client that may ask, and revokes them.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::idp::GATE;
use harness::{Behaviour, Endpoint, Idp, Request, Response};
use serde_json::{Value, json};

const FORM: &str = "application/x-www-form-urlencoded";

fn ask(idp: &Idp, token: &str, more: impl FnOnce(Request) -> Request) -> Response {
    let form = format!("token={token}&token_type_hint=access_token");
    more(Request::post("/introspect", form).header("content-type", FORM)).send(idp.addr())
}

fn basic(request: Request, credentials: &str) -> Request {
    request.header("authorization", format!("Basic {}", STANDARD.encode(credentials)))
}

fn known(request: Request) -> Request {
    basic(request, &format!("{}:{}", GATE.0, GATE.1))
}

#[test]
fn an_opaque_token_is_active_until_it_is_revoked_or_over() {
    let idp = Idp::start();
    let answer = Request::post("/token", "sub=alice&scope=orders:read&token_format=opaque");
    let answer = answer.header("content-type", FORM).send(idp.addr()).json();
    let token = answer["access_token"].as_str().expect("a token");
    assert!(!token.contains('.'), "it says nothing by itself: {token}");
    let response = ask(&idp, token, known);
    assert_eq!(response.status, 200);
    let members = response.json();
    for (name, value) in [
        ("active", json!(true)),
        ("iss", json!(idp.issuer())),
        ("aud", json!(idp.audience())),
        ("sub", json!("alice")),
        ("scope", json!("orders:read")),
        ("token_type", json!("Bearer")),
    ] {
        assert_eq!(members[name], value, "{name}");
    }
    let revoke = Request::post("/revoke", format!("token={token}")).header("content-type", FORM);
    assert_eq!(revoke.send(idp.addr()).status, 200);
    let inactive = json!({ "active": false });
    assert_eq!(ask(&idp, token, known).json(), inactive);
    assert_eq!(ask(&idp, "unknown", known).json(), inactive);
    let over = idp.opaque_token(json!({ "exp": 1 }));
    assert_eq!(ask(&idp, &over, known).json(), inactive);
    assert_eq!(idp.introspections_of(token), 2);
    assert_eq!(idp.introspections().len(), 4);
}

#[test]
fn only_its_client_may_ask() {
    let idp = Idp::start();
    let token = idp.opaque_token(json!({}));
    assert_eq!(ask(&idp, &token, |request| request).status, 401);
    assert_eq!(ask(&idp, &token, |request| basic(request, "gate:wrong")).status, 401);
    idp.set_introspection_client(Some(("gate:odd", "p w+%/&=")));
    for (credentials, status) in [
        ("gate%3Aodd:p%20w%2B%25%2F%26%3D", 200),
        ("gate%3Aodd:p+w%2B%25%2F%26%3D", 200),
        ("gate:odd:p w+%/&=", 401),
    ] {
        assert_eq!(ask(&idp, &token, |request| basic(request, credentials)).status, status, "{credentials}");
    }
    let form = format!("token={token}&client_id=gate%3Aodd&client_secret=p+w%2B%25%2F%26%3D");
    let posted = Request::post("/introspect", form).header("content-type", FORM).send(idp.addr());
    assert_eq!(posted.status, 200);
    idp.set_introspection_client(None);
    assert_eq!(ask(&idp, &token, |request| request).status, 200);
}

#[test]
fn it_signs_what_it_says_when_it_is_asked_to() {
    let idp = Idp::start();
    let token = idp.opaque_token(json!({}));
    let signed = "application/token-introspection+jwt";
    let response = ask(&idp, &token, |request| known(request).header("accept", signed));
    assert_eq!(response.header("content-type").as_deref(), Some(signed));
    let text = response.text();
    let (message, signature) = text.rsplit_once('.').expect("three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    assert!(idp.signing_key().verify(message.as_bytes(), &signature));
    let claims = URL_SAFE_NO_PAD.decode(message.split('.').nth(1).expect("claims")).expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], GATE.0);
    assert_eq!(claims["token_introspection"]["active"], true);
}

#[test]
fn it_misbehaves_as_a_whole_or_about_one_token() {
    let idp = Idp::start();
    let [good, odd] = [(); 2].map(|()| idp.opaque_token(json!({})));
    idp.behave_about(&odd, Behaviour::Status(400));
    assert_eq!((ask(&idp, &good, known).status, ask(&idp, &odd, known).status), (200, 400));
    idp.behave_on(Endpoint::Introspection, Behaviour::Status(500));
    assert_eq!((ask(&idp, &good, known).status, ask(&idp, &odd, known).status), (500, 400));
    assert_eq!(idp.most_introspections_at_once(), 1);
}
