//! The module where it answers for configurations that cannot be used. The environment says so: a process of its own.

#![allow(missing_docs, dead_code, unused_imports, reason = "a test, and what it shares")]

extern crate portcullis_native as _;

#[path = "../hooks/envoy/mod.rs"]
mod envoy;
#[path = "../hooks/identity.rs"]
mod identity;

use envoy::{Envoy, Request, logged};
use identity::{local_config, orders, token};

#[test]
fn a_configuration_that_cannot_be_used_closes_or_leaves_the_last_good_one_in_force() {
    // SAFETY: the only test of this process, and no other thread is running.
    unsafe { std::env::set_var("PORTCULLIS_REFUSED_CONFIGURATION", "deny") };
    for text in [&b""[..], b"\xff\xfe", b"{", b"{\"rules\":1}"] {
        let envoy = Envoy::start_with(text, |_| ()).expect("it is answered for");
        for request in [orders(&token()), Request::get("/public"), Request::default().body()] {
            assert_eq!(envoy.worker.send(request).status(), 503);
        }
    }
    let good = Envoy::start(&local_config().to_string());
    for text in [&b""[..], b"\xff\xfe", b"{"] {
        let envoy = Envoy::start_with(text, |_| ()).expect("it is answered for");
        assert!(envoy.worker.send(orders(&token())).is_forwarded());
        assert_eq!(envoy.worker.send(orders("x")).status(), 401);
    }
    assert!(good.worker.send(orders(&token())).is_forwarded());
    assert!(logged("a defect").is_empty());
}
