//! What `enqueue` and `send_async` hand out: the way to the acknowledgement of a record.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::RecordMetadata;
use crate::log::{PartitionLog, Pending, WrittenBy};
use crate::record::frame::NewRecord;
use crate::sync::{EventListener, Instant};

/// A record on its way into the log, from [`Producer::enqueue`](crate::Producer::enqueue).
///
/// It is acknowledged when it is as durable as its topic promises ([`Durability`](crate::Durability)), and
/// visible to consumers from then on. [`wait`](Self::wait) for that, `.await` it on any runtime, or
/// [`detach`](Self::detach) it; dropping is detaching. None of them takes the record back.
///
/// It is `'static` and `Send`, and keeps neither the broker nor its directory in use. Records of one
/// partition are acknowledged in the order in which they were enqueued. When the broker is
/// [closed](crate::Broker::close), it first writes and syncs what is on its way, and decides every
/// delivery.
///
/// ```
/// use ottla::{Broker, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// let producer = broker.producer::<String, u64>("payments")?;
///
/// let deliveries: Vec<_> =
///     (0..10).map(|amount| producer.enqueue("alice", amount)).collect::<Result<_, _>>()?;
/// for (number, delivery) in deliveries.into_iter().enumerate() {
///     assert_eq!(delivery.wait()?.offset, number as u64);
/// }
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a delivery tells whether the record was kept: wait for it, await it, or detach it"]
pub struct Delivery {
    /// What it will have been, if all goes well.
    metadata: RecordMetadata,
    /// `None`: acknowledged already.
    pending: Option<Pending>,
    listener: Option<EventListener>,
}

impl Delivery {
    /// Enqueues a record, which must have been checked.
    pub(super) fn enqueue(log: &PartitionLog, record: &NewRecord<'_>) -> Result<Self> {
        let enqueued = log.enqueue(std::slice::from_ref(record), WrittenBy::Flusher)?;
        let timestamp = Timestamp::from_millis(record.timestamp);
        let metadata = RecordMetadata::new(log.identity().partition, enqueued.base_offset, timestamp);
        Ok(Self { metadata, pending: enqueued.pending, listener: None })
    }

    /// Blocks until the record is acknowledged, and says where it is. Helps with the writing and syncing, so
    /// it does not belong on the thread of an async runtime.
    ///
    /// # Errors
    /// [`StorageFull`](crate::Error::StorageFull), [`Io`](crate::Error::Io),
    /// [`PartitionFailed`](crate::Error::PartitionFailed), [`TopicDeleted`](crate::Error::TopicDeleted):
    /// the record is not in the log. [`OutcomeUnknown`](crate::Error::OutcomeUnknown): the disk failed;
    /// whether the record is in the log is seen at the next open.
    pub fn wait(self) -> Result<RecordMetadata> {
        self.pending.as_ref().map_or(Ok(()), |pending| pending.wait(self.metadata.offset))?;
        Ok(self.metadata)
    }

    /// Blocks until the record is acknowledged, for at most `timeout`; `None` if that was not long enough.
    /// Ask again as often as you like. It leaves the writing to the background thread.
    ///
    /// # Errors
    /// Inside the `Option`, as [`wait`](Self::wait).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("payments", TopicConfig::new())?;
    /// # let producer = broker.producer::<String, u64>("payments")?;
    /// let delivery = producer.enqueue("alice", 200)?;
    /// match delivery.wait_timeout(Duration::from_millis(100)) {
    ///     Some(outcome) => assert_eq!((outcome?.offset, delivery.is_decided()), (0, true)),
    ///     None => println!("the disk is slow; it goes on"),
    /// }
    /// # Ok::<(), ottla::Error>(())
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<RecordMetadata>> {
        match (&self.pending, Instant::now().checked_add(timeout)) {
            (Some(pending), Some(deadline)) => pending.wait_until(deadline),
            (Some(pending), None) => return Some(pending.wait(self.metadata.offset).map(|()| self.metadata)),
            (None, _) => {}
        }
        self.outcome()
    }

    /// Whether it is decided, well or badly: then `wait` and `.await` return at once. Never blocks.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.pending.as_ref().is_none_or(Pending::is_decided)
    }

    /// Goes on without the acknowledgement. The record is kept, and becomes visible, all the same; if it
    /// cannot be written, and you have not heard of that yet, the next
    /// [`Producer::flush`](crate::Producer::flush) says so, or [`Broker::close`](crate::Broker::close).
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("readings", TopicConfig::new())?;
    /// let sensor = broker.producer::<String, u32>("readings")?;
    /// sensor.enqueue("cellar", 21)?.detach();
    /// sensor.flush()?;
    /// # assert_eq!(broker.describe_topic("readings")?.partitions[0].end_offset, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn detach(self) {}

    fn outcome(&self) -> Option<Result<RecordMetadata>> {
        let outcome = match &self.pending {
            Some(pending) => pending.outcome(self.metadata.offset)?,
            None => Ok(()),
        };
        Some(outcome.map(|()| self.metadata))
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    /// Never writes or syncs: that is the background thread's.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(outcome) = self.outcome() {
                return Poll::Ready(outcome);
            }
            let this = &mut *self;
            if let Some(pending) = &this.pending
                && pending.poll(&mut this.listener, context).is_pending()
            {
                return Poll::Pending;
            }
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("partition", &self.metadata.partition)
            .field("decided", &self.is_decided())
            .finish_non_exhaustive()
    }
}
