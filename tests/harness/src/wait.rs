//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// The deadline of a wait for what must come. Reached only when something is broken: a machine that does much else may
/// take its time.
pub const SOON: Duration = Duration::from_secs(60);

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

/// The processor time that this thread spends on `work`: unlike a time that passes, whatever else the machine does is not
/// in it.
pub fn processor_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let now = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the clock exists, and the place is valid for a write.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        assert_eq!(failed, 0, "each thread has a clock");
        let seconds = u64::try_from(time.tv_sec).expect("a time since the thread began");
        Duration::new(seconds, u32::try_from(time.tv_nsec).expect("less than a second"))
    };
    let before = now();
    let value = work();
    (value, now() - before)
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
