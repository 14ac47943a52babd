//! The host functions of the proxy-wasm ABI 0.2.1, as the guest links against them.
//!
//! Each counts itself, meets the faults that the test injected, and then does what Envoy does.

use std::cell::RefCell;
use std::sync::Arc;

use super::state::{Call, Deferred, Level, Map, MetricKind, Property, Reply, VmState};
use super::vm::VmCore;
use super::wire::{Status, decode_pairs, dotted, encode_pairs};
use super::world::{Cluster, MAX_PENDING_PER_CLUSTER, Stat};

thread_local! {
    /// The VM that lives on this thread.
    static VM: RefCell<Option<Arc<VmCore>>> = const { RefCell::new(None) };
}

/// Makes this thread the home of a VM.
pub(super) fn adopt(vm: &Arc<VmCore>) {
    VM.with(|slot| *slot.borrow_mut() = Some(Arc::clone(vm)));
}

/// The VM of this thread.
pub(super) fn adopted() -> Option<Arc<VmCore>> {
    // A context that is dropped while its thread ends may still call: there is no host by then.
    VM.try_with(|slot| slot.borrow().clone()).ok().flatten()
}

type Outcome = Result<(), Status>;

fn host_call(name: &'static str, body: impl FnOnce(&mut VmState) -> Outcome) -> u32 {
    let Some(vm) = adopted() else {
        return Status::INTERNAL_FAILURE.0;
    };
    let mut state = vm.lock();
    state.trace.push(name);
    let outcome = match state.fault(name) {
        Some(status) => Err(status),
        None => body(&mut state),
    };
    outcome.err().unwrap_or(Status::OK).0
}

/// # Safety
/// `data` is null or points to `size` bytes that the guest keeps alive during the call.
unsafe fn guest_bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if data.is_null() || size == 0 {
        return &[];
    }
    // SAFETY: the caller vouches for pointer and length.
    unsafe { std::slice::from_raw_parts(data, size) }
}

/// Hands bytes over in memory that the guest allocates and then owns; nothing is a null pointer.
///
/// # Safety
/// Both pointers are valid for a write.
unsafe fn give(bytes: &[u8], return_data: *mut *mut u8, return_size: *mut usize) -> Outcome {
    let memory = if bytes.is_empty() {
        std::ptr::null_mut()
    } else {
        let allocate = adopted().ok_or(Status::INVALID_MEMORY_ACCESS)?.guest.allocate;
        let memory = allocate(bytes.len());
        if memory.is_null() {
            return Err(Status::INVALID_MEMORY_ACCESS);
        }
        // SAFETY: the guest has just allocated that many bytes, which nothing else knows of.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len()) };
        memory
    };
    // SAFETY: the caller vouches for both pointers.
    unsafe {
        return_data.write(memory);
        return_size.write(bytes.len());
    }
    Ok(())
}

// ---- logging and time

