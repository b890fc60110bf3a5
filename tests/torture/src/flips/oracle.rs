//! The judgement of one case: what a broker served and said, against what was sent and what was done to the
//! files. It looks at data only, and can be shown wrong answers.

use std::fmt::Display;

use super::harmed::{Claim, Found, Harmed};
use super::image::{COMMITS, LOGS, place};
use super::storage::Boot;
use crate::common::outcome::{Failure, Finding};
use crate::common::sent::Sent;

/// What a broker said when it was opened, and what was read from it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// One for each of [`LOGS`].
    pub(super) logs: Vec<SeenLog>,
    /// Logs that were reported damaged, with the offsets that are lost.
    pub(super) damaged: Vec<(usize, Lost)>,
    /// Logs of which a torn tail was cut off, and where they end now.
    pub(super) torn: Vec<(usize, u64)>,
    /// Logs for which a commit was lowered, and to what.
    pub(super) lowered: Vec<(usize, u64)>,
    /// For each log what the group has committed.
    pub(super) committed: Vec<Option<u64>>,
}

/// Offsets that are lost: from the first one to the second one, or to the end.
pub(super) type Lost = (u64, Option<u64>);

/// What was read of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenLog {
    pub(super) served: Vec<(u64, Sent)>,
    /// What errors said that cannot be read.
    pub(super) told: Vec<Lost>,
    /// The offset of the next record.
    pub(super) end: u64,
}

/// How the directory was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Strict(Boot),
    Truncate,
    Skip,
    /// It was open when the harm was done.
    Live,
}

fn is_in(offset: u64, lost: &[Lost]) -> bool {
    lost.iter().any(|&(first, next)| first <= offset && next.is_none_or(|next| offset < next))
}

fn name(number: usize) -> String {
    if number == COMMITS { "the log of commits".to_owned() } else { place(number).to_string() }
}

/// Everything that can be wrong in a case.
pub(super) fn judge(harmed: &Harmed<'_>, seen: &Seen, how: How) -> Result<(), Failure> {
    for (number, log) in seen.logs.iter().enumerate() {
        check_right(&harmed.log(number).records, number, log)?;
    }
    let victims = &harmed.victims;
    for number in 0..LOGS.len() {
        match victims.contains(&number) {
            true => Judge::new(harmed, seen, how, number).check_log()?,
            false => check_neighbour(harmed, seen, number)?,
        }
    }
    let named =
        seen.damaged.iter().map(|(number, _)| number).chain(seen.torn.iter().map(|(number, _)| number));
    if let Some(number) = named.into_iter().find(|number| !victims.contains(number)) {
        return Err(Failure::new(
            Finding::NeighbourLost,
            format!("{} is whole, and reported: {:?} {:?}", name(*number), seen.damaged, seen.torn),
        ));
    }
    if how != How::Live { check_commits(harmed, seen, how) } else { Ok(()) }
}

/// No record is other than it was sent, nor in another place.
pub(super) fn check_right(sent: &[Sent], number: usize, log: &SeenLog) -> Result<(), Failure> {
    let wrong = |what: String| Err(Failure::new(Finding::WrongBytes, format!("{}: {what}", name(number))));
    let mut next = 0;
    for (offset, record) in &log.served {
        if *offset < next {
            return wrong(format!("offset {offset} comes where {next} or a later one is due"));
        }
        match sent.get(*offset as usize) {
            None => return wrong(format!("offset {offset} was never sent")),
            Some(sent) if sent != record => return wrong(format!("offset {offset} is not as it was sent")),
            Some(_) => next = offset + 1,
        }
    }
    Ok(())
}

fn check_neighbour(harmed: &Harmed<'_>, seen: &Seen, number: usize) -> Result<(), Failure> {
    let (all, log) = (harmed.log(number).records.len(), &seen.logs[number]);
    if log.served.len() == all && log.told.is_empty() && log.end == all as u64 {
        return Ok(());
    }
    let what = format!(
        "{} is whole; of {all} records {} are served, it ends with {}, errors: {:?}",
        name(number),
        log.served.len(),
        log.end,
        log.told
    );
    Err(Failure::new(Finding::NeighbourLost, what))
}

