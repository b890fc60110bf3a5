//! The names of the simulated file system: what the system shows, and what was done to the names of each
//! directory since it was synced. Each name survives or not for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::chance::{Chance, Fate};

/// Directories, and the numbers of files by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) files: BTreeMap<PathBuf, usize>,
}

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Dir(PathBuf),
    NoDir(PathBuf),
    File(PathBuf, usize),
    NoFile(PathBuf),
    /// At once or not at all.
    Rename(PathBuf, PathBuf, usize),
}

/// All names, and which of them are safe.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// What the system shows.
    pub(super) seen: Tree,
    /// What the device holds in any case.
    safe: Tree,
    /// By directory: what was done to its names since it was synced, each with its time.
    unsynced: BTreeMap<PathBuf, Vec<(u64, NameChange)>>,
}

impl NameChange {
    fn apply(&self, tree: &mut Tree) {
        match self.clone() {
            Self::Dir(path) => drop(tree.dirs.insert(path)),
            Self::NoDir(path) => drop(tree.dirs.remove(&path)),
            Self::File(path, file) => drop(tree.files.insert(path, file)),
            Self::NoFile(path) => drop(tree.files.remove(&path)),
            Self::Rename(from, to, file) => {
                tree.files.remove(&from);
                tree.files.insert(to, file);
            }
        }
    }
}

impl Tree {
    /// Without what lies in directories that are not there.
    fn without_strays(mut self) -> Self {
        let dirs = self.dirs.clone();
        let is_there =
            |path: &Path| path.ancestors().skip(1).all(|dir| dir == Path::new("/") || dirs.contains(dir));
        self.dirs.retain(|path| is_there(path));
        self.files.retain(|path, _| is_there(path));
        self
    }
}

impl Names {
    pub(super) fn change(&mut self, time: u64, change: NameChange, dir: &Path) {
        change.apply(&mut self.seen);
        self.unsynced.entry(dir.to_path_buf()).or_default().push((time, change));
    }

    /// What was done to the names in `dir` up to `time` is safe.
    pub(super) fn sync(&mut self, dir: &Path, time: u64) {
        let Some(changes) = self.unsynced.get_mut(dir) else { return };
        let end = changes.partition_point(|(at, _)| *at <= time);
        changes.drain(..end).for_each(|(_, change)| change.apply(&mut self.safe));
        if changes.is_empty() {
            self.unsynced.remove(dir);
        }
    }

    #[cfg(test)]
    pub(super) fn is_synced(&self, dir: &Path) -> bool {
        !self.unsynced.contains_key(dir)
    }

    /// What is found when the power is back. `fate` says what becomes of the names of each directory.
    pub(super) fn after_power_loss<C: Chance>(&self, chance: &mut C, fate: impl Fn(&mut C) -> Fate) -> Self {
        let mut found = self.safe.clone();
        for changes in self.unsynced.values() {
            let whole = match fate(chance) {
                Fate::Lost => 0..0,
                Fate::Kept => 0..changes.len(),
                Fate::Prefix => 0..chance.below(changes.len() as u64 + 1) as usize,
                Fate::Mixed => {
                    let kept = changes.iter().filter(|_| chance.below(2) == 0).collect::<Vec<_>>();
                    kept.into_iter().for_each(|(_, change)| change.apply(&mut found));
                    continue;
                }
            };
            changes[whole].iter().for_each(|(_, change)| change.apply(&mut found));
        }
        let found = found.without_strays();
        Self { seen: found.clone(), safe: found, unsynced: BTreeMap::new() }
    }
}
