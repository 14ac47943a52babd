//! `htu`: which URI a proof was made for (RFC 9449 section 4.3, check 9).

use std::fmt;

use crate::request::{Authority, Request, as_envoy_reads};

/// The scheme, host and port that clients send their requests to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    is_https: bool,
    /// In lower case, without a trailing dot.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads what an operator writes: scheme, host and perhaps a port.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const NO_ORIGIN: &str = "is not an origin; write scheme, host and a port that is not the usual one, as clients do: https://api.example (letters beyond ASCII in their xn-- form)";
        let (origin, rest) = Self::split(text).ok_or(NO_ORIGIN)?;
        if !rest.is_empty() {
            return Err("has a path; write scheme, host and port alone, such as https://api.example");
        }
        if !origin.is_https && !origin.is_loopback() {
            return Err(
                "is not encrypted, so that others can read tokens and proofs; write https:// (http:// is for loopback addresses)",
            );
        }
        Ok(origin)
    }

    /// The origin of an absolute URI, and what follows it. There is none where programs could disagree on it: a user
    /// part, a host that is not ASCII, a `\` behind it.
    fn split(uri: &str) -> Option<(Self, &str)> {
        let (scheme, rest) = uri.split_once("://")?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let (authority, rest) = rest.split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))?;
        // An empty port is the usual one (RFC 3986 section 6.2.3).
        let authority = Authority::parse(authority.strip_suffix(':').unwrap_or(authority).as_bytes())?;
        let port = match authority.port() {
            Some(port) => port.parse().ok()?,
            None => usual_port(is_https),
        };
        Some((Self { is_https, host: authority.host().to_owned(), port }, rest))
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether a request for this authority is one for this origin.
    fn is_of(&self, authority: &Authority<'_>) -> bool {
        let port = authority.port().map_or(Some(usual_port(self.is_https)), |port| port.parse().ok());
        self.host == authority.host() && port == Some(self.port)
    }
}

