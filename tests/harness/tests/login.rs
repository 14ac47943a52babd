//! The identity provider logs users in for clients that register themselves, and keeps what the protocol asks for.

use harness::{Idp, Request, Response};
use serde_json::{Value, json};

const BACK: &str = "http://127.0.0.1:4000/callback";
const RESOURCE: &str = "http://127.0.0.1:5000/mcp";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn register(idp: &Idp, asked: &Value) -> Response {
    Request::post("/register", asked.to_string()).header("content-type", "application/json").send(idp.addr())
}

fn client(idp: &Idp) -> String {
    let asked = json!({
        "client_name": "test", "redirect_uris": [BACK], "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_basic",
    });
    let answer = register(idp, &asked);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["token_endpoint_auth_method"], "none", "it keeps no secrets of clients");
    answer.json()["client_id"].as_str().expect("a client_id").to_owned()
}

/// The usual parameters with others in their place; one that is empty is left out.
fn form(usual: &[(&str, &str)], others: &[(&str, &str)]) -> String {
    let kept = usual.iter().filter(|(name, _)| !others.iter().any(|(other, _)| other == name));
    let all: Vec<_> = kept.chain(others).filter(|(_, value)| !value.is_empty()).collect();
    form_urlencoded::Serializer::new(String::new()).extend_pairs(all.into_iter().copied()).finish()
}

fn authorize(idp: &Idp, client: &str, others: &[(&str, &str)]) -> Response {
    let usual = [
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", BACK),
        ("scope", "files:read offline_access"),
        ("resource", RESOURCE),
        ("state", "a b"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    Request::get(format!("/authorize?{}", form(&usual, others))).send(idp.addr())
}

/// What the browser brings back.
fn brought(response: &Response, name: &str) -> Option<String> {
    let location = response.header("location")?;
    let query = location.strip_prefix(BACK)?.strip_prefix('?')?;
    let found = form_urlencoded::parse(query.as_bytes()).find(|(own, _)| own == name);
    found.map(|(_, value)| value.into_owned())
}

fn code(idp: &Idp, client: &str) -> String {
    let response = authorize(idp, client, &[]);
    assert_eq!(response.status, 302);
    assert_eq!(brought(&response, "iss").as_deref(), Some(idp.issuer()));
    assert_eq!(brought(&response, "state").as_deref(), Some("a b"));
    brought(&response, "code").expect("a code")
}

fn token(idp: &Idp, usual: &[(&str, &str)], others: &[(&str, &str)]) -> Response {
    let request = Request::post("/token", form(usual, others));
    request.header("content-type", "application/x-www-form-urlencoded").send(idp.addr())
}

fn redeem(idp: &Idp, client: &str, code: &str, others: &[(&str, &str)]) -> Response {
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", client),
        ("redirect_uri", BACK),
        ("code_verifier", VERIFIER),
        ("resource", RESOURCE),
    ];
    token(idp, &usual, others)
}

fn refresh(idp: &Idp, client: &str, refresh_token: &str, others: &[(&str, &str)]) -> Response {
    let usual = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("client_id", client)];
    token(idp, &usual, others)
}

#[track_caller]
fn assert_refused(what: &str, response: &Response, error: &str) {
    assert_eq!(response.status, 400, "{what}: {response:?}");
    assert_eq!(response.json()["error"], error, "{what}");
}

fn claims(token: &Value) -> Value {
    use base64::Engine;
    let payload = token.as_str().and_then(|token| token.split('.').nth(1)).expect("a JWT");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_client_that_registers_comes_to_a_token_for_its_resource() {
    let idp = Idp::start();
    let client = client(&idp);
    let answer = redeem(&idp, &client, &code(&idp, &client), &[]);
    assert_eq!((answer.status, answer.header("cache-control").as_deref()), (200, Some("no-store")));
    let answer = answer.json();
    let claims = claims(&answer["access_token"]);
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(RESOURCE), &json!("files:read offline_access")));
    assert_eq!((&claims["sub"], &claims["iss"]), (&json!("alice"), &json!(idp.issuer())));
    let again = answer["refresh_token"].as_str().expect("a refresh token");
    assert_refused(
        "another resource",
        &refresh(&idp, &client, again, &[("resource", "http://else/")]),
        "invalid_target",
    );
    assert_refused(
        "more scopes",
        &refresh(&idp, &client, again, &[("scope", "files:write")]),
        "invalid_scope",
    );
    assert_refused("another client", &refresh(&idp, "else", again, &[]), "invalid_grant");
    let second = refresh(&idp, &client, again, &[]);
    assert_eq!(second.status, 200, "what was refused did not use it up");
    assert_refused("a refresh token twice", &refresh(&idp, &client, again, &[]), "invalid_grant");
    Request::post("/token-lifetime", "seconds=7").send(idp.addr());
    let second = second.json()["refresh_token"].as_str().expect("a refresh token").to_owned();
    assert_eq!(refresh(&idp, &client, &second, &[]).json()["expires_in"], 7);
    let short = authorize(&idp, &client, &[("scope", "files:read")]);
    let short = redeem(&idp, &client, &brought(&short, "code").expect("a code"), &[]).json();
    assert_eq!(short.get("refresh_token"), None, "nobody asked for offline_access");
}

