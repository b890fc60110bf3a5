//! What must come out, by a plain calculation over the orders: no topics, no services, no interruption.

use std::collections::HashMap;

use crate::desk::State;
use crate::event::{Event, Order};
use crate::service::Sorted;

pub(crate) struct Expected {
    pub(crate) states: Sorted<State>,
}

impl Expected {
    pub(crate) fn of(orders: &[Event<Order>], stock: u64) -> Self {
        let mut left: HashMap<&str, u64> = HashMap::new();
        let mut states = Sorted::new();
        for order in orders {
            states.entry(order.name()).or_insert_with(|| {
                let left = left.entry(&order.data.product).or_insert(stock);
                match left.checked_sub(order.data.quantity) {
                    Some(rest) => {
                        *left = rest;
                        State::Shipped
                    }
                    None => State::Rejected,
                }
            });
        }
        Self { states }
    }

    pub(crate) fn shipped(&self) -> u64 {
        self.count(State::Shipped)
    }

    pub(crate) fn rejected(&self) -> u64 {
        self.count(State::Rejected)
    }

    /// How many orders stand otherwise in a view, or are only here or there.
    pub(crate) fn differences(&self, view: &Sorted<State>) -> usize {
        let names = self.states.keys().chain(view.keys().filter(|name| !self.states.contains_key(*name)));
        names.filter(|name| self.states.get(*name) != view.get(*name)).count()
    }

    fn count(&self, state: State) -> u64 {
        self.states.values().filter(|&&stands| stands == state).count() as u64
    }
}
