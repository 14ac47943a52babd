//! A provider's key, tokens under it, and the configuration that asks for them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::envoy::{Answer, Call, Envoy, Request};

/// A key for ES256.
pub struct Key {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"), kid }
    }

    /// That of the provider.
    pub fn own() -> &'static Self {
        static OWN: OnceLock<Key> = OnceLock::new();
        OWN.get_or_init(|| Self::new("one"))
    }

    /// The one that comes after it, under a key id of its own.
    pub fn next() -> &'static Self {
        static NEXT: OnceLock<Key> = OnceLock::new();
        NEXT.get_or_init(|| Self::new("two"))
    }

    /// One that the provider does not publish, under the key id of its own.
    pub fn foreign() -> &'static Self {
        static FOREIGN: OnceLock<Key> = OnceLock::new();
        FOREIGN.get_or_init(|| Self::new("one"))
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let [x, y] = [1..33, 33..65].map(|part| BASE64_URL_SAFE_NO_PAD.encode(&point[part]));
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }

    /// A token of alice with these claims besides.
    pub fn sign(&self, claims: Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let mut all = json!({
            "iss": "https://idp.example/", "aud": "orders", "sub": "alice", "iat": now, "exp": now + 300,
            "jti": next().to_string(),
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        all.as_object_mut().expect("an object").extend(claims);
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid });
        let [header, payload] = [header, all].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let input = format!("{header}.{payload}");
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn jwks(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

/// The key endpoint's good answer.
pub fn keys() -> Answer {
    Answer::ok(&jwks(&[Key::own()]))
}

/// Its answer once there is a new key beside the old one.
pub fn rotated_keys() -> Answer {
    Answer::ok(&jwks(&[Key::own(), Key::next()]))
}

/// A provider whose keys come from an endpoint that is this configuration's own, and two rules: nothing for `/public`, a
/// token for all else.
pub fn config() -> Value {
    json!({
        "providers": { "corp": {
            "issuer": "https://idp.example/",
            "audiences": ["orders"],
            "remote_jwks": {
                "http_uri": {
                    "uri": format!("https://idp.example/{}/jwks.json", next()),
                    "cluster": "idp",
                    "timeout": "5s",
                },
            },
            "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        } },
        "filter_state": ["decision", "subject"],
        "rules": [
            { "match": { "path": "/public" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "corp" } },
        ],
    })
}

/// The same with the keys in the configuration.
pub fn local_config() -> Value {
    let mut config = config();
    let provider = config["providers"]["corp"].as_object_mut().expect("an object");
    provider.remove("remote_jwks");
    provider.insert("local_jwks".to_owned(), json!({ "inline_string": jwks(&[Key::own()]) }));
    config
}

/// An Envoy that has the keys.
#[track_caller]
pub fn warm() -> Envoy {
    let (envoy, call) = cold();
    envoy.answer(call.id, &keys());
    envoy
}

/// An Envoy that waits for its keys.
#[track_caller]
pub fn cold() -> (Envoy, Call) {
    let envoy = Envoy::start(&config().to_string());
    let call = envoy.next_call();
    (envoy, call)
}

/// A new token of alice.
pub fn token() -> String {
    Key::own().sign(Value::Null)
}

/// A request with a token, whose sender says that it is mallory.
pub fn orders(token: &str) -> Request {
    Request::get("/orders").bearer(token).header("x-user", "mallory").header("x_user", "mallory")
}
