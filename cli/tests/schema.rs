//! The schema of the plugin configuration says what the filter's reader says.

mod common;

#[allow(dead_code)]
#[path = "../../tests/it/refusals/cases.rs"]
mod cases;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use boon::{Compiler, SchemaIndex, Schemas};
use cases::{Case, base};
use common::{project, run, stdout};
use portcullis::Config;
use serde_json::{Value, json};

fn schema() -> Value {
    let text = fs::read_to_string(project().join("docs/portcullis.schema.json")).expect("the schema");
    serde_json::from_str(&text).expect("JSON")
}

struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("portcullis.schema.json", schema()).expect("a schema");
        let index = compiler.compile("portcullis.schema.json", &mut schemas).expect("a sound schema");
        Self { schemas, index }
    }

    fn problem(&self, value: &Value) -> Option<String> {
        self.schemas.validate(value, self.index).err().map(|error| error.to_string())
    }
}

#[test]
fn the_command_prints_the_file_and_the_file_is_what_the_script_writes() {
    let file = fs::read_to_string(project().join("docs/portcullis.schema.json")).expect("the schema");
    assert_eq!(stdout(&run(&["schema"])), file);
    let Ok(output) = Command::new("python3").arg(project().join("scripts/schema")).arg("--check").output()
    else {
        eprintln!("skipped in part: there is no python3 for scripts/schema");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_good_configuration_satisfies_it_and_what_the_reader_refuses_by_form_does_not() {
    let validator = Validator::new();
    assert_eq!(validator.problem(&base()), None);
    let examples = common::configurations(&project());
    assert!(examples.len() > 40, "only {} examples", examples.len());
    for (name, example) in &examples {
        let variable = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
        if Config::parse(example.to_string().as_bytes(), &variable).is_ok() {
            assert_eq!(validator.problem(example), None, "{name}");
        }
    }
    let text = fs::read_to_string(project().join("tests/it/refusals.txt")).expect("the cases");
    let (mut count, mut wrong) = (0, Vec::new());
    for case in text.lines().filter_map(Case::of_line) {
        let Ok(value) = serde_json::from_str::<Value>(&case.text) else { continue };
        let is_form = |message: &str| {
            let of_type = message.starts_with("expected ") && !message.contains("a claim, not");
            of_type || message.starts_with("unknown field") || message.starts_with("must be one of \"")
        };
        if case.problems().iter().any(|problem| is_form(&problem.message)) {
            count += 1;
            if validator.problem(&value).is_none() {
                wrong.push(case.line);
            }
        }
    }
    assert!(wrong.is_empty() && count > 100, "of {count}, the schema takes\n{}", wrong.join("\n"));
}

/// Each object of the schema with its own fields, and a configuration in which it is found.
fn objects() -> Vec<(&'static str, Value, &'static str)> {
    let with_provider = |more: Value| {
        let mut config = base();
        let provider = config["providers"]["corp"].as_object_mut().expect("a provider");
        provider.extend(more.as_object().expect("fields").clone());
        config
    };
    let with_rule = |more: Value| {
        let mut config = base();
        let rule = config["rules"][1].as_object_mut().expect("a rule");
        rule.extend(more.as_object().expect("fields").clone());
        config
    };
    let with = |more: Value| {
        let mut config = base();
        config.as_object_mut().expect("a configuration").extend(more.as_object().expect("fields").clone());
        config
    };
    let metadata = |value: Value| {
        with_rule(
            json!({ "match": { "prefix": "/", "metadata": [{ "filter": "f", "path": ["p"], "value": value }] } }),
        )
    };
    let header = |value: Value| with_rule(json!({ "match": { "prefix": "/", "headers": [value] } }));
    vec![
        ("", base(), ""),
        ("/definitions/provider", base(), "/providers/corp"),
        ("/definitions/provider/properties/remote_jwks", base(), "/providers/corp/remote_jwks"),
        ("/definitions/http_uri", base(), "/providers/corp/remote_jwks/http_uri"),
        ("/definitions/provider/properties/local_jwks", base(), "/providers/local/local_jwks"),
        (
            "/definitions/provider/properties/discovery",
            with_provider(json!({ "discovery": { "http_uri": { "uri": "https://a/", "cluster": "c" } } })),
            "/providers/corp/discovery",
        ),
        (
            "/definitions/provider/properties/introspection",
            with_provider(json!({ "introspection": {} })),
            "/providers/corp/introspection",
        ),
        (
            "/definitions/provider/properties/introspection/properties/cache",
            with_provider(json!({ "introspection": { "cache": {} } })),
            "/providers/corp/introspection/cache",
        ),
        (
            "/definitions/provider/properties/dpop",
            with_provider(json!({ "sender_constrained": "enforce", "dpop": {} })),
            "/providers/corp/dpop",
        ),
        (
            "/definitions/provider/properties/mtls",
            with_provider(json!({ "sender_constrained": "enforce", "mtls": {} })),
            "/providers/corp/mtls",
        ),
        (
            "/definitions/provider/properties/csrf",
            with_provider(json!({ "from_cookies": ["a"], "csrf": {} })),
            "/providers/corp/csrf",
        ),
        (
            "/definitions/claim_header",
            with_provider(json!({ "claim_to_headers": [{}] })),
            "/providers/corp/claim_to_headers/0",
        ),
        (
            "/definitions/token_header",
            with_provider(json!({ "from_headers": [{}] })),
            "/providers/corp/from_headers/0",
        ),
        (
            "/definitions/provider/properties/jwt_cache_config",
            with_provider(json!({ "jwt_cache_config": {} })),
            "/providers/corp/jwt_cache_config",
        ),
        ("/definitions/text_match", with_provider(json!({ "subjects": {} })), "/providers/corp/subjects"),
        ("/definitions/rule", base(), "/rules/1"),
        ("/definitions/match", base(), "/rules/1/match"),
        ("/definitions/header_match", header(json!({})), "/rules/1/match/headers/0"),
        (
            "/definitions/query_match",
            with_rule(json!({ "match": { "prefix": "/", "query_parameters": [{}] } })),
            "/rules/1/match/query_parameters/0",
        ),
        ("/definitions/metadata_match", metadata(json!({})), "/rules/1/match/metadata/0"),
        ("/definitions/metadata_value", metadata(json!({})), "/rules/1/match/metadata/0/value"),
        ("/definitions/requirement", base(), "/rules/1/requires"),
        ("/definitions/authorize", with_rule(json!({ "authorize": {} })), "/rules/1/authorize"),
        (
            "/definitions/authorize/properties/authentication",
            with_rule(json!({ "authorize": { "authentication": {} } })),
            "/rules/1/authorize/authentication",
        ),
        (
            "/definitions/authorize/properties/scopes",
            with_rule(json!({ "authorize": { "scopes": {} } })),
            "/rules/1/authorize/scopes",
        ),
        (
            "/definitions/condition",
            with_rule(json!({ "authorize": { "claims": [{}] } })),
            "/rules/1/authorize/claims/0",
        ),
        ("/definitions/rule/properties/streams", with_rule(json!({ "streams": {} })), "/rules/1/streams"),
        ("/properties/cors", with(json!({ "cors": {} })), "/cors"),
        ("/properties/one_time", with(json!({ "one_time": {} })), "/one_time"),
        ("/properties/audit", with(json!({ "audit": {} })), "/audit"),
        ("/properties/route_rules/anyOf/1", with(json!({ "route_rules": {} })), "/route_rules"),
        ("/properties/revocation", with(json!({ "revocation": {} })), "/revocation"),
        ("/definitions/polled_list", with(json!({ "revocation": { "lists": [{}] } })), "/revocation/lists/0"),
        (
            "/definitions/status_list",
            with(json!({ "revocation": { "status_lists": [{}] } })),
            "/revocation/status_lists/0",
        ),
        (
            "/definitions/protected_resource",
            with(json!({ "protected_resources": [{}] })),
            "/protected_resources/0",
        ),
        ("/properties/limits", with(json!({ "limits": {} })), "/limits"),
        (
            "/properties/limits/properties/failures",
            with(json!({ "limits": { "failures": {} } })),
            "/limits/failures",
        ),
    ]
}

/// The fields of an object of the schema; one that may be null besides is in an `anyOf`.
fn fields(schema: &Value, pointer: &str) -> BTreeSet<String> {
    let mut object = schema.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
    while let Some(inner) = object.get("anyOf").and_then(|all| all.get(0)) {
        object = inner;
    }
    object["properties"]
        .as_object()
        .unwrap_or_else(|| panic!("no fields at {pointer}"))
        .keys()
        .cloned()
        .collect()
}

#[test]
fn each_object_has_the_fields_that_the_reader_knows() {
    let schema = schema();
    // Nearer to none than any name of a field.
    const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
    for (pointer, mut config, place) in objects() {
        let object = config.pointer_mut(place).unwrap_or_else(|| panic!("nothing at {place}"));
        object.as_object_mut().expect("an object").insert(UNKNOWN.to_owned(), json!(1));
        let errors = Config::parse(config.to_string().as_bytes(), &|_| None).expect_err("an unknown field");
        let told = errors
            .iter()
            .find(|error| error.path.ends_with(UNKNOWN))
            .unwrap_or_else(|| panic!("{errors:#?}"));
        let (_, known) = told.message.split_once("known here: ").unwrap_or_else(|| panic!("{told}"));
        let known: BTreeSet<String> =
            known.split(", ").map(|name| name.trim_matches('"').to_owned()).collect();
        assert_eq!(fields(&schema, pointer), known, "{pointer}");
    }
}
