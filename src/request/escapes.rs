//! Escapes in paths and queries (RFC 3986 section 2.1): written, read and compared.

use std::borrow::Cow;

/// Whether a byte is written as it is in a decoded reading: what may stand in a path (RFC 3986 section
/// 3.3), and `\`, which some programs take for `/`.
pub(super) const fn is_bare(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
        || matches!(byte, b'/' | b'\\')
}

pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The path with the digits of its escapes in upper case: their case does not count (RFC 3986 section
/// 6.2.2.1).
pub(super) fn upper_escapes(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        out.push('%');
        let digits = if escape(after.as_bytes()).is_some() { 2 } else { 0 };
        let (digits, tail) = after.split_at_checked(digits).unwrap_or(("", after));
        out.push_str(&digits.to_ascii_uppercase());
        rest = tail;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The path with the escapes of unreserved characters decoded (RFC 3986 section 6.2.2.2).
pub(super) fn unreserved_decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match escape(after.as_bytes()).filter(|(value, _)| is_unreserved(*value)) {
            Some((value, _)) => {
                out.push(char::from(value));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

pub(super) fn escape_non_ascii(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escape(&mut out, byte));
        }
    }
    out
}

/// The text that stands for decoded bytes: what cannot stand in a path as it is is escaped.
pub(super) fn represent(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if is_bare(*byte) {
            out.push(char::from(*byte));
        } else {
            push_escape(&mut out, *byte);
        }
    }
    out
}

/// The text with its escapes decoded, once; what is no escape stays.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = if byte == b'%' { escape(tail) } else { None };
        let (value, tail) = escaped.unwrap_or((byte, tail));
        out.push(value);
        rest = tail;
    }
    Cow::Owned(out)
}

/// The same, where every `%` begins an escape.
pub(super) fn decode_strictly(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = if byte == b'%' { escape(tail)?.1 } else { tail };
    }
    Some(decode(text))
}

/// The byte that the two hexadecimal digits at the start stand for, and what follows them.
pub(super) fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let value = digits.iter().try_fold(0u8, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(u8::try_from(digit).ok()?)
    })?;
    Some((value, rest))
}

pub(super) fn push_escape(out: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte & 15));
}
