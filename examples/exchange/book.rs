//! One stock's order book, last price and volume-weighted average price, as its messages tell them. Pure: the
//! same messages in the same order give the same book, bit for bit.

use std::collections::BTreeMap;

use crate::Failure;
use crate::digest::Digest;
use crate::itch::{Event, Message, Side};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Book {
    /// The open orders by number. The levels are their sums.
    orders: BTreeMap<u64, Order>,
    bids: Levels,
    asks: Levels,
    /// What was traded under each match number, so that a broken trade can be taken back.
    trades: BTreeMap<u64, Traded>,
    /// The sum of `trades`.
    traded: Traded,
    last_price: Option<u32>,
    /// How many messages there were of each type.
    kinds: BTreeMap<u8, u64>,
    /// Messages that do not fit: about an order or a trade that is not there, or more shares than are left.
    anomalies: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    side: Side,
    shares: u32,
    price: u32,
}

/// By price; an empty level is taken out.
type Levels = BTreeMap<u32, Level>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) shares: u64,
    pub(crate) orders: u64,
}

/// A volume and what was paid for it, in ten-thousandths: integers, so that a sum does not depend on its
/// order, and wide ones, so that no feed makes them overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traded {
    pub(crate) shares: u128,
    pub(crate) notional: u128,
}

impl Book {
    pub(crate) fn apply(&mut self, message: Message<'_>) -> Result<(), Failure> {
        *self.kinds.entry(message.kind()).or_default() += 1;
        match message.event()? {
            Event::Add { order, side, shares, price } => self.add(order, Order { side, shares, price }),
            Event::Execute { order, shares, match_number } => {
                if let Some(price) = self.take(order, shares) {
                    self.trade(match_number, shares.into(), price);
                }
            }
            Event::ExecuteAt { order, shares, match_number, printable, price } => {
                // What is not printable is part of a cross, which is reported as a whole and counted there.
                let counted = if printable { shares } else { 0 };
                if self.take(order, shares).is_some() {
                    self.trade(match_number, counted.into(), price);
                }
            }
            Event::Cancel { order, shares } => {
                self.take(order, shares);
            }
            Event::Delete { order } => {
                self.remove(order);
            }
            Event::Replace { order, new_order, shares, price } => {
                // The new order is on the side of the old one, so without that there is nothing to add.
                if let Some(Order { side, .. }) = self.remove(order) {
                    self.add(new_order, Order { side, shares, price });
                }
            }
            Event::Trade { shares, match_number, price } => self.trade(match_number, shares.into(), price),
            Event::Cross { shares, match_number, price } => self.trade(match_number, shares, price),
            Event::Break { match_number } => self.take_back(match_number),
            Event::Notice => {}
        }
        Ok(())
    }

    pub(crate) fn open_orders(&self) -> usize {
        self.orders.len()
    }

    pub(crate) fn best_bid(&self) -> Option<(u32, Level)> {
        self.bids.last_key_value().map(|(price, level)| (*price, *level))
    }

    pub(crate) fn best_ask(&self) -> Option<(u32, Level)> {
        self.asks.first_key_value().map(|(price, level)| (*price, *level))
    }

    pub(crate) fn last_price(&self) -> Option<u32> {
        self.last_price
    }

    pub(crate) fn traded(&self) -> Traded {
        self.traded
    }

    pub(crate) fn anomalies(&self) -> u64 {
        self.anomalies
    }

    pub(crate) fn messages(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Whether the sums that were kept up to date are the sums of what they sum.
    pub(crate) fn adds_up(&self) -> bool {
        let mut fresh = Self::default();
        for order in self.orders.values() {
            fresh.raise_level(*order);
        }
        for trade in self.trades.values() {
            fresh.traded.add(*trade);
        }
        (fresh.bids, fresh.asks, fresh.traded) == (self.bids.clone(), self.asks.clone(), self.traded)
    }

    pub(crate) fn digest_into(&self, digest: &mut Digest) {
        for (number, order) in &self.orders {
            digest.add_all([*number, order.side as u64, order.shares.into(), order.price.into()]);
        }
        for (price, level) in self.bids.iter().chain(&self.asks) {
            digest.add_all([u64::from(*price), level.shares, level.orders]);
        }
        digest.add_all([self.last_price.is_some().into(), self.last_price.unwrap_or(0).into()]);
        digest.add_bytes(&self.traded.shares.to_le_bytes());
        digest.add_bytes(&self.traded.notional.to_le_bytes());
        for (kind, count) in &self.kinds {
            digest.add_all([u64::from(*kind), *count]);
        }
        digest.add_all([self.anomalies]);
    }

    fn add(&mut self, number: u64, order: Order) {
        if self.orders.contains_key(&number) {
            self.anomalies += 1;
            return;
        }
        self.orders.insert(number, order);
        self.raise_level(order);
    }

    /// Takes shares from an order; the answer is its price. Without shares it leaves the book.
    fn take(&mut self, number: u64, shares: u32) -> Option<u32> {
        let order = self.remove(number)?;
        match order.shares.checked_sub(shares) {
            Some(0) => {}
            Some(left) => self.add(number, Order { shares: left, ..order }),
            None => self.anomalies += 1,
        }
        Some(order.price)
    }

    fn remove(&mut self, number: u64) -> Option<Order> {
        let order = self.orders.remove(&number);
        match order {
            Some(order) => self.lower_level(order),
            None => self.anomalies += 1,
        }
        order
    }

    fn raise_level(&mut self, order: Order) {
        let level = self.levels(order.side).entry(order.price).or_default();
        level.shares += u64::from(order.shares);
        level.orders += 1;
    }

    fn lower_level(&mut self, order: Order) {
        let levels = self.levels(order.side);
        if let Some(level) = levels.get_mut(&order.price) {
            level.shares -= u64::from(order.shares);
            level.orders -= 1;
            if level.orders == 0 {
                levels.remove(&order.price);
            }
        }
    }

    fn levels(&mut self, side: Side) -> &mut Levels {
        match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.asks,
        }
    }

