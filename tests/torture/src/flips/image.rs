//! Directories that a real broker left, one after it was closed and one while it was open, of which every
//! frame and every record is known.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla::{Broker, Consumer, Durability, ManualClock, Raw, Timestamp, TopicConfig, TopicPartition};

use super::storage::{Files, Machine};
use crate::common::format::{self, FrameAt, What};
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::common::sent::Sent;

pub(super) const DIR: &str = "/data";
pub(super) const GROUP: &str = "audit";
/// Topics, their partitions and levels.
const TOPICS: [(&str, u32, Durability); 2] =
    [("orders", 2, Durability::ProcessCrash), ("ledger", 1, Durability::PowerLoss)];
/// Topic and partition of each log that users read.
pub(super) const LOGS: [(&str, u32); 3] = [("orders", 0), ("orders", 1), ("ledger", 0)];
/// The number of the log of commits, which comes behind them.
pub(super) const COMMITS: usize = LOGS.len();

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) name: &'static str,
    pub(super) files: Files,
    /// Files of these names, of topics that were deleted and made again.
    pub(super) older: Files,
    /// Those of [`LOGS`], and that of the commits.
    pub(super) logs: Vec<Log>,
    /// For each of [`LOGS`] what the group has committed, in this order.
    pub(super) commits: Vec<Vec<u64>>,
}

/// One partition.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) dir: PathBuf,
    /// In order; records and sync marks.
    pub(super) frames: Vec<FrameAt>,
    /// Empty for the log of commits.
    pub(super) records: Vec<Sent>,
    /// What the checkpoint says of it.
    pub(super) checkpoint: u64,
}

/// Makes both directories; the second one was closed.
pub(super) fn images(seed: u64) -> Result<[Image; 2], Failure> {
    let machine = Machine::empty();
    let mut writer = Writer::new(seed);
    writer.broker(&machine, |writer, broker| {
        writer.make_topics(broker)?;
        writer.first_half(broker)?;
        writer.second_half(broker)
    })?;
    let older = files_of(&machine)?;
    writer
        .broker(&machine, |_, broker| TOPICS.iter().try_for_each(|(topic, ..)| broker.delete_topic(topic)))?;
    writer.forget();
    writer.broker(&machine, |writer, broker| {
        writer.make_topics(broker)?;
        writer.first_half(broker)
    })?;
    let mut open = Ok(Files::new());
    writer.broker(&machine, |writer, broker| {
        writer.second_half(broker)?;
        open = files_of(&machine);
        Ok(())
    })?;
    let open = writer.image("open", open?, older.clone())?;
    let closed = writer.image("closed", files_of(&machine)?, older)?;
    Ok([open, closed])
}

fn files_of(machine: &Machine) -> Result<Files, Failure> {
    machine.files(Path::new(DIR)).map_err(|error| Failure::harness("read the files", error))
}

fn harness(error: impl Display) -> Failure {
    Failure::harness("make a directory", error)
}

