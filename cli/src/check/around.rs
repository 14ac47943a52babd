//! What is around a configuration: the filters beside it, the connection manager, clusters, the VM.

use portcullis::Config;

use super::entries::{Entry, Kind};
use super::finding::Findings;
use super::written::place;
use crate::source::{Mark, Node, Value};

/// Adds what there is to warn of about the place of an entry.
pub(super) fn warn(entry: &Entry, config: Option<&Config>, tree: Option<&Node>, findings: &mut Findings<'_>) {
    let way = &entry.way;
    if let Some(at) = entry.fails_open {
        findings.warn(
            "fail-open",
            at,
            way,
            "lets every request through, without a token, when the module is missing or has trapped; write FAIL_RELOAD (Envoy Gateway: failOpen: false), which refuses until it runs again",
        );
    }
    if let Some(at) = entry.stops_iteration {
        findings.warn(
            "allow-on-headers-stop-iteration",
            at,
            way,
            "changes what Envoy does with the body of a request that waits for keys, and gains nothing here; leave \"allow_on_headers_stop_iteration\" out",
        );
    }
    for (name, value) in entry.variables.iter().flatten() {
        if let Some((node, value)) = value.as_ref().filter(|_| name == "PORTCULLIS_REFUSED_CONFIGURATION")
            && !matches!(value.as_str(), "deny" | "reject")
        {
            findings.warn(
                "unknown-refused-configuration",
                node.at,
                name,
                "is a word that the filter does not know, and passes over; write \"deny\" (accept a configuration that cannot be used, keep the last good one, else answer 503) or \"reject\" (let Envoy refuse it)",
            );
        }
    }
    if let Some((manager, own)) = &entry.chain {
        let chain = Chain { manager, own: *own, way };
        chain.warn_of_manager(entry, config, findings);
        chain.warn_of_neighbours(config, findings);
        if let (Some(config), Some(tree)) = (config, tree)
            && config.limits.failures.is_some()
            && !manager.field("use_remote_address").is_some_and(Node::is_true)
        {
            findings.warn(
                "limits-by-forwarded-address",
                place(tree, "limits.failures"),
                "limits.failures",
                "counts by an address that comes from X-Forwarded-For, since the connection manager has no \"use_remote_address: true\": who sends a request can choose it, escape the limit, and have others blocked; set it, and take this limit at the edge",
            );
        }
    }
}

const NOT_NORMALIZED: &str = "the connection manager does not normalize paths: Envoy chooses routes by another spelling than the service may read; write \"normalize_path: true\", \"merge_slashes: true\" and \"path_with_escaped_slashes_action: REJECT_REQUEST\"";

struct Chain<'e> {
    manager: &'e Node,
    own: usize,
    way: &'e str,
}

