//! Tokens that are bound by what the answer says of them (RFC 9449 section 6.2, RFC 8705 section 3.2), in the
//! forms of servers and of servers that ran, with the proofs of their clients.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::captured::Captured;
use super::replay::{Replay, config, introspection};
use crate::common::{parts, with};
use crate::made::{self, Folder};

struct Server {
    folder: &'static str,
    issuer: &'static str,
    audience: &'static str,
    /// The label of its answer.
    label: &'static str,
    proof: &'static str,
    origin: &'static str,
    target: &'static str,
    /// Whether its token is a JWT, of which the answer says the rest.
    is_light: bool,
}

const SERVERS: [Server; 3] = [
    Server {
        folder: "real-oidc-provider-opaque",
        issuer: "http://127.0.0.1:22010",
        audience: "orders-opaque",
        label: "dpop",
        proof: "proof.opaque.GET",
        origin: "https://api.example",
        target: "/orders?x=1",
        is_light: false,
    },
    Server {
        folder: "real-spring-authorization-server",
        issuer: "http://127.0.0.1:22300",
        audience: "orders",
        label: "dpop",
        proof: "proof.opaque.GET",
        origin: "https://api.example",
        target: "/orders",
        is_light: false,
    },
    Server {
        folder: "real-keycloak",
        issuer: "https://localhost:21443/realms/demo",
        audience: "orders-api",
        label: "lightweight-dpop",
        proof: "proof.lightweight-dpop",
        origin: "https://api.example.com",
        target: "/orders/7",
        is_light: true,
    },
];

fn provider(server: &Server, folder: &Folder) -> Value {
    let block = introspection(if server.is_light { json!({ "claims": "answer" }) } else { json!({}) });
    let mut provider = json!({
        "issuer": server.issuer,
        "audiences": [server.audience],
        "introspection": block,
        "sender_constrained": "enforce",
        "dpop": { "origins": [server.origin] },
        "mtls": { "certificate": "xfcc" },
    });
    if server.is_light {
        provider["local_jwks"] = json!({ "inline_string": folder.text("jwks.json") });
    }
    provider
}

#[test]
fn a_key_in_the_answer_is_shown_by_a_proof() {
    for (server, root) in
        made::captured().iter().flat_map(|root| SERVERS.iter().map(move |server| (server, root)))
    {
        let folder = root.folder(server.folder);
        let captured = Captured::read(&folder, server.label);
        let proof = folder.text(&format!("{}.jwt", server.proof));
        let claims: Value = serde_json::from_slice(&parts(&proof)[1]).expect("claims");
        let at = claims["iat"].as_u64().expect("iat");
        let authority = server.origin.strip_prefix("https://").expect("https");
        let mut replay = Replay::new(&config(&provider(server, &folder), json!({})), at);
        let mut ask = |scheme: &str, proof: Option<&str>, path: &str| {
            let authorization = format!("{scheme} {}", captured.token);
            let mut fields =
                vec![(":path", path), (":authority", authority), ("authorization", authorization.as_str())];
            fields.extend(proof.map(|proof| ("dpop", proof)));
            replay.ask_with(&fields, at, |_| captured.answer())
        };
        let what = server.folder;
        assert_eq!(ask("Bearer", None, server.target), "proof_missing", "{what}");
        assert_eq!(ask("DPoP", None, server.target), "proof_missing", "{what}");
        assert_eq!(
            ask("DPoP", Some(&harness::idp::flip_bit(&proof)), server.target),
            "proof_invalid",
            "{what}"
        );
        assert_eq!(ask("DPoP", Some(&proof), "/elsewhere"), "proof_invalid", "{what}");
        assert_eq!(ask("DPoP", Some(&proof), server.target), "allow", "{what}");
        assert_eq!(ask("DPoP", Some(&proof), server.target), "proof_replayed", "{what}");
        assert_eq!(replay.calls.len(), 1, "{what}: the answer is known, a proof is looked at each time");
    }
}

#[test]
fn a_certificate_in_the_answer_is_shown_by_the_connection() {
    let server = Server { label: "mtls", ..SERVERS[0] };
    for root in made::captured() {
        the_certificate_is_shown(&server, &root.folder(server.folder));
    }
}

fn the_certificate_is_shown(server: &Server, folder: &Folder) {
    let captured = Captured::read(folder, server.label);
    let at = captured.moment(folder);
    let pem = folder.text("client.crt.pem");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64_STANDARD.decode(body).expect("base64");
    let hash =
        |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut replay = Replay::new(&config(&provider(server, folder), json!({})), at);
    for (shown, expected) in [
        (Some(hash(&der)), "allow"),
        (Some(hash(b"another")), "certificate_mismatch"),
        (None, "certificate_mismatch"),
    ] {
        let authorization = format!("Bearer {}", captured.token);
        let xfcc = shown.map(|hash| format!("Hash={hash}"));
        let mut fields = vec![(":path", "/orders"), ("authorization", authorization.as_str())];
        fields.extend(xfcc.as_deref().map(|xfcc| ("x-forwarded-client-cert", xfcc)));
        assert_eq!(replay.ask_with(&fields, at, |_| captured.answer()), expected, "{xfcc:?}");
    }
    assert_eq!(replay.calls.len(), 1);
}

/// A server that takes a key away from its answer makes no bearer token of a bound one.
#[test]
fn an_answer_of_type_dpop_without_a_key_passes_nowhere() {
    let at = 1_800_000_000;
    let token = super::replay::opaque(1);
    for enforced in ["enforce", "reject"] {
        let mut provider = json!({
            "issuer": "https://id.example/", "audiences": ["orders"], "introspection": introspection(json!({})),
            "sender_constrained": enforced,
        });
        if enforced == "enforce" {
            provider = with(provider, json!({ "dpop": { "origins": ["https://api.example"] } }));
        }
        for scheme in ["Bearer", "DPoP"] {
            let mut replay = Replay::new(&config(&provider, json!({})), at);
            let answer = json!({ "active": true, "aud": "orders", "token_type": "DPoP" });
            let got =
                replay.ask("/", &format!("{scheme} {token}"), at, |_| super::replay::json_answer(&answer));
            assert_ne!(got, "allow", "{scheme} under {enforced}");
        }
    }
}
