//! Where a request carries a token.

use std::fmt;

use super::credential::{Credential, CredentialSource, Found};
use super::header_location::HeaderLocation;
use super::subprotocols::{SUBPROTOCOLS, Subprotocols};
use crate::request::{Request, cookies, query};

/// A place that is searched for a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// A header field.
    Header(HeaderLocation),
    /// The list of the subprotocols of a WebSocket.
    Subprotocols(Subprotocols),
    /// A cookie of this name (RFC 6265 section 4.2).
    Cookie(String),
    /// A query parameter of this name (RFC 6750 section 2.3).
    Param(String),
}

/// Names the place as the operator does.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(place) => place.fmt(f),
            Self::Subprotocols(place) => place.fmt(f),
            Self::Cookie(name) => write!(f, "cookie {name:?}"),
            Self::Param(name) => write!(f, "query parameter {name:?}"),
        }
    }
}

impl Location {
    /// `Authorization: Bearer …` (RFC 6750 section 2.1).
    pub fn bearer() -> Self {
        Self::Header(HeaderLocation::new("authorization", "Bearer "))
    }

    /// The name of the header field, in lower case, where it is one of its own.
    pub fn header_name(&self) -> Option<&str> {
        match self {
            Self::Header(place) => Some(place.name()),
            Self::Subprotocols(_) => Some(SUBPROTOCOLS),
            Self::Cookie(_) | Self::Param(_) => None,
        }
    }

