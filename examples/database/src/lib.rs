//! The databases in which examples land what they have worked out: SQLite, in memory or in a file, or
//! PostgreSQL, behind one face, so that a program is written once for both.
//!
//! What is of interest for a program of your own is in `progress.rs`: all that a [`Sink`](ottla::Sink) needs
//! to know of a database.

#![allow(clippy::print_stdout, reason = "examples talk to their users")]

mod home;
pub mod kills;
mod postgresql;
mod progress;
mod sqlite;
mod value;

use std::collections::HashMap;
use std::env;
use std::path::Path;

use common::Failure;

pub use crate::home::Home;
pub use crate::value::{Row, Value};

/// Names the PostgreSQL server, such as `host=localhost user=me dbname=shop` or
/// `postgres://me@localhost/shop`.
pub const DATABASE_URL: &str = "DATABASE_URL";

/// A connection to a database.
#[expect(missing_debug_implementations, reason = "a connection has nothing to show")]
pub enum Database {
    /// SQLite.
    Sqlite(rusqlite::Connection),
    /// PostgreSQL, with the statements that were prepared.
    Postgresql(Box<postgres::Client>, HashMap<String, postgres::Statement>),
}

/// A transaction. Dropped, it is rolled back.
#[expect(missing_debug_implementations, reason = "a transaction has nothing to show")]
pub enum Transaction<'a> {
    /// Of SQLite.
    Sqlite(rusqlite::Transaction<'a>),
    /// Of PostgreSQL.
    Postgresql(postgres::Transaction<'a>, &'a mut HashMap<String, postgres::Statement>),
}

impl Database {
    /// Opens the PostgreSQL database that `DATABASE_URL` names; without it, an SQLite database: the file
    /// `database.sqlite` in `dir`, or one in memory that is gone with the connection.
    ///
    /// All names of tables are looked up in `schema` of PostgreSQL, which is made if it is not there, so that
    /// programs do not meet. In SQLite each directory is a database of its own.
    pub fn open(dir: Option<&Path>, schema: &str) -> Result<Self, Failure> {
        let mut database = match env::var(DATABASE_URL) {
            Ok(url) => Self::Postgresql(Box::new(postgresql::open(&url, schema)?), HashMap::new()),
            Err(_) => Self::Sqlite(sqlite::open(dir)?),
        };
        progress::create_table(&mut database)?;
        Ok(database)
    }

    /// `sqlite` or `postgresql`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgresql(..) => "postgresql",
        }
    }

    /// Runs a statement with `$1`, `$2` … replaced by `values`; how many rows it has changed.
    pub fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(connection) => sqlite::execute(connection, sql, values),
            Self::Postgresql(client, prepared) => postgresql::execute(&mut **client, prepared, sql, values),
        }
    }

    /// The rows that a query finds.
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        match self {
            Self::Sqlite(connection) => sqlite::query(connection, sql, values),
            Self::Postgresql(client, prepared) => postgresql::query(&mut **client, prepared, sql, values),
        }
    }

    /// The single number that a query finds, such as a count; 0 for a sum over nothing.
    pub fn number(&mut self, sql: &str, values: &[Value]) -> Result<i64, Failure> {
        let rows = self.query(sql, values)?;
        match rows.first().and_then(|row| row.first()) {
            None | Some(Value::Null) => Ok(0),
            Some(value) => value.as_i64(),
        }
    }

    /// Begins a transaction that may write.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, Failure> {
        match self {
            Self::Sqlite(connection) => Ok(Transaction::Sqlite(sqlite::begin(connection)?)),
            Self::Postgresql(client, prepared) => {
                Ok(Transaction::Postgresql(client.transaction()?, prepared))
            }
        }
    }

    /// Removes everything in the schema, or in the file.
    pub fn remove_all(mut self, schema: &str) -> Result<(), Failure> {
        match &mut self {
            Self::Sqlite(connection) => sqlite::remove_all(connection),
            Self::Postgresql(client, _) => postgresql::remove_schema(client, schema),
        }
    }
}

impl Transaction<'_> {
    /// As [`Database::execute`].
    pub fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(transaction) => sqlite::execute(transaction, sql, values),
            Self::Postgresql(transaction, prepared) => {
                postgresql::execute(transaction, prepared, sql, values)
            }
        }
    }

    /// As [`Database::query`].
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        match self {
            Self::Sqlite(transaction) => sqlite::query(transaction, sql, values),
            Self::Postgresql(transaction, prepared) => postgresql::query(transaction, prepared, sql, values),
        }
    }

    /// Commits.
    pub fn commit(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(transaction) => Ok(transaction.commit()?),
            Self::Postgresql(transaction, _) => Ok(transaction.commit()?),
        }
    }
}