const fn usual_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_https { "https" } else { "http" }, self.host)?;
        if self.port == usual_port(self.is_https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// Whether a proof for this URI is one for this request. Query and fragment do not count. Of the origins that are
/// configured it must be the one that the request is for; a request for none of them is taken for the only one there is.
///
/// # Errors
/// What does not agree.
pub(super) fn check(htu: &str, origins: &[Origin], request: &Request<'_>) -> Result<(), &'static str> {
    let (origin, rest) = Origin::split(htu).ok_or(
        "its \"htu\" is not an absolute http or https URI with a host in ASCII form and without a user part",
    )?;
    if !is_accepted(&origin, origins, request.authority()) {
        return Err(
            "its \"htu\" is for another scheme, host or port than the origin that the request is for",
        );
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let sent = request.target().and_then(|target| target.split(|byte| *byte == b'?').next());
    let sent = sent.unwrap_or_default();
    // The same text is read in the same way.
    match path.as_bytes() == sent || as_envoy_reads(path.as_bytes()) == as_envoy_reads(sent) {
        true => Ok(()),
        false => Err("its \"htu\" is for another path than that of the request"),
    }
}

fn is_accepted(origin: &Origin, origins: &[Origin], authority: Option<&[u8]>) -> bool {
    let authority = authority.and_then(Authority::parse);
    if let Some(authority) = &authority {
        let mut named = origins.iter().filter(|own| own.is_of(authority)).peekable();
        if named.peek().is_some() {
            return named.any(|own| own == origin);
        }
        // Envoy may have taken the port away (`strip_any_host_port`).
        let alike = |own: &&Origin| authority.port().is_none() && own.host == authority.host();
        let mut alike = origins.iter().filter(alike).peekable();
        if alike.peek().is_some() {
            return alike.any(|own| own == origin);
        }
    }
    matches!(origins, [only] if only == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| Origin::parse(text).unwrap()).collect()
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for (text, shown) in [
            ("https://api.example", "https://api.example"),
            ("HTTPS://API.Example:443", "https://api.example"),
            ("https://api.example.", "https://api.example"),
            ("https://api.example:8443", "https://api.example:8443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "api.example",
            "//api.example",
            "https:api.example",
            "https://",
            "https://api.example/",
            "https://api.example/v1",
            "https://api.example?x",
            "https://api.example#x",
            "https://api.example\\",
            "https://u@api.example",
            "https://*.example",
            "https://b\u{fc}cher.example",
            "https://api.example:99999",
            "http://api.example",
            "http://128.0.0.1",
            "ftp://api.example",
            "https:///api.example",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proof_is_for_the_origin_that_the_request_is_for() {
        let one = origins(&["https://api.example"]);
        let ports = origins(&["https://api.example:8443", "https://other.example:9443"]);
        let both = origins(&["https://api.example", "https://api.example:8443"]);
        let local = origins(&["http://localhost:8080", "https://localhost:8080"]);
        for (origins, authority, htu, expected) in [
            (&one, "api.example", "https://api.example/x", true),
            (&one, "API.example:443", "HTTPS://Api.Example:0443/x", true),
            (&one, "api.example.", "https://api.example./x", true),
            // A gate behind another name has one public name.
            (&one, "orders.internal:8080", "https://api.example/x", true),
            (&one, "orders.internal", "https://orders.internal/x", false),
            (&one, "", "https://api.example/x", true),
            (&one, "api.example", "http://api.example/x", false),
            (&one, "api.example", "https://api.example:8443/x", false),
            (&one, "api.example", "https://api.example.evil.example/x", false),
            (&both, "api.example", "https://api.example/x", true),
            (&both, "api.example", "https://api.example:8443/x", false),
            (&both, "api.example:8443", "https://api.example:8443/x", true),
            (&both, "api.example:8443", "https://api.example/x", false),
            (&both, "elsewhere.example", "https://api.example/x", false),
            (&ports, "api.example", "https://api.example:8443/x", true),
            (&ports, "api.example", "https://other.example:9443/x", false),
            (&ports, "api.example:443", "https://api.example:8443/x", false),
            (&ports, "third.example", "https://api.example:8443/x", false),
            (&local, "localhost:8080", "http://localhost:8080/x", true),
            (&local, "localhost:8080", "https://localhost:8080/x", true),
            (&local, "localhost:8080", "http://127.0.0.1:8080/x", false),
        ] {
            let mut fields: Vec<(&[u8], &[u8])> = vec![(b":method", b"GET"), (b":path", b"/x?y=1")];
            if !authority.is_empty() {
                fields.push((b":authority", authority.as_bytes()));
            }
            let found = check(htu, origins, &Request::new(&fields));
            assert_eq!(found.is_ok(), expected, "{htu} for {authority:?}: {found:?}");
        }
    }

    #[test]
    fn a_uri_that_programs_could_read_otherwise_is_for_no_request() {
        let origins = origins(&["https://api.example"]);
        let fields: [(&[u8], &[u8]); 2] = [(b":authority", b"api.example"), (b":path", b"/x")];
        let found = |htu: &str| check(htu, &origins, &Request::new(&fields)).is_ok();
        for htu in ["https://api.example/x", "https://api.example/x?a#b", "https://api.example:/x#y/../z"] {
            assert!(found(htu), "{htu}");
        }
        for htu in [
            "",
            "/x",
            "//api.example/x",
            "api.example/x",
            "https:/api.example/x",
            "https:\\\\api.example/x",
            "https://api.example\\x",
            "https://api.example\\/x",
            "https://api.example\\@evil.example/x",
            "https://evil.example\\@api.example/x",
            "https://u@api.example/x",
            "https://u:p@api.example/x",
            "https://api.example@evil.example/x",
            "https://api%2Eexample/x",
            "https://api.example%00/x",
            "https://api.example /x",
            " https://api.example/x",
            "https://api.example/x ",
            "https://api.example/x\u{0}",
            "https://api.example/X",
            "https://api.example/x/",
            "https://api.example/",
            "https://api.example",
            "https://api.example?/x",
            "https://api.example#/x",
            "https://api.example/x%2F",
            "https://api.example/x;a",
            "https://\u{ff41}pi.example/x",
            "https://api\u{3002}example/x",
        ] {
            assert!(!found(htu), "{htu}");
        }
    }
}
