//! Looking through a partition's files: what is good, what is not, and by what evidence. Changes nothing.
//!
//! What is known to be synced is not read. The rest is, from front to back, up to the first byte that is no
//! whole batch. If anything says that records from there on were on stable storage, it is **damage**: they
//! may have been acknowledged. Otherwise it is a **torn tail**: a process or machine died while it was being
//! written.

use std::path::{Path, PathBuf};

use super::super::identity::LogIdentity;
use super::super::offset_index::FrameStart;
use super::super::scan::{Bad, GoodRun, Salvage, Walk, Why, salvage, walk};
use super::super::segment::{Hole, OPEN_END};
use super::super::segment_header::segment_file_name;
use super::files::{Found, Header, SegmentFile, find};
use super::part::Part;
use super::report::{Damage, DamageAction};
use super::{Request, SyncedTo};
use crate::error::Result;
use crate::record::frame::CrcSeed;
use crate::storage::Storage;

/// A partition's log, looked through.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(super) parts: Vec<Part>,
    pub(super) start_offset: u64,
    /// The offset of the next record.
    pub(super) end_offset: u64,
    /// All records below this offset were on stable storage at some time.
    pub(super) synced: u64,
    pub(super) verdict: Verdict,
    pub(super) leftovers: Vec<PathBuf>,
    /// Whether everything that was found is known to be on stable storage.
    pub(super) is_all_synced: bool,
    pub(super) scanned_bytes: u64,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Sound,
    /// Everything from here on is to be cut off: it begins in this part.
    Torn {
        part: usize,
        at: FrameStart,
    },
    Damaged(Damages),
}

/// What is damaged, in order, and where to cut the log off to be rid of it; `None` if nothing would be left.
#[derive(Debug)]
pub(super) struct Damages {
    pub(super) list: Vec<Damage>,
    pub(super) cut: Option<(usize, FrameStart)>,
}

/// The first place where something is wrong.
struct Problem {
    part: usize,
    /// Behind the last whole batch; position 0 if the segment's header is what is wrong.
    at: FrameStart,
    what: What,
}

enum What {
    NoHeader(String),
    Bad(Bad),
    /// The file ends before the next segment begins.
    Short,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHeader(detail) => f.write_str(detail),
            Self::Bad(bad) => bad.why.fmt(f),
            Self::Short => f.write_str("the records that come next are missing"),
        }
    }
}

/// Looks through the log of `identity` in `dir`.
pub(super) fn examine(
    storage: &dyn Storage,
    dir: &Path,
    identity: &LogIdentity,
    request: &Request,
) -> Result<Examined> {
    let Found { files, leftovers } = find(storage, dir, identity, request.start_offset)?;
    let mut examiner = Examiner::new(storage, dir, identity, request, files);
    let verdict = examiner.judge_all()?;
    let Examiner { parts, synced, scanned_bytes, .. } = examiner;
    let found_end = match &verdict {
        Verdict::Torn { at, .. } => at.offset,
        Verdict::Sound => parts.last().map_or(0, |part| part.end.offset),
        // No offset is given twice, even if the records that had it are lost.
        Verdict::Damaged(_) => parts.last().map_or(0, |part| part.end.offset).max(synced),
    };
    let end_offset = found_end.max(request.start_offset);
    let mut examined = Examined {
        parts,
        start_offset: request.start_offset,
        end_offset,
        synced,
        verdict,
        leftovers,
        // What was read may be with the system only: a sync mark, which says that what is before it is safe,
        // is not synced itself.
        is_all_synced: synced >= end_offset && scanned_bytes == 0,
        scanned_bytes,
    };
    if request.syncs {
        examined.sync(storage)?;
    }
    examined.parts.iter_mut().for_each(|part| part.file.close());
    Ok(examined)
}

impl Examined {
    /// Makes what was read survive a power loss, oldest first: a killed process may have written without
    /// syncing, and what is shown later is to stay. Not left to whoever mends the files: one that is closed
    /// in between may not tell what the system could not write back.
    fn sync(&self, storage: &dyn Storage) -> Result<()> {
        // It stands in for files that are to go.
        let stands_in = self.parts.first().filter(|_| !self.leftovers.is_empty());
        let scanned = self.parts.iter().filter(|part| part.is_scanned && part.end_offset > self.synced);
        let scanned = scanned.filter(|_| !self.is_all_synced);
        for part in stands_in.into_iter().chain(scanned) {
            part.file.sync_content(storage)?;
        }
        // What was removed may come back otherwise, and what was made be lost.
        self.parts.last().map_or(Ok(()), |part| part.file.sync_name(storage))
    }
}

