//! What the broker gives up of its logs, on request: one topic is compacted beside the others, and of another
//! one only the last part is kept.

use std::path::Path;

use ottla::{Broker, Clock, Raw, Retention, SystemClock, TopicConfig};

use super::found::DIR;
use super::ledger::{TOPICS, within};
use super::life::{Life, Lived, MOST_PARTITIONS, answer};
use super::log_ledger::LogLedger;
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::compaction::choice::{Choice, TOPIC, found_of, head_of, read, read_files};
use crate::compaction::model::Model;
use crate::sim::disk::SimDisk;

/// Of which of [`TOPICS`] only the last part is kept: of the one that is synced with each record.
const SHORT: usize = 0;

/// What is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Tended {
    choice: Choice,
    models: Vec<Model>,
    /// How many records were sent to each partition, whatever became of them.
    serials: Vec<u64>,
    is_created: bool,
    short_bytes: u64,
}

fn now() -> i64 {
    SystemClock.now().as_millis()
}

impl Tended {
    pub(crate) fn new(random: &mut Random) -> Self {
        // Nothing that depends on when it happens.
        let choice = Choice::new(random, &[0, 1_000_000], &[]);
        Self {
            models: choice.models(),
            serials: vec![0; choice.partitions as usize],
            choice,
            is_created: false,
            short_bytes: random.range(500..12_000),
        }
    }

    /// What is set of one of [`TOPICS`].
    pub(crate) fn config(&self, topic: usize, config: TopicConfig) -> TopicConfig {
        let short = Retention::forever().max_bytes(self.short_bytes);
        if topic == SHORT { config.retention(short) } else { config }
    }

    /// Makes the topic that is compacted, unless it is there.
    pub(crate) fn begin(&mut self, broker: &Broker, disk: &SimDisk) -> Lived {
        broker.open_topic(TOPIC, self.choice.config()).map_err(answer(disk, "open a topic"))?;
        self.is_created = true;
        Ok(())
    }

    pub(crate) fn closed(&mut self) {
        self.models.iter_mut().for_each(|model| model.acknowledge(model.end(), true));
    }

    pub(crate) fn lose_power(&mut self) {
        self.models.iter_mut().for_each(Model::lose_power);
    }

    /// Compares with what an open found.
    pub(crate) fn check(&mut self, broker: &Broker, disk: &SimDisk) -> Result<(), Failure> {
        let logs = read_files(disk, Path::new(DIR), TOPIC)?;
        if logs.is_empty() && !self.is_created {
            return Ok(());
        }
        if logs.len() != self.models.len() {
            return Err(Failure::new(Finding::Lost, format!("{TOPIC} has {} partitions", logs.len())));
        }
        self.is_created = true;
        for (partition, (log, model)) in (0..).zip(logs.iter().zip(&mut self.models)) {
            let place = |failure| within(failure, &format!("{TOPIC}-{partition}"));
            model.reopen(&found_of(log), now()).map_err(place)?;
            let failed = crate::common::process::unexpected("read what was compacted");
            let served = read(broker, TOPIC, partition, 0).map_err(failed)?;
            if !served.into_iter().eq(log.records.clone()) {
                return Err(place(Failure::new(Finding::Inconsistent, "its files hold something else")));
            }
        }
        Ok(())
    }

    fn send(&mut self, broker: &Broker, disk: &SimDisk, random: &mut Random) -> Lived {
        let producer = broker.producer::<Raw, Raw>(TOPIC).map_err(answer(disk, "make a producer"))?;
        let partition = random.below(self.models.len() as u64) as usize;
        let model = &mut self.models[partition];
        for _ in 0..random.up_to_any_size(24) {
            let offset = model.end();
            let records = self.choice.records(random, partition as u32, &mut self.serials[partition]);
            model.begin(records.iter().cloned(), now());
            let batch = records.iter().map(|sent| sent.build(&producer, partition as u32));
            let places = producer.send_batch(batch).map_err(answer(disk, "send to be compacted"))?;
            if places.first().is_some_and(|at| at.offset != offset) {
                let what = format!("what was to come at {offset} was acknowledged at {places:?}");
                return Err(Failure::new(Finding::OffsetChanged, what).into());
            }
            model.acknowledge(model.end(), self.choice.syncs_each());
        }
        if random.one_in(2) {
            producer.flush().map_err(answer(disk, "flush"))?;
            self.closed();
        }
        Ok(())
    }

    /// A housekeeping that began at this time has ended, or was cut off.
    fn tended(&mut self, disk: &SimDisk, began: i64) {
        for (partition, model) in (0..).zip(&mut self.models) {
            let head = head_of(disk, Path::new(DIR), TOPIC, partition);
            model.meet(head.unwrap_or(u64::MAX), began);
        }
    }
}

impl Life<'_> {
    /// Sends to the topic that is compacted, or has the broker give up what it may.
    pub(super) fn tend(&mut self) -> Lived {
        let Some(tended) = &mut self.ledger.tended else { return Ok(()) };
        if self.random.below(5) < 3 {
            return tended.send(&self.broker, self.disk, self.random);
        }
        // Each partition has its share.
        let most_bytes = tended.short_bytes / u64::from(MOST_PARTITIONS);
        let short = &mut self.ledger.topics[SHORT];
        short.logs.iter_mut().for_each(|log| log.trimming(log.could_give_up(most_bytes)));
        let began = now();
        let done = self.broker.run_housekeeping();
        if let Some(tended) = &mut self.ledger.tended {
            tended.tended(self.disk, began);
        }
        done.map_err(answer(self.disk, "housekeeping"))?;
        let described = self.broker.describe_topic(TOPICS[SHORT]).map_err(answer(self.disk, "describe"))?;
        for (log, found) in self.ledger.topics[SHORT].logs.iter_mut().zip(described.partitions) {
            log.trimmed(found.start_offset as usize);
        }
        Ok(())
    }
}

impl LogLedger {
    /// Below which offset records may go, if that many bytes behind them are to stay.
    fn could_give_up(&self, bytes: u64) -> usize {
        // A frame, its padding, and a sync mark before it.
        const MOST_BESIDE: u64 = 40 + 8 + 48;
        let mut kept = 0;
        for (offset, name) in self.records().iter().enumerate().rev() {
            kept += u64::from(name.len) + MOST_BESIDE;
            if kept >= bytes {
                return offset;
            }
        }
        0
    }
}
