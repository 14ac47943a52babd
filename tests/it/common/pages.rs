//! What stands in the pages and in the files for operators: documents, and the plugin configurations in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use harness::workspace;
use portcullis::{Config, Problem};
use serde::Deserialize;
use serde_json::Value;

/// A document of the repository, or a block of one of its pages.
pub struct Document {
    /// The file, and which document of it.
    pub name: String,
    pub file: PathBuf,
    pub content: Value,
}

impl Document {
    /// Whether it is of an extension of Kubernetes, and not of Kubernetes itself, whose schemas come with no file. That of an
    /// EnvoyProxy is not among the files either: a real API server takes it (`make real WITH=envoy-gateway`).
    pub fn is_kubernetes(&self) -> bool {
        const OWN: &[&str] = &["v1", "apps/v1", "admissionregistration.k8s.io/v1"];
        let text = |name: &str| self.content.get(name).and_then(Value::as_str);
        text("apiVersion").is_some_and(|version| !OWN.contains(&version))
            && text("kind") != Some("EnvoyProxy")
    }
}

/// A plugin configuration, and what the host is told beside it.
pub struct Plugin<'d> {
    pub path: String,
    pub configuration: Option<Value>,
    /// `FAIL_RELOAD`, or whatever the host does when the module traps.
    pub on_failure: Option<&'d Value>,
    pub closed: &'static str,
    /// The environment variables that the virtual machine is given.
    pub variables: Vec<String>,
}

impl Plugin<'_> {
    /// The configuration as the filter reads it, with some secret in each of its variables.
    pub fn read(&self, configuration: &Value) -> Result<Config, Vec<Problem>> {
        let is_given = |name: &str| self.variables.iter().any(|own| own == name);
        let variable = |name: &str| is_given(name).then(|| "a-secret".repeat(8));
        Config::parse(configuration.to_string().as_bytes(), &variable)
    }
}

/// The documents of a YAML text. A key that stands twice is an error.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut documents = Vec::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let value = serde_norway::Value::deserialize(document).map_err(|error| error.to_string())?;
        if !value.is_null() {
            documents.push(serde_json::to_value(value).map_err(|error| error.to_string())?);
        }
    }
    Ok(documents)
}

/// Every file below a folder with this extension.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn parse(file: &Path, text: &str, what: &str) -> Vec<Document> {
    let shown = file.strip_prefix(workspace()).unwrap_or(file).display().to_string();
    let parsed = documents(text).unwrap_or_else(|error| panic!("{shown}{what}: {error}"));
    let named = parsed.into_iter().enumerate().map(|(index, content)| Document {
        name: format!("{shown}{what}#{index}"),
        file: file.to_owned(),
        content,
    });
    named.collect()
}

/// Every document under `envoy/`.
pub fn manifests() -> Vec<Document> {
    let read = |file: &PathBuf| parse(file, &fs::read_to_string(file).expect("a text"), "");
    files(&workspace().join("envoy"), "yaml").iter().flat_map(read).collect()
}

/// Every block of this language in the pages.
pub fn blocks(language: &str) -> Vec<Document> {
    let root = workspace();
    let mut pages = files(&root.join("envoy"), "md");
    pages.extend(files(&root.join("docs"), "md"));
    pages.push(root.join("README.md"));
    let mut found = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).expect("a text");
        let fence = format!("```{language}\n");
        let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
        for (index, block) in blocks.enumerate() {
            // JSON is YAML.
            found.extend(parse(&page, block, &format!(" {language} block {index}")));
        }
    }
    found
}

/// The pages of the configuration reference, as the book lists them.
pub fn reference() -> String {
    let docs = workspace().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).expect("the book's summary");
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let pages = links.filter(|link| link.starts_with("configuration/"));
    pages.map(|page| fs::read_to_string(docs.join(page)).expect("a page")).collect()
}

