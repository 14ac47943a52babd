//! `portcullis admission`, as Kubernetes calls it: over TLS, with recorded reviews.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Folder;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const NAME: &str = "portcullis-admission.portcullis.svc";

/// A certificate for [`NAME`], and its key.
struct Pair {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned(), "localhost".to_owned()])
        .expect("a certificate");
    Pair {
        certificate: made.cert.der().clone(),
        certificate_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
    /// What it logs.
    lines: std::sync::mpsc::Receiver<String>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["admission", "--listen", "127.0.0.1:0", "--tls-cert"])
            .arg(folder.join("tls.crt"))
            .arg("--tls-key")
            .arg(folder.join("tls.key"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a log"));
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let first = lines.recv_timeout(Duration::from_secs(60)).expect("a line");
        let address = first.rsplit(' ').next().expect("an address").parse().expect("an address");
        Self { child, address, lines }
    }

    fn log(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    fn end(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> Result<Stream, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("TLS").with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.flush()?;
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// Status and body of an answer.
fn receive(stream: &mut Stream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn send(server: &Server, trusted: &Pair, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = connect(server.address, &trusted.certificate).expect("a connection");
    let head =
        format!("{head}\r\nhost: {NAME}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).expect("a request");
    // Where the answer comes before the end of the body, writing fails.
    let _ = stream.write_all(body).and_then(|()| stream.flush());
    receive(&mut stream)
}

const VALIDATE: &str = "POST /validate?timeout=10s HTTP/1.1\r\ncontent-type: application/json";

fn review(operation: &str, object: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "operation": operation,
            "dryRun": true,
            "object": object,
            "oldObject": null,
        },
    })
}

fn response(server: &Server, trusted: &Pair, review: &Value) -> Value {
    let (status, body) = send(server, trusted, VALIDATE, review.to_string().as_bytes());
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    answer["response"].clone()
}

fn configuration() -> Value {
    json!({
        "providers": { "corp": {
            "issuer": "https://idp.example/",
            "audiences": ["orders"],
            "required_claims": ["scope"],
            "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp", "timeout": "5s" } },
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
    })
}

fn policy(wasm: Value) -> Value {
    json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": { "name": "orders", "namespace": "shop" },
        "spec": { "wasm": wasm },
    })
}

fn ours(config: Value) -> Value {
    json!({ "name": "gate", "code": { "type": "Image", "image": { "url": "r.example/portcullis:0.1.0" } }, "config": config })
}