impl Chain<'_> {
    fn warn_of_manager(&self, entry: &Entry, config: Option<&Config>, findings: &mut Findings<'_>) {
        let is_on = |name: &str| self.manager.field(name).is_some_and(is_true);
        let mark = |name: &str| self.manager.field(name).map_or(self.manager.at, |node| node.at);
        if !is_on("normalize_path") {
            findings.warn("normalize-path-off", mark("normalize_path"), self.way, NOT_NORMALIZED);
        }
        let has_hosts = config.is_some_and(|config| {
            config.rules.iter().any(|rule| !rule.matches.hosts.is_empty())
                || config.protected_resources.is_some()
        });
        if entry.kind != Kind::JwtAuthn && has_hosts && !is_on("strip_any_host_port") {
            findings.warn(
                "host-port-not-stripped",
                mark("strip_any_host_port"),
                self.way,
                "rules look at hosts, and the connection manager leaves the port on the host: Envoy chooses the virtual host by \"name:port\" where the rule compares the name; write \"strip_any_host_port: true\" and \"strip_trailing_host_dot: true\"",
            );
        }
    }

    fn warn_of_neighbours(&self, config: Option<&Config>, findings: &mut Findings<'_>) {
        let filters = self.manager.field("http_filters").map(Node::elements).unwrap_or_default();
        let before = filters.get(..self.own).unwrap_or_default();
        for filter in before {
            let (kind, settings) = kind(filter);
            if writes_headers(kind, settings) {
                findings.warn(
                    "headers-written-before-gate",
                    filter.at,
                    self.way,
                    "writes headers before the gate, which then judges and strips what this filter wrote as if the client had sent it; put it behind the gate",
                );
            }
            if kind.ends_with(".Mcp")
                && settings.and_then(|own| own.field("attribute_source")).and_then(Node::as_str)
                    == Some("HEADERS")
            {
                findings.warn(
                    "mcp-attributes-from-headers",
                    filter.at,
                    self.way,
                    "takes the method and the name of the tool from headers that the client writes, whatever the body asks for; write \"attribute_source: VERIFY\"",
                );
            }
        }
        for filter in filters.get(self.own + 1..).unwrap_or_default() {
            if kind(filter).0.ends_with(".GrpcWeb") {
                findings.warn(
                    "grpc-web-behind-gate",
                    filter.at,
                    self.way,
                    "turns grpc-web into gRPC behind the gate, which has judged the request as something else: rules with \"grpc\" do not hold it; put grpc_web before the gate",
                );
            }
        }
        let by_route = has_route_metadata(self.manager)
            || config.is_some_and(|config| {
                config.rules.iter().next().is_none() && !config.requirements.is_empty()
            });
        let is_cured = matches!(before, [.., clear, look]
            if clears_route(clear) && kind(look).0.ends_with(".RBAC"));
        if let Some(filter) =
            before.iter().find(|filter| changes_route(filter)).filter(|_| by_route && !is_cured)
        {
            findings.warn(
                "route-changed-before-gate",
                filter.at,
                self.way,
                "can change what routes are chosen by, and the gate then judges by the metadata of a route that does not serve the request; put this filter behind the gate, or put set_filter_state with \"clear_route_cache: true\" and an rbac filter without rules directly before the gate",
            );
        }
    }
}

/// A `BoolValue` or a boolean.
fn is_true(node: &Node) -> bool {
    node.is_true() || node.get("value").is_some_and(Node::is_true)
}

/// The type of a filter, and its settings.
fn kind(filter: &Node) -> (&str, Option<&Node>) {
    let settings = filter.field("typed_config");
    let named =
        settings.and_then(|settings| settings.get("@type")).and_then(Node::as_str).unwrap_or_default();
    if named.ends_with(".TypedStruct") {
        let inner = settings.and_then(|settings| settings.field("type_url")).and_then(Node::as_str);
        return (inner.unwrap_or_default(), settings.and_then(|settings| settings.get("value")));
    }
    (named, settings)
}

/// The texts within a value.
fn texts<'n>(node: &'n Node, into: &mut Vec<&'n str>) {
    match &node.value {
        Value::Text(text, _) | Value::Plain(text) => into.push(text),
        Value::List(elements) => elements.iter().for_each(|element| texts(element, into)),
        Value::Map(members) => members.iter().for_each(|member| texts(&member.value, into)),
    }
}

fn script_has(settings: Option<&Node>, words: &[&str]) -> bool {
    let mut all = Vec::new();
    settings.iter().for_each(|settings| texts(settings, &mut all));
    all.iter().any(|text| words.iter().any(|word| text.contains(word)))
}

fn writes_headers(kind: &str, settings: Option<&Node>) -> bool {
    if kind.ends_with(".lua.v3.Lua") {
        return script_has(settings, &[":add(", ":replace(", ":remove(", ":setHttp"]);
    }
    let Some(settings) = settings.filter(|_| kind.ends_with(".ext_authz.v3.ExtAuthz")) else { return false };
    let of_http = ["allowed_upstream_headers", "allowed_upstream_headers_to_append"];
    let response = settings.at_path(&["http_service", "authorization_response"]);
    settings.field("grpc_service").is_some()
        || response.is_some_and(|response| of_http.iter().any(|name| response.field(name).is_some()))
}

/// Whether a filter can have Envoy choose another route than the one that the gate sees (it changes headers, or
/// clears the route that was chosen).
fn changes_route(filter: &Node) -> bool {
    let (kind, settings) = kind(filter);
    let is_on = |name: &str| settings.and_then(|settings| settings.field(name)).is_some_and(is_true);
    let ends = |names: &[&str]| names.iter().any(|name| kind.ends_with(name));
    if kind.ends_with(".lua.v3.Lua") {
        return script_has(settings, &[":add(", ":replace(", ":remove(", "clearRouteCache"]);
    }
    if kind.ends_with(".JwtAuthentication") {
        let mut all = Vec::new();
        settings.iter().for_each(|settings| texts(settings, &mut all));
        return has_key(settings, "clear_route_cache") || has_key(settings, "claim_to_headers");
    }
    if kind.ends_with(".set_filter_state.v3.Config") {
        return is_on("clear_route_cache");
    }
    writes_headers(kind, settings)
        || (kind.ends_with(".ExtAuthz") && is_on("clear_route_cache"))
        || ends(&[".HeaderMutation", ".ExternalProcessor", ".header_to_metadata.v3.Config", ".wasm.v3.Wasm"])
}

