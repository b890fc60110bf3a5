//! A record borrows from the records of its poll.

use std::time::Duration;

use ottla::{Consumer, Record};

fn first(consumer: &mut Consumer<String, u64>) -> Record<'_, String, u64> {
    let records = consumer.poll(Duration::ZERO).unwrap();
    records.iter().next().unwrap()
}

fn main() {}
