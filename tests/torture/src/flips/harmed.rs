//! A directory after something was done to it, and what is left in it by the rules of `docs/format.md`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::image::{COMMITS, DIR, Image, LOGS, Log};
use super::storage::Files;
use crate::common::format::{self, HEADER_BYTES, What};

/// What good records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// None of which no byte was touched.
    Untouched,
    /// Good frames are in several places and contradict each other: as many as are untouched must be there.
    AsMany,
    /// A file says of others where they end: what is missing must be reported.
    Reported,
}

#[derive(Debug)]
pub(super) struct Harmed<'a> {
    pub(super) image: &'a Image,
    pub(super) files: Files,
    /// The logs in whose directories anything was changed.
    pub(super) victims: Vec<usize>,
    pub(super) claim: Claim,
    /// Whether bytes were taken from the end of files, or files from the end of logs: nothing may be left to
    /// be found of what was there.
    pub(super) shortens: bool,
}

/// Where the log of a partition stops being what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// For each record, whether all its bytes are where they were.
    pub(super) untouched: Vec<bool>,
    /// The first offset of the batch in which the first touched byte is, or which comes behind it.
    pub(super) first_bad: u64,
    /// The offset behind that batch.
    pub(super) batch_end: u64,
    /// Everything below this offset is known to have been on stable storage.
    pub(super) synced: u64,
}

impl<'a> Harmed<'a> {
    /// These files instead of those of the directory; `None` if they are the same.
    pub(super) fn new(image: &'a Image, files: Files, claim: Claim, shortens: bool) -> Option<Self> {
        let mut changed: Vec<&Path> = image.files.keys().map(PathBuf::as_path).collect();
        changed.retain(|path| files.get(*path) != image.files.get(*path));
        changed.extend(files.keys().filter(|path| !image.files.contains_key(*path)).map(PathBuf::as_path));
        let is_victim = |number: &usize| changed.iter().any(|path| log_of(image, path) == Some(*number));
        let victims = (0..=COMMITS).filter(is_victim).collect();
        if changed.is_empty() {
            return None;
        }
        Some(Self { image, files, victims, claim, shortens })
    }

    pub(super) fn log(&self, number: usize) -> &Log {
        &self.image.logs[number]
    }

    pub(super) fn is_victim(&self, number: usize) -> bool {
        self.victims.contains(&number)
    }

    pub(super) fn is_changed(&self, name: &str) -> bool {
        let path = Path::new(DIR).join(name);
        self.files.get(&path) != self.image.files.get(&path)
    }

    /// Whether a file claims to be of a later version. Damage to the version cannot be told from that, unless
    /// the rest of the header is whole.
    pub(super) fn has_later_version(&self) -> bool {
        let is_later =
            |bytes: &Vec<u8>| bytes.starts_with(b"OTTLALOG") && bytes.get(8..10) > Some(&[1, 0][..]);
        self.files.iter().any(|(path, bytes)| is_segment(path) && is_later(bytes))
    }

    pub(super) fn find(&self, number: usize) -> Found {
        let log = self.log(number);
        let (mut untouched, mut last_of_batch, mut batch, mut bad) = (Vec::new(), Vec::new(), 0, None);
        let (mut file, mut files) = (None, (None, None));
        for frame in &log.frames {
            let is_new = file.replace(&frame.path) != Some(&frame.path);
            if is_new {
                files = (self.files.get(&frame.path), self.image.files.get(&frame.path));
            }
            let is_untouched = |bytes: Range<usize>| {
                let (now, before) = (files.0?.get(bytes.clone())?, files.1?.get(bytes)?);
                Some(now == before)
            };
            if is_new && is_untouched(0..HEADER_BYTES) != Some(true) {
                bad = bad.or(Some((batch, false)));
            }
            let is_whole = is_untouched(frame.bytes.clone()) == Some(true);
            let is_record = matches!(frame.what, What::Record { .. });
            if !is_whole {
                bad = bad.or(Some((batch, is_record)));
            }
            if let What::Record { offset, continues } = frame.what {
                untouched.push(is_whole);
                last_of_batch.push(!continues);
                batch = if continues { batch } else { offset + 1 };
            }
        }
        let total = untouched.len() as u64;
        let (first_bad, is_in_batch) = bad.unwrap_or((total, false));
        let rest = last_of_batch[first_bad as usize..].iter().position(|is_last| *is_last);
        let batch_end =
            if is_in_batch { rest.map_or(total, |rest| first_bad + rest as u64 + 1) } else { first_bad };
        Found { untouched, first_bad, batch_end, synced: self.synced(number) }
    }

    /// What the files that are left say of how far the log was on stable storage.
    fn synced(&self, number: usize) -> u64 {
        let log = self.log(number);
        let files = || self.files.iter().filter(|(path, _)| path.starts_with(&log.dir) && is_segment(path));
        let mut synced = if self.is_changed("checkpoint") { 0 } else { log.checkpoint };
        for (path, bytes) in files() {
            let is_whole = self.image.files.get(path).is_some_and(|before| {
                bytes.get(..HEADER_BYTES).is_some_and(|header| before.starts_with(header))
            });
            if is_whole && let Ok(header) = format::header(bytes) {
                synced = synced.max(header.recovery_point);
            }
        }
        for frame in &log.frames {
            // One that lies elsewhere now may be where nobody looks.
            if let What::Mark { synced: says } = frame.what
                && says > synced
                && self.is_untouched(&frame.path, frame.bytes.clone())
            {
                synced = says;
            }
        }
        synced
    }

    fn is_untouched(&self, path: &Path, bytes: Range<usize>) -> bool {
        let now = self.files.get(path).and_then(|now| now.get(bytes.clone()));
        now.is_some_and(|now| now == &self.image.files[path][bytes])
    }
}

fn is_segment(path: &Path) -> bool {
    let stem = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".log"));
    stem.is_some_and(|stem| stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The number of the log in whose directory a file is.
pub(super) fn log_of(image: &Image, path: &Path) -> Option<usize> {
    (0..=LOGS.len()).find(|&number| path.starts_with(&image.logs[number].dir))
}
