//! A random script of all that handles can do, checked step by step against lists: one of records for
//! each partition, and a map of what each group has committed.

mod oracle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla::storage::MemoryStorage;
use ottla::{
    Broker, Consumer, Delivery, Durability, Error, Producer, Raw, RecordMetadata, Records, ResetTo,
    Timestamp, TopicConfig, TopicPartition,
};

use self::oracle::{Expected, Oracle, Partition, builder};
use crate::support::*;

/// In the beginning, and in the end.
const PARTITIONS: u32 = 3;
const MOST_PARTITIONS: u32 = 6;
const GROUPS: [&str; 2] = ["first", "second"];

/// A consumer, where it should be, and what it polled last.
struct Reader {
    consumer: Consumer<Option<Raw>, Option<Raw>>,
    positions: Vec<u64>,
    /// It was put to the beginning, which is where the first record is when it next polls.
    is_at_beginning: bool,
    paused: BTreeSet<u32>,
    max_records: usize,
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
    /// Which levels the topic may change to.
    levels: &'static [Durability],
}

impl<'a> Script<'a> {
    fn new(rng: &'a mut Rng, kept: Option<Kept>) -> Self {
        let config = TopicConfig::new().partitions(PARTITIONS).segment_bytes(30_000);
        let levels: &[_] =
            if kept.is_some() { &[Durability::ProcessCrash, Durability::PowerLoss] } else { &[] };
        Self { rng, oracle: Oracle::new(), kept, config, levels }
    }

