//! The files for a plain Envoy, run: only addresses and paths are changed, so that everything fits on one machine. The
//! identity provider stands behind TLS, and its certificate counts.

use crate::common;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::SOON;
use harness::envoy::{find, portcullis_module};
use harness::{Idp, Request, Response, Upstream, eventually, workspace};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

const IDP_HOST: &str = "idp.example";

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-plain-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An Envoy with a configuration as it stands.
struct Running {
    child: Child,
    admin: SocketAddr,
    folder: Folder,
}

impl Running {
    fn start(text: &str) -> Self {
        Self::start_in(Folder::new(), text)
    }

    fn start_in(folder: Folder, text: &str) -> Self {
        let config = folder.write("envoy.yaml", text);
        let log = folder.0.join("envoy.log");
        let mut child = Command::new(find().expect("an Envoy").path)
            .args(["--config-path", &config, "--disable-hot-restart", "--concurrency", "1"])
            .arg("--admin-address-path")
            .arg(folder.0.join("admin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("Envoy runs");
        let admin = eventually("Envoy to be ready", SOON, || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = fs::read_to_string(&log).unwrap_or_default();
                panic!("Envoy ended, {status}:\n{log}");
            }
            let admin = fs::read_to_string(folder.0.join("admin")).ok()?.trim().parse().ok()?;
            let ready = Request::get("/ready").timeout(Duration::from_secs(1)).try_send(admin).ok()?;
            (ready.status == 200).then_some(admin)
        });
        Self { child, admin, folder }
    }

    fn addr(&self, listener: &str) -> SocketAddr {
        eventually(&format!("the listener {listener}"), SOON, || {
            let listeners = Request::get("/listeners?format=json").send(self.admin).json();
            let listeners = listeners["listener_statuses"].as_array()?.clone();
            let found = listeners.iter().find(|status| status["name"] == listener)?;
            let socket = &found["local_address"]["socket_address"];
            let (ip, port) = (socket["address"].as_str()?, socket["port_value"].as_u64()?);
            format!("{ip}:{port}").parse().ok()
        })
    }

    /// A counter or gauge, 0 where there is none.
    fn stat(&self, name: &str) -> u64 {
        let answer = Request::get("/stats?format=json").send(self.admin).json();
        let stats = answer["stats"].as_array().cloned().unwrap_or_default();
        stats.iter().find(|stat| stat["name"] == name).and_then(|stat| stat["value"].as_u64()).unwrap_or(0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who the provider's certificate is from, and for which name.
struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().expect("a key");
        Self { authority: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        // Of the same name as the authority it would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// The identity provider of the files, and TLS before it.
struct Provider {
    idp: Idp,
    tls: Running,
    authority: String,
}

impl Provider {
    /// `name` is what its certificate says.
    fn start(name: &str) -> Self {
        let idp =
            Idp::builder().issuer("https://idp.example/").start().expect("the identity provider starts");
        let pki = Pki::new();
        let (certificate, key) = pki.issue(name);
        let hcm = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "tls",
            "route_config": { "virtual_hosts": [{
                "name": "idp",
                // Who asks for another name than the one in the files is not served.
                "domains": [IDP_HOST],
                "routes": [{
                    "match": { "path": "/.well-known/jwks.json" },
                    "route": { "cluster": "idp", "prefix_rewrite": "/jwks.json" },
                }],
            }] },
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
            }],
        });
        let tls = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": { "tls_certificates": [{
                "certificate_chain": { "inline_string": certificate },
                "private_key": { "inline_string": key },
            }] },
        });
        let socket = |addr: SocketAddr| json!({ "socket_address": { "address": addr.ip(), "port_value": addr.port() } });
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bootstrap = json!({
            "admin": { "address": socket(any) },
            "static_resources": {
                "listeners": [{
                    "name": "tls",
                    "address": socket(any),
                    "filter_chains": [{
                        "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": hcm }],
                        "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
                    }],
                }],
                "clusters": [{
                    "name": "idp",
                    "load_assignment": {
                        "cluster_name": "idp",
                        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket(idp.addr()) } }] }],
                    },
                }],
            },
        });
        let tls = Running::start(&bootstrap.to_string());
        Self { idp, tls, authority: pki.authority.pem() }
    }
}

