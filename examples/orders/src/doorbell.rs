//! Who waits in a poll is woken by the record, not by a timer.

use std::thread;
use std::time::{Duration, Instant};

use common::Failure;
use ottla::{Broker, Consumer, Durability, Start, TopicConfig};

const TOPIC: &str = "doorbell";
const RINGS: u64 = 50;
/// Nobody would wait for this to pass.
const TIMEOUT: Duration = Duration::from_secs(3_600);
/// In which the other thread falls asleep again.
const PAUSE: Duration = Duration::from_millis(1);

/// Rings at a consumer that sleeps with a timeout of an hour, some times; how often it woke with the record
/// that was sent, which is each time or an error. How long that took is printed.
pub(crate) fn ring(broker: &Broker) -> Result<u64, Failure> {
    // Of no interest to the next run, even in a directory.
    broker.open_topic(TOPIC, TopicConfig::new().durability(Durability::Memory))?;
    let sleeper = broker.consumer::<(), u64>().topic(TOPIC).start(Start::Latest).max_records(1).build()?;
    let bell = broker.producer::<(), u64>(TOPIC)?;
    let (rung, woken) = thread::scope(|scope| {
        let sleeper = scope.spawn(|| sleep_and_wake(sleeper));
        let ring = |number| {
            thread::sleep(PAUSE);
            let now = Instant::now();
            bell.send((), number).map(|_| now)
        };
        let rung: ottla::Result<Vec<Instant>> = (0..RINGS).map(ring).collect();
        if rung.is_err() {
            broker.close()?; // which wakes it too
        }
        Ok::<_, Failure>((rung?, sleeper.join().map_err(|_| "the sleeper panicked")??))
    })?;
    let mut times: Vec<Duration> =
        rung.iter().zip(&woken).map(|(rung, woken)| woken.duration_since(*rung)).collect();
    times.sort_unstable();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{RINGS} times woken by a record: {median:.1?} after it was sent (median), {longest:.1?} at most"
    );
    Ok(woken.len() as u64)
}

fn sleep_and_wake(mut sleeper: Consumer<(), u64>) -> Result<Vec<Instant>, Failure> {
    let mut woken = Vec::new();
    for number in 0..RINGS {
        let records = sleeper.poll(TIMEOUT)?;
        woken.push(Instant::now());
        let record = records.iter().next().ok_or("a poll ended without a record, by its timeout")?;
        common::expect("the ring that ended the poll", record.value()?, number)?;
    }
    Ok(woken)
}
