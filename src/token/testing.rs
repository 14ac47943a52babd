//! A request of which a test says what claims can be compared with.

use std::borrow::Cow;
use std::time::Duration;

use super::Bindings;
use crate::time::Timestamp;

/// Path variables, header fields and a host.
pub(crate) struct Bound<'s> {
    pub(crate) path: &'s [(&'s str, &'s str)],
    pub(crate) headers: &'s [(&'s str, &'s str)],
    pub(crate) host: Option<&'s str>,
}

impl Bindings for Bound<'_> {
    fn path_variable(&self, name: &str) -> Option<Cow<'_, str>> {
        self.path.iter().find(|(own, _)| *own == name).map(|(_, value)| Cow::Borrowed(*value))
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| Cow::Borrowed(*value))
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        self.host.map(Cow::Borrowed)
    }
}

/// A time, and by how much clocks may differ.
pub(crate) struct At(pub(crate) Timestamp, pub(crate) Duration);

impl Bindings for At {
    fn path_variable(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn header(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn host(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn time(&self) -> Option<(Timestamp, Duration)> {
        Some((self.0, self.1))
    }
}
