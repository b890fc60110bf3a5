//! A record with more than key and value: headers, a timestamp, a chosen partition.

use std::fmt;

use super::{Delivery, Producer, SendFuture};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::RecordMetadata;
use crate::record::codec::Codec;
use crate::record::frame::NewRecord;
use crate::record::headers::{Header, MAX_HEADER_NAME_BYTES, MAX_HEADERS};

/// A record in the making: see [`Producer::record`] and [`Producer::tombstone`].
#[must_use = "a record is sent by `send`"]
pub struct RecordBuilder<'a, K: Codec, V: Codec> {
    producer: &'a Producer<K, V>,
    key: Option<K::Input<'a>>,
    value: Option<V::Input<'a>>,
    headers: Vec<Header<'a>>,
    partition: Option<u32>,
    timestamp: Option<Timestamp>,
}

impl<'a, K: Codec, V: Codec> RecordBuilder<'a, K, V> {
    pub(super) fn new(
        producer: &'a Producer<K, V>,
        key: Option<K::Input<'a>>,
        value: Option<V::Input<'a>>,
    ) -> Self {
        Self { producer, key, value, headers: Vec::new(), partition: None, timestamp: None }
    }

    /// The key. Without it the record has none: a null.
    pub fn key(mut self, key: K::Input<'a>) -> Self {
        self.key = Some(key);
        self
    }

    /// Adds a header. Order and duplicates are kept. A name has at most 65,535 bytes, a record at most 65,535
    /// headers.
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a B) -> Self {
        self.headers.push(Header { name, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header whose value is null, which is not an empty one.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push(Header { name, value: None });
        self
    }

    /// Sends the record to this partition, whatever its key.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// When it happened, from the Unix epoch on. Default: the time of the send.
    pub fn timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }

    /// Sends the record and says where it went.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`Error::InvalidPartition`], [`Error::InvalidTimestamp`],
    /// [`Error::InvalidHeaders`].
    pub fn send(self) -> Result<RecordMetadata> {
        self.encode_then(|producer, partition, record| producer.append(partition, record))
    }

    /// Puts the record on its way without waiting: see [`Producer::enqueue`].
    ///
    /// # Errors
    /// As [`Producer::enqueue`], and those of the builder's own [`send`](Self::send).
    pub fn enqueue(self) -> Result<Delivery> {
        self.encode_then(|producer, partition, record| producer.enqueue_record(partition, record))
    }

    /// Sends the record from asynchronous code: see [`Producer::send_async`].
    pub fn send_async(self) -> SendFuture {
        let sending = self.encode_then(|producer, partition, record| producer.begin_send(partition, record));
        sending.unwrap_or_else(SendFuture::failed)
    }

    fn encode_then<R>(
        self,
        then: impl FnOnce(&Producer<K, V>, Option<u32>, &NewRecord<'_>) -> Result<R>,
    ) -> Result<R> {
        self.check()?;
        let Self { producer, key, value, headers, partition, timestamp } = self;
        let timestamp = timestamp.unwrap_or_else(|| producer.clock.now()).as_millis();
        producer.encode_then(key, value, |key, value| {
            then(producer, partition, &NewRecord { key, value, headers: &headers, timestamp })
        })
    }

    fn check(&self) -> Result<()> {
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
        Err(Error::InvalidHeaders { topic: self.producer.topic().to_owned(), reason })
    }
}

impl<K: Codec, V: Codec> fmt::Debug for RecordBuilder<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBuilder")
            .field("topic", &self.producer.topic())
            .field("partition", &self.partition)
            .field("timestamp", &self.timestamp)
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}
