//! Waiting for changes of a table: on a thread, as a future and as a stream of any runtime.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;

use super::row::{Change, Row};
use super::shared::Shared;
use crate::error::{Error, Result};
use crate::log::Files;
use crate::record::codec::Codec;
use crate::sync::signal::Sleep;
use crate::sync::{Arc, Instant};

/// Tells of what changes in a [`Table`](crate::Table), from [`Table::changes`](crate::Table::changes) on.
///
/// It tells of keys, not of records: of each key that has changed since it was last told of, it tells the
/// latest state, in the order of the last changes. Whoever is slow misses states in between, never the last
/// one; what waits for a slow watcher is never more than one change for each key. A key that came and went
/// meanwhile is told of as gone.
///
/// It needs nobody who asks the table: it follows the topic itself. Several of them are told of everything
/// each. Dropping it ends it.
///
/// ```
/// use std::time::Duration;
/// use ottla::{Broker, Changes, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("prices", TopicConfig::new())?;
/// let prices = broker.producer::<String, u32>("prices")?;
/// let mut changes: Changes<String, u32> = broker.table("prices")?.changes()?;
///
/// prices.send_batch([("apple", 100), ("pear", 90), ("apple", 120)])?;
/// let pear = changes.next(Duration::from_secs(1))?.expect("its last change is the earlier one");
/// assert_eq!((pear.key()?, pear.value()?), ("pear", Some(90)));
/// let apple = changes.next(Duration::from_secs(1))?.expect("the latest price only");
/// assert_eq!((apple.key()?, apple.value()?), ("apple", Some(120)));
/// assert!(changes.next(Duration::ZERO)?.is_none());
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Changes<K, V> {
    shared: Arc<Shared>,
    watcher: u64,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Changes<K, V> {
    /// Of what is acknowledged before this call the table knows already; what is sent after it is told of.
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<Self> {
        shared.catch_up(&Files::Here)?;
        let watcher = shared.change_log().lock().add_watcher();
        Ok(Self { shared: Arc::clone(shared), watcher, codecs: PhantomData })
    }

    /// The next change. Returns at once if there is one; otherwise waits for it, for up to `timeout`, and
    /// then returns `None`. `next(Duration::ZERO)` never waits, `next(Duration::MAX)` waits for as long as it
    /// takes. Records that are only in a file are read here, on this thread.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// # let prices = broker.producer::<String, u32>("prices")?;
    /// let mut changes = broker.table::<String, u32>("prices")?.changes()?;
    /// let sending = std::thread::spawn(move || prices.send("apple", 120));
    /// let change = changes.next(Duration::from_secs(60))?.expect("one was sent"); // woken by the send
    /// assert_eq!(change.value()?, Some(120));
    /// # sending.join().expect("no panic")?;
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Table::get`](crate::Table::get), once every change before them is told.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Change<K, V>>> {
        let found = self.look(&Files::Here)?;
        if found.is_some() || timeout.is_zero() {
            return Ok(found);
        }
        // A deadline too far to be represented is none.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.fall_asleep(&Files::Here)? {
                FallingAsleep::Found(change) => return Ok(Some(change)),
                FallingAsleep::Asleep(sleep) => sleep.wait(deadline),
            }
            let found = self.look(&Files::Here)?;
            if found.is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(found);
            }
        }
    }

    /// The next change, as a future for any async runtime: what [`next`](Self::next) without a timeout would
    /// return. It can be dropped at any time: a change is taken only when it resolves. It uses no timer, and
    /// records that are only in a file are read by a thread of the broker; it waits for a lock while another
    /// thread catches up.
    ///
    /// ```
    /// use ottla::{Broker, Table};
    ///
    /// async fn next_price(table: &Table<String, u32>) -> ottla::Result<Option<u32>> {
    ///     let change = table.changes()?.next_async().await?;
    ///     Ok(change.value()?)
    /// }
    /// ```
    ///
    /// # Errors
    /// It resolves to the errors of [`next`](Self::next).
    pub fn next_async(&mut self) -> NextChange<'_, K, V> {
        NextChange { changes: self, sleep: None }
    }

    /// All changes from here on, as a stream of what one [`next_async`](Self::next_async) after the other
    /// resolves to. After [`Error::Closed`] and [`Error::TopicDeleted`] it ends; after other errors it goes
    /// on, and one that stays comes again at once, so leave the loop on it. Dropping the stream loses
    /// nothing.
    ///
    /// ```
    /// use ottla::{Broker, Table};
    /// # trait StreamExt: futures_core::Stream + Unpin {
    /// #     async fn next(&mut self) -> Option<Self::Item> {
    /// #         std::future::poll_fn(|cx| std::pin::Pin::new(&mut *self).poll_next(cx)).await
    /// #     }
    /// # }
    /// # impl<S: futures_core::Stream + Unpin> StreamExt for S {}
    ///
    /// async fn print_all(table: &Table<String, u32>) -> ottla::Result<()> {
    ///     let mut changes = table.changes()?;
    ///     let mut stream = changes.stream();
    ///     // With `StreamExt` of the crate `futures`, or of your runtime:
    ///     while let Some(change) = stream.next().await {
    ///         let change = change?;
    ///         println!("{} costs {:?}", change.key()?, change.value()?);
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn stream(&mut self) -> ChangesStream<'_, K, V> {
        ChangesStream { changes: self, sleep: None, has_ended: false }
    }

    /// One look at what there is. An error waits until every change before it is told.
    fn look(&self, files: &Files) -> Result<Option<Change<K, V>>> {
        let outcome = self.shared.catch_up(files);
        let found: Option<Arc<Row>> = self.shared.change_log().lock().take(self.watcher);
        match found {
            Some(row) => Ok(Some(Change::new(row))),
            None => outcome.map(|()| None),
        }
    }

    /// Announces this watcher as a sleeper, and looks once more.
    fn fall_asleep(&self, files: &Files) -> Result<FallingAsleep<K, V>> {
        loop {
            let (waiters, partitions) = self.shared.waiters();
            let sleep = self.shared.signal().announce(waiters);
            if let Some(change) = self.look(files)? {
                return Ok(FallingAsleep::Found(change));
            }
            // Partitions that came with a look do not know of the sleep.
            if self.shared.partition_count() == partitions {
                return Ok(FallingAsleep::Asleep(sleep));
            }
        }
    }

    /// One poll of a task. The order is that of a blocked call: announce, look again, only then sleep.
    fn poll_task(&self, sleep: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<Result<Change<K, V>>> {
        let files = Files::Elsewhere(Arc::clone(self.shared.signal()));
        loop {
            if let Some(asleep) = sleep {
                ready!(asleep.poll(cx));
                *sleep = None;
            }
            if let Some(change) = self.look(&files)? {
                return Poll::Ready(Ok(change));
            }
            match self.fall_asleep(&files)? {
                FallingAsleep::Found(change) => return Poll::Ready(Ok(change)),
                FallingAsleep::Asleep(asleep) => *sleep = Some(asleep),
            }
        }
    }
}

