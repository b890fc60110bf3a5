//! The monitor: a group of two that reads all observations, keeps what it knows of each patient in a
//! compacted topic, and raises alarms. One of them crashes now and then, and comes back under the same
//! instance id, so that its partitions wait for it and the other one is left in peace.
//!
//! **No alarm is lost, and each is seen to be one.** For each observation, the alarms are sent first, then
//! the state of the bed, and the commit comes last. Who crashes in between reads the observation again. If
//! the state was sent, it says so ([`Bed::next_offset`]), and nothing happens twice; if only the alarm was,
//! it is sent once more, with the same patient and offset, by which whoever reads alarms takes them for
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::Failure;
use ottla::{BoxError, Broker, Json, Producer, Rebalance, RebalanceListener, Record, Table, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::bed::{Bed, Kind};
use crate::vitals::Vitals;
use crate::{ALARMS, BEDS, GROUP, VITALS};

/// A value of the topic of alarms; its key is the patient, its timestamp that of the observation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alarm {
    pub(crate) kind: Kind,
    pub(crate) score: u16,
    /// Of the observation that raised it.
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

/// What a member shares with the others.
#[derive(Clone, Copy)]
pub(crate) struct Shift<'a> {
    pub(crate) broker: &'a Broker,
    /// Everything is sent.
    pub(crate) all_sent: &'a AtomicBool,
    /// Each member has its partitions, so that a crash can be told from a beginning.
    pub(crate) may_crash: &'a AtomicBool,
    /// Nobody will crash any more.
    pub(crate) all_crashed: &'a AtomicBool,
}

/// Where an observation is: partition and offset.
type Place = (u32, u64);

/// How a member's work ends.
enum Ending {
    WithTheWork,
    /// Having sent an alarm, and nothing more; or, if there was none, when there was nothing left to do.
    Crashed {
        at: Option<Place>,
    },
}

/// Works under the name until the work is done, and crashes so many times; how often it did.
pub(crate) fn work(shift: Shift<'_>, name: &str, crashes: u64, rebalances: &Counter) -> Result<u64, Failure> {
    let (mut crashed, mut last) = (0, None);
    loop {
        let member = Member::new(shift, crashed < crashes, last)?;
        match member.live(name, rebalances)? {
            Ending::WithTheWork => return Ok(crashed),
            Ending::Crashed { at } => (crashed, last) = (crashed + 1, at),
        }
        if crashed == crashes {
            shift.all_crashed.store(true, Ordering::Release);
        }
    }
}

/// One life of a member.
struct Member<'a> {
    shift: Shift<'a>,
    will_crash: bool,
    /// It does not crash there once more.
    crashed_at: Option<Place>,
    beds: Table<String, Json<Bed>>,
    states: Producer<String, Json<Bed>>,
    alarms: Producer<String, Json<Alarm>>,
}

impl<'a> Member<'a> {
    fn new(shift: Shift<'a>, will_crash: bool, crashed_at: Option<Place>) -> Result<Self, Failure> {
        let broker = shift.broker;
        let (beds, states, alarms) = (broker.table(BEDS)?, broker.producer(BEDS)?, broker.producer(ALARMS)?);
        Ok(Self { shift, will_crash, crashed_at, beds, states, alarms })
    }

    fn live(&self, name: &str, rebalances: &Counter) -> Result<Ending, Failure> {
        let builder = self.shift.broker.consumer::<String, Json<Vitals>>().topic(VITALS).group(GROUP);
        let builder = builder.instance_id(name).instance_timeout(Duration::from_secs(30));
        let mut consumer = builder.rebalance_listener(rebalances.clone()).max_records(200).build()?;
        while !self.is_done()? {
            let records = consumer.poll(Duration::from_millis(10))?;
            for record in &records {
                let place = (record.partition(), record.offset());
                let (bed, raised) = self.look_at(&record)?;
                if raised && self.crashes_at(place) {
                    return Ok(Ending::Crashed { at: Some(place) }); // the consumer is dropped as it is
                }
                if let Some(bed) = bed {
                    self.states.send(record.key()?, &bed)?;
                }
                if raised {
                    consumer.commit_through(&record)?;
                }
            }
            if consumer.lag() == 0 && self.shift.all_sent.load(Ordering::Acquire) && self.crashes() {
                return Ok(Ending::Crashed { at: None });
            }
            consumer.commit(&records)?;
        }
        // Dropped and not closed: closing would tell the listener of the end.
        Ok(Ending::WithTheWork)
    }

    /// Takes in an observation and sends the alarms that it raises. The answer is what is known of the bed
    /// then, or `None` if this observation is in it already, and whether there was an alarm.
    fn look_at(&self, record: &Record<'_, String, Json<Vitals>>) -> Result<(Option<Bed>, bool), Failure> {
        let patient = record.key()?;
        let mut bed = self.beds.get(patient)?.map(|row| row.value()).transpose()?.unwrap_or_default();
        if record.offset() < bed.next_offset {
            return Ok((None, false));
        }
        let kinds = bed.observe(record.timestamp().as_millis(), &record.value()?);
        bed.next_offset = record.offset() + 1;
        for kind in &kinds {
            let (partition, offset) = (record.partition(), record.offset());
            let alarm = Alarm { kind: *kind, score: bed.score, partition, offset };
            self.alarms.record(&alarm).key(patient).timestamp(record.timestamp()).send()?;
        }
        Ok((Some(bed), !kinds.is_empty()))
    }

    fn crashes(&self) -> bool {
        self.will_crash && self.shift.may_crash.load(Ordering::Acquire)
    }

    fn crashes_at(&self, place: Place) -> bool {
        self.crashes() && self.crashed_at != Some(place)
    }

    fn is_done(&self) -> ottla::Result<bool> {
        let nothing_comes =
            self.shift.all_sent.load(Ordering::Acquire) && self.shift.all_crashed.load(Ordering::Acquire);
        Ok(nothing_comes && self.shift.broker.lag(GROUP, VITALS)? == 0)
    }
}

/// Counts how often a member is given partitions, or loses some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl RebalanceListener for Counter {
    fn revoked(&mut self, _: &mut Rebalance<'_>) -> Result<(), BoxError> {
        self.add_one();
        Ok(())
    }

    fn assigned(&mut self, _: &mut Rebalance<'_>) -> Result<(), BoxError> {
        self.add_one();
        Ok(())
    }

    fn lost(&mut self, _: &[TopicPartition]) -> Result<(), BoxError> {
        self.add_one();
        Ok(())
    }
}
