//! The sales of the shops, as CloudEvents 1.0 in JSON, one a line. Published as what they mean (the codec
//! `Json<Sale>`). Source and id together name a sale: one that comes twice is the same sale.
//!
//! The format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use fastrand::Rng;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::area::{Event, Times, lines};
use crate::generate::{self, is_one_of};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sale {
    pub(crate) specversion: String,
    pub(crate) id: String,
    pub(crate) source: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) time: String,
    pub(crate) data: Amount,
    /// Attributes that nobody here knows. They travel on.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub(crate) cents: u64,
}

impl Sale {
    /// When it was, if its time is one.
    pub(crate) fn moment(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

pub(crate) fn read(bytes: &[u8]) -> Vec<Event<Sale>> {
    let mut times = Times::default();
    let event = |line: &[u8]| {
        let sale: Result<Sale, _> = serde_json::from_slice(line);
        Event {
            key: sale.as_ref().map_or_else(|_| String::new(), |sale| sale.source.clone()),
            time: times.next(sale.as_ref().ok().and_then(Sale::moment)),
            value: sale.map_err(|_| line.to_vec()),
        }
    };
    lines(bytes).map(event).collect()
}

/// A day of sales. Some are sent twice, for the till did not hear that they had arrived, and some are cut
/// off.
pub(crate) fn generate(rng: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for (number, time) in generate::times(rng, count).into_iter().enumerate() {
        let (shop, cents) = (rng.u8(1..5), rng.u32(199..20_000));
        let line = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{number}\",\"source\":\"/shops/{shop}\",\
             \"type\":\"org.example.sale\",\"time\":\"{time}\",\"data\":{{\"cents\":{cents}}}}}\n",
        );
        let times = if is_one_of(rng, 100) { 2 } else { 1 };
        if is_one_of(rng, 300) {
            text.extend([&line[..rng.usize(1..line.len() - 2)], "\n"]);
        } else {
            text.push_str(&line.repeat(times));
        }
    }
    text
}
