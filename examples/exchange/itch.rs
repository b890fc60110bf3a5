//! NASDAQ TotalView-ITCH 5.0: how a message lies in memory and in a file, read and written. Knows nothing of
//! books or topics.
//!
//! Every message begins alike. Integers are big-endian, prices have four decimals, names are padded with
//! spaces.
//!
//! ```text
//!  0      1              3                 5                         11
//! | type | stock locate | tracking number | nanoseconds of the day  | the fields of the type ...
//! ```
//!
//! In a file, two bytes with its length stand before each message. Some files leave them zero; then the
//! type tells the length. A length of zero at the very end is the end of the session.

use std::fmt;

use crate::Failure;

/// One message, checked: its type is known, and its length is that of its type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
}

/// What a message says, as far as an order book cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Add {
        order: u64,
        side: Side,
        shares: u32,
        price: u32,
    },
    Execute {
        order: u64,
        shares: u32,
        match_number: u64,
    },
    ExecuteAt {
        order: u64,
        shares: u32,
        match_number: u64,
        printable: bool,
        price: u32,
    },
    Cancel {
        order: u64,
        shares: u32,
    },
    Delete {
        order: u64,
    },
    Replace {
        order: u64,
        new_order: u64,
        shares: u32,
        price: u32,
    },
    Trade {
        shares: u32,
        match_number: u64,
        price: u32,
    },
    Cross {
        shares: u64,
        match_number: u64,
        price: u32,
    },
    Break {
        match_number: u64,
    },
    /// One of the types that change no book.
    Notice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Buy,
    Sell,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    Stock(&'a str),
    /// The stock that has this number for the day.
    Locate(u16),
    Market,
}

/// The messages in a file's bytes.
pub(crate) fn read_file(bytes: &[u8]) -> Result<Vec<Message<'_>>, Failure> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() && rest != END_OF_SESSION {
        let message = read_framed(rest).map_err(|reason| {
            format!("message {} at byte {}: {reason}", messages.len() + 1, bytes.len() - rest.len())
        })?;
        rest = &rest[PREFIX_BYTES + message.bytes.len()..];
        messages.push(message);
    }
    Ok(messages)
}

/// Appends a message to a file's bytes: the header, then each field where one of the constants below says.
/// Fields that are not given are zero.
pub(crate) fn write_framed(
    file: &mut Vec<u8>,
    kind: u8,
    locate: u16,
    day_nanos: u64,
    fields: &[(usize, &[u8])],
) {
    let layout = layout_of(kind).expect("the caller writes a type that the table has");
    let mut message = vec![0; layout.bytes];
    message[KIND] = kind;
    message[LOCATE..TRACKING].copy_from_slice(&locate.to_be_bytes());
    message[DAY_NANOS..HEADER_BYTES].copy_from_slice(&day_nanos.to_be_bytes()[2..]);
    for (at, field) in fields {
        message[*at..at + field.len()].copy_from_slice(field);
    }
    file.extend_from_slice(&(layout.bytes as u16).to_be_bytes());
    file.extend_from_slice(&message);
}

/// A stock's name as it stands in a message.
pub(crate) fn padded(stock: &str) -> [u8; STOCK_BYTES] {
    let mut name = [b' '; STOCK_BYTES];
    for (to, from) in name.iter_mut().zip(stock.bytes()) {
        *to = from;
    }
    name
}

