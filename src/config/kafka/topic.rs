//! Kafka's topic properties.

use std::time::Duration;

use super::super::{
    Durability, MAX_BATCH_BYTES, MAX_RECORD_BYTES, PARTITIONS, SEGMENT_BYTES, SYNC_INTERVAL_MS, TopicConfig,
};
use super::Rule::{Only, Refuse, Translate};
use super::{Row, apply, number};
use crate::error::Result;

/// Kafka's way to say never.
const NEVER: &str = "9223372036854775807";

const NO_RETENTION: &str = "records are not deleted by age or size yet";
const NO_COMPACTION: &str = "compaction is not supported yet";
const NO_COMPRESSION: &str = "compression is not supported";
const NO_INDEX_FILES: &str = "indexes are kept in memory, with an entry for every 4 KiB, and have no files";
const NO_TIERS: &str = "there is no remote storage";
const NO_REPLICAS: &str = "there is one copy of every record";
const NO_TIME_CHECK: &str = "timestamps are not compared with the clock";
const NOT_ROLLED_BY_AGE: &str = "segments are closed by size only";
const REMOVED: &str = "Kafka 4.0 removed it";

/// Every topic property of Kafka, and `num.partitions`, which brokers have.
const TABLE: &[Row<TopicConfig>] = &[
    Row::new("num.partitions", Translate(partitions)),
    Row::new("segment.bytes", Translate(segment_bytes)),
    Row::new("max.message.bytes", Translate(max_message_bytes)),
    Row::new("flush.messages", Translate(flush_messages)),
    Row::new("flush.ms", Translate(flush_ms)),
    Row::new("cleanup.policy", Only(&["delete"], NO_COMPACTION)),
    Row::new("retention.ms", Only(&["-1"], NO_RETENTION)),
    Row::new("retention.bytes", Only(&["-1"], NO_RETENTION)),
    Row::new("segment.ms", Only(&[NEVER], NOT_ROLLED_BY_AGE)),
    Row::new("segment.jitter.ms", Only(&["0"], NOT_ROLLED_BY_AGE)),
    Row::new("segment.index.bytes", Refuse(NO_INDEX_FILES)),
    Row::new("index.interval.bytes", Only(&["4096"], NO_INDEX_FILES)),
    Row::new("min.compaction.lag.ms", Refuse(NO_COMPACTION)),
    Row::new("max.compaction.lag.ms", Refuse(NO_COMPACTION)),
    Row::new("min.cleanable.dirty.ratio", Refuse(NO_COMPACTION)),
    Row::new("delete.retention.ms", Refuse(NO_COMPACTION)),
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
    /// * `flush.ms`: [`sync_interval`](Self::sync_interval).
    ///
    /// Accepted, because it is so anyway:
    ///
    /// * `cleanup.policy` = delete, `retention.ms` = -1, `retention.bytes` = -1; other values are not
    ///   supported yet. A topic in memory has its [`memory_limit`](Self::memory_limit) all the same;
    /// * `compression.type` = producer or uncompressed, `message.timestamp.type` = CreateTime,
    ///   `min.insync.replicas` = 1, `remote.storage.enable` = false, `segment.jitter.ms` = 0,
    ///   `index.interval.bytes` = 4096, `file.delete.delay.ms` = 0, `preallocate` = false;
    /// * 9223372036854775807, which is never, for `flush.messages`, `flush.ms`, `segment.ms`,
    ///   `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    ///
    /// ```
    /// use ottla::{Broker, Error, TopicConfig};
    ///
    /// let config = TopicConfig::from_kafka_properties([
    ///     ("num.partitions", "6"),
    ///     ("cleanup.policy", "delete"),
    ///     ("max.message.bytes", "2097152"),
    /// ])?;
    /// let broker = Broker::in_memory();
    /// broker.create_topic("payments", config)?;
    /// assert_eq!(broker.describe_topic("payments")?.partitions.len(), 6);
    ///
    /// let refused = TopicConfig::from_kafka_properties([("cleanup.policy", "compact")]);
    /// assert!(matches!(refused, Err(Error::InvalidProperty { name, .. }) if name == "cleanup.policy"));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidProperty`](crate::Error::InvalidProperty) for a name that is not known, one that has
    /// no meaning here, and a value that cannot be had or is out of range.
    pub fn from_kafka_properties(
        properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self> {
        apply(|| TABLE.iter(), Self::new(), properties)
    }
}

fn partitions(config: TopicConfig, value: &str) -> Result<TopicConfig, String> {
    Ok(config.partitions(number(value, &PARTITIONS)?))
}

fn segment_bytes(config: TopicConfig, value: &str) -> Result<TopicConfig, String> {
    Ok(config.segment_bytes(number(value, &SEGMENT_BYTES)?))
}

fn max_message_bytes(config: TopicConfig, value: &str) -> Result<TopicConfig, String> {
    let bytes = number(value, &MAX_BATCH_BYTES)?;
    Ok(config.max_batch_bytes(bytes).max_record_bytes(bytes.min(*MAX_RECORD_BYTES.end())))
}

fn flush_messages(config: TopicConfig, value: &str) -> Result<TopicConfig, String> {
    match value {
        "1" => Ok(config.durability(Durability::PowerLoss)),
        NEVER => Ok(TopicConfig { durability: None, ..config }),
        _ => Err(format!("records are synced each (1) or by time ({NEVER}, and flush.ms), not by number")),
    }
}

fn flush_ms(config: TopicConfig, value: &str) -> Result<TopicConfig, String> {
    if value == NEVER {
        return Ok(TopicConfig { sync_interval: None, ..config });
    }
    Ok(config.sync_interval(Duration::from_millis(number(value, &SYNC_INTERVAL_MS)?)))
}
