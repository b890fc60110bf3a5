//! A member of a group: polls, processes, commits before it polls again; and is killed, stalled or closed as
//! it is told.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ottla::{Error, Raw, Records, TopicPartition};

use super::events::{Outcome, Partition, Read, Step, What};
use super::group::{self, Commits, Spec};
use super::producer::value_of;
use super::recorder::Tape;
use super::round::PATIENCE;
use super::scene::{Phase, Scene};
use super::task::run_for;
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;

/// What a reader is told to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    None,
    /// It is dropped without a close.
    Kill,
    /// So it is by a panic on its thread.
    Panic,
    /// It does not poll for about as long as a member may.
    Stall,
    /// It is away for so long, and killed then.
    StallAndKill,
    Close,
}

const ORDERS: [Order; 6] =
    [Order::None, Order::Kill, Order::Panic, Order::Stall, Order::StallAndKill, Order::Close];

/// Where an order is left for a reader.
#[derive(Debug, Default)]
pub(crate) struct Orders(AtomicU8);

impl Orders {
    pub(crate) fn give(&self, order: Order) {
        self.0.store(order as u8, Ordering::Release);
    }

    pub(crate) fn take(&self) -> Order {
        ORDERS[usize::from(self.0.swap(Order::None as u8, Ordering::AcqRel))]
    }
}

/// What a panic on order carries.
#[derive(Debug)]
pub(crate) struct Ordered;

/// How a turn of a member ends.
enum Turn {
    GoOn,
    Kill,
    Close,
}

struct Worker {
    scene: Arc<Scene>,
    spec: Arc<Spec>,
    tape: Tape,
    orders: Arc<Orders>,
    random: Random,
    member: group::Member,
    /// When it polled last, or began to join.
    polled_at: Instant,
    /// What it had in hand when it was away.
    away_with: Option<Records<Raw, Raw>>,
    /// It was told of an eviction by its last poll.
    is_evicted: bool,
}

/// The life of a member, on its thread.
pub(crate) fn live(
    scene: Arc<Scene>,
    spec: Arc<Spec>,
    orders: Arc<Orders>,
    (name, slot): (String, usize),
    mut random: Random,
) -> Result<(), Failure> {
    let tape = scene.recorder.tape(name, Some(spec.number));
    let polled_at = Instant::now();
    let member = spec.join(&scene, &tape, slot, &mut random)?;
    let mut worker =
        Worker { scene, spec, tape, orders, random, member, polled_at, away_with: None, is_evicted: false };
    loop {
        match worker.turn()? {
            Turn::GoOn => {}
            Turn::Kill => return Ok(()),
            Turn::Close => return worker.close(),
        }
    }
}

impl Worker {
    fn turn(&mut self) -> Result<Turn, Failure> {
        if self.scene.is_at(Phase::Failed) {
            return Ok(Turn::Kill);
        }
        let Some(records) = self.poll()? else { return Ok(Turn::GoOn) };
        // Rather with something in hand than without.
        let is_a_moment = !records.is_empty() || self.random.one_in(8);
        let order = if is_a_moment { self.orders.take() } else { Order::None };
        match order {
            Order::Kill => self.die(&records).map(|()| Turn::Kill),
            Order::Panic => {
                self.die(&records)?;
                resume_unwind(Box::new(Ordered))
            }
            Order::StallAndKill => {
                self.stall();
                self.die(&records).map(|()| Turn::Kill)
            }
            Order::Stall => {
                if self.random.one_in(3) {
                    self.commit(&records)?;
                    self.stall();
                } else {
                    self.stall();
                    self.commit(&records)?;
                }
                self.away_with = Some(records).filter(|records| !records.is_empty());
                Ok(Turn::GoOn)
            }
            Order::None => {
                self.process(&records);
                // Late only while all goes on: a group is done when all is committed.
                if self.member.commits == Commits::Late
                    && self.scene.is_at(Phase::Going)
                    && !self.random.one_in(5)
                {
                    self.member.has_processed(ends(&records));
                } else {
                    self.commit(&records)?;
                }
                Ok(Turn::GoOn)
            }
            Order::Close => {
                // What a late one has in hand is revoked when it closes.
                if self.member.commits == Commits::Late {
                    self.member.has_processed(ends(&records));
                } else {
                    self.commit(&records)?;
                }
                Ok(Turn::Close)
            }
        }
    }

