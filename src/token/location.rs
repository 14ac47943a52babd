//! Where a request carries a token.

use std::fmt;

use crate::request::{Request, cookies, could_be_blank, query};

/// A place that is searched for a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A header field.
    Header(HeaderLocation),
    /// A cookie of this name (RFC 6265 section 4.2).
    Cookie(String),
    /// A query parameter of this name (RFC 6750 section 2.3).
    Param(String),
}

/// A header field and what comes before the token in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderLocation {
    name: String,
    prefix: String,
}

/// What was found in the place of a token; it may still be no token at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    /// The text.
    pub text: &'a [u8],
    /// What presenting it proves.
    pub scheme: Scheme,
    /// The kind of place where it was.
    pub source: CredentialSource,
}

/// How a credential is presented (RFC 9110 section 11.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// By itself (RFC 6750 section 1.2): whoever has it may use it.
    Bearer,
}

/// The kind of place where a credential was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialSource {
    /// A header field of its own.
    Header,
    /// A cookie, which a browser may have sent of its own accord.
    Cookie,
    /// A query parameter.
    Parameter,
}

/// What a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// No location holds a credential.
    Nothing,
    /// One location holds one credential.
    One(Credential<'a>),
    /// One location holds what some server may take for a credential, and what is none: the scheme and something
    /// else than a blank, such as a tab.
    Malformed,
    /// More than one credential (RFC 6750 section 2), or a repeated field.
    Several,
}

impl<'a> Credential<'a> {
    fn bearer(text: &'a [u8], source: CredentialSource) -> Self {
        Self { text, scheme: Scheme::Bearer, source }
    }
}

/// Names the place as the operator does.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(HeaderLocation { name, prefix }) if prefix.is_empty() => {
                write!(f, "header {name:?}")
            }
            Self::Header(HeaderLocation { name, prefix }) => write!(f, "header {name:?} with {prefix:?}"),
            Self::Cookie(name) => write!(f, "cookie {name:?}"),
            Self::Param(name) => write!(f, "query parameter {name:?}"),
        }
    }
}

impl Location {
    /// A header field, and the text before the token in it: `Bearer ` or nothing. A prefix that
    /// ends with a space is an authentication scheme (RFC 9110 section 11.1): it is compared
    /// without case, and one or more spaces may follow.
    pub fn header(name: &str, prefix: &str) -> Self {
        Self::Header(HeaderLocation { name: name.to_ascii_lowercase(), prefix: prefix.to_owned() })
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
                let values = cookies::pairs(request).filter(|(own, _)| *own == name.as_bytes());
                only(values.map(|(_, text)| Credential::bearer(text, CredentialSource::Cookie)))
            }
            Self::Param(name) => {
                let values = query::parameters(request.target().unwrap_or_default())
                    .filter(|parameter| query::is_named(parameter, name))
                    .map(|parameter| {
                        Credential::bearer(query::value(parameter), CredentialSource::Parameter)
                    });
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

impl HeaderLocation {
    /// The name of the field, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

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
            Some(text) => Found::One(Credential::bearer(text, CredentialSource::Header)),
            None if self.is_announced(value) => Found::Malformed,
            None => Found::Nothing,
        }
    }

