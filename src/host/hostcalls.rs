//! The host calls of proxy-wasm ABI 0.2.1, each status a value.
//!
//! A status is a number here, whatever the host makes of it: an unknown one must not end the VM.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::null_mut;
use std::time::Duration;

use crate::request::Field;
use crate::response::LocalReply;
use crate::time::Timestamp;

/// A status other than success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Status(u32);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host status {}", self.0)
    }
}

fn check(status: u32) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// A map of header fields.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Map {
    RequestHeaders = 0,
    RequestTrailers = 1,
    ResponseHeaders = 2,
    CallResponseHeaders = 6,
}

/// A buffer of bytes.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Buffer {
    CallResponseBody = 4,
    PluginConfiguration = 7,
}

#[cfg_attr(target_family = "wasm", link(wasm_import_module = "env"))]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, text_size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(out: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        most: usize,
        out: *mut *mut u8,
        out_size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, out: *mut *mut u8, out_size: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, out: *mut *mut u8, out_size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, out: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        out: *mut *mut u8,
        out_size: *mut usize,
        out_cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        out: *mut *mut u8,
        out_size: *mut usize,
    ) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        out: *mut u32,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// Writes a line to the host's log.
pub(super) fn log(level: log::Level, text: &str) {
    let level = match level {
        log::Level::Trace => 0,
        log::Level::Debug => 1,
        log::Level::Info => 2,
        log::Level::Warn => 3,
        log::Level::Error => 4,
    };
    write_log(level, text);
}

/// Writes a line at the level that says the VM is lost.
#[cfg(target_family = "wasm")]
pub(super) fn log_critical(text: &str) {
    write_log(5, text);
}

fn write_log(level: u32, text: &str) {
    // SAFETY: the pointer and length are of one live string, which the host only reads. A line that
    // cannot be written is lost; there is nowhere to say so.
    let _ = unsafe { proxy_log(level, text.as_ptr(), text.len()) };
}

/// The host's wall clock.
pub(super) fn now() -> Result<Timestamp, Status> {
    let mut nanos = 0;
    // SAFETY: the host writes one u64 to a live variable.
    check(unsafe { proxy_get_current_time_nanoseconds(&mut nanos) })?;
    Ok(Timestamp::from_nanos(nanos))
}

/// How often the host calls `on_tick` of this plugin.
pub(super) fn set_tick_period(period: Duration) -> Result<(), Status> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: no pointers.
    check(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// Makes the calls that follow act on another context. Fails where that is gone.
pub(super) fn set_effective_context(id: u32) -> Result<(), Status> {
    // SAFETY: no pointers.
    check(unsafe { proxy_set_effective_context(id) })
}

/// At most the first `most` bytes of a buffer.
pub(super) fn buffer(buffer: Buffer, most: usize) -> Result<Vec<u8>, Status> {
    // SAFETY: the host writes a pointer and a length to two live variables.
    taken(|out, size| unsafe { proxy_get_buffer_bytes(buffer as u32, 0, most, out, size) })
}

/// All fields of a map.
pub(super) fn pairs(map: Map) -> Result<Pairs, Status> {
    // SAFETY: as above.
    taken(|out, size| unsafe { proxy_get_header_map_pairs(map as u32, out, size) }).map(Pairs)
}

/// Adds a field to a map, beside those of the same name.
pub(super) fn add(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and lengths are of live slices, which the host only reads.
    check(unsafe {
        proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Sets a field of a map to one value.
pub(super) fn replace(map: Map, name: &[u8], value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe {
        proxy_replace_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes every field of a name from a map.
pub(super) fn remove(map: Map, name: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// A property of the current request; `path` is its names with a zero byte between them.
pub(super) fn property(path: &[u8]) -> Property {
    const NOT_FOUND: Status = Status(1);
    const SERIALIZATION_FAILURE: Status = Status(3);
    // SAFETY: the host reads one live slice, and writes a pointer and a length to two live variables.
    match taken(|out, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), out, size) }) {
        Ok(value) => Property::Value(value),
        Err(NOT_FOUND) => Property::Absent,
        Err(SERIALIZATION_FAILURE) => Property::Structure,
        Err(_) => Property::Failed,
    }
}

/// What became of asking for a property.
pub(super) enum Property {
    /// There is none.
    Absent,
    /// This.
    Value(Vec<u8>),
    /// Something that cannot be handed over as bytes: a structure, or null.
    Structure,
    /// The host could not tell.
    Failed,
}

/// Writes filter state: Envoy puts `wasm.` before the name.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// The value of a shared key and its compare-and-swap number; none where it was never set.
pub(super) fn shared_data(key: &str) -> Result<Option<(Vec<u8>, u32)>, Status> {
    const NOT_FOUND: Status = Status(1);
    let mut cas = 0;
    // SAFETY: the host reads one live slice, and writes a pointer, a length and a number to three live
    // variables.
    let value =
        taken(|out, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), out, size, &mut cas) });
    match value {
        Ok(value) => Ok(Some((value, cas))),
        Err(NOT_FOUND) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Sets a shared key: whatever it holds with `cas` 0, else only where its number is this one or it was
/// never set.
pub(super) fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: the host reads two live slices.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) })
}

