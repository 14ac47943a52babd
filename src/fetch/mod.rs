//! The life of anything that is fetched: one HTTP request as a value, the lease between the instances of a proxy,
//! pauses after failures, freshness, and the store that the instances share. [`Refresher`] puts them together for every
//! kind of [`Document`].

mod document;
mod http;
mod lease;
mod lookup;
mod refresher;
mod shared;
mod slots;
mod store;

pub(crate) use document::{Age, Around, Document, Fetched, Held, Next, Restored};
pub use http::{Endpoint, FetchError, HttpMethod, HttpRequest, HttpResponse, SecretValue};
pub(crate) use http::{content_coding, max_age, retry_after};
pub(crate) use lease::{FetchLease, MAX_RETRY_AFTER, pause_after, within};
pub use lookup::{LookupId, LookupIds};
pub(crate) use refresher::Refresher;
pub use refresher::SourceEvent;
pub(crate) use shared::{Copy, NOTES_SCHEMA, SharedSlot, State};
pub(crate) use slots::Slots;
pub use store::{CasVersion, Conflict, InMemoryStore, Parsed, ParsedStore, Store};
