//! What comes through WASI: the environment, and random numbers.
//!
//! Rust's library and the C library end the VM, without a word, where the host does not give them. So it is asked first.
#![allow(unsafe_code)]

#[cfg(target_family = "wasm")]
use super::hostcalls::{environ_get, environ_sizes_get, random_get};

/// Whether the host gives environment variables.
#[cfg(target_family = "wasm")]
pub(super) fn has_environment() -> bool {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the host writes to live variables.
    if unsafe { environ_sizes_get(&mut count, &mut size) } != 0 {
        return false;
    }
    let (mut variables, mut bytes) = (vec![std::ptr::null_mut(); count], vec![0; size]);
    // SAFETY: the host writes as much as it said to live buffers of these lengths.
    unsafe { environ_get(variables.as_mut_ptr(), bytes.as_mut_ptr()) == 0 }
}

/// Whether the host gives random numbers.
#[cfg(target_family = "wasm")]
pub(super) fn has_random() -> bool {
    let mut bytes = [0; 8];
    // SAFETY: the host writes to a live array of this length.
    unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) == 0 }
}

/// A native test has both.
#[cfg(not(target_family = "wasm"))]
pub(super) fn has_environment() -> bool {
    true
}

/// A native test has both.
#[cfg(not(target_family = "wasm"))]
pub(super) fn has_random() -> bool {
    true
}

/// An environment variable; none where it is not there, or the host gives none at all.
pub(super) fn variable(name: &str) -> Option<Result<String, NotUnicode>> {
    if !has_environment() {
        return None;
    }
    match std::env::var(name) {
        Ok(value) => Some(Ok(value)),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => Some(Err(NotUnicode)),
    }
}

/// Its value is not UTF-8.
pub(super) struct NotUnicode;
