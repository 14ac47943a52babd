//! What time it is: the machine's clock, or one that was set at the start, for tests.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis::Timestamp;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Option<(Timestamp, Instant)>);

impl Clock {
    /// One that begins at a moment, or the machine's.
    pub(crate) fn new(begin: Option<Timestamp>) -> Self {
        Self(begin.map(|begin| (begin, Instant::now())))
    }

    pub(crate) fn now(self) -> Timestamp {
        match self.0 {
            Some((begin, since)) => begin.plus(since.elapsed()),
            None => {
                let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::default().plus(since)
            }
        }
    }
}
