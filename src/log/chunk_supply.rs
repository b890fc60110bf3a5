//! Memory for the chunks of one log: how large the next one is, how much there may be, and the use of memory
//! again that nobody reads any more.

use std::collections::VecDeque;

use super::chunk::{Chunk, Memory};
use crate::sync::TrackedArc;

/// A chunk starts small, so that an idle partition costs little, and doubles with use up to a size at which
/// its handling no longer counts.
const FIRST_CHUNK_BYTES: u64 = if cfg!(any(loom, shuttle)) { LARGEST_CHUNK_BYTES } else { 4 << 10 };
/// Under a model checker two frames are a chunk.
const LARGEST_CHUNK_BYTES: u64 = if cfg!(any(loom, shuttle)) { 96 } else { 256 << 10 };

/// How many chunks that left the view are kept for their memory to be used again.
const RETIRED_CHUNKS: usize = 4;

/// What a log's chunks take, and what they may.
#[derive(Debug)]
pub(super) struct ChunkSupply {
    next_bytes: u64,
    /// Bytes of the chunks in the view, and how many there may be.
    in_view: u64,
    limit: u64,
    /// Chunks that left the view; readers may still hold them.
    retired: VecDeque<TrackedArc<Chunk>>,
}

impl ChunkSupply {
    pub(super) fn new(limit: u64) -> Self {
        Self { next_bytes: FIRST_CHUNK_BYTES, in_view: 0, limit, retired: VecDeque::new() }
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Memory for the next chunk, of `bytes` or more; more than `most` would never be used.
    pub(super) fn next(&mut self, bytes: usize, most: u64) -> Memory {
        let wanted = (self.next_bytes.min(most) as usize).max(bytes);
        let largest = (self.limit / 4).clamp(FIRST_CHUNK_BYTES, LARGEST_CHUNK_BYTES);
        self.next_bytes = (self.next_bytes * 2).min(largest);
        let memory = self.reuse(wanted).unwrap_or_else(|| Memory::zeroed(wanted));
        self.in_view += memory.capacity() as u64;
        memory
    }

    /// Whether there is something already, and no room beside it.
    pub(super) fn is_full_for(&self, bytes: usize) -> bool {
        self.in_view > 0 && self.in_view.saturating_add(bytes as u64) > self.limit
    }

    /// How much more there may be.
    pub(super) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.in_view)
    }

    /// Bytes of the chunks that were handed out and have not come back.
    pub(super) fn in_view(&self) -> u64 {
        self.in_view
    }

    /// Whether the oldest chunk has to go.
    pub(super) fn is_over_limit(&self) -> bool {
        self.in_view > self.limit
    }

    /// Whether the chunks take more than the limit by so much.
    pub(super) fn is_over_limit_by(&self, bytes: u64) -> bool {
        self.in_view > self.limit.saturating_add(bytes)
    }

    /// Gives up what it has; begins again as it was made.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.limit))
    }

    /// Takes note of a chunk that came into the view with memory from elsewhere.
    pub(super) fn add(&mut self, chunk: &Chunk) {
        self.in_view += chunk.capacity() as u64;
    }

    /// Takes back a chunk that left the view.
    pub(super) fn retire(&mut self, chunk: TrackedArc<Chunk>) {
        self.in_view -= chunk.capacity() as u64;
        if chunk.capacity() as u64 > LARGEST_CHUNK_BYTES {
            return;
        }
        if self.retired.len() == RETIRED_CHUNKS {
            self.retired.pop_front();
        }
        self.retired.push_back(chunk);
    }

    /// Fresh memory costs more than all the rest of an append.
    fn reuse(&mut self, wanted: usize) -> Option<Memory> {
        for _ in 0..self.retired.len() {
            let chunk = self.retired.pop_front()?;
            if chunk.capacity() != wanted {
                continue;
            }
            match Chunk::into_memory(chunk) {
                Ok(memory) => return Some(memory),
                Err(held) => self.retired.push_back(held),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::ChunkWriter;
    use super::*;

    fn chunk(supply: &mut ChunkSupply) -> TrackedArc<Chunk> {
        ChunkWriter::new(supply.next(1, u64::MAX), 0, 0).close()
    }

    #[test]
    fn chunks_grow_with_use_up_to_a_size() {
        let mut supply = ChunkSupply::new(1 << 20);
        let sizes: Vec<usize> = (0..9).map(|_| supply.next(1, u64::MAX).capacity() >> 10).collect();
        assert_eq!(sizes, [4, 8, 16, 32, 64, 128, 256, 256, 256]);
        assert_eq!(supply.next(1 << 20, u64::MAX).capacity(), 1 << 20);
        assert_eq!(supply.next(100, 4_000).capacity(), 4_000);
        assert_eq!(supply.next(8_000, 4_000).capacity(), 8_000);
    }

    #[test]
    fn memory_is_used_again_unless_somebody_reads_it() {
        let mut supply = ChunkSupply::new(16 << 10);
        let read = chunk(&mut supply);
        supply.retire(TrackedArc::clone(&read));
        let free = chunk(&mut supply);
        let address = std::ptr::from_ref(free.bytes(0..0)).cast::<u8>();
        supply.retire(free);
        let reused = chunk(&mut supply);
        assert_eq!(std::ptr::from_ref(reused.bytes(0..0)).cast::<u8>(), address);
        assert_eq!(read.capacity(), 4096);
    }
}
