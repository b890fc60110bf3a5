//! Kafka's properties: tables that say for every known name what it means here, and the one function that
//! goes by them. Nothing is ignored: a property is translated, or promises only what holds anyway, or is
//! refused.

pub(crate) mod network;
pub(crate) mod topic;

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// One of Kafka's names, and what becomes of it in a configuration `C`.
#[derive(Debug)]
pub(crate) struct Row<C> {
    name: &'static str,
    rule: Rule<C>,
}

/// What becomes of a property.
#[derive(Debug)]
pub(crate) enum Rule<C> {
    /// Puts its value into the configuration, or says why it cannot.
    Translate(fn(C, &str) -> Result<C, String>),
    /// What these values ask for is so anyway; any other cannot be had, for this reason.
    Only(&'static [&'static str], &'static str),
    /// No value of it can be had, for this reason.
    Refuse(&'static str),
}

impl<C> Row<C> {
    pub(crate) const fn new(name: &'static str, rule: Rule<C>) -> Self {
        Self { name, rule }
    }

    /// Whether the row is about the property `name`; a `*` at its end stands for anything.
    fn is_about(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.name,
        }
    }

    fn apply(&self, config: C, value: &str) -> Result<C, String> {
        match &self.rule {
            Rule::Translate(translate) => translate(config, value),
            Rule::Only(values, _) if values.contains(&value) => Ok(config),
            Rule::Only(values, reason) => Err(format!("{reason}; possible is {}", values.join(" or "))),
            Rule::Refuse(reason) => Err((*reason).to_owned()),
        }
    }
}

/// Goes through the properties, in their order, by the rows of a table. The first that cannot be used is the
/// error.
pub(crate) fn apply<'a, C: 'a, R: Iterator<Item = &'a Row<C>>>(
    rows: impl Fn() -> R,
    config: C,
    properties: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
) -> Result<C> {
    properties.into_iter().try_fold(config, |config, (name, value)| {
        let (name, value) = (name.as_ref().trim(), value.as_ref().trim());
        let applied = match rows().find(|row| row.is_about(name)) {
            Some(row) => row.apply(config, value),
            None => Err(unknown(rows().map(|row| row.name), name)),
        };
        applied.map_err(|reason| Error::InvalidProperty {
            name: name.to_owned(),
            value: value.to_owned(),
            reason,
        })
    })
}

/// A whole number in a range.
pub(crate) fn number<T>(value: &str, allowed: &RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + Display,
{
    let number = value.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| format!("it must be a number from {} to {}", allowed.start(), allowed.end()))
}

fn unknown<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> String {
    let nearest = known.map(|known| (edits(known, name), known)).min();
    match nearest {
        Some((edits, known)) if edits <= name.len() / 4 => {
            format!("there is no property of this name; did you mean {known}?")
        }
        _ => "there is no property of this name".to_owned(),
    }
}

/// How many letters have to be inserted, removed or replaced to make `b` of `a`.
fn edits(a: &str, b: &str) -> usize {
    // What it takes to come from the first letters of `a` to each beginning of `b`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (number, letter) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = number + 1;
        for (at, other) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!((edits(a, b), edits(b, a)), (count, count), "{a} and {b}");
        }
    }
}
