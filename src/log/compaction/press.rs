//! Writing down what is kept: records as they were, gaps where some are gone, and horizons where tombstones
//! were met at different times.

use super::sieve::{Sieve, Verdict, met};
use crate::record::frame::{self, CrcSeed, Frame, GAP_BYTES, HORIZON_BYTES, MAX_GAP};

/// Frames of one piece in the making.
#[derive(Debug)]
pub(super) struct Press<'a> {
    sieve: &'a Sieve,
    /// `None` in memory.
    crc_seed: Option<CrcSeed>,
    /// What a horizon of the piece that is read says, and of the one that is written.
    horizon: Option<i64>,
    written_horizon: Option<i64>,
    /// What has been written covers all offsets below this one, and what was read those below `next`.
    written_to: u64,
    next: u64,
    pub(super) out: Vec<u8>,
    pub(super) max_timestamp: i64,
    pub(super) is_sparse: bool,
    /// Behind the last tombstone that was removed.
    pub(super) tombstones_removed_below: u64,
}

impl<'a> Press<'a> {
    pub(super) fn new(sieve: &'a Sieve, crc_seed: Option<CrcSeed>, base_offset: u64) -> Self {
        Self {
            sieve,
            crc_seed,
            horizon: None,
            written_horizon: None,
            written_to: base_offset,
            next: base_offset,
            out: Vec::new(),
            max_timestamp: i64::MIN,
            is_sparse: false,
            tombstones_removed_below: 0,
        }
    }

    /// The offset behind what `out` holds.
    pub(super) fn written_to(&self) -> u64 {
        self.written_to
    }

    pub(super) fn see(&mut self, frame: Frame<'_>) {
        if let Some(horizon) = frame.horizon() {
            self.horizon = met(horizon);
        } else if frame.is_record() {
            match self.sieve.verdict(frame, self.horizon) {
                Verdict::Keep => self.keep(frame),
                Verdict::KeepTombstone(met) => {
                    self.fill_gap();
                    self.set_horizon(met);
                    self.keep(frame);
                }
                Verdict::Remove => {}
                Verdict::RemoveTombstone => self.tombstones_removed_below = frame.offset() + 1,
            }
            self.next = frame.offset() + 1;
        } else {
            self.next = frame.behind(self.next).unwrap_or(self.next);
        }
    }

    /// A piece that is read ends here: so does a frame, for if the process ends before the files of the
    /// pieces are gone, what was written counts up to the next one's beginning only. A horizon does not go
    /// beyond.
    pub(super) fn end_piece(&mut self, end_offset: u64) {
        self.next = end_offset;
        self.fill_gap();
        self.horizon = None;
    }

    fn keep(&mut self, record: Frame<'_>) {
        self.next = record.offset();
        self.fill_gap();
        let crc_seed = self.crc_seed;
        frame::copy_alone(record, crc_seed, self.room(record.len()));
        self.written_to = record.offset() + 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp());
    }

    fn fill_gap(&mut self) {
        while self.written_to < self.next {
            let end = self.next.min(self.written_to + MAX_GAP);
            let (offset, crc_seed) = (self.written_to, self.crc_seed);
            frame::encode_gap(offset, end, crc_seed, self.room(GAP_BYTES));
            self.written_to = end;
            self.is_sparse = true;
        }
    }

    fn set_horizon(&mut self, met: Option<i64>) {
        if met != self.written_horizon {
            let (offset, crc_seed) = (self.written_to, self.crc_seed);
            frame::encode_horizon(offset, met.unwrap_or(i64::MAX), crc_seed, self.room(HORIZON_BYTES));
            self.written_horizon = met;
        }
    }

    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.out.len();
        self.out.resize(start + bytes, 0);
        &mut self.out[start..]
    }
}
