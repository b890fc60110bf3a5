//! A random script of all that handles can do, checked step by step against lists: one of records for
//! each partition, and a map of what each group has committed.

use std::collections::BTreeMap;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Consumer, Durability, Producer, Raw, Records, Timestamp, TopicConfig, TopicPartition};

use crate::support::*;

const PARTITIONS: u32 = 3;
const GROUPS: [&str; 2] = ["first", "second"];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    millis: i64,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What the broker should hold.
#[derive(Default)]
struct Oracle {
    partitions: [Vec<Expected>; PARTITIONS as usize],
    committed: BTreeMap<(usize, u32), u64>,
}

/// A consumer, where it should be, and what it polled last.
struct Reader {
    consumer: Consumer<Option<Raw>, Option<Raw>>,
    positions: [u64; PARTITIONS as usize],
    last: Option<Records<Option<Raw>, Option<Raw>>>,
}

/// The handles of one life of the broker.
struct Handles {
    broker: Broker,
    producer: Producer<Option<Raw>, Option<Raw>>,
    readers: Vec<Reader>,
}

struct Script<'a> {
    rng: &'a mut Rng,
    oracle: Oracle,
    /// `None`: never reopened.
    kept: Option<Kept>,
    config: TopicConfig,
}

impl<'a> Script<'a> {
    fn new(rng: &'a mut Rng, kept: Option<Kept>) -> Self {
        let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(30_000);
        Self { rng, oracle: Oracle::default(), kept, config }
    }

    fn handles(&mut self, broker: Broker) -> Handles {
        broker.open_topic("t", self.config.clone()).expect("opens");
        let readers = GROUPS.iter().enumerate().map(|(number, group)| {
            let consumer =
                broker.consumer().topic("t").group(*group).build().expect("nobody is in the group");
            let committed = |partition: usize| self.oracle.committed.get(&(number, partition as u32));
            let positions = std::array::from_fn(|partition| committed(partition).copied().unwrap_or(0));
            Reader { consumer, positions, last: None }
        });
        let readers = readers.collect();
        Handles { producer: broker.producer("t").expect("it exists"), readers, broker }
    }

    fn step(&mut self, mut handles: Handles) -> Handles {
        let number = self.rng.below(GROUPS.len());
        let reader = &mut handles.readers[number];
        match self.rng.below(100) {
            0..30 => self.send(&handles.producer),
            30..36 => self.send_batch(&handles.producer),
            36..66 => self.poll(reader),
            66..74 => self.seek(reader),
            74..82 => self.commit(number, reader),
            82..88 => self.commit_through(number, reader),
            88..93 => self.compare_offsets(number, reader, &handles.broker),
            93..96 => self.find_time(reader),
            96 => handles.producer.flush().expect("flushes"),
            97 if self.rng.one_in(8) => return self.recreate(handles),
            _ if self.kept.is_some() && self.rng.one_in(3) => return self.reopen(handles),
            _ => {}
        }
        handles
    }

    fn new_record(&mut self) -> Expected {
        let len = if self.rng.one_in(60) { self.rng.below(300_000) } else { self.rng.below(800) };
        let key = (!self.rng.one_in(3)).then(|| self.rng.below(20).to_string().into_bytes());
        let value = (!self.rng.one_in(10)).then(|| self.rng.bytes(len));
        let header_count = if self.rng.one_in(4) { self.rng.below(4) } else { 0 };
        let headers = (0..header_count).map(|number| {
            let value = (!self.rng.one_in(3)).then(|| self.rng.bytes(number * 5));
            (format!("header-{}", number % 2), value)
        });
        let headers = headers.collect();
        Expected { key, value, millis: self.rng.below(10_000) as i64, headers }
    }

