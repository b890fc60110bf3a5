//! What a shop knows of an order.

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// A row of the file: one product of an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number of the invoice; it begins with C if the order was cancelled.
    pub invoice: String,
    /// When it was made out.
    pub at: DateTime,
    /// Who bought; guests have no number.
    pub customer: Option<String>,
    /// Where the customer lives.
    pub country: String,
    /// What was bought.
    pub line: Line,
}

/// One product of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product's code.
    pub product: String,
    /// What it is.
    pub description: String,
    /// How many; below zero if they come back.
    pub quantity: i64,
    /// The price of one, in [ten-thousandths](Order::SCALE).
    pub price: i64,
}

/// All rows of an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The number of the invoice.
    pub invoice: String,
    /// When it was made out.
    pub at: DateTime,
    /// The customer's number, or `guest-` and the invoice's: the key of the order in its topic.
    pub customer: String,
    /// Where the customer lives.
    pub country: String,
    /// What was bought, in the order of the file.
    pub lines: Vec<Line>,
}

/// What an invoice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Things go to a customer.
    Sale,
    /// Things come back from a customer.
    Cancellation,
    /// Things were lost, or found, or a debt was given up: nobody has ordered anything.
    Adjustment,
}

impl Order {
    /// So many units of a price make one of the currency. Prices have up to four decimals.
    pub const SCALE: i64 = 10_000;

    /// What it is worth, in [ten-thousandths](Self::SCALE).
    pub fn total(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity.saturating_mul(line.price)).fold(0, i64::saturating_add)
    }

    /// How many things.
    pub fn units(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity).fold(0, i64::saturating_add)
    }

    /// What it is about. Numbers of cancellations begin with C, of debts that are given up with A; an order
    /// of a guest that takes nothing but negative quantities corrects the stock.
    pub fn kind(&self) -> Kind {
        match self.invoice.bytes().next() {
            Some(b'C' | b'c') => Kind::Cancellation,
            Some(b'A' | b'a') => Kind::Adjustment,
            _ if self.lines.iter().all(|line| line.quantity < 0) => Kind::Adjustment,
            _ => Kind::Sale,
        }
    }

    /// Orders of rows: an invoice stands where its first row was.
    pub fn of_rows(rows: Vec<Row>) -> Vec<Self> {
        let mut orders: Vec<Self> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for row in rows {
            let place = *places.entry(row.invoice.clone()).or_insert(orders.len());
            match orders.get_mut(place) {
                Some(order) => order.lines.push(row.line),
                None => orders.push(Self::begun_by(row)),
            }
        }
        orders
    }

    fn begun_by(row: Row) -> Self {
        let customer = row.customer.unwrap_or_else(|| format!("guest-{}", row.invoice));
        let Row { invoice, at, country, line, .. } = row;
        Self { invoice, at, customer, country, lines: vec![line] }
    }
}
