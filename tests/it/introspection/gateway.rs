//! A real Envoy whose filter asks a real endpoint.

use harness::envoy::EnvoyBuilder;
use harness::idp::GATE;
use harness::{Envoy, Idp, Request, Response, Upstream, Wasm};
use serde_json::{Value, json};

use crate::common::{FILTER_STATE, Gateway, idp, local_provider, with};

/// How many workers an Envoy has here.
pub(super) const WORKERS: usize = 2;

/// The variable with the gate's secret.
pub(super) const VARIABLE: &str = "INTROSPECTION_SECRET";

/// An introspection block for this provider, with these fields on top.
pub(super) fn block(idp: &Idp, more: Value) -> Value {
    let usual = json!({
        "http_uri": { "uri": idp.introspection_uri(), "cluster": "idp", "timeout": "5s" },
        "client_id": GATE.0,
        "client_secret": { "environment_variable": VARIABLE },
    });
    with(usual, more)
}

/// `/opaque` takes opaque tokens; `/pay` JWTs that are asked about; `/read` the same JWTs, which are not.
pub(super) fn config(idp: &Idp, block: &Value) -> Value {
    let opaque = json!({
        "issuer": idp.issuer(),
        "audiences": [idp.audience()],
        "introspection": block,
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    });
    let corp = with(local_provider(idp), json!({ "introspection": block }));
    let rule = |prefix: &str, provider: &str| json!({ "match": { "prefix": prefix }, "requires": { "provider_name": provider } });
    json!({
        "providers": { "opaque": opaque, "corp": corp },
        "rules": [
            rule("/opaque", "opaque"),
            with(rule("/pay", "corp"), json!({ "introspect": true })),
            rule("/read", "corp"),
        ],
        "filter_state": FILTER_STATE,
    })
}

/// Starts it all; the fields go on top of the usual introspection block.
#[track_caller]
pub(super) fn start(more: Value, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Gateway {
    let idp = idp();
    let config = config(&idp, &block(&idp, more));
    start_for(idp, config, change)
}

/// Starts an Envoy with this configuration for a provider.
#[track_caller]
pub(super) fn start_for(
    idp: Idp,
    config: Value,
    change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
) -> Gateway {
    let upstream = Upstream::start();
    let builder = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .idp("idp", &idp)
        .concurrency(u32::try_from(WORKERS).expect("few"))
        .log_level("info", "wasm:trace")
        .filter(Wasm::portcullis(config).env(VARIABLE, GATE.1));
    let envoy = change(builder).start().unwrap_or_else(|error| panic!("{error}"));
    Gateway { idp, upstream, envoy }
}

/// Asks over a connection of its own, so that either worker may answer.
#[track_caller]
pub(super) fn ask(gateway: &Gateway, path: &str, token: &str) -> Response {
    Request::get(path).bearer(token).send(gateway.addr())
}
