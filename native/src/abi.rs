//! Envoy's interface for dynamic modules (ABI v0.1 of Envoy 1.38 to v0.2 of 1.40), as safe values: the one file with
//! `unsafe` code.
//!
//! Envoy gives pointers to its own objects, and each is valid within the hook that gave it. So the handles made of them
//! here borrow: they cannot outlive the hook. What a module hands over is read during the call and not kept.
//! Every hook runs under [`std::panic::catch_unwind`]: a panic that crossed to Envoy would end the process.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use portcullis::MetricKind;

use crate::plugin::{Answer, Plugin};
use crate::route::RouteConfig;
use crate::stream::Stream;
use crate::{main_thread, panics};

/// A pointer to an object of Envoy's.
type Envoy = *mut c_void;

/// Bytes that the module owns.
#[repr(C)]
#[derive(Clone, Copy)]
struct Given {
    start: *const u8,
    length: usize,
}

impl From<&[u8]> for Given {
    fn from(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), length: bytes.len() }
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl Given {
    /// No bytes at all, which is not the same as an empty text: as a value it removes a field.
    const NONE: Self = Self { start: std::ptr::null(), length: 0 };
}

/// Bytes that Envoy owns.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Lent {
    start: *const u8,
    length: usize,
}

impl Lent {
    const NONE: Self = Self { start: std::ptr::null(), length: 0 };

    /// # Safety
    /// Envoy keeps these bytes for as long as `'h`.
    unsafe fn bytes<'h>(self) -> &'h [u8] {
        if self.start.is_null() || self.length == 0 {
            return b"";
        }
        // SAFETY: Envoy gave a start and the number of bytes from there on; the caller says for how long.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

#[repr(C)]
struct GivenField {
    name: Given,
    value: Given,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct LentField {
    name: Lent,
    value: Lent,
}

/// Which fields of a stream.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// The headers of the request.
    RequestHeaders,
    /// Its trailers.
    RequestTrailers,
    /// The headers of the response.
    ResponseHeaders,
}

/// Where a value of metadata is.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) enum MetadataSource {
    /// What filters wrote of this stream.
    Dynamic,
    /// What the matched route says.
    Route,
}

/// An attribute of a stream, by its number.
#[repr(u32)]
#[derive(Clone, Copy)]
pub(crate) enum Attribute {
    /// `source.address`
    SourceAddress = 24,
    /// `connection.tls_version`
    TlsVersion = 31,
    /// `connection.subject_peer_certificate`
    PeerSubject = 33,
    /// `connection.dns_san_peer_certificate`
    PeerDnsSan = 35,
    /// `connection.uri_san_peer_certificate`
    PeerUriSan = 37,
    /// `connection.sha256_peer_certificate_digest`
    PeerDigest = 38,
    /// `xds.route_name`
    RouteName = 61,
}

/// What Envoy does with a stream after a hook.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeadersStatus {
    /// It goes on.
    Continue,
    /// It was answered.
    Stop,
    /// The same as the first, for filters that add a body. Not used.
    _ContinueAndDontEndStream,
    /// Not used.
    _StopAllAndBuffer,
    /// It waits, and nothing of its body is read beyond what fits into a buffer.
    StopAllAndWatermark,
}

/// The same of a body.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) enum BodyStatus {
    /// It goes on.
    Continue,
    /// Not used.
    _StopAndBuffer,
    /// Not used.
    _StopAndWatermark,
    /// It goes nowhere.
    StopWithoutBuffer,
}

/// The same of trailers.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) enum TrailersStatus {
    /// They go on.
    Continue,
    /// They go nowhere.
    Stop,
}

/// Why a call could not be sent: 0 is that it was.
type CalloutStart = u32;