impl<'a> Message<'a> {
    /// The message that these bytes are, no more and no less.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Failure> {
        let kind = *bytes.first().ok_or("a message is empty")?;
        let layout = known_layout(kind)?;
        if bytes.len() != layout.bytes {
            let (kind, found) = (char::from(kind), bytes.len());
            return Err(format!("a message '{kind}' has {} bytes, not {found}", layout.bytes).into());
        }
        Ok(Self { bytes })
    }

    pub(crate) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The letter of the type.
    pub(crate) fn kind(self) -> u8 {
        self.bytes[KIND]
    }

    pub(crate) fn locate(self) -> u16 {
        u16::from_be_bytes(self.field(LOCATE))
    }

    pub(crate) fn subject(self) -> Result<Subject<'a>, Failure> {
        Ok(match known_layout(self.kind())?.stock {
            Stock::At(at) => Subject::Stock(trimmed(&self.bytes[at..at + STOCK_BYTES])?),
            Stock::ByLocate => Subject::Locate(self.locate()),
            Stock::None => Subject::Market,
        })
    }

    pub(crate) fn event(self) -> Result<Event, Failure> {
        Ok(match self.kind() {
            b'A' | b'F' => {
                let (shares, price) = (self.u32(add::SHARES), self.u32(add::PRICE));
                Event::Add { order: self.u64(ORDER), side: self.side()?, shares, price }
            }
            b'E' | b'C' => self.execution(),
            b'X' => Event::Cancel { order: self.u64(ORDER), shares: self.u32(execute::SHARES) },
            b'D' => Event::Delete { order: self.u64(ORDER) },
            b'U' => {
                let (shares, price) = (self.u32(replace::SHARES), self.u32(replace::PRICE));
                Event::Replace {
                    order: self.u64(ORDER),
                    new_order: self.u64(replace::NEW_ORDER),
                    shares,
                    price,
                }
            }
            b'P' => {
                let (shares, price) = (self.u32(add::SHARES), self.u32(add::PRICE));
                Event::Trade { shares, match_number: self.u64(trade::MATCH), price }
            }
            b'Q' => {
                let (shares, price) = (self.u64(cross::SHARES), self.u32(cross::PRICE));
                Event::Cross { shares, match_number: self.u64(cross::MATCH), price }
            }
            b'B' => Event::Break { match_number: self.u64(broken::MATCH) },
            _ => Event::Notice,
        })
    }

    fn execution(self) -> Event {
        let (order, shares) = (self.u64(ORDER), self.u32(execute::SHARES));
        let match_number = self.u64(execute::MATCH);
        if self.kind() == b'E' {
            return Event::Execute { order, shares, match_number };
        }
        let printable = self.bytes[execute::PRINTABLE] == b'Y';
        Event::ExecuteAt { order, shares, match_number, printable, price: self.u32(execute::PRICE) }
    }

    fn side(self) -> Result<Side, Failure> {
        match self.bytes[add::SIDE] {
            b'B' => Ok(Side::Buy),
            b'S' => Ok(Side::Sell),
            other => Err(format!("an order's side is {:?}, neither 'B' nor 'S'", char::from(other)).into()),
        }
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.field(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.field(at))
    }

    /// Cannot miss: `parse` checked the length, and every field lies within its type's.
    fn field<const N: usize>(self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", char::from(self.kind()), self.event())
    }
}

fn read_framed(bytes: &[u8]) -> Result<Message<'_>, Failure> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX_BYTES>().ok_or("the file ends within a length")?;
    let kind = *rest.first().ok_or("the file ends before a message")?;
    let length = known_layout(kind)?.bytes;
    let announced = usize::from(u16::from_be_bytes(*prefix));
    if announced != 0 && announced != length {
        let kind = char::from(kind);
        return Err(format!("a message '{kind}' has {length} bytes, but {announced} are announced").into());
    }
    Message::parse(rest.get(..length).ok_or("the file ends within a message")?)
}

fn trimmed(name: &[u8]) -> Result<&str, Failure> {
    match std::str::from_utf8(name.trim_ascii_end()) {
        Ok(stock) if !stock.is_empty() => Ok(stock),
        _ => Err(format!("a stock's name is '{}'", name.escape_ascii()).into()),
    }
}

fn known_layout(kind: u8) -> Result<&'static Layout, Failure> {
    layout_of(kind)
        .ok_or_else(|| format!("a message's type is '{}', which ITCH 5.0 lacks", kind.escape_ascii()).into())
}

fn layout_of(kind: u8) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.kind == kind)
}

struct Layout {
    kind: u8,
    bytes: usize,
    stock: Stock,
}

enum Stock {
    At(usize),
    ByLocate,
    None,
}

const fn row(kind: u8, bytes: usize, stock: Stock) -> Layout {
    Layout { kind, bytes, stock }
}

/// Every type of message, the frequent ones first.
const LAYOUTS: [Layout; 23] = [
    row(b'A', 36, Stock::At(add::STOCK)),       // add order
    row(b'D', 19, Stock::ByLocate),             // order delete
    row(b'U', 35, Stock::ByLocate),             // order replace
    row(b'E', 31, Stock::ByLocate),             // order executed
    row(b'X', 23, Stock::ByLocate),             // order cancel, of some of its shares
    row(b'P', 44, Stock::At(add::STOCK)),       // trade with an order that was not displayed
    row(b'F', 40, Stock::At(add::STOCK)),       // add order, with attribution
    row(b'C', 36, Stock::ByLocate),             // order executed with price
    row(b'I', 50, Stock::At(27)),               // net order imbalance
    row(b'Q', 40, Stock::At(cross::STOCK)),     // cross trade: an auction
    row(b'B', 19, Stock::ByLocate),             // broken trade
    row(b'R', 39, Stock::At(directory::STOCK)), // stock directory
    row(b'H', 25, Stock::At(trading::STOCK)),   // trading action
    row(b'Y', 20, Stock::At(11)),               // short sale restriction
    row(b'L', 26, Stock::At(15)),               // market participant's position
    row(b'J', 35, Stock::At(11)),               // auction collar
    row(b'K', 28, Stock::At(11)),               // quoting period of an IPO
    row(b'N', 20, Stock::At(11)),               // retail price improvement
    row(b'O', 48, Stock::At(11)),               // direct listing with capital raise
    row(b'h', 21, Stock::At(11)),               // operational halt
    row(b'S', 12, Stock::None),                 // system event
    row(b'V', 35, Stock::None),                 // levels of the market-wide circuit breaker
    row(b'W', 12, Stock::None),                 // market-wide circuit breaker
];

