//! Where a request carries a token, and how it is taken away from there.

use crate::request::Request;

/// A place that is searched for a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A header field.
    Header(HeaderPlace),
    /// A cookie of this name (RFC 6265 section 4.2).
    Cookie(String),
    /// A query parameter of this name (RFC 6750 section 2.3).
    Param(String),
}

/// A header field and what stands before the token in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderPlace {
    name: String,
    prefix: String,
}

/// What was found in the place of a token; it may still be no token at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    /// The text.
    pub text: &'a [u8],
    /// Whether a browser may have sent it of its own accord.
    pub from_cookie: bool,
}

/// What a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// No location holds a credential.
    Nothing,
    /// One location holds one credential.
    One(Credential<'a>),
    /// More than one credential (RFC 6750 section 2), or a repeated field.
    Several,
}

impl Location {
    /// A header field, and the text before the token in it: `Bearer ` or nothing. A prefix that
    /// ends with a space is an authentication scheme (RFC 9110 section 11.1): it is compared
    /// without case, and one or more spaces may follow.
    pub fn header(name: &str, prefix: &str) -> Self {
        Self::Header(HeaderPlace { name: name.to_ascii_lowercase(), prefix: prefix.to_owned() })
    }

    /// `Authorization: Bearer …` (RFC 6750 section 2.1).
    pub fn bearer() -> Self {
        Self::header("authorization", "Bearer ")
    }

    /// The name of the header field, in lower case, where it is one of its own.
    pub fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header(place) => Some(&place.name),
            Self::Cookie(_) | Self::Param(_) => None,
        }
    }

    fn find<'a>(&self, request: &Request<'a>) -> Found<'a> {
        match self {
            Self::Header(place) => place.find(request),
            Self::Cookie(name) => {
                let values = cookies(request).filter(|(own, _)| *own == name.as_bytes());
                only(values.map(|(_, value)| Credential { text: unquoted(value), from_cookie: true }))
            }
            Self::Param(name) => {
                let values = parameters(request.target().unwrap_or_default())
                    .filter(|parameter| is_named(parameter, name))
                    .map(|parameter| Credential { text: value(parameter), from_cookie: false });
                only(values)
            }
        }
    }
}

fn only<'a>(mut credentials: impl Iterator<Item = Credential<'a>>) -> Found<'a> {
    match (credentials.next(), credentials.next()) {
        (None, _) => Found::Nothing,
        (Some(one), None) => Found::One(one),
        (Some(_), Some(_)) => Found::Several,
    }
}

impl HeaderPlace {
    /// A field that is there twice counts as several, whatever its values are: which one an upstream
    /// reads is not known (RFC 9110 section 5.3).
    fn find<'a>(&self, request: &Request<'a>) -> Found<'a> {
        let mut values = request.all(&self.name);
        let Some(value) = values.next() else { return Found::Nothing };
        if values.next().is_some() {
            return Found::Several;
        }
        // Envoy joins repeated Authorization fields with a comma, which no token holds.
        let joined = value.contains(&b',');
        let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii_start);
        if joined && parts.any(|part| self.credential(part).is_some()) {
            return Found::Several;
        }
        match self.credential(value) {
            Some(text) => Found::One(Credential { text, from_cookie: false }),
            None => Found::Nothing,
        }
    }

    /// The credential in one value of the field, if it has our prefix.
    fn credential<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let Some(scheme) = self.prefix.strip_suffix(' ') else {
            return value.strip_prefix(self.prefix.as_bytes());
        };
        let (head, rest) = value.split_at_checked(scheme.len())?;
        if !head.eq_ignore_ascii_case(scheme.as_bytes()) {
            return None;
        }
        match rest.split_first() {
            // The scheme alone: a credential is announced, and it is empty.
            None => Some(rest),
            Some((b' ', _)) => {
                let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
                rest.get(start..)
            }
            Some(_) => None,
        }
    }
}

/// Searches the locations of one provider.
pub fn find<'a>(locations: &[Location], request: &Request<'a>) -> Found<'a> {
    let mut found = Found::Nothing;
    for location in locations {
        match (location.find(request), found) {
            (Found::Nothing, _) => {}
            (one @ Found::One(_), Found::Nothing) => found = one,
            _ => return Found::Several,
        }
    }
    found
}

