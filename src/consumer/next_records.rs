//! Polling as a future and as a stream, of any runtime: nothing here knows timers or threads.
//!
//! A look happens inside the future. Records of a topic in memory, and the newest of one on disk, are
//! handed out as they lie in memory; what is only in a file is read by another thread, whose signal wakes
//! the future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::{Consumer, FallingAsleep, Records};
use crate::error::{Error, Result};
use crate::log::Files;
use crate::record::codec::Codec;
use crate::sync::Arc;
use crate::sync::signal::Sleep;

impl<K: Codec, V: Codec> Consumer<K, V> {
    /// The next records, as a future for any async runtime: what [`poll`](Self::poll) without a timeout would
    /// return. It honours the limits of the builder, with `min_bytes` for as long as it takes, and a
    /// [`WakeHandle`](super::WakeHandle). It never resolves to none.
    ///
    /// It can be dropped at any time, by a timeout or a `select`: positions move only when it resolves, so
    /// the next one begins with the same records. It uses no timer and blocks no thread: records that are
    /// only in a file are read by a thread of the broker, which starts when one is first needed.
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    ///
    /// async fn first_amount(broker: &Broker) -> ottla::Result<u64> {
    ///     let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    ///     let records = consumer.next_records().await?;
    ///     let first = records.iter().next().expect("it waits for a record");
    ///     Ok(first.value()?)
    /// }
    /// ```
    ///
    /// # Errors
    /// It resolves to the errors of [`poll`](Self::poll); with auto-commit also to [`Error::TopicFull`], if
    /// more than 64 MiB of commits wait to be written, and to that of a commit that an earlier one began.
    pub fn next_records(&mut self) -> NextRecords<'_, K, V> {
        NextRecords { consumer: self, sleep: None }
    }

    /// All records from here on, as a stream of what one [`next_records`](Self::next_records) after the other
    /// resolves to. After [`Error::Closed`] it ends; after other errors it goes on, as polls do: one that
    /// stays, such as [`Error::TopicDeleted`] or [`Error::OffsetOutOfRange`], comes again at once, so leave
    /// the loop on it. Dropping the stream loses nothing. The consumer is borrowed for as long as the stream
    /// lives: to commit in between, use [`auto_commit`](super::ConsumerBuilder::auto_commit), or a loop over
    /// [`next_records`](Self::next_records).
    ///
    /// ```
    /// use ottla::{Broker, TopicConfig};
    /// # trait StreamExt: futures_core::Stream + Unpin {
    /// #     async fn next(&mut self) -> Option<Self::Item> {
    /// #         std::future::poll_fn(|cx| std::pin::Pin::new(&mut *self).poll_next(cx)).await
    /// #     }
    /// # }
    /// # impl<S: futures_core::Stream + Unpin> StreamExt for S {}
    ///
    /// async fn print_all(broker: &Broker) -> ottla::Result<()> {
    ///     let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
    ///     let mut stream = consumer.stream();
    ///     // With `StreamExt` of the crate `futures`, or of your runtime:
    ///     while let Some(records) = stream.next().await {
    ///         for record in &records? {
    ///             println!("{}", record.value()?);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn stream(&mut self) -> RecordsStream<'_, K, V> {
        RecordsStream { consumer: self, sleep: None, has_ended: false }
    }

    /// One poll of a task. The order is that of a blocked poll: announce, look again, only then sleep.
    fn poll_task(&mut self, sleep: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<Result<Records<K, V>>> {
        self.poll_begins()?;
        let outcome = ready!(self.poll_as_task(sleep, cx));
        self.poll_ends();
        Poll::Ready(outcome)
    }

    fn poll_as_task(
        &mut self,
        sleep: &mut Option<Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Records<K, V>>> {
        let min_bytes = self.subscription.limits().min_bytes;
        self.subscription.read_files(Files::Elsewhere(Arc::clone(&self.signal)));
        loop {
            if let Some(asleep) = sleep {
                ready!(asleep.poll(cx));
                *sleep = None;
            }
            let mut runs = self.look(min_bytes)?;
            if runs.is_empty() {
                match self.fall_asleep(min_bytes)? {
                    FallingAsleep::Asleep(asleep) => {
                        *sleep = Some(asleep);
                        continue;
                    }
                    FallingAsleep::Found(found) => runs = found,
                }
            }
            return Poll::Ready(Ok(Records::new(runs)));
        }
    }
}

/// The next records of a consumer, as a future: see [`Consumer::next_records`].
///
/// ```
/// use ottla::{Broker, TopicConfig};
/// # use std::future::Future;
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
/// #             return output;
/// #         }
/// #     }
/// # }
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send("alice", 200)?;
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
/// let next = consumer.next_records();
/// assert_eq!(block_on(next)?.len(), 1); // or `next.await`
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextRecords<'a, K, V> {
    consumer: &'a mut Consumer<K, V>,
    /// While there is nothing to read.
    sleep: Option<Sleep>,
}

