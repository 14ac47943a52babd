//! A configuration is read in every form in which it is sent; a wrong one stops Envoy and says all that is wrong.

use crate::common;

use common::{AUDIENCE, Gateway, config, corp, idp, local_provider, provider};
use harness::idp::flip_bit;
use harness::{Alg, Envoy, Idp, Key, PluginConfig, Request, StartError, Upstream, Wasm};
use serde_json::{Value, json};

/// Starts an Envoy in which nothing can be wrong but the filter.
fn start(filter: Wasm) -> Result<Envoy, StartError> {
    let upstream = Upstream::start();
    Envoy::builder().shared().upstream(&upstream).filter(filter).start()
}

/// Starts an Envoy whose filter must not start.
#[track_caller]
fn refused(config: PluginConfig) -> StartError {
    match start(Wasm::portcullis(json!({})).config(config)) {
        Ok(_) => panic!("Envoy started"),
        Err(error) => {
            assert!(error.message.contains("rejected") || error.exit == Some(1), "{error}");
            error
        }
    }
}

/// What the log says is wrong: the lines that begin with this path.
fn told<'e>(error: &'e StartError, path: &str) -> Vec<&'e str> {
    let mark = format!("{path}: ");
    error
        .log
        .lines()
        .filter_map(common::own_part)
        .filter_map(|line| line.find(&mark).map(|at| (at, line)))
        .filter(|(at, line)| *at == 0 || line[..*at].ends_with([' ', '\t']))
        .map(|(at, line)| &line[at + mark.len()..])
        .collect()
}

/// Every path with something that the message must say.
#[track_caller]
fn assert_told(error: &StartError, expected: &[(&str, &str)]) {
    let mut missing = Vec::new();
    for (path, part) in expected {
        let lines = told(error, path);
        if !lines.iter().any(|line| line.contains(part)) {
            missing.push(format!("{path}: … {part} … (said of it: {lines:?})"));
        }
    }
    assert!(missing.is_empty(), "not told:\n{}\n\n{error}", missing.join("\n"));
}

#[test]
fn every_error_of_a_wrong_configuration_is_listed_at_once_by_its_path() {
    let wrong = json!({
        "providers": {
            "corp": {
                "isuer": "https://idp.example",
                "audiences": { "any_of": "orders" },
                "algorithms": ["RS256", "XS256"],
                "clock_skew_seconds": 301,
                "require_expiration": "yes",
                "remote_jwks": { "http_uri": { "uri": "not a uri" }, "cache_duration": "10m" },
                "local_jwks": { "inline": { "keys": [] } },
                "from_headers": [],
                "claim_to_headers": [{ "header_name": "x user", "claim_name": "sub" }, { "claim_name": "sub" }],
            },
            "keyless": { "issuer": "a" },
        },
        "rules": [
            { "match": {} },
            { "match": { "prefix": "/a", "path": "/b" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "crop" } },
            { "match": { "prefix": "/" }, "authorize": { "scopes": { "all_of": ["a"] } } },
            { "match": { "path_template": "/a/{b" }, "requires": corp() },
            { "match": { "prefix": "/", "methods": ["get"] } },
            { "match": { "prefix": "/" }, "requires": corp(), "authorize": { "scopes": { "all_of": ["a b"] } } },
            { "name": "twice", "match": { "prefix": "/" } },
            { "name": "twice", "match": { "prefix": "/" } },
            { "match": { "path": "/a/../b" } },
            7,
        ],
        "unmatched": "maybe",
        "ruls": [],
    });
    let expected = [
        ("providers.corp.isuer", "issuer"),
        ("providers.corp.audiences", "list"),
        ("providers.corp.algorithms[1]", "algorithm"),
        ("providers.corp.clock_skew_seconds", "300"),
        ("providers.corp.require_expiration", "true or false"),
        ("providers.corp.remote_jwks.http_uri.uri", "absolute"),
        ("providers.corp.remote_jwks.http_uri.cluster", "missing"),
        ("providers.corp.remote_jwks.cache_duration", "duration"),
        ("providers.corp.local_jwks.inline", "key"),
        ("providers.corp", "keep one"),
        ("providers.corp.from_headers", "at least one"),
        ("providers.corp.claim_to_headers[0].header_name", "header name"),
        ("providers.corp.claim_to_headers[1].header_name", "missing"),
        ("providers.keyless", "no keys"),
        ("rules[0].match", "prefix"),
        ("rules[1].match", "keep one"),
        ("rules[2].requires.provider_name", "crop"),
        ("rules[3].authorize", "requires"),
        ("rules[4].match.path_template", ""),
        ("rules[5].match.methods[0]", "upper case"),
        ("rules[6].authorize.scopes.all_of[0]", "scope"),
        ("rules[8]", "name"),
        ("rules[9].match.path", ".."),
        ("rules[10]", "object"),
        ("unmatched", "deny"),
        ("ruls", "rules"),
    ];
    assert_told(&refused(PluginConfig::Json(wrong.clone())), &expected);
    assert_told(&refused(PluginConfig::Struct(wrong)), &expected);
}

