//! An endpoint that fails in every way that it can, behind a real Envoy: nobody gets in, everyone is told when to come
//! again, all is well once it is, and who does not need it does not notice.

use std::time::Duration;

use harness::{Behaviour, Endpoint, Response, eventually};
use serde_json::json;

use super::gateway::{ask, start};
use crate::common::{SOON, assert_problem, retry_after};

const UNAVAILABLE: &str = "introspection_unavailable";

fn exactly(status: u16, headers: &[(&str, &str)], body: &str) -> Behaviour {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Behaviour::Custom { status, headers, body: body.as_bytes().to_vec() }
}

const YES: &str = r#"{"active":true,"aud":"warehouse-gateway"}"#;

/// Each way to fail.
fn ways() -> Vec<(&'static str, Behaviour)> {
    let json = ("content-type", "application/json");
    vec![
        ("hung", Behaviour::Hang),
        ("500", Behaviour::Status(500)),
        ("503", Behaviour::Status(503)),
        ("404", Behaviour::Status(404)),
        ("500 with a yes", exactly(500, &[json], YES)),
        ("HTML", Behaviour::Html),
        ("2 MB", Behaviour::Huge(2 << 20)),
        ("2 MB of a yes", exactly(200, &[json], &format!("{}{YES}", " ".repeat(2 << 20)))),
        ("a text for true", Behaviour::json(json!({ "active": "true", "aud": "warehouse-gateway" }))),
        ("an empty object", Behaviour::json(json!({}))),
        ("an empty body", Behaviour::json("")),
        ("cut off", Behaviour::Truncated),
        ("reset", Behaviour::Reset),
        ("a redirect", Behaviour::Redirect("/introspect".to_owned())),
        ("a redirect with a yes", exactly(302, &[json, ("location", "/introspect")], YES)),
        ("307", exactly(307, &[("location", "/introspect")], "")),
        ("401", exactly(401, &[json, ("www-authenticate", "Basic")], r#"{"error":"invalid_client"}"#)),
        ("403", Behaviour::Status(403)),
        ("429", exactly(429, &[("retry-after", "1")], "")),
        ("400", Behaviour::Status(400)),
        ("204", exactly(204, &[], "")),
        ("compressed", exactly(200, &[json, ("content-encoding", "gzip")], YES)),
    ]
}

#[track_caller]
fn assert_unavailable(what: &str, response: &Response) {
    assert_problem(what, response, 503, UNAVAILABLE);
    assert!((1..=300).contains(&retry_after(response)), "{what}: {response:?}");
}

#[test]
fn an_endpoint_that_fails_lets_nobody_in_and_heals_by_itself() {
    let gateway = start(
        json!({
            "http_uri": { "uri": "http://idp.test/introspect", "cluster": "idp", "timeout": "1s" },
            "cache": { "active": "30s", "inactive": "1s" },
        }),
        |builder| builder,
    );
    let idp = &gateway.idp;
    // `None`: it takes no connections.
    let ways = ways().into_iter().map(|(what, behaviour)| (what, Some(behaviour)));
    for (what, behaviour) in [("gone", None)].into_iter().chain(ways) {
        let opaque = idp.opaque_token(json!({ "sub": "alice" }));
        let jwt = idp.token(json!({ "jti": what }));
        idp.answer_about(&jwt, json!({ "active": true }));
        match &behaviour {
            Some(behaviour) => idp.behave_on(Endpoint::Introspection, behaviour.clone()),
            None => idp.go_away(),
        }
        for _ in 0..3 {
            assert_unavailable(what, &ask(&gateway, "/opaque", &opaque));
            assert_unavailable(what, &ask(&gateway, "/pay", &jwt));
            // Nothing about it needs the endpoint.
            assert_eq!(ask(&gateway, "/read", &jwt).status, 200, "{what}: a rule without introspection");
        }
        idp.behave_on(Endpoint::Introspection, Behaviour::Well);
        idp.come_back();
        for (path, token) in [("/opaque", &opaque), ("/pay", &jwt)] {
            eventually(&format!("{what}: {path} is well again on both workers"), SOON, || {
                (0..8).all(|_| ask(&gateway, path, token).status == 200).then_some(())
            });
        }
    }
    gateway.assert_sound();
}

/// Slow is not broken: requests wait, with their bodies, and there is one call for all of them.
#[test]
fn requests_wait_for_a_slow_answer_with_one_call_for_each_token() {
    let gateway = start(json!({}), |builder| builder.concurrency(1));
    let idp = &gateway.idp;
    let token = idp.opaque_token(json!({ "sub": "alice" }));
    idp.behave_on(Endpoint::Introspection, Behaviour::Delay(Duration::from_millis(500)));
    let body = "0123456789".repeat(10_000);
    let answers =
        harness::burst(gateway.addr(), 50, |_| harness::Request::post("/opaque", &body).bearer(&token));
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(idp.introspections_of(&token), 1);
    let records = gateway.upstream.take();
    assert_eq!(records.len(), 50);
    for record in records {
        assert_eq!((record.body_length, record.header("x-user").as_deref()), (body.len(), Some("alice")));
    }
    gateway.assert_sound();
}