/// One log that was harmed.
struct Judge<'a> {
    harmed: &'a Harmed<'a>,
    log: &'a SeenLog,
    how: How,
    number: usize,
    found: Found,
    damaged: Vec<Lost>,
    /// Where it ends, if a torn tail was cut off.
    torn: Option<u64>,
}

impl<'a> Judge<'a> {
    fn new(harmed: &'a Harmed<'a>, seen: &'a Seen, how: How, number: usize) -> Self {
        let damaged = seen.damaged.iter().filter(|(log, _)| *log == number).map(|(_, lost)| *lost).collect();
        let torn = seen.torn.iter().find(|(log, _)| *log == number).map(|(_, end)| *end);
        Self { harmed, log: &seen.logs[number], how, number, found: harmed.find(number), damaged, torn }
    }

    fn check_log(&self) -> Result<(), Failure> {
        let mut served = self.log.served.iter().map(|(offset, _)| *offset).peekable();
        let mut missing = Vec::new();
        for offset in 0..self.harmed.log(self.number).records.len() as u64 {
            if served.next_if_eq(&offset).is_none() {
                missing.push(offset);
            }
        }
        if self.torn.is_some() {
            self.check_torn(&missing)?;
        }
        for &offset in &missing {
            self.check_missing(offset)?;
        }
        let untouched = self.found.untouched.iter().filter(|is_untouched| **is_untouched).count();
        let is_cut = self.torn.is_some() || self.how == How::Truncate;
        if !is_cut && self.harmed.claim == Claim::AsMany && self.log.served.len() < untouched {
            return self.lost(format!("{untouched} are untouched, {} are served", self.log.served.len()));
        }
        Ok(())
    }

    fn check_missing(&self, offset: u64) -> Result<(), Failure> {
        if offset < self.found.first_bad && self.harmed.claim != Claim::Reported {
            return self.lost(format!("offset {offset} lies before all harm, and is not served"));
        }
        if self.torn.is_some_and(|end| end <= offset) {
            return Ok(());
        }
        let is_reported = match self.how {
            // At the end of what is left there is nothing that a reader could be told of.
            How::Strict(_) | How::Live if offset >= self.log.end && is_in(offset, &self.damaged) => true,
            How::Strict(_) | How::Live => is_in(offset, &self.log.told),
            How::Skip => is_in(offset, &self.damaged),
            // A batch that is damaged goes as a whole.
            How::Truncate => !self.damaged.is_empty(),
        };
        let is_gone = offset >= self.log.end && self.is_without_trace();
        if !is_reported && !is_gone {
            return self.lost(format!("offset {offset} is missing, and nothing says so"));
        }
        let must_be_there = self.harmed.claim == Claim::Untouched && self.how != How::Truncate;
        if is_reported && must_be_there && self.found.untouched[offset as usize] {
            return self.lost(format!("offset {offset} is untouched, and not served"));
        }
        Ok(())
    }

    /// Whether what is missing was at the end, and nothing that is left knows of it: whole batches were taken
    /// away, or good frames of earlier offsets lie there.
    fn is_without_trace(&self) -> bool {
        let Found { first_bad, synced, untouched, .. } = &self.found;
        let end = self.log.end;
        let is_touched = untouched.get(end as usize..).is_some_and(|rest| !rest.contains(&true));
        let is_possible = match self.harmed.claim {
            Claim::AsMany => is_touched,
            Claim::Untouched | Claim::Reported => self.harmed.shortens && end == *first_bad,
        };
        is_possible && *synced <= end
    }

    /// A tail may be cut off if nothing says that it was safe.
    fn check_torn(&self, missing: &[u64]) -> Result<(), Failure> {
        let Some(end) = self.torn else { return Ok(()) };
        let Found { first_bad, batch_end, synced, untouched } = &self.found;
        if end < *synced {
            return self.lost(format!("cut off at offset {end}, though all below {synced} had been synced"));
        }
        if self.harmed.claim != Claim::Untouched {
            return Ok(());
        }
        if end != *first_bad {
            return self.lost(format!("cut off at offset {end}, but it is good up to {first_bad}"));
        }
        let is_good = |offset: &&u64| untouched[**offset as usize] && **offset >= *batch_end;
        match missing.iter().find(is_good) {
            Some(offset) if self.is_same_boot() => self.lost(format!(
                "offset {offset} is untouched and cut off, though no process that is killed leaves that"
            )),
            _ => Ok(()),
        }
    }