/// What came of the last look before a sleep.
enum FallingAsleep<K, V> {
    Found(Change<K, V>),
    Asleep(Sleep),
}

impl<K, V> Drop for Changes<K, V> {
    fn drop(&mut self) {
        self.shared.change_log().lock().remove_watcher(self.watcher);
    }
}

/// The next change of a table, as a future: see [`Changes::next_async`].
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
/// broker.open_topic("prices", TopicConfig::new())?;
/// let mut changes = broker.table::<String, u32>("prices")?.changes()?;
/// broker.producer::<String, u32>("prices")?.send("apple", 120)?;
/// let next = changes.next_async();
/// assert_eq!(block_on(next)?.key()?, "apple"); // or `next.await`
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextChange<'a, K, V> {
    changes: &'a mut Changes<K, V>,
    /// While there is none.
    sleep: Option<Sleep>,
}

impl<K: Codec, V: Codec> Future for NextChange<'_, K, V> {
    type Output = Result<Change<K, V>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { changes, sleep } = &mut *self;
        changes.poll_task(sleep, cx)
    }
}

/// All changes of a table from here on, as a [`Stream`](futures_core::Stream): see [`Changes::stream`].
///
/// ```
/// use futures_core::Stream;
/// use ottla::{Broker, Change, TopicConfig};
///
/// /// What takes a stream takes this one.
/// fn run_on(_stream: impl Stream<Item = ottla::Result<Change<String, u32>>> + Unpin + Send) {}
///
/// let broker = Broker::in_memory();
/// broker.open_topic("prices", TopicConfig::new())?;
/// let mut changes = broker.table::<String, u32>("prices")?.changes()?;
/// run_on(changes.stream());
/// # Ok::<(), ottla::Error>(())
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct ChangesStream<'a, K, V> {
    changes: &'a mut Changes<K, V>,
    /// While there is none.
    sleep: Option<Sleep>,
    has_ended: bool,
}

impl<K: Codec, V: Codec> Stream for ChangesStream<'_, K, V> {
    type Item = Result<Change<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { changes, sleep, has_ended } = &mut *self;
        if *has_ended {
            return Poll::Ready(None);
        }
        let change = ready!(changes.poll_task(sleep, cx));
        *has_ended = matches!(change, Err(Error::Closed | Error::TopicDeleted { .. }));
        Poll::Ready(Some(change))
    }
}

impl<K, V> fmt::Debug for Changes<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("table", &self.shared).finish_non_exhaustive()
    }
}

impl<K, V> fmt::Debug for NextChange<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleeps = self.sleep.is_some();
        f.debug_struct("NextChange").field("changes", &self.changes).field("sleeps", &sleeps).finish()
    }
}

impl<K, V> fmt::Debug for ChangesStream<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sleeps = self.sleep.is_some();
        f.debug_struct("ChangesStream").field("changes", &self.changes).field("sleeps", &sleeps).finish()
    }
}
