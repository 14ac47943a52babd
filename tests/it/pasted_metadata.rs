//! Configurations of `jwt_authn` that write metadata load on the dynamic module as they are, and whoever reads the
//! metadata reads the same. The configurations are in `pasted_metadata.yaml`.

use crate::common;

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::AUDIENCE;
use harness::envoy::Host;
use harness::idp::jwks;
use harness::{Alg, Envoy, Filter, Idp, Key, Listener, Request, TokenBuilder, Upstream, Wasm, workspace};
use serde_json::{Map, Value, json};

const OTHER: &str = "https://other.example";

fn other_key() -> Key {
    Key::cached(Alg::ES256, "partner")
}

/// One configuration, and what the routes say of it.
struct Form {
    name: String,
    config: Value,
    /// The requirement that the route names.
    route: Option<String>,
    lists_why: bool,
}

/// The forms, with what stands for issuers and keys filled in.
fn forms(idp: &Idp, keys_file: &str) -> Vec<Form> {
    let text = fs::read_to_string(workspace().join("tests/it/pasted_metadata.yaml")).expect("the forms");
    let all: Vec<Value> = serde_norway::from_str(&text).expect("YAML");
    let keys = idp.jwks().to_string();
    let filled = |word: &str| match word {
        "AUDIENCE" => Some(AUDIENCE.to_owned()),
        "ISSUER" => Some(idp.issuer().to_owned()),
        "KEYS" => Some(keys.clone()),
        "KEYS_BASE64" => Some(BASE64_STANDARD.encode(&keys)),
        "KEYS_FILE" => Some(keys_file.to_owned()),
        "KEYS_URI" => Some(idp.jwks_uri()),
        "OTHER" => Some(OTHER.to_owned()),
        "OTHER_KEYS" => Some(jwks([&other_key()]).to_string()),
        _ => None,
    };
    let form = |mut form: Value| Form {
        name: form["name"].as_str().expect("a name").to_owned(),
        route: form["route"].as_str().map(str::to_owned),
        lists_why: form["lists_why"] == true,
        config: fill(form["config"].take(), &filled),
    };
    all.into_iter().map(form).collect()
}

fn fill(value: Value, filled: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::String(text) => Value::String(filled(&text).unwrap_or(text)),
        Value::Array(items) => items.into_iter().map(|item| fill(item, filled)).collect(),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, fill(value, filled))).collect())
        }
        other => other,
    }
}

/// A listener whose upstream is told the metadata, under a route that says `per_route`.
fn listener(name: &str, filter: Filter, per_route: Option<Value>) -> Listener {
    let mut route = json!({
        "match": { "prefix": "/" },
        "route": { "cluster": "upstream" },
        "request_headers_to_add": [{ "header": {
            "key": "x-metadata",
            "value": "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%",
        } }],
    });
    if let Some(per_route) = per_route {
        route["typed_per_filter_config"] = per_route;
    }
    Listener::new(name).without_access_log().filter(filter).routes(json!([route]))
}

fn of_jwt_authn(requirement: &str) -> Value {
    json!({ "envoy.filters.http.jwt_authn": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig",
        "requirement_name": requirement,
    } })
}

fn of_module(filter: &str, requirement: &str) -> Value {
    json!({ format!("envoy.filters.http.dynamic_modules.{filter}"): {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
        "dynamic_module_config": { "name": "portcullis", "do_not_close": true },
        "per_route_config_name": "portcullis",
        "filter_config": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": { "requirement": requirement },
        },
    } })
}

/// What came of a request: whether it passed, and the metadata that the upstream was told.
fn outcome(
    envoy: &Envoy,
    upstream: &Upstream,
    listener: &str,
    request: &Request,
    form: &Form,
) -> (bool, Value) {
    let answer = request.send(envoy.addr_of(listener));
    let record = upstream.take().pop();
    let told = record.and_then(|record| record.header("x-metadata")).unwrap_or_default();
    let mut metadata = serde_json::from_str(&told).unwrap_or(Value::Null);
    if form.lists_why && metadata.get("why").is_some() {
        metadata["why"] = json!("there");
    }
    (answer.status == 200, metadata)
}

fn requests(idp: &Idp) -> Vec<(&'static str, Request)> {
    let claims = json!({
        "sub": "alice", "scope": "read write", "scp": "", "team": { "name": "blue", "size": 7 }, "admin": true,
        "roles": ["a", "b"], "none": null, "rate": 0.5,
    });
    let good = idp.token(claims);
    let others = TokenBuilder::new(&other_key(), OTHER, AUDIENCE).claim("sub", "bob").sign();
    let orders = || Request::get("/orders/1");
    vec![
        ("none", orders()),
        ("good", orders().bearer(&good)),
        ("of the other issuer", orders().bearer(&others)),
        ("both", orders().bearer(&good).header("x-token", &others)),
        ("in a parameter", Request::get(format!("/orders/1?t={good}"))),
        ("in a cookie", orders().header("cookie", format!("session={good}"))),
        ("expired", orders().bearer(&idp.token(json!({ "exp": 1_000_000_000 })))),
        ("of another audience", orders().bearer(&idp.token(json!({ "aud": "nobody" })))),
        ("under a stricter rule", Request::get("/orders/closed").bearer(&good)),
        ("none, under a stricter rule", Request::get("/orders/closed")),
    ]
}

#[test]
fn configurations_that_write_metadata_load_as_they_are_and_write_the_same() {
    let (idp, upstream) = (common::idp(), Upstream::start());
    let envoy = harness::envoy::find().unwrap_or_else(|error| panic!("{error}"));
    if envoy.version.minor < 40 {
        let reason = "Envoy before 1.40 takes no structures from a module: the fields are refused";
        return harness::skip(
            "configurations_that_write_metadata_load_as_they_are_and_write_the_same",
            reason,
        );
    }
    let file = std::env::temp_dir().join(format!("portcullis-keys-{}.json", std::process::id()));
    fs::write(&file, idp.jwks().to_string()).expect("a file");
    let forms = forms(&idp, &file.display().to_string());
    assert!(forms.len() >= 24, "{}", forms.len());
    let mut builder = Envoy::builder().upstream(&upstream).idp("idp", &idp);
    for (at, form) in forms.iter().enumerate() {
        let route = form.route.as_deref();
        let native = Filter::JwtAuthn(form.config.clone());
        builder = builder.listener(listener(&format!("native-{at}"), native, route.map(of_jwt_authn)));
        let name = format!("own-{at}");
        let own = Wasm::portcullis(form.config.clone()).name(&name).on(Host::Native);
        builder = builder.listener(listener(&name, own.into(), route.map(|route| of_module(&name, route))));
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let (mut wrong, mut told) = (Vec::new(), 0);
    for (at, form) in forms.iter().enumerate() {
        let mut any = Map::new();
        for (name, request) in requests(&idp) {
            let of = |whose: &str| outcome(&envoy, &upstream, &format!("{whose}-{at}"), &request, form);
            let (theirs, ours) = (of("native"), of("own"));
            if theirs != ours {
                wrong.push(format!("{}, {name}: jwt_authn {theirs:?}, the module {ours:?}", form.name));
            }
            any.extend(ours.1.as_object().cloned().unwrap_or_default());
        }
        told += usize::from(!any.is_empty());
    }
    let _ = fs::remove_file(&file);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(told, forms.len(), "each writes metadata");
    common::assert_sound(&envoy);
}