#[test]
fn what_the_filter_would_refuse_is_refused_with_its_place_and_path() {
    let (folder, pair) = started("reviews");
    let server = Server::start(&folder.0);
    let other = json!({ "name": "other", "code": { "type": "Image", "image": { "url": "r.example/other" } }, "config": { "a": null } });
    let mut typo = configuration();
    typo["providers"]["corp"]["audience"] = json!("orders");
    let mut without = ours(json!(0));
    without.as_object_mut().expect("an object").remove("config");
    let plugin = |config: Value| {
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": { "name": "a" },
            "spec": { "url": "oci://r.example/portcullis:0.1.0", "pluginConfig": config },
        })
    };
    let extension = |config: Value| {
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1", "kind": "TrafficExtension", "metadata": { "name": "a" },
            "spec": { "wasm": { "url": "oci://r.example/portcullis:0.1.0", "pluginConfig": config } },
        })
    };
    let filter = |config: Value| {
        json!({
            "name": "portcullis",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": { "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue", "value": config.to_string(),
                } },
            },
        })
    };
    let istio_patch = |config: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": { "name": "a" },
            "spec": { "configPatches": [{ "applyTo": "HTTP_FILTER", "patch": { "operation": "INSERT_BEFORE", "value": filter(config) } }] },
        })
    };
    let gateway_patch = |config: Value| {
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyPatchPolicy", "metadata": { "name": "a" },
            "spec": { "jsonPatches": [{ "operation": { "op": "add", "path": "/a", "value": filter(config) } }] },
        })
    };
    let module = |config: Value| {
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyExtensionPolicy", "metadata": { "name": "a" },
            "spec": { "dynamicModule": [{ "name": "portcullis", "config": config }] },
        })
    };
    let patched = "config.configuration: providers.corp.audience: unknown field";
    for (what, object, told) in [
        ("good", policy(json!([ours(configuration())])), None),
        ("another filter", policy(json!([other])), None),
        (
            "a typo",
            policy(json!([other, ours(typo.clone())])),
            Some("spec.wasm[1].config: providers.corp.audience: unknown field; did you mean \"audiences\"?"),
        ),
        ("no configuration", policy(json!([without])), Some("spec.wasm[0].config: ")),
        ("null", policy(json!([ours(Value::Null)])), Some("spec.wasm[0].config: ")),
        (
            "a text",
            policy(json!([ours(json!(configuration().to_string()))])),
            Some("spec.wasm[0].config: expected an object"),
        ),
        ("a list", policy(json!([ours(json!([]))])), Some("spec.wasm[0].config: expected an object")),
        ("WasmPlugin", plugin(configuration()), None),
        (
            "WasmPlugin",
            plugin(typo.clone()),
            Some("spec.pluginConfig: providers.corp.audience: unknown field"),
        ),
        ("TrafficExtension", extension(configuration()), None),
        (
            "TrafficExtension",
            extension(typo.clone()),
            Some("spec.wasm.pluginConfig: providers.corp.audience: unknown field"),
        ),
        ("EnvoyFilter", istio_patch(configuration()), None),
        ("EnvoyFilter", istio_patch(typo.clone()), Some(patched)),
        ("EnvoyPatchPolicy", gateway_patch(configuration()), None),
        ("EnvoyPatchPolicy", gateway_patch(typo.clone()), Some(patched)),
        ("a dynamic module", module(configuration()), None),
        (
            "a dynamic module",
            module(typo.clone()),
            Some("spec.dynamicModule[0].config: providers.corp.audience: unknown field"),
        ),
        ("something else", json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": null } }), None),
        ("nothing", json!({}), None),
    ] {
        for operation in ["CREATE", "UPDATE"] {
            let answer = response(&server, &pair, &review(operation, object.clone()));
            let message = answer["status"]["message"].as_str().unwrap_or_default();
            assert_eq!(answer["allowed"], json!(told.is_none()), "{what}: {answer}");
            match told {
                Some(told) => {
                    assert!(message.contains(told), "{what}: {message}");
                    assert!(!message.contains('\n'), "one error, one line: {message}");
                    let code = answer["status"]["code"].as_u64().unwrap_or_default();
                    assert!((400..500).contains(&code), "{answer}");
                }
                None => assert_eq!(answer.get("status"), None, "{what}"),
            }
        }
        for operation in ["DELETE", "CONNECT"] {
            assert_eq!(
                response(&server, &pair, &review(operation, object.clone()))["allowed"],
                true,
                "{what}"
            );
        }
        let mut ending = object.clone();
        ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(response(&server, &pair, &review("UPDATE", ending))["allowed"], true, "{what}");
    }
    // Two errors, two lines; a warning is passed on.
    typo["providers"]["corp"]["issuers"] = json!("x");
    let answer = response(&server, &pair, &review("CREATE", policy(json!([ours(typo)]))));
    assert_eq!(answer["status"]["message"].as_str().expect("a message").lines().count(), 2);
    let mut warned = configuration();
    warned["providers"]["corp"]["remote_jwks"]["http_uri"]["uri"] = json!("http://canary-value.example/");
    warned["providers"]["corp"].as_object_mut().expect("a provider").remove("audiences");
    let answer = response(&server, &pair, &review("CREATE", policy(json!([ours(warned)]))));
    let warnings = answer["warnings"].as_array().expect("warnings");
    assert!(answer["allowed"] == true && warnings.len() == 2, "{answer}");
    for warning in warnings.iter().map(|warning| warning.as_str().expect("a text")) {
        assert!(warning.chars().count() <= 256 && !warning.contains('\n'), "{warning}");
    }
    let all = format!("{answer}{:?}", server.log());
    assert!(!all.contains("canary-value"), "{all}");
}

/// A folder with a certificate and its key.
fn started(name: &str) -> (Folder, Pair) {
    let (folder, pair) = (Folder::new(&format!("admission-{name}")), pair());
    folder.write("tls.crt", &pair.certificate_pem);
    folder.write("tls.key", &pair.key_pem);
    (folder, pair)
}

#[test]
fn what_is_no_review_is_told_by_its_status() {
    let (folder, pair) = started("statuses");
    let server = Server::start(&folder.0);
    let good = review("CREATE", json!({})).to_string();
    let old = good.replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    let json = VALIDATE;
    let text = "POST /validate HTTP/1.1\r\ncontent-type: text/plain";
    let large = vec![b' '; (4 << 20) + 1];
    for (head, body, status) in [
        (json, good.as_bytes(), 200),
        ("POST /validate HTTP/1.1\r\ncontent-type: application/json; charset=utf-8", good.as_bytes(), 200),
        (json, b"", 400),
        (json, b"{", 400),
        (json, b"[]", 400),
        (json, b"\xff", 400),
        (json, old.as_bytes(), 400),
        (json, b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}", 400),
        (json, "[".repeat(100_000).as_bytes(), 400),
        (text, good.as_bytes(), 415),
        ("POST /validate HTTP/1.1", good.as_bytes(), 415),
        ("GET /validate HTTP/1.1", b"", 405),
        ("POST /healthz HTTP/1.1", b"", 405),
        ("GET /healthz HTTP/1.1", b"", 200),
        ("GET / HTTP/1.1", b"", 404),
        ("POST /mutate HTTP/1.1\r\ncontent-type: application/json", good.as_bytes(), 404),
        (json, large.as_slice(), 413),
    ] {
        let (got, answer) = send(&server, &pair, head, body);
        assert_eq!(got, status, "{head}: {answer}");
        assert!(!answer.is_empty(), "{head}");
    }
}

