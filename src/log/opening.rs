//! How the log of a partition comes to be: made anew, or opened from what was found in its files.

use super::disk_tail::DiskTail;
use super::identity::{LogIdentity, LogPlace};
use super::offset_index::FrameStart;
use super::partition_log::{DISK_TAIL_BYTES, Disk, PartitionLog};
use super::recovery::{self, Damage, Mending, Recovered, Request, Verified};
use super::segment::{Segment, SyncError};
use super::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::stage::Stage;
use super::view::View;
use crate::config::{RecoveryPolicy, TopicSettings};
use crate::error::{Error, Result};
use crate::record::frame::CrcSeed;
use crate::sync::Arc;

/// A log on disk that can be opened.
#[derive(Debug)]
pub(crate) struct ExaminedLog {
    identity: LogIdentity,
    place: LogPlace,
    examined: recovery::Examined,
}

impl ExaminedLog {
    pub(crate) fn identity(&self) -> &LogIdentity {
        &self.identity
    }

    /// Whether this policy cuts off what is known to have been synced.
    pub(crate) fn is_to_be_shortened(&self, policy: RecoveryPolicy) -> bool {
        self.examined.is_to_be_shortened(policy)
    }

    /// What was found.
    pub(crate) fn verified(self) -> Verified {
        self.examined.verified(&self.identity)
    }
}

impl PartitionLog {
    /// Makes the first segment of a log in the directory of `place`, which must exist.
    pub(crate) fn create(identity: &LogIdentity, place: &LogPlace) -> Result<()> {
        let header = SegmentHeader {
            partition_id: identity.id,
            base_offset: 0,
            first_position: SEGMENT_HEADER_BYTES,
            recovery_point: 0,
            created: place.clock.now().as_millis(),
            previous: None,
            compacted: None,
        };
        Segment::create(&place.files(), &header)?.sync().map_err(SyncError::into_error)
    }

    /// Looks through a log on disk. Changes nothing, and leaves no file open.
    pub(crate) fn examine(identity: LogIdentity, place: LogPlace, request: &Request) -> Result<ExaminedLog> {
        let examined = recovery::examine(place.data_dir.storage(), &place.dir, &identity, request)?;
        Ok(ExaminedLog { identity, place, examined })
    }

    /// Opens a log that was examined: cuts off its torn tail, if it has one, and does with damage what the
    /// policy says. All that is shown was synced.
    pub(crate) fn open(
        log: ExaminedLog,
        settings: &TopicSettings,
        policy: RecoveryPolicy,
    ) -> Result<(Arc<Self>, Mending)> {
        let ExaminedLog { identity, place, examined } = log;
        let now = place.clock.now().as_millis();
        let recovered = examined.mend(&place.files(), &identity, policy, now)?;
        if let Some(damage) = recovered.found.fence() {
            let fence = fenced(damage);
            return Ok(Self::assemble_closed(identity, place, settings, recovered, fence));
        }
        let Some(tail) = DiskTail::after(&recovered, identity.id) else {
            let detail = "its directory holds no segment".to_owned();
            return Err(Error::Corrupt { path: place.dir.to_path_buf(), position: 0, detail });
        };
        let end = FrameStart { offset: recovered.end_offset, position: tail.position() };
        let first_position = tail.active().first_frame().position;
        let mut stage = Stage::on_disk(end, DISK_TAIL_BYTES, CrcSeed::new(identity.id), first_position);
        if tail.active().is_of_compaction() {
            // Its horizons are not for what comes behind it.
            stage.roll_next();
        }
        // What is known is that it was there when it was opened.
        stage.note_appended(tail.active().known_created().unwrap_or(now).max(now));
        let upkeep = Arc::clone(&place.upkeep);
        let view = View::new(recovered.start_offset, recovered.end_offset, recovered.segments);
        let skips_damage = recovered.skips_damage;
        let disk = Disk { place: Some(place), tail: Some(tail), skips_damage, upkeep };
        Ok((Self::assemble(identity, settings, stage, view, disk), recovered.found))
    }

    /// Opens a log that was examined for reading only.
    pub(crate) fn open_read_only(log: ExaminedLog, settings: &TopicSettings) -> (Arc<Self>, Mending) {
        let ExaminedLog { identity, place, examined } = log;
        let recovered = examined.leave(&place.files(), &identity);
        let reason = Error::ReadOnly { operation: "send records" };
        Self::assemble_closed(identity, place, settings, recovered, reason)
    }

    fn assemble_closed(
        identity: LogIdentity,
        place: LogPlace,
        settings: &TopicSettings,
        recovered: Recovered,
        reason: Error,
    ) -> (Arc<Self>, Mending) {
        let view = View::new(recovered.start_offset, recovered.end_offset, recovered.segments);
        let stage = Stage::in_memory(recovered.end_offset, DISK_TAIL_BYTES);
        let (skips_damage, upkeep) = (recovered.skips_damage, Arc::clone(&place.upkeep));
        let disk = Disk { place: Some(place), tail: None, skips_damage, upkeep };
        let log = Self::assemble(identity, settings, stage, view, disk);
        log.health.fence(reason);
        (log, recovered.found)
    }
}

/// Why a log that is damaged takes no records.
fn fenced(damage: &Damage) -> Error {
    Error::PartitionFenced {
        partition: damage.partition.clone(),
        path: damage.path.clone(),
        position: damage.position,
        first_offset: damage.first_offset,
        detail: damage.detail.clone(),
    }
}
