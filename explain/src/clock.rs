//! Times as people write and read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a time: seconds since 1970, or a date as RFC 3339 has it.
///
/// # Errors
/// What to write instead.
pub fn parse_time(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).ok();
    date.and_then(|date| u64::try_from(date.unix_timestamp()).ok()).ok_or_else(|| {
        format!("{text:?} is no time; write seconds since 1970, or a date such as 2026-01-31T12:00:00Z")
    })
}

/// A time as a date (RFC 3339, UTC); the number itself where it is beyond the calendar.
pub fn date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_times() {
        assert_eq!(parse_time("0"), Ok(0));
        assert_eq!(parse_time("1796000000"), Ok(1_796_000_000));
        assert_eq!(parse_time("2026-11-30T12:00:00Z"), Ok(1_796_040_000));
        assert_eq!(parse_time("2026-11-30T13:00:00+01:00"), Ok(1_796_040_000));
        for text in ["", "-1", "now", "2026-11-30", "1969-12-31T00:00:00Z"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(date(1_796_040_000), "2026-11-30T12:00:00Z");
        assert_eq!(date(i64::MAX), i64::MAX.to_string());
    }
}
