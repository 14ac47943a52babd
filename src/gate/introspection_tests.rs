//! What the gate makes of what a provider says of a token. The endpoint, and the time, are the test's.

use std::time::Duration;

use super::*;
use crate::fetch::{FetchError, HttpMethod, HttpResponse};
use crate::introspection::MAX_QUEUED;
use crate::upstream::FilterStateField;

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";
/// RFC 7515 appendix A.3: the key and the token, which ends at 1300819380.
const SET: &str = r#"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"#;
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const NOW: u64 = 1_300_819_000;

const RULE: &str = r#"[{"match":{"path":"/open"}},{"match":{"prefix":"/asked"},"requires":{"provider_name":"joe"},"introspect":true},
    {"match":{"prefix":"/"},"requires":{"provider_name":"joe"}}]"#;
const REPORT: &str = r#"[{"match":{"prefix":"/"},"requires":{"provider_name":"joe"},"mode":"report"}]"#;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs(NOW).plus(Duration::from_secs_f64(seconds))
}

/// A gate with one provider: `own` are fields of its introspection, `more` fields of its own.
fn gate(own: &str, more: &str, rules: &str) -> Gate {
    let text = format!(
        r#"{{"providers":{{"joe":{{{more}"issuer":"joe","claim_to_headers":[{{"header_name":"x-user","claim_name":"sub"}}],
        "introspection":{{{own}"http_uri":{{"uri":"https://idp/i","cluster":"c","timeout":"5s"}},"client_id":"gate","client_secret":{{"environment_variable":"S"}}}}}}}},
        "rules":{rules}}}"#
    );
    let config = Config::parse(text.as_bytes(), &|_| Some("secret".to_owned())).unwrap();
    Gate::new(config, Environment::alone(1), at(0.0))
}

fn opaque(own: &str) -> Gate {
    gate(own, "", RULE)
}

fn hybrid(own: &str) -> Gate {
    gate(own, &format!(r#""local_jwks":{{"inline_string":"{SET}"}},"#), RULE)
}

fn fields<'f>(path: &'f str, authorization: &'f str) -> Vec<(&'f [u8], &'f [u8])> {
    let fields = [(":method", "GET"), (":path", path), ("authorization", authorization)];
    fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())).to_vec()
}

fn ask(gate: &mut Gate, path: &str, token: &str, now: Timestamp) -> Outcome {
    let bearer = format!("Bearer {token}");
    gate.decide(StreamId(7), &Request::new(&fields(path, &bearer)), now)
}

fn reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Deny(refusal) => refusal.response.reason.as_str(),
        Outcome::Allow(_) => "allow",
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => "wait",
    }
}

fn fetches(gate: &mut Gate) -> Vec<(LookupId, HttpRequest)> {
    let effects = std::iter::from_fn(|| gate.next_effect());
    let fetches = effects.filter_map(|effect| match effect {
        Effect::Fetch { lookup, request } => Some((lookup, request)),
        Effect::Wake(..) | Effect::Close(_) | Effect::Log(..) => None,
    });
    fetches.collect()
}

fn answer(status: u16, body: &str) -> Result<HttpResponse, FetchError> {
    Ok(HttpResponse { status, body: body.as_bytes().to_vec(), ..HttpResponse::default() })
}

/// A request that waits for an answer, and what comes of it.
fn answered(
    gate: &mut Gate,
    (path, token): (&str, &str),
    response: Result<HttpResponse, FetchError>,
    now: Timestamp,
) -> Outcome {
    let outcome = ask(gate, path, token, now);
    assert_eq!(reason(&outcome), "wait", "{path} {token}");
    let calls = fetches(gate);
    let [(lookup, _)] = &calls[..] else { panic!("{} calls", calls.len()) };
    gate.fetched(*lookup, response, now);
    woken(gate, (path, token), now)
}

fn woken(gate: &mut Gate, (path, token): (&str, &str), now: Timestamp) -> Outcome {
    let wake = std::iter::from_fn(|| gate.next_effect()).find_map(|effect| match effect {
        Effect::Wake(stream, waited) => Some((stream, waited)),
        Effect::Fetch { .. } | Effect::Close(_) | Effect::Log(..) => None,
    });
    let (stream, waited) = wake.expect("it is woken");
    let bearer = format!("Bearer {token}");
    gate.resume(stream, waited, &Request::new(&fields(path, &bearer)), now)
}

