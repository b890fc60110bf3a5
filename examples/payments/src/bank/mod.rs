//! The bank: transfers come in messages, go through the topic `payments`, and are booked in a ledger.

mod books;
mod check;
mod generate;
mod ledger;
mod pacs008;
mod transfer;

use std::path::PathBuf;

use common::{Failure, Progress};
use database::Database;
use database::kills::DieAfter;
use ottla::{Broker, Json};

use crate::lacking::lacking;
use crate::land_while;
pub(crate) use check::check;
pub(crate) use generate::generate;
pub(crate) use ledger::open;
pub(crate) use pacs008::read_text;
pub(crate) use transfer::Transfer;

pub(crate) const PAYMENTS: &str = "payments";

/// The transfers of some files.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Transfer>, Failure> {
    let files: Vec<_> = paths.iter().map(|path| pacs008::read(path)).collect::<Result<_, _>>()?;
    Ok(files.concat())
}

/// The transfers that the topic lacks.
pub(crate) fn unsent<'a>(broker: &Broker, transfers: &'a [Transfer]) -> Result<Vec<&'a Transfer>, Failure> {
    lacking(broker, PAYMENTS, transfers, |transfer| &transfer.debtor)
}

/// Publishes transfers, while the ledger books what comes and what is there.
pub(crate) fn run(
    broker: &Broker,
    database: Database,
    unsent: &[&Transfer],
    die_after: DieAfter,
) -> Result<Database, Failure> {
    land_while(
        |is_published| ledger::keep(broker, database, is_published, die_after),
        || publish(broker, unsent),
    )
}

/// Each message is a batch: it is there as a whole in each partition, or not at all.
fn publish(broker: &Broker, transfers: &[&Transfer]) -> Result<(), Failure> {
    let producer = broker.producer::<String, Json<Transfer>>(PAYMENTS)?;
    let mut progress = Progress::new("transfers published", transfers.len() as u64);
    for message in transfers.chunk_by(|one, next| one.message == next.message) {
        producer.send_batch(message.iter().map(|transfer| (transfer.debtor.as_str(), *transfer)))?;
        progress.add(message.len() as u64);
    }
    drop(progress);
    println!("{} transfers published", transfers.len());
    Ok(())
}
