//! Hosts, in the one form in which they are compared.

use std::borrow::Cow;

use crate::request::Request;

/// A condition on the host that a request is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostMatch {
    /// It is this one.
    Exact(String),
    /// It ends with this text, which begins with a dot, and is longer: `*.example.com`.
    Under(String),
}

impl HostMatch {
    pub(super) fn holds(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => host == own,
            Self::Under(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

/// The host that a request is for: in lower case, without port and trailing dot.
pub fn host_of<'r>(request: &Request<'r>) -> Option<Cow<'r, str>> {
    host_name(request.first(":authority")?)
}

/// The host of an authority: in lower case, without port and trailing dot.
pub(super) fn host_name(authority: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(authority).ok()?;
    // A dot behind the port is no host name's, and yet some hop drops it.
    let text = text.strip_suffix('.').unwrap_or(text);
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !open_bracket(host) => host,
        _ => text,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    Some(if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// Whether what follows is inside of an IPv6 address.
fn open_bracket(text: &str) -> bool {
    text.starts_with('[') && !text.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_form() {
        for (authority, expected) in [
            ("api.example", "api.example"),
            ("API.Example", "api.example"),
            ("api.example:443", "api.example"),
            ("api.example:", "api.example"),
            ("api.example.", "api.example"),
            ("API.example.:443", "api.example"),
            ("API.example:443.", "api.example"),
            ("[::1]:443", "[::1]"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("user@api.example", "user@api.example"),
            ("", ""),
        ] {
            assert_eq!(host_name(authority.as_bytes()).as_deref(), Some(expected), "{authority}");
        }
        assert_eq!(host_name(b"\xff"), None);
    }

    #[test]
    fn a_wildcard_takes_at_least_one_label() {
        let under = HostMatch::Under(".example.com".to_owned());
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("aexample.com", false),
            ("a.example.com.evil.com", false),
        ] {
            assert_eq!(under.holds(host), expected, "{host}");
        }
    }
}
