//! Who may start an Envoy now.

use std::fs::{self, File, TryLockError};
use std::time::Duration;
use std::{env, io, thread};

/// One of as many turns as there are cores, for all processes of this user together. The kernel gives it back when it
/// is dropped or the process ends.
///
/// To start is what costs: an Envoy compiles the filter for a second or two, and one that serves a test is mostly idle.
/// So starting is bounded, and not how many there are: a test that has one and waits for another could wait for ever.
pub(super) struct Turn(#[expect(dead_code, reason = "the lock goes with the file")] File);

impl Turn {
    /// Waits for one.
    pub(super) fn wait() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        // SAFETY: a query that cannot fail.
        let folder = env::temp_dir().join(format!("portcullis-turns-{}", unsafe { libc::geteuid() }));
        fs::create_dir_all(&folder)?;
        loop {
            for number in 0..count {
                let file = File::create(folder.join(number.to_string()))?;
                match file.try_lock() {
                    Ok(()) => return Ok(Self(file)),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
