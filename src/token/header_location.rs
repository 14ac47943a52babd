//! Header fields that carry tokens.

use std::fmt;

use super::compact::could_be_bound;
use super::credential::{Credential, CredentialSource, Found, Scheme};
use crate::request::{Request, could_be_blank};
use crate::text::has_byte;

/// A header field, and what comes before the token in it: one of a few texts, or nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderLocation {
    name: String,
    /// The longest first, so that of two that fit a value the one that says more is taken.
    prefixes: Vec<Prefix>,
    /// Whether every token of the scheme `DPoP` counts, and not only what could be refused as bound to a key.
    accepts_dpop: bool,
}

/// What comes before a token.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Prefix {
    text: String,
    scheme: Scheme,
    /// Whether it goes with another one, and the operator did not write it.
    implied: bool,
}

impl HeaderLocation {
    /// A header field, and the text before the token in it: `Bearer ` or nothing. A prefix that ends with a space is an
    /// authentication scheme (RFC 9110 section 11.1): it is compared without case, and one or more spaces may follow. Any
    /// other is compared exactly, and spaces may follow.
    pub fn new(name: &str, prefix: &str) -> Self {
        let mut location =
            Self { name: name.to_ascii_lowercase(), prefixes: Vec::new(), accepts_dpop: false };
        location.add(prefix);
        location
    }

    /// One more text that may come before the token; false where it is there already. With `Bearer` in `Authorization` goes
    /// `DPoP`: of that scheme only tokens count that could be bound to a key, so that they are refused as such, unless
    /// [it is a scheme like `Bearer`](Self::accept_dpop).
    pub fn add(&mut self, prefix: &str) -> bool {
        let prefix = Prefix::new(&self.name, prefix);
        self.prefixes.retain(|own| !(own.implied && own.scheme == prefix.scheme));
        if self.prefixes.iter().any(|own| own.is_same(&prefix)) {
            return false;
        }
        let is_bearer = self.name == AUTHORIZATION && prefix.word().eq_ignore_ascii_case(b"bearer");
        self.insert(prefix);
        if is_bearer && self.prefixes.iter().all(|own| own.scheme != Scheme::Dpop) {
            let dpop = Prefix::new(&self.name, "DPoP ");
            self.insert(Prefix { implied: true, ..dpop });
        }
        true
    }

    /// Behind those that are as long or longer.
    fn insert(&mut self, prefix: Prefix) {
        let at = self.prefixes.partition_point(|own| own.text.len() >= prefix.text.len());
        self.prefixes.insert(at, prefix);
    }

    /// The name of the field, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a client writes before a token of the scheme `Bearer`, or of none, where one is taken here.
    pub fn bearer_prefix(&self) -> Option<&str> {
        let mut prefixes = self.prefixes.iter().filter(|prefix| prefix.scheme == Scheme::Bearer);
        prefixes.next().map(|prefix| &*prefix.text)
    }

    /// Whether a token is taken here as RFC 6750 section 2.1 sends it.
    pub fn is_bearer(&self) -> bool {
        self.name == AUTHORIZATION
            && self.prefixes.iter().any(|prefix| prefix.word().eq_ignore_ascii_case(b"bearer"))
    }

    /// Makes `DPoP` a scheme like `Bearer`.
    pub fn accept_dpop(&mut self) {
        self.accepts_dpop = true;
    }

    /// Whether a token of the scheme `DPoP` counts here, whatever it says (RFC 9449 section 7.1).
    pub fn accepts_dpop(&self) -> bool {
        self.accepts_dpop && self.prefixes.iter().any(|prefix| prefix.scheme == Scheme::Dpop)
    }

    /// Whether a token of the scheme `Bearer`, or of none, counts here.
    pub fn accepts_bearer(&self) -> bool {
        self.prefixes.iter().any(|prefix| prefix.scheme == Scheme::Bearer)
    }

    /// Whether of the tokens with this prefix only those count that could be bound to a key.
    fn takes_only_bound(&self, prefix: &Prefix) -> bool {
        prefix.scheme == Scheme::Dpop && !self.accepts_dpop
    }

