//! Streams that end with their tokens: reset in time where they are still open, whatever the host says to it.

use std::time::Duration;

use serde_json::json;

use crate::fake_host::{Outcome, Request, Status, Stream, Vm};
use crate::fixtures::{config, keys_answer, local_config, orders, the_fetch, token, with};

/// `exp` of the tokens and the clock skew.
const END: Duration = Duration::from_secs(360);

fn ending(config: serde_json::Value) -> serde_json::Value {
    let own = json!({ "end_with_token": true });
    with(with(config, "/rules/2/streams", own.clone()), "/rules/3/streams", own)
}

fn api(token: &str) -> Request {
    Request::get("/api/events").bearer(token)
}

/// How often the filter reset a stream.
fn resets(vm: &Vm) -> usize {
    vm.host_call_counts().get("proxy_close_stream").copied().unwrap_or_default()
}

#[test]
fn what_is_open_still_is_reset_within_a_second_and_nothing_else_is() {
    let vm = Vm::start(ending(config()));
    let call = the_fetch(&vm);
    let good = token().sign();
    let waited = vm.request(api(&good));
    vm.respond(&call, keys_answer());
    let open: Vec<Stream> = [waited, vm.request(api(&good)), vm.request(orders(&good))].into();
    let public = vm.request(Request::get("/public/events").bearer(&good));
    let (finished, gone) = (vm.request(api(&good)), vm.request(api(&good)));
    let refused = vm.request(api("x"));
    finished.finish();
    gone.disconnect();
    vm.advance(END - Duration::from_millis(1));
    for stream in open.iter().chain([&public]) {
        assert!(stream.outcome().is_continued(), "{:?}", stream.outcome());
    }
    vm.advance(Duration::from_secs(1));
    for stream in &open {
        assert_eq!(stream.outcome(), Outcome::Reset);
    }
    assert!(public.outcome().is_continued());
    assert_eq!(refused.outcome().replied().status, 401);
    vm.advance(Duration::from_secs(60));
    assert_eq!(resets(&vm), open.len());
    assert_eq!(vm.take_violations(), Vec::<String>::new());
    assert!(vm.errors().is_empty(), "{:?}", vm.errors());
}

#[test]
fn a_stream_of_a_short_token_ends_in_time_whatever_tick_was_asked_for_before() {
    let vm = Vm::start(ending(local_config()));
    // For a while nothing but the end of this one is to be done.
    let long = vm.request(api(&token().claims(json!({ "exp": crate::fixtures::NOW + 100_000 })).sign()));
    vm.advance(Duration::from_secs(100));
    let short = vm.request(api(&token().sign()));
    vm.advance(END - Duration::from_secs(100) - Duration::from_millis(1));
    assert!(short.outcome().is_continued());
    vm.advance(Duration::from_secs(1));
    assert_eq!(short.outcome(), Outcome::Reset);
    assert!(long.outcome().is_continued());
}

#[test]
fn a_host_that_ends_no_stream_is_named_and_all_else_goes_on() {
    for call in ["proxy_close_stream", "proxy_set_effective_context"] {
        for status in [Status::INTERNAL_FAILURE, Status::UNIMPLEMENTED, Status::BAD_ARGUMENT] {
            let vm = Vm::start(ending(local_config()));
            let open: Vec<Stream> = (0..3).map(|_| vm.request(api(&token().sign()))).collect();
            vm.fail(call, status);
            vm.advance(END + Duration::from_secs(1));
            assert!(open.iter().all(|stream| stream.outcome().is_continued()), "{call} {status:?}");
            // That there is no such context is what is said of a stream that has ended.
            let is_told = vm.errors().iter().any(|line| line.contains(call));
            assert_eq!(is_told, (call, status) != ("proxy_set_effective_context", Status::BAD_ARGUMENT));
            vm.heal();
            let fresh = token().claims(json!({ "exp": crate::fixtures::NOW + 1_000 })).sign();
            let next = vm.request(api(&fresh));
            assert!(next.outcome().is_continued(), "{call} {status:?}");
            vm.advance(Duration::from_secs(1_000));
            assert_eq!(next.outcome(), Outcome::Reset, "{call} {status:?}");
        }
    }
}

#[test]
fn a_stream_whose_response_or_trailers_were_refused_is_over() {
    let vm = Vm::start(ending(local_config()));
    vm.fail("proxy_remove_header_map_value", Status::INTERNAL_FAILURE);
    let refused = vm.request(api(&token().sign()).trailer("x-user", "mallory"));
    assert_eq!(refused.outcome().replied().status, 503);
    vm.heal();
    let before = resets(&vm);
    vm.advance(END + Duration::from_secs(1));
    assert_eq!(resets(&vm), before);
}
