//! A configuration that a released version accepted is accepted by this one, but for the breaks that CHANGELOG.md lists.
//!
//! `tests/versions/VERSION.jsonl` has what the reader of that version accepted: its examples, and each field of each
//! object with each kind of value. It is written once, when the version is released:
//!
//! ```text
//! PORTCULLIS_FREEZE=0.2.0 cargo test --package portcullis-cli --test versions freeze
//! ```
//!
//! With `PORTCULLIS_FREEZE_READER=program`, a program judges: it gets a configuration on each line and answers with a
//! line, `ok` or anything else; `PORTCULLIS_FREEZE_EXAMPLES=folder` takes the examples of another checkout.

mod common;

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{configurations, documents, project, tree};
use portcullis::Config;
use serde_json::{Map, Value, json};

/// What is no longer accepted, and on purpose: the version that accepted it, words of today's error, and words of
/// CHANGELOG.md that announce it.
const BREAKS: &[(&str, &str, &str)] =
    &[("0.1.0", "audiences: must name at least one audience", "An empty `audiences` is an error.")];

fn variable(_: &str) -> Option<String> {
    Some("0123456789abcdef0123456789abcdef".to_owned())
}

/// What this version says against a configuration.
fn errors(config: &Value) -> Vec<String> {
    match Config::parse(config.to_string().as_bytes(), &variable) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// The corpus of a version: the label of each configuration, and the configuration.
fn corpus(file: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(file).expect("a corpus");
    let (mut examples, mut found) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON on each line");
        if let Some(config) = line.get_mut("config").map(Value::take) {
            found.push((format!("example {}", examples.len()), config.clone()));
            examples.push(config);
        } else {
            let of = line["of"].as_u64().and_then(|of| usize::try_from(of).ok()).expect("a number");
            let text = |name: &str| line[name].as_str().expect("a text").to_owned();
            let config = changed(&examples[of], &text("at"), &line["value"]);
            found.push((text("label"), config));
        }
    }
    found
}

/// A configuration with this value at that place.
fn changed(config: &Value, at: &str, value: &Value) -> Value {
    let mut config = config.clone();
    let (object, name) = at.rsplit_once('/').expect("a pointer");
    let object = config.pointer_mut(object).and_then(Value::as_object_mut).expect("an object");
    object.insert(name.replace("~1", "/").replace("~0", "~"), value.clone());
    config
}

