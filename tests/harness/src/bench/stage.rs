//! The Envoy that is measured, and the requests that it gets.

use serde_json::{Value, json};

use super::measure::Processor;
use super::plan::{Plan, Tokens, Variant};
use crate::client::Request;
use crate::envoy::{Envoy, Filter, Listener, PluginConfig, Wasm, portcullis_module};
use crate::idp::{Alg, Key, TokenBuilder, jwks, now};

const ISSUER: &str = "https://idp.example/";
const AUDIENCE: &str = "orders";

/// A running Envoy with a listener for each variant.
pub(super) struct Stage {
    pub(super) envoy: Envoy,
    pub(super) processor: Processor,
    keys: Vec<Key>,
}

impl Stage {
    pub(super) fn start(plan: &Plan) -> Result<Self, String> {
        let module = portcullis_module();
        if !module.is_file() {
            return Err(format!("the filter is not built: {} is missing (make wasm)", module.display()));
        }
        let modules = plan.variants.iter().filter_map(|variant| match variant {
            Variant::Module { path, .. } => Some(path),
            _ => None,
        });
        if let Some(missing) = modules.into_iter().find(|path| !path.is_file()) {
            return Err(format!("{} is missing", missing.display()));
        }
        let keys: Vec<Key> = plan.algs.iter().map(|alg| Key::generate(*alg, alg.name())).collect();
        let mut builder = Envoy::builder()
            .log_level("warn", "")
            .main(|_| listener(&Variant::None, &keys))
            .patch(|bootstrap| bootstrap["stats_flush_interval"] = json!("60s"));
        for variant in plan.variants.iter().filter(|variant| **variant != Variant::None) {
            builder = builder.listener(listener(variant, &keys));
        }
        let envoy = builder.start().map_err(|error| error.to_string())?;
        let processor = Processor::of(envoy.pid())?;
        Ok(Self { envoy, processor, keys })
    }

    /// The requests of a round, as they go over the wire.
    pub(super) fn requests(&self, alg: Alg, tokens: Tokens, plan: &Plan) -> Vec<Vec<u8>> {
        let count = match tokens {
            Tokens::One => 1,
            Tokens::Thousand => 1000,
            Tokens::Once => plan.pool,
        };
        let key = self.keys.iter().find(|key| key.alg() == alg).expect("a key of every algorithm");
        let base = TokenBuilder::new(key, ISSUER, AUDIENCE).claims(json!({
            "exp": now() + 24 * 3600,
            "sub": "2f1c9a6e-5b8d-4d0e-9b1f-0d6f3c1f7a55",
            "azp": "storefront",
            "tenant": "acme",
            "email": "alice@acme.example",
            "email_verified": true,
            "scope": "openid profile orders:read orders:write",
            "groups": ["clerks", "buyers"],
        }));
        let token = |number: usize| base.clone().claim("jti", format!("{:016x}", number)).sign();
        // The fields that a browser's call through a load balancer would have, give or take.
        let request = |token: String| {
            Request::get("/orders/7?expand=items")
                .header(
                    "user-agent",
                    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                )
                .header("accept", "application/json")
                .header("accept-encoding", "gzip, deflate, br")
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                .bearer(&token)
                .to_bytes()
        };
        (0..count).map(|number| request(token(number))).collect()
    }
}

fn listener(variant: &Variant, keys: &[Key]) -> Listener {
    let listener = Listener::new(variant.name())
        .without_access_log()
        .routes(json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]));
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
    match variant {
        Variant::None => listener,
        Variant::Native => listener.filter(Filter::JwtAuthn(config(provider(json!({})), &one_rule))),
        Variant::NativeCached => {
            let cache = json!({ "jwt_cache_config": { "jwt_cache_size": 1000, "jwt_max_token_size": 4096 } });
            listener.filter(Filter::JwtAuthn(config(provider(cache), &one_rule)))
        }
        Variant::Portcullis => listener.filter(Wasm::portcullis(config(provider(json!({})), &one_rule))),
        Variant::Module { path, .. } => {
            let config = PluginConfig::Json(config(provider(json!({})), &one_rule));
            listener.filter(Wasm::new(path, config))
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
            listener.filter(Wasm::portcullis(config(provider(headers), &rules)))
        }
    }
}
