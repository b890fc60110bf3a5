//! All topics by name. A change is persisted before it is visible: creating, deleting and adding partitions
//! first say so in the catalog file, then touch directories, then say that it is done; what is found
//! unfinished is undone when the broker is opened.

mod changes;
mod home;
mod housekeeping;
mod opening;

use std::collections::BTreeMap;

pub(crate) use home::CatalogHome;
pub(crate) use housekeeping::Round;
pub(crate) use opening::{Opened, Opening, verify};

use self::home::PersistError;
use super::Topic;
use super::catalog_file::{PartitionEntry, TopicEntry, TopicState};
use super::checkpoint::Checkpoint;
use crate::config::{Compaction, Durability, RecoveryPolicy, TopicConfig, TopicDefaults, TopicSettings};
use crate::error::{Error, Result};
use crate::ids::{COMMITTED_OFFSETS_TOPIC, check_topic_name, random_id, topic_names_collide};
use crate::log::{ExaminedLog, LogIdentity, PartitionLog, Request, Upkeep};
use crate::sync::signal::Waiters;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};

/// The commits of all groups are read at opening: what is superseded goes soon.
const COMMITS_SEGMENT_BYTES: u64 = 4 << 20;

/// The topics of a broker. Its locks come before all others: `entries`, then `topics`.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// What the catalog file says; held for the whole of a change.
    entries: Mutex<Entries>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    home: Option<CatalogHome>,
    /// What was known of all logs when the broker was opened. It stays known of those of which nothing else
    /// is later.
    checkpoint: Mutex<Checkpoint>,
    defaults: TopicDefaults,
    /// Rises when a change of topics or partitions has become visible.
    version: AtomicU64,
    /// Notified when `version` has risen.
    waiters: Arc<Waiters>,
    upkeep: Arc<Upkeep>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<TopicEntry>,
    closed: bool,
}

impl Drop for Catalog {
    /// The housekeeper ends.
    fn drop(&mut self) {
        self.upkeep.catalog_gone();
    }
}

/// A topic that is gone.
#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) topic: Arc<Topic>,
    /// Whether its files are gone too; what is left goes when the name is used, or at the next open.
    pub(crate) files: Result<()>,
}

/// The logs of a topic on disk; `None` if it lives in memory.
type Examined = Option<Vec<ExaminedLog>>;

impl Entries {
    fn get(&self, id: u64) -> Option<&TopicEntry> {
        self.list.iter().find(|entry| entry.id == id)
    }

    /// A topic that is gone, while it is not known whether the file says so, is like one that was never
    /// finished: no later change brings it back, and the file says that it goes before its directories do.
    fn forget(&mut self, id: u64) {
        let gone = self.list.iter_mut().filter(|entry| entry.id == id);
        gone.for_each(|entry| entry.state = TopicState::Creating);
    }

    fn names(&self, which: impl Fn(&TopicEntry) -> bool) -> Vec<String> {
        self.list.iter().filter(|entry| which(entry)).map(|entry| entry.name.clone()).collect()
    }
}

impl Catalog {
    /// The catalog of a broker without a directory.
    pub(crate) fn in_memory(upkeep: Arc<Upkeep>) -> Self {
        Self::new(Vec::new(), None, TopicDefaults::in_memory(), upkeep)
    }

    fn new(
        list: Vec<TopicEntry>,
        home: Option<CatalogHome>,
        defaults: TopicDefaults,
        upkeep: Arc<Upkeep>,
    ) -> Self {
        Self {
            entries: Mutex::new(Entries { list, closed: false }),
            topics: RwLock::default(),
            home,
            checkpoint: Mutex::default(),
            defaults,
            version: AtomicU64::new(0),
            waiters: Arc::default(),
            upkeep,
        }
    }

    /// A number that rises whenever a topic or partition was added, or a topic removed, and can be seen here.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Those who are notified when the version has risen.
    pub(crate) fn waiters(&self) -> &Arc<Waiters> {
        &self.waiters
    }

