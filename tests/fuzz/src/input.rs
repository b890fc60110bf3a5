//! Numbers and pieces, taken from the front of a fuzzer's bytes. There is always more: beyond the end lie
//! zeros.

/// The rest of an input.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

/// Numbers near which code goes wrong.
const EDGES: [u64; 8] =
    [u64::MAX, u64::MAX - 1, i64::MAX as u64, 1 << 63, u32::MAX as u64, 1 << 32, u16::MAX as u64, 1 << 20];

/// The first byte of a number that is one of [`EDGES`]; of one that is written out; of a negative one.
const FIRST_EDGE: u8 = 0xe0;
const WRITTEN_OUT: u8 = 0xf0;
const FIRST_NEGATIVE: u8 = 0xf1;

impl<'a> Input<'a> {
    /// All of it.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether only zeros are left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// Two bytes, little-endian.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number: small ones, and those just below 0, are one byte, as are some large ones.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small if small < FIRST_EDGE => u64::from(small),
            edge if edge < WRITTEN_OUT => EDGES[usize::from(edge - FIRST_EDGE) % EDGES.len()],
            WRITTEN_OUT => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            negative => u64::from(negative - FIRST_NEGATIVE).wrapping_sub(15),
        }
    }

    /// Up to `len` bytes.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// What is left.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Writes what [`Input::number`] reads.
pub fn put_number(out: &mut Vec<u8>, number: u64) {
    if number < u64::from(FIRST_EDGE) {
        out.push(number as u8);
    } else {
        out.push(WRITTEN_OUT);
        out.extend(number.to_le_bytes());
    }
}
