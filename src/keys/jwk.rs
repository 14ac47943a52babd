//! One member of a key set (RFC 7517 section 4), read into a key that can only be used for what it
//! says it is for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::crypto::{Algorithm, EcKey, Ed25519Key, Key, KeyError, RsaKey, Secret};
use crate::json::{Json, Object};

/// A key for verifying signatures, with what its publisher says about it.
#[derive(Clone, Debug)]
pub struct Jwk {
    /// `kid`: an opaque name, compared byte for byte (RFC 7517 section 4.5).
    pub kid: Option<String>,
    /// `alg`: where present, the only algorithm that the key may be used with (RFC 7517 section 4.4).
    pub algorithm: Option<Algorithm>,
    /// The key itself.
    pub key: Key,
    /// Equal for keys that are the same and say the same.
    pub fingerprint: [u8; 32],
}

/// Which members of a key set are for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Symmetric keys: never from a set that was fetched (RFC 8725 section 3.5).
    pub symmetric: bool,
    /// SPIFFE's `use`, `jwt-svid`, beside no `use` at all, instead of `sig`.
    pub spiffe: bool,
}

/// Why a member of a key set is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwkRejection {
    /// Not a JSON object
    NotAnObject,
    /// `kty` is missing, not a string, or of a kind that is not verified here
    UnknownType,
    /// `crv` is missing or of a curve that is not verified here
    UnknownCurve,
    /// `use` is not `sig`, or `key_ops` lacks `verify` (RFC 7517 sections 4.2 and 4.3)
    NotForSignatures,
    /// `alg` is not verified here, or does not go with the kind of key
    OtherAlgorithm,
    /// `kid` is not a string
    BadKid,
    /// A member that the kind of key needs is missing, not a string, or not canonical base64url
    BadMember,
    /// Private material is in the set: whoever reads the set can sign with it
    PrivateMaterial,
    /// A symmetric key in a set that was fetched
    Symmetric,
    /// Not a certificate or public key in PEM
    BadPem,
    /// The key material breaks a rule
    Key(KeyError),
}

impl JwkRejection {
    /// The reason in words for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "not an object",
            Self::UnknownType => "kty not known",
            Self::UnknownCurve => "crv not known",
            Self::NotForSignatures => "not for verifying signatures",
            Self::OtherAlgorithm => "alg not known or not of this kind of key",
            Self::BadKid => "kid is not a string",
            Self::BadMember => "a member is missing or malformed",
            Self::PrivateMaterial => "private key material is published; whoever reads it can sign",
            Self::Symmetric => {
                "symmetric key; it counts only in \"local_jwks\" where \"algorithms\" names an HS algorithm"
            }
            Self::BadPem => "not a certificate or public key in PEM",
            Self::Key(error) => error.as_str(),
        }
    }
}

/// The members that only private keys have (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

impl Jwk {
    /// Reads one member of a key set.
    ///
    /// # Errors
    /// Why the member is not a key for us; the rest of the set is still good (RFC 7517 section 5).
    pub fn parse(member: &Json, accepted: Accepted) -> Result<Self, JwkRejection> {
        let jwk = member.as_object().ok_or(JwkRejection::NotAnObject)?;
        let kty = jwk.get("kty").and_then(Json::as_str).ok_or(JwkRejection::UnknownType)?;
        if kty == "oct" && !accepted.symmetric {
            return Err(JwkRejection::Symmetric);
        }
        if PRIVATE.iter().any(|name| jwk.contains(name)) {
            return Err(JwkRejection::PrivateMaterial);
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Json::String(kid)) => Some(kid.to_string()),
            Some(_) => return Err(JwkRejection::BadKid),
        };
        if !for_signatures(jwk, accepted) {
            return Err(JwkRejection::NotForSignatures);
        }
        let key = material(kty, jwk)?;
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => match alg.as_str().and_then(Algorithm::from_name) {
                Some(algorithm) if key.suits(algorithm) => Some(algorithm),
                _ => return Err(JwkRejection::OtherAlgorithm),
            },
        };
        Ok(Self::new(kid, algorithm, key))
    }

    /// A key and what is said about it.
    pub fn new(kid: Option<String>, algorithm: Option<Algorithm>, key: Key) -> Self {
        let mut hash = Sha256::new();
        // Lengths first, so that no two different keys give one text.
        for part in [kid.as_deref().unwrap_or_default().as_bytes(), bytes_of(&key)] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        hash.update([u8::from(kid.is_some())]);
        hash.update(algorithm.map_or("", Algorithm::name));
        Self { kid, algorithm, key, fingerprint: hash.finalize().into() }
    }

    /// Whether this key may be used with `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.key.suits(algorithm) && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

fn bytes_of(key: &Key) -> &[u8] {
    match key {
        Key::Rsa(key) => key.spki(),
        Key::Ec(key) => key.spki(),
        Key::Ed25519(key) => key.as_bytes(),
        Key::Secret(secret) => secret.as_bytes(),
    }
}

fn material(kty: &str, jwk: &Object) -> Result<Key, JwkRejection> {
    match kty {
        "RSA" => {
            RsaKey::new(&integer(jwk, "n")?, &integer(jwk, "e")?).map(Key::Rsa).map_err(JwkRejection::Key)
        }
        "EC" => {
            let curve = jwk.get("crv").and_then(Json::as_str).ok_or(JwkRejection::UnknownCurve)?;
            let key =
                EcKey::new(curve, &bytes(jwk, "x")?, &bytes(jwk, "y")?).ok_or(JwkRejection::UnknownCurve)?;
            key.map(Key::Ec).map_err(JwkRejection::Key)
        }
        "OKP" if jwk.get("crv").and_then(Json::as_str) == Some("Ed25519") => {
            Ed25519Key::new(&bytes(jwk, "x")?).map(Key::Ed25519).map_err(JwkRejection::Key)
        }
        "OKP" => Err(JwkRejection::UnknownCurve),
        "oct" => Secret::new(&bytes(jwk, "k")?).map(Key::Secret).map_err(JwkRejection::Key),
        _ => Err(JwkRejection::UnknownType),
    }
}

fn for_signatures(jwk: &Object, accepted: Accepted) -> bool {
    let wanted = if accepted.spiffe { "jwt-svid" } else { "sig" };
    let use_fits = jwk.get("use").is_none_or(|value| value.as_str() == Some(wanted));
    let ops_fit = jwk.get("key_ops").is_none_or(|value| {
        value.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
    });
    use_fits && ops_fit
}

fn bytes(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkRejection> {
    let text = jwk.get(name).and_then(Json::as_str).ok_or(JwkRejection::BadMember)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| JwkRejection::BadMember)
}

/// Longest RSA modulus that is looked at, in bytes: past this the number is not even read.
const MAX_INTEGER: usize = 1 << 14;

fn integer(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkRejection> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() > MAX_INTEGER { Err(JwkRejection::Key(KeyError::TooLarge)) } else { Ok(bytes) }
}
