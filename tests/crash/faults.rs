//! The storage fails at every one of the calls that a broker makes, once and from then on: every error is
//! typed, nothing acknowledged is lost, nothing else appears, and the broker works again when the storage
//! does.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ottla::storage::MemoryStorage;
use ottla::{Broker, Error, PartitionFault, Raw, TopicPartition};

use crate::hooked::{Action, Faults, Hook, Hooked, Kind, Op};
use crate::image::Image;
use crate::script::Script;
use crate::support::{
    Checked, DIR, Files, Finding, TOPIC, Way, check_all, contents, ensure, open, partition_dir, reopen,
    segment, send, sent, small_segments, storage_with, value,
};

/// The number of calls without a fault.
fn count_calls(play: impl Fn(&mut Script)) -> usize {
    let mut script = Script::new(&[], Kind::Eio);
    play(&mut script);
    let calls = script.storage.hook.calls();
    assert_eq!(script.errors, 0, "without faults there are no errors");
    script.check_running();
    script.check_works_again();
    assert_eq!(script.check_reopened(), Ok(()));
    calls
}

fn play_with_faults(windows: &[Range<usize>], kind: Kind) -> Checked {
    let mut script = Script::new(windows, kind);
    script.play();
    script.check_running();
    script.check_works_again();
    script.check_running();
    script.check_reopened()
}

/// Fails every call of the script once, and every call from there on.
fn fail_every_call(kinds: &[Kind], persistent: bool) {
    let calls = count_calls(Script::play);
    assert!(calls > 150, "the script makes only {calls} calls");
    let cases = kinds.iter().flat_map(|&kind| {
        (0..calls).map(move |call| {
            let end = if persistent { usize::MAX } else { call + 1 };
            (format!("{kind:?}, calls {:?}", call..end), (call..end, kind))
        })
    });
    check_all(cases, |(window, kind)| play_with_faults(std::slice::from_ref(window), *kind));
}

#[test]
fn any_call_may_fail_once_with_an_input_output_error() {
    fail_every_call(&[Kind::Eio, Kind::Denied, Kind::Interrupted], false);
}

#[test]
fn any_call_may_fail_once_because_the_disk_is_full() {
    fail_every_call(&[Kind::Full], false);
}

#[test]
fn any_write_may_be_cut_short_once() {
    fail_every_call(&[Kind::HalfThenEio, Kind::HalfThenFull, Kind::WriteZero], false);
}

#[test]
fn all_calls_may_fail_from_any_one_on() {
    // A call that is interrupted for ever is tried for ever.
    fail_every_call(&[Kind::Eio, Kind::HalfThenFull, Kind::WriteZero], true);
}

#[test]
fn some_calls_in_a_row_may_fail() {
    let calls = count_calls(Script::play);
    let cases = (0..calls)
        .flat_map(|call| [2, 4, 15].map(|len| (format!("calls {:?}", call..call + len), call..call + len)));
    check_all(cases, |window| play_with_faults(std::slice::from_ref(window), Kind::HalfThenFull));
}

#[test]
fn any_two_calls_may_fail() {
    let calls = count_calls(Script::play);
    let cases = (0..calls).flat_map(|first| {
        let second = first + 1 + first * 7 % 11;
        let third = second + 1 + first % 3;
        let windows = [first..first + 1, second..second + 1, third..third + 1];
        [2, 3].map(|count| (format!("calls {:?}", &windows[..count]), windows[..count].to_vec()))
    });
    check_all(cases, |windows| play_with_faults(windows, Kind::Eio));
}

#[test]
fn a_close_that_fails_says_so_and_loses_nothing() {
    let before = count_calls(Script::play);
    let calls = count_calls(|script| {
        script.play();
        script.close();
    });
    assert!(calls >= before + 3, "closing makes only {} calls", calls - before);
    let cases = (before..calls)
        .flat_map(|call| [call + 1, usize::MAX].map(|end| (format!("calls {:?}", call..end), call..end)));
    check_all(cases, |window| {
        let mut script = Script::new(std::slice::from_ref(window), Kind::Eio);
        script.play();
        script.close();
        // The flusher writes by itself that the group has no members, so the number of calls varies by one.
        // What cannot be synced is written to another file, if that is possible.
        let is_hit = !script.storage.hook.hits().is_empty();
        ensure(is_hit || window.start + 1 >= calls, || "no call failed".to_owned())?;
        let least = usize::from(is_hit && window.end == usize::MAX);
        ensure((least..=2).contains(&script.errors), || format!("{} errors", script.errors))?;
        let retried = script.storage.hook.retried_syncs();
        ensure(retried.is_empty(), || format!("synced again after a failure: {retried:?}"))?;
        let is_clean = script.errors == 0;
        script.check_reopened()?;
        let verified = Broker::verify_in(script.storage.plain().clone(), DIR)?;
        let is_synced = verified.partitions.iter().all(|each| each.synced_offset == each.end_offset);
        ensure(verified.is_clean() && (is_synced || !is_clean), || format!("{verified:?}"))
    });
}

