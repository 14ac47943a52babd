//! The one form in which paths are compared, and the paths that have none.
//!
//! A path that this gate, Envoy and the upstream could read in different ways is a way around the
//! rules. Such a path is refused; every other has one canonical form: escapes of unreserved
//! characters decoded (RFC 3986 section 6.2.2.2), all others in upper case, the parameters of a
//! segment (`;a=b`) cut off.

use std::borrow::Cow;
use std::fmt;

/// Why a path could be read in more than one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ambiguous {
    /// It does not start with `/`
    NotAbsolute,
    /// `//`, or a segment of parameters alone
    EmptySegment,
    /// `.` or `..`, also escaped or with parameters
    DotSegment,
    /// `\`, a blank, a control character or `#`
    BadCharacter,
    /// `%` without two hexadecimal digits
    BadEscape,
    /// An escape that another hop could decode into something else: of `/`, `\`, NUL, `?`, `#`, a
    /// control character, or of `%` before one of these
    DangerousEscape,
    /// Not UTF-8
    BadUtf8,
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "it does not start with \"/\"",
            Self::EmptySegment => "it has an empty segment (\"//\")",
            Self::DotSegment => "it has a segment \".\" or \"..\"",
            Self::BadCharacter => "it has a backslash, a blank, a control character or a \"#\"",
            Self::BadEscape => "it has a \"%\" without two hexadecimal digits",
            Self::DangerousEscape => {
                "it has an escaped slash, backslash, \"?\", \"#\", control character, or a doubly escaped one"
            }
            Self::BadUtf8 => "it is not UTF-8",
        })
    }
}

/// The canonical form of a request target's path, its query cut off.
///
/// # Errors
/// Why the path could be read in more than one way.
pub fn canonical(target: &[u8]) -> Result<Cow<'_, str>, Ambiguous> {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if path.first() != Some(&b'/') {
        return Err(Ambiguous::NotAbsolute);
    }
    let plain = path.iter().all(
        |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'/' | b'.'),
    );
    let path = match std::str::from_utf8(path) {
        Ok(path) if plain => Cow::Borrowed(path),
        _ => Cow::Owned(unescape(path)?),
    };
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => return Err(Ambiguous::DotSegment),
            "" if segments.peek().is_some() => return Err(Ambiguous::EmptySegment),
            _ => {}
        }
    }
    Ok(path)
}

/// The path with its escapes in their one form and without segment parameters.
fn unescape(path: &[u8]) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    // What the path says when every escape is decoded: must be UTF-8, which overlong forms are not.
    let mut decoded = Vec::with_capacity(path.len());
    let mut in_parameters = false;
    let mut had_parameters = false;
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let (value, escaped) = match byte {
            b'%' => {
                let (value, tail) = escape(tail).ok_or(Ambiguous::BadEscape)?;
                if dangerous(value) {
                    return Err(Ambiguous::DangerousEscape);
                }
                rest = tail;
                (value, true)
            }
            b'\\' | b'#' | 0..=b' ' | 0x7f => return Err(Ambiguous::BadCharacter),
            _ => (byte, false),
        };
        decoded.push(value);
        match (value, escaped) {
            (b'/', _) => {
                if had_parameters && out.ends_with('/') {
                    return Err(Ambiguous::EmptySegment);
                }
                (in_parameters, had_parameters) = (false, false);
            }
            (b';', false) => (in_parameters, had_parameters) = (true, true),
            // A hop that decodes it and then cuts parameters off is left with the dots.
            (b';', true) if !in_parameters && (out.ends_with("/.") || out.ends_with("/..")) => {
                return Err(Ambiguous::DotSegment);
            }
            _ => {}
        }
        if in_parameters {
            continue;
        }
        let unreserved = value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~');
        if unreserved || (!escaped && value.is_ascii()) {
            out.push(char::from(value));
        } else {
            out.push('%');
            out.push(hex_digit(value >> 4));
            out.push(hex_digit(value & 15));
        }
    }
    if had_parameters && out.ends_with('/') {
        return Err(Ambiguous::EmptySegment);
    }
    if std::str::from_utf8(&decoded).is_err() {
        return Err(Ambiguous::BadUtf8);
    }
    if dangerous_again(decoded) { Err(Ambiguous::DangerousEscape) } else { Ok(out) }
}

/// The byte that the two hexadecimal digits at the start stand for, and what follows them.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, rest) = text.split_at_checked(2)?;
    let value = digits.iter().try_fold(0u8, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        value.checked_mul(16)?.checked_add(u8::try_from(digit).ok()?)
    })?;
    Some((value, rest))
}

