//! A key set (RFC 7517 section 5).

use std::fmt;

use super::jwk::{Jwk, Skip};
use crate::crypto::Algorithm;
use crate::json::{self, Json};

/// The keys of one provider that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Jwk>,
    skipped: Vec<(usize, Skip)>,
}

/// Why a text is not a key set that can be used. A set like this never replaces a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// Not JSON; the message says where
    Json(json::Error),
    /// Not an object with a list `keys`
    NoKeys,
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
        first: Option<Skip>,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not a key set: {error}"),
            Self::NoKeys => f.write_str("not a key set: no list \"keys\""),
            Self::TooMany { count, limit } => {
                write!(f, "{count} keys, more than the {limit} allowed")
            }
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

    /// Reads a key set, member by member.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn parse(text: &[u8], max_keys: usize) -> Result<Self, SetError> {
        Self::from_json(&json::parse(text).map_err(SetError::Json)?, max_keys)
    }

    /// The same for JSON that was read already.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn from_json(json: &Json, max_keys: usize) -> Result<Self, SetError> {
        let members = json
            .as_object()
            .and_then(|set| set.get("keys"))
            .and_then(Json::as_array)
            .ok_or(SetError::NoKeys)?;
        if members.len() > max_keys {
            return Err(SetError::TooMany { count: members.len(), limit: max_keys });
        }
        let mut keys = Vec::new();
        let mut skipped = Vec::new();
        for (at, member) in members.iter().enumerate() {
            match Jwk::parse(member) {
                Ok(key) => keys.push(key),
                Err(skip) => skipped.push((at, skip)),
            }
        }
        if keys.is_empty() {
            let first = skipped.first().map(|(_, skip)| *skip);
            return Err(SetError::NoneUsable { count: members.len(), first });
        }
        Ok(Self { keys, skipped })
    }

    /// The keys, in the order of the set; never none.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The members that were passed over: their place in the set, and why.
    pub fn skipped(&self) -> &[(usize, Skip)] {
        &self.skipped
    }

    /// Whether a key carries this `kid`.
    pub fn has_kid(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that may have signed a token with this `kid` and algorithm: with a `kid`, the keys
    /// of that `kid`, and where the set has none of them, those without any; without, all that fit.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Jwk> {
        let named = kid.filter(|kid| self.has_kid(kid));
        self.keys.iter().filter(move |key| {
            key.allows(algorithm)
                && match (kid, named) {
                    (None, _) => true,
                    (Some(_), Some(named)) => key.kid.as_deref() == Some(named),
                    (Some(_), None) => key.kid.is_none(),
                }
        })
    }
}