unsafe extern "C" {
    fn envoy_dynamic_module_callback_log(level: u32, message: Given);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;

    fn envoy_dynamic_module_callback_http_get_headers_size(filter: Envoy, of: Fields) -> usize;
    fn envoy_dynamic_module_callback_http_get_headers(
        filter: Envoy,
        of: Fields,
        result: *mut LentField,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_add_header(
        filter: Envoy,
        of: Fields,
        name: Given,
        value: Given,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_header(
        filter: Envoy,
        of: Fields,
        name: Given,
        value: Given,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_send_response(
        filter: Envoy,
        status: u32,
        headers: *mut GivenField,
        count: usize,
        body: Given,
        details: Given,
    );
    fn envoy_dynamic_module_callback_http_filter_reset_stream(filter: Envoy, reason: u32, details: Given);
    fn envoy_dynamic_module_callback_http_filter_continue_decoding(filter: Envoy);
    fn envoy_dynamic_module_callback_http_clear_route_cache(filter: Envoy);
    fn envoy_dynamic_module_callback_get_most_specific_route_config(filter: Envoy) -> *const c_void;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        filter: Envoy,
        attribute: u32,
        result: *mut Lent,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_set_filter_state_bytes(
        filter: Envoy,
        key: Given,
        value: Given,
    ) -> bool;

    fn envoy_dynamic_module_callback_http_get_metadata_namespaces_count(
        filter: Envoy,
        source: MetadataSource,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_metadata_namespaces(
        filter: Envoy,
        source: MetadataSource,
        result: *mut Lent,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_keys_count(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
    ) -> usize;
    fn envoy_dynamic_module_callback_http_get_metadata_keys(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        result: *mut Lent,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_string(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        result: *mut Lent,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_number(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        result: *mut f64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_bool(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        result: *mut bool,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_list_size(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        result: *mut usize,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_list_string(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        at: usize,
        result: *mut Lent,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_list_number(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        at: usize,
        result: *mut f64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_list_bool(
        filter: Envoy,
        source: MetadataSource,
        namespace: Given,
        key: Given,
        at: usize,
        result: *mut bool,
    ) -> bool;

    fn envoy_dynamic_module_callback_http_filter_scheduler_new(filter: Envoy) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_scheduler_commit(scheduler: *mut c_void, event: u64);
    fn envoy_dynamic_module_callback_http_filter_scheduler_delete(scheduler: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(config: Envoy) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(scheduler: *mut c_void, event: u64);
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void);
    fn envoy_dynamic_module_callback_http_filter_config_http_callout(
        config: Envoy,
        id: *mut u64,
        cluster: Given,
        headers: *mut GivenField,
        count: usize,
        body: Given,
        timeout_milliseconds: u64,
    ) -> CalloutStart;

    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: Envoy,
        name: Given,
        labels: *mut Given,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: Envoy,
        name: Given,
        labels: *mut Given,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: Envoy,
        name: Given,
        labels: *mut Given,
        count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: Envoy,
        id: usize,
        labels: *mut Given,
        count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_set_gauge(
        filter: Envoy,
        id: usize,
        labels: *mut Given,
        count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        filter: Envoy,
        id: usize,
        labels: *mut Given,
        count: usize,
        value: u64,
    ) -> u32;
}

thread_local! {
    /// Room for a list of fields: that of the one before.
    static SPARE: Cell<Vec<(&'static [u8], &'static [u8])>> = const { Cell::new(Vec::new()) };
}

/// Fields of a stream: names and values.
pub(crate) struct FieldList<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Deref for FieldList<'a> {
    type Target = Vec<(&'a [u8], &'a [u8])>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for FieldList<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Drop for FieldList<'_> {
    /// Keeps the room for the next list.
    fn drop(&mut self) {
        /// What a request with very many fields took is given back.
        const MAX_KEPT: usize = 1024;
        let mut list = std::mem::take(&mut self.0);
        list.clear();
        if list.capacity() <= MAX_KEPT {
            // There is nothing in it: the compiler makes of this the same room under another lifetime.
            SPARE.set(list.into_iter().map(|_| (&b""[..], &b""[..])).collect());
        }
    }
}

/// A request in a hook of its own.
pub(crate) struct EnvoyFilter<'h> {
    raw: Envoy,
    hook: PhantomData<&'h ()>,
}

impl EnvoyFilter<'_> {
    /// The fields in their order. They are Envoy's own bytes, so nothing may be changed while they are looked at.
    pub(crate) fn fields(&self, of: Fields) -> FieldList<'_> {
        // What nearly every request fits into.
        const FEW: usize = 32;
        let mut few = [LentField { name: Lent::NONE, value: Lent::NONE }; FEW];
        let mut many = Vec::new();
        let count = self.count(of);
        let lent = match few.get_mut(..count) {
            Some(lent) => lent,
            None => {
                many.resize(count, LentField { name: Lent::NONE, value: Lent::NONE });
                many.as_mut_slice()
            }
        };
        // SAFETY: there is room for as many as Envoy has just counted.
        let whole =
            unsafe { envoy_dynamic_module_callback_http_get_headers(self.raw, of, lent.as_mut_ptr()) };
        let lent = if whole { &*lent } else { &[] };
        let mut list = FieldList(SPARE.take());
        // SAFETY: Envoy keeps them until a field is changed, which needs this handle to itself.
        list.extend(lent.iter().map(|field| unsafe { (field.name.bytes(), field.value.bytes()) }));
        list
    }

    /// How many fields there are. A list that could not be had is empty.
    pub(crate) fn count(&self, of: Fields) -> usize {
        // SAFETY: the filter lives as long as this hook.
        unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.raw, of) }
    }

    /// Adds a field beside others of its name.
    pub(crate) fn add(&mut self, of: Fields, name: &[u8], value: &[u8]) -> bool {
        // SAFETY: both are read during the call.
        unsafe { envoy_dynamic_module_callback_http_add_header(self.raw, of, name.into(), value.into()) }
    }

    /// Sets a field in place of all others of its name.
    pub(crate) fn set(&mut self, of: Fields, name: &[u8], value: &[u8]) -> bool {
        // SAFETY: both are read during the call.
        unsafe { envoy_dynamic_module_callback_http_set_header(self.raw, of, name.into(), value.into()) }
    }

    /// Removes every field of a name.
    pub(crate) fn remove(&mut self, of: Fields, name: &[u8]) -> bool {
        // SAFETY: the name is read during the call; no value means removal.
        unsafe { envoy_dynamic_module_callback_http_set_header(self.raw, of, name.into(), Given::NONE) }
    }

    /// Answers in the upstream's place. The stream may be over when this returns.
    pub(crate) fn send_response(&mut self, status: u16, headers: &[(&str, &str)], body: &str, details: &str) {
        let mut headers: Vec<GivenField> = headers
            .iter()
            .map(|(name, value)| GivenField { name: (*name).into(), value: (*value).into() })
            .collect();
        // SAFETY: everything is read during the call.
        unsafe {
            envoy_dynamic_module_callback_http_send_response(
                self.raw,
                u32::from(status),
                headers.as_mut_ptr(),
                headers.len(),
                body.into(),
                details.into(),
            );
        }
    }

    /// Resets the stream. It may be over when this returns.
    pub(crate) fn reset(&mut self, details: &str) {
        const LOCAL_RESET: u32 = 0;
        // SAFETY: the details are read during the call.
        unsafe {
            envoy_dynamic_module_callback_http_filter_reset_stream(self.raw, LOCAL_RESET, details.into());
        }
    }

    /// Lets a request go on that waited. Its response may have come when this returns.
    pub(crate) fn resume(&mut self) {
        // SAFETY: the filter lives as long as this hook.
        unsafe { envoy_dynamic_module_callback_http_filter_continue_decoding(self.raw) }
    }

    /// Lets Envoy choose the route again.
    pub(crate) fn clear_route_cache(&mut self) {
        // SAFETY: the filter lives as long as this hook.
        unsafe { envoy_dynamic_module_callback_http_clear_route_cache(self.raw) }
    }

    /// What the matched route, its virtual host or its table of routes says for this filter, where one of them says
    /// anything. Envoy looks the route up for this, where it has not.
    pub(crate) fn route_config(&self) -> Option<&RouteConfig> {
        // SAFETY: what comes back is what `per_route_config_new` gave. Envoy destroys it after the route, and the stream
        // has the route until that is chosen again, which needs this handle to itself.
        unsafe {
            envoy_dynamic_module_callback_get_most_specific_route_config(self.raw)
                .cast::<RouteConfig>()
                .as_ref()
        }
    }

    /// An attribute that is text.
    pub(crate) fn attribute(&self, attribute: Attribute) -> Option<String> {
        let mut lent = Lent::NONE;
        // SAFETY: the result is read before anything else is asked of Envoy.
        let text = unsafe {
            let found = envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.raw,
                attribute as u32,
                &raw mut lent,
            );
            found.then(|| lent.bytes().to_vec())
        };
        String::from_utf8(text?).ok()
    }

    /// Writes an entry of the filter state.
    pub(crate) fn set_filter_state(&mut self, key: &str, value: &str) -> bool {
        // SAFETY: both are read during the call.
        unsafe {
            envoy_dynamic_module_callback_http_set_filter_state_bytes(self.raw, key.into(), value.into())
        }
    }

    /// The namespaces of metadata.
    pub(crate) fn namespaces(&self, source: MetadataSource) -> Vec<String> {
        // SAFETY: there is room for as many as Envoy has just counted, and they are copied at once.
        unsafe {
            let count = envoy_dynamic_module_callback_http_get_metadata_namespaces_count(self.raw, source);
            let mut lent = vec![Lent::NONE; count];
            let whole = count > 0
                && envoy_dynamic_module_callback_http_get_metadata_namespaces(
                    self.raw,
                    source,
                    lent.as_mut_ptr(),
                );
            if whole { lent.into_iter().map(|text| owned(text.bytes())).collect() } else { Vec::new() }
        }
    }

    /// The keys of a namespace of metadata.
    pub(crate) fn keys(&self, source: MetadataSource, namespace: &str) -> Vec<String> {
        // SAFETY: there is room for as many as Envoy has just counted, and they are copied at once.
        unsafe {
            let count = self.keys_count(source, namespace);
            let mut lent = vec![Lent::NONE; count];
            let whole = count > 0
                && envoy_dynamic_module_callback_http_get_metadata_keys(
                    self.raw,
                    source,
                    namespace.into(),
                    lent.as_mut_ptr(),
                );
            if whole { lent.into_iter().map(|text| owned(text.bytes())).collect() } else { Vec::new() }
        }
    }

    /// How many keys a namespace of metadata has.
    pub(crate) fn keys_count(&self, source: MetadataSource, namespace: &str) -> usize {
        // SAFETY: the name is read during the call.
        unsafe {
            envoy_dynamic_module_callback_http_get_metadata_keys_count(self.raw, source, namespace.into())
        }
    }

    /// A value of metadata; none where it is absent, or of a kind that Envoy does not hand over: null or a structure.
    pub(crate) fn metadata(
        &self,
        source: MetadataSource,
        namespace: &str,
        key: &str,
    ) -> Option<MetadataValue> {
        let (of, key) = (Given::from(namespace), Given::from(key));
        let (mut text, mut number, mut flag, mut size) = (Lent::NONE, 0.0, false, 0);
        // SAFETY: names are read during each call, and a text is copied at once.
        unsafe {
            if envoy_dynamic_module_callback_http_get_metadata_string(
                self.raw,
                source,
                of,
                key,
                &raw mut text,
            ) {
                return Some(MetadataValue::Text(owned(text.bytes())));
            }
            if envoy_dynamic_module_callback_http_get_metadata_bool(self.raw, source, of, key, &raw mut flag)
            {
                return Some(MetadataValue::Flag(flag));
            }
            if envoy_dynamic_module_callback_http_get_metadata_number(
                self.raw,
                source,
                of,
                key,
                &raw mut number,
            ) {
                return Some(MetadataValue::Number(number));
            }
            let is_list = envoy_dynamic_module_callback_http_get_metadata_list_size(
                self.raw,
                source,
                of,
                key,
                &raw mut size,
            );
            let items = (0..size).map(|at| self.item(source, of, key, at));
            is_list.then(|| MetadataValue::List(items.collect()))
        }
    }

    /// An item of a list; none where it is of a kind that Envoy does not hand over.
    ///
    /// # Safety
    /// The names can be read.
    unsafe fn item(&self, source: MetadataSource, of: Given, key: Given, at: usize) -> Option<MetadataValue> {
        let (mut text, mut number, mut flag) = (Lent::NONE, 0.0, false);
        // SAFETY: as for a value of its own.
        unsafe {
            if envoy_dynamic_module_callback_http_get_metadata_list_string(
                self.raw,
                source,
                of,
                key,
                at,
                &raw mut text,
            ) {
                return Some(MetadataValue::Text(owned(text.bytes())));
            }
            if envoy_dynamic_module_callback_http_get_metadata_list_bool(
                self.raw,
                source,
                of,
                key,
                at,
                &raw mut flag,
            ) {
                return Some(MetadataValue::Flag(flag));
            }
            envoy_dynamic_module_callback_http_get_metadata_list_number(
                self.raw,
                source,
                of,
                key,
                at,
                &raw mut number,
            )
            .then_some(MetadataValue::Number(number))
        }
    }

    /// Merges a serialized `google.protobuf.Struct` into a namespace of the dynamic metadata; false where this Envoy
    /// cannot.
    pub(crate) fn set_metadata_struct(&mut self, namespace: &str, serialized: &[u8]) -> bool {
        let Some(set) = Later::get().set_metadata_struct else { return false };
        // SAFETY: everything is read during the call.
        unsafe { set(self.raw, namespace.into(), serialized.into()) };
        true
    }

    /// A way to this stream from any thread.
    pub(crate) fn scheduler(&self) -> StreamScheduler {
        // SAFETY: the filter lives as long as this hook.
        StreamScheduler(unsafe { envoy_dynamic_module_callback_http_filter_scheduler_new(self.raw) })
    }

    /// Counts, or sets a gauge, or records a value, in the name of a request.
    pub(crate) fn record(&self, metric: Metric, labels: &[&str], value: u64) -> bool {
        // SAFETY: the filter lives as long as this hook.
        unsafe { metric.write(KINDS[place(metric.kind)].record, self.raw, labels, value) }
    }
}

const SUCCESS: u32 = 0;

fn owned(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A value of metadata that Envoy hands over.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum MetadataValue {
    /// A text.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A list; none in the place of an item that Envoy does not hand over.
    List(Vec<Option<MetadataValue>>),
}

/// Defines a metric.
type Define = unsafe extern "C" fn(Envoy, Given, *mut Given, usize, *mut usize) -> u32;
/// Counts, or sets a gauge, or records a value.
type Record = unsafe extern "C" fn(Envoy, usize, *mut Given, usize, u64) -> u32;

/// What Envoy does for a kind of metric.
struct OfKind {
    define: Define,
    /// In the name of a request.
    record: Record,
    /// The name of the function that does so in that of a configuration, which not every supported Envoy has.
    record_later: &'static std::ffi::CStr,
}

/// The kinds in the order of [`portcullis::MetricKind`]: see [`place`].
static KINDS: [OfKind; 3] = [
    OfKind {
        define: envoy_dynamic_module_callback_http_filter_config_define_counter,
        record: envoy_dynamic_module_callback_http_filter_increment_counter,
        record_later: c"envoy_dynamic_module_callback_http_filter_config_increment_counter",
    },
    OfKind {
        define: envoy_dynamic_module_callback_http_filter_config_define_gauge,
        record: envoy_dynamic_module_callback_http_filter_set_gauge,
        record_later: c"envoy_dynamic_module_callback_http_filter_config_set_gauge",
    },
    OfKind {
        define: envoy_dynamic_module_callback_http_filter_config_define_histogram,
        record: envoy_dynamic_module_callback_http_filter_record_histogram_value,
        record_later: c"envoy_dynamic_module_callback_http_filter_config_record_histogram_value",
    },
];

/// Where a kind is in [`KINDS`].
fn place(kind: MetricKind) -> usize {
    match kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge => 1,
        MetricKind::Histogram => 2,
    }
}

/// A metric, by the number that Envoy gave to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Metric {
    kind: MetricKind,
    id: usize,
}

impl Metric {
    /// # Safety
    /// `of` is what `record` is for.
    unsafe fn write(self, record: Record, of: Envoy, labels: &[&str], value: u64) -> bool {
        let mut labels: Vec<Given> = labels.iter().map(|label| (*label).into()).collect();
        // SAFETY: the labels are read during the call; the rest is the caller's.
        unsafe { record(of, self.id, labels.as_mut_ptr(), labels.len(), value) == SUCCESS }
    }
}

/// A configuration of the filter in a hook of its own, on the main thread.
pub(crate) struct EnvoyConfig<'h> {
    raw: Envoy,
    hook: PhantomData<&'h ()>,
}

impl EnvoyConfig<'_> {
    /// Defines a metric; none where Envoy does not take it. Only while the configuration is made.
    pub(crate) fn define(&self, kind: MetricKind, name: &str, labels: &[&str]) -> Option<Metric> {
        let mut labels: Vec<Given> = labels.iter().map(|label| (*label).into()).collect();
        let (define, mut id) = (KINDS[place(kind)].define, 0);
        // SAFETY: everything is read during the call.
        let result = unsafe { define(self.raw, name.into(), labels.as_mut_ptr(), labels.len(), &raw mut id) };
        (result == SUCCESS).then_some(Metric { kind, id })
    }

    /// Counts, or sets a gauge, or records a value; none where this Envoy can only do so in the name of a request.
    pub(crate) fn record(&self, metric: Metric, labels: &[&str], value: u64) -> Option<bool> {
        let record = Later::get().record[place(metric.kind)]?;
        // SAFETY: the configuration lives as long as this hook.
        Some(unsafe { metric.write(record, self.raw, labels, value) })
    }

    /// Sends a request; its number, under which the answer comes, or none where it cannot be sent.
    pub(crate) fn call(
        &self,
        cluster: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout_milliseconds: u64,
    ) -> Option<u64> {
        let mut headers: Vec<GivenField> = headers
            .iter()
            .map(|(name, value)| GivenField { name: (*name).into(), value: (*value).into() })
            .collect();
        let body = if body.is_empty() { Given::NONE } else { body.into() };
        let mut id = 0;
        // SAFETY: everything is read during the call.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_http_callout(
                self.raw,
                &raw mut id,
                cluster.into(),
                headers.as_mut_ptr(),
                headers.len(),
                body,
                timeout_milliseconds,
            )
        };
        (result == SUCCESS).then_some(id)
    }

    /// A way to the main thread from any other one.
    pub(crate) fn scheduler(&self) -> MainScheduler {
        // SAFETY: the configuration lives as long as this hook.
        MainScheduler(unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.raw) })
    }
}

