//! Portcullis: a proxy-wasm filter that validates the JSON Web Token of each HTTP request and
//! enforces per-route rules.
//!
//! Everything but `host` (feature `plugin`) is a pure function of what it is given: bytes, the clock and random
//! numbers come in as values, and what should happen goes out as values. `host` turns the callbacks
//! of the proxy into those inputs and carries the outputs out; it decides nothing.
//!
//! | question | module |
//! | --- | --- |
//! | What did the operator write, and is it sound? | [`config`] |
//! | Which rule does a request meet, and what does it ask? | [`rules`] |
//! | Where is the token, and what does it say? | [`token`] |
//! | Which keys do we hold, and how do we get more? | [`keys`] |
//! | Does this signature hold? | [`crypto`] |
//! | Was the token withdrawn? | [`revocation`] |
//! | May this request pass? | [`gate`] |
//! | What is the client told? | [`response`] |
//! | What is the upstream told? | [`upstream`] |
//! | What is written to the log of decisions? | [`audit`] |
//! | What is counted? | [`metrics`] |

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::todo,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        clippy::too_many_lines
    )
)]

pub mod audit;
pub mod config;
pub mod crypto;
pub mod fetch;
pub mod gate;
#[cfg(feature = "plugin")]
pub mod host;
pub mod json;
pub mod keys;
pub mod metrics;
pub mod reason;
pub mod request;
pub mod response;
pub mod revocation;
pub mod rules;
pub mod text;
pub mod time;
pub mod token;
pub mod upstream;
