//! Landing records in a database, each exactly once: what they led to and how far they were read are stored
//! in one transaction.

mod store;

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
/// The records of one poll are one transaction: [`max_records`](crate::ConsumerBuilder::max_records) says how
/// large it may be. Several sinks, for several groups or members of one, have a connection each.
///
/// # What it does about power losses
/// Before a transaction is committed, the records in it are synced, if they are not yet: the database never
/// knows of a record that the log could lose. A topic of [`Durability::Memory`](crate::Durability::Memory) is
/// empty after each start, and another log: what was landed of the former one has to be removed first
/// ([`Error::OtherLog`]).
///
/// # To land everything again
/// Remove the rows of the sink, results and progress, from the database. A sink that finds no progress,
/// though its group has committed, begins with the first record that is there.
pub struct Sink<K, V, S> {
    consumer: Consumer<K, V>,
    store: S,
}

/// How an attempt to land records ended, if not with an error.
enum Attempt {
    Landed,
    /// Records are to be read from other offsets first.
    Misplaced(Vec<(Place, u64)>),
    /// The database knows nothing of a partition any more.
    Forgotten,
    Refused(Refusal),
}

/// The database did not take progress. Once, another instance was quicker.
#[derive(Clone, Copy, PartialEq)]
struct Refusal {
    place: Place,
    /// What was loaded before.
    stored: Option<SinkProgress>,
}

