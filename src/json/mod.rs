//! JSON as RFC 8259 has it, read strictly: the form that tokens, key sets and configurations share.
//!
//! What lenient readers let through differs between them, and what two readers see differently is
//! a way past one of them. So: duplicate members are refused at any depth (RFC 7515 section 4,
//! RFC 7519 section 4), nesting is bounded, the text is UTF-8 without a byte order mark, and numbers
//! that no number type can hold are refused.

mod outline;
#[cfg(any(feature = "plugin", feature = "native"))]
mod structs;
mod text;

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

pub(crate) use outline::SHORT;
pub use outline::{JsonSpan, Piece, look_over};
#[cfg(any(feature = "plugin", all(test, feature = "native")))]
pub use structs::from_struct;
#[cfg(feature = "native")]
pub use structs::{decode_struct, encode_struct};
pub use text::Text;

/// A JSON value. SetRequirement keep the order in which they were written.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number
    Number(Number),
    /// A string
    String(Text),
    /// An array
    Array(Vec<Json>),
    /// An object
    Object(Object),
}

/// A JSON number: an integer where it was written as one and fits, else a double.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// From 0 to 2^64 - 1
    Unsigned(u64),
    /// From -2^63 to -1
    Negative(i64),
    /// Written with a fraction or an exponent, or too large for the others; always finite. Exact for up
    /// to 15 digits, else at most two units in the last place off
    Float(f64),
}

impl Number {
    #[cfg(feature = "native")]
    /// The nearest 64-bit floating point number.
    pub fn as_float(self) -> f64 {
        match self {
            Self::Unsigned(whole) => whole as f64,
            Self::Negative(whole) => whole as f64,
            Self::Float(value) => value,
        }
    }

    /// How two numbers compare as numbers, without rounding: `1` and `1.0` are equal, 2^53 and 2^53 + 1
    /// are not.
    pub fn compare(self, other: Self) -> Ordering {
        let parts = |number: Self| match number {
            Self::Unsigned(whole) => (i128::from(whole), 0.0),
            Self::Negative(whole) => (i128::from(whole), 0.0),
            // Beyond what 128 bits hold, the nearest that they do: no integer reaches it.
            Self::Float(value) => (value.trunc() as i128, value.fract()),
        };
        if let (Self::Float(a), Self::Float(b)) = (self, other) {
            return a.partial_cmp(&b).unwrap_or(Ordering::Less);
        }
        let ((a, a_rest), (b, b_rest)) = (parts(self), parts(other));
        a.cmp(&b).then(a_rest.partial_cmp(&b_rest).unwrap_or(Ordering::Less))
    }
}

/// The members of a JSON object, each name once.
#[derive(Clone, PartialEq, Default)]
pub struct Object(Vec<(Text, Json)>);

/// Why a text is not JSON that we accept. Its `Display` says what and where, and repeats nothing of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    text: String,
    twice: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 64;

/// A document without the byte order mark that it may begin with: a reader may pass over one (RFC 8259 section 8.1), and
/// some servers and editors write it. For documents alone; in a token it is an error.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// Reads a whole JSON text.
///
/// # Errors
/// Any departure from RFC 8259, a duplicate member, nesting below [`MAX_DEPTH`], a number out of
/// range, or text after the value.
pub fn parse(text: &[u8]) -> Result<Json, Error> {
    let text = std::str::from_utf8(text).map_err(|error| Error::not_utf8(text, error.valid_up_to()))?;
    parse_shared(&Arc::from(text))
}

/// The same for a text whose strings become pieces of it.
///
/// # Errors
/// Those of [`parse`].
pub fn parse_shared(source: &Arc<str>) -> Result<Json, Error> {
    let mut reader = serde_json::Deserializer::from_str(source);
    let twice = RefCell::default();
    let value = Value { source, depth: MAX_DEPTH, twice: &twice };
    let value = value.deserialize(&mut reader).map_err(|error| Error::new(error, twice.take()))?;
    reader.end().map_err(|error| Error::new(error, None))?;
    Ok(value)
}

