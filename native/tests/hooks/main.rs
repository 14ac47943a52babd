//! The module's hooks, called as Envoy calls them by an Envoy that fails where a test wants it to: nothing panics, nobody
//! gets in who must not, nothing is read too late or kept for ever.
//!
//! `make sanitize` runs these under a sanitizer. `tests/hooks_of_1_38` is what an older Envoy lacks.

#![allow(missing_docs, reason = "a test")]

extern crate portcullis_native as _;

mod envoy;
mod identity;
mod later;

mod calls;
mod configurations;
mod faults;
mod metadata;
mod requests;
mod threads;
