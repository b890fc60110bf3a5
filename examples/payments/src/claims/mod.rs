//! The insurance: what happens to claims goes through the topic `claims`, and the state of each is landed.

mod check;
mod claim;
mod desk;
mod fhir;
mod generate;

use std::path::PathBuf;

use common::Failure;
use database::Database;
use ottla::{Broker, Json};

use crate::lacking::lacking;
use crate::land_while;
pub(crate) use check::check;
pub(crate) use claim::Event;
pub(crate) use desk::open;
pub(crate) use fhir::read_text;
pub(crate) use generate::generate;

pub(crate) const CLAIMS: &str = "claims";

/// The events of some files.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Event>, Failure> {
    let files: Vec<_> = paths.iter().map(|path| fhir::read(path)).collect::<Result<_, _>>()?;
    Ok(files.concat())
}

/// The events that the topic lacks.
pub(crate) fn untold<'a>(broker: &Broker, events: &'a [Event]) -> Result<Vec<&'a Event>, Failure> {
    lacking(broker, CLAIMS, events, |event| &event.claim)
}

/// Publishes events, while the desk works on what comes and what is there.
pub(crate) fn run(broker: &Broker, database: Database, untold: &[&Event]) -> Result<Database, Failure> {
    land_while(|is_published| desk::keep(broker, database, is_published), || publish(broker, untold))
}

fn publish(broker: &Broker, events: &[&Event]) -> Result<(), Failure> {
    let producer = broker.producer::<String, Json<Event>>(CLAIMS)?;
    for event in events {
        producer.send(&event.claim, event)?;
    }
    println!("{} events of claims published", events.len());
    Ok(())
}
