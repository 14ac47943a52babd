//! Signing keys of every JOSE algorithm.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SystemRandom, fill};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A JOSE signature algorithm, under its registered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names say all there is to say.
pub enum Alg {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Alg {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
        Self::HS256,
        Self::HS384,
        Self::HS512,
    ];

    /// The name as it stands in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// Whether signer and verifier share one secret.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::HS256 => Some(hmac::HMAC_SHA256),
            Self::HS384 => Some(hmac::HMAC_SHA384),
            Self::HS512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa_encoding(self) -> Option<&'static dyn RsaEncoding> {
        Some(match self {
            Self::RS256 => &signature::RSA_PKCS1_SHA256,
            Self::RS384 => &signature::RSA_PKCS1_SHA384,
            Self::RS512 => &signature::RSA_PKCS1_SHA512,
            Self::PS256 => &signature::RSA_PSS_SHA256,
            Self::PS384 => &signature::RSA_PSS_SHA384,
            Self::PS512 => &signature::RSA_PSS_SHA512,
            _ => return None,
        })
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Alg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|alg| alg.name() == name)
            .ok_or_else(|| format!("no such algorithm: {name}"))
    }
}

enum Secret {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac { key: Box<hmac::Key>, bytes: Vec<u8> },
}

/// A key with its algorithm and its id. Cloning shares the key.
#[derive(Clone)]
pub struct Key {
    alg: Alg,
    kid: String,
    secret: Arc<Secret>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.alg, self.kid)
    }
}

impl Key {
    /// A new key: RSA of 2048 bits, the curve that belongs to the algorithm, or a random secret as long as the hash.
    pub fn generate(alg: Alg, kid: &str) -> Self {
        let secret = match alg {
            Alg::RS256 | Alg::RS384 | Alg::RS512 | Alg::PS256 | Alg::PS384 | Alg::PS512 => {
                Secret::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key"))
            }
            Alg::ES256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Alg::ES384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Alg::ES512 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            Alg::EdDSA => Secret::Ed25519(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            Alg::HS256 => return Self::hmac(alg, kid, &random(32)),
            Alg::HS384 => return Self::hmac(alg, kid, &random(48)),
            Alg::HS512 => return Self::hmac(alg, kid, &random(64)),
        };
        Self { alg, kid: kid.to_owned(), secret: Arc::new(secret) }
    }

    /// A new RSA key of 2048, 3072, 4096 or 8192 bits.
    ///
    /// # Panics
    /// For another size, or an algorithm that is not RSA.
    pub fn generate_rsa(alg: Alg, kid: &str, bits: usize) -> Self {
        assert!(alg.rsa_encoding().is_some(), "{alg} is not an RSA algorithm");
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => panic!("no RSA keys of {bits} bits here"),
        };
        let secret = Secret::Rsa(RsaKeyPair::generate(size).expect("an RSA key"));
        Self { alg, kid: kid.to_owned(), secret: Arc::new(secret) }
    }

    /// The key of this algorithm and id: made once in a process, the same ever after.
    pub fn cached(alg: Alg, kid: &str) -> Self {
        static MADE: OnceLock<Mutex<HashMap<(Alg, String), Key>>> = OnceLock::new();
        MADE.get_or_init(Mutex::default)
            .lock()
            .expect("the cache of keys")
            .entry((alg, kid.to_owned()))
            .or_insert_with(|| Self::generate(alg, kid))
            .clone()
    }

    /// An HMAC key made of `secret`, whatever that is: also of the public key of another.
    ///
    /// # Panics
    /// When the algorithm is not HS256, HS384 or HS512.
    pub fn hmac(alg: Alg, kid: &str, secret: &[u8]) -> Self {
        let Some(algorithm) = alg.hmac() else { panic!("{alg} is not an HMAC algorithm") };
        let key = Box::new(hmac::Key::new(algorithm, secret));
        let secret = Secret::Hmac { key, bytes: secret.to_vec() };
        Self { alg, kid: kid.to_owned(), secret: Arc::new(secret) }
    }

    /// The same key material under another id.
    #[must_use]
    pub fn with_kid(&self, kid: &str) -> Self {
        Self { kid: kid.to_owned(), ..self.clone() }
    }

