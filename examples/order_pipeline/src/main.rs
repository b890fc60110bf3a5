//! Orders on their way through several topics into a database: `orders` → `inventory` → `shipments` → a
//! table. Each stage is a group that reads one topic and writes another; it knows their names and nothing
//! else. They may be killed at any moment, and in the table each order is there once.
//!
//! How that comes about: a stage sends what it made, and commits then. Killed in between, it does so again:
//! it forwards **at least once**, and a topic may hold the same event twice. So each event carries where its
//! order lies in `orders`, partition and offset, in a header; that does not change, however often it is
//! made. In the table it is the key, so what comes twice is found there and left out: **exactly once**. See
//! `stage.rs` and `landing.rs`.
//!
//! Run it: `cargo run --release -p order_pipeline`. `-- --kills 8` kills it eight times, at random moments,
//! and then looks at the result. `--input FILE` reads real orders (Online Retail II, see `orders`),
//! `--data-dir DIR` keeps log and database. The database is SQLite, or PostgreSQL if `DATABASE_URL` is set.
//!
//! It ends with `OK order_pipeline orders=.. landed=.. … forwarded_twice=.. removed=.. missing=0 duplicates=0
//! ..`, where `forwarded_twice` are events that the topics hold again, and `removed` those of
//! them that came as far as the table and were left out there.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod check;
mod event;
mod landing;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use common::{Failure, joined};
use database::kills::DieAfter;
use database::{Database, Home};
use ottla::{Broker, TopicConfig};
use retail::{ORDERS, Order, Source};

use crate::event::{Picked, Shipment};
use crate::landing::land;
use crate::stage::{Done, Stage};

const INVENTORY: &str = "inventory";
const SHIPMENTS: &str = "shipments";
const PARTITIONS: u32 = 4;
/// In memory a topic drops what is beyond its limit. This is more than the largest file.
const MEMORY_LIMIT_BYTES: u64 = 4 << 30;

/// Orders on their way through several topics into a database
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
    common::finish("order_pipeline", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let orders = options.source.orders()?;
    let home = Home::new("order_pipeline", options.data_dir.as_deref(), options.kills > 0)?;
    let kills = home.torment(options.kills, options.source.seed, orders.len() as u64)?;
    let broker = home.broker()?;
    open_topics(&broker)?;
    let mut database = flow(&broker, home.database()?, &orders, options)?;
    let seen = check::check(&broker, &mut database, &orders)?;
    broker.close()?;
    drop(database);
    home.leave()?;
    Ok(format!("{seen} kills={}", kills.total()))
}

fn open_topics(broker: &Broker) -> Result<(), Failure> {
    Order::open_topic(broker)?;
    for topic in [INVENTORY, SHIPMENTS] {
        let config = TopicConfig::new().partitions(PARTITIONS).memory_limit(MEMORY_LIMIT_BYTES);
        broker.open_topic(topic, config)?;
    }
    Ok(())
}

/// Publishes the orders, while all stages work, until everything is in the database.
fn flow(
    broker: &Broker,
    database: Database,
    orders: &[Order],
    options: &Options,
) -> Result<Database, Failure> {
    let picking = Stage { group: "picking", from: ORDERS, to: INVENTORY };
    let packing = Stage { group: "packing", from: INVENTORY, to: SHIPMENTS };
    let (ordered, picked, packed) = (&Done::default(), &Done::default(), &Done::default());
    // If the program is to be killed, then by one of the three in the middle of its work.
    let dies = |number| DieAfter::new(options.abort_after.filter(|records| records % 3 == number));
    let (first, second, third) = (dies(0), dies(1), dies(2));
    thread::scope(|scope| {
        let picking = scope.spawn(move || picking.run(broker, ordered, picked, first, Picked::of));
        let packing = scope.spawn(move || packing.run(broker, picked, packed, second, Shipment::of));
        let landing = scope.spawn(move || land(broker, database, packed, third));
        let published = retail::publish(broker, orders, options.source.pause());
        ordered.set();
        let (picking, packing, landing) = (joined(picking), joined(packing), joined(landing));
        println!("{} orders published of {}", published?, orders.len());
        println!("{} picked, {} packed in this run", picking?, packing?);
        landing
    })
}
