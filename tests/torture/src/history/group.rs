//! The groups of a round, and what the program has to do with groups of this library: how a member joins, how
//! it hears of its assignment, and how rebalances are counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ottla::{Consumer, Error, Raw, TopicPartition};

use super::events::{Partition, What};
use super::recorder::Tape;
use super::scene::{FIRST_TOPICS, PREFIX, Scene};
use crate::common::outcome::Failure;
use crate::common::process::unexpected;
use crate::common::random::Random;

/// A group has at most so many members.
pub(crate) const MAX_MEMBERS: usize = 1;

/// What all members of a group have in common.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Its place in the history.
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    /// It follows all topics of the prefix, or only those that are there from the beginning.
    pub(crate) by_prefix: bool,
    pub(crate) max_poll_interval: Duration,
    joins: AtomicU64,
}

impl Spec {
    pub(crate) fn all(_random: &mut Random) -> [Self; 2] {
        [("prefix", true), ("names", false)].map(|(name, by_prefix)| Self {
            number: usize::from(!by_prefix),
            name,
            by_prefix,
            max_poll_interval: Duration::from_millis(200),
            joins: AtomicU64::new(0),
        })
    }

    pub(crate) fn follows(&self, topic: &str) -> bool {
        self.by_prefix || FIRST_TOPICS.contains(&topic)
    }

    /// A new member.
    pub(crate) fn join(&self, scene: &Scene, tape: &Tape, random: &mut Random) -> Result<Member, Failure> {
        let mut builder = scene.broker.consumer::<Raw, Raw>().group(self.name);
        builder = if self.by_prefix {
            builder.topics_matching(|topic| topic.starts_with(PREFIX))
        } else {
            builder.topics(FIRST_TOPICS)
        };
        if random.one_in(2) {
            builder = builder.max_records(random.pick(&[1, 7, 60]));
        }
        let consumer = builder.build().map_err(unexpected("a member cannot join"))?;
        self.joins.fetch_add(1, Ordering::Relaxed);
        let mut member = Member { consumer, has: Vec::new() };
        member.hear(tape);
        Ok(member)
    }

    /// How many rebalances there have been.
    pub(crate) fn rebalances(&self, _scene: &Scene) -> u64 {
        self.joins.load(Ordering::Relaxed)
    }
}

/// A consumer that is a member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) consumer: Consumer<Raw, Raw>,
    has: Vec<Partition>,
}

impl Member {
    /// Notes what has changed in its assignment.
    pub(crate) fn hear(&mut self, tape: &Tape) {
        let place = |it: TopicPartition| tape.place(&it.topic, it.partition);
        let now: Vec<Partition> = self.consumer.assignment().into_iter().map(place).collect();
        let (gone, new) = (left_of(&self.has, &now), left_of(&now, &self.has));
        if !gone.is_empty() {
            tape.note_now(What::Revoked(gone));
        }
        if !new.is_empty() {
            tape.note_now(What::Assigned(new));
        }
        self.has = now;
    }
}

/// What is in `these` and not in `those`.
fn left_of(these: &[Partition], those: &[Partition]) -> Vec<Partition> {
    these.iter().copied().filter(|it| !those.contains(it)).collect()
}

/// Whether a poll was answered like this because its consumer is no member any more.
pub(crate) fn is_eviction(_error: &Error) -> bool {
    false
}

/// Whether a commit was refused because its consumer is no member any more.
pub(crate) fn is_refusal(_error: &Error) -> bool {
    false
}
