//! The tool's way to find a configuration in a file, and a place in it.
#![allow(dead_code, reason = "the page does not look at what is around a configuration")]

#[path = "../../cli/src/check/entries.rs"]
pub(crate) mod entries;
#[path = "../../cli/src/check/written.rs"]
pub(crate) mod written;
