//! The MCP server behind the gate: `envoy/mcp/envoy.yaml` as it is, with this stage's addresses in the places that it says
//! are to be changed.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::envoy::{Cluster, EnvoyBuilder, Filter, Listener, Wasm};
use crate::idp::Idp;
use crate::vectors::workspace;

/// Adds a listener `name` of its own in front of an MCP server. The resource that clients are to ask for is
/// `http://{addr}/mcp`.
///
/// # Errors
/// When the recipe is not what is expected here: what is missing in it.
pub(super) fn add(
    builder: EnvoyBuilder,
    name: &str,
    addr: SocketAddr,
    server: SocketAddr,
    idp: &Idp,
) -> Result<EnvoyBuilder, String> {
    let recipe = adapted(name, addr, server, idp)?;
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = recipe.pointer(manager).ok_or("the recipe for MCP has no connection manager")?;
    let filters = manager["http_filters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let [before @ .., gate, _router] = filters else {
        return Err("the recipe for MCP has no filters".to_owned());
    };
    let plugin = gate["typed_config"]["config"]["configuration"]["value"].as_str().unwrap_or_default();
    let mut plugin: Value =
        serde_json::from_str(plugin).map_err(|error| format!("the plugin of the recipe for MCP: {error}"))?;
    // What ran out is refused at once, and new keys are fetched sooner than a provider would change them: whoever tries it
    // out wants to see something.
    plugin["providers"]["demo"]["clock_skew_seconds"] = json!(0);
    plugin["providers"]["demo"]["remote_jwks"]["unknown_kid_cooldown"] = json!("2s");

    let mut listener = Listener::new(name)
        .listen(addr)
        .route_config(manager["route_config"].clone())
        .access_log_field("step", "%REQ(X-WALK-STEP)%");
    let ours = ["@type", "stat_prefix", "route_config", "http_filters"];
    for (field, value) in manager.as_object().into_iter().flatten() {
        if !ours.contains(&field.as_str()) {
            listener = listener.hcm(field, value.clone());
        }
    }
    for filter in before {
        listener = listener.filter(Filter::Raw(filter.clone()));
    }
    listener = listener.filter(Wasm::portcullis(plugin));
    Ok(builder.cluster(name, Cluster::new(server)).listener(listener))
}

/// The recipe with other addresses.
fn adapted(name: &str, addr: SocketAddr, server: SocketAddr, idp: &Idp) -> Result<Value, String> {
    let path = workspace().join("envoy/mcp/envoy.yaml");
    let mut text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let host = addr.ip();
    for (from, to) in [
        ("https://mcp.example.com/mcp", format!("http://{addr}/mcp")),
        ("domains: [\"mcp.example.com\"]", format!("domains: [\"{host}\"]")),
        // Envoy takes the port away, and the resource has one.
        ("\"hosts\": [\"mcp.example.com\"]", format!("\"hosts\": [\"{host}:*\"]")),
        (
            "{ exact: \"https://app.example\" }",
            r#"{ safe_regex: { regex: "http://localhost:[0-9]+" } }"#.to_owned(),
        ),
        ("http://127.0.0.1:8081", idp.url()),
        ("127.0.0.1:8082", server.to_string()),
        ("cluster: mcp", format!("cluster: {name}")),
    ] {
        if !text.contains(from) {
            return Err(format!("{}: {from} is not there any more", path.display()));
        }
        text = text.replace(from, &to);
    }
    serde_norway::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
