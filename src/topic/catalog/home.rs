//! The directory of a broker, as the catalog uses it: its file, and the directories of partitions.

use std::io;
use std::path::{Path, PathBuf};

use super::super::catalog_file::{self, TopicEntry};
use super::super::checkpoint::{self, Checkpoint};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::log::{FileReads, FlushQueue, LogIdentity, LogPlace, PartitionLog, Upkeep};
use crate::storage::{DataDir, ReplaceError, Storage, read_file, replace_file};
use crate::sync::Arc;

/// Where the topics of a broker on disk are kept, and what their logs need.
#[derive(Clone, Debug)]
pub(crate) struct CatalogHome {
    pub(crate) data_dir: Arc<DataDir>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) flush: FlushQueue,
    pub(crate) reads: Arc<FileReads>,
    pub(crate) upkeep: Arc<Upkeep>,
    /// Nothing is changed.
    pub(crate) read_only: bool,
}

/// The catalog file was not replaced, or it is not known whether it was.
#[derive(Debug)]
pub(super) struct PersistError {
    pub(super) error: Error,
    pub(super) old_is_there: bool,
}

impl From<PersistError> for Error {
    fn from(failed: PersistError) -> Self {
        failed.error
    }
}

impl CatalogHome {
    pub(super) fn read(&self) -> Result<Vec<TopicEntry>> {
        let path = self.data_dir.path().join(catalog_file::FILE_NAME);
        match read_file(self.data_dir.storage(), &path) {
            Ok(bytes) => {
                let list = catalog_file::decode(&path, &bytes)?;
                // A process may have been killed before it synced the name of what we read.
                self.if_changing(Self::sync_names)?;
                Ok(list)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let list = self.check_empty(path)?;
                self.if_changing(|home| home.data_dir.sync_path())?;
                Ok(list)
            }
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    fn if_changing(&self, change: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        if self.read_only { Ok(()) } else { change(self) }
    }

    /// The checkpoint, or an error if there is one that cannot be read; `None` if there is none. A later
    /// version is refused.
    pub(super) fn read_checkpoint(&self) -> Result<Result<Option<Checkpoint>>> {
        let path = self.data_dir.path().join(checkpoint::FILE_NAME);
        let read = match read_file(self.data_dir.storage(), &path) {
            Ok(bytes) => checkpoint::decode(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        };
        match read {
            Err(error @ (Error::UnsupportedFormat { .. } | Error::Io { .. })) => Err(error),
            read => Ok(read),
        }
    }

    pub(super) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let dir = self.data_dir.path();
        let text = checkpoint::encode(checkpoint);
        let replaced = replace_file(self.data_dir.storage(), dir, checkpoint::FILE_NAME, text.as_bytes());
        replaced.map_err(|failed| {
            let (ReplaceError::Unchanged(source) | ReplaceError::Unknown(source)) = failed;
            Error::io("replace", &dir.join(checkpoint::FILE_NAME))(source)
        })
    }

    /// In which run of the machine this is; `None` if that cannot be found out, which is only worth less.
    pub(super) fn boot_id(&self) -> Option<String> {
        let id = self.data_dir.storage().boot_id().ok().flatten();
        id.filter(|id| !id.is_empty() && !id.contains(char::is_whitespace))
    }

    pub(super) fn persist(&self, list: &[TopicEntry]) -> Result<(), PersistError> {
        let dir = self.data_dir.path();
        let text = catalog_file::encode(list);
        let replaced = replace_file(self.data_dir.storage(), dir, catalog_file::FILE_NAME, text.as_bytes());
        replaced.map_err(|failed| {
            let (old_is_there, source) = match failed {
                ReplaceError::Unchanged(source) => (true, source),
                ReplaceError::Unknown(source) => (false, source),
            };
            let error = Error::io("replace", &dir.join(catalog_file::FILE_NAME))(source);
            PersistError { error, old_is_there }
        })
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

    /// Where logs of a topic are: `payments-0`, `payments-1`, …
    pub(super) fn places(
        &self,
        logs: impl Iterator<Item = LogIdentity>,
    ) -> impl Iterator<Item = (LogIdentity, LogPlace)> {
        logs.map(|identity| {
            let dir = self.data_dir.path().join(identity.topic_partition().to_string());
            let place = LogPlace {
                data_dir: Arc::clone(&self.data_dir),
                dir: dir.into(),
                clock: Arc::clone(&self.clock),
                flush: self.flush.clone(),
                reads: Arc::clone(&self.reads),
                upkeep: Arc::clone(&self.upkeep),
            };
            (identity, place)
        })
    }

    /// Whether the directories of logs that are to be made are free. What lies there belongs to no topic of
    /// the catalog, and is not for us to remove.
    pub(super) fn check_no_strays(&self, logs: impl Iterator<Item = LogIdentity>) -> Result<()> {
        for (_, place) in self.places(logs) {
            let names = list_if_there(self.data_dir.storage(), &place.dir)?;
            if let Some(name) = names.first() {
                let detail = format!("it holds {name}, but no topic of the catalog owns it");
                return Err(Error::Corrupt { path: place.dir.to_path_buf(), position: 0, detail });
            }
        }
        Ok(())
    }

    /// Makes the directories of logs, each with an empty log.
    pub(super) fn make(&self, logs: impl Iterator<Item = LogIdentity>) -> Result<()> {
        for (identity, place) in self.places(logs) {
            let storage = self.data_dir.storage();
            storage.create_dir_all(&place.dir).map_err(Error::io("create directory", &place.dir))?;
            PartitionLog::create(&identity, &place)?;
        }
        self.sync_names()
    }

    /// Removes the directories of logs, as far as they are there.
    pub(super) fn remove(&self, logs: impl Iterator<Item = LogIdentity>) -> Result<()> {
        for (_, place) in self.places(logs) {
            remove_dir_with_files(self.data_dir.storage(), &place.dir)?;
        }
        self.sync_names()
    }

    fn sync_names(&self) -> Result<()> {
        let dir = self.data_dir.path();
        self.data_dir.storage().sync_dir(dir).map_err(Error::io("sync directory", dir))
    }
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
