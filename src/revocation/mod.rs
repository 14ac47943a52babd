//! Which tokens were revoked before their time: lists that are polled, and the status lists to which
//! tokens refer.
//!
//! Nothing here does I/O. A [`List`] answers whether a token is revoked; a [`Poll`] keeps one up to date;
//! [`Statuses`] does so for Token Status Lists.

mod document;
mod identity;
mod index;
mod list;
mod page;
mod poll;
mod status;
mod status_document;
mod status_source;
mod statuses;

pub use document::{Document, MAX_ENTRIES};
pub use identity::{Identity, Key, Kind};
pub use index::Index;
pub use list::{Draft, List, RevocationStatus};
pub use page::{MAX_PAGES, Page, PageError};
pub use poll::{Poll, Polled};
pub use status::{Bits, Reference, StatusError, StatusList};
pub use status_source::{StatusSource, Verify};
pub use statuses::{NoList, Statuses};

/// What becomes of a token of which it cannot be known whether it is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnUnavailable {
    /// It is refused.
    #[default]
    Deny,
    /// It passes; each time is counted, and the log says so.
    Allow,
}
