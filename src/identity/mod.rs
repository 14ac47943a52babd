//! An outcome as the upstream sees it: which headers are taken away, and which are written.
//!
//! What the filter writes, nobody else may: a header that a client sent under such a name is removed
//! from every request, in every spelling that a server could fold into it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::json::{Json, Number};
use crate::request::Field;
use crate::token::{ClaimPath, Verified};

/// What a provider's tokens tell the upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outputs {
    /// The header for the whole claims set, in base64url.
    pub payload_header: Option<String>,
    /// The headers for single claims.
    pub claims: Vec<ClaimHeader>,
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
}

/// How a claim that is a list or an object becomes a header value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListFormat {
    /// Its JSON in base64, as `jwt_authn` writes it
    Base64Json,
    /// The elements of a list separated by commas
    Csv,
    /// Its JSON
    Json,
    /// One header for each element of a list
    Repeat,
}

/// The longest header value that is written, in bytes.
pub const MAX_VALUE: usize = 8192;

impl Outputs {
    /// The names that are written.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let claims = self.claims.iter().map(|claim| claim.header.as_str());
        self.payload_header.as_deref().into_iter().chain(claims)
    }

    /// The headers for a token. A claim that is absent, or that cannot be a header value, has none.
    pub fn headers<'o>(&'o self, token: &Verified) -> Vec<(&'o str, String)> {
        let mut headers = Vec::new();
        if let Some(name) = &self.payload_header {
            headers.push((name.as_str(), token.payload().to_owned()));
        }
        for ClaimHeader { header, claim, format } in &self.claims {
            let values =
                claim.find(token.claims().all()).map(|value| values(value, *format)).unwrap_or_default();
            headers.extend(values.into_iter().map(|value| (header.as_str(), value)));
        }
        headers.retain(|(_, value)| is_safe(value));
        headers
    }
}

fn values(claim: &Json, format: ListFormat) -> Vec<String> {
    if let Some(scalar) = scalar(claim) {
        return vec![scalar];
    }
    match (format, claim) {
        (_, Json::Null) => Vec::new(),
        (ListFormat::Csv, Json::Array(items)) => {
            let parts: Option<Vec<String>> =
                items.iter().map(|item| scalar(item).filter(|text| !text.contains(','))).collect();
            parts.map(|parts| parts.join(",")).into_iter().collect()
        }
        (ListFormat::Repeat, Json::Array(items)) => items.iter().filter_map(scalar).collect(),
        (ListFormat::Base64Json, _) => vec![BASE64_STANDARD.encode(claim.to_string())],
        _ => vec![claim.to_string()],
    }
}

fn scalar(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Number(Number::Unsigned(value)) => Some(value.to_string()),
        Json::Number(_) => Some(claim.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Whether a text can be a header value without becoming something else (RFC 9110 section 5.5): no
/// control characters, no blanks at its ends, which the next hop cuts off, and nothing beyond ASCII,
/// which servers read in different character sets.
fn is_safe(value: &str) -> bool {
    value.len() <= MAX_VALUE
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !value.starts_with(' ')
        && !value.ends_with(' ')
}

/// The header names that only this filter writes.
#[derive(Clone, Debug, Default)]
pub struct Reserved(Vec<String>);

impl Reserved {
    /// These names.
    pub fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut names: Vec<String> = names.map(|name| folded(name.as_bytes()).collect()).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// The names among `fields` that are reserved, in the spelling in which they came, each once.
    pub fn among<'f>(&self, fields: &[Field<'f>]) -> Vec<&'f [u8]> {
        let mut found: Vec<&[u8]> = Vec::new();
        for (name, _) in fields {
            let reserved = self.0.iter().any(|own| own.chars().eq(folded(name)));
            if reserved && !found.contains(name) {
                found.push(name);
            }
        }
        found
    }
}

/// A name as a server may fold it: without case, and `_` for `-` as CGI and its heirs have it.
fn folded(name: &[u8]) -> impl Iterator<Item = char> + '_ {
    name.iter().map(|byte| match byte {
        b'_' => '-',
        other => char::from(other.to_ascii_lowercase()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn every_spelling_of_a_reserved_name_is_found() {
        let reserved = Reserved::new(["x-user-id", "x-jwt-payload"].into_iter());
        let fields: Vec<Field<'_>> = [
            "x-user-id",
            "X-User-Id",
            "x_user_id",
            "x-user_id",
            "x_jwt-payload",
            "x-user",
            "x-user-id2",
            "authorization",
            "x-user-id",
        ]
        .map(|name| (name.as_bytes(), &b"v"[..]))
        .to_vec();
        let found: Vec<_> =
            reserved.among(&fields).iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        assert_eq!(found, ["x-user-id", "X-User-Id", "x_user_id", "x-user_id", "x_jwt-payload"]);
    }

    #[test]
    fn a_claim_becomes_a_header_in_the_form_that_was_asked_for() {
        use ListFormat::*;
        for (claim, format, expected) in [
            ("\"a b\"", Csv, &["a b"][..]),
            ("7", Json, &["7"]),
            ("-1.5", Json, &["-1.5"]),
            ("true", Base64Json, &["true"]),
            ("null", Json, &[]),
            ("[\"a\",1,true]", Csv, &["a,1,true"]),
            ("[\"a,b\"]", Csv, &[]),
            ("[[\"a\"]]", Csv, &[]),
            ("[]", Csv, &[""]),
            ("[\"a\",1]", Repeat, &["a", "1"]),
            ("[\"a\",{\"b\":1}]", Json, &["[\"a\",{\"b\":1}]"]),
            ("[\"a\"]", Base64Json, &["WyJhIl0="]),
            ("{\"a\":1}", Csv, &["{\"a\":1}"]),
        ] {
            let claim = json::parse(claim.as_bytes()).unwrap();
            assert_eq!(values(&claim, format), expected, "{claim} {format:?}");
        }
    }

    #[test]
    fn what_could_end_a_header_is_no_value() {
        for (value, expected) in [
            ("a", true),
            ("", true),
            ("a b", true),
            (" a", false),
            ("a ", false),
            ("\u{e9}", false),
            ("a\r\nb: c", false),
            ("a\0", false),
            ("a\u{85}", false),
            ("a\tb", false),
        ] {
            assert_eq!(is_safe(value), expected, "{value:?}");
        }
        assert!(!is_safe(&"a".repeat(MAX_VALUE + 1)));
    }
}
