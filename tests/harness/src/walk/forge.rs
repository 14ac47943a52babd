//! What an attacker makes of a token and of the keys that everyone can read.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::idp::{Alg, Key, b64};

/// A token taken apart.
pub(super) struct Forger {
    header: Value,
    payload: Vec<u8>,
}

impl Forger {
    /// Takes a good token to forge others from.
    pub(super) fn new(token: &str) -> Option<Self> {
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let header = serde_json::from_slice(&parts.next()??).ok()?;
        Some(Self { header, payload: parts.next()?? })
    }

    /// The same claims, the same `kid`, signed with a key of the attacker's own.
    pub(super) fn own_key(&self) -> Option<String> {
        let alg: Alg = self.header["alg"].as_str()?.parse().ok()?;
        Some(Key::generate(alg, "").sign_jws(&self.header, &self.payload))
    }

    /// The same claims, "signed" with no algorithm at all.
    pub(super) fn unsigned(&self) -> String {
        let mut header = self.header.clone();
        header["alg"] = json!("none");
        format!("{}.{}.", b64(header.to_string()), b64(&self.payload))
    }

    /// The same claims under HMAC, with the provider's public RSA key (as PEM) for a secret.
    pub(super) fn confused(&self, jwks: &Value) -> Option<String> {
        let kid = &self.header["kid"];
        let jwk = jwks["keys"].as_array()?.iter().find(|jwk| jwk["kid"] == *kid)?;
        let member = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok();
        let public = PublicKeyComponents { n: member("n")?, e: member("e")? };
        let der: PublicKeyX509Der<'_> = public.as_der().ok()?;
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in STANDARD.encode(der.as_ref()).as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).ok()?);
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        let mut header = self.header.clone();
        header["alg"] = json!("HS256");
        Some(Key::hmac(Alg::HS256, "", pem.as_bytes()).sign_jws(&header, &self.payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idp::jwks;

    #[test]
    fn the_confused_token_is_signed_with_the_public_key() {
        let key = Key::cached(Alg::RS256, "r");
        let token = key.sign_jws(&json!({ "alg": "RS256", "kid": "r" }), b"{}");
        let forger = Forger::new(&token).expect("a token");
        let confused = forger.confused(&jwks([&key])).expect("an RSA key");
        let expected = Key::hmac(Alg::HS256, "r", key.public_pem().as_bytes())
            .sign_jws(&json!({ "alg": "HS256", "kid": "r" }), b"{}");
        assert_eq!(confused, expected);
    }
}
