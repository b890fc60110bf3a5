//! Opens a directory and looks at everything in it that a user can see.

use std::time::Duration;

use ottla::storage::Storage;
use ottla::{Broker, Error, Raw, RecoveryPolicy};

use super::image::{COMMITS, DIR, GROUP, LOGS, number_of, place};
use super::oracle::{Seen, SeenLog};
use super::storage::Machine;
use crate::common::outcome::{Failure, Finding};
use crate::common::sent::Sent;

/// How a directory is opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    pub(super) policy: RecoveryPolicy,
    pub(super) verify: bool,
}

/// The broker of a directory; `None` if it was refused as damaged, or as of a later version.
pub(super) fn open(machine: &Machine, opening: Opening) -> Result<Option<Broker>, Failure> {
    // By the clock with which the files were written, what was committed is long out of use.
    let builder = Broker::builder().data_dir(DIR).storage(machine.clone()).offsets_retention(Duration::MAX);
    let builder = builder.recovery_policy(opening.policy).verify_on_open(opening.verify);
    // Nothing is synced while somebody looks.
    match builder.sync_interval(Duration::from_secs(3_600)).open() {
        Ok(broker) => Ok(Some(broker)),
        Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => Ok(None),
        Err(error) => Err(Failure::new(Finding::WrongError, format!("open: {error}"))),
    }
}

/// For each log whether `verify` finds anything; `None` if it refuses the directory.
pub(super) fn verify(machine: &Machine) -> Result<Option<Vec<bool>>, Failure> {
    let report = match Broker::verify_in(machine.clone(), DIR) {
        Ok(report) => report,
        Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => return Ok(None),
        Err(error) => return Err(Failure::new(Finding::WrongError, format!("verify: {error}"))),
    };
    let mut wrong = vec![false; COMMITS + 1];
    for found in &report.partitions {
        if let Some(number) = number_of(&found.partition) {
            wrong[number] = found.torn_tail.is_some() || !found.damage.is_empty();
        }
    }
    Ok(Some(wrong))
}

/// Everything that it serves and says.
pub(super) fn look(broker: &Broker) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    for number in 0..LOGS.len() {
        seen.logs.push(read(broker, number)?);
    }
    let report = broker.recovery_report();
    for damage in &report.damaged {
        let lost = (damage.first_offset, damage.next_offset);
        seen.damaged.extend(number_of(&damage.partition).map(|number| (number, lost)));
    }
    let torn = report.torn_tails.iter();
    seen.torn.extend(torn.filter_map(|tail| Some((number_of(&tail.partition)?, tail.end_offset))));
    let lowered = report.lowered_commits.iter();
    seen.lowered
        .extend(lowered.filter_map(|commit| Some((number_of(&commit.partition)?, commit.lowered_to))));
    let committed = broker.committed_offsets(GROUP);
    let of = |number| committed.get(&place(number)).map(|committed| committed.offset);
    seen.committed = (0..LOGS.len()).map(of).collect();
    Ok(seen)
}

/// Reads a log from its beginning; goes on behind what is damaged.
pub(super) fn read(broker: &Broker, number: usize) -> Result<SeenLog, Failure> {
    let (topic, partition) = LOGS[number];
    let failed = |error: Error| Failure::new(Finding::WrongError, format!("read {}: {error}", place(number)));
    let mut consumer = broker.consumer::<Raw, Raw>().assign(topic, [partition]).build().map_err(failed)?;
    let end = consumer.end_offsets().get(&place(number)).copied().unwrap_or_default();
    let mut log = SeenLog { end, ..SeenLog::default() };
    loop {
        match consumer.poll(Duration::ZERO) {
            Ok(records) if records.is_empty() => return Ok(log),
            Ok(records) => {
                log.served.extend(records.iter().map(|record| (record.offset(), Sent::of(&record))));
            }
            Err(Error::RecordsDamaged { first_offset, next_offset, .. }) => {
                log.told.push((first_offset, next_offset));
                let Some(next) = next_offset else { return Ok(log) };
                if next <= consumer.position(topic, partition).map_err(failed)? {
                    let what = format!("{} is damaged, and goes on at {next}, not behind", place(number));
                    return Err(Failure::new(Finding::WrongReport, what));
                }
                consumer.seek(topic, partition, next).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What was sent where, if the log takes records.
pub(super) type Taken = Vec<(usize, Option<(u64, Sent)>)>;

/// Sends a record to each log; `None` where it is fenced.
pub(super) fn send_to_all(broker: &Broker) -> Result<Taken, Failure> {
    let mut taken = Taken::new();
    for (number, (topic, partition)) in LOGS.into_iter().enumerate() {
        let failed = |error| Failure::new(Finding::WrongError, format!("send to {}: {error}", place(number)));
        let producer = broker.producer::<Raw, Raw>(topic).map_err(failed)?;
        let value = format!("behind the damage in {}", place(number)).into_bytes();
        let sent = Sent { key: None, value: Some(value), headers: Vec::new(), timestamp: 1 };
        match sent.build(&producer, partition).send() {
            Ok(at) => taken.push((number, Some((at.offset, sent)))),
            Err(Error::PartitionFenced { .. }) => taken.push((number, None)),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(taken)
}

/// Whether the directory of a machine holds just these files.
pub(super) fn unchanged(machine: &Machine, files: &super::storage::Files, what: &str) -> Result<(), Failure> {
    let found = machine.files(DIR.as_ref()).map_err(|error| Failure::harness("read the files", error))?;
    let is_same = |path: &&std::path::PathBuf| files.get(*path) == found.get(*path);
    match files.keys().chain(found.keys()).find(|path| !is_same(path)) {
        None => Ok(()),
        Some(path) => Err(Failure::new(Finding::Touched, format!("{what} has changed {}", path.display()))),
    }
}

/// Whether no file of a log was changed.
pub(super) fn log_unchanged(
    machine: &Machine,
    files: &super::storage::Files,
    dir: &std::path::Path,
) -> Result<(), Failure> {
    let found = match machine.list(dir) {
        Ok(_) => machine.files(dir).map_err(|error| Failure::harness("read the files", error))?,
        Err(_) => super::storage::Files::new(),
    };
    let before = files.iter().filter(|(path, _)| path.starts_with(dir));
    if before.eq(found.iter()) {
        return Ok(());
    }
    Err(Failure::new(
        Finding::Touched,
        format!("the files of {} were changed, and it is fenced", dir.display()),
    ))
}
