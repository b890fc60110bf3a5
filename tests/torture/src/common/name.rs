//! Records that carry their name: from the bytes of a value follows who sent it, as what, and whether every
//! byte is right.

use std::fmt;

use super::random::{Random, mix};

/// The name of a record. The records of one call for one partition are a unit: they are there together or
/// not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    /// Who sent it. No two senders of a run have the same number.
    pub(crate) sender: u64,
    /// Which partition it was meant for, counted over all topics.
    pub(crate) partition: u32,
    /// Which unit it belongs to: they are counted from 0 for each sender and partition.
    pub(crate) unit: u64,
    /// Which record of the unit it is.
    pub(crate) number: u32,
    /// How many records the unit has.
    pub(crate) of: u32,
    /// Bytes of the value; at least [`Name::BYTES`].
    pub(crate) len: u32,
}

impl Name {
    /// Bytes that a name takes in a value. What follows is filled from the name.
    pub(crate) const BYTES: usize = 40;

    /// The record's value.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = vec![0; self.len as usize];
        value[..Self::BYTES].copy_from_slice(&self.head());
        self.body().fill(&mut value[Self::BYTES..]);
        value
    }

    /// The name of the record with this value, if every byte is right; otherwise what is wrong.
    pub(crate) fn of_value(value: &[u8]) -> Result<Self, String> {
        let Some((head, body)) = value.split_first_chunk::<{ Self::BYTES }>() else {
            return Err(format!("a value of {} bytes is too short for a name", value.len()));
        };
        let long = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let short = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let (sender, unit) = (long(0), long(8));
        let name =
            Self { sender, unit, partition: short(16), number: short(20), of: short(24), len: short(28) };
        if name.head() != *head {
            return Err(format!("its first {} bytes are no name: {head:02x?}", Self::BYTES));
        }
        if name.len as usize != value.len() {
            return Err(format!("{name} has {} bytes", value.len()));
        }
        let mut expected = name.body();
        for (number, part) in body.chunks(8).enumerate() {
            if expected.next().to_le_bytes()[..part.len()] != *part {
                return Err(format!("{name} is not as it was sent near byte {}", Self::BYTES + number * 8));
            }
        }
        Ok(name)
    }

    fn head(&self) -> [u8; Self::BYTES] {
        let mut head = [0; Self::BYTES];
        head[..8].copy_from_slice(&self.sender.to_le_bytes());
        head[8..16].copy_from_slice(&self.unit.to_le_bytes());
        for (at, field) in [(16, self.partition), (20, self.number), (24, self.of), (28, self.len)] {
            head[at..at + 4].copy_from_slice(&field.to_le_bytes());
        }
        head[32..].copy_from_slice(&self.check().to_le_bytes());
        head
    }

    /// Follows from everything else in the name.
    fn check(&self) -> u64 {
        let places = (u64::from(self.partition) << 32) | u64::from(self.number);
        let sizes = (u64::from(self.of) << 32) | u64::from(self.len);
        [self.sender, self.unit, places, sizes]
            .into_iter()
            .fold(0x0771_a001, |sum, part| mix(sum ^ mix(part)))
    }

    fn body(&self) -> Random {
        Random::new(self.check())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sender, partition, unit, number, of, len } = self;
        write!(
            f,
            "record {number} of {of} in unit {unit} of sender {sender} for partition {partition} ({len} B)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> impl Iterator<Item = Name> {
        [40, 41, 48, 100, 5_000].into_iter().zip(0..).map(|(len, unit)| Name {
            sender: 3,
            partition: 1,
            unit,
            number: 2,
            of: 4,
            len,
        })
    }

    #[test]
    fn a_value_says_its_name() {
        for name in names() {
            assert_eq!(Name::of_value(&name.value()), Ok(name));
        }
    }

    #[test]
    fn a_value_with_any_wrong_byte_or_length_is_found() {
        for name in names() {
            let value = name.value();
            for at in 0..value.len() {
                let mut wrong = value.clone();
                wrong[at] ^= 1 << (at % 8);
                assert!(Name::of_value(&wrong).is_err(), "byte {at} of {name}");
            }
            assert!(Name::of_value(&value[..value.len() - 1]).is_err());
            assert!(Name::of_value(&[&value[..], &[0]].concat()).is_err());
        }
    }
}