    /// The same key material used with another algorithm of its family: an RSA key for RS256 and for PS512, say.
    ///
    /// # Panics
    /// When the key cannot sign with that algorithm.
    #[must_use]
    pub fn with_alg(&self, alg: Alg) -> Self {
        let fits = match &*self.secret {
            Secret::Rsa(_) => alg.rsa_encoding().is_some(),
            Secret::Hmac { bytes, .. } => return Self::hmac(alg, &self.kid, bytes),
            Secret::Ec(_) | Secret::Ed25519(_) => alg == self.alg,
        };
        assert!(fits, "a key for {} cannot sign {alg}", self.alg);
        Self { alg, ..self.clone() }
    }

    /// Its algorithm.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// Its id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key as a JWK with `kid`, `alg` and `use`: the public half, or for HS* the secret itself.
    pub fn public_jwk(&self) -> Value {
        let mut jwk = match &*self.secret {
            Secret::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": b64(public.modulus().big_endian_without_leading_zero()),
                    "e": b64(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Secret::Ec(pair) => {
                // An uncompressed point: 04, then x and y of equal length.
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let curve = match self.alg {
                    Alg::ES384 => "P-384",
                    Alg::ES512 => "P-521",
                    _ => "P-256",
                };
                json!({ "kty": "EC", "crv": curve, "x": b64(x), "y": b64(y) })
            }
            Secret::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()) })
            }
            Secret::Hmac { bytes, .. } => json!({ "kty": "oct", "k": b64(bytes) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.alg.name());
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as DER (SubjectPublicKeyInfo); for HS* the secret's bytes.
    pub fn public_der(&self) -> Vec<u8> {
        fn der<'a, K: AsDer<PublicKeyX509Der<'a>>>(key: &K) -> Vec<u8> {
            key.as_der().expect("a public key as DER").as_ref().to_vec()
        }
        match &*self.secret {
            Secret::Rsa(pair) => der(pair.public_key()),
            Secret::Ec(pair) => der(pair.public_key()),
            Secret::Ed25519(pair) => der(pair.public_key()),
            Secret::Hmac { bytes, .. } => bytes.clone(),
        }
    }

    /// The public key as PEM (`BEGIN PUBLIC KEY`), with a newline at its end.
    pub fn public_pem(&self) -> String {
        let body = STANDARD.encode(self.public_der());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }

    /// The signature of `message`, in the form in which a JWS carries it (ECDSA: r and s side by side).
    pub fn sign_raw(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.secret {
            Secret::Rsa(pair) => {
                let encoding = self.alg.rsa_encoding().expect("an RSA key has an RSA algorithm");
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("an RSA signature");
                signature
            }
            Secret::Ec(pair) => pair.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Secret::Hmac { key, .. } => hmac::sign(key, message).as_ref().to_vec(),
        }
    }

    /// A compact JWS over `payload`, with exactly this header.
    pub fn sign_jws(&self, header: &Value, payload: &[u8]) -> String {
        self.sign_parts(header.to_string().as_bytes(), payload)
    }

    /// A compact JWS whose header is any bytes at all.
    pub fn sign_parts(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign_raw(signed.as_bytes());
        format!("{signed}.{}", b64(&signature))
    }

    /// Whether `signature` is this key's over `message`, as the signing library sees it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn signature::VerificationAlgorithm = match self.alg {
            Alg::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Alg::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Alg::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Alg::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Alg::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Alg::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            Alg::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
            Alg::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
            Alg::ES512 => &signature::ECDSA_P521_SHA512_FIXED,
            Alg::EdDSA => &signature::ED25519,
            Alg::HS256 | Alg::HS384 | Alg::HS512 => {
                let Secret::Hmac { key, .. } = &*self.secret else {
                    return false;
                };
                return hmac::verify(key, message, signature).is_ok();
            }
        };
        let public = match &*self.secret {
            Secret::Rsa(pair) => pair.public_key().as_ref(),
            Secret::Ec(pair) => pair.public_key().as_ref(),
            Secret::Ed25519(pair) => pair.public_key().as_ref(),
            Secret::Hmac { .. } => return false,
        };
        UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
    }
}

/// A JWK Set document of the public halves of `keys`.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Value {
    json!({ "keys": keys.into_iter().map(Key::public_jwk).collect::<Vec<_>>() })
}

/// base64url without padding, as JOSE writes bytes.
pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Secret {
    Secret::Ec(EcdsaKeyPair::generate(algorithm).expect("an elliptic-curve key"))
}

pub(crate) fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fill(&mut bytes).expect("random bytes");
    bytes
}
