//! What a process that may be killed tells others: words in shared memory, so that nothing is on its way
//! when it dies. For each unit of each sender there is a word that says what became of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::system::Mapping;

/// Who sends in a process.
pub(crate) const SENDERS: usize = 4;
/// Partitions, counted over all topics.
pub(crate) const PARTITIONS: usize = 4;
/// How many units a sender can send to a partition.
pub(crate) const UNITS: u64 = 4096;

/// How a word for a unit says that it was refused, so that it must not be there.
const REFUSED: u64 = u64::MAX;
/// How it says that it may be there or not.
const UNKNOWN: u64 = u64::MAX - 1;

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not sent, or it is not decided.
    Open,
    /// It was acknowledged, and its first record has this offset.
    Acknowledged(u64),
    /// An error said that it is not there.
    Refused,
    /// An error said that it may be there.
    Unknown,
}

/// What a process says of itself in single words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    /// While it opens: see [`OPENS_DIRECTORY`].
    Opening,
    /// What opening has come to: see [`RECOVERY_READS`].
    Recovering,
    /// How many partitions are going on in a new file.
    Rolling,
    /// How many large batches are being written.
    WritingMuch,
    /// How many syncs are under way.
    Syncing,
    /// How many commits are under way.
    Committing,
    /// How many records were acknowledged.
    Acknowledged,
    /// More than 0 when the process has done all that it was to do.
    Done,
    /// Free for the mode: how far the process has come.
    Stage,
    /// Calls that answered that there is no room: sends, commits, topics that were to be made, opens.
    FullSends,
    FullCommits,
    FullTopics,
    FullOpens,
    /// Bytes of the text.
    TextBytes,
}

/// The broker is being opened.
pub(crate) const OPENS_DIRECTORY: u64 = 1;
/// The broker is open, and topics are made or opened.
pub(crate) const OPENS_TOPICS: u64 = 2;

/// Recovery reads or mends files of logs.
pub(crate) const RECOVERY_READS: u64 = 1;
/// Recovery has begun to change files of logs.
pub(crate) const RECOVERY_MENDS: u64 = 2;

const WORDS: usize = 16;
const COMMITTED: usize = WORDS;
const ATTEMPTED_COMMITS: usize = COMMITTED + PARTITIONS;
const ATTEMPTED_UNITS: usize = ATTEMPTED_COMMITS + PARTITIONS;
const TEXT: usize = ATTEMPTED_UNITS + SENDERS * PARTITIONS;
const TEXT_WORDS: usize = 512;
const FATES: usize = TEXT + TEXT_WORDS;
const TOTAL: usize = FATES + SENDERS * PARTITIONS * UNITS as usize;

/// The words, in a file that is mapped by those who write them and by those who read them.
#[derive(Debug)]
pub(crate) struct Shared {
    mapping: Mapping,
    path: PathBuf,
    /// The one who made the file removes it.
    is_owner: bool,
}

impl Shared {
    /// Makes the words, all zero, in a new file.
    pub(crate) fn create() -> io::Result<Self> {
        let in_memory = Path::new("/dev/shm");
        let dir = if in_memory.is_dir() { in_memory.to_path_buf() } else { std::env::temp_dir() };
        let file = tempfile::Builder::new().prefix("torture-").tempfile_in(dir)?;
        file.as_file().set_len((TOTAL * size_of::<u64>()) as u64)?;
        let mapping = Mapping::new(file.as_file(), TOTAL)?;
        let (_, path) = file.keep()?;
        Ok(Self { mapping, path, is_owner: true })
    }

