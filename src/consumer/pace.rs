//! How eagerly a consumer looks for records. Every look takes the cache lines of the newest record away from
//! its sender, so a poller that runs close behind a fast sender slows it down, and gets little for each poll.
//! A short pause lets some records gather; a poller that waits for a rare record must not be held up by it.

use std::hint::spin_loop;

use super::records::PartitionRun;

/// A poller that has caught up looks this often again before it sleeps; together the pauses between the looks
/// take about as long as a wake-up would.
pub(super) const LOOKS_BEFORE_SLEEP: usize = if cfg!(shuttle) { 1 } else { 8 };
const SPINS_BETWEEN_LOOKS: usize = 100;

/// A poll that returns fewer records than this is a small one; after so many small ones in a row, each found
/// at the first look, the sender is close ahead.
const FEW_RECORDS: usize = 32;
const SMALL_POLLS: u32 = 3;

/// How long a poller that is close behind its sender pauses: about 2 microseconds.
const SPINS_BEHIND_SENDER: usize = 200;

/// What the last polls say about the sender.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Small polls in a row.
    small_polls: u32,
}

impl Pace {
    /// Pauses if the sender is close ahead.
    #[inline]
    pub(super) fn before_first_look(&self) {
        if self.small_polls >= SMALL_POLLS {
            spin(SPINS_BEHIND_SENDER);
        }
    }

    /// Takes note of what the first look found. Nothing, even after a pause, says that the sender is not
    /// fast.
    #[inline]
    pub(super) fn after_first_look(&mut self, runs: &[PartitionRun]) {
        let records: usize = runs.iter().map(PartitionRun::records).sum();
        let pausing = self.small_polls >= SMALL_POLLS;
        self.small_polls = match records {
            0 => 0,
            1..FEW_RECORDS => self.small_polls.saturating_add(1),
            // Larger polls are what the pause is for: it goes on.
            _ if pausing && records < FEW_RECORDS * 8 => self.small_polls,
            _ => 0,
        };
    }
}

pub(super) fn pause_between_looks() {
    spin(SPINS_BETWEEN_LOOKS);
}

fn spin(times: usize) {
    for _ in 0..times {
        spin_loop();
    }
}
