//! What was promised, and what is said when a promise is broken.

use std::fmt;
use std::time::Duration;

/// What holds in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// Nobody passes by a key that is not in the last good set that its instance can know.
    OnlyListedKeys,
    /// Nobody passes by keys that are older than their life and `stale_if_error`.
    NoKeyTooOld,
    /// The provider is never asked twice at once.
    OneFetchAtOnce,
    /// A request is decided by its deadline, and when its configuration ends.
    NobodyWaitsTooLong,
    /// 503 only without keys, or for a key that could be new; 401 only for a key that is not listed, or a forged token.
    NobodyIsRefusedWithoutNeed,
    /// Some time after the provider is well again, keys are fresh.
    HealsInTime,
}

/// A promise that a run broke.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) promise: Promise,
    /// When, since the run began.
    pub(crate) after: Duration,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, promise, after, what } = self;
        write!(
            f,
            "seed {seed}: {promise:?} is broken after {:.3} s: {what}\n\
             PORTCULLIS_SEED={seed} cargo test --test keys_simulation -- --nocapture tells the whole run",
            after.as_secs_f64()
        )
    }
}

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        /// What happened, so that nobody takes a run in which nothing does for a proof.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            pub(crate) fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts!(
    requests,
    passed,
    passed_on_stale_keys,
    began_to_wait,
    waited_in_vain,
    refused_without_keys,
    refused_for_a_removed_key,
    refused_for_a_made_up_kid,
    refused_for_a_forged_signature,
    hung_up,
    fetches,
    good_answers,
    not_modified,
    bad_answers,
    timeouts,
    lost_answers,
    not_sent,
    moods,
    rotations,
    turns_in_between,
    crashes,
    crashes_during_a_fetch,
    updates,
    spoilt_values,
);
