//! Records keep their codecs.

use ottla::{Consumer, Records};

fn poll(consumer: &mut Consumer<String, u64>) -> Records<String, String> {
    consumer.poll(std::time::Duration::ZERO).unwrap()
}

fn main() {}
