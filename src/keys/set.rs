//! A key set (RFC 7517 section 5), and the other forms in which providers publish keys.

use std::fmt;

use super::form::{Form, Format, OtherForm, form, is_for_tokens, other_text};
use super::jwk::{Accepted, Jwk, JwkRejection};
use super::pem;
use crate::crypto::Algorithm;
use crate::json::{self, Json, Number, Object};

/// The keys of one provider that can verify signatures.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Jwk>,
    skipped: Vec<(usize, JwkRejection)>,
    /// The places in the set of keys with a number of an odd length.
    odd_lengths: Vec<usize>,
    bundle: Option<Bundle>,
    /// How many keys are tried for a token that names none of them.
    tried: usize,
}

/// What a SPIFFE bundle says beside its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bundle {
    refresh_hint: Option<u64>,
}

/// How a key set is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The form of the text.
    pub format: Format,
    /// How many keys it may have; of a SPIFFE bundle those for tokens count.
    pub max_keys: usize,
    /// Whether symmetric keys count: only in a set that nobody else can read.
    pub symmetric: bool,
}

/// Why a text is not a key set that can be used. A set like this never replaces a good one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetError {
    /// Not JSON; the message says where
    Json(json::Error),
    /// Something else than what was asked for
    OtherForm(OtherForm),
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
        /// The first that was passed over: its place, and why
        first: Option<(usize, JwkRejection)>,
    },
    /// No member of a SPIFFE bundle is for tokens
    NoTokenKeys {
        /// How many members there are
        count: usize,
    },
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not a key set: {error}; write JSON such as {{\"keys\": [ … ]}}"),
            Self::OtherForm(other) => write!(f, "{other}"),
            Self::TooMany { count, limit } => write!(
                f,
                "{count} keys, more than the {limit} allowed; remove some, or raise \"max_keys\" of keys that are fetched"
            ),
            Self::NoneUsable { count: 0, .. } => {
                f.write_str("the key set is empty; put a public key into it")
            }
            Self::NoneUsable { count, first } => {
                write!(f, "none of {count} keys can verify signatures")?;
                first.map_or(Ok(()), |(at, skip)| write!(f, " (keys[{at}]: {})", skip.as_str()))?;
                f.write_str("; put a public key for signatures into the set")
            }
            Self::NoTokenKeys { count } => write!(
                f,
                "none of the {count} keys of the SPIFFE bundle is for tokens: their \"use\" must be \"jwt-svid\""
            ),
        }
    }
}

impl KeySet {
    /// How many members a set may have, unless the configuration says otherwise.
    pub const MAX_KEYS: usize = 500;
    /// How many bytes a fetched set may have, unless the configuration says otherwise.
    pub const MAX_BYTES: usize = 262_144;
    /// How many bytes a SPIFFE bundle may have, unless the configuration says otherwise: a large trust domain has hundreds
    /// of authorities for certificates in it.
    pub const MAX_BUNDLE_BYTES: usize = 1 << 20;
    /// How many keys are tried for a token that names none of them, unless the configuration says otherwise.
    pub const TRIED_WITHOUT_KID: usize = 4;
    /// How many that may be, and how many of one kid are tried: each costs a signature.
    pub const MAX_TRIED_WITHOUT_KID: usize = 32;

