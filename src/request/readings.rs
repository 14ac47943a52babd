//! What programs behind the gate may take the parts of a request for, found out when a rule first asks.
//!
//! A condition that holds under every reading holds; one that holds under none does not; of any other it
//! depends on who reads, and then nobody can say which rule the request meets.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::BitAnd;

use super::parameters::{self, ParameterReading};
use super::path::PathReadings;
use super::{Authority, Request, same_header};
use crate::json::Object;
use crate::text::{Effort, Judged};

/// Whether something holds under the readings of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Held {
    /// Under none.
    Never,
    /// Under some and not under others, or it is not known.
    Depends,
    /// Under each.
    Always,
}

impl Held {
    /// Under these readings, of which there is at least one.
    pub fn under<T>(readings: impl IntoIterator<Item = T>, holds: impl Fn(T) -> Self) -> Self {
        let each = readings.into_iter().map(holds);
        each.reduce(|one, other| if one == other { one } else { Self::Depends }).unwrap_or(Self::Never)
    }

    /// Whether it holds under some reading.
    pub fn is_possible(self) -> bool {
        self != Self::Never
    }

    /// The opposite.
    #[must_use]
    pub fn inverted(self, invert: bool) -> Self {
        match self {
            Self::Never if invert => Self::Always,
            Self::Always if invert => Self::Never,
            same => same,
        }
    }

    /// One of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }
}

impl From<Judged> for Held {
    fn from(judged: Judged) -> Self {
        match judged {
            Judged::Holds => Self::Always,
            Judged::Fails => Self::Never,
            Judged::TooLong => Self::Depends,
        }
    }
}

impl From<bool> for Held {
    fn from(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }
}

impl BitAnd for Held {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.min(other)
    }
}

/// A request as rules look at it.
pub struct RequestView<'r> {
    request: Request<'r>,
    authority: OnceCell<Option<Authority<'r>>>,
    metadata: OnceCell<Option<Object>>,
    path: PathReadings<'r>,
    effort: Effort,
}

impl<'r> RequestView<'r> {
    /// A view of a request whose path has these readings.
    pub fn new(request: &Request<'r>, path: PathReadings<'r>) -> Self {
        Self {
            request: *request,
            authority: OnceCell::new(),
            metadata: OnceCell::new(),
            path,
            effort: Effort::default(),
        }
    }

    /// The same, where expressions may take so much effort.
    #[must_use]
    pub fn with_effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// What is left of the effort that expressions may take.
    pub fn effort(&self) -> &Effort {
        &self.effort
    }

