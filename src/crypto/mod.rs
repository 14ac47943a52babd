//! One question: does this signature hold under this key?
//!
//! An algorithm is only ever run with a key of the kind that it names (RFC 8725 section 3.1): the
//! pairing is made by [`Algorithm::fits`] when a key is chosen and once more, by type, in
//! [`PublicKey::verify`].

mod algorithm;
mod ecdsa;
mod rsa;

pub use algorithm::{Algorithm, AlgorithmSet, KeyKind};
pub use ecdsa::EcKey;
pub use rsa::RsaKey;

/// A public key that was checked when it was made.
#[derive(Clone, Debug)]
pub enum PublicKey {
    /// RSA (RFC 7518 section 6.3)
    Rsa(RsaKey),
    /// Elliptic curve (RFC 7518 section 6.2)
    Ec(EcKey),
}

/// Why key material is refused. RFC sections name the rule that it breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// RSA modulus under 2048 bits (RFC 7518 section 3.3)
    TooSmall,
    /// RSA modulus over 8192 bits: a way to make verification expensive
    TooLarge,
    /// An even modulus, or an exponent that is even, under 3 or over 33 bits (RFC 8017 section 3.1)
    BadExponentOrModulus,
    /// A coordinate of the wrong length (RFC 7518 section 6.2.1.2)
    CoordinateLength,
    /// The point at infinity or a point off the curve
    NotOnCurve,
}

impl KeyError {
    /// What is wrong, in words for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooSmall => "RSA modulus under 2048 bits",
            Self::TooLarge => "RSA modulus over 8192 bits",
            Self::BadExponentOrModulus => "RSA modulus even, or exponent even, under 3 or over 33 bits",
            Self::CoordinateLength => "EC coordinate of the wrong length",
            Self::NotOnCurve => "EC point not on the curve",
        }
    }
}

impl PublicKey {
    /// The kind of this key.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa(_) => KeyKind::Rsa,
            Self::Ec(key) => key.kind(),
        }
    }

    /// Whether `signature` is this key's over `message` under `algorithm`. False for every
    /// signature of the wrong length or form, and for an algorithm that does not fit the key.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa(key), Algorithm::Rs256) => key.verify_pkcs1(message, signature),
            (Self::Ec(key), Algorithm::Es256) => key.verify(message, signature),
            (Self::Rsa(_), Algorithm::Es256) | (Self::Ec(_), Algorithm::Rs256) => false,
        }
    }
}
