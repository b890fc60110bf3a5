//! What the processes of a round are told, and how a disk is filled and freed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::common::system;

/// How room is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A small file system, which a file of no use fills.
    SmallFileSystem,
    /// No file of the process may grow beyond a size.
    FileSize,
}

/// Bytes of the small file system.
pub(crate) const FILE_SYSTEM_BYTES: u64 = 24 << 20;

/// A round, as its processes are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Where the small file system is mounted, or where the data directory is.
    pub(crate) place: PathBuf,
    /// The file with the shared words.
    pub(crate) words: PathBuf,
    pub(crate) seed: u64,
    pub(crate) limit: Limit,
    pub(crate) bug: Option<String>,
}

impl Orders {
    pub(crate) fn words(&self) -> Vec<String> {
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let limit = if self.limit == Limit::FileSize { "file-size" } else { "small-file-system" };
        let mut words = vec![text(&self.place), text(&self.words), self.seed.to_string(), limit.to_owned()];
        words.extend(self.bug.clone());
        words
    }

    pub(crate) fn parse(words: &[String]) -> Option<Self> {
        let ([place, words, seed, limit], rest) = words.split_first_chunk::<4>()?;
        let limit = match limit.as_str() {
            "file-size" => Limit::FileSize,
            "small-file-system" => Limit::SmallFileSystem,
            _ => return None,
        };
        Some(Self {
            place: PathBuf::from(place),
            words: PathBuf::from(words),
            seed: seed.parse().ok()?,
            limit,
            bug: rest.first().cloned(),
        })
    }

    /// Where the broker is.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.place.join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.place.join("ballast")
    }

    /// Takes all room but so many bytes, or makes this the size that files may have.
    pub(crate) fn leave_room(&self, bytes: u64) -> io::Result<()> {
        match self.limit {
            Limit::FileSize => system::limit_file_size(Some(bytes)),
            Limit::SmallFileSystem => {
                fill(&self.ballast())?;
                let ballast = OpenOptions::new().write(true).open(self.ballast())?;
                let len = ballast.metadata()?.len();
                ballast.set_len(len.saturating_sub(bytes))
            }
        }
    }

    /// Gives all the room back.
    pub(crate) fn free(&self) -> io::Result<()> {
        match self.limit {
            Limit::FileSize => system::limit_file_size(None),
            Limit::SmallFileSystem => match std::fs::remove_file(self.ballast()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            },
        }
    }
}

/// Appends to a file until there is no room left.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let bytes = vec![0xa5; 64 << 10];
    let mut piece = bytes.len();
    while piece > 0 {
        match file.write(&bytes[..piece]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => piece /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error says that there is no room, as it has to be said with this limit.
pub(crate) fn is_full(limit: Limit, error: &ottla::Error) -> bool {
    match (limit, error) {
        (_, ottla::Error::PartlyAppended { source, .. }) => is_full(limit, source),
        (Limit::SmallFileSystem, ottla::Error::StorageFull { .. }) => error.is_retriable(),
        (Limit::FileSize, ottla::Error::Io { source, .. }) => {
            error.is_retriable() && source.raw_os_error() == Some(libc::EFBIG)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let mut orders = Orders {
            place: PathBuf::from("/place"),
            words: PathBuf::from("/words"),
            seed: 1,
            limit: Limit::FileSize,
            bug: None,
        };
        assert_eq!(Orders::parse(&orders.words()), Some(orders.clone()));
        orders.bug = Some("a-bug".to_owned());
        orders.limit = Limit::SmallFileSystem;
        assert_eq!(Orders::parse(&orders.words()), Some(orders));
    }
}
