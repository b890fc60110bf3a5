//! Ending a poll with a wake handle: which poll it ends, once, and that nothing is lost.

use std::time::Duration;

use ottla::{Error, TopicConfig, WakeHandle};

use crate::support::*;

#[test]
fn a_blocked_poll_ends_when_it_is_woken() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let mut consumer = reader(broker, "t");
        let wake_handle = consumer.wake_handle();
        let poll = watched("a poll that is woken", move || {
            let outcome = consumer.poll(FOREVER).map(|records| records.len());
            (outcome, consumer)
        });
        let_it_sleep();
        wake_handle.wake();
        let (outcome, mut consumer) = poll.wait();
        assert_fails!(outcome, Error::Woken);
        send_numbered(broker, "t", 2);
        assert_eq!(texts(&drain(&mut consumer)), numbered(0..2), "it goes on as before");
    });
}

#[test]
fn a_wake_before_the_poll_ends_that_poll_only() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        send_numbered(broker, "t", 3);
        for timeout in [NOW, Duration::from_millis(1), FOREVER] {
            let mut consumer = reader(broker, "t");
            let wake_handle = consumer.wake_handle();
            wake_handle.wake();
            wake_handle.clone().wake();
            assert_fails!(consumer.poll(timeout), Error::Woken);
            assert_eq!(consumer.position("t", 0).expect("assigned"), 0, "nothing was taken");
            assert_eq!(consumer.poll(timeout).expect("both wakes were one").len(), 3);
        }
    });
}

#[test]
fn a_wake_ends_the_poll_of_its_own_consumer() {
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let (mut woken, mut other) = (reader(broker, "t"), reader(broker, "t"));
        woken.wake_handle().wake();
        assert!(other.poll(NOW).expect("nobody woke it").is_empty());
        assert_fails!(woken.poll(NOW), Error::Woken);
    });
}

#[test]
fn a_wake_handle_outlives_its_consumer_and_can_be_shared() {
    fn is_shared<T: Clone + Send + Sync + std::fmt::Debug>(_: &T) {}
    on_both(|broker| {
        broker.create_topic("t", TopicConfig::new()).expect("a free name");
        let wake_handle: WakeHandle = reader(broker, "t").wake_handle();
        is_shared(&wake_handle);
        wake_handle.wake();
    });
}

#[test]
fn every_record_arrives_once_between_wakes_at_any_moment() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let mut consumer = broker.consumer::<(), u32>().topic("t").build().expect("it exists");
        let wake_handle = consumer.wake_handle();
        let producer = broker.producer::<(), u32>("t").expect("it exists");
        let poller = watched("a poller that is woken often", move || {
            let (mut seen, mut woken) = (Vec::new(), 0);
            while seen.len() < 2_000 {
                match consumer.poll(FOREVER) {
                    Ok(records) => {
                        seen.extend(records.iter().map(|record| record.value().expect("a number")));
                    }
                    Err(Error::Woken) => woken += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            (seen, woken)
        });
        for number in 0..2_000 {
            producer.record(number).partition(number % 2).send().expect("sends");
            wake_handle.wake();
        }
        let (mut seen, woken) = poller.wait();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..2_000));
        assert!(woken > 0);
    });
}
