//! Senders that wait for room in memory: whatever makes some wakes them, and whatever ends them too.

use super::history::{FOREVER, Seen, Sender};
use super::{Broker, check, join, spawn};
use crate::config::{Durability, Retention, TopicConfig, WhenFull};
use crate::error::Error;

/// Room for two chunks of two records.
fn create(broker: &Broker) {
    let config = TopicConfig::new().durability(Durability::Memory).memory_limit(192);
    let config = config.retention(Retention::until_read_by(["readers"])).when_full(WhenFull::Block);
    broker.create_topic("t", config).expect("a free name");
}

/// Nothing is done in the background: only the commits wake the senders.
fn broker() -> Broker {
    Broker::builder().housekeeping_interval(std::time::Duration::MAX).open().expect("in memory")
}

#[test]
fn senders_wait_for_a_group_to_read_and_nothing_is_lost() {
    check(|| {
        let broker = broker();
        create(&broker);
        let builder = broker.consumer().topic("t").group("readers");
        let mut reader = builder.build().expect("it exists");
        let senders = [1, 2].map(|number| {
            let mut sender = Sender::new(&broker, "t", number);
            spawn(move || {
                (0..4).for_each(|_| {
                    sender.send(0);
                });
                sender.sent
            })
        });
        let mut seen = Seen::default();
        while seen.len() < 8 {
            let records = reader.poll(FOREVER).expect("open");
            seen.take(&records);
            reader.commit(&records).expect("in memory");
        }
        let sent = senders.map(join);
        seen.assert_is_from(&[&sent[0], &sent[1]], 0);
        broker.close().expect("in memory");
    });
}

#[test]
fn a_sender_that_waits_hears_of_the_end_or_of_room() {
    check(|| {
        let broker = broker();
        create(&broker);
        let producer = broker.producer::<(), u64>("t").expect("it exists");
        let sending = spawn(move || {
            for number in 0.. {
                match producer.send((), number) {
                    Ok(_) => {}
                    Err(Error::TopicDeleted { .. } | Error::Closed) => return number,
                    Err(error) => panic!("{error}"),
                }
            }
            unreachable!("it ends with an error")
        });
        let deleting = {
            let broker = broker.clone();
            spawn(move || {
                let end = broker.describe_topic("t").expect("it is there").partitions[0].end_offset;
                drop(broker.delete_records("t", 0, end));
                broker.delete_topic("t").expect("it is there");
            })
        };
        join(deleting);
        join(sending);
        broker.close().expect("in memory");
    });
}
