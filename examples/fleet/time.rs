//! Times as the files have them, in UTC: `2024-01-31T23:59:59`, with a `T` or a space.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Milliseconds since 1970; `None` if it is no time or before that.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let time: DateTime = text.trim_end_matches('Z').parse().ok()?;
    let millis = Offset::UTC.to_timestamp(time).ok()?.as_millisecond();
    (millis >= 0).then_some(millis)
}

pub(crate) fn text(millis: i64) -> String {
    // Every time here was parsed, or is a little later than one that was.
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    Offset::UTC.to_datetime(time).to_string()
}
