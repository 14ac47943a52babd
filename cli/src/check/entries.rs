//! Finds the plugin configurations of a document, whatever they are wrapped in.

use super::written::Dialect;
use crate::source::{Mark, Node, Unreadable, Value};

/// What a configuration is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Portcullis as a wasm filter.
    Wasm,
    /// Portcullis as a dynamic module of Envoy.
    Native,
    /// Envoy's own filter, whose configuration Portcullis reads.
    JwtAuthn,
    /// Istio's way to configure `jwt_authn`.
    RequestAuthentication,
}

/// How a configuration is given.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// As values of the file.
    Values(Node, Dialect),
    /// As a text of JSON.
    Text(Node),
    /// Not at all.
    Nothing,
}

/// A variable of the filter's environment, and its value where the document says it.
pub(crate) type Variable = (String, Option<(Node, String)>);

/// One configuration.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) given: Given,
    /// Where the configuration is.
    pub(crate) at: Mark,
    /// The way to it in the document; empty where the document is the configuration.
    pub(crate) way: String,
    /// What the filter's environment has, where the document says that.
    pub(crate) variables: Option<Vec<Variable>>,
    /// Whether it is let through what the filter cannot judge, and where that is said.
    pub(crate) fails_open: Option<Mark>,
    /// Where `allow_on_headers_stop_iteration` is turned on.
    pub(crate) stops_iteration: Option<Mark>,
    /// The connection manager around it, and its place among the filters there.
    pub(crate) chain: Option<(Node, usize)>,
    /// Whether Istio runs it.
    pub(crate) is_of_istio: bool,
}

impl Entry {
    /// A document that is the configuration itself.
    pub(crate) fn alone(given: Given, at: Mark) -> Self {
        let around = Around { dialect: Dialect::Core, name: "", chain: None, is_of_istio: false };
        around.entry(given, at, "")
    }
}

/// What was found in a document.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    /// The connection managers, and the ways to them.
    pub(crate) managers: Vec<(Node, String)>,
    /// Texts within the document that cannot be read.
    pub(crate) unreadable: Vec<(Unreadable, String)>,
}

/// The fields of the configuration as a whole that show what a file is.
const OWN_FIELDS: &[&str] = &[
    "providers",
    "rules",
    "requirement_map",
    "requirementMap",
    "protected_resources",
    "revocation",
    "unmatched",
    "public_rules",
    "bypass_cors_preflight",
    "bypassCorsPreflight",
];

/// What shows that a document is for something else.
const FOREIGN_FIELDS: &[&str] = &[
    "apiVersion",
    "static_resources",
    "dynamic_resources",
    "staticResources",
    "dynamicResources",
    "resources",
    "@type",
    "groups",
    "scrape_configs",
    "services",
    "filter_chains",
    "http_filters",
];

/// The configurations of gates in a file: of Portcullis, or, where there are none, of `jwt_authn`.
pub(crate) fn of_gates(documents: &[Node]) -> Vec<Entry> {
    let mut found: Vec<Entry> = documents.iter().flat_map(|document| find(document).entries).collect();
    found.retain(|entry| entry.kind != Kind::RequestAuthentication);
    // Where the filter itself is there, what was there before is beside the point.
    if found.iter().any(|entry| entry.kind != Kind::JwtAuthn) {
        found.retain(|entry| entry.kind != Kind::JwtAuthn);
    }
    found
}

/// The configurations in a document.
pub(crate) fn find(document: &Node) -> Found {
    let mut found = Found::default();
    let is_manifest = document.get("apiVersion").is_some() && document.get("kind").is_some();
    let dialect = if is_manifest { Dialect::Kubernetes } else { Dialect::Envoy };
    let around = Around { dialect, name: "", chain: None, is_of_istio: false };
    walk(document, "", &around, &mut found);
    if found.entries.is_empty() && found.unreadable.is_empty() && is_alone(document) {
        found.entries.push(Entry::alone(Given::Values(document.clone(), Dialect::Core), document.at));
    }
    found
}

/// Whether a document is a plugin configuration by itself.
fn is_alone(document: &Node) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| document.get(name).is_some());
    match &document.value {
        Value::Map(members) => members.is_empty() || (has(OWN_FIELDS) && !has(FOREIGN_FIELDS)),
        _ => true,
    }
}

