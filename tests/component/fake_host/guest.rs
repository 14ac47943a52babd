//! The functions that the guest exports, and the one way into them.

use std::cell::Cell;
use std::io::Write;
use std::panic;
use std::sync::{Mutex, PoisonError};

use portcullis::host;

use super::exports;

// SAFETY: the SDK defines these with just these signatures (usize for pointers' sizes, `Action` as u32). Any
// arguments are sound: the SDK looks contexts up and panics on an unknown one.
unsafe extern "C" {
    safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
    safe fn proxy_on_context_create(context_id: u32, root_context_id: u32);
    safe fn proxy_on_vm_start(context_id: u32, configuration_size: usize) -> bool;
    safe fn proxy_on_configure(context_id: u32, configuration_size: usize) -> bool;
    safe fn proxy_on_tick(context_id: u32);
    safe fn proxy_on_request_headers(context_id: u32, count: usize, end: bool) -> u32;
    safe fn proxy_on_request_trailers(context_id: u32, count: usize) -> u32;
    safe fn proxy_on_response_headers(context_id: u32, count: usize, end: bool) -> u32;
    safe fn proxy_on_http_call_response(
        context: u32,
        token: u32,
        headers: usize,
        body: usize,
        trailers: usize,
    );
    safe fn proxy_on_done(context_id: u32) -> bool;
    safe fn proxy_on_delete(context_id: u32);
}

/// What a module exports; the host does without what is not there.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) initialize: fn(),
    pub(crate) allocate: extern "C" fn(usize) -> *mut u8,
    pub(crate) context_create: extern "C" fn(u32, u32),
    pub(crate) vm_start: Option<extern "C" fn(u32, usize) -> bool>,
    pub(crate) configure: extern "C" fn(u32, usize) -> bool,
    pub(crate) tick: extern "C" fn(u32),
    pub(crate) request_headers: extern "C" fn(u32, usize, bool) -> u32,
    pub(crate) request_body: Option<extern "C" fn(u32, usize, bool) -> u32>,
    pub(crate) request_trailers: extern "C" fn(u32, usize) -> u32,
    pub(crate) response_headers: Option<extern "C" fn(u32, usize, bool) -> u32>,
    pub(crate) http_call_response: extern "C" fn(u32, u32, usize, usize, usize),
    pub(crate) done: Option<extern "C" fn(u32) -> bool>,
    pub(crate) delete: extern "C" fn(u32),
}

impl Guest {
    /// The filter: what its module exports once it is built (`scripts/build-wasm`).
    pub(crate) const PORTCULLIS: Self = Self {
        initialize: || host::_initialize(),
        vm_start: None,
        configure: host::exports::portcullis_on_configure,
        request_headers: host::exports::portcullis_on_request_headers,
        request_body: Some(host::exports::portcullis_on_request_body),
        response_headers: Some(proxy_on_response_headers),
        http_call_response: host::exports::portcullis_on_http_call_response,
        done: None,
        ..Self::of_sdk(|| ())
    };

    /// One that is written with the SDK; `initialize` sets its root context.
    pub(crate) const fn of_sdk(initialize: fn()) -> Self {
        Self {
            initialize,
            allocate: proxy_on_memory_allocate,
            context_create: proxy_on_context_create,
            vm_start: Some(proxy_on_vm_start),
            configure: proxy_on_configure,
            tick: proxy_on_tick,
            request_headers: proxy_on_request_headers,
            request_body: None,
            request_trailers: proxy_on_request_trailers,
            response_headers: None,
            http_call_response: proxy_on_http_call_response,
            done: Some(proxy_on_done),
            delete: proxy_on_delete,
        }
    }
}

thread_local! {
    static IN_GUEST: Cell<bool> = const { Cell::new(false) };
}

static INITIALIZING: Mutex<bool> = Mutex::new(false);

/// Runs guest code. A panic in there aborts the process, as a trap ends a VM; say who and where first.
pub(super) fn inside<R>(guest: impl FnOnce() -> R) -> R {
    IN_GUEST.set(true);
    let result = guest();
    IN_GUEST.set(false);
    result
}

/// Runs a guest's `_initialize`. One at a time: a process-wide logger and a panic hook are installed there.
pub(super) fn initialize(entry: fn()) {
    let mut done = INITIALIZING.lock().unwrap_or_else(PoisonError::into_inner);
    if *done {
        inside(entry);
        return;
    }
    let report_failure = panic::take_hook();
    inside(entry);
    // The SDK's hook would send the message of a failing test to the log of a fake host.
    panic::set_hook(Box::new(move |info| {
        if IN_GUEST.get() {
            trapped(info);
        } else {
            report_failure(info);
        }
    }));
    *done = true;
}

fn trapped(info: &panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("?");
    let state = exports::adopted().and_then(|vm| vm.try_describe());
    let state = state.unwrap_or_default();
    // Past the test harness's capture, which dies with the process.
    let _ = writeln!(
        std::io::stderr(),
        "\n==== the filter panicked: a real VM would be gone ====\nin {name}\n{info}\n{state}"
    );
}
