//! Which events are taken, what they become, and what is refused without a trace.

use harness::idp::{flip_bit, now};
use harness::{Alg, Key, Request, TokenBuilder};
use serde_json::{Value, json};

use crate::common::{
    AUDIENCE, LOGOUT, REVOKED, Receiver, config, fresh, idp, logout_request, logout_token, revoked_token,
};

/// The entry of this name, if there is one.
fn named(entries: &[Value], member: &str, name: &str) -> Option<Value> {
    entries.iter().find(|entry| entry[member] == name).cloned()
}

#[test]
fn a_logout_token_becomes_an_entry_for_its_session_or_a_cut_off_for_its_user() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let iat = now() - 5;
    let good = |name: &str| logout_token(&idp, name).claim("iat", iat);
    let more_events = json!({ LOGOUT: {}, "https://example.com/other": { "a": 1 } });
    let cases: [(&str, TokenBuilder, &str); 8] = [
        ("sid and sub", good("s1"), "sid"),
        ("sid alone", good("s2").without("sub"), "sid"),
        ("sub alone", good("-").without("sid").claim("sub", "u3"), "sub"),
        ("typ JWT", good("s4").header("typ", "JWT"), "sid"),
        ("no typ", good("s5").without_header("typ"), "sid"),
        ("no exp", good("s6").without("exp"), "sid"),
        ("further events", good("s7").claim("events", more_events), "sid"),
        ("several audiences", good("s8").claim("aud", json!(["other", AUDIENCE])), "sid"),
    ];
    for (what, token, member) in cases {
        let response = receiver.logout(&token.sign());
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        assert_eq!(response.header("cache-control").as_deref(), Some("no-store"), "{what}");
        // Else the next one may be written to a connection that a restart has ended, and is lost.
        assert_eq!(response.header("connection").as_deref(), Some("close"), "{what}");
        let name = token.payload()[member].as_str().expect("a name").to_owned();
        let entry = named(&receiver.entries(), member, &name);
        let entry = entry.unwrap_or_else(|| panic!("{what}: no entry for {name}"));
        assert_eq!(entry["issuer"], idp.issuer(), "{what}");
        let until = entry["until"].as_i64().expect("an end");
        assert!((now() + 86_000..now() + 87_000).contains(&until), "{what}: a day is kept, not {until}");
        // The whole second of the logout is cut off.
        let before = (member == "sub").then_some(json!(iat + 1)).unwrap_or_default();
        assert_eq!(entry["issued_before"], before, "{what}");
        assert_eq!(entry.get("sub").is_some(), member == "sub", "{what}: {entry}");
    }
    assert_eq!(receiver.entries().len(), 8);
}

#[test]
fn a_session_revoked_event_ends_a_session_a_user_or_a_token() {
    let idp = idp();
    let mut written = config(&idp);
    written["issuers"][0]["subject_issuers"] = json!(["https://tokens.example/"]);
    let receiver = Receiver::start(written);
    let own = idp.issuer().to_owned();
    let user = |sub: &str| json!({ "format": "iss_sub", "iss": own, "sub": sub });
    let session = |id: &str| json!({ "format": "opaque", "id": id });
    let complex =
        |user: Value, session: Value| json!({ "format": "complex", "user": user, "session": session });
    let iat = now() - 60;
    // The subject, and what is on the list for it: members and names.
    let cases = [
        ("user and session", complex(user("u1"), session("s1")), vec![("sid", "s1")]),
        ("all sessions", complex(user("u2"), session("ALL")), vec![("sub", "u2")]),
        ("a user alone", user("u3"), vec![("sub", "u3")]),
        ("a complex user alone", json!({ "user": user("u4") }), vec![("sub", "u4")]),
        ("an opaque user", complex(session("u5"), session("ALL")), vec![("sub", "u5")]),
        (
            "a user by mail, with a session",
            complex(json!({ "format": "email", "email": "a@b" }), session("s6")),
            vec![("sid", "s6")],
        ),
        ("a name that could be either", session("x7"), vec![("sid", "x7"), ("sub", "x7")]),
        ("a token", json!({ "format": "jwt_id", "iss": own, "jti": "t8" }), vec![("jti", "t8")]),
        (
            "a user among aliases",
            json!({ "format": "aliases", "identifiers": [
            { "format": "email", "email": "a@b" }, user("u9"),
        ] }),
            vec![("sub", "u9")],
        ),
        (
            "another issuer that is listed",
            json!({
                "format": "iss_sub", "iss": "https://tokens.example/", "sub": "u10",
            }),
            vec![("sub", "u10")],
        ),
    ];
    let mut count = 0;
    for (what, subject, expected) in cases {
        let token = revoked_token(&idp, subject).claim("iat", iat);
        let response = receiver.push(&token.sign());
        assert_eq!((response.status, response.text().as_str()), (202, ""), "{what}");
        let entries = receiver.entries();
        count += expected.len();
        assert_eq!(entries.len(), count, "{what}: {entries:?}");
        for (member, name) in expected {
            let entry = named(&entries, member, name).unwrap_or_else(|| panic!("{what}: no {member} {name}"));
            let before = if member == "sub" { json!(iat + 1) } else { Value::Null };
            assert_eq!(entry["issued_before"], before, "{what}");
        }
    }
    let entries = receiver.entries();
    assert_eq!(named(&entries, "sub", "u10").expect("it is there")["issuer"], "https://tokens.example/");
    // What earlier drafts say, and when it happened.
    let older = revoked_token(&idp, Value::Null).claims(json!({
        "sub_id": null, "iat": iat,
        "events": { REVOKED: { "event_timestamp": iat - 100, "subject": {
            "user": { "subject_type": "iss-sub", "iss": own, "sub": "u11" },
        } } },
    }));
    let response = receiver.push(&older.without("sub_id").sign());
    assert_eq!(response.status, 202, "{}", response.text());
    let entry = named(&receiver.entries(), "sub", "u11").expect("it is there");
    assert_eq!(entry["issued_before"], iat - 99);
}

