//! An Envoy that does what a test says: it calls the module's hooks and answers the module's callbacks.
//!
//! It is stricter than Envoy. What it lends lives no longer than promised: header fields until one is changed or the hook
//! ends, other texts until the next callback. What it gives away, it frees when Envoy would. So a sanitizer sees what is
//! read too late.

pub mod callbacks;
mod config;
mod faults;
pub mod hooks;
mod stream;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use config::{Answer, Call, Envoy};
pub use faults::{FAULTS, Fault};
pub use stream::{Request, Route, State, Stream, Value};

/// How long what must come may take, on a busy machine and under a sanitizer.
pub const SOON: Duration = Duration::from_secs(120);

/// Waits until there is something.
#[track_caller]
pub fn eventually<R>(what: &str, mut look: impl FnMut() -> Option<R>) -> R {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for this in vain: {what}\n{}", last_lines());
        std::thread::sleep(Duration::from_millis(2));
    }
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A line in Envoy's log, of all tests of this process.
fn log(level: u32, line: &str) {
    // The module's hook for panics takes a test's own, too.
    if level >= 5 {
        eprintln!("{line}");
    }
    LOG.lock().unwrap_or_else(PoisonError::into_inner).push(format!("[{level}] {line}"));
}

/// The lines of the log that hold this.
pub fn logged(part: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().filter(|line| line.contains(part)).cloned().collect()
}

fn last_lines() -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().rev().take(20).rev().cloned().collect::<Vec<_>>().join("\n")
}
