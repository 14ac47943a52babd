//! What an Envoy is told at its start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::filter::{Filter, Host};
use super::{Envoy, StartError};
use crate::idp::Idp;
use crate::upstream::Upstream;
use crate::wait::SOON;

/// The name of the listener that a builder has from the start.
pub const MAIN: &str = "main";
/// The name of the cluster that the default route leads to.
pub const UPSTREAM: &str = "upstream";

/// A cluster of one address.
#[derive(Clone, Debug)]
pub struct Cluster {
    addr: SocketAddr,
    http2: bool,
    patch: Map<String, Value>,
}

impl Cluster {
    /// HTTP/1.1 to this address.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, http2: false, patch: Map::new() }
    }

    /// HTTP/2 without TLS instead.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Sets any other field of the cluster.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.patch.insert(name.to_owned(), value);
        self
    }

    pub(super) fn to_json(&self, name: &str) -> Value {
        let mut cluster = json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(self.addr) } }] }],
            },
        });
        if self.http2 {
            cluster["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {} },
                },
            });
        }
        for (field, value) in &self.patch {
            cluster[field] = value.clone();
        }
        cluster
    }
}

/// A listener with its filters and routes.
#[derive(Clone, Debug)]
pub struct Listener {
    pub(super) name: String,
    addr: SocketAddr,
    filters: Vec<Filter>,
    routes: Option<Value>,
    route_config: Option<Value>,
    hcm: Map<String, Value>,
    patch: Map<String, Value>,
    access_log: bool,
    log_format: Value,
}

impl Listener {
    /// A listener on a free loopback port, without filters, from which everything goes to the cluster `upstream`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            addr: SocketAddr::from(([127, 0, 0, 1], 0)),
            filters: Vec::new(),
            routes: None,
            route_config: None,
            hcm: Map::new(),
            patch: Map::new(),
            access_log: true,
            log_format: log_format(name),
        }
    }

    /// Listens here.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Adds a filter behind those that it has.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// Replaces the routes of the one virtual host: a JSON list as in Envoy's `routes`.
    #[must_use]
    pub fn routes(mut self, routes: Value) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Replaces the whole route configuration.
    #[must_use]
    pub fn route_config(mut self, config: Value) -> Self {
        self.route_config = Some(config);
        self
    }

    /// Sets any field of the connection manager.
    #[must_use]
    pub fn hcm(mut self, field: &str, value: Value) -> Self {
        self.hcm.insert(field.to_owned(), value);
        self
    }

    /// Sets any field of the listener.
    #[must_use]
    pub fn field(mut self, field: &str, value: Value) -> Self {
        self.patch.insert(field.to_owned(), value);
        self
    }

    /// Resolves `..`, `%2e` and the like before routing. Envoy's default, and this one's, is not to.
    #[must_use]
    pub fn normalize_path(self, on: bool) -> Self {
        self.hcm("normalize_path", json!(on))
    }

    /// Makes one slash of several before routing.
    #[must_use]
    pub fn merge_slashes(self, on: bool) -> Self {
        self.hcm("merge_slashes", json!(on))
    }

    /// Writes no access log.
    #[must_use]
    pub fn without_access_log(mut self) -> Self {
        self.access_log = false;
        self
    }

    /// Replaces the fields of the access log: a JSON object of Envoy's format strings.
    #[must_use]
    pub fn access_log(mut self, format: Value) -> Self {
        self.log_format = format;
        self
    }

    /// Adds a field to the access log.
    #[must_use]
    pub fn access_log_field(mut self, name: &str, format: &str) -> Self {
        self.log_format[name] = json!(format);
        self
    }

    pub(super) fn to_json(&self, access_log: &Path) -> Value {
        let mut filters: Vec<Value> = self.filters.iter().map(Filter::to_json).collect();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }));
        let routes = self.routes.clone().unwrap_or_else(
            || json!([{ "match": { "prefix": "/" }, "route": { "cluster": UPSTREAM, "timeout": "60s" } }]),
        );
        let route_config = self.route_config.clone().unwrap_or_else(|| {
            json!({ "name": "routes", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] })
        });
        let mut hcm = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "codec_type": "AUTO",
            "http_filters": filters,
            "route_config": route_config,
        });
        if self.access_log {
            hcm["access_log"] = json!([{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": access_log,
                    "log_format": { "json_format": self.log_format },
                },
            }]);
        }
        for (field, value) in &self.hcm {
            hcm[field] = value.clone();
        }
        let mut listener = json!({
            "name": self.name,
            "address": socket(self.addr),
            "filter_chains": [{
                "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": hcm }],
            }],
        });
        for (field, value) in &self.patch {
            listener[field] = value.clone();
        }
        listener
    }
}

/// The fields that an access log line has unless a test asks for others.
fn log_format(listener: &str) -> Value {
    let mut format = json!({
        "listener": listener,
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "authority": "%REQ(:AUTHORITY)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "grpc_status": "%GRPC_STATUS_NUMBER%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "route": "%ROUTE_NAME%",
        "upstream": "%UPSTREAM_HOST%",
    });
    for field in ["provider", "subject", "scopes", "rule", "decision", "reason"] {
        format[field] = json!(format!("%FILTER_STATE(wasm.portcullis.{field}:PLAIN)%"));
    }
    format
}

