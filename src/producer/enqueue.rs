//! Sending without waiting: a record is staged in memory, and its acknowledgement comes later.

use super::{Delivery, Producer, SendFuture};
use crate::error::{RecordPart, Result};
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
    /// [`Error::TopicFull`](crate::Error::TopicFull) if 64 MiB of the partition wait to be acknowledged,
    /// [`Error::Closed`](crate::Error::Closed), [`Error::TopicDeleted`](crate::Error::TopicDeleted),
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
    pub fn enqueue(&self, key: K::Input<'_>, value: V::Input<'_>) -> Result<Delivery> {
        let timestamp = self.clock.now().as_millis();
        self.encode_then(Some(key), Some(value), |key, value| {
            self.enqueue_record(None, &NewRecord { key, value, headers: &[], timestamp })
        })
    }

    /// Sends a record from asynchronous code, on any runtime: the future is ready when the record is
    /// acknowledged. As [`enqueue`](Self::enqueue), but where a partition is full the future waits for room.
    ///
    /// The future is `'static` and `Send`, and neither it nor this call writes or syncs: that is a background
    /// thread's. The record is on its way when the call returns; dropping the future does not take it back.
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
    pub fn send_async(&self, key: K::Input<'_>, value: V::Input<'_>) -> SendFuture {
        let timestamp = self.clock.now().as_millis();
        let sending = self.encode_then(Some(key), Some(value), |key, value| {
            self.begin_send(None, &NewRecord { key, value, headers: &[], timestamp })
        });
        sending.unwrap_or_else(SendFuture::failed)
    }

    /// Encodes key and value, and goes on with their bytes.
    pub(super) fn encode_then<R>(
        &self,
        key: Option<K::Input<'_>>,
        value: Option<V::Input<'_>>,
        then: impl FnOnce(Option<&[u8]>, Option<&[u8]>) -> Result<R>,
    ) -> Result<R> {
        let (mut key_scratch, mut value_scratch) = (Scratch::new(), Scratch::new());
        let key = key.map_or(Ok(None), |key| K::encode(key, &mut key_scratch));
        let value = value.map_or(Ok(None), |value| V::encode(value, &mut value_scratch));
        then(self.encoded(RecordPart::Key, key)?, self.encoded(RecordPart::Value, value)?)
    }

    pub(super) fn enqueue_record(&self, partition: Option<u32>, record: &NewRecord<'_>) -> Result<Delivery> {
        Delivery::enqueue(self.log_for(partition, record)?, record)
    }

    pub(super) fn begin_send(&self, partition: Option<u32>, record: &NewRecord<'_>) -> Result<SendFuture> {
        Ok(SendFuture::begin(self.log_for(partition, record)?, record))
    }
}
