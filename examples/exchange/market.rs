//! The books of all stocks, as one reader of the feed sees them.

use std::collections::{BTreeMap, BTreeSet};

use crate::Failure;
use crate::book::Book;
use crate::digest::Digest;
use crate::itch::Message;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Market {
    pub(crate) books: BTreeMap<String, Book>,
    /// How many messages about the market as a whole there were of each type. They have no key, so they
    /// may come in any order.
    notices: BTreeMap<u8, u64>,
}

impl Market {
    pub(crate) fn apply(&mut self, stock: Option<&str>, message: Message<'_>) -> Result<(), Failure> {
        let Some(stock) = stock else {
            *self.notices.entry(message.kind()).or_default() += 1;
            return Ok(());
        };
        match self.books.get_mut(stock) {
            Some(book) => book.apply(message),
            None => self.books.entry(stock.to_owned()).or_default().apply(message),
        }
    }

    pub(crate) fn messages(&self) -> u64 {
        self.notices.values().sum::<u64>() + self.books.values().map(Book::messages).sum::<u64>()
    }

    pub(crate) fn anomalies(&self) -> u64 {
        self.books.values().map(Book::anomalies).sum()
    }

    /// The stocks of which the two have different states, in anything at all.
    pub(crate) fn differences(&self, other: &Self) -> BTreeSet<String> {
        let stocks = self.books.keys().chain(other.books.keys());
        let mut different: BTreeSet<String> =
            stocks.filter(|stock| self.books.get(*stock) != other.books.get(*stock)).cloned().collect();
        if self.notices != other.notices {
            different.insert("(market)".to_owned());
        }
        different
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::new();
        for (stock, book) in &self.books {
            digest.add_bytes(stock.as_bytes());
            book.digest_into(&mut digest);
        }
        for (kind, count) in &self.notices {
            digest.add_all([u64::from(*kind), *count]);
        }
        digest
    }
}
