//! The keys of a provider: reading a key set, choosing a key, and the life of a key source.

mod jwk;
mod set;
pub mod source;

pub use jwk::{Jwk, Skip};
pub use set::{KeySet, SetError};
