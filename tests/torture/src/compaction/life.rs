//! A broker with a compacted topic on a simulated file system, from its opening to its end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla::{Broker, Clock, Consumer, ManualClock, Producer, Raw, Timestamp};

use super::Met;
use super::choice::{self, Choice, TOPIC, found_of, head_of, read_files};
use super::model::{Found, Model};
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::common::sent::Sent;
use crate::power::found::{DIR, check_well};
use crate::power::ledger::within;
use crate::power::life::{Ended, Lived, NEVER, answer};
use crate::sim::disk::SimDisk;

/// What outlives a broker.
pub(super) struct Machine {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) choice: Choice,
    pub(super) models: Vec<Model>,
    /// How many records were sent to each partition, whatever became of them.
    serials: Vec<u64>,
    /// Whether the topic was made, as far as is known.
    pub(super) is_created: bool,
    /// Whether the broker compacts and syncs by itself. When it does is not for the seed to say.
    pub(super) works_itself: bool,
}

/// A broker that is open.
pub(super) struct Life<'a> {
    machine: &'a mut Machine,
    random: &'a mut Random,
    met: &'a mut Met,
    broker: Broker,
    producer: Producer<Raw, Raw>,
    reader: Reader,
}

/// One that reads now and then, and goes on where it was.
struct Reader {
    consumer: Consumer<Raw, Raw>,
    partition: u32,
    next: u64,
    /// Of one that has begun with the first record: the latest offset of each key that it has seen.
    table: Option<BTreeMap<Vec<u8>, u64>>,
}

impl Machine {
    pub(super) fn new(random: &mut Random) -> Self {
        let choice = Choice::new(random, &[0, 1, 100, 1_000, 100_000], &[1, 50, 500, 5_000]);
        Self {
            disk: SimDisk::default(),
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000))),
            models: choice.models(),
            serials: vec![0; choice.partitions as usize],
            choice,
            is_created: false,
            works_itself: random.one_in(6),
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn open(&self, works_itself: bool) -> Lived<Broker> {
        let short = Duration::from_millis(1);
        let (syncs, compacts) = if works_itself { (short, short) } else { (NEVER, Duration::MAX) };
        let builder = Broker::builder().storage(self.disk.clone()).data_dir(DIR);
        let builder = builder.clock(Arc::clone(&self.clock)).sync_interval(syncs);
        builder.housekeeping_interval(compacts).open().map_err(answer(&self.disk, "open"))
    }

    /// Opens the directory with nobody at work in it, and compares what is there with what must be.
    pub(super) fn look(&mut self, random: &mut Random, met: &mut Met) -> Lived<Broker> {
        let broker = self.open(false)?;
        match self.compare(&broker, random, met) {
            Err(_) if self.disk.is_off() => Err(Ended::Off),
            outcome => Ok(outcome.map(|()| broker)?),
        }
    }

    fn compare(&mut self, broker: &Broker, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
        check_well(broker, &self.disk)?;
        let now = self.now();
        let logs = read_files(&self.disk, Path::new(DIR), TOPIC)?;
        if logs.len() < self.models.len() && (self.is_created || !logs.is_empty()) {
            return Err(Failure::new(Finding::Lost, format!("{} partitions are left", logs.len())));
        }
        self.is_created |= !logs.is_empty();
        for (partition, (log, model)) in (0..).zip(logs.iter().zip(&mut self.models)) {
            met.keys += model.reopen(&found_of(log), now)?;
            met.files.add(log);
            choice::check_served(broker, TOPIC, partition, log, random)?;
        }
        Ok(())
    }
}

impl<'a> Life<'a> {
    /// Opens the directory, and makes the topic if it is not there yet.
    pub(super) fn begin(machine: &'a mut Machine, random: &'a mut Random, met: &'a mut Met) -> Lived<Self> {
        let mut broker = machine.look(random, met)?;
        if machine.works_itself {
            drop(broker);
            broker = machine.open(true)?;
        }
        let disk = machine.disk.clone();
        broker.open_topic(TOPIC, machine.choice.config()).map_err(answer(&disk, "make the topic"))?;
        machine.is_created = true;
        let producer = broker.producer(TOPIC).map_err(answer(&disk, "make a producer"))?;
        let reader = Reader::new(&broker, machine, random).map_err(answer(&disk, "make a consumer"))?;
        Ok(Self { machine, random, met, broker, producer, reader })
    }

    pub(super) fn work(&mut self, steps: u64) -> Lived {
        for _ in 0..steps {
            self.step()?;
            if self.machine.disk.is_off() {
                return Err(Ended::Off);
            }
        }
        Ok(())
    }

    pub(super) fn close(self) -> Lived {
        self.broker.close().map_err(answer(&self.machine.disk, "close"))?;
        self.machine.models.iter_mut().for_each(|model| model.acknowledge(model.end(), true));
        Ok(())
    }

    fn step(&mut self) -> Lived {
        match self.random.below(100) {
            0..60 => self.send(),
            60..64 => self.flush(),
            64..78 => self.compact(),
            78..86 => {
                let by = self.random.pick(&[1, 20, 100, 1_000, 20_000]);
                self.machine.clock.advance(Duration::from_millis(by));
                Ok(())
            }
            86..96 => self.read(),
            _ => self.look(),
        }
    }

