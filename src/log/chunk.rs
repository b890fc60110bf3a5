//! A chunk: memory that holds consecutive frames of one partition, written by one and read by many at the
//! same time without a lock. The only file with `unsafe` code; what it relies on is numbered here.
//!
//! 1. **One writer.** Bytes are written only through the chunk's [`ChunkWriter`], which cannot be cloned
//!    and needs `&mut self` to write.
//! 2. **Staged bytes never change**, and visible ones are staged. The writer only ever writes behind the last
//!    byte that it has staged, until the memory is taken back from the last owner ([`Chunk::into_memory`]).
//! 3. **Publication.** [`Marks::visible`] is stored with Release after the bytes below it were written, and
//!    loaded with Acquire before they are read.
//! 4. **Bounds.** No reader's reference covers bytes at or beyond the end of the visible ones, and no
//!    [`StagedBytes`] any beyond the staged ones; this is checked in release builds too.
//! 5. **Lifetime.** The memory belongs to the chunk and is freed, or handed on, only when no `Arc` of it is
//!    left.
//! 6. **Initialised.** Memory starts zeroed, and bytes are never made uninitialised again.
//! 7. **A prefetch is a hint.** It reads and writes nothing, and any address will do.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use crate::record::frame::ALIGNMENT;
use crate::sync::{AtomicI64, AtomicU64, ByteAccesses, CachePadded, Ordering, TrackedArc};

/// Frames begin 8-byte aligned; 16 is what the allocator gives anyway, zeroed at no cost.
const MEMORY_ALIGNMENT: usize = 16;
const _: () = assert!(MEMORY_ALIGNMENT.is_multiple_of(ALIGNMENT));

/// Zero-initialised memory of a fixed size, owned.
pub(crate) struct Memory {
    start: NonNull<u8>,
    capacity: usize,
    /// Lets a model checker see to 1, 2 and 3.
    accesses: ByteAccesses,
}

// SAFETY: the memory is owned by this value alone, like a `Box<[u8]>`.
unsafe impl Send for Memory {}
// SAFETY: without `&mut` or ownership, a `Memory` gives no access to its bytes.
unsafe impl Sync for Memory {}

