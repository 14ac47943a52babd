//! What Envoy offers to the module, by its names.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use super::Fault;
use super::config::{Call, Config, Metric};
use super::hooks::{Bytes, Field};
use super::stream::{Fields, Filter, Metadata, Queue, Shared, State, Value};

pub type Raw = *mut c_void;

/// What is no UTF-8.
const GARBLED: &[u8] = b"\xff\xfe\x80";

/// # Safety
/// The pointer is one to a filter that lives.
pub unsafe fn filter<'a>(raw: Raw, callback: &'static str) -> (&'a Filter, Option<Fault>) {
    // SAFETY: the caller's.
    let filter = unsafe { &*raw.cast::<Filter>() };
    if thread::current().id() != filter.shared.thread {
        filter.shared.config.violation(format!("{callback} outside of the worker's thread"));
    }
    // What was lent before may not be read any more.
    filter.texts.borrow_mut().clear();
    (filter, filter.shared.config.faults.of(callback))
}

/// # Safety
/// The pointer is one to a configuration that lives.
pub unsafe fn config<'a>(raw: Raw, callback: &'static str) -> (&'a Config, Option<Fault>) {
    // SAFETY: the caller's.
    let config = unsafe { &*raw.cast::<Config>() };
    config.on_main(callback);
    (config, config.faults.of(callback))
}

