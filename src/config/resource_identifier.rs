//! The URLs in `protected_resources`: identifiers of resources (RFC 9728 section 1.2), which clients compare exactly,
//! and of authorization servers.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::request::{Authority, canonical};
use crate::response::WELL_KNOWN;

/// The identifier of a protected resource.
pub(super) struct Identifier<'c> {
    pub(super) text: &'c str,
    /// Scheme and authority, as in `https://mcp.example.com`.
    origin: &'c str,
    /// Without a port.
    pub(super) host: String,
    /// None where it is the scheme's own.
    pub(super) port: Option<String>,
    /// Empty where the identifier ends with its authority.
    path: &'c str,
}

impl<'c> Identifier<'c> {
    /// Reads an identifier in the one form in which clients write it.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(super) fn parse(text: &'c str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(
                "is not a URL; write https://host/path, such as https://mcp.example.com/mcp".to_owned()
            );
        };
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(path_at).unwrap_or_default();
        if path.contains('#') {
            return Err("has a fragment, which no resource has (RFC 9728 section 1.2); leave \"#\" and what follows out".to_owned());
        }
        if path.contains('?') {
            return Err("has a query; name the resource by scheme, host and path alone".to_owned());
        }
        let Some(parsed) = Authority::parse(authority.as_bytes()).filter(|own| own.port() != Some("0"))
        else {
            return Err("has no valid host; write https://host/path, without a user, and letters beyond ASCII in their xn-- form".to_owned());
        };
        let host = parsed.host().to_owned();
        let usual_scheme = scheme.to_ascii_lowercase();
        match usual_scheme.as_str() {
            "https" => {}
            "http" if is_loopback(&host) => {}
            _ => {
                return Err("must begin with https:// (http:// is for loopback alone, such as http://localhost:8080/mcp)".to_owned());
            }
        }
        let port = parsed
            .port()
            .and_then(|port| port.parse::<u16>().ok())
            .filter(|port| *port != usual_port(&usual_scheme));
        let port = port.map(|port| port.to_string());
        let suffix = port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
        let usual = [&usual_scheme, "://", &usual_host(&host), &suffix, &usual_path(path)?].concat();
        if usual != text {
            return Err(format!("is not in its normal form, which clients compare; write {usual:?}"));
        }
        let origin = text.strip_suffix(path).unwrap_or(text);
        Ok(Self { text, origin, host, port, path })
    }

    /// Whether it has no path but the one that every host has.
    pub(super) fn is_host(&self) -> bool {
        matches!(self.path, "" | "/")
    }

    /// Its spellings: without a path there are two, which clients treat as the same.
    pub(super) fn spellings(&self) -> Vec<String> {
        match self.is_host() {
            true => vec![self.origin.to_owned(), [self.origin, "/"].concat()],
            false => vec![self.text.to_owned()],
        }
    }

    /// The path of its metadata document (RFC 9728 section 3.1).
    pub(super) fn document_path(&self) -> String {
        [WELL_KNOWN, if self.is_host() { "" } else { self.path }].concat()
    }

    /// The URL of its metadata document.
    pub(super) fn document_url(&self) -> String {
        [self.origin, &self.document_path()].concat()
    }

    /// Host and port, as a request has them.
    pub(super) fn authority(&self) -> String {
        match &self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// The path in the form in which requests are compared.
fn usual_path(path: &str) -> Result<String, String> {
    let is_of_url = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    match path {
        "" => Ok(String::new()),
        _ if path.contains(';') => {
            Err("has a \";\", which programs read in different ways; choose a path without one".to_owned())
        }
        _ if path.is_ascii() && !path.bytes().all(is_of_url) => {
            Err("has a character that no URL has; write its escape, such as %20 for a blank".to_owned())
        }
        _ => match canonical(path) {
            Ok(path) => Ok(path.into_owned()),
            Err(ambiguous) => {
                Err(format!("is not the path of a request: {ambiguous}; write a plain path, such as /mcp"))
            }
        },
    }
}

fn usual_host(host: &str) -> String {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match address.and_then(|address| address.parse::<Ipv6Addr>().ok()) {
        Some(address) => format!("[{address}]"),
        None => host.to_owned(),
    }
}

fn usual_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// Whether a host is this machine itself.
fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || address
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()))
}

