//! A file of the simulated file system: what the system shows of it, what is safe, and what lies between. A
//! sector of 512 bytes survives whole, as it was at some time since it was synced; the length is one that the
//! file had; what the device holds beyond what it was given is zeros, or what was there before.

use super::chance::{Chance, Fate};

/// A sector survives whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// One file, whatever its names are.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What the system shows.
    bytes: Vec<u8>,
    /// What the device holds in any case.
    safe: Vec<u8>,
    /// What was done since, each with its time.
    unsynced: Vec<(u64, Change)>,
    /// Whether a sync of it has failed.
    has_failed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// What a failed sync does to what it was to make safe. It is never written again: the system takes it for
/// clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// The system goes on showing it, until the power goes.
    Shown,
    /// The system shows what the device holds.
    Reverted,
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Write(position, written) => {
                let end = position + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*position..end].copy_from_slice(written);
            }
        }
    }

    /// The front of it: a process died in the middle of it.
    pub(super) fn front(&self, of_1000: u64) -> Option<Self> {
        match self {
            Self::Write(position, written) => {
                let len = (written.len() as u64 * of_1000 / 1_000) as usize;
                (len > 0).then(|| Self::Write(*position, written[..len].to_vec()))
            }
            Self::SetLen(_) => (of_1000 >= 500).then(|| self.clone()),
        }
    }

    fn len_after(&self, len: usize) -> usize {
        match self {
            Self::SetLen(len) => *len,
            Self::Write(position, written) => len.max(position + written.len()),
        }
    }

    /// Whether it changes bytes from `start` to `end`.
    fn touches(&self, start: usize, end: usize) -> bool {
        match self {
            Self::SetLen(len) => *len < end,
            Self::Write(position, written) => *position < end && position + written.len() > start,
        }
    }

    /// Does to one sector, which begins at `start`, what it does to the file.
    fn apply_to_sector(&self, start: usize, sector: &mut [u8]) {
        match self {
            Self::SetLen(len) => {
                let from = len.saturating_sub(start).min(sector.len());
                sector[from..].fill(0);
            }
            Self::Write(position, written) => {
                let from = (*position).max(start);
                let to = (position + written.len()).min(start + sector.len());
                if from < to {
                    sector[from - start..to - start]
                        .copy_from_slice(&written[from - position..to - position]);
                }
            }
        }
    }
}

impl File {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Whoever comes now was not told.
    pub(super) fn forget_failure(&mut self) {
        self.has_failed = false;
    }

    #[cfg(test)]
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub(super) fn change(&mut self, time: u64, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push((time, change));
    }

    /// What was done up to `time` is safe.
    pub(super) fn sync(&mut self, time: u64) {
        for change in self.take_until(time) {
            change.apply(&mut self.safe);
        }
    }

    /// A sync that began at `time` fails. Of what it was to make safe, some got to the device all the same.
    pub(super) fn fail(&mut self, time: u64, then: AfterFailure, chance: &mut impl Chance) {
        self.has_failed = true;
        let given_up = self.take_until(time);
        self.safe = outcome(&self.safe, &given_up, Fate::choose(chance), None, chance);
        if then == AfterFailure::Reverted {
            let len = self.bytes.len();
            self.bytes.clone_from(&self.safe);
            self.unsynced.iter().for_each(|(_, change)| change.apply(&mut self.bytes));
            // The length is the system's own, and stays.
            self.bytes.resize(len, 0);
        }
    }

    fn take_until(&mut self, time: u64) -> Vec<Change> {
        let end = self.unsynced.partition_point(|(at, _)| *at <= time);
        self.unsynced.drain(..end).map(|(_, change)| change).collect()
    }

    /// What is found of it when the power is back. `stale`: bytes of another file, which may be where nothing
    /// was written.
    pub(super) fn after_power_loss(
        &self,
        fate: Fate,
        stale: Option<&[u8]>,
        chance: &mut impl Chance,
    ) -> Self {
        let changes: Vec<Change> = self.unsynced.iter().map(|(_, change)| change.clone()).collect();
        let bytes = outcome(&self.safe, &changes, fate, stale, chance);
        Self { safe: bytes.clone(), bytes, unsynced: Vec::new(), has_failed: false }
    }
}

/// What a device that held `safe` holds after `changes` that were not synced.
fn outcome(
    safe: &[u8],
    changes: &[Change],
    fate: Fate,
    stale: Option<&[u8]>,
    chance: &mut impl Chance,
) -> Vec<u8> {
    if changes.is_empty() {
        return safe.to_vec();
    }
    match fate {
        Fate::Lost => safe.to_vec(),
        Fate::Kept => after(safe, changes),
        Fate::Prefix => {
            let whole = chance.below(changes.len() as u64) as usize;
            mixed(&after(safe, &changes[..whole]), &changes[whole..=whole], stale, chance)
        }
        Fate::Mixed => mixed(safe, changes, stale, chance),
    }
}

fn after(safe: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = safe.to_vec();
    changes.iter().for_each(|change| change.apply(&mut bytes));
    bytes
}