/// Lends a text until the next callback.
fn lend(filter: &Filter, text: &[u8], fault: Option<Fault>) -> Bytes {
    let text = match fault {
        Some(Fault::Empty) => return Bytes::NONE,
        Some(Fault::Garbled) => GARBLED,
        _ => text,
    };
    let mut texts = filter.texts.borrow_mut();
    texts.push(Box::from(text));
    texts.last().map_or(Bytes::NONE, |text| (&**text).into())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool {
    level >= 2
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_log(level: u32, message: Bytes) {
    // SAFETY: the module's for this call.
    super::log(level, &unsafe { message.text() });
}

/// The fields of a number: those of the request, its trailers, those of the response.
fn fields(shared: &Shared, of: u32) -> &std::cell::RefCell<Fields> {
    match of {
        0 => &shared.headers,
        1 => &shared.trailers,
        _ => &shared.response,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(raw: Raw, of: u32) -> usize {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_get_headers_size") };
    let count = if fault.is_some() { 0 } else { fields(&filter.shared, of).borrow().len() };
    filter.told.set(count);
    count
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    raw: Raw,
    of: u32,
    result: *mut Field,
) -> bool {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_get_headers") };
    if fault == Some(Fault::Fails) {
        return false;
    }
    let lend = |bytes: &[u8]| {
        let mut lent = filter.fields.borrow_mut();
        lent.push(Box::from(bytes));
        lent.last().map_or(Bytes::NONE, |bytes| (&**bytes).into())
    };
    let fields = fields(&filter.shared, of).borrow();
    if fields.len() != filter.told.get() {
        // It said that there are none.
        return false;
    }
    for (at, (name, value)) in fields.iter().enumerate() {
        let value = match fault {
            Some(Fault::Empty) => Bytes::NONE,
            Some(_) => lend(GARBLED),
            None => lend(value),
        };
        // SAFETY: the module has room for as many as it was told.
        unsafe { result.add(at).write(Field { name: lend(name), value }) };
    }
    true
}

/// Changes fields: what was lent of them is gone.
///
/// # Safety
/// The pointers are the module's for this call.
unsafe fn change(filter: &Filter, of: u32, (name, value): (Bytes, Bytes), in_place: bool) -> bool {
    // SAFETY: the caller's.
    let (name, bytes) = unsafe { (name.to_vec(), value.to_vec()) };
    filter.fields.borrow_mut().clear();
    let mut fields = fields(&filter.shared, of).borrow_mut();
    if in_place {
        fields.retain(|(known, _)| *known != name);
    }
    if !value.start.is_null() {
        fields.push((name, bytes));
    }
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_add_header(
    raw: Raw,
    of: u32,
    name: Bytes,
    value: Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_add_header");
        // Envoy takes no field without a value.
        fault.is_none() && value.length > 0 && change(filter, of, (name, value), false)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_header(
    raw: Raw,
    of: u32,
    name: Bytes,
    value: Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_set_header");
        fault.is_none() && change(filter, of, (name, value), true)
    }
}

/// # Safety
/// There are so many fields there.
unsafe fn given(headers: *const Field, count: usize) -> Fields {
    // SAFETY: the caller's.
    (0..count)
        .map(|at| unsafe {
            let field = headers.add(at).read();
            (field.name.to_vec(), field.value.to_vec())
        })
        .collect()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_send_response(
    raw: Raw,
    status: u32,
    headers: *mut Field,
    count: usize,
    body: Bytes,
    details: Bytes,
) {
    // SAFETY: the module's for this call.
    let (shared, reply) = unsafe {
        let (filter, fault) = filter(raw, "http_send_response");
        if fault.is_some() {
            return;
        }
        let (headers, body, details) = (given(headers, count), body.text(), details.text());
        (filter.shared.clone(), State::Replied { status, headers, body, details })
    };
    shared.replied(reply);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_reset_stream(
    raw: Raw,
    _: u32,
    details: Bytes,
) {
    // SAFETY: the module's for this call.
    let (shared, details) = unsafe {
        let (filter, fault) = filter(raw, "http_filter_reset_stream");
        if fault.is_some() {
            return;
        }
        (filter.shared.clone(), details.text())
    };
    *shared.state.borrow_mut() = State::Reset(details);
    shared.end();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_continue_decoding(raw: Raw) {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_filter_continue_decoding") };
    if fault.is_some() {
        return;
    }
    let shared = filter.shared.clone();
    if !shared.is_waiting.get() {
        shared.config.violation("a request goes on that does not wait");
        return;
    }
    shared.forward();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_clear_route_cache(raw: Raw) {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_clear_route_cache") };
    if fault.is_none() {
        filter.shared.route_clears.set(filter.shared.route_clears.get() + 1);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_get_most_specific_route_config(raw: Raw) -> *const c_void {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "get_most_specific_route_config") };
    let route = filter.shared.request.route.as_ref().filter(|_| fault.is_none());
    route.map_or(std::ptr::null(), |route| route.raw())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    raw: Raw,
    attribute: u32,
    result: *mut Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_filter_get_attribute_string") };
    let Some(text) = filter.shared.request.attributes.get(&attribute) else { return false };
    if fault == Some(Fault::Fails) {
        return false;
    }
    // SAFETY: the module has room for it.
    unsafe { result.write(lend(filter, text, fault)) };
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
    raw: Raw,
    key: Bytes,
    value: Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_set_filter_state_bytes");
        if fault.is_none() {
            filter.shared.filter_state.borrow_mut().insert(key.text(), value.to_vec());
        }
        fault.is_none()
    }
}

fn metadata(filter: &Filter, source: u32) -> &Metadata {
    match source {
        0 => &filter.shared.request.dynamic,
        _ => &filter.shared.request.of_route,
    }
}

fn values<'f>(filter: &'f Filter, source: u32, namespace: &str) -> &'f [(&'static str, Value)] {
    let found = metadata(filter, source).iter().find(|(name, _)| *name == namespace);
    found.map_or(&[], |(_, values)| values)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_namespaces_count(
    raw: Raw,
    source: u32,
) -> usize {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_get_metadata_namespaces_count") };
    if fault.is_some() { 0 } else { metadata(filter, source).len() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_namespaces(
    raw: Raw,
    source: u32,
    result: *mut Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    let (filter, fault) = unsafe { filter(raw, "http_get_metadata_namespaces") };
    if fault == Some(Fault::Fails) {
        return false;
    }
    for (at, (name, _)) in metadata(filter, source).iter().enumerate() {
        // SAFETY: the module has room for as many as it was told.
        unsafe { result.add(at).write(lend(filter, name.as_bytes(), fault)) };
    }
    true
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_keys_count(
    raw: Raw,
    source: u32,
    namespace: Bytes,
) -> usize {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_get_metadata_keys_count");
        if fault.is_some() { 0 } else { values(filter, source, &namespace.text()).len() }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_get_metadata_keys(
    raw: Raw,
    source: u32,
    namespace: Bytes,
    result: *mut Bytes,
) -> bool {
    // SAFETY: the module's for this call.
    unsafe {
        let (filter, fault) = filter(raw, "http_get_metadata_keys");
        if fault == Some(Fault::Fails) {
            return false;
        }
        for (at, (key, _)) in values(filter, source, &namespace.text()).iter().enumerate() {
            result.add(at).write(lend(filter, key.as_bytes(), fault));
        }
        true
    }
}

/// Where a value is: its namespace, its key, and its number in a list.
struct Place {
    source: u32,
    namespace: Bytes,
    key: Bytes,
    item: Option<usize>,
}

/// Writes a value where it is of the kind that was asked for.
///
/// # Safety
/// The pointers are the module's for this call.
unsafe fn get<R>(
    raw: Raw,
    callback: &'static str,
    place: &Place,
    result: *mut R,
    read: impl FnOnce(&Filter, &Value, Option<Fault>) -> Option<R>,
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let (filter, fault) = filter(raw, callback);
        if fault == Some(Fault::Fails) {
            return false;
        }
        let (namespace, key) = (place.namespace.text(), place.key.text());
        let own = values(filter, place.source, &namespace).iter().find(|(name, _)| *name == key);
        let value = match (own.map(|(_, value)| value), place.item) {
            (Some(Value::List(items)), Some(at)) => items.get(at),
            (value, None) => value,
            _ => None,
        };
        let Some(found) = value.and_then(|value| read(filter, value, fault)) else { return false };
        result.write(found);
        true
    }
}

fn text(filter: &Filter, value: &Value, fault: Option<Fault>) -> Option<Bytes> {
    if let Value::Text(text) = value { Some(lend(filter, text.as_bytes(), fault)) } else { None }
}

fn number(_: &Filter, value: &Value, _: Option<Fault>) -> Option<f64> {
    if let Value::Number(number) = value { Some(*number) } else { None }
}

fn flag(_: &Filter, value: &Value, _: Option<Fault>) -> Option<bool> {
    if let Value::Flag(flag) = value { Some(*flag) } else { None }
}

fn size(_: &Filter, value: &Value, fault: Option<Fault>) -> Option<usize> {
    if let Value::List(items) = value { Some(if fault.is_some() { 0 } else { items.len() }) } else { None }
}

/// The callbacks that read one value, and those that read an item of a list.
macro_rules! metadata {
    ({ $($name:ident, $word:literal, $result:ty, $read:ident;)* } list { $($item_name:ident, $item_word:literal, $item:ty, $item_read:ident;)* }) => {
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $name(raw: Raw, source: u32, namespace: Bytes, key: Bytes, result: *mut $result) -> bool {
            let place = Place { source, namespace, key, item: None };
            // SAFETY: the module's for this call.
            unsafe { get(raw, $word, &place, result, $read) }
        })*
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $item_name(raw: Raw, source: u32, namespace: Bytes, key: Bytes, at: usize, result: *mut $item) -> bool {
            let place = Place { source, namespace, key, item: Some(at) };
            // SAFETY: the module's for this call.
            unsafe { get(raw, $item_word, &place, result, $item_read) }
        })*
    };
}

metadata! {
    {
    envoy_dynamic_module_callback_http_get_metadata_string, "http_get_metadata_string", Bytes, text;
    envoy_dynamic_module_callback_http_get_metadata_number, "http_get_metadata_number", f64, number;
    envoy_dynamic_module_callback_http_get_metadata_bool, "http_get_metadata_bool", bool, flag;
    envoy_dynamic_module_callback_http_get_metadata_list_size, "http_get_metadata_list_size", usize, size;
    }
    list {
    envoy_dynamic_module_callback_http_get_metadata_list_string, "http_get_metadata_list_string", Bytes, text;
    envoy_dynamic_module_callback_http_get_metadata_list_number, "http_get_metadata_list_number", f64, number;
    envoy_dynamic_module_callback_http_get_metadata_list_bool, "http_get_metadata_list_bool", bool, flag;
    }
}

/// A way to a stream or a configuration.
struct Scheduler {
    config: Arc<Config>,
    /// The stream and its worker; none for the main thread.
    stream: Option<(Arc<Queue>, u64)>,
}

impl Scheduler {
    fn give(config: &Arc<Config>, stream: Option<(Arc<Queue>, u64)>) -> Raw {
        config.schedulers.fetch_add(1, Ordering::AcqRel);
        Box::into_raw(Box::new(Self { config: Arc::clone(config), stream })).cast()
    }
}

/// # Safety
/// The pointer is one that was given and not taken back.
unsafe fn commit(raw: Raw, event: u64, callback: &'static str) {
    // SAFETY: the caller's.
    let scheduler = unsafe { &*raw.cast::<Scheduler>() };
    if scheduler.config.faults.of(callback).is_some() {
        return;
    }
    match &scheduler.stream {
        Some((queue, id)) => queue.lock().expect("no panic").push_back((*id, event)),
        None => scheduler.config.events.lock().expect("no panic").push_back(event),
    }
}

/// # Safety
/// The pointer is one that was given and not taken back.
unsafe fn take_back(raw: Raw) {
    // SAFETY: the caller's.
    let scheduler = unsafe { Box::from_raw(raw.cast::<Scheduler>()) };
    scheduler.config.schedulers.fetch_sub(1, Ordering::AcqRel);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_new(raw: Raw) -> Raw {
    // SAFETY: the module's for this call.
    let (filter, _) = unsafe { filter(raw, "http_filter_scheduler_new") };
    let shared = &filter.shared;
    Scheduler::give(&shared.config, Some((Arc::clone(&shared.queue), shared.id)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_commit(raw: Raw, event: u64) {
    // SAFETY: the module's for this call.
    unsafe { commit(raw, event, "http_filter_scheduler_commit") }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_scheduler_delete(raw: Raw) {
    // SAFETY: the module's for this call.
    unsafe { take_back(raw) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(raw: Raw) -> Raw {
    // SAFETY: the module's for this call.
    let (own, _) = unsafe { config(raw, "http_filter_config_scheduler_new") };
    // SAFETY: it lives in an `Arc`.
    let own = unsafe {
        Arc::increment_strong_count(std::ptr::from_ref(own));
        Arc::from_raw(std::ptr::from_ref(own))
    };
    Scheduler::give(&own, None)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(raw: Raw, event: u64) {
    // SAFETY: the module's for this call.
    unsafe { commit(raw, event, "http_filter_config_scheduler_commit") }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(raw: Raw) {
    // SAFETY: the module's for this call.
    unsafe { take_back(raw) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn envoy_dynamic_module_callback_http_filter_config_http_callout(
    raw: Raw,
    id: *mut u64,
    cluster: Bytes,
    headers: *mut Field,
    count: usize,
    body: Bytes,
    timeout_milliseconds: u64,
) -> u32 {
    // SAFETY: the module's for this call.
    unsafe {
        let (own, fault) = config(raw, "http_filter_config_http_callout");
        if fault.is_some() {
            // What fails at once is not reported any other way.
            return 2;
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the module's fields are text");
        let headers =
            given(headers, count).into_iter().map(|(name, value)| (text(name), text(value))).collect();
        let call = {
            let mut next = own.next_call.lock().expect("no panic");
            *next += 1;
            *next
        };
        id.write(call);
        own.calls.lock().expect("no panic").push(Call {
            id: call,
            cluster: cluster.text(),
            headers,
            body: body.to_vec(),
            timeout_milliseconds,
        });
        0
    }
}

/// # Safety
/// There are so many labels there.
unsafe fn labels(start: *const Bytes, count: usize) -> Vec<String> {
    // SAFETY: the caller's.
    (0..count).map(|at| unsafe { start.add(at).read().text() }).collect()
}

/// # Safety
/// The pointers are the module's for this call.
unsafe fn define(
    raw: Raw,
    (callback, kind): (&'static str, &'static str),
    name: Bytes,
    (start, count): (*const Bytes, usize),
    id: *mut usize,
) -> u32 {
    // SAFETY: the caller's.
    unsafe {
        let (own, fault) = config(raw, callback);
        if fault.is_some() {
            return 3;
        }
        if !own.is_new.load(Ordering::Acquire) {
            own.violation("a metric is defined after the start");
            return 3;
        }
        let mut metrics = own.metrics.lock().expect("no panic");
        let labels = labels(start, count).len();
        metrics.push(Metric { kind, name: name.text(), labels, values: Default::default() });
        id.write(metrics.len());
        0
    }
}

/// # Safety
/// The pointers are the module's for this call.
pub unsafe fn record(
    own: &Config,
    fault: Option<Fault>,
    kind: &'static str,
    id: usize,
    (start, count): (*const Bytes, usize),
    value: u64,
) -> u32 {
    if fault.is_some() {
        return 1;
    }
    let mut metrics = own.metrics.lock().expect("no panic");
    let Some(metric) = id.checked_sub(1).and_then(|at| metrics.get_mut(at)) else {
        own.violation(format!("metric {id} is not known"));
        return 1;
    };
    if metric.kind != kind || metric.labels != count {
        own.violation(format!("{} is no {kind} of {count} labels", metric.name));
        return 2;
    }
    // SAFETY: the caller's.
    let entry = metric.values.entry(unsafe { labels(start, count) }).or_default();
    *entry = if kind == "gauge" { value } else { *entry + value };
    0
}

/// The callbacks that define a metric, and those that write it in the name of a request.
macro_rules! metrics {
    ($($define:ident, $define_word:literal, $record:ident, $record_word:literal, $kind:literal;)*) => {
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $define(raw: Raw, name: Bytes, start: *mut Bytes, count: usize, id: *mut usize) -> u32 {
            // SAFETY: the module's for this call.
            unsafe { define(raw, ($define_word, $kind), name, (start, count), id) }
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $record(raw: Raw, id: usize, start: *mut Bytes, count: usize, value: u64) -> u32 {
            // SAFETY: the module's for this call.
            unsafe {
                let (filter, fault) = filter(raw, $record_word);
                record(&filter.shared.config, fault, $kind, id, (start, count), value)
            }
        })*
    };
}

metrics! {
    envoy_dynamic_module_callback_http_filter_config_define_counter, "config_define_counter",
    envoy_dynamic_module_callback_http_filter_increment_counter, "increment_counter", "counter";
    envoy_dynamic_module_callback_http_filter_config_define_gauge, "config_define_gauge",
    envoy_dynamic_module_callback_http_filter_set_gauge, "set_gauge", "gauge";
    envoy_dynamic_module_callback_http_filter_config_define_histogram, "config_define_histogram",
    envoy_dynamic_module_callback_http_filter_record_histogram_value, "record_histogram_value", "histogram";
}
