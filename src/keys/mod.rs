//! The keys of a provider: reading a key set, choosing a key, and the life of a key source.

mod discovery;
mod jwk;
mod kids;
mod pem;
mod remote;
mod set;
mod shared;
mod slots;
mod source;
mod store;
mod turn;

pub use jwk::{Accepted, Jwk, Skip};
pub use remote::{Answer, DocumentError, Endpoint, FetchError, Hidden, Origin, Query, Remote};
pub use set::{Format, KeySet, Reading, SetError};
pub(crate) use shared::Copy;
pub(crate) use slots::Slots;
pub use source::{News, Source, Status, UnknownKid};
pub use store::{Alone, Conflict, Stamp, Store};
pub(crate) use turn::Turn;