/// A way to a stream, in its worker: an event comes to [`Stream::scheduled`]. It does nothing once the stream is over.
#[derive(Debug)]
pub(crate) struct StreamScheduler(*mut c_void);

// SAFETY: Envoy made it for use from any thread.
unsafe impl Send for StreamScheduler {}
// SAFETY: the same.
unsafe impl Sync for StreamScheduler {}

impl StreamScheduler {
    pub(crate) fn commit(&self, event: u64) {
        // SAFETY: it lives until it is dropped.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_commit(self.0, event) }
    }
}

impl Drop for StreamScheduler {
    fn drop(&mut self) {
        // SAFETY: it is dropped once.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_delete(self.0) }
    }
}

/// A way to a configuration, in the main thread. It does nothing once the configuration is over.
#[derive(Debug)]
pub(crate) struct MainScheduler(*mut c_void);

// SAFETY: Envoy made it for use from any thread.
unsafe impl Send for MainScheduler {}
// SAFETY: the same.
unsafe impl Sync for MainScheduler {}

impl MainScheduler {
    pub(crate) fn commit(&self, event: u64) {
        // SAFETY: it lives until it is dropped.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0, event) }
    }
}

impl Drop for MainScheduler {
    fn drop(&mut self) {
        // SAFETY: it is dropped once.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) }
    }
}

