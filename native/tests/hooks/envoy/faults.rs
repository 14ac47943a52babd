//! What goes wrong in a callback, and when.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How a callback fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It says false, an error, none or zero, and does nothing.
    Fails,
    /// It says that it worked, and what it gives has no bytes.
    Empty,
    /// It says that it worked, and what it gives is no UTF-8.
    Garbled,
}

pub const FAULTS: [Fault; 3] = [Fault::Fails, Fault::Empty, Fault::Garbled];

#[derive(Clone, Copy)]
struct Plan {
    callback: &'static str,
    fault: Fault,
    /// How many calls go well before.
    after: usize,
    /// How many fail.
    times: usize,
}

/// Which callbacks were called how often, and which fails.
#[derive(Default)]
pub struct Faults(Mutex<(BTreeMap<&'static str, usize>, Option<Plan>)>);

impl Faults {
    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<&'static str, usize>, &mut Option<Plan>) -> R) -> R {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, plan) = &mut *all;
        act(counts, plan)
    }

    /// A callback was called: how it fails, where it does.
    pub fn of(&self, callback: &'static str) -> Option<Fault> {
        self.with(|counts, plan| {
            *counts.entry(callback).or_default() += 1;
            let plan = plan.as_mut().filter(|plan| plan.callback == callback && plan.times > 0)?;
            match plan.after.checked_sub(1) {
                Some(left) => {
                    plan.after = left;
                    None
                }
                None => {
                    plan.times -= 1;
                    Some(plan.fault)
                }
            }
        })
    }

    /// From now on a callback fails, after so many calls, so often.
    pub fn plan(&self, callback: &'static str, fault: Fault, after: usize, times: usize) {
        self.with(|_, plan| *plan = Some(Plan { callback, fault, after, times }));
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.with(|_, plan| *plan = None);
    }

    /// How often each was called since this was asked the last time.
    pub fn take_counts(&self) -> BTreeMap<&'static str, usize> {
        self.with(|counts, _| std::mem::take(counts))
    }
}