impl Memory {
    /// `capacity` bytes, rounded up to the frames' alignment; at least one such unit.
    pub(crate) fn zeroed(capacity: usize) -> Self {
        let capacity = capacity.max(1).next_multiple_of(ALIGNMENT);
        let layout = Self::layout(capacity);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, capacity, accesses: ByteAccesses::new(capacity) }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The first `len` bytes, for their only owner. Panics if there are fewer.
    pub(crate) fn bytes_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.capacity, "the memory is smaller");
        self.accesses.write(0..len);
        // SAFETY: in bounds by the check, initialised by 6, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len) }
    }

    fn layout(capacity: usize) -> Layout {
        Layout::from_size_align(capacity, MEMORY_ALIGNMENT).expect("a chunk is smaller than isize::MAX")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` was allocated with this layout, and is freed once.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
    }
}

/// Consecutive frames of one partition.
pub(crate) struct Chunk {
    /// Apart from everything else: the writer stores here for every append while readers look.
    marks: CachePadded<Marks>,
    memory: Memory,
    base_offset: u64,
    base_position: u64,
    /// Whether some of its offsets are of records that are gone.
    is_sparse: bool,
}

struct Marks {
    /// How much readers may see, packed by [`Visible`]. Stored by the [`ChunkWriter`] only.
    visible: AtomicU64,
    /// The largest timestamp of a visible frame; stored by the writer before `visible`.
    max_timestamp: AtomicI64,
}

/// What a chunk shows its readers at one moment, from one atomic: bytes (in units of [`ALIGNMENT`], low 31
/// bits), offsets (next 32 bits), and whether the chunk is closed (top bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visible {
    /// End of the visible bytes.
    pub(crate) bytes: usize,
    /// How many offsets they take, from the chunk's base offset.
    pub(crate) offsets: u64,
    /// Nothing more will come; what follows is in another chunk.
    pub(crate) closed: bool,
}

const UNIT_BITS: u32 = 31;
const OFFSET_BITS: u32 = 32;
const CLOSED_BIT: u64 = 1 << (UNIT_BITS + OFFSET_BITS);

/// The largest chunk that [`Visible`] can describe.
pub(crate) const MAX_CHUNK_BYTES: usize = ((1 << UNIT_BITS) - 1) * ALIGNMENT;

impl Visible {
    fn pack(bytes: usize, offsets: u64) -> u64 {
        debug_assert!(bytes.is_multiple_of(ALIGNMENT) && bytes <= MAX_CHUNK_BYTES);
        debug_assert!(offsets < 1 << OFFSET_BITS);
        (offsets << UNIT_BITS) | (bytes / ALIGNMENT) as u64
    }

    fn unpack(packed: u64) -> Self {
        Self {
            bytes: (packed & ((1 << UNIT_BITS) - 1)) as usize * ALIGNMENT,
            offsets: (packed & !CLOSED_BIT) >> UNIT_BITS,
            closed: packed & CLOSED_BIT != 0,
        }
    }
}

impl Chunk {
    /// A chunk that is complete: the first bytes of `memory` hold `frames`.
    pub(crate) fn complete(memory: Memory, base_offset: u64, frames: &CompleteFrames) -> TrackedArc<Self> {
        let mut writer = ChunkWriter::of(memory, base_offset, 0, frames.is_sparse);
        writer.written = frames.bytes.min(writer.capacity);
        writer.stage(frames.offsets, frames.max_timestamp);
        writer.publish(writer.staged());
        writer.close()
    }

    /// The offset of the first frame.
    #[inline]
    pub(crate) fn base_offset(&self) -> u64 {
        self.base_offset
    }

    /// Whether some of its offsets are of records that are gone: then the number of records is not that of
    /// the offsets.
    #[inline]
    pub(crate) fn is_sparse(&self) -> bool {
        self.is_sparse
    }

    /// Where in its segment the chunk's first byte is; 0 for a topic in memory.
    pub(crate) fn base_position(&self) -> u64 {
        self.base_position
    }

    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity
    }

    /// What may be read now.
    #[inline]
    pub(crate) fn visible(&self) -> Visible {
        Visible::unpack(self.marks.visible.load(Ordering::Acquire))
    }

    /// The offset after the last visible frame.
    pub(crate) fn end_offset(&self) -> u64 {
        self.base_offset + self.visible().offsets
    }

    /// The largest timestamp of a visible frame; `i64::MIN` if there is none.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.marks.max_timestamp.load(Ordering::Acquire)
    }

    /// Visible bytes. Panics on a range that is not visible, as a slice does.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.visible().bytes, "range is not visible");
        self.memory.accesses.read(range.clone());
        // SAFETY: by 4, the range is inside the memory.
        let start = unsafe { self.memory.start.add(range.start) };
        // SAFETY: by 3, 4 and 6 these bytes are visible and initialised, by 2 they do not change, and by 5
        // they live as long as `self` does.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), range.end - range.start) }
    }

    /// Takes the memory back if nobody else holds the chunk.
    pub(crate) fn into_memory(chunk: TrackedArc<Self>) -> Result<Memory, TrackedArc<Self>> {
        TrackedArc::try_unwrap(chunk).map(|chunk| chunk.memory)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("base_offset", &self.base_offset)
            .field("visible", &self.visible())
            .finish_non_exhaustive()
    }
}

/// What a complete chunk holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompleteFrames {
    pub(crate) bytes: usize,
    /// How many offsets they take; fewer than 2 to the 32.
    pub(crate) offsets: u64,
    /// Of the records; `i64::MIN` if nobody asks.
    pub(crate) max_timestamp: i64,
    pub(crate) is_sparse: bool,
}

/// How far something has come in a chunk, at the end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes before it.
    pub(crate) bytes: usize,
    /// Offsets before it, from the chunk's base offset.
    pub(crate) offsets: u64,
    /// The largest timestamp before it; `i64::MIN` if there is none.
    pub(crate) max_timestamp: i64,
}

impl Mark {
    pub(crate) const START: Self = Self { bytes: 0, offsets: 0, max_timestamp: i64::MIN };
}

/// The right to append to a chunk. There is one for each chunk, from its creation until it is closed.
///
/// A batch is written piece by piece ([`append`](Self::append)), then staged as a whole
/// ([`stage`](Self::stage)), and published when its topic's promise is kept ([`publish`](Self::publish)).
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    chunk: TrackedArc<Chunk>,
    /// The chunk's memory, kept here so that writing does not touch the cache line where readers count
    /// their `Arc`s.
    start: NonNull<u8>,
    capacity: usize,
    /// End of the bytes written; those from `staged` on are a batch in the making.
    written: usize,
    staged: Mark,
    published: Mark,
}

// SAFETY: `start` points into the memory of `chunk`, which may be sent.
unsafe impl Send for ChunkWriter {}

impl ChunkWriter {
    /// A chunk in `memory`, empty, and the right to write to it.
    pub(crate) fn new(memory: Memory, base_offset: u64, base_position: u64) -> Self {
        Self::of(memory, base_offset, base_position, false)
    }

    fn of(memory: Memory, base_offset: u64, base_position: u64, is_sparse: bool) -> Self {
        let (start, capacity) = (memory.start, memory.capacity.min(MAX_CHUNK_BYTES));
        let marks = Marks { visible: AtomicU64::new(0), max_timestamp: AtomicI64::new(i64::MIN) };
        let marks = CachePadded::new(marks);
        let chunk = TrackedArc::new(Chunk { marks, memory, base_offset, base_position, is_sparse });
        Self { chunk, start, capacity, written: 0, staged: Mark::START, published: Mark::START }
    }

    pub(crate) fn chunk(&self) -> &TrackedArc<Chunk> {
        &self.chunk
    }

    /// How many bytes still fit.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.capacity - self.written
    }

    /// The next `len` bytes to write. Panics if they do not fit.
    #[inline]
    pub(crate) fn append(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.remaining(), "the chunk is full");
        // SAFETY: by the check, the bytes are inside the memory.
        let start = unsafe { self.start.add(self.written) };
        self.chunk.memory.accesses.write(self.written..self.written + len);
        self.written += len;
        // SAFETY: by 1 and 4 nobody else refers to these bytes, which are not staged yet; by 6 they are
        // initialised; the borrow of `self` keeps the chunk alive.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Completes a batch: all that was appended, which takes `offsets` more offsets.
    #[inline]
    pub(crate) fn stage(&mut self, offsets: u64, max_timestamp: i64) {
        let bytes = self.written - self.staged.bytes;
        self.staged = Mark {
            bytes: self.written,
            offsets: self.staged.offsets + offsets,
            max_timestamp: self.staged.max_timestamp.max(max_timestamp),
        };
        self.prefetch_next(bytes);
    }

    /// Has the processor fetch the place of the next batch, as if it took so many bytes too. By the time that
    /// it is written to, with many partitions in use, nothing of it would be in a cache, and the fence of the
    /// wake-up that follows waits for all of it.
    #[inline]
    fn prefetch_next(&self, bytes: usize) {
        const LINE_BYTES: usize = 64;
        const MOST_BYTES: usize = 4 * LINE_BYTES;
        for ahead in (0..bytes.min(MOST_BYTES) + LINE_BYTES).step_by(LINE_BYTES) {
            prefetch(self.start.as_ptr().wrapping_add(self.written + ahead));
        }
    }

    /// Forgets what was appended since the last [`stage`](Self::stage).
    pub(crate) fn discard(&mut self) {
        self.written = self.staged.bytes;
    }

    /// The end of the batches that are complete.
    #[inline]
    pub(crate) fn staged(&self) -> Mark {
        self.staged
    }

    /// The end of what readers see.
    #[inline]
    pub(crate) fn published(&self) -> Mark {
        self.published
    }

    /// The bytes staged after `since`.
    pub(crate) fn staged_since(&self, since: Mark) -> StagedBytes {
        let start = since.bytes.min(self.staged.bytes);
        StagedBytes { chunk: TrackedArc::clone(&self.chunk), start, end: self.staged }
    }

    /// The bytes staged before `mark`.
    pub(crate) fn staged_up_to(&self, mark: Mark) -> StagedBytes {
        assert!(mark.bytes <= self.staged.bytes, "it was never staged");
        StagedBytes { chunk: TrackedArc::clone(&self.chunk), start: 0, end: mark }
    }

    /// Shows readers what was staged before `mark`.
    #[inline]
    pub(crate) fn publish(&mut self, mark: Mark) {
        assert!(mark.bytes <= self.staged.bytes, "published before it was staged");
        if mark.bytes <= self.published.bytes {
            return;
        }
        self.show(mark);
    }

    /// Shows readers everything that was staged.
    #[inline]
    pub(crate) fn publish_staged(&mut self) {
        self.show(self.staged);
    }

    #[inline]
    fn show(&mut self, mark: Mark) {
        if mark.max_timestamp > self.published.max_timestamp {
            self.chunk.marks.max_timestamp.store(mark.max_timestamp, Ordering::Release);
        }
        self.published = mark;
        self.chunk.marks.visible.store(Visible::pack(mark.bytes, mark.offsets), Ordering::Release);
    }

    /// Takes back what was staged after `mark`, which was not published. The chunk takes nothing more: staged
    /// bytes do not change, even when nobody wants them.
    pub(crate) fn cut(&mut self, mark: Mark) {
        assert!(mark.bytes >= self.published.bytes, "readers have seen it");
        assert!(mark.bytes <= self.staged.bytes, "it was never staged");
        self.staged = mark;
        (self.written, self.capacity) = (mark.bytes, mark.bytes);
    }

    /// Tells readers that nothing more will come. What follows must be findable already.
    pub(crate) fn close(self) -> TrackedArc<Chunk> {
        let packed = Visible::pack(self.published.bytes, self.published.offsets) | CLOSED_BIT;
        self.chunk.marks.visible.store(packed, Ordering::Release);
        self.chunk
    }
}

/// Where the compiler has no stable way to say it, nothing.
#[inline]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "nothing is to be done"))]
fn prefetch(place: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: by 7.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) }
    }
}

/// Complete batches that readers may not see yet, for whoever writes them to a file. Keeps their memory.
#[derive(Clone, Debug)]
pub(crate) struct StagedBytes {
    chunk: TrackedArc<Chunk>,
    start: usize,
    end: Mark,
}

impl StagedBytes {
    /// All that readers see of a chunk; they may see it all the same.
    pub(crate) fn visible(chunk: TrackedArc<Chunk>) -> Self {
        let Visible { bytes, offsets, .. } = chunk.visible();
        let end = Mark { bytes, offsets, max_timestamp: chunk.max_timestamp() };
        Self { chunk, start: 0, end }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.chunk.memory.accesses.read(self.start..self.end.bytes);
        // SAFETY: by construction, the range is inside the memory.
        let start = unsafe { self.chunk.memory.start.add(self.start) };
        // SAFETY: by 2 and 4 these bytes are staged and do not change, by 6 they are initialised, by 5 they
        // live as long as `self` does.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.end.bytes - self.start) }
    }

    pub(crate) fn chunk(&self) -> &TrackedArc<Chunk> {
        &self.chunk
    }

    /// Where they end in their chunk.
    pub(crate) fn end(&self) -> Mark {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(capacity: usize) -> ChunkWriter {
        ChunkWriter::new(Memory::zeroed(capacity), 10, 0)
    }

    #[test]
    fn readers_see_what_is_published_and_no_more() {
        let mut writer = writer(64);
        let chunk = TrackedArc::clone(writer.chunk());
        writer.append(8).copy_from_slice(b"12345678");
        assert_eq!(chunk.visible(), Visible { bytes: 0, offsets: 0, closed: false });
        writer.stage(1, 5);
        assert_eq!(chunk.visible().bytes, 0);
        writer.publish(writer.staged());
        writer.append(8).copy_from_slice(b"hidden!!");
        assert_eq!(chunk.bytes(0..chunk.visible().bytes), b"12345678");
        assert_eq!((chunk.end_offset(), chunk.max_timestamp()), (11, 5));
        writer.discard();
        writer.append(8).copy_from_slice(b"87654321");
        writer.stage(1, 3);
        writer.publish(writer.staged());
        let chunk = writer.close();
        assert_eq!(chunk.visible(), Visible { bytes: 16, offsets: 2, closed: true });
        assert_eq!(chunk.bytes(8..16), b"87654321");
        assert_eq!(chunk.max_timestamp(), 5);
    }

    #[test]
    #[should_panic(expected = "not visible")]
    fn unpublished_bytes_cannot_be_read() {
        let mut writer = writer(64);
        writer.append(8).fill(1);
        let chunk = TrackedArc::clone(writer.chunk());
        assert!(chunk.bytes(0..8).is_empty());
    }

    #[test]
    #[should_panic(expected = "full")]
    fn a_chunk_does_not_overflow() {
        writer(16).append(24).fill(1);
    }

    #[test]
    fn what_is_cut_is_never_written_over() {
        let mut writer = writer(64);
        writer.append(8).copy_from_slice(b"12345678");
        writer.stage(1, 0);
        let kept = writer.staged();
        writer.publish(kept);
        writer.append(8).copy_from_slice(b"not kept");
        writer.stage(1, 0);
        let given_out = writer.staged_since(kept);
        writer.cut(kept);
        assert_eq!(writer.remaining(), 0);
        assert_eq!(given_out.bytes(), b"not kept");
        assert_eq!(writer.close().visible(), Visible { bytes: 8, offsets: 1, closed: true });
    }

    #[test]
    #[should_panic(expected = "before it was staged")]
    fn a_batch_in_the_making_cannot_be_published() {
        let mut writer = writer(64);
        writer.append(8).fill(1);
        writer.publish(Mark { bytes: 8, offsets: 1, max_timestamp: 0 });
    }

    #[test]
    fn memory_is_taken_back_only_from_the_last_holder() {
        let chunk = writer(64).close();
        let reader = TrackedArc::clone(&chunk);
        let chunk = Chunk::into_memory(chunk).err().expect("a reader holds it");
        drop(reader);
        assert_eq!(Chunk::into_memory(chunk).expect("nobody holds it").capacity(), 64);
    }

    #[test]
    fn marks_survive_packing_at_their_limits() {
        let largest = Visible { bytes: MAX_CHUNK_BYTES, offsets: (1 << OFFSET_BITS) - 1, closed: false };
        assert_eq!(Visible::unpack(Visible::pack(largest.bytes, largest.offsets)), largest);
    }

    #[test]
    fn a_reader_on_another_thread_only_ever_sees_whole_published_frames() {
        let mut writer = writer(8 * 1_000);
        let chunk = TrackedArc::clone(writer.chunk());
        let reader = crate::sync::thread::spawn(move || {
            let mut seen = 0;
            while seen < 1_000 {
                let visible = chunk.visible();
                for (number, word) in chunk.bytes(0..visible.bytes).chunks(8).enumerate().skip(seen) {
                    assert_eq!(word, (number as u64).to_le_bytes());
                }
                seen = visible.bytes / 8;
                std::hint::spin_loop();
            }
        });
        for number in 0..1_000u64 {
            writer.append(8).copy_from_slice(&number.to_le_bytes());
            writer.stage(1, 0);
            writer.publish(writer.staged());
        }
        reader.join().expect("the reader saw every frame whole");
    }
}
