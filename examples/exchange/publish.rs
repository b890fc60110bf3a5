//! Brings the log up to the feed: reads what it holds already, checks that it is this feed's, and sends the
//! rest, one thread a stock.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use ottla::{Broker, Producer, Raw};

use crate::feed::Feed;
use crate::itch::Message;
use crate::{Failure, Key, PARTITIONS, TOPIC, joined};

/// What the log lacks of a feed.
#[derive(Debug)]
pub(crate) struct Backlog<'a> {
    /// Of each stock the messages after those that the log has.
    stocks: BTreeMap<&'a str, &'a [Message<'a>]>,
    market: Vec<Message<'a>>,
}

impl<'a> Backlog<'a> {
    /// Reads the whole log once. What is there must be of this feed.
    ///
    /// A run that was killed leaves of each stock a beginning, because one thread sends a stock's messages in
    /// order. Those without a key come from one thread too, but may be in any partition, so of
    /// them only the set is known.
    pub(crate) fn of(broker: &Broker, feed: &'a Feed<'a>) -> Result<Self, Failure> {
        let mut backlog = Self::whole(feed);
        let mut consumer = broker.consumer::<Key, Raw>().assign(TOPIC, 0..PARTITIONS).build()?;
        loop {
            let records = consumer.poll(Duration::ZERO)?;
            if records.is_empty() {
                return Ok(backlog);
            }
            for record in &records {
                backlog.strike_out(record.key()?, record.value()?).map_err(|reason| {
                    let (partition, offset) = (record.partition(), record.offset());
                    format!("the log is not of this feed: {reason} (partition {partition}, offset {offset})")
                })?;
            }
        }
    }

    pub(crate) fn messages(&self) -> u64 {
        self.lanes().map(|(_, messages)| messages.len() as u64).sum()
    }

    /// Sends everything. When a `send` returns, its message is as durable as the topic promises.
    pub(crate) fn publish(&self, broker: &Broker) -> Result<(), Failure> {
        let producer = broker.producer::<Key, Raw>(TOPIC)?;
        let lanes: Vec<Lane<'_>> = self.lanes().collect();
        // A thread a stock. Of thousands of stocks, several share a thread: each is still sent in order.
        let lanes_a_thread = lanes.len().div_ceil(MAX_THREADS);
        thread::scope(|scope| {
            let send = |lanes| {
                let producer = producer.clone();
                scope.spawn(move || send_all(&producer, lanes))
            };
            let threads: Vec<_> = lanes.chunks(lanes_a_thread).map(send).collect();
            threads.into_iter().try_for_each(joined)
        })
    }

    fn lanes(&self) -> impl Iterator<Item = Lane<'_>> {
        let stocks = self.stocks.iter().map(|(stock, messages)| (Some(*stock), *messages));
        stocks.chain([(None, self.market.as_slice())])
    }

    fn whole(feed: &'a Feed<'a>) -> Self {
        let stocks = feed.stocks.iter().map(|(stock, messages)| (*stock, messages.as_slice())).collect();
        Self { stocks, market: feed.market.clone() }
    }

    fn strike_out(&mut self, key: Option<&str>, value: &[u8]) -> Result<(), Failure> {
        let Some(stock) = key else {
            let place = self.market.iter().position(|message| message.bytes() == value);
            self.market.remove(place.ok_or("it has another message without a key")?);
            return Ok(());
        };
        let lacking = self.stocks.get_mut(stock).ok_or_else(|| format!("it has a stock {stock:?}"))?;
        match lacking.split_first() {
            Some((next, rest)) if next.bytes() == value => *lacking = rest,
            Some(_) => return Err(format!("it has another message of {stock}").into()),
            None => return Err(format!("it has more messages of {stock}").into()),
        }
        Ok(())
    }
}

/// What is sent in order under one key.
type Lane<'a> = (Option<&'a str>, &'a [Message<'a>]);

fn send_all(producer: &Producer<Key, Raw>, lanes: &[Lane<'_>]) -> Result<(), Failure> {
    for (key, messages) in lanes {
        for message in *messages {
            producer.send(*key, message.bytes())?;
        }
    }
    Ok(())
}

const MAX_THREADS: usize = 64;
