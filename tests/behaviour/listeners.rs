//! What a rebalance listener is told, when, and what it may do.

use std::sync::{Arc, Mutex};
use std::thread;

use ottla::{BoxError, Error, Rebalance, RebalanceListener, TopicPartition};

use crate::support::*;

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: &str, partitions: &[TopicPartition]) {
        let mut names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        names.sort();
        self.0.lock().expect("nobody panics").push(format!("{what} {}", names.join(" ")));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

impl RebalanceListener for Heard {
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        self.note("revoked", rebalance.partitions());
        Ok(())
    }

    fn assigned(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        self.note("assigned", rebalance.partitions());
        Ok(())
    }

    fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), BoxError> {
        self.note("lost", partitions);
        Ok(())
    }
}

#[test]
fn a_listener_hears_of_what_comes_and_goes_and_of_nothing_else() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let heard = Heard::default();
        let mut first = builder(broker).rebalance_listener(heard.clone()).build().expect("builds");
        assert_eq!(heard.take(), ["assigned t-0 t-1"]);
        drop(first.poll(NOW).expect("polls"));
        let mut second = builder(broker).build().expect("builds");
        assert!(heard.take().is_empty(), "only inside its own calls");
        drop(first.poll(NOW).expect("polls"));
        drop(second.poll(NOW).expect("polls"));
        let revoked = format!("revoked {}", assigned(&second).join(" "));
        assert_eq!(heard.take(), std::slice::from_ref(&revoked));
        drop(second);
        drop(first.poll(NOW).expect("polls"));
        assert_eq!(heard.take(), [revoked.replace("revoked", "assigned")]);
        broker.increase_partitions("t", 3).expect("more");
        drop(first.poll(NOW).expect("polls"));
        assert_eq!(heard.take(), ["assigned t-2"]);
        first.close().expect("nothing to commit");
        assert_eq!(heard.take(), ["revoked t-0 t-1 t-2"]);
        drop(builder(broker).rebalance_listener(heard.clone()).build().expect("builds"));
        assert_eq!(heard.take(), ["assigned t-0 t-1 t-2"], "a drop calls nothing");
    });
}

#[test]
fn a_listener_hears_of_what_is_lost() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let heard = Heard::default();
        let build = || builder(broker).rebalance_listener(heard.clone());
        let mut late = build().max_poll_interval(SOON).build().expect("builds");
        until("it is evicted", || members_of(broker) == 0);
        assert_fails!(late.poll(NOW), Error::MemberEvicted { .. });
        assert_eq!(heard.take(), ["assigned t-0", "lost t-0"]);
        drop(late);
        let mut consumer = build().build().expect("builds");
        broker.delete_topic("t").expect("it exists");
        assert_fails!(consumer.poll(NOW), Error::TopicDeleted { .. });
        assert_eq!(heard.take(), ["assigned t-0", "lost t-0"]);
    });
}

/// However the deletion, which takes its time, and the polls meet.
#[test]
fn the_deletion_of_a_chosen_topic_is_told_once_and_every_partition_is_lost() {
    on_both(|broker| {
        for round in 0..30 {
            let topic = format!("t{round}");
            broker.create_topic(&topic, partitions(4)).expect("a free name");
            let heard = Heard::default();
            let builder = broker.consumer::<(), String>().topics_matching(|name| name.starts_with('t'));
            let mut consumer = builder.group("g").rebalance_listener(heard.clone()).build().expect("builds");
            heard.take();
            let (deleting, name) = (broker.clone(), topic.clone());
            let deletion = thread::spawn(move || deleting.delete_topic(&name).expect("it exists"));
            let mut told = 0;
            while told == 0 || !deletion.is_finished() {
                match consumer.poll(NOW) {
                    Ok(_) => {}
                    Err(Error::TopicDeleted { topic: deleted }) if deleted == topic => told += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            deletion.join().expect("it was deleted");
            for _ in 0..3 {
                assert!(consumer.poll(NOW).expect("told already").is_empty());
            }
            let all = (0..4).map(|partition| format!("{topic}-{partition}")).collect::<Vec<_>>();
            assert_eq!((told, heard.take()), (1, vec![format!("lost {}", all.join(" "))]));
        }
    });
}

#[test]
fn a_close_revokes_nothing_that_is_lost() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        let heard = Heard::default();
        let mut consumer = builder(broker).rebalance_listener(heard.clone()).build().expect("builds");
        broker.delete_topic("t").expect("it exists");
        assert_fails!(consumer.poll(NOW), Error::TopicDeleted { .. });
        consumer.close().expect("nothing to commit");
        assert_eq!(heard.take(), ["assigned t-0", "lost t-0"]);
    });
}

/// Panics the first time it is to give something up.
struct Fragile(bool);

impl RebalanceListener for Fragile {
    fn revoked(&mut self, _: &mut Rebalance<'_>) -> Result<(), BoxError> {
        assert!(std::mem::replace(&mut self.0, true), "as it was told to");
        Ok(())
    }
}

#[test]
fn a_listener_that_panicked_is_asked_again() {
    on_both(|broker| {
        broker.create_topic("t", partitions(2)).expect("a free name");
        let mut first = builder(broker).rebalance_listener(Fragile(false)).build().expect("builds");
        let mut second = builder(broker).build().expect("builds");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.poll(NOW).map(drop)));
        assert!(panicked.is_err());
        assert_eq!(assigned(&first).len(), 2, "nothing was given up");
        settle(broker, &mut [&mut first, &mut second]);
        assert_eq!(assigned(&second).len(), 1);
    });
}

/// Commits its position at the last moment, and may refuse what it is told.
struct Late {
    fails: bool,
}

impl RebalanceListener for Late {
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>) -> Result<(), BoxError> {
        for at in rebalance.partitions().to_vec() {
            let position = rebalance.position(&at.topic, at.partition)?;
            rebalance.commit_offsets([(at, position)])?;
        }
        if self.fails { Err("as it was told to".into()) } else { Ok(()) }
    }
}

#[test]
fn what_is_revoked_can_still_be_committed_and_the_next_owner_begins_there() {
    on_both(|broker| {
        broker.create_topic("t", partitions(1)).expect("a free name");
        for fails in [false, true] {
            send_numbered(broker, "t", 3);
            let mut first = builder(broker).rebalance_listener(Late { fails }).build().expect("builds");
            assert_eq!(first.poll(NOW).expect("three").len(), 3);
            let outcome = first.close();
            match outcome {
                Ok(()) => assert!(!fails),
                Err(Error::RebalanceListener { source }) => {
                    assert_eq!(source.to_string(), "as it was told to");
                }
                Err(error) => panic!("{error}"),
            }
            assert!(builder(broker).build().expect("builds").poll(NOW).expect("nothing").is_empty());
        }
    });
}
