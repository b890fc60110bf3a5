//! What a group has committed for one partition, while some of it is still on its way to the disk.

use super::commit::CommittedOffset;
use crate::log::Fate;

/// What a group has committed for one partition.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What is not lost any more, unless the next open finds otherwise.
    settled: Option<CommittedOffset>,
    /// What came later and may still be lost, oldest first.
    undecided: Vec<(Option<CommittedOffset>, Fate)>,
}

impl Slot {
    pub(super) fn latest(&self) -> Option<&CommittedOffset> {
        let not_lost = self.undecided.iter().rev().find(|(_, fate)| !fate.is_lost());
        not_lost.map_or(self.settled.as_ref(), |(committed, _)| committed.as_ref())
    }

    /// The lowest offset that may count in the end; `None` if that may be none.
    pub(super) fn lowest(&self) -> Option<u64> {
        // What is decided, and not taken over yet, is that.
        let decided = self.undecided.iter().rposition(|(_, fate)| fate.is_decided() && !fate.is_lost());
        let (settled, open) = match decided {
            Some(last) => (&self.undecided[last].0, &self.undecided[last + 1..]),
            None => (&self.settled, &self.undecided[..]),
        };
        let open = open.iter().filter(|(_, fate)| !fate.is_lost()).map(|(committed, _)| committed);
        let offsets = std::iter::once(settled).chain(open);
        offsets.map(|committed| Some(committed.as_ref()?.offset)).min().flatten()
    }

    pub(super) fn set(&mut self, committed: Option<CommittedOffset>, fate: Option<Fate>) {
        self.settle();
        match fate {
            Some(fate) => self.undecided.push((committed, fate)),
            None => self.settled = committed,
        }
    }

    /// Takes over what has been decided.
    fn settle(&mut self) {
        let decided = self.undecided.iter().take_while(|(_, fate)| fate.is_decided()).count();
        for (committed, fate) in self.undecided.drain(..decided) {
            if !fate.is_lost() {
                self.settled = committed;
            }
        }
    }

    /// Whether nothing is there, and nothing can come back.
    pub(super) fn is_void(&mut self) -> bool {
        self.settle();
        self.settled.is_none() && self.undecided.is_empty()
    }
}
