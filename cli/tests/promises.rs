//! `portcullis test`, and the files of tests of the repository's own examples.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{project as workspace, run as portcullis};
use serde_json::Value;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
}

/// Writes a file of tests into a folder of its own, and runs it.
fn run(name: &str, tests: &str, arguments: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("tests.yaml");
    fs::write(&file, tests).expect("written");
    portcullis(&[&["test", &file.display().to_string()], arguments].concat())
}

const CONFIG: &str = r#"
config:
  providers:
    p: { issuer: "https://idp.example/", audiences: [shop], remote_jwks: { http_uri: { uri: "https://idp.example/keys", cluster: idp, timeout: 1s } } }
  rules:
  - { name: open, match: { path: /open }, }
  - { name: closed, match: { prefix: / }, requires: { provider_name: p }, authorize: { scopes: { any_of: [read] } } }
  - { name: nobody, match: { prefix: /nobody } }
"#;

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn the_promises_of_every_example_hold() {
    let mut found = Vec::new();
    files(&workspace().join("envoy/tests"), &mut found);
    assert!(!found.is_empty());
    let names: Vec<String> = found.iter().map(|file| file.display().to_string()).collect();
    let arguments: Vec<&str> =
        ["test", "--format", "json"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = portcullis(&arguments);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", out(&output)));
    for file in report["files"].as_array().expect("a list") {
        for test in file["tests"].as_array().expect("a list") {
            assert_eq!(test["held"], true, "{}: {test:#}", file["file"]);
        }
        // Each rule was met, let something pass, and refused something where it asks for anything.
        for gap in ["never_met", "never_passed", "never_refused"] {
            assert_eq!(file["coverage"][gap], serde_json::json!([]), "{}: {gap}", file["file"]);
        }
    }
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_example_has_its_promises() {
    let root = workspace().join("envoy");
    let (mut examples, mut promises) = (Vec::new(), Vec::new());
    files(&root, &mut examples);
    files(&root.join("tests"), &mut promises);
    let tested: BTreeSet<PathBuf> = promises
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).expect("a file");
            let config =
                text.lines().find_map(|line| line.strip_prefix("config: ")).expect("its configuration");
            let path = file.with_file_name(config.trim_matches('"').split('#').next().expect("a name"));
            path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect();
    let mut without = Vec::new();
    for example in examples.iter().filter(|example| !example.starts_with(root.join("tests"))) {
        let found = portcullis(&["explain".as_ref(), "--config".as_ref(), example.as_os_str()]);
        let is_one = found.status.success() || out(&found).contains("configurations (");
        if is_one && !tested.contains(&example.canonicalize().expect("a path")) {
            without.push(example.display().to_string());
        }
    }
    assert!(without.is_empty(), "examples without a file in envoy/tests: {without:#?}");
    assert!(tested.len() >= 50, "{}", tested.len());
}

#[test]
fn what_does_not_hold_is_told_with_its_line_and_why() {
    let tests = format!(
        "{CONFIG}tests:\n- name: it passes\n  request: {{ path: /x }}\n  token: {{ claims: {{ scope: read }} }}\n  expect: {{ status: 200, rule: closed }}\n- name: it does not\n  request: {{ path: /x }}\n  token: {{ claims: {{ scope: write }} }}\n  expect: {{ status: 200 }}\n"
    );
    let output = run("fails", &tests, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    let line = tests.lines().position(|line| line == "- name: it does not").expect("the line") + 1;
    for part in [
        "✔ it passes",
        "✘ it does not",
        &format!("tests.yaml:{line}"),
        "status: expected 200, found 403",
        "because: ",
        "coverage: 1 of 3 rules met; never met: open, nobody",
        "1 held, 1 failed",
    ] {
        assert!(out(&output).contains(part), "{part:?} is not in\n{}", out(&output));
    }
}

#[test]
fn its_reports_are_what_ci_systems_read() {
    let tests = format!(
        "{CONFIG}tests:\n- name: \"a <b> & #c\"\n  request: {{ path: /open }}\n  expect: {{ status: 200, reason: null, rule: open }}\n- request: {{ path: /x }}\n  expect: {{ status: 200 }}\n"
    );
    let json = run("json", &tests, &["--format", "json"]);
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(report["files"][0]["tests"][0]["held"], true);
    assert_eq!(report["files"][0]["tests"][1]["explanation"]["reason"], "token_missing");
    assert_eq!(report["files"][0]["coverage"]["never_met"][0], "nobody");
    let junit = out(&run("junit", &tests, &["--format", "junit"]));
    for part in [
        "<testsuites name=\"portcullis test\" tests=\"2\" failures=\"1\"",
        "a &lt;b&gt; &amp; #c",
        "<failure",
    ] {
        assert!(junit.contains(part), "{part:?} is not in\n{junit}");
    }
    let tap = out(&run("tap", &tests, &["--format", "tap"]));
    for part in ["TAP version 14\n1..2\n", "ok 1 - a <b> & \\#c\n", "not ok 2 - tests[1] GET /x\n"] {
        assert!(tap.contains(part), "{part:?} is not in\n{tap}");
    }
}

/// What cannot be run is told with its place, and is no test that failed.
#[test]
fn a_file_that_is_wrong_is_refused_with_its_place() {
    for (tests, part) in [
        (format!("{CONFIG}tests: []\n"), "tests: is empty"),
        (format!("{CONFIG}tests:\n- expect: {{ staus: 200 }}\n"), "tests[0].expect.staus: unknown field"),
        (
            format!("{CONFIG}tests:\n- token: {{ age: soon }}\n  expect: {{ status: 200 }}\n"),
            "no span of time",
        ),
        ("tests: []\n".to_owned(), "config"),
        ("config: nowhere.yaml\ntests: [{ expect: { status: 200 } }]\n".to_owned(), "nowhere.yaml"),
        ("config: { rules: 7 }\ntests: [{ expect: { status: 200 } }]\n".to_owned(), "the filter refuses"),
        ("a: b: c\n".to_owned(), "tests.yaml:1:"),
    ] {
        let output = run("wrong", &tests, &[]);
        assert_eq!(output.status.code(), Some(2), "{tests}: {}", out(&output));
        assert!(out(&output).contains(part), "{part:?} is not in {}", out(&output));
    }
    // A test that says nothing fails.
    let empty = run("empty", &format!("{CONFIG}tests:\n- request: {{ path: /x }}\n  expect: {{}}\n"), &[]);
    assert!(
        empty.status.code() == Some(1) && out(&empty).contains("expect: says nothing"),
        "{}",
        out(&empty)
    );
}

/// Every member of a token does what it says.
#[test]
fn tokens_are_as_the_test_has_them() {
    let rows = [
        ("{}", "403, reason: scope_insufficient"),
        ("{ claims: { scope: read } }", "200"),
        ("{ claims: { scope: read }, age: 10m }", "401, reason: expired"),
        ("{ claims: { scope: read }, age: 100 }", "200"),
        ("{ claims: { scope: read }, kid: other }", "401, reason: key_not_found"),
        ("{ claims: { scope: read }, alg: HS256 }", "401, reason: algorithm_not_allowed"),
        ("{ claims: { scope: read }, alg: none }", "401"),
        ("{ claims: { scope: read }, header: { typ: id+jwt } }", "401, reason: type_not_allowed"),
        ("{ claims: { scope: read }, header: x-token }", "401, reason: token_missing"),
        ("{ claims: { scope: read, iss: null } }", "401, reason: issuer_unknown"),
        ("{ raw: a.b.c }", "401, reason: token_malformed"),
        ("[{ claims: { scope: read } }, { claims: { scope: read } }]", "400"),
    ];
    let mut tests = format!("{CONFIG}tests:\n");
    for (token, expect) in rows {
        tests += &format!(
            "- name: '{token}'\n  request: {{ path: /x }}\n  token: {token}\n  expect: {{ status: {expect} }}\n"
        );
    }
    let output = run("tokens", &tests, &[]);
    let failed: BTreeSet<_> =
        out(&output).lines().filter(|line| line.contains('✘')).map(str::to_owned).collect();
    assert!(failed.is_empty(), "{}", out(&output));
}

#[test]
fn the_draft_of_every_example_holds_and_meets_most_rules() {
    let folder = common::Folder::new("drafts");
    let (mut met, mut rules) = (0, 0);
    let mut missed = Vec::new();
    let examples = [
        "envoy/envoy.yaml",
        "envoy/mcp/envoy.yaml",
        "envoy/istio/gateway.yaml",
        "envoy/envoy-gateway/gateway.yaml",
    ];
    let providers = common::tree(&workspace().join("envoy/providers"), "yaml");
    let all = examples.iter().map(|name| workspace().join(name)).chain(providers);
    for (number, example) in all.enumerate() {
        let draft = portcullis(&["test", "--draft", &example.display().to_string()]);
        assert_eq!(draft.status.code(), Some(0), "{}: {}", example.display(), out(&draft));
        let file = folder.write(&format!("{number}.yaml"), &draft.stdout);
        let ran = portcullis(&["test", "--format", "json", &file.display().to_string()]);
        assert_eq!(ran.status.code(), Some(0), "{}: {}", example.display(), out(&ran));
        let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let gaps = &report["files"][0]["coverage"];
        let count = |value: &Value| value.as_array().expect("a list").len();
        rules += usize::try_from(gaps["rules"].as_u64().expect("a number")).expect("it fits");
        met += usize::try_from(gaps["rules"].as_u64().expect("a number")).expect("it fits")
            - count(&gaps["never_met"]);
        missed.extend((count(&gaps["never_met"]) > 0).then(|| format!("{}: {gaps}", example.display())));
    }
    assert!(rules >= 40 && met * 10 >= rules * 9, "{met} of {rules}: {missed:#?}");
}
