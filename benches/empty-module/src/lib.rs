//! A dynamic module that does nothing, for the benchmark: what it costs Envoy to call one.
//!
//! `make bench` builds it into `dist/libempty.so`.

#![allow(missing_docs, unsafe_code, reason = "Envoy looks for functions by their names")]

use std::ffi::c_void;

type Own = *const c_void;

/// Bytes that Envoy lends.
#[repr(C)]
pub struct Lent(*const u8, usize);

/// Envoy asks for something that is not null and keeps it; nothing looks at what it points to.
const SOMETHING: Own = std::ptr::without_provenance(1);

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const u8 {
    c"v0.2.0".as_ptr().cast()
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_config_new(_: Own, _: Lent, _: Lent) -> Own {
    SOMETHING
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(_: Lent, _: Lent) -> Own {
    SOMETHING
}

#[unsafe(no_mangle)]
pub extern "C" fn envoy_dynamic_module_on_http_filter_new(_: Own, _: Own) -> Own {
    SOMETHING
}

/// Hooks with nothing to do. None reads its arguments, and the caller clears them away; 0 is "go on".
macro_rules! idle {
    ($($name:ident;)*) => { $(#[unsafe(no_mangle)] pub extern "C" fn $name() -> usize { 0 })* };
}

idle! {
    envoy_dynamic_module_on_http_filter_config_destroy;
    envoy_dynamic_module_on_http_filter_config_http_callout_done;
    envoy_dynamic_module_on_http_filter_config_http_stream_complete;
    envoy_dynamic_module_on_http_filter_config_http_stream_data;
    envoy_dynamic_module_on_http_filter_config_http_stream_headers;
    envoy_dynamic_module_on_http_filter_config_http_stream_reset;
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers;
    envoy_dynamic_module_on_http_filter_config_scheduled;
    envoy_dynamic_module_on_http_filter_destroy;
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark;
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark;
    envoy_dynamic_module_on_http_filter_http_callout_done;
    envoy_dynamic_module_on_http_filter_http_stream_complete;
    envoy_dynamic_module_on_http_filter_http_stream_data;
    envoy_dynamic_module_on_http_filter_http_stream_headers;
    envoy_dynamic_module_on_http_filter_http_stream_reset;
    envoy_dynamic_module_on_http_filter_http_stream_trailers;
    envoy_dynamic_module_on_http_filter_local_reply;
    envoy_dynamic_module_on_http_filter_per_route_config_destroy;
    envoy_dynamic_module_on_http_filter_request_body;
    envoy_dynamic_module_on_http_filter_request_headers;
    envoy_dynamic_module_on_http_filter_request_trailers;
    envoy_dynamic_module_on_http_filter_response_body;
    envoy_dynamic_module_on_http_filter_response_headers;
    envoy_dynamic_module_on_http_filter_response_trailers;
    envoy_dynamic_module_on_http_filter_scheduled;
    envoy_dynamic_module_on_http_filter_stream_complete;
}