#[test]
fn events_that_say_nothing_of_tokens_are_acknowledged_and_leave_no_entry() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    for uri in [
        "https://schemas.openid.net/secevent/caep/event-type/credential-change",
        "https://schemas.openid.net/secevent/ssf/event-type/verification",
        "https://example.com/never-heard-of",
    ] {
        let subject = json!({ "format": "opaque", "id": "stream" });
        let token = revoked_token(&idp, subject).claim("events", json!({ uri: { "state": "x" } })).sign();
        assert_eq!(receiver.push(&token).status, 202, "{uri}");
        // It counts as received all the same.
        assert_eq!(receiver.push(&token).status, 400, "{uri}");
    }
    assert_eq!(receiver.entries(), Vec::<Value>::new());
}

#[test]
fn what_is_wrong_is_refused_and_leaves_no_entry() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let good = || logout_token(&idp, &fresh("session"));
    let stranger = Key::generate(Alg::ES256, "ec-1");
    let deep = (0..80).fold(json!({}), |inner, _| json!({ "a": inner }));
    let cases: Vec<(&str, String)> = vec![
        ("nonce", good().claim("nonce", "n").sign()),
        ("a nonce that is null", good().claim("nonce", Value::Null).sign()),
        ("another key of the same kid", good().key(&stranger).sign()),
        ("a kid that nobody has", good().kid("nobody").sign()),
        ("a broken signature", flip_bit(&good().sign())),
        ("unsigned", good().unsigned()),
        ("another audience", good().claim("aud", "other").sign()),
        ("no audience", good().without("aud").sign()),
        ("another issuer", good().claim("iss", "https://evil.example/").sign()),
        ("no issuer", good().without("iss").sign()),
        ("no iat", good().without("iat").sign()),
        ("an iat of the future", good().claim("iat", now() + 3600).sign()),
        ("an iat that is a text", good().claim("iat", "1").sign()),
        ("expired", good().claim("iat", now() - 900).expires_in(-600).sign()),
        ("old, without exp", good().without("exp").claim("iat", now() - 700).sign()),
        ("good for a year", good().expires_in(365 * 86_400).sign()),
        ("no jti", good().without("jti").sign()),
        ("an empty jti", good().claim("jti", "").sign()),
        ("a number for jti", good().claim("jti", 7).sign()),
        ("neither sid nor sub", good().without("sid").without("sub").sign()),
        ("a sid that is no text", good().claim("sid", json!(["a"])).sign()),
        ("a sid that is null", good().claim("sid", Value::Null).sign()),
        ("a sid that is too long", good().claim("sid", "x".repeat(3000)).sign()),
        ("no events", good().without("events").sign()),
        ("empty events", good().claim("events", json!({})).sign()),
        ("other events", good().claim("events", json!({ REVOKED: {} })).sign()),
        ("a list of events", good().claim("events", json!([LOGOUT])).sign()),
        ("an event that is a text", good().claim("events", json!({ LOGOUT: "yes" })).sign()),
        ("the type of an access token", good().header("typ", "at+jwt").sign()),
        ("the type of an event", good().header("typ", "secevent+jwt").sign()),
        ("an access token", idp.token(json!({ "jti": fresh("jti"), "sid": "s" }))),
        ("nesting", good().claim("a", deep).sign()),
        (
            "a member twice",
            idp.signing_key().sign_jws(
                &json!({ "alg": idp.signing_key().alg().name(), "kid": idp.signing_key().kid() }),
                br#"{"iss":"a","iss":"b"}"#,
            ),
        ),
        ("no token", "no.token.here".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, token) in cases {
        let response = receiver.logout(&token);
        assert_eq!(response.status, 400, "{what}: {}", response.text());
        let error = response.json();
        assert_eq!(error["error"], "invalid_request", "{what}");
        let text = error["error_description"].as_str().expect("a description");
        assert!(!text.is_empty() && (token.is_empty() || !text.contains(&token)), "{what}: {text}");
    }
    let user = json!({ "format": "iss_sub", "iss": idp.issuer(), "sub": "u" });
    let event = || revoked_token(&idp, user.clone());
    let elsewhere = json!({ "format": "iss_sub", "iss": "https://other.example/", "sub": "u" });
    let pushes: Vec<(&str, String, &str)> = vec![
        ("nonce", event().claim("nonce", "n").sign(), "invalid_request"),
        ("another key", event().key(&stranger).sign(), "invalid_key"),
        ("another issuer", event().claim("iss", "https://evil.example/").sign(), "invalid_issuer"),
        ("another audience", event().claim("aud", "other").sign(), "invalid_audience"),
        ("old", event().claim("iat", now() - 700).sign(), "invalid_request"),
        ("a logout token", good().sign(), "invalid_request"),
        ("a subject of another issuer", revoked_token(&idp, elsewhere).sign(), "invalid_request"),
        (
            "a subject by mail",
            revoked_token(&idp, json!({ "format": "email", "email": "a@b" })).sign(),
            "invalid_request",
        ),
        ("no subject", event().without("sub_id").sign(), "invalid_request"),
        ("a subject that is a text", event().claim("sub_id", "u").sign(), "invalid_request"),
        (
            "an event that is a list",
            event().claim("events", json!({ REVOKED: [] })).sign(),
            "invalid_request",
        ),
        ("not a token", "{}".to_owned(), "invalid_request"),
    ];
    for (what, token, code) in pushes {
        let response = receiver.push(&token);
        assert_eq!(response.status, 400, "{what}: {}", response.text());
        assert_eq!(response.header("content-type").as_deref(), Some("application/json"), "{what}");
        assert_eq!(response.json()["err"], code, "{what}");
        assert!(response.json()["description"].is_string(), "{what}");
    }
    assert_eq!(receiver.entries(), Vec::<Value>::new());
    let log = receiver.log();
    assert!(!harness::envoy::holds_token(&log), "a token is in the log: {log}");
}

