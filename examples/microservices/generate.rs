//! A day of orders, invented: some products are wanted more than others, and a shop that was not sure whether
//! its event had arrived has sent it again.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::Map;

use crate::event::{Event, Order, PLACED};

const PRODUCTS: usize = 60;
const CUSTOMERS: u32 = 500;
/// One of so many orders is sent twice.
const SENT_TWICE: usize = 100;
/// 2026-03-02, 08:00 UTC.
const OPENING_SECONDS: i64 = 1_772_438_400;

/// So many events, repeated ones among them.
pub(crate) fn orders(seed: u64, count: usize) -> Vec<Event<Order>> {
    let mut rng = Rng::with_seed(seed);
    let mut time = Timestamp::from_second(OPENING_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut orders: Vec<Event<Order>> = Vec::with_capacity(count);
    while orders.len() < count {
        let is_again = !orders.is_empty() && rng.usize(..SENT_TWICE) == 0;
        if is_again {
            let recent = rng.usize(..orders.len().min(20));
            orders.push(orders[orders.len() - 1 - recent].clone());
        } else {
            time += SignedDuration::from_millis(rng.i64(200..20_000));
            orders.push(order(&mut rng, orders.len(), time));
        }
    }
    orders
}

fn order(rng: &mut Rng, number: usize, time: Timestamp) -> Event<Order> {
    // The square makes the first products the popular ones.
    let product = (rng.f64() * rng.f64() * PRODUCTS as f64) as usize;
    Event {
        specversion: "1.0".to_owned(),
        id: format!("order-{number:06}"),
        source: "/shop".to_owned(),
        kind: PLACED.to_owned(),
        subject: None,
        time: Some(time.to_string()),
        data: Order {
            product: format!("product-{product:02}"),
            quantity: rng.u64(1..=3),
            customer: format!("customer-{:03}", rng.u32(..CUSTOMERS)),
        },
        others: Map::new(),
    }
}
