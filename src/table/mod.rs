//! Tables: the latest record of each key of a topic, kept up to date by whoever asks, without a thread.
//!
//! ```text
//! get, iter, .. → shared (is there news? take it in) → follower (one partition) → rows → row
//! next          → changes (or sleep) → shared, as above → change_log
//! ```

mod change_log;
mod changes;
mod follower;
mod row;
mod rows;
mod shared;

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;

pub use changes::{Changes, ChangesStream, NextChange};
pub use row::{Change, TableRow};

use crate::error::{Error, RecordPart, Result};
use crate::record::codec::{Codec, Scratch};
use crate::sync::Arc;
use crate::topic::catalog::Catalog;
use row::Row;
use rows::Rows;
use shared::Shared;

/// The latest value of each key of a topic, in memory: a topic read as a map. Made by
/// [`Broker::table`](crate::Broker::table).
///
/// Cloning is cheap, and clones are the same table; it can be shared between threads.
///
/// # Never stale
/// There is no thread behind it. Every call first takes in what was sent since the last one, so it sees
/// everything that was acknowledged before it began, by whatever thread. It blocks for as long as that takes,
/// reading files if the table has not been used for long. If nothing was sent, a call costs a look at each
/// partition and what a map costs; several threads may ask at once. What was enqueued and is not acknowledged
/// is not in it.
///
/// # What is in it
/// What a table holds that reads the topic from its first record to its end at that moment. A record with a
/// key puts a row in the place of the one with the same key; one with a null value, a
/// [tombstone](crate::Producer::tombstone), removes it; records without a key are passed over. When records
/// are deleted from the front of a partition, their rows go too. A batch is taken in whole, as far as it lies
/// in one partition.
///
/// Keys are compared by their bytes. They belong to one partition each, as the default partitioner has it; if
/// you send records of one key to several, the row is that of the record that was taken in last.
///
/// A topic for a table is normally a [compacted](crate::Compaction) one, which holds the latest record of
/// each key for ever and not much else; but any topic will do. A table that was not used for longer than
/// tombstones are kept reads a partition anew.
///
/// # Errors
/// A damaged record or a file that cannot be read is the error of the call that meets it, and of each after
/// it: a table with a hole would give wrong answers. A key or value that does not decode is an error of its
/// row only.
///
/// ```
/// use ottla::{Broker, Table, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("prices", TopicConfig::new().partitions(4))?;
/// let prices = broker.producer::<String, u32>("prices")?;
/// prices.send_batch([("apple", 100), ("pear", 90)])?;
///
/// let table: Table<String, u32> = broker.table("prices")?;
/// assert_eq!(table.get("apple")?.expect("it has a price").value()?, 100);
/// prices.send("apple", 120)?;
/// assert_eq!(table.get("apple")?.expect("it has a price").value()?, 120);
/// prices.tombstone("apple").send()?;
/// assert!(table.get("apple")?.is_none());
///
/// for row in table.iter()? {
///     assert_eq!((row.key()?, row.value()?), ("pear", 90));
/// }
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct Table<K, V> {
    shared: Arc<Shared>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Table<K, V> {
    pub(crate) fn open(catalog: &Catalog, topic: &str) -> Result<Self> {
        let shared = Shared::open(catalog, catalog.user_topic(topic)?)?;
        Ok(Self { shared: Arc::new(shared), codecs: PhantomData })
    }

    /// The name of the topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.shared.topic().name()
    }

    /// The row of a key; `None` if there is none.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// assert!(table.get("apple")?.is_none());
    /// let sent = broker.producer::<String, u32>("prices")?.send("apple", 120)?;
    /// let row = table.get("apple")?.expect("it was sent");
    /// assert_eq!((row.value()?, row.offset(), row.timestamp()), (120, sent.offset, sent.timestamp));
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if the key cannot be encoded; [`Error::TopicDeleted`], [`Error::Closed`];
    /// [`Error::RecordsDamaged`], [`Error::Io`] for any of the topic's partitions.
    pub fn get(&self, key: K::Input<'_>) -> Result<Option<TableRow<K, V>>> {
        self.with_row(key, |row| row.map(TableRow::new))
    }

    /// Whether the key has a row.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// broker.producer::<String, u32>("prices")?.send("apple", 120)?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// assert!(table.contains_key("apple")? && !table.contains_key("pear")?);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn contains_key(&self, key: K::Input<'_>) -> Result<bool> {
        self.with_row(key, |row| row.is_some())
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// assert!(table.is_empty()?);
    /// broker.producer::<String, u32>("prices")?.send_batch([("apple", 100), ("apple", 120)])?;
    /// assert_eq!(table.len()?, 1);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    pub fn len(&self) -> Result<usize> {
        self.shared.ask(Rows::len)
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// All rows as they are at one moment, by partition and offset: within a partition, the one that was
    /// changed last comes last. What is sent later does not change what the iterator yields; it holds a
    /// reference to each row.
    ///
    /// ```
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// let prices = broker.producer::<String, u32>("prices")?;
    /// prices.send_batch([("apple", 100), ("pear", 90)])?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// let rows = table.iter()?;
    /// prices.tombstone("apple").send()?;
    ///
    /// assert_eq!(rows.len(), 2); // as they were
    /// let total: u32 = rows.map(|row| row.value()).sum::<Result<_, _>>()?;
    /// assert_eq!(total, 190);
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn iter(&self) -> Result<TableIter<K, V>> {
        let rows: Vec<Arc<Row>> = self.shared.ask(|rows| rows.iter().cloned().collect())?;
        Ok(TableIter { rows: rows.into_iter(), codecs: PhantomData })
    }

    /// Tells of what changes after this call: see [`Changes`]. To begin with what is there, take an
    /// [`iter`](Self::iter) after it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ottla::{Broker, TopicConfig};
    /// # let broker = Broker::in_memory();
    /// # broker.open_topic("prices", TopicConfig::new())?;
    /// # let prices = broker.producer::<String, u32>("prices")?;
    /// # prices.send("pear", 90)?;
    /// let table = broker.table::<String, u32>("prices")?;
    /// let mut changes = table.changes()?;
    /// for row in table.iter()? {
    ///     println!("{} costs {}", row.key()?, row.value()?);
    /// }
    /// prices.send("apple", 120)?;
    /// while let Some(change) = changes.next(Duration::ZERO)? {
    ///     println!("{} costs {:?}", change.key()?, change.value()?);
    /// }
    /// # Ok::<(), ottla::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn changes(&self) -> Result<Changes<K, V>> {
        Changes::begin(&self.shared)
    }

    fn with_row<T>(&self, key: K::Input<'_>, answer: impl FnOnce(Option<&Arc<Row>>) -> T) -> Result<T> {
        let mut scratch = Scratch::new();
        // Before any lock is taken.
        let key = K::encode(key, &mut scratch).map_err(|source| Error::Encode {
            topic: self.topic().to_owned(),
            part: RecordPart::Key,
            source,
        })?;
        self.shared.ask(|rows| answer(key.and_then(|key| rows.get(key))))
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), codecs: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// The rows of a [`Table`] at one moment: see [`Table::iter`].
///
/// ```
/// use ottla::{Broker, TableIter, TopicConfig};
///
/// let broker = Broker::in_memory();
/// broker.open_topic("prices", TopicConfig::new())?;
/// broker.producer::<String, u32>("prices")?.send_batch([("pear", 90), ("apple", 100), ("pear", 80)])?;
/// let mut rows: TableIter<String, u32> = broker.table("prices")?.iter()?;
/// assert_eq!(rows.next().expect("two keys").key()?, "apple"); // the pear has changed since
/// assert_eq!(rows.next().expect("two keys").value()?, 80);
/// assert!(rows.next().is_none());
/// # Ok::<(), ottla::Error>(())
/// ```
pub struct TableIter<K, V> {
    rows: std::vec::IntoIter<Arc<Row>>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K: Codec, V: Codec> Iterator for TableIter<K, V> {
    type Item = TableRow<K, V>;

    fn next(&mut self) -> Option<TableRow<K, V>> {
        self.rows.next().map(|row| TableRow::new(&row))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl<K: Codec, V: Codec> ExactSizeIterator for TableIter<K, V> {}

impl<K: Codec, V: Codec> FusedIterator for TableIter<K, V> {}

impl<K, V> fmt::Debug for TableIter<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableIter").field("rows", &self.rows.as_slice()).finish()
    }
}
