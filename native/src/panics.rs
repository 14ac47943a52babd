//! What happens after a panic.

use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A hook panicked.
pub(crate) fn count(hook: &str) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    log::error!(
        "a defect: {hook} panicked; the request was refused. Please report it with the line before this one"
    );
}

/// How many hooks panicked in this process.
pub(crate) fn all() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Lets a hook panic that a test asks to.
#[cfg(feature = "panic-for-tests")]
pub(crate) fn if_asked(hook: &str, fields: &[(&[u8], &[u8])]) {
    let asked = fields.iter().any(|(name, value)| *name == b"x-panic-for-tests" && *value == hook.as_bytes());
    assert!(!asked, "as asked");
}
