//! Moments and spans, always handed in and never read from a clock here.

mod attempts;
mod limiter;

use std::time::Duration;

pub use attempts::{AttemptLimit, Attempts, MAX_REMEMBERED};
pub use limiter::Limiter;

use crate::json::Number;

/// A moment: the time since 1970-01-01T00:00:00Z, leap seconds not counted (RFC 7519 section 2,
/// `NumericDate`), to the nanosecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(Duration);

/// Why a number is not a `NumericDate`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

impl Timestamp {
    /// The moment that many whole seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The moment that many nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Nanoseconds since the epoch; the largest number there is from the year 2554 on.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// A `NumericDate` (RFC 7519 section 2): an integer or a fraction from 0 to 2^63 - 1 seconds.
    ///
    /// # Errors
    /// Anything below 0, from 2^63 on, or not finite.
    pub fn from_number(number: Number) -> Result<Self, OutOfRange> {
        /// 2^63: the first value that a signed 64-bit integer cannot hold.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        match number {
            Number::Unsigned(secs) if secs <= i64::MAX as u64 => Ok(Self::from_secs(secs)),
            Number::Unsigned(_) | Number::Negative(_) => Err(OutOfRange),
            Number::Float(secs) if (0.0..LIMIT).contains(&secs) => {
                Duration::try_from_secs_f64(secs).map(Self).map_err(|_| OutOfRange)
            }
            Number::Float(_) => Err(OutOfRange),
        }
    }

    /// This moment and `span` more; the last moment there is where that would overflow.
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// This moment less `span`; the epoch where that would be before it.
    #[must_use]
    pub const fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// The span from `earlier` to this moment; zero where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A span in whole seconds, rounded up: what a client is told to wait (RFC 9110 section 10.2.3).
pub fn seconds_up(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_date_is_a_number_of_seconds_from_0_to_2_to_the_63() {
        let cases: &[(Number, Result<u64, OutOfRange>)] = &[
            (Number::Unsigned(0), Ok(0)),
            (Number::Unsigned(1_700_000_000), Ok(1_700_000_000)),
            (Number::Unsigned(i64::MAX as u64), Ok(i64::MAX as u64)),
            (Number::Unsigned(1 << 63), Err(OutOfRange)),
            (Number::Negative(-1), Err(OutOfRange)),
            (Number::Float(1.5), Ok(1)),
            (Number::Float(-0.5), Err(OutOfRange)),
            (Number::Float(9.3e18), Err(OutOfRange)),
            (Number::Float(f64::INFINITY), Err(OutOfRange)),
            (Number::Float(f64::NAN), Err(OutOfRange)),
        ];
        for (number, expected) in cases {
            assert_eq!(Timestamp::from_number(*number).map(Timestamp::as_secs), *expected, "{number:?}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_counts() {
        let half = Timestamp::from_number(Number::Float(10.5)).unwrap();
        assert!(Timestamp::from_secs(10) < half && half < Timestamp::from_secs(11));
    }
}
