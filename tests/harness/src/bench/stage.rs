//! The Envoy that is measured, and the requests that it gets.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::growth::{GROWN, Traffic};
use super::measure::Processor;
use super::plan::{Part, Plan, Tokens, Variant};
use super::portable;
use crate::client::Request;
use crate::envoy::{
    Cluster, Envoy, Filter, Host, Listener, PluginConfig, Wasm, native_folder, portcullis_module,
};
use crate::idp::{Alg, Key, TokenBuilder, jwks, now};
use crate::port::Port;
use crate::upstream::{Answer, Upstream};
use crate::vectors::workspace;

const ISSUER: &str = "https://idp.example/";
const AUDIENCE: &str = "orders";
/// The cluster and the listener of the service that `ext_authz` asks.
const SERVICE: &str = "ext_authz_service";

/// The cluster of the service that `ext_authz` asks over gRPC.
const GRPC_SERVICE: &str = "ext_authz_grpc_service";

/// A running Envoy with a listener for each variant.
pub(super) struct Stage {
    pub(super) envoy: Envoy,
    pub(super) processor: Processor,
    /// The provider's keys.
    keys: Vec<Key>,
    /// Where the service listens that `ext_authz` asks.
    _port: Option<Port>,
    /// The service that it asks over gRPC.
    _service: Option<Upstream>,
}

impl Stage {
    /// With so many workers, and a key for each algorithm. A listener without a filter is always there.
    pub(super) fn start<'v>(
        variants: impl IntoIterator<Item = &'v Variant>,
        algs: impl IntoIterator<Item = Alg>,
        workers: u32,
    ) -> Result<Self, String> {
        let mut distinct: Vec<&Variant> = Vec::new();
        for variant in variants {
            if !distinct.contains(&variant) {
                distinct.push(variant);
            }
        }
        if let Some(missing) =
            distinct.iter().filter_map(|variant| module(variant)).find(|path| !path.is_file())
        {
            return Err(format!("{} is missing (make bench builds what it needs)", missing.display()));
        }
        let mut keys: Vec<Key> = Vec::new();
        for alg in algs {
            if !keys.iter().any(|key| key.alg() == alg) {
                keys.push(Key::generate(alg, alg.name()));
            }
        }
        // Left to the kernel, connections are spread as chance will have it.
        let spread = |listener: Listener| match workers {
            1 => listener,
            _ => listener.field("connection_balance_config", json!({ "exact_balance": {} })),
        };
        let mut builder = Envoy::builder()
            .log_level("warn", "wasm:info")
            .concurrency(workers)
            .main(|_| spread(listener(&Variant::None, &keys)))
            .patch(|bootstrap| bootstrap["stats_flush_interval"] = json!("60s"));
        let (mut port, mut service) = (None, None);
        for variant in distinct.into_iter().filter(|variant| **variant != Variant::None) {
            if *variant == Variant::ExtAuthz {
                let addr = port.get_or_insert_with(Port::reserve).addr();
                builder = builder.cluster(SERVICE, Cluster::new(addr)).listener(bare(SERVICE).listen(addr));
            }
            if *variant == Variant::ExtAuthzGrpc {
                let addr = service.get_or_insert_with(allowing).addr();
                builder = builder.cluster(GRPC_SERVICE, Cluster::new(addr).http2());
            }
            builder = builder.listener(spread(listener(variant, &keys)));
        }
        let envoy = builder.start().map_err(|error| error.to_string())?;
        let processor = Processor::of(envoy.pid())?;
        Ok(Self { envoy, processor, keys, _port: port, _service: service })
    }

    /// The requests of a round.
    pub(super) fn requests(&self, alg: Alg, tokens: Tokens, plan: &Plan) -> Vec<Vec<u8>> {
        let count = match tokens {
            Tokens::One => 1,
            Tokens::Thousand => 1000,
            Tokens::Once => plan.pool,
        };
        requests(key_of(&self.keys, alg), count)
    }

    /// The requests of one kind of traffic.
    pub(super) fn traffic(&self, alg: Alg, traffic: Traffic) -> Vec<Vec<u8>> {
        let key = key_of(&self.keys, alg);
        let one = |token: &TokenBuilder| vec![request(Some(&token.sign()))];
        match traffic {
            Traffic::Good(count) => requests(key, count),
            Traffic::Long => {
                let about: Vec<String> =
                    (0..64).map(|number| format!("group-{number:04}-{:026}", 0)).collect();
                one(&token(key).claim("about", about))
            }
            Traffic::Missing => vec![request(None)],
            Traffic::Malformed => vec![request(Some(&token(key).sign().replace('.', "!")))],
            Traffic::Expired => one(&token(key).claim("exp", now() - 24 * 3600)),
            Traffic::Foreign => one(&token(key).claim("iss", "https://elsewhere.example/")),
            Traffic::OtherAlgorithm => {
                let secret = Key::hmac(Alg::HS256, key.kid(), key.public_pem().as_bytes());
                one(&token(key).key(&secret))
            }
            Traffic::Forged(count) => {
                let forger = Key::generate(key.alg(), key.kid());
                requests(&forger, count)
            }
        }
    }
}

