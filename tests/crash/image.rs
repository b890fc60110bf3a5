//! A directory of which every record's place is known, as a broker left it that was closed, or killed. Tests
//! damage copies of it and have them judged (`judgement.rs`).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Raw};

use crate::support::{
    DIR, Files, SEGMENT_HEADER_BYTES, TOPIC, contents, files_below, files_in, key_of, partition_dir,
    send_batch, sent, sent_all, small_segments, value,
};

/// Room for a record that no single read brings in.
const LARGEST: u64 = 4 << 20;

/// The files of a broker with [`TOPIC`], whose partition 0 is damaged by the tests; partition 1 stays well.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) files: Files,
    /// The frames of the records of partition 0, in order: record n is frame n.
    pub(crate) frames: Vec<Place>,
    pub(crate) values: Vec<Vec<u8>>,
    pub(crate) neighbour: Vec<Vec<u8>>,
    /// The files say that the records of partition 0 below this offset were synced.
    pub(crate) synced: u64,
}

/// Where a frame is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Range<usize>,
    /// The number of the first frame of its batch.
    pub(crate) batch: usize,
}

impl Image {
    /// Partition 0 holds records of these sizes, one batch for each list. The broker was closed: its checkpoint
    /// says that everything was synced.
    pub(crate) fn of(batches: &[&[usize]]) -> Self {
        Self::with_end(batches, 0, |broker, storage| {
            broker.close().expect("it closes");
            files_below(storage, Path::new(DIR))
        })
    }

    /// The same, but the broker was killed, and had synced nothing of it.
    pub(crate) fn killed(batches: &[&[usize]]) -> Self {
        Self::killed_after_flush(batches, 0)
    }

    /// The same, but the broker was killed, and had synced so many batches, which a sync mark behind them says.
    pub(crate) fn killed_after_flush(batches: &[&[usize]], flushed: usize) -> Self {
        Self::with_end(batches, flushed, |_, storage| files_below(storage, Path::new(DIR)))
    }

    fn with_end(
        batches: &[&[usize]],
        flushed: usize,
        end: impl FnOnce(&Broker, &MemoryStorage) -> Files,
    ) -> Self {
        let storage = MemoryStorage::default();
        // Nothing is synced by itself.
        let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
        let broker = builder.sync_interval(Duration::from_secs(3_600)).open().expect("it is new");
        broker.create_topic(TOPIC, small_segments(2).max_record_bytes(LARGEST)).expect("it is new");
        let key = key_of(0, 2);
        let (mut count, mut synced) = (0, 0);
        for (number, &lens) in batches.iter().enumerate() {
            let values: Vec<Vec<u8>> =
                (count + 1..).zip(lens).map(|(number, &len)| value(number, len)).collect();
            count += lens.len();
            match &values[..] {
                [single] => sent_all(&broker, TOPIC, 0, [single.clone()]),
                batch => send_batch(&broker, &key, batch),
            }
            sent(&broker, TOPIC, 1, &value(100_000 + count, lens[0]));
            if number + 1 == flushed {
                broker.producer::<Raw, Raw>(TOPIC).expect("it is there").flush().expect("it can be synced");
                synced = count as u64;
            }
        }
        let values = contents(&broker, TOPIC, 0).expect("it can be read");
        assert_eq!(values.len(), count, "every record went to partition 0");
        let neighbour = contents(&broker, TOPIC, 1).expect("it can be read");
        let files = end(&broker, &storage);
        // One that is closed has synced everything.
        let is_closed = broker.producer::<Raw, Raw>(TOPIC).is_err();
        let frames = frames_of(&files, &partition_dir(TOPIC, 0));
        assert_eq!(frames.len(), count, "one frame for each record");
        let synced = if is_closed { count as u64 } else { synced };
        Self { files, frames, values, neighbour, synced }
    }

    /// The segments of partition 0, by base offset.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let mut segments: Vec<PathBuf> = self.frames.iter().map(|frame| frame.file.clone()).collect();
        segments.dedup();
        segments
    }

    /// A copy in which one file is changed.
    pub(crate) fn with(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Files {
        let mut files = self.files.clone();
        change(files.get_mut(path).expect("it is one of the files"));
        files
    }

    /// Whether a record is in `files` as it was, where it was.
    pub(crate) fn is_whole(&self, files: &Files, number: usize) -> bool {
        let place = &self.frames[number];
        let bytes = |files: &Files| Some(files.get(&place.file)?.get(place.bytes.clone())?.to_vec());
        bytes(files).is_some() && bytes(files) == bytes(&self.files)
    }
}

/// The frames of all records in the segments in `dir`, by the length field of each.
fn frames_of(files: &Files, dir: &Path) -> Vec<Place> {
    let mut frames: Vec<Place> = Vec::new();
    let mut batch = 0;
    for (path, bytes) in files_in(files, dir) {
        let mut start = SEGMENT_HEADER_BYTES;
        while start < bytes.len() {
            let length = bytes[start + 4..start + 8].try_into().expect("four bytes");
            let end = start + u32::from_le_bytes(length) as usize;
            let is_record = bytes[start + 38] == 0;
            if is_record {
                frames.push(Place { file: path.clone(), bytes: start..end, batch });
                let batch_continues = bytes[start + 39] & 1 == 1;
                if !batch_continues {
                    batch = frames.len();
                }
            }
            start = end;
        }
    }
    frames
}
