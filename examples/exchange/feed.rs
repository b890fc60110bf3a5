//! A day's messages, dealt out by stock: what is to be published under which key, in which order.

use std::collections::{BTreeMap, HashMap};

use crate::Failure;
use crate::itch::{Message, Subject, read_file};

#[derive(Debug, Default)]
pub(crate) struct Feed<'a> {
    /// Of each stock by its name, in the order of the feed.
    pub(crate) stocks: BTreeMap<&'a str, Vec<Message<'a>>>,
    /// Those about the market as a whole, which get no key.
    pub(crate) market: Vec<Message<'a>>,
}

impl<'a> Feed<'a> {
    pub(crate) fn of_file(bytes: &'a [u8]) -> Result<Self, Failure> {
        let mut feed = Self::default();
        let mut names = Names::default();
        for (n, message) in read_file(bytes)?.into_iter().enumerate() {
            match names.key_of(message).map_err(|reason| format!("message {}: {reason}", n + 1))? {
                Some(stock) => feed.stocks.entry(stock).or_default().push(message),
                None => feed.market.push(message),
            }
        }
        if feed.messages() == 0 {
            return Err("the feed has no messages".into());
        }
        Ok(feed)
    }

    pub(crate) fn messages(&self) -> u64 {
        let of_stocks: usize = self.stocks.values().map(Vec::len).sum();
        (of_stocks + self.market.len()) as u64
    }

    /// Every message with its key; in order within a key.
    pub(crate) fn keyed(&self) -> impl Iterator<Item = (Option<&'a str>, Message<'a>)> {
        let of_stocks =
            self.stocks.iter().flat_map(|(stock, of_stock)| of_stock.iter().map(|m| (Some(*stock), *m)));
        of_stocks.chain(self.market.iter().map(|message| (None, *message)))
    }
}

/// Which stock has which number for the day.
#[derive(Default)]
struct Names<'a> {
    by_locate: HashMap<u16, &'a str>,
}

impl<'a> Names<'a> {
    fn key_of(&mut self, message: Message<'a>) -> Result<Option<&'a str>, Failure> {
        match message.subject()? {
            Subject::Stock(stock) => self.learn(message.locate(), stock).map(Some),
            Subject::Locate(locate) => match self.by_locate.get(&locate) {
                Some(stock) => Ok(Some(stock)),
                None => Err(format!("no stock has locate {locate} yet").into()),
            },
            Subject::Market => Ok(None),
        }
    }

    fn learn(&mut self, locate: u16, stock: &'a str) -> Result<&'a str, Failure> {
        // Some types may leave the number out; zero is nobody's.
        if locate != 0 {
            let known = *self.by_locate.entry(locate).or_insert(stock);
            if known != stock {
                return Err(format!("locate {locate} is {known}, and now {stock}").into());
            }
        }
        Ok(stock)
    }
}
