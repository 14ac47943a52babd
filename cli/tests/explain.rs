//! `portcullis explain`, as somebody types it.

mod common;

use std::process::Output;

use common::{project as workspace, run as portcullis, run_with_input as portcullis_with_input};
use serde_json::Value;

fn shop() -> String {
    workspace().join("envoy/envoy.yaml").display().to_string()
}

/// A token of RFC 7515 appendix A.3, whose signature nobody here verifies.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(arguments: &[&str]) -> Value {
    let config = shop();
    let output = portcullis(&[&["explain", "--config", &config, "--format", "json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_decision_is_a_value_with_all_its_parts() {
    let good = json(&["--path", "/orders/7", "--claims", r#"{"scope":"orders:read","client_id":"demo"}"#]);
    assert_eq!(good["decision"], "allow", "{good:#}");
    assert_eq!(good["status"], 200);
    assert_eq!(good["reason"], Value::Null);
    assert_eq!(good["rule"], "orders-read");
    assert_eq!(good["readings"][0], "/orders/7");
    assert_eq!(good["upstream"]["headers"]["x-user"], "alice");
    assert_eq!(good["upstream"]["removed"][0], "authorization");
    assert_eq!(good["answer"], Value::Null);
    assert_eq!(good["version"], env!("CARGO_PKG_VERSION"));
    let steps: Vec<_> = good["steps"].as_array().expect("a list").iter().map(|step| &step["step"]).collect();
    assert!(steps.len() > 4 && steps[0] == "match_rule", "{steps:?}");

    let refused = json(&["--path", "/orders/7"]);
    assert_eq!(refused["decision"], "deny");
    assert_eq!((&refused["status"], &refused["reason"]), (&401.into(), &"token_missing".into()));
    assert_eq!(refused["answer"]["status"], 401);
    assert!(
        refused["answer"]["headers"]["www-authenticate"]
            .as_str()
            .is_some_and(|text| text.starts_with("Bearer "))
    );
    assert!(refused["answer"]["body"].as_str().is_some_and(|text| text.contains("token_missing")));
    assert_eq!(refused["upstream"], Value::Null);
}

#[test]
fn the_exit_status_is_0_whatever_the_decision_and_2_where_it_cannot_be_run() {
    let config = shop();
    for (arguments, code) in [
        (vec!["--path", "/healthz"], 0),
        (vec!["--path", "/orders"], 0),
        (vec!["--path", "/a b"], 2),
        (vec!["--claims", "[]"], 2),
        (vec!["--claims", "{", "--path", "/orders"], 2),
        (vec!["-H", "no colon"], 2),
        (vec!["--now", "yesterday"], 2),
        (vec!["--jwks", "/no/such/file"], 2),
        (vec!["--alg", "RS256"], 2),
        (vec!["--token", "x", "--claims", "{}"], 2),
        (vec!["--claims", "{}", "--alg", "XX", "--path", "/me"], 2),
        (vec!["--claims", "{}", "--provider", "nobody"], 2),
    ] {
        let output = portcullis(&[&["explain", "--config", &*config], &arguments[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert_eq!(error.is_empty(), code == 0, "{arguments:?}: {error}");
    }
    let missing = portcullis(&["explain", "--config", "/no/such/file"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_token_from_standard_input_is_judged_and_never_printed() {
    let config = shop();
    for format in ["text", "json"] {
        let arguments = ["explain", "--config", &config, "--path", "/me", "--token", "-", "--format", format];
        let output = portcullis_with_input(&arguments, &format!("{TOKEN}\n"));
        let (out, error) = (out(&output), String::from_utf8_lossy(&output.stderr).into_owned());
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert!(out.contains("issuer_unknown"), "{out}");
        let signature = TOKEN.rsplit('.').next().expect("a signature");
        assert!(!out.contains(signature) && !error.contains(signature), "{out}{error}");
    }
}

#[test]
fn the_text_says_why_and_what_goes_on() {
    let config = shop();
    let refused = portcullis(&[
        "explain",
        "--config",
        &config,
        "--method",
        "POST",
        "--path",
        "/orders/7",
        "--claims",
        r#"{"scope":"orders:read","client_id":"demo"}"#,
    ]);
    let text = out(&refused);
    for part in [
        "deny, 403, scope_insufficient",
        "rule      orders-write",
        "rule \"orders-read\": path_template holds, methods does not hold",
        "✘ authorize",
        "answer 403",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let passed = portcullis(&["explain", "--config", &config, "--path", "/healthz", "-H", "X-User: mallory"]);
    let text = out(&passed);
    assert!(text.contains("x-user is taken away") && text.contains("to the upstream"), "{text}");
}

#[test]
fn of_several_configurations_in_a_file_one_is_named() {
    let shop = workspace().join("envoy/istio/shop.yaml").display().to_string();
    let all = portcullis(&["explain", "--config", &shop]);
    let error = String::from_utf8_lossy(&all.stderr).into_owned();
    assert!(all.status.code() == Some(2) && error.contains("3 configurations"), "{error}");
    for (number, code) in [("#1", 0), ("#3", 0), ("#4", 2), ("#0", 2)] {
        let one = portcullis(&["explain", "--config", &format!("{shop}{number}")]);
        assert_eq!(one.status.code(), Some(code), "{number}");
    }
}
