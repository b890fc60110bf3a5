//! Models of the log for loom, which runs each of them in every order in which its threads can meet. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`; each can fail, as any test.
//!
//! A chunk holds two plain records or one wide one here. loom tries all orders that stop a thread at most
//! three times where it could have gone on (`LOOM_MAX_PREEMPTIONS` says otherwise).

mod in_memory;
mod on_disk;
mod resting;
mod waiting;
mod watched;

use std::time::Duration;

use super::file_reads::Files;
use super::identity::LogIdentity;
use super::partition_log::PartitionLog;
use super::reader::{Cursor, Run};
use crate::config::{Durability, Retention, TopicSettings, WhenFull};
use crate::error::Result;
use crate::record::frame::{Frame, NewRecord};

const PREEMPTIONS: usize = 3;

/// Two frames of this size fill a chunk, or one of twice that.
const FRAME_BYTES: u64 = 48;

/// Runs `model` in all orders.
fn check(model: impl Fn() + Send + Sync + 'static) {
    check_up_to(PREEMPTIONS, model);
}

/// For a model with so many orders that a smaller bound has to do.
fn check_up_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

fn identity() -> LogIdentity {
    LogIdentity { topic: "payments".into(), topic_id: 1, partition: 0, id: 7 }
}

fn settings(durability: Durability, segment_bytes: u64, memory_limit: u64) -> TopicSettings {
    TopicSettings {
        partitions: 1,
        durability,
        max_record_bytes: 1_000,
        max_batch_bytes: 1_000,
        segment_bytes,
        memory_limit,
        sync_interval: Duration::from_secs(1),
        retention: Retention::forever(),
        compaction: None,
        when_full: WhenFull::DropOldest,
        segment_age: Duration::from_secs(3_600),
    }
}

/// Appends a record of [`FRAME_BYTES`].
fn append(log: &PartitionLog, number: u64) -> Result<u64> {
    log.append(&[record(&number.to_le_bytes())])
}

fn record(value: &[u8]) -> NewRecord<'_> {
    NewRecord { key: None, value: Some(value), headers: &[], timestamp: 0 }
}

/// The numbers in the records at the cursor; empty at the end. Asserts that the offsets are the next ones.
fn fetch(log: &PartitionLog, cursor: &mut Cursor) -> Result<Vec<u64>> {
    let first = cursor.offset();
    Ok(log.fetch(cursor, &Files::Here)?.map_or(Vec::new(), |run| numbers(&run, first)))
}

fn numbers(run: &Run, first: u64) -> Vec<u64> {
    let offsets: Vec<u64> = run.frames().map(Frame::offset).collect();
    assert_eq!(offsets, (first..run.end_offset()).collect::<Vec<_>>());
    run.frames().map(number).collect()
}

/// What a record says: a number, once or several times.
fn number(frame: Frame<'_>) -> u64 {
    let value = frame.value().expect("every record has a value");
    let mut words = value.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    let first = words.next().expect("not empty");
    assert!(words.all(|word| word == first), "a record in pieces");
    first
}

/// Everything from `offset` on.
fn read_from(log: &PartitionLog, offset: u64) -> Vec<u64> {
    let mut cursor = Cursor::new(offset);
    let mut all = Vec::new();
    loop {
        let more = fetch(log, &mut cursor).expect("readable");
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

/// Appends a record that fills a chunk.
fn append_wide(log: &PartitionLog, number: u64) {
    let value = number.to_le_bytes().repeat(7);
    let record = record(&value);
    assert_eq!(record.frame_bytes() as u64, 2 * FRAME_BYTES);
    log.append(&[record]).expect("open");
}
