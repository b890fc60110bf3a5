//! What goes into a column, and comes out.

use common::Failure;

/// A row that a query has found.
pub type Row = Vec<Value>;

/// A value of a column: as much as SQLite and PostgreSQL have in common and the examples need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number: money in its smallest unit, offsets, counts.
    Integer(i64),
    /// Text, and what is written as text: dates in ISO 8601 sort as they should.
    Text(String),
}

impl Value {
    /// The number; an error if the column holds something else.
    pub fn as_i64(&self) -> Result<i64, Failure> {
        match self {
            Self::Integer(number) => Ok(*number),
            other => Err(format!("the database has {other:?} where a number was expected").into()),
        }
    }

    /// The text; an error if the column holds something else.
    pub fn as_str(&self) -> Result<&str, Failure> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("the database has {other:?} where a text was expected").into()),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