    /// Reads a key set, member by member.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn parse(text: &[u8], reading: Reading) -> Result<Self, SetError> {
        let text = json::without_byte_order_mark(text);
        let json = json::parse(text).map_err(|error| match other_text(text) {
            Some(other) => SetError::OtherForm(other),
            None => SetError::Json(error),
        })?;
        Self::from_json(&json, reading)
    }

    /// The same for JSON that was read already.
    ///
    /// # Errors
    /// What makes the whole set unusable.
    pub fn from_json(json: &Json, reading: Reading) -> Result<Self, SetError> {
        let Reading { format, max_keys, symmetric } = reading;
        match form(json, format).map_err(SetError::OtherForm)? {
            Form::PemMap(map) => {
                let members = map.iter().enumerate();
                Self::of(map.len(), max_keys, members, |(kid, pem)| pem::parse(kid, pem))
            }
            Form::Set(set) => {
                let accepted = Accepted { symmetric, spiffe: false };
                let members = set.iter().enumerate();
                Self::of(set.len(), max_keys, members, |member| Jwk::parse(member, accepted))
            }
            Form::Bundle(document, all) => {
                let accepted = Accepted { symmetric, spiffe: true };
                let members = all.iter().enumerate().filter(|(_, member)| is_for_tokens(member));
                let count = members.clone().count();
                if count == 0 && !all.is_empty() {
                    return Err(SetError::NoTokenKeys { count: all.len() });
                }
                let set = Self::of(count, max_keys, members, |member| Jwk::parse(member, accepted))?;
                Ok(Self { bundle: Some(Bundle { refresh_hint: refresh_hint(document) }), ..set })
            }
        }
    }

    /// A set of so many members, each with its place in the document.
    fn of<M>(
        count: usize,
        limit: usize,
        members: impl Iterator<Item = (usize, M)>,
        read: impl Fn(M) -> Result<Jwk, JwkRejection>,
    ) -> Result<Self, SetError> {
        if count > limit {
            return Err(SetError::TooMany { count, limit });
        }
        let (mut keys, mut skipped, mut odd_lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (at, member) in members {
            match read(member) {
                Ok(key) => {
                    odd_lengths.extend(key.has_odd_length.then_some(at));
                    keys.push(key);
                }
                Err(skip) => skipped.push((at, skip)),
            }
        }
        if keys.is_empty() {
            let first = skipped.first().copied();
            return Err(SetError::NoneUsable { count, first });
        }
        Ok(Self { keys, skipped, odd_lengths, bundle: None, tried: Self::TRIED_WITHOUT_KID })
    }

    /// The same, where so many keys are tried for a token that names none of them.
    #[must_use]
    pub fn trying_without_kid(self, tried: usize) -> Self {
        Self { tried, ..self }
    }

    /// What to tell the operator of a set that is used all the same.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.untried().into_iter().chain(self.odd_lengths())
    }

    /// Some keys are never tried.
    fn untried(&self) -> Option<String> {
        let (count, tried) = (self.keys.iter().filter(|key| key.kid.is_none()).count(), self.tried);
        (count > tried).then(|| {
            format!(
                "{count} keys have no kid, and of those that fit a token only the first {tried} are tried; let the provider name its keys, or raise \"keys_tried_without_kid\""
            )
        })
    }

    /// Some keys are not written as RFC 7518 asks.
    fn odd_lengths(&self) -> Option<String> {
        let shown: Vec<_> = self.odd_lengths.iter().take(5).map(|at| format!("keys[{at}]")).collect();
        let more = if self.odd_lengths.len() > shown.len() { ", …" } else { "" };
        (!shown.is_empty()).then(|| {
            format!(
                "{}{more}: a number has too few or too many leading zeros (RFC 7518 sections 6.2.1.2 and 6.3.1.1); used as it is meant, but other readers may refuse it: let the provider correct it",
                shown.join(", ")
            )
        })
    }

    /// Whether this was a SPIFFE bundle.
    pub fn is_bundle(&self) -> bool {
        self.bundle.is_some()
    }

    /// How many seconds a SPIFFE bundle says it should be kept (SPIFFE Trust Domain and Bundle, section 4.1.2).
    pub fn refresh_hint(&self) -> Option<u64> {
        self.bundle?.refresh_hint
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

fn refresh_hint(document: &Object) -> Option<u64> {
    match document.get("spiffe_refresh_hint") {
        Some(Json::Number(Number::Unsigned(seconds))) => Some(*seconds),
        Some(Json::Number(Number::Float(seconds))) if *seconds >= 0.0 => Some(*seconds as u64),
        _ => None,
    }
}
