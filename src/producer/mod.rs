//! Sending: a typed key and value become bytes, a partition is chosen, and its log takes them.

mod builder;
mod delivery;
mod enqueue;
mod kafka;
mod partitioner;
mod record_builder;
mod send_future;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

pub use builder::ProducerBuilder;
pub use delivery::Delivery;
pub use partitioner::{KeyHash, Partitioner, PartitionerInput, RoundRobin, Sticky};
pub use record_builder::{IntoRecord, RecordBuilder};
pub use send_future::SendFuture;

use crate::clock::{Clock, Timestamp};
use crate::error::{CodecError, Error, RecordPart, Result};
use crate::ids::RecordMetadata;
use crate::log::PartitionLog;
use crate::record::codec::{Codec, Scratch};
use crate::record::frame::NewRecord;
use crate::record::headers::Header;
use crate::sync::Arc;
use crate::topic::Topic;
use crate::topic::catalog::Catalog;
use partitioner::Chosen;

/// Sends records to one topic. Made by [`Broker::producer`](crate::Broker::producer), or by
/// [`Broker::producer_builder`](crate::Broker::producer_builder) with a partitioner of your own.
///
/// `K` and `V` are the codecs of key and value: `String` takes `&str`, see [`Codec`] for the others.
///
/// A producer can be shared between threads and cloned for each; both are cheap. Records that one thread
/// sends to one partition are in the order in which it sent them. A send returns when the record is as
/// durable as the topic promises ([`Durability`](crate::Durability)) and consumers can read it. It waits for
/// a consumer only at the bound of a topic in memory that is to [block](crate::WhenFull::Block) there.
///
/// # Partitions
/// A record goes to the partition that is given; else to the one that the producer's [`Partitioner`] chooses.
/// Without one of your own that is [`KeyHash`]: if it has a key, `murmur2(key) & 0x7fffffff % partitions`,
/// exactly as in Kafka's Java client; else it stays with one partition for 16 KiB of records, then moves to
/// the next.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new().partitions(4))?;
/// let producer = broker.producer::<String, String>("payments")?;
///
/// let at = producer.send("alice", "paid 200 to bob")?;
/// assert_eq!(at.offset, 0);
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Producer<K, V> {
    topic: Arc<Topic>,
    /// While there is one, what topics do not keep is deleted.
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    partitioner: Chosen,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Producer<K, V> {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.topic.name()
    }

    /// Sends one record and says where it went. In memory it waits for nothing; on disk it blocks for a
    /// write, and at [`PowerLoss`](crate::Durability::PowerLoss) for a sync, which many senders share.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// let first = producer.send("alice", 200)?;
    /// let second = producer.send("alice", 10)?;
    /// assert_eq!((second.partition, second.offset), (first.partition, first.offset + 1));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::InvalidPartition`] if a partitioner of your own chose one that does not
    /// exist, [`Error::RecordTooLarge`], [`Error::KeyRequired`], [`Error::TopicFull`] at the bound of a topic
    /// in memory that refuses, [`Error::StorageFull`], [`Error::Io`], [`Error::Closed`],
    /// [`Error::TopicDeleted`], [`Error::PartitionFailed`]: the record is not in the log.
    /// [`Error::OutcomeUnknown`]: the disk failed; whether the record is in the log is seen at the next open.
    #[inline]
    pub fn send(&self, key: K::Input<'_>, value: V::Input<'_>) -> Result<RecordMetadata> {
        let (mut key_scratch, mut value_scratch) = (Scratch::new(), Scratch::new());
        let key = self.encoded_key(Some(key), &mut key_scratch)?;
        let value = self.encoded_value(Some(value), &mut value_scratch)?;
        let timestamp = self.now().as_millis();
        self.append(None, &NewRecord { key, value, headers: &[], timestamp })
    }

    /// Sends several records: pairs of key and value, or records with more, as [`record`](Self::record) and
    /// [`tombstone`](Self::tombstone) begin them. Those for the same partition become one batch: they lie
    /// together in the log, and after a crash are there together or not at all. Returns where each went, in
    /// the order given.
    ///
    /// All records are encoded and checked before any is appended. They go to this producer's topic, even a
    /// record that another producer began.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`RecordBuilder::send`], and [`Error::BatchTooLarge`]; then no record is
    /// in the log, or after [`Error::OutcomeUnknown`] perhaps those for one partition. If a partition fails
    /// after another has taken its records, [`Error::PartlyAppended`] says which did.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// let places = producer.send_batch([("alice", 200), ("bob", 50), ("alice", 10)])?;
    /// assert_eq!(places[0].partition, places[2].partition);
    ///
    /// producer.send_batch([
    ///     producer.record(30).key("alice").header("trace", b"42"),
    ///     producer.record(20).partition(2),
    ///     producer.tombstone("bob"),
    /// ])?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn send_batch<'a, R: IntoRecord<'a, K, V>>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<RecordMetadata>> {
        let records: Vec<R> = records.into_iter().collect();
        let mut kept: Vec<Kept> = std::iter::repeat_with(Kept::default).take(records.len()).collect();
        let now = self.now();
        let mut batches = Batches::new(&self.topic, records.len());
        for (record, kept) in records.into_iter().zip(&mut kept) {
            let parts = record.into_parts();
            parts.check(self.topic())?;
            kept.headers = parts.headers;
            let key = self.encoded_key(parts.key, &mut kept.key)?;
            let value = self.encoded_value(parts.value, &mut kept.value)?;
            let timestamp = parts.timestamp.unwrap_or(now).as_millis();
            let record = NewRecord { key, value, headers: &kept.headers, timestamp };
            batches.add(self.partition_for(parts.partition, &record), record)?;
        }
        batches.append()
    }

    /// Begins a record with headers, a timestamp, a partition of your choice, or no key.
    ///
    /// ```
    /// # use ottla::{Broker, Timestamp, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new().partitions(4))?;
    /// # let producer = broker.producer::<String, String>("payments")?;
    /// let at = producer
    ///     .record("paid 200 to bob")
    ///     .key("alice")
    ///     .header("trace", b"42")
    ///     .timestamp(Timestamp::from_millis(1_593_093_960_000))
    ///     .partition(2)
    ///     .send()?;
    /// assert_eq!(at.partition, 2);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn record<'a>(&'a self, value: V::Input<'a>) -> RecordBuilder<'a, K, V> {
        RecordBuilder::new(self, None, Some(value))
    }

    /// Begins a record without a value, which says that `key` is gone. Read it with `Option<V>`, or ask
    /// [`Record::is_tombstone`](crate::Record::is_tombstone).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// let prices = broker.producer::<String, u32>("prices")?;
    /// prices.send("apple", 120)?;
    /// prices.tombstone("apple").send()?;
    ///
    /// let mut consumer = broker.consumer::<String, Option<u32>>().topic("prices").build()?;
    /// let records = consumer.poll(Duration::ZERO)?;
    /// let values = records.iter().map(|record| record.value()).collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(values, [Some(120), None]);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn tombstone<'a>(&'a self, key: K::Input<'a>) -> RecordBuilder<'a, K, V> {
        RecordBuilder::new(self, Some(key), None)
    }

    /// Returns when everything sent to the topic so far, by anybody, survives a power loss; what was enqueued
    /// is written first. Blocks for the time that the disk takes. A topic in memory has nothing to flush.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let dir = tempfile::tempdir().expect("a directory");
    /// # let broker = Broker::open(dir.path())?;
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// for amount in 1..=100 {
    ///     producer.enqueue("alice", amount)?.detach();
    /// }
    /// producer.flush()?; // all hundred are on the device
    /// assert_eq!(broker.describe_topic("payments")?.partitions[0].end_offset, 100);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::PartitionFailed`] if the disk refused a sync: then it is not known what survives a power
    /// loss, and the partition takes no more records. [`Error::StorageFull`], [`Error::Io`] if a record that
    /// was enqueued and detached could not be written; the next flush does not say so again.
    /// [`Error::TopicDeleted`], [`Error::Closed`].
    pub fn flush(&self) -> Result<()> {
        self.topic.check_open()?;
        self.topic.flush()
    }

    /// The time of a send. A clock that stands before the epoch is taken to stand at it.
    #[inline]
    fn now(&self) -> Timestamp {
        self.clock.now().max(Timestamp::from_millis(0))
    }

    #[inline]
    fn encoded_key<'s, 'i: 's>(
        &self,
        key: Option<K::Input<'i>>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>> {
        self.encoded::<K>(RecordPart::Key, key, scratch)
    }

    #[inline]
    fn encoded_value<'s, 'i: 's>(
        &self,
        value: Option<V::Input<'i>>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>> {
        self.encoded::<V>(RecordPart::Value, value, scratch)
    }

    /// What a codec makes of a key or value, if there is one, or its error with the names that a reader of it
    /// needs.
    #[inline]
    fn encoded<'s, 'i: 's, C: Codec>(
        &self,
        part: RecordPart,
        input: Option<C::Input<'i>>,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s [u8]>> {
        let Some(input) = input else { return Ok(None) };
        match C::encode(input, scratch) {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(self.unencodable(part, source)),
        }
    }

    #[cold]
    fn unencodable(&self, part: RecordPart, source: CodecError) -> Error {
        Error::Encode { topic: self.topic().to_owned(), part, source }
    }

    #[inline]
    fn append(&self, partition: Option<u32>, record: &NewRecord<'_>) -> Result<RecordMetadata> {
        let log = self.log_for(partition, record)?;
        let offset = log.append(std::slice::from_ref(record))?;
        let timestamp = Timestamp::from_millis(record.timestamp);
        Ok(RecordMetadata::new(log.identity().partition, offset, timestamp))
    }

    /// The log that `record` goes to, once it is known to fit.
    #[inline]
    fn log_for(&self, partition: Option<u32>, record: &NewRecord<'_>) -> Result<&Arc<PartitionLog>> {
        let log = self.topic.partition(self.partition_for(partition, record))?;
        log.check_record(record)?;
        Ok(log)
    }

    #[inline]
    fn partition_for(&self, given: Option<u32>, record: &NewRecord<'_>) -> u32 {
        given.unwrap_or_else(|| {
            self.partitioner.partition(self.topic.name(), record, self.topic.partition_count())
        })
    }
}

