//! A disk that fails once, whenever that is: nobody is told that a record is kept which is not, and nobody is
//! left waiting.

use super::history::{Enqueued, FOREVER, Seen, Sender, Sent, reader};
use super::storage::Files;
use super::{check, join, small, spawn};
use crate::config::Durability;
use crate::error::Error;

/// Two senders, a reader, and one fault in the middle of it.
fn one_fault(durability: Durability, fault: fn(&Files)) {
    let files = Files::default();
    let broker = files.open();
    broker.create_topic("t", small(1).durability(durability)).expect("a free name");
    let mut following = reader(&broker, "t");
    let reading = spawn(move || {
        let mut seen = Seen::default();
        loop {
            match following.poll(FOREVER) {
                Ok(records) => seen.take(&records),
                Err(Error::Closed) => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let senders = [1, 2].map(|number| {
        let mut sender = Sender::new(&broker, "t", number);
        spawn(move || {
            let first = sender.enqueue(0);
            sender.send(0);
            let second = sender.enqueue(0);
            let mut sent = sender.sent;
            sent.extend(first.into_iter().chain(second).map(Enqueued::wait));
            sent.sort_by_key(|sent: &Sent| sent.number);
            sent
        })
    });
    fault(&files);
    let sent = senders.map(join);
    let acknowledged = || sent.iter().flatten().filter(|sent| sent.outcome.is_ok());
    if durability == Durability::PowerLoss {
        assert!(acknowledged().all(|sent| files.is_synced(sent.number)), "acknowledged, so synced");
    }
    // Whether it is told of the fault or not, it is closed.
    drop(broker.close());
    files.heal();
    let after_power_loss = files.after_power_loss();
    let found = Seen::all_of(&files.open(), "t");
    found.assert_is_from(&[&sent[0], &sent[1]], 0);
    join(reading).assert_part_of(&found);
    if durability == Durability::PowerLoss {
        // The files whose sync failed are not to be relied on, now or later.
        for left in [after_power_loss, files.after_power_loss()] {
            Seen::all_of(&left.open(), "t").assert_is_from(&[&sent[0], &sent[1]], 0);
        }
    }
}

#[test]
fn what_is_lost_when_nobody_waits_for_it_any_more_is_told_by_a_flush() {
    check(|| {
        let files = Files::default();
        let broker = files.open();
        broker.create_topic("t", small(1)).expect("a free name");
        let senders = [1, 2].map(|number| {
            let mut sender = Sender::new(&broker, "t", number);
            spawn(move || {
                let detached: Vec<u64> = (0..2).filter_map(|_| sender.enqueue_and_detach(0)).collect();
                // One asks, the other leaves it to the close.
                (detached, number == 1 && sender.producer().flush().is_err())
            })
        });
        files.fail_next_write();
        let outcomes = senders.map(join);
        let is_told = outcomes.iter().any(|(_, told)| *told) | broker.close().is_err();
        files.heal();
        let found: Vec<u64> = Seen::all_of(&files.open(), "t").numbers().collect();
        let sent = || outcomes.iter().flat_map(|(detached, _)| detached);
        assert!(found.iter().all(|number| sent().any(|sent| sent == number)));
        let is_lost = sent().any(|number| !found.contains(number));
        assert_eq!(is_told, is_lost, "{outcomes:x?}, and there is {found:x?}");
    });
}

#[test]
fn a_sync_that_fails_once_is_not_taken_for_one_that_succeeded() {
    check(|| one_fault(Durability::PowerLoss, Files::fail_next_sync));
}

#[test]
fn a_sync_in_the_background_that_fails_once_loses_nothing_to_those_who_read() {
    check(|| one_fault(Durability::ProcessCrash, Files::fail_next_sync));
}

#[test]
fn a_write_that_finds_the_disk_full_once_is_told_to_those_it_was_for() {
    check(|| one_fault(Durability::ProcessCrash, Files::fail_next_write));
}

#[test]
fn a_write_before_a_sync_that_finds_the_disk_full_once_is_told_to_those_it_was_for() {
    check(|| one_fault(Durability::PowerLoss, Files::fail_next_write));
}
