//! A first look over a JSON text, which builds nothing: for a token whose signature was not checked.
//!
//! It takes every text that [`parse`](super::parse) takes, and refuses every text that is not JSON or is nested too
//! deeply. A member that comes twice and a number out of range it lets pass: whatever passes here is not believed, and
//! is read strictly once there is a reason to believe it. It costs a few instructions for each byte, whatever the
//! bytes are.

use std::borrow::Cow;

use super::MAX_DEPTH;

/// A value in a JSON text that was looked over: its text, from the first byte to the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece<'t>(&'t str);

/// Looks over a text that must be one object and nothing else; `show` is given the name and the value of each of its
/// members, in the order of the text. Whether it is one is known at the end only.
pub fn look_over<'t>(text: &'t str, show: impl FnMut(Piece<'t>, Piece<'t>)) -> bool {
    let mut scanner = Scanner { text, at: 0 };
    let whole = || {
        scanner.blank();
        scanner.members(show)?;
        scanner.blank();
        Some(scanner.at == text.len())
    };
    whole() == Some(true)
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

    /// The elements, if it is a list.
    pub fn elements(self) -> Option<Elements<'t>> {
        let scanner = Scanner { text: self.0, at: 1 };
        self.0.starts_with('[').then_some(Elements(scanner))
    }

    /// The member of that name, if it is an object with one.
    pub fn member(self, name: &str) -> Option<Self> {
        let mut room = String::new();
        let mut found = None;
        let show = |own: Piece<'t>, value| {
            if found.is_none() && own.text_in(&mut room) == Some(name) {
                found = Some(value);
            }
        };
        Scanner { text: self.0, at: 0 }.members(show)?;
        found
    }

    /// What stands between the quotes of a string.
    fn inner(self) -> Option<&'t str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }
}

/// The elements of a list that was looked over.
pub struct Elements<'t>(Scanner<'t>);

