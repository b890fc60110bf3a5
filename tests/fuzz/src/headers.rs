//! The headers of a record: what the library makes of bytes, and what `docs/format.md` makes of them.

use ottla::fuzzing;

use crate::format;
use crate::input::Input;

/// The target. The first number says how many there should be.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let count = input.number() as usize;
    let bytes = input.rest();
    let (found, are_whole) = fuzzing::headers(bytes, count);
    assert_eq!((found.clone(), are_whole), format::decode_headers(bytes, count));
    let encoded = fuzzing::encode_headers(&found);
    assert_eq!(encoded, bytes[..encoded.len()], "what was read is written as it was");
    assert!(!are_whole || encoded.len() == bytes.len());
}
