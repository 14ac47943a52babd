//! The JOSE header (RFC 7515 section 4).

use crate::crypto::Algorithm;
use crate::json::{self, Json};
use crate::reason::Reason;

/// What a token's header says. `jwk`, `jku`, `x5u`, `x5c` and `x5t` are never looked at: a token does
/// not choose its key (RFC 8725 section 3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// `alg`
    pub algorithm: Algorithm,
    /// `kid`
    pub kid: Option<String>,
    /// `typ` in lower case without a leading `application/` (RFC 7515 section 4.1.9)
    pub typ: Option<String>,
}

/// The longest header that is read, in bytes.
const MAX_BYTES: usize = 4096;

impl Header {
    /// Reads a decoded header.
    ///
    /// # Errors
    /// See [`Unverified::parse`](super::Unverified::parse).
    pub fn parse(text: &[u8]) -> Result<Self, Reason> {
        if text.len() > MAX_BYTES {
            return Err(Reason::TokenMalformed);
        }
        let Ok(Json::Object(header)) = json::parse(text) else {
            return Err(Reason::TokenMalformed);
        };
        let string = |name| match header.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::TokenMalformed),
        };
        if header.contains("enc") {
            return Err(Reason::TokenEncrypted);
        }
        // No extension is understood, so whatever is marked critical is refused (RFC 7515 section
        // 4.1.11); `b64` must be marked critical (RFC 7797 section 6) and is refused without, too.
        if header.contains("crit") || header.contains("b64") {
            return Err(Reason::CriticalHeader);
        }
        if header.contains("zip") {
            return Err(Reason::TokenMalformed);
        }
        let kid = string("kid")?.cloned();
        let typ = string("typ")?.map(|typ| normal_type(typ));
        let alg = string("alg")?.ok_or(Reason::TokenMalformed)?;
        let algorithm = Algorithm::from_name(alg).ok_or(Reason::AlgorithmNotAllowed)?;
        Ok(Self { algorithm, kid, typ })
    }
}

/// A media type as RFC 7515 section 4.1.9 compares it: without case, and `application/` implied
/// where there is no slash.
pub fn normal_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => typ,
    }
}