impl<K: Codec, V: Codec, S: TransactionalStore + 'static> Sink<K, V, S> {
    /// A sink for what `consumer` reads. Its group is the sink's name in the database.
    ///
    /// Where the database knows nothing of a partition, the sink begins where the consumer is
    /// ([`start`](crate::ConsumerBuilder::start)) and stores that at once. If the group has committed
    /// something there, as one that was read without a sink, or with another database, it begins with the
    /// first record that is there.
    ///
    /// # Errors
    /// [`Error::NoGroup`]; [`Error::InvalidConfig`] for a consumer with
    /// [`auto_commit`](crate::ConsumerBuilder::auto_commit), which could commit what was not landed.
    pub fn new(consumer: Consumer<K, V>, store: S) -> Result<Self> {
        consumer.check_landable()?;
        Ok(Self { consumer, store })
    }

    /// Polls, and lands what came: `apply` stores in the transaction what the records lead to; then how far
    /// they were read is stored with it, and the transaction is committed. Returns how many records were
    /// landed; 0 if none came within `timeout`, as with [`Consumer::poll`].
    ///
    /// The error `E` is yours: one that those of Ottla and of the store turn into, such as a boxed one. The
    /// compiler cannot guess it, so end `apply` with `Ok::<_, E>(())`. A record that cannot be decoded, or
    /// that the database does not take, comes again and again if `apply` answers an error: put it elsewhere,
    /// into a table of its own for instance.
    ///
    /// `apply` is called again, with a new transaction, if another instance has landed the same records
    /// meanwhile. What it does outside the transaction is not undone. Blocks for as long as the database and
    /// a sync of the log take: in async code, call it on a thread that may block.
    ///
    /// # Errors
    /// Those of [`Consumer::poll`], of the store, and of `apply`: the transaction is rolled back, and the
    /// next call gets the same records. If committing fails, the next call finds out whether it succeeded all
    /// the same. Errors of [`Consumer::commit`], but for [`Error::CommitFenced`], are returned too; the
    /// records are landed then.
    ///
    /// An error of one partition is one of the call, until it is mended:
    /// * [`Error::OtherLog`]: the progress in the database is of a log that was made anew since.
    /// * [`Error::OffsetOutOfRange`]: what is to be landed next is gone; a consumer with another
    ///   [`on_out_of_range`](crate::ConsumerBuilder::on_out_of_range) goes on without it. Or the log ends
    ///   before what the database has landed: an older copy of it was put back. Put back the database too, or
    ///   remove the sink's rows, before anything is sent: from then on nobody can tell.
    /// * [`Error::ProgressRefused`]: the store does not do what [`TransactionalStore`] asks for.
    pub fn land<E>(
        &mut self,
        timeout: Duration,
        mut apply: impl for<'t> FnMut(&mut S::Transaction<'t>, &Records<K, V>) -> Result<(), E>,
    ) -> Result<usize, E>
    where
        E: From<Error> + From<S::Error>,
    {
        let began = Instant::now();
        let mut refused = None;
        loop {
            self.place_if_needed::<E>()?;
            let passed = Instant::now().saturating_duration_since(began);
            let records = self.consumer.poll(timeout.saturating_sub(passed))?;
            if records.is_empty() {
                if self.consumer.is_to_be_placed() {
                    continue;
                }
                return Ok(0);
            }
            let spans = self.consumer.spans(&records)?;
            // Should `apply` panic, the next call looks anew where to go on.
            let placed = self.consumer.take_placed();
            let outcome = self.attempt(&records, &spans, &mut apply);
            self.consumer.restore_placed(placed);
            if !matches!(outcome, Ok(Attempt::Landed)) {
                for span in &spans {
                    self.consumer.go_to(span.place, span.start);
                }
            }
            match outcome? {
                Attempt::Landed => {
                    follows(self.consumer.commit(&records))?;
                    return Ok(records.len());
                }
                Attempt::Misplaced(places) => self.go_to(places)?,
                Attempt::Forgotten => {
                    self.consumer.take_placed();
                }
                Attempt::Refused(refusal) => self.note_refusal(&mut refused, refusal)?,
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
        self.consumer.take_placed();
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
        // A sink that cannot reach its database must not keep partitions from others.
        self.consumer.keep_up()?;
        let places = self.consumer.places();
        let mut refused = None;
        while let Some(refusal) = self.place::<E>(&places)? {
            self.note_refusal(&mut refused, refusal)?;
        }
        self.consumer.set_placed();
        Ok(())
    }

    /// Looks where each partition is to go on, and stores where those begin that are new to the database.
    fn place<E>(&mut self, places: &[Span]) -> Result<Option<Refusal>, E>
    where
        E: From<Error> + From<S::Error>,
    {
        let Self { consumer, store } = self;
        let (mut misplaced, mut is_changed) = (Vec::new(), false);
        let mut transaction = store.begin()?;
        for span in places {
            let of = partition(consumer.group_name(), span);
            let progress = if let Some(progress) = S::load_progress(&mut transaction, &of)? {
                progress
            } else {
                consumer.sync_through(span)?;
                let new = SinkProgress { log_id: span.log_id, next_offset: consumer.first_to_land(span)? };
                if !S::store_progress(&mut transaction, &of, None, new)? {
                    return Ok(Some(Refusal { place: span.place, stored: None }));
                }
                is_changed = true;
                new
            };
            misplaced.extend(elsewhere(consumer, span, progress)?.map(|offset| (span.place, offset)));
        }
        if is_changed {
            S::commit(transaction)?;
        } else {
            drop(transaction);
        }
        self.go_to(misplaced)?;
        Ok(None)
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
        let Self { consumer, store } = self;
        // Outside the transaction, which may lock others out of the database.
        for span in spans {
            consumer.sync_through(span)?;
        }
        let sink = consumer.group_name();
        let (mut stored, mut misplaced) = (Vec::with_capacity(spans.len()), Vec::new());
        let mut transaction = store.begin()?;
        for span in spans {
            let Some(progress) = S::load_progress(&mut transaction, &partition(sink, span))? else {
                return Ok(Attempt::Forgotten);
            };
            stored.push(progress);
            misplaced.extend(elsewhere(consumer, span, progress)?.map(|offset| (span.place, offset)));
        }
        if !misplaced.is_empty() {
            return Ok(Attempt::Misplaced(misplaced));
        }
        apply(&mut transaction, records)?;
        for (span, before) in spans.iter().zip(stored) {
            let new = SinkProgress { log_id: span.log_id, next_offset: span.end };
            if !S::store_progress(&mut transaction, &partition(sink, span), Some(before), new)? {
                return Ok(Attempt::Refused(Refusal { place: span.place, stored: Some(before) }));
            }
        }
        S::commit(transaction)?;
        Ok(Attempt::Landed)
    }

    /// Sends the consumer to other offsets. Where the database is ahead of the group, the group follows.
    fn go_to(&mut self, places: Vec<(Place, u64)>) -> Result<()> {
        for (place, offset) in places {
            if self.consumer.go_to(place, offset) {
                follows(self.consumer.commit_place(place, offset))?;
            }
        }
        Ok(())
    }

    /// The second time, with nothing changed in between, it was not another instance.
    fn note_refusal(&self, before: &mut Option<Refusal>, refusal: Refusal) -> Result<()> {
        if before.replace(refusal) == Some(refusal) {
            return Err(Error::ProgressRefused { partition: self.consumer.name_of(refusal.place) });
        }
        Ok(())
    }
}

/// The group follows what was landed. That it cannot, because the partition has another owner by now, does no
/// harm: the next owner asks the database.
fn follows(committed: Result<()>) -> Result<()> {
    match committed {
        Err(Error::CommitFenced { .. }) => Ok(()),
        outcome => outcome,
    }
}

fn partition<'a>(sink: &'a str, span: &'a Span) -> SinkPartition<'a> {
    SinkPartition { sink, topic: &span.topic, partition: span.place.1 }
}

/// Where the consumer is to go on in a partition, if it is not there.
fn elsewhere<K: Codec, V: Codec>(
    consumer: &Consumer<K, V>,
    span: &Span,
    stored: SinkProgress,
) -> Result<Option<u64>> {
    let partition = || span.topic_partition();
    if stored.log_id != span.log_id {
        return Err(Error::OtherLog { partition: partition(), group: consumer.group_name().to_owned() });
    }
    let (earliest, latest) = consumer.range(span)?;
    let requested = stored.next_offset;
    if requested > latest {
        return Err(Error::OffsetOutOfRange { partition: partition(), requested, earliest, latest });
    }
    let is_there = requested == span.start || consumer.passes_over(requested, span, earliest);
    Ok((!is_there).then_some(requested))
}

impl<K: Codec, V: Codec, S: fmt::Debug> fmt::Debug for Sink<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("consumer", &self.consumer)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
