//! Compacting a log in memory: chunks that are complete are copied to others, of what is kept of them.

use super::press::Press;
use super::sieve::Sieve;
use super::{Compacted, Group, Pass, Piece, Stop, is_worth_it};
use crate::config::Compaction;
use crate::error::Result;
use crate::log::chunk::{Chunk, CompleteFrames, Memory};
use crate::log::partition_log::PartitionLog;
use crate::record::frame::{Frame, Frames};
use crate::sync::TrackedArc;

/// How much a chunk takes at most that is made of several.
const MOST_BYTES: u64 = 256 << 10;

/// A chunk that is complete, and when it was begun, as far as that is known.
#[derive(Debug)]
struct Complete {
    chunk: TrackedArc<Chunk>,
    begun: Option<i64>,
}

impl Piece for Complete {
    /// A chunk counts its offsets in 32 bits.
    const MOST_OFFSETS: u64 = 1 << 31;

    fn base_offset(&self) -> u64 {
        self.chunk.base_offset()
    }

    fn end_offset(&self) -> u64 {
        self.chunk.end_offset()
    }

    fn size(&self) -> u64 {
        self.chunk.visible().bytes as u64
    }

    fn begun(&self) -> Option<i64> {
        self.begun
    }

    fn each(
        &self,
        log: &PartitionLog,
        see: &mut dyn FnMut(Frame<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        log.check_readable()?;
        Frames::new(self.chunk.bytes(0..self.chunk.visible().bytes)).try_for_each(see)
    }
}

impl PartitionLog {
    pub(super) fn compact_in_memory(
        &self,
        pass: &mut Pass,
        how: &Compaction,
        now: i64,
        done: &mut Compacted,
    ) -> Result<(), Stop> {
        self.check_readable()?;
        let chunks = self.complete_chunks(how, now);
        if !is_worth_it(pass, &chunks, how, now) {
            return Ok(());
        }
        let sieve = self.sieve(pass, &chunks, how, now)?;
        let mut oldest_met = None;
        let groups = self.groups(&chunks, &sieve, MOST_BYTES, &mut oldest_met)?;
        for group in &groups {
            done.add(self.copy_group(group, &sieve)?);
        }
        (pass.cleaned_to, pass.oldest_met) = (Some(sieve.known_to), oldest_met);
        Ok(())
    }

    /// The chunks from the first one on that nothing is added to any more, and that are old enough.
    fn complete_chunks(&self, how: &Compaction, now: i64) -> Vec<Complete> {
        let min_lag = i64::try_from(how.min_lag.as_millis()).unwrap_or(i64::MAX);
        let stage = self.stage().lock();
        let mut chunks: Vec<_> = self.view().read().chunks().cloned().collect();
        chunks.pop();
        let is_old_enough = |chunk: &TrackedArc<Chunk>| {
            let by = stage.appended_by(chunk.end_offset());
            min_lag == 0 || by.is_some_and(|by| now.saturating_sub(by) >= min_lag)
        };
        let old_enough = chunks.into_iter().take_while(is_old_enough);
        old_enough.map(|chunk| Complete { begun: stage.appended_by(chunk.base_offset()), chunk }).collect()
    }

    fn copy_group(&self, group: &Group<'_, Complete>, sieve: &Sieve) -> Result<Compacted, Stop> {
        let base_offset = group.pieces.first().map_or(0, Piece::base_offset);
        let mut press = Press::new(sieve, None, base_offset);
        for piece in group.pieces {
            piece.each(self, &mut |frame| {
                press.see(frame);
                Ok(())
            })?;
            press.end_piece(piece.end_offset());
        }
        let mut memory = Memory::zeroed(press.out.len());
        memory.bytes_mut(press.out.len()).copy_from_slice(&press.out);
        let frames = CompleteFrames {
            bytes: press.out.len(),
            offsets: press.written_to() - base_offset,
            max_timestamp: press.max_timestamp,
            is_sparse: press.is_sparse,
        };
        self.note_removed_tombstones(press.tombstones_removed_below);
        let before: u64 = group.pieces.iter().map(Piece::size).sum();
        let new = Chunk::complete(memory, base_offset, &frames);
        let old: Vec<_> = group.pieces.iter().map(|piece| TrackedArc::clone(&piece.chunk)).collect();
        if !self.stage().lock().replace_chunks(&old, new, self.view()) {
            return Err(Stop::Abandoned);
        }
        Ok(Compacted { bytes: before.saturating_sub(frames.bytes as u64), ..group.removed })
    }
}
