//! A client with a key of its own, which proves with each request that it has it (RFC 9449).

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::idp::{Alg, Key, b64, now};

/// A client and its key.
pub(super) struct Prover {
    key: Key,
    /// How many proofs it made.
    made: usize,
}

impl Prover {
    pub(super) fn new() -> Self {
        Self { key: Key::generate(Alg::ES256, ""), made: 0 }
    }

    fn member(&self, name: &str) -> String {
        self.key.public_jwk()[name].as_str().unwrap_or_default().to_owned()
    }

    /// What a token says that is bound to the key: its thumbprint (RFC 7638).
    pub(super) fn confirmation(&self) -> Value {
        let (x, y) = (self.member("x"), self.member("y"));
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        json!({ "jkt": b64(digest(&SHA256, members.as_bytes())) })
    }

    /// A proof for one request with a token.
    pub(super) fn proof(&mut self, method: &str, uri: &str, token: &str) -> String {
        self.made += 1;
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": self.member("x"), "y": self.member("y") });
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let claims = json!({
            "jti": format!("{}-{}", self.member("x"), self.made),
            "htm": method,
            "htu": uri,
            "iat": now(),
            "ath": b64(digest(&SHA256, token.as_bytes())),
        });
        self.key.sign_jws(&header, claims.to_string().as_bytes())
    }
}
