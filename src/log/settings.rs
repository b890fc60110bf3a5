//! The settings of a log that may change while it is in use. Each is an atomic of its own, so that an append
//! reads it without a lock; a change counts for what begins after it.

use std::time::Duration;

use crate::config::{Durability, TopicSettings};
use crate::sync::{AtomicU64, Ordering};

/// Indexed by what is stored in [`LogSettings::durability`].
const DURABILITIES: [Durability; 3] = [Durability::Memory, Durability::ProcessCrash, Durability::PowerLoss];

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
        };
        new.apply(settings);
        new
    }

    /// Takes over a topic's settings.
    pub(crate) fn apply(&self, settings: &TopicSettings) {
        let share = settings.memory_limit / u64::from(settings.partitions.max(1));
        let level = DURABILITIES.iter().position(|level| *level == settings.durability);
        for (setting, value) in [
            (&self.max_record_bytes, settings.max_record_bytes),
            (&self.max_batch_bytes, settings.max_batch_bytes),
            (&self.segment_bytes, settings.segment_bytes),
            (&self.memory_limit, share),
            (&self.durability, level.unwrap_or_default() as u64),
            (&self.sync_interval_ms, settings.sync_interval.as_millis() as u64),
        ] {
            // No order between them: a record is checked against each on its own.
            setting.store(value, Ordering::Relaxed);
        }
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