    fn trade(&mut self, match_number: u64, shares: u64, price: u32) {
        let trade = Traded { shares: shares.into(), notional: u128::from(shares) * u128::from(price) };
        self.trades.entry(match_number).or_default().add(trade);
        self.traded.add(trade);
        // An auction in which nothing met is reported too; nobody paid its price.
        if shares > 0 {
            self.last_price = Some(price);
        }
    }

    /// Takes a broken trade out of the average. The last price stays: it was paid, whatever was before.
    fn take_back(&mut self, match_number: u64) {
        match self.trades.remove(&match_number) {
            Some(trade) => {
                self.traded.shares -= trade.shares;
                self.traded.notional -= trade.notional;
            }
            None => self.anomalies += 1,
        }
    }
}

impl Traded {
    /// The volume-weighted average price, in ten-thousandths, rounded down.
    pub(crate) fn average(self) -> Option<u128> {
        self.notional.checked_div(self.shares)
    }

    fn add(&mut self, other: Self) {
        self.shares += other.shares;
        self.notional += other.notional;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::itch::{ORDER, add, execute, read_file, write_framed};

    /// A feed of one stock, in the making.
    #[derive(Default)]
    struct Day(Vec<u8>);

    impl Day {
        fn add(&mut self, order: u64, side: &[u8; 1], shares: u32, price: u32) {
            let (order, shares, price) = (order.to_be_bytes(), shares.to_be_bytes(), price.to_be_bytes());
            self.write(
                b'A',
                &[(ORDER, &order), (add::SIDE, side), (add::SHARES, &shares), (add::PRICE, &price)],
            );
        }

        fn execute(&mut self, order: u64, shares: u32, match_number: u64) {
            let (order, shares) = (order.to_be_bytes(), shares.to_be_bytes());
            let match_number = match_number.to_be_bytes();
            self.write(b'E', &[(ORDER, &order), (execute::SHARES, &shares), (execute::MATCH, &match_number)]);
        }

        fn write(&mut self, kind: u8, fields: &[(usize, &[u8])]) {
            write_framed(&mut self.0, kind, 1, 0, fields);
        }

        fn book(&self) -> Result<Book, Failure> {
            let mut book = Book::default();
            for message in read_file(&self.0)? {
                book.apply(message)?;
            }
            assert!(book.adds_up());
            Ok(book)
        }
    }

    #[test]
    fn a_level_is_the_sum_of_its_orders_and_goes_with_the_last() -> Result<(), Failure> {
        let mut day = Day::default();
        day.add(1, b"B", 100, 9_9000);
        day.add(2, b"B", 200, 9_9000);
        day.add(3, b"B", 500, 9_8000);
        day.add(4, b"S", 100, 10_0000);
        assert_eq!(day.book()?.best_bid(), Some((9_9000, Level { shares: 300, orders: 2 })));
        day.execute(1, 60, 70);
        assert_eq!(day.book()?.best_bid(), Some((9_9000, Level { shares: 240, orders: 2 })));
        day.execute(1, 40, 71);
        day.write(b'D', &[(ORDER, &2_u64.to_be_bytes())]);
        assert_eq!(day.book()?.best_bid(), Some((9_8000, Level { shares: 500, orders: 1 })));
        assert_eq!(day.book()?.best_ask(), Some((10_0000, Level { shares: 100, orders: 1 })));
        assert_eq!(day.book()?.anomalies(), 0);
        Ok(())
    }

    #[test]
    fn a_broken_trade_leaves_the_average_but_not_the_last_price() -> Result<(), Failure> {
        let mut day = Day::default();
        day.add(1, b"B", 100, 9_0000);
        day.add(2, b"B", 300, 8_0000);
        day.execute(1, 100, 70);
        day.execute(2, 300, 71);
        assert_eq!(day.book()?.traded().average(), Some(8_2500));
        day.write(b'B', &[(crate::itch::broken::MATCH, &71_u64.to_be_bytes())]);
        assert_eq!(day.book()?.traded().average(), Some(9_0000));
        assert_eq!(day.book()?.last_price(), Some(8_0000));
        Ok(())
    }

    #[test]
    fn an_execution_that_is_not_printable_moves_the_book_only() -> Result<(), Failure> {
        let mut day = Day::default();
        day.add(1, b"S", 100, 9_0000);
        let (order, shares) = (1_u64.to_be_bytes(), 100_u32.to_be_bytes());
        day.write(b'C', &[(ORDER, &order), (execute::SHARES, &shares), (execute::PRINTABLE, b"N")]);
        let book = day.book()?;
        assert_eq!((book.open_orders(), book.traded().shares, book.last_price()), (0, 0, None));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_counted_and_changes_nothing_else() -> Result<(), Failure> {
        let mut day = Day::default();
        day.add(1, b"B", 100, 9_0000);
        day.add(1, b"B", 100, 9_0000);
        day.execute(2, 100, 70);
        day.write(b'B', &[(crate::itch::broken::MATCH, &70_u64.to_be_bytes())]);
        assert_eq!(day.book()?.anomalies(), 3);
        assert_eq!(day.book()?.best_bid(), Some((9_0000, Level { shares: 100, orders: 1 })));
        day.execute(1, 101, 71);
        assert_eq!(day.book()?.anomalies(), 4);
        assert_eq!(day.book()?.open_orders(), 0);
        Ok(())
    }
}
