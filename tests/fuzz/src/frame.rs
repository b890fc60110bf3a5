//! Frames: what the library makes of bytes, and what `docs/format.md` makes of them.

use ottla::fuzzing::{self, FrameParts};

use crate::format::{self, Frame};
use crate::input::Input;
use crate::recipe::record;

const PARTITION_ID: u64 = 0x0123_4567_89ab_cdef;

/// The target. The first byte says what becomes of the others.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => check_bytes(input.rest()),
        1 => {
            let mut bytes = input.rest().to_vec();
            format::repair_crcs(&mut bytes, PARTITION_ID);
            check_bytes(&bytes);
        }
        _ => check_record(input),
    }
}

/// Any bytes.
fn check_bytes(bytes: &[u8]) {
    let found = fuzzing::verified_frame(bytes, PARTITION_ID);
    let right = Frame::good(bytes, PARTITION_ID);
    assert_eq!(found, right.as_ref().map(|(frame, length)| parts(frame, *length)));
    if let Some((frame, length)) = right
        && frame.is_record()
        && frame.flags <= format::CONTINUES
    {
        // All of the bytes are what the record says, but for padding, which may be anything.
        let encoded = fuzzing::encode_record(&parts(&frame, length), PARTITION_ID);
        assert_eq!(encoded, frame.encode(PARTITION_ID));
        assert_eq!(encoded.len(), length);
    }
    let frames = fuzzing::frames(bytes);
    let mut rest = bytes;
    for frame in &frames {
        assert_eq!(Some(frame.length), format::frame_length(rest));
        rest = &rest[frame.length..];
    }
    assert_eq!(format::frame_length(rest), None, "it ends where the bytes are no frame");
}

/// A record as it is written, then with some bytes changed.
fn check_record(mut input: Input<'_>) {
    let frame = record(&mut input, 0);
    let mut bytes = frame.encode(PARTITION_ID);
    let expected = parts(&frame, bytes.len());
    assert_eq!(fuzzing::encode_record(&expected, PARTITION_ID), bytes);
    assert_eq!(fuzzing::verified_frame(&bytes, PARTITION_ID), Some(expected));
    let is_repaired = input.byte() % 2 == 1;
    while !input.is_empty() {
        let at = input.number() as usize % bytes.len();
        bytes[at] ^= input.byte();
    }
    if is_repaired {
        format::repair_crc(&mut bytes, PARTITION_ID);
    }
    check_bytes(&bytes);
}

fn parts(frame: &Frame, length: usize) -> FrameParts {
    FrameParts {
        length,
        offset: frame.offset,
        timestamp: frame.timestamp,
        key: frame.key.clone(),
        value: frame.value.clone(),
        headers: frame.headers.clone(),
        is_record: frame.is_record(),
        batch_continues: frame.continues(),
    }
}