    fn send(&mut self, producer: &Producer<Option<Raw>, Option<Raw>>) {
        let record = self.new_record();
        let mut builder =
            producer.record(record.value.as_deref()).timestamp(Timestamp::from_millis(record.millis));
        builder = builder.key(record.key.as_deref());
        for (name, value) in &record.headers {
            builder = match value {
                Some(value) => builder.header(name, value),
                None => builder.null_header(name),
            };
        }
        let partition = self.rng.one_in(2).then(|| self.rng.below(PARTITIONS as usize) as u32);
        if let Some(partition) = partition {
            builder = builder.partition(partition);
        }
        let sent = builder.send().expect("a valid record");
        assert!(partition.is_none_or(|partition| partition == sent.partition));
        self.check_sent(sent, record);
    }

    fn send_batch(&mut self, producer: &Producer<Option<Raw>, Option<Raw>>) {
        let count = self.rng.below(20);
        let records: Vec<Expected> = (0..count).map(|_| self.new_record()).collect();
        let pairs = records.iter().map(|record| (record.key.as_deref(), record.value.as_deref()));
        let places = producer.send_batch(pairs).expect("valid records");
        assert_eq!(places.len(), count);
        for (sent, record) in places.into_iter().zip(records) {
            let millis = sent.timestamp.as_millis();
            self.check_sent(sent, Expected { millis, headers: Vec::new(), ..record });
        }
    }

    fn check_sent(&mut self, sent: ottla::RecordMetadata, record: Expected) {
        let partition = &mut self.oracle.partitions[sent.partition as usize];
        assert_eq!((sent.offset, sent.timestamp.as_millis()), (partition.len() as u64, record.millis));
        partition.push(record);
    }

    fn poll(&mut self, reader: &mut Reader) {
        let records = reader.consumer.poll(NOW).expect("a readable log");
        for record in &records {
            let position = &mut reader.positions[record.partition() as usize];
            assert_eq!(record.offset(), *position, "partition {}", record.partition());
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let headers = record.headers().map(|header| (header.name.to_owned(), owned(header.value)));
            let found = Expected {
                key: owned(record.key().expect("any bytes")),
                value: owned(record.value().expect("any bytes")),
                millis: record.timestamp().as_millis(),
                headers: headers.collect(),
            };
            let expected = &self.oracle.partitions[record.partition() as usize][*position as usize];
            assert!(found == *expected, "offset {position} of partition {}", record.partition());
            *position += 1;
        }
        assert_eq!(records.len(), records.iter().count());
        let at_end =
            self.oracle.partitions.iter().zip(reader.positions).all(|(all, at)| all.len() as u64 == at);
        assert!(!records.is_empty() || at_end, "an empty poll means caught up");
        reader.last = Some(records);
    }

    fn seek(&mut self, reader: &mut Reader) {
        match self.rng.below(8) {
            0 => {
                reader.consumer.seek_to_beginning();
                reader.positions = [0; PARTITIONS as usize];
            }
            1 => {
                reader.consumer.seek_to_end();
                reader.positions = self.oracle.partitions.each_ref().map(|all| all.len() as u64);
            }
            2 => {
                let millis = self.rng.below(11_000) as i64;
                reader.consumer.seek_to_timestamp(Timestamp::from_millis(millis)).expect("a readable log");
                reader.positions = self
                    .oracle
                    .partitions
                    .each_ref()
                    .map(|all| since(all, millis).unwrap_or(all.len() as u64));
            }
            _ => {
                let partition = self.rng.below(PARTITIONS as usize);
                let offset = self.rng.below(self.oracle.partitions[partition].len() + 1) as u64;
                reader.consumer.seek("t", partition as u32, offset).expect("assigned");
                reader.positions[partition] = offset;
            }
        }
    }

    fn commit(&mut self, group: usize, reader: &Reader) {
        let Some(records) = &reader.last else { return };
        reader.consumer.commit(records).expect("commits");
        for record in records {
            self.oracle.committed.insert((group, record.partition()), record.offset() + 1);
        }
    }

    fn commit_through(&mut self, group: usize, reader: &Reader) {
        let Some(records) = reader.last.as_ref().filter(|records| !records.is_empty()) else { return };
        let record = records.iter().nth(self.rng.below(records.len())).expect("there are as many");
        reader.consumer.commit_through(&record).expect("commits");
        self.oracle.committed.insert((group, record.partition()), record.offset() + 1);
    }

