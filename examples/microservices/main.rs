//! Microservices that know nothing of each other but names of topics: the shop takes orders, the inventory
//! reserves pieces or rejects, shipping ships, and a desk knows how each order stands.
//!
//! ```text
//! shop → [orders] → inventory → [inventory] → shipping → [shipments]
//!            └───────────────────────┴───────────────────────┴→ desk → [order-states], compacted
//! ```
//!
//! Nobody waits for an answer, and nobody coordinates. In the middle of the day the inventory is taken down:
//! the shop goes on, 500 orders wait in the log, and when the inventory is back it works them off. What comes
//! out is what would have come out without the interruption.
//!
//! Each service handles every event at least once, and is made so that handling it again changes nothing: it
//! looks whether its own topic has an answer to this event already. So anything may be killed at any moment.
//!
//! Run it: `cargo run --release --example microservices`, or with `-- --data-dir DIR` to keep the log; kill
//! it at any moment, run it again, and it goes on. `--input FILE` reads orders (CloudEvents 1.0 in JSON, one
//! a line, with `product`, `quantity` and `customer` as their data), `--write FILE` writes the invented ones.
//!
//! It prints what waited and how long sends took, and ends with `OK microservices …`: `waited` orders lay in
//! the log while the inventory was down, and `views_equal` says that the desk's view is the same from its
//! compacted topic, from all events, and from a plain calculation over the orders.
//! Read next: `inventory.rs`, then `service.rs`; and `company_hub`, where areas share what they know.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod desk;
mod event;
mod expected;
mod generate;
mod inventory;
mod service;
mod shipping;
mod shop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use common::{Failure, expect, finish};
use ottla::{Broker, Compaction, TopicConfig};

use crate::event::{Event, Order};
use crate::expected::Expected;
use crate::service::records_in;
use crate::shop::Shop;

const ORDERS: &str = "orders";
const INVENTORY: &str = "inventory";
const SHIPMENTS: &str = "shipments";
const STATES: &str = "order-states";

const PARTITIONS: u32 = 4;
/// Of bytes in memory, and as good as none: a topic keeps everything there, as it does in a directory.
const NO_LIMIT: u64 = 1 << 40;
/// So many orders come while the inventory is down.
const OUTAGE: usize = 500;

/// Services that know only topics; one fails and catches up.
#[derive(Parser)]
struct Options {
    /// Orders as CloudEvents 1.0 in JSON, one a line, instead of invented ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "orders", "write"])]
    input: Option<PathBuf>,
    /// Keep the log in this directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Invent other orders
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Invent so many orders
    #[arg(long, value_name = "N", default_value_t = 3_000)]
    orders: usize,
    /// Also write the invented orders to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Pieces of each product, before the first order
    #[arg(long, value_name = "N", default_value_t = 140)]
    stock: u64,
}

/// What happened while the inventory was down.
struct Outage {
    waited: u64,
    caught_up: u64,
}

fn main() -> ExitCode {
    finish("microservices", run(&Options::parse()))
}

fn run(options: &Options) -> Result<String, Failure> {
    let orders = orders(options)?;
    let broker = open(options)?;
    let outage = trade(&broker, &orders, options.stock)?;
    let seen = check(&broker, &Expected::of(&orders, options.stock), &outage)?;
    broker.close()?;
    Ok(format!("orders={} {seen}", orders.len()))
}

fn orders(options: &Options) -> Result<Vec<Event<Order>>, Failure> {
    if let Some(file) = &options.input {
        return event::read(file);
    }
    let orders = generate::orders(options.seed, options.orders);
    if let Some(file) = &options.write {
        event::write(file, &orders)?;
    }
    Ok(orders)
}

