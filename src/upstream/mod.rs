//! An outcome as the upstream sees it: which headers are taken away, and which are written.
//!
//! Nothing else may write what the filter writes: a header that a client sent under such a name is removed
//! from every request, in every spelling that a server could fold into it.

mod filter_state;
#[cfg(feature = "native")]
mod metadata;
mod value;

pub use filter_state::{Decision, FilterStateField, FilterStateFields};
#[cfg(feature = "native")]
pub use metadata::{MetadataOutputs, NAMESPACE as METADATA_NAMESPACE};
pub use value::{Encoding, ListFormat, MAX_FIELDS, MAX_VALUE, Why};

use std::rc::Rc;

use value::{EMPTY_FIELD, has_fraction, values};

use crate::json::Piece;
use crate::request::{Field, same_header};
use crate::token::{ClaimPath, Verified};

/// What a provider's tokens tell the upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentityHeaders {
    /// The header for the whole claims set, in base64url.
    pub payload_header: Option<String>,
    /// Whether its base64url has padding.
    pub pad_payload: bool,
    /// The headers for single claims.
    pub claims: Vec<ClaimHeader>,
    /// Whether the host writes no header without a value.
    pub skips_empty: bool,
}

/// A header that is written from a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimHeader {
    /// The header, in lower case.
    pub header: String,
    /// The claim.
    pub claim: ClaimPath,
    /// How a list or an object is written.
    pub format: ListFormat,
    /// How a text is written.
    pub encoding: Encoding,
    /// Whether a token is refused whose claim cannot be written: its provider requires the claim.
    pub required: bool,
}

/// The headers for a token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RenderedHeaders<'o> {
    /// Each a name and a value.
    pub headers: Vec<(&'o str, String)>,
    /// The claims that are there and cannot be header values: the place of each among [`IdentityHeaders::claims`], and
    /// why.
    pub left_out: Vec<(usize, Why)>,
    /// The first of those that is required.
    pub required: Option<&'o ClaimHeader>,
}

impl IdentityHeaders {
    /// The names that are written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let claims = self.claims.iter().map(|claim| claim.header.as_str());
        self.payload_header.as_deref().into_iter().chain(claims)
    }

    /// The headers for a token. A claim that is absent, or that cannot be a header value, has none.
    pub fn headers<'o>(&'o self, token: &Verified) -> RenderedHeaders<'o> {
        let mut written = RenderedHeaders::default();
        if let Some(name) = &self.payload_header {
            // In base64url, which can stand in any field, and no longer than the token is.
            let mut payload = token.payload();
            while self.pad_payload && !payload.len().is_multiple_of(4) {
                payload.push('=');
            }
            written.headers.push((name.as_str(), payload));
        }
        for (at, output) in self.claims.iter().enumerate() {
            let ClaimHeader { header, claim: path, format, encoding, required } = output;
            let Some(claim) = path.find(token.claims().all()) else { continue };
            let text = if has_fraction(claim) { token.written(path) } else { None };
            let values = values(claim, text.as_deref().map(Piece::again), (*format, *encoding));
            match values.and_then(|values| self.writable(values)) {
                Ok(values) => {
                    written.headers.extend(values.into_iter().map(|value| (header.as_str(), value)));
                }
                Err(why) => {
                    written.left_out.push((at, why));
                    written.required = written.required.or(Some(output).filter(|_| *required));
                }
            }
        }
        written
    }
}

impl IdentityHeaders {
    fn writable(&self, values: Vec<String>) -> Result<Vec<String>, Why> {
        match self.skips_empty && values.iter().any(String::is_empty) {
            true => Err(EMPTY_FIELD),
            false => Ok(values),
        }
    }
}

/// The header names that only this filter writes.
#[derive(Clone, Debug, Default)]
pub struct ReservedHeaders(Vec<String>);

impl ReservedHeaders {
    /// These names.
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut distinct: Vec<String> = Vec::new();
        for name in names {
            if !distinct.iter().any(|own| same_header(own.as_bytes(), name.as_bytes())) {
                distinct.push(name.to_owned());
            }
        }
        Self(distinct)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names among `fields` that are reserved, in the spelling in which they came, each once.
    pub fn among(&self, fields: &[Field<'_>]) -> Vec<Rc<[u8]>> {
        let mut found: Vec<Rc<[u8]>> = Vec::new();
        for (name, _) in fields {
            let same = |own: &String| same_header(own.as_bytes(), name);
            if self.0.iter().any(same) && !found.iter().any(|other| **other == **name) {
                found.push(Rc::from(*name));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_reserved_name_is_found() {
        let reserved = ReservedHeaders::new(["x-user-id", "x-jwt-payload"].into_iter());
        let fields: Vec<Field<'_>> = [
            "x-user-id",
            "X-User-Id",
            "x_user_id",
            "x-user_id",
            "x_jwt-payload",
            "x.user~id",
            "X!USER'id",
            "x-user",
            "x-user-id2",
            "authorization",
            "x-user-id",
        ]
        .map(|name| (name.as_bytes(), &b"v"[..]))
        .to_vec();
        let found: Vec<_> =
            reserved.among(&fields).iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        assert_eq!(
            found,
            ["x-user-id", "X-User-Id", "x_user_id", "x-user_id", "x_jwt-payload", "x.user~id", "X!USER'id"]
        );
    }
}
