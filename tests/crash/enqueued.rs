//! Every call on the storage fails in turn, whoever makes it, while records and commits are on their way:
//! each of them is decided, its outcome is true, and the log goes on when it may.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Delivery, Durability, Error, Raw, RecordMetadata, Result};

use crate::hooked::{Action, Faults, Hook, Hooked, Kind, Op};
use crate::power_loss::{PATIENCE, block_on};
use crate::support::{
    Checked, DIR, Finding, TOPIC, check_all, committed, contents, ensure, open, partition_dir, reopen,
    small_segments, value,
};

const GROUP: &str = "fraud";
/// Some segments are made, and some records share one.
const LENS: [usize; 14] = [20, 1_500, 2_500, 30, 40, 3_000, 900, 50, 60, 3_900, 10, 2_000, 2_100, 70];

/// Who works for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Only the background thread.
    Idle,
    /// They themselves too.
    Helping,
}

/// A broker that fails, and what it said.
struct Trial {
    storage: Hooked<MemoryStorage, Faults>,
    broker: Broker,
    /// By offset.
    acknowledged: BTreeMap<u64, Vec<u8>>,
    /// What may be there: when it was written again, or when the directory is opened again.
    unknown: Vec<Vec<u8>>,
    /// What may be there when the directory is opened again, but is not seen before that.
    failed: Vec<Vec<u8>>,
    /// What nobody was told of.
    detached: Vec<Vec<u8>>,
    /// What the group has committed in the end, if all that was acknowledged counts.
    committed: Option<u64>,
    may_be_committed: Vec<u64>,
}

impl Trial {
    fn new(durability: Durability) -> Self {
        let storage = Hooked::new(MemoryStorage::default(), Faults::default());
        let broker = Broker::builder().storage(storage.clone()).data_dir(DIR).durability(durability);
        // No sync comes by itself.
        let broker = broker.sync_interval(Duration::from_secs(3_600)).open().expect("an empty directory");
        broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
        Self {
            storage,
            broker,
            acknowledged: BTreeMap::new(),
            unknown: Vec::new(),
            failed: Vec::new(),
            detached: Vec::new(),
            committed: None,
            may_be_committed: Vec::new(),
        }
    }

    /// Sends in all ways that do not block, then hears of everything, then commits.
    fn play(&mut self, waiting: Waiting) -> Checked {
        let producer = self.broker.producer::<Raw, Raw>(TOPIC)?;
        let mut deliveries: Vec<(Vec<u8>, Delivery)> = Vec::new();
        for (number, len) in LENS.into_iter().enumerate() {
            let value = value(number, len);
            match number {
                3 | 10 => match producer.record(&value).enqueue() {
                    Ok(delivery) => {
                        delivery.detach();
                        self.detached.push(value);
                    }
                    Err(error) => self.hear(value, Err(error))?,
                },
                6 => {
                    let sending = producer.record(&value).send_async();
                    let outcome = block_on(sending);
                    self.hear(value, outcome)?;
                }
                _ => match producer.record(&value).enqueue() {
                    Ok(delivery) => deliveries.push((value, delivery)),
                    Err(error) => self.hear(value, Err(error))?,
                },
            }
        }
        for (number, (value, delivery)) in deliveries.into_iter().enumerate() {
            let outcome = match waiting {
                Waiting::Helping if number % 3 == 1 => delivery.wait(),
                _ => {
                    let outcome = delivery.wait_timeout(PATIENCE);
                    outcome.ok_or_else(|| Finding(format!("{delivery:?} is not decided")))?
                }
            };
            self.hear(value, outcome)?;
        }
        self.commit()
    }

    fn hear(&mut self, value: Vec<u8>, outcome: Result<RecordMetadata>) -> Checked {
        match outcome {
            Ok(at) => {
                let earlier = self.acknowledged.insert(at.offset, value);
                return ensure(earlier.is_none(), || format!("offset {} was given twice", at.offset));
            }
            // The bytes of a write that could not be undone are not acknowledged, and may be there.
            Err(Error::OutcomeUnknown { .. }) => self.unknown.push(value),
            Err(Error::PartitionFailed { .. }) => self.failed.push(value),
            Err(Error::Io { .. } | Error::StorageFull { .. }) => {}
            Err(error) => return Err(Finding(format!("the error is {error:?}"))),
        }
        let is_alone = self.storage.hook.hits().is_empty();
        ensure(!is_alone, || "it failed without a fault".to_owned())
    }

    /// Commits some offsets of what there is, without blocking.
    fn commit(&mut self) -> Checked {
        let consumer = self.broker.consumer::<Raw, Raw>().topic(TOPIC).group(GROUP).max_records(2);
        let mut consumer = consumer.build()?;
        for _ in 0..3 {
            // What is read from a file may fail too; it is there again the next time.
            let Ok(records) = consumer.poll(Duration::ZERO) else { continue };
            let Some(last) = records.iter().last() else { continue };
            let offset = last.offset() + 1;
            match block_on(consumer.commit_async(&records)) {
                Ok(()) => self.committed = Some(offset),
                Err(Error::OutcomeUnknown { .. } | Error::PartitionFailed { .. }) => {
                    self.may_be_committed.push(offset);
                }
                Err(Error::Io { .. } | Error::StorageFull { .. }) => {}
                Err(error) => return Err(Finding(format!("the commit's error is {error:?}"))),
            }
        }
        Ok(())
    }

