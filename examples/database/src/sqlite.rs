//! SQLite, embedded in the program.

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Failure, about};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};

use crate::value::{Row, Value};

/// How long a transaction waits for another one.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn open(dir: Option<&Path>) -> Result<Connection, Failure> {
    let connection = match dir {
        None => Connection::open_in_memory()?,
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|error| about(dir, error))?;
            let file = dir.join("database.sqlite");
            Connection::open(&file).map_err(|error| about(&file, error))?
        }
    };
    connection.busy_timeout(PATIENCE)?;
    // Readers and the writer do not wait for each other, and a commit survives a power loss.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Takes the lock of the writer at once: a transaction that takes it later may have to be begun again.
pub(crate) fn begin(connection: &mut Connection) -> Result<rusqlite::Transaction<'_>, Failure> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

pub(crate) fn execute(connection: &Connection, sql: &str, values: &[Value]) -> Result<u64, Failure> {
    let changed = connection.prepare_cached(&numbered(sql))?.execute(params_from_iter(values))?;
    Ok(u64::try_from(changed)?)
}

pub(crate) fn query(connection: &Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
    let mut statement = connection.prepare_cached(&numbered(sql))?;
    let columns = statement.column_count();
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| value(row.get_ref(column)?));
        found.push(values.collect::<Result<_, Failure>>()?);
    }
    Ok(found)
}

/// PostgreSQL numbers its parameters with `$`; for SQLite these are names, and `?` numbers them.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

pub(crate) fn remove_all(connection: &Connection) -> Result<(), Failure> {
    let tables = query(connection, "SELECT name FROM sqlite_master WHERE type = 'table'", &[])?;
    for table in tables.iter().flatten() {
        connection.execute(&format!("DROP TABLE \"{}\"", table.as_str()?), [])?;
    }
    Ok(())
}

fn value(column: ValueRef<'_>) -> Result<Value, Failure> {
    match column {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(text) => Ok(Value::Text(str::from_utf8(text)?.to_owned())),
        other => Err(format!("a column of the type {} is not expected", other.data_type()).into()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}