/// Each sector and the length as after some of the changes.
fn mixed(safe: &[u8], changes: &[Change], stale: Option<&[u8]>, chance: &mut impl Chance) -> Vec<u8> {
    let mut lens = vec![safe.len()];
    for change in changes {
        lens.push(change.len_after(lens[lens.len() - 1]));
    }
    let longest = lens.iter().copied().max().unwrap_or(0);
    let mut found = safe.to_vec();
    found.resize(longest, 0);
    for (number, sector) in found.chunks_mut(SECTOR).enumerate() {
        let start = number * SECTOR;
        let touching: Vec<&Change> =
            changes.iter().filter(|change| change.touches(start, start + sector.len())).collect();
        if touching.is_empty() {
            continue;
        }
        let kept = chance.below(touching.len() as u64 + 1) as usize;
        touching[..kept].iter().for_each(|change| change.apply_to_sector(start, sector));
        if let Some(stale) = stale
            && kept == 0
            && start >= safe.len()
        {
            let there = stale.get(start..).unwrap_or_default();
            let len = there.len().min(sector.len());
            sector[..len].copy_from_slice(&there[..len]);
        }
    }
    // The length may get to the device without the bytes, and the bytes without the length.
    let last = lens.len() - 1;
    let len =
        if chance.happens_once_in(2) { lens[last] } else { lens[chance.below(lens.len() as u64) as usize] };
    found.resize(len, 0);
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Draws numbers from a list that repeats itself.
    struct Drawn(u64);

    impl Chance for Drawn {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }
    }

    const FATES: [Fate; 4] = [Fate::Lost, Fate::Kept, Fate::Prefix, Fate::Mixed];

    fn after_losses(file: &File) -> Vec<Vec<u8>> {
        let mut drawn = Drawn(1);
        let losses = FATES.into_iter().flat_map(|fate| std::iter::repeat_n(fate, 200));
        losses.map(|fate| file.after_power_loss(fate, None, &mut drawn).bytes).collect()
    }

    fn file_with(synced: &[u8], changes: impl IntoIterator<Item = Change>) -> File {
        let mut file = File::default();
        file.change(0, Change::Write(0, synced.to_vec()));
        file.sync(0);
        changes.into_iter().for_each(|change| file.change(1, change));
        file
    }

    #[test]
    fn what_was_synced_stays_whatever_comes() {
        let synced = vec![7; 1_300];
        let file = file_with(&synced, [Change::Write(1_300, vec![8; 2_000]), Change::SetLen(2_000)]);
        for found in after_losses(&file) {
            assert_eq!(found[..1_300], synced);
        }
    }

    #[test]
    fn what_was_not_synced_may_go_in_whole_sectors() {
        let file = file_with(&[7; 100], [Change::Write(100, vec![8; 5_000])]);
        let mut seen = BTreeSet::new();
        for found in after_losses(&file) {
            for (number, sector) in found.chunks(SECTOR).enumerate() {
                let written = sector.iter().skip(if number == 0 { 100 } else { 0 });
                let kinds: BTreeSet<u8> = written.copied().collect();
                assert!(kinds.len() <= 1, "sector {number} is torn: {kinds:?}");
            }
            seen.insert(found);
        }
        let lens: BTreeSet<usize> = seen.iter().map(Vec::len).collect();
        assert!(seen.len() > 50, "only {} outcomes", seen.len());
        assert!(lens.contains(&100) && lens.contains(&5_100), "{lens:?}");
        assert!(
            seen.iter().any(|found| found.len() == 5_100 && found.ends_with(&[0])),
            "length without bytes"
        );
    }

    #[test]
    fn a_sector_is_as_it_was_at_some_time() {
        let file = file_with(&[], (0..4).map(|n| Change::Write(n * 100, vec![n as u8 + 1; 100])));
        for found in after_losses(&file) {
            let written = found.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let right = (0..written).map(|at| (at / 100) as u8 + 1);
            assert!(right.eq(found[..written].iter().copied()), "later bytes without earlier ones");
        }
    }

    #[test]
    fn stale_bytes_lie_only_where_nothing_was_written() {
        let file = file_with(&[7; 600], [Change::Write(600, vec![8; 3_000])]);
        let stale = [9; 4_000];
        let mut drawn = Drawn(2);
        let mut are_seen = false;
        for _ in 0..100 {
            let found = file.after_power_loss(Fate::Mixed, Some(&stale), &mut drawn).bytes;
            assert!(!found[..600].contains(&9) && found[..600] == [7; 600]);
            are_seen |= found.contains(&9);
        }
        assert!(are_seen);
    }

    #[test]
    fn what_a_failed_sync_gave_up_is_not_made_safe_by_the_next_one() {
        for then in [AfterFailure::Shown, AfterFailure::Reverted] {
            let mut lost = 0;
            for seed in 0..50 {
                let mut file = file_with(&[7; 10], [Change::Write(10, vec![8; 1_000])]);
                file.fail(1, then, &mut Drawn(seed));
                file.change(2, Change::Write(1_010, vec![9; 10]));
                file.sync(2);
                assert!(file.has_failed() && file.is_synced());
                assert_eq!((file.bytes.len(), &file.bytes[..10]), (1_020, &[7; 10][..]));
                let found = file.after_power_loss(Fate::Kept, None, &mut Drawn(seed)).bytes;
                assert_eq!(found[1_010..], [9; 10]);
                lost += usize::from(found[10..1_010] != [8; 1_000]);
                let is_shown = file.bytes[10..1_010] == [8; 1_000];
                assert_eq!(is_shown, then == AfterFailure::Shown || found[10..1_010] == [8; 1_000]);
            }
            assert!(lost > 10, "{lost}");
        }
    }
}
