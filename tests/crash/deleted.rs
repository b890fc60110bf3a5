//! Damage to a log of which records were deleted: to those that are left it is damage, to the others it is none.

use std::path::Path;
use std::time::Duration;

use ottla::{Broker, Consumer, DamageAction, Raw, RecoveryPolicy};

use crate::changes::{RECORDS, START, before, kept_contents, values};
use crate::support::{
    DIR, Way, check_partition_unchanged, files_below, reopen, segment, send, sent, storage_with,
};

/// The offsets of so many records, or of all.
fn offsets(consumer: &mut Consumer<Raw, Raw>, most: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    while offsets.len() < most {
        let records = consumer.poll(Duration::ZERO).expect("they are kept");
        if records.is_empty() {
            break;
        }
        offsets.extend(records.iter().map(|record| record.offset()));
    }
    offsets
}

/// A file that is missing, though its records were not deleted.
#[test]
fn a_missing_first_segment_is_damage() {
    let storage = storage_with(&before());
    let broker = reopen(&storage);
    broker.delete_records("changed", 1, 3).expect("within the log");
    drop(broker);
    for (gone, lost, next) in [(2, 3, 4), (4, 4, 6)] {
        let mut files = files_below(&storage, Path::new(DIR));
        let path = segment("changed", 1, gone);
        files.remove(&path).expect("it is kept");
        for way in Way::ALL {
            let storage = storage_with(&files);
            let broker = way.open(&storage).expect("the others are well");
            let [damage] = &broker.recovery_report().damaged[..] else {
                panic!("without {gone}: {:?}", broker.recovery_report())
            };
            assert_eq!((damage.first_offset, damage.next_offset), (lost, Some(next)), "{damage:?}");
            let mut consumer =
                broker.consumer::<Raw, Raw>().assign("changed", [1]).build().expect("it is there");
            let before: Vec<u64> = (3..lost).collect();
            assert!(before.is_empty() || offsets(&mut consumer, before.len()) == before);
            let told = consumer.poll(Duration::ZERO);
            let is_told = matches!(
                &told,
                Err(ottla::Error::RecordsDamaged { first_offset, next_offset, .. })
                    if (*first_offset, *next_offset) == (lost, Some(next))
            );
            assert!(is_told, "{told:?}");
            consumer.seek("changed", 1, next).expect("it is within the log");
            assert_eq!(offsets(&mut consumer, usize::MAX), (next..8).collect::<Vec<_>>());
            drop((consumer, broker));
            assert_eq!(check_partition_unchanged(&storage, &files, "changed", 1), Ok(()));
        }
    }
}

/// What damage does to records that were deleted costs nothing.
#[test]
fn damage_to_deleted_records_is_none() {
    let storage = storage_with(&before());
    let broker = reopen(&storage);
    broker.delete_records("changed", 1, START).expect("within the log");
    broker.close().expect("it closes");
    let mut files = files_below(&storage, Path::new(DIR));
    // Of the two records in this segment, the first is deleted.
    files.get_mut(&segment("changed", 1, 4)).expect("it is kept")[200] ^= 1;
    for policy in [RecoveryPolicy::Strict, RecoveryPolicy::Truncate, RecoveryPolicy::Skip] {
        let storage = storage_with(&files);
        let builder = Broker::builder().storage(storage.clone()).data_dir(DIR).verify_on_open(true);
        let broker = builder.recovery_policy(policy).open().expect("it opens");
        assert!(broker.recovery_report().is_clean(), "{policy:?}: {:?}", broker.recovery_report());
        let expected: Vec<_> = (0..).zip(values()).skip(START as usize).collect();
        assert_eq!(kept_contents(&broker, 1), Ok(expected), "{policy:?}");
        assert_eq!(sent(&broker, "changed", 1, b"anew"), RECORDS as u64);
    }
}

/// Cut off there, the log would end before it begins.
#[test]
fn a_log_is_not_truncated_to_where_its_records_were_deleted() {
    let storage = storage_with(&before());
    let broker = reopen(&storage);
    broker.delete_records("changed", 1, START).expect("within the log");
    broker.close().expect("it closes");
    let mut files = files_below(&storage, Path::new(DIR));
    files.get_mut(&segment("changed", 1, 4)).expect("it is kept")[100..2_500].fill(0);
    let storage = storage_with(&files);
    let builder = Broker::builder().storage(storage.clone()).data_dir(DIR);
    let broker = builder.recovery_policy(RecoveryPolicy::Truncate).open().expect("it opens");
    let [damage] = &broker.recovery_report().damaged[..] else { panic!("{:?}", broker.recovery_report()) };
    assert_eq!(
        (damage.action, damage.first_offset, damage.next_offset),
        (DamageAction::Fenced, START, Some(6))
    );
    let refused = send(&broker, "changed", 1, b"anew");
    assert!(matches!(refused, Err(ottla::Error::PartitionFenced { .. })), "{refused:?}");
}