/// Requests with so many good tokens, as they go over the wire.
pub(super) fn requests(key: &Key, count: usize) -> Vec<Vec<u8>> {
    let token = token(key);
    let token = |number: usize| token.clone().claim("jti", format!("{:016x}", number)).sign();
    (0..count).map(|number| request(Some(&token(number)))).collect()
}

/// A token with the claims that a person's access token would have, give or take.
fn token(key: &Key) -> TokenBuilder {
    TokenBuilder::new(key, ISSUER, AUDIENCE).claims(json!({
        "exp": now() + 24 * 3600,
        "sub": "2f1c9a6e-5b8d-4d0e-9b1f-0d6f3c1f7a55",
        "azp": "storefront",
        "tenant": "acme",
        "email": "alice@acme.example",
        "email_verified": true,
        "scope": "openid profile orders:read orders:write",
        "groups": ["clerks", "buyers"],
    }))
}

/// A request with the fields that a browser's call through a load balancer would have, give or take.
fn request(token: Option<&str>) -> Vec<u8> {
    let request = Request::get("/orders/7?expand=items")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate, br")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    match token {
        Some(token) => request.bearer(token),
        None => request,
    }
    .to_bytes()
}

fn key_of(keys: &[Key], alg: Alg) -> &Key {
    keys.iter().find(|key| key.alg() == alg).expect("a key of every algorithm")
}

/// The module that a variant needs.
fn module(variant: &Variant) -> Option<PathBuf> {
    let built = |name| Some(workspace().join("dist").join(name));
    match variant {
        Variant::DynamicQuiet | Variant::Dynamic | Variant::DynamicFull => {
            Some(native_folder().join("libportcullis.so"))
        }
        Variant::EmptyModule => Some(native_folder().join("libempty.so")),
        Variant::None
        | Variant::Lua
        | Variant::Native
        | Variant::NativeCached
        | Variant::ExtAuthz
        | Variant::ExtAuthzGrpc => None,
        Variant::Empty => built("empty.wasm"),
        Variant::Baseline(_) => built("baseline.wasm"),
        Variant::Module { path, .. } => Some(path.clone()),
        _ => Some(portcullis_module()),
    }
}

/// A service that allows everything: each answer is a `CheckResponse` with nothing in it.
fn allowing() -> Upstream {
    let service = Upstream::terse();
    service.answer_with(Some(Answer { body: vec![0; 5], ..Answer::default() }));
    service
}

/// A listener that answers by itself.
fn bare(name: &str) -> Listener {
    Listener::new(name)
        .without_access_log()
        .routes(json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]))
}

pub(super) fn listener(variant: &Variant, keys: &[Key]) -> Listener {
    let name = variant.name();
    match variant.of_module() {
        Some(plugin) => listener_on(Host::Native, &name, &plugin, keys),
        None => listener_on(Host::Wasm, &name, variant, keys),
    }
}

