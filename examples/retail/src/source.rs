//! Where the orders come from.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use common::Failure;

use crate::{Order, generate, read, write};

/// The options that say so.
#[derive(Args, Debug)]
pub struct Source {
    /// A file of orders, a CSV in the form of Online Retail II, instead of invented ones; may come again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["orders", "write"])]
    input: Vec<PathBuf>,
    /// How many orders to invent
    #[arg(long, default_value_t = 1_000)]
    orders: u32,
    /// How many of the invented orders come in a second; 0 for as many as can
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the invented orders to this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Source {
    /// The orders that were asked for.
    pub fn orders(&self) -> Result<Vec<Order>, Failure> {
        if self.input.is_empty() {
            let rows = generate(self.seed, self.orders);
            if let Some(path) = &self.write {
                write(path, &rows)?;
            }
            return Ok(Order::of_rows(rows));
        }
        let mut orders = Vec::new();
        let mut seen = HashSet::new();
        for path in &self.input {
            // The sheets of the real file overlap by some days: an order counts where it is met first.
            let of_file = Order::of_rows(read(path)?);
            orders.extend(of_file.into_iter().filter(|order| seen.insert(order.invoice.clone())));
        }
        Ok(orders)
    }

    /// What is between two orders. There is no point in letting real ones wait.
    pub fn pause(&self) -> Duration {
        match self.rate {
            1.. if self.input.is_empty() => Duration::from_secs(1) / self.rate,
            _ => Duration::ZERO,
        }
    }
}
