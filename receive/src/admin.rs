//! `POST /revocations`: entries and cut-offs by hand, in the form of the list.

use portcullis::RevocationDocument;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::entry::{Entry, MAX_NAME, Name};

/// How long an entry is served past its end, in seconds: the gates' clocks may differ, and a token lives on for the clock
/// skew that they allow.
const PAST_END: u64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    entries: Vec<Written>,
    #[serde(default)]
    cutoffs: Vec<Written>,
    #[serde(default, rename = "version")]
    _version: Option<u64>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    issuer: Option<String>,
    jti: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    everyone: Option<bool>,
    issued_before: Option<u64>,
    until: Option<u64>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

/// Whether a request brings the token. How long the comparison takes says nothing of it.
pub(crate) fn is_admin(authorization: Option<&[u8]>, token: &str) -> bool {
    let Some((scheme, given)) = authorization.and_then(|value| value.split_at_checked(7)) else {
        return false;
    };
    let digest = |bytes: &[u8]| Sha256::digest(bytes);
    let is_same: bool = digest(given.trim_ascii()).ct_eq(&digest(token.as_bytes())).into();
    scheme.eq_ignore_ascii_case(b"bearer ") && is_same
}

/// Reads a document, or a single entry or cut-off. `issuer` is that of entries that name none.
///
/// # Errors
/// What is wrong and where, without what is written there.
pub(crate) fn read(body: &[u8], issuer: Option<&str>) -> Result<Vec<Entry>, String> {
    // The core's reader refuses names that are there twice, and depth.
    let json = portcullis::parse_json(body).map_err(|error| error.to_string())?;
    let Some(object) = json.as_object() else { return Err("must be a JSON object".to_owned()) };
    let is_document = ["version", "entries", "cutoffs", "pages"].iter().any(|name| object.contains(name));
    let text = json.to_string();
    let whole = match (is_document, object.contains("issued_before")) {
        (true, _) if object.contains("version") => text,
        (true, _) => format!("{{\"version\":1,{}", text.strip_prefix('{').unwrap_or_default()),
        (false, true) => format!("{{\"version\":1,\"cutoffs\":[{text}]}}"),
        (false, false) => format!("{{\"version\":1,\"entries\":[{text}]}}"),
    };
    // The gates' own reader says whether they could use it.
    match RevocationDocument::parse(whole.as_bytes(), issuer, usize::MAX) {
        Ok(RevocationDocument::List(_)) => {}
        Ok(RevocationDocument::Index(_)) => return Err("\"pages\" are not taken; send entries".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    let document: Document = serde_json::from_str(&whole).map_err(|_| "not a revocation list".to_owned())?;
    let (entries, cutoffs) = (document.entries.into_iter(), document.cutoffs.into_iter());
    entries
        .map(|entry| entry.read(false, issuer))
        .chain(cutoffs.map(|cutoff| cutoff.read(true, issuer)))
        .collect()
}

impl Written {
    fn read(self, is_cutoff: bool, issuer: Option<&str>) -> Result<Entry, String> {
        let Self { jti, sid, sub, client_id, everyone, issued_before, until, .. } = self;
        let name = match (jti, sid, sub, client_id, everyone) {
            (Some(name), ..) => Name::Token(name),
            (_, Some(name), ..) => Name::Session(name),
            (_, _, Some(name), ..) => Name::Subject(name),
            (_, _, _, Some(name), _) => Name::Client(name),
            (_, _, _, _, Some(true)) => Name::Everyone,
            _ => Name::Issuer,
        };
        let issuer = match name {
            Name::Everyone => String::new(),
            _ => self.issuer.or(issuer.map(str::to_owned)).unwrap_or_default(),
        };
        let length = match &name {
            Name::Token(name) | Name::Session(name) | Name::Subject(name) | Name::Client(name) => name.len(),
            Name::Issuer | Name::Everyone => 0,
        };
        if length.max(issuer.len()) > MAX_NAME {
            return Err(format!("a name or an issuer has more than {MAX_NAME} bytes"));
        }
        let issued_before = issued_before.filter(|_| is_cutoff);
        let drop_at = until.map(|until| until.saturating_add(PAST_END));
        Ok(Entry { issuer, name, issued_before, until, drop_at })
    }
}

/// The answer: how many were kept.
pub(crate) fn accepted(count: usize) -> String {
    Value::from_iter([("accepted", count)]).to_string()
}
