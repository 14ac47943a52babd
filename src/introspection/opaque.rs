//! Which text may be an opaque token, and which is a JWT.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::settings::Introspection;
use crate::reason::{Reason, Rejected};

/// The shortest opaque token that is asked about, in bytes.
pub const MIN_OPAQUE: usize = 16;
/// The longest opaque token that is asked about, in bytes.
pub const MAX_OPAQUE: usize = 4096;

/// Whether a text may be an opaque token of this provider: a `b64token` (RFC 6750 section 2.1) of a length that makes
/// sense, with the prefix that all of them have.
///
/// # Errors
/// [`Reason::TokenMalformed`].
pub(crate) fn check_shape(settings: &Introspection, token: &[u8]) -> Result<(), Rejected> {
    let malformed = |words| Err(Reason::TokenMalformed.because(words));
    if token.len() < MIN_OPAQUE || token.len() > MAX_OPAQUE {
        return malformed("an opaque token has 16 to 4096 bytes");
    }
    let prefix = settings.token_prefix.as_deref().unwrap_or_default();
    if !token.starts_with(prefix.as_bytes()) {
        return malformed("it does not begin with token_prefix");
    }
    let end = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last.saturating_add(1));
    let (text, _) = token.split_at_checked(end).unwrap_or_default();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if text.is_empty() || !text.iter().all(is_plain) {
        return malformed("it has characters that no bearer token has (RFC 6750 section 2.1)");
    }
    Ok(())
}

/// Whether a text is a JWS in compact form, as far as its header shows: three parts, of which the first is a JSON object in
/// base64url. Opaque tokens may have parts too.
pub(crate) fn is_signed(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    // Its first characters say it; the last of them may be cut within a group.
    let beginning = head.get(..head.len().min(8)).unwrap_or_default();
    let whole = beginning.get(..beginning.len() & !3).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.decode(whole).is_ok_and(|text| text.trim_ascii_start().starts_with(b"{"))
}