/// The pairs of all cookie fields, in order. HTTP/1 may bring several fields, HTTP/2 one.
fn cookies<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let pairs = request.all("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    pairs.map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(at).unwrap_or((pair, b""));
        (name.trim_ascii_end(), value.strip_prefix(b"=").unwrap_or(value).trim_ascii_start())
    })
}

/// A cookie's value may stand in quotes (RFC 6265 section 4.1.1).
fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value)
}

/// The parts of a target's query, `name=value` each.
fn parameters(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query =
        target.iter().position(|byte| *byte == b'?').and_then(|at| target.get(at..)?.strip_prefix(b"?"));
    query.into_iter().flat_map(|query| query.split(|byte| *byte == b'&'))
}

/// Whether a query's part has this name, escapes decoded: so an upstream reads it.
fn is_named(parameter: &[u8], name: &str) -> bool {
    let own = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    own == name.as_bytes() || (own.contains(&b'%') && percent_decoded(own) == name.as_bytes())
}

fn value(parameter: &[u8]) -> &[u8] {
    let at = parameter.iter().position(|byte| *byte == b'=').unwrap_or(parameter.len());
    parameter.get(at..).unwrap_or_default().strip_prefix(b"=").unwrap_or_default()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| byte == b'%');
        let decoded =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// The cookies of a request without those of these names: the new value of the one cookie field, and
/// nothing where none is left. None where the request has no such cookie.
pub fn without_cookies(request: &Request<'_>, names: &[String]) -> Option<Vec<u8>> {
    let is_ours = |own: &[u8]| names.iter().any(|name| name.as_bytes() == own);
    if names.is_empty() || !cookies(request).any(|(own, _)| is_ours(own)) {
        return None;
    }
    let mut left: Vec<u8> = Vec::new();
    let fields = request.all("cookie").flat_map(|field| field.split(|byte| *byte == b';'));
    for ((own, _), pair) in cookies(request).zip(fields) {
        let pair = pair.trim_ascii();
        if is_ours(own) || pair.is_empty() {
            continue;
        }
        if !left.is_empty() {
            left.extend(b"; ");
        }
        left.extend(pair);
    }
    Some(left)
}

