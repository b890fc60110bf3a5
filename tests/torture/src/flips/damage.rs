//! Everything that is done to a directory, and the list of it: each has a number, which follows from the
//! seed.

use std::path::{Path, PathBuf};

use super::harmed::{Claim, Harmed, log_of};
use super::image::Image;
use super::storage::Files;

/// Something that is done to files.
#[derive(Clone, Debug)]
pub(super) enum Damage {
    /// The file ends here.
    Prefix(PathBuf, usize),
    /// One bit is another one.
    Flip(PathBuf, usize),
    /// Bytes lie where others did; behind the end they make the file longer.
    Paste(PathBuf, usize, Vec<u8>, Claim),
    /// Two blocks of this length have changed places.
    Swap([(PathBuf, usize); 2], usize),
    /// Files are not there.
    Missing(Vec<PathBuf>),
    Renamed(PathBuf, PathBuf),
    /// A file that nobody made.
    Extra(PathBuf, Vec<u8>),
}

/// The kinds that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Prefix,
    Flip,
    Block,
    File,
}

impl Damage {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Prefix(..) => Kind::Prefix,
            Self::Flip(..) => Kind::Flip,
            Self::Paste(..) | Self::Swap(..) => Kind::Block,
            Self::Missing(..) | Self::Renamed(..) | Self::Extra(..) => Kind::File,
        }
    }

    /// The directory with the damage; `None` if it is as before.
    pub(super) fn apply<'a>(&self, image: &'a Image) -> Option<Harmed<'a>> {
        let mut files = image.files.clone();
        self.change(&mut files)?;
        let shortens = matches!(self, Self::Prefix(..) | Self::Missing(..) | Self::Renamed(..));
        Harmed::new(image, files, self.claim(image), shortens)
    }

    fn claim(&self, image: &Image) -> Claim {
        match self {
            Self::Prefix(..) | Self::Flip(..) | Self::Missing(..) => Claim::Untouched,
            Self::Paste(.., claim) => *claim,
            Self::Swap([(a, _), (b, _)], _) if log_of(image, a) == log_of(image, b) => Claim::AsMany,
            Self::Swap(..) => Claim::Untouched,
            Self::Renamed(..) | Self::Extra(..) => Claim::Reported,
        }
    }

    fn change(&self, files: &mut Files) -> Option<()> {
        match self {
            Self::Prefix(path, len) => files.get_mut(path)?.truncate(*len),
            Self::Flip(path, bit) => *files.get_mut(path)?.get_mut(bit / 8)? ^= 1 << (bit % 8),
            Self::Paste(path, at, bytes, _) => paste(files.get_mut(path)?, *at, bytes),
            Self::Swap([(a, a_at), (b, b_at)], len) => {
                let first = block(files, a, *a_at, *len)?;
                let second = block(files, b, *b_at, *len)?;
                paste(files.get_mut(a)?, *a_at, &second);
                paste(files.get_mut(b)?, *b_at, &first);
            }
            Self::Missing(paths) => paths.iter().for_each(|path| drop(files.remove(path))),
            Self::Renamed(from, to) => {
                let bytes = files.remove(from)?;
                files.insert(to.clone(), bytes);
            }
            Self::Extra(path, bytes) => {
                files.entry(path.clone()).or_insert_with(|| bytes.clone());
            }
        }
        Some(())
    }
}

fn block(files: &Files, path: &Path, at: usize, len: usize) -> Option<Vec<u8>> {
    Some(files.get(path)?.get(at..at + len)?.to_vec())
}

fn paste(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[at..end].copy_from_slice(bytes);
}

/// Prefixes and flips of a file, by number.
#[derive(Clone, Copy, Debug)]
enum Group {
    Prefixes { image: usize, file: usize },
    Flips { image: usize, file: usize },
    Listed { image: usize },
}

/// All damages of a run.
#[derive(Debug)]
pub(super) struct List {
    images: [Image; 2],
    /// With the number of the first damage of each.
    groups: Vec<(u64, Group)>,
    listed: [Vec<Damage>; 2],
    total: u64,
}

impl List {
    pub(super) fn new(images: [Image; 2], listed: [Vec<Damage>; 2]) -> Self {
        let mut list = Self { images, groups: Vec::new(), listed, total: 0 };
        for image in 0..2 {
            list.add(Group::Listed { image }, list.listed[image].len());
        }
        for image in 0..2 {
            let lens: Vec<usize> = list.images[image].files.values().map(Vec::len).collect();
            for (file, len) in lens.into_iter().enumerate() {
                list.add(Group::Prefixes { image, file }, len);
                list.add(Group::Flips { image, file }, len * 8);
            }
        }
        list
    }

    fn add(&mut self, group: Group, count: usize) {
        self.groups.push((self.total, group));
        self.total += count as u64;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The damage of this number, and to which directory it is done.
    pub(super) fn get(&self, number: u64) -> (&Image, Damage) {
        let group = self.groups.partition_point(|(first, _)| *first <= number) - 1;
        let (first, group) = self.groups[group];
        let within = (number - first) as usize;
        let path = |image: usize, file: usize| self.images[image].files.keys().nth(file).cloned();
        match group {
            Group::Prefixes { image, file } => {
                (&self.images[image], Damage::Prefix(path(image, file).unwrap_or_default(), within))
            }
            Group::Flips { image, file } => {
                (&self.images[image], Damage::Flip(path(image, file).unwrap_or_default(), within))
            }
            Group::Listed { image } => (&self.images[image], self.listed[image][within].clone()),
        }
    }
}