    /// Without the checkpoint, nobody knows in which run of the machine the files were written.
    fn is_same_boot(&self) -> bool {
        self.how == How::Strict(Boot::Same) && !self.harmed.is_changed("checkpoint")
    }

    fn lost(&self, what: impl Display) -> Result<(), Failure> {
        let Self { log, damaged, torn, found, .. } = self;
        let said = format!("told {:?}, damaged {damaged:?}, torn {torn:?}, end {}", log.told, log.end);
        let bounds = format!("good up to {}, synced {}", found.first_bad, found.synced);
        Err(Failure::new(Finding::Lost, format!("{}: {what} ({said}; {bounds})", name(self.number))))
    }
}

/// A commit that is not the latest one is an earlier one, and something says so.
fn check_commits(harmed: &Harmed<'_>, seen: &Seen, how: How) -> Result<(), Failure> {
    let is_victim = harmed.is_victim(COMMITS);
    for (number, history) in harmed.image.commits.iter().enumerate() {
        let committed = seen.committed[number];
        if committed == history.last().copied() {
            continue;
        }
        let end = seen.logs[number].end;
        if committed == Some(end) && seen.lowered.contains(&(number, end)) {
            continue;
        }
        let what = format!("{:?} is committed for {}, not {:?}", committed, name(number), history.last());
        if committed.is_some_and(|committed| !history.contains(&committed)) {
            return Err(Failure::new(Finding::WrongBytes, what));
        }
        if !is_victim {
            return Err(Failure::new(Finding::NeighbourLost, what));
        }
        check_commits_reported(harmed, seen, how, &what)?;
    }
    Ok(())
}

fn check_commits_reported(harmed: &Harmed<'_>, seen: &Seen, how: How, what: &str) -> Result<(), Failure> {
    let found = harmed.find(COMMITS);
    let torn = seen.torn.iter().find(|(log, _)| *log == COMMITS).map(|(_, end)| *end);
    if let Some(end) = torn
        && end < found.synced
    {
        let what =
            format!("{what}: commits were cut off at {end}, though all below {} were synced", found.synced);
        return Err(Failure::new(Finding::Lost, what));
    }
    let is_damaged = seen.damaged.iter().any(|(log, _)| *log == COMMITS);
    let is_without_trace = harmed.shortens && found.synced <= found.first_bad;
    if torn.is_some() || is_damaged || is_without_trace {
        return Ok(());
    }
    Err(Failure::new(Finding::Lost, format!("{what}, and nothing says so ({how:?})")))
}