/// Opens `files` with faults, then without: everything must be there in the end.
fn open_with_faults(image: &Image, files: &Files, kind: Kind, persistent: bool) -> usize {
    let calls = {
        let storage = Hooked::new(storage_with(files), Faults::default());
        storage.hook.count();
        drop(reopen(&storage));
        storage.hook.calls()
    };
    let cases = (0..calls).map(|call| (format!("{kind:?} at call {call}"), call));
    check_all(cases, |&call| {
        let storage = Hooked::new(storage_with(files), Faults::default());
        storage.hook.arm_window(call..if persistent { usize::MAX } else { call + 1 }, kind);
        match open(&storage) {
            Ok(_) | Err(Error::Io { .. } | Error::StorageFull { .. }) => {}
            Err(error) => return Err(Finding(format!("the error is {error:?}"))),
        }
        storage.hook.disarm();
        let broker = open(&storage).map_err(|error| Finding(format!("then: {error}")))?;
        let seen = contents(&broker, TOPIC, 0).map_err(|error| Finding(format!("then: {error}")))?;
        ensure(seen == image.values, || format!("{} records are served", seen.len()))?;
        sent(&broker, TOPIC, 0, &value(0, 3_000));
        drop(broker);
        ensure(reopen(&storage).recovery_report().is_clean(), || "it was mended twice".to_owned())
    })
}

#[test]
fn opening_may_fail_at_any_call_and_be_tried_again() {
    let image = Image::of(&[&[1_500], &[1_500], &[1_500], &[20, 30], &[40]]);
    let last = image.segments().pop().expect("there are segments");
    let torn = image.with(&last, |bytes| bytes.extend([1; 30]));
    let mut with_stub = image.files.clone();
    with_stub.insert(segment(TOPIC, 0, image.values.len()), vec![0; 20]);
    let mut calls = 0;
    for files in [&image.files, &torn, &with_stub] {
        for kind in Kind::ALL {
            calls += open_with_faults(&image, files, kind, false);
        }
        calls += open_with_faults(&image, files, Kind::HalfThenEio, true);
    }
    assert!(calls > 300, "only {calls} calls");
}

#[test]
fn reading_may_fail_at_any_call_and_goes_on_where_it_was() {
    let image = Image::of(&[&[1_500][..]; 12]);
    let storage = Hooked::new(storage_with(&image.files), Faults::default());
    let broker = reopen(&storage);
    storage.hook.count();
    assert_eq!(contents(&broker, TOPIC, 0).expect("no fault"), image.values);
    let calls = storage.hook.calls();
    assert!(calls >= 6, "reading makes only {calls} calls");
    let cases = Kind::ALL
        .iter()
        .flat_map(|&kind| (0..calls).map(move |call| (format!("{kind:?} at call {call}"), (call, kind))));
    check_all(cases, |&(call, kind)| {
        storage.hook.arm_window(call..call + 1, kind);
        let consumer = broker.consumer::<Raw, Raw>().assign(TOPIC, [0]).build();
        let mut consumer = consumer?;
        let (mut values, mut errors) = (Vec::new(), 0);
        loop {
            match consumer.poll(Duration::ZERO) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => values.extend(records.iter().map(|r| r.value_bytes().map(<[u8]>::to_vec))),
                Err(Error::Io { path, .. } | Error::StorageFull { path, .. })
                    if path.starts_with("/data") =>
                {
                    errors += 1;
                }
                Err(error) => return Err(Finding(format!("the error is {error:?}"))),
            }
        }
        let expected = match kind {
            Kind::Interrupted => 0..=0,
            // Half of a read is no error, and there is no half of an opening.
            Kind::HalfThenEio | Kind::HalfThenFull => 0..=1,
            _ => 1..=1,
        };
        ensure(expected.contains(&errors), || format!("{errors} errors"))?;
        let right: Vec<_> = image.values.iter().cloned().map(Some).collect();
        ensure(values == right, || format!("{} records were read", values.len()))
    });
}

/// Fails the syncs of files of one partition, whoever asks for them: of its first file when it is told to, or
/// of all while it is told to.
#[derive(Debug, Default)]
struct SyncFaults {
    /// How many syncs of the first file are to fail.
    of_first: AtomicUsize,
    all: AtomicBool,
    failed: AtomicUsize,
    succeeded_later: AtomicUsize,
    failed_files: Mutex<BTreeSet<u64>>,
}

impl Hook for SyncFaults {
    fn before(&self, op: Op, path: &Path, file: Option<u64>) -> Action {
        if op != Op::Sync || !path.starts_with(partition_dir(TOPIC, 0)) {
            return Action::Go;
        }
        let mut failed_files = self.failed_files.lock().expect("no panic");
        let is_first = path == segment(TOPIC, 0, 0) && self.of_first.swap(0, Ordering::SeqCst) > 0;
        if is_first || self.all.load(Ordering::SeqCst) {
            failed_files.extend(file);
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Action::Fail(std::io::Error::other("input/output error"));
        }
        if file.is_some_and(|file| failed_files.contains(&file)) {
            self.succeeded_later.fetch_add(1, Ordering::SeqCst);
        }
        Action::Go
    }
}

