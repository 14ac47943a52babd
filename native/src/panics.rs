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

/// The hook that is to panic: what a request of a test asks for.
#[cfg(feature = "panic-for-tests")]
pub(crate) fn asked(fields: &[(&[u8], &[u8])]) -> Option<String> {
    let (_, hook) = fields.iter().find(|(name, _)| *name == b"x-portcullis-panic-for-tests")?;
    Some(String::from_utf8_lossy(hook).into_owned())
}
