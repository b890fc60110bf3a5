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
use crate::log::{FlushQueue, LogIdentity, LogPlace, PartitionLog, TornTail};
use crate::storage::{DataDir, Storage, read_file, replace_file};
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
    pub(crate) fn open(home: CatalogHome, default_durability: Durability) -> Result<(Self, Vec<TornTail>)> {
        let list = home.read()?;
        let catalog = Self {
            entries: Mutex::new(Entries { list, closed: false }),
            topics: RwLock::default(),
            home: Some(home),
            default_durability,
        };
        catalog.remove_leftovers(&mut catalog.entries.lock(), |entry| entry.state != TopicState::Live)?;
        let mut torn_tails = Vec::new();
        for entry in &catalog.entries.lock().list {
            let topic = catalog.open_logs(entry, &mut torn_tails)?;
            catalog.topics.write().insert(entry.name.clone(), Arc::new(topic));
        }
        Ok((catalog, torn_tails))
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
        let topic = self.topic(name)?;
        self.set_state(&mut entries, topic.id(), TopicState::Deleting)?;
        self.topics.write().remove(name);
        for log in topic.partitions() {
            log.delete();
        }
        self.remove_entry(&mut entries, topic.id())?;
        Ok(topic)
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
        let best = if self.home.is_some() { Durability::ProcessCrash } else { Durability::Memory };
        config.settings(self.default_durability, best)
    }

    fn create_entry(&self, entries: &mut Entries, name: &str, settings: TopicSettings) -> Result<Arc<Topic>> {
        if entries.closed {
            return Err(Error::Closed);
        }
        self.check_free(name)?;
        self.remove_leftovers(entries, |entry| entry.name == name && entry.state != TopicState::Live)?;
        let entry = TopicEntry {
            name: name.to_owned(),
            id: random_id(),
            state: TopicState::Creating,
            partition_ids: (0..settings.partitions).map(|_| random_id()).collect(),
            settings,
        };
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
        if let Some(home) = &self.home
            && entry.settings.durability != Durability::Memory
        {
            for (identity, place) in home.logs_of(entry) {
                let storage = home.data_dir.storage();
                storage.create_dir_all(&place.dir).map_err(Error::io("create directory", &place.dir))?;
                PartitionLog::create(&identity, &place)?;
            }
            home.sync_names()?;
        }
        self.set_state(entries, entry.id, TopicState::Live)?;
        self.open_logs(entry, &mut Vec::new())
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

    fn open_logs(&self, entry: &TopicEntry, torn_tails: &mut Vec<TornTail>) -> Result<Topic> {
        let settings = entry.settings.clone();
        let partitions = match &self.home {
            Some(home) if settings.durability != Durability::Memory => {
                let opened = home.logs_of(entry).map(|(identity, place)| {
                    let (log, torn_tail) = PartitionLog::recover(identity, &settings, place)?;
                    torn_tails.extend(torn_tail);
                    Ok(log)
                });
                opened.collect::<Result<_>>()?
            }
            _ => identities(entry).map(|identity| PartitionLog::in_memory(identity, &settings)).collect(),
        };
        Ok(Topic { name: Arc::from(entry.name.as_str()), id: entry.id, settings, partitions })
    }

    fn set_state(&self, entries: &mut Entries, id: u64, state: TopicState) -> Result<()> {
        let mut changed = entries.list.clone();
        for entry in changed.iter_mut().filter(|entry| entry.id == id) {
            entry.state = state;
        }
        self.persist(&changed)?;
        entries.list = changed;
        Ok(())
    }

    /// Removes the directories of a topic, then its entry.
    fn remove_entry(&self, entries: &mut Entries, id: u64) -> Result<()> {
        let Some(entry) = entries.list.iter().find(|entry| entry.id == id) else { return Ok(()) };
        if let Some(home) = &self.home {
            for (_, place) in home.logs_of(entry) {
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
        ids.into_iter().try_for_each(|id| self.remove_entry(entries, id))
    }

    fn persist(&self, list: &[TopicEntry]) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let dir = home.data_dir.path();
        let text = catalog_file::encode(list);
        replace_file(home.data_dir.storage(), dir, catalog_file::FILE_NAME, text.as_bytes())
            .map_err(Error::io("replace", &dir.join(catalog_file::FILE_NAME)))
    }
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
        let is_partition = |name: &String| {
            name.rsplit_once('-').is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
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

/// Removes a directory of files; one that is not there is removed already.
fn remove_dir_with_files(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let names = match storage.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    for name in names {
        let path = dir.join(name);
        storage.remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    storage.remove_dir(dir).map_err(Error::io("remove", dir))
}
