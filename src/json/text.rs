//! A string of a JSON text, without a copy of its own.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A text: a piece of the text that it was read from, which it keeps alive. A claims set of many strings is one
/// piece of memory; to clone one of them takes none.
#[derive(Clone)]
pub struct Text {
    source: Arc<str>,
    start: u32,
    end: u32,
}

impl Text {
    /// The piece of `source` that `piece` is, byte for byte and place for place; a copy of it where it lies
    /// elsewhere, as a string with escapes does.
    pub(crate) fn of(source: &Arc<str>, piece: &str) -> Self {
        Self::within(source, piece).unwrap_or_else(|| Self::from(piece))
    }

    /// A part of this text, without a copy where `part` lies in it.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        Self::of(&self.source, part)
    }

    fn within(source: &Arc<str>, piece: &str) -> Option<Self> {
        let start = piece.as_ptr().addr().checked_sub(source.as_ptr().addr())?;
        let end = start.checked_add(piece.len())?;
        let found = source.get(start..end)?;
        let same = std::ptr::eq(found, piece);
        let (start, end) = (u32::try_from(start).ok()?, u32::try_from(end).ok()?);
        same.then(|| Self { source: Arc::clone(source), start, end })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let place = self.start as usize..self.end as usize;
        self.source.get(place).unwrap_or_default()
    }
}

impl From<&str> for Text {
    /// Longer than 4 GiB cannot be held: of such a text there is nothing.
    fn from(text: &str) -> Self {
        match u32::try_from(text.len()) {
            Ok(end) => Self { source: text.into(), start: 0, end },
            Err(_) => Self { source: "".into(), start: 0, end: 0 },
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_the_source_is_no_copy_and_anything_else_is() {
        let source: Arc<str> = "one two \u{e9} two".into();
        for (start, end) in [(0, 3), (4, 7), (0, 14), (8, 10), (14, 14), (3, 3)] {
            let piece = &source[start..end];
            let text = Text::of(&source, piece);
            assert_eq!(text, piece);
            assert!(Arc::ptr_eq(&text.source, &source), "{piece:?}");
        }
        let copy = "two".to_owned();
        for foreign in ["two", copy.as_str(), "", "elsewhere"] {
            let text = Text::of(&source, foreign);
            assert_eq!(text.as_str(), foreign);
            assert!(!Arc::ptr_eq(&text.source, &source), "{foreign:?}");
        }
    }

    #[test]
    fn a_part_of_a_text_is_no_copy_either() {
        let source: Arc<str> = "one two three".into();
        let text = Text::of(&source, &source[4..]);
        for word in text.as_str().split(' ') {
            let part = text.part(word);
            assert_eq!(part, word);
            assert!(Arc::ptr_eq(&part.source, &source), "{word:?}");
        }
    }

    #[test]
    fn it_is_what_its_text_is() {
        let source: Arc<str> = "abcabd".into();
        let (abc, abd) = (Text::of(&source, &source[..3]), Text::of(&source, &source[3..]));
        assert_eq!(abc, Text::from("abc"));
        assert!(abc < abd);
        assert_eq!(abc, "abc".to_owned());
        assert_eq!(format!("{abc:>5}|{abc:?}|{abd}"), "  abc|\"abc\"|abd");
        assert_eq!(String::from(abc), "abc");
    }
}
