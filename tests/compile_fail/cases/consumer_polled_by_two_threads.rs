//! One consumer cannot be polled by two threads at once.

use std::thread;
use std::time::Duration;

use ottla::Consumer;

fn poll(mut consumer: Consumer<String, u64>) {
    thread::scope(|scope| {
        scope.spawn(|| consumer.poll(Duration::ZERO));
        scope.spawn(|| consumer.poll(Duration::ZERO));
    });
}

fn main() {}