impl<'t> Iterator for Elements<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let scanner = &mut self.0;
        scanner.blank();
        if scanner.take(b',') {
            scanner.blank();
        }
        let start = scanner.at;
        scanner.value(MAX_DEPTH)?;
        scanner.since(start)
    }
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Whether this byte is next, which is passed then.
    fn take(&mut self, byte: u8) -> bool {
        let there = self.byte() == Some(byte);
        if there {
            self.step();
        }
        there
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    fn blank(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    fn since(&self, start: usize) -> Option<Piece<'t>> {
        self.text.get(start..self.at).map(Piece)
    }

    /// An object, each of whose members is shown.
    fn members(&mut self, mut show: impl FnMut(Piece<'t>, Piece<'t>)) -> Option<()> {
        self.expect(b'{')?;
        self.blank();
        if self.take(b'}') {
            return Some(());
        }
        loop {
            let start = self.at;
            self.string()?;
            let name = self.since(start)?;
            self.blank();
            self.expect(b':')?;
            self.blank();
            let start = self.at;
            self.value(MAX_DEPTH.saturating_sub(1))?;
            show(name, self.since(start)?);
            self.blank();
            if !self.take(b',') {
                return self.expect(b'}');
            }
            self.blank();
        }
    }

    /// Passes one value, in which at most so many levels may open.
    fn value(&mut self, most: usize) -> Option<()> {
        // One bit for each level that is open, the innermost last: whether it is an object.
        let (mut open, mut depth) = (0u64, 0usize);
        loop {
            match self.byte()? {
                bracket @ (b'{' | b'[') => {
                    self.step();
                    self.blank();
                    let object = bracket == b'{';
                    if depth >= most {
                        return None;
                    }
                    if !self.take(if object { b'}' } else { b']' }) {
                        open = open.wrapping_shl(1) | u64::from(object);
                        depth = depth.saturating_add(1);
                        if object {
                            self.name()?;
                        }
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => return None,
            }
            // A value has ended, and perhaps what it is in.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.blank();
                let object = open & 1 == 1;
                if self.take(b',') {
                    self.blank();
                    if object {
                        self.name()?;
                    }
                    break;
                }
                self.expect(if object { b'}' } else { b']' })?;
                open = open.wrapping_shr(1);
                depth = depth.saturating_sub(1);
            }
        }
    }

    /// The name of a member, up to its value.
    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.blank();
        self.expect(b':')?;
        self.blank();
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at = self.at.saturating_add(word.len());
        rest.starts_with(word.as_bytes()).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Some(())
    }

    /// One digit and what more follow.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.step();
        }
        (self.at > start).then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at = self.at.saturating_add(plain);
            match rest.get(plain)? {
                b'"' => {
                    self.step();
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// An escape, of which half a surrogate pair is none.
    fn escape(&mut self) -> Option<()> {
        let (_, length) = escaped(self.text.get(self.at..)?)?;
        self.at = self.at.saturating_add(length);
        Some(())
    }
}

/// The character of the escape that a text begins with, and the length of the escape.
fn escaped(text: &str) -> Option<(char, usize)> {
    let plain = match text.as_bytes().get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let high = unit(text)?;
            if let Some(one) = char::from_u32(high) {
                return Some((one, 6));
            }
            let pair = [u16::try_from(high).ok()?, u16::try_from(unit(text.get(6..)?)?).ok()?];
            return Some((char::decode_utf16(pair).next()?.ok()?, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

/// The code unit of a `\uXXXX` at the start of a text.
fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Decodes the inside of a string that was looked over.
fn decode(inner: &str, into: &mut String) {
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        into.push_str(rest.get(..at).unwrap_or_default());
        let tail = rest.get(at..).unwrap_or_default();
        let (one, length) = escaped(tail).unwrap_or((char::REPLACEMENT_CHARACTER, 1));
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
    fn both(text: &str) -> (Option<Vec<(String, String)>>, Option<Vec<(String, String)>>) {
        let strict = match parse(text.as_bytes()) {
            Ok(Json::Object(all)) => {
                Some(all.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect())
            }
            _ => None,
        };
        let mut seen = Vec::new();
        let whole = look_over(text, |name, value| {
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
        texts.push(format!("{{\"a\":{}}}", format!("{}[]{}", "[".repeat(63), "]".repeat(63))));
        texts.extend(
            [
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
                "{\"a\":01}",
                "{\"a\":+1}",
                "{\"a\":.5}",
                "{\"a\":1.}",
                "{\"a\":1e}",
                "{\"a\":-}",
                "{\"a\":0x1}",
                "{\"a\":NaN}",
                "{\"a\":tru}",
                "{\"a\":nul",
                "{\"a\":[1,]}",
                "{\"a\":[,]}",
                "{\"a\":[1 2]}",
                "{\"a\":[}",
                "{\"a\":{]}",
                "{\"a\":[1}}",
                "{\"a\":\"b}",
                "{\"a\":\"\n\"}",
                "{\"a\":\"\u{0}\"}",
                r#"{"a":"\x"}"#,
                r#"{"a":"\u12"}"#,
                r#"{"a":"\u+123"}"#,
                r#"{"a":"\ud800"}"#,
                r#"{"a":"\ud800\u0041"}"#,
                r#"{"a":"\udc00\ud800"}"#,
                r#"{"a":"\ud800x"}"#,
                "{\"a\":\"\\",
                "{\"a\":{\"b\":1,}}",
                "{\"a\":{\"b\"}}",
                "{\"a\":{1:2}}",
                "\u{feff}{}",
                "{\"a\":1}\u{0}",
                "{\"a\" 1}",
                "// c\n{}",
            ]
            .map(str::to_owned),
        );
        for text in texts {
            assert_eq!(both(&text), (None, None), "{text:.60}");
        }
    }

    #[test]
    fn what_the_strict_reader_alone_refuses_is_little() {
        for text in [r#"{"a":1,"a":2}"#, r#"{"a":{"b":1,"b":2}}"#, r#"{"a":1e400}"#] {
            let (strict, seen) = both(text);
            assert!(strict.is_none() && seen.is_some(), "{text}");
        }
    }

    #[test]
    fn lists_and_objects_are_looked_into() {
        let text =
            r#"{"l":[ "a" , "\u0062" ,1,[2],{"x":[3]},"" ],"o":{ "a":1, "\u0062" : {"c":"d"} },"e":[ ]}"#;
        let mut values = Vec::new();
        assert!(look_over(text, |_, value| values.push(value)));
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
