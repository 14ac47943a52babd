//! Where random choices come from.

/// A seed, which gives the same choices each time, or the bytes of a fuzzer, which learns what they do.
#[derive(Clone)]
pub enum Choices<'b> {
    /// The state of SplitMix64.
    Seed(u64),
    /// What is left of the bytes; all choices are the first once there are none.
    Bytes(&'b [u8]),
}

impl Choices<'_> {
    fn next(&mut self) -> u64 {
        match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Self::Bytes(bytes) => {
                let Some((first, rest)) = bytes.split_first() else { return 0 };
                *bytes = rest;
                u64::from(*first)
            }
        }
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or_default()
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        // The small numbers are "no", so that a fuzzer's empty rest asks for nothing special.
        self.below(100) >= 100 - percent
    }
}
