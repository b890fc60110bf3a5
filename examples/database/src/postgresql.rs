//! PostgreSQL, over a connection.

use std::collections::HashMap;
use std::error::Error;

use common::Failure;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use postgres::{Client, Config, GenericClient, NoTls, Statement};

use crate::value::{Row, Value};

/// Statements that the server knows already: to prepare one takes as long as to execute it.
pub(crate) type Prepared = HashMap<String, Statement>;

pub(crate) fn open(url: &str, schema: &str) -> Result<Client, Failure> {
    let config: Config = url.parse().map_err(|error| format!("DATABASE_URL: {error}"))?;
    let mut client =
        config.connect(NoTls).map_err(|error| format!("DATABASE_URL: {}", with_cause(&error)))?;
    client.batch_execute(&format!(
        "SET client_min_messages = warning; \
         CREATE SCHEMA IF NOT EXISTS \"{schema}\"; SET search_path TO \"{schema}\""
    ))?;
    Ok(client)
}

pub(crate) fn execute(
    client: &mut impl GenericClient,
    prepared: &mut Prepared,
    sql: &str,
    values: &[Value],
) -> Result<u64, Failure> {
    let statement = prepare(client, prepared, sql)?;
    client.execute(&statement, &parameters(values)).map_err(|error| with_cause(&error).into())
}

pub(crate) fn query(
    client: &mut impl GenericClient,
    prepared: &mut Prepared,
    sql: &str,
    values: &[Value],
) -> Result<Vec<Row>, Failure> {
    let statement = prepare(client, prepared, sql)?;
    let rows = client.query(&statement, &parameters(values)).map_err(|error| with_cause(&error))?;
    rows.iter().map(|row| (0..row.len()).map(|column| value(row, column)).collect()).collect()
}

fn prepare(
    client: &mut impl GenericClient,
    prepared: &mut Prepared,
    sql: &str,
) -> Result<Statement, Failure> {
    if let Some(statement) = prepared.get(sql) {
        return Ok(statement.clone());
    }
    let statement = client.prepare(sql).map_err(|error| with_cause(&error))?;
    prepared.insert(sql.to_owned(), statement.clone());
    Ok(statement)
}

pub(crate) fn remove_schema(client: &mut Client, schema: &str) -> Result<(), Failure> {
    Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"))?)
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn value(row: &postgres::Row, column: usize) -> Result<Value, Failure> {
    Ok(match *row.columns()[column].type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(column)?.into(),
        Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(i64::from).into(),
        Type::TEXT | Type::VARCHAR | Type::NAME => row.try_get::<_, Option<String>>(column)?.into(),
        ref other => return Err(format!("a column of the type {other} is not expected: cast it").into()),
    })
}

/// What the server said, which the error itself keeps for its source.
fn with_cause(error: &postgres::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl ToSql for Value {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) if *column == Type::INT4 => i32::try_from(*number)?.to_sql(column, out),
            Self::Integer(number) => number.to_sql(column, out),
            Self::Text(text) => text.to_sql(column, out),
        }
    }

    fn accepts(column: &Type) -> bool {
        matches!(*column, Type::INT8 | Type::INT4 | Type::TEXT | Type::VARCHAR)
    }

    to_sql_checked!();
}
