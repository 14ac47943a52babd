//! One question: does this signature hold under this key?
//!
//! An algorithm is only ever run with a key of the kind that it names (RFC 8725 section 3.1): a key
//! has one kind, and no kind has a path into another's arithmetic.
//!
//! Two backends answer. The portable one is Rust and works everywhere. Where the host brings its own
//! cryptography ([`HostCrypto`]), RSA PKCS #1 v1.5 and ECDSA go there; it must first pass
//! [`Backend::detect`], and whatever it cannot answer is answered here.

mod algorithm;
mod backend;
mod ecdsa;
mod eddsa;
mod hmac;
mod rsa;

pub use self::rsa::RsaKey;
pub use algorithm::{Algorithm, AlgorithmSet, Hash, KeyKind};
pub use backend::{Backend, HostCrypto, HostFailed};
pub use ecdsa::EcKey;
pub use eddsa::Ed25519Key;
pub use hmac::Secret;

/// A key that was checked when it was made.
#[derive(Clone, Debug)]
pub enum Key {
    /// RSA (RFC 7518 section 6.3)
    Rsa(RsaKey),
    /// Elliptic curve (RFC 7518 section 6.2)
    Ec(EcKey),
    /// Ed25519 (RFC 8037)
    Ed25519(Ed25519Key),
    /// A shared secret (RFC 7518 section 6.4)
    Secret(Secret),
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
    /// A coordinate or a key of the wrong length (RFC 7518 section 6.2.1.2, RFC 8037 section 2)
    WrongLength,
    /// The point at infinity or a point off the curve
    NotOnCurve,
    /// An Ed25519 point of low order: anyone can sign for it (RFC 8032 section 8.9)
    LowOrder,
    /// A secret shorter than 256 bits (RFC 7518 section 3.2)
    ShortSecret,
}

impl KeyError {
    /// What is wrong, in words for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooSmall => "RSA modulus under 2048 bits",
            Self::TooLarge => "RSA modulus over 8192 bits",
            Self::BadExponentOrModulus => "RSA modulus even, or exponent even, under 3 or over 33 bits",
            Self::WrongLength => "coordinate or key of the wrong length",
            Self::NotOnCurve => "point not on the curve",
            Self::LowOrder => "Ed25519 key of low order",
            Self::ShortSecret => "secret under 256 bits",
        }
    }
}

impl Key {
    /// The kind of this key.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa(_) => KeyKind::Rsa,
            Self::Ec(key) => key.kind(),
            Self::Ed25519(_) => KeyKind::Ed25519,
            Self::Secret(_) => KeyKind::Symmetric,
        }
    }

    /// Whether this key can be used with `algorithm`: it is of the kind that the algorithm names and,
    /// for HMAC, at least as long as the hash (RFC 7518 section 3.2).
    pub fn suits(&self, algorithm: Algorithm) -> bool {
        let long_enough = match self {
            Self::Secret(secret) => secret.len() >= algorithm.hash().size(),
            Self::Rsa(_) | Self::Ec(_) | Self::Ed25519(_) => true,
        };
        algorithm.fits() == self.kind() && long_enough
    }

    /// The portable answer: whether `signature` is this key's over `message` under `algorithm`. False
    /// for every signature of the wrong length or form, and for an algorithm that does not suit.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.suits(algorithm)
            && match self {
                Self::Rsa(key) => key.verify(algorithm, message, signature),
                Self::Ec(key) => key.verify(message, signature),
                Self::Ed25519(key) => key.verify(message, signature),
                Self::Secret(secret) => secret.verify(algorithm.hash(), message, signature),
            }
    }
}
