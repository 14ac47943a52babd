//! Errors of the endpoint: which are about one token alone, and which are about the endpoint.

use portcullis::{FetchError, HttpResponse};
use serde_json::{Value, json};

use super::replay::{Answer, Replay, config, introspection, json_answer, opaque, status};

const NOW: u64 = 1_800_000_000;
const UNAVAILABLE: &str = "introspection_unavailable";

fn setup() -> Value {
    let block = introspection(json!({ "cache": { "active": "30s", "inactive": "10s" } }));
    config(
        &json!({ "issuer": "https://id.example/", "audiences": ["orders"], "introspection": block }),
        json!({}),
    )
}

fn good() -> Answer {
    json_answer(json!({ "active": true, "aud": "orders" }))
}

const UNSUPPORTED: &str = r#"{"error":"unsupported_token_type"}"#;

#[test]
fn an_error_about_a_token_shuts_no_other_out_and_is_remembered_for_a_while() {
    let large = format!(r#"{{"active":true,"aud":"orders","x":"{}"}}"#, "x".repeat(70_000));
    let cases: &[(Answer, &str)] = &[
        (status(400, ""), UNAVAILABLE),
        (status(400, r#"{"error":"invalid_request"}"#), UNAVAILABLE),
        (status(400, UNSUPPORTED), "token_inactive"),
        (status(401, UNSUPPORTED), "token_inactive"),
        (status(413, ""), UNAVAILABLE),
        (status(413, UNSUPPORTED), "token_inactive"),
        (status(414, ""), UNAVAILABLE),
        (status(422, ""), UNAVAILABLE),
        (status(200, "{}"), UNAVAILABLE),
        (status(200, "<html>"), UNAVAILABLE),
        (status(200, r#"{"active":"true"}"#), UNAVAILABLE),
    ];
    assert!(large.len() > 65_536);
    for (answer, expected) in cases {
        let what = format!("{answer:?}");
        let mut replay = Replay::new(&setup(), NOW);
        assert_eq!(replay.bearer(&opaque(1), NOW, |_| answer.clone()), *expected, "{what}");
        // In the same second.
        assert_eq!(replay.bearer(&opaque(2), NOW, |_| good()), "allow", "{what}: another token");
        // Nothing more is asked about the one for as long as an inactive one is remembered, and then it is.
        assert_eq!(replay.bearer(&opaque(1), NOW + 8, |_| good()), *expected, "{what}: remembered");
        assert_eq!(replay.calls.len(), 2, "{what}");
        assert_eq!(replay.bearer(&opaque(1), NOW + 12, |_| good()), "allow", "{what}: asked again");
    }
}

#[test]
fn an_error_of_the_endpoint_backs_off_for_all_tokens_and_heals_by_itself() {
    let error = |status| status_of(status);
    let mut cases: Vec<(String, Answer)> =
        [401, 403, 404, 405, 429, 301, 302, 303, 307, 308, 500, 501, 502, 503, 504]
            .map(|code| (code.to_string(), error(code)))
            .into();
    cases.push(("no answer".to_owned(), Err(FetchError::NoAnswer)));
    cases.push(("401 invalid_client".to_owned(), status(401, r#"{"error":"invalid_client"}"#)));
    // A redirect to an answer is not followed, and a body beside an error is no answer.
    cases.push(("500 that says yes".to_owned(), status(500, r#"{"active":true,"aud":"orders"}"#)));
    cases.push(("302 that says yes".to_owned(), status(302, r#"{"active":true,"aud":"orders"}"#)));
    cases.push(("204".to_owned(), status(204, "")));
    cases.push(("201 that says yes".to_owned(), status(201, r#"{"active":true,"aud":"orders"}"#)));
    for (what, answer) in cases {
        let mut replay = Replay::new(&setup(), NOW);
        assert_eq!(replay.bearer(&opaque(1), NOW, |_| answer.clone()), UNAVAILABLE, "{what}");
        for number in 2..20 {
            let got = replay.bearer(&opaque(number), NOW, |_| answer.clone());
            assert_eq!(got, UNAVAILABLE, "{what}: token {number}");
        }
        assert!(replay.calls.len() <= 3, "{what}: {} calls in a second", replay.calls.len());
        let healed = (1..=120).find(|after| replay.bearer(&opaque(1), NOW + after, |_| good()) == "allow");
        assert!(healed.is_some(), "{what}: it never healed");
        assert!(healed.is_some_and(|after| after <= 61), "{what}: it healed after {healed:?} s");
        assert_eq!(replay.bearer(&opaque(3), NOW + 120, |_| good()), "allow", "{what}: others too");
    }
}

fn status_of(code: u16) -> Answer {
    status(code, "no")
}

/// A good token that is known passes on while the endpoint fails, for as long as it may be remembered.
#[test]
fn what_is_known_passes_on_while_the_endpoint_fails() {
    let mut replay = Replay::new(&setup(), NOW);
    assert_eq!(replay.bearer(&opaque(1), NOW, |_| good()), "allow");
    assert_eq!(replay.bearer(&opaque(2), NOW + 1, |_| status_of(500)), UNAVAILABLE);
    assert_eq!(replay.bearer(&opaque(1), NOW + 20, |_| status_of(500)), "allow");
    assert_eq!(replay.bearer(&opaque(1), NOW + 32, |_| status_of(500)), UNAVAILABLE, "and not for longer");
}

#[test]
fn the_endpoints_own_retry_after_is_heeded() {
    let busy =
        || Ok(HttpResponse { status: 429, retry_after: Some("20".to_owned()), ..HttpResponse::default() });
    let mut replay = Replay::new(&setup(), NOW);
    assert_eq!(replay.bearer(&opaque(1), NOW, |_| busy()), UNAVAILABLE);
    for after in 1..18 {
        assert_eq!(replay.bearer(&opaque(after), NOW + after, |_| good()), UNAVAILABLE, "{after} s later");
    }
    assert_eq!(replay.calls.len(), 1);
    let healed = (18..=40).find(|after| replay.bearer(&opaque(1), NOW + after, |_| good()) == "allow");
    assert!(healed.is_some(), "it never asked again");
}

/// Whoever runs the gate has to learn of it at once: no token can be judged before it is mended.
#[test]
fn an_endpoint_that_refuses_the_gate_is_in_the_log() {
    for code in [401, 403] {
        let mut replay = Replay::new(&setup(), NOW);
        assert_eq!(replay.bearer(&opaque(1), NOW, |_| status_of(code)), UNAVAILABLE);
        let lines: Vec<_> = replay.log.iter().filter(|line| line.contains(&code.to_string())).collect();
        assert!(!lines.is_empty(), "{code}: {:?}", replay.log);
        let text = replay.log.concat();
        assert!(!text.contains("s3cret-value") && !text.contains(&opaque(1)), "{text}");
    }
}
