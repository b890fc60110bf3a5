//! Shipping: sends a parcel for each order whose pieces are reserved. Like the inventory, it looks into the
//! topic that it writes before it does something twice.

use std::thread::Scope;

use common::Failure;
use ottla::{Broker, Json, Producer, Table};

use crate::event::{Event, Pieces, RESERVED, SHIPPED};
use crate::service::Service;
use crate::{INVENTORY, SHIPMENTS};

const GROUP: &str = "shipping";

struct Shipping {
    shipped: Table<String, Json<Event<Pieces>>>,
    producer: Producer<String, Json<Event<Pieces>>>,
}

/// Starts the service.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    broker: &Broker,
) -> Result<Service<'scope>, Failure> {
    let consumer = broker.consumer().topic(INVENTORY).group(GROUP).build()?;
    let shipping = Shipping { shipped: broker.table(SHIPMENTS)?, producer: broker.producer(SHIPMENTS)? };
    Ok(Service::start(scope, GROUP, consumer, move |_, answer| shipping.ship(answer)))
}

impl Shipping {
    fn ship(&self, answer: &Event<Pieces>) -> Result<(), Failure> {
        let order = answer.order()?;
        if answer.kind == RESERVED && !self.shipped.contains_key(order)? {
            self.producer.send(order, &Event::about(order, "/shipping", SHIPPED, answer.data.clone()))?;
        }
        Ok(())
    }
}
