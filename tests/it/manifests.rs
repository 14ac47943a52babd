//! What operators copy is sound: every manifest satisfies the published schema of its kind, every plugin configuration
//! is one that the filter accepts without a warning, nothing fails open, and a typo anywhere is found.

use crate::common::crd;
use crate::common::pages;

use std::collections::BTreeSet;
use std::fs;

use crd::Crds;
use harness::{missing, shared, skip, workspace};
use pages::{Document, blocks, called, documents, files, manifests, plugins, typos};
use serde_json::Value;

/// The Envoy clusters that a document makes, by the names under which a plugin can call them.
fn clusters(content: &Value, found: &mut BTreeSet<String>) {
    let (metadata, spec) = (&content["metadata"], &content["spec"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match content["kind"].as_str() {
        Some("ServiceEntry") => {
            for host in spec["hosts"].as_array().into_iter().flatten() {
                for port in spec["ports"].as_array().into_iter().flatten() {
                    found.insert(format!("outbound|{}||{}", port["number"], text(host)));
                }
            }
        }
        Some("HTTPRoute") => {
            for (index, rule) in spec["rules"].as_array().into_iter().flatten().enumerate() {
                if rule["backendRefs"].as_array().is_some_and(|backends| !backends.is_empty()) {
                    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
                    found.insert(format!("httproute/{namespace}/{name}/rule/{index}"));
                }
            }
        }
        _ => in_static(content, found),
    }
}

fn in_static(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if members.contains_key("load_assignment") {
                found.insert(members["name"].as_str().unwrap_or_default().to_owned());
            }
            members.values().for_each(|member| in_static(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| in_static(item, found)),
        _ => {}
    }
}

/// Warnings that a file is meant to cause: the demo of the compose file has no TLS inside its own network.
const MEANT: [(&str, &str); 2] = [
    ("envoy/compose/envoy.yaml", "configuration: revocation.lists[0].http_uri: is http: "),
    ("envoy/compose/envoy.yaml", "configuration: revocation.lists[1].http_uri: is http: "),
];

/// What is wrong with the plugins of a document; `known` are the clusters of its folder, where that is asked.
fn plugin_problems(content: &Value, known: Option<&BTreeSet<String>>) -> Vec<String> {
    let mut problems = Vec::new();
    for plugin in plugins(content) {
        let mut wrong = |what: String| problems.push(format!("{}: {what}", plugin.path));
        if plugin.on_failure.map(Value::to_string).as_deref() != Some(plugin.closed) {
            wrong(format!("on failure {:?}, and it should be {}", plugin.on_failure, plugin.closed));
        }
        let Some(configuration) = &plugin.configuration else {
            wrong("there is no configuration, or it is no JSON".to_owned());
            continue;
        };
        match plugin.read(configuration) {
            Ok(config) => config.warnings.iter().for_each(|warning| wrong(format!("{warning}"))),
            Err(errors) => errors.iter().for_each(|error| wrong(format!("{error}"))),
        }
        let mut names = BTreeSet::new();
        called(configuration, &mut names);
        for name in names {
            if known.is_some_and(|known| !known.contains(&name)) {
                wrong(format!("no file of this folder makes the cluster {name}"));
            }
        }
    }
    problems
}

/// The clusters of the folder in which a document lies.
fn neighbours(document: &Document, all: &[Document]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for other in all.iter().filter(|other| other.file.parent() == document.file.parent()) {
        clusters(&other.content, &mut found);
    }
    found
}

/// Keys that a person chooses, which no schema can know.
fn is_free(pointer: &str) -> bool {
    ["/matchLabels/", "/labels/", "/annotations/"].iter().any(|free| pointer.contains(free))
}

#[test]
fn every_plugin_configuration_is_accepted_fails_closed_and_calls_clusters_that_exist() {
    let (manifests, blocks) = (manifests(), blocks("yaml"));
    let mut count = 0;
    let mut problems = Vec::new();
    for document in &manifests {
        count += plugins(&document.content).len();
        let known = neighbours(document, &manifests);
        let found = plugin_problems(&document.content, Some(&known));
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", document.name)));
    }
    for (file, warning) in MEANT {
        let before = problems.len();
        problems.retain(|problem| !(problem.starts_with(file) && problem.contains(warning)));
        assert_eq!(before - problems.len(), 1, "{file} causes no such warning any more: {warning}");
    }
    for document in &blocks {
        count += plugins(&document.content).len();
        let found = plugin_problems(&document.content, None);
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", document.name)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    // Istio 4 and 3 for the shop, Envoy Gateway 2 and 3, plain Envoy 1, 1 and 3, the compose file's, two to paste.
    assert!(count >= 20, "only {count} plugins were found");
}

#[test]
fn every_manifest_satisfies_the_schema_of_its_kind() {
    let Some(folder) = shared("crds") else {
        return skip("every_manifest_satisfies_the_schema_of_its_kind", &missing("crds"));
    };
    let crds = Crds::read(&folder);
    let mut kinds = BTreeSet::new();
    let mut problems = Vec::new();
    for document in manifests().iter().filter(|document| document.is_kubernetes()) {
        kinds.insert(document.content["kind"].as_str().unwrap_or_default().to_owned());
        let found = crds.problems(&document.content);
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", document.name)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let expected = [
        "Backend",
        "DestinationRule",
        "EnvoyExtensionPolicy",
        "EnvoyFilter",
        "EnvoyPatchPolicy",
        "Gateway",
        "GatewayClass",
        "HTTPRoute",
        "SecurityPolicy",
        "ServiceEntry",
        "TrafficExtension",
        "WasmPlugin",
    ];
    assert!(kinds.iter().map(String::as_str).eq(expected), "{kinds:?}");
}

#[test]
fn a_typo_in_any_key_of_any_manifest_is_found() {
    let Some(folder) = shared("crds") else {
        return skip("a_typo_in_any_key_of_any_manifest_is_found", &missing("crds"));
    };
    let crds = Crds::read(&folder);
    let all = manifests();
    let mut tried = 0;
    let mut unnoticed = Vec::new();
    for document in all.iter().filter(|document| document.is_kubernetes()) {
        let known = neighbours(document, &all);
        for (pointer, changed) in typos(&document.content) {
            if is_free(&pointer) {
                continue;
            }
            tried += 1;
            // What stands in a patch has no schema.
            let told = settings(&changed) == settings(&document.content);
            if told
                && crds.problems(&changed).is_empty()
                && plugin_problems(&changed, Some(&known)).is_empty()
            {
                unnoticed.push(format!("{}: {pointer}", document.name));
            }
        }
    }
    assert!(unnoticed.is_empty(), "of {tried} typos these went unnoticed:\n{}", unnoticed.join("\n"));
    assert!(tried > 500, "only {tried} typos were tried");
}

#[test]
fn a_typo_in_any_key_of_a_plain_plugin_configuration_is_found() {
    let mut tried = 0;
    for document in manifests().iter().filter(|document| !document.is_kubernetes()) {
        for plugin in plugins(&document.content) {
            let configuration = plugin.configuration.clone().expect("a configuration");
            let warnings = |configuration: &Value| {
                let config = plugin.read(configuration).ok()?;
                Some(config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
            };
            // Accepted, and not a word more than about the file as it is.
            let meant = warnings(&configuration).expect("a configuration that is accepted");
            for (pointer, changed) in typos(&configuration) {
                tried += 1;
                let noticed = warnings(&changed).is_none_or(|warnings| warnings != meant);
                assert!(noticed, "{}: {pointer} went unnoticed", document.name);
            }
        }
    }
    assert!(tried > 100, "only {tried} typos were tried");
}

#[test]
fn values_out_of_bounds_are_found_as_well_as_names() {
    let Some(folder) = shared("crds") else {
        return skip("values_out_of_bounds_are_found_as_well_as_names", &missing("crds"));
    };
    let crds = Crds::read(&folder);
    let all = manifests();
    let cases = [
        ("istio/gateway.yaml", "/spec/phase", "AUTHENTICATION", "spec.phase"),
        ("istio/gateway.yaml", "/spec/wasm/url", "", "spec.wasm.url"),
        ("istio/sidecar.yaml", "/spec/match/0/mode", "INBOUND", "spec.match[0].mode"),
        ("istio/identity-provider.yaml", "/spec/ports/0/number", "443", "spec.ports[0].number"),
        ("envoy-gateway/gateway.yaml", "/spec/targetRefs/0/kind", "Gate way", "spec.targetRefs[0].kind"),
        (
            "envoy-gateway/identity-provider.yaml",
            "/spec/endpoints/0/fqdn/hostname",
            "idp_example",
            "hostname",
        ),
    ];
    for (file, pointer, value, expected) in cases {
        let document = all.iter().find(|document| document.file.ends_with(file)).expect(file);
        let mut changed = document.content.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value.into();
        let problems = crds.problems(&changed).join("\n");
        assert!(problems.contains(expected), "{file}: {pointer} = {value:?}: {problems:?}");
    }
}

#[test]
fn no_file_for_operators_fails_open() {
    for file in files(&workspace().join("envoy"), "yaml") {
        let text = fs::read_to_string(&file).expect("a text");
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let line = line.split(" #").next().unwrap_or_default();
            assert!(!line.contains("FAIL_OPEN"), "{}: {line}", file.display());
            assert!(!line.replace(' ', "").contains("failOpen:true"), "{}: {line}", file.display());
        }
    }
}

#[test]
fn the_compose_file_pins_its_images_and_publishes_on_loopback_alone() {
    let file = workspace().join("envoy/docker-compose.yaml");
    let mut read = documents(&fs::read_to_string(file).expect("the compose file")).expect("YAML");
    let compose = read.pop().expect("a document");
    let services = compose["services"].as_object().expect("services");
    assert_eq!(services.len(), 6);
    for (name, service) in services {
        // What stands in an anchor is a member of `<<` to a reader that does not merge.
        let of = |key: &str| service.get(key).or_else(|| service["<<"].get(key)).cloned().unwrap_or_default();
        let image = of("image");
        let image = image.as_str().expect("an image");
        let default =
            image.split(":-").nth(1).unwrap_or_else(|| panic!("{name}: {image} cannot be overridden"));
        let tag = default.trim_end_matches('}').rsplit(':').next().unwrap_or_default();
        assert!(default.contains(':') && !tag.is_empty() && tag != "latest", "{name}: {image} is not pinned");
        for port in of("ports").as_array().into_iter().flatten() {
            assert!(port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")), "{name}: {port}");
        }
        assert!(of("network_mode").is_null() && of("privileged").is_null(), "{name}");
        assert!(!of("healthcheck").is_null(), "{name} has no health check");
    }
}

/// What Envoy must be told so that it chooses routes by what the rules see.
const SETTINGS: [(&str, &str); 5] = [
    ("normalize_path", "true"),
    ("merge_slashes", "true"),
    ("path_with_escaped_slashes_action", "\"REJECT_REQUEST\""),
    ("strip_any_host_port", "true"),
    ("strip_trailing_host_dot", "true"),
];

/// Every connection manager in a document.
fn connection_managers<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    if value["@type"].as_str().is_some_and(|kind| kind.ends_with(".HttpConnectionManager")) {
        found.push(value);
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| connection_managers(member, found)),
        Value::Array(items) => items.iter().for_each(|item| connection_managers(item, found)),
        _ => {}
    }
}

/// What is missing in a patch of an EnvoyFilter, for which Istio has no schema.
fn patch_problem(patch: &Value) -> Option<String> {
    let value = &patch["patch"]["value"];
    let needed: &[&str] = match patch["applyTo"].as_str() {
        Some("NETWORK_FILTER") => &["/typed_config"],
        Some("HTTP_FILTER") => &[
            "/name",
            "/typed_config/@type",
            "/typed_config/filter_name",
            "/typed_config/dynamic_module_config/name",
        ],
        Some("HTTP_ROUTE") => &["/metadata/filter_metadata/portcullis/scopes"],
        _ => &[],
    };
    let missing = needed.iter().find(|pointer| value.pointer(pointer).is_none())?;
    Some(format!("a patch without {missing}"))
}

/// How many connection managers a document has, and what they are not told of [`SETTINGS`].
fn settings(content: &Value) -> (usize, Vec<String>) {
    let mut problems = Vec::new();
    let mut managers = Vec::new();
    connection_managers(content, &mut managers);
    let count = managers.len();
    // A listener for statistics has no routes to guard.
    let guards = |manager: &&Value| manager["http_filters"].is_null() || manager.to_string().contains("wasm");
    for manager in managers.into_iter().filter(guards) {
        for (name, value) in SETTINGS {
            let own = manager[name].to_string();
            if own != value {
                problems.push(format!("{name} is {own}"));
            }
        }
    }
    if content["kind"] == "EnvoyPatchPolicy" {
        let text = content.to_string();
        let missing = SETTINGS[2..].iter().filter(|(name, _)| !text.contains(&format!("/{name}\"")));
        problems.extend(missing.map(|(name, _)| format!("no {name}")));
    }
    for patch in content["spec"]["configPatches"].as_array().into_iter().flatten() {
        problems.extend(patch_problem(patch));
    }
    (count, problems)
}

#[test]
fn every_file_says_which_rules_are_public_and_how_envoy_reads_paths_and_hosts() {
    let mut problems = Vec::new();
    let (mut plugins_seen, mut managers_seen) = (0, 0);
    for document in &manifests() {
        for plugin in plugins(&document.content) {
            plugins_seen += 1;
            let configuration = plugin.configuration.clone().unwrap_or_default();
            if configuration["public_rules"] != "explicit" {
                problems.push(format!("{}: {}: no public_rules: explicit", document.name, plugin.path));
            }
        }
        let (managers, wrong) = settings(&document.content);
        managers_seen += managers;
        problems.extend(wrong.into_iter().map(|problem| format!("{}: {problem}", document.name)));
    }
    for file in files(&workspace().join("envoy/providers"), "yaml") {
        let text = fs::read_to_string(&file).expect("text");
        if !text.contains("\npublic_rules: explicit\n") {
            problems.push(format!("{}: no public_rules: explicit", file.display()));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(plugins_seen >= 17 && managers_seen >= 7, "{plugins_seen} plugins, {managers_seen} managers");
}
