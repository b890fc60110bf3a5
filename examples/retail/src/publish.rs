//! Brings the topic up to the file: a run that was killed goes on with what the log lacks.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use common::{Failure, Progress};
use ottla::{Broker, Json, TopicConfig};

use crate::Order;

/// The topic of the orders. The key is the customer: the orders of each stay in sequence.
pub const ORDERS: &str = "orders";

const PARTITIONS: u32 = 4;
/// In memory a topic drops what is beyond its limit. This is more than the largest file.
const MEMORY_LIMIT_BYTES: u64 = 4 << 30;

/// Publishes the orders that the topic lacks, with a pause after each; how many. What it holds must be a
/// beginning, customer by customer, of these orders, or it is another file's.
pub fn publish(broker: &Broker, orders: &[Order], pause: Duration) -> Result<u64, Failure> {
    let lacking = lacking(broker, orders)?;
    let producer = broker.producer::<String, Json<Order>>(ORDERS)?;
    let mut progress = Progress::new("orders published", lacking.len() as u64);
    for order in &lacking {
        producer.send(&order.customer, order)?;
        progress.add(1);
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
    Ok(lacking.len() as u64)
}

impl Order {
    /// Opens the topic of the orders.
    pub fn open_topic(broker: &Broker) -> Result<(), Failure> {
        let config = TopicConfig::new().partitions(PARTITIONS).memory_limit(MEMORY_LIMIT_BYTES);
        Ok(broker.open_topic(ORDERS, config).map(drop)?)
    }
}

fn lacking<'a>(broker: &Broker, orders: &'a [Order]) -> Result<Vec<&'a Order>, Failure> {
    let mut held: HashMap<String, Vec<Order>> = HashMap::new();
    let mut consumer = broker.consumer::<String, Json<Order>>().assign(ORDERS, 0..PARTITIONS).build()?;
    while consumer.lag() > 0 {
        for record in &consumer.poll(Duration::ZERO)? {
            held.entry(record.key()?.to_owned()).or_default().push(record.value()?);
        }
    }
    let mut held: HashMap<_, _> = held.into_iter().map(|(key, orders)| (key, orders.into_iter())).collect();
    let mut lacking = Vec::new();
    for order in orders {
        match held.get_mut(&order.customer).and_then(Iterator::next) {
            Some(held) if held == *order => {}
            Some(held) => return Err(other_file(&held)),
            None => lacking.push(order),
        }
    }
    match held.into_values().find_map(|mut rest| rest.next()) {
        Some(order) => Err(other_file(&order)),
        None => Ok(lacking),
    }
}

fn other_file(order: &Order) -> Failure {
    format!("the log is of another input: it holds the order {} of {}", order.invoice, order.customer).into()
}
