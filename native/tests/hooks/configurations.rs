//! What becomes of configurations.

use std::rc::Rc;

use serde_json::json;

use crate::envoy::{Envoy, FAULTS, Route, logged};
use crate::identity::{cold, config, keys, local_config, orders, token, warm};

#[test]
fn what_cannot_be_used_is_refused() {
    for text in [
        &b""[..],
        b"\0",
        b"\xff\xfe\x80",
        b"{",
        b"null",
        b"[]",
        b"{\"rules\":1}",
        &[b'['; 100_000],
        &[b'{'; 1],
    ] {
        assert!(Envoy::start_with(text, |_| ()).is_none(), "{:?}", String::from_utf8_lossy(text));
    }
    assert!(!logged("[4] portcullis: ").is_empty());
}

#[test]
fn routes_say_what_they_ask_for() {
    for text in
        [&b"\xff\xfe"[..], b"{", b"[]", b"{\"x\":1}", b"{\"scopes\":{}}", b"{\"disabled\":1}", &[8; 64]]
    {
        assert!(Route::new(text).is_none(), "{:?}", String::from_utf8_lossy(text));
    }
    let mut config = config();
    config["route_rules"] = json!({ "allow_disable": true });
    let envoy = Envoy::start(&config.to_string());
    let call = envoy.next_call();
    envoy.answer(call.id, &keys());
    let scopes = Rc::new(Route::new(br#"{"scopes":["orders:write"]}"#).expect("a route"));
    let disabled = Rc::new(Route::new(br#"{"disabled":true}"#).expect("a route"));
    let on = |route: &Rc<Route>, request: crate::envoy::Request| crate::envoy::Request {
        route: Some(Rc::clone(route)),
        ..request
    };
    assert_eq!(envoy.worker.send(on(&scopes, orders(&token()))).status(), 403);
    let open =
        envoy.worker.send(on(&disabled, crate::envoy::Request::get("/orders").header("x-user", "mallory")));
    assert!(open.is_forwarded() && open.forwarded("x-user").is_empty());
    open.finish();
}

#[test]
fn a_configuration_ends_with_everything_that_is_its_own() {
    for elsewhere in [false, true] {
        // With calls under way, with requests that wait, with all done.
        let (envoy, call) = cold();
        envoy.worker.send(orders(&token()));
        envoy.end_in(elsewhere);
        let (envoy, other) = cold();
        assert_ne!(envoy.calls().len(), 0);
        envoy.answer(other.id, &keys());
        let passed = envoy.worker.send(orders(&token()));
        assert!(passed.is_forwarded());
        envoy.end_in(elsewhere);
        drop(call);
        Envoy::start(&local_config().to_string()).end_in(elsewhere);
    }
}

#[test]
fn hundreds_of_updates_leave_nothing_behind() {
    let config = local_config().to_string();
    let token = token();
    let mut before = None;
    for _ in 0..300 {
        let envoy = Envoy::start(&config);
        assert!(envoy.worker.send(orders(&token)).is_forwarded());
        before = Some(envoy);
    }
    drop(before);
}

#[test]
fn a_callback_that_fails_at_the_start_opens_nothing() {
    let envoy = warm();
    envoy.pump();
    let callbacks: Vec<_> = envoy.take_counts().into_keys().collect();
    assert!(callbacks.contains(&"config_define_counter"), "{callbacks:?}");
    for callback in callbacks {
        for fault in FAULTS {
            let text = config().to_string();
            let started =
                Envoy::start_with(text.as_bytes(), |envoy| envoy.fail(callback, fault, 0, usize::MAX));
            // It may refuse to start; it must not start and be open.
            let Some(envoy) = started else { continue };
            crate::faults::check(
                &format!("{callback} {fault:?} from the start"),
                &crate::faults::send_all(&envoy),
            );
            envoy.heal();
        }
    }
}

#[test]
fn what_is_counted_is_told_with_its_labels() {
    let envoy = Envoy::start_with(
        json!({ "instance": "a", "providers": {}, "rules": [{ "match": { "path": "/public" } }] })
            .to_string()
            .as_bytes(),
        |_| (),
    )
    .expect("the module takes the configuration");
    for _ in 0..5 {
        assert!(envoy.worker.send(crate::envoy::Request::get("/public")).is_forwarded());
    }
    crate::envoy::eventually("the count of five requests", || {
        envoy.pump();
        (envoy.metric("portcullis.requests") == 5).then_some(())
    });
}
