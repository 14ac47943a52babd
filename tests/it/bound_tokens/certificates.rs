//! Tokens that are bound to a certificate, on a real Envoy with TLS: the certificate of the connection, or one that another
//! proxy vouches for in a field.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::{Cluster, Envoy, Idp, Listener, Request, Response, Upstream, Wasm};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::digest;
use crate::common::{self, assert_problem, assert_sound, config, corp, local_provider, with};

/// A certificate and its key in PEM, and the certificate in DER.
struct Certificate {
    pem: String,
    key: String,
    der: Vec<u8>,
}

impl Certificate {
    fn x5t(&self) -> String {
        digest(&self.der)
    }

    fn hex(&self) -> String {
        Sha256::digest(&self.der).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn tls(&self) -> Value {
        json!({
            "certificate_chain": { "inline_string": self.pem },
            "private_key": { "inline_string": self.key },
        })
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn issue(authority: &CertifiedIssuer<'static, KeyPair>, name: &str, uri: Option<&str>) -> Certificate {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).expect("parameters");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().expect("a URI"))));
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    Certificate { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

/// An Envoy that takes certificates of clients, and one that sends on what comes to `/one/…`, `/two/…` and `/none/…` with
/// one certificate, another, and none.
struct World {
    idp: Idp,
    /// Where the requests go that pass.
    _upstream: Upstream,
    gateway: Envoy,
    clients: Envoy,
    one: Certificate,
}

const SPIFFE: &str = "spiffe://a.example/orders";

impl World {
    fn start(provider: Value, rules: Value) -> Self {
        let (idp, upstream, authority) = (common::idp(), Upstream::start(), authority());
        let one = issue(&authority, "one", Some(SPIFFE));
        let two = issue(&authority, "two", Some("spiffe://a.example/other"));
        let server = issue(&authority, "server", None);
        let context = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {
                    "tls_certificates": [server.tls()],
                    "validation_context": { "trusted_ca": { "inline_string": authority.pem() } },
                },
            },
        });
        let config = config(with(local_provider(&idp), provider), rules);
        let gateway = Envoy::builder()
            .upstream(&upstream)
            .listener(Listener::new("tls").filter(Wasm::portcullis(config)))
            .patch(move |bootstrap| {
                let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().expect("listeners");
                for listener in listeners.iter_mut().filter(|listener| listener["name"] == "tls") {
                    listener["filter_chains"][0]["transport_socket"] = context.clone();
                }
            })
            .start()
            .unwrap_or_else(|error| panic!("{error}"));
        let clients = clients(gateway.addr_of("tls"), &one, &two);
        Self { idp, _upstream: upstream, gateway, clients, one }
    }

    fn send(&self, client: &str, request: impl FnOnce(Request) -> Request, path: &str) -> Response {
        request(Request::get(format!("/{client}{path}"))).send(self.clients.addr())
    }

    fn token(&self, claims: Value) -> String {
        self.idp.token(claims)
    }
}

fn clients(to: SocketAddr, one: &Certificate, two: &Certificate) -> Envoy {
    let cluster = |certificate: Option<&Certificate>| {
        let certificates: Vec<Value> = certificate.map(Certificate::tls).into_iter().collect();
        Cluster::new(to).field(
            "transport_socket",
            json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": "server.example",
                    "common_tls_context": { "tls_certificates": certificates },
                },
            }),
        )
    };
    let route = |name: &str| json!({ "match": { "prefix": format!("/{name}/") }, "route": { "cluster": name, "prefix_rewrite": "/" } });
    Envoy::builder()
        .shared()
        .cluster("one", cluster(Some(one)))
        .cluster("two", cluster(Some(two)))
        .cluster("none", cluster(None))
        .main(|listener| listener.routes(json!([route("one"), route("two"), route("none")])))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn rules() -> Value {
    json!([
        { "match": { "prefix": "/pay" }, "requires": corp(), "requires_proof": "mtls" },
        { "match": { "prefix": "/" }, "requires": corp() },
    ])
}

#[test]
fn a_token_counts_over_connections_of_its_certificate() {
    let provider = json!({ "sender_constrained": "enforce", "mtls": { "certificate": "connection" } });
    let world = World::start(provider, rules());
    let bound = world.token(json!({ "cnf": { "x5t#S256": world.one.x5t() } }));
    let plain = world.token(json!({}));
    let by_key = world.token(json!({ "cnf": { "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" } }));
    // What a client says in fields is not vouched for.
    let said = format!("Hash={}", world.one.hex());
    for (client, token, path, reason) in [
        ("one", &bound, "/orders", None),
        ("one", &bound, "/pay", None),
        ("two", &bound, "/orders", Some("certificate_mismatch")),
        ("none", &bound, "/orders", Some("certificate_mismatch")),
        ("none", &plain, "/orders", None),
        ("one", &plain, "/orders", None),
        ("one", &plain, "/pay", Some("certificate_mismatch")),
        ("one", &by_key, "/orders", Some("token_bound")),
        ("one", &bound, "/orders", None),
    ] {
        let what = format!("{client} {path} {reason:?}");
        let send = |request: Request| request.bearer(token).header("x-forwarded-client-cert", &said);
        let response = world.send(client, send, path);
        match reason {
            None => assert_eq!(response.status, 200, "{what}: {}", response.text()),
            Some(reason) => {
                assert_problem(&what, &response, 401, reason);
                let challenge = common::challenge(&response).expect("a challenge");
                assert_eq!(challenge.get("error").map(String::as_str), Some("invalid_token"), "{what}");
            }
        }
    }
    assert_sound(&world.gateway);
}