const PREFIX_BYTES: usize = 2;
const END_OF_SESSION: [u8; PREFIX_BYTES] = [0; PREFIX_BYTES];
pub(crate) const STOCK_BYTES: usize = 8;

const KIND: usize = 0;
const LOCATE: usize = 1;
const TRACKING: usize = 3;
const DAY_NANOS: usize = 5;
const HEADER_BYTES: usize = 11;

/// The order's number, in every message about one.
pub(crate) const ORDER: usize = HEADER_BYTES;

pub(crate) mod system {
    pub(crate) const CODE: usize = 11;
}

pub(crate) mod directory {
    pub(crate) const STOCK: usize = 11;
}

pub(crate) mod trading {
    pub(crate) const STOCK: usize = 11;
    pub(crate) const STATE: usize = 19;
}

/// Add order, with attribution (`F`) or without (`A`); a trade (`P`) has the same fields and a match number.
pub(crate) mod add {
    pub(crate) const SIDE: usize = 19;
    pub(crate) const SHARES: usize = 20;
    pub(crate) const STOCK: usize = 24;
    pub(crate) const PRICE: usize = 32;
    pub(crate) const ATTRIBUTION: usize = 36;
}

pub(crate) mod trade {
    pub(crate) const MATCH: usize = 36;
}

/// Order executed (`E`), with the last two fields if at another price (`C`); a cancel (`X`) has only shares.
pub(crate) mod execute {
    pub(crate) const SHARES: usize = 19;
    pub(crate) const MATCH: usize = 23;
    pub(crate) const PRINTABLE: usize = 31;
    pub(crate) const PRICE: usize = 32;
}

pub(crate) mod replace {
    pub(crate) const NEW_ORDER: usize = 19;
    pub(crate) const SHARES: usize = 27;
    pub(crate) const PRICE: usize = 31;
}

pub(crate) mod cross {
    pub(crate) const SHARES: usize = 11;
    pub(crate) const STOCK: usize = 19;
    pub(crate) const PRICE: usize = 27;
    pub(crate) const MATCH: usize = 31;
    pub(crate) const KIND: usize = 39;
}

pub(crate) mod broken {
    pub(crate) const MATCH: usize = 11;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(kind: u8, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        write_framed(&mut file, kind, 7, 34_200_000_000_000, fields);
        file
    }

    #[test]
    fn what_is_written_is_read() -> Result<(), Failure> {
        let file = file_with(
            b'A',
            &[
                (ORDER, &1234_u64.to_be_bytes()),
                (add::SIDE, b"S"),
                (add::SHARES, &500_u32.to_be_bytes()),
                (add::STOCK, &padded("CEDAR")),
                (add::PRICE, &12_3400_u32.to_be_bytes()),
            ],
        );
        let messages = read_file(&file)?;
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].locate(), 7);
        assert_eq!(messages[0].subject()?, Subject::Stock("CEDAR"));
        let add = Event::Add { order: 1234, side: Side::Sell, shares: 500, price: 12_3400 };
        assert_eq!(messages[0].event()?, add);
        Ok(())
    }

    #[test]
    fn a_length_of_zero_is_taken_from_the_type() -> Result<(), Failure> {
        let with_length = file_with(b'D', &[(ORDER, &9_u64.to_be_bytes())]);
        let mut without = with_length.clone();
        without[..PREFIX_BYTES].fill(0);
        assert_eq!(read_file(&with_length)?, read_file(&without)?);
        without.extend(END_OF_SESSION);
        assert_eq!(read_file(&without)?.len(), 1);
        Ok(())
    }

    #[test]
    fn every_way_to_be_wrong_is_an_error_that_says_where() {
        let good = file_with(b'X', &[]);
        let cut = [&good[..], &good[..good.len() - 1]].concat();
        let wrong_length = [&good[..], &[0, 22], &good[2..]].concat();
        let wrong_type = [&good[..], &[0, 0, b'z']].concat();
        for file in [cut, wrong_length, wrong_type, [&good[..], &[0]].concat()] {
            let error = read_file(&file).expect_err("the second message is wrong").to_string();
            assert!(error.starts_with("message 2 at byte 25: "), "{error}");
        }
    }

    #[test]
    fn no_type_stands_twice_and_every_name_fits() {
        for (n, layout) in LAYOUTS.iter().enumerate() {
            assert!(LAYOUTS[..n].iter().all(|other| other.kind != layout.kind));
            assert!(!matches!(layout.stock, Stock::At(at) if at + STOCK_BYTES > layout.bytes));
        }
    }
}
