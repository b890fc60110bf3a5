//! One group of the topic: rebuilds the market from the beginning of the log, on its own and at its own pace.

use std::time::Duration;

use ottla::{Broker, Raw};

use crate::itch::Message;
use crate::market::Market;
use crate::{Failure, Key, TOPIC};

/// Reads until it has seen so many messages. If the next one is too long in coming, that is an error.
pub(crate) fn rebuild(broker: &Broker, group: &str, messages: u64) -> Result<Market, Failure> {
    let mut consumer = broker.consumer::<Key, Raw>().topic(TOPIC).group(group).build()?;
    // The books are in memory only, so what an earlier run committed does not help: they begin anew.
    consumer.seek_to_beginning();
    let mut market = Market::default();
    let mut seen = 0;
    while seen < messages {
        let records = consumer.poll(PATIENCE)?;
        if records.is_empty() {
            return Err(
                format!("{group}: no news for {PATIENCE:?} after {seen} of {messages} messages").into()
            );
        }
        for record in &records {
            market.apply(record.key()?, Message::parse(record.value()?)?)?;
            seen += 1;
        }
        consumer.commit(&records)?;
    }
    let (left, uncommitted) = (consumer.lag(), broker.lag(group, TOPIC)?);
    if (seen, left, uncommitted) != (messages, 0, 0) {
        let found = format!("saw {seen}, {left} are left, and {uncommitted} are not committed");
        return Err(format!("{group}: of {messages} messages it {found}").into());
    }
    Ok(market)
}

const PATIENCE: Duration = Duration::from_secs(30);
