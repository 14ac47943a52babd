//! How often the log is told of single requests, so that no client can flood it.

use super::Timestamp;

/// Lets so many lines through in a span of time, and counts the others.
#[derive(Debug)]
pub struct Limiter {
    max: u32,
    /// How long the span is, in seconds.
    seconds: u64,
    /// The number of the last span.
    span: u64,
    admitted: u32,
    left_out: u64,
}

impl Limiter {
    /// At most so many lines in a second.
    pub fn new(max_per_second: u32) -> Self {
        Self { max: max_per_second, seconds: 1, span: 0, admitted: 0, left_out: 0 }
    }

    /// At most one line in so many seconds.
    pub fn one_in(seconds: u64) -> Self {
        Self { seconds, ..Self::new(1) }
    }

    /// Whether a line may be written now; if so, how many were left out before it.
    pub fn admit(&mut self, now: Timestamp) -> Option<u64> {
        let span = now.as_secs().checked_div(self.seconds).unwrap_or_default();
        if span != self.span {
            (self.span, self.admitted) = (span, 0);
        }
        if self.admitted >= self.max {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.admitted = self.admitted.saturating_add(1);
        Some(std::mem::take(&mut self.left_out))
    }

    /// The same, in words for the end of the line.
    pub fn room(&mut self, now: Timestamp) -> Option<String> {
        Some(match self.admit(now)? {
            0 => String::new(),
            more => format!(" ({more} more were not written before)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_requests_is_no_flood_of_lines() {
        let mut limiter = Limiter::new(10);
        let now = Timestamp::from_secs(100);
        assert_eq!((0..1000).filter_map(|_| limiter.admit(now)).count(), 10);
        assert_eq!(limiter.admit(Timestamp::from_secs(101)), Some(990));
        assert_eq!(limiter.admit(Timestamp::from_secs(101)), Some(0));
        let mut limiter = Limiter::one_in(60);
        let admitted = (6000..6180).filter_map(|at| limiter.admit(Timestamp::from_secs(at)));
        assert_eq!(admitted.collect::<Vec<_>>(), [0, 59, 59]);
    }
}
