//! `RecoveryPolicy::Truncate` and `Skip`: what becomes of each kind of damage, and of the log afterwards, by
//! whatever policy it is opened next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla::storage::MemoryStorage;
use ottla::{Broker, Damage, DamageAction, Raw, RecoveryPolicy, TopicPartition};

use crate::image::Image;
use crate::support::{
    Checked, DIR, Files, Finding, SEGMENT_HEADER_BYTES, TOPIC, Way, check_all, committed, contents, ensure,
    files_below, files_in, in_other_boot, partition_dir, read_through, send, storage_with, value,
    without_checkpoint,
};

const POLICIES: [RecoveryPolicy; 3] =
    [RecoveryPolicy::Strict, RecoveryPolicy::Truncate, RecoveryPolicy::Skip];
const NEW: &[u8] = b"behind the damage";

/// A kind of damage, by its name.
struct Kind {
    name: String,
    files: Files,
    /// Whether something is left when the log is cut off before the damage.
    can_be_cut: bool,
}

/// Some segments of three records each, but for the last, which has two; a batch among them.
fn image() -> Image {
    let image = Image::of(&[
        &[1_000],
        &[1_000],
        &[1_000],
        &[900, 900, 900],
        &[1_200],
        &[1_100],
        &[1_000],
        &[50],
        &[60],
    ]);
    assert_eq!(image.segments().len(), 3, "there are several segments");
    image
}

fn kinds(image: &Image) -> Vec<Kind> {
    let segments = image.segments();
    let [first, second, last] = &segments[..] else { panic!("three segments") };
    let without = |gone: &[&PathBuf]| {
        let mut files = image.files.clone();
        files.retain(|path, _| !gone.contains(&path));
        files
    };
    let flipped = |number: usize| {
        let place = &image.frames[number];
        image.with(&place.file, |bytes| bytes[place.bytes.start + 50] ^= 4)
    };
    let kind = |name: &str, files: Files, can_be_cut: bool| Kind { name: name.to_owned(), files, can_be_cut };
    let mut kinds = vec![
        kind("zeros over some records", image.with(second, |bytes| bytes[500..2_500].fill(0)), true),
        kind("a segment cut off", image.with(second, |bytes| bytes.truncate(1_500)), true),
        kind("the last segment cut off", image.with(last, |bytes| bytes.truncate(100)), true),
        kind("a header in the middle", image.with(second, |bytes| bytes[30] ^= 1), true),
        kind("the last header", image.with(last, |bytes| bytes[..SEGMENT_HEADER_BYTES].fill(0)), true),
        kind("the last segment emptied", image.with(last, Vec::clear), true),
        kind("no segment in the middle", without(&[second]), true),
        kind("no last segment", without(&[last]), true),
        kind("only the first segment", without(&[second, last]), true),
        kind("garbage behind the end", image.with(last, |bytes| bytes.extend(value(1, 300))), true),
        kind("the first header", image.with(first, |bytes| bytes[30] ^= 1), false),
        kind("no first segment", without(&[first]), false),
        kind("no segment at all", without(&[first, second, last]), false),
    ];
    let flips = (0..image.frames.len())
        .map(|number| kind(&format!("a bit of record {number}"), flipped(number), true));
    kinds.extend(flips);
    kinds
}

fn open_by(storage: &MemoryStorage, policy: RecoveryPolicy) -> ottla::Result<Broker> {
    Broker::builder().storage(storage.clone()).data_dir(DIR).recovery_policy(policy).open()
}

/// The damage, as it is without a policy.
fn damage_of(files: &Files) -> Checked<Vec<Damage>> {
    let verified = Broker::verify_in(storage_with(files), DIR)?;
    let ours = verified.partitions.into_iter().find(|each| each.partition == TopicPartition::new(TOPIC, 0));
    ours.map(|each| each.damage).ok_or_else(|| Finding("it is not there".to_owned()))
}

/// The report says of the same damage that this was done.
fn check_action(broker: &Broker, damage: &[Damage], action: DamageAction) -> Checked {
    let mut expected = damage.to_vec();
    expected.iter_mut().for_each(|damage| damage.action = action);
    let found = &broker.recovery_report().damaged;
    ensure(*found == expected, || format!("{found:?}, not {expected:?}"))
}

fn good_records(files: &Files) -> Checked<Vec<(u64, Vec<u8>)>> {
    Ok(read_through(&Way::Verifying.open(&storage_with(files))?, TOPIC, 0)?.records)
}

