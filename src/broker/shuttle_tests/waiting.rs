//! Ways to wait: futures that are driven by hand, polls with a timeout, polls for a minimum, commits in the
//! background. Whoever sleeps is woken.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;

use super::history::{FOREVER, NOW, Seen, Sender, Sent, reader};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::{Durability, TopicConfig};
use crate::error::Error;
use crate::ids::TopicPartition;

const SOON: Duration = Duration::from_millis(20);

/// Sends six records, of which only the last do not have to be read from files.
fn send_to_files(sender: &mut Sender) {
    for _ in 0..3 {
        sender.send_batch(0, 2);
        // What is not synced stays in memory.
        sender.producer().flush().expect("no fault");
    }
}

#[test]
fn a_task_reads_from_files_and_then_what_comes_and_commits_it() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let mut sender = Sender::new(&broker, "t", 1);
        send_to_files(&mut sender);
        let mut reader = broker.consumer::<(), u64>().topic("t").group("g").build().expect("it is there");
        let task = spawn(move || {
            let mut seen = Seen::default();
            while seen.len() < 8 {
                let records = block_on(reader.next_records()).expect("readable");
                seen.take(&records);
                block_on(reader.commit_async(&records)).expect("no fault");
            }
            seen
        });
        (0..2).for_each(|_| assert!(sender.send(0)));
        let seen = join(task);
        seen.assert_is_from(&[&sender.sent], 0);
        broker.close().expect("no fault");
        let committed = files.open().committed_offsets("g");
        assert_eq!(committed[&TopicPartition::new("t", 0)].offset, 8);
    });
}

#[test]
fn a_task_that_commits_with_each_poll_has_committed_all_of_them() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let reader = broker.consumer::<(), u64>().topic("t").group("g").auto_commit(true);
        let mut reader = reader.build().expect("it is there");
        let task = spawn(move || {
            let mut seen = Seen::default();
            while seen.len() < 4 {
                seen.take(&block_on(reader.next_records()).expect("readable"));
            }
            reader.close().expect("no fault");
            seen
        });
        let mut sender = Sender::new(&broker, "t", 1);
        sender.send_batch(0, 2);
        (0..2).for_each(|_| assert!(sender.send(0)));
        join(task).assert_is_from(&[&sender.sent], 0);
        broker.close().expect("no fault");
        let committed = files.open().committed_offsets("g");
        assert_eq!(committed[&TopicPartition::new("t", 0)].offset, 4);
    });
}

#[test]
fn a_poll_of_a_task_that_is_dropped_takes_nothing_and_keeps_nobody_awake() {
    check(|| {
        let broker = Files::default().open();
        broker.create_topic("t", small(1)).expect("a free name");
        let mut sender = Sender::new(&broker, "t", 1);
        send_to_files(&mut sender);
        let mut reader = reader(&broker, "t");
        let task = spawn(move || {
            let mut seen = Seen::default();
            while seen.len() < 8 {
                // Once, by hand: it may have asked for a read, or sleep.
                let mut polled = Box::pin(reader.next_records());
                match polled.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(records) => seen.take(&records.expect("readable")),
                    Poll::Pending => {
                        drop(polled);
                        seen.take(&block_on(reader.next_records()).expect("readable"));
                    }
                }
            }
            seen
        });
        (0..2).for_each(|_| assert!(sender.send(0)));
        join(task).assert_is_from(&[&sender.sent], 0);
        broker.close().expect("no fault");
    });
}

#[test]
fn tasks_that_send_more_than_there_is_room_for_are_woken_when_there_is() {
    check(|| {
        let broker = Files::default().open();
        broker.create_topic("t", small(1)).expect("a free name");
        let tasks = [1, 2].map(|number: u64| {
            let producer = broker.producer::<(), u64>("t").expect("it is there");
            spawn(move || {
                let sends: Vec<_> =
                    (1..=4).map(|record| producer.send_async((), number << 16 | record)).collect();
                sends.into_iter().map(|send| block_on(send).expect("no fault").offset).collect::<Vec<_>>()
            })
        });
        let mut offsets = tasks.map(join).concat();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..8).collect::<Vec<_>>());
        broker.close().expect("no fault");
    });
}

/// Sends as a task, and hears of each.
fn sends_of_tasks(durability: Durability) {
    let broker = Files::default().open();
    broker.create_topic("t", small(1).durability(durability)).expect("a free name");
    let tasks = [1, 2].map(|number: u64| {
        let producer = broker.producer::<(), u64>("t").expect("it is there");
        spawn(move || {
            let numbers = [number << 16 | 1, number << 16 | 2];
            let sends = numbers.map(|number| (number, producer.send_async((), number)));
            sends.map(|(number, send)| Sent { number, partition: 0, outcome: block_on(send) })
        })
    });
    let sent = tasks.map(join);
    let mut seen = Seen::default();
    seen.poll_all(&mut reader(&broker, "t"));
    seen.assert_is_from(&[&sent[0], &sent[1]], 0);
    assert_eq!(seen.len(), 4, "acknowledged, so readable");
    broker.close().expect("no fault");
}