#[test]
fn what_is_no_configuration_stops_envoy() {
    for (name, config) in [
        ("none at all", PluginConfig::Absent),
        ("empty", PluginConfig::Text(String::new())),
        ("blank", PluginConfig::Text("  \n".to_owned())),
        ("an empty object", PluginConfig::Json(json!({}))),
        ("a list", PluginConfig::Json(json!([]))),
        ("a string", PluginConfig::Json(json!("x"))),
        ("broken JSON", PluginConfig::Text("{\"providers\":".to_owned())),
        ("YAML", PluginConfig::Text("providers:\n  corp: {}\n".to_owned())),
        ("a member twice", PluginConfig::Text("{\"rules\":[],\"rules\":[]}".to_owned())),
        ("deep JSON", PluginConfig::Text(format!("{}{}", "[".repeat(5000), "]".repeat(5000)))),
        ("bytes", PluginConfig::Bytes(vec![0xff, 0, 0x80, 7])),
    ] {
        let error = refused(config);
        let said =
            error.log.lines().filter_map(common::own_part).filter(|line| line.contains("configuration"));
        assert!(said.count() > 0, "{name}: nothing is said about the configuration:\n{error}");
        for sign in ["panicked", "RuntimeError"] {
            assert!(!error.log.contains(sign), "{name}: {error}");
        }
    }
    let alone = Envoy::builder().filter(Wasm::portcullis(json!({}))).start();
    assert_eq!(alone.expect_err("Envoy does not start").exit, Some(1));
}

/// The fields of the interface that this version does not have.
#[test]
fn what_a_wasm_filter_cannot_do_is_refused_with_the_way_here() {
    if common::is_native() {
        // It can: tests/it/dynamic_module.rs.
        return;
    }
    let sound = json!({ "issuer": "a", "local_jwks": { "inline": { "keys": [Key::cached(Alg::ES256, "ec-1").public_jwk()] } } });
    let of_provider = json!({
        "payload_in_metadata": "x",
        "header_in_metadata": "x",
        "failed_status_in_metadata": "x",
        "normalize_payload_in_metadata": {},
    });
    let of_match = json!({
        "runtime_fraction": {},
        "tls_context": {},
        "dynamic_metadata": [],
        "filter_state": [],
    });
    let config = json!({
        "providers": { "corp": common::with(sound, of_provider) },
        "rules": [
            { "match": common::with(json!({ "prefix": "/" }), of_match) },
            { "match": { "prefix": "/" }, "requires": { "extract_only_without_validation": {} } },
        ],
        "filter_state_rules": {},
    });
    assert_told(
        &refused(PluginConfig::Json(config)),
        &[
            ("providers.corp.payload_in_metadata", "filter state"),
            ("providers.corp.payload_in_metadata", "forward_payload_header"),
            ("providers.corp.payload_in_metadata", "dynamic module"),
            ("providers.corp.header_in_metadata", "filter state"),
            ("providers.corp.failed_status_in_metadata", "filter state"),
            ("providers.corp.normalize_payload_in_metadata", "filter state"),
            ("rules[0].match.runtime_fraction", "mode: report"),
            ("rules[0].match.tls_context", "require_tls"),
            ("rules[0].match.dynamic_metadata", "write it as \"metadata\""),
            ("rules[0].match.filter_state", "metadata of the route"),
            ("rules[1].requires.extract_only_without_validation", "allow_missing_or_failed"),
            ("filter_state_rules", "metadata of the route"),
        ],
    );

    let file =
        json!({ "providers": { "corp": { "local_jwks": { "filename": "/etc/keys.json" } } }, "rules": [] });
    assert_told(
        &refused(PluginConfig::Json(file)),
        &[("providers.corp.local_jwks.filename", "environment_variable")],
    );
}

