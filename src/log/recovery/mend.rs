//! Making a log of what was found: cutting it off where it is torn, and fencing it, cutting it or going on
//! behind the damage where it is damaged. What is taken out of a log is kept beside it.
//!
//! Each step leaves what the next open comes to the same end with: later segments go before earlier ones, and
//! the cut comes last.

use std::path::Path;

use super::super::identity::{LogDir, LogIdentity};
use super::super::offset_index::FrameStart;
use super::super::segment::{OPEN_END, Segment};
use super::super::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::examine::{Damages, Examined, Verdict};
use super::files::create;
use super::part::Part;
use super::report::{Damage, DamageAction, TornTail};
use crate::config::RecoveryPolicy;
use crate::error::{Error, Result};
use crate::seeded_bugs::{Bug, is_planted};
use crate::storage::Storage;
use crate::sync::Arc;

/// What a log consists of.
#[derive(Debug)]
pub(in super::super) struct Recovered {
    /// By base offset; the last one is the active one, unless the log is fenced.
    pub(in super::super) segments: Vec<Arc<Segment>>,
    pub(in super::super) start_offset: u64,
    pub(in super::super) end_offset: u64,
    /// Whether readers pass over damage.
    pub(in super::super) skips_damage: bool,
    pub(in super::super) found: Mending,
}

/// What was found and done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mending {
    pub(crate) torn_tail: Option<TornTail>,
    pub(crate) damaged: Vec<Damage>,
    pub(crate) scanned_bytes: u64,
}

/// What is known of a log that was only looked at.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) segments: usize,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) start_offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) synced: u64,
    pub(crate) found: Mending,
}

impl Mending {
    /// The damage for which the log takes no records, if there is any.
    pub(in super::super) fn fence(&self) -> Option<&Damage> {
        self.damaged.iter().find(|damage| damage.action == DamageAction::Fenced)
    }
}

impl Examined {
    /// Whether this policy cuts off what is known to have been synced: then no checkpoint may say so any
    /// more.
    pub(crate) fn is_to_be_shortened(&self, policy: RecoveryPolicy) -> bool {
        policy == RecoveryPolicy::Truncate
            && matches!(&self.verdict, Verdict::Damaged(Damages { cut: Some(_), .. }))
    }

    /// Makes a log of it.
    pub(in super::super) fn mend(
        mut self,
        dir: &LogDir,
        identity: &LogIdentity,
        policy: RecoveryPolicy,
        now: i64,
    ) -> Result<Recovered> {
        let storage = dir.storage.as_ref();
        if policy != RecoveryPolicy::Strict || !matches!(self.verdict, Verdict::Damaged(_)) {
            // Among them may be what a process was writing to take the place of what is damaged.
            self.remove_leftovers(storage)?;
        }
        let verdict = std::mem::replace(&mut self.verdict, Verdict::Sound);
        let mut mender = Mender { storage, dir: &dir.path, identity, now, log: self };
        let mut found = Mending { scanned_bytes: mender.log.scanned_bytes, ..Mending::default() };
        let mut names_synced = false;
        match verdict {
            // It was synced when it was read.
            Verdict::Sound => names_synced = true,
            Verdict::Torn { part, at } => {
                found.torn_tail = Some(mender.cut(part, at)?);
                mender.sync()?;
            }
            Verdict::Damaged(Damages { mut list, cut }) => {
                let action = mender.go_on(policy, cut)?;
                list.iter_mut().for_each(|damage| damage.action = action);
                found.damaged = list;
            }
        }
        let recovered = mender.log.into_recovered(dir, identity, policy, found);
        if names_synced {
            recovered.segments.iter().for_each(|segment| segment.note_name_synced());
        }
        Ok(recovered)
    }

    /// Makes a log of it that is only read: nothing is changed.
    pub(in super::super) fn leave(mut self, dir: &LogDir, identity: &LogIdentity) -> Recovered {
        let found = self.report(identity);
        if let Verdict::Torn { part, at } = self.verdict {
            self.drop_from(part, at);
        }
        self.into_recovered(dir, identity, RecoveryPolicy::Strict, found)
    }

