//! Waiting for one thing that another thread does: no wake-up is lost. A model in which somebody sleeps for
//! ever fails.

use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use super::check;
use crate::log::completion::Completion;
use crate::sync::grow_list::GrowList;
use crate::sync::signal::{Signal, Waiters};
use crate::sync::{Arc, AtomicBool, Ordering};

#[test]
fn a_poller_of_two_partitions_hears_of_either() {
    check(|| {
        // Relaxed: what a notification says is seen because of the fences alone.
        let news = Arc::new((
            [AtomicBool::new(false), AtomicBool::new(false)],
            [Waiters::default(), Waiters::default()],
        ));
        let signal = Arc::<Signal>::default();
        news.1.iter().for_each(|waiters| waiters.register(&signal));
        let senders = [0, 1].map(|number| {
            let news = Arc::clone(&news);
            thread::spawn(move || {
                news.0[number].store(true, Ordering::Relaxed);
                news.1[number].notify();
            })
        });
        let both = || news.0.iter().all(|is_there| is_there.load(Ordering::Relaxed)).then_some(());
        while signal.sleep_unless(news.1.iter(), None, both).is_none() {}
        senders.into_iter().for_each(|sender| sender.join().expect("the sender"));
    });
}

#[test]
fn all_who_wait_for_a_completion_hear_of_it() {
    check(|| {
        let completion = Arc::<Completion>::default();
        let waiters = [(); 2].map(|()| {
            let completion = Arc::clone(&completion);
            thread::spawn(move || completion.wait())
        });
        completion.complete(Ok(()));
        waiters.into_iter().for_each(|waiter| waiter.join().expect("the waiter"));
    });
}

/// Wakes a thread that polls a future.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

#[test]
fn a_future_that_waits_for_a_completion_is_woken() {
    check(|| {
        let completion = Arc::<Completion>::default();
        let completing = thread::spawn({
            let completion = Arc::clone(&completion);
            move || completion.complete(Ok(()))
        });
        let bell = Arc::new(Bell(Notify::new()));
        let waker = Waker::from(Arc::clone(&bell));
        let mut listener = None;
        while let Poll::Pending = completion.poll(&mut listener, &mut Context::from_waker(&waker)) {
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
        let growing = [7, 8].map(|element| {
            let list = Arc::clone(&list);
            thread::spawn(move || list.push(element))
        });
        let len = list.len();
        assert!((0..len).all(|index| matches!(list.get(index), Some(1 | 7 | 8))));
        growing.into_iter().for_each(|thread| thread.join().expect("it grows"));
        assert_eq!(list.iter().sum::<u64>(), 16);
    });
}