    fn compare_offsets(&mut self, group: usize, reader: &Reader, broker: &Broker) {
        let consumer = &reader.consumer;
        let ends: Vec<u64> = self.oracle.partitions.iter().map(|all| all.len() as u64).collect();
        assert!(consumer.end_offsets().into_values().eq(ends.iter().copied()));
        assert!(consumer.beginning_offsets().into_values().all(|offset| offset == 0));
        let lag: u64 = ends.iter().zip(reader.positions).map(|(end, position)| end - position).sum();
        assert_eq!(consumer.lag(), lag);
        let mut all = BTreeMap::new();
        for (partition, expected) in (0..PARTITIONS).zip(reader.positions) {
            assert_eq!(consumer.position("t", partition).expect("assigned"), expected);
            let committed = self.oracle.committed.get(&(group, partition)).copied();
            assert_eq!(committed_at(consumer, "t", partition), committed);
            all.extend(committed.map(|offset| (TopicPartition::new("t", partition), offset)));
        }
        assert_eq!(committed(broker, GROUPS[group]), all);
    }

    fn find_time(&mut self, reader: &Reader) {
        let millis = self.rng.below(11_000) as i64;
        let found =
            reader.consumer.offsets_for_timestamp(Timestamp::from_millis(millis)).expect("a readable log");
        let expected = self.oracle.partitions.iter().map(|all| since(all, millis));
        assert!(found.into_values().eq(expected), "since {millis}");
    }

    fn recreate(&mut self, handles: Handles) -> Handles {
        let Handles { broker, producer, readers } = handles;
        broker.delete_topic("t").expect("it exists");
        drop((producer, readers));
        self.oracle = Oracle::default();
        self.handles(broker)
    }

    fn reopen(&mut self, handles: Handles) -> Handles {
        if self.rng.one_in(2) {
            handles.broker.close().expect("closes");
        }
        drop(handles);
        let broker = self.kept.as_ref().map_or_else(Broker::in_memory, Kept::open);
        assert!(broker.recovery_report().is_clean());
        self.handles(broker)
    }

    fn run(mut self, broker: Broker, steps: usize) {
        let mut handles = self.handles(broker);
        for step in 0..steps {
            let _pass = Pass(format!("step {step}"));
            handles = self.step(handles);
        }
        for reader in &mut handles.readers {
            reader.last = None;
            while reader.last.as_ref().is_none_or(|records| !records.is_empty()) {
                self.poll(reader);
            }
        }
    }
}

/// The first offset with a timestamp of `millis` or more.
fn since(all: &[Expected], millis: i64) -> Option<u64> {
    all.iter().position(|record| record.millis >= millis).map(|offset| offset as u64)
}

#[test]
fn a_broker_in_memory_does_what_lists_do() {
    with_seeds(|rng| Script::new(rng, None).run(Broker::in_memory(), 2_000));
}

#[test]
fn a_broker_on_disk_does_what_lists_do_through_many_lives() {
    with_seeds(|rng| {
        let kept = Kept::Disk(temp_dir());
        let broker = kept.open();
        Script::new(rng, Some(kept)).run(broker, 1_000);
    });
}

#[test]
fn a_broker_on_a_memory_storage_does_what_lists_do_through_many_lives() {
    with_seeds(|rng| {
        let kept = Kept::Files(MemoryStorage::default());
        let broker = kept.open();
        Script::new(rng, Some(kept)).run(broker, 2_000);
    });
}

#[test]
fn a_memory_topic_of_a_broker_on_disk_does_what_lists_do() {
    with_seeds(|rng| {
        let broker = Kept::Files(MemoryStorage::default()).open();
        let mut script = Script::new(rng, None);
        script.config = script.config.durability(Durability::Memory);
        script.run(broker, 1_000);
    });
}
