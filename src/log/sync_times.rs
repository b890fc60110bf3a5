//! How long the syncs of a broker took: counted by whoever syncs a log, read by anybody; no order between the
//! numbers.

use std::time::Duration;

use crate::sync::{Ordering, UnmodelledU64};

/// One for each power of two of microseconds, up to half an hour.
const BUCKETS: usize = 32;

/// The syncs of all logs of a broker since it was opened.
#[derive(Debug, Default)]
pub(crate) struct SyncTimes {
    failures: UnmodelledU64,
    nanos: UnmodelledU64,
    longest_nanos: UnmodelledU64,
    /// In each the syncs that took less than its bound, and not less than that of the one before.
    buckets: [UnmodelledU64; BUCKETS],
}

/// The syncs up to one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SyncTimesSeen {
    pub(crate) failures: u64,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
    buckets: [u64; BUCKETS],
}

impl SyncTimes {
    /// A sync was tried, and took so long.
    pub(super) fn note(&self, took: Duration, has_succeeded: bool) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(took)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(!has_succeeded), Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> SyncTimesSeen {
        SyncTimesSeen {
            failures: self.failures.load(Ordering::Relaxed),
            total: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest_nanos.load(Ordering::Relaxed)),
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
        }
    }
}

impl SyncTimesSeen {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A time within which `percent` of all syncs were done; not more than twice as long as the shortest such
    /// time, or one microsecond. Zero if there were none.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let wanted = (self.count() * percent).div_ceil(100);
        let mut done = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            done += count;
            if done >= wanted && done > 0 {
                return Duration::from_micros(1 << bucket).min(self.longest);
            }
        }
        Duration::ZERO
    }
}

/// Those below 1, 2, 4, 8 ... microseconds; the last one takes all the rest.
fn bucket(took: Duration) -> usize {
    let micros = took.as_micros();
    ((u128::BITS - micros.leading_zeros()) as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bounds_of_powers_of_two_and_never_more_than_the_longest() {
        let times = SyncTimes::default();
        assert_eq!((times.seen().percentile(50), times.seen().count()), (Duration::ZERO, 0));
        for micros in 1..=100 {
            times.note(Duration::from_micros(micros), micros != 7);
        }
        let seen = times.seen();
        assert_eq!((seen.count(), seen.failures), (100, 1));
        assert_eq!((seen.total, seen.longest), (Duration::from_micros(5_050), Duration::from_micros(100)));
        assert_eq!(seen.percentile(50), Duration::from_micros(64));
        assert_eq!(seen.percentile(99), Duration::from_micros(100));
        assert_eq!(seen.percentile(1), Duration::from_micros(2));
    }

    #[test]
    fn the_shortest_and_the_longest_have_a_bucket() {
        let times = SyncTimes::default();
        times.note(Duration::ZERO, true);
        assert_eq!(times.seen().percentile(99), Duration::ZERO);
        times.note(Duration::from_secs(1 << 30), true);
        assert_eq!((bucket(Duration::MAX), times.seen().count()), (BUCKETS - 1, 2));
        assert_eq!(times.seen().percentile(50), Duration::from_micros(1));
    }
}