    /// `None`: there was nothing, or it was told that it is no member any more.
    fn poll(&mut self) -> Result<Option<Records<Raw, Raw>>, Failure> {
        // A poll that waits is none too long.
        let longest =
            if self.random.one_in(20) { self.spec.max_poll_interval.as_millis() as u64 * 2 } else { 20 };
        let timeout = Duration::from_millis(self.random.below(longest));
        let begun = self.tape.step();
        let polled_at = Instant::now();
        let consumer = &mut self.member.consumer;
        let outcome = if self.random.one_in(3) {
            run_for(consumer.next_records(), timeout).transpose()
        } else {
            consumer.poll(timeout).map(Some)
        };
        match outcome {
            Ok(records) => {
                self.member.check_assignment(&self.scene)?;
                self.polled_at = polled_at;
                if self.member.commits == Commits::Auto {
                    self.note_auto_commit(begun);
                }
                self.check_fencing()?;
                let Some(records) = records else { return Ok(None) };
                if !records.is_empty() {
                    let reads = reads(&records, &self.tape)?;
                    self.tape.note(begun, What::Polled(reads));
                }
                Ok(Some(records))
            }
            Err(error) if group::is_eviction(&error) => {
                self.must_have_been_away(&error)?;
                self.tape.note(begun, What::Evicted);
                self.member.check_assignment(&self.scene)?;
                (self.polled_at, self.is_evicted) = (polled_at, true);
                Ok(None)
            }
            Err(error) if group::is_deletion(&error, &self.scene) => {
                self.member.check_assignment(&self.scene)?;
                self.polled_at = polled_at;
                Ok(None)
            }
            Err(error) => Err(unexpected("the poll of a member")(error)),
        }
    }

    /// What was polled before an eviction cannot be committed, even if the member has the partitions again.
    fn check_fencing(&mut self) -> Result<(), Failure> {
        let was_evicted = std::mem::take(&mut self.is_evicted);
        let Some(records) = self.away_with.take().filter(|_| was_evicted) else { return Ok(()) };
        match self.member.consumer.commit(&records) {
            Err(error) if group::is_refusal(&error) || group::is_deletion(&error, &self.scene) => Ok(()),
            other => {
                let what = format!("a commit of what was polled before an eviction: {other:?}");
                Err(Failure::new(Finding::FalseAck, what))
            }
        }
    }

    fn process(&mut self, records: &Records<Raw, Raw>) {
        if !records.is_empty() && self.random.one_in(4) {
            thread::sleep(Duration::from_micros(self.random.below(4_000)));
        }
    }

    /// Commits what was polled and processed, in one way or another.
    fn commit(&mut self, records: &Records<Raw, Raw>) -> Result<(), Failure> {
        if self.member.commits == Commits::Auto {
            self.member.has_processed(ends(records));
            return Ok(());
        }
        if !records.is_empty() && self.random.one_in(4) {
            self.commit_part(records)?;
        }
        let mut all: BTreeMap<TopicPartition, u64> = self.member.processed().into_iter().collect();
        let is_late = !all.is_empty();
        all.extend(ends(records));
        if all.is_empty() {
            return Ok(());
        }
        let places = self.places(&all);
        let consumer = &self.member.consumer;
        let begun = self.tape.step();
        let outcome = match self.random.below(4) {
            0 => consumer.commit_offsets(all.clone()),
            _ if is_late => consumer.commit_offsets(all.clone()),
            1 => run_for(consumer.commit_async(records), PATIENCE)
                .ok_or_else(|| Failure::new(Finding::Stuck, format!("a commit took {PATIENCE:?}")))?,
            _ => consumer.commit(records),
        };
        let outcome = match outcome {
            Err(error) if group::is_deletion(&error, &self.scene) => return self.commit_the_rest(all),
            outcome => outcome,
        };
        self.note_commit(begun, places, outcome)
    }

    /// Commits what is not of a topic that was deleted.
    fn commit_the_rest(&mut self, mut all: BTreeMap<TopicPartition, u64>) -> Result<(), Failure> {
        all.retain(|place, _| !self.scene.is_deleted(&place.topic));
        let (begun, places) = (self.tape.step(), self.places(&all));
        match self.member.consumer.commit_offsets(all.clone()) {
            // One more was, meanwhile.
            Err(error) if group::is_deletion(&error, &self.scene) => self.commit_the_rest(all),
            outcome => self.note_commit(begun, places, outcome),
        }
    }

