//! Everything that the walk needs, on loopback.

use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};

use super::{Paint, Tally, Target, recipe, run};
use crate::envoy::{Envoy, EnvoyBuilder, Host, Wasm, portcullis_module};
use crate::idp::{GATE, Idp, PREFIX};
use crate::mcp::McpServer;
use crate::port::Port;
use crate::upstream::Upstream;
use crate::vectors::workspace;

/// The ports that a person finds again, each of them only if it is free.
const GATEWAY: u16 = 10000;
const ADMIN: u16 = 9901;
const IDP: u16 = 8081;
const UPSTREAM: u16 = 8082;
const MCP: u16 = 10001;

/// The listener in front of the demo's own MCP server.
const OWN_MCP: &str = "mcp";

/// A running identity provider, upstream, MCP server and Envoy with the filter.
#[derive(Debug)]
pub struct Stage {
    envoy: Envoy,
    idp: Idp,
    upstream: Upstream,
    _mcp_server: McpServer,
    /// What clients of MCP are told: the name of a listener and its port.
    resources: Vec<(String, Port)>,
}

/// What makes labels of the names of metrics, as operators are told to set it.
fn tags() -> Result<Value, String> {
    let file = workspace().join("envoy/stats_tags.yaml");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let tags: Value =
        serde_norway::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(tags["stats_config"].clone())
}

impl Stage {
    /// Brings everything up and waits until it is ready. Each of the MCP servers (a name and where it is) gets a
    /// listener, as the demo's own does.
    ///
    /// # Errors
    /// When something does not start: what, and why.
    pub fn start(mcp_servers: &[(String, SocketAddr)]) -> Result<Self, String> {
        let module = portcullis_module();
        if !module.is_file() {
            return Err(format!(
                "the filter is not built: {} is missing (make wasm builds it)",
                module.display()
            ));
        }
        let idp = Idp::builder()
            .addr(free(IDP))
            .start()
            .map_err(|error| format!("the identity provider does not start: {error}"))?;
        let upstream = Upstream::bind(free(UPSTREAM))
            .map_err(|error| format!("the upstream does not start: {error}"))?;
        let mcp_server = McpServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .map_err(|error| format!("the MCP server does not start: {error}"))?;
        let tags = tags()?;
        let builder = Envoy::builder()
            .upstream(&upstream)
            .patch(move |bootstrap| bootstrap["stats_config"] = tags)
            .idp("idp", &idp)
            .admin(free(ADMIN))
            .filter(Wasm::portcullis(plugin_configuration(&idp)).env("INTROSPECTION_SECRET", GATE.1))
            .main(|listener| {
                listener
                    .listen(free(GATEWAY))
                    .normalize_path(true)
                    .access_log_field("step", "%REQ(X-WALK-STEP)%")
            });
        let own = (OWN_MCP.to_owned(), mcp_server.addr());
        let (builder, resources) = guard(builder, std::iter::once(&own).chain(mcp_servers), &idp)?;
        let envoy = builder.start().map_err(|error| error.to_string())?;
        Ok(Self { envoy, idp, upstream, _mcp_server: mcp_server, resources })
    }

    /// Walks through it.
    ///
    /// # Errors
    /// See [`run`].
    pub fn walk(&self, paint: Paint) -> Result<Tally, String> {
        let access_log = |step: &str| -> Option<Value> {
            self.envoy.access_log().into_iter().find(|line| line["step"] == step)
        };
        let target = Target {
            gateway: self.envoy.addr(),
            idp: self.idp.addr(),
            // Envoy hands a dynamic module no value within a structure, and its MCP filter writes structures.
            mcp: self
                .resources
                .first()
                .filter(|_| Host::under_test() == Host::Wasm)
                .map(|(_, port)| port.addr()),
            access_log: Some(&access_log),
        };
        run(&target, paint)
    }

