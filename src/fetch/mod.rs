//! The life of anything that is fetched: one HTTP request as a value, the lease between the instances of a proxy,
//! pauses after failures, and the store that the instances share.

mod http;
mod lease;
mod lookup;
mod shared;
mod slots;
mod store;

pub use http::{Endpoint, FetchError, HttpMethod, HttpRequest, HttpResponse, SecretValue};
pub(crate) use lease::{FetchLease, within};
pub use lookup::{LookupId, LookupIds};
pub(crate) use shared::{Copy, NOTES_SCHEMA, SharedSlot, State};
pub(crate) use slots::Slots;
pub use store::{CasVersion, Conflict, InMemoryStore, Store};