    /// A poll has committed what was processed before it.
    fn note_auto_commit(&self, begun: Step) {
        let processed = self.member.processed().into_iter().collect();
        let places = self.places(&processed);
        if !places.is_empty() {
            self.tape.note(begun, What::Committed(places, Outcome::Done));
        }
    }

    fn places(&self, ends: &BTreeMap<TopicPartition, u64>) -> Vec<(Partition, u64)> {
        ends.iter().map(|(place, end)| (self.tape.place(&place.topic, place.partition), *end)).collect()
    }

    /// Commits through one of the records.
    fn commit_part(&mut self, records: &Records<Raw, Raw>) -> Result<(), Failure> {
        let at = self.random.below(records.len().max(1) as u64) as usize;
        let Some(record) = records.iter().nth(at) else { return Ok(()) };
        if self.member.commits == Commits::Auto {
            return Ok(());
        }
        let begun = self.tape.step();
        let outcome = self.member.consumer.commit_through(&record);
        if outcome.as_ref().is_err_and(|error| group::is_deletion(error, &self.scene)) {
            return Ok(());
        }
        let place = self.tape.place(record.topic(), record.partition());
        self.note_commit(begun, vec![(place, record.offset() + 1)], outcome)
    }

    fn note_commit(
        &mut self,
        begun: u64,
        places: Vec<(Partition, u64)>,
        outcome: ottla::Result<()>,
    ) -> Result<(), Failure> {
        let told = match outcome {
            Ok(()) => Outcome::Done,
            Err(error) if group::is_refusal(&error) => {
                self.must_have_been_away(&error)?;
                Outcome::Refused
            }
            Err(Error::OutcomeUnknown { .. }) => Outcome::Unknown,
            Err(error) => return Err(unexpected("the commit of a member")(error)),
        };
        self.tape.note(begun, What::Committed(places, told));
        Ok(())
    }

    /// Is away, for longer than it may, or for not quite as long.
    fn stall(&mut self) {
        thread::sleep(self.spec.max_poll_interval.mul_f64(self.random.range(50..200) as f64 / 100.0));
    }

    /// Somewhere between the poll and the next one: with all, some or nothing of it committed.
    fn die(&mut self, records: &Records<Raw, Raw>) -> Result<(), Failure> {
        match self.random.below(4) {
            0 => self.commit(records)?,
            1 => self.commit_part(records)?,
            _ => {}
        }
        let begun = self.tape.step();
        self.tape.note(begun, What::Killed { was_away: self.was_away() });
        Ok(())
    }

    fn close(self) -> Result<(), Failure> {
        let begun = self.tape.step();
        let Self { tape, member, polled_at, spec, .. } = self;
        let outcome = member.consumer.close();
        let was_away = polled_at.elapsed() >= spec.max_poll_interval;
        tape.note(begun, What::Closed { was_away });
        match outcome {
            Err(error) if was_away && group::is_eviction(&error) => Ok(()),
            outcome => outcome.map_err(unexpected("a member does not close")),
        }
    }

    /// Whether it may have been evicted by now. Asked after the step of what it is asked for.
    fn was_away(&self) -> bool {
        self.polled_at.elapsed() >= self.spec.max_poll_interval
    }

    fn must_have_been_away(&self, error: &Error) -> Result<(), Failure> {
        if self.was_away() {
            return Ok(());
        }
        let (away, allowed) = (self.polled_at.elapsed(), self.spec.max_poll_interval);
        let what = format!("a member that polled {away:?} ago, and may be away for {allowed:?}: {error}");
        Err(Failure::new(Finding::WrongError, what))
    }
}

/// What a poll returned.
pub(crate) fn reads(records: &Records<Raw, Raw>, tape: &Tape) -> Result<Vec<Read>, Failure> {
    let reads = records.iter().map(|record| {
        let partition = tape.place(record.topic(), record.partition());
        Ok(Read { partition, offset: record.offset(), value: value_of(record.value_bytes())? })
    });
    reads.collect()
}

/// How far each partition is polled.
fn ends(records: &Records<Raw, Raw>) -> BTreeMap<TopicPartition, u64> {
    let mut ends = BTreeMap::new();
    for record in records {
        ends.insert(TopicPartition::new(record.topic(), record.partition()), record.offset() + 1);
    }
    ends
}
