//! Ends in the middle of work: closing, dropping everything, deleting a topic. Whoever waits is told, and
//! told the truth.

use shuttle::future::block_on;

use super::history::{Enqueued, FOREVER, NOW, Reader, Seen, Sender, Sent, reader};
use super::storage::Files;
use super::{Broker, check, join, small, spawn};
use crate::config::{Durability, TopicConfig};
use crate::error::{Error, Result};
use crate::sync::thread::JoinHandle;

/// Sends and enqueues until it is told to end, or for so many rounds.
fn send_until_the_end(mut sender: Sender, rounds: usize) -> (Vec<Sent>, Vec<Enqueued>) {
    let mut on_their_way = Vec::new();
    for _ in 0..rounds {
        on_their_way.extend(sender.enqueue(0));
        if !sender.send(0) {
            break;
        }
    }
    (sender.sent, on_their_way)
}

/// Polls until that fails.
fn poll_until_the_end(mut reader: Reader) -> JoinHandle<(Seen, Error)> {
    spawn(move || {
        let mut seen = Seen::default();
        loop {
            match reader.poll(FOREVER) {
                Ok(records) => seen.take(&records),
                Err(error) => return (seen, error),
            }
        }
    })
}

/// One who hears of nothing but the partition itself.
fn assigned_reader(broker: &Broker) -> Reader {
    broker.consumer().assign("t", [0]).build().expect("it is there")
}

/// What became of everything, of which all must be known by now.
fn decided(sent: Vec<Sent>, on_their_way: Vec<Enqueued>) -> Vec<Sent> {
    assert!(on_their_way.iter().all(|enqueued| enqueued.delivery.is_decided()), "left open");
    sent.into_iter().chain(on_their_way.into_iter().map(Enqueued::wait)).collect()
}

fn a_close_in_the_middle(durability: Durability) {
    let files = Files::default();
    let broker = files.open();
    broker.create_topic("t", small(1).durability(durability)).expect("a free name");
    let reading = poll_until_the_end(assigned_reader(&broker));
    let senders = [1, 2].map(|number| {
        let sender = Sender::new(&broker, "t", number);
        spawn(move || send_until_the_end(sender, 2))
    });
    let closing = spawn({
        let broker = broker.clone();
        move || broker.close()
    });
    broker.close().expect("no fault");
    files.seal();
    // It is free when the first close returns as well as when the second one does.
    let next = files.open();
    join(closing).expect("no fault");
    let sent = senders.map(|sender| {
        let (sent, on_their_way) = join(sender);
        decided(sent, on_their_way)
    });
    let found = Seen::all_of(&next, "t");
    found.assert_is_from(&[&sent[0], &sent[1]], 0);
    let (seen, end) = join(reading);
    assert!(matches!(end, Error::Closed), "{end}");
    seen.assert_part_of(&found);
    let left = Seen::all_of(&files.after_power_loss().open(), "t");
    left.assert_is_from(&[&sent[0], &sent[1]], 0);
    assert_eq!(files.changes_after_the_end(), 0);
}

#[test]
fn a_close_in_the_middle_decides_everything_and_frees_the_directory() {
    check(|| a_close_in_the_middle(Durability::ProcessCrash));
}

#[test]
fn a_close_in_the_middle_of_durable_sends_decides_everything_and_frees_the_directory() {
    check(|| a_close_in_the_middle(Durability::PowerLoss));
}

#[test]
fn a_close_wakes_a_reader_who_has_nothing_to_read() {
    check(|| {
        let broker = Files::default().open();
        let reader = broker.consumer().topics_matching(|name| name == "t");
        let reading = poll_until_the_end(reader.build().expect("none is there yet"));
        let creating = spawn({
            let broker = broker.clone();
            move || broker.create_topic("t", small(1))
        });
        broker.close().expect("no fault");
        let created = join(creating);
        assert!(matches!(created, Ok(()) | Err(Error::Closed)), "{created:?}");
        let (_, end) = join(reading);
        assert!(matches!(end, Error::Closed), "{end}");
    });
}

