//! What a send costs: one record at a time and in batches, in memory and on disk, 100-byte values and
//! 8-byte keys; and one at a time in memory, by codec.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ottla::{Broker, Codec, CodecError, Producer, Raw, RecordMetadata, Scratch, TopicConfig};

const VALUE: [u8; 100] = [7; 100];
const KEY: [u8; 8] = *b"customer";
const RECORD_BYTES: u64 = (VALUE.len() + KEY.len()) as u64;
const BATCH: usize = 1_000;

/// A broker in memory, one in a temporary directory, and the directory.
fn brokers() -> (Vec<(&'static str, Broker)>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let disk = Broker::open(dir.path()).expect("the directory is empty");
    (vec![("memory", Broker::in_memory()), ("disk", disk)], dir)
}

fn producer(broker: &Broker) -> Producer<Raw, Raw> {
    broker.open_topic("bench", TopicConfig::new()).expect("the topic can be made");
    broker.producer("bench").expect("the topic was just made")
}

fn send_one(c: &mut Criterion) {
    let (brokers, _dir) = brokers();
    let mut group = c.benchmark_group("send");
    for (place, broker) in &brokers {
        let producer = producer(broker);
        for (unit, throughput) in
            [("records", Throughput::Elements(1)), ("bytes", Throughput::Bytes(RECORD_BYTES))]
        {
            group.throughput(throughput);
            group.bench_function(format!("{place}/one/{unit}"), |b| {
                b.iter(|| producer.send(&KEY, &VALUE).expect("the disk has room"));
            });
        }
    }
    group.finish();
}

fn send_batch(c: &mut Criterion) {
    let (brokers, _dir) = brokers();
    let mut group = c.benchmark_group("send");
    for (place, broker) in &brokers {
        let producer = producer(broker);
        for (unit, throughput) in [
            ("records", Throughput::Elements(BATCH as u64)),
            ("bytes", Throughput::Bytes(RECORD_BYTES * BATCH as u64)),
        ] {
            group.throughput(throughput);
            group.bench_function(format!("{place}/batch of {BATCH}/{unit}"), |b| {
                b.iter(|| {
                    let batch = std::iter::repeat_n((&KEY[..], &VALUE[..]), BATCH);
                    producer.send_batch(batch).expect("the disk has room")
                });
            });
        }
    }
    group.finish();
}

/// Those that lend bytes which exist, those that write few, and those that write more than fits inline.
fn send_by_codec(c: &mut Criterion) {
    let text = "x".repeat(VALUE.len());
    by_codec::<String, String>(c, "String to String", |producer| producer.send("customer", &text));
    by_codec::<u64, u64>(c, "u64 to u64", |producer| producer.send(7, 42));
    by_codec::<u64, String>(c, "u64 to String", |producer| producer.send(7, &text));
    by_codec::<u64, Copied>(c, "u64 to copied bytes", |producer| producer.send(7, &VALUE));
}

fn by_codec<K: Codec, V: Codec>(
    c: &mut Criterion,
    name: &str,
    send: impl Fn(&Producer<K, V>) -> ottla::Result<RecordMetadata>,
) {
    let broker = Broker::in_memory();
    broker.open_topic("bench", TopicConfig::new()).expect("the topic can be made");
    let producer = broker.producer("bench").expect("the topic was just made");
    let mut group = c.benchmark_group("send");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("memory/one/{name}"), |b| {
        b.iter(|| send(&producer).expect("memory has room"));
    });
    group.finish();
}

/// Writes its input to the scratch, as a serializer does.
struct Copied;

impl Codec for Copied {
    type Input<'a> = &'a [u8];
    type View<'a> = &'a [u8];

    fn encode<'s, 'i: 's>(input: &'i [u8], scratch: &'s mut Scratch) -> Result<Option<&'s [u8]>, CodecError> {
        scratch.extend_from_slice(input);
        Ok(Some(scratch))
    }

    fn decode(bytes: Option<&[u8]>) -> Result<&[u8], CodecError> {
        Raw::decode(bytes)
    }
}

criterion_group!(benches, send_one, send_batch, send_by_codec);
criterion_main!(benches);