impl<K, V> Clone for Producer<K, V> {
    /// The clone sends to the same topic. A partitioner that was set is the same for both; else each sticks
    /// to partitions of its own for records without a key.
    fn clone(&self) -> Self {
        Self {
            topic: Arc::clone(&self.topic),
            catalog: Arc::clone(&self.catalog),
            clock: Arc::clone(&self.clock),
            partitioner: self.partitioner.clone(),
            codecs: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for Producer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.topic.name())
            .field("partitioner", &self.partitioner)
            .finish_non_exhaustive()
    }
}

/// What a record of a batch borrows from until the batch is appended.
#[derive(Default)]
struct Kept<'a> {
    key: Scratch,
    value: Scratch,
    headers: Vec<Header<'a>>,
}

/// The records of one call, sorted by partition.
struct Batches<'a> {
    topic: &'a Topic,
    /// Per partition: the records, and where each stands in the call.
    by_partition: BTreeMap<u32, (Vec<NewRecord<'a>>, Vec<usize>)>,
    places: Vec<Option<RecordMetadata>>,
}

impl<'a> Batches<'a> {
    fn new(topic: &'a Topic, records: usize) -> Self {
        Self { topic, by_partition: BTreeMap::new(), places: Vec::with_capacity(records) }
    }

    fn add(&mut self, partition: u32, record: NewRecord<'a>) -> Result<()> {
        self.topic.partition(partition)?.check_record(&record)?;
        let (records, numbers) = self.by_partition.entry(partition).or_default();
        records.push(record);
        numbers.push(self.places.len());
        self.places.push(None);
        Ok(())
    }

    fn append(mut self) -> Result<Vec<RecordMetadata>> {
        for (&partition, (records, _)) in &self.by_partition {
            self.topic.partition(partition)?.check_batch(records)?;
        }
        for (partition, (records, numbers)) in std::mem::take(&mut self.by_partition) {
            let base_offset = match self.topic.partition(partition)?.append(&records) {
                Ok(base_offset) => base_offset,
                Err(error) => return Err(self.stopped_by(error)),
            };
            for ((offset, record), number) in (base_offset..).zip(&records).zip(numbers) {
                let timestamp = Timestamp::from_millis(record.timestamp);
                self.places[number] = Some(RecordMetadata::new(partition, offset, timestamp));
            }
        }
        Ok(self.places.into_iter().flatten().collect())
    }

    fn stopped_by(self, error: Error) -> Error {
        if self.places.iter().all(Option::is_none) {
            return error;
        }
        Error::PartlyAppended { appended: self.places, source: Box::new(error) }
    }
}
