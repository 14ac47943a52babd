//! The component level: the filter's callbacks, natively, against a host that behaves like Envoy and does what
//! a test tells it to: stop the clock, lose an answer, fail any host call.
//!
//! Tests say what a user gets (an answer, the headers the upstream sees, what the access log shows), not in
//! which order the host was called.

use portcullis as _;

mod answers;
mod cold_start;
mod configuration;
mod cost;
mod fake_host;
mod faults;
mod fetching;
mod fixtures;
mod fuzz;
mod headers;
mod introspection;
mod model;
mod plugins;
mod protocol;
mod route_checks;
mod streams;
mod waiting;
mod withheld;