type Failing = Hooked<MemoryStorage, SyncFaults>;

fn failing_broker() -> (Failing, Broker) {
    let storage = Hooked::new(MemoryStorage::default(), SyncFaults::default());
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    (storage, broker)
}

fn flush(broker: &Broker) -> ottla::Result<()> {
    broker.producer::<Raw, Raw>(TOPIC)?.flush()
}

/// All is well, without a restart and after one, and nobody synced a file again.
#[expect(clippy::needless_pass_by_value, reason = "it ends with this")]
fn check_mended(storage: &Failing, broker: Broker, mut acknowledged: Vec<Vec<u8>>) {
    assert!(broker.health().is_good(), "{:?}", broker.health());
    assert_eq!(sent(&broker, TOPIC, 0, b"more"), acknowledged.len() as u64);
    acknowledged.push(b"more".to_vec());
    assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), acknowledged);
    broker.close().expect("it can be synced");
    assert_eq!(storage.hook.succeeded_later.load(Ordering::SeqCst), 0, "a file was synced again");
    let broker = Way::Verifying.open(storage).expect("it opens");
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), acknowledged);
}

#[test]
fn what_a_failed_flush_may_have_lost_is_written_to_another_file() {
    let (storage, broker) = failing_broker();
    storage.hook.of_first.store(1, Ordering::SeqCst);
    sent(&broker, TOPIC, 0, b"first");
    flush(&broker).expect("it is in another file");
    assert_eq!(storage.hook.failed.load(Ordering::SeqCst), 1);
    check_mended(&storage, broker, vec![b"first".to_vec()]);
}

#[test]
fn what_a_sync_in_the_background_may_have_lost_is_written_to_another_file() {
    let (storage, broker) = failing_broker();
    storage.hook.of_first.store(1, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while storage.hook.failed.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody syncs");
        acknowledged.push(value(acknowledged.len(), 300));
        sent(&broker, TOPIC, 0, acknowledged.last().expect("one"));
    }
    flush(&broker).expect("it is in another file");
    check_mended(&storage, broker, acknowledged);
}

/// Nothing can be synced for a while: sends are refused, reading works, and all is well when the disk is.
#[test]
fn a_partition_that_cannot_be_synced_takes_records_again_by_itself_when_it_can() {
    for by_flush in [true, false] {
        let (storage, broker) = failing_broker();
        sent(&broker, TOPIC, 0, b"first");
        storage.hook.all.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let refused = flush(&broker);
            assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
            let refused = send(&broker, TOPIC, 0, b"refused");
            assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
        }
        let faults = broker.health().partitions;
        let is_named = matches!(&faults[..], [PartitionFault { partition, error: Error::PartitionFailed { .. }, .. }]
            if *partition == TopicPartition::new(TOPIC, 0));
        assert!(is_named, "{faults:?}");
        assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), [b"first"]);
        storage.hook.all.store(false, Ordering::SeqCst);
        if by_flush {
            flush(&broker).expect("it is tried at once");
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while !broker.health().is_good() {
            assert!(Instant::now() < deadline, "it is not tried again");
            std::thread::sleep(Duration::from_millis(1));
        }
        check_mended(&storage, broker, vec![b"first".to_vec()]);
    }
}

#[test]
fn a_close_that_can_sync_nothing_says_so_and_what_is_in_the_files_is_there() {
    let (storage, broker) = failing_broker();
    sent(&broker, TOPIC, 0, b"first");
    storage.hook.all.store(true, Ordering::SeqCst);
    let refused = broker.close();
    assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
    storage.hook.all.store(false, Ordering::SeqCst);
    drop(broker);
    assert_eq!(storage.hook.succeeded_later.load(Ordering::SeqCst), 0, "a file was synced again");
    let broker = reopen(&storage);
    assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
    assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), [b"first"]);
    assert_eq!(sent(&broker, TOPIC, 0, b"more"), 1);
}

#[test]
fn a_failed_partition_does_not_stop_the_others() {
    let (storage, broker) = failing_broker();
    broker.create_topic("payments", small_segments(1)).expect("it is new");
    sent(&broker, TOPIC, 0, b"first");
    storage.hook.all.store(true, Ordering::SeqCst);
    assert!(flush(&broker).is_err(), "nothing can be synced");
    sent(&broker, "payments", 0, b"other");
    broker.producer::<Raw, Raw>("payments").expect("the topic is there").flush().expect("all is well");
    broker.delete_topic(TOPIC).expect("a failed topic can be deleted");
    assert!(broker.health().is_good(), "what is gone is no fault");
    storage.hook.all.store(false, Ordering::SeqCst);
    broker.create_topic(TOPIC, small_segments(1)).expect("its name is free");
    assert_eq!(sent(&broker, TOPIC, 0, b"anew"), 0);
    drop(broker);
    let broker = reopen(&storage);
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), [b"anew"]);
    assert_eq!(contents(&broker, "payments", 0).expect("it can be read"), [b"other"]);
}
