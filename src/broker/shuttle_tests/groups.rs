//! Groups of several members, whose partitions change hands while others send, wait, commit, grow and close.
//! Whoever waits for a partition is woken, and no commit that counts is passed over or undone.

use std::time::Duration;

use shuttle::future::block_on;
use shuttle::sync::mpsc;

use super::history::{FOREVER, NOW, Reader, Sender};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::TopicConfig;
use crate::consumer::{ConsumerBuilder, Records};
use crate::error::Error;
use crate::ids::TopicPartition;
use crate::sync::thread::JoinHandle;

const AT_ONCE: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_millis(20);
const HOUR: Duration = Duration::from_secs(3_600);

fn builder(broker: &Broker) -> ConsumerBuilder<(), u64> {
    broker.consumer().topic("t").group("g")
}

fn member(broker: &Broker) -> Reader {
    builder(broker).build().expect("it may join")
}

fn memory(partitions: u32) -> Broker {
    let broker = Broker::in_memory();
    broker.create_topic("t", TopicConfig::new().partitions(partitions)).expect("a free name");
    broker
}

fn on_files(files: &Files, partitions: u32) -> Broker {
    let broker = files.open();
    broker.create_topic("t", small(partitions)).expect("a free name");
    broker
}

fn offsets(records: &Records<(), u64>) -> Vec<u64> {
    records.iter().map(|record| record.offset()).collect()
}

/// What members have processed and committed: partition and offset.
type Processed = mpsc::Sender<(u32, u64)>;

fn commit(member: &Reader, records: &Records<(), u64>, processed: &Processed) {
    member.commit(records).expect("partitions are lost in polls only");
    for record in records {
        processed.send((record.partition(), record.offset())).expect("somebody listens");
    }
}

