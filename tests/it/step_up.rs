//! `authorize.authentication`: a rule can ask how, and how long ago, the user logged in, and a challenge says all that a
//! client needs to ask for (RFC 9470).

use crate::common;

use std::collections::BTreeMap;

use common::{Gateway, config, corp, local_provider};
use harness::Request;
use harness::idp::now;
use harness::wait::eventually;
use serde_json::{Value, json};

fn rules() -> Value {
    let rule = |path: &str, authorize: Value| json!({ "match": { "path": path }, "requires": corp(), "authorize": authorize });
    let both = json!({ "acr_values": ["phr", "mfa"], "max_age": "300s" });
    let phr = json!({ "authentication": { "acr_values": ["phr"] } });
    json!([
        rule("/acr", phr.clone()),
        rule("/age", json!({ "authentication": { "max_age": "300s" } })),
        rule("/both", json!({ "authentication": both, "scopes": { "all_of": ["pay", "read"] } })),
        rule("/all", json!({ "scopes": { "all_of": ["pay"] }, "all": [{ "authentication": { "max_age": "60s" } }, phr] })),
        rule("/any", json!({ "any": [phr, { "scopes": { "all_of": ["pay"] } }] })),
        rule("/any-scope", json!({ "any": [{ "scopes": { "all_of": ["pay"] } }, phr] })),
        rule("/not", json!({ "not": { "authentication": { "acr_values": ["pwd"] } } })),
        { "match": { "path": "/report" }, "requires": corp(), "authorize": phr, "mode": "report" },
    ])
}

#[test]
fn a_challenge_tells_all_that_the_rule_asks_of_the_user() {
    let gateway = Gateway::start(|idp| config(local_provider(idp), rules()));
    let ago = |seconds: i64| json!(now() - seconds);
    const PHR: (&str, &str) = ("acr_values", "phr");
    const BOTH: [(&str, &str); 3] = [("acr_values", "phr mfa"), ("max_age", "300"), ("scope", "pay read")];
    let none = || Vec::new();
    for (path, claims, status, more) in [
        ("/acr", json!({ "acr": "phr" }), 200, none()),
        ("/acr", json!({ "acr": "mfa" }), 401, vec![PHR]),
        ("/acr", json!({ "acr": ["phr"] }), 401, vec![PHR]),
        ("/acr", json!({}), 401, vec![PHR]),
        ("/age", json!({ "auth_time": ago(100) }), 200, none()),
        ("/age", json!({ "auth_time": ago(400) }), 401, vec![("max_age", "300")]),
        ("/age", json!({ "auth_time": now() + 1000 }), 401, vec![("max_age", "300")]),
        ("/age", json!({ "auth_time": (now() - 100).to_string() }), 401, vec![("max_age", "300")]),
        ("/age", json!({}), 401, vec![("max_age", "300")]),
        ("/both", json!({ "acr": "mfa", "auth_time": ago(10), "scope": "pay read" }), 200, none()),
        // What is met already is told too: one log-in has to bring all of it.
        ("/both", json!({ "acr": "mfa", "auth_time": ago(400), "scope": "pay read" }), 401, BOTH.to_vec()),
        ("/both", json!({ "acr": "pwd", "auth_time": ago(10), "scope": "pay" }), 401, BOTH.to_vec()),
        ("/both", json!({}), 401, BOTH.to_vec()),
        (
            "/both",
            json!({ "acr": "mfa", "auth_time": ago(10), "scope": "pay" }),
            403,
            vec![("scope", "pay read")],
        ),
        ("/all", json!({ "acr": "phr" }), 401, vec![PHR, ("max_age", "60"), ("scope", "pay")]),
        ("/all", json!({ "acr": "phr", "auth_time": ago(10) }), 403, vec![("scope", "pay")]),
        ("/any", json!({ "scope": "pay" }), 200, none()),
        ("/any", json!({ "acr": "phr" }), 200, none()),
        ("/any", json!({}), 401, vec![PHR]),
        ("/any-scope", json!({}), 403, vec![("scope", "pay")]),
        ("/not", json!({}), 200, none()),
        ("/not", json!({ "acr": "pwd" }), 401, none()),
        ("/report", json!({}), 200, none()),
    ] {
        let token = gateway.idp.token(claims.clone());
        // The second time it comes from the cache.
        for grpc in [false, false, true] {
            let what = format!("{path} {claims} {grpc}");
            let request = if grpc { Request::grpc(path) } else { Request::get(path) };
            let request = request.bearer(&token);
            let response = if grpc { request.send_h2(gateway.addr()) } else { request.send(gateway.addr()) };
            if !grpc {
                assert_eq!(response.status, status, "{what}: {response:?}");
            }
            let error = match status {
                200 => {
                    assert_eq!(common::challenge(&response), None, "{what}");
                    continue;
                }
                401 => "insufficient_user_authentication",
                _ => "insufficient_scope",
            };
            let mut challenge =
                common::challenge(&response).unwrap_or_else(|| panic!("{what}: no challenge"));
            let has_words = challenge.remove("error_description").is_some_and(|words| !words.is_empty());
            assert_eq!(has_words, status == 401, "{what}");
            let all = [("realm", "corp"), ("error", error)].into_iter().chain(more.iter().copied());
            let expected: BTreeMap<_, _> =
                all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(challenge, expected, "{what}");
            if status == 401 && !grpc {
                common::assert_problem(&what, &response, 401, "authentication_insufficient");
            }
        }
    }
    gateway.assert_sound();
}

/// What a rule decides of a token is remembered; a log-in grows old all the same.
#[test]
fn a_log_in_that_was_new_enough_grows_too_old() {
    let authorize = json!({ "authentication": { "max_age": "5s" } });
    let rules = json!([{ "match": { "path": "/" }, "requires": corp(), "authorize": authorize }]);
    let gateway = Gateway::start(|idp| config(local_provider(idp), rules));
    // As far ahead as clocks may differ.
    let token = gateway.idp.token(json!({ "auth_time": now() + 5 }));
    let ask = || Request::get("/").bearer(&token).send(gateway.addr()).status;
    assert_eq!(ask(), 200);
    eventually("a refusal", common::SOON, || (ask() == 401).then_some(()));
    gateway.assert_sound();
}
