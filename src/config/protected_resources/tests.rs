use serde_json::{Value, json};

use crate::config::Config;

fn provider(issuer: &Value) -> Value {
    json!({ "issuer": issuer, "audiences": ["a"], "local_jwks": { "inline": { "keys": [{
        "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM" }] } } })
}

/// A configuration with this resource, on top of one that is good.
fn config(change: Value) -> Value {
    let mut resource = json!({
        "resource": "https://mcp.example/mcp",
        "match": { "path_separated_prefix": "/mcp", "hosts": ["mcp.example"] },
    });
    for (name, value) in change.as_object().unwrap() {
        resource[name] = value.clone();
    }
    json!({
        "providers": {
            "a": provider(&json!("https://a.example/")),
            "b": provider(&json!(["https://b.example", "https://a.example/"])),
            "c": provider(&json!("https://c.example")),
            "short": provider(&json!("accounts.example")),
        },
        "rules": [
            { "match": { "path": "/mcp/open" } },
            { "match": { "path": "/mcp/b" }, "requires": { "provider_name": "b" } },
            { "match": { "path_separated_prefix": "/mcp" }, "requires": { "provider_name": "a" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "c" } },
        ],
        "protected_resources": [resource],
    })
}

fn read(config: &Value) -> Result<Config, Vec<String>> {
    let said = |problems: Vec<crate::config::Problem>| problems.iter().map(ToString::to_string).collect();
    Config::parse(config.to_string().as_bytes(), &|_| None).map_err(said)
}

/// The document of the one resource.
fn document(config: &Value) -> Value {
    let config = read(config).unwrap_or_else(|errors| panic!("{errors:?}"));
    let fields = [
        (&b":method"[..], &b"GET"[..]),
        (b":path", b"/.well-known/oauth-protected-resource/mcp"),
        (b":authority", b"mcp.example"),
    ];
    let request = crate::request::Request::new(&fields);
    let resources = config.protected_resources.as_ref().unwrap();
    let reply = resources.answer(&config.rules.view(&request)).unwrap().unwrap();
    serde_json::from_str(&reply.body).unwrap()
}

#[test]
fn a_document_names_the_issuers_of_the_rules_that_its_requests_can_meet() {
    let servers = |config: &Value| document(config)["authorization_servers"].clone();
    // Not that of the last rule: the one before it takes all that there is.
    let mut plain = config(json!({}));
    assert_eq!(servers(&plain), json!(["https://b.example", "https://a.example/"]));
    // One with a condition leaves some to the next.
    plain["rules"][2]["match"]["methods"] = json!(["POST"]);
    assert_eq!(servers(&plain), json!(["https://b.example", "https://a.example/", "https://c.example"]));
    let own = config(json!({ "authorization_servers": ["https://x.example", "https://x.example/"] }));
    assert_eq!(servers(&own), json!(["https://x.example", "https://x.example/"]), "to the letter");
}

#[test]
fn a_document_says_what_is_configured_and_how_tokens_are_sent() {
    let mut all = config(json!({
        "scopes_supported": ["files:read", "files:write"],
        "resource_name": "Files \"x\"",
        "resource_documentation": "https://docs.example/mcp",
    }));
    assert_eq!(
        document(&all),
        json!({
            "resource": "https://mcp.example/mcp",
            "authorization_servers": ["https://b.example", "https://a.example/"],
            "scopes_supported": ["files:read", "files:write"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Files \"x\"",
            "resource_documentation": "https://docs.example/mcp",
        })
    );
    all["providers"]["a"]["from_params"] = json!(["access_token"]);
    assert_eq!(document(&all)["bearer_methods_supported"], json!(["header", "query"]));
    for name in ["a", "b"] {
        all["providers"][name]["from_params"] = json!(["token"]);
    }
    assert_eq!(document(&all)["bearer_methods_supported"], json!([]));
}

#[test]
fn a_document_says_which_tokens_have_to_be_bound() {
    let mut all = config(json!({}));
    all["providers"]["b"]["sender_constrained"] = json!("enforce");
    all["providers"]["b"]["dpop"] =
        json!({ "origins": ["https://mcp.example"], "algorithms": ["ES256", "EdDSA"] });
    let members = |config: &Value| {
        let document = document(config);
        let names = [
            "bearer_methods_supported",
            "dpop_signing_alg_values_supported",
            "dpop_bound_access_tokens_required",
            "tls_client_certificate_bound_access_tokens",
        ];
        names.map(|name| document[name].clone())
    };
    let null = Value::Null;
    let (header, algorithms) = (json!(["header"]), json!(["ES256", "EdDSA"]));
    assert_eq!(members(&all), [header.clone(), algorithms.clone(), null.clone(), null.clone()]);
    all["providers"]["a"]["sender_constrained"] = json!("enforce");
    all["providers"]["a"]["mtls"] = json!({ "certificate": "connection" });
    assert_eq!(members(&all), [header, algorithms, null, json!(true)]);
    // Only proofs count where every rule asks for one.
    let mut bound = config(json!({}));
    bound["rules"][1]["requires_proof"] = json!("dpop");
    bound["rules"][2]["requires_proof"] = json!("dpop");
    for name in ["a", "b"] {
        bound["providers"][name]["sender_constrained"] = json!("enforce");
        bound["providers"][name]["dpop"] =
            json!({ "origins": ["https://mcp.example"], "algorithms": ["ES256"] });
    }
    assert_eq!(members(&bound), [json!([]), json!(["ES256"]), json!(true), Value::Null]);
}

#[test]
fn so_many_resources_are_taken_and_no_more() {
    let with = |count: usize| {
        let mut all = config(json!({}));
        let of = |at| {
            json!({
                "resource": format!("https://mcp.example/r{at}"),
                "match": { "path_separated_prefix": format!("/r{at}"), "hosts": ["mcp.example"] },
            })
        };
        all["protected_resources"] = (0..count).map(of).collect();
        read(&all).map(|_| ())
    };
    assert_eq!(with(crate::response::MAX_RESOURCES), Ok(()));
    let errors = with(crate::response::MAX_RESOURCES + 1).unwrap_err();
    assert_eq!(
        errors,
        ["protected_resources: has 1001 resources, and may have at most 1000; divide them among plugins"]
    );
}

#[test]
fn warnings_name_what_clients_or_operators_could_trip_over() {
    let warnings = |config: &Value| -> Vec<String> {
        let config = read(config).unwrap_or_else(|errors| panic!("{errors:?}"));
        config
            .warnings
            .iter()
            .map(ToString::to_string)
            .filter(|text| text.contains("protected_res"))
            .collect()
    };
    assert_eq!(warnings(&config(json!({ "audience": "resource" }))), [""; 0]);
    for (change, expected) in [
        (
            json!({ "resource": "https://mcp.example/mcp/" }),
            "protected_resources[0].resource: ends with \"/\"",
        ),
        (
            json!({ "match": { "prefix": "/", "hosts": ["other.example"] } }),
            "protected_resources[0].match.hosts: does not include mcp.example",
        ),
        (
            json!({ "authorization_servers": ["http://idp.example"] }),
            "protected_resources[0].authorization_servers[0]: begins with http://",
        ),
    ] {
        let said = warnings(&config(change));
        assert!(said.len() == 1 && said[0].starts_with(expected), "{said:?}");
    }
    let mut own = config(json!({ "audience": "resource" }));
    own["rules"][2]["requires"] =
        json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["x"] } });
    let said = warnings(&own);
    assert!(
        said.len() == 1 && said[0].contains("audience: does not count for the rule \"rules[2]\""),
        "{said:?}"
    );
}