    /// The credential in one value of the field, if it has our prefix.
    fn credential<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let Some(scheme) = self.prefix.strip_suffix(' ') else {
            let rest = value.strip_prefix(self.prefix.as_bytes())?;
            // A scheme that was written without its blank takes the blank along.
            let blanks = rest.iter().take_while(|byte| **byte == b' ' && !self.prefix.is_empty()).count();
            return rest.get(blanks..);
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

    /// Whether a value that has not our prefix has its word somewhere, and then what some server takes for a blank:
    /// `Bearer` and a tab, or `Basic x Bearer y`.
    fn is_announced(&self, value: &[u8]) -> bool {
        self.words_in(value).any(|after| after.first().is_some_and(|byte| could_be_blank(*byte)))
    }

    /// Whether a value is a credential of another scheme, in which nobody could find one of ours: a scheme (RFC 9110
    /// section 11.1), a blank, something else, and our prefix's word nowhere.
    pub fn is_of_another_scheme(&self, value: &[u8]) -> bool {
        // Nearly every field is our own.
        if self.credential(value).is_some() {
            return false;
        }
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let (scheme, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        !self.word().is_empty()
            && !scheme.is_empty()
            && scheme.iter().all(|byte| is_token_byte(*byte))
            && !rest.trim_ascii().is_empty()
            && self.words_in(value).next().is_none()
    }

    /// The prefix without blanks at its end.
    fn word(&self) -> &[u8] {
        self.prefix.as_bytes().trim_ascii_end()
    }

    /// What follows the prefix's word, in any case, wherever it stands in a value as a word of its own.
    fn words_in<'a>(&self, value: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let word = self.word();
        let starts = (0..value.len()).filter(move |_| !word.is_empty());
        starts.filter_map(move |at| {
            let (before, rest) = value.split_at_checked(at)?;
            let (head, after) = rest.split_at_checked(word.len())?;
            // Two letters or digits in a row are of one word.
            let one_word = |ends: [Option<&u8>; 2]| {
                ends.into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
            };
            (head.eq_ignore_ascii_case(word)
                && !one_word([before.last(), head.first()])
                && !one_word([head.last(), after.first()]))
            .then_some(after)
        })
    }
}

/// A byte of a token (RFC 9110 section 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Names all locations, for the operator.
pub fn listed(locations: &[Location]) -> String {
    let names: Vec<_> = locations.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Names the locations in which something was found, for the operator.
pub fn occupied(locations: &[Location], request: &Request<'_>) -> String {
    let name = |location: &Location| match location.find(request) {
        Found::Nothing => None,
        Found::One(_) | Found::Malformed => Some(location.to_string()),
        Found::Several => Some(format!("{location}, more than once")),
    };
    let names: Vec<_> = locations.iter().filter_map(name).collect();
    names.join("; ")
}

/// Searches the locations of one provider.
pub fn find<'a>(locations: &[Location], request: &Request<'a>) -> Found<'a> {
    let mut found = Found::Nothing;
    for location in locations {
        match (location.find(request), found) {
            (Found::Nothing, _) => {}
            (one @ (Found::One(_) | Found::Malformed), Found::Nothing) => found = one,
            _ => return Found::Several,
        }
    }
    found
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
            Found::Malformed => "malformed".to_owned(),
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
            (&[("authorization", "Bearer\tt")], "malformed"),
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
    fn what_some_server_takes_for_the_scheme_is_no_other_scheme() {
        let bearer = [Location::bearer()];
        for value in [
            "Bearer\tt",
            "bearer\tt",
            "Bearer\t",
            "Bearer\u{a0}t",
            "Bearer\u{85}t",
            "Bearer\u{2003}t",
            "Bearer\u{3000}t",
            "Bearer\u{b}t",
            "Bearer\u{c}t",
            "Bearer\u{1f}t",
            "\u{a0}Bearer t",
            "\tBearer t",
            "\"Bearer t\"",
            "'Bearer t'",
            "Basic dTpw Bearer t",
            "Basic dTpw;Bearer t",
            "Basic Bearer\tt",
            "Token=Bearer t",
            "=Bearer t",
            "Basic a\tBEARER b",
        ] {
            assert_eq!(found(&bearer, &[("authorization", value)]), "malformed", "{value:?}");
        }
        for (value, stays) in [
            ("Basic dTpw", true),
            ("basic dTpw", true),
            ("Basic  dTpw", true),
            ("Negotiate YII=", true),
            ("Token t", true),
            ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;x-amz-date, Signature=c", true),
            ("Digest username=\"a\", realm=\"b\"", true),
            ("BearerX t", true),
            ("DPoP t", true),
            ("Digest username=\"Bearer\", realm=\"x\"", false),
            ("", false),
            ("Basic", false),
            ("Basic ", false),
            ("a.b.c", false),
            ("Basic\tdTpw", false),
            ("Bearer:t", false),
            ("Bearer=t", false),
            ("Bearer\"t\"", false),
            ("Basic dTpw/bearer", false),
            ("B\u{e9}sic t", false),
            (" t", false),
        ] {
            assert_eq!(found(&bearer, &[("authorization", value)]), "nothing", "{value:?}");
            let [Location::Header(place)] = &bearer else { panic!("a header") };
            assert_eq!(place.is_of_another_scheme(value.as_bytes()), stays, "{value:?}");
        }
        // A header that is for tokens alone, and one with a prefix that is no scheme.
        let Location::Header(plain) = Location::header("x-token", "") else { panic!("a header") };
        assert!(!plain.is_of_another_scheme(b"Basic dTpw"));
        let Location::Header(prefixed) = Location::header("x-token", "token=") else { panic!("a header") };
        assert!(prefixed.is_of_another_scheme(b"Basic dTpw"));
        assert!(!prefixed.is_of_another_scheme(b"Basic TOKEN=x"));
    }
}
