//! The checkpoint: what it says need not be read again, and what is missing of it is damage. Without it, or with
//! one that is damaged or of an earlier time, nothing is lost but time.

use std::path::Path;
use std::time::{Duration, Instant};

use ottla::Broker;
use ottla::storage::MemoryStorage;

use crate::hooked::{Action, Hook, Hooked, Op};
use crate::image::Image;
use crate::judgement::Verdict;
use crate::lossy::Lossy;
use crate::support::{
    Checked, DIR, Files, Random, TOPIC, Way, check_all, checkpoint_path, contents, ensure, files_below,
    in_other_boot, open, read_through, reopen, segment, send, sent, small_segments, storage_with, value,
    without_checkpoint,
};

fn image() -> Image {
    Image::of(&[&[1_500], &[1_500], &[1_500], &[20, 30], &[40]])
}

fn scanned(files: &Files, way: Way) -> u64 {
    way.open(&storage_with(files)).expect("it opens").recovery_report().scanned_bytes
}

#[test]
fn what_was_synced_when_a_broker_was_closed_is_not_read_again_unless_that_is_asked_for() {
    let image = image();
    let of_records: usize = image.frames.iter().map(|frame| frame.bytes.len()).sum();
    for files in [image.files.clone(), in_other_boot(&image.files)] {
        assert_eq!((scanned(&files, Way::Default), scanned(&files, Way::ReadOnly)), (0, 0));
        assert!(scanned(&files, Way::Verifying) > of_records as u64);
    }
    assert!(scanned(&without_checkpoint(&image.files), Way::Default) > of_records as u64);
    let report = reopen(&storage_with(&image.files)).recovery_report().clone();
    // With the log of commits.
    assert_eq!((report.partitions, report.is_clean()), (3, true));
}

/// What came after the opening is read, and only that.
#[test]
fn what_was_synced_when_a_broker_was_opened_is_not_read_again_after_a_kill() {
    let storage = storage_with(&image().files);
    let broker = reopen(&storage);
    sent(&broker, TOPIC, 0, &value(0, 100));
    let killed = files_below(&storage, Path::new(DIR));
    // The record, and the sync mark ahead of it.
    assert_eq!(scanned(&killed, Way::Default), 48 + 144);
}

#[test]
fn a_checkpoint_that_is_damaged_says_nothing_and_costs_nothing() {
    let image = image();
    let len = image.files[&checkpoint_path()].len();
    let prefixes = (0..len)
        .map(|end| (format!("{end} bytes"), image.with(&checkpoint_path(), |bytes| bytes.truncate(end))));
    let flips =
        (0..len).map(|at| (format!("byte {at}"), image.with(&checkpoint_path(), |bytes| bytes[at] ^= 0x10)));
    let garbage = image.with(&checkpoint_path(), |bytes| bytes.iter_mut().for_each(|byte| *byte = 0xff));
    let cases = prefixes.chain(flips).chain([("garbage".to_owned(), garbage)]);
    check_all(cases, |files| {
        let storage = storage_with(files);
        let verified = Broker::verify_in(storage.clone(), DIR)?;
        ensure(verified.is_clean(), || format!("{verified:?}"))?;
        let broker = open(&storage)?;
        let report = broker.recovery_report();
        let is_told = report.damaged_checkpoint.as_ref().is_some_and(|fault| fault.contains("checkpoint"));
        let is_all = report.damaged.is_empty() && report.torn_tails.is_empty() && report.scanned_bytes > 0;
        ensure(is_told && is_all && !report.is_clean(), || format!("{report:?}"))?;
        ensure(contents(&broker, TOPIC, 0)? == image.values, || "records are missing".to_owned())?;
        drop(broker);
        let broker = open(&storage)?;
        ensure(broker.recovery_report().is_clean(), || "it was not written anew".to_owned())
    });
}

/// Without it, a log that was cut after it was closed looks as after a crash; with one of an earlier time, from
/// what that says on.
#[test]
fn what_is_missing_is_damage_as_far_as_the_checkpoint_goes() {
    let image = image();
    let last = image.segments().pop().expect("there are segments");
    let missing = image.frames.last().expect("there are records").bytes.start;
    let cut = image.with(&last, |bytes| bytes.truncate(missing + 10));
    let end = image.values.len() as u64;
    assert_eq!(image.judge(&cut), Ok(Verdict::Fenced(end - 1, None)));
    let unknowing = Image { synced: 0, ..image.clone() };
    assert_eq!(unknowing.judge(&without_checkpoint(&cut)), Ok(Verdict::Torn));
    // One of a time when there were fewer records is as true as it was.
    for (records, expected) in [(end - 1, Verdict::Torn), (end, Verdict::Fenced(end - 1, None))] {
        let mut files = cut.clone();
        files.insert(checkpoint_path(), checkpoint_of(&image, records));
        assert_eq!(unknowing.judge(&files), Ok(expected), "{records} records");
    }
}

