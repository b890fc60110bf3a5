//! A reader whose partitions are assigned by hand: those that there are when it is made. Nothing that happens
//! to groups moves it.

use std::sync::Arc;
use std::time::Duration;

use ottla::{Consumer, Raw};

use super::events::What;
use super::member::{Order, Orders, reads};
use super::scene::{FIRST_TOPICS, Phase, Scene};
use super::task::run_for;
use crate::common::outcome::Failure;
use crate::common::process::unexpected;
use crate::common::random::Random;

/// The life of such a reader, on its thread.
pub(crate) fn live(
    scene: &Arc<Scene>,
    orders: &Orders,
    name: String,
    mut random: Random,
) -> Result<(), Failure> {
    let tape = scene.recorder.tape(name, None);
    let mut builder = scene.broker.consumer::<Raw, Raw>();
    let mut places = Vec::new();
    // Others may be deleted, which would be answered by every poll.
    for (topic, partitions) in scene.topics().into_iter().take(FIRST_TOPICS.len()) {
        builder = builder.assign(&topic, 0..partitions);
        places.extend((0..partitions).map(|partition| tape.place(&topic, partition)));
    }
    if random.one_in(2) {
        builder = builder.max_records(random.pick(&[5, 50]));
    }
    let mut consumer = builder.build().map_err(unexpected("partitions cannot be assigned by hand"))?;
    tape.note_now(What::Assigned(places));
    while orders.take() != Order::Close && !scene.is_at(Phase::Failed) {
        // Before the poll: what is sent by then, it has to return.
        let is_last = scene.is_at(Phase::Draining) && has_read_all(&consumer)?;
        let begun = tape.step();
        let timeout = Duration::from_millis(random.below(10));
        let polled = if random.one_in(3) {
            run_for(consumer.next_records(), timeout).transpose()
        } else {
            consumer.poll(timeout).map(Some)
        };
        let records = polled.map_err(unexpected("a poll of partitions assigned by hand"))?;
        if let Some(records) = records.filter(|records| !records.is_empty()) {
            tape.note(begun, What::Polled(reads(&records, &tape)?));
        }
        if is_last {
            tape.note_now(What::Drained);
            break;
        }
    }
    tape.note_now(What::Closed { was_away: false });
    consumer.close().map_err(unexpected("a consumer does not close"))
}

fn has_read_all(consumer: &Consumer<Raw, Raw>) -> Result<bool, Failure> {
    for (place, end) in consumer.end_offsets() {
        let position = consumer.position(&place.topic, place.partition);
        if position.map_err(unexpected("a position"))? < end {
            return Ok(false);
        }
    }
    Ok(true)
}
