//! A database in memory that fails when it is told to, shared by all connections to it as a real one is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ottla::{Error, SinkPartition, SinkProgress, TransactionalStore};

/// Where a transaction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Begin,
    Load,
    Store,
    /// And nothing of it is kept.
    Commit,
    /// The answer is lost: all of it is kept.
    AnswerToCommit,
}

/// What was landed: topic, partition, offset and value, in the order in which it was.
pub(crate) type Landed = (String, u32, u64, String);

#[derive(Clone, Debug, Default)]
struct Tables {
    landed: Vec<Landed>,
    progress: BTreeMap<(String, String, u32), SinkProgress>,
}

/// A connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    tables: Arc<Mutex<Tables>>,
    /// Of this connection and its copies: fails once.
    fault: Arc<Mutex<Option<Fault>>>,
    refuses: bool,
}

/// Sees the tables as they were when it began, as one of `REPEATABLE READ` does. Two can be open at once.
pub(crate) struct Transaction<'a> {
    database: &'a Database,
    changed: Tables,
    /// What must still be so when it is committed.
    conditions: Vec<((String, String, u32), Option<SinkProgress>)>,
}

/// What ends a call to a sink.
#[derive(Debug)]
pub(crate) enum Failed {
    Ottla(Error),
    Database(Fault),
    Applying,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Ottla(error)
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Database(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Database {
    /// The next use of it that this fault can meet fails.
    pub(crate) fn fail(&self, fault: Fault) {
        *lock(&self.fault) = Some(fault);
    }

    /// From now on it takes no progress, as if its condition were never met.
    pub(crate) fn refuse(&mut self) {
        self.refuses = true;
    }

    /// Another connection.
    pub(crate) fn connect(&self) -> Self {
        Self { tables: Arc::clone(&self.tables), ..Self::default() }
    }

    pub(crate) fn landed(&self) -> Vec<Landed> {
        lock(&self.tables).landed.clone()
    }

    /// The values that were landed, in that order.
    pub(crate) fn values(&self) -> Vec<String> {
        self.landed().into_iter().map(|(.., value)| value).collect()
    }

    pub(crate) fn next_offset(&self, topic: &str, partition: u32) -> Option<u64> {
        let key = ("g".to_owned(), topic.to_owned(), partition);
        lock(&self.tables).progress.get(&key).map(|progress| progress.next_offset)
    }

    /// Stores progress that no sink has made.
    pub(crate) fn advance(&self, topic: &str, partition: u32, to: u64) {
        let key = ("g".to_owned(), topic.to_owned(), partition);
        let mut tables = lock(&self.tables);
        tables.progress.get_mut(&key).expect("something was landed").next_offset = to;
    }

    fn check(&self, fault: Fault) -> Result<(), Fault> {
        let mut planned = lock(&self.fault);
        if *planned == Some(fault) {
            *planned = None;
            return Err(fault);
        }
        Ok(())
    }
}

impl Transaction<'_> {
    pub(crate) fn insert(&mut self, landed: Landed) {
        self.changed.landed.push(landed);
    }
}

impl TransactionalStore for Database {
    type Transaction<'a> = Transaction<'a>;
    type Error = Fault;

    fn begin(&mut self) -> Result<Transaction<'_>, Fault> {
        self.check(Fault::Begin)?;
        let mut changed = lock(&self.tables).clone();
        changed.landed.clear(); // what it adds
        Ok(Transaction { database: self, changed, conditions: Vec::new() })
    }

    fn load_progress(
        transaction: &mut Transaction<'_>,
        of: &SinkPartition<'_>,
    ) -> Result<Option<SinkProgress>, Fault> {
        transaction.database.check(Fault::Load)?;
        Ok(transaction.changed.progress.get(&key(of)).copied())
    }

    fn store_progress(
        transaction: &mut Transaction<'_>,
        of: &SinkPartition<'_>,
        expected: Option<SinkProgress>,
        new: SinkProgress,
    ) -> Result<bool, Fault> {
        transaction.database.check(Fault::Store)?;
        let stored = lock(&transaction.database.tables).progress.get(&key(of)).copied();
        if transaction.database.refuses || stored != expected {
            return Ok(false);
        }
        transaction.conditions.push((key(of), expected));
        transaction.changed.progress.insert(key(of), new);
        Ok(true)
    }

    fn commit(transaction: Transaction<'_>) -> Result<(), Fault> {
        let Transaction { database, changed, conditions } = transaction;
        database.check(Fault::Commit)?;
        let mut tables = lock(&database.tables);
        for (key, expected) in conditions {
            assert_eq!(tables.progress.get(&key).copied(), expected, "no other one got in between");
            tables.progress.insert(key.clone(), changed.progress[&key]);
        }
        tables.landed.extend(changed.landed);
        drop(tables);
        database.check(Fault::AnswerToCommit)
    }
}

fn key(of: &SinkPartition<'_>) -> (String, String, u32) {
    (of.sink.to_owned(), of.topic.to_owned(), of.partition)
}

/// A test that panics while it applies records leaves the tables as they were.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