    /// Where everything is, and what to type to try it.
    pub fn guide(&self, paint: Paint) -> String {
        let gateway = format!("http://{}", self.envoy.addr());
        let idp = self.idp.url();
        let folder = self.envoy.folder().display();
        let resources: String = self
            .resources
            .iter()
            .map(|(name, port)| format!("  {:<18} http://{}/mcp\n", named(name), port.addr()))
            .collect();
        let mcp = self.resources.first().map_or_else(String::new, |(_, port)| port.addr().to_string());
        format!(
            "\
{}
  gateway            {gateway}
  identity provider  {idp}
  upstream           {}
{resources}  Envoy's admin      http://{}
  Envoy's files      {folder} (envoy.json, envoy.log, access.log)

{}
  TOKEN=$(curl -s -H 'Accept: text/plain' {idp}/token -d sub=alice -d scope='orders:read orders:write')
  curl -i {gateway}/healthz
  curl -i {gateway}/orders/7
  curl -i {gateway}/orders/7 -H \"Authorization: Bearer $TOKEN\"
  curl -i {gateway}/orders -H \"Authorization: Bearer $TOKEN\" -d '{{\"item\": 7}}'
  curl -s {idp}/revoke -d token=\"$TOKEN\"      # a second later it is refused
  OPAQUE=$(curl -s -H 'Accept: text/plain' {idp}/token -d sub=alice -d token_format=opaque)
  curl -i {gateway}/opaque -H \"Authorization: Bearer $OPAQUE\"
  curl -s -X POST '{idp}/rotate?retire=true'
  curl -i http://{mcp}/mcp             # a client of MCP needs no more than this URL
  curl -s http://{mcp}/.well-known/oauth-protected-resource/mcp
  curl -s {idp}/                              # what else the identity provider can do
",
            paint.strong("Running"),
            self.upstream.url(),
            self.envoy.admin_addr(),
            paint.strong("To try"),
        )
    }
}

/// Puts each MCP server behind a gate of its own; with what clients may be told of them.
fn guard<'s>(
    mut builder: EnvoyBuilder,
    servers: impl Iterator<Item = &'s (String, SocketAddr)>,
    idp: &Idp,
) -> Result<(EnvoyBuilder, Vec<(String, Port)>), String> {
    let mut resources = Vec::new();
    for (name, server) in servers {
        // Known before Envoy starts, for the resource's name has it.
        let wanted = if name == OWN_MCP { free(MCP) } else { SocketAddr::from(([127, 0, 0, 1], 0)) };
        let port = Port::at(wanted).map_err(|error| format!("no port for {name}: {error}"))?;
        builder = recipe::add(builder, name, port.addr(), *server, idp)?;
        resources.push((name.clone(), port));
    }
    Ok((builder, resources))
}

/// What the guide calls an MCP server.
fn named(name: &str) -> String {
    if name == OWN_MCP { "MCP server".to_owned() } else { format!("MCP server {name}") }
}

/// The filter's configuration for the walk.
fn plugin_configuration(idp: &Idp) -> Value {
    let requires = json!({ "provider_name": "demo" });
    let scope = |name: &str| json!({ "scopes": { "all_of": [name] } });
    json!({
        "providers": {
            "demo": {
                "issuer": idp.issuer(),
                "audiences": ["orders"],
                "algorithms": ["RS256", "ES256"],
                "remote_jwks": {
                    "http_uri": { "uri": idp.jwks_uri(), "cluster": "idp", "timeout": "5s" },
                    // Far shorter than the default: whoever tries it out rotates more often than a provider does.
                    "unknown_kid_cooldown": "2s",
                },
                "sender_constrained": "enforce",
                "dpop": { "origins": ["https://gateway.example"] },
                "mtls": { "certificate": "connection" },
                "forward": false,
                "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
            },
            "demo-opaque": {
                "issuer": idp.issuer(),
                "audiences": ["orders"],
                "introspection": {
                    "http_uri": { "uri": idp.introspection_uri(), "cluster": "idp", "timeout": "5s" },
                    "client_id": GATE.0,
                    "client_secret": { "environment_variable": "INTROSPECTION_SECRET" },
                    "token_prefix": PREFIX,
                    // Shorter than the default, so that whoever tries it out sees something soon.
                    "cache": { "active": "1s", "inactive": "1s" },
                },
                "forward": false,
                "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
            },
        },
        "rules": [
            { "name": "public", "match": { "path": "/healthz" } },
            {
                "name": "orders-read",
                "match": { "path_template": "/orders/**", "methods": ["GET", "HEAD"] },
                "requires": requires,
                "authorize": scope("orders:read"),
            },
            {
                "name": "orders-write",
                "match": { "prefix": "/orders", "methods": ["POST", "PUT", "PATCH", "DELETE"] },
                "requires": requires,
                "authorize": scope("orders:write"),
            },
            {
                "name": "tenant-orders",
                "match": { "path_template": "/tenants/{tenant}/orders/**", "methods": ["GET", "HEAD"] },
                "requires": requires,
                "authorize": scope("orders:read"),
            },
            { "name": "me", "match": { "path": "/me" }, "requires": requires },
            { "name": "opaque", "match": { "path": "/opaque" }, "requires": { "provider_name": "demo-opaque" } },
        ],
        "unmatched": "deny",
        "revocation": {
            "lists": [{
                "name": "demo",
                "http_uri": { "uri": idp.revoked_uri(), "cluster": "idp", "timeout": "5s" },
                // Shorter than the default, so that whoever tries it out sees something soon.
                "poll_interval": "1s",
            }],
        },
    })
}

/// This port on loopback if it is free, else any.
fn free(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    match TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}
