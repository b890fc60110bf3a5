//! Compacting a log on disk: segments that are sealed and synced are written anew, each to a file of its own,
//! which is synced before it takes the name of the first of those that it stands for.
//!
//! A crash at any moment leaves a log that is whole: a file without a name in the log means nothing, and a
//! segment ends where the next one begins, so that of a new file only the front counts as long as the others
//! are there for which it stands. They are removed from the oldest to the latest, each for good before the
//! next one.

use std::path::PathBuf;

use super::press::Press;
use super::sieve::Sieve;
use super::{Compacted, Group, Pass, Piece, Stop, is_worth_it};
use crate::config::Compaction;
use crate::error::{Error, Result};
use crate::log::identity::LogPlace;
use crate::log::offset_index::FrameStart;
use crate::log::partition_log::{Home, PartitionLog};
use crate::log::segment::{Fetched, OpenFile, OpenSegment, Segment, create_file};
use crate::log::segment_header::{
    COMPACTED_HEADER_BYTES, CompactedTo, SegmentHeader, UNFINISHED, segment_file_name,
};
use crate::record::frame::{Frame, Frames};
use crate::seeded_bugs::{Bug, is_planted};
use crate::storage::{Storage, write_all_at};
use crate::sync::Arc;

/// How much is written in one go, or one record, if that is more.
const WRITE_BYTES: usize = 1 << 20;

/// What the file of a compacted segment is called until it is complete.
struct Draft<'a> {
    place: &'a LogPlace,
    temporary: PathBuf,
    path: PathBuf,
    open: OpenSegment,
    position: u64,
    offset: u64,
}

impl Piece for Arc<Segment> {
    const MOST_OFFSETS: u64 = u64::MAX;

    fn base_offset(&self) -> u64 {
        Segment::base_offset(self)
    }

    fn end_offset(&self) -> u64 {
        Segment::end_offset(self)
    }

    fn size(&self) -> u64 {
        self.sealed_bytes()
    }

    fn begun(&self) -> Option<i64> {
        Some(self.created)
    }

    fn each(
        &self,
        log: &PartitionLog,
        see: &mut dyn FnMut(Frame<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let (mut file, mut next) = (None, self.first_frame());
        // Of one that is not as compaction left it, what is there may have come behind a horizon since.
        let has_horizons = self.compacted().is_some();
        let mut see = |frame: Frame<'_>| {
            if frame.horizon().is_none() || has_horizons { see(frame) } else { Ok(()) }
        };
        loop {
            log.check_readable()?;
            let fetched = self.read(&mut file, next, self.readable());
            let fetched = match fetched {
                // What was deleted meanwhile is not compacted.
                Err(_) if Segment::end_offset(self) <= log.trimmed() => return Err(Stop::Abandoned),
                fetched => fetched?,
            };
            match fetched {
                Fetched::Block(block) => {
                    let bytes = 0..block.chunk.visible().bytes;
                    Frames::new(block.chunk.bytes(bytes)).try_for_each(&mut see)?;
                    next = block.next;
                }
                Fetched::Damaged(hole) => {
                    return Err(log.damaged(&self.path(), hole.start, None, &hole.detail).into());
                }
                Fetched::End if next.offset < Segment::end_offset(self) => {
                    let detail = "the records behind it are missing";
                    return Err(log.damaged(&self.path(), next, None, detail).into());
                }
                Fetched::End => return Ok(()),
            }
        }
    }
}

impl PartitionLog {
    pub(super) fn compact_on_disk(
        &self,
        home: &Home,
        pass: &mut Pass,
        how: &Compaction,
        now: i64,
        done: &mut Compacted,
    ) -> Result<(), Stop> {
        self.check_readable()?;
        sync_names(pass, &home.place)?;
        remove_leftovers(pass, &home.place)?;
        let sealed_to = self.view().read().last_segment().map_or(0, Piece::base_offset);
        if sealed_to > 0 {
            // What a power loss may take is not compacted.
            self.sync_beyond(sealed_to - 1)?;
        }
        let segments = self.cleanable(home, how, now);
        if pass.cleaned_to.is_none() {
            pass.cleaned_to = Some(cleaned_to(&segments));
            // When its tombstones were met stands in the files: it is read when something is to be done
            // anyway, or when they must have been met long enough ago.
            let is_compacted = |segment: &Arc<Segment>| segment.compacted().is_some();
            pass.oldest_met = segments.iter().any(is_compacted).then_some(now);
        }
        if !is_worth_it(pass, &segments, how, now) {
            return Ok(());
        }
        let segments = self.in_files_only(segments);
        let sieve = self.sieve(pass, &segments, how, now)?;
        let mut oldest_met = None;
        let groups = self.groups(&segments, &sieve, self.settings().segment_bytes(), &mut oldest_met)?;
        for group in &groups {
            done.add(self.write_group(home, pass, group, &sieve)?);
        }
        (pass.cleaned_to, pass.oldest_met) = (Some(sieve.known_to), oldest_met);
        Ok(())
    }

