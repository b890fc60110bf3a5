//! A 64-bit fingerprint of states, the same on every machine: FNV-1a, of which the constants are from
//! draft-eastlake-fnv ("The FNV Non-Cryptographic Hash Algorithm"). Against accidents, not against forgers.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Adds numbers, and how many, so that two lists never look like one.
    pub(crate) fn add_all<const N: usize>(&mut self, numbers: [u64; N]) {
        self.add_bytes(&(N as u64).to_le_bytes());
        for number in numbers {
            self.add_bytes(&number.to_le_bytes());
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