/// `from` replaced by `to`, which must be there.
#[track_caller]
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the file");
    text.replace(from, to)
}

fn read(name: &str) -> String {
    fs::read_to_string(workspace().join("envoy/plain").join(name)).expect(name)
}

/// The file's listener on a free port of loopback, with the module that was built.
fn listener(text: &str) -> String {
    let text = replace(text, "address: 0.0.0.0, port_value: 10000", "address: 127.0.0.1, port_value: 0");
    replace(&text, "/etc/envoy/portcullis.wasm", &portcullis_module().display().to_string())
}

fn admin(text: &str) -> String {
    replace(text, "port_value: 9901", "port_value: 0")
}

fn address(addr: SocketAddr) -> String {
    format!("address: {}, port_value: {}", addr.ip(), addr.port())
}

/// The file's cluster `idp` at the provider, trusting its authority.
fn provider(text: &str, provider: &Provider, authority: &Path) -> String {
    let text = replace(text, "address: idp.example, port_value: 443", &address(provider.tls.addr("tls")));
    replace(&text, "/etc/ssl/certs/ca-certificates.crt", &authority.display().to_string())
}

fn is_built(test: &str) -> bool {
    let built = portcullis_module().is_file();
    if !built {
        harness::skip(test, "dist/portcullis.wasm is not built");
    }
    built
}

/// Runs static.yaml between a provider and an upstream.
fn statically(idp: &Provider, upstream: &Upstream, authority: &str) -> Running {
    let folder = Folder::new();
    let trusted = folder.write("ca.pem", authority);
    let text = admin(&listener(&read("static.yaml")));
    let text = replace(&text, "address: 127.0.0.1, port_value: 8082", &address(upstream.addr()));
    Running::start_in(folder, &provider(&text, idp, Path::new(&trusted)))
}

fn ask(gateway: SocketAddr, path: &str, token: Option<&str>) -> Response {
    let request = Request::get(path).header("x-user", "mallory");
    match token {
        Some(token) => request.bearer(token).send(gateway),
        None => request.send(gateway),
    }
}

#[test]
fn the_static_file_fetches_keys_over_verified_tls_and_enforces_its_rules() {
    if !is_built("the_static_file_fetches_keys_over_verified_tls_and_enforces_its_rules") {
        return;
    }
    let (idp, upstream) = (Provider::start(IDP_HOST), Upstream::start());
    let envoy = statically(&idp, &upstream, &idp.authority);
    let gateway = envoy.addr("gateway");
    let reader = idp.idp.token(json!({ "sub": "alice", "scope": "orders:read" }));

    let passed = ask(gateway, "/orders/7", Some(&reader));
    assert_eq!(
        (passed.status, passed.echoed("x-user")),
        (200, vec!["alice".to_owned()]),
        "{}",
        passed.text()
    );
    assert_eq!(ask(gateway, "/orders/7", None).status, 401);
    let written = Request::new("DELETE", "/orders/7").bearer(&reader).send(gateway);
    assert_eq!((written.status, written.reason().as_deref()), (403, Some("scope_insufficient")));
    assert_eq!(ask(gateway, "/admin", Some(&reader)).reason().as_deref(), Some("route_unmatched"));
    assert_eq!(ask(gateway, "/healthz", None).echoed("x-user"), Vec::<String>::new());
    assert!(envoy.stat("cluster.idp.ssl.handshake") > 0, "the keys came over TLS");
    assert_eq!(idp.idp.fetches(), 1);
}

