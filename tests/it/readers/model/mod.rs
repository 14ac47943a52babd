//! The machine without its surroundings: requests, readers, rules, judges, and the property that is tried.
//!
//! Nothing in here uses the filter's own reading of a request; only [`gate`] knows the filter, and only as a judge
//! that is asked. The fuzzer includes this folder, so it needs nothing but the filter and `serde_json`.
#![allow(dead_code, reason = "the test and the fuzzer each use a part of it")]

pub mod blunted;
pub mod choices;
pub mod gate;
pub mod grammar;
pub mod head;
pub mod machine;
pub mod naive;
pub mod parts;
pub mod paths;
pub mod rules;
