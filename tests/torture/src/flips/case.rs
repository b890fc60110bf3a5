//! One case: a damaged directory, opened in every way.

use std::path::Path;

use ottla::{Broker, RecoveryPolicy};

use super::Met;
use super::damage::{Damage, Kind};
use super::harmed::{Claim, Harmed};
use super::image::{DIR, Image, LOGS, place};
use super::look::{self, Opening, Taken};
use super::oracle::{How, Seen, check_verified, judge};
use super::storage::{Boot, Machine};
use crate::common::outcome::{Failure, Finding};
use crate::common::random::Random;
use crate::common::sent::Sent;

/// What a case is, for people.
pub(super) fn describe(image: &Image, damage: &Damage) -> String {
    let short = |path: &Path| path.strip_prefix(DIR).unwrap_or(path).display().to_string();
    let what = match damage {
        Damage::Prefix(path, len) => format!("the first {len} bytes of {}", short(path)),
        Damage::Flip(path, bit) => format!("bit {} of byte {} of {}", bit % 8, bit / 8, short(path)),
        Damage::Paste(path, at, bytes, _) => {
            let what = if bytes.iter().all(|byte| *byte == 0) { "zeros" } else { "other bytes" };
            format!("{} {what} at {at} of {}", bytes.len(), short(path))
        }
        Damage::Swap([(a, a_at), (b, b_at)], len) => {
            format!("{len} bytes swapped: {a_at} of {}, {b_at} of {}", short(a), short(b))
        }
        Damage::Missing(paths) => {
            format!("missing: {}", paths.iter().map(|path| short(path)).collect::<Vec<_>>().join(", "))
        }
        Damage::Renamed(from, to) => format!("{} renamed to {}", short(from), short(to)),
        Damage::Extra(path, bytes) => format!("a file {} of {} bytes", short(path), bytes.len()),
    };
    format!("{} directory, {what}", image.name)
}

pub(super) fn run(image: &Image, damage: &Damage, random: &mut Random, met: &mut Met) -> Result<(), Failure> {
    let Some(harmed) = damage.apply(image) else { return Ok(()) };
    met.note(damage.kind());
    let case = Case { harmed: &harmed };
    let is_rare = matches!(damage.kind(), Kind::Block | Kind::File);
    let mut sometimes = |n| random.one_in(if is_rare { n / 8 } else { n });
    let (verifies_on_open, goes_on_if_torn) = (sometimes(8), sometimes(8));
    let goes_on = if sometimes(48) {
        GoesOn::Always
    } else if goes_on_if_torn {
        GoesOn::IfTorn
    } else {
        GoesOn::No
    };
    let (lives, truncates, skips) = (sometimes(32), sometimes(64), sometimes(64));
    case.verify_and_open(goes_on, met)?;
    case.open_elsewhere(verifies_on_open, goes_on, met)?;
    if lives {
        case.live(met).map_err(within("harmed under an open broker"))?;
    }
    for (policy, how, is_due) in
        [(RecoveryPolicy::Truncate, How::Truncate, truncates), (RecoveryPolicy::Skip, How::Skip, skips)]
    {
        if is_due {
            case.with_policy(policy, how, met).map_err(within(&format!("{policy:?}")))?;
        }
    }
    Ok(())
}

fn within(place: &str) -> impl Fn(Failure) -> Failure {
    move |mut failure| {
        failure.detail = format!("{place}: {}", failure.detail);
        failure
    }
}

/// Whether records are sent to the directory that was opened, and it is opened once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GoesOn {
    Always,
    IfTorn,
    No,
}

struct Case<'a> {
    harmed: &'a Harmed<'a>,
}

