//! Bound tokens and proofs in the forms of servers and clients, and as real ones made them: at their moment, and then with
//! another key, another certificate, another scheme, another time.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use portcullis::{
    Config, Environment, Gate, HostProperties, Outcome, Reason, Request, RouteMetadataValue, StreamId,
    Timestamp,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Client;
use crate::common::{parts, with};
use crate::made::{self, Folder};

/// A server that ran, with a bound token of its own and what goes with it.
struct Server {
    folder: &'static str,
    issuer: &'static str,
    audience: &'static str,
    token: &'static str,
    proof: &'static str,
    target: &'static str,
    origin: &'static str,
}

const SERVERS: [Server; 4] = [
    Server {
        folder: "real-keycloak",
        issuer: "https://localhost:21443/realms/demo",
        audience: "orders-api",
        token: "access_token.dpop.jwt",
        proof: "proof.resource.jwt",
        target: "/orders/7",
        origin: "https://api.example.com",
    },
    Server {
        token: "access_token.dpop.EdDSA.jwt",
        proof: "proof.resource.EdDSA.jwt",
        folder: "real-keycloak",
        issuer: "https://localhost:21443/realms/demo",
        audience: "orders-api",
        target: "/orders/7",
        origin: "https://api.example.com",
    },
    Server {
        folder: "real-oidc-provider-opaque",
        issuer: "http://127.0.0.1:22010",
        audience: "https://orders.example.com/",
        token: "access_token.dpop.jwt",
        proof: "proof.GET.jwt",
        target: "/orders?x=1",
        origin: "https://api.example",
    },
    Server {
        folder: "real-spring-authorization-server",
        issuer: "http://127.0.0.1:22300",
        audience: "orders",
        token: "access_token.dpop.jwt",
        proof: "proof.GET.jwt",
        target: "/orders",
        origin: "https://api.example",
    },
];

fn claims(token: &str) -> Value {
    serde_json::from_slice(&parts(token)[1]).expect("claims")
}

/// The certificate that came over the connection, in hexadecimal.
struct Peer(Option<String>);

impl HostProperties for Peer {
    fn is_tls(&self) -> bool {
        true
    }

    fn client_address(&self) -> Option<String> {
        None
    }

    fn peer_certificate_hash(&self) -> Option<String> {
        self.0.clone()
    }

    fn route_metadata(&self, _: &str) -> RouteMetadataValue {
        RouteMetadataValue::Absent
    }
}

fn gate(server: &Server, folder: &Folder, more: Value, now: u64) -> Gate {
    let keys: Value = serde_json::from_str(&folder.text("jwks.json")).expect("a key set");
    let provider = with(
        json!({
            "issuer": server.issuer,
            "audiences": [server.audience],
            "local_jwks": { "inline": keys },
            "sender_constrained": "enforce",
            "dpop": { "origins": [server.origin] },
            "mtls": { "certificate": "connection" },
        }),
        more,
    );
    let rules = json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }]);
    let config = json!({ "providers": { "p": provider }, "rules": rules }).to_string();
    let config =
        Config::parse(config.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
    Gate::new(config, Environment::alone(1), Timestamp::from_secs(now))
}