fn listener_on(host: Host, name: &str, variant: &Variant, keys: &[Key]) -> Listener {
    let listener = bare(name);
    let filter = |config| {
        let path = module(variant).expect("a variant with a module");
        Wasm::new(&path, config)
    };
    let provider = |change: Value| {
        let mut provider = json!({
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "local_jwks": { "inline_string": jwks(keys).to_string() },
        });
        if let (Some(provider), Value::Object(change)) = (provider.as_object_mut(), change) {
            provider.extend(change);
        }
        json!({ "corp": provider })
    };
    let requires = json!({ "provider_name": "corp" });
    let one_rule = json!([{ "match": { "prefix": "/" }, "requires": requires }]);
    let config = |providers: Value, rules: &Value| json!({ "providers": providers, "rules": rules });
    // All filter state, so that the variants differ in what their names say.
    let ours = |providers: Value, rules: &Value| {
        let mut config = config(providers, rules);
        config["filter_state"] = json!(["decision", "reason", "rule", "provider", "subject", "scopes"]);
        config
    };
    match variant {
        Variant::None => listener,
        Variant::Native => listener.filter(Filter::JwtAuthn(config(provider(json!({})), &one_rule))),
        Variant::NativeCached => {
            let cache = json!({ "jwt_cache_config": { "jwt_cache_size": 1000, "jwt_max_token_size": 4096 } });
            listener.filter(Filter::JwtAuthn(config(provider(cache), &one_rule)))
        }
        Variant::ExtAuthz => listener.filter(Filter::Raw(json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "http_service": {
                    "server_uri": { "uri": format!("http://{SERVICE}"), "cluster": SERVICE, "timeout": "5s" },
                },
            },
        }))),
        Variant::ExtAuthzGrpc => listener.filter(Filter::Raw(json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": { "envoy_grpc": { "cluster_name": GRPC_SERVICE }, "timeout": "5s" },
            },
        }))),
        Variant::Lua => listener.filter(Filter::Raw(json!({
            "name": "envoy.filters.http.lua",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": {
                    "inline_string": "function envoy_on_request(handle) handle:headers():get('authorization') end",
                },
            },
        }))),
        Variant::EmptyModule => listener.filter(Filter::Raw(json!({
            "name": "envoy.filters.http.dynamic_modules",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
                "dynamic_module_config": { "name": "empty", "do_not_close": true },
                "filter_name": "empty",
            },
        }))),
        Variant::Portcullis => {
            listener.filter(Wasm::portcullis(ours(provider(json!({})), &one_rule)).on(host))
        }
        Variant::Empty => listener.filter(filter(PluginConfig::Json(json!({}))).name("empty")),
        Variant::Quiet => {
            let mut config = ours(provider(json!({})), &one_rule);
            config["filter_state"] = json!([]);
            config["route_rules"] = json!(false);
            listener.filter(Wasm::portcullis(config).on(host))
        }
        Variant::Without(part) => {
            let change = if *part == Part::Removal { json!({ "forward": true }) } else { json!({}) };
            let mut config = ours(provider(change), &one_rule);
            match part {
                Part::State => config["filter_state"] = json!([]),
                Part::RouteRules => config["route_rules"] = json!(false),
                Part::Removal => {}
            }
            listener.filter(Wasm::portcullis(config))
        }
        Variant::Rules(count) => {
            let rule = |number: usize| {
                json!({
                    "name": format!("service-{number}"),
                    "match": { "path_template": format!("/service-{number}/items/{{item}}"), "methods": ["GET"] },
                    "requires": requires,
                })
            };
            let mut rules: Vec<Value> = (2..*count).map(rule).collect();
            rules.push(json!({
                "name": "orders",
                "match": { "path_template": "/orders/{order}", "methods": ["GET"] },
                "requires": requires,
            }));
            rules.push(one_rule[0].clone());
            listener.filter(Wasm::portcullis(ours(provider(json!({})), &json!(rules))))
        }
        Variant::Keys(count) => {
            let more = (1..*count).map(|number| Key::generate(GROWN, &format!("other-{number}")));
            let set: Vec<Key> = more.chain([key_of(keys, GROWN).clone()]).collect();
            let change = json!({ "local_jwks": { "inline_string": jwks(&set).to_string() } });
            listener.filter(Wasm::portcullis(ours(provider(change), &one_rule)))
        }
        Variant::Cache(count) => {
            let cache = json!({ "jwt_cache_config": { "jwt_cache_size": count } });
            listener.filter(Wasm::portcullis(ours(provider(cache), &one_rule)))
        }
        // They are the plugin's by now.
        Variant::DynamicQuiet | Variant::Dynamic | Variant::DynamicFull => listener,
        Variant::Portable(count) => {
            let cache = json!({ "jwt_cache_config": { "jwt_cache_size": count } });
            let wasm = Wasm::portcullis(ours(provider(cache), &one_rule));
            listener.filter(portable::without_host_crypto(wasm))
        }
        Variant::Baseline(alg) => {
            let key = STANDARD.encode(key_of(keys, *alg).public_der());
            listener.filter(filter(PluginConfig::Text(format!("{alg} {key}"))).name("baseline"))
        }
        Variant::Module { path, .. } => {
            let mut config = ours(provider(json!({})), &one_rule);
            let is_native = path.extension().is_some_and(|extension| extension == "so");
            if is_native {
                config["filter_state"] = json!([]);
                config["route_rules"] = json!(false);
            }
            let filter = filter(PluginConfig::Json(config));
            listener.filter(if is_native { filter.on(Host::Native) } else { filter })
        }
        Variant::PortcullisFull => {
            let headers = json!({ "claim_to_headers": [
                { "header_name": "x-user", "claim_name": "sub" },
                { "header_name": "x-tenant", "claim_name": "tenant" },
            ] });
            let rules = json!([
                { "name": "health", "match": { "path": "/healthz" } },
                { "name": "users", "match": { "prefix": "/users" }, "requires": requires },
                {
                    "name": "orders-write",
                    "match": { "path_template": "/orders/**", "methods": ["POST", "PUT", "DELETE"] },
                    "requires": requires,
                    "authorize": { "scopes": { "all_of": ["orders:write"] } },
                },
                {
                    "name": "orders-read",
                    "match": { "path_template": "/orders/{order}", "methods": ["GET", "HEAD"] },
                    "requires": requires,
                    "authorize": { "scopes": { "all_of": ["orders:read"] } },
                },
            ]);
            listener.filter(Wasm::portcullis(ours(provider(headers), &rules)).on(host))
        }
    }
}