#[unsafe(no_mangle)]
extern "C" fn proxy_log(level: u32, message: *const u8, size: usize) -> u32 {
    // SAFETY: the guest's own string.
    let message = String::from_utf8_lossy(unsafe { guest_bytes(message, size) }).into_owned();
    host_call("proxy_log", |vm| {
        vm.logs.push((Level::from_u32(level), message));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_log_level(return_level: *mut u32) -> u32 {
    host_call("proxy_get_log_level", |vm| {
        // SAFETY: the guest's out-pointer.
        unsafe { return_level.write(vm.log_level) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_current_time_nanoseconds(return_time: *mut u64) -> u32 {
    host_call("proxy_get_current_time_nanoseconds", |vm| {
        let now = vm.world.lock().wall.as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        // SAFETY: the guest's out-pointer.
        unsafe { return_time.write(now) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> u32 {
    host_call("proxy_set_tick_period_milliseconds", |vm| {
        let uptime = vm.world.lock().uptime;
        let id = vm.root_id();
        let root = vm.roots.get_mut(&id).ok_or(Status::BAD_ARGUMENT)?;
        let period = std::time::Duration::from_millis(u64::from(period));
        root.tick_period = (!period.is_zero()).then_some(period);
        root.next_tick = uptime + period;
        Ok(())
    })
}

// ---- buffers

const HTTP_CALL_RESPONSE_BODY: u32 = 4;
const VM_CONFIGURATION: u32 = 6;
const PLUGIN_CONFIGURATION: u32 = 7;
const LAST_BUFFER: u32 = 8;

#[unsafe(no_mangle)]
extern "C" fn proxy_get_buffer_bytes(
    buffer: u32,
    start: usize,
    max_size: usize,
    return_data: *mut *mut u8,
    return_size: *mut usize,
) -> u32 {
    host_call("proxy_get_buffer_bytes", |vm| {
        let root = vm.roots.get(&vm.root_id());
        let bytes = match buffer {
            _ if buffer > LAST_BUFFER => return Err(Status::BAD_ARGUMENT),
            HTTP_CALL_RESPONSE_BODY => root.and_then(|r| r.answer.as_ref()).map(|a| &a.body),
            VM_CONFIGURATION => root.filter(|r| r.starting).map(|r| &r.vm_configuration),
            PLUGIN_CONFIGURATION => root.filter(|r| r.starting).map(|r| &r.configuration),
            _ => None,
        };
        let bytes = bytes.ok_or(Status::NOT_FOUND)?;
        start.checked_add(max_size).ok_or(Status::BAD_ARGUMENT)?;
        let end = bytes.len().min(start.saturating_add(max_size));
        let part = bytes.get(start..end).unwrap_or_default();
        if part.is_empty() {
            // Envoy leaves the out-pointers as the guest set them.
            return Ok(());
        }
        // SAFETY: the guest's out-pointers.
        unsafe { give(part, return_data, return_size) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_buffer_bytes(
    _buffer: u32,
    _start: usize,
    _size: usize,
    _data: *const u8,
    _data_size: usize,
) -> u32 {
    host_call("proxy_set_buffer_bytes", |_| Err(Status::BAD_ARGUMENT))
}

// ---- header maps

const REQUEST_HEADERS: u32 = 0;
const REQUEST_TRAILERS: u32 = 1;
const RESPONSE_HEADERS: u32 = 2;
const CALL_RESPONSE_HEADERS: u32 = 6;
const CALL_RESPONSE_TRAILERS: u32 = 7;
const LAST_MAP: u32 = 7;

/// The map as this context may read it now.
fn readable(vm: &VmState, map: u32) -> Result<Option<Map>, Status> {
    let answer = vm.roots.get(&vm.root_id()).and_then(|r| r.answer.as_ref());
    if map > LAST_MAP {
        return Err(Status::BAD_ARGUMENT);
    }
    if map == CALL_RESPONSE_HEADERS {
        // A reset has no headers to show: the host holds a null pointer then.
        let headers = answer.map(|a| &a.headers).filter(|h| !h.is_empty());
        return Ok(headers.map(|h| Map::new(h.clone())));
    }
    if map == CALL_RESPONSE_TRAILERS {
        return Ok(answer.map(|a| Map::new(a.trailers.clone())));
    }
    let stream = vm.streams.get(&vm.context());
    let map = stream.and_then(|stream| match map {
        REQUEST_HEADERS => Some(&stream.request),
        REQUEST_TRAILERS => Some(&stream.request_trailers),
        RESPONSE_HEADERS => Some(&stream.response),
        _ => None,
    });
    Ok(map.filter(|map| map.readable).cloned())
}

/// Changes a map; Envoy picks the route anew when the request's headers change.
fn change(vm: &mut VmState, map: u32, edit: impl FnOnce(&mut Map)) -> Outcome {
    let stream = vm.stream().ok_or(Status::BAD_ARGUMENT)?;
    if stream.logging {
        return Err(Status::BAD_ARGUMENT);
    }
    let target = match map {
        REQUEST_HEADERS => &mut stream.request,
        REQUEST_TRAILERS => &mut stream.request_trailers,
        RESPONSE_HEADERS => &mut stream.response,
        _ => return Err(Status::BAD_ARGUMENT),
    };
    if !target.readable {
        return Err(Status::BAD_ARGUMENT);
    }
    edit(target);
    stream.route_cache_cleared |= map == REQUEST_HEADERS;
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_header_map_pairs(
    map: u32,
    return_data: *mut *mut u8,
    return_size: *mut usize,
) -> u32 {
    host_call("proxy_get_header_map_pairs", |vm| {
        // A map that is not there is an empty list, not an error.
        let pairs = readable(vm, map)?.map_or_else(Vec::new, |map| map.pairs);
        let garbled = match &mut vm.bad_pairs {
            Some((0, _)) => vm.bad_pairs.take(),
            Some((after, _)) => {
                *after -= 1;
                None
            }
            None => None,
        };
        let bytes = match garbled {
            Some((_, bytes)) => bytes,
            None if pairs.is_empty() => Vec::new(),
            None => encode_pairs(&pairs),
        };
        // SAFETY: the guest's out-pointers.
        unsafe { give(&bytes, return_data, return_size) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize) -> u32 {
    // SAFETY: the guest's own buffer.
    let pairs = decode_pairs(unsafe { guest_bytes(data, size) });
    host_call("proxy_set_header_map_pairs", |vm| {
        change(vm, map, |target| {
            target.pairs.clear();
            for (name, value) in &pairs {
                target.add(name, value);
            }
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    return_data: *mut *mut u8,
    return_size: *mut usize,
) -> u32 {
    // SAFETY: the guest's own string.
    let name = unsafe { guest_bytes(name, name_size) };
    host_call("proxy_get_header_map_value", |vm| {
        let map = readable(vm, map)?.ok_or(Status::BAD_ARGUMENT)?;
        let value = map.first(name).ok_or(Status::NOT_FOUND)?;
        // SAFETY: the guest's out-pointers.
        unsafe { give(value, return_data, return_size) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_add_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    // SAFETY: the guest's own strings.
    let (name, value) = unsafe { (guest_bytes(name, name_size), guest_bytes(value, value_size)) };
    host_call("proxy_add_header_map_value", |vm| change(vm, map, |target| target.add(name, value)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_replace_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    // SAFETY: the guest's own strings.
    let (name, value) = unsafe { (guest_bytes(name, name_size), guest_bytes(value, value_size)) };
    host_call("proxy_replace_header_map_value", |vm| change(vm, map, |target| target.replace(name, value)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32 {
    // SAFETY: the guest's own string.
    let name = unsafe { guest_bytes(name, name_size) };
    host_call("proxy_remove_header_map_value", |vm| change(vm, map, |target| target.remove(name)))
}

// ---- properties

/// What the host knows of a request without being told by the test.
fn derived_property(vm: &VmState, path: &str) -> Option<Vec<u8>> {
    let root = vm.roots.get(&vm.root_id())?;
    match path {
        "plugin_name" => return Some(root.plugin_name.clone().into_bytes()),
        "plugin_root_id" => return Some(root.root_id.clone().into_bytes()),
        "plugin_vm_id" => return Some(vm.vm_id.clone().into_bytes()),
        _ => {}
    }
    let stream = vm.streams.get(&vm.context())?;
    let header = |name: &str| stream.request.first(name.as_bytes()).map(<[u8]>::to_vec);
    let in_path = |part: fn(&[u8], usize) -> &[u8]| {
        let path = header(":path")?;
        let cut = path.iter().position(|&b| b == b'?').unwrap_or(path.len());
        Some(part(&path, cut).to_vec())
    };
    match path {
        "request.path" => header(":path"),
        "request.url_path" => in_path(|path, cut| path.get(..cut).unwrap_or_default()),
        "request.query" => in_path(|path, cut| path.get(cut + 1..).unwrap_or_default()),
        "request.host" => header(":authority"),
        "request.method" => header(":method"),
        "request.scheme" => header(":scheme"),
        "request.protocol" => Some(b"HTTP/1.1".to_vec()),
        _ => {
            if let Some(name) = path.strip_prefix("request.headers.") {
                // Envoy joins what was sent several times.
                let same = |(key, _): &&(Vec<u8>, _)| key == name.as_bytes();
                let all = stream.request.pairs.iter().filter(same);
                let all: Vec<&[u8]> = all.map(|(_, value)| value.as_slice()).collect();
                return (!all.is_empty()).then(|| all.join(&b","[..]));
            }
            let key = path.strip_prefix("filter_state.");
            let key = key.map_or_else(|| format!("wasm.{path}"), str::to_owned);
            stream.filter_state.get(&key).map(|fs| fs.value.clone())
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    return_data: *mut *mut u8,
    return_size: *mut usize,
) -> u32 {
    // SAFETY: the guest's own string.
    let path = dotted(unsafe { guest_bytes(path, path_size) });
    host_call("proxy_get_property", |vm| {
        let stream = vm.streams.get(&vm.context());
        let set = stream.and_then(|s| s.properties.get(&path)).cloned();
        let value = match set {
            Some(Property::Value(value)) => value,
            Some(Property::Fails(status)) => return Err(status),
            None if path == "xds" || path == "filter_state" => {
                return Err(Status::SERIALIZATION_FAILURE);
            }
            None => derived_property(vm, &path).ok_or(Status::NOT_FOUND)?,
        };
        // SAFETY: the guest's out-pointers.
        unsafe { give(&value, return_data, return_size) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_property(
    path: *const u8,
    path_size: usize,
    value: *const u8,
    value_size: usize,
) -> u32 {
    // SAFETY: the guest's own strings.
    let (path, value) = unsafe { (guest_bytes(path, path_size), guest_bytes(value, value_size)) };
    // Unlike when reading, the NUL between segments stays in the key.
    let key = format!("wasm.{}", String::from_utf8_lossy(path));
    host_call("proxy_set_property", |vm| {
        let read_only = vm.read_only_properties.contains(&key);
        let stream = vm.stream().ok_or(Status::NOT_FOUND)?;
        if stream.filter_state.get(&key).is_some_and(|fs| fs.read_only) {
            return Err(Status::BAD_ARGUMENT);
        }
        let value = value.to_vec();
        let object = super::state::FilterState { value, read_only };
        stream.filter_state.insert(key, object);
        Ok(())
    })
}

// ---- shared data and queues

#[unsafe(no_mangle)]
extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_size: usize,
    return_data: *mut *mut u8,
    return_size: *mut usize,
    return_cas: *mut u32,
) -> u32 {
    // SAFETY: the guest's own string.
    let key = unsafe { guest_bytes(key, key_size) };
    host_call("proxy_get_shared_data", |vm| {
        let world = vm.world.lock();
        let data = world.shared_data.get(&vm.vm_id);
        let (value, cas) = data.and_then(|d| d.get(key)).ok_or(Status::NOT_FOUND)?;
        // SAFETY: the guest's out-pointers.
        unsafe {
            return_cas.write(cas);
            give(&value, return_data, return_size)
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
    cas: u32,
) -> u32 {
    // SAFETY: the guest's own strings.
    let (key, value) = unsafe { (guest_bytes(key, key_size), guest_bytes(value, value_size)) };
    host_call("proxy_set_shared_data", |vm| {
        let mut world = vm.world.lock();
        let data = world.shared_data.entry(vm.vm_id.clone()).or_default();
        data.set(key, value, cas)
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_register_shared_queue(_: *const u8, _: usize, _: *mut u32) -> u32 {
    host_call("proxy_register_shared_queue", |_| Err(Status::UNIMPLEMENTED))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_resolve_shared_queue(
    _vm_id: *const u8,
    _vm_id_size: usize,
    _name: *const u8,
    _name_size: usize,
    _return_id: *mut u32,
) -> u32 {
    host_call("proxy_resolve_shared_queue", |_| Err(Status::NOT_FOUND))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_dequeue_shared_queue(_: u32, _: *mut *mut u8, _: *mut usize) -> u32 {
    host_call("proxy_dequeue_shared_queue", |_| Err(Status::EMPTY))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_enqueue_shared_queue(_: u32, _: *const u8, _: usize) -> u32 {
    host_call("proxy_enqueue_shared_queue", |_| Err(Status::NOT_FOUND))
}

// ---- streams

const STREAM_REQUEST: u32 = 0;
const STREAM_RESPONSE: u32 = 1;

#[unsafe(no_mangle)]
extern "C" fn proxy_continue_stream(stream_type: u32) -> u32 {
    host_call("proxy_continue_stream", |vm| {
        let id = vm.context();
        let Some(stream) = vm.streams.get_mut(&id) else {
            vm.violations.push(format!("continue_stream in context {id}, not a stream"));
            return Ok(());
        };
        match stream_type {
            STREAM_REQUEST => {
                // From here on the guest finds no headers any more.
                stream.request.readable = false;
                stream.request_trailers.readable = false;
                vm.deferred.push(Deferred::Continue(id));
                Ok(())
            }
            STREAM_RESPONSE => Ok(()),
            _ => Err(Status::BAD_ARGUMENT),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_close_stream(_stream_type: u32) -> u32 {
    host_call("proxy_close_stream", |vm| {
        let id = vm.context();
        vm.streams.get(&id).ok_or(Status::BAD_ARGUMENT)?;
        vm.deferred.push(Deferred::Close(id));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_send_local_response(
    status: u32,
    details: *const u8,
    details_size: usize,
    body: *const u8,
    body_size: usize,
    headers: *const u8,
    headers_size: usize,
    grpc_status: i32,
) -> u32 {
    // SAFETY: the guest's own buffers.
    let (details, body, headers) = unsafe {
        (guest_bytes(details, details_size), guest_bytes(body, body_size), guest_bytes(headers, headers_size))
    };
    let reply = Reply {
        status,
        // Envoy writes the details into access logs: no blanks.
        details: String::from_utf8_lossy(details).replace(char::is_whitespace, "_"),
        body: body.to_vec(),
        headers: decode_pairs(headers)
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect(),
        grpc_status: (grpc_status >= 0).then_some(grpc_status),
    };
    host_call("proxy_send_local_response", |vm| {
        let id = vm.context();
        let Some(stream) = vm.streams.get_mut(&id) else {
            vm.violations.push(format!("local reply in context {id}, not a stream"));
            return Ok(());
        };
        if stream.reply.is_some() {
            vm.violations.push(format!("stream {id}: two local replies"));
            return Ok(());
        }
        stream.reply = Some(reply);
        vm.deferred.push(Deferred::Reply(id));
        Ok(())
    })
}

// ---- callouts

#[unsafe(no_mangle)]
extern "C" fn proxy_http_call(
    upstream: *const u8,
    upstream_size: usize,
    headers: *const u8,
    headers_size: usize,
    body: *const u8,
    body_size: usize,
    _trailers: *const u8,
    _trailers_size: usize,
    timeout: u32,
    return_token: *mut u32,
) -> u32 {
    // SAFETY: the guest's own buffers.
    let (cluster, headers, body) = unsafe {
        (
            String::from_utf8_lossy(guest_bytes(upstream, upstream_size)).into_owned(),
            decode_pairs(guest_bytes(headers, headers_size)),
            guest_bytes(body, body_size).to_vec(),
        )
    };
    host_call("proxy_http_call", |vm| {
        let (health, uptime) = {
            let world = vm.world.lock();
            (world.clusters.get(&cluster).copied(), world.uptime)
        };
        let health = health.ok_or(Status::BAD_ARGUMENT)?;
        let named = |wanted: &str| headers.iter().any(|(name, _)| name == wanted.as_bytes());
        if ![":method", ":path", ":authority"].into_iter().all(named) {
            return Err(Status::BAD_ARGUMENT);
        }
        let under_way = vm.pending.iter().filter(|c| c.cluster == cluster).count();
        if health == Cluster::Unhealthy || under_way >= MAX_PENDING_PER_CLUSTER {
            return Err(Status::INTERNAL_FAILURE);
        }
        let token = vm.next_token;
        vm.next_token += 4;
        let call = Call {
            token,
            root: vm.root_id(),
            cluster,
            headers,
            body,
            timeout: std::time::Duration::from_millis(u64::from(timeout)),
            sent_at: uptime,
        };
        vm.pending.push(call.clone());
        vm.sent.push(call);
        // SAFETY: the guest's out-pointer.
        unsafe { return_token.write(token) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_call(
    _upstream: *const u8,
    _upstream_size: usize,
    _service: *const u8,
    _service_size: usize,
    _method: *const u8,
    _method_size: usize,
    _metadata: *const u8,
    _metadata_size: usize,
    _message: *const u8,
    _message_size: usize,
    _timeout: u32,
    _return_id: *mut u32,
) -> u32 {
    host_call("proxy_grpc_call", |_| Err(Status::INTERNAL_FAILURE))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_stream(
    _upstream: *const u8,
    _upstream_size: usize,
    _service: *const u8,
    _service_size: usize,
    _method: *const u8,
    _method_size: usize,
    _metadata: *const u8,
    _metadata_size: usize,
    _return_id: *mut u32,
) -> u32 {
    host_call("proxy_grpc_stream", |_| Err(Status::INTERNAL_FAILURE))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_send(_: u32, _: *const u8, _: usize, _: bool) -> u32 {
    host_call("proxy_grpc_send", |_| Err(Status::NOT_FOUND))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_cancel(_: u32) -> u32 {
    host_call("proxy_grpc_cancel", |_| Err(Status::NOT_FOUND))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_grpc_close(_: u32) -> u32 {
    host_call("proxy_grpc_close", |_| Err(Status::NOT_FOUND))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_status(code: *mut u32, data: *mut *mut u8, size: *mut usize) -> u32 {
    host_call("proxy_get_status", |_| {
        // SAFETY: the guest's out-pointers.
        unsafe {
            code.write(0);
            give(&[], data, size)
        }
    })
}

// ---- contexts and foreign functions

#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context_id: u32) -> u32 {
    host_call("proxy_set_effective_context", |vm| {
        if !vm.exists(context_id) {
            return Err(Status::BAD_ARGUMENT);
        }
        vm.effective = context_id;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_done() -> u32 {
    host_call("proxy_done", |vm| {
        let id = vm.context();
        match vm.streams.get(&id) {
            Some(stream) if stream.done_pending => {
                vm.deferred.push(Deferred::Done(id));
                Ok(())
            }
            _ => Err(Status::NOT_FOUND),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_call_foreign_function(
    name: *const u8,
    name_size: usize,
    arguments: *const u8,
    arguments_size: usize,
    return_data: *mut *mut u8,
    return_size: *mut usize,
) -> u32 {
    // SAFETY: the guest's own strings.
    let (name, arguments) = unsafe {
        (
            String::from_utf8_lossy(guest_bytes(name, name_size)).into_owned(),
            guest_bytes(arguments, arguments_size),
        )
    };
    host_call("proxy_call_foreign_function", |vm| {
        let function = vm.world.lock().foreign.get(&name).cloned();
        let result = function.ok_or(Status::NOT_FOUND)?(arguments)?;
        // SAFETY: the guest's out-pointers.
        unsafe { give(&result, return_data, return_size) }
    })
}

// ---- metrics

#[unsafe(no_mangle)]
extern "C" fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, return_id: *mut u32) -> u32 {
    // SAFETY: the guest's own string.
    let name = String::from_utf8_lossy(unsafe { guest_bytes(name, name_size) }).into_owned();
    host_call("proxy_define_metric", |vm| {
        let kind_of = match kind {
            0 => MetricKind::Counter,
            1 => MetricKind::Gauge,
            2 => MetricKind::Histogram,
            _ => return Err(Status::BAD_ARGUMENT),
        };
        // Ids carry the kind in their low bits. The same name again: another id, the same stat.
        let count = u32::try_from(vm.metrics.len()).map_err(|_| Status::INTERNAL_FAILURE)?;
        let id = (count + 1) * 4 + kind;
        let stat = Stat { value: 0, recorded: Vec::new() };
        vm.world.lock().stats.entry(name.clone()).or_insert(stat);
        vm.metrics.insert(id, (kind_of, name));
        // SAFETY: the guest's out-pointer.
        unsafe { return_id.write(id) };
        Ok(())
    })
}

fn with_stat(vm: &mut VmState, id: u32, edit: impl FnOnce(MetricKind, &mut Stat) -> Outcome) -> Outcome {
    let (kind, name) = vm.metrics.get(&id).ok_or(Status::NOT_FOUND)?;
    let mut world = vm.world.lock();
    let stat = world.stats.get_mut(name).ok_or(Status::NOT_FOUND)?;
    edit(*kind, stat)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, offset: i64) -> u32 {
    host_call("proxy_increment_metric", |vm| {
        with_stat(vm, id, |kind, stat| match kind {
            MetricKind::Counter if offset <= 0 => Err(Status::BAD_ARGUMENT),
            MetricKind::Counter | MetricKind::Gauge => {
                stat.value = stat.value.wrapping_add_signed(offset);
                Ok(())
            }
            MetricKind::Histogram => Err(Status::BAD_ARGUMENT),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_record_metric(id: u32, value: u64) -> u32 {
    host_call("proxy_record_metric", |vm| {
        with_stat(vm, id, |kind, stat| {
            match kind {
                MetricKind::Counter => stat.value += value,
                MetricKind::Gauge => stat.value = value,
                MetricKind::Histogram => stat.recorded.push(value),
            }
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_metric(id: u32, return_value: *mut u64) -> u32 {
    host_call("proxy_get_metric", |vm| {
        with_stat(vm, id, |kind, stat| {
            if kind == MetricKind::Histogram {
                return Err(Status::BAD_ARGUMENT);
            }
            // SAFETY: the guest's out-pointer.
            unsafe { return_value.write(stat.value) };
            Ok(())
        })
    })
}
