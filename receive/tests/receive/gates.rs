//! Gates that poll a receiver, and where keys come from.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::{
    Alg, Behaviour, Cluster, Endpoint, Envoy, Idp, Key, Request, SOON, Upstream, Wasm, eventually,
};
use serde_json::{Value, json};

use crate::common::{Options, Receiver, config, fresh, idp, logout_token, revoked_token};

const INTERVAL: Duration = Duration::from_secs(1);
/// Within the interval and a second; what a busy machine adds is not theirs.
const PROMISED: Duration = Duration::from_secs(2);

fn gate(idp: &Idp, upstream: &Upstream, receiver: &Receiver) -> Envoy {
    let uri = format!("http://{}/revoked.json", receiver.addr());
    let config = json!({
        "providers": { "corp": { "issuer": idp.issuer(), "local_jwks": { "inline": idp.jwks() } } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } }],
        "revocation": { "lists": [{
            "name": "receive",
            "http_uri": { "uri": uri, "cluster": "receive", "timeout": "1s" },
            "poll_interval": format!("{}s", INTERVAL.as_secs()),
        }] },
    });
    Envoy::builder()
        .upstream(upstream)
        .cluster("receive", Cluster::new(receiver.addr()))
        .filter(Wasm::portcullis(config))
        .start()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn status(gate: &Envoy, token: &str) -> u16 {
    Request::get("/").bearer(token).send(gate.addr()).status
}

#[test]
fn two_gates_refuse_what_a_receiver_was_told_within_the_interval_and_a_second() {
    let (idp, upstream) = (idp(), Upstream::start());
    let receiver = Receiver::start(config(&idp));
    let gates = [gate(&idp, &upstream, &receiver), gate(&idp, &upstream, &receiver)];
    let token = |claims: Value| idp.mint().claims(claims).sign();
    let bystander = token(json!({ "sub": "bob", "sid": "other", "jti": fresh("t") }));
    let user = |sub: &str| json!({ "format": "iss_sub", "iss": idp.issuer(), "sub": sub });
    let by_hand = fresh("by-hand");
    let until = harness::idp::now() + 600;
    type Tell<'a> = Box<dyn Fn(&Receiver) -> u16 + 'a>;
    let cases: Vec<(&str, String, Tell<'_>)> = vec![
        (
            "a logout of a session",
            token(json!({ "sub": "eve", "sid": "s1" })),
            Box::new(|receiver| receiver.logout(&logout_token(&idp, "s1").sign()).status),
        ),
        (
            "a logout of a user",
            token(json!({ "sub": "mallory", "sid": "s2" })),
            Box::new(|receiver| {
                let token = logout_token(&idp, "-").without("sid").claim("sub", "mallory").sign();
                receiver.logout(&token).status
            }),
        ),
        (
            "a revoked session",
            token(json!({ "sub": "trudy", "sid": "s3" })),
            Box::new(|receiver| {
                let all = json!({ "user": user("trudy"), "session": { "format": "opaque", "id": "ALL" } });
                receiver.push(&revoked_token(&idp, all).sign()).status
            }),
        ),
        (
            "an entry by hand",
            token(json!({ "sub": "oscar", "jti": by_hand })),
            Box::new(|receiver| receiver.revoke(&json!({ "jti": by_hand, "until": until })).status),
        ),
    ];
    for (what, token, tell) in cases {
        for gate in &gates {
            eventually("the token passes", SOON, || (status(gate, &token) == 200).then_some(()));
        }
        let status_of_event = tell(&receiver);
        assert!((200..300).contains(&status_of_event), "{what}: {status_of_event}");
        let told = Instant::now();
        for gate in &gates {
            eventually(what, SOON, || (status(gate, &token) == 401).then_some(()));
        }
        eprintln!("{what}: refused by both gates after {:?} (promised: {PROMISED:?})", told.elapsed());
        for gate in &gates {
            assert_eq!(status(gate, &bystander), 200, "{what}: it is about nobody else");
        }
    }
}

#[test]
fn keys_are_fetched_found_by_discovery_and_followed_when_they_change() {
    for form in ["remote_jwks", "discovery"] {
        let idp = idp();
        let mut issuer = json!({ "issuer": idp.issuer(), "audiences": [idp.audience()] });
        issuer[form] = match form {
            "remote_jwks" => json!({ "http_uri": { "uri": idp.jwks_uri(), "timeout": "2s" } }),
            _ => json!({ "uri": format!("{}/.well-known/openid-configuration", idp.url()) }),
        };
        let receiver = Receiver::start(json!({ "issuers": [issuer] }));
        assert_eq!(receiver.logout(&logout_token(&idp, "s1").sign()).status, 200, "{form}");
        idp.set_keys([Key::generate(Alg::ES256, "new")]);
        let response = receiver.logout(&logout_token(&idp, "s2").sign());
        assert_eq!(response.status, 200, "{form}: {}", response.text());
        // A key that nobody has, many times: few fetches.
        let before = idp.fetches();
        let forged: Vec<String> = (0..30)
            .map(|at| {
                logout_token(&idp, "s3").key(&Key::generate(Alg::ES256, &format!("made-up-{at}"))).sign()
            })
            .collect();
        for token in forged {
            let status = receiver.logout(&token).status;
            assert!(matches!(status, 400 | 503), "{form}: {status}");
        }
        assert!(idp.fetches() - before <= 10, "{form}: {} fetches", idp.fetches() - before);
        assert_eq!(receiver.entries().len(), 2, "{form}");
    }
}