#[test]
fn a_change_in_the_middle_of_a_close_is_done_or_refused() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        for topic in ["t", "u"] {
            broker.create_topic(topic, small(1)).expect("a free name");
        }
        let mut sender = Sender::new(&broker, "t", 1);
        sender.send_batch(0, 2);
        let change = |change: fn(&Broker) -> Result<()>| {
            let broker = broker.clone();
            spawn(move || match change(&broker) {
                Ok(()) => true,
                Err(Error::Closed) => false,
                Err(error) => panic!("{error}"),
            })
        };
        let changes = [
            change(|broker| broker.increase_partitions("t", 2)),
            change(|broker| broker.delete_records("t", 0, 1).map(drop)),
            change(|broker| broker.delete_topic("u")),
        ];
        broker.close().expect("no fault");
        let next = files.open();
        let [increased, trimmed, deleted] = changes.map(join);
        let partitions = next.describe_topic("t").expect("it is there").partitions;
        assert_eq!(partitions.len(), if increased { 2 } else { 1 });
        assert_eq!(partitions[0].start_offset, u64::from(trimmed));
        assert_eq!(next.list_topics().len(), if deleted { 1 } else { 2 });
    });
}

fn all_handles_are_dropped(durability: Durability) {
    let files = Files::default();
    let broker = files.open();
    broker.create_topic("t", small(1).durability(durability)).expect("a free name");
    let senders = [1, 2].map(|number| {
        let mut sender = Sender::new(&broker, "t", number);
        spawn(move || {
            let enqueued = sender.enqueue(0).expect("nothing ends it");
            let detached = sender.enqueue_and_detach(0).expect("nothing ends it");
            (sender.sent, enqueued, detached)
        })
    });
    let mut reader = reader(&broker, "t");
    let reading = spawn(move || reader.poll(NOW).expect("readable").len());
    drop(broker);
    // A delivery does not keep the directory in use, and is decided all the same.
    let enqueued = senders.map(join);
    join(reading);
    // The flusher has nobody left to wait for.
    let is_synced = |(_, enqueued, detached): &(Vec<Sent>, Enqueued, u64)| {
        files.is_synced(enqueued.number) && files.is_synced(*detached)
    };
    while !enqueued.iter().all(is_synced) {
        shuttle::thread::yield_now();
    }
    let broker = files.open_when_free();
    let found: Vec<u64> = Seen::all_of(&broker, "t").numbers().collect();
    for (as_task, (sent, enqueued, detached)) in [false, true].into_iter().zip(enqueued) {
        assert!(sent.is_empty() && found.contains(&detached), "lost: {detached:x}");
        let number = enqueued.number;
        // A thread works for its delivery itself, a task waits for the flusher.
        let outcome = if as_task { block_on(enqueued.delivery) } else { enqueued.delivery.wait() };
        outcome.expect("no fault");
        assert!(found.contains(&number), "lost: {number:x}");
    }
    assert_eq!(found.len(), 4);
    broker.close().expect("no fault");
}

#[test]
fn what_is_on_its_way_when_all_handles_are_dropped_is_kept_and_the_flusher_ends() {
    check(|| all_handles_are_dropped(Durability::ProcessCrash));
}

#[test]
fn what_waits_for_a_sync_when_all_handles_are_dropped_is_kept_and_the_flusher_ends() {
    check(|| all_handles_are_dropped(Durability::PowerLoss));
}

fn a_topic_is_deleted(broker: &Broker, config: &TopicConfig) {
    broker.create_topic("t", config.clone()).expect("a free name");
    let readings = [reader(broker, "t"), assigned_reader(broker)].map(poll_until_the_end);
    let senders = [1, 2].map(|number| {
        let sender = Sender::new(broker, "t", number);
        spawn(move || send_until_the_end(sender, 2))
    });
    broker.delete_topic("t").expect("no fault");
    broker.create_topic("t", config.clone()).expect("a free name again");
    let mut late = Sender::new(broker, "t", 3);
    assert!(late.send(0));
    let sent = senders.map(|sender| {
        let (sent, on_their_way) = join(sender);
        decided(sent, on_their_way)
    });
    for sent in sent.iter().flatten().filter_map(|sent| sent.outcome.as_ref().err()) {
        assert!(matches!(sent, Error::TopicDeleted { .. }), "{sent}");
    }
    for (seen, end) in readings.map(join) {
        assert!(matches!(end, Error::TopicDeleted { .. }), "{end}");
        seen.assert_is_from(&[&sent[0], &sent[1]], u64::MAX);
    }
    Seen::all_of(broker, "t").assert_is_from(&[&late.sent], 0);
    broker.close().expect("no fault");
}

#[test]
fn a_topic_that_is_deleted_in_the_middle_is_gone_for_all_and_can_be_made_again() {
    check(|| a_topic_is_deleted(&Files::default().open(), &small(1)));
}

#[test]
fn a_topic_in_memory_that_is_deleted_in_the_middle_is_gone_for_all_and_can_be_made_again() {
    check(|| a_topic_is_deleted(&Broker::in_memory(), &TopicConfig::new()));
}
