//! A request of which a test says what claims can be compared with.

use std::borrow::Cow;

use super::Bindings;

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