/// What is around a value.
#[derive(Clone)]
struct Around<'d> {
    dialect: Dialect,
    /// The name beside the value.
    name: &'d str,
    chain: Option<(&'d Node, usize)>,
    is_of_istio: bool,
}

fn walk(node: &Node, way: &str, around: &Around<'_>, found: &mut Found) {
    if node.get("apiVersion").is_some()
        && let Some(kind) = node.get("kind").and_then(Node::as_str)
        && manifest(node, kind, way, found)
    {
        return;
    }
    let mut around = around.clone();
    around.is_of_istio |= node.get("kind").and_then(Node::as_str) == Some("EnvoyFilter");
    if let Some(name) = node.get("name").and_then(Node::as_str) {
        around.name = name;
    }
    if let Some((kind, message)) = typed(node) {
        if filter(kind, message, way, &around, found) {
            return;
        }
        if kind.ends_with(".HttpConnectionManager") {
            found.managers.push((message.clone(), way.to_owned()));
            around.chain = Some((message, 0));
        }
    }
    for member in node.members() {
        let way = join(way, &member.key);
        let is_chain = matches!(member.key.as_str(), "http_filters" | "httpFilters");
        for (at, element) in member.value.elements().iter().enumerate().filter(|_| is_chain) {
            let chain = around.chain.map(|(manager, _)| (manager, at));
            walk(element, &format!("{way}[{at}]"), &Around { chain, ..around.clone() }, found);
        }
        if !is_chain {
            walk(&member.value, &way, &around, found);
        }
    }
    for (at, element) in node.elements().iter().enumerate() {
        walk(element, &format!("{way}[{at}]"), &around, found);
    }
}

/// The way to a member of a document.
pub(crate) fn join(way: &str, key: &str) -> String {
    portcullis::member_path(way, key)
}

/// The type of a `google.protobuf.Any`, and its message: with `TypedStruct`, the one within.
fn typed(node: &Node) -> Option<(&str, &Node)> {
    let of = |text: &'_ str| text.rsplit('/').next().map(str::len);
    let kind = node.get("@type")?.as_str()?;
    let kind = &kind[kind.len() - of(kind)?..];
    if kind.ends_with(".TypedStruct") {
        let inner = node.field("type_url")?.as_str()?;
        return Some((&inner[inner.len() - of(inner)?..], node.get("value")?));
    }
    Some((kind, node))
}

fn is_ours(names: &[Option<&Node>]) -> bool {
    let has = |text: &str| text.to_ascii_lowercase().contains("portcullis");
    names.iter().flatten().any(|node| node.as_str().is_some_and(has))
}

/// Adds the entry of a filter of Envoy's that is one of ours; whether it is such a filter.
fn filter(kind: &str, message: &Node, way: &str, around: &Around<'_>, found: &mut Found) -> bool {
    let named = around.name.to_ascii_lowercase().contains("portcullis");
    let entry = match kind {
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" => Entry {
            kind: Kind::JwtAuthn,
            ..around.entry(Given::Values(without_type(message), around.dialect), message.at, way)
        },
        "envoy.extensions.filters.http.wasm.v3.Wasm" => {
            let at = |path: &[&str]| message.at_path(path);
            let code = ["config", "vm_config", "code"];
            let local = at(&[&code[..], &["local", "filename"]].concat());
            let remote = at(&[&code[..], &["remote", "http_uri", "uri"]].concat());
            let names = [at(&["config", "name"]), at(&["config", "root_id"]), local, remote];
            if !named && !is_ours(&names) {
                return true;
            }
            wasm(message, way, around)
        }
        kind if kind.ends_with(".DynamicModuleFilter") => {
            let names = [message.at_path(&["dynamic_module_config", "name"]), message.field("filter_name")];
            if !is_ours(&names) {
                return true;
            }
            let given = message.field("filter_config");
            let at = given.map_or(message.at, |node| node.at);
            let way = join(way, "filter_config");
            Entry { kind: Kind::Native, ..around.entry(any(given, around.dialect), at, &way) }
        }
        _ => return false,
    };
    found.entries.push(entry);
    true
}

