//! Which `iss` a provider's tokens may carry (RFC 7519 section 4.1.1).

use std::borrow::Cow;

use super::reading::{ClaimSet, ClaimValue};

/// An accepted issuer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Issuer {
    /// This text, to the letter.
    Exact(String),
    /// A text with places for claims.
    Template(IssuerTemplate),
}

/// `https://login.example/{tid}/v2.0`: each place takes the value of the claim that it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IssuerTemplate {
    /// The text before the first place, then each place and the text after it.
    start: String,
    places: Vec<Placeholder>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Placeholder {
    claim: String,
    /// The values that the claim may have; none: every value.
    allowed: Option<Vec<String>>,
    then: String,
}

impl Issuer {
    /// Whether a token with these claims comes from this issuer.
    pub fn is<C: ClaimSet>(&self, issuer: &str, claims: &C) -> bool {
        match self {
            Self::Exact(own) => own == issuer,
            Self::Template(template) => template.is(issuer, claims),
        }
    }

    /// The issuer, where it is but one.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(own) => Some(own),
            Self::Template(_) => None,
        }
    }

    /// The text as the operator wrote it.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Exact(own) => Cow::Borrowed(own),
            Self::Template(template) => {
                let IssuerTemplate { start, places } = template;
                let places = places.iter().flat_map(|place| ["{", &place.claim, "}", &place.then]);
                Cow::Owned(places.fold(start.clone(), |text, part| text + part))
            }
        }
    }

    /// The claims that it takes to say so, besides `iss`.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        let places = match self {
            Self::Exact(_) => &[][..],
            Self::Template(template) => &template.places,
        };
        places.iter().map(|place| place.claim.as_str())
    }
}

impl IssuerTemplate {
    /// The claims that a text names in braces, which are none where it is no template; `None` where
    /// the braces are not paired or hold no name.
    pub fn claims_of(text: &str) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}')?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return None;
            }
            names.push(name);
            rest = tail;
        }
        if rest.contains('}') { None } else { Some(names) }
    }

    /// The template of a text that [`Self::claims_of`] read. `allowed` gives the values that a claim
    /// may have.
    pub fn new(text: &str, allowed: impl Fn(&str) -> Option<Vec<String>>) -> Self {
        let (start, mut rest) = text.split_once('{').unwrap_or((text, ""));
        let mut places = Vec::new();
        while let Some((claim, tail)) = rest.split_once('}') {
            let (then, next) = tail.split_once('{').unwrap_or((tail, ""));
            places.push(Placeholder {
                claim: claim.to_owned(),
                allowed: allowed(claim),
                then: then.to_owned(),
            });
            rest = next;
        }
        Self { start: start.to_owned(), places }
    }

    /// A claim's value never holds a `/`, so that it cannot reach into the text after it.
    fn is<C: ClaimSet>(&self, issuer: &str, claims: &C) -> bool {
        let walk = || {
            let start = issuer.strip_prefix(self.start.as_str())?;
            self.places.iter().try_fold(start, |rest, place| {
                let value = claims.claim(&place.claim)?.string()?;
                let allowed = place.allowed.as_ref().is_none_or(|list| list.iter().any(|own| *own == *value));
                if value.is_empty() || value.contains('/') || !allowed {
                    return None;
                }
                rest.strip_prefix(&*value)?.strip_prefix(place.then.as_str())
            })
        };
        walk() == Some("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_template_takes_the_value_of_the_claim_and_nothing_else() {
        let text = "https://login.example/{tid}/v2.0";
        assert_eq!(IssuerTemplate::claims_of(text), Some(vec!["tid"]));
        let any = Issuer::Template(IssuerTemplate::new(text, |_| None));
        let some = Issuer::Template(IssuerTemplate::new(text, |_| Some(vec!["t1".to_owned()])));
        for (issuer, claims, any_tenant, one_tenant) in [
            ("https://login.example/t1/v2.0", r#"{"tid":"t1"}"#, true, true),
            ("https://login.example/t2/v2.0", r#"{"tid":"t2"}"#, true, false),
            ("https://login.example/t1/v2.0", r#"{"tid":"t2"}"#, false, false),
            ("https://login.example/t1/v2.0", r#"{}"#, false, false),
            ("https://login.example/t1/v2.0", r#"{"tid":["t1"]}"#, false, false),
            ("https://login.example//v2.0", r#"{"tid":""}"#, false, false),
            ("https://login.example/a/b/v2.0", r#"{"tid":"a/b"}"#, false, false),
            ("https://login.example/t1/v2.0/", r#"{"tid":"t1"}"#, false, false),
            ("https://login.example/t1", r#"{"tid":"t1"}"#, false, false),
            ("https://evil.example/t1/v2.0", r#"{"tid":"t1"}"#, false, false),
        ] {
            let claims = json::parse(claims.as_bytes()).unwrap();
            let claims = claims.as_object().unwrap();
            assert_eq!(any.is(issuer, claims), any_tenant, "{issuer} {claims:?}");
            assert_eq!(some.is(issuer, claims), one_tenant, "{issuer} {claims:?}");
        }
    }

    #[test]
    fn braces_must_pair_and_name_a_claim() {
        for text in ["{", "}", "{}", "a{b", "a}b", "{{a}}", "}{", "{a}}"] {
            assert_eq!(IssuerTemplate::claims_of(text), None, "{text}");
        }
        assert_eq!(IssuerTemplate::claims_of("https://i/"), Some(vec![]));
        assert_eq!(IssuerTemplate::claims_of("{a}-{b}"), Some(vec!["a", "b"]));
    }
}
