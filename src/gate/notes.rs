//! What the log is told of single requests, so seldom that nobody can flood it.

use super::outcome::State;
use crate::time::Timestamp;

/// Lines in a second at the most.
const MOST: u32 = 10;

/// The lines of this second.
#[derive(Debug, Default)]
pub(super) struct Notes {
    second: u64,
    said: u32,
    held_back: u64,
}

impl Notes {
    /// The line for a request that a reporting rule would have refused, where there is room for one. It
    /// repeats nothing that the client sent.
    pub(super) fn would_deny(&mut self, state: &State, now: Timestamp) -> Option<String> {
        let held_back = self.room(now)?;
        let rule = state.rule.as_ref().map_or("", |rule| &rule.name);
        let reason = state.reason.map_or("", |reason| reason.as_str());
        Some(format!("rule {rule:?} only reports; it would have refused a request: {reason}{held_back}"))
    }

    /// Room for a line; what is to stand at its end says how many found none before.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<String> {
        if now.as_secs() != self.second {
            (self.second, self.said) = (now.as_secs(), 0);
        }
        if self.said >= MOST {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.said = self.said.saturating_add(1);
        Some(match std::mem::take(&mut self.held_back) {
            0 => String::new(),
            more => format!(" ({more} more were not written before)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn a_flood_of_requests_is_no_flood_of_lines() {
        let mut notes = Notes::default();
        let state = State { reason: Some(Reason::Expired), ..State::default() };
        let now = Timestamp::from_secs(100);
        let said = (0..1000).filter_map(|_| notes.would_deny(&state, now)).count();
        assert_eq!(said, 10);
        let next = notes.would_deny(&state, Timestamp::from_secs(101)).unwrap();
        assert!(next.contains("expired") && next.contains("990 more"), "{next}");
    }
}
