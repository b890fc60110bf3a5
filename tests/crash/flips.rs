//! Every single bit of a small log, of the catalog and of the committed offsets, flipped: the record in it is
//! lost, and that is told; all others are served as they were sent. Nothing wrong is ever served.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Error, Raw, TopicPartition};

use crate::image::Image;
use crate::judgement::Verdict;
use crate::support::{
    Checked, DIR, Files, SEGMENT_HEADER_BYTES, TOPIC, Way, check_all, check_logs_unchanged,
    check_partition_unchanged, committed, contents, ensure, files_below, in_other_boot, read_through, reopen,
    segment, sent, small_segments, storage_with,
};

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Every bit of a file, with a name for the case.
fn bits_of(files: &Files, path: &Path) -> impl Iterator<Item = (String, usize)> {
    let name = path.display().to_string();
    (0..files[path].len() * 8).map(move |bit| (format!("bit {} of byte {} of {name}", bit % 8, bit / 8), bit))
}

/// What a flipped bit must come to in a log that was synced: which record is lost, if any.
fn expected_of_synced(image: &Image, segment: &Path, byte: usize) -> Verdict {
    let is_hit =
        |number: &usize| image.frames[*number].file == segment && image.frames[*number].bytes.contains(&byte);
    match (0..image.frames.len()).find(is_hit) {
        Some(hit) => {
            let next = (hit + 1 < image.frames.len()).then_some(hit as u64 + 1);
            Verdict::Fenced(hit as u64, next)
        }
        None => {
            // In the header: no record is lost with it.
            let first = image.frames.iter().position(|frame| frame.file == segment).expect("it has records");
            Verdict::Fenced(first as u64, Some(first as u64))
        }
    }
}

const SMALL: [&[usize]; 8] = [&[8], &[20], &[9], &[8, 12], &[16], &[8], &[24], &[8, 8, 8]];

#[test]
fn every_flipped_bit_of_a_log_that_was_synced_costs_one_record_and_is_told() {
    let image = Image::of(&SMALL);
    let [segment] = &image.segments()[..] else { panic!("all records fit into one segment") };
    let count = check_all(bits_of(&image.files, segment), |&bit| {
        let expected = expected_of_synced(&image, segment, bit / 8);
        let damaged = image.with(segment, |bytes| flip(bytes, bit));
        let is_later = bit % 9 == 0;
        image.judge_as(&if is_later { in_other_boot(&damaged) } else { damaged }, expected)
    });
    assert!(count > 5_000, "only {count} bits");
}

