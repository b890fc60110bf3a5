//! A healthy directory of which every frame is known, and the judgement of a broker that is opened on a
//! damaged copy of it: it serves exactly what was sent, or refuses and leaves everything as it is, or cuts
//! off a tail behind which nothing whole is left.

use std::ops::Range;
use std::path::{Path, PathBuf};

use ottla::storage::MemoryStorage;
use ottla::{Error, RecoveryReport};

use crate::support::{
    Checked, DIR, Files, Finding, SEGMENT_HEADER_BYTES, TOPIC, check_unchanged, contents, ensure,
    files_below, key_of, open, partition_dir, read_file, reopen, send, send_batch, sent, sent_all,
    small_segments, storage_with, value,
};

/// Room for a record that no single read brings in.
const LARGEST: u64 = 4 << 20;

/// The files of a broker with [`TOPIC`], whose partition 0 is damaged by the tests; partition 1 stays well.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) files: Files,
    /// The frames of partition 0, in order: record n is frame n.
    pub(crate) frames: Vec<Place>,
    pub(crate) values: Vec<Vec<u8>>,
    neighbour: Vec<Vec<u8>>,
}

/// Where a frame is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) bytes: Range<usize>,
    /// The number of the first frame of its batch.
    pub(crate) batch: usize,
}

/// What a broker made of a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every record was served.
    Served,
    /// A torn tail was cut off and reported; every record before it was served.
    Torn,
    /// A typed error, and nothing was changed.
    Refused,
}