#[test]
fn a_token_is_taken_once_and_a_restart_forgets_none() {
    let idp = idp();
    let mut receiver = Receiver::start(config(&idp));
    let token = logout_token(&idp, "s").sign();
    assert_eq!(receiver.logout(&token).status, 200);
    assert_eq!(receiver.logout(&token).status, 400);
    let (entries, etag) = (receiver.entries(), harness::get(receiver.addr(), "/revoked.json").header("etag"));
    assert_eq!(receiver.terminate(), Some(0));
    receiver.begin();
    receiver.wait_ready();
    let again = receiver.logout(&token);
    assert_eq!(again.status, 400);
    assert_eq!(again.json()["error_description"], "was received before");
    assert_eq!(receiver.entries(), entries);
    assert_eq!(harness::get(receiver.addr(), "/revoked.json").header("etag"), etag);
}

#[test]
fn bodies_and_methods_that_are_wrong_are_refused() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let token = logout_token(&idp, "s").sign();
    let form = "application/x-www-form-urlencoded";
    let post = |path: &str, kind: &str, body: String| {
        Request::post(path, body)
            .header("content-type", kind)
            .bearer(crate::common::ADMIN)
            .send(receiver.addr())
    };
    let mega = "x".repeat(1 << 20);
    for (path, kind) in [
        ("/backchannel-logout", form),
        ("/events", "application/secevent+jwt"),
        ("/revocations", "application/json"),
    ] {
        assert_eq!(post(path, kind, mega.clone()).status, 413, "{path}");
        assert_eq!(post(path, kind, "x".repeat(8 << 20)).status, 413, "{path}");
        assert_eq!(post(path, "text/plain", format!("logout_token={token}")).status, 400, "{path}");
        for method in ["GET", "PUT", "DELETE"] {
            let response = Request::new(method, path).send(receiver.addr());
            assert_eq!((response.status, response.header("allow").as_deref()), (405, Some("POST")), "{path}");
        }
    }
    for body in [format!("logout_token={token}&logout_token={token}"), "a=b".to_owned(), String::new()] {
        assert_eq!(post("/backchannel-logout", form, body).status, 400);
    }
    assert_eq!(receiver.entries(), Vec::<Value>::new());
    let with_charset = logout_request(&token).header("x", "y");
    assert_eq!(with_charset.send(receiver.addr()).status, 200);
    assert_eq!(Request::get("/nowhere").send(receiver.addr()).status, 404);
}

