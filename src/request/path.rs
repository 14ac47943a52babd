//! The readings of a path: what a program behind the gate may take it for.
//!
//! Envoy, a proxy behind it and the service each read the bytes of a path by their own rules. Where two
//! of these readings meet different rules, whoever sends the request chooses which one the gate sees. So
//! the gate looks at all of them: every composition of cutting `;parameters`, decoding escapes, taking
//! `\` for `/`, merging slashes and resolving dot segments.

mod steps;

use std::borrow::Cow;
use std::fmt;

use super::escapes::{
    decode, decode_strictly, escape, escape_non_ascii, is_bare, represent, unreserved_decoded, upper_escapes,
};
pub use steps::PathStep;

/// How often a path is decoded to look for what is hidden in it.
const MAX_DECODINGS: usize = 8;

/// How long a path may be that programs could read in more than one way, in bytes.
pub const MAX_READ_PATH: usize = 8192;

/// How many readings of one path are looked at. Honest paths have one to six.
pub const MAX_READINGS: usize = 64;

/// How many bytes all readings of one path may have together: what a path may cost before a token is
/// looked at.
pub const MAX_READINGS_BYTES: usize = 64 * 1024;

/// Why a path could be read in more than one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ambiguous {
    /// It does not start with `/`
    NotAbsolute,
    /// `//`
    EmptySegment,
    /// `.` or `..`, also escaped or with parameters
    DotSegment,
    /// `\`, a blank, a control character or `#`
    BadCharacter,
    /// `%` without two hexadecimal digits
    BadEscape,
    /// An escape that another hop could decode into something else: of `/`, `\`, NUL, `?`, `#`, a
    /// control character, or of `%` before one of these
    DangerousEscape,
    /// Not UTF-8
    BadUtf8,
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "it does not start with \"/\"",
            Self::EmptySegment => "it has an empty segment (\"//\")",
            Self::DotSegment => "it has a segment \".\" or \"..\"",
            Self::BadCharacter => "it has a backslash, a blank, a control character or a \"#\"",
            Self::BadEscape => "it has a \"%\" without two hexadecimal digits",
            Self::DangerousEscape => {
                "it has an escaped slash, backslash, \"?\", \"#\", control character, or a doubly escaped one"
            }
            Self::BadUtf8 => "it is not UTF-8",
        })
    }
}

/// What kind of path it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PathKind {
    /// Nothing in it is known as a way to make two programs disagree. It may still have several readings,
    /// such as with and without `;parameters`.
    Clear,
    /// It has dot segments, `//`, `\`, an escaped slash or a doubly escaped one: refused under
    /// `ambiguous_paths: reject`.
    Suspicious,
    /// It has no meaning that programs agree on.
    Unreadable,
    /// It has more readings than are looked at.
    Excessive,
}

/// One reading of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathReading<'r> {
    /// The path. Undecoded, its escapes are as they were sent, with hexadecimal digits in upper case.
    /// Decoded, what cannot stand in a path as it is is written as an escape, so that the text stands for
    /// the decoded bytes and for nothing else.
    pub text: Cow<'r, str>,
    /// How often all its escapes were decoded: 0 to 2.
    pub decoded: usize,
}

impl PathReading<'_> {
    /// Whether decoding it once more changes nothing, so that it is the reading of every program that
    /// decodes at least [`Self::decoded`] times.
    pub fn is_stable(&self) -> bool {
        self.text.bytes().all(|byte| byte != b'%' && is_bare(byte))
    }
}

/// All readings of the path of one request target.
#[derive(Clone, Debug)]
pub struct PathReadings<'r> {
    kind: PathKind,
    sent: &'r [u8],
    /// As it was sent.
    first: PathReading<'r>,
    others: Vec<PathReading<'r>>,
}

impl<'r> PathReadings<'r> {
    /// The readings of the path of a request target, its query cut off. Of a path that is not
    /// [`PathKind::Clear`] the other readings are only found where `suspicious` asks for them: they cost,
    /// and where every rule refuses such a path nothing hangs on them.
    pub fn of(target: &'r [u8], suspicious: bool) -> Self {
        Self::by_steps(target, suspicious, &PathStep::ALL)
    }