    fn handles(&mut self, broker: Broker) -> Handles {
        match broker.create_topic("t", self.config.clone()) {
            Ok(()) | Err(Error::TopicExists { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        let readers = (0..GROUPS.len()).map(|group| self.reader(&broker, group)).collect();
        Handles { producer: broker.producer("t").expect("it exists"), readers, broker }
    }

    fn reader(&mut self, broker: &Broker, group: usize) -> Reader {
        let max_records = if self.rng.one_in(2) { 1 + self.rng.below(50) } else { usize::MAX };
        let consumer = broker.consumer().topic("t").group(GROUPS[group]).max_records(max_records);
        let consumer = consumer.build().expect("nobody is in the group");
        let positions = (0..).zip(&self.oracle.partitions).map(|(number, partition)| {
            self.oracle.committed.get(&(group, number)).copied().unwrap_or(partition.start)
        });
        let (positions, paused) = (positions.collect(), BTreeSet::new());
        Reader { consumer, positions, is_at_beginning: false, paused, max_records, last: None }
    }

    fn step(&mut self, mut handles: Handles) -> Handles {
        let number = self.rng.below(GROUPS.len());
        let reader = &mut handles.readers[number];
        match self.rng.below(100) {
            0..16 => self.send(&handles.producer),
            16..30 => self.enqueue(&handles.producer),
            30..35 => self.send_batch(&handles.producer),
            35..38 => self.settle_some(),
            38..62 => self.poll(reader),
            62..68 => self.seek(reader),
            68..71 => self.pause_or_resume(reader),
            71..79 => self.commit(number, reader),
            79..84 => self.commit_through(number, reader),
            84..88 => self.compare_offsets(number, reader, &handles.broker),
            88..90 => self.find_time(reader),
            90 => self.grow(&mut handles),
            91..93 => self.alter(&handles.broker),
            93 => self.delete_records(&mut handles),
            94 | 95 => self.reset_group(&mut handles, number),
            96 => self.flush(&handles.producer),
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
        let partition = self.rng.one_in(2).then(|| self.any_partition());
        let mut builder = builder(producer, &record);
        if let Some(partition) = partition {
            builder = builder.partition(partition);
        }
        let sent = if self.rng.one_in(3) { block_on(builder.send_async()) } else { builder.send() };
        let sent = sent.expect("a valid record");
        assert!(partition.is_none_or(|partition| partition == sent.partition));
        self.check_sent(sent, record);
    }

    fn any_partition(&mut self) -> u32 {
        self.rng.below(self.oracle.partitions.len()) as u32
    }

    fn enqueue(&mut self, producer: &Producer<Option<Raw>, Option<Raw>>) {
        for _ in 0..1 + self.rng.below(4) {
            let (record, number) = (self.new_record(), self.any_partition());
            let delivery = builder(producer, &record).partition(number).enqueue().expect("a valid record");
            let partition = &mut self.oracle.partitions[number as usize];
            let offset = partition.end();
            partition.records.push(record);
            if self.rng.one_in(4) {
                delivery.detach();
            } else {
                let place = TopicPartition::new("t", number);
                self.oracle.on_their_way.push((place, offset, delivery));
            }
        }
    }

    /// Waits for one of those that are on their way.
    fn settle_some(&mut self) {
        if !self.oracle.on_their_way.is_empty() {
            let number = self.rng.below(self.oracle.on_their_way.len());
            let sent = self.oracle.on_their_way.remove(number);
            self.hear(sent);
        }
    }

    fn hear(&mut self, (place, offset, delivery): (TopicPartition, u64, Delivery)) {
        let outcome = match self.rng.below(3) {
            0 => delivery.wait(),
            1 => block_on(delivery),
            _ => delivery.wait_timeout(FOREVER).expect("that is long enough"),
        };
        let at = outcome.expect("kept");
        let partition = &mut self.oracle.partitions[place.partition as usize];
        let millis = partition.records[offset as usize].millis;
        assert_eq!((at.partition, at.offset, at.timestamp.as_millis()), (place.partition, offset, millis));
        partition.visible = partition.visible.max(offset + 1);
    }

    /// Waits until everything that was sent can be seen.
    fn flush(&mut self, producer: &Producer<Option<Raw>, Option<Raw>>) {
        producer.flush().expect("flushes");
        for sent in std::mem::take(&mut self.oracle.on_their_way) {
            assert!(sent.2.is_decided());
            self.hear(sent);
        }
        self.oracle.partitions.iter_mut().for_each(|partition| partition.visible = partition.end());
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

    fn check_sent(&mut self, sent: RecordMetadata, record: Expected) {
        let partition = &mut self.oracle.partitions[sent.partition as usize];
        assert_eq!((sent.offset, sent.timestamp.as_millis()), (partition.end(), record.millis));
        partition.records.push(record);
        // What was sent before is visible before.
        partition.visible = partition.end();
    }

    fn poll(&mut self, reader: &mut Reader) {
        let records = match reader.consumer.poll(NOW) {
            Ok(records) => records,
            Err(Error::OffsetOutOfRange { partition, requested, earliest, .. }) => {
                let number = partition.partition as usize;
                assert_eq!(
                    (requested, earliest),
                    (reader.positions[number], self.oracle.partitions[number].start)
                );
                assert!(requested < earliest && !reader.paused.contains(&partition.partition));
                reader.positions[number] = earliest;
                return reader.consumer.seek("t", partition.partition, earliest).expect("assigned");
            }
            Err(error) => panic!("{error}"),
        };
        for record in &records {
            let position = &mut reader.positions[record.partition() as usize];
            assert_eq!(record.offset(), *position, "partition {}", record.partition());
            assert!(!reader.paused.contains(&record.partition()));
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let headers = record.headers().map(|header| (header.name.to_owned(), owned(header.value)));
            let found = Expected {
                key: owned(record.key().expect("any bytes")),
                value: owned(record.value().expect("any bytes")),
                millis: record.timestamp().as_millis(),
                headers: headers.collect(),
            };
            let partition = &mut self.oracle.partitions[record.partition() as usize];
            assert!(found == partition.records[*position as usize], "{}, {position}", record.partition());
            *position += 1;
            partition.visible = partition.visible.max(*position);
        }
        assert_eq!(records.len(), records.iter().count());
        assert!(records.len() <= reader.max_records);
        let mut all = (0..).zip(&self.oracle.partitions).zip(&reader.positions);
        let at_end = all.all(|((number, all), at)| reader.paused.contains(&number) || *at >= all.visible);
        assert!(!records.is_empty() || at_end, "an empty poll means caught up");
        reader.last = Some(records);
    }

    fn pause_or_resume(&mut self, reader: &mut Reader) {
        let partition = self.any_partition();
        if self.rng.one_in(3) {
            reader.consumer.pause("t", [partition]).expect("assigned");
            reader.paused.insert(partition);
        } else {
            reader.consumer.resume("t", [partition]).expect("assigned");
            reader.paused.remove(&partition);
        }
        assert!(
            reader.consumer.paused().iter().map(|paused| paused.partition).eq(reader.paused.iter().copied())
        );
    }

    fn seek(&mut self, reader: &mut Reader) {
        let choice = self.rng.below(8);
        if choice == 1 || choice == 2 {
            self.settle(reader);
        }
        let partitions = &self.oracle.partitions;
        match choice {
            0 => {
                reader.consumer.seek_to_beginning();
                reader.is_at_beginning = true;
                reader.positions = partitions.iter().map(|partition| partition.start).collect();
            }
            1 => {
                reader.consumer.seek_to_end();
                reader.positions = partitions.iter().map(Partition::end).collect();
            }
            2 => {
                let millis = self.rng.below(11_000) as i64;
                reader.consumer.seek_to_timestamp(Timestamp::from_millis(millis)).expect("a readable log");
                let since = partitions.iter().map(|all| all.since(millis).unwrap_or(all.end()));
                reader.positions = since.collect();
            }
            _ => {
                let number = self.rng.below(partitions.len());
                let (start, visible) = (partitions[number].start, partitions[number].visible);
                let offset = start + self.rng.below((visible - start) as usize + 1) as u64;
                reader.consumer.seek("t", number as u32, offset).expect("assigned");
                reader.positions[number] = offset;
            }
        }
    }

    /// Waits until this consumer can see everything.
    fn settle(&mut self, reader: &Reader) {
        for sent in std::mem::take(&mut self.oracle.on_their_way) {
            self.hear(sent);
        }
        // What was detached comes by itself.
        let ends: Vec<u64> = self.oracle.partitions.iter().map(Partition::end).collect();
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reader.consumer.end_offsets().into_values().eq(ends.iter().copied()) {
            assert!(Instant::now() < deadline, "what was detached does not come");
            std::thread::yield_now();
        }
        self.oracle.partitions.iter_mut().for_each(|partition| partition.visible = partition.end());
    }

    fn commit(&mut self, group: usize, reader: &Reader) {
        let Some(records) = &reader.last else { return };
        match self.rng.below(3) {
            0 => reader.consumer.commit(records).expect("commits"),
            1 => block_on(reader.consumer.commit_async(records)).expect("commits"),
            // It counts all the same.
            _ => drop(reader.consumer.commit_async(records)),
        }
        for record in records {
            self.oracle.committed.insert((group, record.partition()), record.offset() + 1);
        }
    }

    fn commit_through(&mut self, group: usize, reader: &Reader) {
        let Some(records) = reader.last.as_ref().filter(|records| !records.is_empty()) else { return };
        let record = records.iter().nth(self.rng.below(records.len())).expect("there are as many");
        match self.rng.below(2) {
            0 => reader.consumer.commit_through(&record).expect("commits"),
            _ => block_on(reader.consumer.commit_through_async(&record)).expect("commits"),
        }
        self.oracle.committed.insert((group, record.partition()), record.offset() + 1);
    }

    fn compare_offsets(&mut self, group: usize, reader: &Reader, broker: &Broker) {
        self.settle(reader);
        let consumer = &reader.consumer;
        let partitions = &self.oracle.partitions;
        assert!(consumer.beginning_offsets().into_values().eq(partitions.iter().map(|all| all.start)));
        if partitions.iter().zip(&reader.positions).all(|(all, at)| *at >= all.start) {
            let lag: u64 = partitions.iter().zip(&reader.positions).map(|(all, at)| all.end() - at).sum();
            assert_eq!(consumer.lag(), lag);
        }
        let mut all = BTreeMap::new();
        for (partition, expected) in (0..).zip(&reader.positions) {
            assert_eq!(consumer.position("t", partition).expect("assigned"), *expected);
            let committed = self.oracle.committed.get(&(group, partition)).copied();
            assert_eq!(committed_at(consumer, "t", partition), committed);
            all.extend(committed.map(|offset| (TopicPartition::new("t", partition), offset)));
        }
        assert_eq!(committed(broker, GROUPS[group]), all);
    }

    fn find_time(&mut self, reader: &Reader) {
        self.settle(reader);
        let millis = self.rng.below(11_000) as i64;
        let found =
            reader.consumer.offsets_for_timestamp(Timestamp::from_millis(millis)).expect("a readable log");
        let expected = self.oracle.partitions.iter().map(|all| all.since(millis));
        assert!(found.into_values().eq(expected), "since {millis}");
    }

    fn grow(&mut self, handles: &mut Handles) {
        let to = (self.oracle.partitions.len() as u32 + 1).min(MOST_PARTITIONS);
        handles.broker.increase_partitions("t", to).expect("there is room");
        self.config = self.config.clone().partitions(to);
        self.oracle.partitions.resize_with(to as usize, Partition::default);
        for reader in &mut handles.readers {
            reader.positions.resize(to as usize, 0);
            // From now on it follows them.
            self.poll(reader);
        }
    }

    fn alter(&mut self, broker: &Broker) {
        let mut config = TopicConfig::new().segment_bytes(4_096 + self.rng.below(60_000) as u64);
        if !self.levels.is_empty() {
            config = config.durability(self.levels[self.rng.below(self.levels.len())]);
        }
        broker.alter_topic("t", config).expect("these can be altered");
    }

    /// Consumers that are below are told when they poll.
    fn delete_records(&mut self, handles: &mut Handles) {
        let number = self.any_partition();
        let partition = &mut self.oracle.partitions[number as usize];
        let count = self.rng.below((partition.visible - partition.start) as usize + 1) as u64;
        let start =
            handles.broker.delete_records("t", number, partition.start + count).expect("they are there");
        partition.start += count;
        assert_eq!(start, partition.start);
        for reader in &mut handles.readers {
            let now = reader.consumer.position("t", number).expect("assigned");
            let position = &mut reader.positions[number as usize];
            assert!(now == *position || (reader.is_at_beginning && now == start && *position < start));
            *position = now;
        }
    }

    fn reset_group(&mut self, handles: &mut Handles, group: usize) {
        self.settle(&handles.readers[group]);
        assert_fails!(
            handles.broker.reset_group(GROUPS[group], "t", ResetTo::Earliest),
            Error::GroupInUse { .. }
        );
        drop(handles.readers.remove(group));
        let millis = self.rng.below(11_000) as i64;
        let to = [ResetTo::Earliest, ResetTo::Latest, ResetTo::Timestamp(Timestamp::from_millis(millis))];
        let to = to[self.rng.below(3)];
        handles.broker.reset_group(GROUPS[group], "t", to).expect("nobody is in the group");
        for (number, partition) in (0..).zip(&self.oracle.partitions) {
            let offset = match to {
                ResetTo::Earliest => partition.start,
                ResetTo::Latest => partition.end(),
                _ => partition.since(millis).unwrap_or(partition.end()),
            };
            self.oracle.committed.insert((group, number), offset);
        }
        handles.readers.insert(group, self.reader(&handles.broker, group));
    }

    fn recreate(&mut self, handles: Handles) -> Handles {
        let Handles { broker, producer, readers } = handles;
        broker.delete_topic("t").expect("it exists");
        drop((producer, readers));
        self.oracle = Oracle::new();
        self.config = self.config.clone().partitions(PARTITIONS);
        self.handles(broker)
    }

    /// What is on its way is kept, and those who wait for it are told, whether the broker is closed or not.
    fn reopen(&mut self, handles: Handles) -> Handles {
        if self.rng.one_in(2) {
            handles.broker.close().expect("closes");
        }
        drop(handles);
        for sent in std::mem::take(&mut self.oracle.on_their_way) {
            self.hear(sent);
        }
        let broker = self.kept.as_ref().map_or_else(Broker::in_memory, Kept::open);
        assert!(broker.recovery_report().is_clean());
        self.oracle.partitions.iter_mut().for_each(|partition| partition.visible = partition.end());
        self.handles(broker)
    }

    fn run(mut self, broker: Broker, steps: usize) {
        let mut handles = self.handles(broker);
        for step in 0..steps {
            let _pass = Pass(format!("step {step}"));
            handles = self.step(handles);
        }
        for reader in &mut handles.readers {
            self.settle(reader);
            (0..self.oracle.partitions.len() as u32).for_each(|partition| {
                reader.consumer.resume("t", [partition]).expect("assigned");
            });
            reader.paused.clear();
            reader.last = None;
            while reader.last.as_ref().is_none_or(|records| !records.is_empty()) {
                self.poll(reader);
            }
        }
    }
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
