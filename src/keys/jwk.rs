//! One member of a key set (RFC 7517 section 4), read into a key that can only be used for what it
//! says it is for.

use base64::Engine as _;
use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
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
    /// Whether a number of it was published with leading zeros missing, or with some too many.
    pub has_odd_length: bool,
}

/// Which members of a key set are for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Symmetric keys: never from a set that was fetched (RFC 8725 section 3.5).
    pub symmetric: bool,
    /// The set is a SPIFFE bundle: `use` is `jwt-svid`, not `sig`.
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
    /// A member has the letters `+` and `/` of standard base64, not those of base64url (RFC 7515 section 2)
    StandardBase64,
    /// Private material is in the set: whoever reads the set can sign with it
    PrivateMaterial,
    /// A symmetric key in a set that was fetched, or where no HS algorithm is configured
    Symmetric,
    /// A secret that is shorter than the hash of its `alg` (RFC 7518 section 3.2)
    ShortForAlgorithm,
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
            Self::StandardBase64 => "standard base64 (with + or /) where base64url belongs (with - and _)",
            Self::PrivateMaterial => "private key material is published; whoever reads it can sign",
            Self::Symmetric => {
                "symmetric key (kty oct); it counts only in \"local_jwks\" of a provider that names its algorithm, for example algorithms: [HS256]"
            }
            Self::ShortForAlgorithm => "the secret is shorter than the hash of its alg",
            Self::BadPem => "not a certificate or public key in PEM",
            Self::Key(error) => error.as_str(),
        }
    }
}

/// The members that only private keys have (RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A member that says something. Some publishers write every member that they know, with `null`, an empty text or an
/// empty list where they have nothing to say: that is the same as no member.
pub(super) fn given<'j>(jwk: &'j Object, name: &str) -> Option<&'j Json> {
    jwk.get(name).filter(|value| match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Bool(_) | Json::Number(_) | Json::Object(_) => true,
    })
}

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
        if PRIVATE.iter().any(|name| given(jwk, name).is_some()) {
            return Err(JwkRejection::PrivateMaterial);
        }
        let kid = match given(jwk, "kid") {
            None => None,
            Some(Json::String(kid)) => Some(kid.to_string()),
            Some(_) => return Err(JwkRejection::BadKid),
        };
        if !for_signatures(jwk, accepted) {
            return Err(JwkRejection::NotForSignatures);
        }
        let mut has_odd_length = false;
        let key = material(kty, jwk, &mut has_odd_length)?;
        let algorithm = given(jwk, "alg").map(|alg| algorithm(alg, &key)).transpose()?;
        Ok(Self { has_odd_length, ..Self::new(kid, algorithm, key) })
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
        Self { kid, algorithm, key, fingerprint: hash.finalize().into(), has_odd_length: false }
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