/// An Envoy under construction. It has one listener, `main`, from the start.
#[derive(Debug)]
pub struct EnvoyBuilder {
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) listeners: Vec<Listener>,
    pub(super) main: Listener,
    pub(super) admin: SocketAddr,
    pub(super) concurrency: u32,
    pub(super) log_level: String,
    pub(super) component_log_level: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) start_timeout: Duration,
    pub(super) patch: Option<Patch>,
    pub(super) shared: bool,
}

/// A last change to the bootstrap.
pub(super) struct Patch(pub(super) Box<dyn FnOnce(&mut Value)>);

impl std::fmt::Debug for Patch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Patch")
    }
}

impl EnvoyBuilder {
    pub(super) fn new() -> Self {
        Self {
            clusters: BTreeMap::new(),
            listeners: Vec::new(),
            main: Listener::new(MAIN),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            concurrency: 1,
            log_level: "info".to_owned(),
            component_log_level: "wasm:debug,dynamic_modules:debug".to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            start_timeout: SOON,
            patch: None,
            shared: false,
        }
    }

    /// The filters of every listener.
    pub(super) fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.listeners.iter().chain([&self.main]).flat_map(|listener| &listener.filters)
    }

    /// Adds a cluster.
    #[must_use]
    pub fn cluster(mut self, name: &str, cluster: Cluster) -> Self {
        self.clusters.insert(name.to_owned(), cluster);
        self
    }

    /// Adds the cluster `upstream`, to which the default route leads.
    #[must_use]
    pub fn upstream(self, upstream: &Upstream) -> Self {
        self.cluster(UPSTREAM, Cluster::new(upstream.addr()))
    }

    /// Adds a cluster for an identity provider.
    #[must_use]
    pub fn idp(self, name: &str, idp: &Idp) -> Self {
        self.cluster(name, Cluster::new(idp.addr()))
    }

    /// Adds a filter to the listener `main`.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.main = self.main.filter(filter);
        self
    }

    /// Changes the listener `main`.
    #[must_use]
    pub fn main(mut self, change: impl FnOnce(Listener) -> Listener) -> Self {
        self.main = change(self.main);
        self
    }

    /// Adds a listener beside `main`.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// How many workers there are; one unless told otherwise.
    #[must_use]
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Where the admin interface listens; a free loopback port unless told otherwise.
    #[must_use]
    pub fn admin(mut self, addr: SocketAddr) -> Self {
        self.admin = addr;
        self
    }

    /// The log level, and those of components (`wasm:trace,http:debug`). Default: `info` and `wasm:debug`.
    #[must_use]
    pub fn log_level(mut self, level: &str, components: &str) -> Self {
        level.clone_into(&mut self.log_level);
        components.clone_into(&mut self.component_log_level);
        self
    }

    /// Adds a command-line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable of the Envoy process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// How long it may take until it is ready. Default: a minute.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Changes the finished bootstrap.
    #[must_use]
    pub fn patch(mut self, change: impl FnOnce(&mut Value) + 'static) -> Self {
        self.patch = Some(Patch(Box::new(change)));
        self
    }

    /// Is served by an Envoy that serves others of this process, too, with as many workers and the same log levels: to compile the filter takes seconds of the
    /// processor, and one process does it once. The listeners, the virtual machines, the clusters and the access log are
    /// its own, and so is what its virtual machines log. For where nothing else is asked of it: not its statistics, not its
    /// memory.
    #[must_use]
    pub fn shared(mut self) -> Self {
        // A dynamic module is compiled already, and has Envoy's environment.
        self.shared = Host::under_test() == Host::Wasm;
        self
    }

    /// Whether nothing was asked for that others could not share.
    pub(super) fn is_plain(&self) -> bool {
        self.admin.port() == 0
            && self.arguments.is_empty()
            && self.environment.is_empty()
            && self.patch.is_none()
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Result<Envoy, StartError> {
        Envoy::launch(self)
    }

    /// The bootstrap, with access logs going to `access_log`.
    pub(super) fn bootstrap(&mut self, access_log: &Path) -> Value {
        let listeners: Vec<Value> = std::iter::once(&self.main)
            .chain(&self.listeners)
            .map(|listener| listener.to_json(access_log))
            .collect();
        let clusters: Vec<Value> =
            self.clusters.iter().map(|(name, cluster)| cluster.to_json(name)).collect();
        let mut bootstrap = json!({
            "node": { "id": "harness", "cluster": "harness" },
            "admin": { "address": socket(self.admin) },
            "static_resources": { "listeners": listeners, "clusters": clusters },
        });
        if let Some(Patch(change)) = self.patch.take() {
            change(&mut bootstrap);
        }
        bootstrap
    }
}

fn socket(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip().to_string(), "port_value": addr.port() } })
}
