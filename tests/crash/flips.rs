//! Every single bit of a small log, of the catalog and of the committed offsets, flipped: the records are
//! served as they were sent, or the damage is reported. Nothing wrong is ever served.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use ottla::storage::{OpenMode, Storage};
use ottla::{Broker, Error, Raw, TopicPartition};

use crate::image::{Image, Verdict};
use crate::support::{
    Checked, DIR, Files, Finding, SEGMENT_HEADER_BYTES, TOPIC, check_all, check_unchanged, committed,
    contents, ensure, files_below, open, reopen, segment, sent, small_segments, storage_with,
};

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

/// Every bit of a file, with a name for the case.
fn bits_of(files: &Files, path: &Path) -> impl Iterator<Item = (String, usize)> {
    let name = path.display().to_string();
    (0..files[path].len() * 8).map(move |bit| (format!("bit {} of byte {} of {name}", bit % 8, bit / 8), bit))
}

/// Flips every bit of a segment; says which verdicts there were.
fn judge_all_flips(image: &Image, segment: &Path) -> usize {
    let last_batch = image.frames[image.frames.last().expect("there are records").batch].clone();
    check_all(bits_of(&image.files, segment), |&bit| {
        let verdict = image.judge(&image.with(segment, |bytes| flip(bytes, bit)))?;
        let in_last_batch = last_batch.file == segment && bit / 8 >= last_batch.bytes.start;
        let allowed = verdict == Verdict::Refused || (verdict == Verdict::Torn && in_last_batch);
        ensure(allowed, || format!("{verdict:?}"))
    })
}

#[test]
fn every_flipped_bit_of_the_only_segment_is_noticed() {
    let image = Image::of(&[&[8], &[20], &[9], &[8, 12], &[16], &[8], &[24], &[8, 8, 8]]);
    let [segment] = &image.segments()[..] else { panic!("all records fit into one segment") };
    assert!(judge_all_flips(&image, segment) > 5_000);
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
        if wanted {
            cases.push((name, bit));
        }
    }
    let count = check_all(cases, |&bit| {
        let verdict = image.judge(&image.with(first, |bytes| flip(bytes, bit)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
    });
    assert!(count > 2_000, "only {count} bits");
    let header_bits = bits_of(&image.files, second).take(SEGMENT_HEADER_BYTES * 8);
    check_all(header_bits, |&bit| {
        let verdict = image.judge(&image.with(second, |bytes| flip(bytes, bit)))?;
        ensure(verdict == Verdict::Refused, || format!("{verdict:?}"))
    });
}

/// Reads [`TOPIC`], partition 0, from offset 0, and stops at the first error.
fn read_until_error(broker: &Broker) -> (Vec<(u64, Vec<u8>)>, Option<Error>) {
    let consumer = broker.consumer::<Raw, Raw>().assign(TOPIC, [0]).build();
    let mut consumer = consumer.expect("the topic is there");
    let mut seen = Vec::new();
    loop {
        match consumer.poll(Duration::ZERO) {
            Err(error) => return (seen, Some(error)),
            Ok(records) if records.is_empty() => return (seen, None),
            Ok(records) => seen.extend(
                records
                    .iter()
                    .map(|record| (record.offset(), record.value_bytes().unwrap_or_default().to_vec())),
            ),
        }
    }
}

/// Exactly what was sent, or the first records and then the error that the segment is damaged.
fn check_cold_read(image: &Image, broker: &Broker, segment: &Path) -> Checked {
    let (seen, error) = read_until_error(broker);
    let right = (0..).zip(&image.values).map(|(offset, value)| (offset, value.clone()));
    let right: Vec<(u64, Vec<u8>)> = right.take(seen.len()).collect();
    ensure(seen == right, || "a wrong record was served".to_owned())?;
    match error {
        None => ensure(seen.len() == image.values.len(), || format!("{} were served", seen.len())),
        Some(Error::Corrupt { path, .. }) => {
            ensure(path == segment, || format!("{} is named", path.display()))
        }
        Some(other) => Err(Finding(format!("the error is {other:?}"))),
    }
}

#[test]
fn every_bit_that_flips_under_an_open_broker_is_noticed_by_the_next_read() {
    let image = Image::of(&[&[8], &[20], &[9], &[8, 12], &[16], &[8], &[24], &[8, 8, 8]]);
    let segment = &image.segments()[0];
    let storage = storage_with(&image.files);
    let broker = reopen(&storage);
    let file = storage.open(segment, OpenMode::Existing).expect("it is there");
    let put = |at: usize, byte: u8| file.write_at(&[byte], at as u64).map(drop);
    check_all(bits_of(&image.files, segment), |&bit| {
        let right = image.files[segment][bit / 8];
        put(bit / 8, right ^ (1 << (bit % 8)))?;
        let outcome = check_cold_read(&image, &broker, segment);
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
        let outcome = check_cold_read(&image, &broker, segment);
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
    drop((consumer, broker));
    let files = files_below(&storage, Path::new(DIR));
    let offsets = segment("__consumer_offsets", 0, 0);
    let last_commit = 64 + (files[&offsets].len() - 64) / 3 * 2;
    check_all(bits_of(&files, &offsets), |&bit| {
        let mut damaged = files.clone();
        flip(damaged.get_mut(&offsets).expect("it is there"), bit);
        let storage = storage_with(&damaged);
        match open(&storage) {
            Err(Error::Corrupt { .. } | Error::UnsupportedFormat { .. }) => {
                check_unchanged(&storage, &damaged)
            }
            Err(error) => Err(Finding(format!("the error is {error:?}"))),
            Ok(broker) => {
                let committed = committed(&broker, "fraud");
                let torn = broker.recovery_report().torn_tails.len();
                let expected = [(TopicPartition::new(TOPIC, 0), 2)].into();
                let in_last = bit / 8 >= last_commit;
                ensure(in_last && torn == 1 && committed == expected, || {
                    format!("{committed:?}, {torn} torn")
                })
            }
        }
    });
}
