//! What the operator is told of one rejection, and the client is not: by how much, which claim, which key.
//!
//! It is made where a request is rejected, and nowhere else. Whatever a token or a client wrote goes in as an
//! [`excerpt`]: quoted, bounded in length, and cut where it begins to look like a token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Reason;
use crate::text::could_end_a_line;
use crate::time::Timestamp;

/// A rejection: the reason, which a client may be told, and its context, which only the operator is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// By how much, or what exactly.
    pub context: Context,
}

/// What there is to say of a rejection besides its reason. Its `Display` is one line without control characters.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Context {
    /// Nothing: the reason says it all.
    #[default]
    None,
    /// Words that need nothing of the request.
    Fixed(&'static str),
    /// Values of this request.
    Detail(Arc<Detail>),
}

/// The values that led to a rejection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Detail {
    /// A date of the token (RFC 7519 section 2) beyond a limit.
    Date {
        /// The claim
        claim: &'static str,
        /// Its value
        value: Timestamp,
        /// When it was looked at
        now: Timestamp,
        /// The setting that it was compared with
        setting: &'static str,
        /// The value of that setting
        limit: Duration,
    },
    /// A claim of a wrong type.
    ClaimType {
        /// The claim
        claim: String,
        /// What it is
        found: &'static str,
        /// What it must be
        expected: &'static str,
    },
    /// A claim that is absent, or `null`.
    ClaimMissing {
        /// The claim
        claim: String,
        /// The setting that requires it
        setting: &'static str,
    },
    /// A value that is none of those that are accepted.
    NotAccepted {
        /// What it is the value of
        what: String,
        /// The value as an [`excerpt`], or several; none: it is absent
        found: Option<String>,
        /// The accepted values, each as an [`excerpt`]
        accepted: String,
    },
    /// More bytes than are accepted.
    Size {
        /// How many there are
        bytes: usize,
        /// The setting that limits them
        setting: &'static str,
        /// The value of that setting
        limit: usize,
    },
    /// No key that was tried verified the signature.
    Key {
        /// `alg` of the token
        algorithm: &'static str,
        /// `kid` of the token, as an [`excerpt`]
        kid: Option<String>,
        /// How many keys were tried
        tried: usize,
    },
    /// Anything else, in words.
    Text(String),
}

/// The longest piece of a client's text in a context, in characters.
pub const MAX_EXCERPT: usize = 96;

/// How many values of a list a context names.
const MAX_LISTED: usize = 5;

impl Reason {
    /// A rejection for this reason, with words that need nothing of the request.
    pub const fn because(self, words: &'static str) -> Rejected {
        Rejected { reason: self, context: Context::Fixed(words) }
    }

    /// A rejection for this reason, with the values that led to it.
    pub fn with(self, detail: Detail) -> Rejected {
        Rejected { reason: self, context: Context::Detail(Arc::new(detail)) }
    }

    /// A rejection for this reason, with words of this request.
    pub fn explained(self, words: String) -> Rejected {
        self.with(Detail::Text(words))
    }
}

impl From<Reason> for Rejected {
    fn from(reason: Reason) -> Self {
        Self { reason, context: Context::None }
    }
}

impl From<Rejected> for Reason {
    fn from(rejected: Rejected) -> Self {
        rejected.reason
    }
}

impl PartialEq<Reason> for Rejected {
    fn eq(&self, reason: &Reason) -> bool {
        self.reason == *reason
    }
}

impl Rejected {
    /// The same with more words at the end of its context, if there are any.
    #[must_use]
    pub fn with_more(self, words: &str) -> Self {
        if words.is_empty() {
            return self;
        }
        self.reason.explained([&self.context.to_string(), words].concat())
    }
}

impl std::error::Error for Rejected {}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        if self.context.is_none() { Ok(()) } else { write!(f, ": {}", self.context) }
    }
}

impl Context {
    /// Words of this request.
    pub fn text(words: String) -> Self {
        Self::Detail(Arc::new(Detail::Text(words)))
    }

