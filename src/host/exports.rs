//! The callbacks of proxy-wasm ABI 0.2.1, and whose they are.
//!
//! The host enters the VM for each callback that a module exports, with every request, so that only those
//! are here that have something to do. A context that ends is told of it by `proxy_on_done`; there is
//! nothing left for `proxy_on_delete`.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::root::Root;
use super::stream::{self, Shared};
use crate::gate::StreamId;

/// A root context.
struct Owner {
    root: Rc<RefCell<Root>>,
    shared: Shared,
}

thread_local! {
    static ROOTS: RefCell<BTreeMap<u32, Owner>> = const { RefCell::new(BTreeMap::new()) };
    /// The request that was announced last: its headers come next.
    static NEXT: RefCell<Option<(u32, Shared)>> = const { RefCell::new(None) };
}

/// What the host does with headers, a body or trailers. That of the ABI that stops them would be 1, but Envoy lets go
/// of headers that were stopped so with the first part of the body where the plugin says
/// `allow_on_headers_stop_iteration`, and of a body that is larger than its buffers with 413. Its own words are whole.
const CONTINUE: u32 = 0;
/// `FilterHeadersStatus::StopAllIterationAndWatermark`: nothing that follows comes before the request is resumed.
const HOLD_ALL: u32 = 4;
/// `FilterDataStatus::StopIterationAndWatermark`: kept, and the client is slowed down instead of refused.
const HOLD_BODY: u32 = 2;
/// `FilterTrailersStatus::StopIteration`
const HOLD_TRAILERS: u32 = 1;
/// `FilterHeadersStatus::StopIteration`, of an answer that another one takes the place of.
const HOLD_ANSWER: u32 = 1;

/// Lets a root context act. A callback that comes while another one of the same root acts is dropped: what
/// it would have told is lost as a message is that never came.
fn with_root<R>(id: u32, act: impl FnOnce(&mut Root) -> R) -> Option<R> {
    let root = ROOTS.with_borrow(|roots| roots.get(&id).map(|owner| Rc::clone(&owner.root)))?;
    let mut root = root.try_borrow_mut().ok()?;
    Some(act(&mut root))
}

/// Says which version of the ABI this is.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Comes first, once.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn _initialize() {
    #[cfg(target_family = "wasm")]
    {
        unsafe extern "C" {
            safe fn __wasm_call_ctors();
        }
        __wasm_call_ctors();
    }
    super::logger::install();
}

/// Memory for what the host hands over; whoever takes it frees it as a `Vec<u8>` of this capacity.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut room = std::mem::ManuallyDrop::new(Vec::<u8>::with_capacity(size));
    room.as_mut_ptr()
}

/// A context begins: a root context, of which the parent is 0, or a request of one.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_context_create(id: u32, parent: u32) {
    if parent == 0 {
        let shared = Shared::default();
        let root = Rc::new(RefCell::new(Root::new(id, Rc::clone(&shared))));
        ROOTS.with_borrow_mut(|roots| roots.insert(id, Owner { root, shared }));
        return;
    }
    let shared = ROOTS.with_borrow(|roots| roots.get(&parent).map(|owner| Rc::clone(&owner.shared)));
    if let Some((stream, shared)) = NEXT.replace(shared.map(|shared| (id, shared))) {
        stream::announced(StreamId(stream), shared);
    }
}

/// A configuration of `size` bytes; false where it is refused.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_configure(id: u32, size: usize) -> bool {
    with_root(id, |root| root.configure(size)).unwrap_or(false)
}

/// Time has passed.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_tick(id: u32) {
    with_root(id, Root::tick);
}

/// The answer to a call, or that there is none.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_http_call_response(id: u32, token: u32, fields: usize, size: usize, _: usize) {
    with_root(id, |root| root.answered(token, fields, size));
}

/// A request has `count` header fields.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_request_headers(id: u32, count: usize, _: u32) -> u32 {
    let shared = match NEXT.take() {
        Some((next, shared)) if next == id => Some(shared),
        other => {
            NEXT.set(other);
            stream::plugin_of(StreamId(id))
        }
    };
    if stream::headers(shared, StreamId(id), count) { CONTINUE } else { HOLD_ALL }
}

/// A part of a request's body has come.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_request_body(id: u32, _: usize, _: u32) -> u32 {
    if stream::may_go_on(StreamId(id)) { CONTINUE } else { HOLD_BODY }
}

/// A request has `count` trailers.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_request_trailers(id: u32, count: usize) -> u32 {
    if stream::trailers(StreamId(id), count) { CONTINUE } else { HOLD_TRAILERS }
}

/// The headers of an answer have come, whoever gives it.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_response_headers(id: u32, _: usize, _: u32) -> u32 {
    if stream::answered(StreamId(id)) { CONTINUE } else { HOLD_ANSWER }
}

/// A context ends. Always true: it has nothing left to wait for.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn proxy_on_done(id: u32) -> bool {
    if stream::done(StreamId(id)) {
        return true;
    }
    if NEXT.with_borrow(|next| next.as_ref().is_some_and(|(next, _)| *next == id)) {
        NEXT.take();
    } else if with_root(id, Root::done).is_some() {
        ROOTS.with_borrow_mut(|roots| roots.remove(&id));
    }
    true
}
