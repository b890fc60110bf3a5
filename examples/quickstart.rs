//! The first steps, as in the README: a topic, a producer, a consumer, and a group that remembers how far it
//! has come.
//!
//! Run it: `cargo run --release --example quickstart`, or with `-- --data-dir DIR` to keep the topic in a
//! directory; then run it again, and see it go on where it was.
//! It prints each payment that the group has not seen yet, and `OK quickstart …`.
//! Read next: `terms`, what the words mean; `workers`, a group whose members share the work.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::process::ExitCode;
use std::time::Duration;

use ottla::{Broker, Result, TopicConfig};

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
            eprintln!("quickstart: the group did not receive each payment");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends two payments and reads as a group; whether what was sent last is among what it had not seen.
fn run(broker: &Broker) -> Result<bool> {
    // Kept if it is there already.
    broker.open_topic("payments", TopicConfig::new().partitions(4))?;

    // The type parameters are the codecs of key and value: `String` takes `&str`.
    let producer = broker.producer::<String, u64>("payments")?;
    let sent = [producer.send("alice", 200)?, producer.send("bob", 50)?];

    let mut consumer = broker.consumer::<String, u64>().topic("payments").group("ledger").build()?;
    let records = consumer.poll(Duration::from_millis(100))?;
    for record in &records {
        println!("{} paid {}, at offset {}", record.key()?, record.value()?, record.offset());
    }
    // The next run of the group begins after these.
    consumer.commit(&records)?;

    let is_there = |at: &ottla::RecordMetadata| {
        records.iter().any(|record| (record.partition(), record.offset()) == (at.partition, at.offset))
    };
    let total: u64 = consumer.end_offsets().values().sum();
    println!("OK quickstart sent={} received={} in_topic={total}", sent.len(), records.len());
    broker.close()?;
    Ok(sent.iter().all(is_there))
}
