//! A producer takes what its codecs take.

use ottla::Producer;

fn send(producer: &Producer<String, u64>) {
    producer.send("alice", "200").unwrap();
}

fn main() {}
