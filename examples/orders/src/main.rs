//! Customer orders, and three services that react to them at once: the **inventory** keeps the stock, the
//! **payment** what each customer owes, the **notification** which mails are to go out. Each is a group of
//! its own, so each hears of every order, and none knows of the others. What they make of an order lands in
//! a database exactly once, however often the program is killed: see `service.rs`.
//!
//! Run it: `cargo run --release -p orders`. It invents a wholesaler's orders; real ones are read with
//! `-- --input FILE`: Online Retail II, from <https://archive.ics.uci.edu/dataset/502/online+retail+ii>, each
//! of its sheets saved as CSV. With `--data-dir DIR` log and database stay: kill it at any moment and run it
//! again. `--kills 8` does that eight times and looks at the result. The database is SQLite, or PostgreSQL if
//! `DATABASE_URL` is set (`host=localhost user=me dbname=shop`).
//!
//! It ends with `OK orders orders=.. received=3x.. … missing=0 duplicates=0 mismatches=0 ..`. A group that
//! had missed an order, or had got one twice, would show in the counts; a row that is not what a loop over
//! the file computes is a mismatch. `woken` are polls with a timeout of an hour that ended because a record
//! was sent: see `doorbell.rs`.
//!
//! Read next: `order_pipeline`, where orders pass through several topics on their way to the database.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod check;
mod doorbell;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Parser;
use common::{Failure, joined};
use database::kills::DieAfter;
use database::{Database, Home};
use ottla::Broker;
use retail::{Order, Source};

use crate::service::SERVICES;

/// Customer orders, and three services that react to them
#[derive(Parser)]
#[command(args_override_self = true)]
struct Options {
    /// Keep log and database in this directory; without it they are in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Kill the program so many times before the result is looked at
    #[arg(long, default_value_t = 0)]
    kills: u32,
    #[arg(long, hide = true)]
    abort_after: Option<u64>,
}

fn main() -> ExitCode {
    common::finish("orders", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let orders = options.source.orders()?;
    let home = Home::new("orders", options.data_dir.as_deref(), options.kills > 0)?;
    let kills = home.torment(options.kills, options.source.seed, orders.len() as u64)?;
    let broker = home.broker()?;
    Order::open_topic(&broker)?;
    let woken = doorbell::ring(&broker)?;
    let databases = serve(&broker, &home, &orders, options)?;
    broker.close()?;
    let seen = check::check(databases, &orders)?;
    home.leave()?;
    Ok(format!("{seen} woken={woken} kills={}", kills.total()))
}

/// Publishes the orders while the services work; the answer is the database of each.
fn serve(
    broker: &Broker,
    home: &Home,
    orders: &[Order],
    options: &Options,
) -> Result<[Database; SERVICES.len()], Failure> {
    let mut databases = Vec::new();
    for service in &SERVICES {
        databases.push(service.database(home)?);
    }
    let are_published = &AtomicBool::new(false);
    let ended: Vec<Database> = thread::scope(|scope| {
        let work = |(service, database)| {
            let die_after = DieAfter::new(options.abort_after);
            scope.spawn(move || service::work(service, broker, database, are_published, die_after))
        };
        let services: Vec<_> = SERVICES.iter().zip(databases).map(work).collect();
        let published = retail::publish(broker, orders, options.source.pause());
        are_published.store(true, Ordering::Release);
        let ended: Result<_, Failure> = services.into_iter().map(joined).collect();
        println!("{} orders published of {}", published?, orders.len());
        ended
    })?;
    ended.try_into().map_err(|_| "each service has a database".into())
}
