//! How often the endpoint is asked, and how soon a revoked token is refused.

use std::time::{Duration, Instant};

use harness::{Request, eventually};
use serde_json::json;

use super::gateway::{WORKERS, ask, start};
use crate::common::{SOON, assert_problem};

#[test]
fn a_thousand_requests_make_one_call_in_each_worker_and_period() {
    let period = Duration::from_secs(30);
    let gateway = start(json!({ "cache": { "active": "30s" } }), |builder| builder);
    let token = gateway.idp.opaque_token(json!({ "sub": "alice" }));
    let began = Instant::now();
    for _ in 0..20 {
        let answers = harness::burst(gateway.addr(), 50, |_| Request::get("/opaque").bearer(&token));
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.echoed("x-user"), ["alice"]);
        }
    }
    let periods = usize::try_from(began.elapsed().as_secs() / period.as_secs()).expect("few") + 1;
    let calls = gateway.idp.introspections_of(&token);
    assert!((1..=WORKERS * periods).contains(&calls), "{calls} calls in {periods} periods");
    let [call, ..] = &gateway.idp.introspections()[..] else { panic!("no call") };
    let names: Vec<_> = call.form().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["token", "token_type_hint"]);
    assert_eq!(call.header("content-type"), Some("application/x-www-form-urlencoded"));
    gateway.assert_sound();
}

#[test]
fn a_revoked_token_is_refused_on_all_workers_once_its_time_is_over() {
    let active = Duration::from_secs(2);
    let gateway = start(json!({ "cache": { "active": "2s", "inactive": "1s" } }), |builder| builder);
    let jwt = gateway.idp.token(json!({ "sub": "alice" }));
    gateway.idp.answer_about(&jwt, json!({ "active": true }));
    let opaque = gateway.idp.opaque_token(json!({ "sub": "alice" }));
    for (path, token) in [("/opaque", &opaque), ("/pay", &jwt)] {
        for _ in 0..20 {
            assert_eq!(ask(&gateway, path, token).status, 200, "{path}");
        }
        gateway.idp.revoke_opaque(token);
        let revoked = Instant::now();
        // What is asked after that time is refused by whichever worker gets it: from here on no answer may be 200, however
        // slow the machine is. Before it, either is right.
        while revoked.elapsed() < active + Duration::from_secs(1) {
            let response = ask(&gateway, path, token);
            assert!([200, 401].contains(&response.status), "{path}: {}", response.text());
        }
        for _ in 0..40 {
            assert_problem(path, &ask(&gateway, path, token), 401, "token_inactive");
        }
    }
    let challenge = ask(&gateway, "/opaque", &opaque).header("www-authenticate").unwrap_or_default();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert_eq!(gateway.logged("/opaque")["details"], "portcullis_token_inactive");
    gateway.assert_sound();
}

/// A token that was made a moment ago may be refused for a while, and then it passes.
#[test]
fn a_token_that_comes_too_early_passes_later() {
    let gateway = start(json!({ "cache": { "inactive": "1s" } }), |builder| builder);
    let token = gateway.idp.opaque_token(json!({}));
    gateway.idp.revoke_opaque(&token);
    assert_problem("too early", &ask(&gateway, "/opaque", &token), 401, "token_inactive");
    gateway.idp.answer_about(&token, json!({ "active": true, "aud": gateway.idp.audience() }));
    eventually("the token passes on both workers", SOON, || {
        (0..8).all(|_| ask(&gateway, "/opaque", &token).status == 200).then_some(())
    });
}