#[test]
fn a_code_counts_once_for_whom_it_was_given() {
    let idp = Idp::start();
    let client = client(&idp);
    for (what, others, error) in [
        ("another verifier", [("code_verifier", CHALLENGE)], "invalid_grant"),
        ("no verifier", [("code_verifier", "")], "invalid_request"),
        ("another client", [("client_id", "else")], "invalid_grant"),
        ("another redirect URI", [("redirect_uri", "http://127.0.0.1:4000/callback/")], "invalid_grant"),
        ("another resource", [("resource", "http://127.0.0.1:5000/")], "invalid_target"),
        ("a code that nobody was given", [("code", "else")], "invalid_grant"),
    ] {
        assert_refused(what, &redeem(&idp, &client, &code(&idp, &client), &others), error);
    }
    let twice =
        [("resource", RESOURCE), ("grant_type", "refresh_token"), ("grant_type", "authorization_code")];
    assert_refused(
        "a parameter twice",
        &redeem(&idp, &client, &code(&idp, &client), &twice),
        "invalid_request",
    );
    let once = code(&idp, &client);
    let answer = redeem(&idp, &client, &once, &[]);
    assert_eq!(answer.status, 200);
    assert_refused("a code twice", &redeem(&idp, &client, &once, &[]), "invalid_grant");
    let token = answer.json()["refresh_token"].as_str().expect("a refresh token").to_owned();
    assert_refused("what the code gave before", &refresh(&idp, &client, &token, &[]), "invalid_grant");
}

#[test]
fn a_browser_is_sent_nowhere_but_where_the_client_registered() {
    let idp = Idp::start();
    for uri in [
        "http://app.example/",
        "ftp://127.0.0.1/",
        "https://app.example/#x",
        "https:///x",
        "javascript:x",
        "http://127.0.0.1.example/",
    ] {
        assert_refused(
            uri,
            &register(&idp, &json!({ "redirect_uris": [BACK, uri] })),
            "invalid_redirect_uri",
        );
    }
    let client = client(&idp);
    for uri in [
        "http://127.0.0.1:4001/callback",
        "http://127.0.0.1:4000/callback?",
        "http://localhost:4000/callback",
        "",
    ] {
        assert_refused(uri, &authorize(&idp, &client, &[("redirect_uri", uri)]), "invalid_request");
    }
    assert_refused("no client", &authorize(&idp, "else", &[]), "invalid_request");
    for (others, error) in [
        ([("response_type", "token")], "unsupported_response_type"),
        ([("code_challenge", "")], "invalid_request"),
        ([("code_challenge_method", "plain")], "invalid_request"),
        ([("code_challenge_method", "")], "invalid_request"),
        ([("resource", "mcp")], "invalid_target"),
        ([("resource", "https://mcp.example/#x")], "invalid_target"),
    ] {
        let response = authorize(&idp, &client, &others);
        assert_eq!(response.status, 302, "{others:?}");
        assert_eq!(brought(&response, "error").as_deref(), Some(error), "{others:?}");
        assert_eq!(
            (brought(&response, "code"), brought(&response, "iss").as_deref()),
            (None, Some(idp.issuer()))
        );
    }
}

#[test]
fn pages_of_other_origins_may_ask_for_what_a_client_needs() {
    let idp = Idp::start();
    for (method, target, allowed) in [
        ("GET", "/.well-known/oauth-authorization-server", true),
        ("OPTIONS", "/.well-known/oauth-authorization-server", true),
        ("OPTIONS", "/register", true),
        ("OPTIONS", "/token", true),
        ("POST", "/rotate", false),
    ] {
        let response = Request::new(method, target).header("origin", "https://app.example").send(idp.addr());
        let origin = response.header("access-control-allow-origin");
        assert_eq!(origin.is_some(), allowed, "{method} {target}: {response:?}");
    }
}
