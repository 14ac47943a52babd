//! Tokens that are bound to a key or to a certificate, and tokens that count once: what passes, what is refused, and what
//! each side is told.

mod attacks;
mod captured;
mod certificates;
mod clients;
mod cost;
mod made_proofs;
mod on_envoy;
mod replay;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::{Alg, Idp, Key, Request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::{local_provider, with};

/// The number of the next proof.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The origin that clients know, whatever the address is.
const ORIGIN: &str = "https://api.example";

/// Base64url of a SHA-256: a thumbprint, or the hash of a token.
fn digest(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// A client that has a key of its own.
struct Client(Key);

impl Client {
    fn new(name: &str) -> Self {
        Self(Key::cached(Alg::ES256, name))
    }

    /// The same for another algorithm than ES256.
    fn of(alg: Alg, name: &str) -> Self {
        Self(Key::cached(alg, name))
    }

    /// The key as a proof brings it along: the members that make it this key, and no other.
    fn jwk(&self) -> Value {
        let mut jwk = self.0.public_jwk();
        jwk.as_object_mut().expect("a key").retain(|name, _| !matches!(name.as_str(), "kid" | "alg" | "use"));
        jwk
    }

    /// The thumbprint of the key (RFC 7638): of its members in the order of their names.
    fn jkt(&self) -> String {
        let jwk = self.jwk();
        let members: BTreeMap<_, _> = jwk.as_object().expect("a key").iter().collect();
        digest(serde_json::to_string(&members).expect("JSON"))
    }

    /// A token of the provider that is bound to the key.
    fn token(&self, idp: &Idp, more: Value) -> String {
        idp.token(with(json!({ "cnf": { "jkt": self.jkt() } }), more))
    }

    /// The claims of a proof that is good for this request.
    fn claims(&self, method: &str, uri: &str, token: &str) -> Value {
        json!({
            "jti": format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)),
            "htm": method,
            "htu": uri,
            "iat": harness::idp::now(),
            "ath": digest(token),
        })
    }

    fn header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": self.0.alg().name(), "jwk": self.jwk() })
    }

    /// A proof of these parts.
    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.0.sign_jws(header, claims.to_string().as_bytes())
    }

    /// A proof for a GET of this path at the [`ORIGIN`].
    fn proof(&self, path: &str, token: &str) -> String {
        self.sign(&self.header(), &self.claims("GET", &format!("{ORIGIN}{path}"), token))
    }
}

/// A GET of this path with a token of the scheme `DPoP` and a proof.
fn request(path: &str, token: &str, proof: &str) -> Request {
    Request::get(path)
        .host("api.example")
        .header("authorization", format!("DPoP {token}"))
        .header("dpop", proof)
}

/// A provider that has proofs shown, with these fields of `dpop` besides.
fn with_proofs(idp: &Idp, more: Value) -> Value {
    let dpop = with(json!({ "origins": [ORIGIN], "algorithms": ["ES256", "EdDSA"] }), more);
    with(local_provider(idp), json!({ "sender_constrained": "enforce", "dpop": dpop }))
}
