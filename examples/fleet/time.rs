//! Times as the files have them, in UTC: `2024-01-31T23:59:59`, with a `T` or a space.

use std::thread;
use std::time::{Duration, Instant};

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

/// Lets events happen as fast as they did, or `speed` times as fast.
pub(crate) struct Pace {
    speed: Option<f64>,
    begin: Option<(i64, Instant)>,
}

impl Pace {
    /// Without a speed nothing waits.
    pub(crate) fn new(speed: Option<f64>) -> Self {
        Self { speed, begin: None }
    }

    /// Waits until it is time for an event of this time, and calls `meanwhile` now and then.
    pub(crate) fn wait_for(&mut self, millis: i64, mut meanwhile: impl FnMut()) {
        let Some(speed) = self.speed else { return };
        let (first, begin) = *self.begin.get_or_insert((millis, Instant::now()));
        // A late event has had its time already.
        let after = millis.saturating_sub(first).max(0) as f64 / 1e3 / speed;
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        while let Some(left) = after.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            meanwhile();
            thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}