#[test]
fn an_opaque_token_is_what_the_answer_says() {
    let mut gate = opaque("");
    let body = r#"{"active":true,"sub":"ann","scope":"read write","iss":"joe","exp":1300819300}"#;
    let Outcome::Allow(allow) = answered(&mut gate, ("/", OPAQUE), answer(200, body), at(0.0)) else {
        panic!("refused")
    };
    assert_eq!(allow.added().collect::<Vec<_>>(), [("x-user", "ann")]);
    assert_eq!(allow.state.get(FilterStateField::Scopes), Some("read write"));
    // For half a minute, and then it is asked about again.
    for (seconds, expected) in [(1.0, "allow"), (29.9, "allow"), (30.1, "wait")] {
        let outcome = ask(&mut gate, "/", OPAQUE, at(seconds));
        assert_eq!(reason(&outcome), expected, "{seconds}");
    }
}

#[test]
fn a_call_is_a_form_with_the_secret_in_a_header() {
    let mut gate = opaque("");
    assert_eq!(reason(&ask(&mut gate, "/", "a+b/c~d.e_f-g01234==", at(0.0))), "wait");
    let calls = fetches(&mut gate);
    let (_, request) = &calls[0];
    assert_eq!(request.method, HttpMethod::Post);
    let expected = "token=a%2Bb%2Fc~d.e_f-g01234%3D%3D&token_type_hint=access_token";
    assert_eq!(String::from_utf8_lossy(&request.body), expected);
    let fields: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.0.as_str())).collect();
    let expected = [
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", "Basic Z2F0ZTpzZWNyZXQ="),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn what_is_no_bearer_token_costs_no_call() {
    let long = "a".repeat(4097);
    for (own, token) in [
        ("", "short"),
        ("", "fifteen-letters"),
        ("", long.as_str()),
        ("", "white space is in it"),
        ("", "a=b=c=d=e=f=g=h=i"),
        ("", "====================="),
        ("", "quoted\"quoted\"quoted"),
        (r#""token_prefix":"ory_at_","#, OPAQUE),
    ] {
        let mut gate = opaque(own);
        assert_eq!(reason(&ask(&mut gate, "/", token, at(0.0))), "token_malformed", "{token}");
        assert!(fetches(&mut gate).is_empty());
    }
}

#[test]
fn every_answer_is_judged_by_what_it_says_and_by_nothing_else() {
    const ACTIVE: &str = r#"{"active":true}"#;
    let large = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(70_000));
    let of_type = |kind: &str| format!(r#"{{"active":true,{kind}}}"#);
    let types: Vec<(String, &str)> = [
        (r#""token_type":"bearer""#, "allow"),
        (r#""token_type":"BEARER","token_use":"access_token""#, "allow"),
        (r#""token_type":null,"token_use":null"#, "allow"),
        (r#""token_type":"refresh_token""#, "type_not_allowed"),
        (r#""token_type":"N_A""#, "type_not_allowed"),
        (r#""token_type":["Bearer"]"#, "type_not_allowed"),
        (r#""token_type":"Bearer","token_use":"refresh_token""#, "type_not_allowed"),
        (r#""token_use":"id_token""#, "type_not_allowed"),
        (r#""token_type":"DPoP""#, "token_bound"),
        (r#""cnf":{"jkt":"x"}"#, "token_bound"),
        (r#""events":{}"#, "type_not_allowed"),
        (r#""iss":"joe""#, "allow"),
        (r#""iss":"jack""#, "issuer_unknown"),
        (r#""exp":1300818000"#, "expired"),
        (r#""exp":"tomorrow""#, "claim_invalid"),
        (r#""exp":null,"nbf":null,"sub":null,"aud":null"#, "allow"),
        (r#""nbf":1300819900"#, "not_yet_valid"),
        (r#""exp":1796871114.266526"#, "allow"),
        (r#""sub":7"#, "claim_invalid"),
    ]
    .map(|(kind, expected)| (of_type(kind), expected))
    .to_vec();
    let mut cases = vec![
        (200, ACTIVE, "allow"),
        (200, "\u{feff}{\"active\":true}", "allow"),
        (200, r#"{"active":false}"#, "token_inactive"),
        (200, r#"{"active":false,"exp":1300819300}"#, "token_inactive"),
        (200, r#"{"active":"true"}"#, "introspection_unavailable"),
        (200, r#"{"active":1}"#, "introspection_unavailable"),
        (200, r#"{"active":null}"#, "introspection_unavailable"),
        (200, "{}", "introspection_unavailable"),
        (200, "", "introspection_unavailable"),
        (200, "true", "introspection_unavailable"),
        (200, r#"[{"active":true}]"#, "introspection_unavailable"),
        (200, r#"{"active":true,"active":false}"#, "introspection_unavailable"),
        (200, r#"{"active":true"#, "introspection_unavailable"),
        (200, "<html>active</html>", "introspection_unavailable"),
        (200, large.as_str(), "introspection_unavailable"),
        (400, "", "introspection_unavailable"),
        (400, r#"{"error":"unsupported_token_type"}"#, "token_inactive"),
        (401, r#"{"error":"unsupported_token_type"}"#, "token_inactive"),
        (413, "", "introspection_unavailable"),
        (422, r#"{"error":"unsupported_token_type"}"#, "token_inactive"),
        (401, r#"{"error":"invalid_client"}"#, "introspection_unavailable"),
        (403, r#"{"error":"unsupported_token_type"}"#, "introspection_unavailable"),
        (201, ACTIVE, "introspection_unavailable"),
        (204, "", "introspection_unavailable"),
        (302, ACTIVE, "introspection_unavailable"),
        (404, ACTIVE, "introspection_unavailable"),
        (500, ACTIVE, "introspection_unavailable"),
        (0, ACTIVE, "introspection_unavailable"),
    ];
    cases.extend(types.iter().map(|(body, expected)| (200, body.as_str(), *expected)));
    for (status, body, expected) in cases {
        let mut gate = opaque("");
        let outcome = answered(&mut gate, ("/", OPAQUE), answer(status, body), at(0.0));
        assert_eq!(reason(&outcome), expected, "{status} {}", body.chars().take(60).collect::<String>());
        if let Outcome::Deny(refusal) = &outcome {
            let unavailable = refusal.response.reason == Reason::IntrospectionUnavailable;
            assert_eq!(refusal.response.retry_after.is_some(), unavailable, "{status} {body}");
        }
    }
    let mut gate = opaque("");
    let compressed =
        HttpResponse { content_encoding: Some("gzip".to_owned()), ..answer(200, ACTIVE).unwrap() };
    let outcome = answered(&mut gate, ("/", OPAQUE), Ok(compressed), at(0.0));
    assert_eq!(reason(&outcome), "introspection_unavailable");
}

#[test]
fn an_error_about_one_token_keeps_no_other_from_being_asked_about() {
    for (status, body) in [(400, ""), (413, ""), (200, "{}"), (401, r#"{"error":"unsupported_token_type"}"#)]
    {
        let mut gate = opaque("");
        answered(&mut gate, ("/", OPAQUE), answer(status, body), at(0.0));
        let good =
            answered(&mut gate, ("/", "another-opaque-token"), answer(200, r#"{"active":true}"#), at(0.0));
        assert_eq!(reason(&good), "allow", "{status}");
        // It is not asked about anew at once.
        assert_ne!(reason(&ask(&mut gate, "/", OPAQUE, at(9.9))), "wait", "{status}");
        assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(10.1))), "wait", "{status}");
    }
}

#[test]
fn after_an_error_of_the_endpoint_nobody_calls_it_for_a_while() {
    for response in [answer(500, ""), answer(401, ""), answer(302, ""), Err(FetchError::NoAnswer)] {
        let mut gate = opaque("");
        let outcome = answered(&mut gate, ("/", OPAQUE), response, at(0.0));
        assert_eq!(reason(&outcome), "introspection_unavailable");
        assert_eq!(
            reason(&ask(&mut gate, "/", "another-opaque-token", at(0.5))),
            "introspection_unavailable"
        );
        assert!(fetches(&mut gate).is_empty());
        // One tries, and the others wait for what comes of it.
        assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(1.3))), "wait");
        let bearer = "Bearer another-opaque-token";
        let outcome = gate.decide(StreamId(8), &Request::new(&fields("/", bearer)), at(1.3));
        assert_eq!(reason(&outcome), "wait");
        let calls = fetches(&mut gate);
        let [(lookup, _)] = &calls[..] else { panic!("{} calls", calls.len()) };
        gate.fetched(*lookup, answer(200, r#"{"active":true}"#), at(1.3));
        assert_eq!(reason(&woken(&mut gate, ("/", OPAQUE), at(1.3))), "allow");
    }
}

#[test]
fn the_endpoint_says_itself_when_to_come_again() {
    let mut gate = opaque("");
    let busy = HttpResponse { status: 429, retry_after: Some("20".to_owned()), ..HttpResponse::default() };
    let Outcome::Deny(refusal) = answered(&mut gate, ("/", OPAQUE), Ok(busy), at(0.0)) else {
        panic!("passed")
    };
    assert_eq!(refusal.response.retry_after, Some(20));
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(19.9))), "introspection_unavailable");
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(20.1))), "wait");
}

#[test]
fn one_call_for_each_token_and_only_so_many_at_once() {
    let mut gate = opaque(r#""max_in_flight":2,"#);
    for stream in 0..10 {
        let bearer = format!("Bearer {OPAQUE}");
        let outcome = gate.decide(StreamId(stream), &Request::new(&fields("/", &bearer)), at(0.0));
        assert_eq!(reason(&outcome), "wait");
    }
    let first = fetches(&mut gate);
    assert_eq!(first.len(), 1);
    let others: Vec<String> = (0..1200).map(|at| format!("random-opaque-token-{at}")).collect();
    let outcomes: Vec<_> = others.iter().map(|token| reason(&ask(&mut gate, "/", token, at(0.0)))).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "wait").count(), 1 + MAX_QUEUED);
    assert!(outcomes.iter().all(|outcome| matches!(*outcome, "wait" | "overloaded")));
    assert_eq!(fetches(&mut gate).len(), 1);
    // The next takes its turn where one ends.
    gate.fetched(first[0].0, answer(200, r#"{"active":false}"#), at(0.1));
    assert_eq!(fetches(&mut gate).len(), 1);
}

#[test]
fn nobody_waits_beyond_the_timeout_and_a_lost_answer_is_one_that_failed() {
    let mut gate = opaque("");
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(0.0))), "wait");
    fetches(&mut gate);
    gate.tick(at(5.0));
    assert_eq!(reason(&woken(&mut gate, ("/", OPAQUE), at(5.0))), "introspection_unavailable");
    gate.tick(at(5.6));
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(5.7))), "introspection_unavailable");
    assert!(fetches(&mut gate).is_empty());
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(7.0))), "wait");
    assert_eq!(fetches(&mut gate).len(), 1);
}

#[test]
fn an_answer_counts_no_longer_than_the_token() {
    let mut gate = opaque("");
    let body = format!(r#"{{"active":true,"exp":{}}}"#, NOW + 5);
    answered(&mut gate, ("/", OPAQUE), answer(200, &body), at(0.0));
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(4.9))), "allow");
    let outcome = answered(&mut gate, ("/", OPAQUE), answer(200, r#"{"active":false}"#), at(5.1));
    assert_eq!(reason(&outcome), "token_inactive");
}

#[test]
fn an_end_is_asked_for_where_it_is_written() {
    let body = r#"{"active":true}"#;
    for (more, expected) in [("", "allow"), (r#""require_expiration":true,"#, "expiration_missing")] {
        let mut gate = gate("", more, RULE);
        let outcome = answered(&mut gate, ("/", OPAQUE), answer(200, body), at(0.0));
        assert_eq!(reason(&outcome), expected, "{more}");
    }
}

#[test]
fn a_token_of_another_audience_is_refused_without_a_second_call() {
    let mut gate = gate("", r#""audiences":["orders"],"#, RULE);
    for (token, body, expected) in [
        (OPAQUE, r#"{"active":true,"aud":"other"}"#, "audience_mismatch"),
        ("token-without-an-audience", r#"{"active":true}"#, "audience_mismatch"),
        ("token-for-orders-and-more", r#"{"active":true,"aud":["orders","x"]}"#, "allow"),
    ] {
        let outcome = answered(&mut gate, ("/", token), answer(200, body), at(0.0));
        assert_eq!(reason(&outcome), expected, "{token}");
        assert_eq!(reason(&ask(&mut gate, "/", token, at(1.0))), expected, "{token}");
    }
}

#[test]
fn a_rule_that_reports_asks_and_waits_for_nothing() {
    let mut gate = gate("", "", REPORT);
    let Outcome::Allow(allow) = ask(&mut gate, "/", OPAQUE, at(0.0)) else { panic!("not passed") };
    assert_eq!(allow.state.reason, Some(Reason::IntrospectionUnavailable));
    let calls = fetches(&mut gate);
    gate.fetched(calls[0].0, answer(200, r#"{"active":true}"#), at(0.1));
    let Outcome::Allow(allow) = ask(&mut gate, "/", OPAQUE, at(0.2)) else { panic!("not passed") };
    assert_eq!(allow.state.reason, None);
}

#[test]
fn a_jwt_is_asked_about_on_top_and_only_where_a_rule_says_so() {
    let mut gate = hybrid("");
    assert_eq!(reason(&ask(&mut gate, "/", JWT, at(0.0))), "allow");
    assert!(fetches(&mut gate).is_empty());
    let outcome = answered(&mut gate, ("/asked", JWT), answer(200, r#"{"active":true}"#), at(0.0));
    assert_eq!(reason(&outcome), "allow");
    assert_eq!(reason(&ask(&mut gate, "/asked", JWT, at(29.0))), "allow");
    let outcome = answered(&mut gate, ("/asked", JWT), answer(200, r#"{"active":false}"#), at(31.0));
    assert_eq!(reason(&outcome), "token_inactive");
    assert_eq!(reason(&ask(&mut gate, "/asked", JWT, at(32.0))), "token_inactive");
    assert_eq!(reason(&ask(&mut gate, "/", JWT, at(32.0))), "allow");
}

#[test]
fn no_call_for_a_jwt_that_fails_by_itself() {
    let forged = format!("{}A", &JWT[..JWT.len() - 1]);
    for (token, now) in
        [("eyJhbGciOiJub25lIn0.e30.AAAA", 0.0), (forged.as_str(), 0.0), (JWT, 1000.0), (OPAQUE, 0.0)]
    {
        let mut gate = hybrid("");
        assert!(!["wait", "allow"].contains(&reason(&ask(&mut gate, "/asked", token, at(now)))), "{token}");
        assert!(fetches(&mut gate).is_empty(), "{token}");
    }
}

#[test]
fn an_answer_about_another_token_is_no_answer() {
    for (own, body, expected) in [
        ("", r#"{"active":true,"iss":"joe"}"#, "allow"),
        ("", r#"{"active":true,"sub":"ann","jti":"1"}"#, "allow"),
        ("", r#"{"active":true,"iss":"jack"}"#, "claim_invalid"),
        ("", r#"{"active":true,"cnf":{"jkt":"x"}}"#, "token_bound"),
        ("", r#"{"active":true,"token_type":"DPoP"}"#, "token_bound"),
        (r#""claims":"answer","#, r#"{"active":true,"iss":"jack"}"#, "claim_invalid"),
    ] {
        let mut gate = hybrid(own);
        let outcome = answered(&mut gate, ("/asked", JWT), answer(200, body), at(0.0));
        assert_eq!(reason(&outcome), expected, "{body}");
    }
}

#[test]
fn the_answer_says_what_a_jwt_is_good_for_where_it_is_to() {
    let more = format!(r#""audiences":["orders"],"local_jwks":{{"inline_string":"{SET}"}},"#);
    let mut gate = gate(r#""claims":"answer","#, &more, RULE);
    let body = r#"{"active":true,"aud":"orders","sub":"ann"}"#;
    let Outcome::Allow(allow) = answered(&mut gate, ("/", JWT), answer(200, body), at(0.0)) else {
        panic!("refused")
    };
    assert_eq!(allow.added().collect::<Vec<_>>(), [("x-user", "ann")]);
    let Outcome::Allow(allow) = ask(&mut gate, "/", JWT, at(20.0)) else { panic!("refused") };
    assert_eq!(allow.added().collect::<Vec<_>>(), [("x-user", "ann")]);
    for (body, expected) in [
        (r#"{"active":true,"aud":"other"}"#, "audience_mismatch"),
        (r#"{"active":true,"aud":"orders","token_use":"id_token"}"#, "type_not_allowed"),
        (r#"{"active":true,"aud":"orders","cnf":{"jkt":"x"}}"#, "token_bound"),
        (r#"{"active":true}"#, "audience_mismatch"),
    ] {
        let mut gate = super::introspection_tests::gate(r#""claims":"answer","#, &more, RULE);
        let outcome = answered(&mut gate, ("/", JWT), answer(200, body), at(0.0));
        assert_eq!(reason(&outcome), expected, "{body}");
    }
}

#[test]
fn an_endpoint_that_fails_harms_no_rule_that_does_not_ask() {
    let mut gate = hybrid("");
    let outcome = answered(&mut gate, ("/asked", JWT), answer(500, ""), at(0.0));
    assert_eq!(reason(&outcome), "introspection_unavailable");
    assert_eq!(reason(&ask(&mut gate, "/", JWT, at(0.1))), "allow");
}

#[test]
fn what_waits_for_its_turn_is_let_go_where_the_endpoint_fails() {
    let mut gate = opaque(r#""max_in_flight":1,"#);
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(0.0))), "wait");
    let calls = fetches(&mut gate);
    let bearer = "Bearer another-opaque-token";
    let outcome = gate.decide(StreamId(8), &Request::new(&fields("/", bearer)), at(0.0));
    assert_eq!(reason(&outcome), "wait");
    gate.fetched(calls[0].0, answer(503, ""), at(0.1));
    let woken = std::iter::from_fn(|| gate.next_effect()).filter(|effect| matches!(effect, Effect::Wake(..)));
    assert_eq!(woken.count(), 2);
}

#[test]
fn the_audit_line_says_why() {
    for (response, reason, detail) in [
        (answer(200, r#"{"active":false}"#), "token_inactive", "the provider says so"),
        (
            answer(401, r#"{"error":"unsupported_token_type"}"#),
            "token_inactive",
            "the endpoint does not know tokens of this kind",
        ),
        (
            answer(200, "{}"),
            "introspection_unavailable",
            r#"the answer is no JSON object with a boolean "active""#,
        ),
        (
            answer(400, r#"{"error":"invalid_client"}"#),
            "introspection_unavailable",
            r#"status 400, error "invalid_client""#,
        ),
        (
            answer(400, r#"{"error":"what you sent was 2YotnFZFEjr1zCsicMWpAA"}"#),
            "introspection_unavailable",
            "status 400",
        ),
        (
            answer(500, ""),
            "introspection_unavailable",
            "the endpoint fails, and it is too early to ask again",
        ),
        (
            answer(200, r#"{"active":true,"token_use":"id_token"}"#),
            "type_not_allowed",
            "token_use of the introspection answer is not access_token",
        ),
    ] {
        let mut gate = opaque("");
        let Outcome::Deny(refusal) = answered(&mut gate, ("/", OPAQUE), response, at(0.0)) else {
            panic!("passed")
        };
        let said = (refusal.response.reason.as_str(), refusal.state.context.to_string());
        assert_eq!(said, (reason, detail.to_owned()));
    }
}

#[test]
fn an_answer_does_not_count_for_longer_where_the_clock_is_set_back() {
    let mut gate = opaque("");
    answered(&mut gate, ("/", OPAQUE), answer(200, r#"{"active":true}"#), at(3600.0));
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(3601.0))), "allow");
    assert_eq!(reason(&ask(&mut gate, "/", OPAQUE, at(0.0))), "wait");
    let mut gate = hybrid("");
    answered(&mut gate, ("/asked", JWT), answer(200, r#"{"active":true}"#), at(60.0));
    assert_eq!(reason(&ask(&mut gate, "/asked", JWT, at(61.0))), "allow");
    assert_eq!(reason(&ask(&mut gate, "/asked", JWT, at(0.0))), "wait");
}

#[test]
fn nobody_is_asked_about_the_tokens_of_another_provider() {
    const BOTH: &str = r#"[
        {"match":{"prefix":"/any"},"requires":{"requires_any":{"requirements":[{"provider_name":"opaque"},{"provider_name":"joe"}]}}},
        {"match":{"prefix":"/missing"},"requires":{"allow_missing":{}}},
        {"match":{"prefix":"/"},"requires":{"provider_name":"opaque"}}]"#;
    let text = format!(
        r#"{{"providers":{{
        "opaque":{{"introspection":{{"http_uri":{{"uri":"https://id/i","cluster":"c"}},"auth_method":"none"}}}},
        "joe":{{"issuer":"joe","local_jwks":{{"inline_string":"{SET}"}}}}}},"rules":{BOTH}}}"#
    );
    let config = || Config::parse(text.as_bytes(), &|_| None).unwrap();
    let of_nobody = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJzb21lYm9keSIsImV4cCI6MTMwMDgxOTM4MH0.AAAA";
    for (path, token, seconds, expected) in [
        ("/any", JWT, 0.0, "allow"),
        ("/any", JWT, 1000.0, "expired"),
        ("/missing", JWT, 0.0, "allow"),
        ("/any", OPAQUE, 0.0, "wait"),
        ("/any", of_nobody, 0.0, "wait"),
        // Where the rule knows of no other, it may be one that is opaque to the gate.
        ("/", JWT, 0.0, "wait"),
    ] {
        let mut gate = Gate::new(config(), Environment::alone(1), at(0.0));
        let outcome = ask(&mut gate, path, token, at(seconds));
        assert_eq!(reason(&outcome), expected, "{path} {token}");
        assert_eq!(fetches(&mut gate).len(), usize::from(expected == "wait"), "{path} {token}");
    }
}
