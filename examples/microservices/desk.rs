//! The desk that tells customers how their orders stand: a view over the topics of all services. It is kept
//! in a compacted topic, which holds the latest state of each order, and can be made again from the events.

use std::thread::Scope;
use std::time::Duration;

use common::Failure;
use ottla::{Broker, Json, Producer, Table};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, REJECTED, RESERVED, SHIPPED};
use crate::service::{Service, Sorted};
use crate::{INVENTORY, ORDERS, SHIPMENTS, STATES};

const GROUP: &str = "desk";
const SOURCES: [&str; 3] = [ORDERS, INVENTORY, SHIPMENTS];

/// How an order stands. There is no order between topics: the desk may hear that a parcel has gone before it
/// hears that its pieces were reserved. So it is the later state that counts, not the one heard of last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Placed,
    Reserved,
    Shipped,
    /// The customer gets the money back.
    Rejected,
}

struct Desk {
    known: Table<String, Json<State>>,
    producer: Producer<String, Json<State>>,
}

/// Starts the service.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    broker: &Broker,
) -> Result<Service<'scope>, Failure> {
    let consumer = broker.consumer().topics(SOURCES).group(GROUP).build()?;
    let desk = Desk { known: broker.table(STATES)?, producer: broker.producer(STATES)? };
    Ok(Service::start(scope, GROUP, consumer, move |topic, event| desk.hear(topic, event)))
}

impl Desk {
    fn hear(&self, topic: &str, event: &Event<Value>) -> Result<(), Failure> {
        let (order, state) = told_by(topic, event)?;
        let is_news = match self.known.get(&order)? {
            Some(row) => row.value()? < state,
            None => true,
        };
        if is_news {
            self.producer.send(&order, &state)?;
        }
        Ok(())
    }
}

/// What an event says: of which order, and how it stands.
fn told_by(topic: &str, event: &Event<Value>) -> Result<(String, State), Failure> {
    if topic == ORDERS {
        return Ok((event.name(), State::Placed));
    }
    let state = match event.kind.as_str() {
        RESERVED => State::Reserved,
        SHIPPED => State::Shipped,
        REJECTED => State::Rejected,
        other => return Err(format!("{topic} holds an event of the type {other:?}").into()),
    };
    Ok((event.order()?.to_owned(), state))
}

/// The view, read from its compacted topic.
pub(crate) fn from_compacted(broker: &Broker) -> Result<Sorted<State>, Failure> {
    let table: Table<String, Json<State>> = broker.table(STATES)?;
    table.iter()?.map(|row| Ok((row.key()?.to_owned(), row.value()?))).collect()
}

/// How many records of the view's topic are left, for whoever begins to read it now.
pub(crate) fn kept(broker: &Broker) -> Result<usize, Failure> {
    let mut consumer = broker.consumer::<String, Json<State>>().topic(STATES).build()?;
    let mut kept = 0;
    loop {
        match consumer.poll(Duration::ZERO)?.len() {
            0 => return Ok(kept),
            more => kept += more,
        }
    }
}

/// The view, made again from all events of all services.
pub(crate) fn from_events(broker: &Broker) -> Result<Sorted<State>, Failure> {
    let mut view = Sorted::new();
    let mut consumer = broker.consumer::<String, Json<Event<Value>>>().topics(SOURCES).build()?;
    while consumer.lag() > 0 {
        for record in &consumer.poll(Duration::from_secs(1))? {
            let (order, state) = told_by(record.topic(), &record.value()?)?;
            let known = view.entry(order).or_insert(state);
            *known = state.max(*known);
        }
    }
    Ok(view)
}