fn wasm(message: &Node, way: &str, around: &Around<'_>) -> Entry {
    let config = message.field("config");
    let field = |name: &str| config.and_then(|config| config.field(name));
    let given = field("configuration");
    let at = given.map_or(message.at, |node| node.at);
    let way = join(&join(way, "config"), "configuration");
    let policy = field("failure_policy").filter(|node| node.as_str() == Some("FAIL_OPEN"));
    let open = field("fail_open").filter(|node| node.is_true()).or(policy);
    let stops = field("allow_on_headers_stop_iteration");
    let is_on = |node: &&Node| node.is_true() || node.get("value").is_some_and(Node::is_true);
    let environment = config.and_then(|config| config.at_path(&["vm_config", "environment_variables"]));
    let mut variables: Vec<Variable> = Vec::new();
    if let Some(environment) = environment {
        let values = environment.field("key_values").map(Node::members).unwrap_or_default();
        variables.extend(values.iter().map(|member| {
            let value = member.value.as_str().unwrap_or_default().to_owned();
            (member.key.clone(), Some((member.value.clone(), value)))
        }));
        let names = environment.field("host_env_keys").map(Node::elements).unwrap_or_default();
        variables.extend(names.iter().filter_map(|name| Some((name.as_str()?.to_owned(), None))));
    }
    Entry {
        variables: Some(variables),
        fails_open: open.map(|node| node.at),
        stops_iteration: stops.filter(is_on).map(|node| node.at),
        ..around.entry(any(given, around.dialect), at, &way)
    }
}

/// What a `google.protobuf.Any` with a text or a `Struct` gives.
fn any(given: Option<&Node>, dialect: Dialect) -> Given {
    let Some(given) = given else { return Given::Nothing };
    let kind = given.get("@type").and_then(Node::as_str).unwrap_or_default();
    match (kind.rsplit('.').next(), given.get("value")) {
        (Some("StringValue"), Some(value)) => text(value, dialect),
        (Some("StringValue" | "Struct"), None) => Given::Nothing,
        (Some("Struct"), Some(value)) => Given::Values(value.clone(), dialect),
        _ => Given::Values(given.clone(), dialect),
    }
}

fn text(value: &Node, dialect: Dialect) -> Given {
    match &value.value {
        Value::Text(..) => Given::Text(value.clone()),
        _ => Given::Values(value.clone(), dialect),
    }
}

fn without_type(message: &Node) -> Node {
    let members = message.members().iter().filter(|member| member.key != "@type");
    Node { value: Value::Map(members.cloned().collect()), at: message.at }
}

impl Around<'_> {
    fn entry(&self, given: Given, at: Mark, way: &str) -> Entry {
        Entry {
            kind: Kind::Wasm,
            given,
            at,
            way: way.to_owned(),
            variables: None,
            fails_open: None,
            stops_iteration: None,
            chain: self.chain.map(|(manager, at)| (manager.clone(), at)),
            is_of_istio: self.is_of_istio,
        }
    }
}

/// Adds the entries of a manifest of Kubernetes that has fields of its own for them; whether it is one.
fn manifest(node: &Node, kind: &str, way: &str, found: &mut Found) -> bool {
    let spec = node.get("spec");
    let way = join(way, "spec");
    match (kind, spec) {
        ("WasmPlugin", Some(spec)) => {
            let names = [spec.get("url"), spec.get("pluginName"), node.at_path(&["metadata", "name"])];
            istio(spec, &names, spec, &way, found);
        }
        ("TrafficExtension", Some(spec)) => {
            if let Some(wasm) = spec.get("wasm") {
                let names = [wasm.get("url"), wasm.get("pluginName"), node.at_path(&["metadata", "name"])];
                istio(wasm, &names, spec, &join(&way, "wasm"), found);
            }
        }
        ("EnvoyExtensionPolicy", Some(spec)) => extension_policy(node, spec, &way, found),
        ("RequestAuthentication", Some(spec)) => {
            let given = Given::Values(spec.clone(), Dialect::Kubernetes);
            let entry = manifest_around(true).entry(given, spec.at, &way);
            found.entries.push(Entry { kind: Kind::RequestAuthentication, ..entry });
        }
        ("EnvoyProxy", Some(spec)) => {
            let texts = [(&["bootstrap", "value"][..], "bootstrap.value")];
            for (path, name) in texts {
                if let Some(text) = spec.at_path(path) {
                    inner(text, &format!("{way}.{name}"), found);
                }
            }
            return false;
        }
        ("ConfigMap", _) => {
            for member in node.get("data").map(Node::members).unwrap_or_default() {
                let is_file = [".yaml", ".yml", ".json"].iter().any(|end| member.key.ends_with(end));
                if is_file && member.value.as_str().is_some_and(|text| text.contains("portcullis")) {
                    inner(&member.value, &join("data", &member.key), found);
                }
            }
        }
        _ => return false,
    }
    true
}

