//! The one form in which paths are compared, and the paths that have none.
//!
//! A path that this gate, Envoy and the upstream could read in different ways is a way around the
//! rules. Such a path is refused; every other has one canonical form: escapes of unreserved
//! characters decoded (RFC 3986 section 6.2.2.2), all others in upper case, the parameters of a
//! segment (`;a=b`) cut off.

use std::borrow::Cow;
use std::fmt;

use super::host::host_name;

/// Nobody escapes a path more often; and each time costs as much as the path is long.
const MOST_ESCAPED: usize = 8;

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
    let path = without_query(target);
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

/// The request target without its query.
pub(super) fn without_query(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The canonical form of the path that an ambiguous one comes to for every hop that resolves it: escaped
/// slashes and backslashes are slashes, however often they are escaped; empty segments, `.`, `..` and the
/// parameters of segments are gone. An absolute target is read where it names `host`.
///
/// There is none where two orders of these steps come to two paths, or where a part of the path has no
/// meaning at all.
pub fn resolved(target: &[u8], host: Option<&str>) -> Option<String> {
    let path = without_query(target);
    let path = if path.first() == Some(&b'/') { path } else { path_of_absolute(path, host)? };
    let form = resolve(path)?;
    // Before or after escapes are decoded: where the parameters of a segment end must not depend on it.
    if path.contains(&b';') && resolve(&without_parameters(path))? != form {
        return None;
    }
    (canonical(form.as_bytes()).as_deref() == Ok(&*form)).then_some(form)
}

/// What some hop may take a path for that has no resolved form, as canonical paths. They are not all that
/// it could be taken for.
pub fn guesses(target: &[u8]) -> Vec<String> {
    let path = without_query(target);
    let path = split_absolute(path).map_or(path, |(_, path)| path);
    let mut decoded = path.to_vec();
    for _ in 0..MOST_ESCAPED {
        let again = decode(&decoded);
        if again.len() == decoded.len() {
            break;
        }
        decoded = again;
    }
    let special = |byte: &u8| dangerous(*byte) && !matches!(byte, b'/' | b'\\');
    let end = decoded.iter().position(special).unwrap_or(decoded.len());
    let cut = decoded.get(..end).unwrap_or_default();
    let mut guesses = Vec::new();
    for bytes in [&decoded, cut] {
        let mut text = String::new();
        if !bytes.first().is_some_and(|byte| matches!(byte, b'/' | b'\\')) {
            text.push('/');
        }
        for byte in bytes {
            match byte {
                b'\\' => text.push('/'),
                byte => push(&mut text, *byte, !(0x21..=0x7e).contains(byte) || b"%?#".contains(byte)),
            }
        }
        for merge_first in [true, false] {
            let guess = remove_dots(&text, merge_first);
            if !guesses.contains(&guess) {
                guesses.push(guess);
            }
        }
    }
    guesses
}

/// A path in which everything is decoded and resolved that can be.
fn resolve(path: &[u8]) -> Option<String> {
    let mut text = path.to_vec();
    for _ in 0..MOST_ESCAPED {
        let (form, decoded) = decode_slashes(&text)?;
        if !dangerous_again(decoded) {
            let form_merged = remove_dots(&form, true);
            return (form_merged == remove_dots(&form, false)).then_some(form_merged);
        }
        text = form.replace("%25", "%").into_bytes();
    }
    None
}

/// The path with all slashes bare and its other escapes in their one form, and what it says when every
/// escape is decoded.
fn decode_slashes(path: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut out = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        let (value, tail) = match byte {
            b'%' => escape(tail)?,
            b'#' | b'?' | 0..=b' ' | 0x7f => return None,
            _ => (byte, tail),
        };
        rest = tail;
        let value = if value == b'\\' { b'/' } else { value };
        decoded.push(value);
        match value {
            b'/' => out.push('/'),
            _ if dangerous(value) => return None,
            _ => push(&mut out, value, byte == b'%'),
        }
    }
    std::str::from_utf8(&decoded).ok()?;
    Some((out, decoded))
}

/// A path of bare slashes without parameters, empty segments, `.` and `..`. Where empty segments go last,
/// `..` takes one of them away.
fn remove_dots(path: &str, merge_first: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in path.split('/').skip(1) {
        let bare = segment.split(';').next().unwrap_or_default();
        let dots = bare.split("%3B").next().unwrap_or_default();
        open = true;
        match dots {
            "." => {}
            ".." => drop(kept.pop()),
            _ if bare.is_empty() && merge_first => {}
            _ => {
                open = bare.is_empty();
                kept.push(bare);
            }
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept.into_iter().filter(|segment| !segment.is_empty()) {
        out.push('/');
        out.push_str(segment);
    }
    if open || out.is_empty() {
        out.push('/');
    }
    out
}

/// The path without what stands between a `;` and the slash behind it.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let mut out = path.to_vec();
    out.retain(|byte| {
        inside = match byte {
            b';' => true,
            b'/' | b'\\' => false,
            _ => inside,
        };
        !inside
    });
    out
}

/// The path of an absolute target that is for this host.
fn path_of_absolute<'t>(target: &'t [u8], host: Option<&str>) -> Option<&'t [u8]> {
    let (authority, path) = split_absolute(target)?;
    (host_name(authority)? == host?).then_some(if path.is_empty() { b"/" } else { path })
}

