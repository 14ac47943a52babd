//! Where a request carries a token.

use crate::request::Request;

/// A place that is searched for a token: a header field and what stands before the token in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    header: String,
    prefix: String,
}

/// What a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// No location holds a credential.
    Nothing,
    /// One location holds one credential; it may still be no token at all.
    One(&'a [u8]),
    /// More than one credential (RFC 6750 section 2), or a repeated field.
    Several,
}

impl Location {
    /// A header field, and the text before the token in it: `Bearer ` or nothing. A prefix that
    /// ends with a space is an authentication scheme (RFC 9110 section 11.1): it is compared
    /// without case, and one or more spaces may follow.
    pub fn header(name: &str, prefix: &str) -> Self {
        Self { header: name.to_ascii_lowercase(), prefix: prefix.to_owned() }
    }

    /// `Authorization: Bearer …` (RFC 6750 section 2.1).
    pub fn bearer() -> Self {
        Self::header("authorization", "Bearer ")
    }

    /// The name of the header field, in lower case.
    pub fn header_name(&self) -> &str {
        &self.header
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

/// Searches the locations of one provider. A header field that a location names and that is there
/// twice counts as several, whatever its values are: which one an upstream reads is not known
/// (RFC 9110 section 5.3).
pub fn find<'a>(locations: &[Location], request: &Request<'a>) -> Found<'a> {
    let mut found = Found::Nothing;
    for location in locations {
        let mut values = request.all(&location.header);
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Found::Several;
        }
        // Envoy joins repeated Authorization fields with a comma, which no token holds.
        let joined = value.contains(&b',');
        let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii_start);
        if joined && parts.any(|part| location.credential(part).is_some()) {
            return Found::Several;
        }
        let Some(credential) = location.credential(value) else { continue };
        if found != Found::Nothing {
            return Found::Several;
        }
        found = Found::One(credential);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let locations = [Location::bearer(), Location::header("X-Token", "")];
        match find(&locations, &Request::new(&fields)) {
            Found::Nothing => "nothing".to_owned(),
            Found::One(token) => format!("one {:?}", String::from_utf8_lossy(token)),
            Found::Several => "several".to_owned(),
        }
    }

    #[test]
    fn a_credential_is_found_where_it_is_looked_for() {
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
            assert_eq!(found(fields), expected, "{fields:?}");
        }
    }
}
