//! The dynamic module: what it can do that the wasm plugin cannot, and that a panic in it refuses one request.
//! All other tests run on it too (`HOST=native`).

use crate::common;
use crate::keys_update::{put, watched};

use std::fs;
use std::path::PathBuf;

use common::{assert_problem, config, corp, local_provider, provider, with};
use harness::envoy::{Host, native_folder};
use harness::{Cluster, Envoy, Filter, Idp, Request, Response, SOON, Upstream, Wasm, eventually, workspace};
use serde_json::{Value, json};

/// What Envoy's `jwt_authn` writes, in the places where it does.
const OUTPUTS: [(&str, &str); 2] = [("payload_in_metadata", "claims"), ("header_in_metadata", "jose")];

fn told(provider: Value) -> Value {
    OUTPUTS.iter().fold(provider, |provider, (field, key)| with(provider, json!({ *field: key })))
}

/// Filters behind the gate that read its metadata, each in its own way.
fn readers() -> Vec<Filter> {
    let claim = |name: &str| json!([{ "key": "claims" }, { "key": name }]);
    let rbac = json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": { "action": "ALLOW", "policies": { "ann": {
                "permissions": [{ "any": true }],
                "principals": [{ "sourced_metadata": { "metadata_matcher": {
                    "filter": "envoy.filters.http.jwt_authn",
                    "path": claim("sub"),
                    "value": { "string_match": { "prefix": "ann" } },
                } } }],
            } } },
        },
    });
    let lua = json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": "
                function envoy_on_request(handle)
                  local all = handle:streamInfo():dynamicMetadata():get('envoy.filters.http.jwt_authn')
                  handle:headers():add('x-lua', all.claims.groups[2] .. ' ' .. tostring(all.claims.level) .. ' ' .. all.jose.alg)
                end" },
        },
    });
    let authz = json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "grpc_service": { "envoy_grpc": { "cluster_name": "authz" }, "timeout": "20s" },
            "metadata_context_namespaces": ["envoy.filters.http.jwt_authn"],
            // The service of this test only listens.
            "failure_mode_allow": true,
        },
    });
    [rbac, lua, authz].map(Filter::Raw).into()
}

/// What the readers saw of one request: the answer, what Lua and a route wrote, what the access log says, and whether
/// the claims reached the authorization service.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    lua: Option<String>,
    route: Option<String>,
    log: Value,
    authz: bool,
}

fn seen_behind(gate: Filter, idp: &Idp, subject: &str) -> Seen {
    const SUBJECT: &str = "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:sub)%";
    let (upstream, authz) = (Upstream::start(), Upstream::start());
    let mut builder = Envoy::builder()
        .upstream(&upstream)
        .cluster("authz", Cluster::new(authz.addr()).http2())
        .main(|listener| {
            listener
                .access_log_field("claims", "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims)%")
                .routes(json!([{
                    "match": { "prefix": "/" },
                    "route": { "cluster": "upstream" },
                    "request_headers_to_add": [{ "header": { "key": "x-route", "value": SUBJECT } }],
                }]))
        })
        .filter(gate);
    for reader in readers() {
        builder = builder.filter(reader);
    }
    let envoy = builder.start().unwrap_or_else(|error| panic!("{error}"));
    let claims =
        json!({ "sub": subject, "groups": ["a", "b"], "level": 7, "nested": { "deep": [true, null] } });
    let token = idp.token(claims);
    let response = Request::get("/orders").bearer(&token).send(envoy.addr());
    let record = upstream.take().pop();
    let header = |name: &str| record.as_ref().and_then(|record| record.header(name));
    let mut log = envoy.logged("/orders", SOON)["claims"].take();
    for time in ["iat", "exp", "nbf", "jti"] {
        log.as_object_mut().map(|claims| claims.remove(time));
    }
    let sent = authz.take();
    let has_claims = |record: &harness::Record| {
        let body = String::from_utf8_lossy(&record.body).into_owned();
        body.contains("envoy.filters.http.jwt_authn") && body.contains("groups") && body.contains(subject)
    };
    Seen {
        status: response.status,
        lua: header("x-lua"),
        route: header("x-route"),
        log,
        authz: sent.iter().any(has_claims),
    }
}