struct Examiner<'a> {
    storage: &'a dyn Storage,
    dir: &'a Path,
    identity: &'a LogIdentity,
    request: &'a Request,
    seed: CrcSeed,
    parts: Vec<Part>,
    /// All records below this offset were on stable storage, as far as it is known by now.
    synced: u64,
    scanned_bytes: u64,
}

impl<'a> Examiner<'a> {
    fn new(
        storage: &'a dyn Storage,
        dir: &'a Path,
        identity: &'a LogIdentity,
        request: &'a Request,
        files: Vec<SegmentFile>,
    ) -> Self {
        // What was deleted had been synced before.
        let known = request.known.map_or(0, |known| known.end_offset).max(request.start_offset);
        let said = files.iter().filter_map(|file| Some(file.good_header()?.recovery_point));
        // One that compaction wrote was complete, and synced, before it got its name. If the next one does
        // not begin where it says that it ends, it was cut off since.
        let complete = files.windows(2).filter_map(|pair| {
            let end_offset = pair[0].good_header()?.compacted?.end_offset;
            (end_offset == pair[1].base_offset).then_some(end_offset)
        });
        let synced = said.chain(complete).fold(known, u64::max);
        let ends: Vec<u64> = files.iter().skip(1).map(|file| file.base_offset).chain([OPEN_END]).collect();
        let parts = files.into_iter().zip(ends).map(|(file, end_offset)| Part::unscanned(file, end_offset));
        let (parts, seed) = (parts.collect(), CrcSeed::new(identity.id));
        Self { storage, dir, identity, request, seed, parts, synced, scanned_bytes: 0 }
    }

    fn judge_all(&mut self) -> Result<Verdict> {
        if self.parts.is_empty() {
            let start = FrameStart { offset: self.request.start_offset, position: 0 };
            let detail = "its directory holds no segment".to_owned();
            let damage = self.damage(self.dir.to_path_buf(), start, None, detail);
            return Ok(Verdict::Damaged(Damages { list: vec![damage], cut: None }));
        }
        let (begin, from) = self.begin();
        let (mut list, mut cut) = self.missing_files(begin);
        if let Some(problem) = self.walk_from(begin, from)? {
            let evidence = self.evidence(&problem)?;
            let Some(evidence) = evidence.or((!list.is_empty()).then(String::new)) else {
                return Ok(Verdict::Torn { part: problem.part, at: problem.at });
            };
            self.salvage_from(&problem)?;
            let is_first_header = problem.part == 0 && problem.at.position == 0;
            // A log does not end before it begins.
            let is_kept = problem.at.offset >= self.request.start_offset;
            if list.is_empty() && !is_first_header && is_kept {
                cut = Some((problem.part, problem.at));
            }
            list.extend(self.holes(&problem, &evidence));
        }
        if list.is_empty() {
            return Ok(Verdict::Sound);
        }
        self.count_records_behind(&mut list);
        Ok(Verdict::Damaged(Damages { list, cut }))
    }

    /// The first part that is not known to be synced whole, and where in it to begin.
    fn begin(&self) -> (usize, FrameStart) {
        if self.request.everything {
            return (0, self.parts[0].file.first());
        }
        let not_synced = self.parts.iter().position(|part| part.end_offset > self.synced);
        let mut begin = not_synced.unwrap_or(self.parts.len() - 1);
        // The log goes on in a segment whose end has been seen.
        while begin > 0 && self.parts[begin].file.good_header().is_none() {
            begin -= 1;
        }
        let file = &self.parts[begin].file;
        let first = file.first();
        // What is known of it may be of the file in whose place compaction has put this one.
        let is_compacted = file.good_header().is_some_and(|header| header.compacted.is_some());
        match self.request.known {
            Some(SyncedTo { end_offset, segment, position })
                if segment == file.base_offset
                    && !is_compacted
                    && (first.position..=file.len).contains(&position)
                    && end_offset >= first.offset =>
            {
                (begin, FrameStart { offset: end_offset, position })
            }
            _ => (begin, first),
        }
    }