fn manifest_around(is_of_istio: bool) -> Around<'static> {
    Around { dialect: Dialect::Kubernetes, name: "", chain: None, is_of_istio }
}

/// A text of Envoy's configuration within a manifest.
fn inner(text: &Node, way: &str, found: &mut Found) {
    match text.inner_yaml() {
        Some(Ok(documents)) => {
            let around = Around { dialect: Dialect::Envoy, ..manifest_around(false) };
            for document in &documents {
                walk(document, way, &around, found);
            }
        }
        Some(Err(error)) => found.unreadable.push((error, way.to_owned())),
        None => {}
    }
}

fn istio(wasm: &Node, names: &[Option<&Node>], spec: &Node, way: &str, found: &mut Found) {
    if !is_ours(names) {
        return;
    }
    let given = wasm.get("pluginConfig");
    let at = given.map_or(wasm.at, |node| node.at);
    let strategy = wasm.get("failStrategy").filter(|node| node.as_str() == Some("FAIL_OPEN"));
    let list = wasm.at_path(&["vmConfig", "env"]).map(Node::elements).unwrap_or_default();
    let variables = list.iter().filter_map(|variable| {
        let value = variable.get("value").and_then(|node| Some((node.clone(), node.as_str()?.to_owned())));
        Some((variable.get("name")?.as_str()?.to_owned(), value))
    });
    let entry = manifest_around(spec.get("selector").is_some());
    found.entries.push(Entry {
        variables: Some(variables.collect()),
        fails_open: strategy.map(|node| node.at),
        ..entry.entry(values(given), at, &join(way, "pluginConfig"))
    });
}

fn values(given: Option<&Node>) -> Given {
    match given {
        Some(node) => Given::Values(node.clone(), Dialect::Kubernetes),
        None => Given::Nothing,
    }
}

fn extension_policy(node: &Node, spec: &Node, way: &str, found: &mut Found) {
    let policy = node.at_path(&["metadata", "name"]);
    let wasm = spec.get("wasm").map(Node::elements).unwrap_or_default();
    for (at, wasm) in wasm.iter().enumerate() {
        let code = |path: &[&str]| wasm.get("code").and_then(|code| code.at_path(path));
        let urls = [code(&["image", "url"]), code(&["http", "url"])];
        // The policy's name tells of its only extension.
        let names = [urls[0], urls[1], wasm.get("name"), wasm.get("rootID")];
        let by_policy = spec.get("wasm").is_some_and(|list| list.elements().len() == 1) && is_ours(&[policy]);
        if !is_ours(&names) && !by_policy {
            continue;
        }
        let given = wasm.get("config");
        let keys = wasm.at_path(&["env", "hostKeys"]).map(Node::elements).unwrap_or_default();
        let variables = keys.iter().filter_map(|name| Some((name.as_str()?.to_owned(), None)));
        let way = format!("{way}.wasm[{at}].config");
        found.entries.push(Entry {
            variables: Some(variables.collect()),
            fails_open: wasm.get("failOpen").filter(|node| node.is_true()).map(|node| node.at),
            ..manifest_around(false).entry(values(given), given.map_or(wasm.at, |node| node.at), &way)
        });
    }
    let modules = spec.get("dynamicModule").map(Node::elements).unwrap_or_default();
    for (at, module) in modules.iter().enumerate() {
        if is_ours(&[module.get("name"), module.get("filterName")]) {
            let given = module.get("config");
            let at_mark = given.map_or(module.at, |node| node.at);
            let way = format!("{way}.dynamicModule[{at}].config");
            let entry = manifest_around(false).entry(values(given), at_mark, &way);
            found.entries.push(Entry { kind: Kind::Native, ..entry });
        }
    }
}
