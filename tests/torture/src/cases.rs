//! Runs many small cases, on as many threads as the machine has cores. Each is told its number and nothing of the
//! others, so each can be run again alone. A case that panics, on whatever thread, or does not come to an end,
//! has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::common::options::Options;
use crate::common::outcome::{Failure, Finding};

/// No case takes longer, whatever else the machine does.
const PATIENCE: Duration = Duration::from_secs(90);

/// What cases did, to be added up.
pub(crate) trait Counts: Default + Send + 'static {
    fn add(&mut self, other: Self);
}

/// What all cases of a run did.
#[derive(Debug)]
pub(crate) struct Done<C> {
    pub(crate) cases: u64,
    pub(crate) counts: C,
}

/// Runs cases 0 to `cases`, or the one that the options name, until the first that fails or until the time is up.
pub(crate) fn run_all<C: Counts>(
    options: &Options,
    cases: u64,
    case: impl Fn(u64, &mut C) -> Result<(), Failure> + Send + Sync + 'static,
) -> Result<Done<C>, Failure> {
    note_panics();
    let (first, end) = options.case.map_or((0, cases), |case| (case, case + 1));
    let deadline = options.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let threads = thread::available_parallelism().map_or(1, usize::from).min((end - first).max(1) as usize);
    let crew = Arc::new(Crew {
        next: AtomicU64::new(first),
        end,
        deadline,
        is_over: AtomicBool::new(false),
        under_way: (0..threads).map(|_| Mutex::new(None)).collect(),
        case,
    });
    let (said, heard) = channel();
    for worker in 0..threads {
        let (crew, said) = (Arc::clone(&crew), said.clone());
        let started = thread::Builder::new().spawn(move || crew.work(worker, &said));
        started.map_err(|error| Failure::harness("start a thread", error))?;
    }
    let mut done = Done { cases: 0, counts: C::default() };
    let mut failed: Option<(u64, Failure)> = None;
    for _ in 0..threads {
        let share = loop {
            match heard.recv_timeout(Duration::from_millis(500)) {
                Ok(share) => break share,
                Err(RecvTimeoutError::Timeout) => crew.check_patience()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::harness("run the cases", "a thread has ended"));
                }
            }
        };
        done.cases += share.cases;
        done.counts.add(share.counts);
        let is_first = |case: u64| failed.as_ref().is_none_or(|(known, _)| case < *known);
        if let Some((case, failure)) = share.failed.filter(|(case, _)| is_first(*case)) {
            failed = Some((case, failure));
        }
    }
    match failed {
        None => Ok(done),
        Some((case, failure)) => Err(of_case(case, failure)),
    }
}

fn of_case(case: u64, mut failure: Failure) -> Failure {
    failure.detail = format!("case {case}: {}", failure.detail);
    failure.repeated_by(format!("--case {case}"))
}

/// What one thread did.
struct Share<C> {
    cases: u64,
    counts: C,
    failed: Option<(u64, Failure)>,
}

/// The threads of a run, and what they share.
struct Crew<F> {
    next: AtomicU64,
    end: u64,
    deadline: Option<Instant>,
    is_over: AtomicBool,
    /// For each thread the case that it runs, and since when.
    under_way: Vec<Mutex<Option<(u64, Instant)>>>,
    case: F,
}

impl<F> Crew<F> {
    fn work<C: Counts>(&self, worker: usize, said: &Sender<Share<C>>)
    where
        F: Fn(u64, &mut C) -> Result<(), Failure>,
    {
        let mut share = Share { cases: 0, counts: C::default(), failed: None };
        while let Some(number) = self.next_case() {
            *locked(&self.under_way[worker]) = Some((number, Instant::now()));
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.case)(number, &mut share.counts)));
            *locked(&self.under_way[worker]) = None;
            share.cases += 1;
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::new(Finding::Panic, "it panicked")));
            if let Err(failure) = outcome.and_then(|()| no_panic()) {
                self.is_over.store(true, Ordering::Relaxed);
                share.failed = Some((number, with_panics(failure)));
            }
        }
        // If nobody listens, the run has ended already.
        drop(said.send(share));
    }

    fn next_case(&self) -> Option<u64> {
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() > deadline);
        if is_late || self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < self.end)
    }

    fn check_patience(&self) -> Result<(), Failure> {
        for under_way in &self.under_way {
            if let Some((case, since)) = *locked(under_way)
                && since.elapsed() > PATIENCE
            {
                let failure = Failure::new(Finding::Stuck, format!("no end after {PATIENCE:?}"));
                return Err(of_case(case, with_panics(failure)));
            }
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics that nobody has been told of.
static PANICS: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

/// From now on panics are kept rather than printed.
fn note_panics() {
    static ONCE: Once = Once::new();
    if cfg!(test) {
        // The others in this process print theirs.
        return;
    }
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("without a name");
            locked(&PANICS).push((thread.id(), format!("on the thread {name}: {panic}")));
        }));
    });
}

/// A panic that was caught, or that ended another thread, is a failure all the same.
fn no_panic() -> Result<(), Failure> {
    if locked(&PANICS).is_empty() { Ok(()) } else { Err(Failure::new(Finding::Panic, "something panicked")) }
}

fn with_panics(mut failure: Failure) -> Failure {
    for (_, panic) in locked(&PANICS).drain(..).take(3) {
        failure.detail = format!("{}; {}", failure.detail, panic.replace('\n', " "));
    }
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Sum(u64);

    impl Counts for Sum {
        fn add(&mut self, other: Self) {
            self.0 += other.0;
        }
    }

    #[test]
    fn all_cases_are_run_once_or_the_one_that_is_asked_for() {
        let add = |number: u64, sum: &mut Sum| {
            sum.0 += number;
            Ok(())
        };
        let done = run_all(&Options::default(), 101, add).expect("none fails");
        assert_eq!((done.cases, done.counts.0), (101, 5_050));
        let one = Options { case: Some(77), ..Options::default() };
        let done = run_all(&one, 101, add).expect("it does not fail");
        assert_eq!((done.cases, done.counts.0), (1, 77));
    }

    #[test]
    fn a_case_that_fails_says_how_to_repeat_it() {
        let failure = run_all(&Options::default(), 1_000, |number, _: &mut Sum| {
            if number == 20 { Err(Failure::new(Finding::Lost, "gone")) } else { Ok(()) }
        });
        let failure = failure.expect_err("one fails");
        assert_eq!((failure.finding, &*failure.repeat), (Finding::Lost, "--case 20"));
    }
}