/// Whether an escape of `value` could become another path when a hop decodes it.
fn dangerous(value: u8) -> bool {
    matches!(value, b'/' | b'\\' | b'?' | b'#' | 0..=0x1f | 0x7f)
}

/// Whether a path that was decoded once could become another path when a hop decodes it again. What
/// counts is the decoded text: the digits of an escape can be escaped themselves (`%25%32%46`).
fn dangerous_again(mut path: Vec<u8>) -> bool {
    /// Nobody escapes this often; and each time costs as much as the path is long.
    const MOST: usize = 8;
    for _ in 0..MOST {
        let mut again = Vec::with_capacity(path.len());
        let mut rest = path.as_slice();
        while let Some((&byte, tail)) = rest.split_first() {
            let escaped = if byte == b'%' { escape(tail) } else { None };
            if escaped.is_some_and(|(value, _)| dangerous(value) || value == b'.') {
                return true;
            }
            let (value, tail) = escaped.unwrap_or((byte, tail));
            again.push(value);
            rest = tail;
        }
        if again.len() == path.len() {
            return false;
        }
        path = again;
    }
    true
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_form() {
        for (target, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a?x=/../%2F", "/a"),
            ("/%61dmin", "/admin"),
            ("/%41%2D%2e%5f%7E", "/A-._~"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/a%3bb", "/a%3Bb"),
            ("/é", "/%C3%A9"),
            ("/admin;a=b/x", "/admin/x"),
            ("/a;x", "/a"),
            ("/a;x=%2e%2e/b", "/a/b"),
            ("/a.b/..c/...", "/a.b/..c/..."),
            ("/100%25", "/100%25"),
            ("/a%2541", "/a%2541"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
        ] {
            assert_eq!(canonical(target.as_bytes()).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn a_path_that_could_mean_two_things_is_refused() {
        use Ambiguous::*;
        for (target, expected) in [
            (&b""[..], NotAbsolute),
            (b"*", NotAbsolute),
            (b"a", NotAbsolute),
            (b"?a", NotAbsolute),
            (b"http://h/a", NotAbsolute),
            (b"//a", EmptySegment),
            (b"/a//b", EmptySegment),
            (b"/a//", EmptySegment),
            (b"/a/;x/b", EmptySegment),
            (b"/a/;", EmptySegment),
            (b"/.", DotSegment),
            (b"/a/..", DotSegment),
            (b"/a/../b", DotSegment),
            (b"/a/./b", DotSegment),
            (b"/a/%2e%2e/b", DotSegment),
            (b"/a/.%2E/b", DotSegment),
            (b"/a/..;/b", DotSegment),
            (b"/a/.;x=1", DotSegment),
            (b"/a/..%3b/b", DotSegment),
            (b"/a/%2e%3Bx/b", DotSegment),
            (b"/a\\b", BadCharacter),
            (b"/a b", BadCharacter),
            (b"/a\tb", BadCharacter),
            (b"/a\x7fb", BadCharacter),
            (b"/a#b", BadCharacter),
            (b"/a%", BadEscape),
            (b"/a%2", BadEscape),
            (b"/a%zz", BadEscape),
            (b"/a%+1", BadEscape),
            (b"/a%2Fb", DangerousEscape),
            (b"/a%2fb", DangerousEscape),
            (b"/a%5Cb", DangerousEscape),
            (b"/a%00b", DangerousEscape),
            (b"/a%09b", DangerousEscape),
            (b"/a%3Fb", DangerousEscape),
            (b"/a%23b", DangerousEscape),
            (b"/a%252e%252e/b", DangerousEscape),
            (b"/a%252Fb", DangerousEscape),
            (b"/a%25252Fb", DangerousEscape),
            (b"/a%255cb", DangerousEscape),
            (b"/a%2500b", DangerousEscape),
            (b"/a%25%32%46b", DangerousEscape),
            (b"/a%252%46b", DangerousEscape),
            (b"/a%25%32%65%252e/b", DangerousEscape),
            (b"/a%25%32%35%32%46b", DangerousEscape),
            (b"/a;%25%32%46/b", DangerousEscape),
            (b"/a;%2F/b", DangerousEscape),
            (b"/a\xff", BadUtf8),
            (b"/%c0%af", BadUtf8),
            (b"/%ff", BadUtf8),
            (b"/%ed%a0%80", BadUtf8),
        ] {
            assert_eq!(canonical(target), Err(expected), "{}", String::from_utf8_lossy(target));
        }
    }
}
