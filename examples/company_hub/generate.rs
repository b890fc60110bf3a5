//! What the generators of the areas have in common: a day, and how often things go wrong.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

pub(crate) const DAY_SECONDS: i64 = 24 * 60 * 60;

/// 2026-03-02, 00:00 UTC.
pub(crate) fn midnight() -> Timestamp {
    Timestamp::from_second(1_772_409_600).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// So many times of the day, in their order; most of them around noon.
pub(crate) fn times(rng: &mut Rng, count: usize) -> Vec<Timestamp> {
    let mut moment = || (rng.f64() + rng.f64()) / 2.0 * DAY_SECONDS as f64;
    let mut times: Vec<Timestamp> =
        (0..count).map(|_| midnight() + SignedDuration::from_millis((moment() * 1_000.0) as i64)).collect();
    times.sort_unstable();
    times
}

/// Whether this is one of so many.
pub(crate) fn is_one_of(rng: &mut Rng, many: u32) -> bool {
    rng.u32(..many) == 0
}