    /// What was acknowledged is there and what was refused is not.
    fn check(&self, broker: &Broker, is_reopened: bool) -> Checked {
        let seen = contents(broker, TOPIC, 0)?;
        for (offset, value) in &self.acknowledged {
            let there = seen.get(*offset as usize) == Some(value);
            ensure(there, || format!("the record at {offset} of {} is lost", seen.len()))?;
        }
        let mut others = (0..).zip(&seen).filter(|(offset, _)| !self.acknowledged.contains_key(offset));
        let refused = others.find(|(_, value)| {
            let may_be_there = self.detached.contains(value) || self.unknown.contains(value);
            !(may_be_there || is_reopened && self.failed.contains(value))
        });
        ensure(refused.is_none(), || format!("{:?} was refused and is there", refused.map(|(at, _)| at)))?;
        let found = committed(broker, GROUP).into_values().next();
        let is_known = found == self.committed
            || (is_reopened && found.is_some_and(|found| self.may_be_committed.contains(&found)));
        ensure(is_known, || format!("committed is {found:?}, not {:?}", self.committed))
    }

    /// Without faults the log takes records again, at once after a flush, and no file was synced again.
    fn check_goes_on(&mut self) -> Checked {
        self.storage.hook.disarm();
        let producer = self.broker.producer::<Raw, Raw>(TOPIC)?;
        // The first one answers for what was detached and is lost.
        let _answers = producer.flush();
        producer.flush().map_err(|error| Finding(format!("without a fault: {error}")))?;
        for number in 100..103 {
            let value = value(number, 1_500);
            let at = block_on(producer.record(&value).enqueue()?)?;
            self.acknowledged.insert(at.offset, value);
        }
        let retried = self.storage.hook.retried_syncs();
        ensure(retried.is_empty(), || format!("synced again after a failure: {retried:?}"))
    }

    /// Leaves the broker, which is as good as a crash, and looks at what is on the disk.
    fn check_reopened(mut self) -> Checked {
        // The last handle: the directory is free when it is gone.
        self.broker = Broker::in_memory();
        for _ in 0..2 {
            let broker = open(self.storage.plain())?;
            ensure(broker.recovery_report().lowered_commits.is_empty(), || "lowered commits".to_owned())?;
            self.check(&broker, true)?;
        }
        Ok(())
    }
}

fn try_with_faults(
    durability: Durability,
    waiting: Waiting,
    window: Range<usize>,
    kind: Kind,
) -> Checked<usize> {
    let mut trial = Trial::new(durability);
    trial.storage.hook.arm_everybody(window, kind);
    trial.play(waiting)?;
    let calls = trial.storage.hook.calls();
    trial.check_goes_on()?;
    trial.check(&trial.broker, false)?;
    trial.check_reopened()?;
    Ok(calls)
}

fn fail_every_call(durability: Durability, kinds: &[Kind]) {
    let calls = try_with_faults(durability, Waiting::Idle, 0..0, Kind::Eio);
    let calls = calls.expect("without a fault all is well");
    assert!(calls > 15, "only {calls} calls");
    let mut cases = Vec::new();
    for &kind in kinds {
        for waiting in [Waiting::Idle, Waiting::Helping] {
            // Threads take turns as they like: a few calls more or less.
            for first in 0..calls + 4 {
                for end in [first + 1, first + 3, usize::MAX] {
                    let name = format!("{durability:?}, {kind:?}, {waiting:?}, calls {:?}", first..end);
                    cases.push((name, (waiting, first..end, kind)));
                }
            }
        }
    }
    check_all(cases, |(waiting, window, kind)| {
        try_with_faults(durability, *waiting, window.clone(), *kind).map(drop)
    });
}

#[test]
fn deliveries_tell_the_truth_whichever_call_fails_before_a_process_crash() {
    fail_every_call(Durability::ProcessCrash, &[Kind::Eio, Kind::HalfThenFull]);
}

#[test]
fn deliveries_tell_the_truth_whichever_call_fails_before_a_power_loss() {
    fail_every_call(Durability::PowerLoss, &[Kind::Eio, Kind::HalfThenFull]);
}

/// Fails writes to the topic while it is told to.
#[derive(Debug, Default)]
struct FullDisk {
    is_full: AtomicBool,
}

impl Hook for FullDisk {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        if op == Op::Write && self.is_full.load(Ordering::SeqCst) && path.starts_with(partition_dir(TOPIC, 0))
        {
            return Action::Fail(std::io::ErrorKind::StorageFull.into());
        }
        Action::Go
    }
}

/// Whoever waits for a record beside it is told too, but knows of its own only.
#[test]
fn a_flush_answers_for_a_detached_record_that_was_lost_with_others() {
    for durability in [Durability::ProcessCrash, Durability::PowerLoss] {
        for detached in [0, 1] {
            let storage = Hooked::new(MemoryStorage::default(), FullDisk::default());
            let broker = reopen(&storage);
            broker.create_topic(TOPIC, small_segments(1).durability(durability)).expect("it is new");
            let producer = broker.producer::<Raw, Raw>(TOPIC).expect("it is there");
            // The background thread comes between the two in some of the rounds.
            for _ in 0..20 {
                storage.hook.is_full.store(true, Ordering::SeqCst);
                let mut deliveries: Vec<_> =
                    (0..2).map(|_| producer.record(b"lost").enqueue().expect("there is room")).collect();
                deliveries.remove(detached).detach();
                let told = producer.flush();
                assert!(matches!(told, Err(Error::StorageFull { .. })), "{told:?}");
                for delivery in deliveries {
                    let outcome = delivery.wait_timeout(PATIENCE).expect("it is decided");
                    assert!(matches!(outcome, Err(Error::StorageFull { .. })), "{outcome:?}");
                }
                storage.hook.is_full.store(false, Ordering::SeqCst);
                producer.flush().expect("it was told once");
            }
            assert!(contents(&broker, TOPIC, 0).expect("it can be read").is_empty());
        }
    }
}
