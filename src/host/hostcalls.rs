//! Host calls of the proxy-wasm ABI 0.2.1 that never panic.
//!
//! The SDK's wrappers panic at statuses that they do not name, and a panic ends the VM. Every call can bring one: Envoy
//! says `InternalFailure` for what is withheld, others `Unimplemented` (which `Status` lacks). More is in brackets.
#![allow(unsafe_code)]

use proxy_wasm::types::{Action, BufferType, Bytes, LogLevel, MapType, MetricType, StreamType};

use super::header_map::{HeaderMap, serialize};
use super::memory::{Out, Size, returned};
use super::status::Status;
use crate::response::LocalReply;

/// Bytes that the host reads.
type In = *const u8;
type N = usize;
#[cfg_attr(target_family = "wasm", link(wasm_import_module = "env"))]
unsafe extern "C" {
    pub(super) safe fn proxy_set_tick_period_milliseconds(period: u32) -> Status;
    pub(super) safe fn proxy_set_effective_context(id: u32) -> Status;
    pub(super) safe fn proxy_continue_stream(stream: StreamType) -> Status;
    pub(super) safe fn proxy_close_stream(stream: StreamType) -> Status;
    pub(super) safe fn proxy_increment_metric(id: u32, by: i64) -> Status;
    pub(super) safe fn proxy_record_metric(id: u32, value: u64) -> Status;
    fn proxy_define_metric(kind: MetricType, name: In, _: N, id: *mut u32) -> Status;
    fn proxy_log(level: LogLevel, text: In, _: N) -> Status;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> Status;
    fn proxy_get_buffer_bytes(buffer: BufferType, start: N, max: N, _: Out, _: Size) -> Status;
    fn proxy_get_header_map_pairs(map: MapType, _: Out, _: Size) -> Status;
    fn proxy_add_header_map_value(map: MapType, name: In, _: N, value: In, _: N) -> Status;
    fn proxy_replace_header_map_value(map: MapType, name: In, _: N, value: In, _: N) -> Status;
    fn proxy_remove_header_map_value(map: MapType, name: In, _: N) -> Status;
    fn proxy_get_property(path: In, _: N, _: Out, _: Size) -> Status;
    fn proxy_set_property(path: In, _: N, value: In, _: N) -> Status;
    fn proxy_get_shared_data(key: In, _: N, _: Out, _: Size, cas: *mut u32) -> Status;
    fn proxy_set_shared_data(key: In, _: N, value: In, _: N, cas: u32) -> Status;
    fn proxy_call_foreign_function(name: In, _: N, argument: In, _: N, _: Out, _: Size) -> Status;
    /// Cluster, header fields, body and trailers; the timeout in milliseconds; the number that is returned.
    fn proxy_http_call(_: In, _: N, _: In, _: N, _: In, _: N, _: In, _: N, _: u32, _: *mut u32) -> Status;
    /// Status; details, body and header fields; the gRPC status, or -1.
    fn proxy_send_local_response(_: u32, _: In, _: N, _: In, _: N, _: In, _: N, _: i32) -> Status;
}

#[cfg(target_family = "wasm")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    pub(super) fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    pub(super) fn environ_get(variables: *mut *mut u8, bytes: *mut u8) -> u32;
    pub(super) fn random_get(bytes: *mut u8, length: usize) -> u32;
}

// SAFETY: the SDK declares them so. Any arguments are sound: it panics at a context that it does not know.
unsafe extern "C" {
    pub(super) safe fn proxy_on_configure(id: u32, size: usize) -> bool;
    pub(super) safe fn proxy_on_request_headers(id: u32, count: usize, end: bool) -> Action;
    pub(super) safe fn proxy_on_request_body(id: u32, size: usize, end: bool) -> Action;
}

// SAFETY, of every call below: the host reads live slices of the lengths that it is given, and writes to live variables.

/// Writes a line to the host's log. (The SDK's logger would panic where it cannot.)
pub(super) fn log(level: LogLevel, text: &str) -> Result<(), Status> {
    unsafe { proxy_log(level, text.as_ptr(), text.len()) }.ok()
}

