//! What the pages tell can be configured is what the filter takes: every block of YAML or JSON in them is read, the
//! reference shows every field at work and leaves none out, and a real Envoy takes all of it.

use crate::common;
use crate::common::pages;

use std::collections::BTreeSet;

use common::{SOON, assert_sound};
use harness::envoy::Listener;
use harness::{Cluster, Envoy, Request, Upstream, Wasm};
use pages::{Document, blocks, called, documents, manifests, plugins, typos};
use portcullis::{Config, RevocationDocument as Revoked};
use serde_json::{Value, json};

/// What an environment variable holds that a page names: long enough for a secret, and fit for a header.
const VARIABLE: &str = "0123456789abcdef0123456789abcdef";

/// A key set that an environment variable holds.
const SECRET_KEYS: &str = r#"{"keys":[{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}"#;

/// What the environment variable of this name holds.
fn variable(name: &str) -> &'static str {
    if name.ends_with("_JWKS") { SECRET_KEYS } else { VARIABLE }
}

/// A provider whose key is that of RFC 7517, appendix A.1, and whose tokens may be bound.
fn stand_in(name: &str) -> Value {
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    json!({
        "issuer": format!("https://{name}.example/"),
        "audiences": ["orders"],
        "local_jwks": { "inline": { "keys": [key] } },
        "sender_constrained": "enforce",
        "dpop": { "origins": ["https://api.example"] },
    })
}