/// Every plugin in a document, wherever it stands.
pub fn plugins(content: &Value) -> Vec<Plugin<'_>> {
    let spec = &content["spec"];
    match content["kind"].as_str() {
        Some("TrafficExtension") => vec![Plugin {
            path: "spec.wasm.pluginConfig".to_owned(),
            configuration: spec["wasm"].get("pluginConfig").cloned(),
            on_failure: spec["wasm"].get("failStrategy"),
            closed: "\"FAIL_RELOAD\"",
            variables: Vec::new(),
        }],
        Some("WasmPlugin") => vec![Plugin {
            path: "spec.pluginConfig".to_owned(),
            configuration: spec.get("pluginConfig").cloned(),
            on_failure: spec.get("failStrategy"),
            closed: "\"FAIL_RELOAD\"",
            variables: Vec::new(),
        }],
        Some("EnvoyExtensionPolicy") => {
            let each = spec["wasm"].as_array().into_iter().flatten().enumerate();
            let each = each.map(|(index, wasm)| Plugin {
                path: format!("spec.wasm[{index}].config"),
                configuration: wasm.get("config").cloned(),
                on_failure: wasm.get("failOpen"),
                closed: "false",
                variables: Vec::new(),
            });
            let modules = spec["dynamicModule"].as_array().into_iter().flatten().enumerate();
            let modules = modules.map(|(index, module)| Plugin {
                path: format!("spec.dynamicModule[{index}].config"),
                configuration: module.get("config").cloned(),
                // There is no such word for a module: it refuses.
                on_failure: Some(&Value::Null),
                closed: "null",
                variables: Vec::new(),
            });
            each.chain(modules).collect()
        }
        _ => {
            let mut found = Vec::new();
            in_envoy(content, "", &mut found);
            found
        }
    }
}

fn in_envoy<'d>(value: &'d Value, path: &str, found: &mut Vec<Plugin<'d>>) {
    let kind = value["@type"].as_str().unwrap_or_default();
    if kind.ends_with("filters.http.wasm.v3.Wasm") {
        let config = &value["config"];
        let given = &config["configuration"];
        let configuration = match given["@type"].as_str().unwrap_or_default() {
            "type.googleapis.com/google.protobuf.StringValue" => {
                given["value"].as_str().and_then(|text| serde_json::from_str(text).ok())
            }
            "type.googleapis.com/google.protobuf.Struct" => given.get("value").cloned(),
            _ => None,
        };
        let given = &config["vm_config"]["environment_variables"];
        let key_values = given["key_values"].as_object().into_iter().flat_map(|all| all.keys().cloned());
        let passed = given["host_env_keys"].as_array().into_iter().flatten();
        let passed = passed.filter_map(|name| name.as_str().map(str::to_owned));
        found.push(Plugin {
            path: format!("{path}.config.configuration"),
            configuration,
            on_failure: config.get("failure_policy"),
            closed: "\"FAIL_RELOAD\"",
            variables: key_values.chain(passed).collect(),
        });
    }
    if kind.ends_with("filters.http.dynamic_modules.v3.DynamicModuleFilter") {
        let given = &value["filter_config"];
        let is_struct = given["@type"] == "type.googleapis.com/google.protobuf.Struct";
        found.push(Plugin {
            path: format!("{path}.filter_config"),
            configuration: is_struct.then(|| given.get("value").cloned()).flatten(),
            // It catches its own panics. Loaded once more it would begin without keys.
            on_failure: value["dynamic_module_config"].get("do_not_close"),
            closed: "true",
            variables: Vec::new(),
        });
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                in_envoy(member, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                in_envoy(item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// The clusters that a plugin configuration names.
pub fn called(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("cluster") {
                found.insert(name.clone());
            }
            members.values().for_each(|member| called(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| called(item, found)),
        _ => {}
    }
}

/// Every document that is the given one with one key misspelt, and where.
pub fn typos(content: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let mut pointers = Vec::new();
    keys(content, String::new(), &mut pointers);
    for (object, key) in pointers {
        let mut changed = content.clone();
        let members = changed.pointer_mut(&object).and_then(Value::as_object_mut).expect("an object");
        let value = members.remove(&key).expect("the key");
        members.insert(format!("{key}x"), value);
        found.push((format!("{object}/{key}"), changed));
    }
    found
}

fn keys(value: &Value, at: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                found.push((at.clone(), name.clone()));
                let escaped = name.replace('~', "~0").replace('/', "~1");
                keys(member, format!("{at}/{escaped}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                keys(item, format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}
