//! A first look over a JSON text, which builds nothing: for a token whose signature was not checked.
//!
//! It finds the members of the outermost object and no more: what is inside of their values is passed over, with an eye
//! on quotes and brackets alone. It takes every text that [`parse`](super::parse) takes, and many that are not JSON:
//! whatever passes here is not believed, and is read strictly once there is a reason to believe it. It costs a few
//! instructions for each byte, whatever the bytes are.

use std::borrow::Cow;

use super::MAX_DEPTH;

/// The longest string that is decoded in place, in bytes.
pub(crate) const SHORT: usize = 64;

/// A value in a JSON text that was looked over: its text, from the first byte to the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece<'t>(&'t str);

/// Where in a text that is looked over a name or a value is.
#[derive(Clone, Copy, Debug)]
pub struct JsonSpan<'t> {
    text: &'t str,
    start: usize,
    end: usize,
    escapes: bool,
}

impl<'t> JsonSpan<'t> {
    /// What is there.
    pub fn piece(self) -> Piece<'t> {
        Piece(self.text.get(self.start..self.end).unwrap_or_default())
    }

    /// The bytes between the quotes of a string, where it is one without escapes.
    pub(crate) fn plain(self) -> Option<&'t [u8]> {
        let inner = self.start.saturating_add(1)..self.end.saturating_sub(1);
        if self.escapes { None } else { self.text.as_bytes().get(inner) }
    }
}

/// Looks over a text that must be one object and nothing else; `show` is told where the name and the value of each of
/// its members are, in the order of the text. Whether it is one is known at the end only.
pub fn look_over<'t>(text: &'t str, show: impl FnMut(JsonSpan<'t>, JsonSpan<'t>)) -> bool {
    let bytes = text.as_bytes();
    members(text, blank(bytes, 0), show).is_some_and(|end| blank(bytes, end) == bytes.len())
}

impl<'t> Piece<'t> {
    /// The value that was looked over before and is this text.
    pub(crate) fn again(text: &'t str) -> Self {
        Self(text)
    }

    /// The text of the value, as it was written.
    pub fn raw(self) -> &'t str {
        self.0
    }

    /// Whether it is what it seems to be, of which the first look makes sure for no number and no word.
    pub(crate) fn is_sound(self) -> bool {
        match self.0.as_bytes() {
            [b'"' | b'[' | b'{', ..] => true,
            [b'1'..=b'9', digits @ ..] if digits.len() < 15 && digits.iter().all(u8::is_ascii_digit) => true,
            _ => super::parse(self.0.as_bytes()).is_ok(),
        }
    }

    /// The string, if it is one.
    pub fn text(self) -> Option<Cow<'t, str>> {
        let inner = self.inner()?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        let mut text = String::with_capacity(inner.len());
        decode(inner, &mut text);
        Some(Cow::Owned(text))
    }

    /// The same where the string has no escapes; else it is decoded into `room`, in place of what was there.
    pub fn text_in<'r>(self, room: &'r mut String) -> Option<&'r str>
    where
        't: 'r,
    {
        let inner = self.inner()?;
        if !inner.contains('\\') {
            return Some(inner);
        }
        room.clear();
        decode(inner, room);
        Some(room)
    }

    /// The bytes of a short string, decoded into `room` where it has escapes; nothing of a long one with escapes.
    pub(crate) fn short<'r>(self, room: &'r mut [u8; SHORT]) -> Option<&'r [u8]>
    where
        't: 'r,
    {
        let bytes = self.inner()?.as_bytes();
        let (mut at, mut length) = (0usize, 0usize);
        while let Some(byte) = bytes.get(at) {
            if *byte == b'\\' {
                let (letter, taken) = escaped(bytes.get(at..)?)?;
                let end = length.saturating_add(letter.len_utf8());
                letter.encode_utf8(room.get_mut(length..end)?);
                (at, length) = (at.saturating_add(taken), end);
            } else {
                *room.get_mut(length)? = *byte;
                (at, length) = (at.saturating_add(1), length.saturating_add(1));
            }
        }
        room.get(..length)
    }

    /// Whether it has an escape, or what looks like one.
    pub(crate) fn has_escapes(self) -> bool {
        self.0.as_bytes().contains(&b'\\')
    }

    /// The elements, if it is a list.
    pub fn elements(self) -> Option<Elements<'t>> {
        self.0.starts_with('[').then_some(Elements { text: self.0, at: 1 })
    }

    /// The member of that name, if it is an object with one.
    pub fn member(self, name: &str) -> Option<Self> {
        let mut room = String::new();
        let mut found = None;
        members(self.0, 0, |own, value| {
            if found.is_none() && own.piece().text_in(&mut room) == Some(name) {
                found = Some(value.piece());
            }
        })?;
        found
    }

    /// What stands between the quotes of a string.
    fn inner(self) -> Option<&'t str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }
}

/// The elements of a list that was looked over.
pub struct Elements<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Elements<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let bytes = self.text.as_bytes();
        let mut start = blank(bytes, self.at);
        if bytes.get(start) == Some(&b',') {
            start = blank(bytes, start.saturating_add(1));
        }
        self.at = value(bytes, start, MAX_DEPTH)?;
        self.text.get(start..self.at).map(Piece)
    }
}