#[test]
fn a_secret_is_never_echoed() {
    const SECRET: &str = "c2VjcmV0LW9mLXRoZS1jb21wYW55LXJlYWxseS1sb25n";
    let secret_jwk = json!({ "kty": "oct", "k": SECRET, "kid": SECRET });
    for local in [
        json!({ "inline": { "keys": [secret_jwk] } }),
        json!({ "inline_string": json!({ "keys": [secret_jwk] }).to_string() }),
        json!({ "inline_string": SECRET }),
        json!({ "inline_string": format!("{{\"keys\": \"{SECRET}") }),
        json!({ "inline": { "keys": [{ "kty": SECRET, "d": SECRET }] } }),
        json!({ "environment_variable": "SIGNING_KEYS" }),
    ] {
        let config = json!({ "providers": { "corp": { "issuer": "a", "local_jwks": local } }, "rules": [] });
        let filter = Wasm::portcullis(config).env("SIGNING_KEYS", &format!("{{\"keys\":[\"{SECRET}\"]}}"));
        let error = start(filter).expect_err("no key is usable");
        assert!(
            told(&error, "providers.corp.local_jwks").len() + error.lines_with("local_jwks").len() > 0,
            "{error}"
        );
        let ours: Vec<_> = error.log.lines().filter_map(common::own_part).collect();
        assert!(!ours.iter().any(|line| line.contains(SECRET)), "{local}: {ours:?}");
    }
}

/// What a configuration makes of a few requests.
fn verdicts(gateway: &Gateway) -> Vec<(u16, Option<String>)> {
    let idp = &gateway.idp;
    let token = |scope: &str| idp.token(json!({ "scope": scope, "tenant": "acme", "level": 7 }));
    let tokens = [
        None,
        Some(token("orders:read")),
        Some(token("openid")),
        Some(idp.mint().alg(Alg::ES256).claim("scope", "orders:read").sign()),
        Some(flip_bit(&token("orders:read"))),
        Some(idp.mint().claim("scope", "orders:read").expires_in(-20).sign()),
        Some(idp.mint().claim("scope", "orders:read").without("exp").sign()),
        Some(idp.mint().claim("scope", "orders:read").claim("aud", "x").sign()),
    ];
    let mut verdicts = Vec::new();
    for path in ["/public/a", "/orders/7", "/tenants/a/b", "/elsewhere"] {
        for token in &tokens {
            let request = Request::get(path);
            let request = token.iter().fold(request, |request, token| request.bearer(token));
            let response = request.send(gateway.addr());
            let seen =
                (response.status == 200).then(|| gateway.upstream.last().headers_named("x-tenant").join("|"));
            verdicts.push((response.status, response.reason().or(seen)));
        }
    }
    verdicts
}

fn full(idp: &Idp) -> Value {
    json!({
        "providers": { "corp": {
            "issuer": idp.issuer(),
            "audiences": [AUDIENCE, "other"],
            "algorithms": ["RS256", "ES256"],
            "clock_skew_seconds": 0,
            "require_expiration": false,
            "remote_jwks": {
                "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "20s" },
                "cache_duration": "300s",
            },
            "from_headers": [{ "name": "Authorization", "value_prefix": "Bearer " }],
            "forward": false,
            "forward_payload_header": "x-jwt-payload",
            "claim_to_headers": [{ "header_name": "x-tenant", "claim_name": "tenant", "list_format": "json" }],
        } },
        "rules": [
            { "match": { "prefix": "/public/" } },
            { "name": "orders", "match": { "path_template": "/orders/{id}", "methods": ["GET"] },
              "requires": corp(), "authorize": { "scopes": { "all_of": ["orders:read"] } } },
            { "match": { "path_template": "/tenants/**" }, "requires": corp() },
        ],
        "unmatched": "deny",
    })
}

