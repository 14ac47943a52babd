//! The module in an Envoy 1.38, which lacks some of what it would use.

#![allow(missing_docs, dead_code, unused_imports, reason = "a test, and what it shares")]

extern crate portcullis_native as _;

#[path = "../hooks/envoy/mod.rs"]
mod envoy;
#[path = "../hooks/identity.rs"]
mod identity;

use std::ffi::CStr;

use serde_json::json;

use envoy::{Envoy, FAULTS, eventually, logged};
use identity::{local_config, orders, token};

#[test]
fn it_says_the_version_of_that_interface() {
    // SAFETY: a text that lives as long as the module.
    let version = unsafe { CStr::from_ptr(envoy::hooks::envoy_dynamic_module_on_program_init()) };
    assert_eq!(version, c"v0.1.0");
}

#[test]
fn what_it_would_write_as_metadata_is_refused_with_the_configuration() {
    let mut config = local_config();
    config["providers"]["corp"]["payload_in_metadata"] = json!("payload");
    assert!(Envoy::start_with(config.to_string().as_bytes(), |_| ()).is_none());
    assert!(!logged("payload_in_metadata").is_empty());
}

#[test]
fn what_is_counted_is_told_in_the_name_of_a_request() {
    for fault in [None].into_iter().chain(FAULTS.map(Some)) {
        let envoy = Envoy::start(&local_config().to_string());
        let token = token();
        if let Some(fault) = fault {
            // The first value is lost, and nothing hangs on it.
            envoy.fail("increment_counter", fault, 0, 1);
        }
        eventually("counts", || {
            assert!(envoy.worker.send(orders(&token)).is_forwarded());
            envoy.pump();
            (envoy.metric("portcullis.requests") > 3).then_some(())
        });
    }
}
