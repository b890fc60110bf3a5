//! What the services tell each other: CloudEvents 1.0 in JSON, one event a line in a file.
//!
//! The format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::fs;
use std::path::Path;

use common::{Failure, about, about_line};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An event. What happened is its type, where its source; together with the source, the id is unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Event<D> {
    pub(crate) specversion: String,
    pub(crate) id: String,
    pub(crate) source: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it is about: in all events that follow an order, the name of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
    pub(crate) data: D,
    /// Attributes that nobody here knows. They travel on.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

/// A customer orders something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) product: String,
    pub(crate) quantity: u64,
    pub(crate) customer: String,
}

/// The pieces that an order gets, or would have got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pieces {
    pub(crate) product: String,
    pub(crate) quantity: u64,
}

pub(crate) const PLACED: &str = "org.example.order.placed";
pub(crate) const RESERVED: &str = "org.example.stock.reserved";
pub(crate) const REJECTED: &str = "org.example.order.rejected";
pub(crate) const SHIPPED: &str = "org.example.order.shipped";

impl<D> Event<D> {
    /// The answer of a service to an order. Its id follows from the order's: who does the work again makes
    /// the same event again, and not another one.
    pub(crate) fn about(order: &str, source: &str, kind: &str, data: D) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: format!("{order}/{kind}"),
            source: source.to_owned(),
            kind: kind.to_owned(),
            subject: Some(order.to_owned()),
            time: None,
            data,
            others: Map::new(),
        }
    }

    /// The name of this event in all the world: of an order, the name of the order.
    pub(crate) fn name(&self) -> String {
        format!("{}#{}", self.source, self.id)
    }

    /// The order that it is about.
    pub(crate) fn order(&self) -> Result<&str, Failure> {
        self.subject.as_deref().ok_or_else(|| format!("event {} has no subject", self.name()).into())
    }
}

/// The orders of a file.
pub(crate) fn read(file: &Path) -> Result<Vec<Event<Order>>, Failure> {
    let text = fs::read_to_string(file).map_err(|error| about(file, error))?;
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let events = lines.filter(|(_, line)| !line.trim().is_empty());
    let orders = events.map(|(at, line)| {
        parse(line).map_err(|reason| {
            about_line(file, at + 1, format!("{reason}; expected an order as a CloudEvent 1.0 in JSON"))
        })
    });
    let orders = orders.collect::<Result<Vec<_>, _>>()?;
    if orders.is_empty() { Err(about(file, "there are no orders in it")) } else { Ok(orders) }
}

fn parse(line: &str) -> Result<Event<Order>, Failure> {
    let order: Event<Order> = serde_json::from_str(line)?;
    if order.specversion != "1.0" {
        return Err(format!("specversion is {:?}", order.specversion).into());
    }
    if order.id.is_empty() || order.source.is_empty() {
        return Err("id or source is empty".into());
    }
    Ok(order)
}

/// Writes orders to a file.
pub(crate) fn write(file: &Path, orders: &[Event<Order>]) -> Result<(), Failure> {
    let lines = orders.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    fs::write(file, lines.join("\n") + "\n").map_err(|error| about(file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_comes_back_with_what_nobody_knows() -> Result<(), Failure> {
        let line = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":
            {"product":"p","quantity":2,"customer":"c"},"traceparent":"00-ab"}"#;
        let order = parse(line)?;
        assert_eq!((&*order.name(), order.data.quantity), ("/s#7", 2));
        assert_eq!(parse(&serde_json::to_string(&order)?)?, order);
        assert!(serde_json::to_string(&order)?.contains("traceparent"));
        Ok(())
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for (wrong, line) in [
            (
                "missing field `product`",
                r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":{}}"#,
            ),
            ("specversion", &order("0.3", "7", "2")),
            ("id or source", &order("1.0", "", "2")),
            ("invalid type", &order("1.0", "7", "\"two\"")),
            ("EOF", &order("1.0", "7", "2")[..40]),
        ] {
            let refused = parse(line).expect_err(wrong).to_string();
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    fn order(version: &str, id: &str, quantity: &str) -> String {
        let data = format!(r#"{{"product":"p","quantity":{quantity},"customer":"c"}}"#);
        format!(r#"{{"specversion":"{version}","id":"{id}","source":"/s","type":"t","data":{data}}}"#)
    }
}