/// Works until it is woken.
fn work(mut member: Reader, processed: Processed) -> JoinHandle<()> {
    spawn(move || {
        loop {
            match member.poll(FOREVER) {
                Ok(records) => commit(&member, &records, &processed),
                Err(Error::Woken) => return,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// As [`work`] does, as a task.
fn work_as_task(mut member: Reader, processed: Processed) -> JoinHandle<()> {
    spawn(move || {
        loop {
            match block_on(member.next_records()) {
                Ok(records) => {
                    block_on(member.commit_async(&records)).expect("partitions are lost in polls only");
                    for record in &records {
                        processed.send((record.partition(), record.offset())).expect("somebody listens");
                    }
                }
                Err(Error::Woken) => return,
                Err(error) => panic!("{error}"),
            }
        }
    })
}

/// Waits until so many records were processed, which must be these.
fn await_each_once(processed: &mpsc::Receiver<(u32, u64)>, mut expected: Vec<(u32, u64)>) {
    let mut all: Vec<(u32, u64)> = expected.iter().map(|_| processed.recv().expect("members work")).collect();
    all.sort_unstable();
    expected.sort_unstable();
    assert_eq!(all, expected, "each once");
}

// ---- who waits ----

/// Two members work, one of them as a task, while a third joins, works a little and leaves.
fn members_come_and_go(broker: &Broker) {
    let (processed, all) = mpsc::channel();
    let (first, second) = (member(broker), member(broker));
    let wakes = [first.wake_handle(), second.wake_handle()];
    let working = [work(first, processed.clone()), work_as_task(second, processed.clone())];
    let passing = spawn({
        let broker = broker.clone();
        move || {
            let mut third = member(&broker);
            for _ in 0..2 {
                let records = third.poll(NOW).expect("readable");
                commit(&third, &records, &processed);
            }
        }
    });
    let mut sender = Sender::new(broker, "t", 1);
    for partition in [0, 1, 0] {
        assert!(sender.send(partition));
    }
    await_each_once(&all, vec![(0, 0), (1, 0), (0, 1)]);
    join(passing);
    assert!(sender.send(1));
    await_each_once(&all, vec![(1, 1)]);
    wakes.iter().for_each(crate::consumer::WakeHandle::wake);
    working.into_iter().for_each(join);
    assert!(all.try_recv().is_err(), "each once");
    broker.close().expect("no fault");
}

#[test]
fn members_that_wait_process_each_record_once_while_another_comes_and_goes() {
    check(|| members_come_and_go(&memory(2)));
}

#[test]
fn members_that_wait_process_each_record_once_while_another_comes_and_goes_on_files() {
    check(|| members_come_and_go(&on_files(&Files::default(), 2)));
}

#[test]
fn members_that_wait_divide_the_partitions_that_are_added() {
    check(|| {
        let broker = memory(1);
        let (processed, all) = mpsc::channel();
        let (first, second) = (member(&broker), member(&broker));
        let wakes = [first.wake_handle(), second.wake_handle()];
        let working = [work(first, processed.clone()), work(second, processed)];
        let early = spawn({
            let broker = broker.clone();
            move || assert!(Sender::new(&broker, "t", 1).send(0))
        });
        broker.increase_partitions("t", 3).expect("more");
        let mut sender = Sender::new(&broker, "t", 2);
        assert!(sender.send(1) && sender.send(2));
        await_each_once(&all, vec![(0, 0), (1, 0), (2, 0)]);
        join(early);
        wakes.iter().for_each(crate::consumer::WakeHandle::wake);
        working.into_iter().for_each(join);
    });
}

/// Waits for the record of partition 0 and for that of partition 1.
fn waits_for_both(mut member: Reader) -> JoinHandle<()> {
    spawn(move || {
        let mut seen = [false, false];
        while seen != [true, true] {
            for record in &member.poll(FOREVER).expect("readable") {
                seen[record.partition() as usize] = true;
            }
        }
    })
}

#[test]
fn what_an_instance_was_to_give_up_is_read_by_who_waits_for_it() {
    check(|| {
        let broker = memory(2);
        let leaving = builder(&broker).instance_id("i").instance_timeout(HOUR).build().expect("joins");
        let mut waiting = member(&broker);
        let reading = spawn(move || waiting.poll(FOREVER).expect("readable").len());
        join(spawn(move || drop(leaving)));
        // One of them is not the instance's any more.
        let mut sender = Sender::new(&broker, "t", 1);
        assert!(sender.send(0) && sender.send(1));
        assert_eq!(join(reading), 1);
        broker.close().expect("no fault");
    });
}

#[test]
fn who_waits_is_given_the_partitions_of_an_instance_that_does_not_come_back() {
    check(|| {
        let broker = memory(2);
        let leaving = builder(&broker).instance_id("i").instance_timeout(SOON).build().expect("joins");
        let reading = waits_for_both(member(&broker));
        let leaves = spawn(move || drop(leaving));
        let mut sender = Sender::new(&broker, "t", 1);
        assert!(sender.send(0) && sender.send(1));
        join(reading);
        join(leaves);
        broker.close().expect("no fault");
    });
}

#[test]
fn a_close_ends_all_members_that_wait() {
    check(|| {
        let broker = memory(1);
        let limited = builder(&broker).max_poll_interval(HOUR).build().expect("joins");
        let instance = builder(&broker).instance_id("i").instance_timeout(HOUR).build().expect("joins");
        let waiting = [limited, instance, member(&broker)]
            .map(|mut member| spawn(move || assert!(matches!(member.poll(FOREVER), Err(Error::Closed)))));
        broker.close().expect("no fault");
        waiting.into_iter().for_each(join);
    });
}

// ---- what is committed ----

/// The next owner of the only partition, which has two records: commits all that it is given, up to a third
/// one, and says what that was.
fn takes_over(mut member: Reader) -> JoinHandle<Vec<u64>> {
    spawn(move || {
        let mut seen = Vec::new();
        while seen.last() != Some(&2) {
            let records = member.poll(FOREVER).expect("readable");
            member.commit(&records).expect("partitions are lost in polls only");
            seen.extend(offsets(&records));
        }
        seen
    })
}

/// What the next owner was given, and what the next broker finds.
fn assert_begun(files: &Files, broker: &Broker, next: JoinHandle<Vec<u64>>, committed: u64) {
    let expected: Vec<u64> = (committed..=2).collect();
    assert_eq!(join(next), expected, "behind what counts, and nowhere else");
    let at = TopicPartition::new("t", 0);
    assert_eq!(broker.committed_offsets("g")[&at].offset, 3);
    broker.close().expect("no fault");
    assert_eq!(files.open().committed_offsets("g")[&at].offset, 3);
}

#[test]
fn a_commit_of_who_is_evicted_counts_for_the_next_owner_or_is_refused() {
    check(|| {
        let files = Files::default();
        let broker = on_files(&files, 1);
        let mut sender = Sender::new(&broker, "t", 1);
        sender.send_batch(0, 2);
        let mut slow = builder(&broker).max_poll_interval(AT_ONCE).build().expect("joins");
        let next = takes_over(member(&broker));
        let committing = spawn(move || {
            let records = match slow.poll(NOW) {
                Ok(records) => records,
                Err(Error::MemberEvicted { .. }) => return 0,
                Err(error) => panic!("{error}"),
            };
            let mut committed = 0;
            // Back and forth: the last one that is not refused counts.
            for record in records.iter().chain(&records) {
                match slow.commit_through(&record) {
                    Ok(()) => committed = record.offset() + 1,
                    Err(Error::CommitFenced { .. }) => return committed,
                    Err(error) => panic!("{error}"),
                }
            }
            committed
        });
        let committed = join(committing);
        assert!(sender.send(0));
        assert_begun(&files, &broker, next, committed);
    });
}

#[test]
fn a_commit_that_is_on_its_way_when_its_consumer_is_dropped_counts_for_the_next_owner() {
    check(|| {
        let files = Files::default();
        let broker = on_files(&files, 1);
        let mut sender = Sender::new(&broker, "t", 1);
        sender.send_batch(0, 2);
        let mut first = member(&broker);
        let next = takes_over(member(&broker));
        let committing = spawn(move || {
            let records = first.poll(NOW).expect("readable");
            assert_eq!(offsets(&records), [0, 1]);
            let under_way = first.commit_async(&records);
            drop(first);
            block_on(under_way).expect("no fault");
        });
        join(committing);
        assert!(sender.send(0));
        assert_begun(&files, &broker, next, 2);
    });
}
