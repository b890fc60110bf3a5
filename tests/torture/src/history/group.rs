//! The groups of a round, and what the program has to do with groups of this library: how a member joins, how
//! it hears of its assignment, and how rebalances are counted.

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
use super::scene::{FIRST_TOPICS, PREFIX, Phase, Scene};
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

/// What members subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscribes {
    /// To all topics of the prefix.
    ToPrefix,
    /// Only to the topics that are there from the beginning.
    ToNames,
    /// Each to something else.
    Mixed,
}

/// How a member commits what it has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// Before it polls again.
    Each,
    /// Now and then, and what is revoked.
    Late,
    /// The consumer does, with the next poll.
    Auto,
}

/// What all members of a group have in common.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its place in the history.
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    subscribes: Subscribes,
    division: Division,
    /// How long its members are waited for if they are static.
    instance_timeout: Option<Duration>,
    pub(crate) max_poll_interval: Duration,
    generation: AtomicU64,
    rebalances: AtomicU64,
}

impl Spec {
    pub(crate) fn all(random: &mut Random, max_poll_interval: Duration) -> [Self; 2] {
        let second = random.pick(&[("names", Subscribes::ToNames), ("mixed", Subscribes::Mixed)]);
        let mut number = 0..;
        [("prefix", Subscribes::ToPrefix), second].map(|(name, subscribes)| Self {
            number: number.next().unwrap_or_default(),
            name,
            subscribes,
            division: random.pick(&[Division::Range, Division::RoundRobin, Division::Sticky]),
            instance_timeout: random.one_in(3).then(|| Duration::from_millis(random.range(50..400))),
            max_poll_interval,
            generation: AtomicU64::new(0),
            rebalances: AtomicU64::new(0),
        })
    }

    pub(crate) fn follows(&self, topic: &str) -> bool {
        self.subscribes != Subscribes::ToNames || FIRST_TOPICS.contains(&topic)
    }

    /// Whether its members leave topics to each other. Those that join at the end read all of them.
    pub(crate) fn is_mixed(&self) -> bool {
        self.subscribes == Subscribes::Mixed
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
        let commits = random.pick(&[Commits::Each, Commits::Late, Commits::Auto]);
        let listener = Listener { tape: tape.clone(), told: Arc::clone(&told), commits };
        let mut builder = self.builder(scene, random).rebalance_listener(listener);
        builder = builder.auto_commit(commits == Commits::Auto);
        if let Some(timeout) = self.instance_timeout {
            builder = builder.instance_id(format!("slot{slot}")).instance_timeout(timeout);
        }
        if random.one_in(2) {
            builder = builder.max_records(random.pick(&[1, 7, 60]));
        }
        let consumer = builder.build().map_err(unexpected("a member cannot join"))?;
        if self.instance_timeout.is_some() && random.one_in(4) {
            self.must_be_in_use(scene, slot, random)?;
        }
        Ok(Member { consumer, told, commits })
    }

    /// Nobody else can be this instance.
    fn must_be_in_use(&self, scene: &Scene, slot: usize, random: &mut Random) -> Result<(), Failure> {
        match self.builder(scene, random).instance_id(format!("slot{slot}")).build() {
            Err(Error::InstanceInUse { .. }) => Ok(()),
            other => {
                let what = format!("one more with the instance id of a member: {other:?}");
                Err(Failure::new(Finding::WrongError, what))
            }
        }
    }

    fn builder(&self, scene: &Scene, random: &mut Random) -> ConsumerBuilder<Raw, Raw> {
        let builder = scene.broker.consumer::<Raw, Raw>().group(self.name);
        let builder = builder.max_poll_interval(self.max_poll_interval);
        let prefix = |topic: &str| topic.starts_with(PREFIX);
        let choice = if scene.is_at(Phase::Going) { random.below(4) } else { 0 };
        let builder = match (self.subscribes, choice) {
            (Subscribes::ToPrefix, _) | (Subscribes::Mixed, 0 | 1) => builder.topics_matching(prefix),
            (Subscribes::Mixed, 2) => builder.topic(FIRST_TOPICS[0]),
            // Every other one.
            (Subscribes::Mixed, 3) => builder.topics_matching(move |topic| {
                prefix(topic) && topic.bytes().last().is_some_and(|digit| digit % 2 == 1)
            }),
            _ => builder.topics(FIRST_TOPICS),
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
    pub(crate) commits: Commits,
}

impl Member {
    /// It has what it was told.
    pub(crate) fn check_assignment(&self, scene: &Scene) -> Result<(), Failure> {
        let mut told = lock(&self.told).has.clone();
        told.sort();
        let mut has = self.consumer.assignment();
        has.sort();
        // One that was told that a topic is gone may have it until a poll has answered so.
        has.retain(|place| told.contains(place) || !scene.is_deleted(&place.topic));
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
    commits: Commits,
}

impl RebalanceListener for Listener {
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        let going = rebalance.partitions().to_vec();
        let mut told = lock(&self.told);
        told.has.retain(|place| !going.contains(place));
        let processed: Vec<(TopicPartition, u64)> =
            going.iter().filter_map(|place| told.processed.remove_entry(place)).collect();
        drop(told);
        if !processed.is_empty() {
            let places = processed.iter().map(|(place, end)| (self.place(place), *end)).collect();
            let begun = self.tape.step();
            let committed = match self.commits {
                // By the poll that this is called in, before.
                Commits::Auto => Ok(()),
                Commits::Each | Commits::Late => rebalance.commit_offsets(processed),
            };
            let outcome = match committed {
                Ok(()) => Outcome::Done,
                Err(error) if is_refusal(&error) => Outcome::Refused,
                // Nobody gets them.
                Err(Error::TopicDeleted { .. }) => Outcome::Unknown,
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

/// Whether it says of a topic that was deleted that it was.
pub(crate) fn is_deletion(error: &Error, scene: &Scene) -> bool {
    matches!(error, Error::TopicDeleted { topic } if scene.is_deleted(topic))
}

/// Whether a commit was refused because its consumer is no member any more.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::CommitFenced { .. })
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
