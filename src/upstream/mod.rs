//! An outcome as the upstream sees it: which headers are taken away, and which are written.
//!
//! Nothing else may write what the filter writes: a header that a client sent under such a name is removed
//! from every request, in every spelling that a server could fold into it.

mod filter_state;

pub use filter_state::{Decision, FilterStateField, FilterStateFields};

use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::json::{Json, Number};
use crate::request::{Field, same_header};
use crate::token::{ClaimPath, Verified};

/// What a provider's tokens tell the upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdentityHeaders {
    /// The header for the whole claims set, in base64url.
    pub payload_header: Option<String>,
    /// Whether that is filled up with `=`.
    pub pad_payload: bool,
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
    /// Whether a token is refused whose claim cannot be written: its provider requires the claim.
    pub required: bool,
}

/// The headers for a token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RenderedHeaders<'o> {
    /// Each a name and a value.
    pub headers: Vec<(&'o str, String)>,
    /// How many claims are there and cannot be header values.
    pub left_out: usize,
    /// The first of those that is required.
    pub required: Option<&'o ClaimHeader>,
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

/// How many header fields a list becomes at most. Many servers take a hundred in a request, or a few
/// more.
pub const MAX_FIELDS: usize = 64;

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
            let mut payload = token.payload();
            while self.pad_payload && !payload.len().is_multiple_of(4) {
                payload.push('=');
            }
            if is_safe(&payload) {
                written.headers.push((name.as_str(), payload));
            } else {
                written.left_out = written.left_out.saturating_add(1);
            }
        }
        for output in &self.claims {
            let ClaimHeader { header, claim, format, required } = output;
            let Some(claim) = claim.find(token.claims().all()) else { continue };
            let values = values(claim, *format);
            // All of a list or nothing: a part of it could say something else.
            let fits = |values: &Vec<String>| {
                let length: usize = values.iter().map(String::len).sum();
                values.len() <= MAX_FIELDS && length <= MAX_VALUE && values.iter().all(|v| is_safe(v))
            };
            if values.as_ref().is_some_and(fits) {
                let values = values.unwrap_or_default();
                written.headers.extend(values.into_iter().map(|value| (header.as_str(), value)));
            } else {
                written.left_out = written.left_out.saturating_add(1);
                written.required = written.required.or(Some(output).filter(|_| *required));
            }
        }
        written
    }
}

/// The values for a claim; none where it cannot be written in this form.
fn values(claim: &Json, format: ListFormat) -> Option<Vec<String>> {
    match (format, claim) {
        (_, Json::Null) => Some(Vec::new()),
        // A text as well: one that looks like a list would read as that list.
        (ListFormat::Json, _) => Some(vec![ascii(&claim.to_string())]),
        // An empty list is no header: an empty one would read as a list of one empty text.
        (ListFormat::Csv, Json::Array(items)) if items.is_empty() => Some(Vec::new()),
        (ListFormat::Csv, Json::Array(items)) => {
            let elements: Option<Vec<String>> = items.iter().map(element).collect();
            Some(vec![elements?.join(",")])
        }
        (ListFormat::Repeat, Json::Array(items)) => items.iter().map(element).collect(),
        // Many servers join repeated fields with commas, and readers of a list split there.
        (ListFormat::Csv | ListFormat::Repeat, _) => {
            Some(vec![scalar(claim).filter(|text| !text.contains(','))?])
        }
        (ListFormat::Base64Json, Json::Array(_) | Json::Object(_)) => {
            Some(vec![BASE64_STANDARD.encode(claim.to_string())])
        }
        (ListFormat::Base64Json, _) => Some(vec![scalar(claim)?]),
    }
}

/// An element of a list that can be told from its neighbours between commas, with or without blanks around them.
fn element(item: &Json) -> Option<String> {
    scalar(item).filter(|text| !text.is_empty() && !text.contains(',') && text.trim() == text)
}

/// JSON with escapes for all that is beyond printable ASCII. Outside its texts it has none of that.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

fn scalar(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.to_string()),
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
    use crate::json;

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

    #[test]
    fn a_claim_becomes_a_header_in_the_form_that_was_asked_for() {
        use ListFormat::*;
        for (claim, format, expected) in [
            ("\"a b\"", Csv, &["a b"][..]),
            ("7", Json, &["7"]),
            ("\"a\"", Json, &["\"a\""]),
            ("\"[1]\"", Json, &["\"[1]\""]),
            (
                "[\" a\",\"b\\nc\",\"\u{e9}\u{1f600}\\u007f\"]",
                Json,
                &["[\" a\",\"b\\nc\",\"\\u00e9\\ud83d\\ude00\\u007f\"]"],
            ),
            ("\"a,b\"", Base64Json, &["a,b"]),
            ("\" a\"", Csv, &[" a"]),
            ("-1.5", Json, &["-1.5"]),
            ("true", Base64Json, &["true"]),
            ("null", Json, &[]),
            ("[\"a\",1,true]", Csv, &["a,1,true"]),
            ("[]", Csv, &[]),
            ("[]", Repeat, &[]),
            ("[]", Json, &["[]"]),
            ("[\"a b\",\"c\"]", Csv, &["a b,c"]),
            ("[\"a\",1]", Repeat, &["a", "1"]),
            ("[\"a\",{\"b\":1}]", Json, &["[\"a\",{\"b\":1}]"]),
            ("[\"a\"]", Base64Json, &["WyJhIl0="]),
            ("{\"a\":1}", Json, &["{\"a\":1}"]),
            ("{\"a\":1}", Base64Json, &["eyJhIjoxfQ=="]),
        ] {
            let claim = json::parse(claim.as_bytes()).unwrap();
            assert_eq!(values(&claim, format).unwrap(), expected, "{claim} {format:?}");
        }
        for (claim, format) in [
            ("[\"a,b\"]", Csv),
            ("[\"a,b\"]", Repeat),
            ("[\"a\",\"b,c\"]", Repeat),
            ("\"a,b\"", Csv),
            ("\"a,b\"", Repeat),
            ("[[\"a\"]]", Csv),
            ("[\"a\",{}]", Repeat),
            ("[\"a\",null]", Csv),
            ("{\"a\":1}", Csv),
            ("{\"a\":1}", Repeat),
            ("[\"a\",\" admin\"]", Csv),
            ("[\"a\",\"admin \"]", Csv),
            ("[\" admin\"]", Repeat),
            ("[\"a\",\"\\tb\"]", Csv),
            ("[\"a\",\"\u{a0}b\"]", Csv),
            ("[\"\"]", Csv),
            ("[\"a\",\"\"]", Csv),
            ("[\"\",\"a\"]", Repeat),
        ] {
            let claim = json::parse(claim.as_bytes()).unwrap();
            assert_eq!(values(&claim, format), None, "{claim} {format:?}");
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
