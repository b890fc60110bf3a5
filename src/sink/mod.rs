//! Landing records in a database, each exactly once: what they led to and how far they were read are stored
//! in one transaction.

mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub use store::{SinkPartition, SinkProgress, TransactionalStore};

use crate::consumer::{Consumer, Records, Span};
use crate::error::{Error, Result};
use crate::group::Place;
use crate::record::codec::Codec;
use crate::sync::Instant;

/// Reads a topic into a database, so that each record has its effect there exactly once, whatever ends the
/// process, the connection or the machine, and whenever.
///
/// What you make of the records and how far they were read, the offset behind the last of them, are stored in
/// **one transaction** of the database: both are there, or neither is. Each transaction begins with a look at
/// what is stored, and the consumer goes there if it is elsewhere. So the database decides where to go on,
/// not what the group has committed; commits follow it, for lag and [`Retention`](crate::Retention).
///
/// The database is yours, and so is the small [`TransactionalStore`] that tells a sink how to use it. The
/// package `database` among the examples has one for SQLite and PostgreSQL to copy, and `payments`, `orders`
/// and `order_pipeline` are programs with a sink.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
/// use ottla::{Broker, Sink, SinkPartition, SinkProgress, TopicConfig, TransactionalStore};
///
/// /// A database in memory: balances, and how far they were read.
/// #[derive(Clone, Default)]
/// struct Bank {
///     balances: BTreeMap<String, u64>,
///     progress: BTreeMap<(String, u32), SinkProgress>,
/// }
///
/// struct Transaction<'a> {
///     bank: &'a mut Bank,
///     changed: Bank,
/// }
///
/// impl TransactionalStore for Bank {
///     type Transaction<'a> = Transaction<'a>;
///     type Error = std::io::Error; // of the database's driver
///
///     fn begin(&mut self) -> std::io::Result<Transaction<'_>> {
///         Ok(Transaction { changed: self.clone(), bank: self })
///     }
///
///     fn load_progress(
///         transaction: &mut Transaction<'_>,
///         of: &SinkPartition<'_>,
///     ) -> std::io::Result<Option<SinkProgress>> {
///         Ok(transaction.changed.progress.get(&(of.topic.to_owned(), of.partition)).copied())
///     }
///
///     fn store_progress(
///         transaction: &mut Transaction<'_>,
///         of: &SinkPartition<'_>,
///         expected: Option<SinkProgress>,
///         new: SinkProgress,
///     ) -> std::io::Result<bool> {
///         let before = transaction.changed.progress.insert((of.topic.to_owned(), of.partition), new);
///         Ok(before == expected)
///     }
///
///     fn commit(transaction: Transaction<'_>) -> std::io::Result<()> {
///         *transaction.bank = transaction.changed;
///         Ok(())
///     }
/// }
///
/// let broker = Broker::in_memory();
/// broker.open_topic("payments", TopicConfig::new())?;
/// broker.producer::<String, u64>("payments")?.send_batch([("alice", 200), ("alice", 50)])?;
///
/// let consumer = broker.consumer::<String, u64>().topic("payments").group("bank").build()?;
/// let mut sink = Sink::new(consumer, Bank::default())?;
/// let landed = sink.land(Duration::from_millis(100), |transaction, records| {
///     for record in records {
///         *transaction.changed.balances.entry(record.key()?.to_owned()).or_default() += record.value()?;
///     }
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })?;
/// assert_eq!(landed, 2);
/// assert_eq!(sink.store_mut().balances["alice"], 250);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What it needs of the database
/// Transactions that are there whole or not at all, also after a crash, if the log is to survive one. What
/// makes it exactly once is the condition on which progress is stored ([`TransactionalStore`]): if two
/// instances land the same records, such as a member that was taken for dead and its successor, one of them
/// is rolled back.
///
/// # What it does about power losses
/// Before a transaction is committed, the records in it are synced, if they are not yet: the database never
/// knows of a record that the log could lose, whatever the [`Durability`](crate::Durability) of the topic.
///
/// # To land everything again
/// Remove the rows of the sink, results and progress, from the database. A sink that finds no progress,
/// though its group has committed, begins with the first record that is there.
pub struct Sink<K, V, S> {
    consumer: Consumer<K, V>,
    store: S,
    memory: Memory,
}

