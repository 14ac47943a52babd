//! Who failed how often, in memory of a fixed size: whoever fails too often within a while is blocked for a while.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::time::Duration;

use super::Timestamp;

/// How many of those who failed are remembered at most.
pub const MAX_REMEMBERED: usize = SETS * WAYS;

/// How many places there are for those whose hashes begin alike.
const WAYS: usize = 8;
/// A power of two.
const SETS: usize = 1024;

/// How often somebody may fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptLimit {
    /// So often within [`Self::window`]; the next time comes after [`Self::block`].
    pub max: u32,
    /// Counted from the first failure on.
    pub window: Duration,
    /// How long a block lasts.
    pub block: Duration,
}

/// Those who failed. Nobody is taken for another: each is known by a hash of 64 bits with a secret key. Where there is
/// no room, who failed the least and is not blocked is forgotten first.
#[derive(Debug)]
pub struct Attempts {
    limit: AttemptLimit,
    hasher: RandomState,
    sets: Vec<[Entry; WAYS]>,
    /// When the last of all blocks ends.
    last_end: Timestamp,
}

/// One of those who failed.
#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    tag: u64,
    /// When the first failure was, or when the block ends.
    at: Timestamp,
    /// Zero: a free place.
    count: u32,
    is_blocked: bool,
}

impl Attempts {
    /// Nobody failed yet. All memory that is ever needed is taken here.
    pub fn new(limit: AttemptLimit) -> Self {
        Self {
            limit,
            hasher: RandomState::new(),
            sets: vec![[Entry::default(); WAYS]; SETS],
            last_end: Timestamp::default(),
        }
    }

    /// The limit.
    pub fn limit(&self) -> AttemptLimit {
        self.limit
    }

    /// Whether anybody may be blocked: else nobody has to be asked for.
    pub fn blocks(&self, now: Timestamp) -> bool {
        now < self.last_end
    }

    /// For how long somebody is still blocked.
    pub fn blocked_for(&self, who: &impl Hash, now: Timestamp) -> Option<Duration> {
        let tag = self.hasher.hash_one(who);
        let set = self.sets.get(place(tag))?;
        set.iter().find(|entry| entry.is(tag))?.blocked_for(self.limit, now)
    }

    /// Somebody failed; whether that begins a block.
    pub fn failed(&mut self, who: &impl Hash, now: Timestamp) -> bool {
        let (limit, tag) = (self.limit, self.hasher.hash_one(who));
        let Some(set) = self.sets.get_mut(place(tag)) else { return false };
        let known = set.iter().position(|entry| entry.is(tag));
        let weight = |entry: &Entry| (entry.weight(limit, now), entry.at);
        let min = || set.iter().enumerate().min_by_key(|(_, entry)| weight(entry)).map(|(at, _)| at);
        let Some(entry) = known.or_else(min).and_then(|at| set.get_mut(at)) else { return false };
        if !entry.is(tag) || entry.weight(limit, now) == 0 {
            *entry = Entry { tag, at: now, count: 0, is_blocked: false };
        }
        entry.count = entry.count.saturating_add(1);
        let begins = !entry.is_blocked && entry.count >= limit.max;
        if begins {
            (entry.is_blocked, entry.at) = (true, now.plus(limit.block));
            self.last_end = self.last_end.max(entry.at);
        }
        begins
    }
}

/// The set of a hash. The rest of it tells those of one set apart.
fn place(tag: u64) -> usize {
    usize::try_from(tag & (SETS as u64).saturating_sub(1)).unwrap_or_default()
}

impl Entry {
    fn is(&self, tag: u64) -> bool {
        self.count > 0 && self.tag == tag
    }

    /// A block that ends later than one can last is of a clock that was set back.
    fn blocked_for(&self, limit: AttemptLimit, now: Timestamp) -> Option<Duration> {
        let left = self.at.since(now);
        (self.is_blocked && !left.is_zero() && left <= limit.block).then_some(left)
    }

    /// How much there is to remember: nothing of what is over, most of who is blocked.
    fn weight(&self, limit: AttemptLimit, now: Timestamp) -> u32 {
        match self.is_blocked {
            true => self.blocked_for(limit, now).map_or(0, |_| u32::MAX),
            false if now.since(self.at) >= limit.window => 0,
            false => self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: AttemptLimit =
        AttemptLimit { max: 30, window: Duration::from_secs(60), block: Duration::from_secs(20) };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn who_fails_so_often_is_blocked_and_nobody_else() {
        let mut attempts = Attempts::new(LIMIT);
        for failure in 0..30 {
            assert_eq!(
                (attempts.blocked_for(&"a", at(failure)), attempts.blocks(at(failure))),
                (None, false)
            );
            assert_eq!(attempts.failed(&"a", at(failure)), failure == 29, "{failure}");
        }
        assert_eq!(attempts.blocked_for(&"a", at(30)), Some(Duration::from_millis(19_999)));
        assert_eq!((attempts.blocked_for(&"b", at(30)), attempts.blocks(at(30))), (None, true));
        assert!(!attempts.blocks(at(20_029)));
        // Afterwards it begins anew.
        assert_eq!(attempts.blocked_for(&"a", at(20_029)), None);
        assert!(!attempts.failed(&"a", at(20_029)));
        assert_eq!(attempts.blocked_for(&"a", at(20_030)), None);
    }

    #[test]
    fn failures_count_together_within_the_window_alone() {
        let mut attempts = Attempts::new(LIMIT);
        for _ in 0..29 {
            assert!(!attempts.failed(&1, at(0)));
        }
        assert!(!attempts.failed(&1, at(60_000)), "the first is over");
        for failure in 1..30 {
            assert_eq!(attempts.failed(&1, at(60_000 + failure)), failure == 29);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_blocks_nobody_for_longer() {
        let mut attempts = Attempts::new(LIMIT);
        (0..30).for_each(|failure| assert_eq!(attempts.failed(&1, at(10_000_000)), failure == 29));
        assert!(attempts.blocked_for(&1, at(10_000_001)).is_some());
        assert_eq!(attempts.blocked_for(&1, at(0)), None);
        assert!(!attempts.failed(&1, at(0)));
    }

    #[test]
    fn a_million_others_take_no_memory_and_do_not_free_who_is_blocked() {
        let limit = AttemptLimit { block: Duration::from_secs(3600), ..LIMIT };
        let mut attempts = Attempts::new(limit);
        (0..30).for_each(|failure| assert_eq!(attempts.failed(&"blocked", at(0)), failure == 29));
        let memory = attempts.sets.capacity();
        for other in 0..1_000_000u64 {
            assert!(!attempts.failed(&other, at(other / 1000)));
        }
        assert!(attempts.blocked_for(&"blocked", at(1000)).is_some());
        assert_eq!((attempts.sets.capacity(), attempts.sets.len()), (memory, SETS));
        assert!(size_of::<Entry>() * MAX_REMEMBERED <= 512 * 1024);
        // Where a set is full of those who are blocked, another still has its place and its turn.
        let mut attempts = Attempts::new(AttemptLimit { max: 1, ..limit });
        assert!((0..100_000u64).all(|other| attempts.failed(&other, at(0))));
        assert!(attempts.failed(&"late", at(1)) && attempts.blocked_for(&"late", at(2)).is_some());
        assert_eq!(attempts.blocked_for(&"innocent", at(2)), None);
    }
}
