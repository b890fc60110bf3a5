//! Replay from a moment on: a consumer without a group goes there, and reads to the end.

use std::time::Duration;

use common::{Failure, expect};
use ottla::{Broker, Json, Timestamp};

use crate::POSITIONS;
use crate::position::{Feed, Position};

/// How many positions were reported at `since` or later. Each partition is read from the first one of these;
/// behind that come late ones that are older, which are left out.
pub(crate) fn replay(broker: &Broker, feed: &Feed, since: i64) -> Result<u64, Failure> {
    let since = Timestamp::from_millis(since);
    let mut consumer = broker.consumer::<String, Json<Position>>().topic(POSITIONS).build()?;
    consumer.seek_to_timestamp(since)?;
    for (at, offset) in consumer.offsets_for_timestamp(since)? {
        let expected = offset.unwrap_or(consumer.end_offsets()[&at]);
        expect(
            &format!("the replay of {at} begins at"),
            consumer.position(POSITIONS, at.partition)?,
            expected,
        )?;
    }
    let mut replayed = 0;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            break;
        }
        replayed += records.iter().filter(|record| record.timestamp() >= since).count() as u64;
    }
    let reported = feed.reports.iter().filter(|report| report.time >= since.as_millis()).count();
    expect("replayed positions", replayed, reported as u64)?;
    Ok(replayed)
}

/// The middle between the first and the last report.
pub(crate) fn half_way(feed: &Feed) -> i64 {
    let times = || feed.reports.iter().map(|report| report.time);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    first + (last - first) / 2
}
