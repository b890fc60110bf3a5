//! Writing again what a failed sync may have lost: everything that is not known to be on stable storage, from
//! the chunks that still hold it, into new files, which are synced before they take the places of the old
//! ones.
//!
//! The new files keep every frame at its position, behind a gap in front of the first one, so nothing else
//! has to know. Each takes its place by a rename: a crash at any moment leaves the old file there or the new
//! one. A segment of which only the end is written again is followed by the new file, which begins within it:
//! a segment ends where the next one begins.

use std::path::PathBuf;

use super::chunk::StagedBytes;
use super::disk_tail::DiskTail;
use super::identity::LogPlace;
use super::offset_index::FrameStart;
use super::partition_log::PartitionLog;
use super::segment::{OpenSegment, Segment, create_file};
use super::segment_header::{SegmentHeader, UNFINISHED, segment_file_name};
use crate::error::{Error, Result};
use crate::record::frame::Frames;
use crate::storage::{StorageFile, write_all_at};
use crate::sync::{Arc, TrackedArc};

/// What is to become a file.
struct Draft {
    base_offset: u64,
    /// Where its first frame goes.
    position: u64,
    previous: Option<u64>,
    pieces: Vec<StagedBytes>,
}

/// A file that is written and synced, and does not have its name yet.
struct Written {
    header: SegmentHeader,
    temporary: PathBuf,
    path: PathBuf,
    file: Box<dyn StorageFile>,
    pieces: Vec<StagedBytes>,
}

impl PartitionLog {
    /// Writes everything again that is not known to be synced. When it returns, all of it survives a power
    /// loss. After an error the old files are in use as before, and must not be synced or written to.
    pub(super) fn rewrite(&self, place: &LogPlace, tail: &mut DiskTail) -> Result<()> {
        let drafts = self.drafts(tail)?;
        let mut written = Vec::new();
        for draft in drafts {
            match write(place, tail, draft) {
                Ok(file) => written.push(file),
                Err(error) => {
                    written.iter().for_each(|file| remove(place, &file.temporary));
                    return Err(error);
                }
            }
        }
        let storage = place.data_dir.storage();
        let mut active = None;
        for file in written {
            storage.rename(&file.temporary, &file.path).map_err(Error::io("rename", &file.temporary))?;
            let renamed = file.into_segment(place);
            self.view().write().put_segment(Arc::clone(&renamed.segment));
            active = Some(renamed);
        }
        // Before what may fail: whoever tries again goes on from the files that have the names by then.
        active.into_iter().for_each(|active| tail.go_on_in(active));
        storage.sync_dir(&place.dir).map_err(Error::io("sync directory", &place.dir))?;
        self.stage().lock().moved(tail.active().first_frame().position);
        tail.rewritten();
        Ok(())
    }

    /// What is to be written, one file for each segment that has something of it, and for the active one.
    fn drafts(&self, tail: &DiskTail) -> Result<Vec<Draft>> {
        let pieces = self.unsynced(tail)?;
        let view = self.view().read();
        let mut drafts: Vec<Draft> = Vec::new();
        let mut last_base = None;
        for piece in pieces {
            let base_offset = piece.chunk().base_offset();
            let segment = view.segment_of(base_offset);
            let segment_base = segment.map(|segment| segment.base_offset());
            match drafts.last_mut() {
                Some(draft) if last_base == segment_base => draft.pieces.push(piece),
                before => {
                    let is_whole = segment_base == Some(base_offset);
                    let earlier =
                        if is_whole { segment.and_then(|same| same.previous()) } else { segment_base };
                    let previous = before.map(|draft| draft.base_offset).or(earlier);
                    let position = piece.chunk().base_position();
                    drafts.push(Draft { base_offset, position, previous, pieces: vec![piece] });
                }
            }
            last_base = segment_base;
        }
        let active = tail.active();
        if last_base != Some(active.base_offset()) || tail.is_roll_left() {
            // Nothing in the active segment is unsynced, but what is to come must not go into its file; or it
            // must not go on where a file lies across it.
            let base_offset = tail.end_offset();
            let is_same = active.base_offset() == base_offset;
            let earlier = if is_same { active.previous() } else { Some(active.base_offset()) };
            let previous = drafts.last().map(|draft| draft.base_offset).or(earlier);
            drafts.push(Draft { base_offset, position: tail.position(), previous, pieces: Vec::new() });
        }
        Ok(drafts)
    }