    /// A field that is there twice counts as several, whatever its values are: which one an upstream
    /// reads is not known (RFC 9110 section 5.3).
    pub(super) fn find<'a>(&self, request: &Request<'a>) -> Found<'a> {
        let mut values = request.all(&self.name);
        let Some(value) = values.next() else { return Found::Nothing };
        if values.next().is_some() {
            return Found::Several;
        }
        // Envoy joins repeated Authorization fields with a comma, which no token holds.
        if has_byte(value, b',') {
            let mut parts = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii_start);
            if parts.any(|part| self.credential(part).is_some()) {
                return Found::Several;
            }
        }
        match self.credential(value) {
            // The scheme alone: a credential is announced, and there is none.
            Some(credential) if credential.text.is_empty() => Found::Nothing,
            Some(credential) => Found::One(credential),
            None if self.is_announced(value) => Found::Malformed,
            None => Found::Nothing,
        }
    }

    /// The credential in one value of the field, if it has one of our prefixes; it may be empty.
    fn credential<'a>(&self, value: &'a [u8]) -> Option<Credential<'a>> {
        self.prefixes.iter().find_map(|prefix| {
            let text = prefix.text_after(value)?;
            if self.takes_only_bound(prefix) && !could_be_bound(text) {
                return None;
            }
            Some(Credential { text, scheme: prefix.scheme, source: CredentialSource::Header })
        })
    }

    /// Whether a value that has none of our prefixes has the word of one somewhere, and then what some server takes for
    /// a blank: `Bearer` and a tab, or `Basic x Bearer y`.
    fn is_announced(&self, value: &[u8]) -> bool {
        let own = self.prefixes.iter().filter(|prefix| !self.takes_only_bound(prefix));
        let mut words = own.flat_map(|prefix| prefix.words_in(value));
        words.any(|after| after.first().is_some_and(|byte| could_be_blank(*byte)))
    }

    /// Whether a value is a credential of another scheme, in which nobody could find one of ours: a scheme (RFC 9110
    /// section 11.1), a blank, something else, and the word of none of our prefixes.
    pub fn is_of_another_scheme(&self, value: &[u8]) -> bool {
        // Nearly every field is our own.
        if self.credential(value).is_some() {
            return false;
        }
        let mut parts = value.splitn(2, |byte| *byte == b' ');
        let (scheme, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        !scheme.is_empty()
            && scheme.iter().all(|byte| is_token_byte(*byte))
            && !rest.trim_ascii().is_empty()
            // Where only bound tokens count of `DPoP`, what the operator did not write is another scheme.
            && self.prefixes.iter().filter(|prefix| self.accepts_dpop || !prefix.implied).all(|prefix| {
                !prefix.word().is_empty() && prefix.words_in(value).next().is_none()
            })
    }
}

/// Names the place as the operator does.
impl fmt::Display for HeaderLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header {:?}", self.name)?;
        let written = self.prefixes.iter().filter(|prefix| !prefix.implied);
        let texts: Vec<_> = written.map(|prefix| format!("{:?}", prefix.text)).collect();
        match texts.join(" or ") {
            none if none == "\"\"" => Ok(()),
            texts => write!(f, " with {texts}"),
        }
    }
}

/// The field of RFC 9110 section 11.6.2.
const AUTHORIZATION: &str = "authorization";

impl Prefix {
    fn new(header: &str, text: &str) -> Self {
        let mut prefix = Self { text: text.to_owned(), scheme: Scheme::Bearer, implied: false };
        if header == AUTHORIZATION && prefix.word().eq_ignore_ascii_case(b"dpop") {
            prefix.scheme = Scheme::Dpop;
        }
        prefix
    }

    /// Whether two are met by the same values.
    fn is_same(&self, other: &Self) -> bool {
        match self.text.ends_with(' ') {
            true => self.text.eq_ignore_ascii_case(&other.text),
            false => self.text == other.text,
        }
    }

    /// What follows it at the beginning of a value, blanks apart.
    fn text_after<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        // Nearly every client writes it as the operator does, with one blank.
        if let Some(rest) = value.strip_prefix(self.text.as_bytes())
            && rest.first() != Some(&b' ')
        {
            return Some(rest);
        }
        let Some(scheme) = self.text.strip_suffix(' ') else {
            let rest = value.strip_prefix(self.text.as_bytes())?;
            // A scheme that was written without its blank takes the blank along.
            let blanks = rest.iter().take_while(|byte| **byte == b' ' && !self.text.is_empty()).count();
            return rest.get(blanks..);
        };
        let (head, rest) = value.split_at_checked(scheme.len())?;
        if !head.eq_ignore_ascii_case(scheme.as_bytes()) {
            return None;
        }
        match rest.split_first() {
            None => Some(rest),
            Some((b' ', _)) => {
                let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
                rest.get(start..)
            }
            Some(_) => None,
        }
    }

    /// It without blanks at its end.
    fn word(&self) -> &[u8] {
        self.text.as_bytes().trim_ascii_end()
    }

    /// What follows its word, in any case, wherever that stands in a value as a word of its own.
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
