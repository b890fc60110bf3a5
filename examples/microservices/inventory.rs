//! The inventory: reserves the pieces of an order, or rejects it when there are not enough left.
//!
//! Its memory is the topic that it writes. An order that has an answer there is done, so that handling it
//! again, after a crash or because the shop sent it twice, changes nothing; and what is left of a product is
//! what it began with less what was reserved there. So there is no second place that could say otherwise.

use std::collections::HashMap;
use std::thread::Scope;

use common::Failure;
use ottla::{Broker, Json, Producer, Table};

use crate::event::{Event, Order, Pieces, REJECTED, RESERVED};
use crate::service::Service;
use crate::{INVENTORY, ORDERS};

pub(crate) const GROUP: &str = "inventory";

pub(crate) struct Inventory {
    /// Of each product, before the first order.
    stock: u64,
    reserved: HashMap<String, u64>,
    answers: Table<String, Json<Event<Pieces>>>,
    producer: Producer<String, Json<Event<Pieces>>>,
}

/// Starts the service.
pub(crate) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    broker: &Broker,
    stock: u64,
) -> Result<Service<'scope>, Failure> {
    let consumer = broker.consumer().topic(ORDERS).group(GROUP).build()?;
    let mut inventory = Inventory::open(broker, stock)?;
    Ok(Service::start(scope, GROUP, consumer, move |_, order| inventory.decide(order)))
}

impl Inventory {
    /// Remembers what it has reserved.
    fn open(broker: &Broker, stock: u64) -> Result<Self, Failure> {
        let answers: Table<String, Json<Event<Pieces>>> = broker.table(INVENTORY)?;
        let mut reserved = HashMap::new();
        for answer in answers.iter()? {
            let answer = answer.value()?;
            if answer.kind == RESERVED {
                *reserved.entry(answer.data.product).or_default() += answer.data.quantity;
            }
        }
        Ok(Self { stock, reserved, answers, producer: broker.producer(INVENTORY)? })
    }

    fn decide(&mut self, order: &Event<Order>) -> Result<(), Failure> {
        let name = order.name();
        if self.answers.contains_key(&name)? {
            return Ok(());
        }
        let Order { product, quantity, .. } = order.data.clone();
        let reserved = self.reserved.entry(product.clone()).or_default();
        let is_enough = quantity <= self.stock.saturating_sub(*reserved);
        let kind = if is_enough { RESERVED } else { REJECTED };
        self.producer.send(&name, &Event::about(&name, "/inventory", kind, Pieces { product, quantity }))?;
        if is_enough {
            *reserved += quantity;
        }
        Ok(())
    }
}
