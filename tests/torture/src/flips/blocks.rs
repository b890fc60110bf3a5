//! Blocks that are zeroed, swapped, doubled or in a wrong place, and files that are missing, renamed or too
//! many: which ones, for a directory and a seed.

use std::path::{Path, PathBuf};

use super::damage::Damage;
use super::harmed::{Claim, log_of};
use super::image::{COMMITS, DIR, Image};
use crate::common::format;
use crate::common::random::Random;

/// A sector, and a page.
const SIZES: [usize; 2] = [512, 4_096];
/// At so many places that are no multiples of the size.
const ODD_PLACES: u64 = 3;
/// Pairs of frames of the same length, for each log.
const FRAME_PAIRS: u64 = 150;

pub(super) fn listed(image: &Image, seed: u64) -> Vec<Damage> {
    let mut lister = Lister { image, random: Random::new(seed ^ 0xb10c), list: Vec::new() };
    let paths: Vec<&PathBuf> = image.files.keys().collect();
    for path in &paths {
        for size in SIZES {
            lister.blocks(path, size, &paths);
        }
        lister.longer(path);
        lister.files(path);
    }
    (0..=COMMITS).for_each(|log| lister.frames(log));
    (0..=COMMITS).for_each(|log| lister.forged(log));
    (0..=COMMITS).for_each(|log| lister.whole_logs(log));
    lister.list
}

struct Lister<'a> {
    image: &'a Image,
    random: Random,
    list: Vec<Damage>,
}

/// A part of a file.
type Block<'a> = (&'a Path, usize, usize);

impl<'a> Lister<'a> {
    /// Where blocks of a file begin.
    fn places(&mut self, path: &Path, size: usize) -> Vec<usize> {
        let len = self.image.files[path].len();
        let mut places: Vec<usize> = (0..len).step_by(size).collect();
        for _ in 0..ODD_PLACES {
            places.push(self.random.below((len / 8).max(1) as u64) as usize * 8);
        }
        places
    }

    fn blocks(&mut self, path: &'a Path, size: usize, paths: &[&'a PathBuf]) {
        let places = self.places(path, size);
        for &at in &places {
            let len = size.min(self.image.files[path].len() - at);
            let here = (path, at, len);
            self.list.push(Damage::Paste(path.to_path_buf(), at, vec![0; len], Claim::Untouched));
            for &other in places.iter().filter(|&&other| other != at) {
                self.misplace(here, (path, other, len));
            }
            for other in paths.iter().filter(|other| **other != path) {
                let from = self.places(other, size);
                let from = [from[0], self.random.pick(&from)];
                from.into_iter().for_each(|from| self.misplace(here, (other, from, len)));
            }
            // An older catalog is whole, and nothing is wrong with it.
            if let Some(older) = self.image.older.get(path).filter(|_| log_of(self.image, path).is_some()) {
                for from in [at, self.random.below((older.len() / 8) as u64) as usize * 8] {
                    let bytes = older.get(from..(from + len).min(older.len())).unwrap_or_default().to_vec();
                    self.list.push(Damage::Paste(path.to_path_buf(), at, bytes, Claim::Untouched));
                }
            }
        }
    }

    /// The second block in place of the first one, and both in each other's.
    fn misplace(&mut self, (path, at, len): Block<'_>, (from, from_at, _): Block<'_>) {
        let Some(bytes) = self.image.files[from].get(from_at..) else { return };
        let len = len.min(bytes.len());
        let is_own = log_of(self.image, path) == log_of(self.image, from);
        let claim = if is_own { Claim::AsMany } else { Claim::Untouched };
        self.list.push(Damage::Paste(path.to_path_buf(), at, bytes[..len].to_vec(), claim));
        let overlap = path == from && at.abs_diff(from_at) < len;
        if (path, at) < (from, from_at) && !overlap {
            self.list.push(Damage::Swap([(path.to_path_buf(), at), (from.to_path_buf(), from_at)], len));
        }
    }

    /// Bytes behind the end.
    fn longer(&mut self, path: &Path) {
        let bytes = &self.image.files[path];
        let mut noise = vec![0; 512];
        self.random.fill(&mut noise);
        let mut tails = vec![vec![0], vec![1], vec![0; 8], vec![0; 512], vec![0; 4_096], noise];
        tails.push(bytes[bytes.len().saturating_sub(512)..].to_vec());
        tails
            .extend(self.image.files.values().map(|other| other[other.len().saturating_sub(512)..].to_vec()));
        if let Some(older) = self.image.older.get(path) {
            tails.push(older.get(bytes.len()..).unwrap_or_default().to_vec());
            tails.push(older[64..].to_vec());
        }
        for tail in tails {
            self.list.push(Damage::Paste(path.to_path_buf(), bytes.len(), tail, Claim::Untouched));
        }
    }

    /// Whole frames in each other's places.
    fn frames(&mut self, log: usize) {
        let frames = &self.image.logs[log].frames;
        for _ in 0..FRAME_PAIRS {
            let mut pick = || &frames[self.random.below(frames.len() as u64) as usize];
            let (a, b) = (pick(), pick());
            if a.bytes.len() == b.bytes.len() && (&a.path, a.bytes.start) != (&b.path, b.bytes.start) {
                let len = a.bytes.len();
                self.misplace((&a.path, a.bytes.start, len), (&b.path, b.bytes.start, len));
            }
        }
    }

    /// Frames of records that lie.
    fn forged(&mut self, log: usize) {
        for frame in self.image.logs[log].record_frames() {
            let file = &self.image.files[&frame.path];
            let id = format::header(file).map_or(0, |header| header.partition_id);
            for forged in format::forged(&file[frame.bytes.clone()], id) {
                let at = frame.bytes.start;
                self.list.push(Damage::Paste(frame.path.clone(), at, forged, Claim::Untouched));
            }
        }
    }

    /// A file that is missing, is called otherwise, is another one, or is there twice.
    fn files(&mut self, path: &Path) {
        let own = || path.to_path_buf();
        let bytes = self.image.files[path].clone();
        self.list.push(Damage::Missing(vec![own()]));
        let mut names = vec!["notes.txt".to_owned(), "00000000000000000000.log.64.torn".to_owned()];
        names.push(format!("{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
        if let Some(log) = log_of(self.image, path) {
            let count = self.image.logs[log].record_frames().count() as u64;
            let bases = [count, count + 1, count + 900];
            names.extend(bases.map(|base| format!("{base:020}.log")));
        }
        for name in names {
            let other = path.with_file_name(name);
            if !self.image.files.contains_key(&other) {
                self.list.push(Damage::Renamed(own(), other.clone()));
                for content in [bytes.clone(), Vec::new(), vec![0; 64], bytes[..bytes.len().min(64)].to_vec()]
                {
                    self.list.push(Damage::Extra(other.clone(), content));
                }
            }
        }
    }

    /// All files of a log but some.
    fn whole_logs(&mut self, log: usize) {
        let dir = &self.image.logs[log].dir;
        let paths: Vec<PathBuf> =
            self.image.files.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        let checkpoint = Path::new(DIR).join("checkpoint");
        for some in 1..1_usize << paths.len() {
            let missing = paths.iter().enumerate().filter(|(number, _)| some >> number & 1 == 1);
            let missing: Vec<PathBuf> = missing.map(|(_, path)| path.clone()).collect();
            self.list.push(Damage::Missing([&missing[..], std::slice::from_ref(&checkpoint)].concat()));
            self.list.push(Damage::Missing(missing));
        }
    }
}
