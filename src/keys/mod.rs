//! The keys of a provider: reading a key set, choosing a key, and the life of a key source.

mod budget;
mod discovery;
mod document;
mod form;
mod jwk;
mod kids;
mod pem;
mod remote;
mod set;
mod source;

pub use form::{Format, OtherForm};
pub use jwk::{Jwk, JwkRejection};
pub use remote::{Origin, Remote, UNBOUND};
pub use set::{KeySet, Reading, SetError};
pub use source::{Source, Status, UnknownKid};