/// The checkpoint, as it would be if partition 0 had had so many records.
fn checkpoint_of(image: &Image, records: u64) -> Vec<u8> {
    let text = String::from_utf8(image.files[&checkpoint_path()].clone()).expect("it is a text");
    let (lines, _) = text.rsplit_once("crc32").expect("it ends so");
    let header = &image.files[&segment(TOPIC, 0, 0)];
    let id = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
    let line = lines.lines().find(|line| line.contains(&format!("{id:016x}"))).expect("it is listed");
    let earlier = line.replacen(&format!(" end {} ", image.values.len()), &format!(" end {records} "), 1);
    // The place is a hint, which may be wrong.
    let (earlier, _) = earlier.rsplit_once(" position ").expect("it ends so");
    let lines = lines.replacen(line, &format!("{earlier} position 64"), 1);
    format!("{lines}crc32 {:08x}\n", crc32fast::hash(lines.as_bytes())).into_bytes()
}

/// Such as one from a backup, in front of logs that have grown and rolled since.
#[test]
fn a_checkpoint_of_an_earlier_time_is_as_good_as_it_was() {
    let storage = MemoryStorage::default();
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    broker.close().expect("it closes");
    let (mut values, mut checkpoints) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let broker = reopen(&storage);
        for number in 0..3 {
            values.push(value(round * 3 + number, 700));
            sent(&broker, TOPIC, 0, values.last().expect("one"));
        }
        broker.close().expect("it closes");
        checkpoints.push(files_below(&storage, Path::new(DIR))[&checkpoint_path()].clone());
    }
    let files = files_below(&storage, Path::new(DIR));
    for (round, checkpoint) in checkpoints.iter().enumerate() {
        let mut files = files.clone();
        files.insert(checkpoint_path(), checkpoint.clone());
        for files in [in_other_boot(&files), files] {
            let storage = storage_with(&files);
            let broker = reopen(&storage);
            assert!(broker.recovery_report().is_clean(), "{round}: {:?}", broker.recovery_report());
            assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), values);
            assert_eq!(sent(&broker, TOPIC, 0, b"more"), values.len() as u64);
        }
    }
}

/// There is no room for a new checkpoint.
#[derive(Debug)]
struct NoCheckpoint;

impl Hook for NoCheckpoint {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        let is_checkpoint = path.file_name().is_some_and(|name| name == "checkpoint.new");
        if op == Op::Create && is_checkpoint {
            return Action::Fail(std::io::ErrorKind::StorageFull.into());
        }
        Action::Go
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_told_and_costs_nothing() {
    let image = image();
    let storage = Hooked::new(storage_with(&image.files), NoCheckpoint);
    let broker = reopen(&storage);
    assert!(broker.recovery_report().unwritten_checkpoint.is_some(), "{:?}", broker.recovery_report());
    sent(&broker, TOPIC, 0, b"more");
    let told = broker.close();
    assert!(matches!(told, Err(ottla::Error::StorageFull { .. })), "{told:?}");
    let values = [image.values, vec![b"more".to_vec()]].concat();
    assert_eq!(contents(&reopen(storage.plain()), TOPIC, 0).expect("it can be read"), values);
}

/// The mark that the flusher writes behind its sync is not synced itself. What a checkpoint calls synced is, to
/// the last byte.
#[test]
fn a_checkpoint_calls_nothing_synced_that_a_power_loss_can_take() {
    check_all((0..60).map(|seed| (format!("{seed}"), seed)), |&seed| {
        let storage = Lossy::default();
        let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
        let broker = builder.sync_interval(Duration::from_millis(1)).open()?;
        broker.create_topic(TOPIC, small_segments(1))?;
        for number in 0..3 {
            send(&broker, TOPIC, 0, &value(number, 100))?;
        }
        wait_for_mark(&storage)?;
        let storage = storage.after_kill();
        let again = open(&storage)?;
        storage.cut_power();
        drop((broker, again));
        let storage = storage.after_power_loss(&mut Random(seed));
        let broker = open(&storage)?;
        let reading = read_through(&broker, TOPIC, 0)?;
        ensure(reading.records.len() == 3 && reading.lost.is_empty(), || format!("{:?}", reading.lost))?;
        drop(broker);
        let verified = Broker::verify_in(storage, DIR)?;
        ensure(verified.is_clean(), || format!("{verified:?}"))
    });
}

fn wait_for_mark(storage: &Lossy) -> Checked {
    let ends_with_mark = || {
        let bytes = &files_below(storage, Path::new(DIR))[&segment(TOPIC, 0, 0)];
        let last = &bytes[bytes.len() - 48..];
        last[4..8] == [48, 0, 0, 0] && last[38] == 1
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ends_with_mark() {
        ensure(Instant::now() < deadline, || "the flusher writes no mark".to_owned())?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What only the run of the machine tells from a torn tail is remembered when it was seen: it is not cut off later.
#[test]
fn a_partition_that_was_fenced_stays_fenced_when_the_machine_was_restarted() {
    let image = Image::killed(&[&[100][..]; 6]);
    let log = &image.segments()[0];
    let damaged = image.with(log, |bytes| bytes[image.frames[2].bytes.start + 50] ^= 1);
    let storage = storage_with(&damaged);
    let first = open(&storage).expect("it opens").recovery_report().damaged.clone();
    assert_eq!(first.iter().map(|damage| damage.first_offset).collect::<Vec<_>>(), [2]);
    let later = in_other_boot(&files_below(&storage, Path::new(DIR)));
    let broker = open(&storage_with(&later)).expect("it opens");
    let report = broker.recovery_report();
    let again: Vec<u64> = report.damaged.iter().map(|damage| damage.first_offset).collect();
    assert_eq!((again, report.torn_tails.len()), (vec![2], 0));
}
