//! What the module exports, as Envoy declares it.

use std::ffi::{c_char, c_void};

/// Bytes that somebody else owns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    pub start: *const u8,
    pub length: usize,
}

impl Bytes {
    pub const NONE: Self = Self { start: std::ptr::null(), length: 0 };

    /// # Safety
    /// They can be read.
    pub unsafe fn to_vec(self) -> Vec<u8> {
        if self.start.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }.to_vec()
    }

    /// # Safety
    /// They can be read.
    pub unsafe fn text(self) -> String {
        // SAFETY: the caller's.
        String::from_utf8(unsafe { self.to_vec() }).expect("the module's names and texts are UTF-8")
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }
}

/// A header field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Field {
    pub name: Bytes,
    pub value: Bytes,
}

type Raw = *mut c_void;
type Own = *const c_void;

unsafe extern "C" {
    pub fn envoy_dynamic_module_on_program_init() -> *const c_char;
    pub fn envoy_dynamic_module_on_http_filter_config_new(config: Raw, name: Bytes, text: Bytes) -> Own;
    pub fn envoy_dynamic_module_on_http_filter_config_destroy(plugin: Own);
    pub fn envoy_dynamic_module_on_http_filter_config_scheduled(config: Raw, plugin: Own, event: u64);
    pub fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        config: Raw,
        plugin: Own,
        call: u64,
        result: u32,
        headers: *const Field,
        headers_count: usize,
        body: *const Bytes,
        body_count: usize,
    );
    pub fn envoy_dynamic_module_on_http_filter_per_route_config_new(name: Bytes, text: Bytes) -> Own;
    pub fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(config: Own);
    pub fn envoy_dynamic_module_on_http_filter_new(plugin: Own, filter: Raw) -> Own;
    pub fn envoy_dynamic_module_on_http_filter_request_headers(filter: Raw, stream: Own, end: bool) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_request_body(filter: Raw, stream: Own, end: bool) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_request_trailers(filter: Raw, stream: Own) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_response_headers(filter: Raw, stream: Own, end: bool) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_response_body(filter: Raw, stream: Own, end: bool) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_response_trailers(filter: Raw, stream: Own) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_local_reply(
        filter: Raw,
        stream: Own,
        status: u32,
        details: Bytes,
        reset: bool,
    ) -> u32;
    pub fn envoy_dynamic_module_on_http_filter_stream_complete(filter: Raw, stream: Own);
    pub fn envoy_dynamic_module_on_http_filter_scheduled(filter: Raw, stream: Own, event: u64);
    pub fn envoy_dynamic_module_on_http_filter_destroy(stream: Own);
}
