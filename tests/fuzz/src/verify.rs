//! Looking without touching: what `verify` and a read-only broker say of a directory, any file of which may be
//! damaged, against what a broker says that is opened on it.

use ottla::storage::MemoryStorage;
use ottla::{Broker, Damage, DamageAction, Error, PartitionVerdict, VerifyReport};

use crate::broker::{builder, read_all, send};
use crate::directory::{check_seen, check_sound};
use crate::disk::{self, DIR, Image, PARTITION_IDS, Surroundings};
use crate::input::Input;
use crate::{model, recipe};

/// The target: changes to all files, then what surrounds partition 0, then its recipe.
pub fn check(bytes: &[u8]) {
    let (image, surroundings) = ingredients(&mut Input::new(bytes));
    let storage = disk::storage_with(&image);
    let verified = Broker::verify_in(storage.clone(), DIR);
    disk::check_unchanged(&storage, &image, "verify");
    let opened = builder(&storage).read_only(true).verify_on_open(true).open();
    match (verified, opened) {
        (Ok(report), Ok(broker)) => {
            let is_possible = check_read_only(&broker, &image, surroundings.start_offset);
            drop(broker);
            disk::check_unchanged(&storage, &image, "a read-only broker");
            if is_possible {
                check_agreement(&report, &storage);
            }
        }
        (Err(_), Err(_)) => disk::check_unchanged(&storage, &image, "a read-only broker"),
        (report, broker) => assert!(broker.is_err() && is_bad_commit(&broker), "{report:?} {broker:?}"),
    }
}

/// All files of an input.
#[must_use]
pub fn image(input: &mut Input<'_>) -> Image {
    ingredients(input).0
}

fn ingredients(input: &mut Input<'_>) -> (Image, Surroundings) {
    let changes: Vec<(u8, u16, u8)> =
        (0..input.byte() % 4).map(|_| (input.byte(), input.short(), input.byte())).collect();
    let surroundings = Surroundings::take(input);
    let files = recipe::files(input, PARTITION_IDS[0]);
    let mut image = disk::image(&files, &surroundings);
    for (file, position, mask) in changes {
        let count = image.len();
        let bytes = image.values_mut().nth(usize::from(file) % count).expect("there are files");
        let len = bytes.len();
        if len > 0 {
            bytes[usize::from(position) % len] ^= mask;
        }
    }
    (image, surroundings)
}

/// Committed offsets are read by a broker, not by `verify`.
fn is_bad_commit(opened: &Result<Broker, Error>) -> bool {
    let Err(Error::Corrupt { path, .. } | Error::UnsupportedFormat { path, .. }) = opened else {
        return false;
    };
    path.ends_with("__consumer_offsets-0")
}

/// Whether a broker may have written the log.
fn check_read_only(broker: &Broker, image: &Image, start_offset: u64) -> bool {
    let files = disk::partition(image);
    let beginning = model::beginning(&files, PARTITION_IDS[0], start_offset);
    check_seen(&read_all(broker, 0), &files, &beginning, start_offset);
    assert!(matches!(send(broker), Err(Error::ReadOnly { .. })));
    drop(read_all(broker, 1));
    !beginning.is_unclear
}

/// What `verify` says is what a broker does.
fn check_agreement(report: &VerifyReport, storage: &MemoryStorage) {
    let broker = builder(storage).verify_on_open(true).open().expect("it can be read");
    let opened = broker.recovery_report();
    let found: Vec<Damage> = opened
        .damaged
        .iter()
        .map(|damage| {
            let mut found = damage.clone();
            found.action = DamageAction::Found;
            found
        })
        .collect();
    let damage: Vec<Damage> = report.partitions.iter().flat_map(|each| each.damage.clone()).collect();
    assert_eq!(damage, found);
    // A broker counts also what it cuts off the segment before one that goes as a whole.
    let places = |tail: &ottla::TornTail| (tail.path.clone(), tail.position, tail.end_offset);
    let torn: Vec<_> =
        report.partitions.iter().filter_map(|each| each.torn_tail.as_ref()).map(places).collect();
    assert_eq!(torn, opened.torn_tails.iter().map(places).collect::<Vec<_>>());
    for verdict in &report.partitions {
        check_verdict(verdict, &broker);
    }
}

fn check_verdict(verdict: &PartitionVerdict, broker: &Broker) {
    let PartitionVerdict { partition, records, end_offset, start_offset, .. } = verdict;
    let Ok(topic) = broker.describe_topic(&partition.topic) else { return };
    let described = topic.partitions[partition.partition as usize];
    assert_eq!((described.start_offset, described.end_offset), (*start_offset, *end_offset));
    let seen = read_all(broker, partition.partition);
    if verdict.damage.is_empty() {
        let has_gaps = *records < end_offset - start_offset;
        check_sound(&seen, *start_offset..*end_offset, has_gaps);
    }
    assert!(seen.records.len() as u64 >= *records, "{verdict:?} {seen:?}");
    // A copy of a record makes others look as if they were lost.
    let is_lost = |damage: &Damage| {
        let lost = damage.first_offset.max(*start_offset)..damage.next_offset.unwrap_or(*end_offset);
        let served = seen.records.iter().filter(|record| lost.contains(&record.offset)).count() as u64;
        served < lost.end.saturating_sub(lost.start)
    };
    let is_told = verdict.segments == 0 || !seen.damaged.is_empty();
    assert!(is_told || !verdict.damage.iter().any(is_lost), "{verdict:?} {seen:?}");
    assert!(seen.damaged.is_empty() || !verdict.damage.is_empty(), "{verdict:?} {seen:?}");
}
