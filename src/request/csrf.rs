//! Whether a request whose token a browser added by itself comes from the site's own pages.

use super::Request;

/// What is asked of requests with a token in a cookie. A browser sends cookies with requests that
/// another site's page makes; what it also sends tells them apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Csrf {
    /// Other origins whose pages may send such requests, in lower case: `https://app.example`.
    pub allowed_origins: Vec<String>,
}

impl Csrf {
    /// Whether a request may use its cookie: it is safe (RFC 9110 section 9.2.1) and opens no WebSocket,
    /// it comes from the same site by `Sec-Fetch-Site`, or where a client sends none by its `Origin`, or
    /// from an allowed origin. One that says nothing of where it comes from may not.
    pub fn holds(&self, request: &Request<'_>) -> bool {
        let safe = matches!(request.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE");
        // A page of another site can open a WebSocket with a GET, and read what comes.
        if safe && request.first("upgrade").is_none() {
            return true;
        }
        let (Ok(origin), Ok(site)) = (only(request, "origin"), only(request, "sec-fetch-site")) else {
            return false;
        };
        let origin = origin.map(<[u8]>::to_ascii_lowercase);
        let listed = origin
            .as_deref()
            .is_some_and(|origin| self.allowed_origins.iter().any(|own| own.as_bytes() == origin));
        match (site, origin) {
            _ if listed => true,
            (Some(site), _) => matches!(site, b"same-origin" | b"same-site" | b"none"),
            (None, Some(origin)) => is_own(&origin, request),
            (None, None) => false,
        }
    }
}

/// The value of a field that is there at most once.
fn only<'a>(request: &Request<'a>, name: &str) -> Result<Option<&'a [u8]>, ()> {
    let mut values = request.all(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}

/// Whether an origin (RFC 6454 section 7) is the one that the request is for.
fn is_own(origin: &[u8], request: &Request<'_>) -> bool {
    let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    let authority = request.authority().unwrap_or_default();
    host.is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_cannot_use_the_cookie() {
        let csrf = Csrf { allowed_origins: vec!["https://app.example".to_owned()] };
        for (method, fields, expected) in [
            ("GET", &[][..], true),
            ("HEAD", &[("sec-fetch-site", "cross-site")], true),
            ("GET", &[("upgrade", "websocket"), ("origin", "https://evil.example")], false),
            ("GET", &[("upgrade", "websocket"), ("origin", "https://api.example")], true),
            ("POST", &[], false),
            ("get", &[], false),
            ("POST", &[("sec-fetch-site", "same-origin")], true),
            ("POST", &[("sec-fetch-site", "same-site")], true),
            ("POST", &[("sec-fetch-site", "none")], true),
            ("POST", &[("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "")], false),
            ("POST", &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], true),
            ("POST", &[("sec-fetch-site", "cross-site"), ("origin", "https://api.example")], false),
            ("POST", &[("origin", "https://api.example")], true),
            ("POST", &[("origin", "HTTPS://API.example")], true),
            ("POST", &[("origin", "https://APP.example")], true),
            ("POST", &[("origin", "https://api.example:8443")], false),
            ("POST", &[("origin", "https://api.example.evil")], false),
            ("POST", &[("origin", "null")], false),
            ("POST", &[("origin", "https://app.example"), ("origin", "https://evil.example")], false),
            ("DELETE", &[("referer", "https://api.example/")], false),
        ] {
            let mut all = vec![(":method", method), (":authority", "api.example")];
            all.extend(fields);
            let all: Vec<_> = all.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            assert_eq!(csrf.holds(&Request::new(&all)), expected, "{method} {fields:?}");
        }
    }
}