    /// The segments from the first one on that are sealed, synced and old enough.
    fn cleanable(&self, home: &Home, how: &Compaction, now: i64) -> Vec<Arc<Segment>> {
        let min_lag = i64::try_from(how.min_lag.as_millis()).unwrap_or(i64::MAX);
        let synced = {
            let tail = home.tail.lock();
            if tail.broken().is_some() { 0 } else { tail.recovery_point() }
        };
        let mut segments = self.view().read().segments().to_vec();
        let is_cleanable = |pair: &[Arc<Segment>]| {
            // Without a lag, it does not matter what the clock says.
            let is_old_enough = min_lag == 0 || now.saturating_sub(pair[1].created) >= min_lag;
            pair[0].end_offset() <= synced && is_old_enough
        };
        let count = segments.windows(2).take_while(|pair| is_cleanable(pair)).count();
        segments.truncate(count);
        segments
    }

    /// What is in a chunk is read from its file from now on; those of which that cannot be are left out.
    fn in_files_only(&self, mut segments: Vec<Arc<Segment>>) -> Vec<Arc<Segment>> {
        if let Some(last) = segments.last() {
            let in_memory_from = self.stage().lock().release_below(last.end_offset(), self.view());
            segments.retain(|segment| segment.end_offset() <= in_memory_from);
        }
        segments
    }

    /// Writes a group anew, and puts the new segment in its place.
    fn write_group(
        &self,
        home: &Home,
        pass: &mut Pass,
        group: &Group<'_, Arc<Segment>>,
        sieve: &Sieve,
    ) -> Result<Compacted, Stop> {
        let (Some(first), Some(last)) = (group.pieces.first(), group.pieces.last()) else {
            return Ok(Compacted::default());
        };
        let end_offset = last.end_offset();
        let header = SegmentHeader {
            partition_id: self.identity().id,
            base_offset: first.base_offset(),
            first_position: COMPACTED_HEADER_BYTES,
            // What comes before it was synced, as it was itself.
            recovery_point: first.base_offset(),
            created: first.created,
            previous: first.previous(),
            compacted: Some(CompactedTo { end_offset, is_whole: end_offset <= sieve.known_to }),
        };
        let mut draft = Draft::begin(&home.place, &header)?;
        let removed_below = match self.press(&mut draft, group.pieces, sieve) {
            Ok(removed_below) => removed_below,
            Err(stop) => {
                draft.discard();
                return Err(stop);
            }
        };
        // Who reads a table has to know before the tombstones are gone.
        self.note_removed_tombstones(removed_below);
        let before: u64 = group.pieces.iter().map(Piece::size).sum();
        let after = draft.position - COMPACTED_HEADER_BYTES;
        self.put_in_place(pass, draft, group.pieces)?;
        Ok(Compacted { bytes: before.saturating_sub(after), ..group.removed })
    }

    /// Writes what is kept of the pieces, and syncs it. Returns the end of the tombstones that are left out.
    fn press(&self, draft: &mut Draft<'_>, pieces: &[Arc<Segment>], sieve: &Sieve) -> Result<u64, Stop> {
        let segment = Arc::clone(&draft.open.segment);
        let mut press = Press::new(sieve, Some(segment.crc_seed()), segment.base_offset());
        for piece in pieces {
            piece.each(self, &mut |frame| {
                press.see(frame);
                if press.out.len() >= WRITE_BYTES {
                    draft.write(&mut press.out)?;
                }
                Ok(())
            })?;
            press.end_piece(piece.end_offset());
        }
        draft.write(&mut press.out)?;
        if !is_planted(Bug::CompactedUnsynced) {
            draft.open.file.sync_data().map_err(Error::io("sync", &draft.temporary))?;
        }
        segment.set_readable(draft.position);
        segment.note_name_synced();
        Ok(press.tombstones_removed_below)
    }

