//! What a consumer reads: its partitions, whose turn it is, and how much a poll takes from them.

use std::collections::BTreeMap;

use super::assigned::Assigned;
use super::limits::{Limits, Taken};
use super::policy::OutOfRange;
use super::records::PartitionRun;
use crate::error::{Error, Result};
use crate::group::{Commit, Place};
use crate::ids::TopicPartition;
use crate::log::Files;
use crate::sync::Arc;
use crate::sync::signal::Waiters;

/// The partitions of a consumer.
#[derive(Debug)]
pub(super) struct Subscription {
    partitions: Vec<Assigned>,
    /// Where each of them is in that list.
    numbers: BTreeMap<Place, usize>,
    /// Which partition is asked first by the next fetch.
    first: usize,
    policy: OutOfRange,
    limits: Limits,
    files: Files,
    /// Rises when partitions come or go.
    revision: u64,
}

/// What a fetch has so far.
#[derive(Debug, Default)]
struct Haul {
    runs: Vec<PartitionRun>,
    taken: Taken,
    /// From which partition each run is; kept only while the runs may have to go back.
    sources: Vec<usize>,
}

/// Whether a fetch goes on.
enum Room {
    Left,
    /// The next fetch begins with this partition.
    Full {
        next: usize,
    },
}

impl Subscription {
    pub(super) fn new(partitions: Vec<Assigned>, policy: OutOfRange, limits: Limits) -> Self {
        let numbers = numbered(&partitions);
        Self { partitions, numbers, first: 0, policy, limits, files: Files::Here, revision: 0 }
    }

    pub(super) fn add(&mut self, assigned: Assigned) {
        self.numbers.insert(assigned.place(), self.partitions.len());
        self.partitions.push(assigned);
        self.revision += 1;
    }

