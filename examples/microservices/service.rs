//! What all services have in common: a thread that reads topics as a group of its own, and ends when it is
//! told to.

use std::collections::BTreeMap;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use common::{Failure, joined};
use ottla::{Broker, Consumer, Error, Json, WakeHandle};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;

/// Reads events whose data is a `D`.
pub(crate) type Events<D> = Consumer<String, Json<Event<D>>>;

/// A service that is up.
pub(crate) struct Service<'scope> {
    group: &'static str,
    wake: WakeHandle,
    thread: ScopedJoinHandle<'scope, Result<(), Failure>>,
}

impl<'scope> Service<'scope> {
    /// Starts it: `handle` is called with the topic and the event, for each one that the group has not
    /// committed yet.
    pub(crate) fn start<D: Serialize + DeserializeOwned + 'static>(
        scope: &'scope Scope<'scope, '_>,
        group: &'static str,
        consumer: Events<D>,
        handle: impl FnMut(&str, &Event<D>) -> Result<(), Failure> + Send + 'scope,
    ) -> Self {
        let wake = consumer.wake_handle();
        Self { group, wake, thread: scope.spawn(move || serve(consumer, handle)) }
    }

    /// Waits until it has handled and committed all that is in its topics.
    pub(crate) fn catch_up(self, broker: &Broker) -> Result<Self, Failure> {
        while !self.thread.is_finished() && broker.describe_group(self.group)?.lag() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() {
            let ended = format!("{} has ended", self.group);
            self.stop()?; // says why
            return Err(ended.into());
        }
        Ok(self)
    }

    /// Takes it down.
    pub(crate) fn stop(self) -> Result<(), Failure> {
        self.wake.wake();
        joined(self.thread).map_err(|failure| format!("{}: {failure}", self.group).into())
    }
}

/// Commits what is handled: an event may be handled again, after a crash, but none is missed.
fn serve<D: Serialize + DeserializeOwned + 'static>(
    mut consumer: Events<D>,
    mut handle: impl FnMut(&str, &Event<D>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let records = match consumer.poll(Duration::MAX) {
            Err(Error::Woken) => return Ok(consumer.close()?),
            polled => polled?,
        };
        for record in &records {
            handle(record.topic(), &record.value()?)?;
        }
        consumer.commit(&records)?;
    }
}

/// How many records a topic holds.
pub(crate) fn records_in(broker: &Broker, topic: &str) -> Result<u64, Failure> {
    Ok(broker.describe_topic(topic)?.records())
}

/// A map that can be compared.
pub(crate) type Sorted<V> = BTreeMap<String, V>;