    /// The readings of programs that do nothing but these steps: to see what a reader would miss that does not
    /// know one of them.
    pub fn by_steps(target: &'r [u8], suspicious: bool, steps: &[PathStep]) -> Self {
        if let Some(text) = plain(target) {
            return Self::one(PathKind::Clear, text.as_bytes(), Cow::Borrowed(text));
        }
        let sent = without_query(target);
        if sent.len() > MAX_READ_PATH {
            return Self::one(PathKind::Excessive, sent, Cow::Borrowed("/"));
        }
        let kind = kind_of(sent);
        let text = upper_escapes(&String::from_utf8_lossy(sent)).into_owned();
        if kind != PathKind::Clear && !suspicious {
            return Self::one(kind, sent, Cow::Owned(text));
        }
        let Some(mut readings) = compositions(text.clone(), steps) else {
            return Self::one(PathKind::Excessive, sent, Cow::Owned(text));
        };
        // What only a later step brings to light, such as the `//` in `/a/%3B/b`. At its start it would begin an
        // authority.
        let hidden = readings.iter().any(|reading| segments(&reading.text).is_err());
        let kind = if hidden { kind.max(PathKind::Suspicious) } else { kind };
        let is_relative = readings.iter().any(|reading| reading.text.starts_with("//"));
        let kind = if is_relative { kind.max(PathKind::Unreadable) } else { kind };
        let others = readings.split_off(1);
        Self { others, ..Self::one(kind, sent, Cow::Owned(text)) }
    }

    /// The path as it was sent, and no other reading: for who vouches that everybody reads it so.
    pub fn as_sent(target: &'r [u8]) -> Self {
        let sent = without_query(target);
        Self::one(PathKind::Clear, sent, String::from_utf8_lossy(sent))
    }

    fn one(kind: PathKind, sent: &'r [u8], text: Cow<'r, str>) -> Self {
        Self { kind, sent, first: PathReading { text, decoded: 0 }, others: Vec::new() }
    }

    /// What kind of path it is.
    pub fn kind(&self) -> PathKind {
        self.kind
    }

    /// The path as it was sent; what is not UTF-8 in it is replaced.
    pub fn sent(&self) -> Cow<'r, str> {
        String::from_utf8_lossy(self.sent)
    }

    /// Whether it has one reading only.
    pub fn is_one(&self) -> bool {
        self.others.is_empty()
    }

    /// The readings, that of the path as it was sent first.
    pub fn iter(&self) -> impl Iterator<Item = &PathReading<'r>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The form in which a rule's path is compared: escapes of unreserved characters decoded (RFC 3986 section
/// 6.2.2.2), all others in upper case, what is not ASCII escaped.
///
/// # Errors
/// Why no request can be relied on to be for such a path.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if plain(path.as_bytes()).is_some_and(|text| text.len() == path.len()) {
        return Ok(Cow::Borrowed(path));
    }
    check(path.as_bytes())?;
    Ok(Cow::Owned(escape_non_ascii(&unreserved_decoded(&upper_escapes(path)))))
}

/// The form in which a text is compared with readings whose escapes were decoded so often: what cannot
/// stand in a path as it is is written as an escape.
pub fn decoded(text: &str, times: usize) -> String {
    let mut bytes = Cow::Borrowed(text.as_bytes());
    for _ in 0..times {
        bytes = Cow::Owned(decode(&bytes).into_owned());
    }
    represent(&bytes)
}

/// The text that a piece of a reading stands for: its escapes decoded, once.
pub fn text_of(piece: &str) -> Option<Cow<'_, str>> {
    if piece.contains('%') {
        String::from_utf8(decode(piece.as_bytes()).into_owned()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(piece))
    }
}

/// The request target without its query.
pub(super) fn without_query(target: &[u8]) -> &[u8] {
    target.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The path of a request target, where it has one reading, whoever reads it.
fn plain(target: &[u8]) -> Option<&str> {
    let mut path = target;
    let mut taken = ANYWHERE | WITHIN;
    for (at, byte) in target.iter().enumerate() {
        if class(*byte) & taken == 0 {
            if *byte != b'?' {
                return None;
            }
            path = target.get(..at)?;
            break;
        }
        taken = if *byte == b'/' { ANYWHERE } else { ANYWHERE | WITHIN };
    }
    if path.first() == Some(&b'/') { std::str::from_utf8(path).ok() } else { None }
}

pub(super) fn is_plain_byte(byte: u8) -> bool {
    class(byte) != 0
}

fn class(byte: u8) -> u8 {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(0)
}

/// Taken wherever it stands.
const ANYWHERE: u8 = 1;
/// Taken where it does not follow a slash: a segment that is empty, or begins with a dot and may be a dot segment, is
/// looked at more closely.
const WITHIN: u8 = 2;

/// Characters that no program decodes, cuts at or resolves, and where they are taken for such.
const PLAIN: [u8; 256] = {
    let mut plain = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        #[allow(clippy::indexing_slicing, reason = "of a constant")]
        {
            plain[byte] = match byte as u8 {
                b'/' | b'.' => WITHIN,
                byte if is_bare(byte) && byte != b';' && byte != b'\\' => ANYWHERE,
                _ => 0,
            };
        }
        byte = match byte.checked_add(1) {
            Some(next) => next,
            None => break,
        };
    }
    plain
};