impl<K: Codec, V: Codec> Future for NextRecords<'_, K, V> {
    type Output = Result<Records<K, V>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { consumer, sleep } = &mut *self;
        consumer.poll_task(sleep, cx)
    }
}

/// All records of a consumer from here on, as a [`Stream`](futures_core::Stream): see [`Consumer::stream`].
///
/// ```
/// use futures_core::Stream;
/// use ottla::{Broker, Records, TopicConfig};
///
/// /// What takes a stream takes this one.
/// fn run_on(_stream: impl Stream<Item = ottla::Result<Records<String, u64>>> + Unpin + Send) {}
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// let mut consumer = broker.consumer::<String, u64>().topic("payments").build()?;
/// run_on(consumer.stream());
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct RecordsStream<'a, K, V> {
    consumer: &'a mut Consumer<K, V>,
    /// While there is nothing to read.
    sleep: Option<Sleep>,
    has_ended: bool,
}

impl<K: Codec, V: Codec> RecordsStream<'_, K, V> {
    /// The consumer that is read, to commit with between two items.
    ///
    /// ```
    /// use ottla::{Broker, RecordsStream, Result};
    /// # use futures_core::Stream;
    /// # async fn next(stream: &mut RecordsStream<'_, (), u64>) -> Option<Result<ottla::Records<(), u64>>> {
    /// #     std::future::poll_fn(|cx| std::pin::Pin::new(&mut *stream).poll_next(cx)).await
    /// # }
    ///
    /// async fn add_up(mut stream: RecordsStream<'_, (), u64>) -> Result<()> {
    ///     let mut total = 0;
    ///     while let Some(records) = next(&mut stream).await {
    ///         let records = records?;
    ///         for record in &records {
    ///             total += record.value()?;
    ///         }
    ///         println!("{total}");
    ///         stream.consumer().commit_async(&records).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn consumer(&self) -> &Consumer<K, V> {
        self.consumer
    }
}

impl<K: Codec, V: Codec> Stream for RecordsStream<'_, K, V> {
    type Item = Result<Records<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { consumer, sleep, has_ended } = &mut *self;
        if *has_ended {
            return Poll::Ready(None);
        }
        let records = ready!(consumer.poll_task(sleep, cx));
        *has_ended = matches!(records, Err(Error::Closed));
        Poll::Ready(Some(records))
    }
}

impl<K, V> Drop for NextRecords<'_, K, V> {
    fn drop(&mut self) {
        self.consumer.poll_ends();
    }
}

impl<K, V> Drop for RecordsStream<'_, K, V> {
    fn drop(&mut self) {
        self.consumer.poll_ends();
    }
}

impl<K, V> fmt::Debug for NextRecords<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleeps = self.sleep.is_some();
        f.debug_struct("NextRecords").field("consumer", &self.consumer).field("sleeps", &sleeps).finish()
    }
}

impl<K, V> fmt::Debug for RecordsStream<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleeps = self.sleep.is_some();
        f.debug_struct("RecordsStream").field("consumer", &self.consumer).field("sleeps", &sleeps).finish()
    }
}
