//! Every wrong configuration that the project knows: `check` says what the filter says, at the line of the member.

mod common;

#[allow(dead_code)]
#[path = "../../tests/it/refusals/cases.rs"]
mod cases;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use cases::{Case, VARIABLES};
use common::{Folder, findings, project};
use portcullis::member_path;
use serde_json::{Value, json};

/// A text with a line for each member, and the line of each path.
#[derive(Default)]
struct Written {
    text: String,
    lines: BTreeMap<String, u64>,
}

impl Written {
    fn line(&self) -> u64 {
        self.text.matches('\n').count() as u64 + 1
    }

    fn break_line(&mut self, depth: usize) {
        self.text.push('\n');
        self.text.push_str(&"  ".repeat(depth));
    }

    /// JSON as programs print it.
    fn json(&mut self, value: &Value, path: &str, depth: usize) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                self.text.push('{');
                for (at, (key, member)) in members.iter().enumerate() {
                    self.text.push_str(if at > 0 { "," } else { "" });
                    self.break_line(depth + 1);
                    let path = member_path(path, key);
                    self.lines.insert(path.clone(), self.line());
                    self.text.push_str(&format!("{}: ", json!(key)));
                    self.json(member, &path, depth + 1);
                }
                self.break_line(depth);
                self.text.push('}');
            }
            Value::Array(elements) if !elements.is_empty() => {
                self.text.push('[');
                for (at, element) in elements.iter().enumerate() {
                    self.text.push_str(if at > 0 { "," } else { "" });
                    self.break_line(depth + 1);
                    let path = format!("{path}[{at}]");
                    self.lines.insert(path.clone(), self.line());
                    self.json(element, &path, depth + 1);
                }
                self.break_line(depth);
                self.text.push(']');
            }
            other => self.text.push_str(&other.to_string()),
        }
    }

    /// YAML as people write it.
    fn yaml(&mut self, value: &Value, path: &str, depth: usize, is_begun: bool) {
        let mut is_begun = is_begun;
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    if !std::mem::take(&mut is_begun) {
                        self.break_line(depth);
                    }
                    let path = member_path(path, key);
                    self.lines.insert(path.clone(), self.line());
                    self.text.push_str(&format!("{}: ", json!(key)));
                    self.yaml(member, &path, depth + 1, false);
                }
            }
            Value::Array(elements) if !elements.is_empty() => {
                for (at, element) in elements.iter().enumerate() {
                    if !std::mem::take(&mut is_begun) {
                        self.break_line(depth);
                    }
                    let path = format!("{path}[{at}]");
                    self.lines.insert(path.clone(), self.line());
                    self.text.push_str("- ");
                    self.yaml(element, &path, depth + 1, true);
                }
            }
            other => self.text.push_str(&other.to_string()),
        }
    }

    /// The line of a path, or of the nearest around it.
    fn line_of(&self, path: &str) -> Option<u64> {
        let is_around = |own: &&String| {
            path.strip_prefix(own.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let nearest = self.lines.keys().filter(is_around).max_by_key(|own| own.len())?;
        self.lines.get(nearest).copied()
    }
}

/// An Envoy file with this configuration, as a text in it.
fn in_envoy(text: &str) -> (String, u64) {
    let head = "\
# A bootstrap.
static_resources:
  listeners:
    - filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                http_filters:
                  - name: portcullis
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
                      config:
                        vm_config:
                          environment_variables:
                            key_values:
";
    let mut out = head.to_owned();
    for (name, value) in VARIABLES {
        out += &format!("                              {name}: {}\n", json!(value));
    }
    out += "                        configuration:\n";
    out += "                          \"@type\": type.googleapis.com/google.protobuf.StringValue\n";
    out += "                          value: |-\n";
    let before = out.matches('\n').count() as u64;
    for line in text.lines() {
        out += &format!("                            {line}\n");
    }
    (out, before)
}

/// A file, the lines of its members, and what the filter says of it: paths and texts.
struct Expected<'c> {
    line: &'c str,
    written: Written,
    /// How many lines stand before the configuration.
    before: u64,
    problems: Vec<(String, String)>,
}

#[test]
fn each_wrong_configuration_is_told_as_the_filter_tells_it_with_the_line_of_the_member() {
    let text = fs::read_to_string(project().join("tests/it/refusals.txt")).expect("the cases");
    let folder = Folder::new("refusals");
    let mut files: BTreeMap<PathBuf, Expected<'_>> = BTreeMap::new();
    for (number, case) in text.lines().filter_map(Case::of_line).enumerate() {
        // A variable that is not set here may be set where the filter runs.
        let is_unset = |message: &str| message.starts_with("this environment variable is not set");
        let problems = case.problems().into_iter().map(|problem| (problem.path, problem.message));
        let problems: Vec<_> = problems.filter(|(_, message)| !is_unset(message)).collect();
        let value: Option<Value> = serde_json::from_str(&case.text).ok();
        // What serde takes otherwise, such as a member that comes twice, is written as it stands.
        let is_same = |value: &Value| {
            let text = value.to_string();
            value.is_object() && text == case.text
        };
        let value = value.filter(is_same);
        let (mut json, mut yaml) = (Written::default(), Written::default());
        match &value {
            Some(value) => {
                json.json(value, "", 0);
                yaml.yaml(value, "", 0, true);
            }
            None => json.text.clone_from(&case.text),
        }
        // Envoy's file has the variables of the cases, the others have not.
        let expect = |written: Written, before| Expected {
            line: case.line,
            written,
            before,
            problems: problems.clone(),
        };
        let (text, before) = in_envoy(&json.text);
        if !json.text.is_empty() {
            let lines = json.lines.clone();
            files.insert(
                folder.write(&format!("{number:04}-envoy.yaml"), text),
                expect(Written { text: String::new(), lines }, before),
            );
        }
        if !case.text.contains("environment_variable") {
            files.insert(folder.write(&format!("{number:04}.json"), &json.text), expect(json, 0));
            if value.is_some() {
                files.insert(folder.write(&format!("{number:04}.yaml"), &yaml.text), expect(yaml, 0));
            }
        }
    }
    assert!(files.len() > 1000, "only {} files", files.len());
    let found = findings(&files.keys().cloned().collect::<Vec<_>>());
    let mut wrong = Vec::new();
    for (file, expected) in &files {
        let errors = found.iter().filter(|finding| finding.file == *file && finding.severity == "error");
        let mut told: Vec<_> =
            errors.clone().map(|error| (error.path.clone(), error.message.clone())).collect();
        let mut problems = expected.problems.clone();
        told.sort();
        problems.sort();
        problems.dedup();
        if told != problems {
            wrong.push(format!(
                "{}: {}\n  told {told:#?}\n  not {problems:#?}",
                file.display(),
                expected.line
            ));
        }
        for error in errors {
            let line = expected.written.line_of(&error.path).map(|line| line + expected.before);
            if line.is_some_and(|line| line != error.line) {
                wrong.push(format!(
                    "{}: {}\n  {error:#?}\n  is in line {line:?}",
                    file.display(),
                    expected.line
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        files.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}
