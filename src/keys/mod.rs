//! The keys of a provider: reading a key set, choosing a key, and the life of a key source.

mod jwk;
mod pem;
mod set;
pub mod source;

pub use jwk::{Accepted, Jwk, Skip};
pub use set::{Format, KeySet, Reading, SetError};
