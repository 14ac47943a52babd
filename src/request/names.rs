//! Names of header fields, cookies and query parameters as the programs behind the gate read them.
//!
//! One field can have one name for the gate and another for a server. What is here says which texts could be
//! read as a given name, without any allocation.

/// Whether a server could take two header fields for one: CGI and its heirs drop case and put one character
/// for everything that is neither a letter nor a digit (`x.user`, `X_User` and `x-user` are `HTTP_X_USER`).
#[inline]
pub fn same_header(one: &[u8], other: &[u8]) -> bool {
    // Most names differ in length, and most others in their last letter.
    one.len() == other.len()
        && one.last().copied().map(folded) == other.last().copied().map(folded)
        && one.iter().zip(other).all(|(one, other)| folded(*one) == folded(*other))
}

/// A byte of a header name without case, where everything but letters and digits is one and the same.
#[inline]
const fn folded(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Whether a text is this name once its escapes are decoded.
pub(super) fn decodes_to(text: &[u8], name: &[u8]) -> bool {
    let mut rest = text;
    for own in name {
        let Some((byte, after)) = decoded_once(rest) else { return false };
        if byte != *own {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// What follows a name that a lenient reader could find at the start of `text`; none where it finds another.
///
/// Such readers decode escapes, once or more often, drop blanks in front and NULs, and put `_` for a blank, `+`,
/// `.` and `[` (PHP does).
pub(super) fn after_name<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let trimmed = after_escaped_blanks(text);
    after_folded(text, name)
        .or_else(|| if trimmed.len() == text.len() { None } else { after_folded(trimmed, name) })
}

fn after_folded<'t>(text: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let mut rest = text;
    for own in name {
        let (byte, after) = loop {
            match decoded(rest)? {
                (0, after) => rest = after,
                found => break found,
            }
        };
        if as_variable(byte) != as_variable(*own) {
            return None;
        }
        rest = after;
    }
    Some(rest)
}

/// Whether the name that ended before `rest` ends there for a lenient reader too: at a `=`, at a NUL, at the bracket
/// that makes an element of it, or where the whole text ends, if `alone` says that a name may stand alone.
/// Blanks and a quote do not count.
pub(super) fn name_ends(rest: &[u8], alone: bool) -> bool {
    let mut rest = rest;
    loop {
        match decoded(rest) {
            None => return alone,
            Some((byte, after)) if is_blank(byte) || matches!(byte, b'+' | b'"') => rest = after,
            Some((byte, _)) => return matches!(byte, b'=' | b'[' | 0),
        }
    }
}

/// `text` without the blanks at its start that are written as `+` or as escapes.
fn after_escaped_blanks(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some(b'+' | b'%') = rest.first() {
        match decoded(rest) {
            Some((byte, after)) if byte == b'+' || is_blank(byte) => rest = after,
            _ => break,
        }
    }
    rest
}

/// A byte of a name as PHP has it in the name of a variable.
fn as_variable(byte: u8) -> u8 {
    if is_blank(byte) || matches!(byte, b'.' | b'+' | b'[') { b'_' } else { byte }
}

/// White space of ASCII.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// What some reader takes for white space: control characters and blanks, and every byte beyond ASCII, since it
/// could be one in Latin-1 or the beginning of one in UTF-8.
pub fn could_be_blank(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f
}

/// The first byte of a text, an escape decoded, and what follows.
pub(super) fn decoded_once(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = text.split_first()?;
    match escaped(rest).filter(|_| *first == b'%') {
        Some(found) => Some(found),
        None => Some((*first, rest)),
    }
}

/// The same, decoded as often as there is something to decode: `%2573` is an `s`.
fn decoded(text: &[u8]) -> Option<(u8, &[u8])> {
    let (mut byte, mut rest) = decoded_once(text)?;
    while byte == b'%'
        && let Some((next, after)) = escaped(rest)
    {
        (byte, rest) = (next, after);
    }
    Some((byte, rest))
}

/// The byte of two hexadecimal digits, and what follows.
fn escaped(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (high, rest) = digits.split_first()?;
    let (low, rest) = rest.split_first()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(((digit(*high)? << 4) | digit(*low)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_every_spelling_that_a_server_folds() {
        for other in [
            "x-user-id",
            "X-User-Id",
            "x_user_id",
            "x.user.id",
            "x~user~id",
            "x!user-id",
            "x|user^id",
            "x#user$id",
            "x%user&id",
            "x'user*id",
            "x+user`id",
            "X-USER_ID",
        ] {
            assert!(same_header(other.as_bytes(), b"x-user-id"), "{other}");
        }
        for other in
            ["x-user", "x-user-id2", "xuser-id", "x-user-ie", "y-user-id", "x-usar-id", "", "x--user-id"]
        {
            assert!(!same_header(other.as_bytes(), b"x-user-id"), "{other}");
        }
        assert!(same_header(b"", b""));
        assert!(same_header(b"-", b"_"));
    }

    #[test]
    fn a_name_is_found_as_lenient_readers_spell_it() {
        let reads = |text: &str, name: &str| {
            after_name(text.as_bytes(), name.as_bytes()).is_some_and(|rest| name_ends(rest, false))
        };
        for text in [
            "app_token=",
            "app.token=",
            "app token=",
            "app+token=",
            "app[token=",
            "app%5ftoken=",
            "app%5Ftoken =",
            "app%2etoken=",
            "app%20token=",
            "%61pp_token=",
            "%2561pp_token=",
            "+app_token=",
            "%20app_token=",
            "app_token[]=",
            "app_token%5B0%5D=",
            "app_token%00x=",
            "app_to%00ken=",
            "app_token\t=",
            "app_token\"=",
            "app_token+=",
            "app_token%20=",
        ] {
            assert!(reads(text, "app_token"), "{text}");
        }
        for text in [
            "app_token",
            "app_tokens=",
            "my_app_token=",
            "App_token=",
            "app-token=",
            "apptoken=",
            "_app_token=",
            "",
            "app_token.sig=",
            "app_token_2=",
            "%=",
            "app_toke%6=",
        ] {
            assert!(!reads(text, "app_token"), "{text}");
        }
        assert!(reads("__Host%2dsession=", "__Host-session"));
        assert!(reads("_.Host-session=", "__Host-session"));
        assert!(reads("connect_sid=", "connect.sid"));
        assert!(decodes_to(b"access%5Ftoken", b"access_token"));
        assert!(!decodes_to(b"access%255Ftoken", b"access_token"));
        assert!(!decodes_to(b"access%+5token", b"access_token"));
    }
}
