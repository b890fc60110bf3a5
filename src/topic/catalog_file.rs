//! The catalog on disk: a text file that lists the topics, their settings and the ids of their partitions. It
//! is replaced as a whole at every change, and ends with a checksum.
//!
//! ```text
//! ottla catalog 1
//! topic payments 53f0a94cf0a6b1c2 live
//!   durability process-crash
//!   max_record_bytes 1048576
//!   max_batch_bytes 16777216
//!   segment_bytes 134217728
//!   memory_limit 268435456
//!   sync_interval_ms 50
//!   partition 0 9d7c4e61aa02f3b8
//!   partition 1 0f5ad2c3e4b59687 from 1200
//!   adding 2 51c0de21be0a7f3e
//! crc32 1a2b3c4d
//! ```

mod upkeep;

use std::path::Path;
use std::time::Duration;

use super::checked_text::{Format, corrupt};
use crate::config::{
    DEFAULT_SEGMENT_AGE, DEFAULT_SYNC_INTERVAL, Durability, Retention, TopicSettings, WhenFull,
};
use crate::error::Result;
use crate::ids::MAX_OFFSET;

pub(super) const FILE_NAME: &str = "catalog";
const FORMAT: Format = Format { title: "catalog", version: 1 };

/// How far a change to a topic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicState {
    /// Its directories are being made: if they are found so, they are removed.
    Creating,
    Live,
    /// Its directories are being removed.
    Deleting,
}

/// A topic in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicEntry {
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) state: TopicState,
    /// Its `partitions` is the number of `partitions` below.
    pub(super) settings: TopicSettings,
    pub(super) partitions: Vec<PartitionEntry>,
    /// Ids of further partitions whose directories are being made, or removed again: what is found of them is
    /// removed.
    pub(super) adding: Vec<u64>,
}

/// A partition in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionEntry {
    pub(super) id: u64,
    /// Records below this offset were deleted.
    pub(super) start_offset: u64,
}

impl PartitionEntry {
    pub(super) fn new(id: u64) -> Self {
        Self { id, start_offset: 0 }
    }
}

const STATES: [(TopicState, &str); 3] =
    [(TopicState::Creating, "creating"), (TopicState::Live, "live"), (TopicState::Deleting, "deleting")];
const DURABILITIES: [(Durability, &str); 3] = [
    (Durability::Memory, "memory"),
    (Durability::ProcessCrash, "process-crash"),
    (Durability::PowerLoss, "power-loss"),
];

fn word_of<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> &'static str {
    words.iter().find(|(known, _)| known == value).map_or("", |(_, word)| word)
}

fn meaning_of<T: Copy>(words: &[(T, &str)], word: &str) -> Option<T> {
    words.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
}

/// The file's text.
pub(crate) fn encode(topics: &[TopicEntry]) -> String {
    let mut lines = String::new();
    for topic in topics {
        encode_topic(&mut lines, topic);
    }
    FORMAT.encode(&lines)
}

fn encode_topic(text: &mut String, topic: &TopicEntry) {
    let TopicEntry { name, id, state, settings, partitions, adding } = topic;
    let durability = word_of(&DURABILITIES, &settings.durability);
    *text += &format!("topic {name} {id:016x} {}\n", word_of(&STATES, state));
    *text += &format!("  durability {durability}\n");
    *text += &format!("  max_record_bytes {}\n", settings.max_record_bytes);
    *text += &format!("  max_batch_bytes {}\n", settings.max_batch_bytes);
    *text += &format!("  segment_bytes {}\n", settings.segment_bytes);
    *text += &format!("  memory_limit {}\n", settings.memory_limit);
    *text += &format!("  sync_interval_ms {}\n", settings.sync_interval.as_millis());
    upkeep::encode(text, settings);
    for (number, PartitionEntry { id, start_offset }) in partitions.iter().enumerate() {
        *text += &format!("  partition {number} {id:016x}");
        if *start_offset > 0 {
            *text += &format!(" from {start_offset}");
        }
        *text += "\n";
    }
    for (number, id) in (partitions.len()..).zip(adding) {
        *text += &format!("  adding {number} {id:016x}\n");
    }
}

/// Reads the text of the file at `path`.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Vec<TopicEntry>> {
    let lines = FORMAT.decode(path, bytes)?;
    decode_topics(&lines)
        .ok_or_else(|| corrupt(path, 0, "it lists a setting that this version does not know"))
}