/// What a sink remembers of partitions until something is landed of them.
#[derive(Debug, Default)]
struct Memory {
    /// Where it began, if the database knows nothing of it.
    begun: BTreeMap<Place, u64>,
    /// Where the consumer was sent. If it is elsewhere then, what was there is gone, and its policy chose.
    sought: BTreeMap<Place, u64>,
}

/// What the database holds for each span, and where the consumer is to go if it is elsewhere.
#[derive(Default)]
struct Comparison {
    stored: Vec<Option<SinkProgress>>,
    misplaced: Vec<(Place, u64)>,
}

/// How an attempt to land records ended, if not with an error.
enum Attempt {
    Landed,
    /// Records are to be read from other offsets first.
    Misplaced(Vec<(Place, u64)>),
}

impl<K: Codec, V: Codec, S: TransactionalStore + 'static> Sink<K, V, S> {
    /// A sink for what `consumer` reads. Its group is the sink's name in the database.
    ///
    /// # Errors
    /// [`Error::NoGroup`]; [`Error::InvalidConfig`] for a consumer with
    /// [`auto_commit`](crate::ConsumerBuilder::auto_commit), which could commit what was not landed.
    pub fn new(consumer: Consumer<K, V>, store: S) -> Result<Self> {
        consumer.check_landable()?;
        Ok(Self { consumer, store, memory: Memory::default() })
    }

    /// Polls, and lands what came: `apply` stores in the transaction what the records lead to; then how far
    /// they were read is stored with it, and the transaction is committed. Returns how many records were
    /// landed; 0 if none came within `timeout`, as with [`Consumer::poll`].
    ///
    /// The error `E` is yours: one that those of Ottla and of the store turn into, such as a boxed one. The
    /// compiler cannot guess it, so end `apply` with `Ok::<_, E>(())`.
    ///
    /// `apply` is called again, with a new transaction, if another instance has landed the same records
    /// meanwhile. What it does outside the transaction is not undone. Blocks for as long as the database and
    /// a sync of the log take.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`], of the store, and of `apply`: the transaction is rolled back, and the
    /// next call gets the same records. [`Error::OtherLog`]: the progress in the database is of a log that
    /// was made anew since. [`Error::OffsetOutOfRange`]: the log has lost what the database has landed. If
    /// committing fails, the next call finds out whether it succeeded all the same. Errors of
    /// [`Consumer::commit`], but for [`Error::CommitFenced`], are returned too; the records are landed then.
    pub fn land<E>(
        &mut self,
        timeout: Duration,
        mut apply: impl for<'t> FnMut(&mut S::Transaction<'t>, &Records<K, V>) -> Result<(), E>,
    ) -> Result<usize, E>
    where
        E: From<Error> + From<S::Error>,
    {
        let began = Instant::now();
        loop {
            self.place_if_needed::<E>()?;
            let records = self.consumer.poll(timeout.saturating_sub(began.elapsed()))?;
            if records.is_empty() {
                if self.consumer.is_to_be_placed() {
                    continue;
                }
                return Ok(0);
            }
            let spans = self.consumer.spans(&records);
            match self.attempt(&records, &spans, &mut apply) {
                Ok(Attempt::Landed) => {
                    self.commit(&records)?;
                    return Ok(records.len());
                }
                Ok(Attempt::Misplaced(places)) => {
                    self.go_back(&spans);
                    places.into_iter().for_each(|(place, offset)| self.consumer.go_to(place, offset));
                }
                Err(error) => {
                    self.go_back(&spans);
                    return Err(error);
                }
            }
        }
    }

    /// The consumer that the records come from: for its lag, its assignment, its
    /// [`WakeHandle`](crate::WakeHandle). Where it is in its partitions is seen to by [`land`](Self::land),
    /// so ask for the lag behind that: `land` with [`Duration::ZERO`] that returns 0 has caught up.
    pub fn consumer(&self) -> &Consumer<K, V> {
        &self.consumer
    }

    /// The database, for what else is to be done with it between two calls.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The consumer and the database, each to be used by itself.
    pub fn into_parts(mut self) -> (Consumer<K, V>, S) {
        self.consumer.leave_sink();
        (self.consumer, self.store)
    }

    /// Goes to where the database is in partitions that have come, so that what it lacks is read even if
    /// nothing is sent.
    fn place_if_needed<E>(&mut self) -> Result<(), E>
    where
        E: From<Error> + From<S::Error>,
    {
        if !self.consumer.is_to_be_placed() {
            return Ok(());
        }
        let places = self.consumer.places();
        let mut transaction = self.store.begin()?;
        let found = compare::<_, _, S, E>(&self.consumer, &mut self.memory, &mut transaction, &places)?;
        drop(transaction);
        found.misplaced.into_iter().for_each(|(place, offset)| self.consumer.go_to(place, offset));
        self.consumer.set_placed();
        Ok(())
    }

    fn attempt<E>(
        &mut self,
        records: &Records<K, V>,
        spans: &[Span],
        apply: &mut impl for<'t> FnMut(&mut S::Transaction<'t>, &Records<K, V>) -> Result<(), E>,
    ) -> Result<Attempt, E>
    where
        E: From<Error> + From<S::Error>,
    {
        // Outside the transaction, which may lock others out of the database.
        for span in spans {
            self.consumer.sync_through(span)?;
        }
        let Self { consumer, store, memory } = self;
        let mut transaction = store.begin()?;
        let found = compare::<_, _, S, E>(consumer, memory, &mut transaction, spans)?;
        if !found.misplaced.is_empty() {
            return Ok(Attempt::Misplaced(found.misplaced));
        }
        apply(&mut transaction, records)?;
        for (span, before) in spans.iter().zip(found.stored) {
            let of = partition(consumer.group_name(), span);
            let new = SinkProgress { log_id: span.log_id, next_offset: span.end };
            if !S::store_progress(&mut transaction, &of, before, new)? {
                // Another instance was quicker. What it has stored is seen in the next attempt.
                return Ok(Attempt::Misplaced(Vec::new()));
            }
        }
        S::commit(transaction)?;
        spans.iter().for_each(|span| memory.forget(span.place));
        Ok(Attempt::Landed)
    }

    /// The group follows. That it cannot, because the partition has another owner by now, does no harm: the
    /// next owner asks the database.
    fn commit(&self, records: &Records<K, V>) -> Result<()> {
        match self.consumer.commit(records) {
            Err(Error::CommitFenced { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    fn go_back(&mut self, spans: &[Span]) {
        spans.iter().for_each(|span| self.consumer.go_to(span.place, span.start));
    }
}

fn partition<'a>(sink: &'a str, span: &'a Span) -> SinkPartition<'a> {
    SinkPartition { sink, topic: &span.topic, partition: span.place.1 }
}

/// Compares where spans begin with what the database holds.
fn compare<K, V, S, E>(
    consumer: &Consumer<K, V>,
    memory: &mut Memory,
    transaction: &mut S::Transaction<'_>,
    spans: &[Span],
) -> Result<Comparison, E>
where
    K: Codec,
    V: Codec,
    S: TransactionalStore,
    E: From<Error> + From<S::Error>,
{
    let mut found = Comparison::default();
    for span in spans {
        let progress = S::load_progress(transaction, &partition(consumer.group_name(), span))?;
        if let Some(offset) = memory.place_of(consumer, span, progress)? {
            found.misplaced.push((span.place, offset));
        }
        found.stored.push(progress);
    }
    Ok(found)
}

impl Memory {
    /// Where the consumer is to go if it is not where the database is.
    fn place_of<K: Codec, V: Codec>(
        &mut self,
        consumer: &Consumer<K, V>,
        span: &Span,
        progress: Option<SinkProgress>,
    ) -> Result<Option<u64>> {
        let (earliest, latest) = consumer.range(span)?;
        let (partition, requested) = (
            span.topic_partition(),
            match progress {
                Some(progress) if progress.log_id != span.log_id => {
                    let (partition, group) = (span.topic_partition(), consumer.group_name().to_owned());
                    return Err(Error::OtherLog { partition, group });
                }
                Some(progress) => progress.next_offset,
                // Of this log something was landed once: the database is another one.
                None if consumer.has_committed(span) => earliest,
                None => (*self.begun.entry(span.place).or_insert(span.start)).max(earliest),
            },
        );
        if requested > latest {
            return Err(Error::OffsetOutOfRange { partition, requested, earliest, latest });
        }
        // What is gone was sought already: the consumer was told how to go on then, and is there.
        let is_gone = requested < earliest && self.sought.get(&span.place) == Some(&requested);
        if requested == span.start || is_gone {
            return Ok(None);
        }
        self.sought.insert(span.place, requested);
        Ok(Some(requested))
    }

    fn forget(&mut self, place: Place) {
        self.begun.remove(&place);
        self.sought.remove(&place);
    }
}

impl<K: Codec, V: Codec, S: fmt::Debug> fmt::Debug for Sink<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("consumer", &self.consumer)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
