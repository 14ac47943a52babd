//! The names of RFC 7518 section 3.1, and which keys they go with.

/// A signature algorithm that this gate verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3)
    Rs256,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4)
    Es256,
}

/// The kind of a key: what an algorithm is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// `kty` RSA
    Rsa,
    /// `kty` EC, `crv` P-256
    P256,
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlgorithmSet(u32);

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: &[Self] = &[Self::Rs256, Self::Es256];

    /// The algorithm of that name, compared to the letter (RFC 7515 section 4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// The one kind of key that this algorithm goes with.
    pub const fn fits(self) -> KeyKind {
        match self {
            Self::Rs256 => KeyKind::Rsa,
            Self::Es256 => KeyKind::P256,
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl AlgorithmSet {
    /// No algorithm.
    pub const EMPTY: Self = Self(0);

    /// Every asymmetric algorithm.
    pub fn asymmetric() -> Self {
        Algorithm::ALL.iter().fold(Self::EMPTY, |set, algorithm| set.with(*algorithm))
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, algorithm: Algorithm) -> Self {
        Self(self.0 | algorithm.bit())
    }

    /// Whether the algorithm is in the set.
    pub const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & algorithm.bit() != 0
    }
}
