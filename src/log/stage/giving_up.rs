//! How chunks leave a stage, but for those that are too much: because its log goes to rest, because they are
//! read from a file instead, and because compaction puts others in their places.

use super::{Stage, StagedChunk};
use crate::log::chunk::Chunk;
use crate::log::view::View;
use crate::sync::{RwLock, TrackedArc};

impl Stage {
    /// Whether nothing is staged behind `end_offset` that is not published, and nobody waits.
    pub(in crate::log) fn is_at_rest(&self, end_offset: u64) -> bool {
        let is_finished = |StagedChunk { writer, written, open, writing, .. }: &StagedChunk| {
            let is_published = writer.staged() == writer.published() && writer.staged() == *written;
            is_published && open.is_none() && writing.is_empty()
        };
        self.next_offset == end_offset && self.chunks.len() <= 1 && self.chunks.iter().all(is_finished)
    }

    /// Gives up all chunks of a log on disk that is at rest; the next batch begins a small one. Their records
    /// are read from the file, but by those who hold a chunk. Returns what may be large, to be freed without
    /// a lock.
    pub(in crate::log) fn rest(&mut self, view: &RwLock<View>) -> impl Sized + use<> {
        let shown = view.write().take_chunks();
        // They are not in the view any more: whoever reads one to its end finds what follows there.
        let closed: Vec<_> = self.chunks.take().into_iter().map(|chunk| chunk.writer.close()).collect();
        (shown, closed, self.supply.take())
    }

    /// Takes the chunks out of the view that lie wholly below `offset`, all of which is synced; where what is
    /// in memory begins then.
    pub(in crate::log) fn release_below(&mut self, offset: u64, view: &RwLock<View>) -> u64 {
        let mut view = view.write();
        while view.oldest_chunk_end().is_some_and(|end| end <= offset)
            && let Some(oldest) = view.pop_chunk()
        {
            self.supply.retire(oldest);
        }
        view.chunks().next().map_or(u64::MAX, |first| first.base_offset())
    }

    /// Puts `new` in the place of consecutive chunks of a log in memory, which are all there; whether they
    /// were.
    pub(in crate::log) fn replace_chunks(
        &mut self,
        old: &[TrackedArc<Chunk>],
        new: TrackedArc<Chunk>,
        view: &RwLock<View>,
    ) -> bool {
        self.supply.add(&new);
        let (base_offset, end_offset) = (new.base_offset(), new.end_offset());
        let is_replaced = view.write().replace_chunks(old, TrackedArc::clone(&new));
        if is_replaced {
            old.iter().for_each(|old| self.supply.retire(TrackedArc::clone(old)));
            self.times.join_chunks(base_offset, end_offset);
        } else {
            self.supply.retire(new);
        }
        is_replaced
    }
}
