//! The audit line on a real Envoy: what is in it, what never is, how much of it there can be, and that two proxies with
//! one key speak of the same token and subject in the same words.

use crate::common;

use std::collections::BTreeSet;

use common::{SOON, assert_sound, config, corp, local_provider, with};
use harness::idp::{flip_bit, now};
use harness::{Envoy, Idp, Request, Upstream, Wasm, eventually};
use serde_json::{Value, json};

/// An Envoy whose filter has this `audit`, and `AUDIT_KEY` in its environment.
fn start(idp: &Idp, upstream: &Upstream, audit: Value, key: &str) -> Envoy {
    let rules = json!([
        { "name": "orders", "match": { "prefix": "/orders" }, "requires": corp(),
          "authorize": { "scopes": { "all_of": ["orders:read"] } } },
        { "name": "trial", "match": { "prefix": "/trial" }, "requires": corp(), "mode": "report" },
    ]);
    let config = with(config(local_provider(idp), rules), json!({ "audit": audit }));
    let envoy = Envoy::builder()
        .upstream(upstream)
        .filter(Wasm::portcullis(config).env("AUDIT_KEY", key))
        .main(|listener| listener.hcm("use_remote_address", json!(true)))
        .start();
    envoy.unwrap_or_else(|error| panic!("{error}"))
}

