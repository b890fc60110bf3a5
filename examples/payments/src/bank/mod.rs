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

/// Publishes the transfers that the log lacks, while the ledger books what comes.
pub(crate) fn run(
    broker: &Broker,
    database: Database,
    transfers: &[Transfer],
    die_after: DieAfter,
) -> Result<Database, Failure> {
    land_while(
        |is_published| ledger::keep(broker, database, is_published, die_after),
        || publish(broker, transfers),
    )
}

/// Each message is a batch: it is there as a whole in each partition, or not at all.
fn publish(broker: &Broker, transfers: &[Transfer]) -> Result<(), Failure> {
    let lacking = lacking(broker, PAYMENTS, transfers, |transfer| &transfer.debtor)?;
    let producer = broker.producer::<String, Json<Transfer>>(PAYMENTS)?;
    let mut progress = Progress::new("transfers published", lacking.len() as u64);
    for message in lacking.chunk_by(|one, next| one.message == next.message) {
        producer.send_batch(message.iter().map(|transfer| (transfer.debtor.as_str(), *transfer)))?;
        progress.add(message.len() as u64);
    }
    drop(progress);
    println!("{} transfers published of {}", lacking.len(), transfers.len());
    Ok(())
}
