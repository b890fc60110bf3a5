//! The file system in memory whose power can be cut, which the torture program uses too: it stands in
//! `tests/torture/src/sim`.

pub(crate) use crate::sim::disk::SimDisk as Lossy;

use crate::sim::chance::Chance;
use crate::support::Random;

impl Chance for Random {
    fn below(&mut self, end: u64) -> u64 {
        Random::below(self, end)
    }
}