#[test]
fn keys_from_a_provider_whose_certificate_does_not_hold_are_not_taken() {
    if !is_built("keys_from_a_provider_whose_certificate_does_not_hold_are_not_taken") {
        return;
    }
    let other = Pki::new().authority.pem();
    for (what, name, authority) in [
        ("another name", "elsewhere.example", None),
        ("an authority that is not trusted", IDP_HOST, Some(other)),
    ] {
        let (idp, upstream) = (Provider::start(name), Upstream::start());
        let envoy = statically(&idp, &upstream, authority.as_deref().unwrap_or(&idp.authority));
        let gateway = envoy.addr("gateway");
        let token = idp.idp.token(json!({ "scope": "orders:read" }));
        let answer = ask(gateway, "/orders/7", Some(&token));
        assert_eq!((answer.status, answer.reason().as_deref()), (503, Some("keys_unavailable")), "{what}");
        assert_eq!(idp.idp.fetches(), 0, "{what}: keys were asked for");
        let failures = ["connection_error", "fail_verify_san", "fail_verify_error"];
        let failed: u64 = failures.iter().map(|name| envoy.stat(&format!("cluster.idp.ssl.{name}"))).sum();
        assert!(failed > 0, "{what}: no handshake failed");
        let log = fs::read_to_string(envoy.folder.0.join("envoy.log")).expect("a log");
        let line = log.lines().find(|line| line.contains("fetching keys failed"));
        let line = line.unwrap_or_else(|| panic!("{what}: nothing in the log:\n{log}"));
        for part in [
            "status 503 from Envoy itself and not from the endpoint (upstream connect error",
            "cluster.idp.ssl.fail_verify_*",
        ] {
            assert!(line.contains(part), "{what}: {part:?} is not in {line}");
        }
        assert_eq!(upstream.count(), 0, "{what}");
    }
}

#[test]
fn each_service_of_the_shop_has_its_own_policy() {
    if !is_built("each_service_of_the_shop_has_its_own_policy") {
        return;
    }
    let idp = Provider::start(IDP_HOST);
    let services = ["orders", "catalog", "payments"].map(|name| (name, Upstream::start()));
    let folder = Folder::new();
    let trusted = folder.write("ca.pem", &idp.authority);
    let mut text = admin(&listener(&read("shop.yaml")));
    for (name, upstream) in &services {
        text =
            replace(&text, &format!("address: {name}.internal, port_value: 8080"), &address(upstream.addr()));
    }
    // A route for which somebody forgot to turn off the filters of the others.
    let route = "- match: { path_separated_prefix: /orders }";
    let forgotten = "- { match: { prefix: /orders/forgotten }, route: { cluster: orders } }";
    text = replace(&text, route, &format!("{forgotten}\n                        {route}"));
    let envoy = Running::start_in(folder, &provider(&text, &idp, Path::new(&trusted)));
    let gateway = envoy.addr("gateway");
    let token = |audience: &str, scope: &str| idp.idp.token(json!({ "aud": audience, "scope": scope }));
    let everything = "orders:read orders:write catalog:write payments:create payments:refund";

    let cases = [
        ("GET", "/orders/7", Some(token("orders", "orders:read")), 200),
        ("GET", "/orders/7", None, 401),
        ("POST", "/orders", Some(token("orders", "orders:read")), 403),
        // Its rights are for another service.
        ("GET", "/orders/7", Some(token("payments", everything)), 401),
        ("GET", "/catalog/7", None, 200),
        ("PUT", "/catalog/7", None, 401),
        ("PUT", "/catalog/7", Some(token("catalog", "catalog:write")), 200),
        ("POST", "/payments/7", Some(token("payments", "payments:create")), 200),
        ("POST", "/payments/7", None, 401),
        ("POST", "/payments/7/refund", Some(token("payments", "payments:create")), 403),
        ("POST", "/payments/7/refund", Some(token("payments", "payments:refund trial")), 403),
        ("POST", "/payments/7/refund", Some(token("payments", "payments:refund")), 200),
        ("GET", "/payments/7", Some(token("payments", everything)), 403),
        ("GET", "/orders/forgotten", Some(token("orders", everything)), 403),
        // No route, so no filter is off, and none has a rule for it.
        ("GET", "/ordersx", Some(token("orders", everything)), 403),
        ("GET", "/elsewhere", Some(token("orders", everything)), 403),
    ];
    for (method, path, token, status) in cases {
        let request = Request::new(method, path).header("x-user", "mallory");
        let request = if let Some(token) = &token { request.bearer(token) } else { request };
        let answer = request.send(gateway);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        if status == 200 {
            assert!(!answer.echoed("x-user").contains(&"mallory".to_owned()), "{method} {path}");
        }
    }
}