fn ask(gate: &mut Gate, fields: &[(&str, &str)], peer: Option<String>, now: u64) -> Option<Reason> {
    let mut all = vec![(&b":method"[..], &b"GET"[..])];
    all.extend(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let peer = Peer(peer);
    match gate.decide(StreamId(1), &Request::new(&all).within(&peer), Timestamp::from_secs(now)) {
        Outcome::Allow(_) => None,
        Outcome::Deny(rejection) => Some(rejection.response.reason),
        Outcome::Answer(_) => panic!("no resource is configured"),
        Outcome::Wait => panic!("it waits"),
    }
}

#[test]
fn bound_tokens_of_real_servers_pass_with_their_proofs_and_with_nothing_else() {
    use Reason::*;
    for (server, root) in
        made::captured().iter().flat_map(|root| SERVERS.iter().map(move |server| (server, root)))
    {
        let folder = root.folder(server.folder);
        let (token, proof) = (folder.text(server.token), folder.text(server.proof));
        let iat = claims(&proof)["iat"].as_u64().expect("iat");
        let authority = server.origin.strip_prefix("https://").expect("https");
        let (dpop, bearer) = (format!("DPoP {token}"), format!("Bearer {token}"));
        // Another client's proof for the same token and request.
        let stranger = Client::new("stranger");
        let (path, _) = server.target.split_once('?').unwrap_or((server.target, ""));
        let stolen =
            with(stranger.claims("GET", &format!("{}{path}", server.origin), &token), json!({ "iat": iat }));
        let stolen = stranger.sign(&stranger.header(), &stolen);
        let usual = [(":path", server.target), (":authority", authority)];
        for (what, more, now, expected) in [
            ("as it was", vec![("authorization", dpop.as_str()), ("dpop", &proof)], iat, None),
            ("at the end", vec![("authorization", &dpop), ("dpop", &proof)], iat + 60, None),
            ("later", vec![("authorization", &dpop), ("dpop", &proof)], iat + 61, Some(ProofInvalid)),
            ("without a proof", vec![("authorization", &dpop)], iat, Some(ProofMissing)),
            ("as Bearer", vec![("authorization", &bearer), ("dpop", &proof)], iat, Some(ProofMissing)),
            ("with another key", vec![("authorization", &dpop), ("dpop", &stolen)], iat, Some(ProofInvalid)),
            (
                "twice",
                vec![("authorization", &dpop), ("dpop", &proof), ("dpop", &proof)],
                iat,
                Some(ProofInvalid),
            ),
        ] {
            let what = format!("{} {} {what}", server.folder, server.token);
            let mut gate = gate(server, &folder, json!({}), now);
            let fields = [&usual[..], &more].concat();
            assert_eq!(ask(&mut gate, &fields, None, now), expected, "{what}");
            if expected.is_none() {
                assert_eq!(ask(&mut gate, &fields, None, now), Some(ProofReplayed), "{what}, again");
            }
            for (field, value) in [(":path", "/orders/8"), (":authority", "other.example")] {
                let other: Vec<_> =
                    fields.iter().map(|own| if own.0 == field { (field, value) } else { *own }).collect();
                let found = ask(&mut gate, &other, None, now);
                assert!(found.is_some(), "{what}, {value}");
            }
        }
        // Without the setting it is refused as before.
        let more = json!({ "sender_constrained": "reject", "dpop": null, "mtls": null });
        let keys: Value = serde_json::from_str(&folder.text("jwks.json")).expect("a key set");
        let provider = json!({
            "issuer": server.issuer, "audiences": [server.audience], "local_jwks": { "inline": keys },
            "sender_constrained": more["sender_constrained"],
        });
        let rules = json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }]);
        let config = json!({ "providers": { "p": provider }, "rules": rules }).to_string();
        let config = Config::parse(config.as_bytes(), &|_| None).expect("a configuration");
        let mut gate = Gate::new(config, Environment::alone(1), Timestamp::from_secs(iat));
        let fields = [&usual[..], &[("authorization", dpop.as_str()), ("dpop", &proof)]].concat();
        assert_eq!(ask(&mut gate, &fields, None, iat), Some(TokenBound), "{}", server.folder);
    }
}

#[test]
fn certificate_bound_tokens_of_real_servers_pass_over_their_connection_alone() {
    let certificates = [(0, "client.crt"), (2, "client.crt.pem")];
    for (root, (at, certificate)) in
        made::captured().iter().flat_map(|root| certificates.map(|one| (root, one)))
    {
        let server = &SERVERS[at];
        let folder = root.folder(server.folder);
        let token = folder.text("access_token.mtls.jwt");
        let pem = folder.text(certificate);
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(body).expect("base64");
        let hex: String = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        let other = hex.replace(|digit: char| digit.is_ascii_digit(), "0");
        let now = claims(&token)["iat"].as_u64().expect("iat");
        let bearer = format!("Bearer {token}");
        let fields =
            [(":path", "/orders"), (":authority", "api.example"), ("authorization", bearer.as_str())];
        let mut connection = gate(server, &folder, json!({}), now);
        for (peer, expected) in [
            (Some(hex.clone()), None),
            (Some(hex.to_uppercase()), None),
            (Some(other), Some(Reason::CertificateMismatch)),
            (Some(String::new()), Some(Reason::CertificateMismatch)),
            (None, Some(Reason::CertificateMismatch)),
            (Some(hex.clone()), None),
        ] {
            assert_eq!(
                ask(&mut connection, &fields, peer.clone(), now),
                expected,
                "{} {peer:?}",
                server.folder
            );
        }
        // What a client says of its certificate counts only where the operator vouches for the field.
        let xfcc = format!("By=spiffe://a/b;Hash={hex};Subject=\"CN=a\"");
        let sent = format!(":{}:", BASE64_STANDARD.encode(&der));
        for (source, field, value) in
            [("xfcc", "x-forwarded-client-cert", xfcc.as_str()), ("client_cert", "client-cert", &sent)]
        {
            let fields = [&fields[..], &[(field, value)]].concat();
            let found = ask(&mut connection, &fields, None, now);
            assert_eq!(found, Some(Reason::CertificateMismatch), "{} {source}", server.folder);
            let mut vouching = gate(server, &folder, json!({ "mtls": { "certificate": source } }), now);
            assert_eq!(ask(&mut vouching, &fields, None, now), None, "{} {source}", server.folder);
            let without = ask(&mut vouching, &fields[..3], Some(hex.clone()), now);
            assert_eq!(without, Some(Reason::CertificateMismatch), "{} {source}", server.folder);
        }
    }
}