    /// Readers go over to the new segment, then it gets its name, then the others lose theirs.
    fn put_in_place(&self, pass: &mut Pass, draft: Draft<'_>, old: &[Arc<Segment>]) -> Result<(), Stop> {
        let _no_trim_meanwhile = self.compaction().files.lock();
        if let Err(error) = self.check_readable() {
            draft.discard();
            return Err(error.into());
        }
        let new = &draft.open.segment;
        if !self.view().write().replace_segments(old, new) {
            draft.discard();
            return Err(Stop::Abandoned);
        }
        // Whoever has none of their files open by now does not open one any more, and looks again.
        old.iter().for_each(|old| old.set_replaced(true));
        let storage = draft.place.data_dir.storage();
        pass.names_unsynced = true;
        if let Err(error) = storage.rename(&draft.temporary, &draft.path) {
            old.iter().for_each(|old| old.set_replaced(false));
            self.view().write().restore_segments(old, new);
            new.set_replaced(true);
            let error = Error::io("rename", &draft.temporary)(error);
            draft.discard();
            return Err(error.into());
        }
        pass.leftovers.extend(old.iter().skip(1).map(Piece::base_offset));
        if !is_planted(Bug::MergedRemovedEarly) {
            sync_names(pass, draft.place)?;
        }
        remove_leftovers(pass, draft.place)
    }
}

/// Removes files that lie within a compacted segment, the oldest first, each for good before the next one: of
/// what follows one that is there, everything has to be there.
fn remove_leftovers(pass: &mut Pass, place: &LogPlace) -> Result<(), Stop> {
    while let Some(&base_offset) = pass.leftovers.first() {
        // That the new file has its name is for good by now.
        pass.names_unsynced = true;
        Segment::remove(place.data_dir.storage(), &place.dir, base_offset)?;
        sync_names(pass, place)?;
        pass.leftovers.remove(0);
    }
    Ok(())
}

/// Makes renames and removals survive a power loss, before anything is done that relies on them: also those
/// of an earlier pass that could not.
fn sync_names(pass: &mut Pass, place: &LogPlace) -> Result<(), Stop> {
    if pass.names_unsynced {
        place.data_dir.storage().sync_dir(&place.dir).map_err(Error::io("sync directory", &place.dir))?;
        pass.names_unsynced = false;
    }
    Ok(())
}

/// Below which offset no record is superseded by another one, as the files tell.
fn cleaned_to(segments: &[Arc<Segment>]) -> u64 {
    let last = segments.iter().rev().find_map(|segment| Some((segment, segment.compacted()?)));
    last.map_or(
        0,
        |(segment, compacted)| {
            if compacted.is_whole { compacted.end_offset } else { segment.base_offset() }
        },
    )
}

impl<'a> Draft<'a> {
    fn begin(place: &'a LogPlace, header: &SegmentHeader) -> Result<Self> {
        let name = segment_file_name(header.base_offset);
        let (path, temporary) = (place.dir.join(&name), place.dir.join(name + UNFINISHED));
        match create_file(place.data_dir.storage(), &temporary, header) {
            Ok(file) => {
                let open = Segment::empty(header, place.files(), file);
                let (position, offset) = (header.first_position, header.base_offset);
                Ok(Self { place, temporary, path, open, position, offset })
            }
            Err(error) => {
                remove(place.data_dir.storage(), &temporary);
                Err(error)
            }
        }
    }

    /// Writes frames behind the others, and empties `frames`.
    fn write(&mut self, frames: &mut Vec<u8>) -> Result<()> {
        let file: &OpenFile = &self.open.file;
        write_all_at(file.as_ref(), frames, self.position).map_err(Error::io("write", &self.temporary))?;
        let mut index = self.open.segment.index().write();
        for frame in Frames::new(frames) {
            let start = FrameStart { offset: self.offset, position: self.position };
            self.offset = frame.behind(self.offset).unwrap_or(self.offset);
            self.position += frame.len() as u64;
            let end = FrameStart { offset: self.offset, position: self.position };
            index.note(start, end, if frame.is_record() { frame.timestamp() } else { i64::MIN });
        }
        frames.clear();
        Ok(())
    }

    fn discard(self) {
        remove(self.place.data_dir.storage(), &self.temporary);
    }
}

/// A file without a name in the log means nothing: one that cannot be removed goes at the next opening.
fn remove(storage: &dyn Storage, temporary: &std::path::Path) {
    drop(storage.remove_file(temporary));
}
