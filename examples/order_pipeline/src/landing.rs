//! The end of the way: the table, in which each order is once.

use common::Failure;
use database::kills::DieAfter;
use database::{Database, Row, Transaction};
use ottla::{Broker, Json, Sink};

use crate::SHIPMENTS;
use crate::event::Shipment;
use crate::stage::{Done, PATIENCE, source_of};

/// In one transaction at most.
const BATCH_RECORDS: usize = 100;

/// The key is where the order lies in the topic `orders`.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS shipments (
        source TEXT PRIMARY KEY,
        invoice TEXT NOT NULL,
        customer TEXT NOT NULL,
        carrier TEXT NOT NULL,
        parcels BIGINT NOT NULL,
        value BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS removed (partition_number BIGINT, record_offset BIGINT, source TEXT)",
];

/// Lands shipments until there will be no more.
///
/// Two things can come twice. A record of `shipments` that was landed before the program was killed: the
/// sink does not read it again. And the same shipment in a second record, because a stage was killed: its
/// key is in the table already.
pub(crate) fn land(
    broker: &Broker,
    mut database: Database,
    packed: &Done,
    mut die_after: DieAfter,
) -> Result<Database, Failure> {
    for table in TABLES {
        database.execute(table, &[])?;
    }
    let builder = broker.consumer::<String, Json<Shipment>>().topic(SHIPMENTS).group("landing");
    let mut sink = Sink::new(builder.max_records(BATCH_RECORDS).build()?, database)?;
    loop {
        // Asked before landing: what comes in between is landed in the next round.
        let is_all_there = packed.is_set();
        let landed = sink.land(PATIENCE, |transaction, records| {
            for record in records {
                let source = source_of(&record)?;
                if !insert(transaction, &source, &record.value()?)? {
                    remove(transaction, record.partition(), record.offset(), source)?;
                }
                die_after.step();
            }
            Ok::<_, Failure>(())
        })?;
        if is_all_there && landed == 0 {
            return Ok(sink.into_parts().1);
        }
    }
}

/// Whether the shipment was not there yet.
fn insert(transaction: &mut Transaction<'_>, source: &str, shipment: &Shipment) -> Result<bool, Failure> {
    let Shipment { invoice, customer, carrier, parcels, value } = shipment;
    let sql = "INSERT INTO shipments (source, invoice, customer, carrier, parcels, value) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (source) DO NOTHING";
    let texts = [source, invoice, customer, carrier].map(Into::into);
    let numbers = [i64::try_from(*parcels)?, *value].map(Into::into);
    Ok(transaction.execute(sql, &[&texts[..], &numbers[..]].concat())? == 1)
}

/// Notes what is left out, to be counted.
fn remove(
    transaction: &mut Transaction<'_>,
    partition: u32,
    offset: u64,
    source: String,
) -> Result<(), Failure> {
    let sql = "INSERT INTO removed (partition_number, record_offset, source) VALUES ($1, $2, $3)";
    transaction.execute(sql, &[partition.into(), i64::try_from(offset)?.into(), source.into()]).map(drop)
}

/// What was landed.
pub(crate) fn shipments(database: &mut Database) -> Result<Vec<Shipment>, Failure> {
    let rows = database.query("SELECT invoice, customer, carrier, parcels, value FROM shipments", &[])?;
    rows.iter().map(shipment).collect()
}

fn shipment(row: &Row) -> Result<Shipment, Failure> {
    let [invoice, customer, carrier, parcels, value] = &row[..] else {
        return Err("a shipment has five columns".into());
    };
    Ok(Shipment {
        invoice: invoice.as_str()?.to_owned(),
        customer: customer.as_str()?.to_owned(),
        carrier: carrier.as_str()?.to_owned(),
        parcels: parcels.as_i64()?.try_into()?,
        value: value.as_i64()?,
    })
}

/// How many repeats were left out.
pub(crate) fn removed(database: &mut Database) -> Result<u64, Failure> {
    Ok(database.number("SELECT COUNT(*) FROM removed", &[])?.try_into()?)
}
