//! What a key endpoint may answer, and what the filter makes of it.

use std::time::Duration;

use harness::idp::{self, Alg, Key};
use serde_json::json;

use crate::fake_host::{Response, Vm};
use crate::fixtures::{
    NOW, cold, config, details, fetch_keys, jwks, key, keys_answer, next_fetch, orders, the_fetch, token,
    warm, with,
};

const PATIENCE: Duration = Duration::from_secs(90);

/// Answers that bring no keys.
fn useless() -> Vec<(&'static str, Response)> {
    let secret = Key::cached(Alg::HS256, "secret");
    vec![
        ("a reset", Response::reset()),
        ("a timeout", Response::timeout()),
        ("a refused connection", Response::refused()),
        ("500", Response::new(500, &[], "oops")),
        ("404 with a key set in it", Response::new(404, &[], jwks())),
        ("204", Response::new(204, &[], "")),
        ("206 with a key set in it", Response::new(206, &[], jwks())),
        ("a redirect", Response::new(302, &[("location", "https://evil.example/jwks.json")], jwks())),
        ("a permanent redirect", Response::new(301, &[("location", "/elsewhere")], "")),
        ("304 without a question", Response::new(304, &[], "")),
        ("an empty body", Response::ok("")),
        ("HTML", Response::new(200, &[("content-type", "text/html")], "<html>Sign in</html>")),
        ("half a key set", Response::ok(jwks()[..40].to_owned())),
        ("a key set and more", Response::ok(format!("{}{{}}", jwks()))),
        ("JSON of another shape", Response::ok("[1,2,3]")),
        ("keys that are no list", Response::ok(r#"{"keys":{}}"#)),
        ("an empty set", Response::ok(r#"{"keys":[]}"#)),
        ("a set of symmetric keys", Response::ok(idp::jwks([&secret]).to_string())),
        ("no UTF-8", Response::ok(b"{\"keys\":[\"\xff\xfe\"]}".to_vec())),
        ("deep nesting", Response::ok("[".repeat(100_000))),
        ("no status", Response::raw(vec![(b"content-type".to_vec(), b"application/json".to_vec())], jwks())),
        ("an odd status", Response::raw(vec![(b":status".to_vec(), b"\xff2OO".to_vec())], jwks())),
        ("two statuses", Response::raw(vec![(b":status".to_vec(), b"2000".to_vec())], jwks())),
    ]
}

#[test]
fn an_answer_without_keys_is_a_failed_fetch() {
    for (name, answer) in useless() {
        let (vm, call) = cold();
        let stream = vm.request(orders(&token().sign()));
        vm.respond(&call, answer);
        let reply = stream.outcome().replied();
        assert_eq!((reply.status, reply.details.as_str()), (503, "portcullis_keys_unavailable"), "{name}");
        let again = next_fetch(&vm, PATIENCE);
        assert_eq!(
            (&again.cluster, &again.headers),
            (&call.cluster, &call.headers),
            "{name}: the next try goes to the same place"
        );
        vm.respond(&again, keys_answer());
        assert!(vm.request(orders(&token().sign())).outcome().is_continued(), "{name}");
    }
}

#[test]
fn an_answer_without_keys_leaves_the_keys_that_are_there() {
    for (name, answer) in useless() {
        let vm = warm();
        let call = next_fetch(&vm, Duration::from_secs(601));
        vm.respond(&call, answer);
        let later = token().claim("exp", vm.world().now() + 60).sign();
        assert!(vm.request(orders(&later)).outcome().is_continued(), "{name}");
        assert!(!vm.logged(crate::fake_host::Level::Warn).is_empty(), "{name}: somebody should hear of it");
    }
}

#[test]
fn the_log_tells_what_envoy_answered_itself_from_what_the_endpoint_said() {
    let from_envoy = "from Envoy itself and not from the endpoint (";
    let counters = "cluster.idp.ssl.fail_verify_*";
    let long = format!("upstream \r\n\u{2028}{}", "x".repeat(5000));
    for (answer, said, is_local) in [
        (
            Response::timeout(),
            "status 504 from Envoy itself and not from the endpoint (upstream request timeout)",
            true,
        ),
        (
            Response::refused(),
            "status 503 from Envoy itself and not from the endpoint (upstream connect error",
            true,
        ),
        (Response::new(502, &[("content-length", "5006")], long), "status 502 from Envoy itself", true),
        // The endpoint's own, also where it speaks as Envoy does.
        (
            Response::new(503, &[("x-envoy-upstream-service-time", "1")], "upstream connect error"),
            "status 503; ",
            false,
        ),
        (Response::new(503, &[("server", "nginx")], "oops"), "status 503; ", false),
        (Response::new(500, &[("date", "Mon, 01 Jan 2024 00:00:00 GMT")], "oops"), "status 500; ", false),
        (Response::new(404, &[], "no"), "status 404; ", false),
    ] {
        let (vm, call) = cold();
        vm.respond(&call, answer);
        let lines = vm.logged(crate::fake_host::Level::Warn);
        let line = lines.iter().find(|line| line.contains("fetching keys failed")).expect("a line");
        assert!(line.contains(said), "{said:?} is not in {line}");
        assert_eq!(line.contains(from_envoy), is_local, "{line}");
        assert_eq!(line.contains(counters), is_local, "{line}");
        assert!(line.len() < 700 && !line.contains(['\r', '\n', '\u{2028}']), "{line}");
    }
}

#[test]
fn an_answer_that_is_too_large_is_not_even_read() {
    let limit = 300;
    let vm = Vm::start(with(config(), "/providers/corp/remote_jwks/max_bytes", json!(limit)));
    let call = the_fetch(&vm);
    let stream = vm.request(orders(&token().sign()));
    let padded = format!("{}{}", jwks(), " ".repeat(limit));
    vm.forget_host_calls();
    vm.respond(&call, Response::ok(padded));
    assert!(!vm.host_call_counts().contains_key("proxy_get_buffer_bytes"), "the body was copied");
    assert_eq!(details(&stream), "portcullis_keys_unavailable");

    // The default limits; what could be a SPIFFE bundle may be larger.
    for (format, limit) in [("jwks", 262_144), ("auto", 1_048_576)] {
        let vm = Vm::start(with(config(), "/providers/corp/remote_jwks/format", json!(format)));
        let call = the_fetch(&vm);
        vm.forget_host_calls();
        vm.respond(&call, Response::ok(vec![b' '; limit + 1]));
        assert!(
            !vm.host_call_counts().contains_key("proxy_get_buffer_bytes"),
            "{format}: the body was copied"
        );
    }
}

#[test]
fn keys_that_cannot_be_used_do_not_spoil_the_others() {
    let (vm, call) = cold();
    let good = key().public_jwk();
    let set = json!({ "keys": [
        { "kty": "OKP", "crv": "X448", "x": "AA" },
        { "kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA" },
        "not a key",
        good,
    ] });
    vm.respond(&call, Response::ok(set.to_string()));
    assert!(vm.request(orders(&token().sign())).outcome().is_continued());
}

#[test]
fn a_rotated_key_is_fetched_when_its_first_token_comes() {
    let next = Key::cached(Alg::ES256, "next");
    let vm = warm();
    let stream = vm.request(orders(&token().key(&next).sign()));
    assert!(stream.outcome().is_waiting());
    let call = next_fetch(&vm, Duration::from_secs(2));
    vm.respond(&call, Response::ok(idp::jwks([&next]).to_string()));
    assert!(stream.outcome().is_continued());
    // The key that was removed no longer counts.
    let old = vm.request(orders(&token().sign()));
    if old.outcome().is_waiting() {
        let call = next_fetch(&vm, Duration::from_secs(2));
        vm.respond(&call, Response::ok(idp::jwks([&next]).to_string()));
    }
    assert_eq!(details(&old), "portcullis_key_not_found");
}

#[test]
fn unknown_kids_cannot_make_the_filter_hammer_the_endpoint() {
    let vm = warm();
    for n in 0..300 {
        let stream = vm.request(orders(&token().kid(&format!("kid-{n}")).sign()));
        for call in vm.pending_calls() {
            vm.respond(&call, keys_answer());
        }
        if stream.outcome().is_waiting() {
            vm.advance(Duration::from_secs(1));
            for call in vm.pending_calls() {
                vm.respond(&call, keys_answer());
            }
        }
        // Looked for in vain, or it could be new and nobody may look yet.
        let said = details(&stream);
        assert!(
            matches!(said.as_str(), "portcullis_key_not_found" | "portcullis_keys_unavailable"),
            "{said}"
        );
    }
    let fetches = vm.sent_calls().len() - 1;
    let seconds = vm.world().now() - NOW;
    assert!(fetches as u64 <= 3 + seconds / 30, "{fetches} fetches in {seconds} s");
}

#[test]
fn keys_are_refreshed_ahead_of_their_end_and_nobody_waits_for_it() {
    let vm = warm();
    let call = next_fetch(&vm, Duration::from_secs(599));
    let later = token().claim("exp", vm.world().now() + 60).sign();
    assert!(vm.request(orders(&later)).outcome().is_continued());
    vm.respond(&call, keys_answer());
    assert!(vm.request(orders(&later)).outcome().is_continued());
}

#[test]
fn known_keys_outlive_an_outage_and_then_end() {
    let vm = Vm::start(with(config(), "/providers/corp/remote_jwks/stale_if_error", json!("1200s")));
    fetch_keys(&vm);
    let mut passed_until = 0;
    for _ in 0..40 {
        vm.advance(Duration::from_secs(60));
        for call in vm.pending_calls() {
            vm.respond(&call, Response::refused());
        }
        let stream = vm.request(orders(&token().claim("exp", vm.world().now() + 60).sign()));
        if stream.outcome().is_continued() {
            passed_until = vm.world().now() - NOW;
        } else if stream.outcome().is_waiting() {
            vm.advance(Duration::from_secs(30));
            assert_eq!(details(&stream), "portcullis_keys_unavailable");
        } else {
            assert_eq!(details(&stream), "portcullis_keys_unavailable");
        }
    }
    assert!((1700..=1800).contains(&passed_until), "keys served for {passed_until} s");
}

#[test]
fn the_request_for_keys_is_what_the_configuration_says() {
    for (uri, scheme, authority, path) in [
        ("https://idp.example/jwks.json", "https", "idp.example", "/jwks.json"),
        ("http://127.0.0.1:8080/a/b?tenant=1&x=%2F", "http", "127.0.0.1:8080", "/a/b?tenant=1&x=%2F"),
        ("https://idp.example:8443", "https", "idp.example:8443", "/"),
        ("https://idp.example?x=1", "https", "idp.example", "/?x=1"),
    ] {
        let vm = Vm::start(with(config(), "/providers/corp/remote_jwks/http_uri/uri", json!(uri)));
        let call = the_fetch(&vm);
        let asked = [":method", ":scheme", ":authority", ":path"].map(|name| call.header(name));
        assert_eq!(asked, ["GET", scheme, authority, path]);
        assert!(call.body.is_empty());
    }
}
