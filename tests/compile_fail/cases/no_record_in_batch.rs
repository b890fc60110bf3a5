//! A batch consists of pairs, or of records; the message says so.

use ottla::Producer;

fn send(producer: &Producer<String, u64>) {
    producer.send_batch([200]).unwrap();
}

fn main() {}
