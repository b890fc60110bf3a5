//! Opening all logs of a directory: they are looked through first, then mended, each by itself and many at
//! the same time. What is refused as a whole is refused before anything is changed.

use std::collections::BTreeMap;

use super::super::catalog_file::{TopicEntry, TopicState};
use super::super::checkpoint::Checkpoint;
use super::{Catalog, CatalogHome, identities, new_topic};
use crate::config::{Durability, RecoveryPolicy, TopicDefaults};
use crate::error::{Error, Result};
use crate::ids::{COMMITTED_OFFSETS_TOPIC, TopicPartition};
use crate::log::{ExaminedLog, LogIdentity, LogPlace, Mending, PartitionLog, Request, SyncedTo, Verified};
use crate::sync::{Arc, parallel};

/// How a directory is to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) policy: RecoveryPolicy,
    /// Whether to read also what is known to have been synced.
    pub(crate) everything: bool,
}

impl Opening {
    /// To know all damage is what makes it possible to choose what to do about it.
    fn reads_everything(self) -> bool {
        self.everything || self.policy != RecoveryPolicy::Strict
    }
}

/// What opening a catalog found and mended.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// One for each partition on disk.
    pub(crate) logs: Vec<Mending>,
    /// Names of topics of which something was to be removed, and could not be.
    pub(crate) left: Vec<String>,
    /// Why the checkpoint says nothing, if there is one.
    pub(crate) checkpoint_fault: Option<String>,
}

/// A log that is to be opened.
struct Found {
    /// Which of the topics it belongs to.
    topic: usize,
    identity: LogIdentity,
    place: LogPlace,
    start_offset: u64,
}

impl Catalog {
    /// Reads the catalog of a directory, finishes what was interrupted, and opens all logs.
    pub(crate) fn open(
        home: CatalogHome,
        defaults: TopicDefaults,
        opening: Opening,
    ) -> Result<(Self, Opened)> {
        let list = home.read()?;
        let (known, checkpoint_fault) = read_checkpoint(&home)?;
        let live: Vec<TopicEntry> = live(&list).cloned().collect();
        // Everything is looked through before anything is changed: a directory that is refused stays as it
        // is.
        let examined = examine_all(&home, &live, &known, opening.reads_everything())?;
        let mut opened = Opened { checkpoint_fault, ..Opened::default() };
        let upkeep = Arc::clone(&home.upkeep);
        let catalog = Self::new(list, Some(home), defaults, upkeep);
        catalog.forget_what_is_cut(known, &examined, opening.policy)?;
        catalog.open_all(&live, examined, opening, &mut opened)?;
        if catalog.check_changeable("remove what is left").is_ok() {
            opened.left = catalog.remove_all_leftovers();
        }
        Ok((catalog, opened))
    }

    /// What is cut off is not known to be there any more, whatever happens next.
    fn forget_what_is_cut(
        &self,
        mut known: Checkpoint,
        examined: &[(usize, ExaminedLog)],
        policy: RecoveryPolicy,
    ) -> Result<()> {
        let is_cut = |log: &&ExaminedLog| log.is_to_be_shortened(policy);
        let cut: Vec<u64> =
            examined.iter().map(|(_, log)| log).filter(is_cut).map(|log| log.identity().id).collect();
        if let Some(home) = self.home.as_ref().filter(|home| !cut.is_empty() && !home.read_only) {
            known.synced.retain(|id, _| !cut.contains(id));
            home.write_checkpoint(&known)?;
        }
        *self.checkpoint.lock() = known;
        Ok(())
    }

    fn open_all(
        &self,
        live: &[TopicEntry],
        examined: Vec<(usize, ExaminedLog)>,
        opening: Opening,
        opened: &mut Opened,
    ) -> Result<()> {
        let read_only = self.check_changeable("mend logs").is_err();
        let open = |(topic, log): (usize, ExaminedLog)| -> Result<_> {
            let settings = &live[topic].settings;
            let opened = match read_only {
                true => PartitionLog::open_read_only(log, settings),
                false => PartitionLog::open(log, settings, opening.policy)?,
            };
            Ok((topic, opened))
        };
        let logs = parallel::map(examined, opening.reads_everything(), open);
        let mut by_topic: BTreeMap<usize, Vec<Arc<PartitionLog>>> = BTreeMap::new();
        for log in logs {
            let (topic, (log, found)) = log?;
            opened.logs.push(found);
            by_topic.entry(topic).or_default().push(log);
        }
        for (number, entry) in live.iter().enumerate() {
            let make = if read_only { PartitionLog::in_memory_read_only } else { PartitionLog::in_memory };
            let make = |identity| make(identity, &entry.settings, &self.upkeep);
            let in_memory = || identities(entry).map(make).collect();
            let logs = by_topic.remove(&number).unwrap_or_else(in_memory);
            self.topics.write().insert(entry.name.clone(), Arc::new(new_topic(entry, 0, logs)));
        }
        Ok(())
    }

