//! An invented trading day in the same format as a real one: five stocks, opening and closing auctions, and
//! between them orders that come, change, trade and go. The same seed gives the same bytes on every machine.

use crate::itch::{
    ORDER, Side, add, broken, cross, directory, execute, padded, replace, system, trade, trading,
    write_framed,
};

/// The fewest messages of a day: those that open and close it.
pub(crate) const MIN_MESSAGES: usize = 6 + 4 * STOCKS.len();

/// A file's bytes with so many messages, or [`MIN_MESSAGES`] if that is more.
pub(crate) fn day(seed: u64, messages: usize) -> Vec<u8> {
    let mut day = Day::new(seed);
    let trading_messages = messages.saturating_sub(MIN_MESSAGES);
    day.open();
    day.trade(trading_messages);
    day.close();
    day.file
}

struct Day {
    file: Vec<u8>,
    random: SplitMix,
    nanos: u64,
    stocks: Vec<Stock>,
    next_order: u64,
    next_match: u64,
}

struct Stock {
    name: &'static str,
    locate: u16,
    /// About where the next orders are priced.
    centre: u32,
    orders: Vec<Order>,
    /// The match numbers of trades that were not broken.
    trades: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Order {
    number: u64,
    side: Side,
    /// In lots of [`LOT`] shares.
    lots: u32,
    price: u32,
}

impl Day {
    fn new(seed: u64) -> Self {
        let stock = |(name, locate, centre)| Stock { name, locate, centre, orders: vec![], trades: vec![] };
        let stocks = STOCKS.into_iter().map(stock).collect();
        Self { file: Vec::new(), random: SplitMix(seed), nanos: 0, stocks, next_order: 0, next_match: 0 }
    }

    fn open(&mut self) {
        self.system_event(3 * HOUR, b'O');
        for stock in 0..self.stocks.len() {
            let name = self.name(stock);
            self.write(stock, b'R', &[(directory::STOCK, &name)]);
        }
        self.system_event(4 * HOUR, b'S');
        for stock in 0..self.stocks.len() {
            let name = self.name(stock);
            self.write(stock, b'H', &[(trading::STOCK, &name), (trading::STATE, b"T")]);
        }
        self.system_event(TRADING_STARTS, b'Q');
        self.auctions(b'O');
    }

    fn close(&mut self) {
        self.nanos = TRADING_ENDS;
        self.auctions(b'C');
        self.system_event(TRADING_ENDS, b'M');
        self.system_event(20 * HOUR, b'E');
        self.system_event(20 * HOUR + HOUR / 12, b'C');
    }

    fn system_event(&mut self, nanos: u64, code: u8) {
        self.nanos = nanos;
        write_framed(&mut self.file, b'S', 0, nanos, &[(system::CODE, &[code])]);
    }

    fn auctions(&mut self, kind: u8) {
        for stock in 0..self.stocks.len() {
            let shares = u64::from(LOT) * self.random.below(100);
            let price = self.stocks[stock].centre.to_be_bytes();
            let (name, match_number) = (self.name(stock), self.new_match(stock).to_be_bytes());
            let fields: [(usize, &[u8]); 5] = [
                (cross::SHARES, &shares.to_be_bytes()),
                (cross::STOCK, &name),
                (cross::PRICE, &price),
                (cross::MATCH, &match_number),
                (cross::KIND, &[kind]),
            ];
            self.write(stock, b'Q', &fields);
        }
    }

    fn trade(&mut self, messages: usize) {
        let step = (TRADING_ENDS - TRADING_STARTS) / (messages as u64 + 1);
        for n in 1..=messages as u64 {
            self.nanos = TRADING_STARTS + n * step + self.random.below(step.max(1));
            let stock = self.random.below(self.stocks.len() as u64) as usize;
            self.one_event(stock);
        }
    }

    /// Writes exactly one message. The shares of the hundred let books neither dry up nor swell.
    fn one_event(&mut self, stock: usize) {
        self.drift(stock);
        let open = self.stocks[stock].orders.len();
        match self.random.below(100) {
            _ if open < FEW_ORDERS => self.add(stock),
            0..45 if open < MANY_ORDERS => self.add(stock),
            0..45 => self.delete(stock),
            45..60 => self.execute(stock),
            60..65 => self.execute_at(stock),
            65..73 => self.cancel(stock),
            73..84 => self.delete(stock),
            84..92 => self.replace(stock),
            92..98 => self.trade_with_hidden(stock),
            _ => self.break_trade(stock),
        }
    }

