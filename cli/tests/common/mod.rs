//! The tool as an operator runs it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize as _;
use serde_json::Value;

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The folder of the project.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project's folder").to_owned()
}

/// Says that a test did not run, and why, where the test runner counts it.
pub fn skip(test: &str, reason: &str) {
    eprintln!("skipped: {test}: {reason}");
    let Some(file) = std::env::var_os("PORTCULLIS_SKIPS") else { return };
    let file = fs::OpenOptions::new().create(true).append(true).open(file);
    file.and_then(|mut file| file.write_all(format!("{test}\t{reason}\n").as_bytes())).expect("a note");
}

/// The tool with these arguments.
pub fn run<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().expect("the tool runs")
}

/// The same with a text on its standard input.
pub fn run_with_input<A: AsRef<std::ffi::OsStr>>(arguments: &[A], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool runs");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// What `portcullis migrate` said.
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub report: String,
}

/// Runs `portcullis migrate` on a text from standard input.
pub fn migrate(text: &str, more: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["migrate"].into_iter().chain(more.iter().copied()).chain(["-"]).collect();
    let output = run_with_input(&arguments, text);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { status: output.status.code(), out: text(output.stdout), report: text(output.stderr) }
}

/// What is written for a configuration of Portcullis, as the filter reads it: by `portcullis explain`, which needs YAML.
pub fn explains(config: &str) -> Result<(), String> {
    let folder = Folder::new(&format!("explains-{:?}", std::thread::current().id()));
    let path = folder.write("migrated.yaml", config);
    let output = run(&["explain".into(), "--config".into(), path.into_os_string()]);
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The manifests of a file of `tests/it/moving/sets`: what stands before the configuration.
pub fn set_of(name: &str) -> String {
    let text = fs::read_to_string(project().join("tests/it/moving/sets").join(name)).expect("a set");
    let documents: Vec<&str> =
        text.split("\n---\n").take_while(|document| document.contains("apiVersion:")).collect();
    assert!(!documents.is_empty(), "{name}");
    documents.join("\n---\n")
}

/// How many requests `--verify` asked, and how many of them passed.
pub fn counted(report: &str) -> (usize, usize) {
    let counted = report.split("Verified with ").nth(1).unwrap_or_default();
    let mut numbers = counted.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(asked), Some(passed)) => (asked, passed),
        _ => panic!("nothing was counted: {report}"),
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What `check --format json` finds in files.
pub fn findings(files: &[PathBuf]) -> Vec<Finding> {
    let mut arguments = vec!["check".into(), "--format".into(), "json".into()];
    arguments.extend(files.iter().map(|file| file.clone().into_os_string()));
    let output = run(&arguments);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    let list: Vec<Finding> = report["findings"].as_array().expect("a list").iter().map(Finding::of).collect();
    let is_bad = list.iter().any(|finding| finding.severity == "error");
    assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{list:#?}");
    list
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub severity: String,
    pub rule: String,
    pub file: PathBuf,
    pub line: u64,
    pub column: u64,
    pub path: String,
    pub message: String,
}

impl Finding {
    fn of(value: &Value) -> Self {
        let text =
            |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}")).to_owned();
        let number = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"));
        Self {
            severity: text("severity"),
            rule: text("rule"),
            file: text("file").into(),
            line: number("line"),
            column: number("column"),
            path: text("path"),
            message: text("message"),
        }
    }
}

/// The examples of the project: the YAML and JSON of its pages, and the files that operators copy.
pub fn blocks_and_files() -> Vec<(String, String)> {
    blocks_and_files_of(&project())
}

/// The same of a project in that folder.
fn blocks_and_files_of(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files(root, &["README.md"]).into_iter().chain(tree(&root.join("docs"), "md")) {
        blocks(&file, &mut found);
    }
    for extension in ["yaml", "json"] {
        for file in tree(&root.join("envoy"), extension) {
            found.push((file.display().to_string(), fs::read_to_string(&file).expect("a file")));
        }
    }
    found
}

/// The configurations in the examples of a project, each with its place.
pub fn configurations(root: &Path) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (name, document) in documents(root) {
        collect(&document, &name, &mut found);
    }
    found
}

/// All documents of YAML and JSON in the examples of a project, each with its place.
pub fn documents(root: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, text) in blocks_and_files_of(root) {
        let documents = serde_norway::Deserializer::from_str(&text);
        let each = documents.map_while(|own| Value::deserialize(own).ok());
        found.extend(each.map(|document| (name.clone(), document)));
    }
    found
}

/// Objects with providers and rules, and those within texts.
fn collect(value: &Value, name: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if members.contains_key("providers") && members.contains_key("rules") => {
            into.insert(format!("{name} #{}", into.len()), value.clone());
        }
        Value::Object(members) => members.values().for_each(|member| collect(member, name, into)),
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, name, into)),
        Value::String(text) if text.trim_start().starts_with('{') => {
            if let Ok(inner) = serde_json::from_str(text) {
                collect(&inner, name, into);
            }
        }
        _ => {}
    }
}

fn files(folder: &Path, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.join(name)).collect()
}

/// The files of a folder, and of those in it, that end so.
pub fn tree(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(tree(&entry, extension));
        } else if entry.extension().is_some_and(|own| own == extension) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// The fenced blocks of YAML and JSON of a page, by the line of each.
fn blocks(page: &Path, into: &mut Vec<(String, String)>) {
    let text = fs::read_to_string(page).expect("a page");
    let mut block: Option<(usize, String)> = None;
    for (line, number) in text.lines().zip(1..) {
        match (&mut block, line.trim_start()) {
            (None, "```yaml" | "```json") => block = Some((number, String::new())),
            (Some(_), "```") => {
                let (at, text) = block.take().expect("a block");
                into.push((format!("{}:{at}", page.display()), text));
            }
            (Some((_, text)), _) => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
}