// What follows is given a place in a text and gives the place behind what it passed.

/// Passes an object, each of whose members is shown.
fn members<'t>(text: &'t str, at: usize, mut show: impl FnMut(JsonSpan<'t>, JsonSpan<'t>)) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = blank(bytes, past(bytes, at, b'{')?);
    if bytes.get(at) == Some(&b'}') {
        return Some(at.saturating_add(1));
    }
    loop {
        let start = at;
        let (end, escapes) = quoted(bytes, past(bytes, at, b'"')?)?;
        let name = JsonSpan { text, start, end, escapes };
        let start = blank(bytes, past(bytes, blank(bytes, end), b':')?);
        let end = value(bytes, start, MAX_DEPTH.saturating_sub(1))?;
        show(name, JsonSpan { text, start, end, escapes: true });
        at = blank(bytes, end);
        match bytes.get(at)? {
            b',' => at = blank(bytes, at.saturating_add(1)),
            b'}' => return Some(at.saturating_add(1)),
            _ => return None,
        }
    }
}

/// Passes this one byte.
#[inline]
fn past(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*bytes.get(at)? == byte).then_some(at.saturating_add(1))
}

#[inline]
fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at)
        && *byte <= b' '
        && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    {
        at = at.saturating_add(1);
    }
    at
}

/// Passes one value, in which at most so many levels may open.
#[inline]
fn value(bytes: &[u8], at: usize, max: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => Some(quoted(bytes, at.saturating_add(1))?.0),
        b'[' | b'{' => nested(bytes, at, max),
        b'-' | b'0'..=b'9' | b'a'..=b'z' => Some(scalar(bytes, at)),
        _ => None,
    }
}

/// Passes a number or a word, up to what cannot be in one.
#[inline]
fn scalar(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at)
        && matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'.' | b'-' | b'+' | b'E')
    {
        at = at.saturating_add(1);
    }
    at
}