#[test]
fn while_keys_cannot_be_had_events_are_neither_taken_nor_refused() {
    let idp = idp();
    idp.behave_on(Endpoint::Jwks, Behaviour::Status(500));
    let issuer = json!({ "issuer": idp.issuer(), "remote_jwks": { "uri": idp.jwks_uri() } });
    let receiver = Receiver::start(json!({ "issuers": [issuer] }));
    let token = logout_token(&idp, "s").sign();
    let response = receiver.logout(&token);
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.header("retry-after").is_some());
    idp.behave_on(Endpoint::Jwks, Behaviour::Well);
    eventually("the same token is taken", SOON, || {
        thread::sleep(Duration::from_millis(200));
        (receiver.logout(&token).status == 200).then_some(())
    });
    assert_eq!(receiver.entries().len(), 1);
}

#[test]
fn the_first_event_after_an_outage_of_the_keys_is_taken() {
    // It came up during the outage; or it has keys, and the event is signed with one that was made since.
    for has_keys in [false, true] {
        let idp = idp();
        let behave = |behaviour| idp.behave_on(Endpoint::Jwks, behaviour);
        let issuer = json!({ "issuer": idp.issuer(), "remote_jwks": { "uri": idp.jwks_uri() } });
        if !has_keys {
            behave(Behaviour::Status(500));
        }
        let receiver = Receiver::start(json!({ "issuers": [issuer] }));
        if has_keys {
            assert_eq!(receiver.logout(&logout_token(&idp, "s0").sign()).status, 200);
            behave(Behaviour::Status(500));
        }
        // With pauses that double, the next try would be at least 12 seconds away then.
        let made_up = logout_token(&idp, "s").key(&Key::generate(Alg::ES256, "made-up")).sign();
        eventually("seven fetches", SOON, || {
            let status = receiver.logout(&made_up).status;
            assert_eq!(status, 503, "{has_keys}");
            (idp.fetches() >= 7).then_some(())
        });
        idp.set_keys([Key::generate(Alg::ES256, "new")]);
        behave(Behaviour::Well);
        let began = Instant::now();
        let response = receiver.logout(&logout_token(&idp, "s").sign());
        assert_eq!(response.status, 200, "{has_keys}: {}", response.text());
        eprintln!("taken after {:?}; Keycloak waits for 5 s", began.elapsed());
    }
}

#[test]
fn an_event_whose_sender_does_not_wait_for_the_answer_is_taken() {
    let idp = idp();
    idp.behave_on(Endpoint::Jwks, Behaviour::Delay(Duration::from_secs(1)));
    let issuer = json!({ "issuer": idp.issuer(), "remote_jwks": { "uri": idp.jwks_uri(), "timeout": "5s" } });
    let receiver = Receiver::start(json!({ "issuers": [issuer] }));
    let form = format!("logout_token={}", logout_token(&idp, "s").sign());
    let mut sender = std::net::TcpStream::connect(receiver.addr()).expect("a connection");
    let head =
        "POST /backchannel-logout HTTP/1.1\r\nhost: r\r\ncontent-type: application/x-www-form-urlencoded\r\n";
    write!(sender, "{head}content-length: {}\r\n\r\n{form}", form.len()).expect("a request");
    // It has been read: the keys are asked for by now, or will be.
    eventually("a fetch", SOON, || (idp.fetches() > 0).then_some(()));
    thread::sleep(Duration::from_millis(100));
    drop(sender);
    eventually("its entry", SOON, || (receiver.entries().len() == 1).then_some(()));
}

#[test]
fn a_logout_at_the_demo_provider_reaches_the_receiver() {
    // The provider has to know the receiver, and the receiver the provider's keys.
    let port = harness::Port::reserve();
    let uri = format!("http://{}/backchannel-logout", port.addr());
    let idp = Idp::builder().backchannel_logout_uri(&uri).start().expect("the identity provider starts");
    let issuer = json!({ "issuer": idp.issuer(), "audiences": [idp.audience()], "discovery": {} });
    let receiver = Receiver::start_with(
        json!({ "issuers": [issuer] }),
        Options { port: Some(port), ..Options::default() },
    );
    let log_out = |form: &str| {
        let request =
            Request::post("/logout", form).header("content-type", "application/x-www-form-urlencoded");
        request.send(idp.addr()).json()["status"].clone()
    };
    assert_eq!(log_out("sid=s1&sub=alice"), 200);
    assert_eq!(log_out("sub=bob"), 200);
    let entries = receiver.entries();
    assert!(
        entries.iter().any(|entry| entry["sid"] == "s1") && entries.iter().any(|entry| entry["sub"] == "bob")
    );
    assert_eq!(entries.len(), 2, "{entries:?}");
}

/// A server that answers everything with this document, under a certificate for localhost; its port, and the certificate.
fn tls_server(document: String) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into())
        })
        .expect("a server's configuration");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) else { return };
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            // A client that does not trust the certificate ends here.
            if stream.read(&mut head).is_ok_and(|read| read > 0) {
                let length = document.len();
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
                let _ = stream.write_all(format!("{head}{document}").as_bytes());
                let _ = stream.flush();
            }
        }
    });
    (port, made.cert.pem())
}

#[test]
fn keys_come_over_tls_from_a_server_that_the_machine_trusts_and_from_no_other() {
    let idp = idp();
    let (port, certificate) = tls_server(idp.jwks().to_string());
    let (_, another) = tls_server(String::new());
    let issuer = json!({
        "issuer": idp.issuer(),
        "remote_jwks": { "uri": format!("https://localhost:{port}/jwks.json") },
    });
    for (authority, expected) in [(certificate, 200), (another, 503)] {
        let options = Options { authority, ..Options::default() };
        let receiver = Receiver::start_with(json!({ "issuers": [issuer] }), options);
        let response = receiver.logout(&logout_token(&idp, "s").sign());
        assert_eq!(response.status, expected, "{}: {}", response.text(), receiver.log());
        assert_eq!(receiver.entries().len(), usize::from(expected == 200));
    }
}