    /// Maps the words that another process made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file: File = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { mapping: Mapping::new(&file, TOTAL)?, path: path.to_path_buf(), is_owner: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, at: usize) -> &AtomicU64 {
        &self.mapping.words()[at]
    }

    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        self.at(word as usize)
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        self.word(word).load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, word: Word, value: u64) {
        self.word(word).store(value, Ordering::Release);
    }

    pub(crate) fn add(&self, word: Word, more: u64) {
        self.word(word).fetch_add(more, Ordering::AcqRel);
    }

    /// A word that counts those who are doing something, for as long as what is returned lives.
    pub(crate) fn during(&self, word: Word) -> During<'_> {
        self.add(word, 1);
        During(self.word(word))
    }

    /// The offset that the group has committed in a partition, as acknowledged; 0: none.
    pub(crate) fn committed(&self, partition: usize) -> &AtomicU64 {
        self.at(COMMITTED + partition)
    }

    /// The highest offset that was to be committed.
    pub(crate) fn attempted_commit(&self, partition: usize) -> &AtomicU64 {
        self.at(ATTEMPTED_COMMITS + partition)
    }

    /// How many units a sender has begun to send to a partition.
    pub(crate) fn attempted_units(&self, sender: usize, partition: usize) -> &AtomicU64 {
        self.at(ATTEMPTED_UNITS + sender * PARTITIONS + partition)
    }

    fn fate_word(&self, sender: usize, partition: usize, unit: u64) -> &AtomicU64 {
        assert!(sender < SENDERS && partition < PARTITIONS && unit < UNITS, "there is no such word");
        self.at(FATES + (sender * PARTITIONS + partition) * UNITS as usize + unit as usize)
    }

    pub(crate) fn fate(&self, sender: usize, partition: usize, unit: u64) -> Fate {
        match self.fate_word(sender, partition, unit).load(Ordering::Acquire) {
            0 => Fate::Open,
            REFUSED => Fate::Refused,
            UNKNOWN => Fate::Unknown,
            offset => Fate::Acknowledged(offset - 1),
        }
    }

    pub(crate) fn decide(&self, sender: usize, partition: usize, unit: u64, fate: Fate) {
        let word = match fate {
            Fate::Open => 0,
            Fate::Acknowledged(offset) => offset + 1,
            Fate::Refused => REFUSED,
            Fate::Unknown => UNKNOWN,
        };
        self.fate_word(sender, partition, unit).store(word, Ordering::Release);
    }

    /// Leaves a text for those who ask why the process ended. The first one stays.
    pub(crate) fn set_text(&self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(TEXT_WORDS * size_of::<u64>())];
        let len = self.word(Word::TextBytes);
        if len.compare_exchange(0, bytes.len() as u64, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return;
        }
        for (number, part) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.at(TEXT + number).store(u64::from_le_bytes(word), Ordering::Release);
        }
    }

    pub(crate) fn text(&self) -> String {
        let len = self.get(Word::TextBytes) as usize;
        let words = (0..len.div_ceil(8)).map(|number| self.at(TEXT + number).load(Ordering::Acquire));
        let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).take(len).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_owner {
            // Nobody misses it; if it stays, it is a small file in memory.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Somebody is doing what a word counts.
#[derive(Debug)]
pub(crate) struct During<'a>(&'a AtomicU64);

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_says_another_one_hears() {
        let one = Shared::create().expect("a file");
        let other = Shared::open(one.path()).expect("it is there");
        one.decide(3, 2, UNITS - 1, Fate::Acknowledged(0));
        one.decide(0, 0, 0, Fate::Refused);
        one.decide(0, 0, 1, Fate::Unknown);
        assert_eq!(other.fate(3, 2, UNITS - 1), Fate::Acknowledged(0));
        assert_eq!(other.fate(0, 0, 0), Fate::Refused);
        assert_eq!(other.fate(0, 0, 1), Fate::Unknown);
        assert_eq!(other.fate(0, 0, 2), Fate::Open);
        one.set_text("the disk is full");
        one.set_text("and so is this");
        assert_eq!(other.text(), "the disk is full");
        let during = one.during(Word::Rolling);
        assert_eq!(other.get(Word::Rolling), 1);
        drop(during);
        assert_eq!(other.get(Word::Rolling), 0);
    }
}
