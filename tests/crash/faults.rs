//! The storage fails at every one of the calls that a broker makes, once and from then on: every error is
//! typed, nothing acknowledged is lost, nothing else appears, and the broker works again when the storage
//! does.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ottla::storage::MemoryStorage;
use ottla::{Broker, Error, Raw};

use crate::hooked::{Action, Faults, Hook, Hooked, Kind, Op};
use crate::image::Image;
use crate::script::Script;
use crate::support::{
    Checked, Files, Finding, TOPIC, check_all, contents, ensure, open, reopen, segment, send, sent,
    small_segments, storage_with, value,
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
        ensure(script.errors == 1, || format!("{} errors", script.errors))?;
        script.check_reopened()
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
        let harmless = matches!(kind, Kind::Interrupted | Kind::HalfThenEio | Kind::HalfThenFull);
        ensure(errors == usize::from(!harmless), || format!("{errors} errors"))?;
        let right: Vec<_> = image.values.iter().cloned().map(Some).collect();
        ensure(values == right, || format!("{} records were read", values.len()))
    });
}

/// Fails the syncs of one file, whoever asks for them, as often as it is told to.
#[derive(Debug, Default)]
struct SyncFaults {
    broken: AtomicBool,
    failed: AtomicUsize,
    succeeded_later: AtomicUsize,
}

impl Hook for SyncFaults {
    fn before(&self, op: Op, path: &Path, _file: Option<u64>) -> Action {
        if op != Op::Sync || path != segment(TOPIC, 0, 0) {
            return Action::Go;
        }
        if self.broken.swap(false, Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Action::Fail(std::io::Error::other("input/output error"));
        }
        self.succeeded_later.fetch_add(self.failed.load(Ordering::SeqCst), Ordering::SeqCst);
        Action::Go
    }
}

fn broker_with_failing_syncs() -> (Hooked<MemoryStorage, SyncFaults>, Broker) {
    let storage = Hooked::new(MemoryStorage::default(), SyncFaults::default());
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    storage.hook.broken.store(true, Ordering::SeqCst);
    (storage, broker)
}

/// After a failed sync: reading works, sending and flushing do not, and nobody syncs again.
fn check_failed_for_good(
    storage: &Hooked<MemoryStorage, SyncFaults>,
    broker: &Broker,
    acknowledged: &[Vec<u8>],
) {
    let producer = broker.producer::<Raw, Raw>(TOPIC).expect("the topic is there");
    for _ in 0..3 {
        let refused = send(broker, TOPIC, 0, b"more");
        assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
        let refused = producer.flush();
        assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
    }
    assert_eq!(contents(broker, TOPIC, 0).expect("reading works"), acknowledged);
    let refused = broker.close();
    assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
    assert_eq!(storage.hook.succeeded_later.load(Ordering::SeqCst), 0, "the sync was tried again");
    let broker = reopen(storage);
    assert_eq!(contents(&broker, TOPIC, 0).expect("reading works"), acknowledged);
    sent(&broker, TOPIC, 0, b"more");
}

#[test]
fn a_failed_flush_is_final_for_the_partition() {
    let (storage, broker) = broker_with_failing_syncs();
    sent(&broker, TOPIC, 0, b"first");
    let refused = broker.producer::<Raw, Raw>(TOPIC).expect("the topic is there").flush();
    assert!(matches!(refused, Err(Error::PartitionFailed { .. })), "{refused:?}");
    check_failed_for_good(&storage, &broker, &[b"first".to_vec()]);
}

#[test]
fn a_sync_that_fails_in_the_background_is_final_for_the_partition() {
    let (storage, broker) = broker_with_failing_syncs();
    sent(&broker, TOPIC, 0, b"first");
    let deadline = Instant::now() + Duration::from_secs(10);
    while storage.hook.failed.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "nobody syncs");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The fault is noted a moment after the call returned.
    let mut acknowledged = vec![b"first".to_vec()];
    while send(&broker, TOPIC, 0, b"while it fails").is_ok() {
        acknowledged.push(b"while it fails".to_vec());
        assert!(Instant::now() < deadline, "the fault is forgotten");
    }
    check_failed_for_good(&storage, &broker, &acknowledged);
}

#[test]
fn a_failed_partition_does_not_stop_the_others() {
    let (storage, broker) = broker_with_failing_syncs();
    broker.create_topic("payments", small_segments(1)).expect("it is new");
    sent(&broker, TOPIC, 0, b"first");
    let refused = broker.producer::<Raw, Raw>(TOPIC).expect("the topic is there").flush();
    assert!(refused.is_err(), "the sync failed");
    sent(&broker, "payments", 0, b"other");
    broker.producer::<Raw, Raw>("payments").expect("the topic is there").flush().expect("all is well");
    broker.delete_topic(TOPIC).expect("a failed topic can be deleted");
    broker.create_topic(TOPIC, small_segments(1)).expect("its name is free");
    assert_eq!(sent(&broker, TOPIC, 0, b"anew"), 0);
    drop(broker);
    let broker = reopen(&storage);
    assert_eq!(contents(&broker, TOPIC, 0).expect("it can be read"), [b"anew"]);
    assert_eq!(contents(&broker, "payments", 0).expect("it can be read"), [b"other"]);
}