/// The host's wall clock, in nanoseconds since the Unix epoch.
pub(super) fn now() -> Result<u64, Status> {
    let mut nanos = 0;
    unsafe { proxy_get_current_time_nanoseconds(&mut nanos) }.ok().map(|()| nanos)
}

/// At most the first `max` bytes of a buffer.
pub(super) fn buffer(buffer: BufferType, max: usize) -> Result<Bytes, Status> {
    returned(|out, size| unsafe { proxy_get_buffer_bytes(buffer, 0, max, out, size) })
}

/// All fields of a map. (The SDK panics at a list that is cut short and at a name that is not UTF-8, and copies each.)
pub(super) fn header_map(map: MapType) -> Result<HeaderMap, Status> {
    returned(|out, size| unsafe { proxy_get_header_map_pairs(map, out, size) }).map(HeaderMap::from)
}

/// Adds a field to a map, beside those of the same name. (For the SDK names are text; here they are what came.)
pub(super) fn add(map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status> {
    unsafe { proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len()) }.ok()
}

/// Sets a field of a map to one value.
pub(super) fn replace(map: MapType, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let ((n, nl), (v, vl)) = (parts(name), parts(value));
    unsafe { proxy_replace_header_map_value(map, n, nl, v, vl) }.ok()
}

/// Removes every field of a name from a map.
pub(super) fn remove(map: MapType, name: &[u8]) -> Result<(), Status> {
    unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) }.ok()
}

/// A property; its path has a zero byte between names. (For the SDK each path is put together in new memory.)
pub(super) fn property(path: &[u8]) -> Result<Bytes, Status> {
    returned(|out, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), out, size) })
}

/// Writes filter state: Envoy puts `wasm.` before the name.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), Status> {
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) }.ok()
}

/// The value of a shared key and its compare-and-swap number. (The SDK takes an empty value for none.)
pub(super) fn shared_data(key: &str) -> Result<(Bytes, u32), Status> {
    let ((key, len), mut cas) = (parts(key.as_bytes()), 0);
    Ok((returned(|out, size| unsafe { proxy_get_shared_data(key, len, out, size, &mut cas) })?, cas))
}

/// Sets a shared key; with a `cas` other than 0 only where its number is this one or it was never set.
pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) }.ok()
}

/// Calls a function that only some hosts have.
pub(super) fn call_foreign_function(name: &str, arg: &[u8]) -> Result<Bytes, Status> {
    let ((n, nl), (a, al)) = (parts(name.as_bytes()), parts(arg));
    returned(|out, size| unsafe { proxy_call_foreign_function(n, nl, a, al, out, size) })
}

/// The number of the metric of this kind and name.
pub(super) fn define_metric(kind: MetricType, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) }.ok().map(|()| id)
}

/// Sends a request to a cluster; gives the number of its response. (The SDK's dispatcher panics at an unknown number.)
pub(super) fn http_call(to: &str, fields: &[(&str, &str)], body: &[u8], millis: u32) -> Result<u32, Status> {
    let (fields, trailers, mut id) = (serialize(fields.iter().copied()), serialize([].into_iter()), 0);
    let ((c, cn), (f, fl), (b, bn)) = (parts(to.as_bytes()), parts(&fields), parts(body));
    let (t, tn) = parts(&trailers);
    unsafe { proxy_http_call(c, cn, f, fl, b, bn, t, tn, millis, &mut id) }.ok().map(|()| id)
}

/// Answers the request of the current context. (The SDK can give no details for the access log.)
pub(super) fn send_local_reply(reply: &LocalReply) -> Result<(), Status> {
    let LocalReply { status, headers, body, grpc_status, details } = reply;
    let headers = serialize(headers.iter().map(|(name, value)| (*name, &**value)));
    let ((d, dn), (b, bn), (f, fl)) = (parts(details.as_bytes()), parts(body.as_bytes()), parts(&headers));
    let (status, grpc_status) = (u32::from(*status), grpc_status.unwrap_or(-1));
    unsafe { proxy_send_local_response(status, d, dn, b, bn, f, fl, grpc_status) }.ok()
}

fn parts(bytes: &[u8]) -> (In, N) {
    (bytes.as_ptr(), bytes.len())
}
