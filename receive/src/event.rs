//! What a logout token or a Security Event Token says, and whether it may be believed but for its signature.

mod meaning;
mod subject;

use std::time::Duration;

use portcullis::{Algorithm, Json, JsonObject, Jws, Timestamp, parse_json};
use sha2::{Digest as _, Sha256};

use crate::config::Issuer;
use crate::entry::{Entry, MAX_NAME};

/// By which way a token came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// `/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0)
    Logout,
    /// `/events` (RFC 8935)
    Push,
    /// Asked for (RFC 8936)
    Poll,
}

/// Why a token is refused: an error code of RFC 8935 section 2.4, and what is wrong. Nothing of the token is in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub(crate) fn request(text: impl Into<String>) -> Self {
        Self::new("invalid_request", text)
    }
}

/// A token that says nothing wrong; its signature is still to be checked.
pub(crate) struct Event<'t> {
    /// The place of its issuer in the configuration.
    pub(crate) issuer: usize,
    pub(crate) jws: Jws<'t>,
    pub(crate) entries: Vec<Entry>,
    /// What it is, for logs and metrics.
    pub(crate) kind: &'static str,
    /// What tells it from every other token: the hash of its issuer and `jti`.
    pub(crate) seen: [u8; 32],
    /// Until when it would be believed, in Unix seconds.
    pub(crate) good_until: u64,
}

/// How long a token without `exp` is good for, from its `iat` on.
const WITHOUT_EXPIRATION: Duration = Duration::from_secs(600);
/// How long a token with `exp` may be good for at the most: its `jti` is remembered for as long.
const MAX_LIFE: Duration = Duration::from_secs(31 * 24 * 3600);
/// How many audiences are looked at.
const MAX_AUDIENCES: usize = 100;

/// Reads a token.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn read<'t>(
    token: &'t [u8],
    way: Way,
    issuers: &[Issuer],
    keep: Duration,
    now: Timestamp,
) -> Result<Event<'t>, Refusal> {
    let malformed = |_| Refusal::request("is not a signed JWT (three parts in base64url, a known algorithm)");
    let jws = Jws::parse(token).map_err(malformed)?;
    let payload = jws.payload().map_err(|_| Refusal::request("its payload cannot be decoded"))?;
    let Ok(Json::Object(claims)) = parse_json(&payload) else {
        return Err(Refusal::request(
            "its payload is no JSON object, or has a member twice, or is nested too deep",
        ));
    };
    let iss = required_text(&claims, "iss")?;
    let Some((at, issuer)) = issuers.iter().enumerate().find(|(_, issuer)| issuer.issuer == iss) else {
        return Err(Refusal::new("invalid_issuer", "its issuer is none that is configured"));
    };
    let accepts = match way {
        Way::Logout => issuer.accept.backchannel_logout,
        Way::Push | Way::Poll => issuer.accept.events,
    };
    if !accepts {
        return Err(Refusal::new("access_denied", "events of this kind are not taken of this issuer"));
    }
    check_header(&jws, way, issuer)?;
    check_audience(&claims, issuer)?;
    let (issued, good_until) = check_dates(&claims, issuer, now)?;
    let jti = required_text(&claims, "jti")?;
    if claims.contains("nonce") {
        return Err(Refusal::request("has \"nonce\": it is no event but a token for a client"));
    }
    let from = meaning::From { issuer, claims: &claims, issued, now, keep };
    let (kind, entries) = match way {
        Way::Logout => meaning::logout(&from)?,
        Way::Push | Way::Poll => meaning::event(&from)?,
    };
    let seen = seen(iss, jti);
    Ok(Event { issuer: at, jws, entries, kind, seen, good_until })
}

fn seen(issuer: &str, jti: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((issuer.len() as u64).to_be_bytes());
    hash.update(issuer);
    hash.update(jti);
    hash.finalize().into()
}

/// A claim that must be there, as a text of a length that can be kept.
pub(crate) fn required_text<'c>(claims: &'c JsonObject, name: &str) -> Result<&'c str, Refusal> {
    let text = claims.get(name).and_then(Json::as_str);
    text.filter(|text| !text.is_empty() && text.len() <= MAX_NAME)
        .ok_or_else(|| Refusal::request(format!("{name:?} must be a text of 1 to {MAX_NAME} bytes")))
}

fn check_header(jws: &Jws<'_>, way: Way, issuer: &Issuer) -> Result<(), Refusal> {
    let header = jws.header();
    let algorithm: Algorithm = header.algorithm;
    if !issuer.policy.algorithms.contains(algorithm) {
        return Err(Refusal::new(
            "invalid_key",
            "is signed with an algorithm that is not taken of its issuer",
        ));
    }
    // Older servers write JWT, or nothing.
    let own = match way {
        Way::Logout => "logout+jwt",
        Way::Push | Way::Poll => "secevent+jwt",
    };
    match header.typ.as_deref() {
        None => Ok(()),
        Some(typ) if typ == own || typ == "jwt" => Ok(()),
        Some(_) => Err(Refusal::request(format!("\"typ\" must be {own} or JWT"))),
    }
}

fn check_audience(claims: &JsonObject, issuer: &Issuer) -> Result<(), Refusal> {
    if issuer.audiences.is_empty() {
        return Ok(());
    }
    let is_ours =
        |json: &Json| json.as_str().is_some_and(|one| issuer.audiences.iter().any(|own| own == one));
    let found = match claims.get("aud") {
        Some(Json::Array(many)) => many.len() <= MAX_AUDIENCES && many.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    };
    if found {
        Ok(())
    } else {
        Err(Refusal::new("invalid_audience", "\"aud\" holds none of the \"audiences\""))
    }
}

/// When it was issued, and until when it is good.
fn check_dates(claims: &JsonObject, issuer: &Issuer, now: Timestamp) -> Result<(Timestamp, u64), Refusal> {
    let skew = issuer.policy.clock_skew;
    let Some(issued) = date(claims, "iat")? else { return Err(Refusal::request("has no \"iat\"")) };
    if issued > now.plus(skew) {
        return Err(Refusal::request("\"iat\" is in the future"));
    }
    let until = match date(claims, "exp")? {
        Some(expires) if expires > now.plus(MAX_LIFE) => {
            return Err(Refusal::request("\"exp\" is more than 31 days away"));
        }
        Some(expires) => expires,
        None => issued.plus(WITHOUT_EXPIRATION),
    };
    let until = until.plus(skew);
    if now >= until {
        return Err(Refusal::request(
            "has expired, or has no \"exp\" and was issued more than 10 minutes ago",
        ));
    }
    if date(claims, "nbf")?.is_some_and(|not_before| not_before > now.plus(skew)) {
        return Err(Refusal::request("is not good yet (\"nbf\")"));
    }
    Ok((issued, until.as_secs().saturating_add(1)))
}

/// A `NumericDate`, where it is there.
pub(crate) fn date(object: &JsonObject, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let wrong = || Refusal::request(format!("{name:?} is no date"));
    match object.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => Timestamp::from_number(*number).map(Some).map_err(|_| wrong()),
        Some(_) => Err(wrong()),
    }
}
