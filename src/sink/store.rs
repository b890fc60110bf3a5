//! What a sink asks of a database.

/// A database in which a [`Sink`](super::Sink) lands records: how to begin and commit a transaction, and
/// where in it a sink's progress is kept. You write one for the database that you use, on a type of yours
/// that holds the connection; it is four calls and a table, in the same database as your results, that is
/// made before the sink is:
///
/// ```sql
/// CREATE TABLE sink_progress (
///     sink TEXT, topic TEXT, partition_number INTEGER,
///     log_id BIGINT NOT NULL, next_offset BIGINT NOT NULL,
///     PRIMARY KEY (sink, topic, partition_number)
/// );
/// ```
///
/// Names are compared as they are, and not cut off. The usual isolation of a database (`READ COMMITTED`) is
/// enough for progress. Try yours: of two connections that load the same progress and store new ones, one
/// must be told `false`, and a transaction that is dropped must leave nothing behind.
pub trait TransactionalStore {
    /// A transaction. Dropping it must roll it back: where the driver's does not, put it into a type that
    /// does.
    type Transaction<'a>
    where
        Self: 'a;

    /// What the database's driver answers if something fails.
    type Error;

    /// Begins a transaction. With SQLite, one that may write (`BEGIN IMMEDIATE`). It is the place to connect
    /// again if the connection is lost.
    ///
    /// # Errors
    /// The database's.
    fn begin(&mut self) -> Result<Self::Transaction<'_>, Self::Error>;

    /// How far the sink has come in a partition; `None` if nothing is stored.
    ///
    /// # Errors
    /// The database's.
    fn load_progress(
        transaction: &mut Self::Transaction<'_>,
        of: &SinkPartition<'_>,
    ) -> Result<Option<SinkProgress>, Self::Error>;

    /// Stores how far the sink has come, **if** `expected` is what is stored at this moment; answers whether
    /// it was. It must be one statement, not a look and a write, or a transaction that other ones cannot get
    /// in between: `UPDATE … WHERE … AND next_offset = …`, and `INSERT … ON CONFLICT DO NOTHING` if
    /// `expected` is `None`, each of which says how many rows it has changed.
    ///
    /// # Errors
    /// The database's; that a transaction could not be serialized is one of them. Call `land` again then.
    fn store_progress(
        transaction: &mut Self::Transaction<'_>,
        of: &SinkPartition<'_>,
        expected: Option<SinkProgress>,
        new: SinkProgress,
    ) -> Result<bool, Self::Error>;

    /// Commits: when it returns `Ok`, all of the transaction is kept.
    ///
    /// # Errors
    /// The database's. The sink finds out later whether it was committed all the same.
    fn commit(transaction: Self::Transaction<'_>) -> Result<(), Self::Error>;
}

/// What progress is kept of: the key of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPartition<'a> {
    /// The group of the sink's consumer.
    pub sink: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition of the topic.
    pub partition: u32,
}

/// How far a sink has come in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkProgress {
    /// Which log it is. A log that was made anew under the same name, because its topic or directory was
    /// removed, has another id. Any 64 bits: for a signed column, cast them (`as i64`, and back).
    pub log_id: u64,
    /// The first offset that has not been landed. Below 2<sup>63</sup>.
    pub next_offset: u64,
}