/// A fragment of a plugin configuration made whole: with the providers that it speaks of, and with rules that ask for
/// whatever it has.
fn whole(fragment: &Value) -> Value {
    let mut whole = fragment.clone();
    if whole["providers"].is_null() {
        let names = ["corp", "partner", "status-issuer"];
        whole["providers"] = names.into_iter().map(|name| (name.to_owned(), stand_in(name))).collect();
        if fragment.to_string().contains("\"introspect\"") {
            let endpoint = json!({ "uri": "https://corp.example/introspect", "cluster": "id" });
            whole["providers"]["corp"]["introspection"] =
                json!({ "http_uri": endpoint, "auth_method": "none" });
        }
    }
    if whole["requirement_map"].is_null() && whole.to_string().contains("\"requirement_name\"") {
        // What the examples of docs/migration.md have in common.
        let open = json!([{ "provider_name": "corp" }, { "allow_missing": {} }]);
        whole["requirement_map"] = json!({
            "token": { "provider_name": "corp" },
            "open": { "requires_any": { "requirements": open } },
        });
    }
    if whole["rules"].is_null() {
        let names = |map: &str| -> Vec<String> {
            whole[map].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        let of_providers = names("providers").into_iter().map(|name| json!({ "provider_name": name }));
        let mut rules: Vec<Value> =
            of_providers.map(|requires| json!({ "match": { "path": "/a" }, "requires": requires })).collect();
        let by_name = names("requirement_map").into_iter();
        rules.extend(by_name.map(|name| json!({ "match": { "prefix": "/" }, "requirement_name": name })));
        whole["rules"] = json!(rules);
    }
    whole
}

/// Everything that the filter says of a configuration, and whether it takes it.
fn said(configuration: &Value) -> (bool, Vec<String>) {
    let text = configuration.to_string();
    let problems = match Config::parse(text.as_bytes(), &|name| Some(variable(name).to_owned())) {
        Ok(config) => return (true, config.warnings.iter().map(ToString::to_string).collect()),
        Err(problems) => problems,
    };
    (false, problems.iter().map(ToString::to_string).collect())
}

/// What a block of a page is.
#[derive(Debug)]
enum Kind {
    /// It has plugins, or belongs to Kubernetes or an Envoy.
    Manifest,
    /// Routes of an Envoy.
    Routes,
    /// Clusters of an Envoy.
    Clusters,
    /// A list of revoked tokens.
    Revoked,
    /// The configuration of `portcullis receive`.
    Receiver,
    /// A plugin configuration or a part of one.
    Plugin,
}

fn kind(block: &Document) -> Kind {
    let has = |name: &str| block.content.get(name).is_some();
    if block.is_kubernetes() || !plugins(&block.content).is_empty() {
        Kind::Manifest
    } else if has("routes") {
        Kind::Routes
    } else if has("clusters") {
        Kind::Clusters
    } else if has("entries") {
        Kind::Revoked
    } else if has("database") {
        Kind::Receiver
    } else {
        Kind::Plugin
    }
}

fn every_block() -> Vec<Document> {
    let mut all = blocks("yaml");
    all.extend(blocks("json"));
    all
}

#[test]
fn every_block_of_the_pages_is_what_the_filter_takes() {
    let mut wrong = Vec::new();
    let mut counts = [0, 0];
    for block in every_block() {
        match kind(&block) {
            Kind::Plugin => {
                counts[0] += 1;
                let (taken, said) = said(&whole(&block.content));
                if !taken {
                    wrong.push(format!("{}: {}", block.name, said.join("; ")));
                }
            }
            Kind::Revoked => {
                counts[1] += 1;
                let text = block.content.to_string();
                // The issuer of entries that name none stands beside the list's URI.
                if let Err(error) = Revoked::parse(text.as_bytes(), Some("https://idp.example/"), 1 << 20) {
                    wrong.push(format!("{}: {error}", block.name));
                }
            }
            // Held to its own reader, in receive/.
            Kind::Receiver => {}
            // Read in tests/it/manifests.rs, and by the Envoy below.
            Kind::Manifest | Kind::Routes | Kind::Clusters => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts[0] >= 9 && counts[1] >= 1, "too few blocks were found: {counts:?}");
}

/// A part of the reference: tables, and the example behind them.
struct Part {
    /// The fields in the first columns.
    fields: BTreeSet<String>,
    example: Value,
}

/// `remote_jwks.max_bytes` is the field `max_bytes`, `lists[].name` the field `name`.
fn field(code: &str) -> String {
    let name = code.split([':', ' ']).next().unwrap_or_default();
    let last = name.rsplit('.').next().unwrap_or_default();
    last.trim_end_matches("[]").to_owned()
}

fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut fields = BTreeSet::new();
    let mut example: Option<String> = None;
    // The first line of a table is its head, and says whether it is one of fields.
    let (mut in_table, mut is_of_fields) = (false, false);
    for line in pages::reference().lines() {
        match &mut example {
            Some(text) if line == "```" => {
                let content = documents(text).expect("YAML").pop().expect("an example");
                // What stands on a route of Envoy's is in no table.
                if content.get("routes").is_none() {
                    parts.push(Part { fields: std::mem::take(&mut fields), example: content });
                }
                example = None;
            }
            Some(text) => text.extend([line, "\n"]),
            None if line == "```yaml" => example = Some(String::new()),
            None => {
                let is_row = line.starts_with("| ");
                if is_row && !in_table {
                    is_of_fields = line.starts_with("| field |");
                }
                if is_row && in_table && is_of_fields && !line.starts_with("| ---") {
                    let first = line.split(" | ").next().unwrap_or_default();
                    fields.extend(first.split('`').skip(1).step_by(2).map(field));
                }
                in_table = is_row;
            }
        }
    }
    assert!(fields.is_empty(), "no example follows the table of {fields:?}");
    parts
}

/// Every name of a member, wherever it stands.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                found.insert(name.clone());
                names(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

/// Names that an operator chooses, and the one member of a key that it can do without (RFC 7517 section 4.5).
fn is_free(pointer: &str) -> bool {
    let is_name = ["/providers/", "/requirement_map/"]
        .iter()
        .any(|map| pointer.strip_prefix(map).is_some_and(|name| !name.contains('/')));
    is_name || pointer.contains("/scope_hierarchy/") || pointer.ends_with("/kid")
}

#[test]
fn the_reference_shows_every_field_of_its_tables_at_work_and_a_typo_in_any_is_found() {
    let (mut shown, mut tried) = (0, 0);
    let mut wrong = Vec::new();
    for Part { fields, example } in parts() {
        let mut used = BTreeSet::new();
        names(&example, &mut used);
        wrong.extend(fields.difference(&used).map(|field| format!("{field} is in no example")));
        shown += fields.len();
        let expected = said(&whole(&example));
        assert!(expected.0, "{}", expected.1.join("\n"));
        for (pointer, changed) in typos(&example) {
            if !is_free(&pointer) {
                tried += 1;
                if said(&whole(&changed)) == expected {
                    wrong.push(format!("a typo in {pointer} goes unnoticed"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown >= 90 && tried >= 150, "{shown} fields and {tried} typos");
}

/// The objects in a value, each by its pointer.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(at.to_owned());
            for (name, member) in members {
                objects(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// What an unknown field is told of the known ones, wherever it stands in the examples.
fn known_fields() -> BTreeSet<(String, String)> {
    const UNKNOWN: &str = "zzzzzzzzzzzzzzzz";
    let mut known = BTreeSet::new();
    for Part { example, .. } in parts() {
        let example = whole(&example);
        let mut pointers = Vec::new();
        objects(&example, "", &mut pointers);
        for pointer in pointers {
            let mut changed = example.clone();
            changed.pointer_mut(&pointer).expect("an object")[UNKNOWN] = json!(1);
            for problem in said(&changed).1.iter().filter(|problem| problem.contains(UNKNOWN)) {
                let Some((_, list)) = problem.split_once("known here: ") else { continue };
                known.extend(list.split('"').skip(1).step_by(2).map(|name| {
                    let mut with = example.clone();
                    let object = with.pointer_mut(&pointer).expect("an object");
                    object[name] = json!({});
                    let refused = ["cannot be done in a wasm filter", "is not supported by this version"];
                    let is_refused = |problem: &String| {
                        problem.contains(name) && refused.iter().any(|why| problem.contains(why))
                    };
                    let refused = said(&with).1.iter().any(is_refused);
                    (if refused { String::new() } else { name.to_owned() }, pointer.clone())
                }));
            }
        }
    }
    known
}

#[test]
fn the_reference_leaves_no_field_out() {
    let known = known_fields();
    let text = pages::reference();
    let is_told = |name: &str| {
        let mut words =
            text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '@');
        words.any(|word| word == name)
    };
    // Of what is Envoy's own, the names are Envoy's; this one says nothing any more.
    let of_envoy = |name: &str, pointer: &str| {
        let matchers = ["/match/headers/", "/match/query_parameters/"];
        name == "google_re2" || matchers.iter().any(|matcher| pointer.contains(matcher))
    };
    let missing: Vec<_> = known
        .iter()
        .filter(|(name, pointer)| !name.is_empty() && !of_envoy(name, pointer) && !is_told(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(known.len() >= 150, "only {} fields are known", known.len());
}

/// The names of environment variables in a configuration.
fn variables(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("environment_variable").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| variables(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| variables(item, found)),
        _ => {}
    }
}

#[test]
fn an_envoy_takes_every_configuration_of_the_pages_and_files() {
    let mut configurations = Vec::new();
    let (mut routes, mut more_clusters) = (Vec::new(), Vec::new());
    let all = manifests().into_iter().filter(|file| !file.name.contains("envoy/providers/"));
    for document in all.chain(every_block()) {
        for (index, plugin) in plugins(&document.content).into_iter().enumerate() {
            let configuration = plugin.configuration.expect("a configuration");
            configurations.push((format!("{} plugin {index}", document.name), configuration));
        }
    }
    for block in every_block() {
        let list = |name: &str| block.content[name].as_array().cloned().unwrap_or_default();
        match kind(&block) {
            Kind::Plugin => configurations.push((block.name.clone(), whole(&block.content))),
            Kind::Routes => routes.extend(list("routes")),
            Kind::Clusters => more_clusters.extend(list("clusters")),
            Kind::Manifest | Kind::Revoked | Kind::Receiver => {}
        }
    }
    assert!(configurations.len() >= 25, "only {} configurations were found", configurations.len());

    let (upstream, idp) = (Upstream::start(), common::idp());
    let mut clusters = BTreeSet::from(["orders".to_owned()]);
    configurations.iter().for_each(|(_, configuration)| called(configuration, &mut clusters));
    let mut builder = Envoy::builder().upstream(&upstream);
    for name in clusters {
        builder = builder.cluster(&name, Cluster::new(idp.addr()));
    }
    for (index, (_, configuration)) in configurations.iter().enumerate() {
        let mut wasm = Wasm::portcullis(configuration.clone()).name(&format!("page-{index}"));
        let mut named = BTreeSet::new();
        variables(configuration, &mut named);
        if !named.is_empty() {
            // Before 1.39 filters of one module and one `vm_id` share the environment of the first.
            wasm = wasm.vm_id(&format!("page-{index}"));
        }
        for name in named {
            wasm = wasm.env(&name, variable(&name));
        }
        let all = json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } });
        let listener = Listener::new(&format!("page-{index}")).filter(wasm);
        let with_all: Vec<Value> = routes.iter().cloned().chain([all]).collect();
        builder = builder.listener(listener.routes(json!(with_all)));
    }
    let envoy = builder
        .patch(move |bootstrap| {
            let list = bootstrap["static_resources"]["clusters"].as_array_mut().expect("a list");
            list.extend(more_clusters);
        })
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    for (index, (name, _)) in configurations.iter().enumerate() {
        let path = format!("/nothing/of-the-kind/{index}");
        let response = Request::get(&path).send(envoy.addr_of(&format!("page-{index}")));
        let line = envoy.logged(&path, SOON);
        // A refusal writes the filter state, and what passes needs not.
        let is_decided = line["decision"] == "deny" || line["details"] == "via_upstream";
        assert!(is_decided, "{name}: {}: {line}", response.status);
    }
    assert_sound(&envoy);
}