fn decode_topics(text: &str) -> Option<Vec<TopicEntry>> {
    let mut topics: Vec<TopicEntry> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["topic", name, id, state] = words[..] {
            topics.push(new_entry(name, parse_id(id)?, meaning_of(&STATES, state)?));
            continue;
        }
        let topic = topics.last_mut()?;
        let settings = &mut topic.settings;
        match words[..] {
            ["durability", word] => settings.durability = meaning_of(&DURABILITIES, word)?,
            ["max_record_bytes", bytes] => settings.max_record_bytes = bytes.parse().ok()?,
            ["max_batch_bytes", bytes] => settings.max_batch_bytes = bytes.parse().ok()?,
            ["segment_bytes", bytes] => settings.segment_bytes = bytes.parse().ok()?,
            ["memory_limit", bytes] => settings.memory_limit = bytes.parse().ok()?,
            ["sync_interval_ms", millis] => {
                settings.sync_interval = Duration::from_millis(millis.parse().ok()?);
            }
            ["partition", _, id] => topic.push(PartitionEntry::new(parse_id(id)?)),
            ["partition", _, id, "from", offset] => {
                let start_offset = offset.parse().ok().filter(|offset| *offset <= MAX_OFFSET)?;
                topic.push(PartitionEntry { id: parse_id(id)?, start_offset });
            }
            ["adding", _, id] => topic.adding.push(parse_id(id)?),
            _ => upkeep::decode(&words, settings)?,
        }
    }
    Some(topics)
}

fn parse_id(hex: &str) -> Option<u64> {
    u64::from_str_radix(hex, 16).ok()
}

/// An entry whose settings are read from the lines that follow.
fn new_entry(name: &str, id: u64, state: TopicState) -> TopicEntry {
    let settings = TopicSettings {
        partitions: 0,
        durability: Durability::Memory,
        max_record_bytes: 0,
        max_batch_bytes: 0,
        segment_bytes: 0,
        memory_limit: 0,
        sync_interval: DEFAULT_SYNC_INTERVAL,
        retention: Retention::forever(),
        compaction: None,
        when_full: WhenFull::DropOldest,
        segment_age: DEFAULT_SEGMENT_AGE,
    };
    TopicEntry { name: name.to_owned(), id, state, settings, partitions: Vec::new(), adding: Vec::new() }
}

impl TopicEntry {
    fn push(&mut self, partition: PartitionEntry) {
        self.partitions.push(partition);
        self.settings.partitions += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compaction, TopicConfig, TopicDefaults};
    use crate::error::Error;

    fn entry(name: &str, state: TopicState) -> TopicEntry {
        let config = TopicConfig::new().partitions(2).segment_bytes(4096);
        let config = config.durability(Durability::PowerLoss).sync_interval(Duration::from_millis(20));
        let kept =
            Retention::days(7).max_bytes(1 << 30).read_by(["a group", "b"]).min_age(Duration::from_secs(1));
        let config = config.retention(kept).segment_age(Duration::from_secs(5));
        let compaction = Compaction::by_key().min_dirty_percent(20).max_lag(Duration::from_secs(9));
        let config = config.compaction(compaction).when_full(WhenFull::Block);
        let settings = config.settings(&TopicDefaults::on_disk()).expect("valid");
        let partitions = vec![PartitionEntry::new(1), PartitionEntry { id: u64::MAX, start_offset: 9 }];
        TopicEntry { name: name.to_owned(), id: 7, state, settings, partitions, adding: vec![3, 4] }
    }

    #[test]
    fn topics_come_back_with_ids_settings_and_state() {
        let mut memory = entry("memory", TopicState::Live);
        memory.settings.durability = Durability::Memory;
        memory.adding.clear();
        let topics = [entry("payments", TopicState::Live), entry("old", TopicState::Deleting), memory];
        let found = decode(Path::new("catalog"), encode(&topics).as_bytes()).expect("valid");
        assert_eq!(found, topics);
    }

    #[test]
    fn every_flipped_bit_and_every_prefix_is_noticed() {
        let bytes = encode(&[entry("payments", TopicState::Live)]).into_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Path::new("catalog"), &flipped).is_err(), "bit {bit}");
        }
        for end in 0..bytes.len() {
            assert!(decode(Path::new("catalog"), &bytes[..end]).is_err(), "prefix of {end}");
        }
    }

    #[test]
    fn the_example_of_the_format_page_is_read() {
        let page = include_str!("../../docs/format.md");
        let (_, example) = page.split_once("```text\nottla catalog").expect("it begins so");
        let (example, _) = example.split_once("```").expect("it ends");
        let found = decode(Path::new("catalog"), format!("ottla catalog{example}").as_bytes());
        let topics = found.expect("it is a catalog");
        assert_eq!(
            topics[0].partitions[1],
            PartitionEntry { id: 0x5a90_3fc9_156a_1be9, start_offset: 1_200 }
        );
        assert_eq!((topics[0].settings.partitions, topics[0].adding.len()), (2, 1));
        assert_eq!(encode(&topics), format!("ottla catalog{example}"));
    }

    #[test]
    fn a_later_version_is_refused_by_its_number() {
        let error = decode(Path::new("catalog"), b"ottla catalog 2\nanything\n").expect_err("unsupported");
        assert!(matches!(error, Error::UnsupportedFormat { found: 2, supported: 1, .. }));
    }
}
