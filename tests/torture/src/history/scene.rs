//! What the threads of a round share: the broker, its topics, and how far the round has come.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ottla::{Broker, TopicConfig};
use tempfile::TempDir;

use super::recorder::Recorder;
use crate::common::outcome::Failure;
use crate::common::process::unexpected;
use crate::common::random::Random;

pub(crate) const MAX_RECORD_BYTES: u64 = 4 << 10;
/// Topics that are there from the beginning; groups follow them by name or by this prefix.
pub(crate) const FIRST_TOPICS: [&str; 2] = ["stream.0", "stream.1"];
pub(crate) const PREFIX: &str = "stream.";
const MAX_TOPICS: usize = 6;
const MAX_PARTITIONS: u32 = 9;

/// What a round is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everybody does what they like.
    Going,
    /// Producers are to end.
    Stopping,
    /// Nobody sends any more, and readers are to read all that there is.
    Draining,
    /// Something went wrong: all threads are to end.
    Failed,
}

pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) recorder: Arc<Recorder>,
    /// How many partitions each has, by all that is known.
    topics: RwLock<Vec<(String, u32)>>,
    /// Those that were deleted, or are about to be.
    deleted: RwLock<BTreeSet<String>>,
    /// So many topics were made.
    made: AtomicUsize,
    phase: AtomicU8,
    place: Option<TempDir>,
}

impl Scene {
    pub(crate) fn new(on_disk: bool, random: &mut Random) -> Result<Arc<Self>, Failure> {
        let place = on_disk.then(|| tempfile::Builder::new().prefix("torture-history-").tempdir());
        let place = place.transpose().map_err(|error| Failure::harness("make a directory", error))?;
        let broker = match &place {
            Some(place) => Broker::open(place.path()).map_err(unexpected("a new directory does not open"))?,
            None => Broker::in_memory(),
        };
        let scene = Self {
            broker,
            recorder: Arc::default(),
            topics: RwLock::default(),
            deleted: RwLock::default(),
            made: AtomicUsize::new(FIRST_TOPICS.len()),
            phase: AtomicU8::new(Phase::Going as u8),
            place,
        };
        for topic in FIRST_TOPICS {
            scene.create_topic(topic, random)?;
        }
        Ok(Arc::new(scene))
    }

    /// Where the broker keeps its files.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.place.as_ref().map(TempDir::path)
    }

    pub(crate) fn topics(&self) -> Vec<(String, u32)> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn create_topic(&self, name: &str, random: &mut Random) -> Result<(), Failure> {
        let partitions = random.range(1..5) as u32;
        let config = TopicConfig::new().partitions(partitions).max_record_bytes(MAX_RECORD_BYTES);
        self.broker.create_topic(name, config).map_err(unexpected("a topic cannot be made"))?;
        self.topics.write().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), partitions));
        Ok(())
    }

    /// Makes one more topic, which groups may have to find; false if there are enough.
    pub(crate) fn appear(&self, random: &mut Random) -> Result<bool, Failure> {
        if self.topics().len() >= MAX_TOPICS {
            return Ok(false);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.create_topic(&format!("{PREFIX}{number}"), random).map(|()| true)
    }

    /// Deletes a topic that was not there from the beginning; false if there is none.
    pub(crate) fn disappear(&self, random: &mut Random) -> Result<bool, Failure> {
        let topics = self.topics();
        if topics.len() == FIRST_TOPICS.len() {
            return Ok(false);
        }
        let at = random.range(FIRST_TOPICS.len() as u64..topics.len() as u64) as usize;
        let (name, _) = &topics[at];
        self.topics.write().unwrap_or_else(PoisonError::into_inner).remove(at);
        self.deleted.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        self.broker.delete_topic(name).map_err(unexpected("a topic cannot be deleted"))?;
        Ok(true)
    }

    pub(crate) fn is_deleted(&self, topic: &str) -> bool {
        self.deleted.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    /// Gives a topic more partitions; false if it has enough.
    pub(crate) fn grow(&self, random: &mut Random) -> Result<bool, Failure> {
        let topics = self.topics();
        let at = random.below(topics.len() as u64) as usize;
        let (name, partitions) = &topics[at];
        let to = partitions + random.range(1..3) as u32;
        if to > MAX_PARTITIONS {
            return Ok(false);
        }
        let grown = self.broker.increase_partitions(name, to);
        grown.map_err(unexpected("a topic does not get more partitions"))?;
        self.topics.write().unwrap_or_else(PoisonError::into_inner)[at].1 = to;
        Ok(true)
    }

    pub(crate) fn is_at(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) == phase as u8
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }
}