impl Case<'_> {
    fn machine(&self, boot: Boot) -> Result<Machine, Failure> {
        Machine::with(&self.harmed.files, boot).map_err(|error| Failure::harness("make the files", error))
    }

    fn verify_and_open(&self, goes_on: GoesOn, met: &mut Met) -> Result<(), Failure> {
        let machine = self.machine(Boot::Same)?;
        let verified = look::verify(&machine)?;
        look::unchanged(&machine, &self.harmed.files, "verify")?;
        let Some(seen) = self.open(&machine, Opening::default(), Boot::Same, goes_on, met)? else {
            met.refused += 1;
            return match verified {
                None => Ok(()),
                Some(_) => Err(Failure::new(Finding::WrongReport, "open refuses what verify does not")),
            };
        };
        match verified {
            None => Err(Failure::new(Finding::WrongReport, "verify refuses what open does not")),
            Some(wrong) => check_verified(self.harmed, &wrong, &seen),
        }
    }

    fn open_elsewhere(&self, verify: bool, goes_on: GoesOn, met: &mut Met) -> Result<(), Failure> {
        let machine = self.machine(Boot::Another)?;
        let opening = Opening { verify, ..Opening::default() };
        let opened = self.open(&machine, opening, Boot::Another, goes_on, met);
        opened.map(drop).map_err(within(if verify { "restarted, verify_on_open" } else { "restarted" }))
    }

    /// Opens it as usual; `None` if it is refused.
    fn open(
        &self,
        machine: &Machine,
        opening: Opening,
        boot: Boot,
        goes_on: GoesOn,
        met: &mut Met,
    ) -> Result<Option<Seen>, Failure> {
        let how = How::Strict(boot);
        let Some(broker) = look::open(machine, opening)? else {
            return self.refused(machine).map(|()| None);
        };
        let seen = look::look(&broker)?;
        judge(self.harmed, &seen, how)?;
        self.check_fences(&broker, machine, &seen)?;
        met.torn += seen.torn.len() as u64;
        met.fenced += u64::from(!seen.damaged.is_empty());
        met.told += seen.logs.iter().map(|log| log.told.len() as u64).sum::<u64>();
        if goes_on == GoesOn::Always || goes_on == GoesOn::IfTorn && !seen.torn.is_empty() {
            self.go_on(&broker, machine, opening, &seen, met).map_err(within("after it took records"))?;
        }
        Ok(Some(seen))
    }

    /// Only the catalog, or a later version, is reason enough to refuse a directory; then nothing is changed.
    fn refused(&self, machine: &Machine) -> Result<(), Failure> {
        look::unchanged(machine, &self.harmed.files, "an open that was refused")?;
        if self.harmed.is_changed("catalog") || self.harmed.has_later_version() {
            return Ok(());
        }
        Err(Failure::new(Finding::NeighbourLost, "the directory is refused, but its catalog is whole"))
    }

    /// Logs that are reported damaged take no records, and their files stay as they are.
    fn check_fences(&self, broker: &Broker, machine: &Machine, seen: &Seen) -> Result<(), Failure> {
        let fenced = broker.health().partitions;
        for (number, (log, dir)) in
            LOGS.iter().zip(self.harmed.image.logs.iter().map(|log| &log.dir)).enumerate()
        {
            let is_damaged = seen.damaged.iter().any(|(damaged, _)| *damaged == number);
            let is_fenced = fenced.iter().any(|fault| fault.partition == place(number));
            if is_damaged != is_fenced {
                let what = format!("{log:?}: damaged is {is_damaged}, fenced is {is_fenced}");
                return Err(Failure::new(Finding::WrongReport, what));
            }
            if is_fenced {
                look::log_unchanged(machine, &self.harmed.files, dir)?;
            }
        }
        Ok(())
    }

    /// Logs that are not fenced take records, which are there when it is opened again, with all that was.
    fn go_on(
        &self,
        broker: &Broker,
        machine: &Machine,
        opening: Opening,
        seen: &Seen,
        met: &mut Met,
    ) -> Result<(), Failure> {
        met.reopened += 1;
        let taken = look::send_to_all(broker)?;
        let may_be_fenced =
            |number: usize| opening.policy != RecoveryPolicy::Skip && self.harmed.is_victim(number);
        if let Some((number, _)) = taken.iter().find(|(number, at)| at.is_none() && !may_be_fenced(*number)) {
            return Err(Failure::new(Finding::NeighbourLost, format!("{} takes no records", place(*number))));
        }
        broker.close().map_err(|error| Failure::new(Finding::WrongError, format!("close: {error}")))?;
        let Some(again) = look::open(machine, opening)? else {
            return Err(Failure::new(Finding::WrongError, "it is refused now"));
        };
        let torn = again.recovery_report().torn_tails.first();
        if let Some(torn) = torn {
            return Err(Failure::new(Finding::WrongReport, format!("it was closed, and is torn: {torn:?}")));
        }
        (0..LOGS.len()).try_for_each(|number| check_again(&again, number, seen, &taken, self.harmed.claim))
    }

    /// The harm is done while a broker has the directory open.
    fn live(&self, met: &mut Met) -> Result<(), Failure> {
        let before = &self.harmed.image.files;
        if !before.keys().eq(self.harmed.files.keys()) {
            return Ok(());
        }
        met.live += 1;
        let failed = |error| Failure::harness("change a file", error);
        let machine = Machine::with(before, Boot::Same).map_err(failed)?;
        let Some(broker) = look::open(&machine, Opening::default())? else {
            return Err(Failure::harness("open it", "it is refused before any harm was done"));
        };
        for (path, bytes) in self.harmed.files.iter().filter(|(path, bytes)| before[*path] != **bytes) {
            machine.change(path, bytes).map_err(failed)?;
        }
        judge(self.harmed, &look::look(&broker)?, How::Live)
    }

    fn with_policy(&self, policy: RecoveryPolicy, how: How, met: &mut Met) -> Result<(), Failure> {
        met.policies += 1;
        let machine = self.machine(Boot::Another)?;
        let opening = Opening { policy, verify: false };
        let Some(broker) = look::open(&machine, opening)? else { return self.refused(&machine) };
        let seen = look::look(&broker)?;
        judge(self.harmed, &seen, how)?;
        self.go_on(&broker, &machine, opening, &seen, met).map_err(within("after it took records"))
    }
}

/// A log serves what it served before, and what it took since.
fn check_again(
    broker: &Broker,
    number: usize,
    seen: &Seen,
    taken: &Taken,
    claim: Claim,
) -> Result<(), Failure> {
    let mut expected: Vec<(u64, Sent)> = seen.logs[number].served.clone();
    if let Some((_, Some((offset, sent)))) = taken.iter().find(|(log, _)| *log == number) {
        if *offset < seen.logs[number].end {
            let what = format!(
                "{} gave offset {offset} twice: it ended with {}",
                place(number),
                seen.logs[number].end
            );
            return Err(Failure::new(Finding::Duplicated, what));
        }
        expected.push((*offset, sent.clone()));
    }
    let found = look::read(broker, number)?.served;
    // Of good frames that contradict each other, others may count when there are more.
    let has_new = expected.last() == found.last() && found.iter().all(|record| expected.contains(record));
    if found == expected || claim == Claim::AsMany && has_new {
        return Ok(());
    }
    let offsets = |records: &[(u64, Sent)]| records.iter().map(|(offset, _)| *offset).collect::<Vec<u64>>();
    let (found, expected) = (offsets(&found), offsets(&expected));
    let what = format!("{} serves {found:?}, not {expected:?}, which it had", place(number));
    Err(Failure::new(Finding::Lost, what))
}
