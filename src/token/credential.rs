//! What a request presents as a token.

use std::borrow::Cow;

use crate::request::query;

/// What was found in the place of a token; it may still be no token at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    /// The text, as it stands in the request. It is never empty.
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
    /// With a proof of the key that it is bound to (RFC 9449 section 7.1).
    Dpop,
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
    /// No location holds a credential. An empty one is none.
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
    pub(super) fn bearer(text: &'a [u8], source: CredentialSource) -> Self {
        Self { text, scheme: Scheme::Bearer, source }
    }

    /// The token: of a query parameter the text with its escapes decoded, once (RFC 3986 section 2.1); else the text.
    #[inline]
    pub fn token(&self) -> Cow<'a, [u8]> {
        match self.source {
            CredentialSource::Parameter => query::decoded(self.text),
            CredentialSource::Header | CredentialSource::Cookie => Cow::Borrowed(self.text),
        }
    }
}

impl<'a> Found<'a> {
    /// What these credentials are, the empty ones left out.
    pub(super) fn among(credentials: impl Iterator<Item = Credential<'a>>) -> Self {
        Self::of(credentials.filter(|credential| !credential.text.is_empty()))
    }

    /// What these credentials are, where an empty one beside another makes two. An empty one alone is none.
    pub(super) fn of(mut credentials: impl Iterator<Item = Credential<'a>>) -> Self {
        match (credentials.next(), credentials.next()) {
            (Some(one), None) if !one.text.is_empty() => Self::One(one),
            (_, None) => Self::Nothing,
            (_, Some(_)) => Self::Several,
        }
    }
}
