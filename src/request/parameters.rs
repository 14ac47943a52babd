//! The readings of a query parameter that a rule names.

use std::borrow::Cow;

use super::{escapes, names, path};

/// One reading of a parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParameterReading<'r> {
    /// Its value, where this reading finds one.
    pub value: Option<Cow<'r, str>>,
    /// How name and value were decoded; what they are compared with is decoded alike.
    pub decoding: Decoding,
}

/// How a program decodes a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoding {
    /// Not at all, as Envoy does
    None,
    /// Escapes
    Percent,
    /// Escapes, and `+` for a blank
    Form,
}

impl Decoding {
    /// A text as this program sees it; decoded, what cannot stand in a query is written as an escape.
    pub fn apply<'t>(self, text: &'t str) -> Cow<'t, str> {
        match self {
            Self::None => escapes::upper_escapes(text),
            Self::Percent if text.bytes().all(path::is_plain_byte) => Cow::Borrowed(text),
            Self::Percent => Cow::Owned(path::decoded(text, 1)),
            Self::Form => match text.contains('+') {
                true => Cow::Owned(path::decoded(&text.replace('+', "%20"), 1)),
                false => Self::Percent.apply(text),
            },
        }
    }
}

/// How long a query may be in which programs do not agree on names and values, in bytes: each condition reads
/// it in eight ways.
pub const MAX_QUERY: usize = 8192;

/// How many readings of one parameter are looked at.
pub const MAX_PARAMETER_READINGS: usize = 64;

/// All readings of the parameter of this name in the query of a request target: each of its values, and none
/// where a reader finds none. More than one only where the query is not plain or has the parameter more than
/// once. None where there are more than are looked at.
pub fn readings<'r>(target: &'r [u8], name: &str) -> Option<Vec<ParameterReading<'r>>> {
    let query =
        target.iter().position(|byte| *byte == b'?').and_then(|at| target.get(at..)?.strip_prefix(b"?"));
    let query = String::from_utf8_lossy(query.unwrap_or_default());
    let plain = query.bytes().all(is_plain);
    if !plain && query.len() > MAX_QUERY {
        return None;
    }
    let separators: &[&[char]] = if plain { &[&['&']] } else { &[&['&'], &['&', ';']] };
    let readers: &[Reader] = if plain && is_plain_name(name) { &[Reader::Raw] } else { &Reader::ALL };
    let mut found: Vec<ParameterReading<'r>> = Vec::new();
    for separators in separators {
        for reader in readers {
            let decoding = reader.decoding();
            let wanted = decoding.apply(name);
            let mut is_there = false;
            for pair in query.split(*separators) {
                let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
                let same = match reader {
                    Reader::Folding => is_folded(own, name),
                    Reader::Raw | Reader::Percent | Reader::Form => decoding.apply(own) == wanted,
                };
                if same {
                    is_there = true;
                    add(&mut found, Some(decoding.apply(value)), decoding)?;
                }
            }
            if !is_there {
                add(&mut found, None, decoding)?;
            }
        }
    }
    Some(found)
}

/// Adds a reading that is not known yet; none where there is no room for it.
fn add(found: &mut Vec<ParameterReading<'_>>, value: Option<Cow<'_, str>>, decoding: Decoding) -> Option<()> {
    if found.iter().any(|own| own.value == value && own.decoding == decoding) {
        return Some(());
    }
    if found.len() >= MAX_PARAMETER_READINGS {
        return None;
    }
    let value = value.map(|value| Cow::Owned(value.into_owned()));
    found.push(ParameterReading { value, decoding });
    Some(())
}

/// How a program finds a parameter by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reader {
    /// To the letter
    Raw,
    /// Escapes decoded
    Percent,
    /// Escapes and `+` decoded
    Form,
    /// As the name of a variable
    Folding,
}

impl Reader {
    const ALL: [Self; 4] = [Self::Raw, Self::Percent, Self::Form, Self::Folding];