    /// Segments that later ones say were there, as far as what follows them was synced; and where the log
    /// ends without them.
    fn missing_files(&self, begin: usize) -> (Vec<Damage>, Option<(usize, FrameStart)>) {
        let (mut missing, mut cut) = (Vec::new(), None);
        let first = &self.parts[0].file;
        if first.base_offset > self.request.start_offset {
            let base_offset = first.good_header().and_then(|header| header.previous);
            let path = self.dir.join(segment_file_name(base_offset.unwrap_or(self.request.start_offset)));
            let start = FrameStart { offset: self.request.start_offset, position: 0 };
            let detail = "the segment is missing with which the log begins".to_owned();
            missing.push(self.damage(path, start, Some(first.base_offset), detail));
        }
        for (number, pair) in self.parts[..=begin].windows(2).enumerate() {
            let (before, file) = (&pair[0].file, &pair[1].file);
            let Some(previous) = file.good_header().and_then(|header| header.previous) else { continue };
            // Compaction makes one segment of several.
            let compacted = before.good_header().and_then(|header| header.compacted);
            let is_within = compacted.is_some_and(|compacted| previous < compacted.end_offset);
            if previous > before.base_offset && !is_within {
                let start = FrameStart { offset: previous, position: 0 };
                let detail = "the segment is missing".to_owned();
                let path = self.dir.join(segment_file_name(previous));
                if missing.is_empty() && previous >= self.request.start_offset {
                    cut = Some((number + 1, FrameStart { offset: previous, position: 0 }));
                }
                missing.push(self.damage(path, start, Some(file.base_offset), detail));
            }
        }
        (missing, cut)
    }

    /// Takes whole batches, up to the first problem.
    fn walk_from(&mut self, begin: usize, from: FrameStart) -> Result<Option<Problem>> {
        for part in begin..self.parts.len() {
            if let Some(problem) = self.header_problem(part) {
                return Ok(Some(problem));
            }
            let first = self.parts[part].file.first();
            let mut walked = self.walk(part, if part == begin { from } else { first })?;
            let stands_still = walked.end == from && walked.bad.is_some();
            if part == begin && from != first && stands_still {
                // Where the checkpoint says that the log goes on is only a hint.
                walked = self.walk(part, first)?;
            }
            while let Some(next) = self.behind_deleted(part, &walked)? {
                let detail = "it is damaged".to_owned();
                self.parts[part].holes.push(Hole { start: walked.end, next: Some(next), detail });
                self.parts[part].removed.push(walked.removed);
                self.synced = self.synced.max(walked.synced);
                walked = self.walk(part, next)?;
            }
            let Walk { end, index, synced, removed, bad } = walked;
            self.synced = self.synced.max(synced);
            self.parts[part].removed.push(removed);
            let Part { file, end: part_end, index: part_index, is_scanned, end_offset, .. } =
                &mut self.parts[part];
            (*part_end, *part_index, *is_scanned) = (end, index, true);
            if *end_offset <= self.synced {
                // It need not be synced: of a log that is read whole, not all files stay open.
                file.close();
            }
            let is_short = end.offset < if *end_offset == OPEN_END { self.synced } else { *end_offset };
            let what = bad.map(What::Bad).or(is_short.then_some(What::Short));
            if let Some(what) = what {
                return Ok(Some(Problem { part, at: end, what }));
            }
        }
        Ok(None)
    }

    /// Where a walk goes on that met damage among deleted records: nothing is lost with it.
    fn behind_deleted(&mut self, part: usize, walked: &Walk) -> Result<Option<FrameStart>> {
        let start_offset = self.request.start_offset;
        if walked.bad.is_none() || walked.end.offset >= start_offset {
            return Ok(None);
        }
        let found = self.salvage(part, walked.end)?;
        let is_behind = |run: &&GoodRun| {
            run.start.position > walked.end.position
                && (run.start.offset..=run.end.offset).contains(&start_offset)
        };
        Ok(found.runs.iter().find(is_behind).map(|run| run.start))
    }

    fn walk(&mut self, part: usize, from: FrameStart) -> Result<Walk> {
        let opened = self.parts[part].file.keep_open(self.storage)?;
        let Part { file, end_offset, .. } = &self.parts[part];
        let source = file.source(&opened, self.seed, *end_offset, self.request.start_offset);
        let walked = walk(&source, file.first(), from)?;
        self.scanned_bytes += walked.bad.map_or(walked.end.position, |bad| bad.position) - from.position;
        Ok(walked)
    }

    fn header_problem(&self, part: usize) -> Option<Problem> {
        let file = &self.parts[part].file;
        let detail = match &file.header {
            Header::Good(_) => return None,
            Header::Missing => "its header is missing".to_owned(),
            Header::Damaged(detail) => detail.clone(),
        };
        let at = FrameStart { offset: file.base_offset, position: 0 };
        Some(Problem { part, at, what: What::NoHeader(detail) })
    }

    /// Why a problem is damage; `None` if it may be a torn tail.
    fn evidence(&mut self, problem: &Problem) -> Result<Option<String>> {
        let is_known_synced = |synced: u64| {
            (synced > problem.at.offset).then(|| format!("all records below {synced} had been synced"))
        };
        if let Some(evidence) = is_known_synced(self.synced) {
            return Ok(Some(evidence));
        }
        if problem.part == 0 && matches!(problem.what, What::NoHeader(_)) {
            return Ok(Some("it had been synced before the partition was used".to_owned()));
        }
        let behind = self.salvage(problem.part, problem.at)?;
        for part in problem.part + 1..self.parts.len() {
            self.salvage(part, self.parts[part].file.first())?;
        }
        if let Some(evidence) = is_known_synced(self.synced) {
            return Ok(Some(evidence));
        }
        if !self.request.same_boot || self.is_killed_write(problem, &behind)? {
            return Ok(None);
        }
        Ok(Some("no process that is killed leaves this, and the machine was not restarted".to_owned()))
    }