#[test]
fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let (folder, first) = started("certificates");
    let server = Server::start(&folder.0);
    let healthy = |pair: &Pair| connect(server.address, &pair.certificate).is_ok();
    assert!(healthy(&first));
    folder.write("tls.crt", "not a certificate");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !server.log().iter().any(|line| line.contains("the last good one serves on")) {
        assert!(Instant::now() < deadline, "nothing is said of a bad certificate");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(healthy(&first), "the last good one serves on");
    let second = pair();
    // As kubelet does it: both at once, by a link.
    fs::create_dir(folder.0.join("new")).expect("a folder");
    folder.write("new/tls.crt", &second.certificate_pem);
    folder.write("new/tls.key", &second.key_pem);
    for name in ["tls.crt", "tls.key"] {
        fs::remove_file(folder.0.join(name)).expect("removed");
        std::os::unix::fs::symlink(folder.0.join("new").join(name), folder.0.join(name)).expect("a link");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while !healthy(&second) {
        assert!(Instant::now() < deadline, "the new certificate is not taken");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!healthy(&first));
}

#[test]
fn sigterm_lets_what_has_begun_end() {
    let (folder, pair) = started("sigterm");
    let mut server = Server::start(&folder.0);
    let body = review("CREATE", json!({})).to_string();
    let mut stream = connect(server.address, &pair.certificate).expect("a connection");
    let head = format!("{VALIDATE}\r\nhost: {NAME}\r\ncontent-length: {}\r\n\r\n", body.len());
    let (first, second) = body.split_at(20);
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first.as_bytes())).expect("a part");
    stream.flush().expect("a part");
    // The server has the head once it has answered another request on another connection.
    assert_eq!(send(&server, &pair, "GET /healthz HTTP/1.1", b"").0, 200);
    server.end();
    std::thread::sleep(Duration::from_millis(200));
    stream.write_all(second.as_bytes()).and_then(|()| stream.flush()).expect("the rest");
    assert_eq!(receive(&mut stream).0, 200);
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_is_fetched_comes_from_a_server_that_this_machine_trusts() {
    let (folder, _) = started("online");
    let server = Server::start(&folder.0);
    let fetch = |trusted: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["jwks", "--online", &format!("https://localhost:{}/healthz", server.address.port())])
            .env("SSL_CERT_FILE", folder.0.join(trusted))
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    // There are no keys, which only whoever has read the answer can say.
    assert!(fetch("tls.crt").contains("neither PEM nor DER nor JSON"));
    folder.write("other.crt", pair().certificate_pem);
    assert!(!fetch("other.crt").contains("neither PEM"));
}

#[test]
fn without_a_certificate_it_does_not_start() {
    let folder = Folder::new("admission-none");
    folder.write("tls.crt", "nothing");
    folder.write("tls.key", "nothing");
    let (crt, key) = (folder.0.join("tls.crt"), folder.0.join("tls.key"));
    let arguments: [&std::ffi::OsStr; 7] = [
        "admission".as_ref(),
        "--listen".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--tls-cert".as_ref(),
        crt.as_ref(),
        "--tls-key".as_ref(),
        key.as_ref(),
    ];
    assert_eq!(common::run(&arguments).status.code(), Some(2));
}

#[test]
fn the_manifest_asks_about_the_kinds_that_are_judged_and_says_what_happens_when_nobody_answers() {
    use serde::Deserialize as _;
    let text =
        fs::read_to_string(common::project().join("envoy/kubernetes/admission.yaml")).expect("the manifest");
    let documents =
        serde_norway::Deserializer::from_str(&text).map(|own| Value::deserialize(own).expect("YAML"));
    let documents: Vec<Value> = documents.collect();
    let of =
        |kind: &str| documents.iter().find(|own| own["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let webhook = &of("ValidatingWebhookConfiguration")["webhooks"][0];
    assert_eq!((&webhook["sideEffects"], &webhook["failurePolicy"]), (&json!("None"), &json!("Fail")));
    assert!(webhook["timeoutSeconds"].as_u64().is_some_and(|seconds| seconds <= 10));
    assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
    let rules = webhook["rules"].as_array().expect("rules");
    let resources: Vec<&str> = rules
        .iter()
        .flat_map(|rule| rule["resources"].as_array().expect("resources"))
        .map(|own| own.as_str().expect("a name"))
        .collect();
    let expected =
        ["wasmplugins", "trafficextensions", "envoyfilters", "envoyextensionpolicies", "envoypatchpolicies"];
    assert_eq!(resources, expected);
    let service = of("Service");
    let client = &webhook["clientConfig"]["service"];
    assert_eq!((&service["metadata"]["name"], &client["path"]), (&client["name"], &json!("/validate")));
    assert_eq!(of("Deployment")["spec"]["template"]["metadata"]["labels"], service["spec"]["selector"]);
}