/// The audit lines so far.
fn lines(envoy: &Envoy) -> Vec<Value> {
    let log = envoy.log();
    // Envoy may be about to write the rest of the last line.
    let (whole, _) = log.rsplit_once('\n').unwrap_or_default();
    let texts = whole.lines().filter_map(|line| line.split_once(" audit {"));
    texts
        .map(|(_, rest)| {
            let text = format!("{{{rest}");
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

/// Waits for so many of them.
fn wait_for(envoy: &Envoy, count: usize) -> Vec<Value> {
    eventually(&format!("{count} audit lines"), SOON, || {
        let lines = lines(envoy);
        (lines.len() >= count).then_some(lines)
    })
}

const KEY: &str = "a key of thirty-two bytes or more, for audit lines";

#[test]
fn a_refusal_is_written_with_all_that_an_operator_needs_and_nothing_that_could_be_used() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let envoy = start(&idp, &upstream, json!({}), "");
    let token = idp.mint().claims(json!({ "sub": "alice", "jti": "jti-1", "secret": "claim-value" })).sign();
    let ask = |request: Request| {
        request.header("x-request-id", "request-1").header("user-agent", "curl/8").send(envoy.addr())
    };
    let long = "x".repeat(1000);

    // A good token without the scope.
    let request = Request::get("/orders/7?q=query-value").host("shop.example").bearer(&token);
    assert_eq!(ask(request).status, 403);
    // One that would be refused; one that nobody signed; one in the path; odd bytes.
    assert_eq!(ask(Request::get("/trial")).status, 200);
    assert_eq!(ask(Request::get("/orders").bearer(&flip_bit(&token))).status, 401);
    assert_eq!(ask(Request::get(format!("/orders/{token}"))).status, 401);
    assert_eq!(Request::get("/orders").header("user-agent", &long).send(envoy.addr()).status, 401);
    // What passes is not written.
    let good = idp.mint().claim("scope", "orders:read").sign();
    assert_eq!(Request::get("/orders/good").bearer(&good).send(envoy.addr()).status, 200);

    let lines = wait_for(&envoy, 5);
    assert_eq!(lines.len(), 5, "{lines:?}");
    let first = lines[0].as_object().expect("an object");
    let names: BTreeSet<&str> = first.keys().map(String::as_str).collect();
    let expected = [
        "client",
        "decision",
        "detail",
        "host",
        "jti",
        "kid",
        "method",
        "path",
        "provider",
        "reason",
        "request_id",
        "rule",
        "subject_hash",
        "time",
        "token_fingerprint",
        "user_agent",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for (name, value) in [
        ("decision", "deny"),
        ("reason", "scope_insufficient"),
        ("detail", "scope \"orders:read\" is missing (all_of)"),
        ("rule", "orders"),
        ("provider", "corp"),
        ("kid", "rsa-1"),
        ("jti", "jti-1"),
        ("method", "GET"),
        ("host", "shop.example"),
        ("path", "/orders/7"),
        ("user_agent", "curl/8"),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    assert!(first["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1")), "{first:?}");
    assert!((now() - 60..=now()).contains(&(first["time"].as_f64().expect("a number") as i64)), "{first:?}");
    for name in ["subject_hash", "token_fingerprint"] {
        let text = first[name].as_str().unwrap_or_default();
        assert!(text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit()), "{name}: {text}");
    }
    let decisions: Vec<&str> = lines.iter().filter_map(|line| line["decision"].as_str()).collect();
    assert_eq!(decisions, ["deny", "would_deny", "deny", "deny", "deny"]);
    let reasons: Vec<&str> = lines.iter().filter_map(|line| line["reason"].as_str()).collect();
    assert_eq!(reasons[1..4], ["token_missing", "signature_invalid", "token_missing"]);
    assert_eq!(lines[2]["detail"], "alg RS256, kid \"rsa-1\"; 1 key tried");
    // Until the signature is verified, no name is believed.
    assert!(lines[2].get("jti").is_none() && lines[2].get("subject_hash").is_none(), "{}", lines[2]);
    assert!(lines[4]["user_agent"].as_str().is_some_and(|agent| agent.len() < 300), "{}", lines[4]);
    let log = envoy.log();
    let [signature, payload] = [2, 1].map(|part| token.split('.').nth(part).expect("three parts").to_owned());
    for secret in ["alice", "claim-value", "query-value", signature.as_str(), payload.as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    assert_sound(&envoy);
}

#[test]
fn a_flood_of_refusals_is_no_flood_of_lines() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let envoy = start(&idp, &upstream, json!({ "max_per_second": 5 }), "");
    let begun = now();
    for _ in 0..400 {
        assert_eq!(Request::get("/orders").send(envoy.addr()).status, 401);
    }
    let seconds = usize::try_from(now() - begun + 1).expect("few");
    wait_for(&envoy, 5);
    let flooded = lines(&envoy).len();
    assert!(flooded <= 5 * seconds, "{flooded} lines in {seconds} s");
    assert!(flooded < 400, "{flooded} lines of 400 refusals");
    // The next line says how many were left out.
    eventually("a line that says how many were left out", SOON, || {
        assert_eq!(Request::get("/orders").send(envoy.addr()).status, 401);
        let left_out: u64 = lines(&envoy).iter().filter_map(|line| line["lines_left_out"].as_u64()).sum();
        (left_out > 0).then_some(())
    });
    assert_sound(&envoy);
}

#[test]
fn a_subject_is_hashed_plain_or_left_out_and_one_key_makes_two_proxies_agree() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let token = idp.mint().claim("sub", "alice").sign();
    let line = |audit: Value, key: &str| {
        let envoy = start(&idp, &upstream, audit, key);
        assert_eq!(Request::get("/orders").bearer(&token).send(envoy.addr()).status, 403);
        let line = wait_for(&envoy, 1).remove(0);
        assert_sound(&envoy);
        line
    };
    let keyed = |subject: &str| json!({ "subject": subject, "key": { "environment_variable": "AUDIT_KEY" } });
    let shown =
        |line: &Value| ["subject", "subject_hash", "token_fingerprint"].map(|name| line[name].clone());

    let plain = line(keyed("plain"), KEY);
    assert_eq!((&plain["subject"], plain.get("subject_hash")), (&json!("alice"), None));
    let none = line(keyed("none"), KEY);
    assert_eq!((none.get("subject"), none.get("subject_hash")), (None, None));
    let [one, two] = [KEY, KEY].map(|key| line(keyed("hash"), key));
    assert!(one["subject_hash"].is_string() && one["token_fingerprint"].is_string(), "{one}");
    assert_eq!(shown(&one), shown(&two), "two proxies with one key");
    assert_eq!(plain["token_fingerprint"], one["token_fingerprint"], "the fingerprint does not hang on it");
    let other = line(keyed("hash"), "another key, which is as long as the first one was");
    assert_ne!(shown(&one), shown(&other));
    // Without a key each proxy speaks for itself.
    let [first, second] = [0, 1].map(|_| line(json!({}), ""));
    assert_ne!(first["token_fingerprint"], second["token_fingerprint"]);
    assert_ne!(first["subject_hash"], second["subject_hash"]);
}

#[test]
fn what_passes_is_written_as_far_as_the_operator_asks_for_it_and_refusals_can_be_left_out() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let good = idp.mint().claims(json!({ "scope": "orders:read", "jti": "jti-7" })).sign();
    let audit = json!({ "allow_sample": 1, "refusals": false, "max_per_second": 1000 });
    let envoy = start(&idp, &upstream, audit, "");
    for _ in 0..20 {
        assert_eq!(Request::get("/orders").send(envoy.addr()).status, 401);
        assert_eq!(Request::get("/orders").bearer(&good).send(envoy.addr()).status, 200);
    }
    let written = wait_for(&envoy, 20);
    assert_eq!(written.len(), 20, "{written:?}");
    assert!(written.iter().all(|line| line["decision"] == "allow" && line["jti"] == "jti-7"), "{written:?}");
    assert_sound(&envoy);

    let some = start(&idp, &upstream, json!({ "allow_sample": 0.5, "max_per_second": 10_000 }), "");
    for _ in 0..200 {
        assert_eq!(Request::get("/orders").bearer(&good).send(some.addr()).status, 200);
    }
    // Half of them, give or take seven standard deviations.
    eventually("some of them", SOON, || (lines(&some).len() >= 50).then_some(()));
    let count = lines(&some).len();
    assert!((50..=150).contains(&count), "{count} of 200");
    assert_sound(&some);
}

#[test]
#[should_panic(expected = "a token is to be read in access.log")]
fn a_log_that_tells_a_token_fails_the_test_that_caused_it() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let envoy = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .filter(Wasm::portcullis(config(local_provider(&idp), rules)))
        .main(|listener| listener.access_log_field("leak", "%REQ(X-TOKEN)%"))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    Request::get("/").header("x-token", idp.token(json!({}))).send(envoy.addr());
    envoy.wait_for_access_log(1, SOON);
    drop(envoy);
}
