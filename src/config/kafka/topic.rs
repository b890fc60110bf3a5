//! Kafka's topic properties.

use std::time::Duration;

use super::super::{
    Compaction, Durability, MAX_BATCH_BYTES, MAX_DURATION, MAX_RECORD_BYTES, PARTITIONS, Retention,
    SEGMENT_BYTES, SYNC_INTERVAL_MS, TopicConfig,
};
use super::Rule::{Only, Refuse, Translate};
use super::{Row, apply, number};
use crate::error::{Error, Result};

/// Kafka's way to say never.
const NEVER: &str = "9223372036854775807";

const NO_JITTER: &str = "segments end at their age, without a jitter";
const NOT_DELETED: &str = "it counts only if cleanup.policy says delete";
const NOT_COMPACTED: &str = "it counts only if cleanup.policy says compact";
const NO_COMPRESSION: &str = "compression is not supported";
const NO_INDEX_FILES: &str = "indexes are kept in memory, with an entry for every 4 KiB, and have no files";
const NO_TIERS: &str = "there is no remote storage";
const NO_REPLICAS: &str = "there is one copy of every record";
const NO_TIME_CHECK: &str = "timestamps are not compared with the clock";
const REMOVED: &str = "Kafka 4.0 removed it";

/// Every topic property of Kafka, and `num.partitions`, which brokers have.
const TABLE: &[Row<Draft>] = &[
    Row::new("num.partitions", Translate(partitions)),
    Row::new("segment.bytes", Translate(segment_bytes)),
    Row::new("max.message.bytes", Translate(max_message_bytes)),
    Row::new("flush.messages", Translate(flush_messages)),
    Row::new("flush.ms", Translate(flush_ms)),
    Row::new("cleanup.policy", Translate(cleanup_policy)),
    Row::new("retention.ms", Translate(retention_ms)),
    Row::new("retention.bytes", Translate(retention_bytes)),
    Row::new("segment.ms", Translate(segment_ms)),
    Row::new("segment.jitter.ms", Only(&["0"], NO_JITTER)),
    Row::new("segment.index.bytes", Refuse(NO_INDEX_FILES)),
    Row::new("index.interval.bytes", Only(&["4096"], NO_INDEX_FILES)),
    Row::new("min.compaction.lag.ms", Translate(min_compaction_lag_ms)),
    Row::new("max.compaction.lag.ms", Translate(max_compaction_lag_ms)),
    Row::new("min.cleanable.dirty.ratio", Translate(min_cleanable_dirty_ratio)),
    Row::new("delete.retention.ms", Translate(delete_retention_ms)),
    Row::new("file.delete.delay.ms", Only(&["0"], "files are removed at once; readers keep what they hold")),
    Row::new("preallocate", Only(&["false"], "files grow as they are written")),
    Row::new("compression.type", Only(&["producer", "uncompressed"], NO_COMPRESSION)),
    Row::new("compression.gzip.level", Refuse(NO_COMPRESSION)),
    Row::new("compression.lz4.level", Refuse(NO_COMPRESSION)),
    Row::new("compression.zstd.level", Refuse(NO_COMPRESSION)),
    Row::new(
        "message.timestamp.type",
        Only(&["CreateTime"], "records keep the timestamp that they came with"),
    ),
    Row::new("message.timestamp.before.max.ms", Only(&[NEVER], NO_TIME_CHECK)),
    Row::new("message.timestamp.after.max.ms", Only(&[NEVER], NO_TIME_CHECK)),
    Row::new("min.insync.replicas", Only(&["1"], NO_REPLICAS)),
    Row::new("unclean.leader.election.enable", Refuse(NO_REPLICAS)),
    Row::new("leader.replication.throttled.replicas", Refuse(NO_REPLICAS)),
    Row::new("follower.replication.throttled.replicas", Refuse(NO_REPLICAS)),
    Row::new("remote.storage.enable", Only(&["false"], NO_TIERS)),
    Row::new("remote.log.copy.disable", Refuse(NO_TIERS)),
    Row::new("remote.log.delete.on.disable", Refuse(NO_TIERS)),
    Row::new("local.retention.ms", Refuse(NO_TIERS)),
    Row::new("local.retention.bytes", Refuse(NO_TIERS)),
    Row::new("message.format.version", Refuse(REMOVED)),
    Row::new("message.timestamp.difference.max.ms", Refuse(REMOVED)),
    Row::new("message.downconversion.enable", Refuse(REMOVED)),
];

/// What the properties say together: some count only beside others.
#[derive(Debug)]
struct Draft {
    config: TopicConfig,
    policy: Option<Policy>,
    retention: Retention,
    retention_bytes: Option<u64>,
    compaction: Compaction,
    /// The last property that bounds what is kept, or says that nothing does; and its value.
    bound_by: Option<Property>,
    /// The last property that says how to compact.
    compacted_by: Option<Property>,
}