#[test]
fn an_administrator_adds_entries_and_nobody_else_does() {
    let idp = idp();
    let receiver = Receiver::start(config(&idp));
    let until = now() + 3600;
    for (what, request) in [
        ("no token", Request::post("/revocations", "{}")),
        ("another token", Request::post("/revocations", "{}").bearer("an-admin-token-of-more-than-32-bytez")),
        ("the beginning", Request::post("/revocations", "{}").bearer("an-admin")),
        (
            "another scheme",
            Request::post("/revocations", "{}")
                .header("authorization", format!("Basic {}", crate::common::ADMIN)),
        ),
    ] {
        let response = request.header("content-type", "application/json").send(receiver.addr());
        assert_eq!(response.status, 401, "{what}");
        assert!(
            response.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")),
            "{what}"
        );
    }
    for wrong in [
        json!([]),
        json!({}),
        json!({ "entries": [{ "jti": "a" }] }),
        json!({ "entries": [{ "jti": "a", "sub": "b", "until": until }] }),
        json!({ "entries": [{ "jti": 7, "until": until }] }),
        json!({ "entries": [{ "jti": "a", "until": "later" }] }),
        json!({ "entries": [{ "jti": "a", "until": until, "what": 1 }] }),
        json!({ "entries": [{ "jti": "a", "until": until }, { "jti": "b" }] }),
        json!({ "version": 2, "entries": [] }),
        json!({ "pages": [] }),
        json!({ "cutoffs": [{ "issued_before": 1 }] }),
        json!({ "cutoffs": [{ "sub": "a" }] }),
        json!({ "jti": "x".repeat(3000), "until": until }),
    ] {
        let response = receiver.revoke(&wrong);
        assert_eq!(response.status, 400, "{wrong}: {}", response.text());
        assert!(response.json()["error_description"].is_string());
    }
    assert_eq!(receiver.entries(), Vec::<Value>::new());
    let issuer = idp.issuer();
    for (good, expected) in [
        (json!({ "jti": "a", "until": until }), json!({ "issuer": issuer, "jti": "a", "until": until })),
        (
            json!({ "version": 1, "entries": [{ "issuer": "https://b/", "client_id": "c", "until": until, "comment": "x" }] }),
            json!({ "issuer": "https://b/", "client_id": "c", "until": until }),
        ),
        (
            json!({ "cutoffs": [{ "sub": "d", "issued_before": 17 }] }),
            json!({ "issuer": issuer, "sub": "d", "issued_before": 17 }),
        ),
        (
            json!({ "everyone": true, "issued_before": 18, "until": until }),
            json!({ "everyone": true, "issued_before": 18, "until": until }),
        ),
    ] {
        let response = receiver.revoke(&good);
        assert_eq!((response.status, response.json()["accepted"].clone()), (200, json!(1)), "{good}");
        assert!(receiver.entries().contains(&expected), "{good}: {:?}", receiver.entries());
    }
    // Of two about the same tokens the later end counts.
    assert_eq!(receiver.revoke(&json!({ "jti": "a", "until": until - 100 })).status, 200);
    assert!(receiver.entries().contains(&json!({ "issuer": issuer, "jti": "a", "until": until })));
    // What has ended is not served.
    assert_eq!(receiver.revoke(&json!({ "jti": "old", "until": now() - 4000 })).status, 200);
    assert_eq!(receiver.entries().len(), 4);
}

#[test]
fn an_issuer_says_only_what_is_accepted_of_it() {
    let idp = idp();
    let mut written = config(&idp);
    written["issuers"][0]["accept"] = json!(["events"]);
    let receiver = Receiver::start(written);
    assert_eq!(receiver.logout(&logout_token(&idp, "s").sign()).status, 400);
    let user = json!({ "format": "iss_sub", "iss": idp.issuer(), "sub": "u" });
    assert_eq!(receiver.push(&revoked_token(&idp, user).sign()).status, 202);
    assert_eq!(receiver.entries().len(), 1);
}