#[test]
fn what_a_released_version_accepted_is_accepted_but_for_the_breaks_that_the_change_log_lists() {
    let changelog = fs::read_to_string(project().join("CHANGELOG.md")).expect("the change log");
    let flat = changelog.split_whitespace().collect::<Vec<_>>().join(" ");
    let files = tree(&project().join("tests/versions"), "jsonl");
    assert!(!files.is_empty(), "no released version");
    let mut met = BTreeSet::new();
    let mut broken = String::new();
    for file in &files {
        let version = file.file_stem().and_then(|name| name.to_str()).expect("a version");
        let configurations = corpus(file);
        assert!(configurations.len() > 400, "{version}: only {}", configurations.len());
        for (label, config) in configurations {
            for error in errors(&config) {
                let excuse = BREAKS.iter().position(|(of, said, _)| *of == version && error.contains(said));
                match excuse {
                    Some(number) => _ = met.insert(number),
                    None => writeln!(broken, "{version} accepted {label}: {error}").expect("a text"),
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken}");
    for (number, (version, said, words)) in BREAKS.iter().enumerate() {
        assert!(met.contains(&number), "nothing that {version} accepted is refused with {said:?}: remove it");
        assert!(flat.contains(words), "CHANGELOG.md does not say {words:?}");
    }
}

/// Who judges while a corpus is written.
enum Reader {
    This,
    Program(Box<std::process::Child>, BufReader<std::process::ChildStdout>),
}

impl Reader {
    fn chosen() -> Self {
        let Some(program) = env::var_os("PORTCULLIS_FREEZE_READER") else { return Self::This };
        let mut command = Command::new(program);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the reader runs");
        let answers = BufReader::new(child.stdout.take().expect("its output"));
        Self::Program(Box::new(child), answers)
    }

    fn accepts(&mut self, config: &Value) -> bool {
        match self {
            Self::This => errors(config).is_empty(),
            Self::Program(child, answers) => {
                writeln!(child.stdin.as_mut().expect("its input"), "{config}").expect("it reads");
                let mut line = String::new();
                answers.read_line(&mut line).expect("it answers");
                assert!(!line.is_empty(), "the reader has ended");
                line.trim() == "ok"
            }
        }
    }
}

/// A change to try: the field of the schema and the kind of its value, where it is put, and the value.
struct Change {
    label: String,
    at: String,
    value: Value,
}

/// The schema, with which changes are made up.
struct Schema {
    document: Value,
    /// Whether values are tried, too, that the schema does not allow.
    wide: bool,
}

impl Schema {
    /// What a schema stands for: those of its `anyOf`, and where each is in the document.
    fn options<'s>(&'s self, schema: &'s Value, pointer: String) -> Vec<(&'s Value, String)> {
        if let Some(name) = schema["$ref"].as_str() {
            let target = name.trim_start_matches('#');
            return self.options(self.document.pointer(target).expect("a definition"), target.to_owned());
        }
        match schema["anyOf"].as_array() {
            None => vec![(schema, pointer)],
            Some(all) => {
                let each = all.iter().enumerate();
                each.flat_map(|(at, one)| self.options(one, format!("{pointer}/anyOf/{at}"))).collect()
            }
        }
    }

    /// A value of each kind that a schema allows, with what kind it is.
    fn values(&self, schema: &Value) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        for (schema, _) in self.options(schema, String::new()) {
            if let Some(words) = schema["enum"].as_array() {
                found.extend(words.iter().map(|word| (word.to_string(), word.clone())));
                continue;
            }
            let kinds = match &schema["type"] {
                Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
                one => Vec::from_iter(one.as_str()),
            };
            for kind in kinds {
                found.extend(
                    self.of_kind(kind, schema)
                        .into_iter()
                        .map(|(name, value)| (format!("{kind} {name}"), value)),
                );
            }
        }
        found
    }

    fn of_kind(&self, kind: &str, schema: &Value) -> Vec<(&'static str, Value)> {
        match kind {
            "boolean" => vec![("true", json!(true)), ("false", json!(false))],
            "integer" | "number" => {
                let bound = |name: &str| schema.get(name).cloned();
                let least = bound("minimum").unwrap_or(json!(1));
                let most = bound("maximum").unwrap_or(json!(1));
                vec![("least", least), ("most", most)]
            }
            "string" => match schema["pattern"].as_str() {
                Some(pattern) if pattern.ends_with("s$") => {
                    vec![("short", json!("1s")), ("long", json!("60s"))]
                }
                Some(_) => vec![("number", json!("60"))],
                None => vec![("word", json!("word")), ("path", json!("/word")), ("empty", json!(""))],
            },
            "array" => {
                let one =
                    self.values(&schema["items"]).into_iter().find(|(kind, _)| !kind.starts_with("null"));
                let empty = schema["minItems"].is_null().then(|| ("empty", json!([])));
                empty.into_iter().chain(one.map(|(_, value)| ("of one", json!([value])))).collect()
            }
            "object" => {
                let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
                let mut object = Map::new();
                for name in required.iter().filter_map(Value::as_str) {
                    let Some((_, value)) = self.values(&schema["properties"][name]).into_iter().next() else {
                        continue;
                    };
                    object.insert(name.to_owned(), value);
                }
                vec![("least", Value::Object(object))]
            }
            _ => vec![("", Value::Null)],
        }
    }

    /// Every change of one field of a value and of what is in it.
    fn changes(&self, schema: &Value, pointer: String, value: &Value, at: &str, into: &mut Vec<Change>) {
        for (schema, pointer) in self.options(schema, pointer) {
            match value {
                Value::Object(members) => self.of_object(schema, &pointer, members, at, into),
                Value::Array(elements) => {
                    for (number, element) in elements.iter().enumerate() {
                        let items = format!("{pointer}/items");
                        self.changes(&schema["items"], items, element, &format!("{at}/{number}"), into);
                    }
                }
                _ => {}
            }
        }
    }

    fn of_object(
        &self,
        schema: &Value,
        pointer: &str,
        members: &Map<String, Value>,
        at: &str,
        into: &mut Vec<Change>,
    ) {
        if let Some(named) = schema.get("additionalProperties").filter(|named| named.is_object()) {
            for (name, member) in members {
                let place = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                self.changes(named, format!("{pointer}/additionalProperties"), member, &place, into);
            }
        }
        let Some(properties) = schema["properties"].as_object() else { return };
        for (name, property) in properties {
            let field = format!("{pointer}/properties/{name}");
            let values = self.values(property);
            if let Some((_, value)) = values.iter().find(|_| name.contains('_')) {
                let (label, at) = (format!("{field}: lowerCamelCase"), format!("{at}/{}", camel(name)));
                into.push(Change { label, at, value: value.clone() });
            }
            // What the schema does not allow may be accepted all the same: the reader says.
            let more = if !self.wide {
                Vec::new()
            } else {
                vec![json!(null), json!([]), json!({}), json!(0), json!(""), json!("60"), json!(true)]
            };
            let more = more.into_iter().map(|value| (format!("also {value}"), value));
            for (kind, value) in values.into_iter().chain(more) {
                into.push(Change { label: format!("{field}: {kind}"), at: format!("{at}/{name}"), value });
            }
            if let Some(member) = members.get(name) {
                let label = format!("{field}: as in an example");
                into.push(Change { label, at: format!("{at}/{name}"), value: member.clone() });
                self.changes(property, field, member, &format!("{at}/{name}"), into);
            }
        }
    }
}

/// The other spelling of a field.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut spelled = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        spelled += &first.to_uppercase();
        spelled += rest;
    }
    spelled
}