#[test]
fn truncating_cuts_a_log_off_before_the_damage_and_keeps_what_it_cuts() {
    let image = image();
    let cases = kinds(&image).into_iter().map(|kind| (kind.name.clone(), kind));
    check_all(cases, |kind| {
        let damage = damage_of(&kind.files)?;
        let storage = storage_with(&kind.files);
        let broker = open_by(&storage, RecoveryPolicy::Truncate)?;
        if !kind.can_be_cut {
            check_action(&broker, &damage, DamageAction::Fenced)?;
            drop(broker);
            let after = files_below(&storage, Path::new(DIR));
            return ensure(same_partition(&after, &kind.files), || "it was changed".to_owned());
        }
        check_action(&broker, &damage, DamageAction::Truncated)?;
        let first = damage[0].first_offset as usize;
        let end = image.frames.get(first).map_or(first, |frame| frame.batch);
        let kept = &image.values[..end];
        ensure(contents(&broker, TOPIC, 0)? == kept, || format!("not the first {end} records"))?;
        ensure(broker.health().is_good(), || format!("{:?}", broker.health()))?;
        check_kept(&storage, &kind.files, &image, end)?;
        let at = send(&broker, TOPIC, 0, NEW)?;
        ensure(at == end as u64, || format!("it goes on with {at}, not {end}"))?;
        let whole = [kept, &[NEW.to_vec()]].concat();
        // The process is killed, or the power lost, or the broker closed.
        let killed = files_below(&storage, Path::new(DIR));
        broker.close()?;
        let closed = files_below(&storage, Path::new(DIR));
        for files in [in_other_boot(&killed), without_checkpoint(&killed), killed, closed] {
            POLICIES.iter().try_for_each(|policy| check_well(&files, *policy, &whole))?;
        }
        Ok(())
    });
}

fn same_partition(after: &Files, before: &Files) -> bool {
    let dir = partition_dir(TOPIC, 0);
    files_in(after, &dir) == files_in(before, &dir)
}

/// Nothing is found any more: the checkpoint does not say that what was cut is there, nor does the log.
fn check_well(files: &Files, policy: RecoveryPolicy, expected: &[Vec<u8>]) -> Checked {
    let storage = storage_with(files);
    let verified = Broker::verify_in(storage.clone(), DIR)?;
    ensure(verified.is_clean(), || format!("{verified:?}"))?;
    let broker = open_by(&storage, policy)?;
    ensure(broker.recovery_report().is_clean(), || format!("{policy:?}: {:?}", broker.recovery_report()))?;
    ensure(contents(&broker, TOPIC, 0)? == expected, || format!("{policy:?}: not the same records"))?;
    let at = send(&broker, TOPIC, 0, b"and more")?;
    ensure(at == expected.len() as u64, || format!("{policy:?}: it goes on with {at}"))
}

/// All bytes from record `end` on lie beside the log.
fn check_kept(storage: &MemoryStorage, damaged: &Files, image: &Image, end: usize) -> Checked {
    let after = files_below(storage, Path::new(DIR));
    let dir = partition_dir(TOPIC, 0);
    let is_torn = |path: &Path| path.extension().is_some_and(|extension| extension == "torn");
    let kept: Vec<&Vec<u8>> = after
        .iter()
        .filter(|(path, _)| path.parent() == Some(&dir) && is_torn(path))
        .map(|(_, b)| b)
        .collect();
    for (path, bytes) in files_in(damaged, &dir) {
        let of_log = image.frames[..end].iter().filter(|frame| frame.file == path);
        let left = of_log.map(|frame| frame.bytes.end).max();
        let is_first = image.segments()[0] == path;
        let cut = &bytes[left.unwrap_or(if is_first { SEGMENT_HEADER_BYTES } else { 0 }).min(bytes.len())..];
        let is_nothing = cut.iter().all(|&byte| byte == 0) || cut.len() < SEGMENT_HEADER_BYTES;
        let is_whole = kept.iter().any(|kept| *kept == cut || (left.is_none() && **kept == bytes));
        // A segment whose header is sound may stay, empty.
        let behind_header = cut.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
        let is_behind = left.is_none() && kept.iter().any(|kept| *kept == behind_header);
        ensure(is_nothing || is_whole || is_behind, || format!("{} is lost", path.display()))?;
    }
    Ok(())
}

