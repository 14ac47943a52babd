//! How often the log is told of single requests, so that nobody can flood it.

use crate::time::Timestamp;

/// Lets so many lines through in a second, and counts the others.
#[derive(Debug)]
pub(super) struct Limiter {
    most: u32,
    second: u64,
    said: u32,
    held_back: u64,
}

impl Limiter {
    /// At most so many lines in a second.
    pub(super) fn new(most: u32) -> Self {
        Self { most, second: 0, said: 0, held_back: 0 }
    }

    /// Whether a line may be written now; if so, how many were held back before it.
    pub(super) fn admit(&mut self, now: Timestamp) -> Option<u64> {
        if now.as_secs() != self.second {
            (self.second, self.said) = (now.as_secs(), 0);
        }
        if self.said >= self.most {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.said = self.said.saturating_add(1);
        Some(std::mem::take(&mut self.held_back))
    }

    /// The same, in the words that are to stand at the end of the line.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<String> {
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
    }
}
