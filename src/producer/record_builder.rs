//! A record with more than key and value: headers, a timestamp, a chosen partition.

use std::fmt;

use super::{Delivery, Producer, SendFuture};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::RecordMetadata;
use crate::record::codec::Codec;
use crate::record::headers::{Header, MAX_HEADER_NAME_BYTES, MAX_HEADERS};

/// A record in the making: see [`Producer::record`] and [`Producer::tombstone`].
///
/// It is sent on its own by [`send`](Self::send), or with others by [`Producer::send_batch`].
///
/// ```
/// use ottla::{Broker, Timestamp, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("orders", TopicConfig::new().partitions(2))?;
/// let orders = broker.producer::<u64, String>("orders")?;
///
/// let at = orders
///     .record("two tickets")
///     .key(4711)
///     .header("trace", "8f2c") // a &str, or bytes
///     .null_header("voucher")
///     .timestamp(Timestamp::from_millis(1_593_093_960_000))
///     .partition(1)
///     .send()?;
/// assert_eq!((at.partition, at.timestamp.as_millis()), (1, 1_593_093_960_000));
///
/// orders.record("one ticket").key(4712).enqueue()?.wait()?;
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a record is sent by `send` or `send_batch`"]
pub struct RecordBuilder<'a, K: Codec, V: Codec> {
    producer: &'a Producer<K, V>,
    parts: Parts<'a, K, V>,
}

/// All that a record can be sent with.
pub struct Parts<'a, K: Codec, V: Codec> {
    pub(super) key: Option<K::Input<'a>>,
    pub(super) value: Option<V::Input<'a>>,
    pub(super) headers: Vec<Header<'a>>,
    pub(super) partition: Option<u32>,
    pub(super) timestamp: Option<Timestamp>,
}

/// What [`Producer::send_batch`] takes: a pair of key and value, or a record with more, as
/// [`Producer::record`] and [`Producer::tombstone`] make it. One batch holds one sort of them.
///
/// ```
/// use ottla::{Broker, IntoRecord, Producer, TopicConfig};
///
/// fn send_all<'a>(
///     producer: &Producer<String, u64>,
///     records: Vec<impl IntoRecord<'a, String, u64>>,
/// ) -> ottla::Result<usize> {
///     Ok(producer.send_batch(records)?.len())
/// }
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, u64>("payments")?;
/// assert_eq!(send_all(&producer, vec![("alice", 200), ("bob", 50)])?, 2);
/// assert_eq!(send_all(&producer, vec![producer.tombstone("alice")])?, 1);
/// # Ok::<(), ottla::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record for a `Producer<{K}, {V}>`",
    label = "a batch takes pairs of what the codecs `{K}` and `{V}` take",
    note = "or records that are made with `producer.record(value).key(key)` or `producer.tombstone(key)`"
)]
pub trait IntoRecord<'a, K: Codec, V: Codec> {
    #[doc(hidden)]
    fn into_parts(self) -> Parts<'a, K, V>;
}

impl<'a, K: Codec, V: Codec> IntoRecord<'a, K, V> for (K::Input<'a>, V::Input<'a>) {
    #[inline]
    fn into_parts(self) -> Parts<'a, K, V> {
        Parts::new(Some(self.0), Some(self.1))
    }
}

impl<'a, K: Codec, V: Codec> IntoRecord<'a, K, V> for RecordBuilder<'a, K, V> {
    fn into_parts(self) -> Parts<'a, K, V> {
        self.parts
    }
}

impl<'a, K: Codec, V: Codec> Parts<'a, K, V> {
    #[inline]
    pub(super) fn new(key: Option<K::Input<'a>>, value: Option<V::Input<'a>>) -> Self {
        Self { key, value, headers: Vec::new(), partition: None, timestamp: None }
    }

    /// Whether time and headers, which no codec and no log looks at, are within their ranges.
    pub(super) fn check(&self, topic: &str) -> Result<()> {
        if let Some(timestamp) = self.timestamp
            && timestamp.as_millis() < 0
        {
            return Err(Error::InvalidTimestamp { millis: timestamp.as_millis() });
        }
        let reason = if self.headers.len() > MAX_HEADERS {
            "a record has at most 65,535 headers"
        } else if self.headers.iter().any(|header| header.name.len() > MAX_HEADER_NAME_BYTES) {
            "a header name has at most 65,535 bytes"
        } else {
            return Ok(());
        };
        Err(Error::InvalidHeaders { topic: topic.to_owned(), reason })
    }
}

impl<'a, K: Codec, V: Codec> RecordBuilder<'a, K, V> {
    pub(super) fn new(
        producer: &'a Producer<K, V>,
        key: Option<K::Input<'a>>,
        value: Option<V::Input<'a>>,
    ) -> Self {
        Self { producer, parts: Parts::new(key, value) }
    }

    /// The key. Without it the record has none: a null.
    pub fn key(mut self, key: K::Input<'a>) -> Self {
        self.parts.key = Some(key);
        self
    }

    /// Adds a header. Order and duplicates are kept. A name has at most 65,535 bytes, a record at most 65,535
    /// headers.
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a B) -> Self {
        self.parts.headers.push(Header { name, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header whose value is null, which is not an empty one.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.parts.headers.push(Header { name, value: None });
        self
    }

    /// Sends the record to this partition, whatever its key; no partitioner is asked.
    pub fn partition(mut self, partition: u32) -> Self {
        self.parts.partition = Some(partition);
        self
    }

    /// When it happened, from the Unix epoch on. Default: the time of the send, by the broker's
    /// [`Clock`](crate::Clock).
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.parts.timestamp = Some(timestamp.into());
        self
    }

    /// Sends the record and says where it went.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`Error::InvalidPartition`], [`Error::InvalidTimestamp`],
    /// [`Error::InvalidHeaders`].
    pub fn send(self) -> Result<RecordMetadata> {
        let Self { producer, parts } = self;
        producer.encode_then(parts, |partition, record| producer.append(partition, record))
    }

    /// Puts the record on its way without waiting: see [`Producer::enqueue`].
    ///
    /// # Errors
    /// As [`Producer::enqueue`], and those of the builder's own [`send`](Self::send).
    pub fn enqueue(self) -> Result<Delivery> {
        let Self { producer, parts } = self;
        producer.enqueue_parts(parts)
    }

    /// Sends the record from asynchronous code: see [`Producer::send_async`].
    ///
    /// # Errors
    /// From the future, as [`send`](Self::send).
    pub fn send_async(self) -> SendFuture {
        let Self { producer, parts } = self;
        producer.begin_send(parts)
    }
}

impl<K: Codec, V: Codec> fmt::Debug for RecordBuilder<'_, K, V> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBuilder")
            .field("topic", &self.producer.topic())
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl<K: Codec, V: Codec> fmt::Debug for Parts<'_, K, V> {
    /// Without the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("partition", &self.partition)
            .field("timestamp", &self.timestamp)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}
