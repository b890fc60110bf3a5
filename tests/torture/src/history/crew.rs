//! The threads of a round: started by name, told what to do, and heard when they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::member::{Order, Ordered, Orders};
use crate::common::outcome::{Failure, Finding};

/// A thread that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    /// No two that run in a group have the same one.
    pub(crate) slot: usize,
    orders: Arc<Orders>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Running {
    pub(crate) fn start(
        name: &str,
        work: impl FnOnce(&Arc<Orders>) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let orders = Arc::new(Orders::default());
        let its_orders = Arc::clone(&orders);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&its_orders));
        let thread = thread.map_err(|error| Failure::harness("start a thread", error))?;
        Ok(Self { name: name.to_owned(), slot: 0, orders, thread })
    }

    pub(crate) fn in_slot(self, slot: usize) -> Self {
        Self { slot, ..self }
    }

    pub(crate) fn give(&self, order: Order) {
        self.orders.give(order);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it ended; a panic that was ordered is none.
    pub(crate) fn outcome(self) -> Result<(), Failure> {
        let Self { name, thread, .. } = self;
        match thread.join() {
            Ok(outcome) => outcome.map_err(|failure| {
                let detail = format!("{name}: {}", failure.detail);
                Failure { detail, ..failure }
            }),
            Err(panic) if panic.is::<Ordered>() => Ok(()),
            Err(panic) => {
                // What it carries may panic once more when it is dropped.
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                drop(catch_unwind(AssertUnwindSafe(|| drop(panic))));
                let what = format!("{name} panicked: {}", text.unwrap_or_default());
                Err(Failure::new(Finding::Panic, what))
            }
        }
    }
}

/// Takes those out that are over.
///
/// # Errors
/// The first of what they failed with.
pub(crate) fn reap(all: &mut Vec<Running>) -> Result<(), Failure> {
    while let Some(at) = all.iter().position(Running::is_over) {
        all.swap_remove(at).outcome()?;
    }
    Ok(())
}