    /// Lets the price walk, but not far away.
    fn drift(&mut self, stock: usize) {
        let start = STOCKS[stock].2;
        let centre = &mut self.stocks[stock].centre;
        match self.random.below(20) {
            0 => *centre = (*centre - TICK).max(start / 2),
            1 => *centre = (*centre + TICK).min(start * 2),
            _ => {}
        }
    }

    fn add(&mut self, stock: usize) {
        let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let (number, lots) = (self.new_order(), 1 + self.random.below(10) as u32);
        let price = self.resting_price(stock, side);
        let name = self.name(stock);
        let (order, shares, price_field) = (number.to_be_bytes(), shares_of(lots), price.to_be_bytes());
        let fields: [(usize, &[u8]); 6] = [
            (ORDER, &order),
            (add::SIDE, letter(side)),
            (add::SHARES, &shares),
            (add::STOCK, &name),
            (add::PRICE, &price_field),
            (add::ATTRIBUTION, b"OTTL"),
        ];
        match self.random.below(10) {
            0 => self.write(stock, b'F', &fields),
            _ => self.write(stock, b'A', &fields[..5]),
        }
        self.stocks[stock].orders.push(Order { number, side, lots, price });
    }

    fn execute(&mut self, stock: usize) {
        let best = self.best_of_a_side(stock);
        let (order, lots) = self.take_lots(stock, best, 0);
        let match_number = self.new_match(stock).to_be_bytes();
        let (order, shares) = (order.number.to_be_bytes(), shares_of(lots));
        let fields: [(usize, &[u8]); 3] =
            [(ORDER, &order), (execute::SHARES, &shares), (execute::MATCH, &match_number)];
        self.write(stock, b'E', &fields);
    }

    /// At another price than the order's, and now and then as part of an auction, which does not count alone.
    fn execute_at(&mut self, stock: usize) {
        let best = self.best_of_a_side(stock);
        let (order, lots) = self.take_lots(stock, best, 0);
        let match_number = self.new_match(stock).to_be_bytes();
        let printable = if self.random.below(4) == 0 { b"N" } else { b"Y" };
        let price = (order.price + TICK / 2).to_be_bytes();
        let (order, shares) = (order.number.to_be_bytes(), shares_of(lots));
        let fields: [(usize, &[u8]); 5] = [
            (ORDER, &order),
            (execute::SHARES, &shares),
            (execute::MATCH, &match_number),
            (execute::PRINTABLE, printable),
            (execute::PRICE, &price),
        ];
        self.write(stock, b'C', &fields);
    }

    /// Takes some of an order's shares away; an order of one lot is deleted instead.
    fn cancel(&mut self, stock: usize) {
        let index = self.any_order(stock);
        if self.stocks[stock].orders[index].lots == 1 {
            return self.delete(stock);
        }
        let (order, lots) = self.take_lots(stock, index, 1);
        let (order, shares) = (order.number.to_be_bytes(), shares_of(lots));
        self.write(stock, b'X', &[(ORDER, &order), (execute::SHARES, &shares)]);
    }

    fn delete(&mut self, stock: usize) {
        let index = self.any_order(stock);
        let order = self.stocks[stock].orders.swap_remove(index);
        self.write(stock, b'D', &[(ORDER, &order.number.to_be_bytes())]);
    }

    fn replace(&mut self, stock: usize) {
        let index = self.any_order(stock);
        let old = self.stocks[stock].orders.swap_remove(index);
        let new = Order {
            number: self.new_order(),
            side: old.side,
            lots: 1 + self.random.below(10) as u32,
            price: self.resting_price(stock, old.side),
        };
        let (order, new_order) = (old.number.to_be_bytes(), new.number.to_be_bytes());
        let (shares, price) = (shares_of(new.lots), new.price.to_be_bytes());
        let fields: [(usize, &[u8]); 4] = [
            (ORDER, &order),
            (replace::NEW_ORDER, &new_order),
            (replace::SHARES, &shares),
            (replace::PRICE, &price),
        ];
        self.write(stock, b'U', &fields);
        self.stocks[stock].orders.push(new);
    }

