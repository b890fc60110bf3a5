//! All that a sink needs to know of the databases: where its progress is kept. The other tables are the
//! program's.

use common::Failure;
use ottla::{SinkPartition, SinkProgress, TransactionalStore};

use crate::value::{Row, Value};
use crate::{Database, Transaction};

/// Numbers of 64 bits without a sign are kept as numbers with one, bit by bit: SQL has no others.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS sink_progress (
    sink TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition_number BIGINT NOT NULL,
    log_id BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (sink, topic, partition_number)
)";

pub(crate) fn create_table(database: &mut Database) -> Result<(), Failure> {
    database.execute(TABLE, &[]).map(drop)
}

impl TransactionalStore for Database {
    type Transaction<'a> = Transaction<'a>;
    type Error = Failure;

    fn begin(&mut self) -> Result<Transaction<'_>, Failure> {
        self.transaction()
    }

    fn load_progress(
        transaction: &mut Transaction<'_>,
        of: &SinkPartition<'_>,
    ) -> Result<Option<SinkProgress>, Failure> {
        let rows = transaction.query(
            "SELECT log_id, next_offset FROM sink_progress \
             WHERE sink = $1 AND topic = $2 AND partition_number = $3",
            &key(of),
        )?;
        rows.first().map(progress).transpose()
    }

    fn store_progress(
        transaction: &mut Transaction<'_>,
        of: &SinkPartition<'_>,
        expected: Option<SinkProgress>,
        new: SinkProgress,
    ) -> Result<bool, Failure> {
        let mut values = key(of).to_vec();
        values.extend(columns(new));
        let sql = if let Some(expected) = expected {
            values.extend(columns(expected));
            "UPDATE sink_progress SET log_id = $4, next_offset = $5 \
             WHERE sink = $1 AND topic = $2 AND partition_number = $3 AND log_id = $6 AND next_offset = $7"
        } else {
            "INSERT INTO sink_progress (sink, topic, partition_number, log_id, next_offset) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
        };
        Ok(transaction.execute(sql, &values)? == 1)
    }

    fn commit(transaction: Transaction<'_>) -> Result<(), Failure> {
        transaction.commit()
    }
}

fn key(of: &SinkPartition<'_>) -> [Value; 3] {
    [of.sink.into(), of.topic.into(), of.partition.into()]
}

fn columns(progress: SinkProgress) -> [Value; 2] {
    [progress.log_id, progress.next_offset].map(|number| number.cast_signed().into())
}

fn progress(row: &Row) -> Result<SinkProgress, Failure> {
    let [log_id, next_offset] = &row[..] else { return Err("sink_progress has two columns to read".into()) };
    Ok(SinkProgress {
        log_id: log_id.as_i64()?.cast_unsigned(),
        next_offset: next_offset.as_i64()?.cast_unsigned(),
    })
}
