//! Memory that the host allocates in the module.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use proxy_wasm::types::Bytes;

use super::status::Status;

/// Where the host writes the address of memory that it allocated in the module.
pub(super) type Out = *mut *mut u8;
/// Where it writes the size of that.
pub(super) type Size = *mut usize;

/// Bytes that the host allocated in the module and handed over; none where it left the pointer as it was.
pub(super) fn returned(call: impl FnOnce(Out, Size) -> Status) -> Result<Bytes, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    call(&mut data, &mut size).ok()?;
    let none = data.is_null() || size == 0;
    // SAFETY: the memory is of the SDK's `proxy_on_memory_allocate`: a boxed slice of this size that nothing else knows.
    Ok(if none { Bytes::new() } else { unsafe { Vec::from_raw_parts(data, size, size) } })
}
