//! A shop's orders, for the examples that work with them: read from the CSV of a real shop, or invented in
//! the same form, and published to a topic.

mod csv_file;
mod generate;
mod number;
mod order;
mod publish;
mod source;

pub use crate::csv_file::{read, write};
pub use crate::generate::generate;
pub use crate::order::{Kind, Line, Order, Row};
pub use crate::publish::{ORDERS, publish};
pub use crate::source::Source;
