//! Logs that go to rest while others send and read: nothing is lost, nobody sleeps through a record, and when
//! nothing more comes no file is open.

use std::time::Duration;

use super::history::{Seen, Sender, reader};
use super::storage::Files;
use super::{check, join, small, spawn};
use crate::config::Durability;
use crate::sync::thread;

/// Two senders with pauses, in which the log may go to rest or not, and a reader who sleeps when it is there.
fn sends_with_pauses(durability: Durability) {
    let files = Files::default();
    let broker = files.open();
    let config = small(1).durability(durability).sync_interval(Duration::from_millis(50));
    broker.create_topic("t", config).expect("a free name");
    let reading = spawn({
        let mut reader = reader(&broker, "t");
        move || {
            let mut seen = Seen::default();
            seen.poll_until(&mut reader, 6);
            seen
        }
    });
    let senders = [1, 2].map(|number| {
        let mut sender = Sender::new(&broker, "t", number);
        spawn(move || {
            for _ in 0..2 {
                sender.send(0);
                thread::sleep(Duration::from_millis(600));
            }
            sender.enqueue_and_wait(0);
            sender.sent
        })
    });
    let sent = senders.map(join);
    join(reading).assert_is_from(&[&sent[0], &sent[1]], 0);
    let rests = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        files.open_files() == 0
    });
    assert!(rests, "nobody uses it, and a file is open");
    Seen::all_of(&broker, "t").assert_is_from(&[&sent[0], &sent[1]], 0);
    let mut late = Sender::new(&broker, "t", 3);
    assert!(late.send(0));
    Seen::all_of(&broker, "t").assert_is_from(&[&sent[0], &sent[1], &late.sent], 0);
    broker.close().expect("no fault");
    assert_eq!((files.open_files(), files.closed_unsynced()), (0, 0));
    Seen::all_of(&files.after_power_loss().open(), "t").assert_is_from(&[&sent[0], &sent[1], &late.sent], 0);
}

#[test]
fn what_is_sent_while_the_log_goes_to_rest_is_there_and_read() {
    check(|| sends_with_pauses(Durability::ProcessCrash));
}

#[test]
fn what_is_sent_durably_while_the_log_goes_to_rest_is_there_and_read() {
    check(|| sends_with_pauses(Durability::PowerLoss));
}
