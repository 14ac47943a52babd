//! Tokens signed on the fly, with keys that are thrown away: nothing outside this process ever accepts one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::ed25519::signature::Signer as _;
use hmac::Hmac;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use rsa::PrivateKey;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Map, Value, json};
use sha2::{Sha256, Sha384, Sha512};

/// A token as somebody writes it down.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TokenSketch {
    /// The claims that it has besides the usual ones, or in their place; one that is null is left out.
    pub claims: Map<String, Value>,
    /// `alg`; none: one that the provider takes.
    pub alg: Option<String>,
    /// `kid`, in place of that of the key.
    pub kid: Option<String>,
    /// How many seconds ago it was issued.
    pub age: u64,
    /// More members of its header, or others in their place; one that is null is left out.
    pub header: Map<String, Value>,
}

/// The usual claims of a provider's tokens.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Usual {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) lifetime: u64,
    pub(crate) typ: String,
}

/// Why a token cannot be signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForgeError(String);

impl fmt::Display for ForgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ForgeError {}

/// What one key signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Family {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
    Secret,
}

impl Family {
    fn of(alg: &str) -> Option<Self> {
        Some(match alg {
            "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" => Self::Rsa,
            "ES256" => Self::P256,
            "ES384" => Self::P384,
            "ES512" => Self::P521,
            "EdDSA" | "Ed25519" => Self::Ed25519,
            "HS256" | "HS384" | "HS512" => Self::Secret,
            _ => return None,
        })
    }

    fn kid(self) -> &'static str {
        match self {
            Self::Rsa => "throw-away-rsa",
            Self::P256 => "throw-away-p256",
            Self::P384 => "throw-away-p384",
            Self::P521 => "throw-away-p521",
            Self::Ed25519 => "throw-away-ed25519",
            Self::Secret => "throw-away-secret",
        }
    }
}

/// A key that signs.
#[derive(Clone)]
enum SigningKey {
    Rsa(Arc<PrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Secret(Vec<u8>),
}

/// The keys of the providers, each made when it is first needed.
pub struct Forge {
    keys: BTreeMap<(String, Family), SigningKey>,
    random: ChaCha20Rng,
}

impl Default for Forge {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Forge {
    /// A forge whose keys hang on this number alone, so that what is tried can be tried again.
    pub fn new(seed: u64) -> Self {
        Self { keys: BTreeMap::new(), random: ChaCha20Rng::seed_from_u64(seed) }
    }