    /// Whether a process that was killed in the middle of a write may have left this: the front of what it
    /// was to write, perhaps with zeros behind it.
    fn is_killed_write(&self, problem: &Problem, behind: &Salvage) -> Result<bool> {
        let file = &self.parts[problem.part].file;
        if problem.part + 1 < self.parts.len() {
            // The next segment was begun when this one was complete.
            return Ok(false);
        }
        match problem.what {
            What::NoHeader(_) => Ok(matches!(file.header, Header::Missing)),
            What::Short => Ok(false),
            What::Bad(bad) => {
                let is_behind = |run: &GoodRun| run.start.position > bad.position;
                if behind.runs.iter().any(is_behind) {
                    return Ok(false);
                }
                match bad.why {
                    Why::FrameCutOff | Why::BatchCutOff => Ok(true),
                    Why::OtherOffset(_) => Ok(false),
                    Why::NoFrame(_) => file.is_zero_from(self.storage, bad.end),
                }
            }
        }
    }

    /// The good frames of a part from `from` on. What its sync marks say is taken note of.
    fn salvage(&mut self, part: usize, from: FrameStart) -> Result<Salvage> {
        let opened = self.parts[part].file.keep_open(self.storage)?;
        let Part { file, end_offset, .. } = &self.parts[part];
        // The frames of a segment without a header begin where they usually do.
        let from = FrameStart { position: from.position.max(file.first().position), ..from };
        let source = file.source(&opened, self.seed, *end_offset, self.request.start_offset);
        let found = salvage(&source, from)?;
        self.synced = self.synced.max(found.synced);
        self.scanned_bytes += file.len.saturating_sub(from.position);
        Ok(found)
    }

    /// Takes what is good from a problem on.
    fn salvage_from(&mut self, problem: &Problem) -> Result<()> {
        for part in problem.part..self.parts.len() {
            let first = self.parts[part].file.first();
            let from = if part == problem.part && problem.at.position > 0 { problem.at } else { first };
            let found = self.salvage(part, from)?;
            self.parts[part].take(from, &found.runs);
        }
        Ok(())
    }

    /// Every place where records are missing or bytes damaged, from a problem on.
    fn holes(&self, problem: &Problem, evidence: &str) -> Vec<Damage> {
        let because = |what: &str| {
            if evidence.is_empty() { what.to_owned() } else { format!("{what}; {evidence}") }
        };
        let mut damaged = Vec::new();
        let first_good = |part: &Part| part.runs_from(part.file.first()).first().map(|run| run.start.offset);
        for (number, part) in self.parts.iter().enumerate().skip(problem.part) {
            let later = self.parts[number + 1..].iter().find_map(first_good);
            let what =
                if number == problem.part { problem.what.to_string() } else { "it is damaged".to_owned() };
            if let Some(bad) = self.header_problem(number) {
                let next = first_good(part).or(later);
                damaged.push(self.damage(
                    part.file.path.clone(),
                    bad.at,
                    next,
                    because(&bad.what.to_string()),
                ));
            }
            for hole in &part.holes {
                let next = hole.next.map(|next| next.offset).or(later);
                damaged.push(self.damage(part.file.path.clone(), hole.start, next, because(&what)));
            }
        }
        if let Some(last) = self.parts.last()
            && last.end.offset < self.synced
            && last.holes.last().is_none_or(|hole| hole.next.is_some())
        {
            damaged.push(self.damage(
                last.file.path.clone(),
                last.end,
                None,
                because("the records at the end are missing"),
            ));
        }
        damaged
    }

    fn damage(&self, path: PathBuf, start: FrameStart, next_offset: Option<u64>, detail: String) -> Damage {
        Damage {
            partition: self.identity.topic_partition(),
            path,
            position: start.position,
            first_offset: start.offset.max(self.request.start_offset),
            next_offset,
            records_behind: 0,
            detail,
            action: DamageAction::Found,
        }
    }

    fn count_records_behind(&self, damaged: &mut [Damage]) {
        for damage in damaged {
            let Some(next) = damage.next_offset else { continue };
            let runs = self.parts.iter().flat_map(|part| part.runs_from(part.file.first()));
            damage.records_behind = runs.map(|run| run.records_from(next)).sum();
        }
    }
}
