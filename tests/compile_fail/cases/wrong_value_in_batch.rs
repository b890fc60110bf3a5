//! So does a batch.

use ottla::Producer;

fn send(producer: &Producer<String, u64>) {
    producer.send_batch([("alice", "200")]).unwrap();
}

fn main() {}
