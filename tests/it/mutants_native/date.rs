//! A `NumericDate` (RFC 7519 section 2) to the last digit, whatever the number of digits.

/// A moment: whole seconds since 1970, and the decimal digits of the rest without trailing zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Date {
    seconds: u128,
    rest: Vec<u8>,
}

impl Date {
    pub(crate) fn of(seconds: u64, nanoseconds: u32) -> Self {
        Self { seconds: u128::from(seconds), rest: trimmed(format!("{nanoseconds:09}").into_bytes()) }
    }

    pub(crate) fn plus(&self, seconds: u64) -> Self {
        Self { seconds: self.seconds + u128::from(seconds), rest: self.rest.clone() }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.seconds == 0 && self.rest.is_empty()
    }

    /// The number that a JSON text stands for; none below 0 and above 2^63 - 1.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        // A decimal exponent out of this range leaves nothing to choose: the text is finite and short.
        let exponent: i64 =
            exponent.parse().unwrap_or(if exponent.starts_with('-') { -20_000 } else { 20_000 });
        let exponent = exponent.clamp(-20_000, 20_000);
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.iter().all(|digit| *digit == b'0') {
            return Some(Self { seconds: 0, rest: Vec::new() });
        }
        let point = whole.len() as i64 + exponent;
        if negative {
            return None;
        }
        for _ in point..0 {
            digits.insert(0, b'0');
        }
        let point = point.max(0) as usize;
        while digits.len() < point {
            digits.push(b'0');
        }
        let rest = trimmed(digits.split_off(point));
        let seconds = digits
            .iter()
            .try_fold(0u128, |sum, digit| sum.checked_mul(10)?.checked_add(u128::from(digit - b'0')))?;
        let date = Self { seconds, rest };
        (date <= Self { seconds: i64::MAX as u128, rest: Vec::new() }).then_some(date)
    }

    /// The same as the nearest double holds it, to the nearest nanosecond; integers stay exact.
    pub(crate) fn read_as_double(text: &str) -> Option<Self> {
        if text.parse::<u64>().is_ok() {
            return Self::read(text);
        }
        let double = text.parse::<f64>().ok().filter(|double| *double >= 0.0)?;
        Self::read(&format!("{double:.9}"))
    }
}

fn trimmed(mut digits: Vec<u8>) -> Vec<u8> {
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    digits
}
