//! The shop: puts orders into the log, and has the log's word for each. It knows of no other service.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::{Failure, Progress};
use ottla::{Broker, Json, Producer};

use crate::ORDERS;
use crate::event::{Event, Order};
use crate::service::records_in;

pub(crate) struct Shop {
    producer: Producer<String, Json<Event<Order>>>,
    progress: Progress,
}

/// How long sends took.
pub(crate) struct Latencies(Vec<Duration>);

impl Shop {
    pub(crate) fn open(broker: &Broker, lacking: usize) -> Result<Self, Failure> {
        Ok(Self { producer: broker.producer(ORDERS)?, progress: Progress::new("orders", lacking as u64) })
    }

    /// Sends orders, one after the other: when `send` returns, the order is as safe as the topic promises.
    ///
    /// The key is the product. So all orders of a product are in one partition, in the order in which they
    /// were sent, and that decides who gets the last piece: whatever service is up or down, and for how long.
    pub(crate) fn send(&mut self, orders: &[Event<Order>]) -> Result<Latencies, Failure> {
        let mut latencies = Vec::with_capacity(orders.len());
        for order in orders {
            let begun = Instant::now();
            self.producer.send(&order.data.product, order)?;
            latencies.push(begun.elapsed());
            self.progress.add(1);
        }
        Ok(Latencies(latencies))
    }
}

impl Latencies {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.0.len() as u64
    }

    /// The median, and what 99 of 100 sends were quicker than.
    pub(crate) fn summary(mut self) -> String {
        self.0.sort_unstable();
        let at = |percent: usize| self.0.get(self.0.len() * percent / 100).copied().unwrap_or_default();
        format!("{:.1?}, 99 % below {:.1?}", at(50), at(99))
    }
}

/// The orders that the log lacks: an earlier run may have died while it was sending. Since each was
/// acknowledged before the next one was sent, what is there is the first part of all.
pub(crate) fn lacking<'a>(
    broker: &Broker,
    orders: &'a [Event<Order>],
) -> Result<&'a [Event<Order>], Failure> {
    let there = records_in(broker, ORDERS)? as usize;
    let is_ours = there <= orders.len() && holds(broker, &orders[..there])?;
    if is_ours {
        Ok(&orders[there..])
    } else {
        Err("the log holds other orders than these: was the directory made with another --input or --seed?"
            .into())
    }
}

/// Whether the topic holds just these orders.
fn holds(broker: &Broker, orders: &[Event<Order>]) -> Result<bool, Failure> {
    let mut counts: HashMap<Vec<u8>, i64> = HashMap::new();
    for order in orders {
        *counts.entry(serde_json::to_vec(order)?).or_default() += 1;
    }
    let mut consumer = broker.consumer::<String, Json<Event<Order>>>().topic(ORDERS).build()?;
    while consumer.lag() > 0 {
        for record in &consumer.poll(Duration::from_secs(1))? {
            let bytes = record.value_bytes().unwrap_or_default();
            *counts.entry(bytes.to_vec()).or_default() -= 1;
        }
    }
    Ok(counts.values().all(|&count| count == 0))
}
