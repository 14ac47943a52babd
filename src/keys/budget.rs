//! How many fetches unknown key ids may cause, whatever they are: the instances of a proxy take them from one budget.

use std::time::Duration;

use crate::fetch::{State, within};
use crate::time::Timestamp;

/// What a fetch for an unknown kid is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Budget {
    /// [`KID_BURST`] fetches, one more in each cooldown.
    Bucket,
    /// [`RESERVE_BURST`] fetches, one more in [`RESERVE_PAUSE`], for kids that come again.
    Reserve,
    /// None: something else holds these fetches apart. After a failure that is the pause before the next try; for
    /// doubtful signatures it is a cooldown since the last fetch.
    Free,
}

/// Fetches for unknown kids that may follow one another at once.
const KID_BURST: u32 = 3;
/// The same for kids that come again, beside it.
const RESERVE_BURST: u32 = 2;
/// How long the reserve takes for one more, where the cooldown is not shorter.
const RESERVE_PAUSE: Duration = Duration::from_secs(5);

/// The budgets of one source. What was drawn from them is in the shared state.
#[derive(Debug)]
pub(super) struct Budgets {
    cooldown: Duration,
    /// When the bucket and the reserve are full again at the least, whatever others write into the store.
    floors: (Timestamp, Timestamp),
}

impl Budgets {
    /// Budgets of which nothing was drawn; the bucket gets one more in each `cooldown`.
    pub(super) fn new(cooldown: Duration) -> Self {
        Self { cooldown, floors: Default::default() }
    }

    /// A shared state without what these budgets could not ask for: damage, malice or a clock that was set back.
    pub(super) fn clamped(&self, state: State, now: Timestamp) -> State {
        let (kids, reserve) = self.floors;
        let bounded = |full_at: Timestamp, budget| {
            let (_, each, burst) = self.level(budget, &state);
            within(full_at, each.saturating_mul(burst), now)
        };
        let kids_full_at = bounded(state.kids_full_at.max(kids), Budget::Bucket);
        let reserve_full_at = bounded(state.reserve_full_at.max(reserve), Budget::Reserve);
        State { kids_full_at, reserve_full_at, ..state }
    }

    /// What a fetch for an unknown kid can be taken from; `again` where the kid came before.
    pub(super) fn find(&self, state: &State, again: bool, now: Timestamp) -> Option<Budget> {
        let choices: &[Budget] = match (state.failures > 0, again) {
            (true, _) => &[Budget::Free],
            // The bucket is left to those that come for the first time.
            (false, true) => &[Budget::Reserve, Budget::Bucket],
            (false, false) => &[Budget::Bucket],
        };
        choices.iter().copied().find(|budget| self.drawn(*budget, state, now).is_some())
    }

    /// What a fetch for a doubtful signature can be taken from, once its cooldown has passed. It leaves the bucket to
    /// unknown kids: forged tokens of a known kid must not keep a new key waiting.
    pub(super) fn find_for_signature(&self, state: &State, now: Timestamp) -> Option<Budget> {
        self.drawn(Budget::Free, state, now).map(|_| Budget::Free)
    }

    /// The state after a fetch was taken from a budget; none where it is empty.
    pub(super) fn draw(&mut self, budget: Budget, state: &State, now: Timestamp) -> Option<State> {
        let drawn = self.drawn(budget, state, now)?;
        self.floors = (drawn.kids_full_at, drawn.reserve_full_at);
        Some(drawn)
    }

    /// When one of the budgets allows a fetch again.
    pub(super) fn refills_in(&self, state: &State, now: Timestamp) -> Duration {
        let next = |budget| {
            let (full_at, each, burst) = self.level(budget, state);
            full_at.since(now).saturating_sub(each.saturating_mul(burst.saturating_sub(1)))
        };
        next(Budget::Bucket).min(next(Budget::Reserve))
    }

    /// When a budget is full again, how long it takes for one more, and how many it has at most.
    fn level(&self, budget: Budget, state: &State) -> (Timestamp, Duration, u32) {
        match budget {
            Budget::Reserve => (state.reserve_full_at, self.cooldown.min(RESERVE_PAUSE), RESERVE_BURST),
            Budget::Bucket | Budget::Free => (state.kids_full_at, self.cooldown, KID_BURST),
        }
    }

    fn drawn(&self, budget: Budget, state: &State, now: Timestamp) -> Option<State> {
        // While a fetch has just failed, another would fail too.
        if now < state.not_before.max(state.hold_until) {
            return None;
        }
        let (full_at, each, burst) = self.level(budget, state);
        let full_at = full_at.max(now).plus(each);
        let has_room = full_at.since(now) <= each.saturating_mul(burst);
        match budget {
            Budget::Free => Some(*state),
            Budget::Bucket => has_room.then_some(State { kids_full_at: full_at, ..*state }),
            Budget::Reserve => has_room.then_some(State { reserve_full_at: full_at, ..*state }),
        }
    }
}