fn clears_route(filter: &Node) -> bool {
    let (kind, settings) = kind(filter);
    kind.ends_with(".set_filter_state.v3.Config")
        && settings.and_then(|settings| settings.field("clear_route_cache")).is_some_and(is_true)
}

fn has_key(node: Option<&Node>, key: &str) -> bool {
    node.is_some_and(|node| {
        node.field(key).is_some()
            || node.members().iter().any(|member| has_key(Some(&member.value), key))
            || node.elements().iter().any(|element| has_key(Some(element), key))
    })
}

/// Whether the metadata of a route says what the gate asks for there.
fn has_route_metadata(manager: &Node) -> bool {
    fn is_in(node: &Node) -> bool {
        let own = node.at_path(&["metadata", "filter_metadata"]);
        own.is_some_and(|own| own.get("portcullis").is_some())
            || node.members().iter().any(|member| is_in(&member.value))
            || node.elements().iter().any(is_in)
    }
    manager.field("route_config").is_some_and(is_in)
}

/// Warns of connection managers in patches that turn off what rules need.
pub(super) fn warn_of_managers(managers: &[(Node, String)], findings: &mut Findings<'_>) {
    for (manager, way) in managers {
        if let Some(node) = manager.field("normalize_path").filter(|node| node.is_false()) {
            findings.warn("normalize-path-off", node.at, way, NOT_NORMALIZED);
        }
    }
}

/// The clusters of a document.
#[derive(Default)]
pub(super) struct Clusters {
    pub(super) names: Vec<String>,
    /// Whether the document is a bootstrap that gets no clusters from elsewhere.
    pub(super) is_whole: bool,
}

/// The clusters that a document defines.
pub(super) fn clusters(document: &Node) -> Clusters {
    let mut found = Clusters::default();
    let list = document.at_path(&["static_resources", "clusters"]).map(Node::elements).unwrap_or_default();
    found.names.extend(list.iter().filter_map(|cluster| Some(cluster.get("name")?.as_str()?.to_owned())));
    let more = document.field("dynamic_resources");
    let is_elsewhere = more.is_some_and(|more| more.field("cds_config").is_some());
    found.is_whole = document.field("static_resources").is_some() && !is_elsewhere;
    for resource in document.get("resources").map(Node::elements).unwrap_or_default() {
        let is_cluster = |kind: &str| kind.ends_with(".cluster.v3.Cluster");
        if resource.get("@type").and_then(Node::as_str).is_some_and(is_cluster) {
            found.names.extend(resource.get("name").and_then(Node::as_str).map(str::to_owned));
        }
    }
    found
}

/// Warns of clusters that a configuration names and nobody defines.
pub(super) fn warn_of_clusters(tree: &Node, known: &[String], findings: &mut Findings<'_>) {
    let mut named: Vec<(String, Mark, &str)> = Vec::new();
    collect(tree, "", &mut named);
    for (path, at, name) in named {
        if !known.iter().any(|own| own == name) {
            findings.warn(
                "cluster-missing",
                at,
                path,
                "no cluster of this name is there, so that nothing can be fetched through it; add it to \"clusters\", or correct the name",
            );
        }
    }
}

fn collect<'n>(node: &'n Node, way: &str, into: &mut Vec<(String, Mark, &'n str)>) {
    for member in node.members() {
        let way = portcullis::member_path(way, &member.key);
        let is_uri = matches!(member.key.as_str(), "http_uri" | "httpUri");
        if is_uri && let Some(cluster) = member.value.member("cluster") {
            let way = portcullis::member_path(&way, "cluster");
            into.extend(cluster.value.as_str().map(|name| (way, cluster.at, name)));
        }
        collect(&member.value, &way, into);
    }
    for (at, element) in node.elements().iter().enumerate() {
        collect(element, &format!("{way}[{at}]"), into);
    }
}
