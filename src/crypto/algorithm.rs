//! The names of RFC 7518 section 3.1, RFC 8037 and RFC 9864, and which keys they go with.

/// A signature algorithm that this gate verifies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the registered names say it")]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    /// Ed25519, under the names `EdDSA` (RFC 8037) and `Ed25519` (RFC 9864)
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

/// The kind of a key: what an algorithm is bound to (RFC 8725 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// `kty` RSA
    Rsa,
    /// `kty` EC, `crv` P-256
    P256,
    /// `kty` EC, `crv` P-384
    P384,
    /// `kty` EC, `crv` P-521
    P521,
    /// `kty` OKP, `crv` Ed25519
    Ed25519,
    /// `kty` oct
    Symmetric,
}

/// A hash function that a signature is made over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AlgorithmSet(u32);

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: &[Self] = &[
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
    ];

    /// The algorithm of that name, compared exactly (RFC 7515 section 4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The registered name; `EdDSA` for Ed25519.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// The one kind of key that this algorithm goes with.
    pub const fn fits(self) -> KeyKind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyKind::Rsa,
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::Es512 => KeyKind::P521,
            Self::EdDsa => KeyKind::Ed25519,
            Self::Hs256 | Self::Hs384 | Self::Hs512 => KeyKind::Symmetric,
        }
    }

    /// The hash function that it names. Ed25519 hashes in its own way (RFC 8032 section 5.1).
    pub const fn hash(self) -> Hash {
        match self {
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Hs256 => Hash::Sha256,
            Self::Rs384 | Self::Ps384 | Self::Es384 | Self::Hs384 => Hash::Sha384,
            Self::Rs512 | Self::Ps512 | Self::Es512 | Self::Hs512 | Self::EdDsa => Hash::Sha512,
        }
    }

    /// Whether signer and verifier share one secret.
    pub fn is_symmetric(self) -> bool {
        self.fits() == KeyKind::Symmetric
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Hash {
    /// Its name in lower case without a dash.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of its output in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl AlgorithmSet {
    /// No algorithm.
    pub const EMPTY: Self = Self(0);

    /// Every asymmetric algorithm: what a provider accepts that names none.
    pub fn asymmetric() -> Self {
        let asymmetric = Algorithm::ALL.iter().filter(|algorithm| !algorithm.is_symmetric());
        asymmetric.fold(Self::EMPTY, |set, algorithm| set.with(*algorithm))
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

    /// The algorithms of the set.
    pub fn iter(self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.iter().copied().filter(move |algorithm| self.contains(*algorithm))
    }
}
