//! The groups of a round, and what the program has to do with groups of this library: how a member joins, how it
//! hears of its assignment, and how rebalances are counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ottla::{
    BoxError, Consumer, ConsumerBuilder, Error, RangeAssignor, Raw, Rebalance, RebalanceListener,
    RoundRobinAssignor, StickyAssignor, TopicPartition,
};

use super::events::{Outcome, Partition, What};
use super::recorder::Tape;
use super::scene::{FIRST_TOPICS, PREFIX, Scene};
use crate::common::outcome::{Failure, Finding};
use crate::common::process::unexpected;
use crate::common::random::Random;

/// A group has at most so many members.
pub(crate) const MAX_MEMBERS: usize = 4;

/// How members divide partitions.
#[derive(Clone, Copy, Debug)]
enum Division {
    Range,
    RoundRobin,
    Sticky,
}

/// What all members of a group have in common.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its place in the history.
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    /// It follows all topics of the prefix, or only those that are there from the beginning.
    by_prefix: bool,
    division: Division,
    /// How long its members are waited for if they are static.
    instance_timeout: Option<Duration>,
    pub(crate) max_poll_interval: Duration,
    generation: AtomicU64,
    rebalances: AtomicU64,
}

impl Spec {
    pub(crate) fn all(random: &mut Random) -> [Self; 2] {
        [("prefix", true), ("names", false)].map(|(name, by_prefix)| Self {
            number: usize::from(!by_prefix),
            name,
            by_prefix,
            division: random.pick(&[Division::Range, Division::RoundRobin, Division::Sticky]),
            instance_timeout: random.one_in(3).then(|| Duration::from_millis(random.range(50..400))),
            max_poll_interval: Duration::from_millis(200),
            generation: AtomicU64::new(0),
            rebalances: AtomicU64::new(0),
        })
    }

    pub(crate) fn follows(&self, topic: &str) -> bool {
        self.by_prefix || FIRST_TOPICS.contains(&topic)
    }

    /// A new member; `slot` tells static ones apart that live at a time.
    pub(crate) fn join(
        &self,
        scene: &Scene,
        tape: &Tape,
        slot: usize,
        random: &mut Random,
    ) -> Result<Member, Failure> {
        let told = Arc::new(Mutex::new(Told::default()));
        let commits_late = random.one_in(3);
        let listener = Listener { tape: tape.clone(), told: Arc::clone(&told), commits_late };
        let mut builder = self.builder(scene).rebalance_listener(listener);
        if let Some(timeout) = self.instance_timeout {
            builder = builder.instance_id(format!("slot{slot}")).instance_timeout(timeout);
        }
        if random.one_in(2) {
            builder = builder.max_records(random.pick(&[1, 7, 60]));
        }
        let consumer = builder.build().map_err(unexpected("a member cannot join"))?;
        Ok(Member { consumer, told, commits_late })
    }

    fn builder(&self, scene: &Scene) -> ConsumerBuilder<Raw, Raw> {
        let builder = scene.broker.consumer::<Raw, Raw>().group(self.name);
        let builder = builder.max_poll_interval(self.max_poll_interval);
        let builder = if self.by_prefix {
            builder.topics_matching(|topic| topic.starts_with(PREFIX))
        } else {
            builder.topics(FIRST_TOPICS)
        };
        match self.division {
            Division::Range => builder.assignor(RangeAssignor),
            Division::RoundRobin => builder.assignor(RoundRobinAssignor),
            Division::Sticky => builder.assignor(StickyAssignor),
        }
    }

    /// Counts the rebalances since the last call. Generations begin anew in a group that was empty.
    pub(crate) fn count_rebalances(&self, scene: &Scene) {
        let generation = scene.broker.describe_group(self.name).map_or(0, |group| group.generation);
        let before = self.generation.swap(generation, Ordering::Relaxed);
        let new = if generation < before { generation } else { generation - before };
        self.rebalances.fetch_add(new, Ordering::Relaxed);
    }

    pub(crate) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Relaxed)
    }
}

/// What a member was told, and what it has processed.
#[derive(Debug, Default)]
struct Told {
    has: Vec<TopicPartition>,
    /// How far it has processed what it has not committed.
    processed: BTreeMap<TopicPartition, u64>,
}

/// A consumer that is a member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) consumer: Consumer<Raw, Raw>,
    told: Arc<Mutex<Told>>,
    /// It does not commit what each poll returned, but now and then, and what is revoked.
    pub(crate) commits_late: bool,
}

impl Member {
    /// It has what it was told.
    pub(crate) fn check_assignment(&self) -> Result<(), Failure> {
        let mut told = lock(&self.told).has.clone();
        told.sort();
        let mut has = self.consumer.assignment();
        has.sort();
        if told == has {
            return Ok(());
        }
        let shown =
            |all: Vec<TopicPartition>| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let what = format!("a member was told that it has [{}], and has [{}]", shown(told), shown(has));
        Err(Failure::new(Finding::Inconsistent, what))
    }

    /// Remembers to commit this later.
    pub(crate) fn has_processed(&self, ends: impl IntoIterator<Item = (TopicPartition, u64)>) {
        lock(&self.told).processed.extend(ends);
    }

    /// What is to be committed.
    pub(crate) fn processed(&self) -> Vec<(TopicPartition, u64)> {
        std::mem::take(&mut lock(&self.told).processed).into_iter().collect()
    }
}

/// Writes down what a member is told, and commits what it is to give up.
struct Listener {
    tape: Tape,
    told: Arc<Mutex<Told>>,
    commits_late: bool,
}

impl RebalanceListener for Listener {
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        let going = rebalance.partitions().to_vec();
        let mut told = lock(&self.told);
        told.has.retain(|place| !going.contains(place));
        let processed: Vec<(TopicPartition, u64)> =
            going.iter().filter_map(|place| told.processed.remove_entry(place)).collect();
        drop(told);
        if self.commits_late && !processed.is_empty() {
            let places = processed.iter().map(|(place, end)| (self.place(place), *end)).collect();
            let begun = self.tape.step();
            let outcome = match rebalance.commit_offsets(processed) {
                Ok(()) => Outcome::Done,
                Err(error) if is_refusal(&error) => Outcome::Refused,
                Err(error) => return Err(Box::new(error)),
            };
            self.tape.note(begun, What::Committed(places, outcome));
        }
        self.tape.note_now(What::Revoked(self.places(&going)));
        Ok(())
    }

    fn assigned(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        let new = rebalance.partitions().to_vec();
        self.tape.note_now(What::Assigned(self.places(&new)));
        lock(&self.told).has.extend(new);
        Ok(())
    }

    fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.tape.note_now(What::Lost(self.places(partitions)));
        let mut told = lock(&self.told);
        told.has.retain(|place| !partitions.contains(place));
        told.processed.retain(|place, _| !partitions.contains(place));
        Ok(())
    }
}

impl Listener {
    fn place(&self, place: &TopicPartition) -> Partition {
        self.tape.place(&place.topic, place.partition)
    }

    fn places(&self, partitions: &[TopicPartition]) -> Vec<Partition> {
        partitions.iter().map(|place| self.place(place)).collect()
    }
}

/// Whether a poll was answered like this because its consumer is no member any more.
pub(crate) fn is_eviction(error: &Error) -> bool {
    matches!(error, Error::MemberEvicted { .. })
}

/// Whether a commit was refused because its consumer is no member any more.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::CommitFenced { .. })
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
