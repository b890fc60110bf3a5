//! What a codec yields from the log's memory borrows from the records of its poll.

use std::time::Duration;

use ottla::Consumer;

fn first(consumer: &mut Consumer<String, String>) -> &str {
    let records = consumer.poll(Duration::ZERO).unwrap();
    records.iter().next().unwrap().value().unwrap()
}

fn main() {}
