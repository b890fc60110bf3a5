//! The values of records: who sent it, its number, and bytes that follow from the two, so that a byte that is
//! not what was sent is noticed.

const HEAD_BYTES: usize = 8;

/// Who sent a record, and which of his it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) sender: u32,
    pub(crate) number: u32,
}

/// The value of a record, with `more` bytes.
pub(crate) fn value(origin: Origin, more: usize) -> Vec<u8> {
    let Origin { sender, number } = origin;
    let head = sender.to_le_bytes().into_iter().chain(number.to_le_bytes());
    head.chain((0..more).map(|at| byte(origin, at))).collect()
}

/// Where a value comes from; every byte of it is looked at.
pub(crate) fn origin(value: &[u8]) -> Origin {
    let word = |at: usize| u32::from_le_bytes(value[at..at + 4].try_into().expect("four bytes"));
    let origin = Origin { sender: word(0), number: word(4) };
    for (at, found) in value[HEAD_BYTES..].iter().enumerate() {
        assert_eq!(*found, byte(origin, at), "byte {at} of {origin:?}");
    }
    origin
}

fn byte(Origin { sender, number }: Origin, at: usize) -> u8 {
    (number.wrapping_mul(31) ^ sender).wrapping_add(at as u32) as u8
}