    fn trade_with_hidden(&mut self, stock: usize) {
        let shares = shares_of(1 + self.random.below(10) as u32);
        let price = self.stocks[stock].centre.to_be_bytes();
        let (name, match_number) = (self.name(stock), self.new_match(stock).to_be_bytes());
        // Since 2014 neither the order's number nor its side is told: always 0 and 'B'.
        let fields: [(usize, &[u8]); 5] = [
            (add::SIDE, letter(Side::Buy)),
            (add::SHARES, &shares),
            (add::STOCK, &name),
            (add::PRICE, &price),
            (trade::MATCH, &match_number),
        ];
        self.write(stock, b'P', &fields);
    }

    fn break_trade(&mut self, stock: usize) {
        let trades = &mut self.stocks[stock].trades;
        if trades.is_empty() {
            return self.trade_with_hidden(stock);
        }
        let match_number = trades.swap_remove(self.random.below(trades.len() as u64) as usize);
        self.write(stock, b'B', &[(broken::MATCH, &match_number.to_be_bytes())]);
    }

    fn write(&mut self, stock: usize, kind: u8, fields: &[(usize, &[u8])]) {
        write_framed(&mut self.file, kind, self.stocks[stock].locate, self.nanos, fields);
    }

    fn name(&self, stock: usize) -> [u8; 8] {
        padded(self.stocks[stock].name)
    }

    fn new_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    fn new_match(&mut self, stock: usize) -> u64 {
        self.next_match += 1;
        self.stocks[stock].trades.push(self.next_match);
        self.next_match
    }

    fn any_order(&mut self, stock: usize) -> usize {
        self.random.below(self.stocks[stock].orders.len() as u64) as usize
    }

    /// The order that trades next on a side: of the best price the oldest.
    fn best_of_a_side(&mut self, stock: usize) -> usize {
        let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
        self.stocks[stock].best(side).unwrap_or_else(|| self.any_order(stock))
    }

    /// Takes some lots of an order, so that at least `left` stay; without any it is gone.
    fn take_lots(&mut self, stock: usize, index: usize, left: u32) -> (Order, u32) {
        let orders = &mut self.stocks[stock].orders;
        let order = orders[index];
        let lots = 1 + self.random.below(u64::from(order.lots - left)) as u32;
        orders[index].lots -= lots;
        if orders[index].lots == 0 {
            orders.swap_remove(index);
        }
        (order, lots)
    }

    /// Near the centre, and never such that the order would have traded at once.
    fn resting_price(&mut self, stock: usize, side: Side) -> u32 {
        let away = TICK * (1 + self.random.below(20) as u32);
        let stock = &self.stocks[stock];
        match side {
            Side::Buy => {
                let best_ask = stock.best_price(Side::Sell).unwrap_or(u32::MAX);
                (stock.centre - away).min(best_ask - TICK)
            }
            Side::Sell => (stock.centre + away).max(stock.best_price(Side::Buy).unwrap_or(0) + TICK),
        }
    }
}

impl Stock {
    fn best_price(&self, side: Side) -> Option<u32> {
        self.best(side).map(|index| self.orders[index].price)
    }

    fn best(&self, side: Side) -> Option<usize> {
        let rank = |order: &Order| match side {
            Side::Buy => (u32::MAX - order.price, order.number),
            Side::Sell => (order.price, order.number),
        };
        let of_side = self.orders.iter().enumerate().filter(|(_, order)| order.side == side);
        of_side.min_by_key(|(_, order)| rank(order)).map(|(index, _)| index)
    }
}

fn letter(side: Side) -> &'static [u8; 1] {
    match side {
        Side::Buy => b"B",
        Side::Sell => b"S",
    }
}

fn shares_of(lots: u32) -> [u8; 4] {
    (lots * LOT).to_be_bytes()
}

/// SplitMix64 of Steele, Lea and Flood ("Fast splittable pseudorandom number generators", 2014), with its
/// constants.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Name, locate and first price of the invented stocks.
const STOCKS: [(&str, u16, u32); 5] = [
    ("ALDER", 1, 24_1000),
    ("BIRCH", 2, 102_5500),
    ("CEDAR", 3, 9_8700),
    ("ELM", 4, 350_0000),
    ("ROWAN", 5, 57_3000),
];

const HOUR: u64 = 3_600 * 1_000_000_000;
const TRADING_STARTS: u64 = 9 * HOUR + HOUR / 2;
const TRADING_ENDS: u64 = 16 * HOUR;

/// One cent.
const TICK: u32 = 100;
const LOT: u32 = 100;
const FEW_ORDERS: usize = 10;
const MANY_ORDERS: usize = 200;