/// Whether a text is a URL that can name an authorization server (RFC 8414 section 2), and whether that is safe.
///
/// # Errors
/// What is wrong with it.
pub(super) fn server(text: &str) -> Result<Safe, &'static str> {
    const NO_URL: &str = "is not a URL of an authorization server";
    let (scheme, rest) = text.split_once("://").ok_or(NO_URL)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let is_sound = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"\\".contains(&byte));
    let Some(parsed) = Authority::parse(authority.as_bytes()).filter(|_| is_sound) else {
        return Err(NO_URL);
    };
    match scheme {
        "https" => Ok(Safe(true)),
        "http" => Ok(Safe(is_loopback(parsed.host()))),
        _ => Err(NO_URL),
    }
}

/// Whether its answers cannot be changed in transit.
pub(super) struct Safe(pub(super) bool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_form_and_a_place_for_its_document() {
        for (text, document) in [
            ("https://mcp.example.com", "https://mcp.example.com/.well-known/oauth-protected-resource"),
            ("https://mcp.example.com/", "https://mcp.example.com/.well-known/oauth-protected-resource"),
            (
                "https://mcp.example.com/mcp",
                "https://mcp.example.com/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://mcp.example.com/mcp/",
                "https://mcp.example.com/.well-known/oauth-protected-resource/mcp/",
            ),
            ("https://a.example:8443/a/b", "https://a.example:8443/.well-known/oauth-protected-resource/a/b"),
            (
                "https://a.example/caf%C3%A9",
                "https://a.example/.well-known/oauth-protected-resource/caf%C3%A9",
            ),
            ("http://localhost:8080/x", "http://localhost:8080/.well-known/oauth-protected-resource/x"),
            ("http://127.0.0.1/x", "http://127.0.0.1/.well-known/oauth-protected-resource/x"),
            ("http://[::1]:1/x", "http://[::1]:1/.well-known/oauth-protected-resource/x"),
        ] {
            match Identifier::parse(text) {
                Ok(identifier) => assert_eq!(identifier.document_url(), document, "{text}"),
                Err(error) => panic!("{text}: {error}"),
            }
        }
        let spellings = |text| Identifier::parse(text).map(|own| own.spellings()).unwrap_or_default();
        assert_eq!(spellings("https://a"), ["https://a", "https://a/"]);
        assert_eq!(spellings("https://a/"), ["https://a", "https://a/"]);
        assert_eq!(spellings("https://a/b"), ["https://a/b"]);
    }

    #[test]
    fn every_other_form_is_refused_with_the_one_to_write() {
        for (text, expected) in [
            ("mcp.example.com", "is not a URL"),
            ("urn:a:b", "is not a URL"),
            ("http://mcp.example.com/mcp", "must begin with https://"),
            ("ftp://a/b", "must begin with https://"),
            ("https://", "has no valid host"),
            ("https:///mcp", "has no valid host"),
            ("https://user@a/b", "has no valid host"),
            ("https://a:0/b", "has no valid host"),
            ("https://a:b/b", "has no valid host"),
            ("https://é.example/", "has no valid host"),
            ("https://*.example/", "has no valid host"),
            ("https://a/b#c", "has a fragment"),
            ("https://a#c", "has a fragment"),
            ("https://a/b?c", "has a query"),
            ("https://a?c", "has a query"),
            ("HTTPS://a/b", "write \"https://a/b\""),
            ("https://A.example/b", "write \"https://a.example/b\""),
            ("https://a./b", "write \"https://a/b\""),
            ("https://a:443/b", "write \"https://a/b\""),
            ("https://a:08443/b", "write \"https://a:8443/b\""),
            ("http://localhost:80/b", "write \"http://localhost/b\""),
            ("https://[0:0:0:0:0:0:0:1]/b", "write \"https://[::1]/b\""),
            ("https://a/%61", "write \"https://a/a\""),
            ("https://a/%c3%a9", "write \"https://a/%C3%A9\""),
            ("https://a/é", "write \"https://a/%C3%A9\""),
            ("https://a/b/../c", "has a segment"),
            ("https://a/./c", "has a segment"),
            ("https://a//c", "has an empty segment"),
            ("https://a/b%2Fc", "has an escaped slash"),
            ("https://a/b;c", "has a \";\""),
            ("https://a/b c", "has a character that no URL has"),
            ("https://a/b\"c", "has a character that no URL has"),
        ] {
            match Identifier::parse(text) {
                Ok(_) => panic!("{text} passes"),
                Err(error) => assert!(error.contains(expected), "{text}: {error}"),
            }
        }
    }
}