fn material(kty: &str, jwk: &Object, has_odd_length: &mut bool) -> Result<Key, JwkRejection> {
    match kty {
        "RSA" => {
            let (n, e) = (integer(jwk, "n", has_odd_length)?, integer(jwk, "e", has_odd_length)?);
            RsaKey::new(&n, &e).map(Key::Rsa).map_err(JwkRejection::Key)
        }
        "EC" => {
            let curve = jwk.get("crv").and_then(Json::as_str).ok_or(JwkRejection::UnknownCurve)?;
            let size = EcKey::coordinate_size(curve).ok_or(JwkRejection::UnknownCurve)?;
            let x = coordinate(jwk, "x", size, has_odd_length)?;
            let y = coordinate(jwk, "y", size, has_odd_length)?;
            let key = EcKey::new(curve, &x, &y).ok_or(JwkRejection::UnknownCurve)?;
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

fn algorithm(alg: &Json, key: &Key) -> Result<Algorithm, JwkRejection> {
    match alg.as_str().and_then(Algorithm::from_name) {
        Some(algorithm) if key.suits(algorithm) => Ok(algorithm),
        Some(algorithm) if key.kind() == algorithm.fits() => Err(JwkRejection::ShortForAlgorithm),
        _ => Err(JwkRejection::OtherAlgorithm),
    }
}

fn for_signatures(jwk: &Object, accepted: Accepted) -> bool {
    let wanted = if accepted.spiffe { "jwt-svid" } else { "sig" };
    let use_fits = given(jwk, "use").is_none_or(|value| value.as_str() == Some(wanted));
    let ops_fit = given(jwk, "key_ops").is_none_or(|value| {
        value.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
    });
    use_fits && ops_fit
}

/// Base64url with its padding or, as RFC 7515 section 2 asks, without any.
fn bytes(jwk: &Object, name: &str) -> Result<Vec<u8>, JwkRejection> {
    let text = given(jwk, name).and_then(Json::as_str).ok_or(JwkRejection::BadMember)?;
    let engine = if text.ends_with('=') { BASE64_URL_SAFE } else { BASE64_URL_SAFE_NO_PAD };
    engine.decode(text).map_err(|_| {
        if text.contains(['+', '/']) { JwkRejection::StandardBase64 } else { JwkRejection::BadMember }
    })
}

/// Longest RSA modulus that is looked at, in bytes: past this the number is not even read.
const MAX_INTEGER: usize = 1 << 14;

/// An integer of an RSA key, which may have leading zeros (RFC 7518 section 6.3.1.1 warns of encoders that write one).
fn integer(jwk: &Object, name: &str, has_odd_length: &mut bool) -> Result<Vec<u8>, JwkRejection> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() > MAX_INTEGER {
        return Err(JwkRejection::Key(KeyError::TooLarge));
    }
    *has_odd_length |= bytes.first() == Some(&0);
    Ok(bytes)
}

/// A coordinate at the length of its curve (RFC 7518 section 6.2.1.2). Encoders of big integers leave leading zeros out,
/// or write one more for the sign: the number is the same, and whether the point is on the curve is still asked.
fn coordinate(
    jwk: &Object,
    name: &str,
    size: usize,
    has_odd_length: &mut bool,
) -> Result<Vec<u8>, JwkRejection> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() == size {
        return Ok(bytes);
    }
    *has_odd_length = true;
    if let Some(missing) = size.checked_sub(bytes.len()) {
        return Ok([vec![0; missing], bytes].concat());
    }
    match bytes.split_first() {
        Some((0, number)) if number.len() == size => Ok(number.to_vec()),
        _ => Err(JwkRejection::Key(KeyError::WrongLength)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json;

    const ACCEPTED: Accepted = Accepted { symmetric: false, spiffe: false };

    fn read(curve: &str, x: &str, y: &str) -> Result<Jwk, JwkRejection> {
        let text = format!(r#"{{"kty":"EC","crv":"{curve}","kid":"k","x":"{x}","y":"{y}"}}"#);
        Jwk::parse(&json::parse(text.as_bytes()).unwrap(), ACCEPTED)
    }

    /// The coordinates of a public key.
    fn point(curve: &str, scalar: &[u8; 66]) -> Option<(Vec<u8>, Vec<u8>)> {
        let sec1 = match curve {
            "P-256" => p256::SecretKey::from_slice(&scalar[..32]).ok()?.public_key().to_sec1_bytes(),
            "P-384" => p384::SecretKey::from_slice(&scalar[..48]).ok()?.public_key().to_sec1_bytes(),
            _ => p521::SecretKey::from_slice(scalar).ok()?.public_key().to_sec1_bytes(),
        };
        let (x, y) = sec1[1..].split_at(sec1.len() / 2);
        Some((x.to_vec(), y.to_vec()))
    }

    /// The number with so many leading zeros.
    fn rewritten(number: &[u8], zeros: usize, padded: bool) -> String {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let bytes = [vec![0; zeros], digits].concat();
        if padded { BASE64_URL_SAFE.encode(bytes) } else { BASE64_URL_SAFE_NO_PAD.encode(bytes) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Leading zeros are no part of a number: up to one zero byte too many, a key is the same key, and is warned of
        /// where its length is not that of the curve. Beyond that it is refused.
        #[test]
        fn a_key_is_the_same_however_its_leading_zeros_are_written(
            at in 0..3usize,
            mut scalar in prop::array::uniform32(any::<u8>()).prop_map(|bytes| {
                let mut scalar = [0; 66];
                scalar[..32].copy_from_slice(&bytes);
                scalar[34..].copy_from_slice(&bytes);
                scalar
            }),
            x_zeros in 0..4usize,
            y_zeros in 0..4usize,
            padded in any::<bool>(),
        ) {
            let curve = ["P-256", "P-384", "P-521"][at];
            // Below the order of P-521.
            if at == 2 { scalar[0] = 0; }
            let Some((x, y)) = point(curve, &scalar) else { return Ok(()) };
            let whole = read(curve, &BASE64_URL_SAFE_NO_PAD.encode(&x), &BASE64_URL_SAFE_NO_PAD.encode(&y)).unwrap();
            prop_assert!(!whole.has_odd_length);
            let size = x.len();
            let length = |number: &[u8], zeros: usize| {
                zeros + number.iter().skip_while(|byte| **byte == 0).count()
            };
            let lengths = [length(&x, x_zeros), length(&y, y_zeros)];
            let found = read(curve, &rewritten(&x, x_zeros, padded), &rewritten(&y, y_zeros, padded));
            if lengths.iter().all(|length| *length <= size + 1) {
                let found = found.unwrap();
                prop_assert_eq!(found.fingerprint, whole.fingerprint);
                prop_assert_eq!(found.has_odd_length, lengths != [size, size]);
            } else {
                prop_assert_eq!(found.err(), Some(JwkRejection::Key(KeyError::WrongLength)));
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_named() {
        for (members, expected) in [
            (r#""kty":"RSA","n":"a+b/","e":"AQAB""#, JwkRejection::StandardBase64),
            (r#""kty":"RSA","n":"ab==","e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"RSA","n":"ab=","e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"RSA","n":"AQAB=","e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"RSA","n":"=","e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"RSA","n":"AQ AB","e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"RSA","n":null,"e":"AQAB""#, JwkRejection::BadMember),
            (r#""kty":"","n":"AQAB","e":"AQAB""#, JwkRejection::UnknownType),
            (r#""kty":"RSA","n":"AAAAAAAA","e":"AQAB""#, JwkRejection::Key(KeyError::TooSmall)),
            (r#""kty":"oct","k":"AAAA","d":null"#, JwkRejection::Symmetric),
        ] {
            let json = json::parse(format!("{{{members}}}").as_bytes()).unwrap();
            assert_eq!(Jwk::parse(&json, ACCEPTED).err(), Some(expected), "{members}");
        }
        let secrets = Accepted { symmetric: true, spiffe: false };
        let short = format!(r#"{{"kty":"oct","alg":"HS512","k":"{}"}}"#, "A".repeat(43));
        let short = Jwk::parse(&json::parse(short.as_bytes()).unwrap(), secrets);
        assert_eq!(short.err(), Some(JwkRejection::ShortForAlgorithm));
    }
}
