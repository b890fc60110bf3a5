//! Time: the [`Timestamp`] of a record and the [`Clock`] it is read from, which a test can replace.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::{Ordering, UnmodelledI64};

/// A moment in milliseconds since the Unix epoch, as Kafka counts them.
///
/// ```
/// use ottla::Timestamp;
/// let moment = Timestamp::from_millis(1_593_093_960_000);
/// assert_eq!(moment.as_millis(), 1_593_093_960_000);
/// assert!(moment < Timestamp::now());
///
/// let from_std: Timestamp = std::time::UNIX_EPOCH.into();
/// assert_eq!(from_std, Timestamp::from_millis(0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch (before it, if negative).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Now, by the clock that stamps records unless the broker was given another: see
    /// [`SystemClock`]. Use this, not [`SystemTime`], for "records sent from here on" when you
    /// [seek](crate::Consumer::seek_to_timestamp): the two differ by up to a kernel tick.
    #[must_use]
    pub fn now() -> Self {
        SystemClock.now()
    }
}

impl From<SystemTime> for Timestamp {
    /// Rounded down to the millisecond.
    fn from(time: SystemTime) -> Self {
        let millis = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Self(millis)
    }
}

impl From<Timestamp> for SystemTime {
    /// As near as the system's clock can tell: times before the Unix epoch too.
    fn from(timestamp: Timestamp) -> Self {
        let distance = Duration::from_millis(timestamp.0.unsigned_abs());
        let time =
            if timestamp.0 < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
        time.unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Where a broker reads the time: for the timestamps of records, and of the files' headers. Replace it with
/// [`BrokerBuilder::clock`](crate::BrokerBuilder::clock). Waiting, timeouts and `sync_interval` go by the
/// system's monotonic clock, not by this one.
///
/// It is asked on the thread that sends, on several at once if several send, and also under the lock of a log
/// that goes on in a new file: it must be quick, and must not use the broker. Time may go backwards.
///
/// ```
/// use std::sync::Arc;
/// use std::time::SystemTime;
///
/// use ottla::{Broker, Clock, Timestamp, TopicConfig};
///
/// /// The time of a simulation that runs an hour ahead.
/// #[derive(Debug)]
/// struct HourAhead;
///
/// impl Clock for HourAhead {
///     fn now(&self) -> Timestamp {
///         let now = Timestamp::from(SystemTime::now());
///         Timestamp::from_millis(now.as_millis() + 3_600_000)
///     }
/// }
///
/// let broker = Broker::builder().clock(HourAhead).open()?;
/// broker.open_topic("orders", TopicConfig::new())?;
/// let at = broker.producer::<u64, String>("orders")?.send(1, "two tickets")?;
/// assert!(at.timestamp > Timestamp::now());
/// # Ok::<(), ottla::Error>(())
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// The current time.
    fn now(&self) -> Timestamp;
}

impl<C: Clock + ?Sized> Clock for crate::sync::Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

/// The wall clock, read cheaply: on Linux the kernel's coarse clock, which costs a tenth of
/// [`SystemTime::now`] and stands still between two kernel ticks (1 to 10 ms, commonly 4). The default.
///
/// ```
/// use ottla::{Clock, SystemClock, Timestamp};
/// assert!(SystemClock.now() > Timestamp::from_millis(1_593_093_960_000));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    #[inline]
    fn now(&self) -> Timestamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timestamp(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000)
    }

    #[cfg(not(target_os = "linux"))]
    fn now(&self) -> Timestamp {
        PreciseClock.now()
    }
}

/// The wall clock to the millisecond, for those who would rather pay some tens of nanoseconds a send
/// than have timestamps up to a kernel tick old.
///
/// ```
/// use std::sync::Arc;
/// use ottla::{Broker, PreciseClock};
///
/// let broker = Broker::builder().clock(PreciseClock).open()?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PreciseClock;

impl Clock for PreciseClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }
}

/// A clock that only moves when told to, for tests.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use ottla::{Clock, ManualClock, Timestamp};
///
/// let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now(), Timestamp::from_millis(3_000));
/// clock.set(Timestamp::from_millis(500));
///
/// // The broker stamps records with it; the test keeps the other handle.
/// let broker = ottla::Broker::builder().clock(clock.clone()).open()?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: UnmodelledI64,
}

impl ManualClock {
    /// A clock that shows `now` until it is moved.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { millis: UnmodelledI64::new(now.0) }
    }

    /// Moves the clock to `now`, backwards too.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forward, by whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.millis.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_rounds_down_on_both_sides_of_the_epoch() {
        let after = UNIX_EPOCH + Duration::from_micros(1_999);
        assert_eq!(Timestamp::from(after).as_millis(), 1);
        let before = UNIX_EPOCH - Duration::from_millis(5);
        assert_eq!(Timestamp::from(before).as_millis(), -5);
        for time in [before, UNIX_EPOCH, UNIX_EPOCH + Duration::from_millis(1)] {
            assert_eq!(SystemTime::from(Timestamp::from(time)), time, "and back");
        }
    }
}
