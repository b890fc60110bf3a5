//! All topics by name. A change is persisted before it is visible: creating and deleting first say so in
//! the catalog file, then touch directories, then say that it is done; what is found unfinished is undone
//! when the broker is opened.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Topic;
use super::catalog_file::{self, TopicEntry, TopicState};
use crate::clock::Clock;
use crate::config::{Durability, TopicConfig, TopicSettings};
use crate::error::{Error, Result};
use crate::ids::{COMMITTED_OFFSETS_TOPIC, check_topic_name, random_id, topic_names_collide};
use crate::log::{ExaminedLog, FlushQueue, LogIdentity, LogPlace, PartitionLog, TornTail};
use crate::storage::{DataDir, ReplaceError, Storage, read_file, replace_file};
use crate::sync::{Arc, Mutex, RwLock};

/// The topics of a broker. Its locks come before all others: `entries`, then `topics`.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// What the catalog file says; held for the whole of a change.
    entries: Mutex<Entries>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    home: Option<CatalogHome>,
    default_durability: Durability,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<TopicEntry>,
    closed: bool,
}

/// What opening a catalog found and mended.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) torn_tails: Vec<TornTail>,
    /// Names of topics that are being removed, and could not be.
    pub(crate) left: Vec<String>,
}

impl Entries {
    fn names(&self, which: impl Fn(&TopicEntry) -> bool) -> Vec<String> {
        self.list.iter().filter(|entry| which(entry)).map(|entry| entry.name.clone()).collect()
    }
}

/// Where the topics of a broker on disk are kept, and what their logs need.
#[derive(Clone, Debug)]
pub(crate) struct CatalogHome {
    pub(crate) data_dir: Arc<DataDir>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flush: FlushQueue,
}

impl Catalog {
    /// The catalog of a broker without a directory.
    pub(crate) fn in_memory() -> Self {
        Self {
            entries: Mutex::default(),
            topics: RwLock::default(),
            home: None,
            default_durability: Durability::Memory,
        }
    }

    /// Reads the catalog of a directory, finishes what was interrupted, and opens all logs.
    pub(crate) fn open(home: CatalogHome, default_durability: Durability) -> Result<(Self, Opened)> {
        let list = home.read()?;
        let catalog = Self {
            entries: Mutex::new(Entries { list, closed: false }),
            topics: RwLock::default(),
            home: Some(home),
            default_durability,
        };
        // Everything is read before anything is changed: a directory that is refused stays as it is.
        let live = |entry: &&TopicEntry| entry.state == TopicState::Live;
        let live: Vec<TopicEntry> = catalog.entries.lock().list.iter().filter(live).cloned().collect();
        let examined = live.into_iter().map(|entry| {
            let logs = catalog.examine_logs(&entry)?;
            Ok((entry, logs))
        });
        let mut torn_tails = Vec::new();
        for (entry, logs) in examined.collect::<Result<Vec<_>>>()? {
            let topic = open_topic(&entry, logs, &mut torn_tails)?;
            catalog.topics.write().insert(entry.name, Arc::new(topic));
        }
        let is_left = |entry: &TopicEntry| entry.state != TopicState::Live;
        // What cannot be removed now stays in the list, and is tried again before the name is used.
        let mended = catalog.remove_leftovers(&mut catalog.entries.lock(), is_left);
        let left = mended.err().map(|_| catalog.entries.lock().names(is_left)).unwrap_or_default();
        Ok((catalog, Opened { torn_tails, left }))
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

    /// Makes a topic that must not exist.
    pub(crate) fn create(&self, name: &str, config: &TopicConfig) -> Result<Arc<Topic>> {
        let settings = self.checked(name, config)?;
        let mut entries = self.entries.lock();
        self.create_entry(&mut entries, name, settings)
    }

    /// Makes a topic unless it exists with as many partitions as are asked for.
    pub(crate) fn open_or_create(&self, name: &str, config: &TopicConfig) -> Result<Arc<Topic>> {
        let settings = self.checked(name, config)?;
        self.open_or_create_checked(name, settings, config.requested_partitions())
    }

    /// The internal topic of the committed offsets: one partition, kept like any other.
    pub(crate) fn committed_offsets_topic(&self) -> Result<Arc<Topic>> {
        let config = TopicConfig::new().durability(Durability::ProcessCrash);
        let settings = config.settings(Durability::ProcessCrash, Durability::ProcessCrash)?;
        self.open_or_create_checked(COMMITTED_OFFSETS_TOPIC, settings, None)
    }

    fn open_or_create_checked(
        &self,
        name: &str,
        settings: TopicSettings,
        requested_partitions: Option<u32>,
    ) -> Result<Arc<Topic>> {
        let mut entries = self.entries.lock();
        let Ok(topic) = self.topic(name) else { return self.create_entry(&mut entries, name, settings) };
        match requested_partitions {
            Some(requested) if requested != topic.partition_count() => Err(Error::PartitionCountMismatch {
                topic: name.to_owned(),
                existing: topic.partition_count(),
                requested,
            }),
            _ => Ok(topic),
        }
    }

    /// Deletes a topic; whoever holds it is told. Returns it, for others to forget it too.
    pub(crate) fn delete(&self, name: &str) -> Result<Arc<Topic>> {
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
            self.end(&topic);
            return Err(failed.error);
        }
        self.end(&topic);
        self.remove_entry(&mut entries, topic.id())?;
        Ok(topic)
    }