    fn decoding(self) -> Decoding {
        match self {
            Self::Raw => Decoding::None,
            Self::Percent => Decoding::Percent,
            Self::Form | Self::Folding => Decoding::Form,
        }
    }
}

/// Whether nobody decodes a byte of a query or takes it for a separator, but for `&` and `=`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_~!$'()*,:@/?&=".contains(&byte)
}

/// Whether no name but itself is read as this one.
fn is_plain_name(name: &str) -> bool {
    name.bytes().all(|byte| is_plain(byte) && byte != b'_')
}

/// Whether a name is read as another one by a program that makes variables of names, as PHP does.
fn is_folded(own: &str, name: &str) -> bool {
    names::after_name(own.as_bytes(), name.as_bytes()).is_some_and(|rest| names::name_ends(rest, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that some reading finds, and whether some reading finds none.
    fn values(target: &str, name: &str) -> Vec<String> {
        let mut values: Vec<_> = readings(target.as_bytes(), name)
            .expect("few readings")
            .into_iter()
            .map(|reading| reading.value.map_or("none".to_owned(), |value| format!("={value}")))
            .collect();
        values.sort();
        values.dedup();
        values
    }

    #[test]
    fn an_everyday_query_has_one_reading() {
        for (target, expected) in [
            ("/a", "none"),
            ("/a?", "none"),
            ("/a?x=1", "none"),
            ("/a?op=purge", "=purge"),
            ("/a?op", "="),
            ("/a?op=", "="),
            ("/a?x=1&op=purge&y=2", "=purge"),
            ("/a?op=a=b", "=a=b"),
            ("/a?op=x/y?z", "=x/y?z"),
            ("/a?v=1.2&op=purge", "=purge"),
            ("/a?q=a+b&op=purge", "=purge"),
            ("/a?q=a%20b&op=purge", "=purge"),
            ("/a?filter[x]=1&op=purge", "=purge"),
            ("/a?op=a%20b", "=a%20b"),
            ("/a?op=%c3%a9", "=%C3%A9"),
            ("/a?options=1&xop=2", "none"),
        ] {
            assert_eq!(values(target, "op"), [expected], "{target}");
        }
    }

    #[test]
    fn a_query_that_programs_read_in_different_ways_has_several() {
        for (target, expected) in [
            ("/a?op=read&op=purge", &["=purge", "=read"][..]),
            ("/a?op=read&x=1&op=read&op=purge", &["=purge", "=read"]),
            ("/a?%6fp=purge", &["=purge", "none"]),
            ("/a?op=%70urge", &["=%70urge", "=purge"]),
            ("/a?x=1;op=purge", &["=purge", "none"]),
            ("/a?op=read;op=purge", &["=purge", "=read", "=read;op=purge"]),
            ("/a?op[]=purge", &["=purge", "none"]),
            ("/a?op%5B%5D=purge", &["=purge", "none"]),
            ("/a?op[x]=purge", &["=purge", "none"]),
            ("/a?+op=purge", &["=purge", "none"]),
            ("/a?%20op=purge", &["=purge", "none"]),
            ("/a?op%00x=purge", &["=purge", "none"]),
            ("/a?op=a+b", &["=a%20b", "=a+b"]),
        ] {
            assert_eq!(values(target, "op"), expected, "{target}");
        }
        assert_eq!(values("/a?a.b=1", "a_b"), ["=1", "none"]);
        assert_eq!(values("/a?a%5Bb=1", "a_b"), ["=1", "none"]);
        assert_eq!(values("/a?a_b=1", "a_b"), ["=1"]);
        assert_eq!(values("/a?a.b=1", "a.b"), ["=1"]);
        assert_eq!(values("/a?op&op=purge&op=", "op"), ["=", "=purge"]);
        let many: String = (0..1000).map(|at| format!("&op={at}")).collect();
        assert_eq!(readings(format!("/a?{many}").as_bytes(), "op"), None);
        let same: String = (0..1000).map(|_| "&op=1").collect();
        assert_eq!(values(&format!("/a?{same}"), "op"), ["=1"]);
    }
}
