//! A key set (RFC 7517 section 5), and the other forms in which providers publish keys.

use std::fmt;

use super::jwk::{Accepted, Jwk, JwkRejection};
use super::pem;
use crate::crypto::Algorithm;
use crate::json::{self, Json};

/// The keys of one provider that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Jwk>,
    skipped: Vec<(usize, JwkRejection)>,
    /// How many keys are tried for a token that names none of them.
    tried: usize,
}

/// The form in which keys are published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// A JWK set; a SPIFFE bundle where the document says that it is one
    #[default]
    Auto,
    /// A JWK set (RFC 7517)
    Jwks,
    /// An object whose members are certificates or public keys in PEM, each under its kid
    PemMap,
    /// A SPIFFE bundle: a JWK set whose keys for tokens have the `use` `jwt-svid`
    Spiffe,
}

/// How a key set is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The form of the text.
    pub format: Format,
    /// How many keys it may have.
    pub max_keys: usize,
    /// Whether symmetric keys count: only in a set that nobody else can read.
    pub symmetric: bool,
}

/// Why a text is not a key set that can be used. A set like this never replaces a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// Not JSON; the message says where
    Json(json::Error),
    /// Not of the form that was asked for
    NoKeys(Format),
    /// More members than allowed
    TooMany {
        /// How many there are
        count: usize,
        /// How many may be
        limit: usize,
    },
    /// No member is a key that can verify signatures
    NoneUsable {
        /// How many members there are
        count: usize,
        /// Why the first of them was passed over
        first: Option<JwkRejection>,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not a key set: {error}"),
            Self::NoKeys(Format::PemMap) => f.write_str("not a map from kids to PEM texts"),
            Self::NoKeys(_) => f.write_str("not a key set: no list \"keys\""),
            Self::TooMany { count, limit } => write!(f, "{count} keys, more than the {limit} allowed"),
            Self::NoneUsable { count: 0, .. } => f.write_str("the key set is empty"),
            Self::NoneUsable { count, first } => {
                write!(f, "none of {count} keys can verify signatures")?;
                first.map_or(Ok(()), |skip| write!(f, " (keys[0]: {})", skip.as_str()))
            }
        }
    }
}

impl KeySet {
    /// How many members a set may have, unless the configuration says otherwise.
    pub const MAX_KEYS: usize = 500;
    /// How many keys are tried for a token that names none of them, unless the configuration says otherwise.
    pub const TRIED_WITHOUT_KID: usize = 4;
    /// How many that may be, and how many of one kid are tried: each costs a signature.
    pub const MAX_TRIED_WITHOUT_KID: usize = 32;

    /// Reads a key set, member by member.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn parse(text: &[u8], reading: Reading) -> Result<Self, SetError> {
        Self::from_json(&json::parse(text).map_err(SetError::Json)?, reading)
    }

    /// The same for JSON that was read already.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn from_json(json: &Json, reading: Reading) -> Result<Self, SetError> {
        let Reading { format, max_keys: limit, symmetric } = reading;
        let document = json.as_object().ok_or(SetError::NoKeys(format))?;
        let read: Vec<Result<Jwk, JwkRejection>> = if format == Format::PemMap {
            check_count(document.len(), limit)?;
            document.iter().map(|(kid, pem)| pem::parse(kid, pem)).collect()
        } else {
            let members = document.get("keys").and_then(Json::as_array).ok_or(SetError::NoKeys(format))?;
            check_count(members.len(), limit)?;
            let bundle = document.contains("spiffe_sequence") || document.contains("spiffe_refresh_hint");
            let spiffe = format == Format::Spiffe || (format == Format::Auto && bundle);
            let accepted = Accepted { symmetric, spiffe };
            members.iter().map(|member| Jwk::parse(member, accepted)).collect()
        };
        let count = read.len();
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (at, key) in read.into_iter().enumerate() {
            match key {
                Ok(key) => keys.push(key),
                Err(skip) => skipped.push((at, skip)),
            }
        }
        if keys.is_empty() {
            let first = skipped.first().map(|(_, skip)| *skip);
            return Err(SetError::NoneUsable { count, first });
        }
        Ok(Self { keys, skipped, tried: Self::TRIED_WITHOUT_KID })
    }

    /// The same, where so many keys are tried for a token that names none of them.
    #[must_use]
    pub fn trying_without_kid(self, tried: usize) -> Self {
        Self { tried, ..self }
    }

    /// What to tell the operator where some keys are never tried.
    pub fn untried(&self) -> Option<String> {
        let (count, tried) = (self.keys.iter().filter(|key| key.kid.is_none()).count(), self.tried);
        (count > tried).then(|| {
            format!(
                "{count} keys have no kid, and of those that fit a token only the first {tried} are tried; let the provider name its keys, or raise \"keys_tried_without_kid\""
            )
        })
    }

    /// The keys, in the order of the set; never none.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The members that were passed over: their place in the set, and why.
    pub fn skipped(&self) -> &[(usize, JwkRejection)] {
        &self.skipped
    }

    /// Whether a key carries this `kid`.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether this very key is still in the set.
    pub fn contains(&self, fingerprint: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key.fingerprint == *fingerprint)
    }

    /// The keys that may have signed a token with this `kid` and algorithm: with a `kid`, the keys
    /// of that `kid`, and where the set has none of them, those without any; without, all that fit. Where
    /// the `kid` does not say which, the first few.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Jwk> {
        let named = kid.filter(|kid| self.has_kid(kid));
        let fitting = self.keys.iter().filter(move |key| {
            key.allows(algorithm)
                && match (kid, named) {
                    (None, _) => true,
                    (Some(_), Some(named)) => key.kid.as_deref() == Some(named),
                    (Some(_), None) => key.kid.is_none(),
                }
        });
        // A forged token must not cost a signature for each key that there is.
        fitting.take(if named.is_some() { Self::MAX_TRIED_WITHOUT_KID } else { self.tried })
    }
}

fn check_count(count: usize, limit: usize) -> Result<(), SetError> {
    if count > limit { Err(SetError::TooMany { count, limit }) } else { Ok(()) }
}