    fn end(&self, topic: &Topic) {
        self.topics.write().remove(&**topic.name());
        for log in topic.partitions() {
            log.delete();
        }
    }

    /// Ends all topics; the first error of those that they gave.
    pub(crate) fn close(&self) -> Result<()> {
        self.entries.lock().closed = true;
        let topics: Vec<Arc<Topic>> = self.topics.read().values().cloned().collect();
        let mut outcome = Ok(());
        for topic in topics {
            outcome = outcome.and(topic.close());
        }
        outcome
    }

    fn checked(&self, name: &str, config: &TopicConfig) -> Result<TopicSettings> {
        check_user_topic_name(name)?;
        let best = if self.home.is_some() { Durability::PowerLoss } else { Durability::Memory };
        config.settings(self.default_durability, best)
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
            partition_ids: (0..settings.partitions).map(|_| random_id()).collect(),
            settings,
        };
        self.check_no_strays(&entry)?;
        entries.list.push(entry.clone());
        let made = self.make(entries, &entry);
        match made {
            Ok(topic) => {
                let topic = Arc::new(topic);
                self.topics.write().insert(name.to_owned(), Arc::clone(&topic));
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

    /// Writes down that the topic is being made, makes its directories, and writes down that it is there.
    fn make(&self, entries: &mut Entries, entry: &TopicEntry) -> Result<Topic> {
        self.persist(&entries.list)?;
        if let Some(home) = self.home_of(entry) {
            for (identity, place) in home.logs_of(entry) {
                let storage = home.data_dir.storage();
                storage.create_dir_all(&place.dir).map_err(Error::io("create directory", &place.dir))?;
                PartitionLog::create(&identity, &place)?;
            }
            home.sync_names()?;
        }
        self.set_state(entries, entry.id, TopicState::Live)?;
        open_topic(entry, self.examine_logs(entry)?, &mut Vec::new())
    }

    /// Whether the directories of a topic's partitions are free. What lies there belongs to no topic of the
    /// catalog, and is not for us to remove.
    fn check_no_strays(&self, entry: &TopicEntry) -> Result<()> {
        let Some(home) = self.home_of(entry) else { return Ok(()) };
        for (_, place) in home.logs_of(entry) {
            let names = list_if_there(home.data_dir.storage(), &place.dir)?;
            if let Some(name) = names.first() {
                let detail = format!("it holds {name}, but no topic of the catalog owns it");
                return Err(Error::Corrupt { path: place.dir, position: 0, detail });
            }
        }
        Ok(())
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

    /// Reads the logs that a topic has on disk, and changes nothing.
    fn examine_logs(&self, entry: &TopicEntry) -> Result<Vec<ExaminedLog>> {
        let Some(home) = self.home_of(entry) else { return Ok(Vec::new()) };
        home.logs_of(entry).map(|(identity, place)| PartitionLog::examine(identity, place)).collect()
    }

    fn set_state(&self, entries: &mut Entries, id: u64, state: TopicState) -> Result<(), PersistError> {
        let mut changed = entries.list.clone();
        changed.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.state = state);
        self.persist(&changed)?;
        entries.list = changed;
        Ok(())
    }

    /// Removes the directories of a topic, then its entry. The file says beforehand that the topic is going:
    /// it may say that it is live, if a failure left that open.
    fn remove_entry(&self, entries: &mut Entries, id: u64) -> Result<()> {
        let Some(entry) = entries.list.iter().find(|entry| entry.id == id).cloned() else { return Ok(()) };
        if entry.state != TopicState::Deleting {
            self.set_state(entries, id, TopicState::Deleting)?;
        }
        if let Some(home) = self.home_of(&entry) {
            for (_, place) in home.logs_of(&entry) {
                remove_dir_with_files(home.data_dir.storage(), &place.dir)?;
            }
            home.sync_names()?;
        }
        let mut changed = entries.list.clone();
        changed.retain(|entry| entry.id != id);
        self.persist(&changed)?;
        entries.list = changed;
        Ok(())
    }

    /// Finishes the removal of topics that a failure or crash left half made or half removed.
    fn remove_leftovers(&self, entries: &mut Entries, is_left: impl Fn(&TopicEntry) -> bool) -> Result<()> {
        let ids: Vec<u64> =
            entries.list.iter().filter(|entry| is_left(entry)).map(|entry| entry.id).collect();
        // One that cannot be removed does not keep the others.
        let mut outcome = Ok(());
        for id in ids {
            outcome = outcome.and(self.remove_entry(entries, id));
        }
        outcome
    }

    fn persist(&self, list: &[TopicEntry]) -> Result<(), PersistError> {
        let Some(home) = &self.home else { return Ok(()) };
        let dir = home.data_dir.path();
        let text = catalog_file::encode(list);
        let replaced = replace_file(home.data_dir.storage(), dir, catalog_file::FILE_NAME, text.as_bytes());
        replaced.map_err(|failed| {
            let (old_is_there, source) = match failed {
                ReplaceError::Unchanged(source) => (true, source),
                ReplaceError::Unknown(source) => (false, source),
            };
            let error = Error::io("replace", &dir.join(catalog_file::FILE_NAME))(source);
            PersistError { error, old_is_there }
        })
    }
}

/// The catalog file was not replaced, or it is not known whether it was.
#[derive(Debug)]
struct PersistError {
    error: Error,
    old_is_there: bool,
}

impl From<PersistError> for Error {
    fn from(failed: PersistError) -> Self {
        failed.error
    }
}

/// A topic with its logs: those that were examined, or empty ones in memory.
fn open_topic(entry: &TopicEntry, logs: Vec<ExaminedLog>, torn_tails: &mut Vec<TornTail>) -> Result<Topic> {
    let settings = entry.settings.clone();
    let in_memory = logs.is_empty();
    let mut partitions = Vec::with_capacity(entry.partition_ids.len());
    for log in logs {
        let (log, torn_tail) = PartitionLog::open(log, &settings)?;
        torn_tails.extend(torn_tail);
        partitions.push(log);
    }
    if in_memory {
        let logs = identities(entry).map(|identity| PartitionLog::in_memory(identity, &settings));
        partitions.extend(logs);
    }
    Ok(Topic { name: Arc::from(entry.name.as_str()), id: entry.id, settings, partitions })
}

impl CatalogHome {
    fn read(&self) -> Result<Vec<TopicEntry>> {
        let path = self.data_dir.path().join(catalog_file::FILE_NAME);
        match read_file(self.data_dir.storage(), &path) {
            Ok(bytes) => catalog_file::decode(&path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_empty(path),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// A directory without a catalog is new, unless it holds partitions: then the catalog was lost, and
    /// beginning a new one would hide them.
    fn check_empty(&self, catalog: PathBuf) -> Result<Vec<TopicEntry>> {
        let dir = self.data_dir.path();
        let names = self.data_dir.storage().list(dir).map_err(Error::io("list", dir))?;
        let is_partition =
            |name: &String| name.rsplit_once('-').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        match names.into_iter().find(is_partition) {
            None => Ok(Vec::new()),
            Some(name) => {
                let detail = format!("it is missing, yet there is a partition directory {name}");
                Err(Error::Corrupt { path: catalog, position: 0, detail })
            }
        }
    }

    /// The logs of a topic on disk: `payments-0`, `payments-1`, …
    fn logs_of(&self, entry: &TopicEntry) -> impl Iterator<Item = (LogIdentity, LogPlace)> {
        identities(entry).map(|identity| {
            let dir = self.data_dir.path().join(identity.topic_partition().to_string());
            let place = LogPlace {
                data_dir: Arc::clone(&self.data_dir),
                dir,
                clock: Arc::clone(&self.clock),
                flush: self.flush.clone(),
            };
            (identity, place)
        })
    }

    fn sync_names(&self) -> Result<()> {
        let dir = self.data_dir.path();
        self.data_dir.storage().sync_dir(dir).map_err(Error::io("sync directory", dir))
    }
}

fn identities(entry: &TopicEntry) -> impl Iterator<Item = LogIdentity> {
    let topic: Arc<str> = Arc::from(entry.name.as_str());
    let numbered = entry.partition_ids.iter().enumerate();
    numbered.map(move |(number, &id)| LogIdentity { topic: Arc::clone(&topic), partition: number as u32, id })
}

fn check_user_topic_name(name: &str) -> Result<()> {
    check_topic_name(name).map_err(|reason| Error::InvalidTopicName { name: name.to_owned(), reason })
}

/// The names in a directory; none if it is not there.
fn list_if_there(storage: &dyn Storage, dir: &Path) -> Result<Vec<String>> {
    match storage.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome.map_err(Error::io("list", dir)),
    }
}

/// Removes a directory of files; one that is not there is removed already.
fn remove_dir_with_files(storage: &dyn Storage, dir: &Path) -> Result<()> {
    for name in list_if_there(storage, dir)? {
        let path = dir.join(name);
        storage.remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    match storage.remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", dir)(error)),
        _ => Ok(()),
    }
}