    /// What was found, without doing anything about it.
    pub(in super::super) fn verified(mut self, identity: &LogIdentity) -> Verified {
        let found = self.report(identity);
        let (segments, bytes) = (self.parts.len(), self.parts.iter().map(|part| part.file.len).sum());
        if let Verdict::Torn { part, at } = self.verdict {
            self.drop_from(part, at);
        }
        let runs = self.parts.iter().flat_map(|part| part.runs_from(part.file.first()));
        let records = runs.map(|run| run.records_from(self.start_offset));
        Verified {
            segments,
            records: records.sum(),
            bytes,
            start_offset: self.start_offset,
            end_offset: self.end_offset,
            synced: self.synced,
            found,
        }
    }

    fn report(&self, identity: &LogIdentity) -> Mending {
        let mut found = Mending { scanned_bytes: self.scanned_bytes, ..Mending::default() };
        match &self.verdict {
            Verdict::Sound => {}
            Verdict::Torn { part, at } => found.torn_tail = Some(self.torn_tail(identity, *part, *at)),
            Verdict::Damaged(damages) => found.damaged.clone_from(&damages.list),
        }
        found
    }

    fn torn_tail(&self, identity: &LogIdentity, part: usize, at: FrameStart) -> TornTail {
        let file = &self.parts[part].file;
        let later = self.parts[part + 1..].iter().map(|part| part.file.len).sum::<u64>();
        TornTail {
            partition: identity.topic_partition(),
            path: file.path.clone(),
            position: at.position,
            bytes: file.len.saturating_sub(at.position) + later,
            end_offset: at.offset,
            kept_in: None,
            set_aside: Vec::new(),
        }
    }

    /// Leaves out what lies behind a place.
    fn drop_from(&mut self, part: usize, at: FrameStart) {
        self.parts.truncate(if at.position == 0 { part } else { part + 1 });
        if let Some(last) = self.parts.last_mut() {
            last.end_offset = OPEN_END;
            if at.position > 0 {
                last.end = at;
            }
        }
        self.end_offset = at.offset;
    }

    fn remove_leftovers(&self, storage: &dyn Storage) -> Result<()> {
        // The file that is to stand in for them was synced when it was looked at.
        if self.parts.is_empty() {
            return Ok(());
        }
        for path in &self.leftovers {
            // One that cannot be removed does no harm: it is tried again at the next open.
            drop(storage.remove_file(path));
        }
        Ok(())
    }

    fn into_recovered(
        self,
        dir: &LogDir,
        identity: &LogIdentity,
        policy: RecoveryPolicy,
        found: Mending,
    ) -> Recovered {
        let segments = self.parts.into_iter().map(|part| Arc::new(part.into_segment(dir, identity)));
        Recovered {
            segments: segments.collect(),
            start_offset: self.start_offset,
            end_offset: self.end_offset,
            skips_damage: policy == RecoveryPolicy::Skip,
            found,
        }
    }
}

struct Mender<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    identity: &'a LogIdentity,
    now: i64,
    log: Examined,
}