/// Sends, and takes note of it.
struct Writer {
    random: Random,
    clock: Arc<ManualClock>,
    records: [Vec<Sent>; LOGS.len()],
    commits: Vec<Vec<u64>>,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        Self { random: Random::new(seed), clock, records: Default::default(), commits: vec![Vec::new(); 3] }
    }

    /// A life of a broker, which syncs nothing that it is not told to.
    fn broker(
        &mut self,
        machine: &Machine,
        life: impl FnOnce(&mut Self, &Broker) -> ottla::Result<()>,
    ) -> Result<(), Failure> {
        let builder = Broker::builder().data_dir(DIR).storage(machine.clone()).clock(Arc::clone(&self.clock));
        let broker = builder.sync_interval(Duration::from_secs(3_600)).open().map_err(harness)?;
        life(self, &broker).map_err(harness)?;
        broker.close().map_err(harness)
    }

    fn forget(&mut self) {
        self.records = Default::default();
        self.commits.iter_mut().for_each(Vec::clear);
    }

    fn make_topics(&self, broker: &Broker) -> ottla::Result<()> {
        for (topic, partitions, level) in TOPICS {
            let config = TopicConfig::new().partitions(partitions).durability(level);
            broker.create_topic(topic, config.segment_bytes(4_096))?;
        }
        Ok(())
    }

    fn first_half(&mut self, broker: &Broker) -> ottla::Result<()> {
        self.send(broker, 0, &[20])?;
        self.send(broker, 0, &[8, 0, 24])?;
        self.send(broker, 2, &[24])?;
        broker.producer::<Raw, Raw>("orders")?.flush()?;
        // Frames whose length is a power of two.
        self.send(broker, 0, &[24])?;
        self.send(broker, 0, &[88])?;
        self.send(broker, 0, &[300])?;
        self.send(broker, 1, &[16])?;
        self.send(broker, 2, &[40, 8])?;
        let consumer = reader(broker)?;
        self.commit(&consumer, 0, 2)?;
        self.commit(&consumer, 1, 1)
    }

    fn second_half(&mut self, broker: &Broker) -> ottla::Result<()> {
        // More than is left in the segment.
        let many: Vec<usize> = (0..34).map(|number| [24, 40, 24, 32][number % 4]).collect();
        self.send(broker, 0, &many)?;
        self.send(broker, 1, &[8, 8])?;
        let consumer = reader(broker)?;
        self.commit(&consumer, 0, 5)?;
        broker.producer::<Raw, Raw>("orders")?.flush()?;
        self.send(broker, 1, &[72])?;
        self.send(broker, 2, &[24])?;
        self.send(broker, 2, &[8])?;
        self.send(broker, 0, &[700])?;
        self.send(broker, 0, &[24])?;
        broker.producer::<Raw, Raw>("orders")?.flush()?;
        self.send(broker, 0, &[24])?;
        self.send(broker, 0, &[24, 16])?;
        self.send(broker, 0, &[40])?;
        self.send(broker, 1, &[24])?;
        self.commit(&consumer, 0, 9)?;
        self.commit(&consumer, 2, 2)
    }

    fn commit(&mut self, consumer: &Consumer<Raw, Raw>, log: usize, offset: u64) -> ottla::Result<()> {
        consumer.commit_offsets([place(log)].map(|place| (place, offset)))?;
        self.commits[log].push(offset);
        Ok(())
    }

    /// One batch, with values of these lengths, to a log.
    fn send(&mut self, broker: &Broker, log: usize, lens: &[usize]) -> ottla::Result<()> {
        let batch: Vec<Sent> = lens.iter().map(|&len| self.record(len)).collect();
        let producer = broker.producer::<Raw, Raw>(LOGS[log].0)?;
        producer.send_batch(batch.iter().map(|record| record.build(&producer, LOGS[log].1)))?;
        self.records[log].extend(batch);
        Ok(())
    }

    /// A record with or without key, value and headers.
    fn record(&mut self, len: usize) -> Sent {
        let random = &mut self.random;
        let mut bytes = |len: usize| {
            let mut bytes = vec![0; len];
            random.fill(&mut bytes);
            bytes
        };
        let value = (len > 0).then(|| bytes(len));
        let number = self.records.iter().map(Vec::len).sum::<usize>() + len;
        let key = (value.is_none() || number % 3 == 1).then(|| bytes(5));
        let headers = match number % 7 {
            2 => vec![("trace".to_owned(), Some(bytes(2))), ("none".to_owned(), None)],
            _ => Vec::new(),
        };
        self.clock.advance(Duration::from_millis(1));
        Sent { key, value, headers, timestamp: 1_600_000_000_000 + number as i64 }
    }

    fn image(&self, name: &'static str, files: Files, older: Files) -> Result<Image, Failure> {
        let dirs = LOGS.iter().map(|(topic, number)| format!("{topic}-{number}"));
        let dirs = dirs.chain(["__consumer_offsets-0".to_owned()]);
        let mut logs = Vec::new();
        for (number, dir) in dirs.enumerate() {
            let records = self.records.get(number).cloned().unwrap_or_default();
            logs.push(log(&files, Path::new(DIR).join(dir), records)?);
        }
        Ok(Image { name, files, older, logs, commits: self.commits.clone() })
    }
}

fn log(files: &Files, dir: PathBuf, records: Vec<Sent>) -> Result<Log, Failure> {
    let mut frames = Vec::new();
    let mut id = 0;
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(&dir)) {
        let found = format::frames(path, bytes).map_err(|what| {
            Failure::new(Finding::WrongBytes, format!("undamaged, and yet {}: {what}", path.display()))
        })?;
        frames.extend(found);
        id = format::header(bytes).map_or(0, |header| header.partition_id);
    }
    let checkpoint = files.get(&Path::new(DIR).join("checkpoint")).map_or(&[][..], |bytes| bytes);
    let checkpoint = String::from_utf8_lossy(checkpoint).into_owned();
    let line = checkpoint.lines().find_map(|line| line.strip_prefix(&format!("partition {id:016x} end ")));
    let end = line.and_then(|line| line.split(' ').next()?.parse().ok()).unwrap_or(0);
    let log = Log { dir, frames, records, checkpoint: end };
    if !log.records.is_empty() && log.records.len() != log.record_frames().count() {
        return Err(Failure::harness("find every record", log.dir.display()));
    }
    Ok(log)
}

impl Log {
    /// The frames of records, by offset.
    pub(super) fn record_frames(&self) -> impl Iterator<Item = &FrameAt> {
        self.frames.iter().filter(|frame| matches!(frame.what, What::Record { .. }))
    }
}

/// A log as the library calls it.
pub(super) fn place(log: usize) -> TopicPartition {
    TopicPartition::new(LOGS[log].0, LOGS[log].1)
}

/// The number of a log.
pub(super) fn number_of(place: &TopicPartition) -> Option<usize> {
    let user = LOGS.iter().position(|(topic, number)| (*topic, *number) == (&*place.topic, place.partition));
    user.or((place.topic == "__consumer_offsets").then_some(COMMITS))
}

fn reader(broker: &Broker) -> ottla::Result<Consumer<Raw, Raw>> {
    broker.consumer::<Raw, Raw>().topics(TOPICS.map(|(topic, ..)| topic)).group(GROUP).build()
}
