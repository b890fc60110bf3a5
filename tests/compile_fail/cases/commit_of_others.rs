//! A consumer commits records of its own codecs only.

use ottla::{Consumer, Records};

fn commit(consumer: &Consumer<String, u64>, records: &Records<String, String>) {
    consumer.commit(records).unwrap();
}

fn main() {}
