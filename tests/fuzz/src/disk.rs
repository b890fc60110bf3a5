//! A data directory in memory: its fixed parts, and all its files as they are before and after.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ottla::storage::{MemoryStorage, OpenMode, Storage};

use crate::format::{Frame, with_crc_line};
use crate::input::Input;
use crate::model::{self, Place};
use crate::recipe::{self, first_header, segment_name, usual};

/// The data directory.
pub const DIR: &str = "/data";
/// The topic; partition 0 is the fuzzer's, partition 1 is well.
pub const TOPIC: &str = "orders";
/// The ids of its partitions.
pub const PARTITION_IDS: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
/// The id of the topic.
pub const TOPIC_ID: u64 = 0x1111_1111_1111_1111;
/// The group that has committed something.
pub const GROUP: &str = "ledger";
/// How many records the partition holds that is well.
pub const NEIGHBOURS: u64 = 3;

const COMMITS_ID: u64 = 0x2222_2222_2222_2222;

/// All files below the data directory.
pub type Image = BTreeMap<PathBuf, Vec<u8>>;

/// What is said of partition 0 beside its own files.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Where the log begins, by the catalog.
    pub start_offset: u64,
    /// What the group has committed.
    pub committed: u64,
    /// By the checkpoint.
    pub synced: Synced,
    /// The boot in the checkpoint, if there is one.
    pub boot: Option<&'static str>,
}

/// How far the log is said to have been on stable storage.
#[derive(Clone, Copy, Debug)]
pub enum Synced {
    /// Not at all.
    Unknown,
    /// To the end of one of the first batches: it may well have been.
    Batch(u8),
    /// Here.
    Anywhere(Place),
}

impl Surroundings {
    /// Takes them from an input.
    #[must_use]
    pub fn take(input: &mut Input<'_>) -> Self {
        let how = input.byte();
        let start_offset = if how & 1 == 0 { 0 } else { input.number() % (1 << 62) };
        let committed = if how & 2 == 0 { 0 } else { input.number() };
        let synced = match (how >> 2) & 3 {
            0 => Synced::Unknown,
            1 | 2 => Synced::Batch(input.byte()),
            _ => Synced::Anywhere(Place {
                offset: usual(input.number()),
                segment: usual(input.number()),
                position: input.number() as usize,
            }),
        };
        let boot = [None, Some("memory"), Some("memory"), Some("another")][usize::from(how >> 4) % 4];
        Self { start_offset, committed, synced, boot }
    }

    fn synced_to(&self, partition: &recipe::Files) -> Option<Place> {
        match self.synced {
            Synced::Unknown => None,
            Synced::Batch(number) => {
                let places = model::beginning(partition, PARTITION_IDS[0], self.start_offset).places;
                places.get(usize::from(number) % places.len().max(1)).copied()
            }
            Synced::Anywhere(place) => Some(place),
        }
    }
}

/// The directory with these files of partition 0.
#[must_use]
pub fn image(partition: &recipe::Files, surroundings: &Surroundings) -> Image {
    let mut image = Image::new();
    let mut put = |dir: &str, name: &str, bytes: &[u8]| {
        image.insert(Path::new(DIR).join(dir).join(name), bytes.to_vec());
    };
    for (name, bytes) in partition {
        put("orders-0", name, bytes);
    }
    put("orders-1", &segment_name(0), &segment(PARTITION_IDS[1], &neighbours()));
    let commits = segment(COMMITS_ID, &[commit(surroundings.committed)]);
    put("__consumer_offsets-0", &segment_name(0), &commits);
    put("", "catalog", catalog(surroundings.start_offset).as_bytes());
    if let Some(boot) = surroundings.boot {
        put("", "checkpoint", checkpoint(boot, surroundings.synced_to(partition)).as_bytes());
    }
    image
}

/// The files of partition 0.
#[must_use]
pub fn partition(image: &Image) -> recipe::Files {
    let dir = Path::new(DIR).join("orders-0");
    let files = image.iter().filter(|(path, _)| path.parent() == Some(&dir));
    files.map(|(path, bytes)| (file_name(path), bytes.clone())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The records of partition 1.
#[must_use]
pub fn neighbours() -> Vec<Frame> {
    let record = |offset: u64| Frame {
        offset,
        timestamp: 1_000,
        value: Some(offset.to_le_bytes().to_vec()),
        ..Frame::default()
    };
    (0..NEIGHBOURS).map(record).collect()
}

fn segment(partition_id: u64, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = first_header(partition_id).encode().to_vec();
    bytes.extend(frames.iter().flat_map(|frame| frame.encode(partition_id)));
    bytes
}

/// What the group has committed in partition 0.
fn commit(offset: u64) -> Frame {
    let key = [&[1][..], &TOPIC_ID.to_be_bytes(), &0u32.to_be_bytes(), GROUP.as_bytes()].concat();
    let value = offset.to_be_bytes().to_vec();
    Frame { key: Some(key), value: Some(value), timestamp: 1_000, ..Frame::default() }
}

fn catalog(start_offset: u64) -> String {
    let settings = "  durability process-crash\n  max_record_bytes 65536\n  max_batch_bytes 65536\n  \
                    segment_bytes 4096\n  memory_limit 1048576\n  sync_interval_ms 3600000\n";
    let [first, second] = PARTITION_IDS;
    with_crc_line(&format!(
        "ottla catalog 1\ntopic {TOPIC} {TOPIC_ID:016x} live\n{settings}  partition 0 {first:016x} from \
         {start_offset}\n  partition 1 {second:016x}\ntopic __consumer_offsets 3333333333333333 \
         live\n{settings}  partition 0 {COMMITS_ID:016x}\n"
    ))
}

fn checkpoint(boot: &str, synced: Option<Place>) -> String {
    let mut text = format!("ottla checkpoint 1\nboot {boot}\n");
    if let Some(Place { offset, segment, position }) = synced {
        let id = PARTITION_IDS[0];
        text += &format!("partition {id:016x} end {offset} segment {segment} position {position}\n");
    }
    with_crc_line(&text)
}

/// A file system that holds these files.
#[must_use]
pub fn storage_with(image: &Image) -> MemoryStorage {
    let storage = MemoryStorage::default();
    for (path, bytes) in image {
        storage.create_dir_all(path.parent().expect("it has one")).expect("in memory");
        let file = storage.open(path, OpenMode::CreateOrEmpty).expect("in memory");
        file.write_at(bytes, 0).expect("in memory");
    }
    storage
}

/// All files below the data directory, but for the lock.
#[must_use]
pub fn image_of(storage: &MemoryStorage) -> Image {
    let mut image = Image::new();
    read_below(storage, Path::new(DIR), &mut image);
    image
}

fn read_below(storage: &MemoryStorage, dir: &Path, image: &mut Image) {
    for name in storage.list(dir).expect("it is there") {
        let path = dir.join(&name);
        if storage.list(&path).is_ok() {
            read_below(storage, &path, image);
        } else if name != "LOCK" {
            let file = storage.open(&path, OpenMode::ReadOnly).expect("it is there");
            let mut bytes = vec![0; file.len().expect("in memory") as usize];
            let read = file.read_at(&mut bytes, 0).expect("in memory");
            assert_eq!(read, bytes.len());
            image.insert(path, bytes);
        }
    }
}

/// Fails if a file is not as it was.
pub fn check_unchanged(storage: &MemoryStorage, before: &Image, what: &str) {
    let after = image_of(storage);
    let paths = before.keys().chain(after.keys());
    let changed: Vec<_> = paths.filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(changed.is_empty(), "{what} changed {changed:?}");
}