/// Writes a line into Envoy's log.
pub(crate) fn log(level: u32, message: &str) {
    // SAFETY: the message is read during the call.
    unsafe {
        if envoy_dynamic_module_callback_log_enabled(level) {
            envoy_dynamic_module_callback_log(level, message.into());
        }
    }
}

type SetStruct = unsafe extern "C" fn(Envoy, Given, Given);

/// What not every supported Envoy has.
struct Later {
    /// For each kind of metric.
    record: [Option<Record>; KINDS.len()],
    set_metadata_struct: Option<SetStruct>,
}

impl Later {
    fn get() -> &'static Self {
        static LATER: OnceLock<Later> = OnceLock::new();
        LATER.get_or_init(|| {
            let find = |name: &std::ffi::CStr| {
                // SAFETY: the name ends in a zero byte; the handle means the whole process.
                let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
                (!found.is_null()).then_some(found)
            };
            // SAFETY: a function of this name has this type in every Envoy that has it.
            unsafe {
                Self {
                    record: KINDS.each_ref().map(|kind| {
                        find(kind.record_later).map(|found| std::mem::transmute::<*mut c_void, Record>(found))
                    }),
                    set_metadata_struct: find(
                        c"envoy_dynamic_module_callback_http_set_dynamic_metadata_struct",
                    )
                    .map(|found| std::mem::transmute::<*mut c_void, SetStruct>(found)),
                }
            }
        })
    }
}