    /// Whether there is nothing to say.
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Fixed(words) => f.write_str(words),
            Self::Detail(detail) => detail.fmt(f),
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date { claim, value, now, setting, limit } => {
                write!(f, "{claim:?} is {}, ", value.as_secs())?;
                if value > now {
                    write!(f, "in {} s", value.since(*now).as_secs())?;
                } else {
                    write!(f, "{} s ago", now.since(*value).as_secs())?;
                }
                write!(f, "; {setting} is {} s", limit.as_secs())
            }
            Self::ClaimType { claim, found, expected } => {
                write!(f, "claim {claim} is {found}, expected {expected}")
            }
            Self::ClaimMissing { claim, setting } => write!(f, "claim {claim} is absent; {setting} needs it"),
            Self::NotAccepted { what, found: Some(found), accepted } => {
                write!(f, "{what} is {found}; accepted: {accepted}")
            }
            Self::NotAccepted { what, found: None, accepted } => {
                write!(f, "{what} is absent; accepted: {accepted}")
            }
            Self::Size { bytes, setting, limit } => write!(f, "{bytes} bytes; {setting} is {limit}"),
            Self::Key { algorithm, kid, tried } => {
                write!(f, "alg {algorithm}, ")?;
                match kid {
                    Some(kid) => write!(f, "kid {kid}; ")?,
                    None => f.write_str("no kid; ")?,
                }
                match tried {
                    0 => f.write_str("no key fits"),
                    1 => f.write_str("1 key tried"),
                    tried => write!(f, "{tried} keys tried"),
                }
            }
            Self::Text(words) => f.write_str(words),
        }
    }
}

/// A text in quotes as a context shows it: at most [`MAX_EXCERPT`] characters, none that could end a line, and nothing
/// of what looks like a token: a JSON object in base64 begins with `eyJ`.
pub fn excerpt(text: &str) -> String {
    // No more is looked at than could be shown, however long the text is.
    let window = text
        .char_indices()
        .nth(MAX_EXCERPT.saturating_add(3))
        .map_or(text, |(end, _)| text.get(..end).unwrap_or_default());
    let (shown, looks_like_token) = match window.split_once("eyJ") {
        Some((before, _)) => (before, true),
        None => (window, false),
    };
    let mut out = String::with_capacity(shown.len().min(MAX_EXCERPT).saturating_add(2));
    out.push('"');
    let mut chars = shown.chars();
    for c in chars.by_ref().take(MAX_EXCERPT) {
        if could_end_a_line(c) {
            out.extend(c.escape_unicode());
        } else {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
    }
    if looks_like_token {
        out.push_str("[cut: looks like a token]");
    } else if chars.next().is_some() {
        out.push('…');
    }
    out.push('"');
    out
}

/// The first of several texts, each as an [`excerpt`].
pub fn excerpts<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let mut out = String::new();
    for (at, text) in texts.into_iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        if at == MAX_LISTED {
            out.push('…');
            break;
        }
        out.push_str(&excerpt(text));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_quoted_and_no_token() {
        let long = "é".repeat(MAX_EXCERPT + 1);
        for (text, expected) in [
            ("", "\"\""),
            ("https://idp.example/", "\"https://idp.example/\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("a\r\nb\u{2028}c\u{85}", "\"a\\u{d}\\u{a}b\\u{2028}c\\u{85}\""),
            ("x eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "\"x [cut: looks like a token]\""),
            (&long, &format!("\"{}…\"", "é".repeat(MAX_EXCERPT))),
        ] {
            assert_eq!(excerpt(text), expected, "{text}");
        }
        assert_eq!(excerpts(["a", "b", "c", "d", "e"]), r#""a", "b", "c", "d", "e""#);
        assert_eq!(excerpts(["a", "b", "c", "d", "e", "f", "g"]), r#""a", "b", "c", "d", "e", …"#);
        assert_eq!(excerpts([]), "");
    }

    #[test]
    fn a_rejection_reads_as_a_sentence() {
        let at = Timestamp::from_secs;
        let date = |claim, value| Detail::Date {
            claim,
            value: at(value),
            now: at(1000),
            setting: "clock_skew_seconds",
            limit: Duration::from_secs(60),
        };
        for (rejected, expected) in [
            (Reason::Replayed.into(), "replayed"),
            (Reason::TokenMalformed.because("it is empty"), "token_malformed: it is empty"),
            (
                Reason::Expired.with(date("exp", 900)),
                "expired: \"exp\" is 900, 100 s ago; clock_skew_seconds is 60 s",
            ),
            (
                Reason::NotYetValid.with(date("nbf", 1100)),
                "not_yet_valid: \"nbf\" is 1100, in 100 s; clock_skew_seconds is 60 s",
            ),
            (
                Reason::KeyNotFound.with(Detail::Key {
                    algorithm: "RS256",
                    kid: Some(excerpt("k")),
                    tried: 0,
                }),
                "key_not_found: alg RS256, kid \"k\"; no key fits",
            ),
            (
                Reason::SignatureInvalid.with(Detail::Key { algorithm: "RS256", kid: None, tried: 1 }),
                "signature_invalid: alg RS256, no kid; 1 key tried",
            ),
        ] {
            assert_eq!(rejected.to_string(), expected);
        }
    }
}
