//! Callbacks in place of the SDK's: the build exports `portcullis_on_…` as `proxy_on_…` (scripts/build-wasm).
//!
//! All others are the SDK's.
#![allow(unsafe_code)]

use proxy_wasm::types::Action;

use super::capabilities::CREATE;
use super::hostcalls::{proxy_on_configure, proxy_on_request_body, proxy_on_request_headers};
use super::root;

/// `FilterHeadersStatus::StopAllIterationAndWatermark`: nothing that follows comes before the request is resumed.
const STOP_ALL_ITERATION_AND_WATERMARK: u32 = 4;
/// `FilterDataStatus::StopIterationAndWatermark`: kept, and the client is slowed down.
const STOP_ITERATION_AND_WATERMARK: u32 = 2;

/// A plugin is to be configured. The SDK panics at one that was not announced to it.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn portcullis_on_configure(id: u32, size: usize) -> bool {
    if !root::is_known(id) {
        CREATE.tell(None);
        return false;
    }
    proxy_on_configure(id, size)
}

/// A request has header fields. The SDK can only say `StopIteration`: where the plugin says
/// `allow_on_headers_stop_iteration`, Envoy lets go of headers that were stopped so with the first part of the body.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn portcullis_on_request_headers(id: u32, count: usize, end: bool) -> u32 {
    match proxy_on_request_headers(id, count, end) {
        Action::Continue => Action::Continue as u32,
        _ => STOP_ALL_ITERATION_AND_WATERMARK,
    }
}

/// A part of a request's body has come. The SDK can only say `StopIterationAndBuffer`: Envoy answers a body that is
/// larger than its buffers with 413.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn portcullis_on_request_body(id: u32, size: usize, end: bool) -> u32 {
    match proxy_on_request_body(id, size, end) {
        Action::Continue => Action::Continue as u32,
        _ => STOP_ITERATION_AND_WATERMARK,
    }
}

/// The response to a call, or that there is none. The SDK panics at one to a call that it does not know or where it
/// cannot make the calling context the effective one, and knows only the calls of its own wrapper.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn portcullis_on_http_call_response(
    id: u32,
    token: u32,
    fields: usize,
    size: usize,
    _: usize,
) {
    root::call_answered(id, token, fields, size);
}
