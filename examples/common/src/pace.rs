//! A pace at which events happen.

use std::thread;
use std::time::{Duration, Instant};

/// While it waits, something else is called so often.
const TURN: Duration = Duration::from_millis(100);

/// Lets events happen as fast as they did, or so many times as fast.
#[derive(Debug)]
pub struct Pace {
    speed: Option<f64>,
    begin: Option<(i64, Instant)>,
}

impl Pace {
    /// Without a speed nothing waits.
    pub fn new(speed: Option<f64>) -> Self {
        Self { speed, begin: None }
    }

    /// Reads a speed, as options have it.
    pub fn parse_speed(text: &str) -> Result<f64, String> {
        let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
        speed.ok_or_else(|| "it must be a number above 0".to_owned())
    }

    /// Waits until it is time for an event of this time, in milliseconds since whenever, and calls
    /// `meanwhile` now and then.
    pub fn wait_for(&mut self, millis: i64, mut meanwhile: impl FnMut()) {
        let Some(speed) = self.speed else { return };
        let (first, begin) = *self.begin.get_or_insert((millis, Instant::now()));
        // A late event has had its time already.
        let after = millis.saturating_sub(first).max(0) as f64 / 1e3 / speed;
        let after = Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX);
        while let Some(left) = after.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
            meanwhile();
            thread::sleep(left.min(TURN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_above_0() {
        assert_eq!(Pace::parse_speed("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1", "inf", "NaN", "fast"] {
            assert!(Pace::parse_speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_an_event_that_is_later_than_the_first_one_waits() {
        let (mut pace, mut turns) = (Pace::new(Some(1_000.0)), 0);
        pace.wait_for(5_000, || turns += 1);
        pace.wait_for(-5_000, || turns += 1);
        assert_eq!(turns, 0);
        pace.wait_for(65_000, || turns += 1);
        assert!(turns > 0);
        Pace::new(None).wait_for(i64::MAX, || unreachable!("without a speed nothing waits"));
    }
}
