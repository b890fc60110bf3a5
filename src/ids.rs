//! Names and places: of topics (Kafka's rules), of partitions, of a record in the log; and the random ids
//! that tell two topics of the same name apart.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::clock::Timestamp;

/// The longest topic name, in bytes; Kafka's limit.
const MAX_TOPIC_NAME_BYTES: usize = 249;

/// The internal topic that holds the committed offsets; named as in Kafka.
pub(crate) const COMMITTED_OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Names that users cannot take: Kafka's internal topics.
const RESERVED: [&str; 3] = [COMMITTED_OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// The highest offset that is believed of what lies on disk: no log gets so far, and what is counted on from
/// there cannot overflow.
pub(crate) const MAX_OFFSET: u64 = i64::MAX as u64;

/// A partition of a topic, by name and number. Shown as `payments-0`.
///
/// ```
/// use ottla::TopicPartition;
///
/// let partition = TopicPartition::new("payments", 0);
/// assert_eq!((&*partition.topic, partition.partition), ("payments", 0));
/// assert_eq!(partition.to_string(), "payments-0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a record went.
///
/// ```
/// # use std::sync::Arc;
/// use ottla::{Broker, ManualClock, Timestamp, TopicConfig};
/// # let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
/// # let broker = Broker::builder().clock(clock).open()?;
/// # broker.open_topic("payments", TopicConfig::new())?;
/// let at = broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// assert_eq!((at.partition, at.offset, at.timestamp.as_millis()), (0, 0, 1_000));
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordMetadata {
    /// The partition that took it.
    pub partition: u32,
    /// Its number in that partition, from 0.
    pub offset: u64,
    /// Its timestamp: the given one, or the time of the send.
    pub timestamp: Timestamp,
}

impl RecordMetadata {
    pub(crate) fn new(partition: u32, offset: u64, timestamp: Timestamp) -> Self {
        Self { partition, offset, timestamp }
    }
}

/// Checks a topic name that a user wants to create: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither `.` nor
/// `..`, and none of the reserved names.
/// The error is the rule that it breaks.
pub(crate) fn check_topic_name(name: &str) -> Result<(), &'static str> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_TOPIC_NAME_BYTES {
        "it is longer than 249 bytes"
    } else if name == "." || name == ".." {
        "'.' and '..' are not allowed"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        "only a-z, A-Z, 0-9, '.', '_' and '-' are allowed"
    } else if RESERVED.contains(&name) {
        "it is reserved for an internal topic"
    } else {
        return Ok(());
    };
    Err(reason)
}

/// Two names collide when only `.` and `_` tell them apart (Kafka's rule; metric names mix them up).
pub(crate) fn topic_names_collide(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'.' { b'_' } else { byte };
    a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// A random 64-bit id, from the randomness with which the standard library keys its hash maps.
pub(crate) fn random_id() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafkas_rules() {
        for name in ["valid_TOPIC.nAmE-0", "a", "...", "x".repeat(249).as_str()] {
            assert!(check_topic_name(name).is_ok(), "{name}");
        }
        let long = "x".repeat(250);
        for name in ["", "foo bar", "..", ".", "foo:bar", "foo=bar", "ü", "__consumer_offsets", &long] {
            assert!(check_topic_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert!(topic_names_collide("a.b", "a_b"));
        assert!(!topic_names_collide("a.b", "a-b"));
        assert!(!topic_names_collide("a.b", "a.bc"));
    }

    #[test]
    fn ids_are_not_constant() {
        assert_ne!(random_id(), random_id());
    }
}