/// Authority and path of an absolute target (RFC 9112 section 3.2.2).
fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://").or_else(|| after(b"https://"))?;
    let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
    rest.split_at_checked(end)
}

/// The text that a piece of a canonical path stands for.
pub(super) fn text_of(piece: &str) -> Option<Cow<'_, str>> {
    if piece.contains('%') {
        String::from_utf8(decode(piece.as_bytes())).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(piece))
    }
}

/// The text with its escapes decoded, once; what is no escape stays.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = if byte == b'%' { escape(tail) } else { None };
        let (value, tail) = escaped.unwrap_or((byte, tail));
        out.push(value);
        rest = tail;
    }
    out
}

/// Adds a byte of a path: as it is, where it needs no escape, or was bare and is ASCII.
fn push(out: &mut String, value: u8, escaped: bool) {
    let unreserved = value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~');
    if unreserved || (!escaped && value.is_ascii()) {
        out.push(char::from(value));
    } else {
        out.push('%');
        out.push(hex_digit(value >> 4));
        out.push(hex_digit(value & 15));
    }
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
        push(&mut out, value, escaped);
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
    for _ in 0..MOST_ESCAPED {
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
    fn an_ambiguous_path_has_the_form_that_every_hop_resolves_it_to() {
        for (target, expected) in [
            ("/a/../b", Some("/b")),
            ("/a/./b", Some("/a/b")),
            ("/a/..", Some("/")),
            ("/a/.", Some("/a/")),
            ("/../../a", Some("/a")),
            ("/a/b/..", Some("/a/")),
            ("//a", Some("/a")),
            ("/a//b//", Some("/a/b/")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a%2f..%2Fb", Some("/b")),
            ("/a\\b%5Cc", Some("/a/b/c")),
            ("/a/..;x=1/b", Some("/b")),
            ("/a/..%3Bx/b", Some("/b")),
            ("/a/;x/b", Some("/a/b")),
            ("/a/%252e%252e/b", Some("/b")),
            ("/a%25252Fb", Some("/a/b")),
            ("/a%25%32%46b", Some("/a/b")),
            ("/a/../b?x=/../c", Some("/b")),
            ("/a/../b%c3%a9%20", Some("/b%C3%A9%20")),
            ("/a/../%2541", Some("/%2541")),
            ("/a/..;/%253B", Some("/%253B")),
            ("http://h/a", Some("/a")),
            ("HTTPS://H:443", Some("/")),
            ("https://h/a/../b", Some("/b")),
            // Unambiguous ones stay what they are.
            ("/a;x/b", Some("/a/b")),
            ("/%61", Some("/a")),
            // Two orders, two paths.
            ("/a//../b", None),
            ("/a/;x/../b", None),
            ("/a;x%2F..%2Fb", None),
            // No meaning.
            ("", None),
            ("*", None),
            ("a/../b", None),
            ("http://other/a", None),
            ("http://u@h/a", None),
            ("ftp://h/a", None),
            ("/a#b", None),
            ("/a%23b", None),
            ("/a%3Fb", None),
            ("/a%253Fb", None),
            ("/a%00", None),
            ("/a%2500", None),
            ("/a b", None),
            ("/a/../%zz", None),
            ("/a/../%", None),
            ("/a/../%ff", None),
            ("/a/../%c0%af", None),
        ] {
            let form = resolved(target.as_bytes(), Some("h"));
            assert_eq!(form.as_deref(), expected, "{target}");
        }
        assert_eq!(resolved(b"http://h/a", None), None);
    }

    #[test]
    fn what_has_no_form_is_guessed_at() {
        for (target, expected) in [
            ("/admin#/public/", "/admin"),
            ("/public/%23/../admin/x", "/public/"),
            ("/public/%23/../admin/x", "/public/admin/x"),
            ("/x/%zz/../../admin", "/admin"),
            ("/public/%00/../../admin", "/admin"),
            ("/admin%3Fx", "/admin"),
            ("admin", "/admin"),
            ("http://other/admin?x", "/admin"),
            ("/admin//../x", "/admin/x"),
            ("/%25%32%66admin/\\xff", "/admin/%FF"),
        ] {
            let target = target.replace("\\xff", "%ff");
            assert!(guesses(target.as_bytes()).iter().any(|guess| guess == expected), "{target}");
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
