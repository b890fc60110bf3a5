//! Which partition a record goes to: the [`Partitioner`]s in the box, and the door for others.

use std::fmt;

use crate::ids::random_id;
use crate::record::frame::NewRecord;
use crate::sync::{Arc, AtomicU32, AtomicU64, CachePadded, Ordering};

/// Kafka's default `batch.size`.
const STICKY_BYTES: u64 = 16 * 1024;

/// Chooses the partition of a record that was not given one
/// ([`RecordBuilder::partition`](crate::RecordBuilder::partition)); set with
/// [`ProducerBuilder::partitioner`](crate::ProducerBuilder::partitioner).
///
/// In the box are [`KeyHash`], which is the default, [`Sticky`] and [`RoundRobin`].
///
/// It runs on the thread that sends, on several at once if several send, and outside every lock of the log:
/// it may be slow or panic without harm to others.
///
/// ```
/// use ottla::{Broker, KeyHash, Partitioner, PartitionerInput, TopicConfig};
///
/// /// Keeps partition 0 for one important customer.
/// #[derive(Debug)]
/// struct Important(KeyHash);
///
/// impl Partitioner for Important {
///     fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
///         if record.key == Some(b"alice") || record.partitions == 1 {
///             return 0;
///         }
///         let mut among_others = *record;
///         among_others.partitions -= 1;
///         1 + self.0.partition(&among_others)
///     }
/// }
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
/// let payments = broker.producer_builder::<String, u64>("payments");
/// let producer = payments.partitioner(Important(KeyHash::new())).build()?;
/// assert_eq!(producer.send("alice", 200)?.partition, 0);
/// assert_ne!(producer.send("bob", 50)?.partition, 0);
/// # Ok::<(), ottla::Error>(())
/// ```
pub trait Partitioner: fmt::Debug + Send + Sync {
    /// The partition for `record`: 0 to `record.partitions - 1`. With any other the send fails with
    /// [`Error::InvalidPartition`](crate::Error::InvalidPartition).
    fn partition(&self, record: &PartitionerInput<'_>) -> u32;
}

/// One partitioner for several producers, or one that the program keeps a hand on.
impl<P: Partitioner + ?Sized> Partitioner for Arc<P> {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        (**self).partition(record)
    }
}

/// What a [`Partitioner`] is told about a record.
///
/// ```
/// use ottla::{KeyHash, Partitioner, PartitionerInput};
///
/// // A partitioner can be tried without a broker. Kafka puts this key into the same partition.
/// let record = PartitionerInput::new("payments", Some(b"alice"), Some(b"200"), 4);
/// let partition = KeyHash::new().partition(&record);
/// assert!(partition < record.partitions);
/// assert_eq!(partition, KeyHash::new().partition(&record));
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct PartitionerInput<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The encoded key; `None` is a null.
    pub key: Option<&'a [u8]>,
    /// The encoded value; `None` is a null.
    pub value: Option<&'a [u8]>,
    /// How many partitions the topic has now, at least 1. The number may grow while a producer lives.
    pub partitions: u32,
    /// What the record takes in the log.
    frame_bytes: usize,
}

impl<'a> PartitionerInput<'a> {
    /// A record without headers, for tests of a partitioner.
    #[must_use]
    pub fn new(topic: &'a str, key: Option<&'a [u8]>, value: Option<&'a [u8]>, partitions: u32) -> Self {
        Self::of(topic, &NewRecord { key, value, headers: &[], timestamp: 0 }, partitions)
    }

    fn of(topic: &'a str, record: &NewRecord<'a>, partitions: u32) -> Self {
        let frame_bytes = record.frame_bytes();
        Self { topic, key: record.key, value: record.value, partitions, frame_bytes }
    }
}

impl fmt::Debug for PartitionerInput<'_> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionerInput")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// The default: a key goes to `murmur2(key) & 0x7fffffff % partitions`, exactly as in Kafka's Java client;
/// records without a key go as with [`Sticky`].
///
/// ```
/// # use ottla::{Broker, TopicConfig};
/// use ottla::KeyHash;
/// # let broker = Broker::in_memory();
/// # broker.open_topic("payments", TopicConfig::new().partitions(4))?;
///
/// // As the default, but records without a key stay with a partition for 1 MiB.
/// let payments = broker.producer_builder::<String, u64>("payments");
/// let producer = payments.partitioner(KeyHash::new().sticky_bytes(1 << 20)).build()?;
/// assert_eq!(producer.send("alice", 200)?.partition, producer.send("alice", 10)?.partition);
/// assert_eq!(producer.record(30).send()?.partition, producer.record(40).send()?.partition);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct KeyHash {
    sticky: Sticky,
}

impl KeyHash {
    /// As a producer has it that was not given a partitioner.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// See [`Sticky::sticky_bytes`]; of no effect on records with a key.
    #[must_use]
    pub fn sticky_bytes(self, bytes: u64) -> Self {
        Self { sticky: self.sticky.sticky_bytes(bytes) }
    }

    #[inline]
    fn choose(&self, key: Option<&[u8]>, frame_bytes: impl FnOnce() -> usize, partitions: u32) -> u32 {
        match key {
            _ if partitions == 1 => 0,
            Some(key) => partition_of_key(key, partitions),
            None => self.sticky.next(frame_bytes(), partitions),
        }
    }
}