#[test]
fn files_that_are_replaced_take_effect_and_what_is_broken_changes_nothing() {
    if !is_built("files_that_are_replaced_take_effect_and_what_is_broken_changes_nothing") {
        return;
    }
    let (idp, upstream, folder) = (Provider::start(IDP_HOST), Upstream::start(), Folder::new());
    let trusted = folder.write("ca.pem", &idp.authority);
    fs::create_dir(folder.0.join("xds")).expect("a folder");
    let clusters =
        replace(&read("clusters.yaml"), "address: 127.0.0.1, port_value: 8082", &address(upstream.addr()));
    let listeners = listener(&read("listeners.yaml"));
    folder.write("xds/clusters.yaml", &provider(&clusters, &idp, Path::new(&trusted)));
    folder.write("xds/listeners.yaml", &listeners);
    let bootstrap = admin(&read("bootstrap.yaml"));
    let bootstrap = replace(&bootstrap, "/etc/envoy/xds", &folder.0.join("xds").display().to_string());
    let envoy = Running::start_in(folder, &bootstrap);
    let gateway = envoy.addr("gateway");
    let reader = idp.idp.token(json!({ "scope": "orders:read" }));
    assert_eq!(ask(gateway, "/orders/7", Some(&reader)).status, 200);
    assert_eq!(ask(gateway, "/orders/7", None).status, 401);

    let put = |text: &str| {
        let (new, place) = (envoy.folder.0.join("new.yaml"), envoy.folder.0.join("xds/listeners.yaml"));
        fs::write(&new, text).expect("a file");
        fs::rename(new, place).expect("a move");
    };
    put(&replace(&listeners, "all_of: [\"orders:read\"]", "all_of: [\"orders:list\"]"));
    let status = |path: &str| ask(envoy.addr("gateway"), path, Some(&reader)).status;
    eventually("the new rules", SOON, || (status("/orders/7") == 403).then_some(()));

    let rejected = envoy.stat("listener_manager.lds.update_rejected");
    put(&replace(&listeners, "requires:", "require:"));
    eventually("the broken file to be refused", SOON, || {
        (envoy.stat("listener_manager.lds.update_rejected") > rejected).then_some(())
    });
    assert_eq!(status("/orders/7"), 403, "the rules before the broken file");
    assert_eq!(ask(envoy.addr("gateway"), "/orders/7", None).status, 401);

    put(&listeners);
    eventually("the first rules again", SOON, || (status("/orders/7") == 200).then_some(()));
}

/// Envoy refuses what it does not know, in each of the static files.
#[test]
fn a_typo_in_a_static_file_keeps_envoy_from_starting() {
    if !is_built("a_typo_in_a_static_file_keeps_envoy_from_starting") {
        return;
    }
    let typos = [
        ("failure_policy:", "failure_polcy:"),
        ("http_filters:", "http_filter:"),
        ("providers:", "provider:"),
    ];
    for file in ["static.yaml", "shop.yaml"] {
        let good = admin(&listener(&read(file)));
        let good =
            replace(&good, "/etc/ssl/certs/ca-certificates.crt", &certificates().display().to_string());
        assert_eq!(validate(&good), Ok(()), "{file}");
        for (right, wrong) in typos {
            let log = validate(&replace(&good, right, wrong));
            assert!(log.is_err(), "{file} with {wrong}");
        }
    }
}

/// Some authority that is not asked anything.
fn certificates() -> PathBuf {
    let path = std::env::temp_dir().join(format!("portcullis-ca-{}.pem", std::process::id()));
    fs::write(&path, Pki::new().authority.pem()).expect("a file");
    path
}

fn validate(text: &str) -> Result<(), String> {
    let folder = Folder::new();
    let config = folder.write("envoy.yaml", text);
    let output = Command::new(find().expect("an Envoy").path)
        .args(["--mode", "validate", "--disable-hot-restart", "--config-path", &config])
        .output()
        .expect("Envoy runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
