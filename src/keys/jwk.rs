//! One member of a key set (RFC 7517 section 4), read into a key that can only be used for what it
//! says it is for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::crypto::{Algorithm, EcKey, KeyError, PublicKey, RsaKey};
use crate::json::{Json, Object};

/// A public key for verifying signatures, with what its publisher says about it.
#[derive(Clone, Debug)]
pub struct Jwk {
    /// `kid`: an opaque name, compared byte for byte (RFC 7517 section 4.5).
    pub kid: Option<String>,
    /// `alg`: where present, the only algorithm that the key may be used with (RFC 7517 section 4.4).
    pub algorithm: Option<Algorithm>,
    /// The key itself.
    pub key: PublicKey,
}

/// Why a member of a key set is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
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
    /// Private or secret material is in the set: whoever reads the set can sign with it
    PrivateMaterial,
    /// A symmetric key: never from a key set
    Symmetric,
    /// The key material breaks a rule
    Key(KeyError),
}

impl Skip {
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
            Self::PrivateMaterial => "private key material is published",
            Self::Symmetric => "symmetric key",
            Self::Key(error) => error.as_str(),
        }
    }
}

impl Jwk {
    /// Reads one member of a key set.
    ///
    /// # Errors
    /// Why the member is not a key for us; the rest of the set is still good (RFC 7517 section 5).
    pub fn parse(member: &Json) -> Result<Self, Skip> {
        let jwk = member.as_object().ok_or(Skip::NotAnObject)?;
        let kty = jwk.get("kty").and_then(Json::as_str).ok_or(Skip::UnknownType)?;
        if kty == "oct" {
            return Err(Skip::Symmetric);
        }
        // The private members of RSA, EC and OKP keys (RFC 7518 sections 6.2.2 and 6.3.2).
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains(name)) {
            return Err(Skip::PrivateMaterial);
        }
        let kid = match jwk.get("kid") {
            None => None,
            Some(Json::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Skip::BadKid),
        };
        if !for_signatures(jwk) {
            return Err(Skip::NotForSignatures);
        }
        let key = match kty {
            "RSA" => PublicKey::Rsa(RsaKey::new(&bytes(jwk, "n")?, &bytes(jwk, "e")?).map_err(Skip::Key)?),
            "EC" => match jwk.get("crv").and_then(Json::as_str) {
                Some("P-256") => {
                    PublicKey::Ec(EcKey::p256(&bytes(jwk, "x")?, &bytes(jwk, "y")?).map_err(Skip::Key)?)
                }
                _ => return Err(Skip::UnknownCurve),
            },
            _ => return Err(Skip::UnknownType),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(alg) => match alg.as_str().and_then(Algorithm::from_name) {
                Some(algorithm) if algorithm.fits() == key.kind() => Some(algorithm),
                _ => return Err(Skip::OtherAlgorithm),
            },
        };
        Ok(Self { kid, algorithm, key })
    }

    /// Whether this key may be used with `algorithm`.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        algorithm.fits() == self.key.kind() && self.algorithm.is_none_or(|own| own == algorithm)
    }
}

fn for_signatures(jwk: &Object) -> bool {
    let use_fits = jwk.get("use").is_none_or(|value| value.as_str() == Some("sig"));
    let ops_fit = jwk.get("key_ops").is_none_or(|value| {
        value.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
    });
    use_fits && ops_fit
}

fn bytes(jwk: &Object, name: &str) -> Result<Vec<u8>, Skip> {
    let text = jwk.get(name).and_then(Json::as_str).ok_or(Skip::BadMember)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Skip::BadMember)
}