    /// The chunks that hold what is not known to be synced, as far as they are in the file; and those that
    /// may still grow, for a chunk lies in one segment.
    fn unsynced(&self, tail: &DiskTail) -> Result<Vec<StagedBytes>> {
        let stage = self.stage().lock();
        let staged: Vec<StagedBytes> = stage.written().collect();
        let first_staged = staged.first().map(|piece| TrackedArc::clone(piece.chunk()));
        let is_staged =
            |chunk: &_| first_staged.as_ref().is_some_and(|first| TrackedArc::ptr_eq(first, chunk));
        let view = self.view().read();
        let closed = view.chunks().take_while(|chunk| !is_staged(chunk)).cloned().map(StagedBytes::visible);
        let mut pieces: Vec<StagedBytes> = closed.chain(staged).collect();
        pieces.retain(|piece| piece.end().bytes > 0);
        let first_open = pieces.iter().position(|piece| is_staged(piece.chunk())).unwrap_or(pieces.len());
        let recovery_point = tail.recovery_point();
        if recovery_point == tail.end_offset() {
            return Ok(pieces.split_off(first_open));
        }
        let first = pieces.iter().rposition(|piece| piece.chunk().base_offset() <= recovery_point);
        match first {
            Some(first) => Ok(pieces.split_off(first.min(first_open))),
            None => Err(self.failed("its records that were not synced are no longer in memory")),
        }
    }
}

fn write(place: &LogPlace, tail: &DiskTail, draft: Draft) -> Result<Written> {
    let path = place.dir.join(segment_file_name(draft.base_offset));
    let temporary = place.dir.join(segment_file_name(draft.base_offset) + UNFINISHED);
    let header = SegmentHeader {
        partition_id: tail.partition_id(),
        base_offset: draft.base_offset,
        first_position: draft.position,
        recovery_point: tail.recovery_point(),
        created: place.clock.now().as_millis(),
        previous: draft.previous,
        compacted: None,
    };
    let write_all = || {
        let file = create_file(place.data_dir.storage(), &temporary, &header)?;
        for piece in &draft.pieces {
            let position = piece.chunk().base_position();
            write_all_at(file.as_ref(), piece.bytes(), position).map_err(Error::io("write", &temporary))?;
        }
        file.sync_data().map_err(Error::io("sync", &temporary))?;
        Ok(file)
    };
    match write_all() {
        Ok(file) => Ok(Written { header, path, file, pieces: draft.pieces, temporary }),
        Err(error) => {
            remove(place, &temporary);
            Err(error)
        }
    }
}

/// A file without a name in the log means nothing: one that cannot be removed does no harm.
fn remove(place: &LogPlace, temporary: &std::path::Path) {
    drop(place.data_dir.storage().remove_file(temporary));
}

impl Written {
    fn into_segment(self, place: &LogPlace) -> OpenSegment {
        let open = Segment::empty(&self.header, place.files(), self.file);
        let segment = &open.segment;
        let mut start = segment.first_frame();
        for piece in &self.pieces {
            for frame in Frames::new(piece.bytes()) {
                let offset = start.offset + u64::from(frame.is_record());
                let end = FrameStart { offset, position: start.position + frame.len() as u64 };
                let timestamp = if frame.is_record() { frame.timestamp() } else { i64::MIN };
                segment.index().write().note(start, end, timestamp);
                start = end;
            }
        }
        segment.note_name_synced();
        open
    }
}
