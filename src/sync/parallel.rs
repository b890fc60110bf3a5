//! Doing the same for many things, on as many threads as the machine has cores, and on this one.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

use super::Mutex;

/// How many logs one thread opens before another one is worth its start.
const FEW: usize = 4;

/// What `work` makes of each item, in their order. `heavy`: each is worth a thread.
pub(crate) fn map<T: Send, R: Send>(items: Vec<T>, heavy: bool, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let most = if heavy { items.len() } else { items.len() / FEW };
    // In a model, the order of these threads is nobody's concern.
    let most = if cfg!(any(loom, shuttle)) { 1 } else { most };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(most);
    if threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let queue = Mutex::new(items.into_iter().enumerate());
    let run = || {
        let mut done = Vec::new();
        loop {
            // Not held during the work.
            let next = queue.lock().next();
            let Some((number, item)) = next else { return done };
            done.push((number, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [0, 1, 3, 100] {
            for heavy in [false, true] {
                let squares = map((0..count).collect(), heavy, |number: u64| number * number);
                assert_eq!(squares, (0..count).map(|number| number * number).collect::<Vec<_>>());
            }
        }
    }
}