#[test]
fn a_claim_may_have_to_name_the_client_of_the_connection() {
    let condition = |path: &str, claim: &str, name: &str| {
        json!({
            "match": { "prefix": path },
            "requires": corp(),
            "authorize": { "claims": [{ "claim": claim, "equals_peer": name }] },
        })
    };
    let rules = json!([
        condition("/uri", "sub", "uri_san"),
        condition("/dns", "host", "dns_san"),
        condition("/subject", "dn", "subject"),
    ]);
    let world = World::start(json!({}), rules);
    let (named, subject) =
        (json!({ "sub": SPIFFE, "host": "one.example", "dn": "CN=one" }), json!({ "sub": "" }));
    let other = json!({ "sub": "SPIFFE://a.example/orders", "host": "two.example", "dn": "CN=On" });
    let lists = json!({ "sub": SPIFFE, "host": ["one.example"], "dn": ["CN=one"] });
    for (client, claims, paths, passes) in [
        ("one", &named, &["/uri", "/dns", "/subject"][..], true),
        ("two", &named, &["/uri", "/dns", "/subject"], false),
        ("none", &named, &["/uri", "/dns", "/subject"], false),
        ("one", &other, &["/uri", "/dns", "/subject"], false),
        ("one", &lists, &["/dns", "/subject"], false),
        // What is empty is like nothing, and equals no other nothing.
        ("none", &subject, &["/uri", "/dns", "/subject"], false),
    ] {
        let token = world.token(claims.clone());
        for path in paths {
            let said = |request: Request| {
                request.bearer(&token).header("x-forwarded-client-cert", format!("URI={SPIFFE}"))
            };
            let response = world.send(client, said, path);
            let what = format!("{client} {path} {claims}");
            match passes {
                true => assert_eq!(response.status, 200, "{what}: {}", response.text()),
                false => assert_problem(&what, &response, 403, "claim_mismatch"),
            }
        }
    }
    assert_sound(&world.gateway);
}

#[test]
fn a_field_counts_where_the_operator_vouches_for_it_and_does_not_travel() {
    let (idp, upstream, authority) = (common::idp(), Upstream::start(), authority());
    let (one, two) = (issue(&authority, "one", None), issue(&authority, "two", None));
    let providers = [
        ("xfcc", json!({ "certificate": "xfcc" }), false),
        ("first", json!({ "certificate": "xfcc", "xfcc_element": "first" }), false),
        ("last", json!({ "certificate": "xfcc", "xfcc_element": "last" }), false),
        ("cert", json!({ "certificate": "client_cert" }), false),
        ("forward", json!({ "certificate": "xfcc" }), true),
        ("connection", json!({ "certificate": "connection" }), false),
    ];
    let mut all = config(local_provider(&idp), json!([]));
    for (name, mtls, forward) in &providers {
        all["providers"][name] = with(
            local_provider(&idp),
            json!({ "sender_constrained": "enforce", "mtls": mtls, "forward": forward }),
        );
        let rule =
            json!({ "match": { "prefix": format!("/{name}") }, "requires": { "provider_name": name } });
        all["rules"].as_array_mut().expect("rules").push(rule);
    }
    // Envoy hands on what the proxy before it wrote.
    let envoy = Envoy::builder()
        .shared()
        .upstream(&upstream)
        .filter(Wasm::portcullis(all))
        .main(|main| main.hcm("forward_client_cert_details", json!("ALWAYS_FORWARD_ONLY")))
        .start()
        .unwrap_or_else(|error| panic!("{error}"));
    let token = idp.token(json!({ "cnf": { "x5t#S256": one.x5t() } }));
    const XFCC: &str = "x-forwarded-client-cert";
    let element = |certificate: &Certificate| {
        format!("By=spiffe://a/b;Hash={};Subject=\"CN=a,b;\\\"c\\\"\";URI=spiffe://a/c", certificate.hex())
    };
    let both = |a: &Certificate, b: &Certificate| format!("{},{}", element(a), element(b));
    let sent = |certificate: &Certificate| format!(":{}:", BASE64_STANDARD.encode(&certificate.der));
    for (provider, fields, passes) in [
        ("xfcc", vec![(XFCC, element(&one))], true),
        ("xfcc", vec![(XFCC, element(&two))], false),
        ("xfcc", vec![(XFCC, both(&one, &one))], false),
        ("xfcc", vec![(XFCC, element(&one)), (XFCC, element(&one))], false),
        ("xfcc", vec![("client-cert", sent(&one))], false),
        ("xfcc", vec![], false),
        ("first", vec![(XFCC, both(&one, &two))], true),
        ("first", vec![(XFCC, both(&two, &one))], false),
        ("last", vec![(XFCC, both(&two, &one))], true),
        ("last", vec![(XFCC, both(&one, &two))], false),
        ("last", vec![(XFCC, element(&one))], true),
        ("cert", vec![("client-cert", sent(&one))], true),
        ("cert", vec![("client-cert", sent(&two))], false),
        ("cert", vec![("client-cert", sent(&one)), ("client-cert", sent(&one))], false),
        ("cert", vec![(XFCC, element(&one))], false),
        ("forward", vec![(XFCC, element(&one))], true),
        ("connection", vec![(XFCC, element(&one)), ("client-cert", sent(&one))], false),
    ] {
        let mut request = Request::get(format!("/{provider}")).bearer(&token);
        for (name, value) in &fields {
            request = request.header(name, value);
        }
        let response = request.send(envoy.addr());
        let what = format!("{provider} {fields:?}");
        if !passes {
            assert_problem(&what, &response, 401, "certificate_mismatch");
            continue;
        }
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        let record = upstream.last();
        for (name, _) in &fields {
            assert_eq!(record.headers_named(name).is_empty(), provider != "forward", "{what}");
        }
    }
    assert_sound(&envoy);
}