/// Passes a list or an object: whether quotes and brackets pair is all that is looked at.
fn nested(bytes: &[u8], mut at: usize, max: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        let byte = *bytes.get(at)?;
        at = at.saturating_add(1);
        match byte {
            b'"' => at = quoted(bytes, at)?.0,
            b'[' | b'{' => {
                depth = depth.saturating_add(1);
                if depth > max {
                    return None;
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
}

/// Passes the inside of a string and its end; and whether it has escapes.
#[inline]
fn quoted(bytes: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escapes = false;
    loop {
        let byte = *bytes.get(at)?;
        at = at.saturating_add(1);
        match byte {
            b'"' => return Some((at, escapes)),
            b'\\' => {
                escapes = true;
                at = at.saturating_add(1);
            }
            _ => {}
        }
    }
}

/// The character of the escape that a text begins with, and the length of the escape.
fn escaped(bytes: &[u8]) -> Option<(char, usize)> {
    let plain = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = unit(bytes)?;
            if let Some(one) = char::from_u32(u32::from(high)) {
                return Some((one, 6));
            }
            let pair = [high, unit(bytes.get(6..)?)?];
            return Some((char::decode_utf16(pair).next()?.ok()?, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

/// The code unit of a `\uXXXX` at the start of a text.
fn unit(bytes: &[u8]) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = bytes.get(..6)? else { return None };
    digits.iter().try_fold(0u16, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit.wrapping_shl(4) | digit as u16)
    })
}

/// Decodes the inside of a string that was looked over.
fn decode(inner: &str, into: &mut String) {
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        into.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at..).unwrap_or_default();
        let (one, length) = escaped(tail.as_bytes()).unwrap_or((char::REPLACEMENT_CHARACTER, 1));
        into.push(one);
        rest = tail.get(length..).unwrap_or_default();
    }
    into.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::super::{Json, parse};
    use super::*;

    /// Names and values as the strict reader and as the first look have them.
    type SetRequirement = Option<Vec<(String, String)>>;

    fn both(text: &str) -> (SetRequirement, SetRequirement) {
        let strict = match parse(text.as_bytes()) {
            Ok(Json::Object(all)) => {
                Some(all.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect())
            }
            _ => None,
        };
        let mut seen = Vec::new();
        let whole = look_over(text, |name, value| {
            let (name, value) = (name.piece(), value.piece());
            let name = name.text().expect("a name").into_owned();
            let value =
                parse(value.raw().as_bytes()).map_or_else(|_| "?".to_owned(), |json| json.to_string());
            seen.push((name, value));
        });
        (strict, whole.then_some(seen))
    }

    #[test]
    fn what_is_an_object_is_seen_as_it_is_read() {
        let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            "{}".to_owned(),
            " \t\r\n{ } ".to_owned(),
            r#"{"a":1}"#.to_owned(),
            r#"{ "a" : 1 , "b" : [ 1 , { } , [ ] , {"x":[{}]} ] , "c" : { "d" : null } }"#.to_owned(),
            r#"{"a":-0.5e+3,"b":0,"c":-0,"d":1E9,"e":18446744073709551615,"f":1.25}"#.to_owned(),
            r#"{"\u0061\n\"\\\/\b\f\r\t":"\ud83d\ude00 \u00e9 é"}"#.to_owned(),
            r#"{"":"","a b":true,"c":false}"#.to_owned(),
            "{\"del\":\"\u{7f}\u{2028}\"}".to_owned(),
            deep(MAX_DEPTH - 1),
            format!("{{\"a\":{}1{}}}", r#"{"b":"#.repeat(MAX_DEPTH - 1), "}".repeat(MAX_DEPTH - 1)),
        ] {
            let (strict, seen) = both(&text);
            assert!(strict.is_some(), "{text}");
            assert_eq!(strict, seen, "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_none_to_both() {
        let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let mut texts = vec![deep(MAX_DEPTH), deep(5000), "{\"a\":".repeat(5000), "[".repeat(5000)];
        texts.push(format!("{{\"a\":{}[]{}}}", "[".repeat(63), "]".repeat(63)));
        for text in [
            "",
            " ",
            "{",
            "}",
            "[]",
            "null",
            "1",
            "\"a\"",
            "{}{}",
            "{} x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":NaN}",
            "{\"a\":nul",
            "{\"a\":[}",
            "{\"a\":\"b}",
            "{\"a\":\"\\",
            "{\"a\":\"\\\"}",
            "\u{feff}{}",
            "{\"a\":1}\u{0}",
            "{\"a\" 1}",
            "// c\n{}",
        ] {
            texts.push(text.to_owned());
        }
        for text in texts {
            assert_eq!(both(&text), (None, None), "{text:.60}");
        }
    }

    #[test]
    fn what_the_strict_reader_alone_refuses_is_inside_of_values_and_names() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":1e400}"#,
            "{\"a\":[1,]}",
            "{\"a\":[,]}",
            "{\"a\":[1 2]}",
            "{\"a\":{]}",
            "{\"a\":[1}}",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":{\"b\"}}",
            "{\"a\":{1:2}}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\u{0}\"}",
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12"}"#,
            r#"{"a":"\u+123"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud800\u0041"}"#,
            r#"{"a":"\udc00\ud800"}"#,
            r#"{"a":"\ud800x"}"#,
            r#"{"\ud800":1}"#,
            r#"{"\é":1}"#,
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":0x1}",
            "{\"a\":tru}",
            r#"{"a":[tru, fals]}"#,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
            // To look into what is no JSON ends, and does no harm.
            let whole = look_over(text, |name, value| {
                let (name, value) = (name.piece(), value.piece());
                let mut room = [0; SHORT];
                let _ =
                    (name.text(), name.short(&mut room), value.text(), value.is_sound(), value.member("b"));
                assert!(value.elements().into_iter().flatten().count() < 10);
            });
            assert!(whole, "{text}");
        }
    }

    #[test]
    fn a_short_string_is_decoded_in_place() {
        for (text, expected) in [
            (r#""""#, Some("")),
            (r#""abc""#, Some("abc")),
            (r#""\u0069\u0073\u0073""#, Some("iss")),
            (r#""a\n\ud83d\ude00é""#, Some("a\n😀é")),
            (r#""\ud800""#, None),
            ("1", None),
        ] {
            let mut room = [0; SHORT];
            let short = Piece(text).short(&mut room).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            assert_eq!(short.as_deref(), expected, "{text}");
        }
        let (fits, long) =
            (format!("\"{}\"", "\\n".repeat(SHORT)), format!("\"{}\"", "\\n".repeat(SHORT + 1)));
        assert_eq!(Piece(&fits).short(&mut [0; SHORT]).map(<[u8]>::len), Some(SHORT));
        assert_eq!(Piece(&long).short(&mut [0; SHORT]), None);
    }

    #[test]
    fn lists_and_objects_are_looked_into() {
        let text =
            r#"{"l":[ "a" , "\u0062" ,1,[2],{"x":[3]},"" ],"o":{ "a":1, "\u0062" : {"c":"d"} },"e":[ ]}"#;
        let mut values = Vec::new();
        assert!(look_over(text, |_, value| values.push(value.piece())));
        let [list, object, empty] = values[..] else { panic!("{values:?}") };
        let raw: Vec<&str> = list.elements().expect("a list").map(Piece::raw).collect();
        assert_eq!(raw, ["\"a\"", "\"\\u0062\"", "1", "[2]", "{\"x\":[3]}", "\"\""]);
        assert_eq!(empty.elements().expect("a list").count(), 0);
        assert!(object.elements().is_none() && list.member("a").is_none());
        let inner = object.member("b").and_then(|inner| inner.member("c"));
        assert_eq!(inner.and_then(Piece::text).as_deref(), Some("d"));
        let mut room = String::from("left over");
        let texts: Vec<String> = list
            .elements()
            .expect("a list")
            .map(|one| one.text_in(&mut room).unwrap_or("none").to_owned())
            .collect();
        assert_eq!(texts, ["a", "b", "none", "none", "none", ""]);
    }
}
