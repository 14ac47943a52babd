//! The integration tests: a module for each promise to the user. What they share is in [`common`].
//!
//! `cargo test --test it readings::` runs one module. Any of them runs beside any other: bounds on work count what this
//! thread allocates and its processor time, no test sets the environment, and every wait has one generous deadline.

mod common;

mod access_tokens;
mod answers;
mod architecture;
mod attacks;
mod audit;
mod authorize;
mod authorize_properties;
mod bound_tokens;
mod bounded;
mod configuration;
mod cors;
mod documents;
mod filter_state;
mod hostile_claims;
mod identity;
mod introspection;
mod key_forms;
mod keys;
mod keys_flood;
mod keys_glewlwyd;
mod keys_life;
mod keys_outage;
mod keys_rotation;
mod keys_shared;
mod keys_trap;
mod keys_update;
mod manifests;
mod matching;
mod memory;
mod metrics;
mod moving;
mod mutants;
mod mutants_native;
mod native_differential;
mod native_requirements;
mod neighbours;
mod pages;
mod pasted;
mod pasted_beside;
mod places;
mod plain_envoy;
mod properties;
mod providers;
mod readers;
mod readings;
mod refusals;
mod refused_configuration;
mod requirements;
mod revocation;
mod route_attacks;
mod route_changes;
mod route_requirements;
mod rules;
mod side_by_side;
mod streams;
mod token_readings;
mod vectors;
mod verdicts;
mod waiting_body;
mod withdrawal;
mod withheld;