impl Error {
    fn not_utf8(text: &[u8], at: usize) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let column = before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default().len().saturating_add(1);
        Self { text: format!("not UTF-8 (line {line}, column {column})"), twice: None }
    }

    /// The name that an object has twice, where that is what is wrong.
    pub fn duplicate(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    fn new(error: serde_json::Error, twice: Option<String>) -> Self {
        use serde_json::error::Category;
        let what = match error.classify() {
            // Our own messages, which quote nothing.
            Category::Data => {
                let text = error.to_string();
                text.split(" at line").next().unwrap_or_default().to_owned()
            }
            Category::Eof => "the text ends too early".to_owned(),
            Category::Syntax | Category::Io => "not valid JSON".to_owned(),
        };
        Self { text: format!("{what} (line {}, column {})", error.line(), error.column()), twice }
    }
}

impl Json {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The same as a text that can be kept without a copy.
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What an error message calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Writes the value as compact JSON.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(Number::Unsigned(value)) => write!(f, "{value}"),
            Self::Number(Number::Negative(value)) => write!(f, "{value}"),
            Self::Number(Number::Float(value)) => {
                write!(f, "{}", serde_json::to_string(value).unwrap_or_default())
            }
            Self::String(text) => write!(f, "{}", quoted(text)),
            Self::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if items.is_empty() { "[]" } else { "]" })
            }
            Self::Object(object) => {
                for (at, (name, value)) in object.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "{" } else { "," }, quoted(name))?;
                }
                f.write_str(if object.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

/// The text as a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

impl Object {
    /// An object of these members, or the first name that comes twice.
    ///
    /// # Errors
    /// The name that is there more than once.
    pub fn new(members: Vec<(String, Json)>) -> Result<Self, String> {
        let members = members.into_iter().map(|(name, value)| (Text::from(name), value));
        let object = Self(members.collect());
        match object.duplicate() {
            Some(name) => Err(name.to_owned()),
            None => Ok(object),
        }
    }

    /// The members whose value is not `null`.
    #[must_use]
    pub fn without_nulls(mut self) -> Self {
        self.0.retain(|(_, value)| *value != Json::Null);
        self
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether there is a member of that name, `null` included.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The members in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names of the members, in the order in which they were written.
    pub fn names(&self) -> impl Iterator<Item = &Text> {
        self.0.iter().map(|(name, _)| name)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A name that comes twice. Few names are compared pairwise, and only those that look alike; many are
    /// sorted, so that a large object costs no more than its size asks for.
    fn duplicate(&self) -> Option<&str> {
        const FEW: usize = 24;
        if self.0.len() > FEW {
            let mut names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            return names.array_windows::<2>().find(|[a, b]| a == b).map(|[a, _]| *a);
        }
        let mut seen = 0u64;
        for (at, (name, _)) in self.iter().enumerate() {
            let looks = look(name);
            if seen & looks != 0 && self.iter().take(at).any(|(other, _)| other == name) {
                return Some(name);
            }
            seen |= looks;
        }
        None
    }
}

/// One of 64 bits, the same for the same name.
fn look(name: &str) -> u64 {
    let byte = |byte: Option<&u8>| usize::from(byte.copied().unwrap_or(0));
    let bytes = name.as_bytes();
    let sum = bytes.len().wrapping_mul(5) ^ byte(bytes.first()).wrapping_mul(3) ^ byte(bytes.last());
    1u64.wrapping_shl((sum & 63) as u32)
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Reads a member's name.
struct Name<'s>(&'s Arc<str>);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Text;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Text, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Text, E> {
        Ok(Text::of(self.0, name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Text, E> {
        Ok(Text::from(name))
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Value<'s> {
    /// The text that is read.
    source: &'s Arc<str>,
    /// How many levels of nesting may still open.
    depth: usize,
    /// Where the name goes that an object has twice.
    twice: &'s RefCell<Option<String>>,
}

impl Value<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(Number::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(match u64::try_from(value) {
            Ok(value) => Number::Unsigned(value),
            Err(_) => Number::Negative(value),
        }))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        if value.is_finite() {
            Ok(Json::Number(Number::Float(value)))
        } else {
            Err(E::custom("a number out of range"))
        }
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json, E> {
        Ok(Json::String(Text::of(self.source, text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(Text::from(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        // A claims set has a member in every 25 bytes or so, and seldom more of them than this.
        const USUAL: usize = 16;
        let room = if self.depth == MAX_DEPTH { (self.source.len() / 25).min(USUAL) } else { 0 };
        let mut object = Object(Vec::with_capacity(room));
        while let Some(name) = entries.next_key_seed(Name(self.source))? {
            object.0.push((name, entries.next_value_seed(inner)?));
        }
        if let Some(name) = object.duplicate() {
            *self.twice.borrow_mut() = Some(name.to_owned());
            return Err(A::Error::custom("a member name comes twice in one object"));
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Result<String, String> {
        parse(json.as_bytes()).map(|v| v.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_read_is_written_again() {
        for json in [
            "null",
            "true",
            "0",
            "-1",
            "18446744073709551615",
            "1.5",
            "\"a\\\"b\\n\"",
            "[]",
            "{}",
            "[1,[2,{\"a\":[]}]]",
            "{\"b\":1,\"a\":{\"c\":\"\\u0001\"}}",
        ] {
            assert_eq!(text(json).as_deref(), Ok(json));
        }
    }

    #[test]
    fn lenient_forms_are_refused() {
        for json in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{'a':1}",
            "{a:1}",
            "01",
            "+1",
            ".5",
            "1.",
            "0x1",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e400",
            "// c\n1",
            "1 2",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "\u{feff}{}",
            "tru",
            "\"a",
            "{\"a\":1 \"b\":2}",
        ] {
            assert!(text(json).is_err(), "{json:?} was accepted");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(parse(b"\"\xc0\xaf\"").is_err());
    }

    #[test]
    fn a_member_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for json in [r#"{"a":1,"a":1}"#, r#"{"alg":1,"\u0061lg":2}"#, r#"[{"x":{"a":1,"b":2,"a":3}}]"#] {
            assert!(text(json).unwrap_err().contains("twice"), "{json}");
        }
        for (json, name) in [
            (r#"{"a":1,"a":1}"#, Some("a")),
            (r#"[{"x":{"a":1,"b":2,"b":3}}]"#, Some("b")),
            (r#"{"alg":1,"\u0061lg":2}"#, Some("alg")),
            ("{\"a\":1,}", None),
            ("", None),
        ] {
            assert_eq!(parse(json.as_bytes()).unwrap_err().duplicate(), name, "{json}");
        }
        let many: Vec<String> = (0..40).map(|i| format!("\"k{}\":0", i % 39)).collect();
        assert!(text(&format!("{{{}}}", many.join(","))).unwrap_err().contains("twice"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(text(&nested(MAX_DEPTH)).is_ok());
        assert!(text(&nested(MAX_DEPTH + 1)).unwrap_err().contains("nested deeper"));
        assert!(text(&"[".repeat(100_000)).is_err());
        assert!(text(&"{\"a\":".repeat(100_000)).is_err());
    }

    #[test]
    fn numbers_compare_as_numbers() {
        use Ordering::*;
        for (a, b, expected) in [
            ("1", "1.0", Equal),
            ("1", "1e0", Equal),
            ("0", "-0.0", Equal),
            ("-3", "-3.0", Equal),
            ("1", "1.5", Less),
            ("-1", "-1.5", Greater),
            ("-1", "0", Less),
            ("2", "1.5", Greater),
            ("-0.5", "0", Less),
            ("9007199254740993", "9007199254740992.0", Greater),
            ("18446744073709551615", "18446744073709551616.0", Less),
            ("18446744073709551615", "1e300", Less),
            ("-9223372036854775808", "-1e300", Greater),
            ("1.5", "1.5", Equal),
            ("1e300", "1e299", Greater),
        ] {
            let number = |text: &str| match parse(text.as_bytes()) {
                Ok(Json::Number(number)) => number,
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(number(a).compare(number(b)), expected, "{a} and {b}");
            assert_eq!(number(b).compare(number(a)), expected.reverse(), "{b} and {a}");
        }
    }

    #[test]
    fn an_error_never_repeats_the_text() {
        for json in ["\"s3cret", "{\"s3cret\":1,\"s3cret\":2}", "s3cret", "[s3cret]"] {
            assert!(!text(json).unwrap_err().contains("s3cret"), "{json}");
        }
    }
}