    /// A token of a provider, in the compact serialization (RFC 7515 section 3.1). `algorithms` are those that the provider
    /// takes.
    ///
    /// # Errors
    /// An `alg` that nobody here can sign with.
    pub(crate) fn sign(
        &mut self,
        provider: &str,
        algorithms: &[&str],
        usual: &Usual,
        sketch: &TokenSketch,
        now: u64,
    ) -> Result<String, ForgeError> {
        // The cheapest first: an RSA key takes long to make.
        let cheap = ["EdDSA", "ES256", "ES384", "HS256"];
        let cheapest = cheap.into_iter().find(|alg| algorithms.contains(alg));
        let alg = sketch.alg.as_deref().or(cheapest).or(algorithms.first().copied()).unwrap_or("ES256");
        let family = Family::of(alg);
        if family.is_none() && alg != "none" {
            return Err(ForgeError(format!(
                "nothing can be signed with alg {alg:?}; write one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512, or none"
            )));
        }
        let kid = sketch.kid.as_deref().or(family.map(Family::kid));
        let mut header =
            Map::from_iter([("alg".to_owned(), json!(alg)), ("typ".to_owned(), json!(usual.typ))]);
        header.extend(kid.map(|kid| ("kid".to_owned(), json!(kid))));
        put(&mut header, &sketch.header);
        let issued = now.saturating_sub(sketch.age);
        let mut claims = Map::new();
        claims.extend(usual.issuer.as_ref().map(|issuer| ("iss".to_owned(), json!(issuer))));
        claims.extend(usual.audience.as_ref().map(|audience| ("aud".to_owned(), json!(audience))));
        claims.insert("sub".to_owned(), json!("alice"));
        claims.insert("iat".to_owned(), json!(issued));
        claims.insert("exp".to_owned(), json!(issued.saturating_add(usual.lifetime)));
        put(&mut claims, &sketch.claims);
        let part = |map: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(map).to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = match family {
            Some(family) => self.signature(provider, family, alg, input.as_bytes()),
            None => Vec::new(),
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key set of a provider (RFC 7517 section 5): its keys that signed anything, and at least one.
    pub(crate) fn key_set(&mut self, provider: &str, symmetric: bool) -> Value {
        if !self.keys.keys().any(|(own, family)| own == provider && (symmetric || *family != Family::Secret))
        {
            self.key(provider, Family::Ed25519);
        }
        let own = self
            .keys
            .iter()
            .filter(|((own, family), _)| own == provider && (symmetric || *family != Family::Secret));
        let keys: Vec<Value> = own.map(|((_, family), key)| key.public(family.kid())).collect();
        json!({ "keys": keys })
    }

    fn key(&mut self, provider: &str, family: Family) -> &SigningKey {
        let random = &mut self.random;
        self.keys.entry((provider.to_owned(), family)).or_insert_with(|| SigningKey::new(family, random))
    }

    fn signature(&mut self, provider: &str, family: Family, alg: &str, input: &[u8]) -> Vec<u8> {
        let key = self.key(provider, family).clone();
        key.sign(alg, input, &mut self.random)
    }
}

/// Puts members into a map; one that is null takes away what is there.
fn put(map: &mut Map<String, Value>, members: &Map<String, Value>) {
    for (name, value) in members {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
}

impl SigningKey {
    fn new(family: Family, random: &mut ChaCha20Rng) -> Self {
        match family {
            Family::Rsa => loop {
                if let Ok(key) = PrivateKey::new(random, 2048) {
                    return Self::Rsa(Arc::new(key));
                }
            },
            Family::P256 => {
                Self::P256(scalar(random, |bytes: &[u8; 32]| p256::ecdsa::SigningKey::from_slice(bytes).ok()))
            }
            Family::P384 => {
                Self::P384(scalar(random, |bytes: &[u8; 48]| p384::ecdsa::SigningKey::from_slice(bytes).ok()))
            }
            Family::P521 => Self::P521(scalar(random, |bytes: &[u8; 66]| {
                let mut bytes = *bytes;
                // Of its first byte one bit counts.
                bytes[0] &= 1;
                p521::ecdsa::SigningKey::from_slice(&bytes).ok()
            })),
            Family::Ed25519 => Self::Ed25519(scalar(random, |bytes: &[u8; 32]| {
                Some(ed25519_dalek::SigningKey::from_bytes(bytes))
            })),
            Family::Secret => Self::Secret(scalar(random, |bytes: &[u8; 64]| Some(bytes.to_vec()))),
        }
    }

    fn sign(&self, alg: &str, input: &[u8], random: &mut ChaCha20Rng) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let key = PrivateKey::clone(key);
                match alg {
                    "RS256" => {
                        rsa::pkcs1v15::SigningKey::<Sha256>::new(key).sign_with_rng(random, input).to_vec()
                    }
                    "RS384" => {
                        rsa::pkcs1v15::SigningKey::<Sha384>::new(key).sign_with_rng(random, input).to_vec()
                    }
                    "RS512" => {
                        rsa::pkcs1v15::SigningKey::<Sha512>::new(key).sign_with_rng(random, input).to_vec()
                    }
                    "PS256" => rsa::pss::SigningKey::<Sha256>::new(key).sign_with_rng(random, input).to_vec(),
                    "PS384" => rsa::pss::SigningKey::<Sha384>::new(key).sign_with_rng(random, input).to_vec(),
                    _ => rsa::pss::SigningKey::<Sha512>::new(key).sign_with_rng(random, input).to_vec(),
                }
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(input);
                signature.to_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(input);
                signature.to_bytes().to_vec()
            }
            Self::P521(key) => {
                let signature: p521::ecdsa::Signature = key.sign(input);
                signature.to_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(input).to_bytes().to_vec(),
            Self::Secret(secret) => match alg {
                "HS256" => mac::<Hmac<Sha256>>(secret, input),
                "HS384" => mac::<Hmac<Sha384>>(secret, input),
                _ => mac::<Hmac<Sha512>>(secret, input),
            },
        }
    }

    /// The public key as a JWK (RFC 7517 section 4); of a secret the secret itself.
    fn public(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let ec = |crv: &str, point: &[u8]| {
            // An uncompressed point: a byte, and two coordinates of one length (SEC 1 section 2.3.3).
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({ "kty": "EC", "kid": kid, "crv": crv, "x": text(x), "y": text(y) })
        };
        match self {
            Self::Rsa(key) => json!({
                "kty": "RSA", "kid": kid,
                "n": text(&key.n().to_be_bytes_trimmed_vartime()), "e": text(&key.e().to_be_bytes_trimmed_vartime()),
            }),
            Self::P256(key) => ec("P-256", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P384(key) => ec("P-384", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::P521(key) => ec("P-521", key.verifying_key().to_sec1_point(false).as_bytes()),
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "kid": kid, "crv": "Ed25519", "x": text(key.verifying_key().as_bytes()) })
            }
            Self::Secret(secret) => json!({ "kty": "oct", "kid": kid, "k": text(secret) }),
        }
    }
}

fn mac<M: hmac::Mac + hmac::KeyInit>(secret: &[u8], input: &[u8]) -> Vec<u8> {
    // Every length of key is one (RFC 2104 section 2).
    let Ok(mut mac) = <M as hmac::KeyInit>::new_from_slice(secret) else { return Vec::new() };
    mac.update(input);
    mac.finalize().into_bytes().to_vec()
}

/// Random bytes until they are a key.
fn scalar<const N: usize, K>(random: &mut ChaCha20Rng, key: impl Fn(&[u8; N]) -> Option<K>) -> K {
    loop {
        let mut bytes = [0; N];
        random.fill_bytes(&mut bytes);
        if let Some(key) = key(&bytes) {
            return key;
        }
    }
}