#[test]
fn tasks_that_send_hear_of_what_the_flusher_does_for_them() {
    check(|| sends_of_tasks(Durability::ProcessCrash));
}

#[test]
fn tasks_that_send_hear_of_the_sync_that_the_flusher_does_for_them() {
    check(|| sends_of_tasks(Durability::PowerLoss));
}

#[test]
fn a_close_ends_a_task_that_reads() {
    check(|| {
        let broker = Files::default().open();
        broker.create_topic("t", small(1)).expect("a free name");
        let mut sender = Sender::new(&broker, "t", 1);
        send_to_files(&mut sender);
        let mut following = reader(&broker, "t");
        let task = spawn(move || {
            let mut seen = Seen::default();
            loop {
                match block_on(following.next_records()) {
                    Ok(records) => seen.take(&records),
                    Err(Error::Closed) => return seen,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        sender.send(0);
        broker.close().expect("no fault");
        join(task).assert_is_from(&[&sender.sent], u64::MAX);
    });
}

/// A poll with a timeout, one for a minimum and one without either, and one who wakes them.
fn polls_of_all_kinds(broker: &Broker, config: TopicConfig) {
    broker.create_topic("t", config).expect("a free name");
    let mut timed = reader(broker, "t");
    let timed = spawn(move || {
        let mut seen = Seen::default();
        while seen.len() < 3 {
            seen.take(&timed.poll(SOON).expect("readable"));
        }
        seen
    });
    let waiting = broker.consumer().topic("t").min_bytes(3 * super::FRAME_BYTES as usize);
    let mut waiting = waiting.build().expect("it is there");
    let wake_handle = waiting.wake_handle();
    let waiting = spawn(move || {
        let (mut seen, mut woken) = (Seen::default(), 0);
        while seen.len() < 3 || woken == 0 {
            match waiting.poll(FOREVER) {
                Ok(records) => {
                    assert_eq!(records.len(), 3, "as many as it waits for");
                    seen.take(&records);
                }
                Err(Error::Woken) => woken += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(waiting.poll(NOW).expect("one wake ends one poll").is_empty());
        (seen, woken)
    });
    let waking = spawn(move || wake_handle.wake());
    let mut sender = Sender::new(broker, "t", 1);
    sender.send_batch(0, 2);
    sender.enqueue_and_wait(0);
    join(waking);
    join(timed).assert_is_from(&[&sender.sent], 0);
    let (seen, woken) = join(waiting);
    seen.assert_is_from(&[&sender.sent], 0);
    assert_eq!(woken, 1);
    broker.close().expect("no fault");
}

#[test]
fn polls_of_all_kinds_are_woken() {
    check(|| polls_of_all_kinds(&Files::default().open(), small(1)));
}

#[test]
fn polls_of_all_kinds_are_woken_in_memory() {
    check(|| polls_of_all_kinds(&Broker::in_memory(), TopicConfig::new()));
}

#[test]
fn what_a_group_has_committed_last_is_what_the_next_broker_finds() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let mut sender = Sender::new(&broker, "t", 1);
        sender.send_batch(0, 2);
        let mut reader = broker.consumer::<(), u64>().topic("t").group("g").build().expect("it is there");
        let committing = spawn(move || {
            let records = reader.poll(NOW).expect("readable");
            let begun = reader.commit_async(&records);
            for offset in [0, 1] {
                let place = TopicPartition::new("t", 0);
                reader.commit_offsets([(place, offset)]).expect("no fault");
            }
            block_on(begun).expect("no fault");
        });
        let resetting = spawn({
            let broker = broker.clone();
            move || broker.reset_group("g", "t", crate::broker::ResetTo::Latest)
        });
        join(committing);
        // In use by then or not: either is an answer.
        drop(join(resetting));
        let committed = broker.committed_offsets("g");
        broker.close().expect("no fault");
        assert_eq!(files.open().committed_offsets("g"), committed);
    });
}

#[test]
fn a_delivery_that_is_waited_for_a_while_is_decided_in_the_end() {
    check(|| {
        let broker = Files::default().open();
        broker.create_topic("t", small(1).durability(Durability::PowerLoss)).expect("a free name");
        let mut sender = Sender::new(&broker, "t", 1);
        let waiting = spawn(move || {
            let enqueued = sender.enqueue(0).expect("room");
            // Nobody but the flusher works for it.
            loop {
                if let Some(outcome) = enqueued.delivery.wait_timeout(SOON) {
                    return outcome.expect("no fault").offset;
                }
            }
        });
        let mut other = Sender::new(&broker, "t", 2);
        other.send(0);
        let offsets = (join(waiting), other.sent[0].outcome.as_ref().expect("no fault").offset);
        assert!(matches!(offsets, (0, 1) | (1, 0)), "{offsets:?}");
        broker.close().expect("no fault");
    });
}
