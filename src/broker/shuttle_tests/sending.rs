//! Senders and readers at the same time: everything that is acknowledged is there, once and in order, for
//! those who read it now, and for the next broker.

use std::time::Duration;

use super::history::{FOREVER, Seen, Sender, reader};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::{Durability, TopicConfig};
use crate::error::Error;
use crate::ids::TopicPartition;
use crate::sync::thread;

#[test]
fn what_is_sent_in_memory_is_polled_once_and_in_order() {
    check(|| {
        let broker = Broker::in_memory();
        broker.create_topic("t", TopicConfig::new().partitions(2)).expect("a free name");
        let senders = [1, 2].map(|number| Sender::new(&broker, "t", number));
        let readers = [(); 2].map(|()| {
            let mut reader = reader(&broker, "t");
            spawn(move || {
                let mut seen = Seen::default();
                seen.poll_until(&mut reader, 8);
                seen
            })
        });
        let senders = senders.map(|mut sender| {
            spawn(move || {
                sender.send(0);
                sender.send_batch(1, 2);
                sender.enqueue_and_wait(0);
                sender.sent
            })
        });
        let sent = senders.map(join);
        for seen in readers.map(join) {
            seen.assert_is_from(&[&sent[0], &sent[1]], 0);
        }
        broker.close().expect("in memory");
    });
}

#[test]
fn a_topic_in_memory_that_is_full_drops_its_oldest_records_and_nothing_that_is_held() {
    check(|| {
        let broker = Broker::in_memory();
        // Two chunks of two records.
        broker.create_topic("t", TopicConfig::new().memory_limit(192)).expect("a free name");
        let senders = [1, 2].map(|number| Sender::new(&broker, "t", number));
        let mut reader = reader(&broker, "t");
        let reading = spawn(move || {
            let (mut seen, mut held) = (Seen::with_gaps(), Vec::new());
            loop {
                match reader.poll(FOREVER) {
                    Ok(records) => {
                        seen.take(&records);
                        held.push(records);
                    }
                    Err(Error::Closed) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            let mut again = Seen::with_gaps();
            held.iter().for_each(|records| again.take(records));
            assert!(again.numbers().eq(seen.numbers()), "what is held does not change");
            seen
        });
        let senders = senders.map(|mut sender| {
            spawn(move || {
                (0..2).for_each(|_| {
                    sender.send(0);
                    sender.send_batch(0, 2);
                });
                sender.sent
            })
        });
        let sent = senders.map(join);
        let start = broker.describe_topic("t").expect("it is there").partitions[0].start_offset;
        Seen::all_of(&broker, "t").assert_is_from(&[&sent[0], &sent[1]], start);
        broker.close().expect("in memory");
        join(reading).assert_is_from(&[&sent[0], &sent[1]], u64::MAX);
    });
}

/// Two senders and a reader who commits, from the first record to the next broker.
fn from_send_to_reopening(durability: Durability) {
    let files = Files::default();
    let broker = files.open();
    broker.create_topic("t", small(1).durability(durability)).expect("a free name");
    let outlives = move |files: &Files, number| durability < Durability::PowerLoss || files.is_synced(number);
    let senders = [1, 2].map(|number| Sender::new(&broker, "t", number));
    let mut reader = broker.consumer::<(), u64>().topic("t").group("g").build().expect("it is there");
    let reading = spawn({
        let files = files.clone();
        move || {
            let mut seen = Seen::default();
            while seen.len() < 6 {
                let records = reader.poll(FOREVER).expect("readable");
                seen.take(&records);
                assert!(seen.numbers().all(|number| outlives(&files, number)), "visible, so synced");
                reader.commit(&records).expect("no fault");
            }
            seen
        }
    });
    let senders = senders.map(|mut sender| {
        let files = files.clone();
        spawn(move || {
            assert!(sender.send(0));
            if sender.sent[0].number & 1 << 16 == 0 {
                sender.send_batch(0, 2);
            } else {
                let enqueued = sender.enqueue(0).expect("room");
                sender.enqueue_and_wait(0);
                sender.sent.insert(1, enqueued.wait());
            }
            assert!(sender.sent.iter().all(|sent| outlives(&files, sent.number)), "acknowledged, so synced");
            sender.sent
        })
    });
    let sent = senders.map(join);
    join(reading).assert_is_from(&[&sent[0], &sent[1]], 0);
    broker.close().expect("no fault");
    for files in [files.after_power_loss(), files] {
        let broker = files.open();
        assert!(broker.recovery_report().is_clean(), "{:?}", broker.recovery_report());
        Seen::all_of(&broker, "t").assert_is_from(&[&sent[0], &sent[1]], 0);
        let committed = broker.committed_offsets("g");
        assert_eq!(committed[&TopicPartition::new("t", 0)].offset, 6);
    }
}

#[test]
fn what_is_sent_to_survive_the_process_is_polled_and_there_when_it_is_opened_again() {
    check(|| from_send_to_reopening(Durability::ProcessCrash));
}

#[test]
fn what_is_sent_to_survive_a_power_loss_is_synced_before_anybody_sees_it() {
    check(|| from_send_to_reopening(Durability::PowerLoss));
}

#[test]
fn what_is_acknowledged_is_synced_soon_by_the_flusher_alone() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        let interval = Duration::from_millis(50);
        broker.create_topic("t", small(2).sync_interval(interval)).expect("a free name");
        let senders = [1, 2].map(|number| {
            let mut sender = Sender::new(&broker, "t", number);
            spawn(move || {
                sender.send(0);
                sender.enqueue_and_detach(1).expect("room");
                sender.send(0);
                sender.sent.iter().map(|sent| sent.number).collect::<Vec<_>>()
            })
        });
        let sent = senders.map(join).concat();
        let is_synced = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(10));
            sent.iter().all(|&number| files.is_synced(number))
        });
        assert!(is_synced, "nobody syncs it");
        broker.close().expect("no fault");
    });
}

#[test]
fn what_was_acknowledged_before_a_flush_survives_a_power_loss_after_it() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let senders = [1, 2].map(|number| Sender::new(&broker, "t", number));
        let senders = senders.map(|mut sender| {
            let files = files.clone();
            spawn(move || {
                sender.send(0);
                let detached = sender.enqueue_and_detach(0).expect("room");
                sender.producer().flush().expect("no fault");
                let mut flushed = sender.sent.iter().map(|sent| sent.number).chain([detached]);
                assert!(flushed.all(|number| files.is_synced(number)), "flushed, so synced");
                sender.send(0);
                sender.sent.iter().map(|sent| sent.number).chain([detached]).collect::<Vec<_>>()
            })
        });
        let mut sent: Vec<u64> = senders.map(join).concat();
        // Without a close, what is left is the flusher's, and nobody waits for it but this.
        drop(broker);
        let broker = files.open_when_free();
        let mut found: Vec<u64> = Seen::all_of(&broker, "t").numbers().collect();
        sent.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, sent);
        broker.close().expect("no fault");
    });
}