/// The examples of a project: whole configurations, and parts of one with what they lack.
fn examples(root: &Path, schema: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = configurations(root).into_values().collect();
    let known = schema["properties"].as_object().expect("fields");
    for (_, document) in documents(root) {
        let Value::Object(mut part) = document else { continue };
        if part.is_empty() || !part.keys().all(|name| known.contains_key(name)) {
            continue;
        }
        let keys = json!({ "inline_string": r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"# });
        let provider = |name: &str| json!({ "issuer": format!("https://{name}.example/"), "audiences": ["orders"], "local_jwks": keys });
        part.entry("providers")
            .or_insert_with(|| json!({ "corp": provider("corp"), "partner": provider("partner") }));
        let first = part["providers"].as_object().and_then(|all| all.keys().next().cloned());
        let rule = json!({ "match": { "prefix": "/" }, "requires": { "provider_name": first } });
        part.entry("rules").or_insert_with(|| json!([rule]));
        found.push(Value::Object(part));
    }
    found.sort_by_key(|example| (example.to_string().len(), example.to_string()));
    found.dedup();
    found
}

#[test]
fn freeze() {
    let Some(version) = env::var_os("PORTCULLIS_FREEZE") else {
        // What it would write is tried all the same: a corpus of this version is whole.
        let count = written(&project(), &mut Reader::This, false).lines().count();
        assert!(count > 600, "only {count} lines");
        return;
    };
    let examples = env::var_os("PORTCULLIS_FREEZE_EXAMPLES").map_or_else(project, PathBuf::from);
    let file = project().join("tests/versions").join(version).with_added_extension("jsonl");
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(&file, written(&examples, &mut Reader::chosen(), true)).expect("the corpus");
}

/// A corpus: the examples that are accepted, the shortest first, and one accepted change for each field and kind.
fn written(root: &Path, reader: &mut Reader, wide: bool) -> String {
    let text = fs::read_to_string(project().join("docs/portcullis.schema.json")).expect("the schema");
    let schema = Schema { document: serde_json::from_str(&text).expect("JSON"), wide };
    let mut examples = examples(root, &schema.document);
    examples.retain(|example| reader.accepts(example));
    let (mut text, mut done) = (String::new(), BTreeSet::new());
    for example in &examples {
        writeln!(text, "{}", json!({ "config": example })).expect("a text");
    }
    for (of, example) in examples.iter().enumerate() {
        let mut changes = Vec::new();
        schema.changes(&schema.document, String::new(), example, "", &mut changes);
        for Change { label, at, value } in changes {
            if !done.contains(&label) && reader.accepts(&changed(example, &at, &value)) {
                let line = json!({ "of": of, "at": at, "value": value, "label": label });
                writeln!(text, "{line}").expect("a text");
                done.insert(label);
            }
        }
    }
    text
}