/// A request target without the query parameters of these names. None where it has none of them.
pub fn without_params(target: &[u8], names: &[String]) -> Option<Vec<u8>> {
    let is_ours = |parameter: &[u8]| names.iter().any(|name| is_named(parameter, name));
    if names.is_empty() || !parameters(target).any(is_ours) {
        return None;
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let mut left = path.to_vec();
    for parameter in parameters(target).filter(|parameter| !is_ours(parameter)) {
        left.push(if left.len() == path.len() { b'?' } else { b'&' });
        left.extend(parameter);
    }
    Some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn with<T>(fields: Pairs<'_>, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        ask(&Request::new(&fields))
    }

    fn found(locations: &[Location], fields: Pairs<'_>) -> String {
        with(fields, |request| match find(locations, request) {
            Found::Nothing => "nothing".to_owned(),
            Found::One(token) => format!("one {:?}", String::from_utf8_lossy(token.text)),
            Found::Several => "several".to_owned(),
        })
    }

    #[test]
    fn a_credential_is_found_where_it_is_looked_for() {
        let locations = [Location::bearer(), Location::header("X-Token", "")];
        for (fields, expected) in [
            (&[][..], "nothing"),
            (&[("authorization", "Bearer t")], "one \"t\""),
            (&[("authorization", "bearer t")], "one \"t\""),
            (&[("authorization", "BEARER   t")], "one \"t\""),
            (&[("authorization", "Bearer t x")], "one \"t x\""),
            (&[("authorization", "Bearer")], "one \"\""),
            (&[("authorization", "Bearer ")], "one \"\""),
            (&[("authorization", "Bearer\tt")], "nothing"),
            (&[("authorization", "BearerX t")], "nothing"),
            (&[("authorization", "Basic dTpw")], "nothing"),
            (&[("authorization", "")], "nothing"),
            (&[("proxy-authorization", "Bearer t")], "nothing"),
            (&[("x-token", "t")], "one \"t\""),
            (&[("authorization", "Bearer a,Bearer b")], "several"),
            (&[("authorization", "Basic a,Bearer b")], "several"),
            (&[("authorization", "Bearer a, Basic b")], "several"),
            (&[("authorization", "Digest username=\"Bearer\", realm=\"x\"")], "nothing"),
            (&[("x-token", "a,b")], "several"),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], "several"),
            (&[("authorization", "Basic a"), ("authorization", "Bearer b")], "several"),
            (&[("authorization", "Bearer a"), ("x-token", "b")], "several"),
            (&[("authorization", "Basic a"), ("x-token", "b")], "one \"b\""),
        ] {
            assert_eq!(found(&locations, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn cookies_and_query_parameters_are_searched_by_their_whole_name() {
        let locations = [
            Location::bearer(),
            Location::Cookie("session".to_owned()),
            Location::Param("access_token".to_owned()),
        ];
        for (fields, expected) in [
            (&[("cookie", "session=t")][..], "one \"t\""),
            (&[("cookie", "a=b; session=t;c=d")], "one \"t\""),
            (&[("cookie", "session=\"t\"")], "one \"t\""),
            (&[("cookie", "session=\"t")], "one \"\\\"t\""),
            (&[("cookie", "session=")], "one \"\""),
            (&[("cookie", "session")], "one \"\""),
            (&[("cookie", "session = t")], "one \"t\""),
            (&[("cookie", "session=t=x")], "one \"t=x\""),
            (&[("cookie", "Session=t")], "nothing"),
            (&[("cookie", "xsession=t; sessionx=t")], "nothing"),
            (&[("cookie", "a=session=t")], "nothing"),
            (&[("cookie", "session=t; session=t")], "several"),
            (&[("cookie", "session=t"), ("cookie", "session=u")], "several"),
            (&[("cookie", "a=b"), ("cookie", "session=u")], "one \"u\""),
            (&[(":path", "/a?access_token=t")], "one \"t\""),
            (&[(":path", "/a?x=1&access_token=t&y=2")], "one \"t\""),
            (&[(":path", "/a?access%5Ftoken=t")], "one \"t\""),
            (&[(":path", "/a?access_token")], "one \"\""),
            (&[(":path", "/a?Access_Token=t&xaccess_token=u")], "nothing"),
            (&[(":path", "/access_token=t")], "nothing"),
            (&[(":path", "/a?access_token=t&access_token=t")], "several"),
            (&[(":path", "/a?access_token=t&access%5ftoken=u")], "several"),
            (&[(":path", "/a?access_token=t"), ("cookie", "session=t")], "several"),
            (&[(":path", "/a?access_token=t"), ("authorization", "Bearer t")], "several"),
        ] {
            assert_eq!(found(&locations, fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_token_is_taken_away_and_all_else_stays() {
        let names = ["session".to_owned(), "s2".to_owned()];
        for (fields, expected) in [
            (&[("cookie", "a=b")][..], None),
            (&[], None),
            (&[("cookie", "session=t")], Some("")),
            (&[("cookie", "a=b; session=t; c=\"d\"")], Some("a=b; c=\"d\"")),
            (&[("cookie", "a=b"), ("cookie", "session=t;c=d"), ("cookie", "s2")], Some("a=b; c=d")),
        ] {
            let left = with(fields, |request| without_cookies(request, &names));
            assert_eq!(left.as_deref(), expected.map(str::as_bytes), "{fields:?}");
        }
        let names = ["token".to_owned(), "t2".to_owned()];
        for (target, expected) in [
            ("/a", None),
            ("/a?b=c", None),
            ("/a?token=t", Some("/a")),
            ("/a?b=c&token=t&d=%2F", Some("/a?b=c&d=%2F")),
            ("/a?tok%65n=t&b", Some("/a?b")),
            ("/a?b&token&t2=?x&c", Some("/a?b&c")),
            ("/a?&token=t", Some("/a?")),
        ] {
            let left = without_params(target.as_bytes(), &names);
            assert_eq!(left.map(|left| String::from_utf8(left).unwrap()).as_deref(), expected, "{target}");
        }
    }
}