fn open(options: &Options) -> Result<Broker, Failure> {
    let broker = match &options.data_dir {
        Some(dir) => Broker::open(dir)?,
        None => Broker::in_memory(),
    };
    let config = TopicConfig::new().partitions(PARTITIONS).memory_limit(NO_LIMIT);
    for topic in [ORDERS, INVENTORY, SHIPMENTS] {
        broker.open_topic(topic, config.clone())?;
    }
    // Small segments, since the one that is written to is not compacted.
    let latest = Compaction::by_key().min_dirty_percent(1);
    broker.open_topic(STATES, config.compaction(latest).segment_bytes(16 << 10))?;
    Ok(broker)
}

/// Runs the services and sends what the log lacks of the orders, with an outage of the inventory in the
/// middle.
fn trade(broker: &Broker, orders: &[Event<Order>], stock: u64) -> Result<Outage, Failure> {
    let lacking = shop::lacking(broker, orders)?;
    thread::scope(|scope| {
        let outage: Result<Outage, Failure> = (|| {
            let others = [shipping::start(scope, broker)?, desk::start(scope, broker)?];
            let outage = with_an_outage(broker, lacking, || inventory::start(scope, broker, stock))?;
            for service in others {
                service.catch_up(broker)?.stop()?;
            }
            Ok(outage)
        })();
        // If that failed, closing ends the services that are still up.
        let ended = if outage.is_err() { broker.close() } else { Ok(()) };
        let outage = outage?;
        ended?;
        Ok(outage)
    })
}

fn with_an_outage<'scope>(
    broker: &Broker,
    orders: &[Event<Order>],
    start: impl Fn() -> Result<service::Service<'scope>, Failure>,
) -> Result<Outage, Failure> {
    let mut shop = Shop::open(broker, orders.len())?;
    let down = orders.len().min(OUTAGE);
    let (before, others) = orders.split_at((orders.len() - down) / 2);
    let (meanwhile, after) = others.split_at(down);

    let inventory = start()?;
    let up = shop.send(before)?;
    inventory.catch_up(broker)?.stop()?;

    let answered = records_in(broker, INVENTORY)?;
    let alone = shop.send(meanwhile)?;
    let waited = broker.lag(inventory::GROUP, ORDERS)?;
    expect("acknowledged while the inventory was down", alone.acknowledged(), down as u64)?;
    expect("orders that wait", waited, down as u64)?;
    expect("answers of an inventory that is down", records_in(broker, INVENTORY)? - answered, 0)?;

    let inventory = start()?.catch_up(broker)?;
    let caught_up = waited - broker.lag(inventory::GROUP, ORDERS)?;
    expect("orders worked off afterwards", caught_up, waited)?;
    if waited > 0 {
        println!("a send took {} with all services up", up.summary());
        println!("            {} while the inventory was down; {waited} orders waited", alone.summary());
    }
    shop.send(after)?;
    inventory.catch_up(broker)?.stop()?;
    Ok(Outage { waited, caught_up })
}

/// Compares how the orders stand with what must be.
fn check(broker: &Broker, expected: &Expected, outage: &Outage) -> Result<String, Failure> {
    let sent = records_in(broker, STATES)?;
    broker.run_housekeeping()?;
    let (compacted, events) = (desk::from_compacted(broker)?, desk::from_events(broker)?);
    let (rows, kept) = (compacted.len(), desk::kept(broker)?);
    println!(
        "{sent} states were sent; compaction has left {kept} of them, which make a view of {rows} orders"
    );
    let views_equal = compacted == events && events == expected.states;
    if !views_equal {
        let wrong = expected.differences(&compacted).max(expected.differences(&events));
        let hint = "was the directory made with another --stock?";
        return Err(format!("{wrong} orders do not stand as they must; {hint}").into());
    }
    expect("answers of the inventory", records_in(broker, INVENTORY)?, expected.states.len() as u64)?;
    expect("shipments", records_in(broker, SHIPMENTS)?, expected.shipped())?;
    Ok(format!(
        "shipped={} rejected={} waited={} caught_up={} views_equal={views_equal}",
        expected.shipped(),
        expected.rejected(),
        outage.waited,
        outage.caught_up,
    ))
}
