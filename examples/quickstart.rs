//! The first steps: a topic, a producer, a consumer, and a group that remembers how far it has come.
//!
//! Run it: `cargo run --release --example quickstart`, or with `-- --data-dir DIR` to keep the topic in a
//! directory; then run it again, and see it go on where it was.
//! It prints each payment that the group has not seen yet, and `OK quickstart …`.
//! Read next: `workers`, a group whose members share the work; then `exchange`, with real market data.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::process::ExitCode;
use std::time::Duration;

use ottla::{Broker, Result, TopicConfig};

const PAYMENTS: [(&str, &str); 4] = [
    ("alice", "Made a payment of $200 to Bob"),
    ("bob", "Made a payment of $50 to Carol"),
    ("alice", "Made a payment of $10 to Dave"),
    ("carol", "Made a payment of $5 to Alice"),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let opened = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(Broker::in_memory()),
        ["--data-dir", dir] => Broker::open(dir),
        _ => {
            eprintln!("usage: quickstart [--data-dir DIR]");
            return ExitCode::from(2);
        }
    };
    match opened.and_then(|broker| run(&broker)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("quickstart: the group did not receive each payment once and in order");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the payments and reads them as a group; whether each arrived once and in order.
fn run(broker: &Broker) -> Result<bool> {
    // Kept if it is there already.
    broker.open_topic("payments", TopicConfig::new().partitions(4))?;

    // The type parameters are the codecs of key and value: `String` takes `&str`.
    let producer = broker.producer::<String, String>("payments")?;
    let mut sent = Vec::new();
    for (payer, payment) in PAYMENTS {
        let at = producer.send(payer, payment)?;
        sent.push((at.partition, at.offset, payment.to_owned()));
    }

    let mut consumer = broker.consumer::<String, String>().topic("payments").group("ledger").build()?;
    let mut received = Vec::new();
    while consumer.lag() > 0 {
        let records = consumer.poll(Duration::from_millis(100))?;
        for record in &records {
            let (partition, offset) = (record.partition(), record.offset());
            println!("payments-{partition} offset {offset}: {} {}", record.key()?, record.value()?);
            received.push((partition, offset, record.value()?.to_owned()));
        }
        // The next run of the group begins after these.
        consumer.commit(&records)?;
    }

    let unread = received.len();
    let total: u64 = consumer.end_offsets().values().sum();
    sent.sort();
    received.sort();
    broker.close()?;
    println!("OK quickstart sent={} received={unread} in_topic={total}", sent.len());
    Ok(received.ends_with(&sent) || sent == received)
}
