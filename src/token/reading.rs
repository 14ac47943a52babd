//! Claims as far as they were read: all of them, or what a first look showed.

use crate::reason::{Detail, Reason, Rejected};
use std::borrow::Cow;

use crate::json::{Json, Number, Object, Piece, Text, parse};

/// A claims set as far as it was read.
pub trait ClaimSet {
    /// The value of a claim.
    type Value<'v>: ClaimValue<'v>
    where
        Self: 'v;

    /// The claim of that name.
    fn claim(&self, name: &str) -> Option<Self::Value<'_>>;
}

/// The value of a claim.
pub trait ClaimValue<'v>: Copy {
    /// What kind of value it is, in words.
    fn kind(self) -> &'static str;
    /// Whether it is `null`.
    fn is_null(self) -> bool;
    /// Whether it is a list.
    fn is_list(self) -> bool;
    /// The string, if it is one.
    fn string(self) -> Option<Cow<'v, str>>;
    /// The same, to be kept.
    fn text(self) -> Option<Text>;
    /// The number, if it is one.
    fn number(self) -> Option<Number>;
    /// Its member of that name, if it is an object; the element of that number, if it is a list.
    fn at(self, name: &str) -> Option<Self>;
}

impl ClaimSet for Object {
    type Value<'v> = &'v Json;

    fn claim(&self, name: &str) -> Option<&Json> {
        self.get(name)
    }
}

impl<'v> ClaimValue<'v> for &'v Json {
    fn kind(self) -> &'static str {
        Json::kind(self)
    }

    fn is_null(self) -> bool {
        matches!(self, Json::Null)
    }

    fn is_list(self) -> bool {
        matches!(self, Json::Array(_))
    }

    fn string(self) -> Option<Cow<'v, str>> {
        self.as_str().map(Cow::Borrowed)
    }

    fn text(self) -> Option<Text> {
        self.as_text().cloned()
    }

    fn number(self) -> Option<Number> {
        match self {
            Json::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn at(self, name: &str) -> Option<Self> {
        match self {
            Json::Object(object) => object.get(name),
            // A pointer may step into an array (RFC 6901 section 4).
            Json::Array(items) => items.get(index(name)?),
            _ => None,
        }
    }
}

impl<'v> ClaimValue<'v> for Piece<'v> {
    fn kind(self) -> &'static str {
        match self.raw().as_bytes().first() {
            Some(b'n') => "null",
            Some(b't' | b'f') => "a boolean",
            Some(b'"') => "a string",
            Some(b'[') => "a list",
            Some(b'{') => "an object",
            _ => "a number",
        }
    }

    fn is_null(self) -> bool {
        self.raw() == "null"
    }

    fn is_list(self) -> bool {
        self.raw().starts_with('[')
    }

    fn string(self) -> Option<Cow<'v, str>> {
        Piece::text(self)
    }

    fn text(self) -> Option<Text> {
        Piece::text(self).map(|text| Text::from(&*text))
    }

    fn number(self) -> Option<Number> {
        let raw = self.raw().as_bytes();
        // Nearly all: a whole number that is no question.
        if raw.len() < 16 && raw.iter().all(u8::is_ascii_digit) {
            return self.raw().parse().ok().map(Number::Unsigned);
        }
        if !raw.first().is_some_and(|first| *first == b'-' || first.is_ascii_digit()) {
            return None;
        }
        match parse(self.raw().as_bytes()) {
            Ok(Json::Number(number)) => Some(number),
            _ => None,
        }
    }

    fn at(self, name: &str) -> Option<Self> {
        match self.elements() {
            Some(mut elements) => elements.nth(index(name)?),
            None => self.member(name),
        }
    }
}

/// What a first look at a token showed of its claims: those that its provider's policy asks for, as they were written.
/// How many there can be is the configuration's to say.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    claims: Vec<(Text, Text)>,
    /// Whether there are claims whose names have escapes, which were not decoded.
    partial: bool,
}

impl Outline {
    /// Adds a claim. False where one of that name is there.
    pub(super) fn add(&mut self, name: Text, value: Text) -> bool {
        let new = self.claim(&name).is_none();
        self.claims.push((name, value));
        new
    }
}

impl Outline {
    /// Notes that there is a claim whose name was not decoded.
    pub(super) fn miss(&mut self) {
        self.partial = true;
    }

    /// Whether a claim that is wanted may be there that it does not have.
    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }
}

impl ClaimSet for Outline {
    type Value<'v> = Piece<'v>;

    fn claim(&self, name: &str) -> Option<Piece<'_>> {
        let (_, value) = self.claims.iter().find(|(own, _)| *own == *name)?;
        Some(Piece::again(value.as_str()))
    }
}

/// The members of an object that was read before.
impl ClaimSet for Piece<'_> {
    type Value<'v>
        = Piece<'v>
    where
        Self: 'v;

    fn claim(&self, name: &str) -> Option<Piece<'_>> {
        self.member(name)
    }
}

fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with('0');
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    if canonical && digits { name.parse().ok() } else { None }
}

/// The rejection of a token that has a claim of a wrong type. `claim` is a name or a path, as the operator or the
/// standard writes it.
pub(super) fn wrong_type(claim: &impl ToString, found: &'static str, expected: &'static str) -> Rejected {
    Reason::ClaimInvalid.with(Detail::ClaimType { claim: claim.to_string(), found, expected })
}

/// What is found where a list has an element of a wrong type.
pub(super) const MIXED_LIST: &str = "a list with something else than strings";
