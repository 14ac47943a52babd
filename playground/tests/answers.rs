//! What the page is answered.

use portcullis_playground::{Answer, Problem, Question, Seat, Severity};

const NOW: &str = "1767225600";

const SHOP: &str = r#"
providers:
  corp:
    issuer: https://idp.example
    audiences: [shop]
    from_headers: [{ name: X-Id }]
    from_params: [ticket]
    remote_jwks: { http_uri: { uri: "https://idp.example/keys", cluster: idp, timeout: 1s } }
public_rules: explicit
rules:
  - { name: health, match: { path: /healthz }, public: true }
  - name: orders
    match: { prefix: /orders }
    requires: { provider_name: corp }
    authorize: { scopes: { all_of: ["orders:read"] } }
"#;

fn question(path: &str, token: &str) -> Question {
    let (config, now) = (SHOP.to_owned(), NOW.to_owned());
    Question { config, now, path: path.to_owned(), token: token.to_owned(), ..Question::default() }
}

fn verdict(answer: &Answer) -> (&str, u16, Option<&str>, Option<&str>) {
    let explanation = answer.explanation.as_ref().unwrap_or_else(|| panic!("{answer:?}"));
    (explanation.decision, explanation.status, explanation.reason, explanation.rule.as_deref())
}

#[test]
fn a_request_is_decided_as_the_gate_does() {
    let mut seat = Seat::default();
    for (path, token, expected) in [
        ("/healthz", "", ("allow", 200, None, Some("health"))),
        ("/orders", "", ("deny", 401, Some("token_missing"), Some("orders"))),
        ("/orders", "{}", ("deny", 403, Some("scope_insufficient"), Some("orders"))),
        ("/orders", r#"{"scope": "orders:read"}"#, ("allow", 200, None, Some("orders"))),
        (
            "/orders",
            r#" {"scope": "orders:read", "exp": 1} "#,
            ("deny", 401, Some("expired"), Some("orders")),
        ),
        ("/else", "{}", ("deny", 403, Some("route_unmatched"), None)),
    ] {
        // Whatever was asked before.
        for _ in 0..2 {
            assert_eq!(verdict(&seat.answer(&question(path, token))), expected, "{path} {token}");
        }
    }
}

#[test]
fn a_token_is_shown_with_its_times_as_dates_and_never_itself() {
    let mut seat = Seat::default();
    let answer = seat.answer(&question("/orders", r#"{"nbf": 0, "auth_time": 1.5}"#));
    let token = answer.token.as_ref().expect("a token");
    assert!(token.signed_here);
    let dates: Vec<_> = token.dates.iter().map(|(name, date)| (name.as_str(), date.as_str())).collect();
    let expected = [
        ("auth_time", "1970-01-01T00:00:01Z"),
        ("exp", "2026-01-01T00:05:00Z"),
        ("iat", "2026-01-01T00:00:00Z"),
        ("nbf", "1970-01-01T00:00:00Z"),
    ];
    assert_eq!(dates, expected);
    let pasted = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtYWxsb3J5In0.c2VjcmV0";
    let answer = seat.answer_json(
        &serde_json::to_vec(&serde_json::json!({
            "config": SHOP, "now": NOW, "path": "/orders", "token": pasted,
        }))
        .expect("JSON"),
    );
    let answer = String::from_utf8(answer).expect("text");
    assert!(
        answer.contains("mallory") && !answer.contains(pasted) && !answer.contains("c2VjcmV0"),
        "{answer}"
    );
}

#[test]
fn where_tokens_come_is_told_so_that_no_link_has_one() {
    let answer = Seat::default().answer(&question("/healthz", ""));
    assert!(answer.token_headers.contains("x-id"), "{:?}", answer.token_headers);
    assert!(answer.token_params.contains("ticket"), "{:?}", answer.token_params);
    assert_eq!(answer.providers, ["corp"]);
}

#[test]
fn errors_of_a_configuration_come_with_line_and_path() {
    for (config, line, path) in [
        (SHOP.replace("prefix: /orders", "prefix: /orders, prefixx: /"), 13, "rules[1].match.prefixx"),
        (
            SHOP.replace("requires: { provider_name: corp }", "requires: { provider_name: other }"),
            14,
            "rules[1].requires",
        ),
        ("{\n \"rules\": 1\n}".to_owned(), 2, "rules"),
        ("rules: [".to_owned(), 1, ""),
        ("a: 1".to_owned(), 1, ""),
        (String::new(), 1, ""),
    ] {
        let answer = Seat::default().answer(&Question { config: config.clone(), ..question("/", "") });
        assert!(answer.explanation.is_none(), "{config}");
        let is_it = |problem: &Problem| {
            (problem.severity, problem.line) == (Severity::Error, line) && problem.path.starts_with(path)
        };
        assert!(answer.problems.iter().any(is_it), "{config}: {:?}", answer.problems);
    }
}

#[test]
fn a_file_for_envoy_is_taken_and_its_lines_are_counted() {
    let envoy = include_str!("../../envoy/envoy.yaml");
    let answer = Seat::default().answer(&Question { config: envoy.to_owned(), ..question("/healthz", "") });
    assert_eq!(verdict(&answer).0, "allow");
    let wrong = envoy.replace("\"algorithms\": [\"RS256\", \"ES256\"]", "\"algorithms\": [\"RS1\"]");
    let line = 1 + wrong.lines().position(|line| line.contains("RS1")).expect("the line");
    let answer = Seat::default().answer(&Question { config: wrong, ..question("/healthz", "") });
    assert_eq!(answer.problems.first().map(|problem| problem.line), Some(line), "{:?}", answer.problems);
}

#[test]
fn what_is_wrong_with_a_field_is_said_of_that_field() {
    let wrong = |change: &dyn Fn(&mut Question)| {
        let mut question = question("/healthz", "");
        change(&mut question);
        Seat::default().answer(&question).wrong.map(|(field, _)| field)
    };
    assert_eq!(wrong(&|_| ()), None);
    assert_eq!(wrong(&|question| question.now = "yesterday".to_owned()), Some("now"));
    assert_eq!(wrong(&|question| question.method = "GE T".to_owned()), Some("method"));
    assert_eq!(wrong(&|question| question.path = "/a b".to_owned()), Some("path"));
    assert_eq!(wrong(&|question| question.headers = "no colon".to_owned()), Some("headers"));
    assert_eq!(wrong(&|question| question.token = "a b".to_owned()), Some("token"));
    assert_eq!(wrong(&|question| question.token = "{a}".to_owned()), Some("token"));
    assert_eq!(wrong(&|question| question.keys = "{".to_owned()), Some("keys"));
    assert_eq!(wrong(&|question| question.metadata = "1".to_owned()), Some("metadata"));
    assert_eq!(wrong(&|question| question.route = "{\"x\": 1}".to_owned()), Some("route"));
    assert_eq!(
        wrong(&|question| (question.token, question.alg) = ("{}".to_owned(), "RS1".to_owned())),
        Some("token")
    );
}
