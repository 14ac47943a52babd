//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Asks `probe` again and again until it answers, at most for `timeout`.
///
/// # Panics
/// When nothing came in time: with `what` in the message, so that the log says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, timeout: Duration, probe: impl FnMut() -> Option<T>) -> T {
    match poll(timeout, probe) {
        Some(found) => found,
        None => panic!("waited {timeout:?} in vain for: {what}"),
    }
}

/// Like [`eventually`], but a deadline that passes is an answer.
pub fn poll<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the process is told to end: by Ctrl-C or by SIGTERM.
pub fn until_stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    crate::runtime::runtime().block_on(async {
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    });
}
