//! The last word: compares the table with what a loop over the orders computes, and the topics with both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Failure, expect};
use database::Database;
use ottla::{Broker, Json};
use retail::{ORDERS, Order};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::{Picked, Shipment};
use crate::landing::{removed, shipments};
use crate::stage::source_of;
use crate::{INVENTORY, SHIPMENTS};

/// Compares; what there was to see.
pub(crate) fn check(broker: &Broker, database: &mut Database, orders: &[Order]) -> Result<String, Failure> {
    let all = orders.len();
    let landed = shipments(database)?;
    let (missing, duplicates) = differences(&landed, orders);
    expect("orders that are not in the table as they should", missing, 0)?;
    expect("orders that are in the table again, or should not be", duplicates, 0)?;

    let held = [
        held::<Order>(broker, ORDERS)?,
        held::<Picked>(broker, INVENTORY)?,
        held::<Shipment>(broker, SHIPMENTS)?,
    ];
    for (topic, held) in [ORDERS, INVENTORY, SHIPMENTS].iter().zip(&held) {
        println!("{topic:10} holds {} events of {} orders", held.records, held.orders);
        expect("orders of which a topic holds an event", held.orders, all)?;
    }
    let [_, inventory, shipments] = held.map(|held| held.records - held.orders);
    let removed = removed(database)?;
    expect("repeats that the table left out", removed, shipments as u64)?;

    let parcels: u64 = landed.iter().map(|shipment| shipment.parcels).sum();
    Ok(format!(
        "orders={all} landed={} parcels={parcels} forwarded_twice={inventory}+{shipments} removed={removed} \
         missing={missing} duplicates={duplicates} database={}",
        landed.len(),
        database.name()
    ))
}

/// What is missing in the table, and what is there too often.
fn differences(landed: &[Shipment], orders: &[Order]) -> (i64, i64) {
    let mut times: BTreeMap<Shipment, i64> = BTreeMap::new();
    for order in orders {
        *times.entry(Shipment::of(&Picked::of(order))).or_default() -= 1;
    }
    for shipment in landed {
        *times.entry(shipment.clone()).or_default() += 1;
    }
    let (below, above): (Vec<i64>, _) = times.into_values().partition(|times| *times < 0);
    (-below.into_iter().sum::<i64>(), above.into_iter().sum())
}

struct Held {
    records: usize,
    /// Different ones.
    orders: usize,
}

/// What a topic holds, from its first offset on: it is not used up by reading.
fn held<T: Serialize + DeserializeOwned + 'static>(broker: &Broker, topic: &str) -> Result<Held, Failure> {
    let mut reader = broker.consumer::<String, Json<T>>().topic(topic).build()?;
    let shortened = reader.beginning_offsets().values().filter(|offset| **offset > 0).count();
    expect("partitions that have lost their first events", shortened, 0)?;
    let mut sources = BTreeSet::new();
    let mut records = 0;
    while reader.lag() > 0 {
        for record in &reader.poll(Duration::ZERO)? {
            sources.insert(source_of(&record)?);
            records += 1;
        }
    }
    Ok(Held { records, orders: sources.len() })
}
