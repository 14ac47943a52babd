//! A token taken apart for people to read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_explain::date;
use serde::Serialize;
use serde_json::{Map, Value};

/// The claims whose values are times (RFC 7519 section 4.1, OpenID Connect Core section 2).
const TIMES: &[&str] = &["exp", "nbf", "iat", "auth_time", "updated_at"];

/// What a token says, whether or not it is good.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShownToken {
    /// Whether it was signed here, with a key that is thrown away.
    pub signed_here: bool,
    /// Its header.
    pub header: Map<String, Value>,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// The claims that are times, as dates (RFC 3339).
    pub dates: BTreeMap<String, String>,
}

impl ShownToken {
    /// Takes a token apart; none where it is no JWS with claims.
    pub(crate) fn of(token: &str, signed_here: bool) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, claims) = (object(parts.next()?)?, object(parts.next()?)?);
        let times = claims.iter().filter(|(name, _)| TIMES.contains(&name.as_str()));
        let dates = times.filter_map(|(name, value)| Some((name.clone(), date(seconds(value)?)))).collect();
        Some(Self { signed_here, header, claims, dates })
    }
}

/// Whole seconds: a date has no fraction here.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().filter(|time| time.abs() < 1e15).map(|time| time.floor() as i64))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
