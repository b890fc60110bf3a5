//! The services: what each makes of an order, and how it gets into its database exactly once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Failure;
use database::kills::DieAfter;
use database::{Database, Home, Transaction};
use ottla::{Broker, Json, Sink};
use retail::{Kind, ORDERS, Order};

/// In one transaction at most.
const BATCH_RECORDS: usize = 100;
const PATIENCE: Duration = Duration::from_millis(10);

/// How many orders each service was given. It adds up, as do the services' own tables: what came twice would
/// show.
const RECEIVED: &str =
    "CREATE TABLE IF NOT EXISTS received (service TEXT PRIMARY KEY, orders BIGINT NOT NULL)";

/// A service: a group of the topic with a table.
pub(crate) struct Service {
    /// The name of its group.
    pub(crate) name: &'static str,
    table: &'static str,
    /// Puts into the table what an order leads to.
    land: fn(&mut Transaction<'_>, &Order) -> Result<(), Failure>,
    /// Rows of the table to be compared: a text and a number each.
    pub(crate) rows: &'static str,
    /// The same rows, of all orders at once.
    pub(crate) expected: fn(&[Order]) -> BTreeMap<String, i64>,
}

pub(crate) const SERVICES: [Service; 3] = [
    Service {
        name: "inventory",
        table: "CREATE TABLE IF NOT EXISTS stock (product TEXT PRIMARY KEY, level BIGINT NOT NULL)",
        land: take_from_stock,
        rows: "SELECT product, level FROM stock",
        expected: stock,
    },
    Service {
        name: "payment",
        table: "CREATE TABLE IF NOT EXISTS owed (customer TEXT PRIMARY KEY, amount BIGINT NOT NULL)",
        land: charge,
        rows: "SELECT customer, amount FROM owed",
        expected: owed,
    },
    Service {
        name: "notification",
        table: "CREATE TABLE IF NOT EXISTS mails (customer TEXT, invoice TEXT, subject TEXT)",
        land: notify,
        rows: "SELECT invoice, COUNT(*) FROM mails GROUP BY invoice",
        expected: mails,
    },
];

impl Service {
    /// The service's connection to the database, with its tables.
    pub(crate) fn database(&self, home: &Home) -> Result<Database, Failure> {
        let mut database = home.database()?;
        database.execute(RECEIVED, &[])?;
        database.execute(self.table, &[])?;
        Ok(database)
    }
}

/// Lands orders until all are published and landed. The sink keeps what a transaction holds and how far the
/// topic was read together, so a killed run leaves neither half an order nor one that is landed again.
pub(crate) fn work(
    service: &Service,
    broker: &Broker,
    database: Database,
    are_published: &AtomicBool,
    mut die_after: DieAfter,
) -> Result<Database, Failure> {
    let builder = broker.consumer::<String, Json<Order>>().topic(ORDERS).group(service.name);
    let mut sink = Sink::new(builder.max_records(BATCH_RECORDS).build()?, database)?;
    loop {
        // Asked before landing: what comes in between is landed in the next round.
        let is_all_there = are_published.load(Ordering::Acquire);
        let landed = sink.land(PATIENCE, |transaction, records| {
            for record in records {
                (service.land)(transaction, &record.value()?)?;
                die_after.step();
            }
            count(transaction, service, records.len())
        })?;
        if is_all_there && landed == 0 {
            return Ok(sink.into_parts().1);
        }
    }
}

fn count(transaction: &mut Transaction<'_>, service: &Service, orders: usize) -> Result<(), Failure> {
    let sql = "INSERT INTO received (service, orders) VALUES ($1, $2) \
               ON CONFLICT (service) DO UPDATE SET orders = received.orders + excluded.orders";
    transaction.execute(sql, &[service.name.into(), i64::try_from(orders)?.into()]).map(drop)
}

/// Levels are counted from what was there at first: below zero is what went out.
fn take_from_stock(transaction: &mut Transaction<'_>, order: &Order) -> Result<(), Failure> {
    let sql = "INSERT INTO stock (product, level) VALUES ($1, $2) \
               ON CONFLICT (product) DO UPDATE SET level = stock.level + excluded.level";
    for line in &order.lines {
        transaction.execute(sql, &[line.product.as_str().into(), (-line.quantity).into()])?;
    }
    Ok(())
}

fn stock(orders: &[Order]) -> BTreeMap<String, i64> {
    let mut levels = BTreeMap::new();
    for line in orders.iter().flat_map(|order| &order.lines) {
        *levels.entry(line.product.clone()).or_default() -= line.quantity;
    }
    levels
}

fn charge(transaction: &mut Transaction<'_>, order: &Order) -> Result<(), Failure> {
    if order.kind() == Kind::Adjustment {
        return Ok(());
    }
    let sql = "INSERT INTO owed (customer, amount) VALUES ($1, $2) \
               ON CONFLICT (customer) DO UPDATE SET amount = owed.amount + excluded.amount";
    transaction.execute(sql, &[order.customer.as_str().into(), order.total().into()]).map(drop)
}

fn owed(orders: &[Order]) -> BTreeMap<String, i64> {
    let mut owed = BTreeMap::new();
    for order in orders.iter().filter(|order| order.kind() != Kind::Adjustment) {
        *owed.entry(order.customer.clone()).or_default() += order.total();
    }
    owed
}

/// A mail that is to go out. What sends mails takes them from the table, for a mail cannot be rolled back.
fn notify(transaction: &mut Transaction<'_>, order: &Order) -> Result<(), Failure> {
    let subject = match order.kind() {
        Kind::Sale => format!("Your order of {} things", order.units()),
        Kind::Cancellation => format!("We take back {} things", -order.units()),
        Kind::Adjustment => return Ok(()),
    };
    let sql = "INSERT INTO mails (customer, invoice, subject) VALUES ($1, $2, $3)";
    let values = [order.customer.as_str().into(), order.invoice.as_str().into(), subject.into()];
    transaction.execute(sql, &values).map(drop)
}

fn mails(orders: &[Order]) -> BTreeMap<String, i64> {
    let ordered = orders.iter().filter(|order| order.kind() != Kind::Adjustment);
    ordered.map(|order| (order.invoice.clone(), 1)).collect()
}
