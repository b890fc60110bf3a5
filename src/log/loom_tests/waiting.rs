//! Waiting for one thing that another thread does: no wake-up is lost. A model in which somebody sleeps for
//! ever fails.

use std::task::{Context, Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use super::check;
use crate::log::completion::Promise;
use crate::log::wakeups::Wakeups;
use crate::sync::grow_list::GrowList;
use crate::sync::signal::{Signal, Waiters};
use crate::sync::{Arc, AtomicBool, Ordering};

/// Something that another thread tells of.
#[derive(Default)]
struct News {
    /// Relaxed: whoever is woken sees it because of the order of the wake-up alone.
    is_there: AtomicBool,
    waiters: Arc<Waiters>,
}

impl News {
    fn for_poller(signal: &Arc<Signal>) -> Arc<Self> {
        let news = Arc::<Self>::default();
        news.waiters.register(signal);
        news
    }

    fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    fn tell(&self, notify: impl FnOnce(&Waiters)) {
        self.is_there.store(true, Ordering::Relaxed);
        notify(&self.waiters);
    }
}

#[test]
fn a_poller_of_two_partitions_hears_of_both() {
    check(|| {
        let signal = Arc::default();
        let partitions = [News::for_poller(&signal), News::for_poller(&signal)];
        let senders = partitions.clone().map(|news| thread::spawn(move || news.tell(Waiters::notify)));
        loop {
            let sleep = signal.announce(partitions.iter().map(|news| Arc::clone(&news.waiters)).collect());
            if partitions.iter().all(|news| news.is_there()) {
                break;
            }
            sleep.wait(None);
        }
        senders.into_iter().for_each(|sender| sender.join().expect("the sender"));
    });
}

#[test]
fn a_poller_hears_of_news_that_are_for_all_and_of_interruptions() {
    check(|| {
        let signal = Arc::<Signal>::default();
        let news = News::for_poller(&signal);
        let teller = thread::spawn({
            let news = Arc::clone(&news);
            move || news.tell(Waiters::notify_all)
        });
        let interrupter = thread::spawn({
            let signal = Arc::clone(&signal);
            move || signal.interrupt()
        });
        let mut is_interrupted = false;
        loop {
            let sleep = signal.announce(vec![Arc::clone(&news.waiters)]);
            is_interrupted |= signal.take_interruption();
            if is_interrupted && news.is_there() {
                break;
            }
            sleep.wait(None);
        }
        assert!(!signal.take_interruption(), "one interruption ends one poll");
        teller.join().expect("the teller");
        interrupter.join().expect("the interrupter");
    });
}

#[test]
fn a_task_that_polls_is_woken() {
    check(|| {
        let signal = Arc::<Signal>::default();
        let news = News::for_poller(&signal);
        let sender = thread::spawn({
            let news = Arc::clone(&news);
            move || news.tell(Waiters::notify)
        });
        let (bell, waker) = bell();
        while !news.is_there() {
            let mut sleep = signal.announce(vec![Arc::clone(&news.waiters)]);
            while !news.is_there() && sleep.poll(&mut Context::from_waker(&waker)).is_pending() {
                bell.0.wait();
            }
        }
        sender.join().expect("the sender");
    });
}

#[test]
fn all_who_wait_for_a_completion_hear_of_it() {
    check(|| {
        let promise = Promise::default();
        let completion = promise.completion();
        let waiters = [(); 2].map(|()| {
            let completion = Arc::clone(&completion);
            thread::spawn(move || completion.wait())
        });
        Wakeups::default().decide(&[promise], &Ok(()));
        waiters.into_iter().for_each(|waiter| waiter.join().expect("the waiter"));
    });
}

/// Wakes a thread that polls a future.
struct Bell(Notify);

fn bell() -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell(Notify::new()));
    (Arc::clone(&bell), Waker::from(bell))
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

#[test]
fn a_future_that_waits_for_a_completion_is_woken() {
    check(|| {
        let promise = Promise::default();
        let completion = promise.completion();
        let completing = thread::spawn(move || Wakeups::default().decide(&[promise], &Ok(())));
        let (bell, waker) = bell();
        let mut listener = None;
        while completion.poll(&mut listener, &mut Context::from_waker(&waker)).is_pending() {
            bell.0.wait();
        }
        assert!(completion.is_complete());
        completing.join().expect("it completes");
    });
}

#[test]
fn a_list_is_read_while_it_grows() {
    check(|| {
        let list = Arc::new(GrowList::from_iter([1]));
        let growing = thread::spawn({
            let list = Arc::clone(&list);
            move || list.push(7)
        });
        let len = list.len();
        assert!((0..len).all(|index| list.get(index).is_some()), "what is counted is there");
        list.push(8);
        growing.join().expect("it grows");
        assert_eq!(list.iter().sum::<u64>(), 16);
    });
}