#[derive(Clone, Copy, Debug)]
struct Policy {
    deletes: bool,
    compacts: bool,
}

#[derive(Debug)]
struct Property {
    name: &'static str,
    value: String,
    /// Whether it bounds nothing.
    is_void: bool,
}

impl Property {
    fn new(name: &'static str, value: &str) -> Option<Self> {
        Some(Self { name, value: value.to_owned(), is_void: false })
    }

    fn refused(self, reason: &str) -> Error {
        Error::InvalidProperty { name: self.name.to_owned(), value: self.value, reason: reason.to_owned() }
    }
}

impl Draft {
    fn new() -> Self {
        Self {
            config: TopicConfig::new(),
            policy: None,
            retention: Retention::forever(),
            retention_bytes: None,
            compaction: Compaction::by_key(),
            bound_by: None,
            compacted_by: None,
        }
    }

    fn finish(self) -> Result<TopicConfig> {
        let Self { mut config, policy, retention, retention_bytes, compaction, bound_by, compacted_by } =
            self;
        let Policy { deletes, compacts } = policy.unwrap_or(Policy { deletes: true, compacts: false });
        let is_bound = bound_by.is_some();
        if let Some(property) = bound_by.filter(|property| !deletes && !property.is_void) {
            return Err(property.refused(NOT_DELETED));
        }
        if let Some(property) = compacted_by.filter(|_| !compacts) {
            return Err(property.refused(NOT_COMPACTED));
        }
        if is_bound || !deletes {
            config = config.retention(retention);
            config.retention_bytes_per_partition = retention_bytes;
        }
        if policy.is_some() {
            config = config.compaction(compacts.then_some(compaction));
        }
        Ok(config)
    }

    /// One property that bounds something is remembered rather than one that says that nothing does.
    fn note_bound(&mut self, name: &'static str, value: &str) {
        let is_void = value == "-1" || value == NEVER;
        if !is_void || self.bound_by.as_ref().is_none_or(|known| known.is_void || known.name == name) {
            self.bound_by = Some(Property { name, value: value.to_owned(), is_void });
        }
    }

    fn set(self, set: impl FnOnce(TopicConfig) -> TopicConfig) -> Self {
        Self { config: set(self.config), ..self }
    }
}