/// In a log of which nothing is known to be synced, a flipped bit at the end looks like a write that was cut
/// off; before that, only if the power was lost.
#[test]
fn every_flipped_bit_of_a_log_that_was_not_synced_is_damage_or_a_torn_tail() {
    let image = Image::killed(&SMALL);
    let [segment] = &image.segments()[..] else { panic!("all records fit into one segment") };
    let last = image.frames.last().expect("there are records").bytes.start;
    // One bit of each byte.
    check_all(bits_of(&image.files, segment).step_by(9), |&bit| {
        let damaged = image.with(segment, |bytes| flip(bytes, bit));
        let of_synced = expected_of_synced(&image, segment, bit / 8);
        let verdict = image.judge(&damaged)?;
        let may_be_torn = verdict == Verdict::Torn && bit / 8 >= last;
        ensure(verdict == of_synced || may_be_torn, || format!("{verdict:?}, not {of_synced:?}"))?;
        let is_header = bit / 8 < SEGMENT_HEADER_BYTES;
        image.judge_as(&in_other_boot(&damaged), if is_header { of_synced } else { Verdict::Torn })
    });
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed_when_another_follows() {
    let image = Image::of(&[&[1_800], &[8], &[2_000], &[500], &[8, 12], &[8]]);
    let [first, second] = &image.segments()[..] else { panic!("the records take two segments") };
    // Of the large records, the headers and some bytes of the payload will do.
    let large: BTreeSet<usize> = [0, 2].into();
    let sampled =
        |number: &usize, byte: usize| !large.contains(number) || byte < 48 || byte.is_multiple_of(40);
    let mut cases: Vec<(String, usize)> = Vec::new();
    for (name, bit) in bits_of(&image.files, first) {
        let byte = bit / 8;
        let within =
            image.frames.iter().position(|frame| frame.file == *first && frame.bytes.contains(&byte));
        let wanted = within.is_none_or(|number| sampled(&number, byte - image.frames[number].bytes.start));
        // Each third bit, others of each byte.
        if wanted && (bit + byte).is_multiple_of(3) {
            cases.push((name, bit));
        }
    }
    let count = check_all(cases, |&bit| {
        let expected = expected_of_synced(&image, first, bit / 8);
        image.judge_as(&image.with(first, |bytes| flip(bytes, bit)), expected)
    });
    assert!(count > 700, "only {count} bits");
    let header_bits = bits_of(&image.files, second).take(SEGMENT_HEADER_BYTES * 8).step_by(3);
    check_all(header_bits, |&bit| {
        let expected = expected_of_synced(&image, second, bit / 8);
        image.judge_as(&image.with(second, |bytes| flip(bytes, bit)), expected)
    });
}

/// What was sent, but for what is said to be damaged in this segment.
fn check_cold_read(image: &Image, broker: &Broker, segment: &Path, hit: Option<usize>) -> Checked {
    let reading = read_through(broker, TOPIC, 0)?;
    let right = (0..).zip(&image.values).map(|(offset, value)| (offset, value.clone()));
    let right: Vec<(u64, Vec<u8>)> = right.filter(|(offset, _)| Some(*offset as usize) != hit).collect();
    ensure(reading.records == right, || format!("{} records were served", reading.records.len()))?;
    let behind = |hit: usize| (hit + 1 < image.values.len()).then_some(hit as u64 + 1);
    let lost: Vec<_> = hit.map(|hit| (hit as u64, behind(hit))).into_iter().collect();
    ensure(reading.lost == lost, || format!("{}: {:?}, not {lost:?}", segment.display(), reading.lost))
}

/// The record that holds a byte of this segment.
fn record_at(image: &Image, segment: &Path, byte: usize) -> Option<usize> {
    image.frames.iter().position(|frame| frame.file == segment && frame.bytes.contains(&byte))
}

#[test]
fn every_bit_that_flips_under_an_open_broker_is_noticed_by_the_next_read() {
    let image = Image::of(&SMALL);
    let segment = &image.segments()[0];
    let storage = storage_with(&image.files);
    let broker = reopen(&storage);
    let file = storage.open(segment, OpenMode::Existing).expect("it is there");
    let put = |at: usize, byte: u8| file.write_at(&[byte], at as u64).map(drop);
    check_all(bits_of(&image.files, segment), |&bit| {
        let right = image.files[segment][bit / 8];
        put(bit / 8, right ^ (1 << (bit % 8)))?;
        let outcome = check_cold_read(&image, &broker, segment, record_at(&image, segment, bit / 8));
        put(bit / 8, right)?;
        outcome
    });
    assert_eq!(contents(&broker, TOPIC, 0).expect("all is well again"), image.values);
}

/// Frames carry their offset under their checksum, so a block of the same log in another place is noticed
/// too.
#[test]
fn records_that_change_places_under_an_open_broker_are_noticed_by_the_next_read() {
    let image = Image::of(&[&[24][..]; 12]);
    let segment = &image.segments()[0];
    let storage = storage_with(&image.files);
    let broker = reopen(&storage);
    let file = storage.open(segment, OpenMode::Existing).expect("it is there");
    let pairs = (0..12).flat_map(|a| (0..12).map(move |b| (format!("record {b} in place of {a}"), (a, b))));
    check_all(pairs, |&(a, b)| {
        let bytes = |number: usize| &image.files[segment][image.frames[number].bytes.clone()];
        let position = image.frames[a].bytes.start as u64;
        file.write_at(bytes(b), position)?;
        let outcome = check_cold_read(&image, &broker, segment, (a != b).then_some(a));
        file.write_at(bytes(a), position)?;
        outcome
    });
}

#[test]
fn every_flipped_bit_of_the_catalog_is_refused() {
    let image = Image::of(&[&[8], &[20]]);
    let catalog = Path::new(DIR).join("catalog");
    let count = check_all(bits_of(&image.files, &catalog), |&bit| {
        let verdict = image.judge(&image.with(&catalog, |bytes| flip(bytes, bit)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
    });
    assert!(count > 2_000, "only {count} bits");
}

#[test]
fn every_flipped_bit_of_the_committed_offsets_is_noticed() {
    let storage = ottla::storage::MemoryStorage::default();
    let broker = reopen(&storage);
    broker.create_topic(TOPIC, small_segments(1)).expect("it is new");
    let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build();
    let mut consumer = consumer.expect("the topic is there");
    for number in 0..3 {
        sent(&broker, TOPIC, 0, &[number; 8]);
        let records = consumer.poll(Duration::ZERO).expect("it can be read");
        consumer.commit(&records).expect("it can be committed");
    }
    // In this order it leaves no record that the group is empty.
    broker.close().expect("it closes");
    drop(consumer);
    let files = files_below(&storage, Path::new(DIR));
    let offsets = segment("__consumer_offsets", 0, 0);
    let third = (files[&offsets].len() - 64) / 3;
    check_all(bits_of(&files, &offsets), |&bit| {
        let mut damaged = files.clone();
        flip(damaged.get_mut(&offsets).expect("it is there"), bit);
        let damaged_record = (bit / 8).checked_sub(64).map(|at| at / third);
        // The one before counts then; a header costs nothing.
        let expected = if damaged_record == Some(2) { 2 } else { 3 };
        for way in Way::ALL {
            let storage = storage_with(&damaged);
            let broker = way.open(&storage)?;
            let found = committed(&broker, "fraud");
            let right = [(TopicPartition::new(TOPIC, 0), expected)].into();
            ensure(found == right, || format!("{way:?}: {found:?}, not {expected}"))?;
            let report = broker.recovery_report();
            let told = report.damaged.len() == 1 && report.torn_tails.is_empty();
            ensure(told || way != Way::Verifying, || format!("{report:?}"))?;
            let consumer = broker.consumer::<Raw, Raw>().topic(TOPIC).group("fraud").build()?;
            let refused = consumer.commit_offsets([(TopicPartition::new(TOPIC, 0), 1_u64)]);
            let is_refused = matches!(&refused, Err(Error::PartitionFenced { .. } | Error::ReadOnly { .. }));
            ensure(is_refused == (told || way == Way::ReadOnly), || format!("{way:?}: {refused:?}"))?;
            sent_or_refused(&broker, way)?;
            drop((consumer, broker));
            if told {
                check_partition_unchanged(&storage, &damaged, "__consumer_offsets", 0)?;
            }
            if way == Way::ReadOnly {
                check_logs_unchanged(&storage, &damaged)?;
            }
        }
        Ok(())
    });
}

/// The records do not suffer.
fn sent_or_refused(broker: &Broker, way: Way) -> Checked {
    let sent = crate::support::send(broker, TOPIC, 0, b"more");
    let expected =
        if way == Way::ReadOnly { matches!(sent, Err(Error::ReadOnly { .. })) } else { sent.is_ok() };
    ensure(expected, || format!("{way:?}: {sent:?}"))
}
