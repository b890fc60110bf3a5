//! The tracker: reads all positions, and puts those that are news into the topic of latest positions. A
//! report that comes late, or once more, does not move a vehicle back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Failure;
use ottla::{Broker, Json, Timestamp};

use crate::position::Position;
use crate::{LATEST, POSITIONS};

/// Works until everything is sent and read.
///
/// It may be killed between its send and its commit, and reads the same positions again then. They are not
/// newer than what the topic has by that time, so that nothing is there twice.
pub(crate) fn track(broker: &Broker, all_sent: &AtomicBool) -> Result<(), Failure> {
    let mut newest: HashMap<String, Timestamp> = HashMap::new();
    for row in broker.table::<String, Json<Position>>(LATEST)?.iter()? {
        newest.insert(row.key()?.to_owned(), row.timestamp());
    }
    let latest = broker.producer::<String, Json<Position>>(LATEST)?;
    let mut consumer =
        broker.consumer::<String, Json<Position>>().topic(POSITIONS).group("tracker").build()?;
    loop {
        let is_last_look = all_sent.load(Ordering::Acquire);
        let records = consumer.poll(Duration::from_millis(10))?;
        for record in &records {
            let (vehicle, time) = (record.key()?, record.timestamp());
            if newest.get(vehicle).is_none_or(|newest| time > *newest) {
                newest.insert(vehicle.to_owned(), time);
                latest.record(&record.value()?).key(vehicle).timestamp(time).send()?;
            }
        }
        consumer.commit(&records)?;
        if is_last_look && consumer.lag() == 0 {
            return Ok(());
        }
    }
}