impl TopicConfig {
    /// Takes over the properties of a Kafka topic. Each is translated, or accepted with the values that ask
    /// for what is so anyway, or refused by its name; none is ignored. What is not named has the default of
    /// this crate, not Kafka's. Of a name that comes twice, the last one counts.
    ///
    /// Translated:
    ///
    /// * `num.partitions`: [`partitions`](Self::partitions);
    /// * `segment.bytes`: [`segment_bytes`](Self::segment_bytes);
    /// * `max.message.bytes`: [`max_batch_bytes`](Self::max_batch_bytes) and
    ///   [`max_record_bytes`](Self::max_record_bytes). In Kafka every record travels in a batch, and this
    ///   bounds the batch; here a record on its own has a bound of its own;
    /// * `flush.messages` = 1: [`Durability::PowerLoss`], which needs a broker with a directory;
    /// * `flush.ms`: [`sync_interval`](Self::sync_interval);
    /// * `cleanup.policy`: delete, compact, both, or neither, which keeps everything. A topic in memory has
    ///   its [`memory_limit`](Self::memory_limit) all the same;
    /// * `retention.ms`, `retention.bytes`: [`retention`](Self::retention), where -1 is for ever. The latter
    ///   is for each partition, as in Kafka. Refused if the policy does not delete;
    /// * `min.cleanable.dirty.ratio` (in whole percent), `delete.retention.ms`, `min.compaction.lag.ms`,
    ///   `max.compaction.lag.ms`: [`compaction`](Self::compaction). Refused if the policy does not compact;
    /// * `segment.ms`: [`segment_age`](Self::segment_age).
    ///
    /// Accepted, because it is so anyway:
    ///
    /// * `compression.type` = producer or uncompressed, `message.timestamp.type` = CreateTime,
    ///   `min.insync.replicas` = 1, `remote.storage.enable` = false, `segment.jitter.ms` = 0,
    ///   `index.interval.bytes` = 4096, `file.delete.delay.ms` = 0, `preallocate` = false;
    /// * 9223372036854775807, which is never, for `flush.messages`, `flush.ms`,
    ///   `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    ///
    /// ```
    /// use ottla::{Broker, Error, TopicConfig};
    ///
    /// let config = TopicConfig::from_kafka_properties([
    ///     ("num.partitions", "6"),
    ///     ("cleanup.policy", "delete"),
    ///     ("retention.ms", "604800000"),
    ///     ("max.message.bytes", "2097152"),
    /// ])?;
    /// let broker = Broker::in_memory();
    /// broker.create_topic("payments", config)?;
    /// assert_eq!(broker.describe_topic("payments")?.partitions.len(), 6);
    ///
    /// let refused = TopicConfig::from_kafka_properties([("compression.type", "zstd")]);
    /// assert!(matches!(refused, Err(Error::InvalidProperty { name, .. }) if name == "compression.type"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidProperty`](crate::Error::InvalidProperty) for a name that is not known, one that has
    /// no meaning here, and a value that cannot be had or is out of range.
    pub fn from_kafka_properties(
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self> {
        apply(|| TABLE.iter(), Draft::new(), properties)?.finish()
    }
}

fn partitions(draft: Draft, value: &str) -> Result<Draft, String> {
    let partitions = number(value, &PARTITIONS)?;
    Ok(draft.set(|config| config.partitions(partitions)))
}

fn segment_bytes(draft: Draft, value: &str) -> Result<Draft, String> {
    let bytes = number(value, &SEGMENT_BYTES)?;
    Ok(draft.set(|config| config.segment_bytes(bytes)))
}

fn max_message_bytes(draft: Draft, value: &str) -> Result<Draft, String> {
    let bytes = number(value, &MAX_BATCH_BYTES)?;
    Ok(draft.set(|config| config.max_batch_bytes(bytes).max_record_bytes(bytes.min(*MAX_RECORD_BYTES.end()))))
}

fn flush_messages(draft: Draft, value: &str) -> Result<Draft, String> {
    match value {
        "1" => Ok(draft.set(|config| config.durability(Durability::PowerLoss))),
        NEVER => Ok(draft.set(|config| TopicConfig { durability: None, ..config })),
        _ => Err(format!("records are synced each (1) or by time ({NEVER}, and flush.ms), not by number")),
    }
}

fn flush_ms(draft: Draft, value: &str) -> Result<Draft, String> {
    if value == NEVER {
        return Ok(draft.set(|config| TopicConfig { sync_interval: None, ..config }));
    }
    let interval = Duration::from_millis(number(value, &SYNC_INTERVAL_MS)?);
    Ok(draft.set(|config| config.sync_interval(interval)))
}

fn cleanup_policy(draft: Draft, value: &str) -> Result<Draft, String> {
    let mut policy = Policy { deletes: false, compacts: false };
    for word in value.split(',').map(str::trim).filter(|_| !value.is_empty()) {
        match word {
            "delete" => policy.deletes = true,
            "compact" => policy.compacts = true,
            _ => {
                return Err("it must be delete, compact, both with a comma between them, or empty".to_owned());
            }
        }
    }
    Ok(Draft { policy: Some(policy), ..draft })
}

fn retention_ms(mut draft: Draft, value: &str) -> Result<Draft, String> {
    draft.retention.max_age = if value == "-1" || value == NEVER { None } else { Some(millis(value, 1)?) };
    draft.note_bound("retention.ms", value);
    Ok(draft)
}

fn retention_bytes(mut draft: Draft, value: &str) -> Result<Draft, String> {
    draft.retention_bytes = if value == "-1" { None } else { Some(number(value, &(1..=1 << 46))?) };
    draft.note_bound("retention.bytes", value);
    Ok(draft)
}

fn segment_ms(draft: Draft, value: &str) -> Result<Draft, String> {
    let age = if value == NEVER { MAX_DURATION } else { millis(value, 1)? };
    Ok(draft.set(|config| config.segment_age(age)))
}

fn min_compaction_lag_ms(mut draft: Draft, value: &str) -> Result<Draft, String> {
    draft.compaction.min_lag = millis(value, 0)?;
    draft.compacted_by = Property::new("min.compaction.lag.ms", value);
    Ok(draft)
}

fn max_compaction_lag_ms(mut draft: Draft, value: &str) -> Result<Draft, String> {
    draft.compaction.max_lag = if value == NEVER { None } else { Some(millis(value, 1)?) };
    draft.compacted_by = Property::new("max.compaction.lag.ms", value);
    Ok(draft)
}

fn min_cleanable_dirty_ratio(mut draft: Draft, value: &str) -> Result<Draft, String> {
    let ratio = value.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    let percent = ratio.ok_or("it must be a number from 0 to 1")? * 100.0;
    if (percent - percent.round()).abs() > 1e-9 {
        return Err("it can be had in whole percent only: two digits behind the point".to_owned());
    }
    draft.compaction.min_dirty_percent = percent.round() as u32;
    draft.compacted_by = Property::new("min.cleanable.dirty.ratio", value);
    Ok(draft)
}

fn delete_retention_ms(mut draft: Draft, value: &str) -> Result<Draft, String> {
    draft.compaction.delete_retention = millis(value, 0)?;
    draft.compacted_by = Property::new("delete.retention.ms", value);
    Ok(draft)
}

/// Milliseconds, `least` to 100 years.
fn millis(value: &str, least: u64) -> Result<Duration, String> {
    number(value, &(least..=MAX_DURATION.as_millis() as u64)).map(Duration::from_millis)
}
