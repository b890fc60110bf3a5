//! What opening a directory costs: after a close, when everything is known to be synced; after a crash, when
//! the last segments are read again; and when every record is verified.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ottla::{Broker, BrokerBuilder, Raw, TopicConfig};

const PARTITIONS: u32 = 100;
/// In four segments each.
const PARTITION_BYTES: usize = 1 << 20;
const VALUE: [u8; 1_000] = [7; 1_000];

fn fill(dir: &Path) {
    let broker = Broker::open(dir).expect("the directory is empty");
    let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(PARTITION_BYTES as u64 / 4);
    broker.create_topic("bench", config).expect("it is new");
    let producer = broker.producer::<Raw, Raw>("bench").expect("it was just made");
    for partition in 0..PARTITIONS {
        let batch = (0..PARTITION_BYTES / VALUE.len()).map(|_| producer.record(&VALUE).partition(partition));
        for record in batch {
            record.enqueue().expect("there is room").detach();
        }
        producer.flush().expect("there is room");
    }
    broker.close().expect("it is all synced");
}

/// Opens and closes; how many bytes were read.
fn open(builder: BrokerBuilder) -> u64 {
    let broker = builder.open().expect("it is whole");
    assert!(broker.recovery_report().damaged.is_empty());
    let scanned = broker.recovery_report().scanned_bytes;
    broker.close().expect("nothing was changed");
    scanned
}

fn open_all(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    fill(dir.path());
    let builder = || Broker::builder().data_dir(dir.path());
    // A crash leaves the checkpoint of the opening before, which says nothing of what came later.
    let crash = || std::fs::remove_file(dir.path().join("checkpoint")).expect("it was closed");
    let mut group = c.benchmark_group(format!("open {PARTITIONS} partitions of 1 MiB"));
    group.bench_function("closed", |b| b.iter(|| assert_eq!(open(builder()), 0)));
    group.bench_function("crashed", |b| {
        b.iter_batched(crash, |()| assert!(open(builder()) > 0), BatchSize::PerIteration);
    });
    group.bench_function("verified", |b| {
        let all = u64::from(PARTITIONS) * PARTITION_BYTES as u64 / 2;
        b.iter(|| assert!(open(builder().verify_on_open(true)) > all));
    });
    group.finish();
}

criterion_group!(benches, open_all);
criterion_main!(benches);