impl Mender<'_> {
    /// Makes what was changed survive a power loss, and everything that is kept once more, oldest first.
    fn sync(&self) -> Result<()> {
        if self.log.is_all_synced {
            return Ok(());
        }
        let mut scanned = self.log.parts.iter().filter(|part| part.is_scanned);
        scanned.clone().try_for_each(|part| part.file.sync_content(self.storage))?;
        scanned.next_back().map_or(Ok(()), |part| part.file.sync_name(self.storage))
    }

    /// Does with damage what the policy says.
    fn go_on(&mut self, policy: RecoveryPolicy, cut: Option<(usize, FrameStart)>) -> Result<DamageAction> {
        match (policy, cut) {
            (RecoveryPolicy::Truncate, Some((part, at))) => {
                self.cut(part, at)?;
                self.sync()?;
                Ok(DamageAction::Truncated)
            }
            (RecoveryPolicy::Skip, _) => {
                self.sync()?;
                self.go_on_behind()?;
                Ok(DamageAction::Skipped)
            }
            // With nothing left to go on with, or nothing to be done.
            (RecoveryPolicy::Strict | RecoveryPolicy::Truncate, _) => Ok(DamageAction::Fenced),
        }
    }

    /// Cuts off everything from `at` in this part on.
    fn cut(&mut self, part: usize, at: FrameStart) -> Result<TornTail> {
        let mut torn = self.log.torn_tail(self.identity, part, at);
        // Without its header, the segment goes as a whole.
        let is_whole = at.position == 0;
        let kept = if is_whole { part } else { part + 1 };
        let is_shorter = self.log.parts.len() > kept;
        for later in self.log.parts.drain(kept..).rev() {
            torn.set_aside.extend(later.file.set_aside(self.storage)?);
        }
        // A file that came back later would lie across what is appended until then.
        if let Some(last) = self.log.parts.last().filter(|_| is_shorter) {
            last.file.sync_name(self.storage)?;
        }
        if is_whole {
            torn.kept_in = torn.set_aside.pop();
            self.cut_behind_end(&mut torn)?;
        } else if is_planted(Bug::TailNotTruncated) {
            let len = self.log.parts[part].file.len;
            self.log.drop_from(part, FrameStart { position: len, ..at });
            return Ok(torn);
        } else {
            torn.kept_in = self.log.parts[part].file.cut(self.storage, at.position)?;
        }
        self.log.drop_from(part, at);
        Ok(torn)
    }

    /// Cuts off what the last segment holds behind the place where the next one began, which is gone: what is
    /// appended now would lie on it.
    fn cut_behind_end(&self, torn: &mut TornTail) -> Result<()> {
        let Some(last) = self.log.parts.last().filter(|last| last.file.len > last.end.position) else {
            return Ok(());
        };
        torn.bytes += last.file.len - last.end.position;
        torn.set_aside.extend(last.file.cut(self.storage, last.end.position)?);
        Ok(())
    }

    /// Leaves what is damaged as it is, and has the log go on in a new segment, unless the last one is sound.
    fn go_on_behind(&mut self) -> Result<()> {
        let is_sound = |part: &Part| part.holes.is_empty() && part.file.good_header().is_some();
        let end_offset = self.log.end_offset;
        if let Some(last) = self.log.parts.last() {
            if is_sound(last) && last.end.offset == end_offset {
                return Ok(());
            }
            if last.file.base_offset == end_offset {
                // Nothing of it is good, and the new segment has its name.
                last.file.set_aside(self.storage)?;
                self.log.parts.pop();
            }
        }
        if self.log.parts.is_empty() {
            self.make_dir()?;
        }
        let header = SegmentHeader {
            partition_id: self.identity.id,
            base_offset: end_offset,
            first_position: SEGMENT_HEADER_BYTES,
            recovery_point: self.log.synced,
            created: self.now,
            previous: self.log.parts.last().map(|part| part.file.base_offset),
            compacted: None,
        };
        // It may be what is missing.
        self.storage.create_dir_all(self.dir).map_err(Error::io("create directory", self.dir))?;
        let made = create(self.storage, self.dir, &header)?;
        if let Some(last) = self.log.parts.last_mut() {
            last.end_offset = end_offset;
        }
        self.log.parts.push(Part::made(made));
        Ok(())
    }

    /// The directory itself may be what is missing.
    fn make_dir(&self) -> Result<()> {
        self.storage.create_dir_all(self.dir).map_err(Error::io("create directory", self.dir))?;
        let above = self.dir.parent().unwrap_or(self.dir);
        self.storage.sync_dir(above).map_err(Error::io("sync directory", above))
    }
}