    fn find<'a>(&self, request: &Request<'a>) -> Found<'a> {
        match self {
            Self::Header(place) => place.find(request),
            Self::Subprotocols(place) => place.find(request),
            Self::Cookie(name) => {
                let values = cookies::pairs(request).filter(|(own, _)| *own == name.as_bytes());
                Found::among(values.map(|(_, text)| Credential::bearer(text, CredentialSource::Cookie)))
            }
            Self::Param(name) => {
                let values = query::parameters(request.target().unwrap_or_default())
                    .filter(|parameter| query::is_named(parameter, name))
                    .map(|parameter| {
                        Credential::bearer(query::value(parameter), CredentialSource::Parameter)
                    });
                Found::of(values)
            }
        }
    }
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

    use crate::token::{Marker, Scheme};
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn with<T>(fields: Pairs<'_>, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        ask(&Request::new(&fields))
    }

    fn header(name: &str, prefixes: &[&str]) -> Location {
        let mut place = HeaderLocation::new(name, prefixes[0]);
        assert!(prefixes[1..].iter().all(|prefix| place.add(prefix)), "{prefixes:?}");
        Location::Header(place)
    }

    fn subprotocols(prefixes: &[&str]) -> Location {
        let mut place = Subprotocols::default();
        assert!(prefixes.iter().all(|prefix| place.add(Marker::new(prefix).unwrap())), "{prefixes:?}");
        Location::Subprotocols(place)
    }

    fn found(locations: &[Location], fields: Pairs<'_>) -> String {
        with(fields, |request| match find(locations, request) {
            Found::Nothing => "nothing".to_owned(),
            Found::One(token) => format!("one {:?}", String::from_utf8_lossy(&token.token())),
            Found::Malformed => "malformed".to_owned(),
            Found::Several => "several".to_owned(),
        })
    }

    #[test]
    fn a_credential_is_found_where_it_is_looked_for() {
        let locations = [Location::bearer(), header("X-Token", &[""])];
        for (fields, expected) in [
            (&[][..], "nothing"),
            (&[("authorization", "Bearer t")], "one \"t\""),
            (&[("authorization", "bearer t")], "one \"t\""),
            (&[("authorization", "BEARER   t")], "one \"t\""),
            (&[("authorization", "Bearer t x")], "one \"t x\""),
            (&[("authorization", "Bearer")], "nothing"),
            (&[("authorization", "Bearer ")], "nothing"),
            (&[("authorization", "bearer   ")], "nothing"),
            (&[("authorization", "DPoP")], "nothing"),
            (&[("authorization", "DPoP t")], "nothing"),
            (&[("authorization", "DPoP\tt")], "nothing"),
            (&[("authorization", "Bearer a,DPoP b")], "several"),
            (&[("authorization", "DPoP a,Bearer b")], "several"),
            (&[("authorization", "Bearer,Bearer b")], "several"),
            (&[("authorization", "DPoP a"), ("x-token", "b")], "one \"b\""),
            (&[("authorization", "Bearer"), ("x-token", "b")], "one \"b\""),
            (&[("authorization", "Bearer a"), ("x-token", "")], "one \"a\""),
            (&[("x-token", "")], "nothing"),
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
            (&[("cookie", "session = t")], "one \"t\""),
            (&[("cookie", "session=t=x")], "one \"t=x\""),
            (&[("cookie", "Session=t")], "nothing"),
            (&[("cookie", "xsession=t; sessionx=t")], "nothing"),
            (&[("cookie", "a=session=t")], "nothing"),
            (&[("cookie", "session=t; session=t")], "several"),
            (&[("cookie", "session=")], "nothing"),
            (&[("cookie", "session; session=\"\"")], "nothing"),
            (&[("cookie", "session=; session=t")], "one \"t\""),
            (&[("cookie", "session=t; a=b; session=")], "one \"t\""),
            (&[("cookie", "session=t"), ("cookie", "session=\"\"")], "one \"t\""),
            (&[("cookie", "session=; session=t; session=u")], "several"),
            (&[("cookie", "session="), ("authorization", "Bearer u")], "one \"u\""),
            (&[("cookie", "session=t"), ("cookie", "session=u")], "several"),
            (&[("cookie", "a=b"), ("cookie", "session=u")], "one \"u\""),
            (&[(":path", "/a?access_token=t")], "one \"t\""),
            (&[(":path", "/a?x=1&access_token=t&y=2")], "one \"t\""),
            (&[(":path", "/a?access%5Ftoken=t")], "one \"t\""),
            (&[(":path", "/a?access_token")], "nothing"),
            (&[(":path", "/a?access_token=&access_token=t")], "several"),
            (&[(":path", "/a?access_token=&access_token")], "several"),
            (&[(":path", "/a?access_token=t%2Eu%2ev")], "one \"t.u.v\""),
            (&[(":path", "/a?access_token=%2541%zz%4")], "one \"%41%zz%4\""),
            (&[(":path", "/a?access_token=a+b%20c")], "one \"a+b c\""),
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
            ("ApiKey k", true),
            ("DPoP t", true),
            ("Digest username=\"dpop\", realm=\"x\"", true),
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
        let plain = HeaderLocation::new("x-token", "");
        assert!(!plain.is_of_another_scheme(b"Basic dTpw"));
        let mut prefixed = HeaderLocation::new("x-token", "token=");
        assert!(prefixed.is_of_another_scheme(b"Basic dTpw"));
        assert!(prefixed.is_of_another_scheme(b"Bearer t"));
        assert!(!prefixed.is_of_another_scheme(b"Basic TOKEN=x"));
        assert!(prefixed.add("Bearer "));
        assert!(!prefixed.is_of_another_scheme(b"Bearer t"));
        assert!(prefixed.add(""));
        assert!(!prefixed.is_of_another_scheme(b"Basic dTpw"));
    }

    #[test]
    fn of_several_prefixes_one_is_there_and_the_longest_counts() {
        let locations =
            [header("Authorization", &["Bearer ", "Token "]), header("x-jwt", &["jwt=", "", "jwt=v2:"])];
        for (fields, expected) in [
            (&[("authorization", "Bearer t")][..], "one \"t\""),
            (&[("authorization", "token  t")], "one \"t\""),
            (&[("authorization", "DPoP t")], "nothing"),
            (&[("authorization", "Basic t")], "nothing"),
            (&[("authorization", "Token")], "nothing"),
            (&[("authorization", "Token\tt")], "malformed"),
            (&[("authorization", "Basic x Token t")], "malformed"),
            (&[("authorization", "Token a, Bearer b")], "several"),
            (&[("authorization", "Basic a,Token b")], "several"),
            (&[("x-jwt", "t")], "one \"t\""),
            (&[("x-jwt", "jwt=t")], "one \"t\""),
            (&[("x-jwt", "jwt= t")], "one \"t\""),
            (&[("x-jwt", "jwt=v2:t")], "one \"t\""),
            (&[("x-jwt", "JWT=t")], "one \"JWT=t\""),
            (&[("authorization", "Token a"), ("x-jwt", "jwt=b")], "several"),
        ] {
            assert_eq!(found(&locations, fields), expected, "{fields:?}");
        }
        // A scheme without its blank takes it along, and compares to the letter.
        let bearer = [header("authorization", &["Bearer"])];
        for (value, expected) in [
            ("Bearer t", "one \"t\""),
            ("Bearer   t", "one \"t\""),
            ("Bearert", "one \"t\""),
            ("Bearer", "nothing"),
            ("bearer t", "malformed"),
            ("DPoP t", "nothing"),
            ("Basic t", "nothing"),
        ] {
            assert_eq!(found(&bearer, &[("authorization", value)]), expected, "{value:?}");
        }
        let mut place = HeaderLocation::new("authorization", "Bearer ");
        for (prefix, is_new) in
            [("bearer ", false), ("DPoP ", true), ("dpop ", false), ("Bearer", true), ("Bearer", false)]
        {
            assert_eq!(place.add(prefix), is_new, "{prefix:?}");
        }
        for (location, expected) in [
            (Location::bearer(), "header \"authorization\" with \"Bearer \""),
            (header("x", &[""]), "header \"x\""),
            (header("x", &["", "a="]), "header \"x\" with \"a=\" or \"\""),
            (subprotocols(&[""]), "header \"sec-websocket-protocol\""),
            (subprotocols(&["jwt."]), "header \"sec-websocket-protocol\" with \"jwt.\""),
        ] {
            assert_eq!(location.to_string(), expected);
        }
    }

    /// A header with the scheme `DPoP`, all of whose tokens count.
    fn ignoring_proofs(name: &str, prefixes: &[&str]) -> Location {
        let Location::Header(mut place) = header(name, prefixes) else { panic!("a header") };
        place.accept_dpop();
        Location::Header(place)
    }

    #[test]
    fn of_the_scheme_dpop_bound_tokens_count_or_all() {
        let dpop = |payload: &str| format!("DPoP h.{}.s", BASE64_URL_SAFE_NO_PAD.encode(payload));
        let bound = dpop(r#"{"cnf":{"jkt":"x"}}"#);
        let (bearer, own) = (Location::bearer(), header("authorization", &["DPoP "]));
        let ignoring = ignoring_proofs("authorization", &["Bearer "]);
        let plain = header("authorization", &[""]);
        let elsewhere = header("x-a", &["Bearer "]);
        for (location, value, expected, stays) in [
            // Bound, or perhaps, or not: whether a name with escapes is this one is not known yet.
            (&bearer, &*bound, Some(Scheme::Dpop), false),
            (&bearer, &*dpop(r#"{"\u0063nf":{}}"#), Some(Scheme::Dpop), false),
            (&bearer, &*dpop(r#"{"sub":"cnf"}"#), Some(Scheme::Dpop), false),
            (&bearer, &*dpop(r#"{"sub":"a"}"#), None, true),
            (&bearer, &*bound.replace("DPoP", "dpop "), Some(Scheme::Dpop), false),
            (&bearer, &*bound.replace("DPoP", "Bearer"), Some(Scheme::Bearer), false),
            (&bearer, &*bound.replace(".s", ""), None, true),
            (&bearer, "DPoP abc", None, true),
            (&bearer, "DPoP a.b.c", None, true),
            // Where the operator named the scheme, all of it goes.
            (&own, &*bound, Some(Scheme::Dpop), false),
            (&own, "DPoP abc", None, false),
            (&ignoring, &*bound, Some(Scheme::Dpop), false),
            (&ignoring, "dpop  abc", Some(Scheme::Dpop), false),
            (&ignoring, "Bearer abc", Some(Scheme::Bearer), false),
            (&ignoring, "Digest username=\"dpop\", realm=\"x\"", None, false),
            (&ignoring, "Basic abc", None, true),
            // Of another place the scheme is none.
            (&plain, &*bound, Some(Scheme::Bearer), false),
            (&elsewhere, &*bound, None, true),
        ] {
            let Location::Header(place) = location else { panic!("a header") };
            let found = with(&[(place.name(), value)], |request| match location.find(request) {
                Found::One(credential) => Some(credential.scheme),
                Found::Nothing => None,
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected, "{location} {value}");
            assert_eq!(place.is_of_another_scheme(value.as_bytes()), stays, "{location} {value}");
        }
        for (value, expected) in
            [("DPoP\tt", "malformed"), ("DPoP", "nothing"), ("Bearer a,DPoP b", "several")]
        {
            assert_eq!(
                found(std::slice::from_ref(&ignoring), &[("authorization", value)]),
                expected,
                "{value:?}"
            );
        }
        let two = [ignoring.clone(), header("x-token", &[""])];
        assert_eq!(found(&two, &[("authorization", "DPoP a"), ("x-token", "b")]), "several");
        let two = [bearer.clone(), header("x-token", &[""])];
        assert_eq!(found(&two, &[("authorization", &bound), ("x-token", "b")]), "several");
    }

    /// What is found in a list of subprotocols, and what is left of it where that does not travel.
    fn list(prefixes: &[&str], fields: &[&str]) -> (String, Option<Vec<String>>) {
        let Location::Subprotocols(place) = subprotocols(prefixes) else { panic!("subprotocols") };
        let pairs: Vec<_> = fields.iter().map(|field| (SUBPROTOCOLS, *field)).collect();
        let left = with(&pairs, |request| place.without(request, |_| false));
        let texts =
            |left: Vec<Vec<u8>>| left.into_iter().map(|field| String::from_utf8(field).unwrap()).collect();
        (found(&[Location::Subprotocols(place)], &pairs), left.map(texts))
    }

    #[test]
    fn a_token_among_subprotocols_is_found_behind_its_marker_and_taken_out_alone() {
        let bearer: &[&str] = &["bearer"];
        for (prefixes, field, expected, left) in [
            (bearer, "bearer, t", "one \"t\"", Some("bearer")),
            (bearer, "bearer,t", "one \"t\"", Some("bearer")),
            (bearer, " bearer ,\tt ", "one \"t\"", Some("bearer")),
            (bearer, "bearer,,t", "one \"t\"", Some("bearer,")),
            (bearer, "bearer, t, chat", "one \"t\"", Some("bearer, chat")),
            (bearer, "chat,  bearer,t,v2.x ,y", "one \"t\"", Some("chat,  bearer,v2.x ,y")),
            (bearer, "chat, bearer, t", "one \"t\"", Some("chat, bearer")),
            (bearer, "chat, superchat", "nothing", None),
            (bearer, "bearer", "nothing", None),
            (bearer, "chat, bearer", "nothing", None),
            (bearer, "bearert, t", "nothing", None),
            (bearer, "bearer.t, chat", "nothing", None),
            (bearer, "xbearer, t", "nothing", None),
            (bearer, "", "nothing", None),
            (bearer, ",", "nothing", None),
            // Two tokens, or what some reader takes for two.
            (bearer, "bearer, t, bearer, u", "several", Some("bearer, bearer")),
            (bearer, "bearer, bearer, t", "several", Some("bearer")),
            (bearer, "Bearer, t, bearer, u", "several", Some("Bearer, bearer")),
            (bearer, "bearer, t, bearer u", "several", Some("bearer")),
            (bearer, "bearer, t, \"bearer\", u", "several", Some("bearer, \"bearer\"")),
            // What only such a reader finds does not travel.
            (bearer, "Bearer, t", "nothing", Some("Bearer")),
            (bearer, "BEARER, t, chat", "nothing", Some("BEARER, chat")),
            (bearer, "\"bearer\", t", "nothing", Some("\"bearer\"")),
            (bearer, "bearer t, chat", "nothing", Some("chat")),
            (bearer, "bearer\tt", "nothing", Some("-")),
            (bearer, "chat bearer, t", "nothing", Some("chat bearer")),
            (bearer, "chat \"Bearer\" t, x", "nothing", Some("x")),
            (bearer, "x bearer, t, bearer, u", "several", Some("x bearer, bearer")),
            // What has the form of a token does not come to stand behind the marker.
            (bearer, "bearer, t, eyJ9.b.c", "several", Some("bearer")),
            (bearer, "eyJ9.b.c, bearer, t", "several", Some("bearer")),
            (bearer, "bearer, x, y \"IHt9.b.c\", chat", "several", Some("bearer, chat")),
            (bearer, "chat, e30.b.c.d.e", "nothing", Some("chat")),
            (
                bearer,
                "bearer, t, v1.kernel.websocket.jupyter.org, e30.b, v12.stomp",
                "one \"t\"",
                Some("bearer, v1.kernel.websocket.jupyter.org, e30.b, v12.stomp"),
            ),
            // A marker that begins the entry.
            (&["bearer."], "bearer.t", "one \"t\"", Some("-")),
            (&["bearer."], "bearer.t, chat", "one \"t\"", Some("chat")),
            (&["bearer."], "chat ,bearer.t", "one \"t\"", Some("chat")),
            (&["bearer."], "bearer., t", "one \"t\"", Some("bearer.")),
            (&["bearer."], "bearer.t, bearer.u", "several", Some("-")),
            (&["bearer."], "Bearer.t, chat", "nothing", Some("chat")),
            (&["bearer.,"], "bearer.t", "nothing", None),
            (&["bearer, "], "bearer, t", "one \"t\"", Some("bearer")),
            // Several markers; of two that fit, the longer one.
            (&["a.", "a.b."], "a.b.t", "one \"t\"", Some("-")),
            (&["jwt", "bearer"], "jwt, t", "one \"t\"", Some("jwt")),
            (&["jwt", "bearer"], "jwt, t, bearer, u", "several", Some("jwt, bearer")),
            // No marker at all.
            (&[""], "t", "one \"t\"", Some("-")),
            (&[""], "t, chat", "several", Some("-")),
        ] {
            let left: Option<Vec<String>> =
                left.map(|left| if left == "-" { Vec::new() } else { vec![left.to_owned()] });
            assert_eq!(list(prefixes, &[field]), (expected.to_owned(), left), "{prefixes:?} {field:?}");
        }
        assert_eq!(list(bearer, &["chat", "superchat"]), ("several".to_owned(), None));
        let both = list(bearer, &["bearer, t, a", "b", "bearer, u"]);
        assert_eq!(both, ("several".to_owned(), Some(vec!["bearer, a".into(), "b".into(), "bearer".into()])));
        for wrong in ["a b", "a, b", ",", "bear\"er", "b\u{e9}", "a,b,"] {
            assert_eq!(Marker::new(wrong), None, "{wrong:?}");
        }
    }
}