    fn notify_changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.waiters.notify_all();
    }

    /// The topic called `name`.
    fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        let found = self.topics.read().get(name).cloned();
        found.ok_or_else(|| Error::TopicNotFound { topic: name.to_owned() })
    }

    /// The topic called `name`, unless it is internal.
    pub(crate) fn user_topic(&self, name: &str) -> Result<Arc<Topic>> {
        if name == COMMITTED_OFFSETS_TOPIC {
            check_user_topic_name(name)?;
        }
        self.topic(name)
    }

    /// All topics that users made, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        let topics = self.topics.read();
        topics.values().filter(|topic| &**topic.name() != COMMITTED_OFFSETS_TOPIC).cloned().collect()
    }

    /// Whether topics may be changed; if not, `operation` cannot be done.
    fn check_changeable(&self, operation: &'static str) -> Result<()> {
        match &self.home {
            Some(home) if home.read_only => Err(Error::ReadOnly { operation }),
            _ => Ok(()),
        }
    }

    /// Makes a topic that must not exist.
    pub(crate) fn create(&self, name: &str, config: &TopicConfig) -> Result<Arc<Topic>> {
        self.check_changeable("create a topic")?;
        let settings = self.checked(name, config)?;
        let mut entries = self.entries.lock();
        self.create_entry(&mut entries, name, settings)
    }

    /// Makes a topic unless it exists; an existing one must agree with every setting that `config` names.
    pub(crate) fn open_or_create(&self, name: &str, config: &TopicConfig) -> Result<Arc<Topic>> {
        let settings = self.checked(name, config)?;
        self.open_or_create_checked(name, settings, config)
    }

    /// The internal topic of the committed offsets: one partition, kept like any other.
    pub(crate) fn committed_offsets_topic(&self) -> Result<Arc<Topic>> {
        if self.check_changeable("commit offsets").is_err() {
            return self.topic(COMMITTED_OFFSETS_TOPIC);
        }
        let durability = self.defaults.durability.max(Durability::ProcessCrash);
        let (compaction, segment_bytes) = (Compaction::by_key(), COMMITS_SEGMENT_BYTES);
        let config = TopicConfig::new().durability(durability);
        let config = config.compaction(compaction.clone()).segment_bytes(segment_bytes);
        let settings = config.settings(&self.defaults)?;
        let anything = TopicConfig::new();
        let topic = self.open_or_create_checked(COMMITTED_OFFSETS_TOPIC, settings, &anything)?;
        // The settings are the broker's of today, whatever they were when the topic was made.
        let sync_interval = self.defaults.sync_interval;
        let compaction = Some(compaction);
        let settings =
            TopicSettings { durability, sync_interval, segment_bytes, compaction, ..topic.settings() };
        topic.apply(settings, Vec::new());
        Ok(topic)
    }

    fn open_or_create_checked(
        &self,
        name: &str,
        settings: TopicSettings,
        config: &TopicConfig,
    ) -> Result<Arc<Topic>> {
        let mut entries = self.entries.lock();
        let Ok(topic) = self.topic(name) else {
            self.check_changeable("create a topic")?;
            return self.create_entry(&mut entries, name, settings);
        };
        match config.disagreement(&topic.settings()) {
            Some((setting, existing, requested)) => {
                Err(Error::TopicConfigMismatch { topic: name.to_owned(), setting, existing, requested })
            }
            None => Ok(topic),
        }
    }

    /// Deletes a topic; whoever holds it is told. After an error it is there, or whether it will be at the
    /// next open is not known.
    pub(crate) fn delete(&self, name: &str) -> Result<Deleted> {
        self.check_changeable("delete a topic")?;
        check_user_topic_name(name)?;
        let mut entries = self.entries.lock();
        if entries.closed {
            return Err(Error::Closed);
        }
        let topic = self.topic(name)?;
        let written = self.set_state(&mut entries, topic.id(), TopicState::Deleting);
        if let Err(failed) = written {
            if failed.old_is_there || self.persist(&entries.list).is_ok() {
                return Err(failed.error);
            }
            // Whether the file says that the topic is being deleted is not known, and cannot be mended now.
            // Nothing may be acknowledged any more that the next open would remove.
            entries.forget(topic.id());
            self.end(&topic);
            return Err(failed.error);
        }
        self.end(&topic);
        let files = self.remove_entry(&mut entries, topic.id());
        Ok(Deleted { topic, files })
    }

    fn end(&self, topic: &Topic) {
        self.topics.write().remove(&**topic.name());
        for log in topic.partitions() {
            log.delete();
        }
        self.notify_changed();
    }

    /// Ends all topics, and writes down how far they are synced; the first error of those that they gave.
    pub(crate) fn close(&self) -> Result<()> {
        self.entries.lock().closed = true;
        let mut outcome = Ok(());
        for topic in self.all_topics() {
            outcome = outcome.and(topic.close());
        }
        // Without it nothing is lost: the next open reads more.
        outcome.and(self.write_checkpoint())
    }

    /// All topics by name, the internal one among them.
    pub(crate) fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    /// All logs that take no records for now or for good, and why.
    pub(crate) fn faults(&self) -> Vec<(LogIdentity, Error)> {
        let mut faults = Vec::new();
        for topic in self.all_topics() {
            let of_topic = topic.partitions().filter_map(|log| Some((log.identity().clone(), log.fault()?)));
            faults.extend(of_topic);
        }
        faults
    }

    fn checked(&self, name: &str, config: &TopicConfig) -> Result<TopicSettings> {
        check_user_topic_name(name)?;
        config.settings(&self.defaults)
    }

    fn create_entry(&self, entries: &mut Entries, name: &str, settings: TopicSettings) -> Result<Arc<Topic>> {
        if entries.closed {
            return Err(Error::Closed);
        }
        self.check_free(name)?;
        self.remove_leftovers(entries, |entry| entry.name == name)?;
        let entry = TopicEntry {
            name: name.to_owned(),
            id: random_id(),
            state: TopicState::Creating,
            partitions: (0..settings.partitions).map(|_| PartitionEntry::new(random_id())).collect(),
            adding: Vec::new(),
            settings,
        };
        self.home_of(&entry).map_or(Ok(()), |home| home.check_no_strays(identities(&entry)))?;
        entries.list.push(entry.clone());
        let made = self.make(entries, &entry);
        match made {
            Ok(topic) => {
                let topic = Arc::new(topic);
                self.topics.write().insert(name.to_owned(), Arc::clone(&topic));
                self.notify_changed();
                self.look_after(&topic);
                Ok(topic)
            }
            Err(error) => {
                // What cannot be undone now either is undone before the name is used again, or at the next
                // open.
                drop(self.remove_entry(entries, entry.id));
                Err(error)
            }
        }
    }

    /// Writes down that the topic is being made, makes its directories, opens its logs, and writes down that
    /// it is there: one that cannot be opened would keep the broker from opening again.
    fn make(&self, entries: &mut Entries, entry: &TopicEntry) -> Result<Topic> {
        self.persist(&entries.list)?;
        self.home_of(entry).map_or(Ok(()), |home| home.make(identities(entry)))?;
        let logs = self.open_logs(entry, 0)?;
        let topic = new_topic(entry, self.version() + 1, logs);
        self.set_state(entries, entry.id, TopicState::Live)?;
        Ok(topic)
    }

    fn check_free(&self, name: &str) -> Result<()> {
        let topics = self.topics.read();
        if topics.contains_key(name) {
            return Err(Error::TopicExists { topic: name.to_owned() });
        }
        if topics.keys().any(|other| topic_names_collide(other, name)) {
            let reason = "a topic exists whose name differs only in '.' and '_'";
            return Err(Error::InvalidTopicName { name: name.to_owned(), reason });
        }
        Ok(())
    }

    /// Where a topic's directories are; `None` if it lives in memory.
    fn home_of(&self, entry: &TopicEntry) -> Option<&CatalogHome> {
        self.home.as_ref().filter(|_| entry.settings.durability != Durability::Memory)
    }

    /// Looks through the logs that a topic has on disk from partition `first` on, all of them new.
    fn examine_logs(&self, entry: &TopicEntry, first: usize) -> Result<Examined> {
        let Some(home) = self.home_of(entry) else { return Ok(None) };
        let request = Request::of_new_log();
        let logs = home.places(identities(entry)).skip(first);
        let examined = logs.map(|(identity, place)| PartitionLog::examine(identity, place, &request));
        examined.collect::<Result<_>>().map(Some)
    }

    /// The logs of a topic from partition `first` on: new ones in their directories, or empty ones in memory.
    fn open_logs(&self, entry: &TopicEntry, first: usize) -> Result<Vec<Arc<PartitionLog>>> {
        let Some(logs) = self.examine_logs(entry, first)? else {
            let logs = identities(entry).skip(first);
            let in_memory = |identity| PartitionLog::in_memory(identity, &entry.settings, &self.upkeep);
            return Ok(logs.map(in_memory).collect());
        };
        let opened = logs.into_iter().map(|log| {
            let (log, _nothing_was_in_it) = PartitionLog::open(log, &entry.settings, RecoveryPolicy::Strict)?;
            Ok(log)
        });
        opened.collect()
    }

    fn set_state(&self, entries: &mut Entries, id: u64, state: TopicState) -> Result<(), PersistError> {
        self.change(entries, id, |entry| entry.state = state)
    }

    /// Changes one entry. After a failure the old list is in force, but may not be what the file says.
    fn change(
        &self,
        entries: &mut Entries,
        id: u64,
        change: impl FnOnce(&mut TopicEntry),
    ) -> Result<(), PersistError> {
        self.change_list(entries, |list| {
            if let Some(entry) = list.iter_mut().find(|entry| entry.id == id) {
                change(entry);
            }
        })
    }

    fn change_list(
        &self,
        entries: &mut Entries,
        change: impl FnOnce(&mut Vec<TopicEntry>),
    ) -> Result<(), PersistError> {
        let mut changed = entries.list.clone();
        change(&mut changed);
        self.persist(&changed)?;
        entries.list = changed;
        Ok(())
    }

    /// Somebody is to look after the topic from now on, if its settings ask for that.
    fn look_after(&self, topic: &Topic) {
        let is_asked = topic.partition(0).is_ok_and(|log| log.settings().care().is_some());
        if is_asked && &**topic.name() != COMMITTED_OFFSETS_TOPIC {
            self.upkeep.wake();
        }
    }

    /// Removes the directories of a topic, then its entry. The file says beforehand that the topic is going:
    /// it may say that it is live, if a failure left that open.
    fn remove_entry(&self, entries: &mut Entries, id: u64) -> Result<()> {
        let Some(entry) = entries.get(id).cloned() else { return Ok(()) };
        if entry.state != TopicState::Deleting {
            self.set_state(entries, id, TopicState::Deleting)?;
        }
        if let Some(home) = self.home_of(&entry) {
            home.remove(identities(&entry).chain(added_identities(&entry)))?;
        }
        let mut changed = entries.list.clone();
        changed.retain(|entry| entry.id != id);
        self.persist(&changed)?;
        entries.list = changed;
        Ok(())
    }

    /// Finishes the removal of topics, and of partitions, that a failure or crash left half made or half
    /// removed.
    fn remove_leftovers(&self, entries: &mut Entries, is_left: impl Fn(&TopicEntry) -> bool) -> Result<()> {
        let ids: Vec<u64> =
            entries.list.iter().filter(|entry| is_left(entry)).map(|entry| entry.id).collect();
        // One that cannot be removed does not keep the others.
        let mut outcome = Ok(());
        for id in ids {
            let is_topic = self.topics.read().values().any(|topic| topic.id() == id);
            outcome = outcome.and(match is_topic {
                true => self.remove_added(entries, id),
                false => self.remove_entry(entries, id),
            });
        }
        outcome
    }

    fn persist(&self, list: &[TopicEntry]) -> Result<(), PersistError> {
        self.home.as_ref().map_or(Ok(()), |home| home.persist(list))
    }
}