impl Image {
    /// Partition 0 holds records of these sizes, one batch for each list.
    pub(crate) fn of(batches: &[&[usize]]) -> Self {
        let storage = MemoryStorage::default();
        let broker = reopen(&storage);
        broker.create_topic(TOPIC, small_segments(2).max_record_bytes(LARGEST)).expect("it is new");
        let key = key_of(0, 2);
        let mut number = 0;
        for &lens in batches {
            let values: Vec<Vec<u8>> = lens
                .iter()
                .map(|&len| {
                    number += 1;
                    value(number, len)
                })
                .collect();
            match &values[..] {
                [single] => sent_all(&broker, TOPIC, 0, [single.clone()]),
                batch => send_batch(&broker, &key, batch),
            }
            sent(&broker, TOPIC, 1, &value(100_000 + number, lens[0]));
        }
        let values = contents(&broker, TOPIC, 0).expect("it can be read");
        assert_eq!(values.len(), number, "every record went to partition 0");
        let neighbour = contents(&broker, TOPIC, 1).expect("it can be read");
        broker.close().expect("it closes");
        let files = files_below(&storage, Path::new(DIR));
        let frames = frames_of(&files, &partition_dir(TOPIC, 0));
        assert_eq!(frames.len(), number, "one frame for each record");
        Self { files, frames, values, neighbour }
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

    /// Opens a broker on `damaged` and reads everything.
    pub(crate) fn judge(&self, damaged: &Files) -> Checked<Verdict> {
        let storage = storage_with(damaged);
        let outcome = open(&storage).and_then(|broker| Ok((contents(&broker, TOPIC, 0)?, broker)));
        match outcome {
            Err(error) => {
                check_refusal(&error)?;
                check_unchanged(&storage, damaged)?;
                Ok(Verdict::Refused)
            }
            Ok((seen, broker)) => {
                let neighbour = contents(&broker, TOPIC, 1)?;
                ensure(neighbour == self.neighbour, || "the other partition suffered".to_owned())?;
                self.check_served(damaged, &seen, broker.recovery_report())?;
                check_kept_bytes(&storage, damaged, broker.recovery_report())?;
                let torn = !broker.recovery_report().torn_tails.is_empty();
                drop(broker);
                check_goes_on(&storage, &seen)?;
                Ok(if torn { Verdict::Torn } else { Verdict::Served })
            }
        }
    }

    /// Opens a broker on `damaged`, which must not open.
    pub(crate) fn judge_refusal(&self, damaged: &Files) -> Checked {
        let storage = storage_with(damaged);
        match open(&storage) {
            Ok(broker) => {
                let topic = broker.describe_topic(TOPIC)?;
                let held = topic.partitions[0].start_offset..topic.partitions[0].end_offset;
                Err(Finding(format!("it opened and holds records {held:?} of {}", self.values.len())))
            }
            Err(error) => {
                check_refusal(&error)?;
                check_unchanged(&storage, damaged)
            }
        }
    }

    fn check_served(&self, damaged: &Files, seen: &[Vec<u8>], report: &RecoveryReport) -> Checked {
        let kept = self.must_keep(damaged)?;
        ensure(seen.len() == kept, || format!("{} records were served, not {kept}", seen.len()))?;
        ensure(seen == &self.values[..kept], || "a wrong record was served".to_owned())?;
        let torn = &report.torn_tails;
        let ends_torn = self.ends_torn(damaged, kept);
        ensure(torn.len() == usize::from(ends_torn), || format!("reported as torn: {torn:?}"))?;
        for tail in torn {
            let end = tail.end_offset;
            ensure(end == kept as u64, || format!("the report says that the log ends at {end}, not {kept}"))?;
        }
        Ok(())
    }

    /// How many records must be served if the broker opens at all; it must not if something whole is left
    /// behind the first damage.
    fn must_keep(&self, damaged: &Files) -> Checked<usize> {
        let is_whole = |place: &Place| {
            let bytes = |files: &Files| Some(files.get(&place.file)?.get(place.bytes.clone())?.to_vec());
            bytes(damaged).is_some() && bytes(damaged) == bytes(&self.files)
        };
        let header =
            |files: &Files, path: &Path| Some(files.get(path)?.get(..SEGMENT_HEADER_BYTES)?.to_vec());
        let first_bad = self.frames.iter().position(|place| {
            let header_is_whole = header(damaged, &place.file) == header(&self.files, &place.file);
            !header_is_whole || !is_whole(place)
        });
        let Some(first_bad) = first_bad else { return Ok(self.frames.len()) };
        let behind = self.frames.iter().skip(first_bad).position(is_whole);
        let kept = self.frames[first_bad].batch;
        match behind {
            None => Ok(kept),
            Some(after) => {
                let whole = first_bad + after;
                Err(Finding(format!(
                    "it opened, though record {first_bad} is damaged and record {whole} is whole"
                )))
            }
        }
    }

    /// Whether the last segment holds more than its header and those of the first `kept` records that are
    /// its own, or not even a header.
    fn ends_torn(&self, damaged: &Files, kept: usize) -> bool {
        let segments = self.segments();
        let last = segments.iter().rfind(|path| damaged.contains_key(*path)).expect("a segment is left");
        let kept_there = self.frames[..kept].iter().rfind(|place| place.file == *last);
        let end = kept_there.map_or(SEGMENT_HEADER_BYTES, |place| place.bytes.end);
        damaged[last].len() != end
    }
}

/// What was cut off lies in the file that the report names; where it names none, it was all zero, or the
/// beginning of a segment header.
fn check_kept_bytes(storage: &MemoryStorage, damaged: &Files, report: &RecoveryReport) -> Checked {
    for tail in &report.torn_tails {
        let cut = &damaged[&tail.path][tail.position as usize..];
        ensure(tail.bytes == cut.len() as u64, || format!("{} bytes were cut: {tail:?}", cut.len()))?;
        let is_kept = match &tail.kept_in {
            Some(path) => read_file(storage, path) == cut,
            None => cut.iter().all(|&byte| byte == 0) || cut.len() < SEGMENT_HEADER_BYTES,
        };
        ensure(is_kept, || format!("what was cut off is not kept: {tail:?}"))?;
    }
    Ok(())
}

/// An error that says which file is damaged and where.
fn check_refusal(error: &Error) -> Checked {
    let named = match error {
        Error::Corrupt { path, detail, .. } => path.starts_with(DIR) && !detail.is_empty(),
        Error::UnsupportedFormat { path, found, supported } => path.starts_with(DIR) && found != supported,
        _ => false,
    };
    ensure(named, || format!("the error does not say what is damaged: {error:?}"))
}

/// After recovery the log takes records, and the next opening finds everything well.
fn check_goes_on(storage: &MemoryStorage, seen: &[Vec<u8>]) -> Checked {
    let more = value(999_999, 50);
    let offset = send(&open(storage)?, TOPIC, 0, &more)?;
    ensure(offset == seen.len() as u64, || format!("the next record got offset {offset}"))?;
    let broker = open(storage)?;
    let report = broker.recovery_report();
    ensure(report.is_clean(), || format!("the second opening mended something: {report:?}"))?;
    let again = contents(&broker, TOPIC, 0)?;
    ensure(again[..seen.len()] == *seen && again[seen.len()..] == [more], || {
        "the second opening serves something else".to_owned()
    })
}

/// The frames of all segments in `dir`, by the length field of each.
fn frames_of(files: &Files, dir: &Path) -> Vec<Place> {
    let mut frames: Vec<Place> = Vec::new();
    let mut batch = 0;
    for (path, bytes) in files.iter().filter(|(path, _)| path.parent() == Some(dir)) {
        let mut start = SEGMENT_HEADER_BYTES;
        while start < bytes.len() {
            let length = bytes[start + 4..start + 8].try_into().expect("four bytes");
            let end = start + u32::from_le_bytes(length) as usize;
            frames.push(Place { file: path.clone(), bytes: start..end, batch });
            let batch_continues = bytes[start + 39] & 1 == 1;
            if !batch_continues {
                batch = frames.len();
            }
            start = end;
        }
    }
    frames
}
