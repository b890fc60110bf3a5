//! A wholesaler of gifts, invented: the same columns, habits and mess as in the real file. A quarter of the
//! orders comes from guests without a number; some orders are taken back in part, some rows correct the
//! stock.

use fastrand::Rng;
use jiff::civil::{DateTime, date};
use jiff::{Span, ToSpan};

use crate::Order;
use crate::order::{Line, Row};

const COUNTRIES: [&str; 6] = ["EIRE", "Germany", "France", "Netherlands", "Spain", "Channel Islands"];
const ADJECTIVES: [&str; 8] = ["RED", "VINTAGE", "WOODEN", "SET OF 6", "PINK", "GLASS", "MINI", "RETROSPOT"];
const THINGS: [&str; 10] = [
    "TEA LIGHT HOLDER",
    "CAKE STAND",
    "PAPER BUNTING",
    "LUNCH BAG",
    "WALL CLOCK",
    "SOAP DISH",
    "RIBBON, 3 METRES",
    "MUG \"HOME\"",
    "JAM JAR",
    "PHOTO FRAME",
];
const CUSTOMERS: u32 = 150;
const FIRST_CUSTOMER: u32 = 12_346;
const FIRST_INVOICE: u32 = 489_434;

/// The rows of so many invoices.
pub fn generate(seed: u64, orders: u32) -> Vec<Row> {
    let mut shop = Shop { random: Rng::with_seed(seed), at: opening(), sold: Vec::new() };
    (0..orders).flat_map(|number| shop.invoice(FIRST_INVOICE + number)).collect()
}

struct Shop {
    random: Rng,
    at: DateTime,
    /// Rows that may be taken back.
    sold: Vec<Row>,
}

impl Shop {
    fn invoice(&mut self, number: u32) -> Vec<Row> {
        self.at = self.later();
        match self.random.u32(0..100) {
            0..4 if !self.sold.is_empty() => self.cancellation(number),
            4 => vec![self.correction(number)],
            _ => self.sale(number),
        }
    }

    fn sale(&mut self, number: u32) -> Vec<Row> {
        let is_guest = self.random.u32(0..4) == 0;
        let customer = (!is_guest).then(|| self.random.u32(0..CUSTOMERS));
        let country = match customer {
            Some(number) if number % 10 == 0 => COUNTRIES[number as usize / 10 % COUNTRIES.len()],
            _ => "United Kingdom",
        };
        let customer = customer.map(|number| (FIRST_CUSTOMER + number).to_string());
        let count = 1 + self.random.u32(0..8) * self.random.u32(0..3);
        let lines: Vec<Line> = (0..count).map(|_| self.line()).collect();
        let row = |line| {
            let (customer, country) = (customer.clone(), country.to_owned());
            Row { invoice: number.to_string(), at: self.at, customer, country, line }
        };
        let rows: Vec<Row> = lines.into_iter().map(row).collect();
        self.sold.extend(rows.first().filter(|row| row.customer.is_some()).cloned());
        rows
    }

    /// Some of a row comes back.
    fn cancellation(&mut self, number: u32) -> Vec<Row> {
        let mut row = self.sold.swap_remove(self.random.usize(0..self.sold.len()));
        row.line.quantity = -self.random.i64(1..=row.line.quantity);
        vec![Row { invoice: format!("C{number}"), at: self.at, ..row }]
    }

    /// Things that broke, as the shop writes it: a guest takes less than nothing, for nothing.
    fn correction(&mut self, number: u32) -> Row {
        let line = self.line();
        let description = ["damaged", "lost", "?", ""][self.random.usize(0..4)].to_owned();
        let line = Line { description, quantity: -line.quantity, price: 0, ..line };
        let country = "United Kingdom".to_owned();
        Row { invoice: number.to_string(), at: self.at, customer: None, country, line }
    }

    fn line(&mut self) -> Line {
        let product = self.random.usize(0..ADJECTIVES.len() * THINGS.len());
        let (adjective, thing) = (ADJECTIVES[product % ADJECTIVES.len()], THINGS[product / ADJECTIVES.len()]);
        let variant = ["", "", "A", "B"][self.random.usize(0..4)];
        let pence = 21 + product as i64 * 37 % 900;
        Line {
            product: format!("{}{variant}", 20_001 + product * 7),
            description: format!("{adjective} {thing}"),
            quantity: [1, 2, 3, 6, 12, 24, 48, 144][self.random.usize(0..8)],
            price: pence * Order::SCALE / 100,
        }
    }

    /// The next invoice comes within some minutes, or the next morning.
    fn later(&mut self) -> DateTime {
        let minutes: Span = self.random.i64(0..6).minutes();
        let next = self.at.saturating_add(minutes);
        if next.hour() < 18 {
            next
        } else {
            next.saturating_add(1.day()).with().hour(8).build().unwrap_or(next)
        }
    }
}

fn opening() -> DateTime {
    date(2009, 12, 1).at(7, 45, 0, 0)
}