#[test]
fn a_log_that_skips_its_damage_serves_all_that_is_good_and_goes_on_behind_it() {
    let image = image();
    let end = image.values.len() as u64;
    let cases = kinds(&image).into_iter().map(|kind| (kind.name.clone(), kind));
    check_all(cases, |kind| {
        let damage = damage_of(&kind.files)?;
        let mut expected = good_records(&kind.files)?;
        let storage = storage_with(&kind.files);
        for round in 0..3_u64 {
            let broker = open_by(&storage, RecoveryPolicy::Skip)?;
            check_skipped(&broker, &damage, round)
                .map_err(|finding| Finding(format!("{round}: {finding}")))?;
            let reading = read_through(&broker, TOPIC, 0)?;
            let same = reading.lost.is_empty() && reading.records == expected;
            ensure(same, || {
                format!("{round}: {} of {}, {:?}", reading.records.len(), expected.len(), reading.lost)
            })?;
            let at = send(&broker, TOPIC, 0, NEW)?;
            ensure(at == end + round, || format!("{round}: it goes on with {at}"))?;
            expected.push((at, NEW.to_vec()));
            ensure(read_through(&broker, TOPIC, 0)?.records == expected, || "not the new one".to_owned())?;
            if round == 1 {
                broker.close()?;
            }
        }
        check_left(&storage, &kind.files)?;
        check_after_skip(&files_below(&storage, Path::new(DIR)), &expected)
    });
}

/// The same damage is found each time; what was found the first time may be more, if a file was set aside.
fn check_skipped(broker: &Broker, damage: &[Damage], round: u64) -> Checked {
    if round == 0 {
        return check_action(broker, damage, DamageAction::Skipped);
    }
    let found = &broker.recovery_report().damaged;
    let is_skipped = found.iter().all(|found| found.action == DamageAction::Skipped);
    let is_known =
        found.iter().all(|found| damage.iter().any(|known| known.first_offset == found.first_offset));
    ensure(is_skipped && is_known && broker.health().is_good(), || format!("{found:?}, not {damage:?}"))
}

/// What is damaged was left as it is.
fn check_left(storage: &MemoryStorage, damaged: &Files) -> Checked {
    let after = files_below(storage, Path::new(DIR));
    let is_there = |(path, bytes): (&PathBuf, &Vec<u8>)| {
        let is_aside = after.values().any(|after| after == bytes) || bytes.len() < SEGMENT_HEADER_BYTES;
        is_aside || after.get(path).is_some_and(|after| after.starts_with(bytes))
    };
    let lost = files_in(damaged, &partition_dir(TOPIC, 0))
        .into_iter()
        .find(|(path, bytes)| !is_there((path, bytes)));
    ensure(lost.is_none(), || format!("{:?} was changed", lost.map(|(path, _)| path)))
}

/// By the other policies: all that is good is served if it is not cut off.
fn check_after_skip(files: &Files, expected: &[(u64, Vec<u8>)]) -> Checked {
    for way in [Way::Default, Way::Verifying, Way::ReadOnly] {
        let reading = read_through(&way.open(&storage_with(files))?, TOPIC, 0)?;
        ensure(reading.records == expected, || format!("{way:?}: {} records", reading.records.len()))?;
    }
    let broker = open_by(&storage_with(files), RecoveryPolicy::Truncate)?;
    let records = read_through(&broker, TOPIC, 0)?.records;
    let is_front = expected.starts_with(&records) || !broker.health().is_good();
    ensure(is_front, || format!("truncated to {} records", records.len()))
}

/// A group that had read all of it sees what comes next.
#[test]
fn truncating_lowers_commits() {
    let storage = MemoryStorage::default();
    let broker = open_by(&storage, RecoveryPolicy::Strict).expect("it is new");
    broker.create_topic(TOPIC, crate::support::small_segments(1)).expect("it is new");
    for number in 0..5 {
        send(&broker, TOPIC, 0, &value(number, 100)).expect("it is taken");
    }
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
    let mut consumer = consumer.expect("the topic is there");
    let records = consumer.poll(Duration::ZERO).expect("five records");
    consumer.commit(&records).expect("they can be committed");
    drop((records, consumer));
    broker.close().expect("it closes");
    let mut files = files_below(&storage, Path::new(DIR));
    files.get_mut(&crate::support::segment(TOPIC, 0, 0)).expect("it is there")[64 + 2 * 144 + 50] ^= 1;
    let place = TopicPartition::new(TOPIC, 0);
    for (policy, lowered_to) in [(RecoveryPolicy::Truncate, 2), (RecoveryPolicy::Skip, 5)] {
        let storage = storage_with(&files);
        let broker = open_by(&storage, policy).expect("it opens");
        let lowered = &broker.recovery_report().lowered_commits;
        let found: Vec<_> = lowered.iter().map(|lowered| (lowered.committed, lowered.lowered_to)).collect();
        assert_eq!(found, if lowered_to < 5 { vec![(5, lowered_to)] } else { vec![] }, "{policy:?}");
        assert_eq!(committed(&broker, "fraud"), [(place.clone(), lowered_to)].into());
        send(&broker, TOPIC, 0, NEW).expect("it goes on");
        let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
        let seen = consumer.expect("it is there").poll(Duration::ZERO).expect("the new one");
        assert_eq!(seen.iter().map(|record| record.offset()).collect::<Vec<_>>(), [lowered_to]);
    }
}
