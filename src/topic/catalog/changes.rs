//! Changes of a living topic: its settings, the number of its partitions, where their records begin. Each is
//! in the catalog file before it has an effect.

use super::{Catalog, Entries, PartitionEntry, Topic, TopicConfig, TopicEntry, added_identities};
use crate::config::{Durability, TopicSettings, checked_partitions};
use crate::error::{Error, Result};
use crate::ids::random_id;
use crate::log::PartitionLog;
use crate::sync::Arc;

impl Catalog {
    /// Changes the settings that `config` names.
    pub(crate) fn alter(&self, name: &str, config: &TopicConfig) -> Result<()> {
        self.check_changeable("alter a topic")?;
        let mut entries = self.entries.lock();
        let topic = self.living_topic(&entries, name)?;
        let settings = config.altered(&topic.settings())?;
        if settings == topic.settings() {
            return Ok(());
        }
        self.change_or_keep(&mut entries, topic.id(), |entry| entry.settings = settings.clone())?;
        topic.apply(settings, Vec::new());
        self.look_after(&topic);
        Ok(())
    }

    /// Adds partitions until there are `to`.
    pub(crate) fn increase_partitions(&self, name: &str, to: u32) -> Result<()> {
        self.check_changeable("add partitions")?;
        let mut entries = self.entries.lock();
        let topic = self.living_topic(&entries, name)?;
        let existing = topic.partition_count();
        if to < existing {
            return Err(Error::FewerPartitions { topic: name.to_owned(), existing, requested: to });
        }
        checked_partitions(to)?;
        // What an earlier attempt left goes first: it has the same directories.
        self.remove_added(&mut entries, topic.id())?;
        let Some(entry) = entries.get(topic.id()).cloned().filter(|_| to > existing) else { return Ok(()) };
        let added = self.add_partitions(&mut entries, entry, to);
        if added.is_err() {
            // What cannot be undone now either is undone before the next attempt, or at the next open.
            drop(self.remove_added(&mut entries, topic.id()));
        }
        let (settings, logs) = added?;
        topic.apply(settings, logs);
        self.notify_changed();
        Ok(())
    }

    /// Writes down that partitions are being added, makes their directories, opens their logs, and writes
    /// down that they are there.
    fn add_partitions(
        &self,
        entries: &mut Entries,
        mut entry: TopicEntry,
        to: u32,
    ) -> Result<(TopicSettings, Vec<Arc<PartitionLog>>)> {
        let first = entry.partitions.len();
        entry.adding = (first..to as usize).map(|_| random_id()).collect();
        let home = self.home_of(&entry);
        home.map_or(Ok(()), |home| home.check_no_strays(added_identities(&entry)))?;
        self.change(entries, entry.id, |known| known.adding.clone_from(&entry.adding))?;
        home.map_or(Ok(()), |home| home.make(added_identities(&entry)))?;
        entry.partitions.extend(entry.adding.drain(..).map(PartitionEntry::new));
        entry.settings.partitions = to;
        let logs = self.open_logs(&entry, first)?;
        self.change(entries, entry.id, |known| known.clone_from(&entry))?;
        Ok((entry.settings, logs))
    }

    /// Removes the directories of partitions that were being added, then what the catalog says of them. The
    /// file says beforehand that they are not there: it may say that they are, if a failure left that open.
    pub(super) fn remove_added(&self, entries: &mut Entries, id: u64) -> Result<()> {
        let Some(entry) = entries.get(id).filter(|entry| !entry.adding.is_empty()).cloned() else {
            return Ok(());
        };
        self.persist(&entries.list)?;
        self.home_of(&entry).map_or(Ok(()), |home| home.remove(added_identities(&entry)))?;
        self.change(entries, id, |entry| entry.adding.clear())?;
        Ok(())
    }

    /// Deletes the records of a partition below `before`. Returns where it begins now.
    pub(crate) fn delete_records(&self, name: &str, partition: u32, before: u64) -> Result<u64> {
        self.check_changeable("delete records")?;
        let topic = self.user_topic(name)?;
        let log = topic.partition(partition)?;
        if !log.check_trim(before)? {
            return Ok(log.start_offset());
        }
        // A power loss must not take records that the catalog says lie below what is kept.
        log.sync()?;
        // Held to the end: the directory of a topic that is deleted and made anew has files of the same
        // names.
        let mut entries = self.entries.lock();
        if entries.closed {
            return Err(Error::Closed);
        }
        // Another call may have got further meanwhile, or the topic be gone.
        if !log.check_trim(before)? {
            return Ok(log.start_offset());
        }
        // A topic in memory begins anew with offset 0 when the broker is opened again.
        if topic.settings().durability != Durability::Memory {
            self.change_or_keep(&mut entries, topic.id(), |entry| {
                entry.partitions[partition as usize].start_offset = before;
            })?;
        }
        let trimmed = log.trim(before);
        // What cannot be removed holds nothing but deleted records.
        drop(log.remove_files(&trimmed.segments));
        Ok(log.start_offset())
    }

    /// The topic, if it can be changed.
    fn living_topic(&self, entries: &Entries, name: &str) -> Result<Arc<Topic>> {
        if entries.closed { Err(Error::Closed) } else { self.user_topic(name) }
    }

    /// Changes one entry. After a failure the old list is in force, and the file says so too, unless that
    /// fails as well.
    fn change_or_keep(
        &self,
        entries: &mut Entries,
        id: u64,
        change: impl FnOnce(&mut TopicEntry),
    ) -> Result<()> {
        self.change_list_or_keep(entries, |list| {
            if let Some(entry) = list.iter_mut().find(|entry| entry.id == id) {
                change(entry);
            }
        })
    }

    /// As [`change_or_keep`](Self::change_or_keep), any number of entries.
    pub(super) fn change_list_or_keep(
        &self,
        entries: &mut Entries,
        change: impl FnOnce(&mut Vec<TopicEntry>),
    ) -> Result<()> {
        self.change_list(entries, change).map_err(|failed| {
            if !failed.old_is_there {
                // Any later change that is written down mends it too.
                drop(self.persist(&entries.list));
            }
            failed.error
        })
    }
}