fn new_topic(entry: &TopicEntry, made_at: u64, partitions: Vec<Arc<PartitionLog>>) -> Topic {
    Topic {
        name: Arc::from(entry.name.as_str()),
        id: entry.id,
        made_at,
        settings: RwLock::new(entry.settings.clone()),
        partitions: partitions.into_iter().collect(),
    }
}

/// The partitions of a topic.
fn identities(entry: &TopicEntry) -> impl Iterator<Item = LogIdentity> {
    numbered(entry, 0, entry.partitions.iter().map(|partition| partition.id))
}

/// The partitions that were being added to a topic.
fn added_identities(entry: &TopicEntry) -> impl Iterator<Item = LogIdentity> {
    numbered(entry, entry.partitions.len(), entry.adding.iter().copied())
}

fn numbered(
    entry: &TopicEntry,
    first: usize,
    ids: impl Iterator<Item = u64>,
) -> impl Iterator<Item = LogIdentity> {
    let topic: Arc<str> = Arc::from(entry.name.as_str());
    let (numbers, topic_id) = ((first as u32).., entry.id);
    // A log in memory is another one each time, whose offsets begin anew.
    let is_kept = entry.settings.durability != Durability::Memory;
    let identity = move |(partition, id)| {
        let id = if is_kept { id } else { random_id() };
        LogIdentity { topic: Arc::clone(&topic), topic_id, partition, id }
    };
    numbers.zip(ids).map(identity)
}

fn check_user_topic_name(name: &str) -> Result<()> {
    check_topic_name(name).map_err(|reason| Error::InvalidTopicName { name: name.to_owned(), reason })
}