/// Whether this Envoy takes structures as dynamic metadata: from 1.40 on.
pub(crate) fn takes_structures() -> bool {
    Later::get().set_metadata_struct.is_some()
}

/// Runs a hook. Where it panics, this is counted and `otherwise` is what it gives.
fn guarded<R>(hook: &str, otherwise: impl FnOnce() -> R, act: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        panics::count(hook);
        // Where even this panics, there is nothing left but to end.
        otherwise()
    })
}

/// # Safety
/// `stream` came from `http_filter_new` and was not destroyed.
unsafe fn stream_of(stream: *const c_void) -> Rc<Stream> {
    let stream = stream.cast::<Stream>();
    // SAFETY: the caller's. Held for the hook: an answer can destroy the stream within it.
    unsafe {
        Rc::increment_strong_count(stream);
        Rc::from_raw(stream)
    }
}

/// # Safety
/// `plugin` came from `http_filter_config_new` and was not destroyed.
unsafe fn plugin_of(plugin: *const c_void) -> Arc<Plugin> {
    let plugin = plugin.cast::<Plugin>();
    // SAFETY: the caller's.
    unsafe {
        Arc::increment_strong_count(plugin);
        Arc::from_raw(plugin)
    }
}

/// A hook of a stream: runs it, and refuses the request where it panics.
///
/// # Safety
/// Both pointers are Envoy's for this hook.
unsafe fn stream_hook<R>(
    name: &str,
    (filter, stream): (Envoy, *const c_void),
    refused: R,
    act: impl FnOnce(&Stream, &mut EnvoyFilter<'_>) -> R,
) -> R {
    // SAFETY: the caller's.
    let stream = unsafe { stream_of(stream) };
    let mut filter = EnvoyFilter { raw: filter, hook: PhantomData };
    let own = &mut EnvoyFilter { raw: filter.raw, hook: PhantomData };
    guarded(
        name,
        || {
            stream.panicked(&mut filter);
            refused
        },
        || act(&stream, own),
    )
}

/// The hooks, as Envoy looks for them by their names.
#[allow(private_interfaces, reason = "their names and types are Envoy's")]
mod hooks {
    use super::*;

    /// The version of Envoy 1.38 and 1.39, and that of 1.40: what is used here is the same in both.
    const ABI_VERSIONS: [&std::ffi::CStr; 2] = [c"v0.1.0", c"v0.2.0"];

    #[unsafe(no_mangle)]
    pub extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
        guarded("program_init", std::ptr::null, || {
            crate::logger::install();
            ABI_VERSIONS[usize::from(takes_structures())].as_ptr()
        })
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
        config: Envoy,
        name: Lent,
        text: Lent,
    ) -> *const c_void {
        guarded("http_filter_config_new", std::ptr::null, || {
            // SAFETY: both are Envoy's for this hook.
            let (name, text) = unsafe { (name.bytes(), text.bytes()) };
            let config = EnvoyConfig { raw: config, hook: PhantomData };
            let plugin = Plugin::new(&config, &owned(name), text);
            plugin.map_or(std::ptr::null(), |plugin| Arc::into_raw(plugin).cast())
        })
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(plugin: *const c_void) {
        // SAFETY: what `http_filter_config_new` gave, once.
        let plugin = unsafe { Arc::from_raw(plugin.cast::<Plugin>()) };
        guarded("http_filter_config_destroy", || (), || plugin.end());
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
        config: Envoy,
        plugin: *const c_void,
        _: u64,
    ) {
        // SAFETY: both are Envoy's for this hook.
        let plugin = unsafe { plugin_of(plugin) };
        let config = EnvoyConfig { raw: config, hook: PhantomData };
        guarded("http_filter_config_scheduled", || (), || main_thread::work(&plugin, &config));
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        config: Envoy,
        plugin: *const c_void,
        call: u64,
        result: u32,
        headers: *const LentField,
        headers_count: usize,
        body: *const Lent,
        body_count: usize,
    ) {
        // SAFETY: all of it is Envoy's for this hook.
        let (plugin, answer) = unsafe {
            let headers: Vec<_> = lent(headers, headers_count)
                .iter()
                .map(|field| (field.name.bytes(), field.value.bytes()))
                .collect();
            let body: Vec<_> = lent(body, body_count).iter().map(|chunk| chunk.bytes()).collect();
            (plugin_of(plugin), (result == SUCCESS).then_some(Answer { headers, body }))
        };
        let config = EnvoyConfig { raw: config, hook: PhantomData };
        guarded(
            "http_filter_config_http_callout_done",
            || (),
            || main_thread::answered(&plugin, &config, call, answer),
        );
    }

    /// # Safety
    /// Envoy keeps so many values there for as long as `'h`.
    unsafe fn lent<'h, T>(start: *const T, count: usize) -> &'h [T] {
        if start.is_null() || count == 0 {
            return &[];
        }
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        _: Lent,
        text: Lent,
    ) -> *const c_void {
        guarded("http_filter_per_route_config_new", std::ptr::null, || {
            // SAFETY: Envoy's for this hook.
            let config = RouteConfig::new(unsafe { text.bytes() });
            config.map_or(std::ptr::null(), |config| Box::into_raw(Box::new(config)).cast_const().cast())
        })
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(
        config: *mut c_void,
    ) {
        // SAFETY: what `http_filter_per_route_config_new` gave, once.
        drop(unsafe { Box::from_raw(config.cast::<RouteConfig>()) });
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
        plugin: *const c_void,
        _: Envoy,
    ) -> *const c_void {
        // SAFETY: Envoy's for this hook.
        let plugin = unsafe { plugin_of(plugin) };
        // Where there is no stream, Envoy closes the request.
        guarded("http_filter_new", std::ptr::null, || Rc::into_raw(Stream::new(plugin)).cast())
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
        filter: Envoy,
        stream: *const c_void,
        _: bool,
    ) -> HeadersStatus {
        // SAFETY: both are Envoy's for this hook.
        unsafe {
            stream_hook(
                "http_filter_request_headers",
                (filter, stream),
                HeadersStatus::Stop,
                |stream, own| stream.request_headers(own),
            )
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
        filter: Envoy,
        stream: *const c_void,
        _: bool,
    ) -> BodyStatus {
        // SAFETY: both are Envoy's for this hook.
        unsafe {
            let refused = BodyStatus::StopWithoutBuffer;
            stream_hook("http_filter_request_body", (filter, stream), refused, |stream, own| {
                stream.request_body(own)
            })
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
        filter: Envoy,
        stream: *const c_void,
    ) -> TrailersStatus {
        // SAFETY: both are Envoy's for this hook.
        unsafe {
            stream_hook(
                "http_filter_request_trailers",
                (filter, stream),
                TrailersStatus::Stop,
                |stream, own| stream.request_trailers(own),
            )
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
        filter: Envoy,
        stream: *const c_void,
        _: bool,
    ) -> HeadersStatus {
        // SAFETY: both are Envoy's for this hook.
        unsafe {
            stream_hook(
                "http_filter_response_headers",
                (filter, stream),
                HeadersStatus::Stop,
                |stream, own| stream.response_headers(own),
            )
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
        filter: Envoy,
        stream: *const c_void,
        event: u64,
    ) {
        // SAFETY: both are Envoy's for this hook.
        unsafe {
            stream_hook("http_filter_scheduled", (filter, stream), (), |stream, own| {
                stream.scheduled(own, event);
            });
        }
    }

    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(stream: *const c_void) {
        // SAFETY: what `http_filter_new` gave, once.
        let stream = unsafe { Rc::from_raw(stream.cast::<Stream>()) };
        guarded("http_filter_destroy", || (), || stream.end());
    }

    /// Hooks that Envoy asks for and that have nothing to do here, each with what it gives: the word for "go on" is 0.
    macro_rules! idle {
        ($($name:ident($($argument:ty),*) -> $result:ty = $value:expr;)*) => {
            $(#[unsafe(no_mangle)]
            pub extern "C" fn $name($(_: $argument),*) -> $result { $value })*
        };
    }

    type Own = *const c_void;

    idle! {
        envoy_dynamic_module_on_http_filter_response_body(Envoy, Own, bool) -> u32 = 0;
        envoy_dynamic_module_on_http_filter_response_trailers(Envoy, Own) -> u32 = 0;
        envoy_dynamic_module_on_http_filter_local_reply(Envoy, Own, u32, Lent, bool) -> u32 = 0;
        envoy_dynamic_module_on_http_filter_stream_complete(Envoy, Own) -> () = ();
        envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Envoy, Own) -> () = ();
        envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Envoy, Own) -> () = ();
        envoy_dynamic_module_on_http_filter_http_callout_done(Envoy, Own, u64, u32, Own, usize, Own, usize) -> () = ();
        envoy_dynamic_module_on_http_filter_http_stream_headers(Envoy, Own, u64, Own, usize, bool) -> () = ();
        envoy_dynamic_module_on_http_filter_http_stream_data(Envoy, Own, u64, Own, usize, bool) -> () = ();
        envoy_dynamic_module_on_http_filter_http_stream_trailers(Envoy, Own, u64, Own, usize) -> () = ();
        envoy_dynamic_module_on_http_filter_http_stream_complete(Envoy, Own, u64) -> () = ();
        envoy_dynamic_module_on_http_filter_http_stream_reset(Envoy, Own, u64, u32) -> () = ();
        envoy_dynamic_module_on_http_filter_config_http_stream_headers(Envoy, Own, u64, Own, usize, bool) -> () = ();
        envoy_dynamic_module_on_http_filter_config_http_stream_data(Envoy, Own, u64, Own, usize, bool) -> () = ();
        envoy_dynamic_module_on_http_filter_config_http_stream_trailers(Envoy, Own, u64, Own, usize) -> () = ();
        envoy_dynamic_module_on_http_filter_config_http_stream_complete(Envoy, Own, u64) -> () = ();
        envoy_dynamic_module_on_http_filter_config_http_stream_reset(Envoy, Own, u64, u32) -> () = ();
    }
}