    pub(super) fn remove(&mut self, is_gone: impl Fn(&Assigned) -> bool) -> Vec<Assigned> {
        self.revision += 1;
        let gone = self.partitions.extract_if(.., |assigned| is_gone(assigned)).collect();
        self.numbers = numbered(&self.partitions);
        gone
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn policy(&self) -> OutOfRange {
        self.policy
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Where fetches read files from now on.
    pub(super) fn read_files(&mut self, files: Files) {
        self.files = files;
    }

    /// Whether fetches may block.
    pub(super) fn reads_here(&self) -> bool {
        matches!(self.files, Files::Here)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What there is to read, from each partition as much as lies together, beginning with another one each
    /// time; with `min_bytes`, more of each, and nothing at all if there is not as much as that. An error is
    /// returned only when there is nothing before it; otherwise it waits for the next fetch.
    pub(super) fn fetch(&mut self, min_bytes: Option<usize>) -> Result<Vec<PartitionRun>> {
        let outcome = self.fetch_runs(min_bytes);
        // Without a minimum, a run that was fetched is returned, and counted where its log is at hand.
        if let Ok(runs) = &outcome
            && min_bytes.is_some()
        {
            let logs = runs.iter().filter_map(|run| Some((run, self.find(run.place())?)));
            logs.for_each(|(run, assigned)| assigned.note_fetched(run));
        }
        outcome
    }

    #[inline]
    fn fetch_runs(&mut self, min_bytes: Option<usize>) -> Result<Vec<PartitionRun>> {
        let mut haul = Haul::default();
        let count = self.partitions.len();
        for step in 0..count {
            let number = (self.first + step) % count;
            match self.fetch_from(number, min_bytes, &mut haul) {
                Ok(Room::Left) => {}
                Ok(Room::Full { next }) => {
                    self.first = next % count;
                    return Ok(haul.runs);
                }
                Err(error) if haul.runs.is_empty() => {
                    self.first = (number + 1) % count;
                    return Err(error);
                }
                Err(_) => {
                    // The partition is asked first next time, and answers the same.
                    self.first = number;
                    return Ok(haul.runs);
                }
            }
        }
        if min_bytes.is_some_and(|min_bytes| haul.taken.bytes < min_bytes) {
            self.put_back(&haul);
            return Ok(Vec::new());
        }
        if !haul.runs.is_empty() {
            self.first = (self.first + 1) % count;
        }
        Ok(haul.runs)
    }

    #[inline]
    fn fetch_from(&mut self, number: usize, min_bytes: Option<usize>, haul: &mut Haul) -> Result<Room> {
        let assigned = &mut self.partitions[number];
        while let Some(mut run) = assigned.fetch(self.policy, &self.files)? {
            let portion = self.limits.portion(haul.taken);
            let is_cut = portion.is_some_and(|portion| assigned.cut(&mut run, &portion));
            if is_cut && run.records() == 0 {
                return Ok(Room::Full { next: number });
            }
            if min_bytes.is_none() {
                assigned.note_fetched(&run);
            }
            haul.taken.records += run.records();
            haul.taken.bytes += run.bytes();
            haul.runs.push(run);
            if is_cut || self.limits.are_reached(haul.taken) {
                return Ok(Room::Full { next: number + 1 });
            }
            match min_bytes {
                Some(min_bytes) if haul.taken.bytes < min_bytes => haul.sources.push(number),
                _ => break,
            }
        }
        Ok(Room::Left)
    }

    fn put_back(&mut self, haul: &Haul) {
        for (run, &number) in haul.runs.iter().zip(&haul.sources).rev() {
            self.partitions[number].go_back(run);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Assigned> {
        self.partitions.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Assigned> {
        self.partitions.iter_mut()
    }

    /// Those who know of news in the partitions that are not paused.
    pub(super) fn waiters(&self) -> impl Iterator<Item = &Arc<Waiters>> {
        let awaited = self.iter().filter(|assigned| !assigned.is_paused());
        awaited.map(|assigned| assigned.log().waiters())
    }

    pub(super) fn get(&self, topic: &str, partition: u32) -> Result<&Assigned> {
        let found = self.iter().find(|assigned| assigned.is(topic, partition));
        found.ok_or_else(|| not_assigned(topic, partition))
    }

    pub(super) fn get_mut(&mut self, topic: &str, partition: u32) -> Result<&mut Assigned> {
        let found = self.iter_mut().find(|assigned| assigned.is(topic, partition));
        found.ok_or_else(|| not_assigned(topic, partition))
    }

    /// Pauses or resumes partitions of a topic: all of them, or after an error none.
    pub(super) fn set_paused(&mut self, topic: &str, partitions: &[u32], paused: bool) -> Result<()> {
        for &partition in partitions {
            self.get(topic, partition)?;
        }
        for &partition in partitions {
            self.get_mut(topic, partition)?.set_paused(paused);
        }
        Ok(())
    }

    /// A partition by the id of its topic, which no later topic of the same name has.
    pub(super) fn find(&self, place: Place) -> Option<&Assigned> {
        self.numbers.get(&place).and_then(|&number| self.partitions.get(number))
    }

    /// The name of a partition of this consumer.
    pub(super) fn name_of(&self, place: Place) -> TopicPartition {
        self.find(place).map_or_else(|| TopicPartition::new("", place.1), Assigned::topic_partition)
    }

    /// Commits of offsets that the user names; of none beyond the end, which would make the group miss what
    /// is yet to be sent.
    pub(super) fn commits_for(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, u64)>,
    ) -> Result<Vec<Commit>> {
        let commits = offsets.into_iter().map(|(TopicPartition { topic, partition }, offset)| {
            let assigned = self.get(&topic, partition)?;
            assigned.log().check_readable()?;
            assigned.check_not_beyond_end(offset)?;
            let (topic_id, epoch) = (assigned.topic_id(), assigned.epoch());
            Ok(Commit { topic_id, partition, offset, metadata: String::new(), epoch })
        });
        commits.collect()
    }
}

fn numbered(partitions: &[Assigned]) -> BTreeMap<Place, usize> {
    partitions.iter().map(Assigned::place).zip(0..).collect()
}

pub(super) fn not_assigned(topic: &str, partition: u32) -> Error {
    Error::NotAssigned { partition: TopicPartition::new(topic, partition) }
}
