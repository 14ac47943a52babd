//! The keys of a provider: reading a key set, choosing a key, and the life of a key source.

mod budget;
mod discovery;
mod document;
mod jwk;
mod kids;
mod pem;
mod remote;
mod set;
mod source;

pub use jwk::{Jwk, JwkRejection};
pub use remote::{Origin, Remote};
pub use set::{Format, KeySet, Reading, SetError};
pub use source::{Source, Status, UnknownKid};