impl Partitioner for KeyHash {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        self.choose(record.key, || record.frame_bytes, record.partitions)
    }
}

/// Ignores keys: stays with one partition for some bytes, then moves to the next. Begins at a random one, so
/// that not all producers begin at the same. As Kafka's default with `partitioner.ignore.keys`.
///
/// ```
/// # use ottla::{Broker, TopicConfig};
/// use ottla::Sticky;
/// # let broker = Broker::in_memory();
/// # broker.open_topic("clicks", TopicConfig::new().partitions(4))?;
///
/// let clicks = broker.producer_builder::<String, String>("clicks");
/// let producer = clicks.partitioner(Sticky::new()).build()?;
/// assert_eq!(producer.send("alice", "/home")?.partition, producer.send("bob", "/cart")?.partition);
/// # Ok::<(), ottla::Error>(())
/// ```
// Threads that share one may overlap in their counting, which only moves the moment of the change.
#[derive(Debug)]
pub struct Sticky {
    partition: AtomicU32,
    bytes: AtomicU64,
    limit: u64,
}

impl Sticky {
    /// Stays for 16 KiB.
    #[must_use]
    pub fn new() -> Self {
        let partition = AtomicU32::new(random_id() as u32);
        Self { partition, bytes: AtomicU64::new(0), limit: STICKY_BYTES }
    }

    /// How much goes to one partition before it moves on, in bytes in the log. With 0, each record goes to
    /// another partition than the one before. Default: 16 KiB.
    #[must_use]
    pub fn sticky_bytes(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The partition for the next record, which takes `bytes` bytes.
    #[inline]
    fn next(&self, bytes: usize, partitions: u32) -> u32 {
        let before = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before < self.limit {
            return self.partition.load(Ordering::Relaxed) % partitions;
        }
        self.bytes.store(bytes as u64, Ordering::Relaxed);
        self.partition.fetch_add(1, Ordering::Relaxed).wrapping_add(1) % partitions
    }
}

impl Default for Sticky {
    fn default() -> Self {
        Self::new()
    }
}

impl Partitioner for Sticky {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        self.next(record.frame_bytes, record.partitions)
    }
}

/// Ignores keys: partition 0, 1, 2 and so on, one record each.
///
/// ```
/// # use ottla::{Broker, TopicConfig};
/// use ottla::RoundRobin;
/// # let broker = Broker::in_memory();
/// # broker.open_topic("jobs", TopicConfig::new().partitions(3))?;
///
/// let jobs = broker.producer_builder::<(), String>("jobs").partitioner(RoundRobin::new()).build()?;
/// let places = jobs.send_batch((0..4).map(|_| ((), "resize")))?;
/// let partitions: Vec<u32> = places.iter().map(|at| at.partition).collect();
/// assert_eq!(partitions, [0, 1, 2, 0]);
/// # Ok::<(), ottla::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct RoundRobin {
    records: AtomicU64,
}

impl RoundRobin {
    /// Begins at partition 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, record: &PartitionerInput<'_>) -> u32 {
        (self.records.fetch_add(1, Ordering::Relaxed) % u64::from(record.partitions)) as u32
    }
}

/// What a producer partitions by. The default is apart, so that it costs no dynamic call.
#[derive(Debug)]
pub(super) enum Chosen {
    /// Padded: threads write to it, and only read what lies around it.
    Default(CachePadded<KeyHash>),
    Custom(Arc<dyn Partitioner>),
}

impl Chosen {
    #[inline]
    pub(super) fn partition(&self, topic: &str, record: &NewRecord<'_>, partitions: u32) -> u32 {
        match self {
            Self::Default(default) => default.choose(record.key, || record.frame_bytes(), partitions),
            Self::Custom(custom) => ask(&**custom, topic, record, partitions),
        }
    }
}

/// Out of line, so that the default is short.
#[inline(never)]
fn ask(custom: &dyn Partitioner, topic: &str, record: &NewRecord<'_>, partitions: u32) -> u32 {
    custom.partition(&PartitionerInput::of(topic, record, partitions))
}

impl Default for Chosen {
    fn default() -> Self {
        Self::Default(CachePadded::default())
    }
}

/// A custom partitioner is shared; the default sticks to partitions of its own.
impl Clone for Chosen {
    fn clone(&self) -> Self {
        match self {
            Self::Default(_) => Self::default(),
            Self::Custom(custom) => Self::Custom(Arc::clone(custom)),
        }
    }
}

/// The partition of a key, as Kafka's `BuiltInPartitioner.partitionForKey` chooses it.
#[inline]
fn partition_of_key(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

/// Austin Appleby's MurmurHash2, with the seed and constants of Kafka's `Utils.murmur2`.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (number, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * number);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's UtilsTest.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn keys_go_where_kafka_puts_them() {
        for (key, partition) in [("", 681), ("a", 524), ("ab", 434), ("abc", 107), ("123456789", 566)] {
            assert_eq!(partition_of_key(key.as_bytes(), 1_000), partition, "{key:?}");
        }
    }

    #[test]
    fn sticky_stays_for_a_while_and_visits_every_partition() {
        let sticky = Sticky::new();
        let visited: Vec<u32> = (0..64 * 4).map(|_| sticky.next(256, 4)).collect();
        let changes = visited.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 3, "{visited:?}");
        assert!((0..4).all(|partition| visited.contains(&partition)));
    }
}
