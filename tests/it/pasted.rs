//! The forms in which Envoy takes one and the same configuration of `jwt_authn`; and whatever is refused, the error says
//! what to write instead.

use crate::common;
use crate::common::pages;
use crate::refusals::tells_what_to_do;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use common::{AUDIENCE, corp, with};
use harness::Idp;
use portcullis::Config;
use serde_json::{Value, json};

/// A configuration that both understand.
fn base(idp: &Idp) -> Value {
    json!({
        "providers": { "corp": {
            "issuer": idp.issuer(),
            "audiences": [AUDIENCE],
            "local_jwks": { "inline_string": idp.jwks().to_string() },
        } },
        "rules": [{ "match": { "path": "/open" } }, { "match": { "prefix": "/" }, "requires": corp() }],
    })
}

/// The forms, each with its name: `pasted_beside` asks both filters.
pub fn forms(idp: &Idp) -> Vec<(&'static str, Value)> {
    let of_provider = |more: Value| {
        let mut config = base(idp);
        let provider = with(config["providers"]["corp"].take(), more);
        config["providers"]["corp"] = provider;
        config
    };
    let of_filter = |more: Value| with(base(idp), more);
    let keys = |more: Value| {
        let mut config = base(idp);
        config["providers"]["corp"]["local_jwks"] = more;
        config
    };
    let rule = |rule: Value| of_filter(json!({ "rules": rule }));
    let matches =
        |more: Value| rule(json!([{ "match": with(json!({ "prefix": "/" }), more), "requires": corp() }]));
    let requires = |requires: Value| rule(json!([{ "match": { "prefix": "/" }, "requires": requires }]));
    let jwks = idp.jwks().to_string();
    let any = |parts: Value| requires(json!({ "requires_any": { "requirements": parts } }));
    vec![
        ("plain", base(idp)),
        (
            "@type",
            of_filter(
                json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication" }),
            ),
        ),
        ("an audience for a list", of_provider(json!({ "audiences": AUDIENCE }))),
        (
            "a header for a list",
            of_provider(json!({ "from_headers": { "name": "Authorization", "value_prefix": "Bearer " } })),
        ),
        (
            "lowerCamelCase",
            of_provider(json!({ "fromHeaders": [{ "name": "authorization", "valuePrefix": "Bearer " }] })),
        ),
        (
            "a parameter for a list",
            of_provider(
                json!({ "from_params": "t", "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }] }),
            ),
        ),
        (
            "a claim header for a list",
            of_provider(json!({ "claim_to_headers": { "header_name": "x-user", "claim_name": "sub" } })),
        ),
        ("a rule for a list", rule(json!({ "match": { "prefix": "/" }, "requires": corp() }))),
        ("a header condition for a list", matches(json!({ "headers": { "name": ":method" } }))),
        ("a parameter condition for a list", matches(json!({ "query_parameters": { "name": "no-such" } }))),
        (
            "an audience of a rule for a list",
            requires(
                json!({ "provider_and_audiences": { "provider_name": "corp", "audiences": "billing" } }),
            ),
        ),
        ("skew as text", of_provider(json!({ "clock_skew_seconds": "30" }))),
        ("skew as a double", of_provider(json!({ "clock_skew_seconds": 30.0 }))),
        ("skew as a double in text", of_provider(json!({ "clockSkewSeconds": "3e1" }))),
        (
            "numbers of the cache as text",
            of_provider(
                json!({ "jwt_cache_config": { "jwt_cache_size": "10", "jwt_max_token_size": 4096.0 } }),
            ),
        ),
        (
            "a range as text and double",
            matches(json!({ "headers": [{ "name": "x-n", "range_match": { "start": "1", "end": 3.0 } }] })),
        ),
        (
            "null for all else of a provider",
            of_provider(json!({
                "subjects": null, "max_lifetime": null, "require_expiration": null, "clock_skew_seconds": null, "remote_jwks": null,
                "from_headers": null, "from_params": null, "from_cookies": null, "forward": null, "forward_payload_header": null,
                "pad_forward_payload_header": null, "claim_to_headers": null, "clear_route_cache": null, "jwt_cache_config": null,
                "payload_in_metadata": null, "header_in_metadata": null, "failed_status_in_metadata": null,
                "normalize_payload_in_metadata": null,
            })),
        ),
        (
            "empty names of metadata",
            of_provider(json!({ "payload_in_metadata": "", "header_in_metadata": "" })),
        ),
        (
            "null for all else of the filter",
            of_filter(json!({
                "requirement_map": null, "bypass_cors_preflight": null, "strip_failure_response": null,
                "filter_state_rules": null, "stat_prefix": null,
            })),
        ),
        (
            "null conditions",
            matches(json!({
                "path": null, "safe_regex": null, "case_sensitive": null, "headers": null, "query_parameters": null, "grpc": null,
                "runtime_fraction": null, "tls_context": null, "dynamic_metadata": null, "connect_matcher": null,
            })),
        ),
        (
            "null in a header condition",
            matches(
                json!({ "headers": [{ "name": ":method", "string_match": null, "invert_match": null }] }),
            ),
        ),
        (
            "null beside a requirement",
            requires(json!({ "provider_name": "corp", "requires_all": null, "allow_missing": null })),
        ),
        (
            "null beside requires",
            rule(json!([{ "match": { "prefix": "/" }, "requires": corp(), "requirement_name": null }])),
        ),
        (
            "a wrapped boolean",
            matches(json!({ "path": "/ORDERS", "prefix": null, "case_sensitive": { "value": false } })),
        ),
        ("a lifetime with a fraction", of_provider(json!({ "max_lifetime": "7200.500s" }))),
        ("a lifetime as an object", of_provider(json!({ "max_lifetime": { "seconds": "7200" } }))),
        ("keys in base64", keys(json!({ "inline_bytes": BASE64_STANDARD.encode(&jwks) }))),
        ("keys in base64url", keys(json!({ "inlineBytes": BASE64_URL_SAFE_NO_PAD.encode(&jwks) }))),
        (
            "keys beside null",
            keys(
                json!({ "inline_string": jwks, "filename": null, "inline_bytes": null, "environment_variable": null }),
            ),
        ),
        ("allow_missing", any(json!([corp(), { "allow_missing": {} }]))),
        ("allow_missing_or_failed", any(json!([corp(), { "allow_missing_or_failed": {} }]))),
        ("the same twice", any(json!([corp(), corp()]))),
        (
            "a requirement by name",
            with(
                rule(json!([{ "match": { "prefix": "/" }, "requirement_name": "staff" }])),
                json!({ "requirement_map": { "staff": corp() } }),
            ),
        ),
        ("a requirement that no rule names", of_filter(json!({ "requirement_map": { "staff": corp() } }))),
        (
            "an expression",
            matches(json!({ "prefix": null, "safe_regex": { "google_re2": {}, "regex": "/o.*" } })),
        ),
        ("a separated prefix", matches(json!({ "prefix": null, "path_separated_prefix": "/orders" }))),
        ("any case", matches(json!({ "prefix": "/OR", "case_sensitive": false }))),
        ("a literal star", matches(json!({ "prefix": "/orders*" }))),
        ("an issuer and a line end", of_provider(json!({ "issuer": format!("{}\n", idp.issuer()) }))),
        ("subjects", of_provider(json!({ "subjects": { "prefix": "a" } }))),
        ("exp is asked for", of_provider(json!({ "require_expiration": true }))),
    ]
}

/// What is said of a configuration.
fn said(config: &Value) -> Vec<String> {
    let variable = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
    match Config::parse(config.to_string().as_bytes(), &variable) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Every value in a configuration, by its pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                pointers(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The examples of the README's reference.
fn examples() -> Vec<Value> {
    let blocks = pages::blocks("yaml").into_iter().filter(|block| block.name.starts_with("README.md"));
    let plugin = |content: &Value| content.get("providers").is_some();
    blocks.map(|block| block.content).filter(plugin).collect()
}

#[test]
fn every_refusal_names_its_place_and_what_to_write_instead() {
    let broken = [
        Value::Null,
        json!(true),
        json!(7),
        json!(-1.5),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("a b"),
        json!("é\n"),
        json!("*"),
        json!("600"),
        json!([]),
        json!([[]]),
        json!(["x", "x"]),
        json!({}),
        json!({ "x": 1 }),
        json!({ "prefix": "/" }),
        json!({ "provider_name": "x" }),
    ];
    let examples = examples();
    assert!(!examples.is_empty());
    let mut without = BTreeMap::new();
    let mut messages = BTreeSet::new();
    for example in &examples {
        let mut all = Vec::new();
        pointers(example, "", &mut all);
        // What is wrong within a key set is the key set's own to tell.
        all.retain(|pointer| !pointer.contains("/local_jwks/inline"));
        for (pointer, value) in
            all.iter().flat_map(|pointer| broken.iter().map(move |value| (pointer, value)))
        {
            let mut config = example.clone();
            *config.pointer_mut(pointer).expect("a place") = value.clone();
            for problem in said(&config) {
                let (path, message) = problem.split_once(": ").expect("a path");
                assert!(!path.is_empty() && !message.is_empty(), "{pointer} {value}: {problem}");
                if !tells_what_to_do(message) {
                    without.insert(message.to_owned(), format!("{path} with {value}"));
                }
                messages.insert(message.to_owned());
            }
        }
    }
    assert!(messages.len() >= 150, "only {} errors were provoked", messages.len());
    assert!(without.is_empty(), "no way: {without:#?}");
}
