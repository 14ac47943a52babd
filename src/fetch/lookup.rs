//! The id of something that is fetched and that requests wait for.

use std::cell::Cell;
use std::rc::Rc;

/// Something that is fetched and that requests can wait for: the keys of a provider, a revocation list, a status list.
/// Each has its own number within a gate, which is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(u64);

/// Makes numbers; all clones share one sequence.
#[derive(Clone, Debug, Default)]
pub struct LookupIds(Rc<Cell<u64>>);

impl LookupIds {
    /// A number that nothing else has.
    #[must_use]
    pub fn next(&self) -> LookupId {
        let next = self.0.get();
        self.0.set(next.wrapping_add(1));
        LookupId(next)
    }
}