#[test]
fn whoever_reads_the_metadata_of_jwt_authn_reads_the_same_of_the_module() {
    let idp = common::idp();
    let one = |provider: Value| config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let module = |provider: Value| Filter::from(Wasm::portcullis(one(provider)).on(Host::Native));
    let native = |provider: Value| {
        let mut provider = provider;
        provider["local_jwks"] = json!({ "inline_string": idp.jwks().to_string() });
        let rules = json!([{ "match": { "prefix": "/" }, "requires": corp() }]);
        Filter::JwtAuthn(json!({ "providers": { "corp": provider }, "rules": rules }))
    };
    let provider = told(local_provider(&idp));
    if !takes_structures() {
        let upstream = Upstream::start();
        let refused = Envoy::builder().upstream(&upstream).filter(module(provider)).start();
        let error = refused.expect_err("an older Envoy takes no structures");
        assert!(
            !error.lines_with("providers.corp.payload_in_metadata: needs Envoy 1.40").is_empty(),
            "{error}"
        );
        return;
    }
    for subject in ["ann", "bob"] {
        let expected = seen_behind(native(provider.clone()), &idp, subject);
        let found = seen_behind(module(provider.clone()), &idp, subject);
        assert_eq!(found, expected, "{subject}");
        // The readers do read: else both would be the same for nothing.
        if subject == "ann" {
            assert_eq!(found.status, 200);
            assert_eq!(found.lua.as_deref(), Some("b 7 RS256"));
            assert_eq!(found.route.as_deref(), Some("ann"));
            assert_eq!(found.log["nested"], json!({ "deep": [true, null] }));
            assert!(found.authz);
        } else {
            assert_eq!(found.status, 403);
        }
    }
}

/// Whether the Envoy of these tests takes structures from a dynamic module.
fn takes_structures() -> bool {
    let upstream = Upstream::start();
    let envoy = Envoy::builder().upstream(&upstream).start().unwrap_or_else(|error| panic!("{error}"));
    envoy.version().minor >= 40
}

