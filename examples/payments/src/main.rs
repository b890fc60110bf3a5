//! Payments that are booked exactly once: a bank, and an insurance.
//!
//! The **bank** gets credit transfers in messages as banks send them to each other (ISO 20022, `pacs.008`).
//! They go through the topic `payments`, each under the account that pays, into a ledger in a database:
//! accounts with balances, entries with numbers. The entries and how far the topic was read are stored in
//! one transaction, so the program may be killed at any moment and no transfer is lost or booked again. That
//! a sender sends a message twice is another matter: the database knows each transfer by its id.
//!
//! The **insurance** gets what happens to claims as HL7 FHIR resources, and lands the state of each in the
//! same way. Where the topic `claims` is read from its beginning, the same states come out.
//!
//! Run it: `cargo run --release -p payments`; with `-- --kills 8` it kills itself eight times at random
//! moments and looks at the tables then. `--input FILE` reads messages of your own, `--claims FILE` a bundle
//! of resources, one a line (NDJSON). With `--data-dir DIR` log and database stay. The database is SQLite,
//! or PostgreSQL if `DATABASE_URL` is set (`host=localhost user=me dbname=bank`).
//!
//! It ends with `OK payments transfers=.. booked=.. rejected=.. repeated=.. accounts=.. missing=0
//! duplicates=0 balance_delta=0 claims=.. paid=.. mismatches=0 kills=.. database=..`, all compared with what
//! a loop over the input computes.
//!
//! Read next: `bank/ledger.rs` and `claims/desk.rs` are what has to do with Ottla; then `orders`, where
//! several groups live on one topic.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod bank;
mod claims;
mod lacking;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Parser, value_parser};
use common::{Failure, about, joined};
use database::kills::DieAfter;
use database::{Database, Home};
use ottla::{Broker, Durability, TopicConfig};

use crate::bank::{PAYMENTS, Transfer};
use crate::claims::{CLAIMS, Event};

const PARTITIONS: u32 = 4;
/// In memory a topic drops what is beyond its limit. This is more than a day of a large bank.
const MEMORY_LIMIT_BYTES: u64 = 4 << 30;
/// In one transaction of the database at most.
const BATCH_RECORDS: usize = 500;
/// What can be in an account: sums over all accounts do not overflow.
const LARGEST: i64 = 1_000_000_000_000;
const PATIENCE: Duration = Duration::from_millis(10);

/// Payments and insurance claims, booked exactly once
#[derive(Parser)]
#[command(args_override_self = true)]
struct Options {
    /// Keep log and database in this directory; without it they are in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A file of credit transfers, pacs.008 in XML, instead of invented ones; may come again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["transfers", "accounts", "write"])]
    input: Vec<PathBuf>,
    /// A file of claims and what happens to them, FHIR R4 as NDJSON, instead of invented ones; may come again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "write_claims"])]
    claims: Vec<PathBuf>,
    /// How many transfers to invent
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..))]
    transfers: u32,
    /// Between how many accounts
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(2..))]
    accounts: u32,
    /// How many claims to invent
    #[arg(long, default_value_t = 500)]
    cases: u32,
    /// What is in each account at first, in hundredths
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(i64).range(0..=LARGEST))]
    opening: i64,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the invented transfers to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write the invented claims to this file
    #[arg(long, value_name = "FILE")]
    write_claims: Option<PathBuf>,
    /// Kill the program so many times before the result is looked at
    #[arg(long, default_value_t = 0)]
    kills: u32,
    #[arg(long, hide = true)]
    abort_after: Option<u64>,
}

fn main() -> ExitCode {
    common::finish("payments", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let (transfers, events) = (options.transfers()?, options.events()?);
    let home = Home::new("payments", options.data_dir.as_deref(), options.kills > 0)?;
    let kills = home.torment(options.kills, options.seed, transfers.len() as u64)?;
    let broker = home.broker()?;
    open_topics(&broker, !home.is_in_memory())?;
    // They have nothing to do with each other, and each has a connection of its own.
    let (mut bank, mut insurance) = (home.database()?, home.database()?);
    let die_after = DieAfter::new(options.abort_after);
    // What is of another input is found out before anything is changed.
    let unsent = bank::unsent(&broker, &transfers)?;
    let untold = claims::untold(&broker, &events)?;
    bank::open(&mut bank, &transfers, options.opening)?;
    claims::open(&mut insurance)?;
    let (bank, insurance) = thread::scope(|scope| {
        let insurance = scope.spawn(|| claims::run(&broker, insurance, &untold));
        let bank = bank::run(&broker, bank, &unsent, die_after);
        (bank, joined(insurance))
    });
    let (mut bank, mut insurance) = (bank?, insurance?);
    let booked = bank::check(&mut bank, &transfers, options.opening)?;
    let settled = claims::check(&broker, &mut insurance, &events)?;
    let database = bank.name();
    drop((bank, insurance));
    broker.close()?;
    home.leave()?;
    Ok(format!("{booked} {settled} kills={} database={database}", kills.total()))
}

fn open_topics(broker: &Broker, is_on_disk: bool) -> Result<(), Failure> {
    let config = TopicConfig::new().partitions(PARTITIONS).memory_limit(MEMORY_LIMIT_BYTES);
    broker.open_topic(CLAIMS, config.clone())?;
    // A bank answers for what it has accepted, also when the lights go out. A message of many transfers
    // shares one sync, so that costs little. In memory there is nothing to be synced.
    let durability = if is_on_disk { Durability::PowerLoss } else { Durability::Memory };
    broker.open_topic(PAYMENTS, config.durability(durability))?;
    Ok(())
}

impl Options {
    fn transfers(&self) -> Result<Vec<Transfer>, Failure> {
        if !self.input.is_empty() {
            return bank::read_all(&self.input);
        }
        let text = bank::generate(self.seed, self.transfers, self.accounts);
        self.write.as_deref().map_or(Ok(()), |path| write(path, &text))?;
        bank::read_text(Path::new("the invented transfers"), &text)
    }

    fn events(&self) -> Result<Vec<Event>, Failure> {
        if !self.claims.is_empty() {
            return claims::read_all(&self.claims);
        }
        let text = claims::generate(self.seed, self.cases);
        self.write_claims.as_deref().map_or(Ok(()), |path| write(path, &text))?;
        claims::read_text(Path::new("the invented claims"), &text)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| about(path, error))
}

/// Lands on a thread of its own what is published meanwhile. `land` is told when that was all.
fn land_while(
    land: impl FnOnce(&AtomicBool) -> Result<Database, Failure> + Send,
    publish: impl FnOnce() -> Result<(), Failure>,
) -> Result<Database, Failure> {
    let is_published = &AtomicBool::new(false);
    thread::scope(|scope| {
        let landing = scope.spawn(move || land(is_published));
        let published = publish();
        is_published.store(true, Ordering::Release);
        published.and(joined(landing))
    })
}