    /// Finishes what was being made or removed. Returns the names of topics of which something is left: it
    /// stays in the list, and is tried again before the name is used.
    fn remove_all_leftovers(&self) -> Vec<String> {
        let is_left = |entry: &TopicEntry| entry.state != TopicState::Live || !entry.adding.is_empty();
        let mut entries = self.entries.lock();
        match self.remove_leftovers(&mut entries, is_left) {
            Ok(()) => Vec::new(),
            Err(_) => entries.names(is_left),
        }
    }

    /// Writes down how far all logs are synced, in which run of the machine.
    pub(crate) fn write_checkpoint(&self) -> Result<()> {
        let Some(home) = self.home.as_ref().filter(|home| !home.read_only) else { return Ok(()) };
        let mut known = self.checkpoint.lock();
        let mut next = Checkpoint { boot: home.boot_id(), ..Checkpoint::default() };
        for topic in self.all_topics() {
            for log in topic.partitions() {
                let id = log.identity().id;
                let synced = log.synced_to().or_else(|| known.synced.get(&id).copied());
                let synced = match log.fault() {
                    // What is damaged is not to be taken for a torn tail when the machine was restarted.
                    Some(Error::PartitionFenced { first_offset, .. }) => {
                        Some(SyncedTo::up_to(synced, first_offset + 1))
                    }
                    _ => synced,
                };
                next.synced.extend(synced.map(|synced| (id, synced)));
            }
        }
        home.write_checkpoint(&next)?;
        *known = next;
        Ok(())
    }
}

/// Looks through all logs of a directory, and changes nothing.
pub(crate) fn verify(home: &CatalogHome) -> Result<Vec<(TopicPartition, Verified)>> {
    let list = home.read()?;
    let (known, _) = read_checkpoint(home)?;
    let live: Vec<TopicEntry> = live(&list).cloned().collect();
    let examined = examine_all(home, &live, &known, true)?;
    let verified = examined.into_iter().map(|(_, log)| (log.identity().topic_partition(), log.verified()));
    Ok(verified.collect())
}

fn live(list: &[TopicEntry]) -> impl Iterator<Item = &TopicEntry> {
    list.iter().filter(|entry| entry.state == TopicState::Live)
}

/// What is known; nothing if the checkpoint is damaged, and then why.
fn read_checkpoint(home: &CatalogHome) -> Result<(Checkpoint, Option<String>)> {
    Ok(match home.read_checkpoint()? {
        Ok(checkpoint) => (checkpoint.unwrap_or_default(), None),
        Err(error) => (Checkpoint::default(), Some(error.to_string())),
    })
}

/// All logs on disk of these topics, in their order.
fn examine_all(
    home: &CatalogHome,
    live: &[TopicEntry],
    known: &Checkpoint,
    everything: bool,
) -> Result<Vec<(usize, ExaminedLog)>> {
    let on_disk =
        live.iter().enumerate().filter(|(_, entry)| entry.settings.durability != Durability::Memory);
    let found = on_disk.flat_map(|(topic, entry)| {
        let logs = home.places(identities(entry)).zip(&entry.partitions);
        logs.map(move |((identity, place), partition)| Found {
            topic,
            identity,
            place,
            start_offset: partition.start_offset,
        })
    });
    let same_boot = known.boot.is_some() && known.boot == home.boot_id();
    let examine = |found: Found| {
        let Found { topic, identity, place, start_offset } = found;
        let known = known.synced.get(&identity.id).copied();
        // Commits are all read at opening anyway, and no reader would be told what is missing of them.
        let everything = everything || &*identity.topic == COMMITTED_OFFSETS_TOPIC;
        let request = Request { start_offset, known, same_boot, everything, syncs: !home.read_only };
        Ok((topic, PartitionLog::examine(identity, place, &request)?))
    };
    parallel::map(found.collect(), everything, examine).into_iter().collect()
}
