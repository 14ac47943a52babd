//! What comes of the module's own requests.

use serde_json::json;

use crate::envoy::{Answer, Envoy, Fault, eventually, logged};
use crate::identity::{cold, config, keys, orders, token};

#[test]
fn keys_are_asked_for_where_the_configuration_says() {
    let config = config();
    let envoy = Envoy::start(&config.to_string());
    let call = envoy.next_call();
    assert_eq!((&*call.cluster, call.timeout_milliseconds), ("idp", 5000));
    let uri = config["providers"]["corp"]["remote_jwks"]["http_uri"]["uri"].as_str().expect("text");
    assert_eq!(call.header(":authority"), Some("idp.example"));
    assert!(uri.ends_with(call.header(":path").expect("a path")));
    assert!(call.body.is_empty());
}

/// Answers that bring no keys.
fn useless() -> Vec<Answer> {
    let good = keys();
    let fields = |fields: &[(&[u8], &[u8])]| Answer {
        headers: fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        ..good.clone()
    };
    let body = |body: Vec<Vec<u8>>| Answer { body, ..good.clone() };
    vec![
        Answer::reset(),
        Answer { result: 2, ..good.clone() },
        Answer { result: u32::MAX, ..good.clone() },
        fields(&[]),
        fields(&[(b":status", b"")]),
        fields(&[(b":status", b"\xff")]),
        fields(&[(b":status", b"99999999999999999999")]),
        fields(&[(b":status", b"500")]),
        fields(&[(b"\xff\xfe", b"\xff"), (b"", b"")]),
        body(vec![]),
        body(vec![vec![]]),
        body(vec![vec![], vec![], vec![]]),
        body(vec![b"{".to_vec()]),
        body(vec![b"\xff\xfe".to_vec(); 3]),
        body(vec![vec![b'['; 100_000]]),
        // Larger than a key set may be, in one piece and in many.
        body(vec![vec![b' '; 3 << 20]]),
        body(vec![vec![b' '; 1]; 2 << 20]),
    ]
}

#[test]
fn an_answer_without_keys_lets_nobody_in_and_the_next_one_is_taken() {
    std::thread::scope(|scope| {
        for answer in useless() {
            scope.spawn(move || {
                let (envoy, call) = cold();
                let waiting = envoy.worker.send(orders(&token()));
                envoy.answer(call.id, &answer);
                assert!(!waiting.is_forwarded());
                eventually("the keys are fetched again", || {
                    envoy.pump();
                    for call in envoy.calls() {
                        envoy.answer(call.id, &keys());
                    }
                    envoy.worker.send(orders(&token())).is_forwarded().then_some(())
                });
                assert!(!waiting.is_held());
            });
        }
    });
    assert!(logged("a defect").is_empty());
}

#[test]
fn a_key_set_in_many_pieces_is_one() {
    let whole = keys();
    let (envoy, call) = cold();
    let waiting = envoy.worker.send(orders(&token()));
    let mut body: Vec<Vec<u8>> = whole.body[0].chunks(1).map(<[u8]>::to_vec).collect();
    body.insert(3, Vec::new());
    envoy.answer(call.id, &Answer { body, ..whole });
    assert_eq!(waiting.forwarded("x-user"), ["alice"]);
}

#[test]
fn a_call_that_cannot_be_sent_is_tried_again() {
    let text = config().to_string();
    let fail = |envoy: &Envoy| envoy.fail("http_filter_config_http_callout", Fault::Fails, 0, 3);
    let envoy = Envoy::start_with(text.as_bytes(), fail).expect("the module takes the configuration");
    let waiting = envoy.worker.send(orders(&token()));
    let call = envoy.next_call();
    envoy.answer(call.id, &keys());
    assert!(waiting.is_forwarded());
}

#[test]
fn stray_answers_are_ignored() {
    let (envoy, call) = cold();
    for id in [0, 1, call.id + 1, u64::MAX] {
        envoy.stray_answer(id, &keys());
    }
    let waiting = envoy.worker.send(orders(&token()));
    assert!(waiting.is_held());
    envoy.answer(call.id, &keys());
    // The same again.
    envoy.stray_answer(call.id, &Answer::reset());
    envoy.stray_answer(call.id, &keys());
    envoy.pump();
    assert!(waiting.is_forwarded());
    assert!(envoy.worker.send(orders(&token())).is_forwarded());
}

#[test]
fn what_a_worker_asks_for_is_sent_by_the_main_thread() {
    let mut config = config();
    let provider = config["providers"]["corp"].as_object_mut().expect("an object");
    provider.insert(
        "introspection".to_owned(),
        json!({
            "http_uri": { "uri": "https://idp.example/introspect", "cluster": "idp", "timeout": "5s" },
            "auth_method": "none",
        }),
    );
    provider.remove("remote_jwks");
    let envoy = Envoy::start(&config.to_string());
    let opaque = "an-opaque-token-of-32-characters";
    for answer in [Answer::ok(r#"{"active":false}"#), Answer::reset(), Answer::ok("{")] {
        let waiting = envoy.worker.send(orders(opaque));
        assert!(waiting.is_held(), "{:?}", waiting.state());
        let call = envoy.next_call();
        assert!(String::from_utf8_lossy(&call.body).contains(opaque));
        envoy.answer(call.id, &answer);
        eventually("an answer to who waits", || {
            envoy.pump();
            (!waiting.is_held()).then_some(())
        });
        assert!(!waiting.is_forwarded());
        if answer.body.first().is_some_and(|body| body.len() > 1) {
            // What is refused is remembered.
            break;
        }
    }
}
