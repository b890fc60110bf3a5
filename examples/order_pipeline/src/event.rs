//! What the stages make of an order. Pure: the same order gives the same events, whenever it is asked.

use retail::{Kind, Order};
use serde::{Deserialize, Serialize};

/// What people pay for and nobody packs: postage, bank charges, discounts and the like.
const SERVICES: [&str; 8] = ["POST", "DOT", "C2", "D", "M", "BANK CHARGES", "AMAZONFEE", "B"];
const UNITS_IN_A_PARCEL: u64 = 60;
const HOME: &str = "United Kingdom";

/// Event of the topic `inventory`: things were taken from the shelves, or are to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Picked {
    pub(crate) invoice: String,
    pub(crate) customer: String,
    pub(crate) country: String,
    pub(crate) is_correction: bool,
    /// Below zero if they come back.
    pub(crate) units: i64,
    pub(crate) value: i64,
}

/// Event of the topic `shipments`: so they travel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Shipment {
    pub(crate) invoice: String,
    pub(crate) customer: String,
    pub(crate) carrier: String,
    pub(crate) parcels: u64,
    pub(crate) value: i64,
}

impl Picked {
    pub(crate) fn of(order: &Order) -> Self {
        let things = order.lines.iter().filter(|line| !SERVICES.contains(&line.product.as_str()));
        Self {
            invoice: order.invoice.clone(),
            customer: order.customer.clone(),
            country: order.country.clone(),
            is_correction: order.kind() == Kind::Adjustment,
            units: things.map(|line| line.quantity).fold(0, i64::saturating_add),
            value: order.total(),
        }
    }
}

impl Shipment {
    pub(crate) fn of(picked: &Picked) -> Self {
        let carrier = match picked {
            Picked { is_correction: true, .. } | Picked { units: 0, .. } => "none",
            Picked { units: ..0, .. } => "collection",
            Picked { country, .. } if country == HOME => "domestic",
            _ => "export",
        };
        let units = if carrier == "none" { 0 } else { picked.units.unsigned_abs() };
        Self {
            invoice: picked.invoice.clone(),
            customer: picked.customer.clone(),
            carrier: carrier.to_owned(),
            parcels: units.div_ceil(UNITS_IN_A_PARCEL),
            value: picked.value,
        }
    }
}