#[test]
fn why_a_request_is_refused_and_scopes_as_a_list_are_in_the_metadata_too() {
    if !takes_structures() {
        return;
    }
    let more = json!({
        "payload_in_metadata": "claims",
        "failed_status_in_metadata": "why",
        "normalize_payload_in_metadata": { "space_delimited_claims": ["scope"] },
    });
    let idp = common::idp();
    let upstream = Upstream::start();
    let config =
        config(with(local_provider(&idp), more), json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .main(|listener| {
            listener
                .access_log_field("why", "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:why)%")
                .access_log_field("scope", "%DYNAMIC_METADATA(envoy.filters.http.jwt_authn:claims:scope)%")
        })
        .filter(Wasm::portcullis(config).on(Host::Native))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let good = Request::get("/good").bearer(&idp.token(json!({ "scope": "read  write" })));
    assert_eq!(good.send(envoy.addr()).status, 200);
    assert_eq!(envoy.logged("/good", SOON)["scope"], json!(["read", "write"]));
    assert_problem("none", &Request::get("/bad").send(envoy.addr()), 401, "token_missing");
    assert_eq!(envoy.logged("/bad", SOON)["why"], json!({ "code": 401, "message": "token_missing" }));
}

#[test]
fn a_route_says_by_per_route_configuration_what_it_asks_for() {
    let idp = common::idp();
    let upstream = Upstream::start();
    let per_route = |says: Value| {
        json!({ "envoy.filters.http.dynamic_modules.portcullis": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
            "dynamic_module_config": { "name": "portcullis", "do_not_close": true },
            "per_route_config_name": "portcullis",
            "filter_config": { "@type": "type.googleapis.com/google.protobuf.Struct", "value": says },
        } })
    };
    let route = |prefix: &str, says: Value| json!({ "match": { "prefix": prefix }, "route": { "cluster": "upstream" }, "typed_per_filter_config": per_route(says) });
    let routes = json!([
        route("/admin/", json!({ "scopes": ["admin"] })),
        route("/off/", json!({ "disabled": true })),
        route("/open/", json!({ "rule": "open" })),
        { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
    ]);
    let rules = json!([
        { "name": "open", "match": { "path": "/nowhere" } },
        { "name": "all", "match": { "prefix": "/" }, "requires": corp() },
    ]);
    let config =
        with(config(local_provider(&idp), rules), json!({ "route_rules": { "allow_disable": true } }));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .main(|listener| listener.routes(routes))
        .filter(Wasm::portcullis(config).on(Host::Native))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let reader = idp.token(json!({ "scope": "read" }));
    let admin = idp.token(json!({ "scope": "admin" }));
    let ask = |path: &str, token: Option<&str>| -> Response {
        let request = Request::get(path);
        token.map_or(request.clone(), |token| request.bearer(token)).send(envoy.addr())
    };
    assert_eq!(ask("/x", Some(&reader)).status, 200);
    assert_problem("no token", &ask("/x", None), 401, "token_missing");
    assert_problem("reader", &ask("/admin/x", Some(&reader)), 403, "scope_insufficient");
    assert_eq!(ask("/admin/x", Some(&admin)).status, 200);
    assert_eq!(ask("/off/x", None).status, 200);
    assert_eq!(ask("/open/x", None).status, 200);
}

#[test]
fn a_key_set_may_stand_in_a_file() {
    let idp = common::idp();
    let folder = std::env::temp_dir().join(format!("portcullis-keys-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("jwks.json");
    fs::write(&file, idp.jwks().to_string()).expect("the file is written");
    let with_file = |name: &str| {
        let mut provider = local_provider(&idp);
        provider["local_jwks"] = json!({ "filename": name });
        config(provider, json!([{ "match": { "prefix": "/" }, "requires": corp() }]))
    };
    let upstream = Upstream::start();
    let start = |name: &str| {
        Envoy::builder()
            .upstream(&upstream)
            .filter(Wasm::portcullis(with_file(name)).on(Host::Native))
            .start()
    };
    let envoy = start(&file.to_string_lossy()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Request::get("/").bearer(&idp.token(json!({}))).send(envoy.addr()).status, 200);
    drop(envoy);
    for (name, why) in [("/no/such/file", "cannot be read"), ("/", "is no file")] {
        let error = start(name).expect_err("it is refused");
        let lines = error.lines_with("providers.corp.local_jwks.filename");
        assert!(lines.iter().any(|line| line.contains(why)), "{name}: {lines:?}");
    }
    let _ = fs::remove_dir_all(&folder);
}

fn panicking() -> PathBuf {
    let folder = workspace().join("dist/test");
    let module = folder.join("libportcullis.so");
    assert!(module.is_file(), "{} is missing: make native-for-tests builds it", module.display());
    folder
}

#[test]
fn a_hook_that_panics_refuses_that_request_alone_and_is_counted() {
    const TRIGGER: &str = "x-portcullis-panic-for-tests";
    let (idp, upstream) = (common::idp(), Upstream::start());
    let config = config(provider(&idp), json!([{ "match": { "prefix": "/" }, "requires": corp() }]));
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .idp("idp", &idp)
        .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", &panicking().to_string_lossy())
        .filter(Wasm::portcullis(config).on(Host::Native))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let good = Request::post("/orders", "x").bearer(&token);
    let served = || {
        eventually("it serves", SOON, || (good.send(envoy.addr()).status == 200).then_some(()));
    };
    served();
    let hooks =
        ["request_headers", "request_body", "request_trailers", "response_headers", "scheduled", "destroy"];
    for (at, hook) in hooks.iter().enumerate() {
        let mut request = good.clone().header(TRIGGER, hook);
        if *hook == "request_trailers" {
            request = request.trailer("x-end", "1");
        }
        if *hook == "scheduled" {
            // It waits for keys, and panics when it is woken.
            idp.rotate(true);
            request = Request::get("/wait").bearer(&idp.token(json!({}))).header(TRIGGER, hook);
        }
        // Over HTTP/1.1 Envoy drops trailers.
        let response = request.send_h2(envoy.addr());
        let refused = *hook != "destroy";
        assert_eq!(response.status, if refused { 503 } else { 200 }, "{hook}: {response:?}");
        served();
        // Envoy 1.38 takes a count with the next request.
        let count = eventually("the count of panics", SOON, || {
            let count = envoy.stat("dynamicmodulescustom.portcullis.panics");
            served();
            (count > at as u64).then_some(count)
        });
        assert_eq!(count, at as u64 + 1, "{hook}");
    }
    assert!(envoy.is_running());
    assert_eq!(idp.fetches(), 2, "the keys were in the store");
    let plain = fs::read(native_folder().join("libportcullis.so")).expect("make native builds it");
    assert!(
        !plain.windows(TRIGGER.len()).any(|window| window == TRIGGER.as_bytes()),
        "the module has the trigger"
    );
}

#[test]
fn a_thousand_configurations_leave_no_more_behind_than_the_first_hundred() {
    const MORE: usize = 16 * 1024 * 1024;
    let (idp, upstream) = (common::idp(), Upstream::start());
    let folder = std::env::temp_dir().join(format!("portcullis-updates-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let inside = folder.clone();
    let config = |number: usize| {
        let rules =
            json!([{ "name": format!("all-{number}"), "match": { "prefix": "/" }, "requires": corp() }]);
        json!({ "providers": { "corp": local_provider(&idp) }, "rules": rules })
    };
    let listeners = std::sync::Arc::new(std::sync::Mutex::new(Value::Null));
    let kept = std::sync::Arc::clone(&listeners);
    let envoy = Envoy::builder()
        .upstream(&upstream)
        .argument("--drain-time-s")
        .argument("1")
        .filter(Wasm::portcullis(config(0)).on(Host::Native))
        .patch(move |bootstrap| {
            *kept.lock().expect("nobody panicked") = bootstrap["static_resources"]["listeners"].clone();
            watched(bootstrap, &inside);
        })
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({}));
    let mut listeners = listeners.lock().expect("nobody panicked").take();
    // The listener is to keep its port.
    listeners[0]["address"]["socket_address"]["port_value"] = json!(envoy.addr().port());
    let mut after = Vec::new();
    for number in 1..=1000 {
        let filters = &mut listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
        let own = filters.as_array_mut().and_then(|filters| {
            filters.iter_mut().find(|filter| filter["typed_config"]["filter_config"].is_object())
        });
        own.expect("the gate")["typed_config"]["filter_config"]["value"] = json!(config(number).to_string());
        put(&folder, &listeners);
        let taken =
            envoy.wait_for_stat("listener_manager.lds.update_success", SOON, |count| count > number as u64);
        assert!(taken > number as u64);
        // Each worker makes a gate of it.
        if number % 10 == 0 {
            let answer = Request::get("/").bearer(&token).send(envoy.addr());
            assert_eq!(answer.status, 200, "{number}: {}", answer.text());
        }
        if number % 100 == 0 {
            after.push(envoy.memory());
        }
    }
    let (first, last) = (after[0], after[after.len() - 1]);
    assert!(last < first + MORE as u64, "{after:?}");
    assert_eq!(envoy.stat("listener_manager.lds.update_rejected"), 0);
    let _ = fs::remove_dir_all(&folder);
}