    /// Some calls for one partition.
    fn send(&mut self) -> Lived {
        let partition = self.random.below(self.machine.models.len() as u64) as u32;
        for _ in 0..self.random.up_to_any_size(16) {
            let (now, works_itself) = (self.machine.now(), self.machine.works_itself);
            let model = &mut self.machine.models[partition as usize];
            let offset = model.end();
            let serial = &mut self.machine.serials[partition as usize];
            let records = self.machine.choice.records(self.random, partition, serial);
            model.begin(records.iter().cloned(), now);
            if works_itself {
                model.meet(u64::MAX, now);
            }
            let batch = records.iter().map(|sent| sent.build(&self.producer, partition));
            let places = self.producer.send_batch(batch).map_err(answer(&self.machine.disk, "send"))?;
            if places.first().is_some_and(|at| at.offset != offset) {
                let what = format!("what was to come at {offset} was acknowledged at {places:?}");
                return Err(Failure::new(Finding::OffsetChanged, what).into());
            }
            model.acknowledge(model.end(), self.machine.choice.syncs_each());
        }
        Ok(())
    }

    fn flush(&mut self) -> Lived {
        self.producer.flush().map_err(answer(&self.machine.disk, "flush"))?;
        self.machine.models.iter_mut().for_each(|model| model.acknowledge(model.end(), true));
        Ok(())
    }

    /// Compacts now; the power may go, or the process die, in the middle of it.
    fn compact(&mut self) -> Lived {
        let disk = self.machine.disk.clone();
        if self.random.one_in(4) {
            let calls = self.random.pick(&[4, 12, 40]);
            disk.cut_power_within(self.random.below(calls), self.random.below(1_001));
        }
        let now = self.machine.now();
        let done = self.broker.run_housekeeping();
        if disk.is_off() {
            self.met.in_compaction += u64::from(done.is_err());
            self.machine.models.iter_mut().for_each(|model| model.meet(u64::MAX, now));
            return Err(Ended::Off);
        }
        let done = done.map_err(answer(&disk, "compact"))?;
        self.met.compacted += done.compacted_records;
        self.met.tombstones += done.removed_tombstones;
        for (partition, model) in (0..).zip(&mut self.machine.models) {
            let head = head_of(&disk, Path::new(DIR), TOPIC, partition);
            model.meet(head.map_err(|_| Ended::Off)?, now);
        }
        if !self.machine.works_itself && self.random.one_in(2) {
            self.look_at_files()?;
        }
        Ok(())
    }

    /// What is in the files, when everything has been done: for good.
    fn look_at_files(&mut self) -> Lived {
        let now = self.machine.now();
        let logs = read_files(&self.machine.disk, Path::new(DIR), TOPIC);
        let logs = logs.map_err(|failure| within(failure, "after a compaction"))?;
        for (log, model) in logs.iter().zip(&mut self.machine.models) {
            model.check(&found_of(log), now)?;
            model.keep_gone();
        }
        Ok(())
    }

    /// What a consumer is given that begins now.
    fn look(&mut self) -> Lived {
        let disk = self.machine.disk.clone();
        for (partition, model) in (0..).zip(&mut self.machine.models) {
            let records = choice::read(&self.broker, TOPIC, partition, 0).map_err(answer(&disk, "read"))?;
            if records.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                return Err(Failure::new(Finding::Reordered, "offsets do not rise").into());
            }
            // What was sealed meanwhile may have been compacted behind the reader's back.
            let head = head_of(&disk, Path::new(DIR), TOPIC, partition).map_err(|_| Ended::Off)?;
            let found = Found { end: model.end(), head, records: records.into_iter().collect() };
            let now = self.machine.clock.now().as_millis();
            model.check(&found, now).map_err(|failure| within(failure, "in use"))?;
        }
        Ok(())
    }

    fn read(&mut self) -> Lived {
        let polls = 1 + self.random.below(4);
        let model = &self.machine.models[self.reader.partition as usize];
        let now = self.machine.now();
        for _ in 0..polls {
            let records = self.reader.consumer.poll(Duration::ZERO);
            let records = records.map_err(answer(&self.machine.disk, "poll"))?;
            for record in &records {
                self.reader.take(record.offset(), Sent::of(&record), model)?;
            }
            if records.is_empty() {
                self.reader.check_end(model, now)?;
                self.met.slept += 1;
                break;
            }
        }
        Ok(())
    }
}

impl Reader {
    fn new(broker: &Broker, machine: &Machine, random: &mut Random) -> ottla::Result<Self> {
        let partition = random.below(machine.models.len() as u64) as u32;
        let builder = broker.consumer().assign(TOPIC, [partition]);
        let mut consumer = builder.max_records(1 + random.below(30) as usize).build()?;
        let next =
            if random.one_in(3) { random.below(machine.models[partition as usize].end() + 1) } else { 0 };
        consumer.seek(TOPIC, partition, next)?;
        Ok(Self { consumer, partition, next, table: (next == 0).then(BTreeMap::new) })
    }

    fn take(&mut self, offset: u64, sent: Sent, model: &Model) -> Result<(), Failure> {
        model.check_one(offset, &sent)?;
        if offset < self.next {
            let what = format!("a reader that was at {} is given {offset}", self.next);
            return Err(Failure::new(Finding::Back, what));
        }
        self.next = offset + 1;
        if let (Some(table), Some(key)) = (&mut self.table, sent.key) {
            table.insert(key, offset);
        }
        Ok(())
    }

    /// There is nothing left to read.
    fn check_end(&self, model: &Model, now: i64) -> Result<(), Failure> {
        self.table.as_ref().map_or(Ok(()), |table| {
            model.check_table(table, now).map_err(|failure| within(failure, "one who slept"))
        })
    }
}
