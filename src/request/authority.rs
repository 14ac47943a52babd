//! The readings of an authority: which host and port a request is for.

use std::borrow::Cow;

/// An authority that has a meaning: `host[:port]` (RFC 9110 section 7.2), without a user part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority<'r> {
    host: Cow<'r, str>,
    port: Option<&'r str>,
    ends_with_dot: bool,
}

impl<'r> Authority<'r> {
    /// Reads an authority. There is none where it is not a host of letters, digits, `.`, `-` and `_`, or an
    /// address in brackets, with or without a port: programs do not agree on what anything else means.
    pub fn parse(authority: &'r [u8]) -> Option<Self> {
        let text = std::str::from_utf8(authority).ok()?;
        let address = text.starts_with('[').then(|| text.find(']')).flatten();
        let end = match address {
            Some(end) => end.checked_add(1)?,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, rest) = text.split_at_checked(end)?;
        let port = match rest.strip_prefix(':') {
            Some(port) if is_port(port) => Some(port),
            None if rest.is_empty() => None,
            _ => return None,
        };
        let host = if address.is_some() { name } else { name.strip_suffix('.').unwrap_or(name) };
        let sound = if address.is_some() { is_address(name) } else { is_name(host) };
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        sound.then_some(Self { host, port, ends_with_dot: address.is_none() && name.ends_with('.') })
    }

    /// The host in lower case, without a trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port as it is written.
    pub fn port(&self) -> Option<&'r str> {
        self.port
    }

    /// Whether the host ends with a dot, so that some programs take it for another one.
    pub fn ends_with_dot(&self) -> bool {
        self.ends_with_dot
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && !text.starts_with('.') && !text.ends_with('.') && text.bytes().all(known)
}

fn is_address(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default();
    !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (authority, host, port, dot) in [
            ("api.example", "api.example", None, false),
            ("API.Example", "api.example", None, false),
            ("api.example:443", "api.example", Some("443"), false),
            ("api.example.", "api.example", None, true),
            ("API.example.:443", "api.example", Some("443"), true),
            ("[::1]:443", "[::1]", Some("443"), false),
            ("[2001:DB8::1]", "[2001:db8::1]", None, false),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]", Some("80"), false),
            ("127.0.0.1:80", "127.0.0.1", Some("80"), false),
            ("a_b-c.example", "a_b-c.example", None, false),
            ("x", "x", None, false),
        ] {
            let expected = Authority { host: Cow::Borrowed(host), port, ends_with_dot: dot };
            assert_eq!(Authority::parse(authority.as_bytes()), Some(expected), "{authority}");
        }
    }

    #[test]
    fn what_programs_read_in_different_ways_is_no_authority() {
        for authority in [
            "",
            ".",
            "..",
            ":80",
            "api.example:",
            "api.example:x",
            "api.example:80x",
            "api.example:+80",
            "api.example:65536",
            "api.example:999999999999",
            "api.example:80:90",
            "api.example:80.",
            "api.example..",
            ".api.example",
            "user@api.example",
            "user:pw@api.example",
            "api.example/x",
            "api.example?x",
            "api.example#x",
            "api.example\\x",
            "api.example,evil.example",
            "api.example evil",
            " api.example",
            "api%2eexample",
            "\u{e4}.example",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[::1].",
            "[::1%25eth0]",
            "[x]",
            "*",
        ] {
            assert_eq!(Authority::parse(authority.as_bytes()), None, "{authority}");
        }
        assert_eq!(Authority::parse(b"api.example\xff"), None);
    }
}
