//! An asynchronous send: enqueued at once, or as soon as the partition has room.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::delivery::Delivery;
use crate::error::{Error, Result};
use crate::ids::RecordMetadata;
use crate::log::PartitionLog;
use crate::record::frame::{self, Frame, NewRecord, Stamp};
use crate::record::headers::Header;
use crate::sync::{Arc, EventListener};

/// A record being sent, from [`Producer::send_async`](crate::Producer::send_async): a future of its place.
///
/// The record is enqueued before you hold this, in the order of the calls. Only if 64 MiB of its partition
/// wait to be acknowledged is it enqueued later, when the future is polled and there is room; a future that
/// is dropped before that takes its record with it. Then its place among the records is that of the moment.
///
/// ```
/// use ottla::{Broker, SendFuture};
///
/// /// Both are on their way before the first is awaited.
/// async fn send_two(broker: &Broker) -> ottla::Result<u64> {
///     let producer = broker.producer::<String, u64>("payments")?;
///     let first: SendFuture = producer.send_async("alice", 200);
///     let second = producer.send_async("alice", 10);
///     first.await?;
///     Ok(second.await?.offset)
/// }
/// ```
#[must_use = "the future tells whether the record was kept: await it"]
pub struct SendFuture {
    state: State,
}

enum State {
    Failed(Option<Error>),
    Enqueued(Delivery),
    Full(Unsent),
}

/// A record for which there was no room.
struct Unsent {
    log: Arc<PartitionLog>,
    frame: Vec<u8>,
    room: Option<EventListener>,
}

impl SendFuture {
    /// Enqueues `record`, or takes a copy of it to do so later.
    pub(super) fn begin(log: &Arc<PartitionLog>, record: &NewRecord<'_>) -> Self {
        let state = match Delivery::enqueue(log, record) {
            Ok(delivery) => State::Enqueued(delivery),
            Err(Error::TopicFull { .. }) if log.waits_for_room() => {
                State::Full(Unsent::copy(Arc::clone(log), record))
            }
            Err(error) => State::Failed(Some(error)),
        };
        Self { state }
    }

    pub(super) fn failed(error: Error) -> Self {
        Self { state: State::Failed(Some(error)) }
    }
}

impl Future for SendFuture {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            self.state = match &mut self.state {
                State::Enqueued(delivery) => return Pin::new(delivery).poll(context),
                State::Failed(error) => return Poll::Ready(Err(error.take().unwrap_or(Error::Closed))),
                State::Full(unsent) => match unsent.enqueue() {
                    Ok(delivery) => State::Enqueued(delivery),
                    Err(Error::TopicFull { .. }) if unsent.log.waits_for_room() => {
                        match unsent.poll_room(context) {
                            Poll::Ready(()) => continue,
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    Err(error) => State::Failed(Some(error)),
                },
            };
        }
    }
}

impl Unsent {
    fn copy(log: Arc<PartitionLog>, record: &NewRecord<'_>) -> Self {
        let mut frame = vec![0; record.frame_bytes()];
        frame::encode(record, &Stamp { offset: 0, batch_continues: false, crc_seed: None }, &mut frame);
        Self { log, frame, room: None }
    }

    fn enqueue(&mut self) -> Result<Delivery> {
        // Registered before looking: room that is made in between is not missed.
        self.room.get_or_insert_with(|| self.log.listen_for_room());
        let Ok(frame) = Frame::at_front(&self.frame) else { return Err(Error::Closed) };
        let headers: Vec<Header<'_>> = frame.headers().collect();
        let (key, value, timestamp) = (frame.key(), frame.value(), frame.timestamp());
        let record = NewRecord { key, value, headers: &headers, timestamp };
        // The topic's settings may have changed.
        self.log.check_record(&record)?;
        Delivery::enqueue(&self.log, &record)
    }

    /// Ready when there may be room.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(room) = &mut self.room else { return Poll::Ready(()) };
        let polled = Pin::new(room).poll(context);
        if polled.is_ready() {
            self.room = None;
        }
        polled
    }
}

impl fmt::Debug for SendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Failed(_) => "failed",
            State::Enqueued(_) => "enqueued",
            State::Full(_) => "waiting for room",
        };
        f.debug_struct("SendFuture").field("state", &state).finish_non_exhaustive()
    }
}
