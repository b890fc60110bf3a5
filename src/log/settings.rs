//! The settings of a log that may change while it is in use. Each is an atomic of its own, so that an append
//! reads it without a lock; a change counts for what begins after it.

use std::time::Duration;

use crate::config::{Compaction, Durability, Retention, TopicSettings, WhenFull};
use crate::sync::{Arc, AtomicU64, Ordering, RwLock};

/// Indexed by what is stored in [`LogSettings::durability`].
const DURABILITIES: [Durability; 3] = [Durability::Memory, Durability::ProcessCrash, Durability::PowerLoss];

/// Indexed by what is stored in [`LogSettings::when_full`].
const WAYS: [WhenFull; 3] = [WhenFull::DropOldest, WhenFull::Block, WhenFull::Refuse];

/// Bits of [`LogSettings::demands`].
const NEEDS_KEYS: u64 = 1;
const TRACKS_AGES: u64 = 2;

/// What is done with the records of a log that are there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Care {
    /// `max_bytes` is this partition's share.
    pub(crate) retention: Retention,
    pub(crate) compaction: Option<Compaction>,
    /// When the segment that is written to ends, however small it is, if ages count.
    pub(crate) segment_age: Option<Duration>,
}

impl Care {
    /// `None` if nothing is done.
    fn of(settings: &TopicSettings) -> Option<Self> {
        let TopicSettings { retention, compaction, .. } = settings;
        if retention.is_forever() && compaction.is_none() {
            return None;
        }
        let mut retention = retention.clone();
        let partitions = u64::from(settings.partitions.max(1));
        retention.max_bytes = retention.max_bytes.map(|bytes| (bytes / partitions).max(1));
        let max_lag = compaction.as_ref().map(|compaction| compaction.max_lag);
        let limits = [Some(settings.segment_age), retention.max_age, max_lag.flatten()];
        let ages_count = tracks_ages(&retention) || compaction.is_some();
        let segment_age = limits.into_iter().flatten().min().filter(|_| ages_count);
        Some(Self { retention, compaction: compaction.clone(), segment_age })
    }
}

/// Whether it counts when records were appended.
fn tracks_ages(retention: &Retention) -> bool {
    retention.max_age.is_some() || !retention.read_by.is_empty()
}

/// What the log of one partition takes from its topic's settings.
#[derive(Debug)]
pub(crate) struct LogSettings {
    max_record_bytes: AtomicU64,
    max_batch_bytes: AtomicU64,
    segment_bytes: AtomicU64,
    /// This partition's share.
    memory_limit: AtomicU64,
    durability: AtomicU64,
    sync_interval_ms: AtomicU64,
    when_full: AtomicU64,
    demands: AtomicU64,
    /// `None`: the log keeps everything. Read in the background only.
    care: RwLock<Option<Arc<Care>>>,
}

impl LogSettings {
    pub(crate) fn new(settings: &TopicSettings) -> Self {
        let zero = || AtomicU64::new(0);
        let new = Self {
            max_record_bytes: zero(),
            max_batch_bytes: zero(),
            segment_bytes: zero(),
            memory_limit: zero(),
            durability: zero(),
            sync_interval_ms: zero(),
            when_full: zero(),
            demands: zero(),
            care: RwLock::default(),
        };
        new.apply(settings);
        new
    }

    /// Takes over a topic's settings.
    pub(crate) fn apply(&self, settings: &TopicSettings) {
        let share = settings.memory_limit / u64::from(settings.partitions.max(1));
        let way = WAYS.iter().position(|way| *way == settings.when_full);
        let keys = if settings.compaction.is_some() { NEEDS_KEYS } else { 0 };
        // On disk, compaction goes by the ages of segments.
        let in_memory = settings.compaction.as_ref().filter(|_| settings.durability == Durability::Memory);
        let lags = in_memory.is_some_and(|how| !how.min_lag.is_zero() || how.max_lag.is_some());
        let ages = if tracks_ages(&settings.retention) || lags { TRACKS_AGES } else { 0 };
        let level = DURABILITIES.iter().position(|level| *level == settings.durability);
        for (setting, value) in [
            (&self.max_record_bytes, settings.max_record_bytes),
            (&self.max_batch_bytes, settings.max_batch_bytes),
            (&self.segment_bytes, settings.segment_bytes),
            (&self.memory_limit, share),
            (&self.durability, level.unwrap_or_default() as u64),
            (&self.sync_interval_ms, settings.sync_interval.as_millis() as u64),
            (&self.when_full, way.unwrap_or_default() as u64),
            (&self.demands, keys | ages),
        ] {
            // No order between them: a record is checked against each on its own.
            setting.store(value, Ordering::Relaxed);
        }
        *self.care.write() = Care::of(settings).map(Arc::new);
    }

    #[inline]
    pub(crate) fn max_record_bytes(&self) -> usize {
        self.max_record_bytes.load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn max_batch_bytes(&self) -> usize {
        self.max_batch_bytes.load(Ordering::Relaxed) as usize
    }

    #[inline]
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    /// How many bytes this partition may hold if it is in memory.
    #[inline]
    pub(crate) fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn durability(&self) -> Durability {
        let level = self.durability.load(Ordering::Relaxed) as usize;
        DURABILITIES.get(level).copied().unwrap_or(Durability::Memory)
    }

    /// What a log in memory does at its bound.
    pub(crate) fn when_full(&self) -> WhenFull {
        let way = self.when_full.load(Ordering::Relaxed) as usize;
        WAYS.get(way).copied().unwrap_or_default()
    }

    /// Whether every record needs a key.
    #[inline]
    pub(crate) fn needs_keys(&self) -> bool {
        self.demands.load(Ordering::Relaxed) & NEEDS_KEYS != 0
    }

    /// Whether it counts when records were appended.
    #[inline]
    pub(crate) fn tracks_ages(&self) -> bool {
        self.demands.load(Ordering::Relaxed) & TRACKS_AGES != 0
    }

    /// What is done with the records that are there; `None` if nothing.
    pub(crate) fn care(&self) -> Option<Arc<Care>> {
        self.care.read().clone()
    }

    pub(crate) fn sync_interval(&self) -> Duration {
        Duration::from_millis(self.sync_interval_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TopicConfig, TopicDefaults};

    #[test]
    fn every_setting_arrives_and_the_memory_limit_is_shared() {
        let config = TopicConfig::new().partitions(4).max_record_bytes(11).max_batch_bytes(2_048);
        let config = config.segment_bytes(8_192).memory_limit(1 << 20).durability(Durability::PowerLoss);
        let config = config.sync_interval(Duration::from_secs(2));
        let defaults = TopicDefaults::on_disk();
        let settings = LogSettings::new(&TopicConfig::new().settings(&defaults).expect("in range"));
        settings.apply(&config.settings(&defaults).expect("in range"));
        assert_eq!((settings.max_record_bytes(), settings.max_batch_bytes()), (11, 2_048));
        assert_eq!((settings.segment_bytes(), settings.memory_limit()), (8_192, 1 << 18));
        assert_eq!(settings.durability(), Durability::PowerLoss);
        assert_eq!(settings.sync_interval(), Duration::from_secs(2));
    }
}
