//! The areas' figures side by side: who sells what, and what it costs in energy.

use std::collections::BTreeSet;

use common::Failure;
use jiff::Timestamp;

use crate::desks::{ByHour, Known};

/// Prints so many hours at most, the last ones.
const ROWS: usize = 24;

/// The figures of the areas joined by the hour; what no area has anything for has no row.
pub(crate) fn print(known: &[Known; 4]) -> Result<(), Failure> {
    let [views, messages, energy, sales] = known.each_ref().map(|known| &known.by_hour);
    let hours: BTreeSet<i64> =
        [views, messages, energy, sales].into_iter().flat_map(ByHour::keys).copied().collect();
    println!("hour (UTC)         views  messages       kWh          EUR   EUR a kWh");
    for hour in hours.iter().skip(hours.len().saturating_sub(ROWS)) {
        let count = |area: &ByHour| area.get(hour).map_or_else(|| "-".to_owned(), u64::to_string);
        let thousandths = |by: u64| move |figure: &u64| format!("{:.2}", *figure as f64 / by as f64);
        let kwh = energy.get(hour).map_or_else(|| "-".to_owned(), thousandths(1_000));
        let eur = sales.get(hour).map_or_else(|| "-".to_owned(), thousandths(100));
        let ratio = match (sales.get(hour), energy.get(hour)) {
            (Some(cents), Some(watt_hours)) if *watt_hours > 0 => {
                format!("{:.2}", *cents as f64 * 10.0 / *watt_hours as f64)
            }
            _ => "-".to_owned(),
        };
        let time = Timestamp::from_second(hour * 3_600)?.strftime("%Y-%m-%d %H:00").to_string();
        let (views, messages) = (count(views), count(messages));
        println!("{time}  {views:>6}{messages:>10}{kwh:>10}{eur:>13}{ratio:>12}");
    }
    println!();
    Ok(())
}
