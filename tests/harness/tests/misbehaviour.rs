//! The identity provider does as it is told, good and bad.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use harness::{Behaviour, Endpoint, Idp, Request, get};
use serde_json::{Value, json};

fn fetch(idp: &Idp) -> std::io::Result<harness::Response> {
    Request::get("/jwks.json").try_send(idp.addr())
}

#[test]
fn an_unchanged_key_set_is_not_sent_again() {
    let idp = Idp::start();
    let first = get(idp.addr(), "/jwks.json");
    assert_eq!(first.status, 200);
    assert_eq!(first.header("cache-control").as_deref(), Some("max-age=300"));
    assert_eq!(first.json(), idp.jwks());

    let etag = first.header("etag").expect("an ETag");
    let again = Request::get("/jwks.json").header("if-none-match", &etag);
    assert_eq!(again.send(idp.addr()).status, 304);
    idp.rotate(true);
    let changed = again.send(idp.addr());
    assert_eq!(changed.status, 200);
    assert_eq!(changed.json()["keys"].as_array().map(Vec::len), Some(4));
    assert_eq!((idp.fetches(), idp.not_modified()), (3, 1));
    assert!(idp.last_fetch_headers().contains(&("if-none-match".to_owned(), etag)));

    idp.rotate(false);
    assert_eq!(get(idp.addr(), "/jwks.json").json()["keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(idp.retired().len(), 4);
}

#[test]
fn it_speaks_http2_too() {
    let idp = Idp::start();
    assert_eq!(Request::get("/jwks.json").send_h2(idp.addr()).json(), idp.jwks());
}

#[test]
fn slow_and_silent() {
    let idp = Idp::start();
    idp.behave(Behaviour::Delay(Duration::from_millis(100)));
    let start = Instant::now();
    assert_eq!(get(idp.addr(), "/jwks.json").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(100));

    idp.behave(Behaviour::Hang);
    let impatient = Request::get("/jwks.json").timeout(Duration::from_millis(300));
    assert_eq!(impatient.try_send(idp.addr()).expect_err("no answer").kind(), ErrorKind::TimedOut);

    idp.behave(Behaviour::Well);
    assert_eq!(get(idp.addr(), "/jwks.json").status, 200);
}

#[test]
fn wrong_answers() {
    let idp = Idp::start();
    idp.behave(Behaviour::Status(503));
    assert_eq!(get(idp.addr(), "/jwks.json").status, 503);
    idp.behave(Behaviour::Redirect("http://elsewhere.test/".to_owned()));
    let redirect = get(idp.addr(), "/jwks.json");
    assert_eq!(
        (redirect.status, redirect.header("location").as_deref()),
        (302, Some("http://elsewhere.test/"))
    );
    idp.behave(Behaviour::Html);
    assert_eq!(get(idp.addr(), "/jwks.json").header("content-type").as_deref(), Some("text/html"));
    idp.behave(Behaviour::Huge(3 << 20));
    let huge = Request::get("/jwks.json").send(idp.addr());
    assert_eq!(huge.body.len(), 3 << 20);
    assert!(huge.json()["keys"].is_array());
    idp.behave(Behaviour::json(json!({ "keys": 7 })));
    assert_eq!(get(idp.addr(), "/jwks.json").json(), json!({ "keys": 7 }));
    idp.behave_next(2, Endpoint::Jwks, Behaviour::Status(500));
    let statuses: Vec<u16> = (0..3).map(|_| get(idp.addr(), "/jwks.json").status).collect();
    assert_eq!(statuses, [500, 500, 200]);
}

#[test]
fn broken_off_answers() {
    let idp = Idp::start();
    idp.behave(Behaviour::Truncated);
    assert_eq!(fetch(&idp).expect_err("half an answer").kind(), ErrorKind::UnexpectedEof);
    idp.behave(Behaviour::Reset);
    assert_eq!(fetch(&idp).expect_err("half an answer").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn gone_and_back() {
    let idp = Idp::start();
    let addr = idp.addr();
    let mut open = harness::Connection::open(addr).expect("a connection");
    assert_eq!(open.send(&Request::get("/healthz")).status, 200);
    for _ in 0..3 {
        idp.go_away();
        assert_eq!(fetch(&idp).expect_err("nobody there").kind(), ErrorKind::ConnectionRefused);
        idp.come_back();
        assert_eq!(get(idp.addr(), "/jwks.json").status, 200);
    }
    assert!(open.try_send(&Request::get("/healthz")).is_err(), "open connections close with the door");
    assert_eq!(idp.addr(), addr);
}

#[test]
fn a_person_can_ask_for_a_token() {
    let idp = Idp::start();
    let form = Request::post(
        "/token",
        "sub=bob&scope=orders%3Aread+orders%3Awrite&ttl=60&tenant=acme&grant_type=client_credentials",
    )
    .header("content-type", "application/x-www-form-urlencoded");
    let answer = form.send(idp.addr()).json();
    assert_eq!((answer["token_type"].as_str(), answer["expires_in"].as_i64()), (Some("Bearer"), Some(60)));
    let claims = claims(&answer);
    assert_eq!(claims["scope"], "orders:read orders:write");
    assert_eq!((&claims["sub"], &claims["tenant"]), (&json!("bob"), &json!("acme")));
    assert_eq!(claims.get("grant_type"), None);

    let body = json!({ "aud": ["a", "b"], "alg": "ES256", "ttl": -10 }).to_string();
    let json = Request::post("/token", body).header("content-type", "application/json");
    let answer = json.send(idp.addr()).json();
    assert_eq!(self::claims(&answer)["aud"], json!(["a", "b"]));

    let refused = Request::post("/token", "alg=HS256").send(idp.addr());
    assert_eq!(
        (refused.status, refused.json()["error"].as_str().map(str::to_owned)),
        (400, Some("invalid_request".into()))
    );
    assert_eq!(idp.token_requests(), 3);
}

#[test]
fn the_program_can_be_told_over_http() {
    let idp = Idp::start();
    let rotated = Request::post("/rotate?retire=true", "").send(idp.addr()).json();
    assert_eq!(rotated["published"], json!(["rs256-2", "es256-2"]));
    let tell = |body: Value| {
        let request = Request::post("/behave", body.to_string()).header("content-type", "application/json");
        request.send(idp.addr()).status
    };
    assert_eq!(tell(json!({ "mode": "status", "status": 418 })), 200);
    assert_eq!(get(idp.addr(), "/jwks.json").status, 418);
    assert_eq!(tell(json!({ "mode": "well" })), 200);
    assert_eq!(tell(json!({ "mode": "dance" })), 400);
    assert_eq!(tell(json!({ "mode": "refuse", "seconds": 0.3 })), 202);
    harness::eventually("a refused connection", harness::SOON, || fetch(&idp).is_err().then_some(()));
    harness::eventually("the provider to come back", harness::SOON, || fetch(&idp).ok());
}

#[test]
fn a_token_that_is_revoked_is_on_the_list() {
    let idp = Idp::builder().issuer("https://idp.example/").start().expect("started");
    let token = || Request::post("/token", "sub=bob").send(idp.addr()).json();
    let (first, second) = (token(), token());
    assert_ne!(claims(&first)["jti"], claims(&second)["jti"], "each can be named by itself");
    let list = || get(idp.addr(), "/revoked.json");
    assert_eq!(list().json(), json!({ "version": 1, "entries": [] }));

    let revoke = |form: String| Request::post("/revoke", form).send(idp.addr());
    let answer = revoke(format!("token={}", first["access_token"].as_str().expect("a token")));
    assert_eq!((answer.status, &answer.json()["revoked"]), (200, &claims(&first)["jti"]));
    let named = &claims(&first);
    let entry = json!({ "issuer": "https://idp.example/", "jti": named["jti"], "until": named["exp"] });
    assert_eq!(list().json(), json!({ "version": 1, "entries": [entry] }));

    assert_eq!(revoke("jti=leaked".to_owned()).status, 200);
    let document = list();
    let jtis = document.json()["entries"].as_array().map(|all| all.iter().any(|one| one["jti"] == "leaked"));
    assert_eq!(jtis, Some(true));
    let etag = document.header("etag").expect("an ETag");
    assert_eq!(Request::get("/revoked.json").header("if-none-match", &etag).send(idp.addr()).status, 304);
    for wrong in ["", "token=opaque", "jti=a&token=b"] {
        assert_eq!(revoke(wrong.to_owned()).status, 400, "{wrong:?}");
    }
    assert_eq!((idp.revoked_fetches(), idp.not_modified()), (4, 0), "of its keys nothing was asked");

    idp.behave_on(Endpoint::Revoked, Behaviour::Status(500));
    assert_eq!(list().status, 500);
}

#[test]
fn metadata_names_the_issuer() {
    let idp = Idp::builder().issuer("https://idp.example/").start().expect("started");
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let metadata = Request::get(path).host("idp.test").send(idp.addr()).json();
        assert_eq!(
            (&metadata["issuer"], &metadata["jwks_uri"]),
            (&json!("https://idp.example/"), &json!("http://idp.test/jwks.json"))
        );
    }
    assert_eq!(idp.discovery_fetches(), 2);
}

fn claims(answer: &Value) -> Value {
    use base64::Engine;
    let payload = answer["access_token"].as_str().and_then(|token| token.split('.').nth(1)).expect("a token");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}