/// What kind of path it is, as far as single escapes and segments tell.
fn kind_of(path: &[u8]) -> PathKind {
    match check(path) {
        Ok(()) => PathKind::Clear,
        Err(_) if is_readable(path) => PathKind::Suspicious,
        Err(_) => PathKind::Unreadable,
    }
}

/// Whether an ambiguous path has a meaning at all. `//` at its start may begin an authority.
fn is_readable(path: &[u8]) -> bool {
    let bare = |byte: &u8| !is_special(*byte);
    let mut once = Cow::Borrowed(&b""[..]);
    let sound = path.starts_with(b"/")
        && !path.starts_with(b"//")
        && path.iter().all(|byte| bare(byte) && *byte != b' ')
        && decode_strictly(path).is_some_and(|decoded| {
            once = decoded;
            std::str::from_utf8(&once).is_ok() && once.iter().all(bare)
        });
    if !sound {
        return false;
    }
    let twice = decode(&once);
    // What only a third decoding brings to light, no reading below shows.
    twice.iter().all(bare) && !hides_something(&twice)
}

/// Finds the first thing about a path by which two programs could come to differ.
fn check(path: &[u8]) -> Result<(), Ambiguous> {
    if path.first() != Some(&b'/') {
        return Err(Ambiguous::NotAbsolute);
    }
    if path.iter().any(|byte| is_special(*byte) || matches!(byte, b' ' | b'\\')) {
        return Err(Ambiguous::BadCharacter);
    }
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (value, tail) = escape(tail).ok_or(Ambiguous::BadEscape)?;
            if is_dangerous(value) {
                return Err(Ambiguous::DangerousEscape);
            }
            rest = tail;
        }
    }
    // Overlong forms are not UTF-8.
    let once = decode(path);
    let decoded = std::str::from_utf8(&once).map_err(|_| Ambiguous::BadUtf8)?;
    if hides_something(&once) {
        return Err(Ambiguous::DangerousEscape);
    }
    segments(decoded)
}

/// Whether all segments of a path are names; the last may be empty. Parameters are cut off first.
fn segments(path: &str) -> Result<(), Ambiguous> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(';').next().unwrap_or_default();
        match name {
            "." | ".." => return Err(Ambiguous::DotSegment),
            "" if segments.peek().is_some() => return Err(Ambiguous::EmptySegment),
            _ => {}
        }
    }
    Ok(())
}

/// Whether decoding it again, however often, could make another path of it.
fn hides_something(path: &[u8]) -> bool {
    let mut path = Cow::Borrowed(path);
    for _ in 0..MAX_DECODINGS {
        let mut rest = &*path;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if byte == b'%' && escape(tail).is_some_and(|(value, _)| is_dangerous(value) || value == b'.') {
                return true;
            }
        }
        let again = decode(&path);
        if again.len() == path.len() {
            return false;
        }
        path = Cow::Owned(again.into_owned());
    }
    true
}

/// Whether an escape of this byte could become another path when it is decoded.
fn is_dangerous(value: u8) -> bool {
    matches!(value, b'/' | b'\\') || is_special(value)
}

/// A byte at which programs cut a path, or that they refuse.
fn is_special(value: u8) -> bool {
    matches!(value, b'?' | b'#' | 0..=0x1f | 0x7f)
}

/// All readings that compositions of these steps come to, the path itself first. None where there are too
/// many.
fn compositions<'r>(path: String, steps: &[PathStep]) -> Option<Vec<PathReading<'r>>> {
    let mut bytes = path.len();
    let mut readings = vec![PathReading { text: Cow::Owned(path), decoded: 0 }];
    let mut next = 0;
    while let Some(reading) = readings.get(next).cloned() {
        for step in steps {
            let Some((text, decoded)) = step.apply(&reading) else { continue };
            if readings.iter().any(|known| known.decoded == decoded && known.text == text) {
                continue;
            }
            bytes = bytes.saturating_add(text.len());
            if readings.len() >= MAX_READINGS || bytes > MAX_READINGS_BYTES {
                return None;
            }
            readings.push(PathReading { text: Cow::Owned(text), decoded });
        }
        next = next.saturating_add(1);
    }
    Some(readings)
}

#[cfg(test)]
mod tests;