/// The members' names in lowerCamelCase, as protobuf's JSON writes them.
fn camel(value: &Value) -> Value {
    let name = |name: &String| {
        let mut parts = name.split('_');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |name, part| {
            let (head, tail) = part.split_at(part.len().min(1));
            name + &head.to_uppercase() + tail
        })
    };
    match value {
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (name(key), camel(value))).collect())
        }
        Value::Array(items) => items.iter().map(camel).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_struct_json_and_camel_case_give_the_same_verdicts() {
    type Form = (&'static str, fn(Value) -> Wasm);
    let forms: [Form; 4] = [
        ("JSON", Wasm::portcullis),
        ("Struct", |config| Wasm::portcullis(config).as_struct()),
        ("lowerCamelCase JSON", |config| Wasm::portcullis(camel(&config))),
        ("lowerCamelCase Struct", |config| Wasm::portcullis(camel(&config)).as_struct()),
    ];
    let mut first = None;
    for (name, form) in forms {
        let (idp, upstream) = (idp(), Upstream::start());
        let builder = Envoy::builder().shared().upstream(&upstream).idp("idp", &idp).filter(form(full(&idp)));
        let envoy = builder.start().unwrap_or_else(|error| panic!("{name}: {error}"));
        let gateway = Gateway { idp, upstream, envoy };
        let verdicts = verdicts(&gateway);
        // A clock skew of 0 means 0, and exp is not required: some of the table would differ by default.
        assert_eq!(verdicts[8 + 5], (401, Some("expired".to_owned())), "{name}");
        assert_eq!(verdicts[8 + 6].0, 200, "{name}");
        assert_eq!(verdicts[8 + 1], (200, Some("\"acme\"".to_owned())), "{name}");
        let expected = first.get_or_insert_with(|| verdicts.clone());
        assert_eq!(&verdicts, expected, "{name}");
        gateway.assert_sound();
    }
}

#[test]
fn a_duration_may_be_written_as_an_object() {
    let gateway = Gateway::start(|idp| {
        let mut corp_provider = provider(idp);
        corp_provider["remote_jwks"]["http_uri"]["timeout"] = json!({ "seconds": 5 });
        corp_provider["remote_jwks"]["cache_duration"] = json!({ "seconds": 600, "nanos": 0 });
        config(corp_provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
    });
    let token = gateway.idp.token(json!({}));
    assert_eq!(Request::get("/").bearer(&token).send(gateway.addr()).status, 200);
}

#[test]
fn keys_may_stand_in_the_configuration_or_in_an_environment_variable() {
    for as_struct in [false, true] {
        let (idp, upstream) = (idp(), Upstream::start());
        let keys = idp.jwks();
        idp.go_away();
        let sources = [
            ("inline", json!({ "inline": keys })),
            ("inline_string", json!({ "inline_string": keys.to_string() })),
            ("environment_variable", json!({ "environment_variable": "CORP_KEYS" })),
        ];
        let (mut providers, mut rules) = (json!({}), Vec::new());
        for (name, source) in &sources {
            providers[*name] = common::with(local_provider(&idp), json!({ "local_jwks": source }));
            rules.push(
                json!({ "match": { "path": format!("/{name}") }, "requires": { "provider_name": name } }),
            );
        }
        let filter = Wasm::portcullis(json!({ "providers": providers, "rules": rules }));
        let filter = if as_struct { filter.as_struct() } else { filter };
        let filter = filter.env("CORP_KEYS", &keys.to_string());
        let builder = Envoy::builder().shared().upstream(&upstream).filter(filter);
        let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
        for (name, _) in &sources {
            for alg in [Alg::RS256, Alg::ES256] {
                let token = idp.mint().alg(alg).sign();
                let ask =
                    |token: &str| Request::get(format!("/{name}")).bearer(token).send(envoy.addr()).status;
                assert_eq!((ask(&token), ask(&flip_bit(&token))), (200, 401), "{name}: {alg}");
            }
        }
    }
    let unset = config(
        json!({ "issuer": "a", "local_jwks": { "environment_variable": "NOT_SET" } }),
        json!([{ "match": { "prefix": "/" }, "requires": corp() }]),
    );
    let error = refused(PluginConfig::Json(unset));
    assert_told(&error, &[("providers.corp.local_jwks.environment_variable", "not set")]);
}

#[test]
fn what_is_legal_and_dangerous_is_a_warning() {
    let gateway = Gateway::start(|idp| {
        let mut corp_provider = local_provider(idp);
        for name in ["issuer", "audiences"] {
            corp_provider.as_object_mut().expect("an object").remove(name);
        }
        config(corp_provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
    });
    for name in ["issuer", "audiences"] {
        let line = gateway.envoy.wait_for_log(&format!("no \"{name}\""), common::SOON);
        assert!(line.contains("providers.corp") && line.contains("[warning]"), "{line}");
    }
    let token = gateway.idp.mint().without("aud").claim("iss", "anyone").sign();
    assert_eq!(Request::get("/").bearer(&token).send(gateway.addr()).status, 200, "as configured");
}

#[test]
fn two_filters_in_one_envoy_keep_to_themselves() {
    let (first, second, upstream) = (idp(), idp(), Upstream::start());
    second.set_keys([Key::cached(Alg::RS256, "second-1")]);
    let rules = || json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
    let listener = harness::Listener::new("second")
        .filter(Wasm::portcullis(config(local_provider(&second), rules())).name("second"));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .filter(Wasm::portcullis(config(local_provider(&first), rules())))
        .listener(listener)
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    for (idp, own, other) in [(&first, "main", "second"), (&second, "second", "main")] {
        let request = Request::get("/").bearer(&idp.token(json!({})));
        assert_eq!(request.send(envoy.addr_of(own)).status, 200);
        assert_eq!(request.send(envoy.addr_of(other)).status, 401);
    }
}
