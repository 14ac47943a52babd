//! The lines of docs/tool.md from a file of `jwt_authn` to a tested configuration, typed by somebody who has that file and the tool.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Folder, project, skip};
use serde_json::{Value, json};

/// The lines of its section.
fn lines() -> Vec<String> {
    let page = std::fs::read_to_string(project().join("docs/tool.md")).expect("the page");
    let section = page.split("\n## Check it before you ship it\n").nth(1).expect("the section");
    let block =
        section.split("```sh\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("its lines");
    block.lines().map(str::to_owned).collect()
}

/// Types a line in a folder where the tool is at hand, as `make tool` leaves it.
fn types(line: &str, folder: &Path) -> Output {
    let tool = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().expect("a folder");
    let path = std::env::var("PATH").expect("a path");
    Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", tool.display()))
        .output()
        .expect("a shell")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A configuration as people have it.
fn jwt_authn() -> Value {
    json!({
        "providers": {
            "corp": {
                "issuer": "https://idp.example/",
                "audiences": ["orders"],
                "forward": true,
                "remote_jwks": {
                    "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": "idp", "timeout": "5s" },
                    "cache_duration": { "seconds": 300 },
                },
                "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
            },
        },
        "rules": [
            { "match": { "path": "/healthz" } },
            { "match": { "prefix": "/orders/" }, "requires": { "provider_name": "corp" } },
        ],
    })
}

/// The same in a configuration of Envoy.
fn envoy() -> Value {
    let mut filter = jwt_authn();
    filter["@type"] =
        json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "http_filters": [{ "name": "envoy.filters.http.jwt_authn", "typed_config": filter }],
    });
    let chain = json!({ "filters": [{ "name": "hcm", "typed_config": manager }] });
    json!({ "static_resources": { "listeners": [{ "name": "main", "filter_chains": [chain] }] } })
}

#[test]
fn the_lines_of_the_page_lead_from_jwt_authn_to_a_tested_configuration() {
    let lines = lines();
    let [make, rest @ ..] = &lines[..] else { panic!("no lines") };
    assert_eq!(
        (make.as_str(), rest.len()),
        (r#"make tool && export PATH="$PWD/dist:$PATH""#, 4),
        "{lines:?}"
    );
    let targets = std::fs::read_to_string(project().join("Makefile")).expect("it");
    assert!(targets.lines().any(|line| line.starts_with("tool: ##")), "make has no such target");
    for (name, today) in [("alone", jwt_authn()), ("envoy", envoy())] {
        let folder = Folder::new(&format!("first-steps-{name}"));
        folder.write("jwt_authn.yaml", today.to_string());
        let mut output = None;
        for line in rest {
            let typed = types(line, &folder.0);
            assert_eq!(typed.status.code(), Some(0), "{name}: {line}:\n{}", said(&typed));
            output = Some(typed);
        }
        // Each rule passes and refuses somebody, and is met.
        let last = said(&output.expect("a last line"));
        for end in ["coverage: 2 of 2 rules met\n", ", 0 failed\n"] {
            assert!(last.contains(end), "{name}: {last}");
        }
        let promises: PathBuf = folder.0.join("portcullis.test.yaml");
        let promises = std::fs::read_to_string(promises).expect("the file");
        for line in ["reason: token_missing", "reason: audience_mismatch", "status: 200"] {
            assert!(promises.contains(line), "{promises}");
        }
        // What opens the gate later is found by the last line.
        let changed = folder.0.join("portcullis.yaml");
        let text = std::fs::read_to_string(&changed).expect("it");
        let opened = text.replace("requires: { provider_name: corp }", "public: true");
        assert_ne!(text, opened, "{text}");
        std::fs::write(&changed, opened).expect("it");
        let after = types(rest.last().expect("a last line"), &folder.0);
        assert_eq!(after.status.code(), Some(1), "{}", said(&after));
    }
}

/// The workflow of docs/tool.md.
fn workflow() -> String {
    let page = std::fs::read_to_string(project().join("docs/tool.md")).expect("the page");
    let section = page.split("\n### In a workflow\n").nth(1).expect("the section");
    section
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a workflow")
        .to_owned()
}

/// A configuration that nothing is said of.
const GOOD: &str = "\
providers:
  corp:
    issuer: https://idp.example/
    audiences: [orders]
    token_types: [at+jwt]
    remote_jwks:
      http_uri: { uri: https://idp.example/jwks.json, cluster: idp, timeout: 5s }
rules:
  - match: { prefix: / }
    requires: { provider_name: corp }
";

#[test]
fn the_workflow_of_the_page_runs_on_a_repository_of_manifests() {
    let workflow: Value = serde_norway::from_str(&workflow()).expect("YAML");
    let steps = workflow["jobs"]["policies"]["steps"].as_array().expect("steps");
    let lines: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    let lines: Vec<&str> = lines.into_iter().filter(|line| line.starts_with("portcullis ")).collect();
    assert_eq!(lines.len(), 2, "check and test");
    let folder = Folder::new("workflow");
    std::fs::create_dir_all(folder.0.join("policies/tests")).expect("folders");
    folder.write("policies/orders.yaml", GOOD);
    let promise = "config: ../orders.yaml\ntests:\n- { name: a token is needed, expect: { status: 401 } }\n";
    folder.write("policies/tests/orders.yaml", promise);
    for line in &lines {
        let typed = types(line, &folder.0);
        assert_eq!(typed.status.code(), Some(0), "{line}: {}", said(&typed));
    }
    let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).expect("a report");
    assert!(read("findings.sarif").contains("\"2.1.0\"") && read("tests.xml").contains("<testsuite"));
    // Each of the two fails where it has to.
    folder.write("policies/orders.yaml", GOOD.replace("requires: { provider_name: corp }", "public: true"));
    for line in &lines {
        assert_eq!(types(line, &folder.0).status.code(), Some(1), "{line}");
    }
}

#[test]
fn the_workflow_of_the_page_is_one_that_github_takes() {
    let folder = Folder::new("actionlint");
    let file = folder.write("policies.yaml", workflow());
    match Command::new("actionlint").arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{}", said(&output)),
        Err(_) => skip("the_workflow_of_the_page_is_one_that_github_takes", "actionlint is missing"),
    }
}