/// What `verify` finds, against what a broker then serves: for each log whether anything is wrong with it.
pub(super) fn check_verified(harmed: &Harmed<'_>, wrong: &[bool], seen: &Seen) -> Result<(), Failure> {
    for (number, log) in seen.logs.iter().enumerate() {
        let is_whole = log.served.len() == harmed.log(number).records.len();
        if is_whole || wrong[number] {
            continue;
        }
        let judge = Judge::new(harmed, seen, How::Strict(Boot::Same), number);
        if !judge.is_without_trace() {
            let what = format!("records of {} are missing, and verify finds nothing", name(number));
            return Err(Failure::new(Finding::WrongReport, what));
        }
    }
    let victims = &harmed.victims;
    match (0..=COMMITS).find(|number| wrong[*number] && !victims.contains(number)) {
        None => Ok(()),
        Some(number) => {
            let what = format!("verify finds fault with {}, which is whole", name(number));
            Err(Failure::new(Finding::NeighbourLost, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::damage::Damage;
    use super::super::image::{Image, images};
    use super::*;

    /// What a good broker shows of a directory in which record 3 of the first log is damaged.
    fn good(image: &Image) -> Seen {
        let mut seen = Seen::default();
        for number in 0..LOGS.len() {
            let served: Vec<(u64, Sent)> = (0..).zip(image.logs[number].records.clone()).collect();
            seen.logs.push(SeenLog { end: served.len() as u64, served, told: Vec::new() });
        }
        seen.logs[0].served.remove(3);
        seen.logs[0].told.push((3, Some(4)));
        seen.committed = image.commits.iter().map(|history| history.last().copied()).collect();
        seen
    }

    fn check(change: impl FnOnce(&mut Seen)) -> Result<(), Finding> {
        let [_, image] = images(1).expect("two directories");
        let frame = image.logs[0].record_frames().nth(3).expect("a record").clone();
        let harmed = Damage::Flip(frame.path, frame.bytes.start * 8).apply(&image).expect("a change");
        let mut seen = good(&image);
        change(&mut seen);
        let judged = judge(&harmed, &seen, How::Strict(Boot::Same));
        judged.map_err(|failure| failure.finding)
    }

    #[test]
    fn what_is_right_passes() {
        assert_eq!(check(|_| {}), Ok(()));
    }

    #[test]
    fn a_wrong_record_is_seen() {
        assert_eq!(check(|seen| seen.logs[0].served[0].1.timestamp += 1), Err(Finding::WrongBytes));
        assert_eq!(check(|seen| seen.logs[1].served[0].1.key = Some(Vec::new())), Err(Finding::WrongBytes));
        assert_eq!(check(|seen| seen.logs[0].served.swap(0, 1)), Err(Finding::WrongBytes));
        let stale = |seen: &mut Seen| seen.logs[0].served[5].1 = seen.logs[0].served[4].1.clone();
        assert_eq!(check(stale), Err(Finding::WrongBytes));
        let invented = |seen: &mut Seen| {
            let last = seen.logs[0].served.last().expect("some").clone();
            seen.logs[0].served.push((last.0 + 1, last.1));
        };
        assert_eq!(check(invented), Err(Finding::WrongBytes));
        assert_eq!(check(|seen| seen.committed[0] = Some(3)), Err(Finding::WrongBytes));
    }

    #[test]
    fn a_silent_loss_is_seen() {
        assert_eq!(check(|seen| seen.logs[0].told.clear()), Err(Finding::Lost));
        let torn = |seen: &mut Seen| {
            seen.logs[0].told.clear();
            seen.logs[0].served.truncate(3);
            seen.logs[0].end = 3;
            seen.torn.push((0, 3));
        };
        assert_eq!(check(torn), Err(Finding::Lost), "all of it had been synced");
        let short = |seen: &mut Seen| {
            drop(seen.logs[0].served.pop());
            seen.logs[0].end -= 1;
        };
        assert_eq!(check(short), Err(Finding::Lost));
    }

    #[test]
    fn a_good_record_that_is_not_served_is_seen() {
        let more = |seen: &mut Seen| {
            seen.logs[0].served.remove(3);
            seen.logs[0].told[0].1 = Some(5);
        };
        assert_eq!(check(more), Err(Finding::Lost));
        let before = |seen: &mut Seen| {
            seen.logs[0].served.remove(0);
            seen.logs[0].told.push((0, Some(1)));
        };
        assert_eq!(check(before), Err(Finding::Lost));
    }

    #[test]
    fn a_lost_neighbour_is_seen() {
        assert_eq!(check(|seen| drop(seen.logs[1].served.pop())), Err(Finding::NeighbourLost));
        assert_eq!(check(|seen| seen.logs[2].told.push((0, Some(0)))), Err(Finding::NeighbourLost));
        assert_eq!(check(|seen| seen.torn.push((2, 1))), Err(Finding::NeighbourLost));
        assert_eq!(check(|seen| seen.committed[0] = Some(2)), Err(Finding::NeighbourLost));
    }

    #[test]
    fn verify_has_to_find_what_is_missing_and_nothing_else() {
        let [_, image] = images(1).expect("two directories");
        let frame = image.logs[0].record_frames().nth(3).expect("a record").clone();
        let harmed = Damage::Flip(frame.path, frame.bytes.start * 8).apply(&image).expect("a change");
        let seen = good(&image);
        let finding =
            |wrong: [bool; 4]| check_verified(&harmed, &wrong, &seen).map_err(|failure| failure.finding);
        assert_eq!(finding([true, false, false, false]), Ok(()));
        assert_eq!(finding([false; 4]), Err(Finding::WrongReport));
        assert_eq!(finding([true, true, false, false]), Err(Finding::NeighbourLost));
    }
}