    /// The request.
    pub fn request(&self) -> &Request<'r> {
        &self.request
    }

    /// What its path may be taken for.
    pub fn path(&self) -> &PathReadings<'r> {
        &self.path
    }

    /// The host and port that it is for, where that has a meaning.
    pub fn authority(&self) -> Option<&Authority<'r>> {
        let parse = || Authority::parse(self.request.authority()?);
        self.authority.get_or_init(parse).as_ref()
    }

    /// What filters before this one wrote of it, by their names; none where that cannot be read.
    pub fn metadata(&self) -> Option<&Object> {
        self.metadata.get_or_init(|| self.request.properties().dynamic_metadata()).as_ref()
    }

    /// The value of a header field where it has one reading: the field is there at most once, and no other
    /// name can be taken for its own.
    pub fn only_header(&self, name: &str) -> Option<Option<&'r [u8]>> {
        if matches!(name, "host" | ":authority" | ":path") {
            return None;
        }
        let mut only = None;
        for (own, value) in self.request.fields() {
            if own.eq_ignore_ascii_case(name.as_bytes()) {
                if only.replace(*value).is_some() {
                    return None;
                }
            } else if same_header(own, name.as_bytes()) {
                return None;
            }
        }
        Some(only)
    }

    /// What programs may take for the value of a header field: each of its values, and all of them joined by
    /// commas. `name` is in lower case. A field whose name a server may fold into this one counts for such a
    /// server, and not for others.
    pub fn header(&self, name: &str) -> Vec<Option<Cow<'r, [u8]>>> {
        match name {
            // Envoy knows but one of the two.
            "host" | ":authority" => self.authority_readings(),
            ":path" => self.target_readings(),
            _ => self.field_readings(name),
        }
    }

    fn field_readings(&self, name: &str) -> Vec<Option<Cow<'r, [u8]>>> {
        let mut values: Vec<Option<Cow<'r, [u8]>>> = Vec::new();
        let (mut exact, mut folded) = (0usize, 0usize);
        let is_pseudo = name.starts_with(':');
        for (own, value) in self.request.fields() {
            if own.eq_ignore_ascii_case(name.as_bytes()) {
                exact = exact.saturating_add(1);
            } else if !is_pseudo && same_header(own, name.as_bytes()) {
                folded = folded.saturating_add(1);
            } else {
                continue;
            }
            values.push(Some(Cow::Borrowed(value)));
        }
        if values.len() > 1 {
            let all: Vec<&[u8]> = values.iter().flatten().map(|value| &**value).collect();
            let joined = all.join(&b","[..]);
            values.push(Some(Cow::Owned(joined)));
        }
        if exact == 0 {
            values.push(None);
        }
        values
    }

    fn authority_readings(&self) -> Vec<Option<Cow<'r, [u8]>>> {
        let Some(sent) = self.request.authority() else { return vec![None] };
        let mut readings = vec![Some(Cow::Borrowed(sent))];
        let mut add = |reading: String| {
            if readings.iter().flatten().all(|known| **known != *reading.as_bytes()) {
                readings.push(Some(Cow::Owned(reading.into_bytes())));
            }
        };
        if let Some(authority) = self.authority() {
            let host = authority.host();
            add(host.to_owned());
            if let Some(port) = authority.port() {
                add(format!("{host}:{port}"));
            }
            if authority.ends_with_dot() {
                add(format!("{host}."));
            }
        }
        readings
    }

    fn target_readings(&self) -> Vec<Option<Cow<'r, [u8]>>> {
        let Some(target) = self.request.target() else { return vec![None] };
        let query =
            target.iter().position(|byte| *byte == b'?').and_then(|at| target.get(at..)).unwrap_or_default();
        let mut readings = vec![Some(Cow::Borrowed(target))];
        for reading in self.path.iter() {
            let whole = [reading.text.as_bytes(), query].concat();
            if readings.iter().flatten().all(|known| **known != *whole) {
                readings.push(Some(Cow::Owned(whole)));
            }
        }
        readings
    }

    /// What programs may take for the value of a query parameter; none where that is too much to look at.
    pub fn parameter(&self, name: &str) -> Option<Vec<ParameterReading<'r>>> {
        parameters::readings(self.request.target().unwrap_or_default(), name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)], name: &str) -> Vec<String> {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let request = Request::new(&fields);
        let path = PathReadings::of(request.target().unwrap_or(b"/"), true);
        let readings = RequestView::new(&request, path).header(name);
        let text = |value: &Option<Cow<'_, [u8]>>| {
            value.as_ref().map_or("none".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
        };
        readings.iter().map(text).collect()
    }

    #[test]
    fn a_field_is_read_by_each_of_its_values_and_by_all_of_them() {
        for (fields, name, expected) in [
            (&[][..], "x-a", &["none"][..]),
            (&[("x-a", "1")], "x-a", &["1"]),
            (&[("X-A", "1")], "x-a", &["1"]),
            (&[("x-a", "1,2")], "x-a", &["1,2"]),
            (&[("x-a", "1"), ("x-b", "2")], "x-a", &["1"]),
            (&[("x-a", "1"), ("x-a", "2")], "x-a", &["1", "2", "1,2"]),
            (&[("x_a", "1")], "x-a", &["1", "none"]),
            (&[("x-a", "1"), ("x.a", "2")], "x-a", &["1", "2", "1,2"]),
            (&[(":authority", "a.example")], "host", &["a.example"]),
            (&[(":authority", "A.example")], "host", &["A.example", "a.example"]),
            (&[(":authority", "a.example:80")], ":authority", &["a.example:80", "a.example"]),
            (&[(":authority", "a.example.")], "host", &["a.example.", "a.example"]),
            (&[(":path", "/a?b")], ":path", &["/a?b"]),
            (&[(":path", "/%61?b")], ":path", &["/%61?b", "/a?b"]),
        ] {
            assert_eq!(headers(fields, name), expected, "{fields:?} {name}");
        }
    }

    #[test]
    fn what_depends_on_the_reader_is_neither_true_nor_false() {
        let under = |values: &[bool]| Held::under(values, |value| Held::from(*value));
        assert_eq!(under(&[true]), Held::Always);
        assert_eq!(under(&[false, false]), Held::Never);
        assert_eq!(under(&[true, false]), Held::Depends);
        assert_eq!(Held::Depends & Held::Never, Held::Never);
        assert_eq!(Held::Depends & Held::Always, Held::Depends);
        assert_eq!(Held::Depends.inverted(true), Held::Depends);
        assert_eq!(Held::Never.inverted(true), Held::Always);
    }
}
