//! The program: a shop takes orders, a till answers each with a receipt, an accountant adds them up. Three
//! loops that wait for each other through two topics, on however many threads the runtime has.

use futures_lite::StreamExt;
use futures_lite::future::try_zip;
use ottla::{Broker, Delivery, Result, TopicConfig};

const ORDERS: u64 = 10_000;

/// What came out; the same on every runtime.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) orders: u64,
    pub(crate) receipts: u64,
    pub(crate) total: u64,
}

/// Runs the three side by side until every order has its receipt.
pub(crate) async fn run(broker: Broker) -> Result<Summary> {
    for topic in ["orders", "receipts"] {
        // A directory may hold an earlier run.
        if broker.list_topics().iter().any(|name| name == topic) {
            broker.delete_topic(topic)?;
        }
        broker.create_topic(topic, TopicConfig::new().partitions(2))?;
    }
    let till = till(broker.clone());
    let accountant = accountant(broker.clone());
    let (orders, ((), (receipts, total))) = try_zip(shop(broker), try_zip(till, accountant)).await?;
    Ok(Summary { orders, receipts, total })
}

/// Sends orders without waiting for each one, then waits for all.
async fn shop(broker: Broker) -> Result<u64> {
    let producer = broker.producer::<u64, u64>("orders")?;
    let mut deliveries: Vec<Delivery> = Vec::new();
    for number in 0..ORDERS {
        let price = number % 100;
        deliveries.push(producer.enqueue(number, price)?);
    }
    let mut acknowledged = 0;
    for delivery in deliveries {
        delivery.await?;
        acknowledged += 1;
    }
    Ok(acknowledged)
}

/// Reads orders as a stream, and sends a receipt for each.
async fn till(broker: Broker) -> Result<()> {
    let receipts = broker.producer::<u64, u64>("receipts")?;
    let mut consumer = broker.consumer::<u64, u64>().topic("orders").group("till").build()?;
    let mut orders = consumer.stream();
    let mut answered = 0;
    while answered < ORDERS
        && let Some(records) = orders.next().await
    {
        let records = records?;
        for order in &records {
            receipts.send_async(order.key()?, order.value()? + 1).await?;
            answered += 1;
        }
        orders.consumer().commit_async(&records).await?;
    }
    Ok(())
}

/// Adds up the receipts.
async fn accountant(broker: Broker) -> Result<(u64, u64)> {
    let mut consumer = broker.consumer::<u64, u64>().topic("receipts").build()?;
    let (mut receipts, mut total) = (0, 0);
    while receipts < ORDERS {
        for receipt in &consumer.next_records().await? {
            receipts += 1;
            total += receipt.value()?;
        }
    }
    Ok((receipts, total))
}