/// Calls a function that only some hosts have.
pub(super) fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    // SAFETY: the host reads two live slices, and writes a pointer and a length to two live variables.
    taken(|out, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), out, size)
    })
}

/// The number of the metric of this kind and name: 0 a counter, 1 a gauge, 2 a histogram.
pub(super) fn define_metric(kind: u32, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: the host reads one live slice and writes a number to a live variable.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

/// Adds to a counter.
pub(super) fn increment_metric(id: u32, by: i64) -> Result<(), Status> {
    // SAFETY: no pointers.
    check(unsafe { proxy_increment_metric(id, by) })
}

/// Sets a gauge, or records a value of a histogram.
pub(super) fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: no pointers.
    check(unsafe { proxy_record_metric(id, value) })
}

/// Lets the paused request of the current context go on.
pub(super) fn resume_request() -> Result<(), Status> {
    const REQUEST: u32 = 0;
    // SAFETY: no pointers.
    check(unsafe { proxy_continue_stream(REQUEST) })
}

/// Sends a request without a body to a cluster; gives the number under which its answer comes.
pub(super) fn http_call(
    cluster: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<u32, Status> {
    let headers = serialize(headers.iter().copied());
    let trailers = serialize([].into_iter());
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut token = 0;
    // SAFETY: the host reads live slices, and writes a number to a live variable.
    check(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            millis,
            &mut token,
        )
    })?;
    Ok(token)
}

/// Answers the request of the current context.
pub(super) fn local_reply(reply: &LocalReply) -> Result<(), Status> {
    let headers = serialize(reply.headers.iter().map(|(name, value)| (*name, &**value)));
    // SAFETY: as above.
    check(unsafe {
        proxy_send_local_response(
            u32::from(reply.status),
            reply.details.as_ptr(),
            reply.details.len(),
            reply.body.as_ptr(),
            reply.body.len(),
            headers.as_ptr(),
            headers.len(),
            reply.grpc_status.unwrap_or(-1),
        )
    })
}

/// Bytes that the host allocated in our memory and handed over.
fn taken(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    let mut data = null_mut();
    let mut size = 0;
    check(call(&mut data, &mut size))?;
    if data.is_null() || size == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the host got the memory from our `proxy_on_memory_allocate`, which makes a Vec<u8> of this
    // capacity and forgets it; the host keeps no pointer to it.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// The fields of a map as the host writes them: a count, the lengths of names and values, and then
/// each name and value followed by a zero byte. Numbers are 32 bits, little-endian.
#[derive(Default)]
pub(super) struct Pairs(Vec<u8>);

impl From<Vec<u8>> for Pairs {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Pairs> for Vec<u8> {
    fn from(pairs: Pairs) -> Self {
        pairs.0
    }
}

impl Pairs {
    /// The fields in order; none where the bytes are not of that form.
    pub(super) fn fields(&self) -> Vec<Field<'_>> {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> Option<Vec<Field<'_>>> {
        let (count, rest) = number(&self.0)?;
        let (mut lengths, mut bytes) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut text = |length: usize| {
            let (text, rest) = bytes.split_at_checked(length)?;
            bytes = rest.split_first()?.1;
            Some(text)
        };
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let (name, rest) = number(lengths)?;
            let (value, rest) = number(rest)?;
            lengths = rest;
            fields.push((text(name)?, text(value)?));
        }
        Some(fields)
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*digits)).ok()?, rest))
}

fn serialize<'f>(fields: impl ExactSizeIterator<Item = (&'f str, &'f str)> + Clone) -> Vec<u8> {
    let word = |length: usize| u32::try_from(length).unwrap_or(0).to_le_bytes();
    let mut bytes = Vec::with_capacity(512);
    bytes.extend(word(fields.len()));
    for (name, value) in fields.clone() {
        bytes.extend(word(name.len()));
        bytes.extend(word(value.len()));
    }
    for (name, value) in fields {
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_are_written() {
        let fields = [("a", "1"), ("bc", ""), ("a", "\u{e9}")];
        let pairs = Pairs(serialize(fields.into_iter()));
        let expected: Vec<Field<'_>> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        assert_eq!(pairs.fields(), expected);
    }

    #[test]
    fn a_broken_buffer_has_no_fields() {
        let whole = serialize([("name", "value")].into_iter());
        for length in 0..whole.len() {
            assert!(Pairs(whole.iter().take(length).copied().collect()).fields().is_empty(), "{length}");
        }
        assert!(Pairs(vec![0xff; 64]).fields().is_empty());
    }
}
