//! The functions that the guest exports, and the one way into them.

use std::cell::Cell;
use std::io::Write;
use std::panic;
use std::sync::{Mutex, PoisonError};

use super::exports;

// SAFETY: the SDK and `proxy_wasm::main!` define these with just these signatures (usize for pointers' sizes,
// `Action` as u32). Any arguments are sound: the SDK looks contexts up and panics on an unknown one.
unsafe extern "C" {
    safe fn _initialize();
    safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
    pub(super) safe fn proxy_on_context_create(context_id: u32, root_context_id: u32);
    pub(super) safe fn proxy_on_vm_start(context_id: u32, configuration_size: usize) -> bool;
    pub(super) safe fn proxy_on_configure(context_id: u32, configuration_size: usize) -> bool;
    pub(super) safe fn proxy_on_tick(context_id: u32);
    pub(super) safe fn proxy_on_request_headers(context_id: u32, count: usize, end: bool) -> u32;
    pub(super) safe fn proxy_on_request_body(context_id: u32, size: usize, end: bool) -> u32;
    pub(super) safe fn proxy_on_request_trailers(context_id: u32, count: usize) -> u32;
    pub(super) safe fn proxy_on_response_headers(context_id: u32, count: usize, end: bool) -> u32;
    pub(super) safe fn proxy_on_http_call_response(
        context_id: u32,
        token: u32,
        headers: usize,
        body_size: usize,
        trailers: usize,
    );
    pub(super) safe fn proxy_on_done(context_id: u32) -> bool;
    pub(super) safe fn proxy_on_log(context_id: u32);
    pub(super) safe fn proxy_on_delete(context_id: u32);
}

thread_local! {
    static IN_GUEST: Cell<bool> = const { Cell::new(false) };
}

static INITIALIZING: Mutex<bool> = Mutex::new(false);

/// Memory that belongs to the guest.
pub(super) fn allocate(size: usize) -> *mut u8 {
    proxy_on_memory_allocate(size)
}

/// Runs guest code. A panic in there aborts the process, as a trap ends a VM; say who and where first.
pub(super) fn inside<R>(guest: impl FnOnce() -> R) -> R {
    IN_GUEST.set(true);
    let result = guest();
    IN_GUEST.set(false);
    result
}

/// Runs a guest's `_initialize`. One at a time: the SDK installs a process-wide logger and a panic hook there.
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

/// The filter's own entry point.
pub(super) fn portcullis() {
    _initialize();
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
