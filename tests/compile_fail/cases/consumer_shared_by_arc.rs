//! A consumer behind an `Arc` cannot be polled: reading takes `&mut self`.

use std::sync::Arc;
use std::time::Duration;

use ottla::Consumer;

fn poll(consumer: Arc<Consumer<String, u64>>) {
    consumer.poll(Duration::ZERO).unwrap();
}

fn main() {}
