//! Sending without waiting: a record is staged in memory, and its acknowledgement comes later.

use super::record_builder::Parts;
use super::{Delivery, Producer, SendFuture};
use crate::error::Result;
use crate::record::codec::{Codec, Scratch};
use crate::record::frame::NewRecord;

impl<K: Codec, V: Codec> Producer<K, V> {
    /// Puts a record on its way and returns at once, without waiting for a disk. The [`Delivery`] tells when
    /// it is acknowledged. Records that one thread enqueues and sends to one partition are in the order of
    /// the calls.
    ///
    /// On disk a background thread writes what was enqueued, many records together, and syncs them where the
    /// topic promises that. In memory a delivery is acknowledged from the start.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode), [`Error::RecordTooLarge`](crate::Error::RecordTooLarge),
    /// [`Error::InvalidPartition`](crate::Error::InvalidPartition) if a partitioner of your own chose one
    /// that does not exist, [`Error::TopicFull`](crate::Error::TopicFull) if more than 64 MiB of the
    /// partition wait to be acknowledged, or at the bound of a topic in memory that blocks or refuses,
    /// [`Error::KeyRequired`](crate::Error::KeyRequired), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::TopicDeleted`](crate::Error::TopicDeleted),
    /// [`Error::PartitionFailed`](crate::Error::PartitionFailed). After an error the record is not enqueued.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// let delivery = producer.enqueue("alice", 200)?;
    /// // .. do something else ..
    /// assert_eq!(delivery.wait()?.offset, 0);
    ///
    /// producer.enqueue("bob", 50)?.detach();
    /// producer.flush()?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn enqueue<'a>(&self, key: K::Input<'a>, value: V::Input<'a>) -> Result<Delivery> {
        self.enqueue_parts(Parts::new(Some(key), Some(value)))
    }

    /// Sends a record from asynchronous code, on any runtime: the future is ready when the record is
    /// acknowledged. As [`enqueue`](Self::enqueue), but where a partition is full the future waits for room,
    /// unless the topic [refuses](crate::WhenFull::Refuse).
    ///
    /// The future is `'static` and `Send`, and neither it nor this call writes or syncs: that is a background
    /// thread's. The record is on its way when the call returns; dropping the future does not take it back.
    /// Only where the partition is full is the record copied, and sent when the future is awaited.
    ///
    /// # Errors
    /// From the future, as [`send`](Self::send).
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # async fn run() -> ottla::Result<()> {
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// let producer = broker.producer::<String, u64>("payments")?;
    /// let at = producer.send_async("alice", 200).await?;
    /// assert_eq!(at.offset, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_async<'a>(&self, key: K::Input<'a>, value: V::Input<'a>) -> SendFuture {
        self.begin_send(Parts::new(Some(key), Some(value)))
    }

    pub(super) fn enqueue_parts(&self, parts: Parts<'_, K, V>) -> Result<Delivery> {
        self.encode_then(parts, |partition, record| {
            Delivery::enqueue(self.log_for(partition, record)?, record)
        })
    }

    pub(super) fn begin_send(&self, parts: Parts<'_, K, V>) -> SendFuture {
        let sending = self.encode_then(parts, |partition, record| {
            Ok(SendFuture::begin(self.log_for(partition, record)?, record))
        });
        sending.unwrap_or_else(SendFuture::failed)
    }

    /// Checks and encodes what a record is made of, and goes on with its bytes.
    pub(super) fn encode_then<R>(
        &self,
        parts: Parts<'_, K, V>,
        then: impl FnOnce(Option<u32>, &NewRecord<'_>) -> Result<R>,
    ) -> Result<R> {
        parts.check(self.topic())?;
        let timestamp = parts.timestamp.unwrap_or_else(|| self.now()).as_millis();
        let (mut key_scratch, mut value_scratch) = (Scratch::new(), Scratch::new());
        let key = self.encoded_key(parts.key, &mut key_scratch)?;
        let value = self.encoded_value(parts.value, &mut value_scratch)?;
        then(parts.partition, &NewRecord { key, value, headers: &parts.headers, timestamp })
    }
}
